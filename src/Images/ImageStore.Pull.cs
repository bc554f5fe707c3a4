using Berth.Images.Layers;
using Berth.Images.Registry;
using Berth.Images.Storage;
using Berth.Images.Trust;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Images;

public sealed partial class ImageStore
{
    /// <summary>Indexes within indexes.</summary>
    private const int MaxIndexNesting = 4;

    private readonly RegistryTransport transport = new();
    private volatile SemaphoreSlim downloads;

    // Layers being pulled right now: a second pull waits for the first one's.
    private readonly Dictionary<Digest, Task> flights = [];

    /// <summary>Changes what may change while the store is open; pulls under way keep the old limits.</summary>
    public void Reconfigure(RegistrySettings registries, int maxConcurrentDownloads, int maxDownloadAttempts, int maxConcurrentUploads)
    {
        var before = options;
        options = before with
        {
            Registries = registries, MaxConcurrentDownloads = maxConcurrentDownloads, MaxDownloadAttempts = maxDownloadAttempts, MaxConcurrentUploads = maxConcurrentUploads,
        };
        if (before.MaxConcurrentUploads != maxConcurrentUploads) uploads = new SemaphoreSlim(maxConcurrentUploads);
        if (before.MaxConcurrentDownloads != maxConcurrentDownloads) downloads = new SemaphoreSlim(maxConcurrentDownloads);
    }

    /// <summary>Pulls one image, or all tags when the name has neither tag nor digest.</summary>
    /// <param name="progress">Called one at a time, from pool threads; must not block for long.</param>
    /// <exception cref="ImageException">NotFound (unknown manifest or repository, access denied) and System, in Docker's words. Until the first progress nothing was said to the client.</exception>
    public async Task PullAsync(ImageReference name, Platform? platform, RegistryCredentials? credentials, Action<ImageProgress> progress, CancellationToken cancellation)
    {
        try
        {
            await PullAnyWayAsync(name, platform, credentials, progress, cancellation).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // On a full disk room is worth more than what another pull would be spared.
            TrimUnfinished(IsDiskFull(e) ? 0 : UnfinishedPulls.MaxBytes);
            throw;
        }
    }

    private static bool IsDiskFull(Exception? e)
    {
        for (; e is not null; e = e.InnerException)
            if (e is LinuxException { Errno: Errno.ENOSPC or Errno.EDQUOT } || (e is IOException && e.Message.Contains("No space left", StringComparison.OrdinalIgnoreCase))) return true;
        return false;
    }

    private async Task PullAnyWayAsync(ImageReference name, Platform? platform, RegistryCredentials? credentials, Action<ImageProgress> progress, CancellationToken cancellation)
    {
        if (name.FamiliarName == "scratch") throw new ImageException(ImageErrorKind.Forbidden, "'scratch' is a reserved name");
        var sink = new ProgressSink(progress, options.Time);
        Exception? last = null;
        Digest? resolved = null;
        var ways = RegistryEndpoint.For(name.Domain, options.Registries);
        var speaksTls = new HashSet<string>();
        foreach (var endpoint in ways)
        {
            // What answered in TLS is not asked again in the clear.
            if (endpoint.Api.Scheme == "http" && speaksTls.Contains(endpoint.Api.Authority)) continue;
            using var registry = new RegistryClient(transport, endpoint, name.Path, credentials, options);
            try
            {
                if (!endpoint.CanResolve && !name.HasDigest)
                {
                    resolved ??= await ResolveAsync(ways, name, credentials, cancellation).ConfigureAwait(false);
                    if (resolved is null) continue;
                }
                await registry.PingAsync(cancellation).ConfigureAwait(false);
                if (endpoint.Api.Scheme == "https") speaksTls.Add(endpoint.Api.Authority);
                await PullFromAsync(registry, name, endpoint.CanResolve ? null : resolved, platform, sink, cancellation).ConfigureAwait(false);
                return;
            }
            // HTTPS to a registry that speaks plain HTTP: the next way is that. And whatever a mirror does, the registry itself may do better.
            catch (Exception e) when (!cancellation.IsCancellationRequested && e is RegistryException or ImageException or IOException or HttpRequestException or OperationCanceledException
                && (endpoint.IsMirror || (e is RegistryUnreachableException && !speaksTls.Contains(endpoint.Api.Authority))))
            {
                ImagesLog.NextWay(options.Logger, endpoint.Api, e.Message);
                last = e;
            }
            catch (Exception e) when (e is RegistryException or IOException or HttpRequestException)
            {
                throw Translate(e, name);
            }
        }
        throw Translate(last ?? ImageException.Failed($"no endpoints found for {name.FamiliarString}"), name);
    }

    // What a tag means, for mirrors that are not to be asked; null when nobody says: the registry itself will be asked in its turn.
    private async Task<Digest?> ResolveAsync(IReadOnlyList<RegistryEndpoint> ways, ImageReference name, RegistryCredentials? credentials, CancellationToken cancellation)
    {
        if (name.IsNameOnly) return null;
        foreach (var endpoint in ways.Where(w => w.CanResolve))
        {
            using var registry = new RegistryClient(transport, endpoint, name.Path, credentials, options);
            try
            {
                await registry.PingAsync(cancellation).ConfigureAwait(false);
                return (await registry.GetManifestAsync(name.Tag!, cancellation).ConfigureAwait(false)).Digest;
            }
            catch (Exception e) when (!cancellation.IsCancellationRequested && e is RegistryException or ImageException or IOException or HttpRequestException)
            {
                ImagesLog.NextWay(options.Logger, endpoint.Api, e.Message);
            }
        }
        return null;
    }

    private static ImageException Translate(Exception e, ImageReference name) => e switch
    {
        ImageException known => known,
        RegistryException { Code: "DENIED" } => ImageException.NotFound($"pull access denied for {name.FamiliarName}, repository does not exist or may require 'docker login': {e.Message}"),
        RegistryException { Code: "MANIFEST_UNKNOWN" } => ImageException.NotFound($"manifest for {name.FamiliarString} not found: {e.Message}"),
        RegistryException { Code: "NAME_UNKNOWN" } => ImageException.NotFound($"repository {name.FamiliarName} not found: {e.Message}"),
        _ => ImageException.Failed(e.Message, e),
    };

    private async Task PullFromAsync(RegistryClient registry, ImageReference name, Digest? resolved, Platform? platform, ProgressSink sink, CancellationToken cancellation)
    {
        var isNew = false;
        Digest id = default;
        if (!name.IsNameOnly) (id, isNew) = await PullOneAsync(registry, name, resolved, platform, sink, cancellation).ConfigureAwait(false);
        else
            foreach (var tag in await registry.GetTagsAsync(cancellation).ConfigureAwait(false))
            {
                (id, var newer) = await PullOneAsync(registry, name.WithTag(tag), null, platform, sink, cancellation).ConfigureAwait(false);
                isNew |= newer;
            }
        sink.Message($"Status: {(isNew ? "Downloaded newer image" : "Image is up to date")} for {name.FamiliarString}");
        Tell("pull", id, name.FamiliarName, name.FamiliarString);

        if (platform is { } wanted && TryGet(id, out var image) && !wanted.Accepts(image.Platform))
            sink.Message($"WARNING: image with reference {name.FamiliarString} was found but its platform ({image.Platform}) does not match the specified platform ({wanted})");
    }

    private async Task<(Digest Id, bool IsNew)> PullOneAsync(RegistryClient registry, ImageReference name, Digest? resolved, Platform? platform, ProgressSink sink, CancellationToken cancellation)
    {
        var tagOrDigest = name.HasDigest ? name.Digest.ToString() : resolved?.ToString() ?? name.Tag!;
        var (bytes, digest) = await registry.GetManifestAsync(tagOrDigest, cancellation).ConfigureAwait(false);
        var manifest = Manifest.Parse(bytes, name);
        sink.Message($"Pulling from {name.Path}", name.HasDigest ? name.ToString() : name.Tag);
        var index = manifest.IsIndex ? bytes : null;
        (manifest, bytes) = await SelectAsync(registry, manifest, bytes, name, platform ?? Platform.Best, cancellation).ConfigureAwait(false);
        RequireImage(manifest);
        // Before anything of it is fetched. What is verified is what was received: by its bytes, whatever the tag means a moment later.
        if (TrustPolicy.For(name, options.Registries.Trust) is { } policy)
            await new SignatureSearch(registry, policy, options.Time).RequireAsync(name, [digest, Digest.Sha256(bytes)], cancellation).ConfigureAwait(false);

        var byDigest = name.NameOnly().WithDigest(digest);
        using var hold = new Hold(this);
        var config = await PullContentAsync(registry, manifest, hold, sink, cancellation).ConfigureAwait(false);
        sink.Message($"Digest: {digest}");

        Digest previous;
        var id = manifest.Config!.Digest;
        lock (gate)
        {
            if (!TryFindName(name, out previous)) previous = default;
            if (name.HasDigest && !previous.IsEmpty && previous != id && index is null) throw ImageException.Conflict($"cannot overwrite digest {name.Digest}");
        }
        await hold.MakeDurableAsync().ConfigureAwait(false);
        Commit(hold, config, name.HasDigest ? [byDigest] : [name, byDigest], manifest: bytes, index: index);
        Remember(id, manifest, name);
        return (id, previous != id);
    }

    private static async Task<(Manifest Manifest, byte[] Bytes)> SelectAsync(RegistryClient registry, Manifest manifest, byte[] bytes, ImageReference name, Platform wanted, CancellationToken cancellation)
    {
        for (var nesting = 0; manifest.IsIndex; nesting++)
        {
            if (nesting >= MaxIndexNesting) throw ImageException.Failed($"the index is nested deeper than {MaxIndexNesting}");
            var entry = manifest.Matching(wanted).FirstOrDefault() ?? throw ImageException.NotFound($"no matching manifest for {(wanted == Platform.Best ? Platform.Host : wanted)} in the manifest list entries");
            (bytes, _) = await registry.GetManifestAsync(entry.Digest.ToString(), cancellation).ConfigureAwait(false);
            manifest = Manifest.Parse(bytes, name);
        }
        return (manifest, bytes);
    }

    // Artifacts of all kinds live in registries; only images have layers that can be unpacked.
    private static void RequireImage(Manifest manifest)
    {
        var type = manifest.Config!.MediaType ?? "";
        if (type.StartsWith("application/vnd.docker.plugin.", StringComparison.Ordinal)) throw ImageException.Invalid($"Encountered remote \"{type}\"(plugin) when fetching");
        foreach (var checkedType in (manifest.Layers ?? []).Select(l => l.MediaType ?? "").Prepend(type))
        {
            if (checkedType.StartsWith("application/vnd.docker.ai.", StringComparison.OrdinalIgnoreCase))
                throw ImageException.Invalid("AI models are not yet supported by the Engine, please use \"docker model pull/run\" instead");
            var lower = checkedType.ToLowerInvariant();
            if (lower is "" or "application/octet-stream" or "application/json" or "text/html" or "application/vnd.docker" or "application/vnd.oci.image") continue;
            if (lower.StartsWith("application/vnd.docker.", StringComparison.Ordinal) || lower.StartsWith("application/vnd.oci.image.", StringComparison.Ordinal)) continue;
            throw ImageException.Invalid($"unsupported media type {checkedType}");
        }
    }

    // The configuration, with all its layers unpacked and held.
    private async Task<byte[]> PullContentAsync(RegistryClient registry, Manifest manifest, Hold hold, ProgressSink sink, CancellationToken cancellation)
    {
        var configDigest = manifest.Config!.Digest;
        if (configDigest.Algorithm != "sha256") throw ImageException.Failed($"image config verification failed for digest {configDigest}");
        if (TryGet(configDigest, out var there) && there.DiffIds.All(hold.TryAdd)) return there.ConfigBytes.ToArray();

        byte[] config;
        try
        {
            config = await registry.GetBlobAsync(configDigest, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is RegistryException or IOException or HttpRequestException or ImageException)
        {
            throw ImageException.Failed($"error pulling image configuration: {e.Message}", e);
        }
        if (!configDigest.Verifies(config)) throw ImageException.Failed($"error pulling image configuration: image config verification failed for digest {configDigest}");
        var parsed = ParseConfig(config);
        if (!parsed.Platform.Os.Equals("linux", StringComparison.OrdinalIgnoreCase))
            throw ImageException.Failed($"cannot download image with operating system \"{parsed.Platform.Os}\" when requesting \"linux\"");
        var diffIds = DiffIds(parsed.Config);
        var blobs = manifest.Layers ?? [];
        if (diffIds.Count != blobs.Count) throw ImageException.Failed("layers from manifest don't match image configuration");

        var missing = new List<(Digest DiffId, Descriptor Blob)>();
        var seen = new HashSet<Digest>();
        for (var i = 0; i < blobs.Count; i++)
        {
            var present = hold.TryAdd(diffIds[i]);
            if (!seen.Add(diffIds[i])) continue;
            if (!present) missing.Add((diffIds[i], blobs[i]));
            sink.Update(blobs[i].Digest.ShortId, present ? "Already exists" : "Pulling fs layer");
        }

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var tasks = missing.Select(m => PullLayerAsync(registry, m.DiffId, m.Blob, hold, sink, stop.Token)).ToList();
        // The first failure ends the others; it is the one to report, not their being ended.
        Exception? failure = null;
        await foreach (var done in Task.WhenEach(tasks).ConfigureAwait(false))
        {
            if (done.IsCompletedSuccessfully) continue;
            failure ??= done.Exception?.InnerException ?? new OperationCanceledException(cancellation);
            await stop.CancelAsync().ConfigureAwait(false);
        }
        if (failure is null) return config;
        cancellation.ThrowIfCancellationRequested();
        System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        return config;
    }

    private async Task PullLayerAsync(RegistryClient registry, Digest diffId, Descriptor blob, Hold hold, ProgressSink sink, CancellationToken cancellation)
    {
        var id = blob.Digest.ShortId;
        while (true)
        {
            Task? other;
            var mine = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            lock (gate)
            {
                if (hold.TryAdd(diffId)) break;
                if (!flights.TryGetValue(diffId, out other)) flights[diffId] = mine.Task;
            }
            if (other is not null)
            {
                // Another pull has it on the way. If that fails, this one tries itself.
                sink.Update(id, "Waiting");
                await other.WaitAsync(cancellation).ConfigureAwait(false);
                continue;
            }
            try
            {
                await DownloadLayerAsync(registry, diffId, blob, hold, sink, cancellation).ConfigureAwait(false);
            }
            finally
            {
                lock (gate) flights.Remove(diffId);
                mine.SetResult();
            }
            break;
        }
        sink.Update(id, "Pull complete");
    }

    // Download and unpacking are one stream; what comes is also put aside until the layer is there, for a pull that is killed to go on with.
    private async Task DownloadLayerAsync(RegistryClient registry, Digest diffId, Descriptor blob, Hold hold, ProgressSink sink, CancellationToken cancellation)
    {
        var id = blob.Digest.ShortId;
        var slots = downloads; // the limit may change meanwhile: what was taken is given back where it was taken
        if (!slots.Wait(0, CancellationToken.None))
        {
            sink.Update(id, "Waiting");
            await slots.WaitAsync(cancellation).ConfigureAwait(false);
        }
        try
        {
            using var partial = unfinished.Open(blob);
            try
            {
                try
                {
                    await DownloadOnceAsync(registry, diffId, blob, partial, hold, sink, cancellation).ConfigureAwait(false);
                }
                catch (Exception e) when (e is PiecesException || (partial is { HasTakenRoom: true } && IsDiskFull(e)))
                {
                    // A file that a power cut has damaged, or a registry that changed its mind: once more, in one piece. Or there is no room for both the layer and its blob.
                    if (e is PiecesException) partial?.Clear();
                    else partial?.GiveUp();
                    await DownloadOnceAsync(registry, diffId, blob, partial, hold, sink, cancellation).ConfigureAwait(false);
                }
                partial?.Delete();
            }
            catch (Exception e) when (e is PiecesException || (e is ImageException && partial?.Length == blob.SizeBytes))
            {
                partial?.Delete(); // it is wrong, not unfinished
                throw;
            }
        }
        finally
        {
            slots.Release();
        }
    }

    private async Task DownloadOnceAsync(RegistryClient registry, Digest diffId, Descriptor blob, PartialBlob? partial, Hold hold, ProgressSink sink, CancellationToken cancellation)
    {
        using var pipe = new BlockPipe();
        var download = new BlobDownload(registry, blob, sink, options, partial).FillAsync(pipe, cancellation);
        try
        {
            using var layer = await Task.Factory.StartNew(() => UnpackDownload(pipe.Reader, cancellation), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
            if (layer.DiffId != diffId) throw ImageException.Failed("layers from manifest don't match image configuration");
            sink.Count(blob.Digest.ShortId, "Extracting", blob.SizeBytes).Add(blob.SizeBytes);
            Keep(diffId);
            hold.Publish(layer);
        }
        finally
        {
            pipe.Dispose();
            await download.ConfigureAwait(false);
        }
    }

    private UnpackedLayer UnpackDownload(Stream source, CancellationToken cancellation)
    {
        UnpackedLayer? layer = null;
        ImageException? failure = null;
        try
        {
            layer = layers.Unpack(source, cancellation);
        }
        catch (ImageException e) when (!cancellation.IsCancellationRequested)
        {
            failure = e;
        }
        try
        {
            // To the end of the download, whose digest is checked there: damage on the way is to be called that, and not
            // by what the tar reader stumbled over.
            var buffer = new byte[BlockPipe.BlockBytes];
            while (source.Read(buffer) > 0) { }
        }
        catch
        {
            layer?.Dispose();
            throw;
        }
        return layer ?? throw ImageException.Failed($"failed to register layer: {failure!.Message}", failure);
    }
}
