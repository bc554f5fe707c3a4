using System.Text.Json.Serialization;

namespace Berth.Daemon.Registry;

/// <summary>What a token server answers (distribution, spec/auth/token.md).</summary>
internal sealed record TokenAnswer
{
    [JsonPropertyName("token")] public required string Token { get; init; }
    [JsonPropertyName("expires_in")] public int ExpiresInSeconds { get; init; }
}

[JsonSerializable(typeof(TokenAnswer))]
internal sealed partial class RegistryServerJson : JsonSerializerContext;
