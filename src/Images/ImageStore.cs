using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Berth.Images;

/// <summary>Settings of an <see cref="ImageStore"/>.</summary>
public sealed record ImageStoreOptions
{
    public ILogger Logger { get; init; } = NullLogger.Instance;
    public TimeProvider Time { get; init; } = TimeProvider.System;
    /// <summary>Told of every change, after it is on disk; called one at a time, must not block.</summary>
    public Action<ImageEvent>? OnEvent { get; init; }
    /// <summary>Hosts (or CIDRs) besides loopback that are spoken to in plain HTTP when HTTPS fails.</summary>
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];
    /// <summary>Layers downloaded at once in one pull; dockerd's --max-concurrent-downloads.</summary>
    public int MaxConcurrentDownloads { get; init; } = 3;
    /// <summary>Tries per layer; dockerd's --max-download-attempts.</summary>
    public int MaxDownloadAttempts { get; init; } = 5;
}

/// <summary>
/// The images of one data root (<c>&lt;data-root&gt;/images/</c>) and the writable layers of its containers
/// (<c>&lt;data-root&gt;/containers/&lt;id&gt;/overlay/</c>). Safe to use from any thread; every method leaves the disk
/// either as it was or fully changed, also when the process is killed in the middle.
/// </summary>
public sealed class ImageStore : IDisposable
{
    /// <summary>Opens or makes the store and sweeps away what a killed process left half-made.</summary>
    public static ImageStore Open(string dataRoot, ImageStoreOptions? options = null) => throw new NotImplementedException();

    /// <summary>Finds an image by name, id, or unambiguous id prefix, as Docker does.</summary>
    /// <exception cref="ImageException">NotFound "No such image: x:latest", also for an ambiguous prefix; InvalidParameter for a malformed name.</exception>
    public Image Get(string nameOrId, Platform? platform = null) => throw new NotImplementedException();

    /// <summary>The image with this id.</summary>
    public bool TryGet(Digest id, out Image image) => throw new NotImplementedException();

    /// <summary>The image list, newest first.</summary>
    /// <exception cref="ImageException">NotFound, when before/since name no image.</exception>
    public IReadOnlyList<ImageSummary> List(ImageFilters filters) => throw new NotImplementedException();

    /// <summary>All images, in no order.</summary>
    public IReadOnlyList<Image> All => throw new NotImplementedException();

    /// <summary>Gives an image a name, taking it from whichever image had it.</summary>
    public void Tag(Digest id, ImageReference name) => throw new NotImplementedException();

    /// <summary>Takes a name off an image and, when it was the last and nothing uses the image, removes the image.</summary>
    /// <param name="users">Containers at this moment; called while the store is locked.</param>
    /// <exception cref="ImageException">NotFound; Conflict with Docker's reasons.</exception>
    public IReadOnlyList<RemovedItem> Remove(string nameOrId, bool force, bool prune, Func<IReadOnlyCollection<ImageUser>> users, Platform? platform = null) =>
        throw new NotImplementedException();

    public IReadOnlyList<HistoryEntry> History(string nameOrId, Platform? platform = null) => throw new NotImplementedException();

    /// <summary>Loads a docker-archive or OCI layout, plain or compressed, in one pass over the stream.</summary>
    /// <param name="progress">Called one at a time, from pool threads; must not block for long.</param>
    public Task LoadAsync(Stream archive, Platform? platform, bool quiet, Action<ImageProgress> progress, CancellationToken cancellation) =>
        throw new NotImplementedException();

    /// <summary>Makes an image of one layer out of a tar (plain, gzip or zstd).</summary>
    public Task<Digest> ImportAsync(Stream tar, ImportOptions options, CancellationToken cancellation) => throw new NotImplementedException();

    /// <summary>Pulls one image, or all tags when the name has neither tag nor digest.</summary>
    /// <param name="progress">Called one at a time, from pool threads; must not block for long.</param>
    public Task PullAsync(ImageReference name, Platform? platform, RegistryCredentials? credentials, Action<ImageProgress> progress, CancellationToken cancellation) =>
        throw new NotImplementedException();

    /// <summary>
    /// Makes a container's own layer on an image. From here on the image's layers stay on disk until
    /// <see cref="RemoveWritableLayer"/>, even when the image itself is removed by force.
    /// </summary>
    /// <exception cref="ImageException">NotFound, when the image has gone meanwhile.</exception>
    public WritableLayer CreateWritableLayer(string containerId, Digest imageId) => throw new NotImplementedException();

    /// <summary>The layer made before, for starting the container again.</summary>
    public bool TryGetWritableLayer(string containerId, out WritableLayer layer) => throw new NotImplementedException();

    /// <summary>Removes a container's layer and whatever lies beneath it that nothing needs any more. Absence is fine.</summary>
    public void RemoveWritableLayer(string containerId) => throw new NotImplementedException();

    /// <summary>A view of a container's files (its own layer over the image's) without mounting or running anything.</summary>
    public LayerFileReader OpenFiles(string containerId) => throw new NotImplementedException();

    public void Dispose() { }
}

/// <summary>
/// Reads single files through a stack of layers as overlay would show them: topmost wins, whiteouts and opaque
/// directories hide, symbolic links are followed inside the root only.
/// </summary>
public sealed class LayerFileReader : IDisposable
{
    /// <summary>The file's bytes.</summary>
    /// <returns>False when there is no such file, or it is not a regular one.</returns>
    /// <exception cref="ImageException">When it is larger than <paramref name="maxBytes"/>.</exception>
    public bool TryReadFile(string path, int maxBytes, out byte[] content) => throw new NotImplementedException();

    /// <summary>Whether the path leads to a directory.</summary>
    public bool IsDirectory(string path) => throw new NotImplementedException();

    /// <summary>
    /// Copies the directory's content (not itself) with owners, modes, times, xattrs and links into an empty
    /// directory: what a new volume gets from the image. The target takes over the source's owner and mode.
    /// </summary>
    /// <returns>False when there is no such directory.</returns>
    public bool TryCopyDirectory(string path, string targetDirectory) => throw new NotImplementedException();

    public void Dispose() { }
}
