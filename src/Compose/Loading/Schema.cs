using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>
/// The Compose Specification's JSON schema (without its descriptions), and as much of JSON schema as it uses. Of several errors
/// the one that lies deepest in the file is told, in docker compose's words, with its place.
/// </summary>
internal sealed class Schema
{
    private readonly JsonElement _root;
    private readonly Dictionary<string, Regex> _patterns = new(StringComparer.Ordinal);

    private Schema(JsonElement root) => _root = root;

    private sealed record Failure(string Path, int Depth, int Specificity, string Message, Node At);

    public static readonly Lazy<Schema> Compose = new(static () =>
    {
        using var stream = typeof(Schema).Assembly.GetManifestResourceStream("compose-spec.json")!;
        return new Schema(JsonDocument.Parse(stream).RootElement);
    });

    /// <exception cref="ComposeException">"validating FILE: services.web must be a mapping"</exception>
    public void Validate(Node model, string file)
    {
        if (Check(_root, model, "", 0) is { } failure)
            throw new ComposeException($"validating {file}: {failure.Path} {failure.Message}" + (failure.At.At.Line > 0 ? $" ({failure.At.At})" : ""));
    }

    private Failure? Check(JsonElement schema, Node node, string path, int depth)
    {
        Failure? worst = null;
        if (schema.TryGetProperty("$ref", out var reference)) worst = Deeper(worst, Check(Find(reference.GetString()!), node, path, depth));
        if (schema.TryGetProperty("type", out var type) && !IsOf(type, node)) return new Failure(path, depth, depth, "must be a " + Types(type), node);
        if (schema.TryGetProperty("enum", out var values) && !IsAmong(values, node))
            worst = Deeper(worst, new Failure(path, depth, depth, "value must be " + (values.GetArrayLength() == 1 ? "" : "one of ") + string.Join(", ", values.EnumerateArray().Select(v => $"'{v}'")), node));
        if (node.IsMap) worst = Deeper(worst, CheckMap(schema, node, path, depth));
        if (node.IsList)
        {
            if (schema.TryGetProperty("items", out var items))
                for (var i = 0; i < node.Items.Count; i++) worst = Deeper(worst, Check(items, node.Items[i], Join(path, i.ToString(CultureInfo.InvariantCulture)), depth + 1));
            if (schema.TryGetProperty("uniqueItems", out var unique) && unique.GetBoolean()) worst = Deeper(worst, CheckUnique(node, path, depth));
        }
        if (node.IsString && schema.TryGetProperty("pattern", out var pattern) && !Pattern(pattern.GetString()!).IsMatch(node.Text))
            worst = Deeper(worst, new Failure(path, depth, depth, $"'{node.Text}' does not match pattern '{pattern.GetString()}'", node));
        if (node.Kind is NodeKind.Int or NodeKind.Float)
        {
            var number = node.Kind == NodeKind.Int ? node.Int : node.Float;
            if (schema.TryGetProperty("minimum", out var minimum) && number < minimum.GetDouble()) worst = Deeper(worst, new Failure(path, depth, depth, $"must be greater than or equal to {minimum}", node));
            if (schema.TryGetProperty("maximum", out var maximum) && number > maximum.GetDouble()) worst = Deeper(worst, new Failure(path, depth, depth, $"must be less than or equal to {maximum}", node));
        }
        if (schema.TryGetProperty("oneOf", out var choices)) worst = Deeper(worst, CheckChoices(choices, node, path, depth));
        return worst;
    }

    private Failure? CheckMap(JsonElement schema, Node node, string path, int depth)
    {
        Failure? worst = null;
        if (schema.TryGetProperty("required", out var required))
        {
            var missing = required.EnumerateArray().Select(r => r.GetString()!).Where(r => node[r] is null).ToList();
            if (missing.Count > 0) worst = new Failure(path, depth, depth, (missing.Count == 1 ? "missing property " : "missing properties ") + string.Join(", ", missing.Select(m => $"'{m}'")), node);
        }
        var hasProperties = schema.TryGetProperty("properties", out var properties);
        var hasPatterns = schema.TryGetProperty("patternProperties", out var patterns);
        var hasMore = schema.TryGetProperty("additionalProperties", out var more);
        List<string>? unknown = null;
        foreach (var (key, value) in node.Entries)
        {
            var known = false;
            if (hasProperties && properties.TryGetProperty(key, out var property))
            {
                known = true;
                worst = Deeper(worst, Check(property, value, Join(path, key), depth + 1));
            }
            if (hasPatterns)
            {
                foreach (var pattern in patterns.EnumerateObject())
                {
                    if (!Pattern(pattern.Name).IsMatch(key)) continue;
                    known = true;
                    worst = Deeper(worst, Check(pattern.Value, value, Join(path, key), depth + 1));
                }
            }
            if (known || !hasMore) continue;
            if (more.ValueKind == JsonValueKind.False) (unknown ??= []).Add(key);
            else if (more.ValueKind == JsonValueKind.Object) worst = Deeper(worst, Check(more, value, Join(path, key), depth + 1));
        }
        if (unknown is not null)
        {
            unknown.Sort(string.CompareOrdinal);
            worst = Deeper(worst, new Failure(path, depth, depth + 1, "additional properties " + string.Join(", ", unknown.Select(u => $"'{u}'")) + " not allowed", node.Entries[unknown[0]]));
        }
        return worst;
    }

    private static Failure? CheckUnique(Node node, string path, int depth)
    {
        for (var i = 1; i < node.Items.Count; i++)
            for (var j = 0; j < i; j++)
                if (node.Items[i].SameAs(node.Items[j])) return new Failure(path, depth, depth, $"items at {j} and {i} are equal", node.Items[i]);
        return null;
    }

    private Failure? CheckChoices(JsonElement choices, Node node, string path, int depth)
    {
        Failure? worst = null;
        var matched = 0;
        foreach (var choice in choices.EnumerateArray())
        {
            if (Check(choice, node, path, depth) is { } failure) worst = Deeper(worst, failure);
            else matched++;
        }
        return matched switch
        {
            1 => null,
            0 => worst,
            _ => new Failure(path, depth, depth, "oneOf failed, several subschemas match", node),
        };
    }

    private static Failure? Deeper(Failure? known, Failure? other) => known is null ? other : other is null || other.Specificity <= known.Specificity ? known : other;

    private JsonElement Find(string reference)
    {
        var name = reference[(reference.LastIndexOf('/') + 1)..];
        return _root.GetProperty("definitions").GetProperty(name);
    }

    private Regex Pattern(string pattern) => _patterns.TryGetValue(pattern, out var regex) ? regex : _patterns[pattern] = new Regex(pattern, RegexOptions.CultureInvariant);

    private static string Join(string path, string key) => path.Length == 0 ? key : path + "." + key;

    private static bool IsOf(JsonElement type, Node node)
    {
        if (type.ValueKind == JsonValueKind.String) return IsOf(type.GetString()!, node);
        foreach (var one in type.EnumerateArray())
            if (IsOf(one.GetString()!, node)) return true;
        return false;
    }

    private static bool IsOf(string type, Node node) => type switch
    {
        "null" => node.IsNull,
        "boolean" => node.Kind == NodeKind.Bool,
        "integer" => node.Kind == NodeKind.Int || (node.Kind == NodeKind.Float && node.Float == Math.Floor(node.Float)),
        "number" => node.Kind is NodeKind.Int or NodeKind.Float,
        "string" => node.IsString,
        "array" => node.IsList,
        _ => node.IsMap,
    };

    private static string Types(JsonElement type)
    {
        if (type.ValueKind == JsonValueKind.String) return Human(type.GetString()!);
        var names = type.EnumerateArray().Select(t => Human(t.GetString()!)).OrderBy(t => t, StringComparer.Ordinal).ToList();
        return names.Count == 1 ? names[0] : string.Join(", ", names.Take(names.Count - 1)) + " or " + names[^1];
    }

    private static string Human(string type) => type == "object" ? "mapping" : type;

    private static bool IsAmong(JsonElement values, Node node)
    {
        foreach (var value in values.EnumerateArray())
        {
            var same = value.ValueKind switch
            {
                JsonValueKind.String => node.IsString && node.Text == value.GetString(),
                JsonValueKind.Number => node.Kind == NodeKind.Int && node.Int == value.GetInt64(),
                JsonValueKind.True or JsonValueKind.False => node.Kind == NodeKind.Bool && node.Bool == value.GetBoolean(),
                _ => node.IsNull,
            };
            if (same) return true;
        }
        return false;
    }
}
