using System.Globalization;
using System.Text;
using Berth.Daemon.Host;

namespace Berth.Daemon.Registry;

internal enum RegistryAction
{
    Help,
    Serve,
    Collect,
}

/// <summary>What `berth registry …` was told.</summary>
internal sealed record RegistryOptions
{
    /// <summary>Root's registry belongs to the system, another user's to the user.</summary>
    public string Root { get; init; } = Environment.UserName == "root" ? "/var/lib/berth/registry"
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify), "berth", "registry");

    public IReadOnlyList<string> Listen { get; init; } = [];
    public string TlsCertificate { get; init; } = "";
    public string TlsKey { get; init; } = "";
    public string Htpasswd { get; init; } = "";
    public bool AnonymousRead { get; init; }
    public bool ReadOnly { get; init; }

    /// <summary>The registry whose content is given out and kept; empty: this one has its own.</summary>
    public string Proxy { get; init; } = "";
    public string ProxyCredentials { get; init; } = "";

    /// <summary>Zero: only when something was deleted.</summary>
    public TimeSpan CollectEvery { get; init; } = TimeSpan.FromHours(1);
    public TimeSpan KeepUnreferenced { get; init; } = TimeSpan.FromHours(1);
    public TimeSpan KeepUploads { get; init; } = TimeSpan.FromHours(24);
    public bool DeleteUntagged { get; init; }
    public TimeSpan ShutdownTimeout { get; init; } = TimeSpan.FromSeconds(10);
    public bool AccessLog { get; init; } = true;
    public LogLevel LogLevel { get; init; } = LogLevel.Information;
    public bool LogAsJson { get; init; }

    public const string DefaultAddress = "127.0.0.1", DefaultPort = "5000";
    public IReadOnlyList<string> EffectiveListen => Listen.Count > 0 ? Listen : [$"{DefaultAddress}:{DefaultPort}"];
}

/// <summary>The flags of `berth registry serve` and `gc`.</summary>
internal static class RegistryFlags
{
    private sealed record Flag(string Name, string Kind, string Usage, Func<RegistryOptions, string, RegistryOptions> Set, bool AlsoCollect = false);

    private static readonly Flag[] All =
    [
        new("access-log", "", "Log each request (default true)", (o, v) => o with { AccessLog = Bool("access-log", v) }),
        new("anonymous-read", "", "With --htpasswd: reading needs no password", (o, v) => o with { AnonymousRead = Bool("anonymous-read", v) }),
        new("delete-untagged", "", "Garbage is also what no tag leads to", (o, v) => o with { DeleteUntagged = Bool("delete-untagged", v) }, AlsoCollect: true),
        new("gc-interval", "duration", "How often garbage is collected; 0: only after something was deleted (default 1h)", (o, v) => o with { CollectEvery = Duration("gc-interval", v) }),
        new("htpasswd", "file", "Users and their passwords, as htpasswd -B writes them; none: everybody may do everything", (o, v) => o with { Htpasswd = Path.GetFullPath(v) }),
        new("keep-unreferenced", "duration", "How long a blob is kept that no manifest names: the time of a push (default 1h)",
            (o, v) => o with { KeepUnreferenced = Duration("keep-unreferenced", v) }, AlsoCollect: true),
        new("keep-uploads", "duration", "How long an upload is kept that nobody goes on with (default 24h)", (o, v) => o with { KeepUploads = Duration("keep-uploads", v) }, AlsoCollect: true),
        new("listen", "address", $"Address and port to listen on; may be repeated (default {RegistryOptions.DefaultAddress}:{RegistryOptions.DefaultPort})", (o, v) => o with { Listen = [.. o.Listen, v] }),
        new("log-format", "string", "Format of the log: text or json (default \"text\")",
            (o, v) => o with { LogAsJson = v switch { "json" => true, "text" => false, _ => throw new FlagsException($"invalid log format: {v}") } }),
        new("log-level", "string", "Level of the log: debug, info, warn, error (default \"info\")", (o, v) => o with
        {
            LogLevel = v switch { "debug" => LogLevel.Debug, "info" => LogLevel.Information, "warn" => LogLevel.Warning, "error" => LogLevel.Error, _ => throw new FlagsException($"invalid log level: {v}") },
        }),
        new("proxy", "url", "Give out what this registry has, and keep it (https://registry-1.docker.io); nothing can be pushed then", (o, v) => o with { Proxy = v }),
        new("proxy-credentials", "file", "File with user:password for --proxy", (o, v) => o with { ProxyCredentials = Path.GetFullPath(v) }),
        new("read-only", "", "Refuse pushes and deletions", (o, v) => o with { ReadOnly = Bool("read-only", v) }),
        new("root", "directory", "Where the content is kept (default /var/lib/berth/registry; for others than root ~/.local/share/berth/registry)",
            (o, v) => o with { Root = Path.GetFullPath(v) }, AlsoCollect: true),
        new("shutdown-timeout", "duration", "How long requests may still take after SIGTERM (default 10s)", (o, v) => o with { ShutdownTimeout = Duration("shutdown-timeout", v) }),
        new("tls-cert", "file", "Certificate (PEM, with its chain); needs --tls-key", (o, v) => o with { TlsCertificate = v }),
        new("tls-key", "file", "Key of --tls-cert", (o, v) => o with { TlsKey = v }),
    ];

    /// <exception cref="FlagsException">What is wrong, and where help is.</exception>
    public static (RegistryAction Action, RegistryOptions Options) Parse(IReadOnlyList<string> arguments)
    {
        if (arguments.Count == 0 || arguments[0] is "--help" or "-h" or "help") return (RegistryAction.Help, new());
        var action = arguments[0] switch
        {
            "serve" => RegistryAction.Serve,
            "gc" => RegistryAction.Collect,
            var other => throw new FlagsException($"unknown command: berth registry {other}\n\nRun 'berth registry --help' for more information"),
        };
        var options = new RegistryOptions();
        for (var i = 1; i < arguments.Count; i++)
        {
            var text = arguments[i];
            if (text is "--help" or "-h") return (RegistryAction.Help, options);
            if (!text.StartsWith("--", StringComparison.Ordinal)) throw new FlagsException($"berth registry {arguments[0]} takes no arguments: {text}");
            var equals = text.IndexOf('=');
            var name = text[2..(equals < 0 ? text.Length : equals)];
            var flag = Array.Find(All, f => f.Name == name && (action == RegistryAction.Serve || f.AlsoCollect))
                ?? throw new FlagsException($"unknown flag: --{name}\n\nRun 'berth registry {arguments[0]} --help' for more information");
            string value;
            if (equals >= 0) value = text[(equals + 1)..];
            else if (flag.Kind.Length == 0) value = "true";
            else if (i + 1 < arguments.Count) value = arguments[++i];
            else throw new FlagsException($"flag needs an argument: --{name}");
            options = flag.Set(options, value);
        }
        if (options.TlsCertificate.Length == 0 != (options.TlsKey.Length == 0)) throw new FlagsException("--tls-cert and --tls-key go together");
        if (options.AnonymousRead && options.Htpasswd.Length == 0) throw new FlagsException("--anonymous-read is for a registry with --htpasswd; without it everybody may do everything");
        if (options.ProxyCredentials.Length > 0 && options.Proxy.Length == 0) throw new FlagsException("--proxy-credentials are for --proxy");
        return (action, options);
    }

    public static string Help(IReadOnlyList<string> arguments)
    {
        var text = new StringBuilder();
        if (arguments is not ["serve" or "gc", ..])
        {
            return """
                Usage:  berth registry COMMAND

                Serve container images and other artifacts (OCI distribution-spec 1.1)

                Commands:
                  serve       Serve a registry
                  gc          Collect the garbage of a registry now, whether it is being served or not

                Run 'berth registry COMMAND --help' for more information on a command.

                """.ReplaceLineEndings("\n");
        }
        var collects = arguments[0] == "gc";
        text.Append(CultureInfo.InvariantCulture, $"Usage:  berth registry {arguments[0]} [OPTIONS]\n\n");
        text.Append(collects ? "Collect the garbage of a registry now: a process that serves it is told to\n" : "Serve a registry\n").Append("\nOptions:\n");
        var shown = All.Where(f => !collects || f.AlsoCollect).ToArray();
        var width = shown.Max(f => f.Name.Length + f.Kind.Length) + 3;
        foreach (var flag in shown)
            text.Append("      --").Append((flag.Kind.Length > 0 ? $"{flag.Name} {flag.Kind}" : flag.Name).PadRight(width)).Append(flag.Usage).Append('\n');
        return text.ToString();
    }

    private static bool Bool(string name, string value) => value switch
    {
        "true" or "1" => true,
        "false" or "0" => false,
        _ => throw new FlagsException($"invalid argument \"{value}\" for \"--{name}\" flag: true or false"),
    };

    private static TimeSpan Duration(string name, string value) =>
        value == "0" ? TimeSpan.Zero : Berth.Api.Go.GoDuration.TryParse(value, out var duration) && duration >= TimeSpan.Zero ? duration
            : throw new FlagsException($"invalid argument \"{value}\" for \"--{name}\" flag: a duration such as 90s, 1h30m");
}
