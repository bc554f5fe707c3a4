using System.Text.Json;
using System.Text.Json.Serialization;

namespace Berth.Images;

/// <summary>Media types of the OCI image-spec and of Docker's manifest v2 schema 2.</summary>
public static class MediaTypes
{
    public const string OciManifest = "application/vnd.oci.image.manifest.v1+json";
    public const string OciIndex = "application/vnd.oci.image.index.v1+json";
    public const string OciConfig = "application/vnd.oci.image.config.v1+json";
    public const string DockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
    public const string DockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json";
    public const string DockerConfig = "application/vnd.docker.container.image.v1+json";
    public const string DockerLayer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    public const string DockerSchema1 = "application/vnd.docker.distribution.manifest.v1+json";
    public const string DockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

/// <summary>Media types of layers: what they are compressed with, in OCI's words and in Docker's.</summary>
internal static class LayerTypes
{
    public static bool IsGzip(string mediaType) => mediaType.EndsWith("gzip", StringComparison.Ordinal) || mediaType.Length == 0;

    /// <summary>The media type of a layer in a manifest of the other kind, or of the same.</summary>
    public static string In(bool oci, string mediaType) => (oci, mediaType.EndsWith("zstd", StringComparison.Ordinal), IsGzip(mediaType) || !mediaType.EndsWith(".tar", StringComparison.Ordinal)) switch
    {
        (true, true, _) => "application/vnd.oci.image.layer.v1.tar+zstd",
        (true, _, true) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (true, _, _) => "application/vnd.oci.image.layer.v1.tar",
        (false, true, _) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        (false, _, true) => MediaTypes.DockerLayer,
        _ => "application/vnd.docker.image.rootfs.diff.tar",
    };
}

/// <summary>
/// An image manifest or an index of them, in OCI's form or Docker's, for reading only: the bytes have the digest.
/// </summary>
public sealed record Manifest
{
    /// <summary>Largest manifest read: Docker's limit, 4 MiB.</summary>
    public const int MaxBytes = 4 * 1024 * 1024;

    /// <summary>Most entries of an index, and most layers of a manifest, looked at.</summary>
    public const int MaxEntries = 10_000;

    [JsonPropertyName("schemaVersion")] public int SchemaVersion { get; init; }
    [JsonPropertyName("mediaType")] public string? MediaType { get; init; }
    [JsonPropertyName("config")] public Descriptor? Config { get; init; }
    [JsonPropertyName("layers")] public IReadOnlyList<Descriptor>? Layers { get; init; }
    [JsonPropertyName("manifests")] public IReadOnlyList<Descriptor>? Manifests { get; init; }
    [JsonPropertyName("annotations")] public IReadOnlyDictionary<string, string>? Annotations { get; init; }
    [JsonPropertyName("fsLayers")] public IReadOnlyList<JsonElement>? SchemaOneLayers { get; init; }

    public bool IsIndex => Manifests is not null;

    /// <exception cref="ImageException">Not JSON, or neither a manifest nor an index; also when it claims to be one and has the other's members.</exception>
    /// <param name="name">Of which image, for whoever has to ask its author for another format.</param>
    public static Manifest Parse(ReadOnlySpan<byte> json, ImageReference? name = null)
    {
        Manifest manifest;
        try
        {
            manifest = JsonSerializer.Deserialize(json, ImagesJson.Default.Manifest) ?? throw ImageException.Invalid("unsupported manifest format");
        }
        catch (JsonException e)
        {
            throw new ImageException(ImageErrorKind.InvalidParameter, $"the manifest is not valid JSON: {e.Message}", e);
        }
        // One document read as a manifest by one program and as an index by another is a known way to hide an image.
        switch (manifest.MediaType)
        {
            case MediaTypes.OciManifest or MediaTypes.DockerManifest when manifest.Manifests is not null || manifest.SchemaOneLayers is not null:
                throw ImageException.Invalid($"media-type: \"{manifest.MediaType}\" should not have \"manifests\" or \"fsLayers\"");
            case MediaTypes.OciIndex or MediaTypes.DockerManifestList when manifest.Config is not null || manifest.Layers is not null || manifest.SchemaOneLayers is not null:
                throw ImageException.Invalid($"media-type: \"{manifest.MediaType}\" should not have \"config\", \"layers\", or \"fsLayers\"");
        }
        if (manifest.SchemaOneLayers is not null || manifest.SchemaVersion == 1 || manifest.MediaType is MediaTypes.DockerSchema1 or MediaTypes.DockerSchema1Signed)
            throw ImageException.Invalid("Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed." +
                (name is null ? "" : $" Suggest the author of {name} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2.") + " More information at https://docs.docker.com/go/deprecated-image-specs/");
        if (manifest.Manifests is not null ? manifest.Config is not null || manifest.Layers is not null : manifest.Config is null)
            throw ImageException.Invalid("unsupported manifest format");
        if (manifest.Manifests?.Contains(null!) == true || manifest.Layers?.Contains(null!) == true) throw ImageException.Invalid("the manifest has an entry that is null");
        if (manifest.Manifests?.Count > MaxEntries || manifest.Layers?.Count > MaxEntries)
            throw ImageException.Invalid($"the manifest has more than {MaxEntries} entries");
        return manifest;
    }

    /// <summary>The entries of an index that run on a platform, the best first; entries without a platform come last.</summary>
    public IReadOnlyList<Descriptor> Matching(Platform platform)
    {
        var ranked = new List<(int Rank, Descriptor Entry)>();
        foreach (var entry in Manifests ?? [])
        {
            if (entry.IsAttestation) continue;
            if (entry.Platform is not { } its || its.IsEmpty) ranked.Add((int.MaxValue, entry));
            else if (platform.Rank(its.ToPlatform()) is var rank and >= 0) ranked.Add((rank, entry));
        }
        return [.. ranked.OrderBy(r => r.Rank).Select(r => r.Entry)];
    }
}

/// <summary>Where something is and what it is (OCI image-spec, descriptor.md).</summary>
public sealed record Descriptor
{
    [JsonPropertyName("mediaType")] public string? MediaType { get; init; }
    [JsonPropertyName("digest")] public string? DigestText { get; init; }
    [JsonPropertyName("size")] public long SizeBytes { get; init; }
    [JsonPropertyName("platform")] public DescriptorPlatform? Platform { get; init; }
    [JsonPropertyName("annotations")] public IReadOnlyDictionary<string, string>? Annotations { get; init; }
    /// <summary>Where else it is, of layers that registries may not distribute.</summary>
    [JsonPropertyName("urls")] public IReadOnlyList<string>? Urls { get; init; }
    [JsonPropertyName("artifactType")] public string? ArtifactType { get; init; }

    /// <exception cref="ImageException">InvalidParameter, when it is not a digest.</exception>
    [JsonIgnore] public Digest Digest => Digest.Parse(DigestText ?? "");

    /// <summary>BuildKit puts provenance beside the images of an index; it is nothing that runs.</summary>
    [JsonIgnore]
    public bool IsAttestation =>
        Annotations?.ContainsKey("vnd.docker.reference.type") == true || Platform is { Os: "unknown", Architecture: "unknown" };
}

public sealed record DescriptorPlatform
{
    [JsonPropertyName("os")] public string? Os { get; init; }
    [JsonPropertyName("architecture")] public string? Architecture { get; init; }
    [JsonPropertyName("variant")] public string? Variant { get; init; }
    [JsonPropertyName("os.version")] public string? OsVersion { get; init; }

    [JsonIgnore] public bool IsEmpty => string.IsNullOrEmpty(Os) && string.IsNullOrEmpty(Architecture);

    public Platform ToPlatform() => new(Os ?? "", Architecture ?? "", Variant ?? "", OsVersion ?? "");
}
