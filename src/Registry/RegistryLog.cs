using Berth.Images;
using Microsoft.Extensions.Logging;

namespace Berth.Registry;

/// <summary>Everything the registry's store logs.</summary>
internal static partial class RegistryLog
{
    [LoggerMessage(LogLevel.Information, "Collected garbage: {Manifests} untagged manifests, {Links} unreferenced blobs of repositories, {Blobs} blobs of none ({Bytes} bytes), {Uploads} abandoned uploads")]
    public static partial void Collected(this ILogger log, int manifests, int links, int blobs, long bytes, int uploads);

    [LoggerMessage(LogLevel.Warning, "Nothing of repository {Repository} is collected: its manifest {Digest} cannot be read")]
    public static partial void ManifestUnreadable(this ILogger log, string repository, Digest digest);

    [LoggerMessage(LogLevel.Warning, "{Registry} is away, what is here is given out: {Reason}")]
    public static partial void UpstreamAway(this ILogger log, Uri registry, string reason);

    [LoggerMessage(LogLevel.Warning, "The connection for blob {Digest} broke after {Bytes} bytes and is made anew: {Reason}")]
    public static partial void FetchGoesOn(this ILogger log, Digest digest, long bytes, string reason);
}
