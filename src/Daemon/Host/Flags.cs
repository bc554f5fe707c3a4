using System.Globalization;
using System.Text;
using Berth.Engine;

namespace Berth.Daemon.Host;

/// <summary>What a command line asks for besides running.</summary>
internal enum FlagsAction
{
    Run,
    Help,
    Version,
}

/// <summary>A command line that cannot be followed; the message is the one dockerd prints.</summary>
internal sealed class FlagsException(string message) : Exception(message);

/// <summary>
/// dockerd's flags by dockerd's names, in its syntax (--flag value, --flag=value, -f value, -fvalue, -f=value, several boolean
/// short flags in one word). The table is all there is: parsing, help and what is not supported are read from it.
/// </summary>
internal static class Flags
{
    /// <param name="Kind">As the help shows it; empty for a boolean.</param>
    /// <param name="Set">Null: dockerd has it and this version of Berth does not.</param>
    private sealed record Flag(string Name, char Short, string Kind, string Help, Func<DaemonOptions, string, DaemonOptions>? Set);

    private static DaemonOptions E(DaemonOptions o, EngineOptions engine) => o with { Engine = engine };

    private static readonly Flag[] All =
    [
        new("bip", '\0', "string", "IPv4 address for the default bridge", (o, v) => E(o, o.Engine with { BridgeIp = v })),
        new("bridge", 'b', "string", "Name of the default bridge (default \"berth0\"); made when it is missing", (o, v) => E(o, o.Engine with { BridgeName = v })),
        new("cgroup-parent", '\0', "string", "Set parent cgroup for all containers (default \"/berth\")", (o, v) => E(o, o.Engine with { CgroupParent = v })),
        new("data-root", '\0', "string", "Root directory of persistent state (default \"/var/lib/berth\")", (o, v) => E(o, o.Engine with { DataRoot = Path.GetFullPath(v) })),
        new("debug", 'D', "", "Enable debug mode", (o, v) => Bool("debug", v) ? E(o, o.Engine with { Debug = true }) with { LogLevel = LogLevel.Debug } : o),
        new("default-cgroupns-mode", '\0', "string", "Default mode for containers cgroup namespace (\"host\" | \"private\")",
            (o, v) => E(o, o.Engine with { DefaultCgroupnsMode = OneOf("default-cgroupns-mode", v, "host", "private") })),
        new("default-gateway", '\0', "ip", "Default gateway IPv4 address for the default bridge network", (o, v) => E(o, o.Engine with { DefaultGateway = Ip("default-gateway", v) })),
        new("default-ipc-mode", '\0', "string", "Default mode for containers ipc (\"shareable\" | \"private\") (default \"private\")",
            (o, v) => E(o, o.Engine with { DefaultIpcMode = OneOf("default-ipc-mode", v, "shareable", "private") })),
        new("default-shm-size", '\0', "bytes", "Default shm size for containers (default 64MiB)", (o, v) => E(o, o.Engine with { DefaultShmSizeBytes = Bytes("default-shm-size", v) })),
        new("default-ulimit", '\0', "ulimit", "Default ulimits for containers (default [])", (o, v) => E(o, o.Engine with { DefaultUlimits = [.. o.Engine.DefaultUlimits, v] })),
        new("dns", '\0', "ipSlice", "DNS server to use (default [])", (o, v) => E(o, o.Engine with { Dns = [.. o.Engine.Dns, .. v.Split(',').Select(a => Ip("dns", a))] })),
        new("dns-opt", '\0', "list", "DNS options to use", (o, v) => E(o, o.Engine with { DnsOptions = [.. o.Engine.DnsOptions, v] })),
        new("dns-search", '\0', "list", "DNS search domains to use", (o, v) => E(o, o.Engine with { DnsSearch = [.. o.Engine.DnsSearch, v] })),
        new("exec-opt", '\0', "list", "Runtime execution options (native.cgroupdriver=cgroupfs)", (o, v) => v is "native.cgroupdriver=cgroupfs" ? o : throw Unsupported($"--exec-opt {v}")),
        new("exec-root", '\0', "string", "Root directory for execution state files (default \"/run/berth\")", (o, v) => E(o, o.Engine with { ExecRoot = Path.GetFullPath(v) })),
        new("fixed-cidr", '\0', "string", "IPv4 subnet for the default bridge network", (o, v) => E(o, o.Engine with { FixedCidr = v })),
        new("group", 'G', "string", "Group for the unix socket (default \"docker\")", (o, v) => o with { Group = v, GroupGiven = true }),
        new("help", '\0', "", "Print usage", (o, _) => o),
        new("host", 'H', "list", "Daemon socket(s) to connect to (unix://path, tcp://address:port, fd://)", (o, v) => o with { Hosts = [.. o.Hosts, v] }),
        new("http-proxy", '\0', "string", "HTTP proxy URL to use for outgoing traffic", (o, v) => E(o, o.Engine with { HttpProxy = v })),
        new("https-proxy", '\0', "string", "HTTPS proxy URL to use for outgoing traffic", (o, v) => E(o, o.Engine with { HttpsProxy = v })),
        new("icc", '\0', "", "Enable inter-container communication for the default bridge network (default true)",
            (o, v) => E(o, o.Engine with { InterContainerCommunication = Bool("icc", v) })),
        new("init", '\0', "", "Run an init in the container to forward signals and reap processes", (o, v) => E(o, o.Engine with { DefaultInit = Bool("init", v) })),
        new("init-path", '\0', "string", "Path to the init binary (default: docker-init or tini on PATH)", (o, v) => E(o, o.Engine with { InitPath = v })),
        new("insecure-registry", '\0', "list", "Enable insecure registry communication",
            (o, v) => E(o, o.Engine with { InsecureRegistries = [.. o.Engine.InsecureRegistries, v] })),
        new("ip", '\0', "ip", "Host IP for port publishing from the default bridge network (default 0.0.0.0)", (o, v) => E(o, o.Engine with { DefaultHostBinding = Ip("ip", v) })),
        new("ip-forward", '\0', "", "Enable IP forwarding in system configuration (default true)", (o, v) => E(o, o.Engine with { IpForward = Bool("ip-forward", v) })),
        new("ip-masq", '\0', "", "Enable IP masquerading for the default bridge network (default true)", (o, v) => E(o, o.Engine with { IpMasquerade = Bool("ip-masq", v) })),
        new("iptables", '\0', "", "Enable addition of firewall rules (default true)", (o, v) => E(o, o.Engine with { Firewall = Bool("iptables", v) })),
        new("label", '\0', "list", "Set key=value labels to the daemon", (o, v) => E(o, o.Engine with { Labels = [.. o.Engine.Labels, v] })),
        new("live-restore", '\0', "", "Containers always outlive the daemon here; accepted for dockerd's sake", (o, v) => { Bool("live-restore", v); return o; }),
        new("log-driver", '\0', "string", "Default driver for container logs (default \"json-file\")", (o, v) => E(o, o.Engine with { LogDriver = v })),
        new("log-format", '\0', "string", "Set the logging format (\"text\"|\"json\") (default \"text\")", (o, v) => o with { LogAsJson = OneOf("log-format", v, "text", "json") == "json" }),
        new("log-level", 'l', "string", "Set the logging level (\"debug\"|\"info\"|\"warn\"|\"error\"|\"fatal\") (default \"info\")", (o, v) => o with { LogLevel = Level(v) }),
        new("log-opt", '\0', "map", "Default log driver options for containers (default map[])", (o, v) => E(o, o.Engine with { LogOptions = With(o.Engine.LogOptions, "log-opt", v) })),
        new("max-concurrent-downloads", '\0', "int", "Set the max concurrent downloads (default 3)",
            (o, v) => E(o, o.Engine with { MaxConcurrentDownloads = Int("max-concurrent-downloads", v) is > 0 and var n ? n : throw new FlagsException($"invalid max concurrent downloads: {v}") })),
        new("mtu", '\0', "int", "Set the MTU for the default \"bridge\" network (default 1500)", (o, v) => E(o, o.Engine with { Mtu = Int("mtu", v) })),
        new("no-new-privileges", '\0', "", "Set no-new-privileges by default for new containers", (o, v) => E(o, o.Engine with { NoNewPrivileges = Bool("no-new-privileges", v) })),
        new("no-proxy", '\0', "string", "Comma-separated list of hosts or IP addresses for which the proxy is skipped", (o, v) => E(o, o.Engine with { NoProxy = v })),
        new("pidfile", 'p', "string", "Path to use for daemon PID file (default \"<exec-root>/berthd.pid\")", (o, v) => o with { PidFile = Path.GetFullPath(v) }),
        new("raw-logs", '\0', "", "Accepted for dockerd's sake: logs have full timestamps and no colours", (o, v) => { Bool("raw-logs", v); return o; }),
        new("registry-mirror", '\0', "list", "Preferred registry mirror", (o, v) => E(o, o.Engine with { RegistryMirrors = [.. o.Engine.RegistryMirrors, v] })),
        new("seccomp-profile", '\0', "string", "Path to seccomp profile. Set to \"unconfined\" to disable the default seccomp profile (default \"builtin\")",
            (o, v) => E(o, o.Engine with { SeccompProfile = v })),
        new("shutdown-timeout", '\0', "int", "Accepted for dockerd's sake: containers outlive the daemon", (o, v) => { Int("shutdown-timeout", v); return o; }),
        new("storage-driver", 's', "string", "Storage driver to use (overlay2)", (o, v) => v is "overlay2" or "overlay" or "overlayfs" ? o : throw Unsupported($"storage driver {v}")),
        new("userland-proxy", '\0', "", "Accepted for dockerd's sake: there is no userland proxy", (o, v) => { Bool("userland-proxy", v); return o; }),
        new("validate", '\0', "", "Validate daemon configuration and exit", (o, v) => o with { Validate = Bool("validate", v) }),
        new("version", 'v', "", "Print version information and quit", (o, _) => o),

        // dockerd's, of which this version has nothing: refused rather than ignored, since each promises something.
        .. from name in (string[])["add-runtime=runtime", "allow-direct-routing", "authorization-plugin=list", "bip6=string", "cdi-spec-dir=list", "config-file=string",
            "containerd=string", "containerd-namespace=string", "containerd-plugins-namespace=string", "cpu-rt-period=int", "cpu-rt-runtime=int", "cri-containerd",
            "default-address-pool=pool-options", "default-gateway-v6=ip", "default-network-opt=mapmap", "default-runtime=string", "experimental", "feature=map",
            "firewall-backend=string", "fixed-cidr-v6=string", "host-gateway-ip=list", "ip-forward-no-drop", "ip6tables", "ipv6", "max-concurrent-uploads=int",
            "max-download-attempts=int", "metrics-addr=string", "network-control-plane-mtu=int", "node-generic-resource=list", "rootless", "selinux-enabled",
            "storage-opt=list", "swarm-default-advertise-addr=string", "tls", "tlscacert=string", "tlscert=string", "tlskey=string", "tlsverify",
            "userland-proxy-path=string", "userns-remap=string"]
           let parts = name.Split('=')
           select new Flag(parts[0], '\0', parts.Length > 1 ? parts[1] : "", "", null),
    ];

    public static string Usage { get; } = MakeUsage();

    public static (FlagsAction Action, DaemonOptions Options) Parse(IReadOnlyList<string> arguments)
    {
        var options = new DaemonOptions();
        var action = FlagsAction.Run;
        for (var i = 0; i < arguments.Count; i++)
        {
            var word = arguments[i];
            if (word.StartsWith("--", StringComparison.Ordinal) && word.Length > 2)
            {
                var equals = word.IndexOf('=');
                var name = equals < 0 ? word[2..] : word[2..equals];
                var flag = Array.Find(All, f => f.Name == name) ?? throw new FlagsException($"unknown flag: --{name}");
                var value = equals >= 0 ? word[(equals + 1)..]
                    : flag.Kind.Length == 0 ? "true"
                    : ++i < arguments.Count ? arguments[i]
                    : throw new FlagsException($"flag needs an argument: --{name}");
                Apply(flag, value);
            }
            else if (word.Length > 1 && word[0] == '-' && word != "--")
            {
                for (var at = 1; at < word.Length; at++)
                {
                    var letter = word[at];
                    var flag = Array.Find(All, f => f.Short == letter && letter != '\0') ?? throw new FlagsException($"unknown shorthand flag: '{letter}' in {word}");
                    if (flag.Kind.Length == 0 && (at + 1 == word.Length || word[at + 1] != '='))
                    {
                        Apply(flag, "true");
                        continue;
                    }
                    var value = at + 1 < word.Length ? word[(at + 1)..].TrimStart('=')
                        : ++i < arguments.Count ? arguments[i]
                        : throw new FlagsException($"flag needs an argument: '{letter}' in {word}");
                    Apply(flag, value);
                    break;
                }
            }
            else
            {
                throw new FlagsException($"\"berthd\" accepts no arguments: {word}");
            }
        }
        return (action, options);

        void Apply(Flag flag, string value)
        {
            if (flag.Set is null)
                throw Unsupported("--" + flag.Name);
            if (flag.Name == "help" && Bool("help", value))
                action = FlagsAction.Help;
            else if (flag.Name == "version" && Bool("version", value))
                action = FlagsAction.Version;
            options = flag.Set(options, value);
        }
    }

    private static FlagsException Unsupported(string what) => new($"{what} is not supported by this version of Berth");

    private static FlagsException Invalid(string flag, string value, string why) => new($"invalid argument \"{value}\" for \"--{flag}\" flag: {why}");

    private static bool Bool(string flag, string value) => value switch
    {
        "1" or "t" or "T" or "true" or "TRUE" or "True" => true,
        "0" or "f" or "F" or "false" or "FALSE" or "False" => false,
        _ => throw Invalid(flag, value, $"strconv.ParseBool: parsing \"{value}\": invalid syntax"),
    };

    private static int Int(string flag, string value) => int.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n)
        ? n : throw Invalid(flag, value, $"strconv.ParseInt: parsing \"{value}\": invalid syntax");

    private static string Ip(string flag, string value) => System.Net.IPAddress.TryParse(value.Trim(), out var address)
        ? address.ToString() : throw Invalid(flag, value, $"invalid string being converted to IP address: {value}");

    private static string OneOf(string flag, string value, params ReadOnlySpan<string> allowed) =>
        allowed.Contains(value) ? value : throw Invalid(flag, value, $"not one of {string.Join(", ", allowed.ToArray())}");

    private static LogLevel Level(string value) => value switch
    {
        "trace" => LogLevel.Trace,
        "debug" => LogLevel.Debug,
        "info" => LogLevel.Information,
        "warn" or "warning" => LogLevel.Warning,
        "error" => LogLevel.Error,
        "fatal" or "panic" => LogLevel.Critical,
        _ => throw new FlagsException($"invalid logging level: {value}"),
    };

    /// <summary>"64m", "64MiB", "1g", "512": powers of 1024, as docker's --shm-size.</summary>
    private static long Bytes(string flag, string value)
    {
        var text = value.Trim().ToLowerInvariant();
        if (text.EndsWith("ib", StringComparison.Ordinal))
            text = text[..^2];
        else if (text.EndsWith('b'))
            text = text[..^1];
        var shift = text.Length > 0 ? "kmgt".IndexOf(text[^1]) + 1 : 0;
        if (shift > 0)
            text = text[..^1];
        return double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number <= (double)(long.MaxValue >> 40)
            ? (long)(number * (1L << (10 * shift)))
            : throw Invalid(flag, value, $"invalid size: '{value}'");
    }

    private static Dictionary<string, string> With(IReadOnlyDictionary<string, string> map, string flag, string value)
    {
        var equals = value.IndexOf('=');
        if (equals <= 0)
            throw Invalid(flag, value, $"{value} must be formatted as key=value");
        return new(map) { [value[..equals]] = value[(equals + 1)..] };
    }

    private static string MakeUsage()
    {
        const int column = 40, width = 80;
        var text = new StringBuilder("\nUsage:\tberthd [OPTIONS]\n\nThe Berth container engine.\n\nOptions:\n");
        foreach (var flag in All.Where(f => f.Set is not null).OrderBy(f => f.Name, StringComparer.Ordinal))
        {
            var left = $"  {(flag.Short == '\0' ? "    " : $"-{flag.Short}, ")}--{flag.Name}{(flag.Kind.Length > 0 ? " " + flag.Kind : "")}";
            text.Append(left.PadRight(column));
            var at = Math.Max(left.Length, column);
            foreach (var word in flag.Help.Split(' '))
            {
                if (at + word.Length > width && at > column)
                {
                    text.Append('\n').Append(' ', column);
                    at = column;
                }
                text.Append(at > column ? " " : "").Append(word);
                at += word.Length + 1;
            }
            text.Append('\n');
        }
        return text.ToString();
    }
}
