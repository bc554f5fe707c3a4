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
/// short flags in one word), and the same options from the configuration file. The table is all there is: parsing, help, keys of the file and
/// what is not supported are read from it.
/// </summary>
internal static class Flags
{
    /// <param name="Kind">As the help shows it; empty for a boolean.</param>
    /// <param name="Help">Empty: accepted for dockerd's sake and not listed.</param>
    private sealed record Flag(string Name, char Short, string Kind, string Help, Func<DaemonOptions, string, DaemonOptions> Set)
    {
        /// <summary>Its key in the configuration file; null: it has none.</summary>
        public string? Key { get; init; } = Plural.GetValueOrDefault(Name, Name is "help" or "version" or "validate" or "config-file" ? null : Name);

        public bool IsList => Kind is "list" or "ipSlice" or "pool-options";
        public bool IsMap => Kind is "map" or "ulimit" or "mapmap";
    }

    // Lists and maps are named in the plural in the file; dns and dns-search are not.
    private static readonly Dictionary<string, string?> Plural = new(StringComparer.Ordinal)
    {
        ["authorization-plugin"] = "authorization-plugins", ["cdi-spec-dir"] = "cdi-spec-dirs", ["default-address-pool"] = "default-address-pools", ["default-network-opt"] = "default-network-opts",
        ["default-ulimit"] = "default-ulimits", ["dns-opt"] = "dns-opts", ["exec-opt"] = "exec-opts", ["feature"] = "features", ["host"] = "hosts", ["host-gateway-ip"] = "host-gateway-ips",
        ["insecure-registry"] = "insecure-registries", ["label"] = "labels", ["log-opt"] = "log-opts", ["node-generic-resource"] = "node-generic-resources",
        ["registry-mirror"] = "registry-mirrors", ["storage-opt"] = "storage-opts", ["add-runtime"] = "runtimes",
    };

    /// <summary>Where the configuration file is looked for when no flag says.</summary>
    public const string DefaultConfigFile = "/etc/berth/daemon.json";

    // Of the file alone: {"gc":{…}}.
    private static DaemonOptions Builder(DaemonOptions options, string value)
    {
        const string Prefix = "gc=";
        if (!value.StartsWith(Prefix, StringComparison.Ordinal)) return options;
        try
        {
            Berth.Builder.CacheFilters.ParseConfiguration(value[Prefix.Length..], "/");
        }
        catch (FormatException e)
        {
            throw new FlagsException(e.Message);
        }
        return options with { BuilderGarbage = value[Prefix.Length..] };
    }

    private static DaemonOptions E(DaemonOptions o, EngineOptions engine) => o with { Engine = engine };

    private static readonly Flag[] All =
    [
        new("bip", '\0', "string", "IPv4 address for the default bridge", (o, v) => E(o, o.Engine with { BridgeIp = v })),
        new("bip6", '\0', "string", "IPv6 address for the default bridge", (o, v) => E(o, o.Engine with { BridgeIp6 = v })),
        new("bridge", 'b', "string", "Name of the default bridge (default \"berth0\"); made when it is missing", (o, v) => E(o, o.Engine with { BridgeName = v })),
        new("builder", '\0', "map", "", (o, v) => Builder(o, v)),
        new("cgroup-parent", '\0', "string", "Set parent cgroup for all containers (default \"/berth\")", (o, v) => E(o, o.Engine with { CgroupParent = v })),
        new("config-file", '\0', "string", $"Daemon configuration file (default \"{DefaultConfigFile}\")", (o, v) => o with { ConfigFile = Path.GetFullPath(v) }),
        new("data-root", '\0', "string", "Root directory of persistent state (default \"/var/lib/berth\")", (o, v) => E(o, o.Engine with { DataRoot = Path.GetFullPath(v) })),
        new("debug", 'D', "", "Enable debug mode", (o, v) => Bool("debug", v) ? E(o, o.Engine with { Debug = true }) with { LogLevel = LogLevel.Debug } : o),
        new("default-address-pool", '\0', "pool-options", "Default address pools for node specific local networks", (o, v) => E(o, o.Engine with { DefaultAddressPools = [.. o.Engine.DefaultAddressPools, Pool(v)] })),
        new("default-cgroupns-mode", '\0', "string", "Default mode for containers cgroup namespace (\"host\" | \"private\")",
            (o, v) => E(o, o.Engine with { DefaultCgroupnsMode = v is "host" or "private" ? v : throw new FlagsException($"invalid default cgroup namespace ({v}): use \"host\" or \"private\"") })),
        new("default-gateway", '\0', "ip", "Default gateway IPv4 address for the default bridge network", (o, v) => E(o, o.Engine with { DefaultGateway = Ip("default-gateway", v) })),
        new("default-gateway-v6", '\0', "ip", "Default gateway IPv6 address for the default bridge network", (o, v) => E(o, o.Engine with { DefaultGateway6 = Ip("default-gateway-v6", v) })),
        new("default-ipc-mode", '\0', "string", "Default mode for containers ipc (\"shareable\" | \"private\") (default \"private\")",
            (o, v) => E(o, o.Engine with { DefaultIpcMode = v is "shareable" or "private" ? v : throw new FlagsException($"default IPC mode setting ({v}) is invalid; use \"shareable\" or \"private\"") })),
        new("default-runtime", '\0', "string", "", (o, v) => v is "berth" or "runc" or "io.containerd.runc.v2" ? o : throw Unsupported($"--default-runtime {v}", NoRuntimes)),
        new("default-shm-size", '\0', "bytes", "Default shm size for containers (default 64MiB)", (o, v) => E(o, o.Engine with { DefaultShmSizeBytes = Bytes("default-shm-size", v) })),
        new("default-ulimit", '\0', "ulimit", "Default ulimits for containers (default [])", (o, v) => E(o, o.Engine with { DefaultUlimits = [.. o.Engine.DefaultUlimits, Ulimit(v)] })),
        new("dns", '\0', "ipSlice", "DNS server to use (default [])", (o, v) => E(o, o.Engine with { Dns = [.. o.Engine.Dns, .. v.Split(',').Select(a => Ip("dns", a))] })),
        new("host-gateway-ip", '\0', "list", "IP addresses that the special 'host-gateway' string in --add-host resolves to. Defaults to the IP addresses of the default bridge", (o, v) => E(o, o.Engine with { HostGatewayIps = [.. o.Engine.HostGatewayIps, .. v.Split(',').Select(a => Ip("host-gateway-ip", a))] })),
        new("dns-opt", '\0', "list", "DNS options to use", (o, v) => E(o, o.Engine with { DnsOptions = [.. o.Engine.DnsOptions, v] })),
        new("dns-search", '\0', "list", "DNS search domains to use", (o, v) => E(o, o.Engine with { DnsSearch = [.. o.Engine.DnsSearch, v] })),
        new("exec-opt", '\0', "list", "Runtime execution options (native.cgroupdriver=cgroupfs)", (o, v) => v switch
        {
            "native.cgroupdriver=cgroupfs" => o,
            "native.cgroupdriver=systemd" => throw Unsupported("--exec-opt " + v, "Berth makes its cgroups itself, on systemd's machines too"),
            _ when v.StartsWith("native.cgroupdriver=", StringComparison.Ordinal) => throw new FlagsException($"native.cgroupdriver option {v["native.cgroupdriver=".Length..]} is not supported"),
            _ => throw new FlagsException($"invalid exec-opt ({v}): unknown option: '{v.Split('=')[0]}'"),
        }),
        new("exec-root", '\0', "string", "Root directory for execution state files (default \"/run/berth\")", (o, v) => E(o, o.Engine with { ExecRoot = Path.GetFullPath(v) })),
        new("fixed-cidr", '\0', "string", "IPv4 subnet for the default bridge network", (o, v) => E(o, o.Engine with { FixedCidr = v })),
        new("fixed-cidr-v6", '\0', "string", "IPv6 subnet for the default bridge network", (o, v) => E(o, o.Engine with { FixedCidr6 = FixedCidr6(v) })),
        new("group", 'G', "string", "Group for the unix socket (default \"docker\")", (o, v) => o with { Group = v, GroupGiven = true }),
        new("help", '\0', "", "Print usage", (o, _) => o),
        new("host", 'H', "list", "Daemon socket(s) to connect to (unix://path, tcp://address:port, fd://)", (o, v) => o with { Hosts = [.. o.Hosts, Host(v)] }),
        new("http-proxy", '\0', "string", "HTTP proxy URL to use for outgoing traffic", (o, v) => E(o, o.Engine with { HttpProxy = v })),
        new("https-proxy", '\0', "string", "HTTPS proxy URL to use for outgoing traffic", (o, v) => E(o, o.Engine with { HttpsProxy = v })),
        new("icc", '\0', "", "Enable inter-container communication for the default bridge network (default true)",
            (o, v) => E(o, o.Engine with { InterContainerCommunication = Bool("icc", v) })),
        new("image-trust", '\0', "list", "Signatures that images need to be pulled (scope=HOST[/PATH],type=cosign,keys=FILE)",
            (o, v) => E(o, o.Engine with { ImageTrust = [.. o.Engine.ImageTrust, Trust(v)] })),
        new("init", '\0', "", "Run an init in the container to forward signals and reap processes", (o, v) => E(o, o.Engine with { DefaultInit = Bool("init", v) })),
        new("init-path", '\0', "string", "Path to the init binary (default: docker-init or tini on PATH)", (o, v) => E(o, o.Engine with { InitPath = v })),
        new("insecure-registry", '\0', "list", "Enable insecure registry communication",
            (o, v) => E(o, o.Engine with { InsecureRegistries = [.. o.Engine.InsecureRegistries, Registry(v)] })),
        new("ip", '\0', "ip", "Host IP for port publishing from the default bridge network (default 0.0.0.0)", (o, v) => E(o, o.Engine with { DefaultHostBinding = Ip("ip", v) })),
        new("ip-forward", '\0', "", "Enable IP forwarding in system configuration (default true)", (o, v) => E(o, o.Engine with { IpForward = Bool("ip-forward", v) })),
        new("ip-masq", '\0', "", "Enable IP masquerading for the default bridge network (default true)", (o, v) => E(o, o.Engine with { IpMasquerade = Bool("ip-masq", v) })),
        new("ip6tables", '\0', "", "Enable addition of firewall rules for IPv6 (default true)", (o, v) => E(o, o.Engine with { Firewall6 = Bool("ip6tables", v) })),
        new("iptables", '\0', "", "Enable addition of firewall rules for IPv4 (default true)", (o, v) => E(o, o.Engine with { Firewall = Bool("iptables", v) })),
        new("ipv6", '\0', "", "Enable IPv6 on the default bridge network", (o, v) => E(o, o.Engine with { EnableIPv6 = Bool("ipv6", v) })),
        new("label", '\0', "list", "Set key=value labels to the daemon", (o, v) => E(o, o.Engine with { Labels = [.. o.Engine.Labels, v.IndexOf('=') > 0 ? v : throw new FlagsException($"bad attribute format: {v}")] })),
        new("live-restore", '\0', "", "Containers always outlive the daemon here; accepted for dockerd's sake", (o, v) => { Bool("live-restore", v); return o; }),
        new("log-driver", '\0', "string", "Default driver for container logs (default \"json-file\")", (o, v) => E(o, o.Engine with { LogDriver = v })),
        new("log-format", '\0', "string", "Set the logging format (\"text\"|\"json\") (default \"text\")", (o, v) => o with { LogAsJson = OneOf("log-format", v, "text", "json") == "json" }),
        new("log-level", 'l', "string", "Set the logging level (\"debug\"|\"info\"|\"warn\"|\"error\"|\"fatal\") (default \"info\")", (o, v) => o with { LogLevel = Level(v) }),
        new("log-opt", '\0', "map", "Default log driver options for containers (default map[])", (o, v) => E(o, o.Engine with { LogOptions = With(o.Engine.LogOptions, "log-opt", v) })),
        new("max-concurrent-downloads", '\0', "int", "Set the max concurrent downloads (default 3)",
            (o, v) => E(o, o.Engine with { MaxConcurrentDownloads = AtLeastOne("max-concurrent-downloads", "max concurrent downloads", v, 3) })),
        new("max-concurrent-uploads", '\0', "int", "Set the max concurrent uploads (default 5)",
            (o, v) => E(o, o.Engine with { MaxConcurrentUploads = AtLeastOne("max-concurrent-uploads", "max concurrent uploads", v, 5) })),
        new("max-download-attempts", '\0', "int", "Set the max download attempts for each pull (default 5)",
            (o, v) => E(o, o.Engine with { MaxDownloadAttempts = AtLeastOne("max-download-attempts", "max download attempts", v, 5) })),
        new("metrics-addr", '\0', "string", "Set default address and port to serve the metrics api on", (o, v) => o with { MetricsAddress = v }),
        new("mtu", '\0', "int", "Set the MTU for the default \"bridge\" network (default 1500)", (o, v) => E(o, o.Engine with { Mtu = Int("mtu", v) is >= 0 and var n ? n == 0 ? 1500 : n : throw new FlagsException($"invalid default MTU: {v}") })),
        new("no-new-privileges", '\0', "", "Set no-new-privileges by default for new containers", (o, v) => E(o, o.Engine with { NoNewPrivileges = Bool("no-new-privileges", v) })),
        new("no-proxy", '\0', "string", "Comma-separated list of hosts or IP addresses for which the proxy is skipped", (o, v) => E(o, o.Engine with { NoProxy = v })),
        new("pidfile", 'p', "string", "Path to use for daemon PID file (default \"<exec-root>/berthd.pid\")", (o, v) => o with { PidFile = Path.GetFullPath(v) }),
        new("publish-through", '\0', "string", "Firewall rules of the host that decide about published ports: those for forwarded packets, or those for input, with ports carried by the daemon (\"forward\" | \"input\")", (o, v) => E(o, o.Engine with { PublishThrough = v switch { "forward" => Berth.Networks.PublishThrough.Forward, "input" => Berth.Networks.PublishThrough.Input, _ => throw new FlagsException($"invalid publish-through: {v}: forward or input") } })),
        new("raw-logs", '\0', "", "Accepted for dockerd's sake: logs have full timestamps and no colours", (o, v) => { Bool("raw-logs", v); return o; }),
        new("registry-mirror", '\0', "list", "Preferred registry mirror", (o, v) => E(o, o.Engine with { RegistryMirrors = [.. o.Engine.RegistryMirrors, Mirror(v)] })),
        new("seccomp-profile", '\0', "string", "Path to seccomp profile. Set to \"unconfined\" to disable the default seccomp profile (default \"builtin\")",
            (o, v) => E(o, o.Engine with { SeccompProfile = v })),
        new("shutdown-timeout", '\0', "int", "Set the default shutdown timeout, of requests that still run: containers outlive the daemon (default 3)",
            (o, v) => E(o, o.Engine with { ShutdownTimeoutSeconds = Int("shutdown-timeout", v) })),
        new("storage-driver", 's', "string", "Storage driver to use (overlay2)", (o, v) => v is "overlay2" or "overlay" or "overlayfs" ? o : throw Unsupported($"storage driver {v}", "layers are stacked by overlayfs")),
        new("userland-proxy", '\0', "", "Accepted for dockerd's sake: there is no userland proxy", (o, v) => { Bool("userland-proxy", v); return o; }),
        new("validate", '\0', "", "Validate daemon configuration and exit", (o, v) => o with { Validate = Bool("validate", v) }),
        new("version", 'v', "", "Print version information and quit", (o, _) => o),

        new("tls", '\0', "", "Use TLS; implied by --tlsverify", (o, v) => o with { Tls = Bool("tls", v) }),
        new("tlscacert", '\0', "string", "Trust certs signed only by this CA (default \"~/.docker/ca.pem\")", (o, v) => o with { TlsCaCertificate = v }),
        new("tlscert", '\0', "string", "Path to TLS certificate file (default \"~/.docker/cert.pem\")", (o, v) => o with { TlsCertificate = v }),
        new("tlskey", '\0', "string", "Path to TLS key file (default \"~/.docker/key.pem\")", (o, v) => o with { TlsKey = v }),
        new("tlsverify", '\0', "", "Use TLS and verify the remote", (o, v) => o with { TlsVerify = Bool("tlsverify", v) }),

        // Accepted without effect: what they ask for is so, or concerns nothing that is here.
        Accepted("experimental", ""), Accepted("feature", "map"), Accepted("ip-forward-no-drop", ""), Accepted("network-control-plane-mtu", "int"), Accepted("network-diagnostic-port", "int"),
        Accepted("swarm-default-advertise-addr", "string"), Accepted("userland-proxy-path", "string"), Accepted("node-generic-resource", "list"),
        Accepted("swarm-raft-heartbeat-tick", "int"), Accepted("swarm-raft-election-tick", "int"), Accepted("api-cors-header", "string"),
        new("firewall-backend", '\0', "string", "", (o, v) => v is "" or "nftables" ? o : throw Unsupported($"--firewall-backend {v}", "the firewall is nftables")),

        // dockerd's, of which Berth has nothing: refused rather than ignored, since each promises something.
        Refused("add-runtime", "runtime", NoRuntimes), Refused("allow-direct-routing", "", "direct routing to published ports is not there yet"),
        Refused("authorization-plugin", "list", "there are no plugins"), Refused("cdi-spec-dir", "list", "devices of the Container Device Interface are not there yet"),
        Refused("containerd", "string", NoContainerd), Refused("containerd-namespace", "string", NoContainerd), Refused("containerd-plugins-namespace", "string", NoContainerd),
        Refused("cpu-rt-period", "int", "realtime scheduling is set per container"), Refused("cpu-rt-runtime", "int", "realtime scheduling is set per container"), Refused("cri-containerd", "", NoContainerd),
        Refused("default-network-opt", "mapmap", "options of networks are given when they are made"), Refused("rootless", "", "Berth runs as root"),
        Refused("selinux-enabled", "", "SELinux labels are not set"), Refused("storage-opt", "list", "overlayfs needs none"), Refused("userns-remap", "string", "user namespaces are not there yet"),
    ];

    private const string NoRuntimes = "Berth starts containers itself, there is no OCI runtime to choose", NoContainerd = "there is no containerd";

    private static Flag Accepted(string name, string kind) => new(name, '\0', kind, "", (o, v) =>
    {
        if (kind.Length == 0)
            Bool(name, v);
        else if (kind == "int")
            Int(name, v);
        return o;
    });

    // A boolean set to what it is here anyway asks for nothing.
    private static Flag Refused(string name, string kind, string why) => new(name, '\0', kind, "", (o, v) => kind.Length == 0 && !Bool(name, v) ? o : throw Unsupported("--" + name, why));

    public static string Usage { get; } = MakeUsage();

    /// <summary>The command line over the configuration file over the defaults; what is in both is an error, as for dockerd.</summary>
    /// <param name="readFile">Null when there is no such file.</param>
    /// <exception cref="FlagsException">dockerd's words.</exception>
    public static (FlagsAction Action, DaemonOptions Options) Parse(IReadOnlyList<string> arguments, Func<string, IReadOnlyList<FileSetting>?>? readFile = null)
    {
        var given = ReadArguments(arguments);
        var action = FlagsAction.Run;
        foreach (var (flag, value) in given)
        {
            if (flag.Name == "help" && Bool("help", value))
                return (FlagsAction.Help, new DaemonOptions());
            if (flag.Name == "version" && Bool("version", value))
                action = FlagsAction.Version;
        }
        if (action != FlagsAction.Run)
            return (action, new DaemonOptions());

        var options = new DaemonOptions();
        var named = given.LastOrDefault(g => g.Flag.Name == "config-file").Value;
        var path = named is null ? DefaultConfigFile : Path.GetFullPath(named);
        FlagsException InFile(string why) => new($"unable to configure the Docker daemon with file {path}: {why}");
        try
        {
            if (readFile?.Invoke(path) is { } settings)
                options = Apply(options with { ConfigFile = path, SetInFile = settings.Select(s => s.Key).ToHashSet(StringComparer.Ordinal) }, settings, given);
            else if (named is not null && readFile is not null)
                throw new FlagsException($"open {path}: no such file or directory");
        }
        catch (FlagsException e)
        {
            throw InFile(e.Message);
        }
        foreach (var (flag, value) in given)
            options = flag.Set(options, value);
        if (options.TlsVerify is not null)
            options = options with { Tls = true };
        return (action, E(options, options.Engine with
        {
            Labels = WithoutConflicts(options.Engine.Labels),
            // Beside the configuration; and where Docker has them, so that whoever comes from there need move nothing.
            RegistryHostDirectories = [Path.Combine(Path.GetDirectoryName(path)!, "certs.d"), "/etc/docker/certs.d"],
        }));
    }

    private static DaemonOptions Apply(DaemonOptions options, IReadOnlyList<FileSetting> settings, List<(Flag Flag, string Value)> given)
    {
        var unknown = settings.Where(s => !Array.Exists(All, f => f.Key == s.Key)).Select(s => s.Key).ToList();
        if (unknown.Count > 0)
            throw new FlagsException($"the following directives don't match any configuration option: {string.Join(", ", unknown)}");
        var conflicts = new List<string>();
        foreach (var twice in given.GroupBy(g => g.Flag).OrderBy(g => g.Key.Name, StringComparer.Ordinal))
        {
            if (twice.Key.Key is { } key && key != "runtimes" && settings.FirstOrDefault(s => s.Key == key) is { } setting)
                conflicts.Add($"{key}: (from flag: {Shown(key, Go(twice.Key, [.. twice.Select(g => g.Value)]))}, from file: {Shown(key, setting.Shown)})");
        }
        if (conflicts.Count > 0)
            throw new FlagsException($"the following directives are specified both as a flag and in the configuration file: {string.Join(", ", conflicts)}");

        foreach (var setting in settings)
        {
            var flag = Array.Find(All, f => f.Key == setting.Key)!;
            CheckKind(flag, setting);
            try
            {
                foreach (var value in setting.Values)
                    options = flag.Set(options, value);
            }
            catch (FlagsException e)
            {
                throw new FlagsException("merged configuration validation from file and command line flags failed: " + e.Message);
            }
        }
        return options;

        static string Shown(string key, string value)
        {
            // What stands before the @ of a proxy's address is not for logs.
            if (key is not ("http-proxy" or "https-proxy") || value.LastIndexOf('@') is not (>= 0 and var at) || value.IndexOf("//", StringComparison.Ordinal) is not (>= 0 and var start))
                return value;
            return value[..(start + 2)] + "xxxxx:xxxxx" + value[at..];
        }
    }

    // As a flag's value prints itself.
    private static string Go(Flag flag, string[] values) =>
        flag.IsList ? $"[{string.Join(' ', values)}]"
        : flag.IsMap ? $"map[{string.Join(' ', values.Select(v => v.IndexOf('=') is > 0 and var at ? v[..at] + ":" + v[(at + 1)..] : v).Order(StringComparer.Ordinal))}]"
        : values[^1];

    private static void CheckKind(Flag flag, FileSetting setting)
    {
        var (expected, type) = flag switch
        {
            { IsList: true } => ("array", "[]string"),
            { IsMap: true } => ("object", "map[string]string"),
            { Kind: "" } => ("bool", "bool"),
            { Kind: "int" } => ("number", "int"),
            _ => ("string", "string"),
        };
        if (setting.Kind == expected || setting.Kind == "null" || (flag.Kind == "bytes" && setting.Kind == "number") || flag.Name == "add-runtime")
            return;
        throw new FlagsException($"invalid JSON: json: cannot unmarshal {setting.Kind} into Go struct field Config.{setting.Key} of type {type}");
    }

    private static List<(Flag Flag, string Value)> ReadArguments(IReadOnlyList<string> arguments)
    {
        var given = new List<(Flag, string)>();
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
                given.Add((flag, value));
            }
            else if (word.Length > 1 && word[0] == '-' && word != "--")
            {
                for (var at = 1; at < word.Length; at++)
                {
                    var letter = word[at];
                    var flag = Array.Find(All, f => f.Short == letter && letter != '\0') ?? throw new FlagsException($"unknown shorthand flag: '{letter}' in {word}");
                    if (flag.Kind.Length == 0 && (at + 1 == word.Length || word[at + 1] != '='))
                    {
                        given.Add((flag, "true"));
                        continue;
                    }
                    var value = at + 1 < word.Length ? word[(at + 1)..].TrimStart('=')
                        : ++i < arguments.Count ? arguments[i]
                        : throw new FlagsException($"flag needs an argument: '{letter}' in {word}");
                    given.Add((flag, value));
                    break;
                }
            }
            else
            {
                throw new FlagsException($"\"berthd\" accepts no arguments: {word}");
            }
        }
        return given;
    }

    private static FlagsException Unsupported(string what, string why) => new($"{what} is not supported by this version of Berth: {why}");

    private static FlagsException Invalid(string flag, string value, string why) => new($"invalid argument \"{value}\" for \"--{flag}\" flag: {why}");

    private static int AtLeastOne(string flag, string what, string value, int whenZero) =>
        Int(flag, value) is >= 0 and var n ? n == 0 ? whenZero : n : throw new FlagsException($"invalid {what}: {value}");

    /// <summary>base=10.0.0.0/8,size=24.</summary>
    private static ImageTrust Trust(string value)
    {
        FlagsException Bad(string why) => Invalid("image-trust", value, why);
        string? scope = null, type = null;
        List<string> keys = [], certificates = [];
        foreach (var field in value.Split(','))
        {
            var equals = field.IndexOf('=');
            if (equals < 0) throw Bad($"invalid field '{field}' must be a key=value pair");
            var text = field[(equals + 1)..].Trim();
            switch (field[..equals].Trim())
            {
                case "scope": scope = text; break;
                case "type": type = text; break;
                case "keys": keys.Add(Path.GetFullPath(text)); break;
                case "certificates": certificates.Add(Path.GetFullPath(text)); break;
                case var unknown: throw Bad($"unexpected key '{unknown}' in '{field}'");
            }
        }
        if (string.IsNullOrEmpty(scope)) throw Bad("a scope is needed: a registry, with or without a path, or *");
        var (files, others) = type switch
        {
            "cosign" or "none" => (keys, certificates),
            "notation" => (certificates, keys),
            _ => throw Bad("type must be cosign, notation or none"),
        };
        if (others.Count > 0 || (type == "none" ? files.Count > 0 : files.Count == 0))
            throw Bad(type switch { "cosign" => "cosign goes by keys", "notation" => "notation goes by certificates", _ => "none goes without keys and certificates" });
        return new ImageTrust(scope.TrimEnd('/'), type, files);
    }

    private static AddressPool Pool(string value)
    {
        FlagsException Bad(string why) => Invalid("default-address-pool", value, why);
        string? prefix = null;
        var size = 0;
        foreach (var field in value.Split(','))
        {
            var equals = field.IndexOf('=');
            if (equals < 0)
                throw Bad($"invalid field '{field}' must be a key=value pair");
            var (key, text) = (field[..equals].Trim().ToLowerInvariant(), field[(equals + 1)..].Trim());
            switch (key)
            {
                case "base":
                    prefix = System.Net.IPNetwork.TryParse(text, out _) ? text : throw Bad($"invalid base prefix \"{text}\": netip.ParsePrefix(\"{text}\"): no '/'");
                    break;
                case "size":
                    size = int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n : throw Bad($"invalid size value: {text} (must be integer): strconv.Atoi: parsing \"{text}\": invalid syntax");
                    break;
                default:
                    throw Bad($"unexpected key '{key}' in '{field}'");
            }
        }
        return AddressPool.TryMake(prefix ?? "", size, out var pool, out var problem) ? pool : throw Bad(problem);
    }

    /// <summary>nofile=soft[:hard], checked as docker's --ulimit.</summary>
    private static string Ulimit(string value)
    {
        FlagsException Bad(string why) => Invalid("default-ulimit", value, why);
        var equals = value.IndexOf('=');
        if (equals < 0)
            throw Bad($"invalid ulimit argument: {value}");
        string[] names = ["core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"];
        if (!names.Contains(value[..equals]))
            throw Bad($"invalid ulimit type: {value[..equals]}");
        var limits = value[(equals + 1)..].Split(':');
        if (limits.Length > 2)
            throw Bad($"too many limit value arguments - {value[(equals + 1)..]}, can only have up to two, `soft[:hard]`");
        var numbers = limits.Select(l => long.TryParse(l, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) ? n : throw Bad($"strconv.ParseInt: parsing \"{l}\": invalid syntax")).ToArray();
        if (numbers[^1] != -1 && (numbers[0] == -1 || numbers[0] > numbers[^1]))
            throw Bad($"ulimit soft limit must be less than or equal to hard limit: {numbers[0]} > {numbers[^1]}");
        return value;
    }

    private static string Mirror(string value)
    {
        FlagsException Bad(string why) => new($"invalid mirror: {why}");
        if (!value.Contains("://", StringComparison.Ordinal))
            throw Bad($"no scheme specified for \"{value}\": must use either 'https://' or 'http://'");
        if (!Uri.TryCreate(value, UriKind.Absolute, out var uri))
            throw Bad($"\"{value}\" is not a valid URI");
        if (uri.Scheme is not ("http" or "https"))
            throw Bad($"unsupported scheme \"{uri.Scheme}\" in \"{value}\": must use either 'https://' or 'http://'");
        if (uri.Query.Length > 0 || uri.Fragment.Length > 0)
            throw Bad($"query or fragment at end of the URI \"{value}\"");
        if (uri.UserInfo.Length > 0)
            throw Bad($"username/password not allowed in URI \"{uri.Scheme}://xxxxx@{uri.Authority}{uri.AbsolutePath}\"");
        return value.TrimEnd('/') + "/";
    }

    private static string Host(string value)
    {
        var separator = value.IndexOf("://", StringComparison.Ordinal);
        return separator < 0 || value[..separator] is "unix" or "tcp" or "fd" ? value : throw new FlagsException($"invalid bind address ({value}): unsupported proto '{value[..separator]}'");
    }

    // Older configurations name registries by address.
    private static string Registry(string value)
    {
        foreach (var scheme in (ReadOnlySpan<string>)["http://", "https://"])
        {
            if (value.StartsWith(scheme, StringComparison.OrdinalIgnoreCase))
                value = value[scheme.Length..];
        }
        if (value.Contains("://", StringComparison.Ordinal))
            throw new FlagsException($"insecure registry {value} should not contain '://'");
        return value;
    }

    private static List<string> WithoutConflicts(IReadOnlyList<string> labels)
    {
        var kept = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var label in labels)
        {
            var at = label.IndexOf('=');
            var (key, value) = (label[..at], label[(at + 1)..]);
            if (kept.TryGetValue(key, out var other) && other != value)
                throw new FlagsException($"conflict labels for {key}={value} and {key}={other}");
            kept[key] = value;
        }
        return [.. kept.Select(l => $"{l.Key}={l.Value}")];
    }

    private static bool Bool(string flag, string value) => value switch
    {
        "1" or "t" or "T" or "true" or "TRUE" or "True" => true,
        "0" or "f" or "F" or "false" or "FALSE" or "False" => false,
        _ => throw Invalid(flag, value, $"strconv.ParseBool: parsing \"{value}\": invalid syntax"),
    };

    private static int Int(string flag, string value) => int.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n)
        ? n : throw Invalid(flag, value, $"strconv.ParseInt: parsing \"{value}\": invalid syntax");

    // What dockerd says of one that can be no subnet of containers.
    private static string FixedCidr6(string value)
    {
        if (value.Length == 0) return value;
        const string LinkLocal = "fe80::/64";
        var problem = !Networks.InetPrefix.TryParse(value, out var prefix) ? $"netip.ParsePrefix(\"{value}\"): {(value.Contains('/') ? "unable to parse" : "no '/'")}"
            : !prefix.IsIPv6 ? $"'{value}' is not a valid IPv6 subnet"
            : prefix.Network.Value >> 120 == 0xff ? $"multicast subnet '{value}' is not allowed"
            : prefix.ToString() != LinkLocal && Networks.InetPrefix.TryParse(LinkLocal, out var linkLocal) && prefix.Overlaps(linkLocal) ? $"'{value}' clashes with the Link-Local prefix '{LinkLocal}'"
            : null;
        return problem is null ? value : throw new FlagsException($"invalid fixed-cidr-v6: invalid fixed-cidr-v6: {problem}");
    }

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
        foreach (var flag in All.Where(f => f.Help.Length > 0).OrderBy(f => f.Name, StringComparer.Ordinal))
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
