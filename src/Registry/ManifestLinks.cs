using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Images;

namespace Berth.Registry;

/// <summary>
/// What a manifest of whatever kind refers to. Images' own Manifest is for what can be run; a registry keeps everything that is a JSON object with descriptors in
/// the usual places, and keeps it byte for byte.
/// </summary>
public sealed record ManifestLinks
{
    /// <summary>Largest manifest taken: what the spec wants registries to take at least, and what clients read at most.</summary>
    public const int MaxBytes = 4 * 1024 * 1024;

    /// <summary>The descriptors of one manifest.</summary>
    public const int MaxEntries = 100_000;

    [JsonPropertyName("schemaVersion")] public int? SchemaVersion { get; init; }
    [JsonPropertyName("mediaType")] public string? MediaType { get; init; }
    [JsonPropertyName("artifactType")] public string? ArtifactType { get; init; }
    [JsonPropertyName("config")] public Link? Config { get; init; }
    [JsonPropertyName("layers")] public IReadOnlyList<Link>? Layers { get; init; }
    [JsonPropertyName("blobs")] public IReadOnlyList<Link>? Blobs { get; init; }
    [JsonPropertyName("manifests")] public IReadOnlyList<Link>? Manifests { get; init; }
    [JsonPropertyName("subject")] public Link? Subject { get; init; }
    [JsonPropertyName("annotations")] public IReadOnlyDictionary<string, string>? Annotations { get; init; }

    /// <summary>The blobs without which the manifest is incomplete, or would be, were they not to be had elsewhere.</summary>
    [JsonIgnore]
    public IEnumerable<Link> AllBlobs => (Config is null ? [] : (IEnumerable<Link>)[Config]).Concat(Layers ?? []).Concat(Blobs ?? []);

    /// <summary>The digest of what this was attached to; null when it stands for itself.</summary>
    [JsonIgnore] public Digest? SubjectDigest => Subject is null ? null : Subject.Digest;

    /// <summary>What the referrers list says this is: an image manifest without a type of its own is what its configuration is.</summary>
    [JsonIgnore] public string? EffectiveArtifactType => ArtifactType is { Length: > 0 } type ? type : Config?.MediaType is { Length: > 0 } config ? config : null;

    /// <exception cref="DistributionException">ManifestInvalid: no JSON object, a digest that is none, or a schema that is not kept.</exception>
    public static ManifestLinks Parse(ReadOnlySpan<byte> json)
    {
        ManifestLinks links;
        try
        {
            links = JsonSerializer.Deserialize(json, RegistryJson.Default.ManifestLinks) ?? throw Invalid("the manifest is null");
        }
        catch (JsonException e)
        {
            throw Invalid($"the manifest is not a JSON object with descriptors: {e.Message}");
        }
        if (links.SchemaVersion == 1) throw Invalid("manifests of schema 1 are not kept");
        if ((links.Layers?.Count ?? 0) + (links.Blobs?.Count ?? 0) + (links.Manifests?.Count ?? 0) > MaxEntries) throw Invalid($"the manifest has more than {MaxEntries} descriptors");
        foreach (var link in links.AllBlobs.Concat(links.Manifests ?? []))
            Check(link);
        if (links.Subject is { } subject) Check(subject);
        return links;

        static void Check(Link? link)
        {
            if (link is null || !Digest.TryParse(link.DigestText, out _)) throw Invalid($"the manifest refers to the digest \"{link?.DigestText}\", which is none");
        }
    }

    private static DistributionException Invalid(string message) => new(DistributionError.ManifestInvalid, message);

    /// <summary>A descriptor, as far as it matters here.</summary>
    public sealed record Link
    {
        [JsonPropertyName("mediaType")] public string? MediaType { get; init; }
        [JsonPropertyName("digest")] public string? DigestText { get; init; }
        [JsonPropertyName("urls")] public IReadOnlyList<string>? Urls { get; init; }

        /// <summary>Of a parsed manifest it is known to be one.</summary>
        [JsonIgnore] public Digest Digest => Digest.Parse(DigestText ?? "");

        /// <summary>Its content need not be here: it is fetched from elsewhere, or must not be distributed.</summary>
        [JsonIgnore]
        public bool IsForeign => Urls is { Count: > 0 } || MediaType is { } type && (type.Contains(".nondistributable.", StringComparison.Ordinal) || type.Contains(".foreign.", StringComparison.Ordinal));
    }
}

/// <summary>An entry of the referrers list, kept as it is given out.</summary>
public sealed record Referrer
{
    [JsonPropertyName("mediaType")] public required string MediaType { get; init; }
    [JsonPropertyName("digest")] public required string Digest { get; init; }
    [JsonPropertyName("size")] public required long Size { get; init; }
    [JsonPropertyName("artifactType")] public string? ArtifactType { get; init; }
    [JsonPropertyName("annotations")] public IReadOnlyDictionary<string, string>? Annotations { get; init; }
}

/// <summary>The answer of /referrers/: an OCI index.</summary>
public sealed record ReferrerList
{
    [JsonPropertyName("schemaVersion")] public int SchemaVersion { get; init; } = 2;
    [JsonPropertyName("mediaType")] public string MediaType { get; init; } = MediaTypes.OciIndex;
    [JsonPropertyName("manifests")] public required IReadOnlyList<Referrer> Manifests { get; init; }
}

public sealed record TagList
{
    [JsonPropertyName("name")] public required string Name { get; init; }
    [JsonPropertyName("tags")] public required IReadOnlyList<string> Tags { get; init; }
}

public sealed record RepositoryList
{
    [JsonPropertyName("repositories")] public required IReadOnlyList<string> Repositories { get; init; }
}

public sealed record ErrorList
{
    [JsonPropertyName("errors")] public required IReadOnlyList<ErrorEntry> Errors { get; init; }
}

public sealed record ErrorEntry
{
    [JsonPropertyName("code")] public required string Code { get; init; }
    [JsonPropertyName("message")] public required string Message { get; init; }
}

/// <summary>upload.json beside an upload's data.</summary>
public sealed record UploadRecord
{
    [JsonPropertyName("repository")] public required string Repository { get; init; }
    [JsonPropertyName("algorithm")] public required string Algorithm { get; init; }
}

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ManifestLinks))]
[JsonSerializable(typeof(Referrer))]
[JsonSerializable(typeof(ReferrerList))]
[JsonSerializable(typeof(TagList))]
[JsonSerializable(typeof(RepositoryList))]
[JsonSerializable(typeof(ErrorList))]
[JsonSerializable(typeof(UploadRecord))]
public sealed partial class RegistryJson : JsonSerializerContext;
