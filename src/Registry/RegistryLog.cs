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
}
