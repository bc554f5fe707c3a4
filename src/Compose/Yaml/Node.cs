using System.Globalization;

namespace Berth.Compose.Yaml;

/// <summary>Where something was written.</summary>
/// <param name="File">As the user named it, or its full path.</param>
/// <param name="Line">From 1; 0 when it was written nowhere.</param>
/// <param name="Column">From 1.</param>
public readonly record struct Position(string File, int Line, int Column)
{
    public override string ToString() => Line == 0 ? File : string.Create(CultureInfo.InvariantCulture, $"{File}:{Line}:{Column}");
}

public enum NodeKind
{
    Null,
    Bool,
    Int,
    Float,
    String,
    List,
    Map,
}

/// <summary>
/// A value of a compose file, of the merged model, or of the model bound to its types: one tree all the way, which remembers where
/// its parts were written.
/// </summary>
public sealed class Node
{
    private readonly object? _value;

    private Node(NodeKind kind, object? value, Position at) => (Kind, _value, At) = (kind, value, at);

    public NodeKind Kind { get; }

    public Position At { get; }

    public static Node Null(Position at = default) => new(NodeKind.Null, null, at);

    public static Node Of(bool value, Position at = default) => new(NodeKind.Bool, value, at);

    public static Node Of(long value, Position at = default) => new(NodeKind.Int, value, at);

    public static Node Of(double value, Position at = default) => new(NodeKind.Float, value, at);

    public static Node Of(string value, Position at = default) => new(NodeKind.String, value, at);

    public static Node List(Position at = default) => new(NodeKind.List, new List<Node>(), at);

    public static Node List(IEnumerable<Node> items, Position at = default) => new(NodeKind.List, new List<Node>(items), at);

    public static Node Strings(IEnumerable<string> items, Position at = default)
    {
        var list = List(at);
        foreach (var item in items) list.Items.Add(Of(item, at));
        return list;
    }

    public static Node Map(Position at = default) => new(NodeKind.Map, new Dictionary<string, Node>(StringComparer.Ordinal), at);

    public bool IsNull => Kind == NodeKind.Null;

    public bool IsMap => Kind == NodeKind.Map;

    public bool IsList => Kind == NodeKind.List;

    public bool IsString => Kind == NodeKind.String;

    public bool Bool => (bool)_value!;

    public long Int => (long)_value!;

    public double Float => (double)_value!;

    public string Text => (string)_value!;

    public List<Node> Items => (List<Node>)_value!;

    public Dictionary<string, Node> Entries => (Dictionary<string, Node>)_value!;

    /// <summary>The member of a map; null when this is no map or it has none. A member may be a null of its own.</summary>
    public Node? this[string key]
    {
        get => Kind == NodeKind.Map && Entries.TryGetValue(key, out var value) ? value : null;
        set
        {
            if (value is null) Entries.Remove(key);
            else Entries[key] = value;
        }
    }

    /// <summary>The member when it is there and not null.</summary>
    public Node? Get(string key) => this[key] is { Kind: not NodeKind.Null } value ? value : null;

    /// <summary>A member's text; "" when it is not there.</summary>
    public string TextOf(string key) => Get(key) is { } value ? value.ToText() : "";

    public long LongOf(string key, long otherwise = 0) => Get(key) switch
    {
        { Kind: NodeKind.Int } value => value.Int,
        { Kind: NodeKind.Float } value => (long)value.Float,
        _ => otherwise,
    };

    public double DoubleOf(string key) => Get(key) switch
    {
        { Kind: NodeKind.Int } value => value.Int,
        { Kind: NodeKind.Float } value => value.Float,
        _ => 0,
    };

    public bool BoolOf(string key, bool otherwise = false) => Get(key) is { Kind: NodeKind.Bool } value ? value.Bool : otherwise;

    public IReadOnlyList<Node> ListOf(string key) => Get(key) is { IsList: true } value ? value.Items : [];

    public string[] StringsOf(string key)
    {
        var items = ListOf(key);
        var result = new string[items.Count];
        for (var i = 0; i < result.Length; i++) result[i] = items[i].ToText();
        return result;
    }

    public IReadOnlyDictionary<string, Node> MapOf(string key) => Get(key) is { IsMap: true } value ? value.Entries : NoEntries;

    private static readonly Dictionary<string, Node> NoEntries = [];

    /// <summary>A map's texts, those without a value left out.</summary>
    public Dictionary<string, string> TextsOf(string key)
    {
        var result = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, value) in MapOf(key))
            if (!value.IsNull) result[name] = value.ToText();
        return result;
    }

    /// <summary>As Go's fmt.Sprint prints it.</summary>
    public string ToText() => Kind switch
    {
        NodeKind.String => Text,
        NodeKind.Int => Int.ToString(CultureInfo.InvariantCulture),
        NodeKind.Bool => Bool ? "true" : "false",
        NodeKind.Float => GoNumber.General(Float),
        NodeKind.Null => "<nil>",
        NodeKind.List => "[" + string.Join(' ', Items.Select(i => i.ToText())) + "]",
        _ => "map[" + string.Join(' ', Entries.OrderBy(e => e.Key, StringComparer.Ordinal).Select(e => e.Key + ":" + e.Value.ToText())) + "]",
    };

    /// <summary>What Go calls the type in its error texts (%T).</summary>
    public string GoType => Kind switch
    {
        NodeKind.Null => "<nil>",
        NodeKind.Bool => "bool",
        NodeKind.Int => "int",
        NodeKind.Float => "float64",
        NodeKind.String => "string",
        NodeKind.List => "[]interface {}",
        _ => "map[string]interface {}",
    };

    public Node Clone()
    {
        if (Kind == NodeKind.List)
        {
            var list = List(At);
            foreach (var item in Items) list.Items.Add(item.Clone());
            return list;
        }
        if (Kind != NodeKind.Map) return this;
        var map = Map(At);
        foreach (var (key, value) in Entries) map.Entries[key] = value.Clone();
        return map;
    }

    public bool SameAs(Node other)
    {
        if (Kind != other.Kind) return false;
        switch (Kind)
        {
            case NodeKind.List:
                if (Items.Count != other.Items.Count) return false;
                for (var i = 0; i < Items.Count; i++)
                    if (!Items[i].SameAs(other.Items[i])) return false;
                return true;
            case NodeKind.Map:
                if (Entries.Count != other.Entries.Count) return false;
                foreach (var (key, value) in Entries)
                    if (!other.Entries.TryGetValue(key, out var there) || !value.SameAs(there)) return false;
                return true;
            default:
                return Equals(_value, other._value);
        }
    }

    public override string ToString() => ToText();
}
