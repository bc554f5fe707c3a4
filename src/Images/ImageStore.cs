using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Berth.Images.Layers;
using Berth.Images.Registry;
using Berth.Images.Storage;
using Berth.Linux;
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
    public RegistrySettings Registries { get; init; } = new();
    /// <summary>Layers downloaded at once in one pull; dockerd's --max-concurrent-downloads.</summary>
    public int MaxConcurrentDownloads { get; init; } = 3;
    /// <summary>Layers uploaded at once; dockerd's --max-concurrent-uploads.</summary>
    public int MaxConcurrentUploads { get; init; } = 5;
    /// <summary>Tries per layer; dockerd's --max-download-attempts.</summary>
    public int MaxDownloadAttempts { get; init; } = 5;
    /// <summary>What the countdown before another try counts in; shorter in tests.</summary>
    internal TimeSpan RetryUnit { get; init; } = TimeSpan.FromSeconds(1);
    /// <summary>How long a registry may be all but silent.</summary>
    internal TimeSpan StallTimeout { get; init; } = RegistryClient.StallTimeout;
    internal long UnsuspectedLayerBytes { get; init; } = LayerStore.DefaultUnsuspectedBytes;
}

/// <summary>
/// The images of one data root (<c>&lt;data-root&gt;/images/</c>) and the writable layers of its containers
/// (<c>&lt;data-root&gt;/containers/&lt;id&gt;/overlay/</c>). Safe to use from any thread; every method leaves the disk
/// either as it was or fully changed, also when the process is killed in the middle.
/// <code>
///   images/images.json            which images there are, and their names: what is not in it does not exist
///   images/blobs/sha256/…         configurations, and manifests that came with them, byte for byte
///   images/layers/…/diff          unpacked layers by diff id
///   images/mount-points/          the lowest layer of every container
///   images/partial/               what pulls that did not end have brought; kept for a while
///   images/tmp/                   everything unfinished; emptied at start
/// </code>
/// </summary>
public sealed partial class ImageStore : IDisposable
{
    /// <summary>Largest images.json: some hundred thousand images.</summary>
    private const int MaxStateBytes = 256 * 1024 * 1024;

    /// <summary>How long the end of the store waits for deletions under way.</summary>
    private static readonly TimeSpan DiscardGrace = TimeSpan.FromSeconds(2);

    private readonly string statePath, containersDirectory, temporaryDirectory, mountPoints;
    private volatile ImageStoreOptions options;
    private readonly BlobStore blobs;
    private readonly LayerStore layers;
    private readonly KnownBlobs known;

    // Guards everything below, and the writing of images.json. Never held while a layer is unpacked or a client waited for.
    private readonly Lock gate = new();
    private readonly Dictionary<Digest, StoredImage> images = [];
    private readonly SortedDictionary<string, Name> names = new(StringComparer.Ordinal);
    private readonly Dictionary<string, StandsOn> containers = [];
    private readonly Dictionary<Digest, int> held = [];

    private readonly ConcurrentDictionary<Digest, ParsedConfig> configs = new();
    private readonly Lock eventGate = new();
    private readonly Lock discardGate = new();
    private Task discarding = Task.CompletedTask;

    private sealed record StoredImage(IReadOnlyList<Digest> Layers, Digest Parent, DateTimeOffset? LastTagTime, Digest Manifest);

    // Of an image for several platforms also the index, whose other images that are here the name stands for as well.
    private readonly record struct Name(ImageReference Reference, Digest Image, NamedIndex? Index = null);

    private sealed record StandsOn(Digest Image, IReadOnlyList<Digest> Layers);

    private sealed record ParsedConfig(byte[] Bytes, ImageConfig Config, Platform Platform, DateTimeOffset? Created);

    private ImageStore(string dataRoot, ImageStoreOptions options)
    {
        this.options = options;
        downloads = new SemaphoreSlim(options.MaxConcurrentDownloads);
        uploads = new SemaphoreSlim(options.MaxConcurrentUploads);
        dataRoot = Path.GetFullPath(dataRoot);
        var root = Path.Combine(dataRoot, "images");
        statePath = Path.Combine(root, "images.json");
        containersDirectory = Path.Combine(dataRoot, "containers");
        temporaryDirectory = Path.Combine(root, "tmp");
        mountPoints = Path.Combine(root, "mount-points");
        // 0700: below are set-uid programs of images and secrets that images may hold.
        Directory.CreateDirectory(root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        Directory.CreateDirectory(containersDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        Directory.CreateDirectory(temporaryDirectory);
        blobs = new BlobStore(Path.Combine(root, "blobs"), temporaryDirectory);
        layers = new LayerStore(Path.Combine(root, "layers"), temporaryDirectory, options.Logger) { UnsuspectedBytes = options.UnsuspectedLayerBytes };
        unfinished = new UnfinishedPulls(Path.Combine(root, "partial"), options.Time, options.Logger);
        known = new KnownBlobs(layers);
        sharing = new LayerSharing(layers, temporaryDirectory, options.Logger);
    }

    /// <summary>Opens or makes the store and sweeps away what a killed process left half-made.</summary>
    /// <exception cref="ImageException">images.json is damaged.</exception>
    public static ImageStore Open(string dataRoot, ImageStoreOptions? options = null)
    {
        var store = new ImageStore(dataRoot, options ?? new ImageStoreOptions());
        store.ReadState();
        store.ReadContainers();
        store.ReadUnfinished();
        store.ReadPins();
        store.Sweep();
        store.TrimUnfinished(UnfinishedPulls.MaxBytes);
        store.MakeMountPoints();
        store.ShareLater();
        return store;
    }

    /// <summary>Finds an image by name, id, or unambiguous id prefix, as Docker does.</summary>
    /// <exception cref="ImageException">NotFound "No such image: x:latest", also for an ambiguous prefix; InvalidParameter for a malformed name.</exception>
    public Image Get(string nameOrId, Platform? platform = null)
    {
        lock (gate) return MakeImage(FindFor(nameOrId, platform));
    }

    /// <summary>The image with this id.</summary>
    public bool TryGet(Digest id, [NotNullWhen(true)] out Image? image)
    {
        lock (gate) image = images.ContainsKey(id) ? MakeImage(id) : null;
        return image is not null;
    }

    /// <summary>All images, in no order.</summary>
    public IReadOnlyList<Image> All
    {
        get
        {
            lock (gate) return [.. images.Keys.Select(MakeImage)];
        }
    }

    /// <summary>Gives an image a name, taking it from whichever image had it.</summary>
    /// <exception cref="ImageException">NotFound, when the image has gone; InvalidParameter for a name that can't be given.</exception>
    public void Tag(Digest id, ImageReference name) => Tag(id.ToString(), name);

    /// <summary>Gives what is called so another name: of an image for several platforms all of them.</summary>
    /// <exception cref="ImageException">As the other one.</exception>
    public void Tag(string nameOrId, ImageReference name)
    {
        if (name.HasDigest) throw ImageException.Invalid("refusing to create a tag with a digest reference");
        if (name.FamiliarName == "sha256") throw ImageException.Invalid("refusing to create an ambiguous tag using digest algorithm as name");
        name = name.WithDefaultTag();
        Digest id;
        lock (gate)
        {
            id = Find(nameOrId);
            var before = Indexes();
            names[name.ToString()] = new Name(name, id, IndexOf(nameOrId));
            images[id] = images[id] with { LastTagTime = options.Time.GetUtcNow() };
            WriteState();
            RemoveUnused(before);
        }
        Tell("tag", id, name.FamiliarString);
    }

    /// <summary>What was done, step by step, newest first.</summary>
    public IReadOnlyList<HistoryEntry> History(string nameOrId, Platform? platform = null)
    {
        var image = Get(nameOrId, platform);
        var entries = new List<HistoryEntry>();
        var layer = 0;
        foreach (var step in image.Config.History ?? [])
        {
            long size = 0;
            if (step.EmptyLayer != true)
            {
                if (layer >= image.DiffIds.Count) throw ImageException.Failed("too many non-empty layers in History section");
                size = layers.TryGet(image.DiffIds[layer++])?.SizeBytes ?? 0;
            }
            entries.Add(new HistoryEntry("<missing>", ParseTime(step.Created), step.CreatedBy ?? "", step.Comment ?? "", size, []));
        }
        entries.Reverse();
        // The newest steps belong to this image and, where they are known, to the images it was built on.
        for (var i = 0; i < entries.Count; i++)
        {
            entries[i] = entries[i] with { Id = image!.Id.ToString(), Tags = image.RepoTags };
            if (image.Parent.IsEmpty || !TryGet(image.Parent, out image)) break;
        }
        return entries;
    }

    public void Dispose()
    {
        EndSharing();
        // Usually nothing is left to do; a large tree is finished by the next start.
        Discarding.Wait(DiscardGrace);
        transport.Dispose();
        downloads.Dispose();
        uploads.Dispose();
    }

    // ---- looking up

    private Digest Find(string nameOrId)
    {
        if (TryParseId(nameOrId, out var id))
        {
            if (images.ContainsKey(id)) return id;
            var named = names.Values.FirstOrDefault(n => n.Index?.Digest == id);
            return named.Index is not null ? named.Image : throw NoSuchImage(id.ToString());
        }
        var reference = ImageReference.Parse(nameOrId);
        if (TryFindName(reference, out id)) return id;
        return TryFindPrefix(nameOrId, out id) ? id : throw NoSuchImage(reference.WithDefaultTag().FamiliarString);
    }

    private static ImageException NoSuchImage(string what) => ImageException.NotFound($"No such image: {what}");

    // A name with both a tag and a digest means the digest.
    private static ImageReference Key(ImageReference reference) =>
        reference.HasDigest ? reference.NameOnly().WithDigest(reference.Digest) : reference.WithDefaultTag();

    private bool TryFindName(ImageReference reference, out Digest id)
    {
        var found = names.TryGetValue(Key(reference).ToString(), out var name);
        id = name.Image;
        return found;
    }

    private bool TryFindPrefix(string text, out Digest id)
    {
        id = default;
        var hex = text.StartsWith("sha256:", StringComparison.Ordinal) ? text.AsSpan(7) : text;
        if (hex.IsEmpty || hex.ContainsAnyExcept("0123456789abcdef")) return false;
        var matches = 0;
        foreach (var candidate in images.Keys)
        {
            if (!candidate.ToString().AsSpan("sha256:".Length).StartsWith(hex)) continue;
            id = candidate;
            if (++matches > 1) return false; // ambiguous: Docker says "No such image"
        }
        return matches == 1;
    }

    private Image MakeImage(Digest id)
    {
        var stored = images[id];
        var parsed = Config(id);
        List<string> tags = [], digests = [];
        foreach (var (reference, image, _) in names.Values)
            if (image == id) (reference.HasDigest ? digests : tags).Add(reference.FamiliarString);

        long size = 0;
        foreach (var layer in stored.Layers) size += layers.TryGet(layer)?.SizeBytes ?? 0;
        return new Image
        {
            Id = id,
            Config = parsed.Config,
            ConfigBytes = parsed.Bytes,
            Platform = parsed.Platform,
            Created = parsed.Created,
            DiffIds = stored.Layers,
            SizeBytes = size,
            LayerDirectories = Directories(stored.Layers),
            RepoTags = tags,
            RepoDigests = digests,
            Parent = stored.Parent,
            LastTagTime = stored.LastTagTime,
        };
    }

    private ParsedConfig Config(Digest id) => configs.GetOrAdd(id, static (id, blobs) =>
    {
        var bytes = blobs.TryRead(id) ?? throw ImageException.Failed($"the configuration of image {id} is missing");
        return ParseConfig(bytes);
    }, blobs);

    private static ParsedConfig ParseConfig(byte[] bytes)
    {
        ImageConfig config;
        try
        {
            config = JsonSerializer.Deserialize(bytes, ImagesJson.Default.ImageConfig) ?? throw ImageException.Failed("invalid image JSON, no RootFS key");
        }
        catch (JsonException e)
        {
            throw ImageException.Failed($"invalid image JSON: {e.Message}", e);
        }
        if (config.RootFs is null) throw ImageException.Failed("invalid image JSON, no RootFS key");
        var platform = new Platform(NonEmpty(config.Os, "linux"), NonEmpty(config.Architecture, Platform.Host.Architecture), config.Variant ?? "", config.OsVersion ?? "");
        return new ParsedConfig(bytes, config, platform, ParseTime(config.Created));
    }

    private static string NonEmpty(string? text, string otherwise) => string.IsNullOrEmpty(text) ? otherwise : text;

    private static DateTimeOffset? ParseTime(string? text) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var time) ? time : null;

    // ---- adding

    /// <summary>Layers that an operation in progress counts on; they are not removed meanwhile.</summary>
    private sealed class Hold(ImageStore store) : IDisposable
    {
        private readonly List<Digest> layers = [];
        private int unsynced;

        /// <summary>Holds the layer if it is there.</summary>
        public bool TryAdd(Digest diffId)
        {
            lock (store.gate)
            {
                if (!store.layers.Contains(diffId)) return false;
                Add(diffId);
                return true;
            }
        }

        /// <summary>Gives an unpacked layer its name and holds it.</summary>
        public void Publish(UnpackedLayer layer)
        {
            lock (store.gate)
            {
                Add(layer.DiffId);
                layer.Publish();
            }
            Volatile.Write(ref unsynced, 1);
            store.ShareLater();
        }

        /// <summary>Returns when the layers published so far are on the disk: one syncfs for all of them, for an fsync of each file takes many times as long.</summary>
        public void MakeDurable()
        {
            if (Interlocked.Exchange(ref unsynced, 0) == 0) return;
            var clock = System.Diagnostics.Stopwatch.StartNew();
            FileSystemSync.Sync(store.temporaryDirectory);
            ImagesLog.Synced(store.options.Logger, clock.ElapsedMilliseconds);
        }

        /// <summary>As <see cref="MakeDurable"/>, for callers on threads of the pool: it may take as long as the disk does.</summary>
        public Task MakeDurableAsync() => Task.Factory.StartNew(MakeDurable, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

        private void Add(Digest diffId)
        {
            store.held[diffId] = store.held.GetValueOrDefault(diffId) + 1;
            lock (layers) layers.Add(diffId);
        }

        public void Dispose()
        {
            List<string> doomed;
            lock (store.gate)
            {
                foreach (var layer in layers)
                    if (--store.held[layer] == 0)
                        store.held.Remove(layer);
                doomed = store.DetachUnused(layers);
            }
            store.Discard(doomed);
        }
    }

    // Makes the image exist, with all its names, in one step: after its layers are on the disk, so that a machine that loses power has whole images or none.
    // The manifest it came with is kept for when it is pushed.
    private Digest Commit(Hold hold, byte[] config, IEnumerable<ImageReference> references, Digest parent = default, byte[]? manifest = null, byte[]? index = null)
    {
        hold.MakeDurable();
        var parsed = ParseConfig(config);
        var diffIds = DiffIds(parsed.Config);
        var id = Digest.Sha256(config);
        lock (gate)
        {
            foreach (var layer in diffIds)
                if (!layers.Contains(layer)) throw ImageException.Failed($"layer {layer} of image {id} is missing");
            blobs.Put(config);
            configs[id] = parsed;
            var changed = images.TryAdd(id, new StoredImage(diffIds, parent, null, default));
            Digest outdated = default;
            if (manifest is not null && blobs.Put(manifest) is var stored && stored != images[id].Manifest)
            {
                outdated = images[id].Manifest;
                images[id] = images[id] with { Manifest = stored };
                changed = true;
            }
            var before = Indexes();
            foreach (var reference in references)
            {
                var known = names.TryGetValue(reference.ToString(), out var old);
                // A digest means one image for good. An index's digest pulled for a second platform keeps the first, and stands for both.
                var now = new Name(reference, known && reference.HasDigest ? old.Image : id, index is null ? null : Join(known ? old : null, id, index));
                if (known && reference.HasDigest && index is null) continue;
                changed |= !known || !old.Equals(now);
                names[reference.ToString()] = now;
            }
            if (changed) WriteState();
            if (!outdated.IsEmpty) RemoveDocument(outdated);
            RemoveUnused(before);
        }
        foreach (var layer in diffIds) Forget(layer);
        return id;
    }

    private static IReadOnlyList<Digest> DiffIds(ImageConfig config) => [.. (config.RootFs?.DiffIds ?? []).Select(Digest.Parse)];

    // The words of Docker's image.CheckOS.
    private static void RequireLinux(Platform platform)
    {
        if (!platform.Os.Equals("linux", StringComparison.OrdinalIgnoreCase))
            throw ImageException.Failed($"cannot load {platform.Os} image on linux");
    }

    // ---- state on disk

    private void ReadState()
    {
        if (DiskFile.TryRead(statePath, MaxStateBytes) is not { } bytes) return;
        StoreState state;
        try
        {
            state = JsonSerializer.Deserialize(bytes, ImagesJson.Default.StoreState) ?? throw new JsonException("empty");
        }
        catch (JsonException e)
        {
            throw ImageException.Failed($"{statePath} is damaged: {e.Message}", e);
        }
        foreach (var (idText, record) in state.Images)
        {
            var id = Digest.Parse(idText);
            Digest.TryParse(record.Parent, out var parent);
            Digest[] diffIds = [.. record.Layers.Select(Digest.Parse)];
            var missing = diffIds.FirstOrDefault(layer => !layers.Contains(layer));
            if (!missing.IsEmpty || !blobs.Contains(id))
            {
                ImagesLog.Incomplete(options.Logger, id, missing.IsEmpty ? "its configuration is missing" : $"layer {missing} is missing");
                continue;
            }
            images[id] = new StoredImage(diffIds, parent, record.LastTagTime, Digest.TryParse(record.Manifest, out var manifest) ? manifest : default);
        }
        foreach (var (text, idText) in state.Names)
            if (ImageReference.TryParse(text, out var reference) && Digest.TryParse(idText, out var id) && images.ContainsKey(id))
                names[text] = new Name(reference, id, ReadIndex(state, text));
    }

    private void WriteState()
    {
        var state = new StoreState
        {
            Images = images.ToDictionary(i => i.Key.ToString(), i => new ImageRecord
            {
                Layers = [.. i.Value.Layers.Select(l => l.ToString())],
                Parent = i.Value.Parent.IsEmpty ? null : i.Value.Parent.ToString(),
                LastTagTime = i.Value.LastTagTime,
                Manifest = i.Value.Manifest.IsEmpty ? null : i.Value.Manifest.ToString(),
            }),
        };
        foreach (var (text, name) in names)
        {
            state.Names[text] = name.Image.ToString();
            if (name.Index is { } index) (state.Indexes ??= new(StringComparer.Ordinal))[text] = index.ToRecord();
        }
        DiskFile.Replace(statePath, JsonSerializer.SerializeToUtf8Bytes(state, ImagesJson.Default.StoreState), sync: true);
    }

    // Nothing else runs yet. What is unfinished or unreferenced now was left by a process that was killed.
    private void Sweep()
    {
        var count = 0;
        // Trees can be large: they are deleted while the daemon answers already. What is made from now on has other names.
        var doomed = Directory.EnumerateFileSystemEntries(temporaryDirectory).ToList();
        var needed = images.Values.SelectMany(i => i.Layers).Concat(containers.Values.SelectMany(c => c.Layers)).Concat(kept).Concat(pinned).ToHashSet();
        foreach (var layer in layers.All().Where(l => !needed.Contains(l)).ToList())
        {
            if (layers.Detach(layer) is { } path) doomed.Add(path);
        }
        Discard(doomed);
        count += doomed.Count;
        HashSet<Digest> documents = [.. images.Values.Select(i => i.Manifest), .. Indexes()];
        foreach (var blob in blobs.All().Where(b => !images.ContainsKey(b) && !documents.Contains(b)).ToList())
        {
            blobs.Remove(blob);
            count++;
        }
        if (count > 0) ImagesLog.Swept(options.Logger, count, temporaryDirectory);
    }

    // Takes away the names of those layers that nothing needs; to be called with the gate held, the results discarded without it.
    private List<string> DetachUnused(IEnumerable<Digest> candidates)
    {
        var doomed = new List<string>();
        HashSet<Digest>? needed = null;
        foreach (var layer in candidates.Distinct())
        {
            if (held.ContainsKey(layer) || kept.Contains(layer)) continue;
            needed ??= [.. images.Values.SelectMany(i => i.Layers), .. containers.Values.SelectMany(c => c.Layers), .. pinned];
            if (!needed.Contains(layer) && layers.Detach(layer) is { } path) doomed.Add(path);
        }
        return doomed;
    }

    // They have no names any more: nobody waits for their deletion, and what a crash leaves of them the next start sweeps.
    private void Discard(List<string> doomed)
    {
        if (doomed.Count == 0) return;
        lock (discardGate)
        {
            discarding = discarding.ContinueWith(
                (_, state) =>
                {
                    foreach (var path in (List<string>)state!) layers.Discard(path);
                }, doomed, CancellationToken.None, TaskContinuationOptions.LongRunning, TaskScheduler.Default);
        }
    }

    /// <summary>Completes when what was removed until now is deleted.</summary>
    internal Task Discarding
    {
        get
        {
            lock (discardGate) return discarding;
        }
    }

    private void Tell(string action, Digest image, string? name = null, string? actor = null)
    {
        if (options.OnEvent is not { } listener) return;
        configs.TryGetValue(image, out var config);
        lock (eventGate)
        {
            try
            {
                listener(new ImageEvent(action, actor ?? image.ToString(), name ?? image.ToString(), config?.Config.Config?.Labels));
            }
            catch (Exception e)
            {
                ImagesLog.ListenerFailed(options.Logger, e);
            }
        }
    }
}
