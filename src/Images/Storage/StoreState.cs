using System.Text.Json.Serialization;

namespace Berth.Images.Storage;

/// <summary>images.json: which images exist and what they are called. An image is there when it is in this file, and not before.</summary>
internal sealed record StoreState
{
    [JsonPropertyName("version")] public int Version { get; init; } = 1;

    /// <summary>By image id.</summary>
    [JsonPropertyName("images")] public Dictionary<string, ImageRecord> Images { get; init => field = value ?? []; } = [];

    /// <summary>Full names (docker.io/library/busybox:latest, …@sha256:…) to image ids.</summary>
    [JsonPropertyName("names")] public SortedDictionary<string, string> Names { get; init => field = value ?? new(StringComparer.Ordinal); } = new(StringComparer.Ordinal);

    /// <summary>By name, where it is that of an image for several platforms.</summary>
    // Null in files of before there were any: init-only members that are absent are set to null, whatever they are initialised with (hence the accessors above, too).
    [JsonPropertyName("indexes")] public SortedDictionary<string, IndexRecord>? Indexes { get; set; }
}

/// <summary>An index, whose bytes are among the blobs.</summary>
internal sealed record IndexRecord
{
    [JsonPropertyName("mediaType")] public required string MediaType { get; init; }
    [JsonPropertyName("digest")] public required string Digest { get; init; }
    [JsonPropertyName("size")] public required long SizeBytes { get; init; }
    /// <summary>Ids of its images that are here.</summary>
    [JsonPropertyName("images")] public required IReadOnlyList<string> Images { get; init; }
    /// <summary>Blobs that belong to it: manifests, and what was said about its images. Null in files of before they were kept.</summary>
    [JsonPropertyName("documents")] public IReadOnlyList<string>? Documents { get; init; }
}

internal sealed record ImageRecord
{
    /// <summary>Diff ids, lowest first.</summary>
    [JsonPropertyName("layers")] public IReadOnlyList<string> Layers { get; init => field = value ?? []; } = [];
    [JsonPropertyName("parent")] public string? Parent { get; init; }
    [JsonPropertyName("lastTagTime")] public DateTimeOffset? LastTagTime { get; init; }
    /// <summary>The manifest it came with, a blob; null when it came without one (built, loaded) or before it was kept.</summary>
    [JsonPropertyName("manifest")] public string? Manifest { get; init; }
}

/// <summary>layer.json beside a layer's diff directory.</summary>
internal sealed record LayerRecord
{
    [JsonPropertyName("sizeBytes")] public long SizeBytes { get; init; }
    /// <summary>Nothing beneath this layer shows through.</summary>
    [JsonPropertyName("hidesAllBelow")] public bool HidesAllBelow { get; init; }
    /// <summary>Length of the uncompressed tar it came from; null for layers of before there was a recipe.</summary>
    [JsonPropertyName("tarBytes")] public long? TarBytes { get; init; }
}

/// <summary>lower.json beside a container's upper directory: what it stands on.</summary>
internal sealed record LowerRecord
{
    [JsonPropertyName("image")] public required string Image { get; init; }
    [JsonPropertyName("layers")] public required IReadOnlyList<string> Layers { get; init; }
}
