using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>How one file lies on top of another: maps are merged, lists are appended, the rest is replaced; and the exceptions from that.</summary>
internal static class Merge
{
    private delegate Node Merger(Node under, Node over, TreePath path);

    private static readonly PathRules<Merger> Specials = new(
        ("networks.*.ipam.config", Pools),
        ("networks.*.labels", Sequence), ("volumes.*.labels", Sequence), ("services.*.annotations", Sequence),
        ("services.*.build", static (u, o, p) => Maps(Build(u), Build(o), p)),
        ("services.*.build.args", Sequence), ("services.*.build.additional_contexts", Sequence), ("services.*.build.extra_hosts", Hosts), ("services.*.build.labels", Sequence),
        ("services.*.command", Replace), ("services.*.entrypoint", Replace), ("services.*.healthcheck.test", Replace),
        ("services.*.depends_on", static (u, o, p) => Maps(Keyed(u, Dependency), Keyed(o, Dependency), p)),
        ("services.*.deploy.labels", Sequence), ("services.*.dns", Sequence), ("services.*.dns_opt", Sequence), ("services.*.dns_search", Sequence),
        ("services.*.env_file", Sequence), ("services.*.label_file", Sequence), ("services.*.environment", Sequence), ("services.*.extra_hosts", Hosts),
        ("services.*.labels", Sequence), ("services.*.volumes.*.volume.labels", Sequence),
        ("services.*.logging", Logging),
        ("services.*.models", static (u, o, p) => Maps(Keyed(u, null), Keyed(o, null), p)),
        ("services.*.networks", static (u, o, p) => Maps(Keyed(u, null), Keyed(o, null), p)),
        ("services.*.sysctls", Sequence), ("services.*.tmpfs", Sequence),
        ("services.*.ulimits.*", static (u, o, p) => o));

    /// <summary>The first is changed and given back.</summary>
    public static Node Files(Node under, Node over) => Values(under, over, TreePath.Root);

    /// <summary>A service that extends another.</summary>
    public static Node Services(Node under, Node over) => Values(under, over, TreePath.Root.Next("services").Next("x"));

    private static Node Values(Node under, Node over, TreePath path)
    {
        if (Specials.Find(path) is { } special) return special(under, over, path);
        if (over.IsNull) return under;
        if (under.IsMap) return over.IsMap ? Maps(under, over, path) : throw new ComposeException($"cannot override {path} ({over.At})");
        if (!under.IsList) return over;
        if (!over.IsList) throw new ComposeException($"cannot override {path} ({over.At})");
        under.Items.AddRange(over.Items);
        return under;
    }

    private static Node Maps(Node under, Node over, TreePath path)
    {
        if (!under.IsMap || !over.IsMap) return over.IsNull ? under : over;
        foreach (var (key, value) in over.Entries)
            under.Entries[key] = under.Entries.TryGetValue(key, out var there) ? Values(there, value, path.Next(key)) : value;
        return under;
    }

    private static Node Replace(Node under, Node over, TreePath path) => over;

    private static Node Sequence(Node under, Node over, TreePath path)
    {
        var list = Node.List(over.At);
        list.Items.AddRange(AsSequence(under));
        list.Items.AddRange(AsSequence(over));
        return list;
    }

    private static Node Hosts(Node under, Node over, TreePath path)
    {
        var list = Node.List(over.At);
        list.Items.AddRange(AsSequence(under));
        foreach (var host in AsSequence(over))
            if (!list.Items.Exists(h => h.SameAs(host))) list.Items.Add(host);
        return list;
    }

    private static List<Node> AsSequence(Node value)
    {
        if (value.IsList) return value.Items;
        if (value.IsString) return [value];
        if (!value.IsMap) return [];
        var list = new List<Node>();
        foreach (var (key, item) in value.Entries)
        {
            if (item.IsNull) list.Add(Node.Of(key, item.At));
            else if (item.IsList)
                foreach (var one in item.Items) list.Add(Node.Of($"{key}={one.ToText()}", one.At));
            else list.Add(Node.Of($"{key}={item.ToText()}", item.At));
        }
        list.Sort(static (a, b) => string.CompareOrdinal(a.Text, b.Text));
        return list;
    }

    private static Node Build(Node value)
    {
        if (!value.IsString) return value;
        var map = Node.Map(value.At);
        map["context"] = value;
        return map;
    }

    private static Node Dependency(Position at)
    {
        var map = Node.Map(at);
        map["condition"] = Node.Of("service_started", at);
        map["required"] = Node.Of(true, at);
        return map;
    }

    private static Node Keyed(Node value, Func<Position, Node>? make)
    {
        if (!value.IsList) return value;
        var map = Node.Map(value.At);
        foreach (var key in value.Items) map.Entries[key.ToText()] = make is null ? Node.Null(key.At) : make(key.At);
        return map;
    }

    // Options belong to a driver: another driver starts afresh.
    private static Node Logging(Node under, Node over, TreePath path)
    {
        var (a, b) = (under.Get("driver"), over.Get("driver"));
        return a is null || b is null || a.SameAs(b) ? Maps(under, over, path) : over;
    }

    private static Node Pools(Node under, Node over, TreePath path)
    {
        if (!under.IsList || !over.IsList) throw new ComposeException($"{path}: unexpected type {under.GoType} ({over.At})");
        var pools = Node.List(over.At);
        foreach (var first in under.Items)
        {
            foreach (var second in over.Items)
            {
                var same = first.TextOf("subnet") == second.TextOf("subnet");
                if (!same && !pools.Items.Exists(p => p.TextOf("subnet") == second.TextOf("subnet")))
                {
                    pools.Items.Add(second);
                    continue;
                }
                var merged = Maps(first, second, path);
                var known = pools.Items.FindIndex(p => p.TextOf("subnet") == merged.TextOf("subnet"));
                if (known >= 0) pools.Items[known] = merged;
                else pools.Items.Add(merged);
            }
        }
        return pools;
    }
}

/// <summary>In some lists a later element with the same key takes the place of an earlier one.</summary>
internal static class Unique
{
    private static readonly PathRules<Func<Node, string>> Keys = new(
    [
        ("networks.*.labels", Name), ("networks.*.ipam.options", Name),
        .. Services(Name, "annotations", "build.args", "build.additional_contexts", "build.platform", "build.tags", "build.labels", "cap_add", "cap_drop", "deploy.labels", "dns", "dns_opt", "dns_search", "environment", "labels", "links",
            "networks.*.aliases", "networks.*.link_local_ips", "profiles", "sysctls", "tmpfs"),
        .. Services(static n => n.IsString ? DeviceTarget(n.Text) : n.TextOf("target"), "devices"),
        .. Services(static n => n.IsString ? "/" + n.Text : n.Get("target") is { } target ? target.ToText() : "/" + n.TextOf("source"), "configs"),
        .. Services(static n => n.IsString ? "/run/secrets/" + n.Text : n.Get("target") is { } target ? target.ToText() : "/run/secrets/" + n.TextOf("source"), "secrets"),
        .. Services(static n => n.IsString ? n.Text : n.TextOf("path"), "env_file"),
        .. Services(static n => n.ToText(), "expose"),
        .. Services(Port, "ports"),
        .. Services(Volume, "volumes"),
    ]);

    private static IEnumerable<(string, Func<Node, string>)> Services(Func<Node, string> key, params string[] paths)
    {
        foreach (var path in paths) yield return ("services.*." + path, key);
    }

    public static void Enforce(Node node) => Enforce(node, TreePath.Root);

    private static void Enforce(Node node, TreePath path)
    {
        if (node.IsMap)
        {
            foreach (var (key, value) in node.Entries) Enforce(value, path.Next(key));
            return;
        }
        if (!node.IsList || Keys.Find(path) is not { } keyOf) return;
        var places = new Dictionary<string, int>(StringComparer.Ordinal);
        var kept = new List<Node>(node.Items.Count);
        foreach (var item in node.Items)
        {
            var key = keyOf(item);
            if (places.TryGetValue(key, out var place)) kept[place] = item;
            else
            {
                places[key] = kept.Count;
                kept.Add(item);
            }
        }
        node.Items.Clear();
        node.Items.AddRange(kept);
    }

    private static string Name(Node node)
    {
        var text = node.ToText();
        var equals = text.IndexOf('=');
        return equals < 0 ? text : text[..equals];
    }

    private static string DeviceTarget(string text) => text.Split(':') is [_, var target, ..] ? target : text;

    private static string Volume(Node node)
    {
        if (node.IsMap) return node.Get("target") is { } target ? target.ToText() : throw new ComposeException($"service volume is missing a mount target ({node.At})");
        return node.IsString ? Specs.Volume(node.Text, node.At).TextOf("target") : "";
    }

    private static string Port(Node node)
    {
        if (!node.IsMap) return node.ToText();
        if (node.Get("target") is not { } target) throw new ComposeException($"service ports is missing a target port ({node.At})");
        return $"{node.Get("host_ip")?.ToText() ?? "0.0.0.0"}:{node.TextOf("published")}:{target.ToText()}/{node.Get("protocol")?.ToText() ?? "tcp"}";
    }
}
