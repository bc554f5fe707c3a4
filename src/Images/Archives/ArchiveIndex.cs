using System.Text.Json;
using Berth.Images.Layers;

namespace Berth.Images.Archives;

/// <summary>An image that an archive holds: its configuration, the members that are its layers (lowest first), its names.</summary>
/// <param name="Manifest">Of an OCI layout: its manifest.</param>
/// <param name="Index">The index among whose images it is, when that is what has the names.</param>
/// <param name="More">Others of the same index follow.</param>
internal sealed record ArchivedImage(byte[] Config, IReadOnlyList<string> Layers, IReadOnlyList<ImageReference> Names, byte[]? Manifest = null, byte[]? Index = null, bool More = false);

/// <summary>Reads what an archive says about its images, in whichever of the three forms it comes.</summary>
internal static class ArchiveIndex
{
    /// <summary>Indexes within indexes.</summary>
    private const int MaxNesting = 4;

    /// <summary>Images of one index that are loaded: one per platform there is, and some.</summary>
    private const int MaxImagesOfIndex = 200;

    public static IEnumerable<ArchivedImage> Images(Archive archive, Platform? platform)
    {
        // docker save since 25 writes both; the manifest.json is what it means for Docker. Only of images for several platforms the other one knows more.
        if (archive.Contains("manifest.json") && !(archive.Contains("index.json") && HasIndexes(archive))) return DockerArchive(archive);
        if (archive.Contains("index.json")) return OciLayout(archive, platform);
        return LegacyArchive.Images(archive);
    }

    private static IEnumerable<ArchivedImage> DockerArchive(Archive archive)
    {
        var items = Parse(archive.Content("manifest.json"), "manifest.json", ImagesJson.Default.ListArchiveManifestItem)
                    ?? throw ImageException.Failed("invalid manifest, manifest cannot be null (but can be [])");
        foreach (var item in items)
            yield return new ArchivedImage(archive.Content(item?.Config ?? throw ImageException.Failed("invalid manifest, an image has no configuration")), item.Layers ?? [], [.. (item.RepoTags ?? []).Select(Tag)]);
    }

    private static ImageReference Tag(string text)
    {
        var reference = ImageReference.Parse(text);
        return reference is { HasTag: true, HasDigest: false } ? reference : throw ImageException.Failed($"invalid tag \"{text}\"");
    }

    private static IEnumerable<ArchivedImage> OciLayout(Archive archive, Platform? platform)
    {
        var index = Manifest.Parse(archive.Content("index.json"));
        var entries = (index.Manifests ?? throw ImageException.Failed("index.json has no manifests")).Where(e => !e.IsAttestation).ToList();
        // An index may list the same image for several platforms side by side; then only those for this machine are meant.
        var wanted = platform ?? Platform.Host;
        bool Fits(Descriptor e) => e.Platform is not { IsEmpty: false } its || wanted.Accepts(its.ToPlatform());
        if (platform is not null || entries.Any(Fits)) entries = [.. entries.Where(Fits)];
        if (entries.Count == 0 && index.Manifests.Count > 0) throw ImageException.NotFound($"no matching manifest for {wanted} in the manifest list entries");

        foreach (var entry in entries)
        {
            var bytes = archive.Blob(entry.Digest);
            var isIndex = Manifest.Parse(bytes).IsIndex;
            List<(byte[] Bytes, Manifest Manifest, Descriptor Entry)> found = [];
            Collect(archive, entry, bytes, 0, found);
            // An archive often holds only one of the platforms that its index lists. Those that are there are all loaded, unless one was asked for; the best of them comes last.
            var ranked = found.Select(f => (Found: f, Rank: RankOf(archive, f.Entry, f.Manifest, wanted))).OrderBy(r => r.Rank < 0 ? int.MaxValue : r.Rank).ToList();
            if (platform is not null && isIndex) ranked = [.. ranked.Where(r => r.Rank >= 0).Take(1)];
            if (ranked.Count == 0) throw ImageException.NotFound($"no matching manifest for {wanted} in the manifest list entries");
            for (var i = ranked.Count - 1; i >= 0; i--)
            {
                var (data, manifest, _) = ranked[i].Found;
                yield return new ArchivedImage(archive.Blob(manifest.Config!.Digest), [.. (manifest.Layers ?? []).Select(l => Archive.BlobPath(l.Digest))], Names(entry), data, isIndex ? bytes : null, More: i > 0);
            }
        }
    }

    private static bool HasIndexes(Archive archive) =>
        Manifest.Parse(archive.Content("index.json")).Manifests?.Any(e => e.MediaType is MediaTypes.OciIndex or MediaTypes.DockerManifestList) == true;

    // The images beneath an entry that are in the archive.
    private static void Collect(Archive archive, Descriptor entry, byte[] bytes, int nesting, List<(byte[] Bytes, Manifest Manifest, Descriptor Entry)> found)
    {
        if (nesting > MaxNesting) throw ImageException.Failed($"index {entry.Digest} is nested deeper than {MaxNesting}");
        if (found.Count >= MaxImagesOfIndex) throw ImageException.Failed($"index {entry.Digest} has more than {MaxImagesOfIndex} images");
        var manifest = Manifest.Parse(bytes);
        if (!manifest.IsIndex)
        {
            if (!found.Exists(f => f.Bytes.AsSpan().SequenceEqual(bytes))) found.Add((bytes, manifest, entry));
            return;
        }
        foreach (var below in manifest.Manifests!)
            if (!below.IsAttestation && archive.Contains(Archive.BlobPath(below.Digest)))
                Collect(archive, below, archive.Blob(below.Digest), nesting + 1, found);
    }

    private static int RankOf(Archive archive, Descriptor entry, Manifest manifest, Platform wanted)
    {
        if (entry.Platform is { IsEmpty: false } its) return wanted.Rank(its.ToPlatform());
        // The index does not say; the configuration does.
        var config = Parse(archive.Blob(manifest.Config!.Digest), "configuration", ImagesJson.Default.ImageConfig);
        return wanted.Rank(new Platform(config?.Os ?? "linux", config?.Architecture ?? "", config?.Variant ?? ""));
    }

    private static IReadOnlyList<ImageReference> Names(Descriptor entry)
    {
        if (entry.Annotations is not { } annotations) return [];
        if (annotations.TryGetValue("io.containerd.image.name", out var name)) return [Named(name)];
        // By the specification this is often a tag alone ("latest"), which names nothing without a repository.
        if (annotations.TryGetValue("org.opencontainers.image.ref.name", out name) && name.AsSpan().ContainsAny('/', ':') && ImageReference.TryParse(name, out _)) return [Named(name)];
        return [];
    }

    private static ImageReference Named(string text)
    {
        var reference = ImageReference.Parse(text);
        return reference.HasDigest ? reference.NameOnly().WithTag(reference.Tag ?? ImageReference.DefaultTag) : reference.WithDefaultTag();
    }

    internal static T? Parse<T>(byte[] json, string what, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(json, type);
        }
        catch (JsonException e)
        {
            throw ImageException.Failed($"{what}: {e.Message}", e);
        }
    }
}
