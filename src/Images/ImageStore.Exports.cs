using Berth.Images.Layers;
using Berth.Images.Registry;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Images;

public sealed partial class ImageStore
{
    // The first way to a registry that leads there.
    private async Task<RegistryClient> ConnectAsync(ImageReference name, RegistryCredentials? credentials, bool push, CancellationToken cancellation)
    {
        Exception? last = null;
        var speaksTls = new HashSet<string>();
        foreach (var endpoint in RegistryEndpoint.For(name.Domain, options.Registries, push))
        {
            if ((endpoint.Api.Scheme == "http" && speaksTls.Contains(endpoint.Api.Authority)) || (!push && !endpoint.CanResolve)) continue;
            var registry = new RegistryClient(transport, endpoint, name.Path, credentials, options, push ? "pull,push" : "pull");
            try
            {
                await registry.ReachAsync(cancellation).ConfigureAwait(false);
                return registry;
            }
            catch (Exception e)
            {
                registry.Dispose();
                if (e is not RegistryUnreachableException) throw;
                ImagesLog.NextWay(options.Logger, endpoint.Api, e.Message);
                last = e;
            }
        }
        throw ImageException.Failed(last?.Message ?? $"no endpoints found for {name.Name}", last);
    }

    private static async Task<T> InWords<T>(Func<Task<T>> work)
    {
        try
        {
            return await work().ConfigureAwait(false);
        }
        catch (RegistryException e)
        {
            throw new ImageException(e.Status == 404 ? ImageErrorKind.NotFound : ImageErrorKind.System, e.Code == RegistryException.NoCredentialsCode ? "no basic auth credentials" : e.Message, e);
        }
        catch (Exception e) when (e is HttpRequestException || (e is IOException and not LinuxException))
        {
            throw ImageException.Failed(e.Message, e);
        }
    }

    public sealed partial class LayerSession
    {
        /// <summary>The files of layers, lowest first, as a container would see them.</summary>
        /// <param name="epoch">Every time is this one, in seconds since 1970; null: as they are.</param>
        public FileSet OpenTree(IReadOnlyList<Digest> diffIds, long? epoch)
        {
            var lower = Directories(diffIds, mountPoints: false);
            if (lower.Count == 0) lower = [NewDirectory()];
            var tree = new PrivateMountTree(lower.Count > 1 ? DetachedMount.Overlay(lower, null, null, MountAttributes.ReadOnly | MountAttributes.NoDev) : DetachedMount.Bind(null, lower[0], recursive: false));
            return new TreeFiles(tree.Root, tree, epoch);
        }

        /// <summary>Makes a layer of a directory's files, and keeps it.</summary>
        public async Task<Digest> AddTreeAsync(string directory, CancellationToken cancellation)
        {
            using var unpacked = await store.UnpackTreeAsync(directory, cancellation).ConfigureAwait(false);
            hold.Publish(unpacked);
            return unpacked.DiffId;
        }

        /// <summary>An archive to put an image into.</summary>
        public LayoutArchive NewArchive(LayerForm form) => new(form, Open, NewFile, store.layers);

        /// <summary>For an index of the store: takes down what comes by on the way to another target, or, without one, what would.</summary>
        public DocumentTarget NewDocuments(ContentTarget? other) => new(other, DescribeLayerAsync);

        // In which form a registry has it; else the one that a push would give it.
        private async Task<Descriptor> DescribeLayerAsync(Digest diffId, CancellationToken cancellation)
        {
            foreach (var blob in store.known.Of(diffId))
                if (LayerTypes.In(oci: true, blob.MediaType) == new LayerForm().MediaType) return new Descriptor { MediaType = new LayerForm().MediaType, DigestText = blob.Digest, SizeBytes = blob.SizeBytes };
            var path = NewFile();
            try
            {
                var blob = await LayerFile.WriteAsync(path, Open(diffId), new LayerForm(), cancellation).ConfigureAwait(false);
                // In no repository yet; but what its digest is need not be found out again.
                store.known.Add(diffId, blob, null);
                return blob;
            }
            finally
            {
                File.Delete(path);
            }
        }

        /// <summary>A repository to push to.</summary>
        /// <exception cref="ImageException">System: no registry answers there.</exception>
        public Task<ContentTarget> OpenRepositoryAsync(ImageReference name, LayerForm form, RegistryCredentials? credentials, Action<ImageProgress> progress, CancellationToken cancellation) => InWords(async () =>
        {
            var registry = await store.ConnectAsync(name, credentials, push: true, cancellation).ConfigureAwait(false);
            return (ContentTarget)new RepositoryTarget(registry, name, form, Open, NewFile, store.known, new ProgressSink(progress, store.options.Time), store.options, store.PatientlyAsync);
        });

        /// <summary>A repository to read from.</summary>
        /// <exception cref="ImageException">System: no registry answers there.</exception>
        public Task<ContentSource> OpenSourceAsync(ImageReference name, RegistryCredentials? credentials, Action<ImageProgress> progress, CancellationToken cancellation) => InWords(async () =>
        {
            var registry = await store.ConnectAsync(name, credentials, push: false, cancellation).ConfigureAwait(false);
            return (ContentSource)new RegistrySource(registry, (diffId, blob, stop) => store.PullLayerAsync(registry, diffId, blob, hold, new ProgressSink(progress, store.options.Time), stop));
        });

        /// <summary>Content that somebody else keeps, read from.</summary>
        /// <param name="open">A blob by its digest.</param>
        public ContentSource OpenSource(Func<Digest, CancellationToken, Task<Stream>> open) => new StreamSource(open, async (diffId, blob, cancellation) =>
        {
            if (hold.TryAdd(diffId)) return;
            await using var stream = await open(blob.Digest, cancellation).ConfigureAwait(false);
            using var pipe = new BlockPipe();
            var filling = pipe.FillAsync(stream, null, cancellation);
            try
            {
                using var layer = await Task.Factory.StartNew(() => store.UnpackDownload(pipe.Reader, cancellation), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
                if (layer.DiffId != diffId) throw ImageException.Failed($"the layer {blob.DigestText} is not what its cache says");
                hold.Publish(layer);
            }
            finally
            {
                pipe.Dispose();
                await filling.ConfigureAwait(false);
            }
        });

        /// <summary>Content that somebody else keeps, written to.</summary>
        /// <param name="write">Takes a blob; it may have it already.</param>
        public ContentTarget OpenTarget(LayerForm form, Func<Descriptor, Stream, CancellationToken, Task> write) => new StreamTarget(form, Open, NewFile, write);

        private LayerSource Open(Digest diffId)
        {
            var tar = store.layers.OpenTar(diffId);
            return new LayerSource(tar, tar.TarBytes, store.layers.TryGet(diffId)?.SizeBytes ?? tar.TarBytes);
        }

        private string NewFile() => Path.Combine(directory, "blob-" + Interlocked.Increment(ref count).ToString(System.Globalization.CultureInfo.InvariantCulture));
    }

    private sealed class RegistrySource(RegistryClient registry, Func<Digest, Descriptor, CancellationToken, Task> pull) : ContentSource
    {
        public override Task<byte[]> GetManifestAsync(string tagOrDigest, CancellationToken cancellation) => InWords(async () => (await registry.GetManifestAsync(tagOrDigest, cancellation).ConfigureAwait(false)).Bytes);

        public override Task<byte[]> GetBlobAsync(Digest digest, CancellationToken cancellation) => InWords(async () =>
        {
            var bytes = await registry.GetBlobAsync(digest, cancellation).ConfigureAwait(false);
            return digest.Verifies(bytes) ? bytes : throw ImageException.Failed($"blob {digest} is not what its digest says");
        });

        public override Task FetchLayerAsync(Digest diffId, Descriptor blob, CancellationToken cancellation) => InWords(async () =>
        {
            await pull(diffId, blob, cancellation).ConfigureAwait(false);
            return true;
        });

        public override void Dispose()
        {
            registry.Dispose();
            base.Dispose();
        }
    }

    private sealed class StreamSource(Func<Digest, CancellationToken, Task<Stream>> open, Func<Digest, Descriptor, CancellationToken, Task> unpack) : ContentSource
    {
        public override Task<byte[]> GetManifestAsync(string tagOrDigest, CancellationToken cancellation) => GetBlobAsync(Digest.Parse(tagOrDigest), cancellation);

        public override async Task<byte[]> GetBlobAsync(Digest digest, CancellationToken cancellation)
        {
            await using var stream = await open(digest, cancellation).ConfigureAwait(false);
            using var bytes = new MemoryStream();
            var buffer = new byte[64 * 1024];
            for (int count; (count = await stream.ReadAsync(buffer, cancellation).ConfigureAwait(false)) > 0;)
            {
                bytes.Write(buffer, 0, count);
                if (bytes.Length > Manifest.MaxBytes) throw ImageException.Failed($"blob {digest} is larger than {Manifest.MaxBytes} bytes");
            }
            return digest.Verifies(bytes.ToArray()) ? bytes.ToArray() : throw ImageException.Failed($"blob {digest} is not what its digest says");
        }

        public override Task FetchLayerAsync(Digest diffId, Descriptor blob, CancellationToken cancellation) => unpack(diffId, blob, cancellation);
    }
}

/// <summary>Where manifests, blobs and layers are read from.</summary>
public abstract class ContentSource : IDisposable
{
    /// <exception cref="ImageException">NotFound, System: in the words of who has it.</exception>
    public abstract Task<byte[]> GetManifestAsync(string tagOrDigest, CancellationToken cancellation);

    /// <summary>A small blob, checked against its digest.</summary>
    public abstract Task<byte[]> GetBlobAsync(Digest digest, CancellationToken cancellation);

    /// <summary>Unpacks a layer, unless it is here; the session keeps it.</summary>
    public abstract Task FetchLayerAsync(Digest diffId, Descriptor blob, CancellationToken cancellation);

    public virtual void Dispose() => GC.SuppressFinalize(this);
}
