using System.Text;
using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>Finds a variable's value; null when it is not set.</summary>
internal delegate string? VariableLookup(string name);

/// <summary>A text that is no template.</summary>
internal sealed class InvalidTemplateException(string template) : Exception("Invalid template: " + GoText.Quote(template))
{
    public string Template { get; } = template;
}

/// <summary>
/// $NAME, ${NAME}, ${NAME:-default}, ${NAME-default}, ${NAME:?error}, ${NAME?error}, ${NAME:+other}, ${NAME+other}, nested in each
/// other, and $$ for a dollar sign.
/// </summary>
public static class Variables
{
    /// <summary>Defaults within defaults.</summary>
    public const int MaxDepth = 50;

    /// <param name="unset">Told of each variable without a value that nothing stands in for.</param>
    /// <exception cref="InvalidTemplateException">A dollar sign that begins nothing.</exception>
    /// <exception cref="ComposeException">${NAME:?error} without a value.</exception>
    internal static string Substitute(string template, VariableLookup lookup, Action<string>? unset = null, int depth = 0)
    {
        if (!template.Contains('$')) return template;
        if (depth > MaxDepth) throw new InvalidTemplateException(template);
        var result = new StringBuilder(template.Length);
        for (var i = 0; i < template.Length; i++)
        {
            if (template[i] != '$' || i + 1 == template.Length)
            {
                result.Append(template[i]);
                continue;
            }
            var next = template[i + 1];
            if (next == '$')
            {
                result.Append('$');
                i++;
            }
            else if (IsNameStart(next))
            {
                var end = NameEnd(template, i + 1);
                result.Append(Value(template[(i + 1)..end], lookup, unset));
                i = end - 1;
            }
            else if (next == '{')
            {
                var end = ClosingBrace(template, i + 1);
                if (end < 0) throw new InvalidTemplateException(template);
                result.Append(Braced(template[(i + 2)..end], template, lookup, unset, depth));
                i = end;
            }
            else result.Append('$');
        }
        return result.ToString();
    }

    private static string Braced(string expression, string template, VariableLookup lookup, Action<string>? unset, int depth)
    {
        if (expression.Length == 0 || !IsNameStart(expression[0])) throw new InvalidTemplateException(template);
        var end = NameEnd(expression, 0);
        var name = expression[..end];
        if (end == expression.Length) return Value(name, lookup, unset);
        var colon = expression[end] == ':';
        var at = colon ? end + 1 : end;
        if (at >= expression.Length || expression[at] is not ('-' or '?' or '+')) throw new InvalidTemplateException(template);
        var other = Substitute(expression[(at + 1)..], lookup, unset, depth + 1);
        var value = lookup(name);
        var present = value is not null && !(colon && value.Length == 0);
        return expression[at] switch
        {
            '-' => present ? value! : other,
            '+' => present ? other : value ?? "",
            _ => present ? value! : throw new ComposeException($"required variable {name} is missing a value" + (other.Length > 0 ? ": " + other : "")),
        };
    }

    private static string Value(string name, VariableLookup lookup, Action<string>? unset)
    {
        var value = lookup(name);
        if (value is null) unset?.Invoke(name);
        return value ?? "";
    }

    private static bool IsNameStart(char c) => char.IsAsciiLetter(c) || c == '_';

    private static int NameEnd(string text, int start)
    {
        var end = start;
        while (end < text.Length && (char.IsAsciiLetterOrDigit(text[end]) || text[end] == '_')) end++;
        return end;
    }

    private static int ClosingBrace(string text, int open)
    {
        var depth = 0;
        for (var i = open; i < text.Length; i++)
        {
            if (text[i] == '{') depth++;
            else if (text[i] == '}' && --depth == 0) return i;
        }
        return -1;
    }

    /// <summary>A variable that a model speaks of.</summary>
    public sealed record Use(string Name, string Default, string Presence, bool Required);

    /// <summary>All variables of a model that was not interpolated.</summary>
    public static SortedDictionary<string, Use> Collect(Node model)
    {
        var found = new SortedDictionary<string, Use>(StringComparer.Ordinal);
        Walk(model);
        return found;

        void Walk(Node node)
        {
            if (node.IsString) Scan(node.Text, 0);
            else if (node.IsList) node.Items.ForEach(Walk);
            else if (node.IsMap)
                foreach (var value in node.Entries.Values) Walk(value);
        }

        void Scan(string text, int depth)
        {
            for (var i = 0; i + 1 < text.Length && depth <= MaxDepth; i++)
            {
                if (text[i] != '$') continue;
                if (text[i + 1] == '$') i++;
                else if (IsNameStart(text[i + 1]))
                {
                    var end = NameEnd(text, i + 1);
                    Add(new Use(text[(i + 1)..end], "", "", false));
                    i = end - 1;
                }
                else if (text[i + 1] == '{' && ClosingBrace(text, i + 1) is > 0 and var close)
                {
                    var expression = text[(i + 2)..close];
                    i = close;
                    if (expression.Length == 0 || !IsNameStart(expression[0])) continue;
                    var end = NameEnd(expression, 0);
                    var rest = expression[end..].TrimStart(':');
                    var other = rest.Length > 0 ? rest[1..] : "";
                    Add(new Use(expression[..end], rest.StartsWith('-') ? other : "", rest.StartsWith('+') ? other : "", rest.StartsWith('?')));
                    Scan(other, depth + 1);
                }
            }
        }

        void Add(Use use)
        {
            if (!found.TryGetValue(use.Name, out var known) || (known.Default.Length == 0 && !known.Required)) found[use.Name] = use;
        }
    }
}

/// <summary>Variables of a whole file, and the values that are to be numbers or booleans whatever quotes they stand in.</summary>
internal sealed class Interpolation(VariableLookup lookup, Action<string> warn)
{
    private readonly HashSet<string> _warned = new(StringComparer.Ordinal);

    private static readonly PathRules<Func<string, Node, Action<string>, Node>> Casts = new(
    [
        .. Paths(ToInt, "cpu_count", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "deploy.replicas", "deploy.update_config.parallelism", "deploy.rollback_config.parallelism",
            "deploy.restart_policy.max_attempts", "deploy.placement.max_replicas_per_node", "healthcheck.retries", "oom_score_adj", "pids_limit", "ports.[].target", "scale", "ulimits.*", "ulimits.*.hard", "ulimits.*.soft"),
        .. Paths(ToFloat, "cpu_percent", "cpus", "deploy.update_config.max_failure_ratio", "deploy.rollback_config.max_failure_ratio"),
        .. Paths(ToBool, "init", "healthcheck.disable", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty", "volumes.[].read_only", "volumes.[].volume.nocopy"),
        ("networks.*.external", ToBool), ("networks.*.internal", ToBool), ("networks.*.attachable", ToBool), ("networks.*.enable_ipv4", ToBool), ("networks.*.enable_ipv6", ToBool),
        ("volumes.*.external", ToBool), ("secrets.*.external", ToBool), ("configs.*.external", ToBool),
    ]);

    private static IEnumerable<(string, Func<string, Node, Action<string>, Node>)> Paths(Func<string, Node, Action<string>, Node> cast, params string[] ofService)
    {
        foreach (var path in ofService) yield return ("services.*." + path, cast);
    }

    public Node Apply(Node model) => Apply(model, TreePath.Root);

    public string Text(string template, string path) => Apply(Node.Of(template), TreePath.Root.Next(path)).ToText();

    private Node Apply(Node node, TreePath path)
    {
        switch (node.Kind)
        {
            case NodeKind.Map:
                var map = Node.Map(node.At);
                foreach (var (key, value) in node.Entries) map.Entries[key] = Apply(value, path.Next(key));
                return map;
            case NodeKind.List:
                var list = Node.List(node.At);
                foreach (var item in node.Items) list.Items.Add(Apply(item, path.Item));
                return list;
            case NodeKind.String:
                string text;
                try
                {
                    text = Variables.Substitute(node.Text, lookup, Unset);
                }
                catch (InvalidTemplateException e)
                {
                    throw new ComposeException($"invalid interpolation format for {path}.\nYou may need to escape any $ with another $.\n{e.Template}" + Where(node));
                }
                catch (ComposeException e)
                {
                    throw new ComposeException($"error while interpolating {path}: {e.Message}" + Where(node));
                }
                if (Casts.Find(path) is not { } cast) return ReferenceEquals(text, node.Text) ? node : Node.Of(text, node.At);
                try
                {
                    return cast(text, node, warn);
                }
                catch (FormatException e)
                {
                    throw new ComposeException($"error while interpolating {path}: failed to cast to expected type: {e.Message}" + Where(node));
                }
            default:
                return node;
        }
    }

    private static string Where(Node node) => node.At.Line > 0 ? $" ({node.At})" : "";

    private void Unset(string name)
    {
        if (_warned.Add(name)) warn($"The {GoText.Quote(name)} variable is not set. Defaulting to a blank string.");
    }

    private static Node ToInt(string text, Node node, Action<string> warn)
    {
        var digits = text.AsSpan();
        if (digits.StartsWith("-") || digits.StartsWith("+")) digits = digits[1..];
        if (digits.IsEmpty || digits.ContainsAnyExceptInRange('0', '9')) throw new FormatException($"strconv.Atoi: parsing {GoText.Quote(text)}: invalid syntax");
        return long.TryParse(text, out var value) ? Node.Of(value, node.At) : throw new FormatException($"strconv.Atoi: parsing {GoText.Quote(text)}: value out of range");
    }

    private static Node ToFloat(string text, Node node, Action<string> warn) =>
        double.TryParse(text, System.Globalization.NumberStyles.Float, System.Globalization.CultureInfo.InvariantCulture, out var value)
            ? Node.Of(value, node.At)
            : throw new FormatException($"strconv.ParseFloat: parsing {GoText.Quote(text)}: invalid syntax");

    private static Node ToBool(string text, Node node, Action<string> warn)
    {
        switch (text.ToLowerInvariant())
        {
            case "true": return Node.Of(true, node.At);
            case "false": return Node.Of(false, node.At);
            case "y" or "yes" or "on":
                warn($"{GoText.Quote(text)} for boolean is not supported by YAML 1.2, please use `true`");
                return Node.Of(true, node.At);
            case "n" or "no" or "off":
                warn($"{GoText.Quote(text)} for boolean is not supported by YAML 1.2, please use `false`");
                return Node.Of(false, node.At);
            default: throw new FormatException("invalid boolean: " + text);
        }
    }
}
