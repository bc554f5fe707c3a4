using Berth.Api;
using Berth.Cli.Configuration;
using Berth.Cli.Connections;

namespace Berth.Cli;

/// <summary>What a command has of the world around it; tests give it another one.</summary>
internal sealed class CommandContext : IDisposable
{
    private EngineClient? _client;
    private DockerConfig? _config;
    private Connection? _connection;

    public string ProgramName { get; init; } = "berth";

    public required TextWriter Out { get; init; }

    public required TextWriter Err { get; init; }

    /// <summary>The bytes under <see cref="Out"/>, for what is not ours to encode.</summary>
    public required Stream OutStream { get; init; }

    public required Stream ErrStream { get; init; }

    public required Stream InStream { get; init; }

    public required ITerminal Terminal { get; init; }

    public TimeProvider Time { get; init; } = TimeProvider.System;

    public Func<string, string?> Variable { get; init; } = Environment.GetEnvironmentVariable;

    /// <summary>--config, or null.</summary>
    public string? ConfigFlag { get; set; }

    /// <summary>Where Docker's clients keep their files: --config, DOCKER_CONFIG or ~/.docker.</summary>
    public string ConfigDirectory => ConfigFlag ?? (Variable("DOCKER_CONFIG") is { Length: > 0 } given ? given : Path.Combine(HomeDirectory, ".docker"));

    public string HomeDirectory => Variable("HOME") is { Length: > 0 } home ? home : OperatingSystem.IsWindows() ? Environment.GetFolderPath(Environment.SpecialFolder.UserProfile) : "/";

    /// <summary>config.json in that directory.</summary>
    public DockerConfig Config => _config ??= DockerConfig.Load(this);

    /// <summary>How a listing is to look: --format, or what the configuration says of it (not with -q), or "".</summary>
    public string FormatOf(CommandLine.Arguments flags, string setting) =>
        flags.String("format") is { Length: > 0 } given ? given : flags.Bool("quiet") ? "" : Config.Text(setting) ?? "";

    /// <summary>--platform, or DOCKER_DEFAULT_PLATFORM.</summary>
    public string PlatformOf(CommandLine.Arguments flags) => flags.Changed("platform") ? flags.String("platform") : Variable("DOCKER_DEFAULT_PLATFORM") ?? "";

    /// <summary>--detach-keys, or those of the configuration.</summary>
    public string DetachKeysOf(CommandLine.Arguments flags) => flags.Changed("detach-keys") ? flags.String("detach-keys") : Config.Text("detachKeys") ?? "";

    /// <summary>Where the system keeps docker's plugins.</summary>
    public IReadOnlyList<string> PluginDirectories { get; init; } = OperatingSystem.IsWindows() ? [Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.ProgramFiles), "Docker", "cli-plugins")]
        : ["/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins"];

    /// <summary>What the global flags say of the engine.</summary>
    public ConnectionFlags ConnectionFlags { get; set; } = new();

    /// <summary>Which engine is talked to.</summary>
    public Connection Connection => _connection ??= new Connection(this);

    public bool Debug { get; set; }

    public CancellationToken Cancelled { get; init; }

    public const string DefaultHost = "unix:///run/berth/berth.sock";

    public EngineClient Client => _client ??= NewClient(blocking: true);

    /// <summary>A client of the caller's own: one that does not block is for a command that waits for many things at once.</summary>
    public EngineClient NewClient(bool blocking)
    {
        var version = Variable("DOCKER_API_VERSION") is { Length: > 0 } given ? given.TrimStart('v') : null;
        return new EngineClient(Connection.Resolve(), version, "Berth-Client/" + BuildInfo.Version, blocking) { Headers = Headers() };
    }

    /// <summary>HttpHeaders of the configuration, and DOCKER_CUSTOM_HEADERS instead of them.</summary>
    private List<(string Name, string Value)> Headers()
    {
        var headers = new List<(string, string)>();
        if (Variable("DOCKER_CUSTOM_HEADERS") is { Length: > 0 } custom)
        {
            foreach (var header in Commands.Containers.Csv.Fields(custom))
            {
                var (name, value) = Commands.Containers.CreateRequestBuilder.Cut(header);
                if (!header.Contains('=')) throw new CommandException($"failed to parse custom headers from DOCKER_CUSTOM_HEADERS environment variable: missing \"=\" in {GoText.Quote(header)}");
                Add(name.Trim(), value);
            }
            return headers;
        }
        foreach (var (name, value) in Config.Map("HttpHeaders")) Add(name, value);
        return headers;

        void Add(string name, string value)
        {
            // A line of its own would be another header, or the end of them.
            if (name.Length == 0 || name.AsSpan().ContainsAny(" :\r\n") || value.AsSpan().ContainsAny("\r\n")) throw new CommandException($"{GoText.Quote(name)} with {GoText.Quote(value)} is no HTTP header");
            if (!name.Equals("User-Agent", StringComparison.OrdinalIgnoreCase)) headers.Add((name, value));
        }
    }

    /// <summary>Lets what was printed so far be seen.</summary>
    public void Flush()
    {
        Out.Flush();
        Err.Flush();
    }

    public void Dispose() => _client?.Dispose();
}

/// <summary>The terminal, as far as commands ask for it.</summary>
internal interface ITerminal
{
    bool InputIsTerminal { get; }

    bool OutputIsTerminal { get; }

    bool ErrorIsTerminal { get; }

    /// <summary>Rows and columns of the output's terminal; (0, 0) without one.</summary>
    (int Height, int Width) Size { get; }

    /// <summary>Passes keys and bytes through unchanged until disposed; does nothing without a terminal.</summary>
    IDisposable MakeRaw();

    /// <summary>Does not show what is typed until disposed; does nothing without a terminal.</summary>
    IDisposable HideInput();
}

/// <summary>A command fails with this text and exit code.</summary>
internal sealed class CommandException(string message, int exitCode = 1) : Exception(message)
{
    public int ExitCode { get; } = exitCode;
}
