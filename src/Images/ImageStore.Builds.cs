using System.Text.Json;
using Berth.Images.Layers;
using Berth.Images.Storage;
using Berth.Linux;

namespace Berth.Images;

public sealed partial class ImageStore
{
    // Layers that a build cache keeps although no image has them.
    private HashSet<Digest> pinned = [];

    private string PinsPath => Path.Combine(Path.GetDirectoryName(statePath)!, "pins.json");

    /// <summary>For a build: layers in the making, and held layers, until it is disposed of.</summary>
    public LayerSession OpenSession() => new(this);

    /// <summary>From now on these are kept, and across restarts, whether an image has them or not; those of the call before are not any more.</summary>
    public void Pin(IEnumerable<Digest> diffIds)
    {
        List<string> doomed;
        lock (gate)
        {
            var before = pinned;
            pinned = [.. diffIds];
            if (pinned.SetEquals(before)) return;
            DiskFile.Replace(PinsPath, JsonSerializer.SerializeToUtf8Bytes(pinned.Select(d => d.ToString()).ToList(), ImagesJson.Default.ListString), sync: false);
            doomed = DetachUnused(before.Except(pinned));
        }
        Discard(doomed);
    }

    /// <summary>The layers that images have.</summary>
    public IReadOnlySet<Digest> LayersOfImages()
    {
        var all = new HashSet<Digest>();
        lock (gate)
            foreach (var image in images.Values) all.UnionWith(image.Layers);
        return all;
    }

    private void ReadPins()
    {
        if (DiskFile.TryRead(PinsPath, MaxStateBytes) is not { } bytes) return;
        try
        {
            pinned = [.. (JsonSerializer.Deserialize(bytes, ImagesJson.Default.ListString) ?? []).Select(d => Digest.TryParse(d, out var digest) ? digest : default).Where(d => !d.IsEmpty)];
        }
        catch (JsonException)
        {
            pinned = []; // a cache, after all
        }
    }

    /// <summary>See <see cref="OpenSession"/>. Safe for concurrent use.</summary>
    public sealed partial class LayerSession : IDisposable
    {
        private readonly ImageStore store;
        private readonly Hold hold;
        private readonly string directory;
        private readonly List<IDisposable> kept = [];
        private int count;

        internal LayerSession(ImageStore store)
        {
            this.store = store;
            hold = new Hold(store);
            directory = Path.Combine(store.temporaryDirectory, Path.GetRandomFileName());
            Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        /// <summary>For files of the session's own; gone with it, and swept after a crash.</summary>
        public string NewDirectory()
        {
            var path = Path.Combine(directory, Interlocked.Increment(ref count).ToString(System.Globalization.CultureInfo.InvariantCulture));
            MakeDirectory(path, 0x1ED);
            return path;
        }

        /// <summary>Disposes of something with the session.</summary>
        public T Keep<T>(T one) where T : IDisposable
        {
            lock (kept) kept.Add(one);
            return one;
        }

        /// <summary>Keeps the layers; false, and none kept for this call's sake, when one is not there.</summary>
        public bool TryHold(IReadOnlyList<Digest> diffIds) => diffIds.All(hold.TryAdd);

        /// <summary>Directories of these layers, topmost first.</summary>
        /// <param name="mountPoints">Also the places for a container's mounts: for running something, not for copying from.</param>
        public IReadOnlyList<string> Directories(IReadOnlyList<Digest> diffIds, bool mountPoints) => mountPoints ? [.. store.Directories(diffIds), store.StepMountPoints] : [.. store.Directories(diffIds)];

        public LayerFileReader OpenFiles(IReadOnlyList<Digest> diffIds) => new([.. store.Directories(diffIds)]);

        /// <summary>An empty layer to write to, on those given (lowest first).</summary>
        /// <exception cref="ImageException">System: too many.</exception>
        public WritableLayer NewLayer(IReadOnlyList<Digest> diffIds)
        {
            if (diffIds.Count >= MaxLayers) throw ImageException.Failed($"the image would have more than {MaxLayers} layers");
            var path = NewDirectory();
            MakeDirectory(Path.Combine(path, "upper"), 0x1ED);
            MakeDirectory(Path.Combine(path, "work"), 0x1C0);
            return new WritableLayer(Path.Combine(path, "upper"), Path.Combine(path, "work"), Directories(diffIds, mountPoints: true));
        }

        /// <summary>Makes what was written a layer, and keeps it. Nobody may write to it any more.</summary>
        /// <returns>Its diff id; one that is empty is a layer, too.</returns>
        /// <param name="latestSeconds">Times later than this become this.</param>
        public async Task<Digest> SealAsync(WritableLayer layer, long? latestSeconds, CancellationToken cancellation)
        {
            try
            {
                if (!Directory.EnumerateFileSystemEntries(layer.UpperDirectory).Any() && hold.TryAdd(EmptyLayer)) return EmptyLayer;
                using var unpacked = await Task.Factory.StartNew(() => store.layers.TryAdopt(layer.UpperDirectory, latestSeconds, cancellation), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default)
                    .ConfigureAwait(false) ?? await store.UnpackTreeAsync(layer.UpperDirectory, cancellation, latestSeconds).ConfigureAwait(false);
                hold.Publish(unpacked);
                return unpacked.DiffId;
            }
            finally
            {
                Discard(layer);
            }
        }

        /// <summary>Throws away what was written.</summary>
        public void Discard(WritableLayer layer) => store.Discard([Path.GetDirectoryName(layer.UpperDirectory)!]);

        /// <summary>Bytes of a layer's files.</summary>
        public long SizeOf(Digest diffId) => store.layers.TryGet(diffId)?.SizeBytes ?? 0;

        /// <summary>Makes an image of layers this session keeps.</summary>
        /// <param name="config">The image's configuration: its digest becomes the id.</param>
        public async Task<Digest> CreateImageAsync(ImageConfig config, IReadOnlyList<ImageReference> names)
        {
            await hold.MakeDurableAsync().ConfigureAwait(false);
            var id = store.Commit(hold, config.ToBytes(), []);
            foreach (var name in names) store.Tag(id, name);
            return id;
        }

        /// <summary>Makes images for several platforms of layers this session keeps, and gives names to the index that has them: <see cref="NewDocuments"/>.</summary>
        /// <param name="root">The index, which is among the documents with all that it names but layers.</param>
        /// <param name="preferred">Which of them the names mean to who asks for none.</param>
        /// <returns>The id of that one.</returns>
        public async Task<Digest> CreateIndexAsync(Descriptor root, DocumentTarget documents, IReadOnlyList<ImageReference> names, Platform preferred)
        {
            await hold.MakeDurableAsync().ConfigureAwait(false);
            return store.CommitIndex(hold, root, documents.Documents, names, preferred);
        }

        public void Dispose()
        {
            lock (kept)
                foreach (var one in kept) one.Dispose();
            hold.Dispose();
            store.Discard([directory]);
        }
    }
}
