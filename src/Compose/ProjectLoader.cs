using Berth.Compose.Loading;
using Berth.Compose.Model;
using Berth.Compose.Yaml;

namespace Berth.Compose;

/// <summary>Which project: what stands on the command line before the command.</summary>
public sealed record ProjectSource
{
    /// <summary>-f; "-" is the standard input.</summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>-p.</summary>
    public string Name { get; init; } = "";

    /// <summary>--project-directory.</summary>
    public string Directory { get; init; } = "";

    /// <summary>--env-file.</summary>
    public IReadOnlyList<string> EnvFiles { get; init; } = [];

    /// <summary>--profile.</summary>
    public IReadOnlyList<string> Profiles { get; init; } = [];

    /// <summary>--all-resources.</summary>
    public bool AllResources { get; init; }

    /// <summary>--compatibility: names with underscores.</summary>
    public bool Compatibility { get; init; }
}

/// <summary>Finds a project's files, its name and its variables, and loads it.</summary>
public sealed class ProjectLoader
{
    private static readonly string[] FileNames = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

    private static readonly string[] OverrideNames = ["compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"];

    private readonly ProjectSource _source;
    private readonly Action<string> _warn;
    private readonly TextReader? _standardInput;
    private readonly List<string> _files = [];

    public ProjectLoader(ProjectSource source, IEnumerable<KeyValuePair<string, string>> processEnvironment, Action<string> warn, TextReader? standardInput = null)
    {
        (_source, _warn, _standardInput) = (source, warn, standardInput);
        foreach (var (name, value) in processEnvironment) Environment[name] = value;
        Environment.TryAdd("PWD", System.IO.Directory.GetCurrentDirectory());
        _files.AddRange(source.Files);
        ReadEnvFiles();
        if (_files.Count == 0) FindFiles();
        ReadEnvFiles();
    }

    /// <summary>The process's variables, and below them those of env files.</summary>
    public Dictionary<string, string> Environment { get; } = new(StringComparer.Ordinal);

    /// <summary>The copy on this machine of a file that is elsewhere ("oci://…", a git repository); null: it is a file of this machine.</summary>
    public Func<string, string?>? Remote { get; init; }

    /// <summary>Where -f names no file of this machine, its copy is read.</summary>
    private void FetchFiles()
    {
        for (var i = 0; i < _files.Count; i++)
            if (_files[i] != "-" && Remote?.Invoke(_files[i]) is { } copy) _files[i] = copy;
    }

    public bool HasFiles => _files.Count > 0;

    private string Directory
    {
        get
        {
            if (_source.Directory.Length > 0) return Path.GetFullPath(_source.Directory);
            foreach (var file in _files)
                if (file != "-") return Path.GetDirectoryName(Path.GetFullPath(file))!;
            return System.IO.Directory.GetCurrentDirectory();
        }
    }

    /// <summary>The separator of a container's name: "-", or "_" for compose v1's sake.</summary>
    public string Separator => _source.Compatibility || Truth("COMPOSE_COMPATIBILITY") ? "_" : "-";

    private bool Truth(string name) => Environment.TryGetValue(name, out var value) && value.ToLowerInvariant() is "1" or "t" or "true" or "y" or "yes" or "on";

    private IReadOnlyList<string> EnvFilesOnCommandLine =>
        _source.EnvFiles.Count > 0 ? _source.EnvFiles : Environment.TryGetValue("COMPOSE_ENV_FILES", out var files) ? files.Split(',', StringSplitOptions.RemoveEmptyEntries) : [];

    private void ReadEnvFiles()
    {
        var files = EnvFilesOnCommandLine;
        if (files.Count == 0)
        {
            if (Truth("COMPOSE_DISABLE_ENV_FILE")) return;
            var usual = Path.Combine(Directory, ".env");
            if (!File.Exists(usual)) return;
            files = [usual];
        }
        foreach (var (name, value) in DotEnv.Read(Environment, files)) Environment.TryAdd(name, value);
    }

    private void FindFiles()
    {
        if (Environment.TryGetValue("COMPOSE_FILE", out var list))
        {
            var separator = Environment.TryGetValue("COMPOSE_PATH_SEPARATOR", out var own) && own.Length > 0 ? own : ":";
            foreach (var file in list.Split(separator))
            {
                var path = file == "-" ? file : Path.GetFullPath(file);
                if (path != "-" && !File.Exists(path)) throw new ComposeException($"stat {path}: no such file or directory");
                _files.Add(path);
            }
            return;
        }
        for (var directory = Directory; directory is not null; directory = Path.GetDirectoryName(directory))
        {
            var found = FileNames.Select(n => Path.Combine(directory, n)).Where(File.Exists).ToList();
            if (found.Count == 0) continue;
            if (found.Count > 1)
            {
                _warn("Found multiple config files with supported names: " + string.Join(", ", found));
                _warn("Using " + found[0]);
            }
            _files.Add(found[0]);
            var overrides = OverrideNames.Select(n => Path.Combine(directory, n)).Where(File.Exists).ToList();
            if (overrides.Count == 0) return;
            if (overrides.Count > 1)
            {
                _warn("Found multiple override files with supported names: " + string.Join(", ", overrides));
                _warn("Using " + overrides[0]);
            }
            _files.Add(overrides[0]);
            return;
        }
    }

    /// <summary>The project, its services selected by name when any are given.</summary>
    public Project Load(LoadOptions? options = null, IReadOnlyList<string>? services = null, bool dependencies = true)
    {
        options ??= new LoadOptions();
        var (loader, model, name, directory, files) = LoadFiles(options);
        var profiles = _source.Profiles.Count > 0 ? _source.Profiles : [.. Environment.GetValueOrDefault("COMPOSE_PROFILES", "").Split(',', StringSplitOptions.TrimEntries)];
        var project = loader.Bind(model, name, directory, files, Environment, profiles, EnvFilesOnCommandLine);
        if (services is { Count: > 0 }) project.Select(services, dependencies);
        if (!_source.AllResources) project.DropUnused();
        return project;
    }

    /// <summary>The merged model as a tree, for `config --no-interpolate`.</summary>
    public Node LoadModel(LoadOptions options)
    {
        var model = LoadFiles(options).Model;
        foreach (var secret in model.MapOf("secrets").Values) secret[Normalize.SecretValue] = null;
        return model;
    }

    private (Loader Loader, Node Model, string Name, string Directory, List<string> Files) LoadFiles(LoadOptions options)
    {
        if (_files.Count == 0) throw new ComposeException("no configuration file provided: not found");
        FetchFiles();
        var loader = new Loader(options, _warn, _standardInput) { Remote = Remote };
        var files = _files.ConvertAll(f => f == "-" ? f : Path.GetFullPath(f));
        var directory = Directory;
        var name = ProjectName(loader, files, directory, options);
        Environment["COMPOSE_PROJECT_NAME"] = name;
        return (loader, loader.Model(files, directory, Environment, name), name, directory, files);
    }

    private string ProjectName(Loader loader, List<string> files, string directory, LoadOptions options)
    {
        if (_source.Name.Length > 0) return Checked(_source.Name);
        if (Environment.TryGetValue("COMPOSE_PROJECT_NAME", out var own) && own.Length > 0) return Checked(own);
        var name = "";
        foreach (var file in files)
        {
            foreach (var document in YamlReader.Read(loader.Text(file), file))
                if (document.Root["name"] is { IsString: true } given && given.Text.Length > 0) name = given.Text;
        }
        if (name.Length > 0)
        {
            if (options.Interpolate) name = new Interpolation(n => Environment.GetValueOrDefault(n), _warn).Text(name, "name");
            if (options.Normalize) name = Normalized(name);
            if (name.Length > 0) return name;
        }
        return Normalized(Path.GetFileName(directory));
    }

    private static string Checked(string name) =>
        Normalized(name) == name ? name : throw new ComposeException($"invalid project name {GoText.Quote(name)}: must consist only of lowercase alphanumeric characters, hyphens, and underscores as well as start with a letter or number");

    private static string Normalized(string name) =>
        new string([.. name.ToLowerInvariant().Where(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '_' or '-')]).TrimStart('_', '-');

    /// <summary>The name alone, for commands that need no more: -p, COMPOSE_PROJECT_NAME, or the file's.</summary>
    public string NameOnly() => _source.Name.Length > 0 ? Checked(_source.Name) : Environment.TryGetValue("COMPOSE_PROJECT_NAME", out var own) && own.Length > 0 ? own : Load().Name;

    public static IReadOnlyDictionary<string, Variables.Use> VariablesOf(Node model) => Variables.Collect(model);
}
