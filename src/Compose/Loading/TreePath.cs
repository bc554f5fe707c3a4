namespace Berth.Compose.Loading;

/// <summary>Where a value is in the model: services.web.ports.[].</summary>
internal sealed class TreePath
{
    public static readonly TreePath Root = new(null, "", 0);

    private TreePath(TreePath? parent, string key, int depth) => (Parent, Key, Depth) = (parent, key, depth);

    public TreePath? Parent { get; }

    public string Key { get; }

    public int Depth { get; }

    public TreePath Next(string key) => new(this, key, Depth + 1);

    /// <summary>Into a list.</summary>
    public TreePath Item => Next("[]");

    public bool Matches(string[] pattern)
    {
        if (pattern.Length != Depth) return false;
        var path = this;
        for (var i = pattern.Length - 1; i >= 0; i--, path = path.Parent!)
            if (pattern[i] != "*" && pattern[i] != path.Key) return false;
        return true;
    }

    public override string ToString() => Parent is null ? "" : Parent.Depth == 0 ? Key : Parent + "." + Key;
}

/// <summary>What is to be done at some places: a table by pattern, "services.*.ports".</summary>
internal sealed class PathRules<T> where T : class
{
    private readonly List<(string[] Pattern, T Rule)>[] _byDepth;

    public PathRules(params (string Pattern, T Rule)[] rules)
    {
        _byDepth = new List<(string[], T)>[10];
        foreach (var (text, rule) in rules)
        {
            var pattern = text.Split('.');
            (_byDepth[pattern.Length] ??= []).Add((pattern, rule));
        }
    }

    public T? Find(TreePath path)
    {
        if (path.Depth >= _byDepth.Length || _byDepth[path.Depth] is not { } rules) return null;
        foreach (var (pattern, rule) in rules)
            if (path.Matches(pattern)) return rule;
        return null;
    }
}
