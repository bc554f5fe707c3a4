using Berth.Compose.Model;
using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>How a project is loaded.</summary>
public sealed record LoadOptions
{
    public bool Interpolate { get; init; } = true;

    public bool Normalize { get; init; } = true;

    public bool ResolvePaths { get; init; } = true;

    public bool CheckConsistency { get; init; } = true;

    /// <summary>Variables of services' env files are filled in, and the files are not spoken of any more.</summary>
    public bool DiscardEnvFiles { get; init; }

    /// <summary>Reads services' env files.</summary>
    public bool ResolveEnvironment { get; init; } = true;
}

/// <summary>
/// Compose files become one model. Of each file, in this order: variables, `extends`, what !reset and !override drop of the files before,
/// `include`, the merge with the files before, the schema, long forms. Then once, over all: defaults, checks, paths, names.
/// </summary>
internal sealed class Loader
{
    /// <summary>Files that include files, or extend services of files, in a row.</summary>
    public const int MaxNesting = 100;

    /// <summary>Nobody writes a compose file of this size; a mistaken path may lead to one.</summary>
    public const int MaxFileBytes = 32 << 20;

    private readonly LoadOptions _options;
    private readonly Action<string> _warn;
    private readonly TextReader? _standardInput;
    private readonly Dictionary<string, string> _texts = new(StringComparer.Ordinal);

    /// <param name="Directory">Full path that relative ones of this file are beneath.</param>
    /// <param name="Prefix">What is put before them in the model.</param>
    /// <param name="Variables">The environment of this file.</param>
    /// <param name="Including">The files that led here.</param>
    private sealed record Scope(string Directory, string Prefix, Dictionary<string, string> Variables, IReadOnlyList<string> Including)
    {
        public string? Lookup(string name) => Variables.GetValueOrDefault(name);
    }

    public Loader(LoadOptions options, Action<string> warn, TextReader? standardInput) => (_options, _warn, _standardInput) = (options, warn, standardInput);

    /// <summary>The copy on this machine of a file that is elsewhere; null: it is a file of this machine.</summary>
    public Func<string, string?>? Remote { get; init; }

    private string Located(string directory, string path) => Remote?.Invoke(path) ?? Path.GetFullPath(RelativePaths.Join(directory, path));

    public string Text(string file)
    {
        if (_texts.TryGetValue(file, out var text)) return text;
        if (file == "-") return _texts[file] = (_standardInput ?? TextReader.Null).ReadToEnd();
        var info = new FileInfo(file);
        if (!info.Exists) throw new ComposeException(Directory.Exists(file) ? $"read {file}: is a directory" : $"open {file}: no such file or directory");
        if (info.Length > MaxFileBytes) throw new ComposeException($"{file}: {info.Length} bytes are more than the {MaxFileBytes} of a compose file");
        return _texts[file] = File.ReadAllText(file);
    }

    /// <summary>The canonical model of all files; not bound yet.</summary>
    public Node Model(IReadOnlyList<string> files, string directory, Dictionary<string, string> environment, string projectName)
    {
        var scope = new Scope(directory, directory, environment, []);
        var model = Files(files, scope);
        if (model.Entries.Count == 0) throw new ComposeException("empty compose file");
        if (projectName.Length == 0) throw new ComposeException("project name must not be empty");
        if (_options.Normalize)
        {
            model["name"] = Node.Of(projectName);
            Loading.Normalize.Apply(model, projectName, scope.Lookup);
        }
        return model;
    }

    private Node Files(IReadOnlyList<string> files, Scope scope)
    {
        var model = Node.Map();
        foreach (var file in files) model = OneFile(file, model, scope, bare: false).Model;
        Canonical.SetDefaults(model);
        Canonical.Check(model);
        if (_options.ResolvePaths) RelativePaths.Resolve(model, scope.Prefix);
        Loading.Normalize.ResolveEnvironment(model, scope.Lookup);
        return model;
    }

    // bare: a file that a service is taken from; nothing of it is validated or extended before it lies under that service.
    private (Node Model, List<string[]> Replaced) OneFile(string file, Node model, Scope scope, bool bare)
    {
        var replaced = new List<string[]>();
        var interpolation = new Interpolation(scope.Lookup, _warn);
        foreach (var document in YamlReader.Read(Text(file), file))
        {
            if (!document.Root.IsMap)
            {
                if (document.Root.IsNull) continue;
                throw new ComposeException($"{file}: top-level object must be a mapping");
            }
            replaced.AddRange(document.Replaced);
            var layer = _options.Interpolate ? interpolation.Apply(document.Root) : document.Root.Clone();
            if (!bare) Extends(layer, file, scope, document.Replaced);
            Drop(model, TreePath.Root, document.Replaced);
            if (!bare) Include(layer, file, scope);
            model = Merge.Files(model, layer);
            Unique.Enforce(model);
            if (!bare)
            {
                Schema.Validate(model, file);
                if (model["version"] is not null)
                {
                    _warn($"{file}: the attribute `version` is obsolete, it will be ignored, please remove it to avoid potential confusion");
                    model["version"] = null;
                }
            }
            model = Canonical.Of(model, lenient: !_options.Interpolate);
            Canonical.OmitEmpty(model);
            Unique.Enforce(model);
        }
        return (model, replaced);
    }

    // What stands where !reset or !override is written goes.
    private static void Drop(Node value, TreePath path, IReadOnlyList<string[]> places)
    {
        if (places.Count == 0) return;
        if (value.IsMap)
        {
            foreach (var key in new List<string>(value.Entries.Keys))
            {
                var next = path.Next(key);
                if (places.Any(next.Matches)) value[key] = null;
                else Drop(value.Entries[key], next, places);
            }
        }
        else if (value.IsList)
        {
            foreach (var item in value.Items) Drop(item, path.Item, places);
        }
    }

    // ---- extends

    private void Extends(Node layer, string file, Scope scope, IReadOnlyList<string[]> replaced)
    {
        if (layer["services"] is not { } services) return;
        if (!services.IsMap)
        {
            if (services.IsNull) return;
            throw new ComposeException($"services must be a mapping ({services.At})");
        }
        foreach (var name in new List<string>(services.Entries.Keys)) services.Entries[name] = Extended(name, services, file, scope, [], replaced);
    }

    private Node Extended(string name, Node services, string file, Scope scope, IReadOnlyList<(string File, string Service)> chain, IReadOnlyList<string[]> replaced)
    {
        var service = services.Entries[name];
        if (service.IsNull) return service;
        if (!service.IsMap) throw new ComposeException($"services.{name} must be a mapping ({service.At})");
        if (service["extends"] is not { } extends) return service;
        var wanted = extends.IsString ? extends : extends.Get("service") ?? throw new ComposeException($"extends.{name}.service is required ({extends.At})");
        var (from, baseFile, baseReplaced, baseScope) = (services, file, replaced, scope);
        if (extends.Get("file") is { } other)
        {
            baseFile = Located(scope.Directory, other.ToText());
            (from, baseReplaced) = Base(name, wanted.ToText(), file, other.ToText(), baseFile, scope);
            baseScope = scope with { Directory = Path.GetDirectoryName(baseFile)! };
        }
        else if (services[wanted.ToText()] is null)
        {
            throw new ComposeException($"cannot extend service {GoText.Quote(name)} in {file}: service {GoText.Quote(wanted.ToText())} not found ({wanted.At})");
        }
        var link = (baseFile, name);
        if (chain.Contains(link) || chain.Count > MaxNesting)
        {
            var text = $"Circular reference:\n  {chain[0].Service} in {chain[0].File}";
            foreach (var (f, s) in chain.Skip(1).Append(link)) text += $"\n  extends {s} in {f}";
            throw new ComposeException(text);
        }
        var under = Extended(wanted.ToText(), from, baseFile, baseScope, [.. chain, link], baseReplaced);
        if (under.IsNull) return service;
        under = under.Clone();
        // !reset in the service takes away what the other one says.
        var frame = Node.Map();
        frame["services"] = Node.Map();
        frame["services"]![name] = under;
        Drop(frame, TreePath.Root, replaced);
        var merged = Merge.Services(under, service.Clone());
        merged["extends"] = null;
        services.Entries[name] = merged;
        return merged;
    }

    private (Node Services, IReadOnlyList<string[]> Replaced) Base(string name, string wanted, string file, string written, string path, Scope scope)
    {
        var (model, replaced) = OneFile(path, Node.Map(), scope with { Directory = Path.GetDirectoryName(path)! }, bare: true);
        if (model["services"] is not { } services) throw new ComposeException($"cannot extend service {GoText.Quote(name)} in {path}: no services section");
        if (!services.IsMap) throw new ComposeException($"cannot extend service {GoText.Quote(name)} in {path}: services must be a mapping");
        if (services[wanted] is null) throw new ComposeException($"cannot extend service {GoText.Quote(name)} in {file}: service {GoText.Quote(wanted)} not found in {written}");
        // Its relative paths are of its own directory; `extends` of its own is read from there too.
        var own = services.Entries.ToDictionary(e => e.Key, e => e.Value["extends"], StringComparer.Ordinal);
        foreach (var service in services.Entries.Values)
            if (service.IsMap) service["extends"] = null;
        RelativePaths.Resolve(model, Path.GetRelativePath(scope.Directory, Path.GetDirectoryName(path)!));
        foreach (var (key, extends) in own)
            if (extends is not null) services.Entries[key]["extends"] = extends;
        return (services, replaced);
    }

    // ---- include

    private void Include(Node layer, string file, Scope scope)
    {
        if (layer["include"] is not { } include) return;
        if (!include.IsList) throw new ComposeException($"`include` must be a list, got {include.ToText()} ({include.At})");
        foreach (var entry in include.Items) IncludeOne(entry, layer, file, scope);
        layer["include"] = null;
    }

    private void IncludeOne(Node entry, Node layer, string file, Scope scope)
    {
        var paths = entry.IsString ? [entry.Text] : entry["path"] is { IsList: true } many ? many.Items.Select(p => p.ToText()).ToList() : entry.Get("path") is { } one ? [one.ToText()] : throw new ComposeException($"include: path is required ({entry.At})");
        if (paths.Count == 0) return;
        var files = paths.ConvertAll(p => Located(scope.Directory, p));
        IReadOnlyList<string> chain = [.. scope.Including, file];
        if (chain.Contains(files[0]) || chain.Count > MaxNesting) throw new ComposeException($"include cycle detected:\n{chain[0]}\n include {string.Join("\n include ", chain.Skip(1).Append(files[0]))}");
        var directory = entry.TextOf("project_directory") is { Length: > 0 } own ? Path.GetFullPath(RelativePaths.Join(scope.Directory, own)) : Path.GetDirectoryName(files[0])!;
        List<string> envFiles = [];
        if (entry.Get("env_file") is { } given)
        {
            foreach (var envFile in given.IsList ? given.Items.Select(i => i.ToText()) : [given.ToText()])
            {
                var path = Path.GetFullPath(RelativePaths.Join(scope.Directory, envFile));
                if (Directory.Exists(path)) throw new ComposeException($"{path} is not a file ({given.At})");
                if (!File.Exists(path)) throw new ComposeException($"stat {path}: no such file or directory ({given.At})");
                envFiles.Add(path);
            }
        }
        else if (File.Exists(Path.Combine(directory, ".env"))) envFiles.Add(Path.Combine(directory, ".env"));
        var variables = new Dictionary<string, string>(scope.Variables, StringComparer.Ordinal);
        foreach (var (name, value) in DotEnv.Read(scope.Variables, envFiles)) variables.TryAdd(name, value);
        var prefix = _options.ResolvePaths ? directory : Path.GetRelativePath(scope.Directory, directory);
        var imported = Files(files, new Scope(directory, prefix, variables, chain));
        foreach (var kind in Imported)
        {
            if (imported.Get(kind) is not { IsMap: true } from) continue;
            var to = layer.Get(kind) ?? Node.Map(entry.At);
            foreach (var (name, value) in from.Entries)
            {
                if (to[name] is { } there)
                {
                    if (there.SameAs(value)) continue;
                    throw new ComposeException($"{kind}.{name} conflicts with imported resource ({there.At} and {value.At})");
                }
                to[name] = value;
            }
            layer[kind] = to;
        }
    }

    private static readonly string[] Imported = ["services", "volumes", "networks", "secrets", "configs", "models"];

    // ---- binding

    public Project Bind(Node model, string name, string directory, IReadOnlyList<string> files, Dictionary<string, string> environment, IReadOnlyList<string> profiles, IReadOnlyList<string> envFiles)
    {
        var project = new Project(name, directory, files, environment) { EnvFiles = envFiles };
        foreach (var (part, shape) in Shape.Parts)
        {
            var bound = Berth.Compose.Model.Bind.Map(shape, model[part], part);
            if (part == "secrets")
                foreach (var secret in bound.Entries.Values)
                    if (secret[Loading.Normalize.SecretValue] is { } value)
                    {
                        secret["content"] = value;
                        secret[Loading.Normalize.SecretValue] = null;
                    }
            project.SetPart(part, bound);
        }
        foreach (var (key, value) in model.Entries)
            if (key.StartsWith("x-", StringComparison.Ordinal)) project.Extensions[key] = value;
        project.ApplyProfiles(profiles);
        if (_options.CheckConsistency) Consistency.Check(project);
        if (_options.ResolveEnvironment) project.ResolveEnvironment(_options.DiscardEnvFiles);
        project.ResolveLabels(_options.DiscardEnvFiles);
        return project;
    }
}
