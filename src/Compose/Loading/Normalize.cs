using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>What a model means without saying it: the default network, names of resources, dependencies that other attributes imply.</summary>
internal static class Normalize
{
    public static void Apply(Node model, string project, VariableLookup lookup)
    {
        DefaultNetwork(model);
        foreach (var service in model.MapOf("services").Values)
        {
            if (!service.IsMap) continue;
            if (service.TextOf("pull_policy") == "if_not_present") service["pull_policy"] = Node.Of("missing", service["pull_policy"]!.At);
            if (service.Get("build") is { IsMap: true } build)
            {
                build["context"] ??= Node.Of(".", build.At);
                if (build.Get("dockerfile") is null && build.Get("dockerfile_inline") is null) build["dockerfile"] = Node.Of("Dockerfile", build.At);
                if (build["args"] is { } args) build["args"] = Resolve(args, lookup, keepEmpty: false);
            }
            if (service["environment"] is { } environment) service["environment"] = Resolve(environment, lookup, keepEmpty: true);
            Dependencies(service);
            foreach (var volume in service.ListOf("volumes"))
                if (volume.Get("target") is { IsString: true } target) volume["target"] = Node.Of(Specs.CleanPath(target.Text), target.At);
        }
        Names(model, project);
    }

    private static void DefaultNetwork(Node model)
    {
        var used = false;
        foreach (var service in model.MapOf("services").Values)
        {
            if (!service.IsMap || service["provider"] is not null || service["network_mode"] is not null) continue;
            if (service["networks"] is not { IsMap: true, Entries.Count: > 0 } networks)
            {
                service["networks"] = networks = Node.Map(service.At);
                networks["default"] = Node.Null(service.At);
            }
            used |= networks["default"] is not null;
        }
        if (!used) return;
        var top = model.Get("networks") ?? Node.Map();
        top["default"] ??= Node.Null();
        model["networks"] = top;
    }

    private static void Dependencies(Node service)
    {
        var dependencies = service.Get("depends_on") ?? Node.Map(service.At);
        foreach (var link in service.ListOf("links"))
        {
            var parts = link.ToText().Split(':');
            Add(parts.Length == 2 ? parts[0] : link.ToText(), restart: true, link.At);
        }
        foreach (var key in SharedNamespaces)
            if (service.Get(key) is { IsString: true } value && value.Text.StartsWith("service:", StringComparison.Ordinal)) Add(value.Text["service:".Length..], restart: true, value.At);
        foreach (var from in service.ListOf("volumes_from"))
            if (from.IsString && !from.Text.StartsWith("container:", StringComparison.Ordinal)) Add(from.Text.Split(':')[0], restart: false, from.At);
        if (dependencies.Entries.Count > 0) service["depends_on"] = dependencies;

        void Add(string name, bool restart, Position at)
        {
            if (dependencies[name] is not null) return;
            var dependency = Node.Map(at);
            dependency["condition"] = Node.Of("service_started", at);
            dependency["restart"] = Node.Of(restart, at);
            dependency["required"] = Node.Of(true, at);
            dependencies[name] = dependency;
        }
    }

    private static readonly string[] SharedNamespaces = ["network_mode", "ipc", "pid", "uts", "cgroup"];

    private static Node Resolve(Node value, VariableLookup lookup, bool keepEmpty)
    {
        if (value.IsList)
        {
            var list = Node.List(value.At);
            foreach (var item in value.Items)
            {
                var text = item.ToText();
                if (text.Contains('=')) list.Items.Add(item);
                else if (lookup(text) is { } found) list.Items.Add(Node.Of($"{text}={found}", item.At));
                else if (keepEmpty) list.Items.Add(item);
            }
            return list;
        }
        if (!value.IsMap) return value;
        var map = Node.Map(value.At);
        foreach (var (key, item) in value.Entries)
        {
            if (!item.IsNull) map[key] = item;
            else if (lookup(key) is { } found) map[key] = Node.Of(found, item.At);
            else if (keepEmpty) map[key] = item;
        }
        return map;
    }

    private static void Names(Node model, string project)
    {
        foreach (var kind in Named)
        {
            if (model.Get(kind) is not { IsMap: true } resources) continue;
            foreach (var key in new List<string>(resources.Entries.Keys))
            {
                var resource = resources.Entries[key];
                if (resource.IsNull) resources.Entries[key] = resource = Node.Map(resource.At);
                if (resource.IsMap && resource.Get("name") is null)
                    resource["name"] = Node.Of(resource["external"] is { } external && GoText.TryParseBool(external.ToText(), out var yes) && yes ? key : $"{project}_{key}", resource.At);
            }
        }
    }

    private static readonly string[] Named = ["networks", "volumes", "configs", "secrets"];

    /// <summary>Variables of the environment that files take as they are: of services (in list form), secrets and configs.</summary>
    public static void ResolveEnvironment(Node model, VariableLookup lookup)
    {
        foreach (var service in model.MapOf("services").Values)
        {
            if (service.Get("environment") is not { IsList: true } environment) continue;
            for (var i = 0; i < environment.Items.Count; i++)
                if (environment.Items[i] is { IsString: true } item && lookup(item.Text) is { } value) environment.Items[i] = Node.Of($"{item.Text}={value}", item.At);
        }
        foreach (var secret in model.MapOf("secrets").Values)
            if (secret.Get("environment") is { IsString: true } name && lookup(name.Text) is { } value) secret[SecretValue] = Node.Of(value, name.At);
        foreach (var config in model.MapOf("configs").Values)
            if (config.Get("environment") is { IsString: true } name && lookup(name.Text) is { } value) config["content"] = Node.Of(value, name.At);
    }

    /// <summary>Where a secret's value is kept in the model; never printed.</summary>
    public const string SecretValue = "x-#value";
}
