using System.Text;
using System.Text.Json;

namespace Berth.Daemon.Host;

/// <summary>One key of the configuration file: its values as the flag of that meaning would be given them, and as dockerd prints them.</summary>
internal sealed record FileSetting(string Key, IReadOnlyList<string> Values, string Shown)
{
    /// <summary>JSON type, in Go's words.</summary>
    public string Kind { get; init; } = "";
}

/// <summary>
/// The configuration file: JSON by dockerd's key names, which are the flags' (some in the plural). Each key becomes what its flag would have been given, so that there
/// is one place that knows what a value means (<see cref="Flags"/>). Objects that are no option of their own ("proxies") are flattened, as dockerd does.
/// </summary>
internal static class ConfigFile
{
    /// <summary>Larger than any configuration; it is foreign input.</summary>
    private const int MaxBytes = 1 << 20;

    /// <summary>Keys whose value is an object.</summary>
    private static readonly string[] Objects = ["default-ulimits", "log-opts", "default-network-opts", "features", "builder", "runtimes"];

    /// <returns>Null when there is no such file.</returns>
    /// <exception cref="FlagsException">dockerd's words.</exception>
    public static IReadOnlyList<FileSetting>? Read(string path)
    {
        byte[] content;
        try
        {
            using var file = File.OpenRead(path);
            if (file.Length > MaxBytes)
                throw new FlagsException($"it has more than {MaxBytes} bytes");
            content = new byte[file.Length];
            file.ReadExactly(content);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FlagsException($"open {path}: {e.Message}");
        }
        return Parse(content);
    }

    internal static IReadOnlyList<FileSetting> Parse(ReadOnlySpan<byte> content)
    {
        var text = Decode(content).Trim();
        if (text.Length == 0)
            return [];
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(text);
        }
        catch (JsonException e)
        {
            var reason = e.Message.Contains("end of data", StringComparison.Ordinal) || e.Message.Contains("end of the data", StringComparison.Ordinal) || e.Message.Contains("depth to be zero", StringComparison.Ordinal)
                ? "unexpected end of JSON input"
                : $"invalid character at line {e.LineNumber + 1}, byte {e.BytePositionInLine + 1}";
            throw new FlagsException("invalid JSON: " + reason);
        }
        using (document)
        {
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
                throw new FlagsException($"invalid JSON: json: cannot unmarshal {KindOf(root)} into Go value of type map[string]interface {{}}");
            var settings = new SortedDictionary<string, FileSetting>(StringComparer.Ordinal);
            foreach (var member in root.EnumerateObject())
            {
                if (member.Value.ValueKind == JsonValueKind.Object && !Objects.Contains(member.Name))
                {
                    foreach (var inner in member.Value.EnumerateObject())
                        settings[inner.Name] = Setting(inner);
                }
                else
                {
                    settings[member.Name] = Setting(member);
                }
            }
            return [.. settings.Values];
        }
    }

    // dockerd's file may come from an editor of another system: UTF-8 with a mark, or UTF-16.
    private static string Decode(ReadOnlySpan<byte> content)
    {
        try
        {
            if (content.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xFE]))
                return new UnicodeEncoding(bigEndian: false, byteOrderMark: false, throwOnInvalidBytes: true).GetString(content[2..]);
            if (content.StartsWith((ReadOnlySpan<byte>)[0xFE, 0xFF]))
                return new UnicodeEncoding(bigEndian: true, byteOrderMark: false, throwOnInvalidBytes: true).GetString(content[2..]);
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(content.StartsWith("\uFEFF"u8) ? content[3..] : content);
        }
        catch (DecoderFallbackException)
        {
            throw new FlagsException("failed to decode configuration JSON: encoding: invalid UTF-8");
        }
    }

    private static FileSetting Setting(JsonProperty member)
    {
        var value = member.Value;
        IReadOnlyList<string> values = value.ValueKind switch
        {
            JsonValueKind.Null => [],
            JsonValueKind.Array => [.. value.EnumerateArray().Select(Item)],
            JsonValueKind.Object => [.. value.EnumerateObject().Select(m => m.Value.ValueKind == JsonValueKind.Object ? m.Name + "=" + (member.Name == "builder" ? m.Value.GetRawText() : Ulimit(m.Value)) : m.Name + "=" + Scalar(m.Value))],
            _ => [Scalar(value)],
        };
        return new FileSetting(member.Name, values, Go(value)) { Kind = KindOf(value) };

        // {"base":"10.0.0.0/8","size":24} is what the flag takes as base=10.0.0.0/8,size=24; a list within is its name as often as it has members.
        static string Item(JsonElement item) => item.ValueKind == JsonValueKind.Object ? string.Join(',', item.EnumerateObject().SelectMany(Fields)) : Scalar(item);

        static IEnumerable<string> Fields(JsonProperty field) =>
            (field.Value.ValueKind == JsonValueKind.Array ? field.Value.EnumerateArray().Select(Scalar) : [Scalar(field.Value)]).Select(value => $"{field.Name}={value}");

        // {"Name":"nofile","Hard":20,"Soft":10} is nofile=10:20.
        static string Ulimit(JsonElement limit)
        {
            string Of(string name) => limit.EnumerateObject().FirstOrDefault(m => m.Name.Equals(name, StringComparison.OrdinalIgnoreCase)).Value is { ValueKind: JsonValueKind.Number } number ? number.GetRawText() : "0";
            return Of("Soft") + ":" + Of("Hard");
        }
    }

    private static string Scalar(JsonElement value) => value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText();

    private static string KindOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array => "array",
        JsonValueKind.Object => "object",
        JsonValueKind.String => "string",
        JsonValueKind.Number => "number",
        JsonValueKind.True or JsonValueKind.False => "bool",
        _ => "null",
    };

    // %v of what Go's decoder makes of it.
    private static string Go(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array => $"[{string.Join(' ', value.EnumerateArray().Select(Go))}]",
        JsonValueKind.Object => $"map[{string.Join(' ', value.EnumerateObject().OrderBy(m => m.Name, StringComparer.Ordinal).Select(m => $"{m.Name}:{Go(m.Value)}"))}]",
        JsonValueKind.Null => "<nil>",
        _ => Scalar(value),
    };
}
