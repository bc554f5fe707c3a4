using Microsoft.Extensions.Logging;

namespace Berth.Images;

/// <summary>All that Images logs: the operator's index.</summary>
internal static partial class ImagesLog
{
    [LoggerMessage(1, LogLevel.Information, "Swept {Count} leftovers of an interrupted load or pull from {Directory}")]
    public static partial void Swept(ILogger logger, int count, string directory);

    [LoggerMessage(2, LogLevel.Warning, "Image {Id} is incomplete and is not shown: {Reason}")]
    public static partial void Incomplete(ILogger logger, Digest id, string reason);

    [LoggerMessage(3, LogLevel.Warning, "Could not remove {Path}; it is tried again at the next start: {Reason}")]
    public static partial void NotRemoved(ILogger logger, string path, string reason);

    [LoggerMessage(4, LogLevel.Debug, "Unpacked layer {DiffId}: {Bytes} bytes in {Milliseconds} ms")]
    public static partial void Unpacked(ILogger logger, Digest diffId, long bytes, long milliseconds);

    [LoggerMessage(5, LogLevel.Debug, "{Method} {Url}: {Status}")]
    public static partial void RegistryAnswered(ILogger logger, string method, Uri url, int status);

    [LoggerMessage(6, LogLevel.Information, "Download of {Digest} broke off after {Bytes} bytes, trying again ({Attempt} of {Attempts}): {Reason}")]
    public static partial void DownloadRetried(ILogger logger, Digest digest, long bytes, int attempt, int attempts, string reason);

    [LoggerMessage(7, LogLevel.Warning, "A listener to image events failed")]
    public static partial void ListenerFailed(ILogger logger, Exception exception);

    [LoggerMessage(8, LogLevel.Debug, "New layers are on the disk after {Milliseconds} ms")]
    public static partial void Synced(ILogger logger, long milliseconds);

    [LoggerMessage(9, LogLevel.Information, "{Url} answered {Status}, asking again in {Milliseconds} ms")]
    public static partial void RegistryBusy(ILogger logger, Uri url, int status, long milliseconds);

    [LoggerMessage(10, LogLevel.Information, "{Registry} is of no use, trying the next way: {Reason}")]
    public static partial void NextWay(ILogger logger, Uri registry, string reason);

    [LoggerMessage(11, LogLevel.Information, "Upload of layer {DiffId} broke off, trying again ({Attempt} of {Attempts}): {Reason}")]
    public static partial void UploadRetried(ILogger logger, Digest diffId, int attempt, int attempts, string reason);

    [LoggerMessage(12, LogLevel.Information, "Upload of layer {DiffId} goes on after {Bytes} bytes")]
    public static partial void UploadResumed(ILogger logger, Digest diffId, long bytes);

    [LoggerMessage(13, LogLevel.Debug, "Layer {DiffId} could not be mounted from {Repository}: {Reason}")]
    public static partial void NotMounted(ILogger logger, Digest diffId, string repository, string reason);

    [LoggerMessage(14, LogLevel.Warning, "What comes of {Digest} cannot be kept for another pull: {Reason}")]
    public static partial void NoPartial(ILogger logger, Digest digest, string reason);

    [LoggerMessage(15, LogLevel.Information, "Download of {Digest} goes on after {Bytes} bytes that an earlier pull has brought")]
    public static partial void DownloadContinued(ILogger logger, Digest digest, long bytes);

    [LoggerMessage(16, LogLevel.Information, "{Files} files of new layers share {Bytes} bytes on the disk with equal ones, found in {Milliseconds} ms")]
    public static partial void Shared(ILogger logger, int files, long bytes, long milliseconds);

    [LoggerMessage(17, LogLevel.Debug, "Layer {DiffId} was not looked through for files that others have: {Reason}")]
    public static partial void NotShared(ILogger logger, Digest diffId, string reason);
}
