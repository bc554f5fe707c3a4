using System.Text;
using System.Text.Json;

namespace Berth.Api;

/// <summary>
/// The "filters" query parameter: {"name":{"value":true}}, or {"name":["value"]} as clients of API 1.21 and before send it.
/// Values of one name are alternatives; names are all to be met.
/// </summary>
public sealed class Filters
{
    /// <summary>Nobody filters by more; a bound for foreign input.</summary>
    public const int MaxValues = 10_000;

    private readonly SortedDictionary<string, SortedSet<string>> _values = new(StringComparer.Ordinal);

    /// <summary>The empty text is the empty filter.</summary>
    /// <exception cref="FormatException">It is neither of the two forms; the message is Docker's ("invalid filter").</exception>
    public static Filters Parse(string? json)
    {
        var filters = new Filters();
        if (string.IsNullOrEmpty(json)) return filters;
        var count = 0;
        try
        {
            var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(json));
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) throw new FormatException("invalid filter");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var name = reader.GetString()!;
                reader.Read();
                if (reader.TokenType == JsonTokenType.Null) continue;
                var legacy = reader.TokenType == JsonTokenType.StartArray;
                if (!legacy && reader.TokenType != JsonTokenType.StartObject) throw new FormatException("invalid filter");
                while (reader.Read() && reader.TokenType is not (JsonTokenType.EndArray or JsonTokenType.EndObject))
                {
                    if (reader.TokenType != (legacy ? JsonTokenType.String : JsonTokenType.PropertyName)) throw new FormatException("invalid filter");
                    if (++count > MaxValues) throw new FormatException("invalid filter: too many values");
                    filters.Add(name, reader.GetString()!);
                    if (legacy) continue;
                    reader.Read();
                    if (reader.TokenType is not (JsonTokenType.True or JsonTokenType.False)) throw new FormatException("invalid filter");
                }
            }
            if (reader.Read()) throw new FormatException("invalid filter");
        }
        catch (JsonException)
        {
            throw new FormatException("invalid filter");
        }
        return filters;
    }

    public Filters Add(string name, string value)
    {
        if (!_values.TryGetValue(name, out var set)) _values[name] = set = new SortedSet<string>(StringComparer.Ordinal);
        set.Add(value);
        return this;
    }

    public bool IsEmpty => _values.Count == 0;

    public IEnumerable<string> Names => _values.Keys;

    public bool Contains(string name) => _values.ContainsKey(name);

    /// <summary>Empty when the name is absent.</summary>
    public IReadOnlyCollection<string> this[string name] => _values.TryGetValue(name, out var set) ? set : [];

    /// <summary>True when the name is absent or one of its values equals the given one.</summary>
    public bool ExactMatch(string name, string value) => this[name] is not { Count: > 0 } values || values.Contains(value);

    /// <summary>True when no "label" (or other <paramref name="name"/>) filter is there or all of them, "key" or "key=value", hold of the labels.</summary>
    public bool MatchLabels(string name, IReadOnlyDictionary<string, string>? labels)
    {
        foreach (var wanted in this[name])
        {
            var equals = wanted.IndexOf('=');
            var key = equals < 0 ? wanted : wanted[..equals];
            if (labels is null || !labels.TryGetValue(key, out var value)) return false;
            if (equals >= 0 && value != wanted[(equals + 1)..]) return false;
        }
        return true;
    }

    /// <summary>
    /// A yes/no filter ("dangling"): 1 and true are yes, 0 and false are no, absent is the default.
    /// </summary>
    /// <exception cref="FormatException">Another value, or both.</exception>
    public bool GetBool(string name, bool absent)
    {
        var values = this[name];
        if (values.Count == 0) return absent;
        var yes = values.Contains("1") || values.Contains("true");
        var no = values.Contains("0") || values.Contains("false");
        return yes != no ? yes : throw new FormatException($"invalid filter '{name}=[{string.Join(" ", values)}]'");
    }

    /// <summary>Checks that only the given names are used.</summary>
    /// <exception cref="FormatException">"invalid filter 'x'", Docker's text.</exception>
    public void Validate(params ReadOnlySpan<string> accepted)
    {
        foreach (var name in _values.Keys)
            if (!accepted.Contains(name)) throw new FormatException($"invalid filter '{name}'");
    }

    /// <summary>The JSON form of today; "" when empty.</summary>
    public override string ToString()
    {
        if (IsEmpty) return "";
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            foreach (var (name, values) in _values)
            {
                writer.WriteStartObject(name);
                foreach (var value in values) writer.WriteBoolean(value, true);
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
        }
        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }
}
