namespace Berth.Images;

/// <summary>What kind of failure an <see cref="ImageException"/> is; the daemon turns it into an HTTP status.</summary>
public enum ImageErrorKind
{
    /// <summary>400: the caller sent something malformed.</summary>
    InvalidParameter,
    /// <summary>401: the registry wants other credentials.</summary>
    Unauthorized,
    /// <summary>403: not allowed, for instance a reserved name.</summary>
    Forbidden,
    /// <summary>404: no such image, or the registry says so.</summary>
    NotFound,
    /// <summary>409: in use.</summary>
    Conflict,
    /// <summary>500: the machine, the registry or the archive failed.</summary>
    System,
}

/// <summary>Every failure that Images reports by design. The message is what a Docker client is shown.</summary>
public sealed class ImageException(ImageErrorKind kind, string message, Exception? inner = null) : Exception(message, inner)
{
    public ImageErrorKind Kind { get; } = kind;

    internal static ImageException Invalid(string message) => new(ImageErrorKind.InvalidParameter, message);
    internal static ImageException NotFound(string message) => new(ImageErrorKind.NotFound, message);
    internal static ImageException Conflict(string message) => new(ImageErrorKind.Conflict, message);
    internal static ImageException Failed(string message, Exception? inner = null) => new(ImageErrorKind.System, message, inner);
}
