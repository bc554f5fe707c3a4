using System.Text.Json.Serialization;

namespace Berth.Api;

/// <summary>
/// What happens in a build, a line of JSON each: the answer of POST /build to a client that asks for <see cref="MediaType"/>. Of Berth alone; other engines answer with
/// <see cref="JsonMessage"/>s.
/// </summary>
public sealed record BuildEvent
{
    public const string MediaType = "application/vnd.berth.build-events+json";

    /// <summary>The header that a client's secrets come in: a JSON object of base64 texts by id, as base64.</summary>
    public const string SecretsHeader = "X-Berth-Build-Secrets";

    /// <summary>plan, start, cached, miss, output, status, end, warning, result, error, file, data.</summary>
    [JsonPropertyName("kind")]
    public required string Kind { get; init; }

    /// <summary>Which step; 0: none.</summary>
    [JsonPropertyName("step")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int Step { get; init; }

    /// <summary>start: the step's title. status: of what. warning: the rule.</summary>
    [JsonPropertyName("name")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Name { get; init; }

    /// <summary>For people.</summary>
    [JsonPropertyName("text")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Text { get; init; }

    /// <summary>warning: where the rule is explained.</summary>
    [JsonPropertyName("url")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Url { get; init; }

    [JsonPropertyName("stderr")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool Stderr { get; init; }

    /// <summary>Nanoseconds since the build began.</summary>
    [JsonPropertyName("at")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long At { get; init; }

    [JsonPropertyName("current")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Current { get; init; }

    [JsonPropertyName("total")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Total { get; init; }

    /// <summary>error and warning: lines of the Dockerfile, from 1.</summary>
    [JsonPropertyName("first")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int FirstLine { get; init; }

    [JsonPropertyName("last")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int LastLine { get; init; }

    /// <summary>error: of the command that failed.</summary>
    [JsonPropertyName("exit")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int ExitCode { get; init; }

    /// <summary>result: the image; empty when there is none.</summary>
    [JsonPropertyName("image")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Image { get; init; }

    /// <summary>result: what is known of the outputs, by BuildKit's names.</summary>
    [JsonPropertyName("metadata")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Metadata { get; init; }

    /// <summary>file, data: which of the outputs asked for.</summary>
    [JsonPropertyName("output")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int Output { get; init; }

    /// <summary>data: a piece of the output's tar; empty at its end.</summary>
    [JsonPropertyName("data")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public byte[]? Data { get; init; }
}

/// <summary>Something to come out of a build, or a place for results: as in POST /build's outputs.</summary>
public sealed record BuildOutputOption
{
    public string Type { get; init; } = "";
    public Dictionary<string, string>? Attrs { get; init; }
}
