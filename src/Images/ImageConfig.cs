using System.Text.Json;
using System.Text.Json.Serialization;

namespace Berth.Images;

/// <summary>
/// An image's configuration (OCI image-spec config.md, with Docker's additions), for reading only: the bytes
/// it was parsed from have the digest that is the image's id and are what is kept.
/// </summary>
public sealed record ImageConfig
{
    [JsonPropertyName("created")] public string? Created { get; init; }
    [JsonPropertyName("author")] public string? Author { get; init; }
    [JsonPropertyName("architecture")] public string? Architecture { get; init; }
    [JsonPropertyName("variant")] public string? Variant { get; init; }
    [JsonPropertyName("os")] public string? Os { get; init; }
    [JsonPropertyName("os.version")] public string? OsVersion { get; init; }
    [JsonPropertyName("comment")] public string? Comment { get; init; }
    [JsonPropertyName("docker_version")] public string? DockerVersion { get; init; }
    [JsonPropertyName("container")] public string? Container { get; init; }
    /// <summary>How the container ran whose changes the image is, as older builders wrote it: shown to old clients, and meaning nothing.</summary>
    [JsonPropertyName("container_config")] public JsonElement? CommittedFrom { get; init; }
    [JsonPropertyName("config")] public ContainerConfig? Config { get; init; }
    [JsonPropertyName("rootfs")] public RootFs? RootFs { get; init; }
    [JsonPropertyName("history")] public IReadOnlyList<HistoryRecord>? History { get; init => field = value?.Contains(null!) == true ? [.. value.Where(step => step is not null)] : value; }
    /// <summary>What a build that begins here may find again (BuildKit's name for it): see docs/building.md, "Results of elsewhere".</summary>
    [JsonPropertyName("moby.buildkit.cache.v0")] public byte[]? InlineCache { get; init; }

    /// <exception cref="ImageException">It is none.</exception>
    public static ImageConfig Parse(ReadOnlySpan<byte> json)
    {
        try
        {
            return JsonSerializer.Deserialize(json, ImagesJson.Default.ImageConfig) ?? throw ImageException.Failed("invalid image JSON");
        }
        catch (JsonException e)
        {
            throw ImageException.Failed($"invalid image JSON: {e.Message}", e);
        }
    }

    /// <summary>What it is written as; the image's id is the digest of this.</summary>
    public byte[] ToBytes() => JsonSerializer.SerializeToUtf8Bytes(this, ImagesJson.Default.ImageConfig);
}

/// <summary>How containers of the image run unless told otherwise.</summary>
public sealed record ContainerConfig
{
    public string? Hostname { get; init; }
    public string? Domainname { get; init; }
    public string? User { get; init; }
    /// <summary>Keys such as <c>80/tcp</c>.</summary>
    public IReadOnlyDictionary<string, EmptyObject>? ExposedPorts { get; init; }
    /// <summary><c>NAME=value</c>.</summary>
    public IReadOnlyList<string>? Env { get; init; }
    [JsonConverter(typeof(StringOrListConverter))] public IReadOnlyList<string>? Entrypoint { get; init; }
    [JsonConverter(typeof(StringOrListConverter))] public IReadOnlyList<string>? Cmd { get; init; }
    public HealthcheckConfig? Healthcheck { get; init; }
    public bool? ArgsEscaped { get; init; }
    /// <summary>Keys are absolute paths.</summary>
    public IReadOnlyDictionary<string, EmptyObject>? Volumes { get; init; }
    public string? WorkingDir { get; init; }
    public IReadOnlyDictionary<string, string>? Labels { get; init; }
    public IReadOnlyList<string>? OnBuild { get; init; }
    public string? StopSignal { get; init; }
    /// <summary>Seconds.</summary>
    public int? StopTimeout { get; init; }
    public IReadOnlyList<string>? Shell { get; init; }
}

/// <summary>Durations are nanoseconds; <c>Test</c> begins with NONE, CMD or CMD-SHELL.</summary>
public sealed record HealthcheckConfig
{
    public IReadOnlyList<string>? Test { get; init; }
    public long? Interval { get; init; }
    public long? Timeout { get; init; }
    public long? StartPeriod { get; init; }
    public long? StartInterval { get; init; }
    public int? Retries { get; init; }
}

/// <summary>The <c>{}</c> of Docker's sets-as-objects.</summary>
public sealed record EmptyObject
{
    public static EmptyObject Value { get; } = new();
}

public sealed record RootFs
{
    [JsonPropertyName("type")] public string? Type { get; init; }
    /// <summary>Digests of the uncompressed layer tars, lowest first.</summary>
    [JsonPropertyName("diff_ids")] public IReadOnlyList<string>? DiffIds { get; init; }
}

public sealed record HistoryRecord
{
    [JsonPropertyName("created")] public string? Created { get; init; }
    [JsonPropertyName("created_by")] public string? CreatedBy { get; init; }
    [JsonPropertyName("author")] public string? Author { get; init; }
    [JsonPropertyName("comment")] public string? Comment { get; init; }
    [JsonPropertyName("empty_layer")] public bool? EmptyLayer { get; init; }
}

// Docker once wrote Cmd and Entrypoint as a plain string, and images of that age are still pulled.
internal sealed class StringOrListConverter : JsonConverter<IReadOnlyList<string>>
{
    public override IReadOnlyList<string>? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType == JsonTokenType.Null) return null;
        if (reader.TokenType == JsonTokenType.String) return [reader.GetString()!];
        if (reader.TokenType != JsonTokenType.StartArray) throw new JsonException("expected a string or a list of strings");
        var list = new List<string>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            list.Add(StringListConverter.Text(ref reader));
        return list;
    }

    public override void Write(Utf8JsonWriter writer, IReadOnlyList<string> value, JsonSerializerOptions options)
    {
        writer.WriteStartArray();
        foreach (var item in value) writer.WriteStringValue(item);
        writer.WriteEndArray();
    }
}
