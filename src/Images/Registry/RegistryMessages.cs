using System.Text.Json;
using System.Text.Json.Serialization;

namespace Berth.Images.Registry;

/// <summary>The body of a registry's error answer (distribution-spec, "Error Codes").</summary>
internal sealed record RegistryErrors
{
    [JsonPropertyName("errors")] public IReadOnlyList<RegistryError>? Errors { get; init; }
    /// <summary>Token servers answer with this instead.</summary>
    [JsonPropertyName("details")] public string? Details { get; init; }
    [JsonPropertyName("message")] public string? Message { get; init; }
}

internal sealed record RegistryError
{
    [JsonPropertyName("code")] public string? Code { get; init; }
    [JsonPropertyName("message")] public string? Message { get; init; }
    [JsonPropertyName("detail")] public JsonElement? Detail { get; init; }
}

/// <summary>What a token server gives (distribution, spec/auth/token.md).</summary>
internal sealed record RegistryToken
{
    [JsonPropertyName("token")] public string? Token { get; init; }
    [JsonPropertyName("access_token")] public string? AccessToken { get; init; }
    [JsonPropertyName("expires_in")] public int? ExpiresInSeconds { get; init; }
    [JsonPropertyName("refresh_token")] public string? RefreshToken { get; init; }
}

/// <summary>The answer of /v2/…/tags/list.</summary>
internal sealed record RegistryTags
{
    [JsonPropertyName("tags")] public IReadOnlyList<string>? Tags { get; init; }
}
