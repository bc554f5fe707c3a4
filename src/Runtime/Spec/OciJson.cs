using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Berth.Runtime.Spec;

/// <summary>Reads and writes config.json and process.json.</summary>
public static class OciJson
{
    /// <summary>Largest config.json read. Environments and seccomp profiles are the big parts; Docker's client refuses larger requests long before this.</summary>
    public const int MaxBytes = 16 * 1024 * 1024;

    public static byte[] Serialize(OciSpec spec) => JsonSerializer.SerializeToUtf8Bytes(spec, OciJsonContext.Default.OciSpec);

    public static byte[] Serialize(OciProcess process) => JsonSerializer.SerializeToUtf8Bytes(process, OciJsonContext.Default.OciProcess);

    /// <exception cref="JsonException">Not a config.json.</exception>
    public static OciSpec ParseSpec(ReadOnlySpan<byte> json) => Parse(json, OciJsonContext.Default.OciSpec);

    /// <exception cref="JsonException">Not a process object.</exception>
    public static OciProcess ParseProcess(ReadOnlySpan<byte> json) => Parse(json, OciJsonContext.Default.OciProcess);

    private static T Parse<T>(ReadOnlySpan<byte> json, JsonTypeInfo<T> type)
    {
        if (json.Length > MaxBytes) throw new JsonException($"longer than {MaxBytes} bytes");
        return JsonSerializer.Deserialize(json, type) ?? throw new JsonException("null");
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(OciSpec))]
[JsonSerializable(typeof(OciProcess))]
internal sealed partial class OciJsonContext : JsonSerializerContext;
