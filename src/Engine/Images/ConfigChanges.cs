using System.Globalization;
using Berth.Dockerfile;
using Berth.Images;

namespace Berth.Engine;

/// <summary>What Dockerfile instructions do to a container configuration: those of <c>docker commit -c</c> and <c>docker import -c</c>, and of a build's stages. Pure.</summary>
public static class ConfigChanges
{
    /// <summary>Ports one EXPOSE range may open: all there are.</summary>
    private const int MaxPort = 65535;

    private static readonly string[] Allowed =
        ["cmd", "entrypoint", "healthcheck", "env", "expose", "label", "onbuild", "stopsignal", "user", "volume", "workdir"];

    private static readonly string[] DefaultShell = ["/bin/sh", "-c"];

    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static ContainerConfig Apply(ContainerConfig config, IReadOnlyList<string> changes)
    {
        if (changes.Count == 0) return config;
        try
        {
            var text = string.Join('\n', changes);
            if (Document.InstructionNames(text).FirstOrDefault(n => !Allowed.Contains(n.ToLowerInvariant())) is { } other) throw EngineException.Invalid($"{other} is not a valid change command");
            foreach (var instruction in Document.ParseInstructions(text))
            {
                var variables = config.Env ?? [];
                var words = new WordExpander('\\', name => Variable(variables, name));
                config = Apply(config, instruction.Expand(word => words.Expand(word).Text, content => content, words.Split));
                // docker commit and import tidy the path up; a build keeps one that begins at the root as it is written.
                if (instruction is WorkdirInstruction) config = config with { WorkingDir = PathPatterns.Clean(config.WorkingDir!) };
            }
            return config;
        }
        catch (DockerfileException e)
        {
            throw new EngineException(ErrorKind.InvalidParameter, e.Message, e);
        }
    }

    /// <summary>One instruction; those that concern files, and ARG, change nothing here.</summary>
    /// <param name="instruction">Its variables are put in.</param>
    /// <exception cref="DockerfileException">Without lines.</exception>
    public static ContainerConfig Apply(ContainerConfig config, Instruction instruction) =>
        instruction switch
        {
            EnvInstruction env => config with { Env = WithVariables(config.Env ?? [], env.Variables) },
            LabelInstruction label => config with { Labels = WithLabels(config.Labels, label.Labels) },
            CmdInstruction cmd => config with { Cmd = Line(config, cmd.Command) },
            EntrypointInstruction entrypoint => config with { Entrypoint = Line(config, entrypoint.Command) },
            ExposeInstruction expose => config with { ExposedPorts = With(config.ExposedPorts, ExposedPorts(expose.Ports)) },
            VolumeInstruction volume => config with { Volumes = With(config.Volumes, volume.Paths.Select(p => p.Trim() is { Length: > 0 } path ? path : throw new DockerfileException("VOLUME specified can not be an empty string"))) },
            UserInstruction user => config with { User = user.User },
            WorkdirInstruction workdir => config with { WorkingDir = Directory(config.WorkingDir, workdir.Path) },
            StopSignalInstruction stop => config with { StopSignal = Signals.TryParse(stop.Signal, out var signal) && Signals.IsValid(signal) ? stop.Signal : throw new DockerfileException($"invalid signal: {stop.Signal}") },
            ShellInstruction shell => config with { Shell = shell.Shell },
            OnBuildInstruction trigger => config with { OnBuild = [.. config.OnBuild ?? [], trigger.Trigger] },
            HealthcheckInstruction check => config with { Healthcheck = Healthcheck(check) },
            _ => config,
        };

    /// <summary>The value of a variable in a list of <c>NAME=value</c>; null where it is not there.</summary>
    public static string? Variable(IReadOnlyList<string> environment, string name) =>
        environment.LastOrDefault(v => v.StartsWith(name, StringComparison.Ordinal) && v.Length > name.Length && v[name.Length] == '=')?[(name.Length + 1)..];

    /// <summary>As the process gets it: a list as it is, text as the shell's last argument.</summary>
    public static IReadOnlyList<string> Line(ContainerConfig config, CommandLine command) =>
        command.IsShell ? [.. config.Shell is { Count: > 0 } shell ? shell : DefaultShell, .. command.Arguments] : command.Arguments;

    private static List<string> WithVariables(IReadOnlyList<string> environment, IReadOnlyList<NamedValue> added)
    {
        var variables = new List<string>(environment);
        foreach (var (name, value, _) in added)
        {
            if (name.Length == 0) throw new DockerfileException("ENV names can not be blank");
            var at = variables.FindIndex(v => v.StartsWith(name + "=", StringComparison.Ordinal));
            if (at < 0) variables.Add($"{name}={value}");
            else variables[at] = $"{name}={value}";
        }
        return variables;
    }

    private static Dictionary<string, string> WithLabels(IReadOnlyDictionary<string, string>? labels, IReadOnlyList<NamedValue> added)
    {
        var all = new Dictionary<string, string>(labels ?? new Dictionary<string, string>());
        foreach (var (name, value, _) in added) all[name.Length > 0 ? name : throw new DockerfileException("LABEL names can not be blank")] = value;
        return all;
    }

    private static SortedDictionary<string, EmptyObject> With(IReadOnlyDictionary<string, EmptyObject>? set, IEnumerable<string> added)
    {
        var all = new SortedDictionary<string, EmptyObject>(StringComparer.Ordinal);
        foreach (var key in (set?.Keys ?? []).Concat(added)) all[key] = EmptyObject.Value;
        return all;
    }

    /// <summary>What EXPOSE makes of its words: "80" is 80/tcp, "8000-8001" are two.</summary>
    /// <exception cref="DockerfileException"/>
    public static IEnumerable<string> ExposedPorts(IEnumerable<string> words) => words.SelectMany(Ports);

    // "80", "80/udp", "8000-8010"; of "host:container" the container's part.
    private static IEnumerable<string> Ports(string text)
    {
        var slash = text.LastIndexOf('/');
        var protocol = slash < 0 ? "tcp" : text[(slash + 1)..].ToLowerInvariant();
        var range = slash < 0 ? text : text[..slash];
        range = range[(range.LastIndexOf(':') + 1)..];
        if (protocol is not ("tcp" or "udp" or "sctp")) throw new DockerfileException($"Invalid proto: {protocol}");
        if (range.Length == 0) throw new DockerfileException($"No port specified: {text}<empty>");
        var dash = range.IndexOf('-');
        if (!TryParsePort(dash < 0 ? range : range[..dash], out var first) || !TryParsePort(dash < 0 ? range : range[(dash + 1)..], out var last) || last < first)
            throw new DockerfileException($"Invalid containerPort: {range}");
        for (var port = first; port <= last; port++) yield return $"{port}/{protocol}";
    }

    private static bool TryParsePort(string text, out int port) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port <= MaxPort;

    // Beneath the one before, unless it begins at the root.
    private static string Directory(string? current, string path) =>
        path.Length == 0 ? throw new DockerfileException("WORKDIR requires exactly one argument") : path.StartsWith('/') ? path : PathPatterns.Clean($"/{current}/{path}");

    // What is 0 was not said.
    private static HealthcheckConfig Healthcheck(HealthcheckInstruction check) => new()
    {
        Test = check.Test, Interval = NullIfZero(check.Interval), Timeout = NullIfZero(check.Timeout), StartPeriod = NullIfZero(check.StartPeriod), StartInterval = NullIfZero(check.StartInterval),
        Retries = check.Retries == 0 ? null : check.Retries,
    };

    private static long? NullIfZero(long nanoseconds) => nanoseconds == 0 ? null : nanoseconds;
}
