using System.Text.Json;
using Berth.Images.Layers;

namespace Berth.Images.Archives;

/// <summary>An image that an archive holds: its configuration, the members that are its layers (lowest first), its names.</summary>
internal sealed record ArchivedImage(byte[] Config, IReadOnlyList<string> Layers, IReadOnlyList<ImageReference> Names);

/// <summary>Reads what an archive says about its images, in whichever of the three forms it comes.</summary>
internal static class ArchiveIndex
{
    /// <summary>Indexes within indexes.</summary>
    private const int MaxNesting = 4;

    public static IEnumerable<ArchivedImage> Images(Archive archive, Platform? platform)
    {
        // docker save since 25 writes both; the manifest.json is what it means for Docker.
        if (archive.Contains("manifest.json")) return DockerArchive(archive);
        if (archive.Contains("index.json")) return OciLayout(archive, platform);
        return LegacyArchive.Images(archive);
    }

    private static IEnumerable<ArchivedImage> DockerArchive(Archive archive)
    {
        var items = Parse(archive.Content("manifest.json"), "manifest.json", ImagesJson.Default.ListArchiveManifestItem)
                    ?? throw ImageException.Failed("invalid manifest, manifest cannot be null (but can be [])");
        foreach (var item in items)
            yield return new ArchivedImage(archive.Content(item.Config), item.Layers ?? [], [.. (item.RepoTags ?? []).Select(Tag)]);
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
            var manifest = Select(archive, entry.Digest, wanted, platform is not null, 0);
            var config = archive.Blob(manifest.Config!.Digest);
            yield return new ArchivedImage(config, [.. (manifest.Layers ?? []).Select(l => Archive.BlobPath(l.Digest))], Names(entry));
        }
    }

    private static Manifest Select(Archive archive, Digest digest, Platform wanted, bool strict, int nesting)
    {
        if (nesting > MaxNesting) throw ImageException.Failed($"index {digest} is nested deeper than {MaxNesting}");
        var manifest = Manifest.Parse(archive.Blob(digest));
        if (!manifest.IsIndex) return manifest;
        // An archive often holds only one of the platforms that its index lists.
        var present = manifest.Matching(wanted).FirstOrDefault(e => archive.Contains(Archive.BlobPath(e.Digest)));
        if (present is null && !strict && manifest.Manifests!.Where(e => !e.IsAttestation && archive.Contains(Archive.BlobPath(e.Digest))).ToList() is [var only])
            present = only; // an image for another machine, the only one there: Docker loads such archives as well
        return present is null
            ? throw ImageException.NotFound($"no matching manifest for {wanted} in the manifest list entries")
            : Select(archive, present.Digest, wanted, strict, nesting + 1);
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
