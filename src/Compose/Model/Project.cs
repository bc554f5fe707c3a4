using Berth.Compose.Loading;
using Berth.Compose.Yaml;

namespace Berth.Compose.Model;

/// <summary>A loaded project: bound services and resources, by name.</summary>
public sealed class Project
{
    private readonly Dictionary<string, Node> _parts = new(StringComparer.Ordinal);

    internal Project(string name, string workingDirectory, IReadOnlyList<string> files, Dictionary<string, string> environment) =>
        (Name, WorkingDirectory, Files, Environment) = (name, workingDirectory, files, environment);

    public string Name { get; }

    public string WorkingDirectory { get; }

    /// <summary>Full paths, the first one first.</summary>
    public IReadOnlyList<string> Files { get; }

    /// <summary>What variables are taken from: the process's, then those of env files.</summary>
    public Dictionary<string, string> Environment { get; }

    /// <summary>--env-file, as given.</summary>
    public IReadOnlyList<string> EnvFiles { get; init; } = [];

    public IReadOnlyList<string> Profiles { get; internal set; } = [];

    /// <summary>Services whose profiles are not active, and those that were not asked for.</summary>
    public Dictionary<string, Node> Disabled { get; } = new(StringComparer.Ordinal);

    public Dictionary<string, Node> Extensions { get; } = new(StringComparer.Ordinal);

    public Dictionary<string, Node> Services => Part("services").Entries;

    public Dictionary<string, Node> Networks => Part("networks").Entries;

    public Dictionary<string, Node> Volumes => Part("volumes").Entries;

    public Dictionary<string, Node> Secrets => Part("secrets").Entries;

    public Dictionary<string, Node> Configs => Part("configs").Entries;

    public Dictionary<string, Node> Models => Part("models").Entries;

    internal Node Part(string name) => _parts.TryGetValue(name, out var part) ? part : _parts[name] = Node.Map();

    internal void SetPart(string name, Node value) => _parts[name] = value;

    public IEnumerable<string> ServiceNames => Services.Keys.Order(StringComparer.Ordinal);

    /// <exception cref="ComposeException">There is none.</exception>
    public Node Service(string name) => Services.TryGetValue(name, out var service) ? service : throw new ComposeException($"no such service: {name}: {(Disabled.ContainsKey(name) ? "disabled" : "not found")}");

    /// <summary>The compose file's words for how many containers a service has.</summary>
    public static int Scale(Node service) => (int)(service.Get("scale") is { } scale ? scale.Int : service.Get("deploy")?.Get("replicas") is { } replicas ? replicas.Int : 1);

    public static void SetScale(Node service, int scale)
    {
        service["scale"] = Node.Of((long)scale);
        if (service.Get("deploy") is { } deploy) deploy["replicas"] = Node.Of((long)scale);
    }

    public string ImageOf(string name) => Service(name).TextOf("image") is { Length: > 0 } image ? image : $"{Name}-{name}";

    internal void ApplyProfiles(IReadOnlyList<string> profiles)
    {
        Profiles = profiles;
        foreach (var (name, service) in Disabled) Services[name] = service;
        Disabled.Clear();
        foreach (var (name, service) in new Dictionary<string, Node>(Services))
        {
            var own = service.StringsOf("profiles");
            if (own.Length == 0 || own.Any(p => profiles.Contains(p)) || profiles.Contains("*")) continue;
            Services.Remove(name);
            Disabled[name] = service;
        }
    }

    /// <summary>Keeps the named services and what they depend on; a service that was named is there whatever its profile.</summary>
    public void Select(IReadOnlyList<string> names, bool dependencies = true)
    {
        if (names.Count == 0) return;
        var profiles = new List<string>(Profiles);
        foreach (var name in names)
            if (!Services.ContainsKey(name) && Disabled.TryGetValue(name, out var disabled)) profiles.AddRange(disabled.StringsOf("profiles"));
        if (profiles.Count > Profiles.Count) ApplyProfiles(profiles);
        var wanted = new HashSet<string>(StringComparer.Ordinal);
        foreach (var name in names) Want(name, required: true);
        foreach (var (name, service) in new Dictionary<string, Node>(Services))
        {
            if (wanted.Contains(name)) continue;
            Services.Remove(name);
            Disabled[name] = service;
        }
        foreach (var service in Services.Values) DropDependencies(service, wanted);

        void Want(string name, bool required)
        {
            if (!Services.TryGetValue(name, out var service))
            {
                if (required) throw new ComposeException($"no such service: {name}");
                return;
            }
            if (!wanted.Add(name) || !dependencies) return;
            foreach (var (dependency, how) in service.MapOf("depends_on")) Want(dependency, how.BoolOf("required", true));
        }
    }

    private static void DropDependencies(Node service, HashSet<string> kept)
    {
        if (service.Get("depends_on") is not { } dependencies) return;
        foreach (var name in new List<string>(dependencies.Entries.Keys))
            if (!kept.Contains(name)) dependencies[name] = null;
        if (dependencies.Entries.Count == 0) service["depends_on"] = null;
    }

    /// <summary>Networks, volumes, secrets and configs that no service uses are none of the project's business.</summary>
    public void DropUnused()
    {
        var used = new Dictionary<string, HashSet<string>>(StringComparer.Ordinal);
        foreach (var part in new[] { "networks", "volumes", "secrets", "configs", "models" }) used[part] = new(StringComparer.Ordinal);
        foreach (var service in Services.Values)
        {
            used["networks"].UnionWith(service.MapOf("networks").Keys);
            used["models"].UnionWith(service.MapOf("models").Keys);
            foreach (var volume in service.ListOf("volumes"))
                if (volume.TextOf("type") == "volume") used["volumes"].Add(volume.TextOf("source"));
            foreach (var secret in service.ListOf("secrets").Concat(service.Get("build")?.ListOf("secrets") ?? [])) used["secrets"].Add(secret.TextOf("source"));
            foreach (var config in service.ListOf("configs")) used["configs"].Add(config.TextOf("source"));
        }
        foreach (var (part, names) in used)
        {
            var entries = Part(part).Entries;
            foreach (var name in new List<string>(entries.Keys))
                if (!names.Contains(name)) entries.Remove(name);
        }
    }

    /// <summary>Services with those they depend on before them; equals by name.</summary>
    public List<string> InDependencyOrder()
    {
        var order = new List<string>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var name in ServiceNames) Visit(name);
        return order;

        void Visit(string name)
        {
            if (!Services.TryGetValue(name, out var service) || !seen.Add(name)) return;
            foreach (var dependency in service.MapOf("depends_on").Keys.Order(StringComparer.Ordinal)) Visit(dependency);
            order.Add(name);
        }
    }

    /// <summary>Fills services' environment from the project's and from their env files.</summary>
    /// <param name="discard">The files are not spoken of any more.</param>
    public void ResolveEnvironment(bool discard)
    {
        foreach (var service in Services.Values)
        {
            var declared = service.Get("environment") ?? Node.Map(service.At);
            foreach (var (name, value) in new Dictionary<string, Node>(declared.Entries))
                if (value.IsNull && Environment.TryGetValue(name, out var found)) declared[name] = Node.Of(found, value.At);
            var values = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var (name, value) in declared.Entries)
                if (!value.IsNull) values[name] = value.Text;
            foreach (var file in service.ListOf("env_file"))
            {
                var path = file.TextOf("path");
                if (!File.Exists(path))
                {
                    if (file.BoolOf("required", true)) throw new ComposeException($"env file {path} not found: stat {path}: no such file or directory" + (file.At.Line > 0 ? $" ({file.At})" : ""));
                    continue;
                }
                DotEnv.ParseWithFormat(path, file.TextOf("format"), values, name => Environment.TryGetValue(name, out var value) ? value : declared.Get(name) is { IsNull: false } own ? own.Text : null);
            }
            var resolved = Node.Map(declared.At);
            foreach (var (name, value) in values) resolved[name] = Node.Of(value);
            foreach (var (name, value) in declared.Entries) resolved[name] = value;
            service["environment"] = resolved.Entries.Count > 0 ? resolved : null;
            if (discard) service["env_file"] = null;
        }
    }

    internal void ResolveLabels(bool discard)
    {
        foreach (var service in Services.Values)
        {
            var files = service.StringsOf("label_file");
            if (files.Length == 0) continue;
            var values = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var file in files)
            {
                if (!File.Exists(file)) throw new ComposeException($"label file {file} not found: stat {file}: no such file or directory");
                var read = new Dictionary<string, string>(StringComparer.Ordinal);
                DotEnv.ParseWithFormat(file, "", read, name => values.GetValueOrDefault(name));
                foreach (var (name, value) in read) values[name] = value;
            }
            var labels = Node.Map();
            foreach (var (name, value) in values) labels[name] = Node.Of(value);
            foreach (var (name, value) in service.MapOf("labels")) labels[name] = value;
            service["labels"] = labels;
            if (discard) service["label_file"] = null;
        }
    }

    public string ToYaml() => ModelYaml.Of(this);

    public string ToJson() => ModelJson.Of(this);
}
