using Berth.Compose.Model;
using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>Whether the parts of a project fit together; compose's own words, and where in which file.</summary>
internal static class Consistency
{
    public static void Check(Project project)
    {
        foreach (var name in project.ServiceNames) Service(project, name, project.Services[name]);
        foreach (var (name, secret) in project.Secrets)
            if (!secret.BoolOf("external") && secret.TextOf("file").Length == 0 && secret.TextOf("environment").Length == 0)
                throw Invalid(secret, $"secret {GoText.Quote(name)} must declare either `file` or `environment`");
        Cycles(project);
    }

    private static ComposeException Fail(Node at, string text) => new(text + (at.At.Line > 0 ? $" ({at.At})" : ""));

    private static ComposeException Invalid(Node at, string text) => Fail(at, text + ": invalid compose project");

    private static void Service(Project project, string name, Node service)
    {
        var quoted = GoText.Quote(name);
        var build = service.Get("build");
        if (build is null && service.TextOf("image").Length == 0 && service.Get("provider") is null) throw Invalid(service, $"service {quoted} has neither an image nor a build context specified");
        if (build is not null) Build(project, name, service, build);
        if (service.TextOf("network_mode").Length > 0 && service.MapOf("networks").Count > 0) throw Invalid(service["network_mode"]!, $"service {name} declares mutually exclusive `network_mode` and `networks`");
        foreach (var (network, at) in service.MapOf("networks"))
            if (!project.Networks.ContainsKey(network)) throw Invalid(at, $"service {quoted} refers to undefined network {network}");
        if (service.Get("healthcheck")?.StringsOf("test") is [var first, ..] && first is not ("CMD" or "CMD-SHELL" or "NONE"))
            throw Fail(service.Get("healthcheck")!["test"]!, "healthcheck.test must start either by \"CMD\", \"CMD-SHELL\" or \"NONE\"");
        foreach (var (dependency, how) in service.MapOf("depends_on"))
        {
            if (project.Services.ContainsKey(dependency) || (project.Disabled.ContainsKey(dependency) && !how.BoolOf("required", true))) continue;
            throw Invalid(how, $"service {quoted} depends on undefined service {GoText.Quote(dependency)}");
        }
        if (service.TextOf("network_mode") is var mode && mode.StartsWith("service:", StringComparison.Ordinal) && !project.Services.ContainsKey(mode["service:".Length..]))
            throw Fail(service["network_mode"]!, $"service {GoText.Quote(mode["service:".Length..])} not found for network_mode 'service:{mode["service:".Length..]}'");
        foreach (var volume in service.ListOf("volumes"))
            if (volume.TextOf("type") == "volume" && volume.TextOf("source") is { Length: > 0 } source && !project.Volumes.ContainsKey(source))
                throw Invalid(volume, $"service {quoted} refers to undefined volume {source}");
        foreach (var config in service.ListOf("configs"))
            if (!project.Configs.ContainsKey(config.TextOf("source"))) throw Invalid(config, $"service {quoted} refers to undefined config {config.TextOf("source")}");
        foreach (var (model, at) in service.MapOf("models"))
            if (!project.Models.ContainsKey(model)) throw Invalid(at, $"service {quoted} refers to undefined model {model}");
        foreach (var secret in service.ListOf("secrets"))
            if (!project.Secrets.ContainsKey(secret.TextOf("source"))) throw Invalid(secret, $"service {quoted} refers to undefined secret {secret.TextOf("source")}");
        Resources(name, service);
        foreach (var watch in service.Get("develop")?.ListOf("watch") ?? [])
            if (watch.TextOf("target").Length == 0 && watch.TextOf("action") is not ("rebuild" or "restart")) throw Invalid(watch, $"services.{name}.develop.watch: target is required for non-rebuild actions");
        Mounts(name, service);
    }

    private static void Build(Project project, string name, Node service, Node build)
    {
        if (build.TextOf("dockerfile_inline").Length > 0 && build.TextOf("dockerfile").Length > 0) throw Invalid(build, $"service {GoText.Quote(name)} declares mutualy exclusive dockerfile and dockerfile_inline");
        foreach (var (context, value) in build.MapOf("additional_contexts"))
        {
            if (!value.ToText().StartsWith("service:", StringComparison.Ordinal)) continue;
            var target = value.ToText()["service:".Length..];
            if (!project.Services.TryGetValue(target, out var other)) throw Fail(value, $"service {GoText.Quote(name)} declares unknown service {GoText.Quote(target)} as additional contexts {context}");
            if (other.Get("build") is null) throw Fail(value, $"service {GoText.Quote(name)} declares non-buildable service {GoText.Quote(target)} as additional contexts {context}");
        }
        if (build.StringsOf("platforms") is { Length: > 0 } platforms && service.TextOf("platform") is { Length: > 0 } platform && !platforms.Contains(platform))
            throw Invalid(build, $"service.build.platforms MUST include service.platform {GoText.Quote(platform)}");
        foreach (var secret in build.ListOf("secrets"))
            if (!project.Secrets.ContainsKey(secret.TextOf("source"))) throw Invalid(secret, $"service {GoText.Quote(name)} refers to undefined build secret {secret.TextOf("source")}");
    }

    private static void Resources(string name, Node service)
    {
        var deploy = service.Get("deploy");
        var replicas = deploy?.Get("replicas");
        var scale = service.Get("scale");
        if (scale is not null && deploy is not null)
        {
            if (replicas is not null && replicas.Int != scale.Int) throw Invalid(scale, $"services.{name}: can't set distinct values on 'scale' and 'deploy.replicas'");
            deploy["replicas"] = scale;
        }
        if (scale is { Int: < 0 }) throw Fail(scale, $"services.{name}.scale: must be greater than or equal to 0");
        if (replicas is { Int: < 0 }) throw Fail(replicas, $"services.{name}.deploy.replicas: must be greater than or equal to 0");
        var limits = deploy?.Get("resources")?.Get("limits");
        var reservations = deploy?.Get("resources")?.Get("reservations");
        Same("cpus", limits, "cpus", "limits.cpus");
        Same("mem_limit", limits, "memory", "limits.memory");
        Same("mem_reservation", reservations, "memory", "reservations.memory");
        Same("pids_limit", limits, "pids", "limits.pids");
        if (Project.Scale(service) > 1 && service.TextOf("container_name").Length > 0)
            throw Invalid(service["container_name"]!, $"services.{(scale is null ? "deploy.replicas" : "scale")}: can't set container_name and {name} as container name must be unique");

        void Same(string key, Node? resource, string resourceKey, string path)
        {
            if (service.DoubleOf(key) is var own && own != 0 && resource is not null && resource.DoubleOf(resourceKey) != own)
                throw Invalid(service[key]!, $"services.{name}: can't set distinct values on '{key}' and 'deploy.resources.{path}'");
        }
    }

    private static void Mounts(string name, Node service)
    {
        var mounts = new Dictionary<string, string>(StringComparer.Ordinal);
        var tmpfs = service.ListOf("tmpfs");
        for (var i = 0; i < tmpfs.Count; i++) Add(tmpfs[i], tmpfs[i].Text.Split(':')[0], $"services.{name}.tmpfs[{i}]");
        var volumes = service.ListOf("volumes");
        for (var i = 0; i < volumes.Count; i++) Add(volumes[i], volumes[i].TextOf("target"), $"services.{name}.volumes[{i}]");

        void Add(Node at, string target, string place)
        {
            if (!mounts.TryAdd(target, place)) throw Fail(at, $"{place}: target {target} already mounted as {mounts[target]}");
        }
    }

    private static void Cycles(Project project)
    {
        var done = new HashSet<string>(StringComparer.Ordinal);
        foreach (var name in project.ServiceNames) Visit(name, []);

        void Visit(string name, List<string> path)
        {
            if (done.Contains(name) || !project.Services.TryGetValue(name, out var service)) return;
            path.Add(name);
            foreach (var dependency in service.MapOf("depends_on").Keys.Order(StringComparer.Ordinal))
            {
                var at = path.IndexOf(dependency);
                if (at >= 0) throw Fail(service.MapOf("depends_on")[dependency], $"dependency cycle detected: {string.Join(" -> ", path.Skip(at))} -> {dependency}");
                Visit(dependency, path);
            }
            path.RemoveAt(path.Count - 1);
            done.Add(name);
        }
    }

    /// <summary>No two services may want the same container_name.</summary>
    public static void ContainerNames(Project project)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var name in project.ServiceNames)
        {
            var container = project.Services[name].TextOf("container_name");
            if (container.Length > 0 && !names.TryAdd(container, name))
                throw Fail(project.Services[name]["container_name"]!, $"services.{name}: container name {GoText.Quote(container)} is already in use by service {names[container]}");
        }
    }
}
