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
            return new ContentSource(registry, (diffId, blob, stop) => store.PullLayerAsync(registry, diffId, blob, hold, new ProgressSink(progress, store.options.Time), stop));
        });

        private LayerSource Open(Digest diffId)
        {
            var tar = store.layers.OpenTar(diffId);
            return new LayerSource(tar, tar.TarBytes, store.layers.TryGet(diffId)?.SizeBytes ?? tar.TarBytes);
        }

        private string NewFile() => Path.Combine(directory, "blob-" + Interlocked.Increment(ref count).ToString(System.Globalization.CultureInfo.InvariantCulture));
    }

    /// <summary>A repository of a registry, read from.</summary>
    public sealed class ContentSource : IDisposable
    {
        private readonly RegistryClient registry;
        private readonly Func<Digest, Descriptor, CancellationToken, Task> pull;

        internal ContentSource(RegistryClient registry, Func<Digest, Descriptor, CancellationToken, Task> pull) => (this.registry, this.pull) = (registry, pull);

        /// <exception cref="ImageException">NotFound, System: in the registry's words.</exception>
        public Task<byte[]> GetManifestAsync(string tagOrDigest, CancellationToken cancellation) => InWords(async () => (await registry.GetManifestAsync(tagOrDigest, cancellation).ConfigureAwait(false)).Bytes);

        /// <summary>A small blob, checked against its digest.</summary>
        public Task<byte[]> GetBlobAsync(Digest digest, CancellationToken cancellation) => InWords(async () =>
        {
            var bytes = await registry.GetBlobAsync(digest, cancellation).ConfigureAwait(false);
            return digest.Verifies(bytes) ? bytes : throw ImageException.Failed($"blob {digest} is not what its digest says");
        });

        /// <summary>Unpacks a layer, unless it is here; the session keeps it.</summary>
        public Task FetchLayerAsync(Digest diffId, Descriptor blob, CancellationToken cancellation) => InWords(async () =>
        {
            await pull(diffId, blob, cancellation).ConfigureAwait(false);
            return true;
        });

        public void Dispose() => registry.Dispose();
    }
}
