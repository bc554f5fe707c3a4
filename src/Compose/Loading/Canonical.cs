using System.Net;
using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>Short forms become long ones, so that everything after this knows one form of each attribute.</summary>
internal static class Canonical
{
    private delegate Node Transform(Node value, TreePath path, bool lenient);

    private static readonly PathRules<Transform> Transforms = new(
        ("services.*.build.secrets.*", FileMount), ("services.*.secrets.*", FileMount), ("services.*.configs.*", FileMount),
        ("services.*.build.provenance", static (v, p, l) => v.IsString ? v : Node.Of(v.ToText(), v.At)), ("services.*.build.sbom", static (v, p, l) => v.IsString ? v : Node.Of(v.ToText(), v.At)),
        ("services.*.build.additional_contexts", KeyValues),
        ("services.*.build", Build), ("services.*.build.ssh", Ssh),
        ("services.*.depends_on", DependsOn),
        ("services.*.env_file", EnvFiles),
        ("services.*.label_file", OneOrMany), ("services.*.dns", OneOrMany), ("services.*.develop.watch.*.ignore", OneOrMany), ("services.*.develop.watch.*.include", OneOrMany),
        ("services.*.extends", static (v, p, l) => v.IsString ? Single("service", v) : Inside(v, p, l)),
        ("services.*.gpus", static (v, p, l) => v.IsString ? Node.List([Single("count", Node.Of("all", v.At))], v.At) : Inside(v, p, l)),
        ("services.*.networks", Names), ("services.*.models", Names),
        ("services.*.volumes.*", static (v, p, l) => v.IsString ? ParsedVolume(v, l) : v),
        ("services.*.devices.*", Device),
        ("services.*.ports", Ports),
        ("volumes.*", MaybeExternal), ("networks.*", MaybeExternal), ("secrets.*", MaybeExternal), ("configs.*", MaybeExternal),
        ("include.*", static (v, p, l) => v.IsString ? Single("path", v) : v));

    /// <param name="lenient">Not interpolated: what cannot be read as it should stays as it is.</param>
    public static Node Of(Node model, bool lenient) => Apply(model, TreePath.Root, lenient);

    private static Node Apply(Node value, TreePath path, bool lenient) => Transforms.Find(path) is { } transform ? transform(value, path, lenient) : Inside(value, path, lenient);

    private static Node Inside(Node value, TreePath path, bool lenient)
    {
        if (value.IsMap)
        {
            foreach (var key in new List<string>(value.Entries.Keys)) value.Entries[key] = Apply(value.Entries[key], path.Next(key), lenient);
        }
        else if (value.IsList)
        {
            for (var i = 0; i < value.Items.Count; i++) value.Items[i] = Apply(value.Items[i], path.Item, lenient);
        }
        return value;
    }

    private static Node Single(string key, Node value)
    {
        var map = Node.Map(value.At);
        map[key] = value;
        return map;
    }

    private static ComposeException Wrong(Node value, TreePath path, string what) => new($"{path}: invalid type {value.GoType} for {what} ({value.At})");

    private static Node OneOrMany(Node value, TreePath path, bool lenient) => value.IsString ? Node.List([value], value.At) : value;

    private static Node Build(Node value, TreePath path, bool lenient) => value.IsString ? Single("context", value) : value.IsMap ? Inside(value, path, lenient) : throw Wrong(value, path, "build");

    private static Node FileMount(Node value, TreePath path, bool lenient) =>
        value.IsString ? Single("source", value) : value.IsMap ? value : throw new ComposeException($"{path}: unsupported type {value.GoType} ({value.At})");

    private static Node KeyValues(Node value, TreePath path, bool lenient)
    {
        if (!value.IsList) return value;
        var map = Node.Map(value.At);
        foreach (var item in value.Items)
        {
            var text = item.ToText();
            var equals = text.IndexOf('=');
            if (equals < 0) return lenient ? value : throw new ComposeException($"{path}: invalid value {text}, expected key=value ({item.At})");
            map[text[..equals]] = Node.Of(text[(equals + 1)..], item.At);
        }
        return map;
    }

    private static Node DependsOn(Node value, TreePath path, bool lenient)
    {
        var map = value;
        if (value.IsList)
        {
            map = Node.Map(value.At);
            foreach (var item in value.Items) map[item.ToText()] = Node.Map(item.At);
        }
        else if (!value.IsMap) throw Wrong(value, path, "depend_on");
        foreach (var (name, dependency) in map.Entries)
        {
            if (!dependency.IsMap) throw new ComposeException($"{path}.{name}: unsupported value {dependency.ToText()} ({dependency.At})");
            dependency["condition"] ??= Node.Of("service_started", dependency.At);
            dependency["required"] ??= Node.Of(true, dependency.At);
        }
        return map;
    }

    private static Node EnvFiles(Node value, TreePath path, bool lenient)
    {
        var list = value.IsString ? Node.List([value], value.At) : value.IsList ? value : throw Wrong(value, path, "env_file");
        for (var i = 0; i < list.Items.Count; i++)
        {
            if (list.Items[i].IsString) list.Items[i] = Single("path", list.Items[i]);
            if (list.Items[i].IsMap) list.Items[i]["required"] ??= Node.Of(true, list.Items[i].At);
        }
        return list;
    }

    private static Node Names(Node value, TreePath path, bool lenient)
    {
        if (!value.IsList) return value;
        var map = Node.Map(value.At);
        foreach (var item in value.Items) map[item.ToText()] = Node.Null(item.At);
        return map;
    }

    private static Node Ssh(Node value, TreePath path, bool lenient)
    {
        if (value.IsMap) return value;
        if (!value.IsList) throw Wrong(value, path, "ssh");
        var map = Node.Map(value.At);
        foreach (var item in value.Items)
        {
            var text = item.ToText();
            var equals = text.IndexOf('=');
            if (equals < 0 && text != "default") throw new ComposeException($"invalid ssh key {GoText.Quote(text)} ({item.At})");
            map[equals < 0 ? text : text[..equals]] = equals < 0 ? Node.Null(item.At) : Node.Of(text[(equals + 1)..], item.At);
        }
        return map;
    }

    private static Node ParsedVolume(Node value, bool lenient)
    {
        try
        {
            return Specs.Volume(value.Text, value.At);
        }
        catch (ComposeException) when (lenient)
        {
            return value;
        }
    }

    private static Node Device(Node value, TreePath path, bool lenient)
    {
        if (!value.IsString) return value;
        var parts = value.Text.Split(':');
        if (parts.Length > 3) return lenient ? value : throw new ComposeException($"confusing device mapping, please use long syntax: {value.Text} ({value.At})");
        var map = Node.Map(value.At);
        map["source"] = Node.Of(parts[0], value.At);
        map["target"] = Node.Of(parts.Length > 1 && parts[1].Length > 0 ? parts[1] : parts[0], value.At);
        map["permissions"] = Node.Of(parts.Length > 2 ? parts[2] : "rwm", value.At);
        return map;
    }

    private static Node Ports(Node value, TreePath path, bool lenient)
    {
        if (!value.IsList) throw Wrong(value, path, "port");
        var ports = Node.List(value.At);
        foreach (var item in value.Items)
        {
            if (item.IsMap) ports.Items.Add(item);
            else if (item.IsString || item.Kind == NodeKind.Int)
            {
                try
                {
                    ports.Items.AddRange(Specs.Ports(item.ToText(), item.At));
                }
                catch (ComposeException) when (lenient)
                {
                    return value;
                }
            }
            else throw Wrong(item, path, "port");
        }
        return ports;
    }

    private static Node MaybeExternal(Node value, TreePath path, bool lenient)
    {
        if (!value.IsMap) return value;
        Inside(value, path, lenient);
        if (value["external"] is not { IsMap: true } external) return value;
        value["external"] = Node.Of(true, external.At);
        if (external.Get("name") is not { } name) return value;
        if (value.Get("name") is { } own && !own.SameAs(name)) throw new ComposeException($"{path}: name and external.name conflict; only use name ({name.At})");
        value["name"] = name;
        return value;
    }

    /// <summary>services.*.dns alone: entries that interpolation left empty.</summary>
    public static void OmitEmpty(Node model)
    {
        foreach (var service in model.MapOf("services").Values)
            if (service.Get("dns") is { IsList: true } dns) dns.Items.RemoveAll(static e => e.IsNull || e is { IsString: true, Text: "" });
    }

    public static void SetDefaults(Node model)
    {
        foreach (var service in model.MapOf("services").Values)
        {
            if (service.Get("build") is { IsMap: true } build) build["context"] ??= Node.Of(".", build.At);
            foreach (var secret in service.ListOf("secrets"))
                if (secret.IsMap) secret["target"] ??= Node.Of("/run/secrets/" + secret.TextOf("source"), secret.At);
            foreach (var port in service.ListOf("ports"))
            {
                if (!port.IsMap) continue;
                port["protocol"] ??= Node.Of("tcp", port.At);
                port["mode"] ??= Node.Of("ingress", port.At);
            }
            foreach (var device in Devices(service))
                if (device.IsMap && device["count"] is null && device["device_ids"] is null) device["count"] = Node.Of("all", device.At);
        }
    }

    private static IEnumerable<Node> Devices(Node service) =>
        service.ListOf("gpus").Concat(service.Get("deploy")?.Get("resources")?.Get("reservations")?.ListOf("devices") ?? []);

    /// <summary>What the schema cannot say.</summary>
    public static void Check(Node model)
    {
        foreach (var (name, volume) in model.MapOf("volumes"))
        {
            if (volume.IsNull || !volume.BoolOf("external")) continue;
            foreach (var key in volume.Entries.Keys)
                if (key is not ("name" or "external") && !key.StartsWith("x-", StringComparison.Ordinal))
                    throw new ComposeException($"volumes.{name}: conflicting parameters \"external\" and {GoText.Quote(key)} specified ({volume.Entries[key].At})");
        }
        foreach (var (name, config) in model.MapOf("configs")) CheckFileObject("configs." + name, config, "file", "environment", "content");
        foreach (var (name, secret) in model.MapOf("secrets")) CheckFileObject("secrets." + name, secret, "file", "environment");
        foreach (var (name, service) in model.MapOf("services"))
        {
            foreach (var port in service.ListOf("ports"))
                if (port.Get("host_ip") is { } ip && !IPAddress.TryParse(ip.ToText(), out _)) throw new ComposeException($"services.{name}.ports.[]: invalid ip address: {ip.ToText()} ({ip.At})");
            foreach (var watch in service.Get("develop")?.ListOf("watch") ?? [])
                if (watch["path"] is { IsString: true, Text: "" } path) throw new ComposeException($"services.{name}.develop.watch.[].path: value can't be blank ({path.At})");
            foreach (var device in Devices(service))
                if (device["count"] is not null && device["device_ids"] is not null)
                    throw new ComposeException($"services.{name}: \"count\" and \"device_ids\" attributes are exclusive ({device.At})");
        }
    }

    private static void CheckFileObject(string path, Node value, params string[] sources)
    {
        var count = sources.Count(s => value[s] is not null);
        if (count > 1) throw new ComposeException($"{path}: {string.Join('|', sources)} attributes are mutually exclusive ({value.At})");
        if (count == 0 && value["driver"] is null && value["external"] is null) throw new ComposeException($"{path}: one of {string.Join('|', sources)} must be set ({value.At})");
    }
}
