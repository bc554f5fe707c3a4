namespace Berth.Daemon.Http;

/// <summary>What a client may make the daemon hold. Archives (load, import) are streamed and have no limit but the disk.</summary>
internal static class Limits
{
    /// <summary>A JSON body. A create request with a large seccomp profile is a few hundred kilobytes.</summary>
    public const int JsonBodyBytes = 16 << 20;

    /// <summary>Request line and headers together, as in Go's server: filters and registry credentials travel there.</summary>
    public const int HeadBytes = 1 << 20;

    public const int Headers = 1000;

    /// <summary>From the first byte of a request to the end of its headers.</summary>
    public static readonly TimeSpan HeadTime = TimeSpan.FromMinutes(5);
}
