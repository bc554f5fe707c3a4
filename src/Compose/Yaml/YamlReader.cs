using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Berth.Compose.Yaml;

/// <summary>One document of a compose file.</summary>
/// <param name="Root">Its value; aliases expanded, merge keys carried out, what is tagged !reset left out.</param>
/// <param name="Replaced">Where !reset or !override stands: there, what files before this one say is dropped.</param>
public sealed record YamlDocument(Node Root, IReadOnlyList<string[]> Replaced);

/// <summary>
/// YAML as compose files use it. The events are the library's; everything that gives them a meaning is here: what a plain
/// scalar is, anchors, aliases, merge keys, !reset and !override.
/// </summary>
public sealed class YamlReader
{
    /// <summary>A file of a few lines can name billions of values by aliases of aliases; no project has more than these.</summary>
    public const int MaxNodes = 500_000;

    /// <summary>Of nested values.</summary>
    public const int MaxDepth = 200;

    private readonly string _file;
    private readonly IParser _parser;
    private readonly Dictionary<string, Raw> _anchors = new(StringComparer.Ordinal);
    private int _nodes;

    // A node as it was written, before aliases and merge keys are carried out.
    private sealed class Raw
    {
        public string Tag = "";
        public Position At;
        public Node? Scalar;
        public List<Raw>? Items;
        public List<(Node Key, Raw Value)>? Pairs;
        public Raw? Alias;
        public bool Open;
    }

    private YamlReader(string text, string file) => (_file, _parser) = (file, new Parser(new StringReader(text)));

    /// <exception cref="ComposeException">It is no YAML.</exception>
    public static List<YamlDocument> Read(string text, string file)
    {
        var reader = new YamlReader(text, file);
        try
        {
            return reader.Documents();
        }
        catch (YamlException e)
        {
            throw new ComposeException($"failed to parse {file}: yaml: line {e.Start.Line}: {Reason(e)}");
        }
    }

    private static string Reason(YamlException e)
    {
        var message = e.InnerException is YamlException inner ? inner.Message : e.Message;
        // The library's own prefix "(Line: 3, Col: 5, Idx: 30) - (...): " says what we say before it.
        var colon = message.StartsWith("(Line", StringComparison.Ordinal) ? message.LastIndexOf("): ", StringComparison.Ordinal) : -1;
        return colon < 0 ? message : message[(colon + 3)..];
    }

    private List<YamlDocument> Documents()
    {
        var documents = new List<YamlDocument>();
        _parser.MoveNext();
        while (_parser.MoveNext() && _parser.Current is not StreamEnd)
        {
            if (_parser.Current is not DocumentStart) continue;
            _anchors.Clear();
            _parser.MoveNext();
            var raw = Parse(0);
            var replaced = new List<string[]>();
            documents.Add(new YamlDocument(Build(raw, [], replaced, 0) ?? Node.Null(raw.At), replaced));
        }
        return documents;
    }

    private Position At(ParsingEvent e) => new(_file, (int)e.Start.Line, (int)e.Start.Column);

    private ComposeException Fail(Position at, string reason) => new($"failed to parse {_file}: line {at.Line}: {reason}");

    private Raw Parse(int depth)
    {
        if (depth > MaxDepth) throw Fail(At(_parser.Current!), $"nested deeper than {MaxDepth} levels");
        switch (_parser.Current)
        {
            case AnchorAlias alias:
                if (!_anchors.TryGetValue(alias.Value.Value, out var target)) throw new ComposeException($"failed to parse {_file}: yaml: unknown anchor '{alias.Value.Value}' referenced (line {alias.Start.Line})");
                if (target.Open) throw new ComposeException($"failed to parse {_file}: yaml: anchor '{alias.Value.Value}' value contains itself (line {alias.Start.Line})");
                return new Raw { Alias = target, At = At(alias) };
            case Scalar scalar:
                var leaf = Anchored(scalar, new Raw { At = At(scalar), Tag = TagOf(scalar) });
                leaf.Scalar = ScalarOf(scalar, leaf.Tag, leaf.At);
                return leaf;
            case SequenceStart sequence:
                var list = Anchored(sequence, new Raw { At = At(sequence), Tag = TagOf(sequence), Items = [], Open = true });
                while (_parser.MoveNext() && _parser.Current is not SequenceEnd) list.Items!.Add(Parse(depth + 1));
                list.Open = false;
                return list;
            case MappingStart mapping:
                var map = Anchored(mapping, new Raw { At = At(mapping), Tag = TagOf(mapping), Pairs = [], Open = true });
                while (_parser.MoveNext() && _parser.Current is not MappingEnd)
                {
                    var key = Parse(depth + 1);
                    while (key.Alias is not null) key = key.Alias;
                    if (key.Scalar is null) throw new ComposeException($"failed to parse {_file}: yaml: invalid map key (line {key.At.Line})");
                    _parser.MoveNext();
                    map.Pairs!.Add((key.Scalar, Parse(depth + 1)));
                }
                map.Open = false;
                return map;
            default:
                throw new ComposeException($"failed to parse {_file}: unexpected {_parser.Current}");
        }
    }

    private Raw Anchored(NodeEvent e, Raw raw)
    {
        if (!e.Anchor.IsEmpty) _anchors[e.Anchor.Value] = raw;
        return raw;
    }

    private static string TagOf(NodeEvent e) => e.Tag.IsEmpty ? "" : e.Tag.Value;

    // null: it is tagged !reset and takes the key with it.
    private Node? Build(Raw raw, List<string> path, List<string[]> replaced, int depth)
    {
        if (depth > MaxDepth) throw Fail(raw.At, $"nested deeper than {MaxDepth} levels");
        while (raw.Alias is not null) raw = raw.Alias;
        if (++_nodes > MaxNodes) throw Fail(raw.At, $"more than {MaxNodes} values, aliases expanded");
        if (raw.Tag == "!reset")
        {
            replaced.Add([.. path]);
            return null;
        }
        if (raw.Tag == "!override") replaced.Add([.. path]);
        if (raw.Scalar is not null) return raw.Scalar;
        if (raw.Items is not null)
        {
            var list = Node.List(raw.At);
            for (var i = 0; i < raw.Items.Count; i++)
            {
                path.Add(i.ToString(CultureInfo.InvariantCulture));
                if (Build(raw.Items[i], path, replaced, depth + 1) is { } item) list.Items.Add(item);
                path.RemoveAt(path.Count - 1);
            }
            return list;
        }
        var map = Node.Map(raw.At);
        var lines = new Dictionary<string, int>(StringComparer.Ordinal);
        List<Raw>? merges = null;
        foreach (var (key, value) in raw.Pairs!)
        {
            if (key is { Kind: NodeKind.String, Text: "<<" })
            {
                (merges ??= []).Add(value);
                continue;
            }
            var name = key.ToText();
            if (!lines.TryAdd(name, key.At.Line)) throw Fail(key.At, $"mapping key {GoText.Quote(name)} already defined at line {lines[name]}");
            if (key.Kind != NodeKind.String)
                throw new ComposeException($"non-string key {(path.Count == 0 ? "at top level" : "in " + string.Join('.', path))}: {name} ({key.At})");
            path.Add(name);
            if (Build(value, path, replaced, depth + 1) is { } built) map.Entries[name] = built;
            path.RemoveAt(path.Count - 1);
        }
        foreach (var merge in merges ?? [])
        {
            var source = merge;
            while (source.Alias is not null) source = source.Alias;
            foreach (var one in source.Items is not null ? source.Items : [source])
            {
                var merged = Build(one, path, replaced, depth + 1);
                if (merged is null) continue;
                if (!merged.IsMap) throw new ComposeException($"failed to parse {_file}: yaml: map merge requires map or sequence of maps as the value (line {merge.At.Line})");
                foreach (var (name, value) in merged.Entries)
                    if (!lines.ContainsKey(name)) map.Entries.TryAdd(name, value);
            }
        }
        return map;
    }

    private static Node ScalarOf(Scalar scalar, string tag, Position at)
    {
        if (tag is "tag:yaml.org,2002:str" or "!") return Node.Of(scalar.Value, at);
        if (scalar.Style != ScalarStyle.Plain && tag is not ("tag:yaml.org,2002:int" or "tag:yaml.org,2002:bool" or "tag:yaml.org,2002:float" or "tag:yaml.org,2002:null")) return Node.Of(scalar.Value, at);
        return Resolve(scalar.Value, at);
    }

    /// <summary>What a plain scalar is: null, a boolean, a number, or itself.</summary>
    internal static Node Resolve(string text, Position at = default)
    {
        switch (text)
        {
            case "" or "~" or "null" or "Null" or "NULL": return Node.Null(at);
            case "true" or "True" or "TRUE": return Node.Of(true, at);
            case "false" or "False" or "FALSE": return Node.Of(false, at);
            case ".nan" or ".NaN" or ".NAN": return Node.Of(double.NaN, at);
            case ".inf" or ".Inf" or ".INF" or "+.inf" or "+.Inf" or "+.INF": return Node.Of(double.PositiveInfinity, at);
            case "-.inf" or "-.Inf" or "-.INF": return Node.Of(double.NegativeInfinity, at);
        }
        var first = text[0];
        if (!(char.IsAsciiDigit(first) || first is '-' or '+' or '.')) return Node.Of(text, at);
        return TryInteger(text, out var number) ? Node.Of(number, at) : TryFloat(text, out var real) ? Node.Of(real, at) : Node.Of(text, at);
    }

    private static bool TryInteger(string text, out long value)
    {
        value = 0;
        var digits = text.Replace("_", "", StringComparison.Ordinal).AsSpan();
        var negative = digits.StartsWith("-");
        if (negative || digits.StartsWith("+")) digits = digits[1..];
        if (digits.IsEmpty) return false;
        var radix = 10;
        if (digits.Length > 1 && digits[0] == '0')
        {
            (radix, var skip) = digits[1] switch { 'x' => (16, 2), 'o' => (8, 2), 'b' => (2, 2), _ => (8, 1) };
            digits = digits[skip..];
            if (digits.IsEmpty) return false;
        }
        ulong sum = 0;
        foreach (var c in digits)
        {
            var digit = char.IsAsciiDigit(c) ? c - '0' : char.IsAsciiHexDigit(c) ? char.ToLowerInvariant(c) - 'a' + 10 : 99;
            if (digit >= radix || sum > (long.MaxValue - (ulong)digit) / (ulong)radix) return false;
            sum = sum * (ulong)radix + (ulong)digit;
        }
        value = negative ? -(long)sum : (long)sum;
        return true;
    }

    private static bool TryFloat(string text, out double value)
    {
        value = 0;
        var i = text[0] is '-' or '+' ? 1 : 0;
        var start = i;
        while (i < text.Length && char.IsAsciiDigit(text[i])) i++;
        var whole = i - start;
        var fraction = 0;
        if (i < text.Length && text[i] == '.')
        {
            start = ++i;
            while (i < text.Length && char.IsAsciiDigit(text[i])) i++;
            fraction = i - start;
        }
        if (whole + fraction == 0) return false;
        if (i < text.Length && text[i] is 'e' or 'E')
        {
            i++;
            if (i < text.Length && text[i] is '-' or '+') i++;
            start = i;
            while (i < text.Length && char.IsAsciiDigit(text[i])) i++;
            if (i == start) return false;
        }
        return i == text.Length && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value);
    }
}
