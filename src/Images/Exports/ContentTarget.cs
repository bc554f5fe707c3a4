using System.Security.Cryptography;
using Berth.Images.Archives;
using Berth.Images.Layers;
using Berth.Images.Registry;

namespace Berth.Images;

/// <summary>
/// Where an image, or anything else that consists of blobs and manifests, is put: a repository of a registry, or an archive. Blobs come before the manifests that name them.
/// </summary>
public abstract class ContentTarget : IDisposable
{
    /// <summary>A layer that is held, in the form that this target wants or has it in.</summary>
    /// <returns>With OCI's media type.</returns>
    public abstract Task<Descriptor> AddLayerAsync(Digest diffId, CancellationToken cancellation);

    public abstract Task AddBlobAsync(Digest digest, ReadOnlyMemory<byte> content, CancellationToken cancellation);

    /// <param name="tag">What it is called there; null: nothing but its digest.</param>
    public abstract Task AddManifestAsync(Descriptor manifest, ReadOnlyMemory<byte> content, string? tag, CancellationToken cancellation);

    public virtual void Dispose() => GC.SuppressFinalize(this);
}

/// <summary>A repository of a registry.</summary>
internal sealed class RepositoryTarget(RegistryClient registry, ImageReference name, LayerForm form, Func<Digest, LayerSource> open, Func<string> newFile, KnownBlobs known, ProgressSink sink, ImageStoreOptions options,
    Func<Func<Task>, CancellationToken, Task> patiently) : ContentTarget
{
    public override async Task<Descriptor> AddLayerAsync(Digest diffId, CancellationToken cancellation)
    {
        // What a registry has of it already stays as it is, unless the form is insisted on.
        if (form.IsPlainGzip || (!form.Force && known.Of(diffId).Any(b => b.Repositories.Count > 0)))
        {
            var there = await new LayerUpload(registry, known, name.NameOnly(), diffId, () => open(diffId), anyCompression: !form.Force, sink, options).RunAsync(null, cancellation).ConfigureAwait(false);
            return there with { MediaType = LayerTypes.In(oci: true, there.MediaType ?? "") };
        }
        if (await FindAsync(diffId, cancellation).ConfigureAwait(false) is { } same) return same;
        Descriptor blob;
        var path = newFile();
        try
        {
            blob = await LayerFile.WriteAsync(path, open(diffId), form, cancellation).ConfigureAwait(false);
            await patiently(() => UploadAsync(blob.Digest, path, cancellation), cancellation).ConfigureAwait(false);
        }
        finally
        {
            File.Delete(path);
        }
        known.Add(diffId, blob, name.NameOnly().Name);
        sink.Update(diffId.ShortId, "Pushed");
        return blob;
    }

    private async Task<Descriptor?> FindAsync(Digest diffId, CancellationToken cancellation)
    {
        foreach (var blob in known.Of(diffId))
        {
            if (LayerTypes.In(oci: true, blob.MediaType) != form.MediaType || !blob.Repositories.Contains(name.Name)) continue;
            if (await registry.FindBlobAsync(Digest.Parse(blob.Digest), cancellation).ConfigureAwait(false) is not null) return new Descriptor { MediaType = form.MediaType, DigestText = blob.Digest, SizeBytes = blob.SizeBytes };
        }
        return null;
    }

    private async Task UploadAsync(Digest digest, string path, CancellationToken cancellation)
    {
        if (await registry.FindBlobAsync(digest, cancellation).ConfigureAwait(false) is not null) return;
        var upload = (await registry.StartUploadAsync(default, null, cancellation).ConfigureAwait(false))!;
        upload = await registry.SendUploadAsync(upload, () => new StreamContent(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0)), cancellation).ConfigureAwait(false);
        await registry.FinishUploadAsync(upload, digest, default, cancellation).ConfigureAwait(false);
    }

    public override Task AddBlobAsync(Digest digest, ReadOnlyMemory<byte> content, CancellationToken cancellation) => patiently(async () =>
    {
        if (await registry.FindBlobAsync(digest, cancellation).ConfigureAwait(false) is not null) return;
        var upload = await registry.StartUploadAsync(default, null, cancellation).ConfigureAwait(false);
        await registry.FinishUploadAsync(upload!, digest, content, cancellation).ConfigureAwait(false);
    }, cancellation);

    public override Task AddManifestAsync(Descriptor manifest, ReadOnlyMemory<byte> content, string? tag, CancellationToken cancellation) =>
        patiently(() => registry.PutManifestAsync(tag ?? manifest.DigestText!, content, manifest.MediaType!, cancellation), cancellation);

    public override void Dispose()
    {
        registry.Dispose();
        base.Dispose();
    }
}

/// <summary>
/// An OCI layout as one tar, and a docker-archive at the same time if that is wanted. What is compressed lies in files of the session until the archive is written.
/// </summary>
public sealed class LayoutArchive : ContentTarget
{
    private readonly LayerForm form;
    private readonly Func<Digest, LayerSource> open;
    private readonly Func<string> newFile;
    private readonly ArchiveMembers members;
    private readonly List<Descriptor> entries = [];
    private readonly Dictionary<Digest, Descriptor> layers = [];

    internal LayoutArchive(LayerForm form, Func<Digest, LayerSource> open, Func<string> newFile, LayerStore store) => (this.form, this.open, this.newFile, members) = (form, open, newFile, new ArchiveMembers(store));

    public override async Task<Descriptor> AddLayerAsync(Digest diffId, CancellationToken cancellation)
    {
        if (layers.TryGetValue(diffId, out var there)) return there;
        if (form.Compression == LayerCompression.None)
        {
            using var tar = open(diffId);
            members.AddLayer(Archive.BlobPath(diffId), diffId, tar.TarBytes);
            return layers[diffId] = new Descriptor { MediaType = form.MediaType, DigestText = diffId.ToString(), SizeBytes = tar.TarBytes };
        }
        var path = newFile();
        var blob = await LayerFile.WriteAsync(path, open(diffId), form, cancellation).ConfigureAwait(false);
        members.AddFile(Archive.BlobPath(blob.Digest), path, blob.SizeBytes);
        return layers[diffId] = blob;
    }

    public override Task AddBlobAsync(Digest digest, ReadOnlyMemory<byte> content, CancellationToken cancellation)
    {
        members.Add(Archive.BlobPath(digest), content.ToArray());
        return Task.CompletedTask;
    }

    public override Task AddManifestAsync(Descriptor manifest, ReadOnlyMemory<byte> content, string? tag, CancellationToken cancellation) => AddBlobAsync(manifest.Digest, content, cancellation);

    /// <summary>What the archive is about: an entry of its index.</summary>
    /// <param name="names">One entry each; without any, one entry.</param>
    public void AddEntry(Descriptor target, IReadOnlyList<ImageReference> names)
    {
        if (names.Count == 0) entries.Add(target);
        foreach (var name in names)
        {
            var annotations = new SortedDictionary<string, string>(StringComparer.Ordinal);
            foreach (var (key, value) in target.Annotations ?? new Dictionary<string, string>()) annotations[key] = value;
            annotations["io.containerd.image.name"] = name.ToString();
            annotations["org.opencontainers.image.ref.name"] = name.Tag!;
            entries.Add(target with { Annotations = annotations });
        }
    }

    /// <summary>What docker load before 25 reads.</summary>
    public void AddDockerManifest(Digest config, IReadOnlyList<ImageReference> names, IReadOnlyList<Descriptor> blobs) => members.Add("manifest.json", ManifestText.Json(json =>
    {
        json.WriteStartArray();
        json.WriteStartObject();
        json.WriteString("Config", Archive.BlobPath(config));
        json.WriteStartArray("RepoTags");
        foreach (var name in names) json.WriteStringValue(name.FamiliarString);
        json.WriteEndArray();
        json.WriteStartArray("Layers");
        foreach (var blob in blobs) json.WriteStringValue(Archive.BlobPath(blob.Digest));
        json.WriteEndArray();
        json.WriteEndObject();
        json.WriteEndArray();
    }));

    /// <summary>Writes the archive; once. The same content gives the same bytes.</summary>
    public Task CopyToAsync(Stream output, CancellationToken cancellation)
    {
        members.Add("index.json", ManifestText.Index(oci: true, entries, null, indented: false));
        members.Add("oci-layout", """{"imageLayoutVersion":"1.0.0"}"""u8.ToArray());
        members.AddDirectories();
        return BlockPipe.ThroughAsync(stream => members.Write(stream, cancellation), output, cancellation);
    }
}

/// <summary>Takes down manifests and small blobs, for the image store: there layers lie unpacked, and of a form in which they could be sent only its digest is known.</summary>
public sealed class DocumentTarget : ContentTarget
{
    private readonly ContentTarget? other;
    private readonly Func<Digest, CancellationToken, Task<Descriptor>> describe;

    /// <param name="other">Where all of it goes as well; null: nowhere.</param>
    internal DocumentTarget(ContentTarget? other, Func<Digest, CancellationToken, Task<Descriptor>> describe) => (this.other, this.describe) = (other, describe);

    /// <summary>By their digests.</summary>
    internal Dictionary<Digest, byte[]> Documents { get; } = [];

    public override Task<Descriptor> AddLayerAsync(Digest diffId, CancellationToken cancellation) => other is null ? describe(diffId, cancellation) : other.AddLayerAsync(diffId, cancellation);

    public override Task AddBlobAsync(Digest digest, ReadOnlyMemory<byte> content, CancellationToken cancellation)
    {
        Documents[digest] = content.ToArray();
        return other?.AddBlobAsync(digest, content, cancellation) ?? Task.CompletedTask;
    }

    public override Task AddManifestAsync(Descriptor manifest, ReadOnlyMemory<byte> content, string? tag, CancellationToken cancellation)
    {
        Documents[manifest.Digest] = content.ToArray();
        return other?.AddManifestAsync(manifest, content, tag, cancellation) ?? Task.CompletedTask;
    }
}

/// <summary>Content that somebody else keeps.</summary>
internal sealed class StreamTarget(LayerForm form, Func<Digest, LayerSource> open, Func<string> newFile, Func<Descriptor, Stream, CancellationToken, Task> write) : ContentTarget
{
    public override async Task<Descriptor> AddLayerAsync(Digest diffId, CancellationToken cancellation)
    {
        var path = newFile();
        try
        {
            var blob = await LayerFile.WriteAsync(path, open(diffId), form, cancellation).ConfigureAwait(false);
            await using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            await write(blob, file, cancellation).ConfigureAwait(false);
            return blob;
        }
        finally
        {
            File.Delete(path);
        }
    }

    public override Task AddBlobAsync(Digest digest, ReadOnlyMemory<byte> content, CancellationToken cancellation) =>
        write(new Descriptor { DigestText = digest.ToString(), SizeBytes = content.Length }, new MemoryStream(content.ToArray(), writable: false), cancellation);

    public override Task AddManifestAsync(Descriptor manifest, ReadOnlyMemory<byte> content, string? tag, CancellationToken cancellation) => AddBlobAsync(manifest.Digest, content, cancellation);
}

/// <summary>A layer compressed into a file.</summary>
internal static class LayerFile
{
    public static async Task<Descriptor> WriteAsync(string path, LayerSource layer, LayerForm form, CancellationToken cancellation)
    {
        using (layer)
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            long total = 0;
            await using (var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0))
            {
                async ValueTask Take(ReadOnlyMemory<byte> block)
                {
                    hash.AppendData(block.Span);
                    total += block.Length;
                    await file.WriteAsync(block, cancellation).ConfigureAwait(false);
                }
                switch (form.Compression)
                {
                    case LayerCompression.Gzip:
                        using (var gzip = new BlockGzip(layer.Tar, level: form.Level ?? BlockGzip.Level)) await gzip.CopyToAsync(Take, cancellation).ConfigureAwait(false);
                        break;
                    default:
                        await Task.Factory.StartNew(() => Blocking(layer.Tar, form, block => Take(block).AsTask().GetAwaiter().GetResult(), cancellation), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
                        break;
                }
            }
            return new Descriptor { MediaType = form.MediaType, DigestText = Digest.FromSha256Hash(hash.GetHashAndReset()).ToString(), SizeBytes = total };
        }
    }

    private static void Blocking(Stream tar, LayerForm form, Action<ReadOnlyMemory<byte>> take, CancellationToken cancellation)
    {
        var input = new byte[BlockPipe.BlockBytes];
        if (form.Compression == LayerCompression.None)
        {
            for (int count; (count = tar.Read(input)) > 0;)
            {
                cancellation.ThrowIfCancellationRequested();
                take(input.AsMemory(0, count));
            }
            return;
        }
        var output = new byte[BlockPipe.BlockBytes];
        using var encoder = new Linux.ZstdEncoder(form.Level ?? Linux.ZstdEncoder.DefaultLevel);
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            var count = tar.ReadAtLeast(input, input.Length, throwOnEndOfStream: false);
            var last = count < input.Length;
            for (var at = 0; ;)
            {
                var done = encoder.Encode(input.AsSpan(at, count - at), output, last, out var consumed, out var produced);
                at += consumed;
                if (produced > 0) take(output.AsMemory(0, produced));
                if (last ? done : at == count) break;
            }
            if (last) return;
        }
    }
}
