namespace Berth.Engine;

/// <summary>What went wrong, as far as a caller can act on it. The daemon maps each kind to one HTTP status.</summary>
public enum ErrorKind
{
    /// <summary>500: a fault of the engine or of the machine.</summary>
    System,
    /// <summary>400.</summary>
    InvalidParameter,
    /// <summary>401: a registry wants other credentials.</summary>
    Unauthorized,
    /// <summary>403.</summary>
    Forbidden,
    /// <summary>404.</summary>
    NotFound,
    /// <summary>409.</summary>
    Conflict,
    /// <summary>304: the object is already in the state asked for. Not a failure; the message is not sent.</summary>
    NotModified,
    /// <summary>501.</summary>
    NotImplemented,
    /// <summary>503: something the engine depends on is not there now (the monitor, a registry).</summary>
    Unavailable,
}

/// <summary>The one exception the engine throws for what a caller did or may see; the message is Docker's text where clients match on it.</summary>
public sealed class EngineException(ErrorKind kind, string message, Exception? inner = null) : Exception(message, inner)
{
    public ErrorKind Kind { get; } = kind;

    public static EngineException NotFound(string message) => new(ErrorKind.NotFound, message);
    public static EngineException Conflict(string message) => new(ErrorKind.Conflict, message);
    public static EngineException Invalid(string message) => new(ErrorKind.InvalidParameter, message);
    public static EngineException NotModified(string message) => new(ErrorKind.NotModified, message);
    public static EngineException System(string message, Exception? inner = null) => new(ErrorKind.System, message, inner);
    public static EngineException NoSuchContainer(string name) => NotFound($"No such container: {name}");
}
