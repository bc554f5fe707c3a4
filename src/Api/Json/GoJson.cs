using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Berth.Api.Json;

// Clients were written against a server whose JSON comes from Go's encoding/json, and a few of its habits are part of
// the protocol: null is accepted wherever a string is expected and means "", object keys come out sorted, a set is an
// object with empty objects as values, a time is RFC 3339 with as many fraction digits as it needs. The converters in
// this file are those habits; everything else is System.Text.Json's own.

/// <summary>Reads null as the empty string, as Go does; so no string of the wire is ever null after reading.</summary>
internal sealed class GoStringConverter : JsonConverter<string>
{
    public override bool HandleNull => true;

    public override string Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.TokenType switch
    {
        JsonTokenType.Null => "",
        JsonTokenType.String => reader.GetString()!,
        _ => throw new JsonException($"a string was expected, not {GoJson.NameOf(reader.TokenType)}"),
    };

    public override void Write(Utf8JsonWriter writer, string value, JsonSerializerOptions options) => writer.WriteStringValue(value ?? "");

    // Keys of dictionaries: no converter that is not the serializer's own is one for them of itself.
    public override string ReadAsPropertyName(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.GetString()!;

    public override void WriteAsPropertyName(Utf8JsonWriter writer, string value, JsonSerializerOptions options) => writer.WritePropertyName(value);
}

/// <summary>RFC 3339 with nanoseconds; default(DateTimeOffset) is Go's zero time, "0001-01-01T00:00:00Z".</summary>
internal sealed class GoTimeConverter : JsonConverter<DateTimeOffset>
{
    public override DateTimeOffset Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType == JsonTokenType.Null) return default;
        if (reader.TokenType != JsonTokenType.String) throw new JsonException("a time was expected");
        var text = reader.GetString()!;
        if (text.Length == 0) return default;
        return GoTime.TryParse(text, out var time) ? time : throw new JsonException($"\"{text}\" is not an RFC 3339 time");
    }

    public override void Write(Utf8JsonWriter writer, DateTimeOffset value, JsonSerializerOptions options) => writer.WriteStringValue(GoTime.Format(value));
}

/// <summary>Objects with free keys: written with their keys in byte order, so that equal values are equal text.</summary>
internal sealed class SortedMapConverter<T> : JsonConverter<Dictionary<string, T>>
{
    private static JsonTypeInfo<T> ValueInfo(JsonSerializerOptions options) => (JsonTypeInfo<T>)options.GetTypeInfo(typeof(T));

    public override Dictionary<string, T> Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw new JsonException($"an object was expected, not {GoJson.NameOf(reader.TokenType)}");
        var info = ValueInfo(options);
        var map = new Dictionary<string, T>(StringComparer.Ordinal);
        while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
        {
            var key = reader.GetString()!;
            reader.Read();
            map[key] = JsonSerializer.Deserialize(ref reader, info)!;
        }
        return map;
    }

    public override void Write(Utf8JsonWriter writer, Dictionary<string, T> value, JsonSerializerOptions options)
    {
        var info = ValueInfo(options);
        writer.WriteStartObject();
        if (value.Count > 0)
        {
            var keys = new string[value.Count];
            value.Keys.CopyTo(keys, 0);
            Array.Sort(keys, StringComparer.Ordinal);
            foreach (var key in keys)
            {
                writer.WritePropertyName(key);
                JsonSerializer.Serialize(writer, value[key], info);
            }
        }
        writer.WriteEndObject();
    }
}

/// <summary>A list of objects: null in it is an object with nothing set, as in Go.</summary>
internal sealed class ObjectListConverter<T> : JsonConverter<T[]> where T : class, new()
{
    public override T[] Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw new JsonException($"an array was expected, not {GoJson.NameOf(reader.TokenType)}");
        var info = (JsonTypeInfo<T>)options.GetTypeInfo(typeof(T));
        var list = new List<T>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray) list.Add(JsonSerializer.Deserialize(ref reader, info) ?? new T());
        return [.. list];
    }

    public override void Write(Utf8JsonWriter writer, T[] value, JsonSerializerOptions options)
    {
        var info = (JsonTypeInfo<T>)options.GetTypeInfo(typeof(T));
        writer.WriteStartArray();
        foreach (var item in value) JsonSerializer.Serialize(writer, item, info);
        writer.WriteEndArray();
    }
}

/// <summary>A list of lists of strings: null in it is an empty list.</summary>
internal sealed class StringListsConverter : JsonConverter<string[][]>
{
    public override string[][] Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw new JsonException($"an array was expected, not {GoJson.NameOf(reader.TokenType)}");
        var info = (JsonTypeInfo<string[]>)options.GetTypeInfo(typeof(string[]));
        var list = new List<string[]>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray) list.Add(JsonSerializer.Deserialize(ref reader, info) ?? []);
        return [.. list];
    }

    public override void Write(Utf8JsonWriter writer, string[][] value, JsonSerializerOptions options)
    {
        var info = (JsonTypeInfo<string[]>)options.GetTypeInfo(typeof(string[]));
        writer.WriteStartArray();
        foreach (var item in value) JsonSerializer.Serialize(writer, item, info);
        writer.WriteEndArray();
    }
}

/// <summary>Go's map[string]struct{}: a set written as {"80/tcp":{},"81/tcp":{}}.</summary>
internal sealed class StringSetConverter : JsonConverter<SortedSet<string>>
{
    public override SortedSet<string> Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw new JsonException($"an object was expected, not {GoJson.NameOf(reader.TokenType)}");
        var set = new SortedSet<string>(StringComparer.Ordinal);
        while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
        {
            set.Add(reader.GetString()!);
            reader.Read();
            reader.Skip();
        }
        return set;
    }

    public override void Write(Utf8JsonWriter writer, SortedSet<string> value, JsonSerializerOptions options)
    {
        writer.WriteStartObject();
        foreach (var key in value)
        {
            writer.WriteStartObject(key);
            writer.WriteEndObject();
        }
        writer.WriteEndObject();
    }
}

/// <summary>A command: a list of strings, or one string which is a list of one (Docker's strslice).</summary>
internal sealed class StrSliceConverter : JsonConverter<string[]>
{
    public override string[]? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType == JsonTokenType.Null) return null;
        if (reader.TokenType == JsonTokenType.String) return [reader.GetString()!];
        if (reader.TokenType != JsonTokenType.StartArray) throw new JsonException("a string or a list of strings was expected");
        var list = new List<string>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            list.Add(reader.TokenType switch
            {
                JsonTokenType.String => reader.GetString()!,
                JsonTokenType.Null => "",
                _ => throw new JsonException("a string was expected"),
            });
        return [.. list];
    }

    public override void Write(Utf8JsonWriter writer, string[] value, JsonSerializerOptions options)
    {
        writer.WriteStartArray();
        foreach (var item in value) writer.WriteStringValue(item);
        writer.WriteEndArray();
    }
}

internal static class GoJson
{
    /// <summary>What Go calls a JSON value in its error texts.</summary>
    public static string NameOf(JsonTokenType token) => token switch
    {
        JsonTokenType.StartObject => "object",
        JsonTokenType.StartArray => "array",
        JsonTokenType.String => "string",
        JsonTokenType.Number => "number",
        JsonTokenType.True or JsonTokenType.False => "bool",
        _ => token.ToString(),
    };

    /// <summary>omitempty for a string: "" is stored as null, which is not written.</summary>
    public static string? OrNull(string? value) => value is { Length: > 0 } ? value : null;

    /// <summary>omitempty for a list.</summary>
    public static T[]? OrNull<T>(T[]? value) => value is { Length: > 0 } ? value : null;

    /// <summary>omitempty for a map.</summary>
    public static Dictionary<string, T>? OrNull<T>(Dictionary<string, T>? value) => value is { Count: > 0 } ? value : null;

    /// <summary>omitempty for a set.</summary>
    public static SortedSet<string>? OrNull(SortedSet<string>? value) => value is { Count: > 0 } ? value : null;
}
