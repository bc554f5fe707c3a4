using System.Text.Json.Serialization;

namespace Berth.Images.Archives;

/// <summary>An image of a docker-archive's manifest.json.</summary>
internal sealed record ArchiveManifestItem
{
    public string? Config { get; init; }
    public IReadOnlyList<string>? RepoTags { get; init; }
    public IReadOnlyList<string>? Layers { get; init; }
    public string? Parent { get; init; }
}

/// <summary>The <c>json</c> beside each layer.tar of archives from before Docker 1.10.</summary>
internal sealed record LegacyImage
{
    [JsonPropertyName("id")] public string? Id { get; init; }
    [JsonPropertyName("parent")] public string? Parent { get; init; }
    [JsonPropertyName("os")] public string? Os { get; init; }
}
