using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Berth.Images.Archives;
using Berth.Images.Layers;

namespace Berth.Images;

/// <summary>An image on its way into an archive, with the names it is to have there.</summary>
internal sealed class SavedImage(Image image)
{
    public Image Image { get; } = image;

    public List<ImageReference> Names { get; } = [];

    /// <summary>What its names stand for as well: the same for other platforms.</summary>
    public IReadOnlyList<SavedImage> Platforms { get; set; } = [];
}

/// <summary>
/// Images as one tar that is an OCI layout and a docker-archive at once, as docker save writes it since 25:
/// <code>
///   blobs/sha256/…   configurations, manifests, and the layers as plain tars, each once
///   index.json       OCI: the manifests with their names
///   manifest.json    Docker: configuration, names and layers of each image
///   oci-layout
///   repositories     Docker before 1.10
/// </code>
/// The same images give the same bytes. Nothing is written to disk: layers are put together as they are sent (<see cref="LayerTar"/>).
/// </summary>
public sealed class ImageArchive : IDisposable
{
    private const string LayerType = "application/vnd.oci.image.layer.v1.tar";

    private readonly IDisposable hold;
    private readonly ArchiveMembers members;

    internal ImageArchive(LayerStore layers, IReadOnlyList<SavedImage> images, IDisposable hold)
    {
        (this.hold, members) = (hold, new ArchiveMembers(layers));
        var epoch = DateTimeOffset.UnixEpoch;
        foreach (var saved in images)
        {
            var image = saved.Image;
            var created = image.Created is { } time && time > epoch ? time : epoch;
            foreach (var layer in image.DiffIds)
            {
                // Opened once now: whatever is missing is an error that still has a status.
                using (var tar = layers.OpenTar(layer)) members.AddLayer(Archive.BlobPath(layer), layer, tar.TarBytes, created);
            }
            members.Add(Archive.BlobPath(image.Id), image.ConfigBytes.ToArray(), created);
        }
        var manifests = images.ToDictionary(i => i, i => Manifest(i.Image));
        foreach (var bytes in manifests.Values) members.Add(Archive.BlobPath(Digest.Sha256(bytes)), bytes);
        // One index per image for several platforms, which has its names. Those that came along for it are in there, and nothing to Docker.
        HashSet<SavedImage> within = [.. images.SelectMany(i => i.Platforms).Where(i => i.Names.Count == 0)];
        var entries = new List<(SavedImage Saved, string Type, byte[] Bytes)>();
        foreach (var saved in images.Where(i => !within.Contains(i)))
        {
            if (saved.Platforms.Count == 0) entries.Add((saved, MediaTypes.OciManifest, manifests[saved]));
            else
            {
                var index = PlatformIndex([.. saved.Platforms.Append(saved).OrderBy(i => i.Image.Id).Select(i => (i.Image.Platform, manifests[i]))]);
                members.Add(Archive.BlobPath(Digest.Sha256(index)), index);
                entries.Add((saved, MediaTypes.OciIndex, index));
            }
        }
        members.Add("index.json", Index(entries));
        images = [.. images.Where(i => !within.Contains(i))];
        members.Add("manifest.json", DockerManifest(images));
        members.Add("oci-layout", """{"imageLayoutVersion": "1.0.0"}"""u8.ToArray());
        if (Repositories(images) is { } repositories) members.Add("repositories", repositories);
        if (images.Count > 0) members.AddDirectories();
    }

    /// <summary>Writes the archive; once.</summary>
    /// <exception cref="ImageException">A layer is damaged: what was written is not whole and must not look as if it were.</exception>
    public Task CopyToAsync(Stream output, CancellationToken cancellation) => BlockPipe.ThroughAsync(stream => members.Write(stream, cancellation), output, cancellation);

    /// <summary>The length of what <see cref="CopyToAsync"/> writes.</summary>
    public long MeasureBytes() => members.MeasureBytes();

    // ---- the documents, in the words and the order of Docker's

    private static byte[] Json(Action<Utf8JsonWriter> write, string end = "")
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping })) write(json);
        buffer.Write(Encoding.ASCII.GetBytes(end));
        return buffer.WrittenSpan.ToArray();
    }

    private static void Descriptor(Utf8JsonWriter json, string type, Digest digest, long bytes)
    {
        json.WriteString("mediaType", type);
        json.WriteString("digest", digest.ToString());
        json.WriteNumber("size", bytes);
    }

    private byte[] Manifest(Image image) => Json(json =>
    {
        json.WriteStartObject();
        json.WriteNumber("schemaVersion", 2);
        json.WriteString("mediaType", MediaTypes.OciManifest);
        json.WriteStartObject("config");
        Descriptor(json, MediaTypes.OciConfig, image.Id, image.ConfigBytes.Length);
        json.WriteEndObject();
        json.WriteStartArray("layers");
        foreach (var layer in image.DiffIds)
        {
            json.WriteStartObject();
            Descriptor(json, LayerType, layer, members.BytesOf(Archive.BlobPath(layer)));
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private static byte[] PlatformIndex(IReadOnlyList<(Platform Platform, byte[] Bytes)> manifests) => Json(json =>
    {
        json.WriteStartObject();
        json.WriteNumber("schemaVersion", 2);
        json.WriteString("mediaType", MediaTypes.OciIndex);
        json.WriteStartArray("manifests");
        foreach (var (platform, bytes) in manifests)
        {
            json.WriteStartObject();
            Descriptor(json, MediaTypes.OciManifest, Digest.Sha256(bytes), bytes.Length);
            json.WriteStartObject("platform");
            json.WriteString("architecture", platform.Architecture);
            json.WriteString("os", platform.Os);
            if (platform.OsVersion.Length > 0) json.WriteString("os.version", platform.OsVersion);
            if (platform.Variant.Length > 0) json.WriteString("variant", platform.Variant);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private static byte[] Index(IReadOnlyList<(SavedImage Saved, string Type, byte[] Bytes)> manifests) => Json(json =>
    {
        json.WriteStartObject();
        json.WriteNumber("schemaVersion", 2);
        json.WriteString("mediaType", MediaTypes.OciIndex);
        json.WriteStartArray("manifests");
        foreach (var (saved, type, bytes) in manifests)
        {
            foreach (var name in saved.Names.Count == 0 ? [null] : saved.Names.AsEnumerable<ImageReference?>())
            {
                json.WriteStartObject();
                Descriptor(json, type, Digest.Sha256(bytes), bytes.Length);
                if (name is not null)
                {
                    json.WriteStartObject("annotations");
                    json.WriteString("io.containerd.image.name", name.ToString());
                    json.WriteString("org.opencontainers.image.ref.name", name.Tag);
                    json.WriteEndObject();
                }
                json.WriteEndObject();
            }
        }
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private byte[] DockerManifest(IReadOnlyList<SavedImage> images) => Json(json =>
    {
        if (images.Count == 0)
        {
            json.WriteNullValue();
            return;
        }
        json.WriteStartArray();
        foreach (var saved in images)
        {
            var image = saved.Image;
            json.WriteStartObject();
            json.WriteString("Config", Archive.BlobPath(image.Id));
            if (saved.Names.Count == 0) json.WriteNull("RepoTags");
            else
            {
                json.WriteStartArray("RepoTags");
                foreach (var name in saved.Names) json.WriteStringValue(name.FamiliarString);
                json.WriteEndArray();
            }
            json.WriteStartArray("Layers");
            foreach (var layer in image.DiffIds) json.WriteStringValue(Archive.BlobPath(layer));
            json.WriteEndArray();
            if (images.Any(i => i.Image.Id == image.Parent)) json.WriteString("Parent", image.Parent.ToString());
            json.WriteStartObject("LayerSources");
            foreach (var layer in image.DiffIds.Distinct().Order())
            {
                json.WriteStartObject(layer.ToString());
                json.WriteString("mediaType", LayerType);
                json.WriteNumber("size", members.BytesOf(Archive.BlobPath(layer)));
                json.WriteString("digest", layer.ToString());
                json.WriteEndObject();
            }
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }, "\n");

    private static byte[]? Repositories(IReadOnlyList<SavedImage> images)
    {
        var repositories = new SortedDictionary<string, SortedDictionary<string, string>>(StringComparer.Ordinal);
        foreach (var saved in images)
        {
            if (saved.Image.DiffIds.Count == 0) continue; // it has no layer to be named by
            foreach (var name in saved.Names)
            {
                if (!repositories.TryGetValue(name.FamiliarName, out var tags)) repositories[name.FamiliarName] = tags = new SortedDictionary<string, string>(StringComparer.Ordinal);
                tags[name.Tag!] = saved.Image.DiffIds[^1].Hex;
            }
        }
        if (repositories.Count == 0) return null;
        return Json(json =>
        {
            json.WriteStartObject();
            foreach (var (repository, tags) in repositories)
            {
                json.WriteStartObject(repository);
                foreach (var (tag, layer) in tags) json.WriteString(tag, layer);
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }, "\n");
    }

    public void Dispose() => hold.Dispose();
}
