using System.Globalization;
using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>
/// Holds a file against the <see cref="Grammar"/>. Of several errors the one that lies deepest in the file is told, in docker compose's words, with its place.
/// </summary>
internal static class Schema
{
    private sealed record Failure(string Path, int Specificity, string Message, Node At);

    /// <exception cref="ComposeException">"validating FILE: services.web must be a mapping"</exception>
    public static void Validate(Node model, string file)
    {
        if (Check(Grammar.File, model, "", 0) is { } failure)
            throw new ComposeException($"validating {file}: {failure.Path} {failure.Message}" + (failure.At.At.Line > 0 ? $" ({failure.At.At})" : ""));
    }

    private static Failure? Check(Rule rule, Node node, string path, int depth)
    {
        if (rule.Kinds != Kinds.None && !IsOf(rule.Kinds, node)) return new Failure(path, depth, "must be a " + Print(rule.Kinds), node);
        Failure? worst = null;
        void Note(Failure? other) => worst = Deeper(worst, other);

        if (rule.Texts is { } texts && node.IsString && !texts.Contains(node.Text))
            Note(new Failure(path, depth, "value must be " + (texts.Length == 1 ? "" : "one of ") + string.Join(", ", texts.Select(t => $"'{t}'")), node));
        if (node.IsMap) Note(CheckMap(rule, node, path, depth));
        if (node.IsList)
        {
            if (rule.Item is { } item)
                for (var i = 0; i < node.Items.Count; i++) Note(Check(item, node.Items[i], Join(path, i.ToString(CultureInfo.InvariantCulture)), depth + 1));
            if (rule.IsSet) Note(CheckUnique(node, path, depth));
        }
        if (rule.Pattern is { } pattern && node.IsString && !pattern.IsMatch(node.Text)) Note(new Failure(path, depth, $"'{node.Text}' does not match pattern '{pattern}'", node));
        if (node.Kind is NodeKind.Int or NodeKind.Float)
        {
            var number = node.Kind == NodeKind.Int ? node.Int : node.Float;
            if (number < rule.Minimum) Note(new Failure(path, depth, $"must be greater than or equal to {rule.Minimum}", node));
            if (number > rule.Maximum) Note(new Failure(path, depth, $"must be less than or equal to {rule.Maximum}", node));
        }
        if (rule.Choices is { } choices) Note(CheckChoices(choices, node, path, depth));
        return worst;
    }

    private static Failure? CheckMap(Rule rule, Node node, string path, int depth)
    {
        Failure? worst = null;
        if (rule.Required is { } required)
        {
            var missing = required.Where(r => node[r] is null).ToList();
            if (missing.Count > 0) worst = new Failure(path, depth, (missing.Count == 1 ? "missing property " : "missing properties ") + string.Join(", ", missing.Select(m => $"'{m}'")), node);
        }
        List<string>? unknown = null;
        foreach (var (key, value) in node.Entries)
        {
            if (rule.Fields?.GetValueOrDefault(key) is { } field) worst = Deeper(worst, Check(field, value, Join(path, key), depth + 1));
            else if (rule.Named is { } named && named.IsName(key)) worst = Deeper(worst, Check(named.Value, value, Join(path, key), depth + 1));
            else if (rule.IsClosed && !(rule.MayBeExtended && key.StartsWith("x-", StringComparison.Ordinal))) (unknown ??= []).Add(key);
        }
        if (unknown is null) return worst;
        unknown.Sort(string.CompareOrdinal);
        return Deeper(worst, new Failure(path, depth + 1, "additional properties " + string.Join(", ", unknown.Select(u => $"'{u}'")) + " not allowed", node.Entries[unknown[0]]));
    }

    private static Failure? CheckUnique(Node node, string path, int depth)
    {
        for (var i = 1; i < node.Items.Count; i++)
            for (var j = 0; j < i; j++)
                if (node.Items[i].SameAs(node.Items[j])) return new Failure(path, depth, $"items at {j} and {i} are equal", node.Items[i]);
        return null;
    }

    private static Failure? CheckChoices(Rule[] choices, Node node, string path, int depth)
    {
        Failure? worst = null;
        var matched = 0;
        foreach (var choice in choices)
        {
            if (Check(choice, node, path, depth) is { } failure) worst = Deeper(worst, failure);
            else matched++;
        }
        return matched switch
        {
            1 => null,
            0 => worst,
            _ => new Failure(path, depth, "oneOf failed, several subschemas match", node),
        };
    }

    private static Failure? Deeper(Failure? known, Failure? other) => known is null ? other : other is null || other.Specificity <= known.Specificity ? known : other;

    private static string Join(string path, string key) => path.Length == 0 ? key : path + "." + key;

    private static bool IsOf(Kinds kinds, Node node) => (kinds & node.Kind switch
    {
        NodeKind.Null => Kinds.Null,
        NodeKind.Bool => Kinds.Boolean,
        NodeKind.Int => Kinds.Integer | Kinds.Number,
        NodeKind.Float => node.Float == Math.Floor(node.Float) ? Kinds.Integer | Kinds.Number : Kinds.Number,
        NodeKind.String => Kinds.String,
        NodeKind.List => Kinds.List,
        _ => Kinds.Map,
    }) != 0;

    // In the order of their names, as docker compose tells them.
    private static string Print(Kinds kinds)
    {
        var names = new List<string>();
        if (kinds.HasFlag(Kinds.List)) names.Add("array");
        if (kinds.HasFlag(Kinds.Boolean)) names.Add("boolean");
        if (kinds.HasFlag(Kinds.Integer)) names.Add("integer");
        if (kinds.HasFlag(Kinds.Map)) names.Add("mapping");
        if (kinds.HasFlag(Kinds.Null)) names.Add("null");
        if (kinds.HasFlag(Kinds.Number)) names.Add("number");
        if (kinds.HasFlag(Kinds.String)) names.Add("string");
        return names.Count == 1 ? names[0] : string.Join(", ", names.Take(names.Count - 1)) + " or " + names[^1];
    }
}
