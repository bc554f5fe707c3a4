namespace Berth.Networks;

/// <summary>What kind of failure it is, so that the caller can pick an HTTP status without reading the text.</summary>
public enum NetworkErrorKind
{
    /// <summary>The request itself is wrong (bad address, bad port, bad MAC).</summary>
    InvalidArgument,
    /// <summary>No such network or endpoint.</summary>
    NotFound,
    /// <summary>Something is in the way: address already in use, subnet overlaps, container already joined.</summary>
    Conflict,
    /// <summary>Not allowed on this kind of network.</summary>
    Forbidden,
    /// <summary>A host port could not be had. Docker answers 500 for this on start.</summary>
    PortUnavailable,
    /// <summary>No address left.</summary>
    Exhausted,
    /// <summary>The kernel, or a library we need, refused. The text names the call.</summary>
    System,
}

/// <summary>A network operation failed. <see cref="Exception.Message"/> is in Docker's words where clients match on it.</summary>
public sealed class NetworkException(NetworkErrorKind kind, string message, Exception? inner = null) : Exception(message, inner)
{
    public NetworkErrorKind Kind { get; } = kind;
}
