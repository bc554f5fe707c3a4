using System.Collections;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Berth.Api;

namespace Berth.Cli.Templates;

/// <summary>Something with named values that are computed when asked for: a row of a table.</summary>
internal interface ITemplateObject
{
    /// <summary>The value of a field, or of a method without arguments.</summary>
    bool TryGet(string name, out object? value);

    /// <summary>The value of a method with arguments.</summary>
    bool TryCall(string name, object?[] arguments, out object? value);

    /// <summary>What Go would call its type.</summary>
    string TypeName { get; }

    string ToJson();
}

/// <summary>
/// A JSON value seen as the Go value it was made from. With the record type that describes it, the difference between a
/// struct and a map is known, fields have Go's names, and those that JSON left out because they are empty are there.
/// Without a type it is what JSON says: maps, and JSON's names.
/// </summary>
internal sealed record JsonValue(JsonElement Element, Type? Type)
{
    /// <summary>The type of a member of a Go set, map[string]struct{}.</summary>
    private sealed record EmptyStruct;

    public static object? Wrap(JsonElement element, Type? type) => element.ValueKind switch
    {
        JsonValueKind.String => element.GetString(),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        // A list or map that is nil is an empty one; a struct that is nil is nothing.
        JsonValueKind.Null => IsCollection(type) ? new JsonValue(element, type) : null,
        JsonValueKind.Number => Number(element),
        _ => new JsonValue(element, type),
    };

    private static object Number(JsonElement element)
    {
        if (element.TryGetInt64(out var whole)) return whole;
        if (element.TryGetUInt64(out var large)) return large;
        return element.GetDouble();
    }

    private static bool IsCollection(Type? type) => type is not null && (type.IsArray || IsMap(type));

    private static bool IsMap(Type type) => type == typeof(SortedSet<string>) || (type.IsGenericType && type.GetGenericTypeDefinition() == typeof(Dictionary<,>));

    /// <summary>
    /// A Go map whose keys are of a string type of its own (nat.Port): <c>index</c> with a plain string is refused there, so that docker takes such a
    /// template over to the JSON as the engine sent it.
    /// </summary>
    public bool KeysArePorts { get; init; }

    private static object? Field(string name, JsonElement element, Type type) =>
        Wrap(element, type) is var value && value is JsonValue { IsArray: false } map && name is "Ports" or "PortBindings" or "ExposedPorts" ? map with { KeysArePorts = true } : value;

    private bool IsNull => Element.ValueKind == JsonValueKind.Null;

    public bool IsArray => Element.ValueKind == JsonValueKind.Array || (IsNull && Type!.IsArray);

    public bool IsStruct => Properties is not null;

    public bool TryGet(string name, out object? value)
    {
        value = null;
        if (IsArray || IsNull) return false;
        if (Properties is not { } properties)
        {
            if (!Element.TryGetProperty(name, out var entry)) return false;
            value = Wrap(entry, TypeOf(name));
            return true;
        }
        foreach (var property in properties)
        {
            if (GoName(property.Name) != name) continue;
            value = Element.TryGetProperty(property.Name, out var found) ? Field(property.Name, found, property.PropertyType) : Zero(property.PropertyType);
            return true;
        }
        return false;
    }

    // Where Go's name of a field is not JSON's.
    private static string GoName(string name) => name switch
    {
        "Id" => "ID",
        "ParentId" => "ParentID",
        "HostIp" => "HostIP",
        "NanoCpus" => "NanoCPUs",
        "CpuShares" or "CpuPeriod" or "CpuQuota" or "CpuRealtimePeriod" or "CpuRealtimeRuntime" or "CpuCount" or "CpuPercent" or "CpuCfsPeriod" or "CpuCfsQuota" => "CPU" + name[3..],
        "Dns" or "DnsOptions" or "DnsSearch" => "DNS" + name[3..],
        "HttpProxy" => "HTTPProxy",
        "HttpsProxy" => "HTTPSProxy",
        "ApiVersion" => "APIVersion",
        "AuxiliaryAddresses" => "AuxAddress",
        _ when char.IsAsciiLetterLower(name[0]) => name switch { "id" => "ID", "timeNano" => "TimeNano", "mediaType" => "MediaType", "os" => "OS", _ => char.ToUpperInvariant(name[0]) + name[1..] },
        _ => name,
    };

    public IEnumerable<object?> Items
    {
        get
        {
            if (IsNull) yield break;
            var type = Type?.GetElementType();
            foreach (var item in Element.EnumerateArray()) yield return Wrap(item, type);
        }
    }

    /// <summary>Of a map, in the order of its keys.</summary>
    public IEnumerable<KeyValuePair<string, object?>> Entries => IsNull ? [] : Element.EnumerateObject()
        .OrderBy(p => p.Name, StringComparer.Ordinal)
        .Select(p => new KeyValuePair<string, object?>(p.Name, Wrap(p.Value, TypeOf(p.Name))));

    /// <summary>Of a struct, in the order of its declaration, those left out included.</summary>
    public IEnumerable<object?> Fields
    {
        get
        {
            foreach (var property in Properties ?? [])
                yield return Element.TryGetProperty(property.Name, out var found) ? Wrap(found, property.PropertyType) : Zero(property.PropertyType);
        }
    }

    public int Count => IsNull ? 0 : IsArray ? Element.GetArrayLength() : Element.EnumerateObject().Count();

    private IList<JsonPropertyInfo>? Properties => Type == typeof(EmptyStruct) ? [] : Type is { IsArray: false } && TypeInfo(Type) is { Kind: JsonTypeInfoKind.Object } info ? info.Properties : null;

    private static JsonTypeInfo? TypeInfo(Type type) => type == typeof(string) || type.IsPrimitive ? null : ApiJson.Wire.GetTypeInfo(type);

    private Type? TypeOf(string name)
    {
        if (Type is null) return null;
        if (Type == typeof(SortedSet<string>)) return typeof(EmptyStruct);
        if (IsMap(Type)) return Type.GetGenericArguments()[1];
        return Properties?.FirstOrDefault(p => p.Name == name)?.PropertyType;
    }

    private static object? Zero(Type type)
    {
        if (type == typeof(string)) return "";
        if (type == typeof(bool)) return false;
        if (type == typeof(int) || type == typeof(long) || type == typeof(ulong) || type == typeof(ushort) || type == typeof(uint)) return 0L;
        return IsCollection(type) ? new JsonValue(Null, type) : null;
    }

    private static readonly JsonElement Null = JsonDocument.Parse("null").RootElement;
}

/// <summary>What a map has for a key that it has not.</summary>
internal sealed class NoValue
{
    public static readonly NoValue Instance = new();

    public override string ToString() => "<no value>";
}

/// <summary>What Go's fmt and reflection make of values.</summary>
internal static class GoValue
{
    /// <summary>%v</summary>
    public static string Print(object? value) => value switch
    {
        null => "<nil>",
        string text => text,
        bool flag => flag ? "true" : "false",
        double number => Float(number),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        JsonValue { IsArray: true } array => "[" + string.Join(' ', array.Items.Select(Print)) + "]",
        JsonValue { IsStruct: true } record => "{" + string.Join(' ', record.Fields.Select(Print)) + "}",
        JsonValue map => "map[" + string.Join(' ', map.Entries.Select(e => $"{e.Key}:{Print(e.Value)}")) + "]",
        IEnumerable list => "[" + string.Join(' ', list.Cast<object?>().Select(Print)) + "]",
        _ => value.ToString() ?? "",
    };

    // strconv's shortest form with %v's exponents.
    private static string Float(double number)
    {
        if (number == Math.Truncate(number) && Math.Abs(number) < 1e21) return number.ToString("F0", CultureInfo.InvariantCulture);
        var text = number.ToString("R", CultureInfo.InvariantCulture);
        var e = text.IndexOf('E');
        return e < 0 ? text : $"{text[..e]}e{text[e + 1]}{text[(e + 2)..].PadLeft(2, '0')}";
    }

    /// <summary>False, zero, nil and what is empty are not true.</summary>
    public static bool IsTrue(object? value) => value switch
    {
        null or NoValue => false,
        bool flag => flag,
        string text => text.Length > 0,
        double number => number != 0,
        IConvertible number => number.ToInt64(CultureInfo.InvariantCulture) != 0,
        JsonValue { IsStruct: true } => true,
        JsonValue json => json.Count > 0,
        ICollection list => list.Count > 0,
        _ => true,
    };

    public static string TypeName(object? value) => value switch
    {
        null => "nil",
        string => "string",
        bool => "bool",
        double => "float64",
        IConvertible => "int64",
        JsonValue { IsArray: true } => "[]interface {}",
        JsonValue => "map[string]interface {}",
        ITemplateObject row => row.TypeName,
        _ => "[]string",
    };

    /// <summary>As encoding/json writes it, "&lt;" and the like not escaped.</summary>
    public static string ToJson(object? value)
    {
        if (value is JsonValue { Type: not null } json) return json.Element.GetRawText();
        if (value is ITemplateObject row) return row.ToJson();
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping })) Write(writer, value);
        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }

    private static void Write(Utf8JsonWriter writer, object? value)
    {
        switch (value)
        {
            case null or NoValue: writer.WriteNullValue(); break;
            case string text: writer.WriteStringValue(text); break;
            case bool flag: writer.WriteBooleanValue(flag); break;
            case JsonValue { Type: null, IsArray: false } map: // a map is sorted
                writer.WriteStartObject();
                foreach (var (key, item) in map.Entries)
                {
                    writer.WritePropertyName(key);
                    Write(writer, item);
                }
                writer.WriteEndObject();
                break;
            case JsonValue { Type: null } array:
                writer.WriteStartArray();
                foreach (var item in array.Items) Write(writer, item);
                writer.WriteEndArray();
                break;
            case JsonValue json: json.Element.WriteTo(writer); break;
            case double number: writer.WriteNumberValue(number); break;
            case ulong number: writer.WriteNumberValue(number); break;
            case IConvertible number: writer.WriteNumberValue(number.ToInt64(CultureInfo.InvariantCulture)); break;
            case ITemplateObject row: writer.WriteRawValue(row.ToJson()); break;
            case IEnumerable list:
                writer.WriteStartArray();
                foreach (var item in list) Write(writer, item);
                writer.WriteEndArray();
                break;
            default: writer.WriteStringValue(value.ToString()); break;
        }
    }
}
