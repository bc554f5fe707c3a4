using Berth.Images.Registry;
using Berth.Images.Trust;

namespace Berth.Engine;

/// <summary>What an engine is told once, at its start. Two engines on one machine differ in roots, bridge and cgroup parent.</summary>
public sealed record EngineOptions
{
    /// <summary>Objects that outlive a reboot: containers, images, volumes.</summary>
    public string DataRoot { get; init; } = "/var/lib/berth";

    /// <summary>Sockets and bundles; expected on a tmpfs, may vanish with a reboot.</summary>
    public string ExecRoot { get; init; } = "/run/berth";

    /// <summary>The executable started when no monitor answers on &lt;exec-root&gt;/monitor.sock; null: beside the running executable.</summary>
    public string? MonitorPath { get; init; }

    /// <summary>Executable bind-mounted as /sbin/docker-init for --init; null: found on PATH (docker-init, tini).</summary>
    public string? InitPath { get; init; }

    /// <summary>Use --init for every container that does not say.</summary>
    public bool DefaultInit { get; init; }

    /// <summary>Cgroup below which every container's cgroup is made unless --cgroup-parent says otherwise.</summary>
    public string CgroupParent { get; init; } = "/berth";

    /// <summary>"host", "private" or empty for Docker's default (private on cgroup v2, host on v1).</summary>
    public string DefaultCgroupnsMode { get; init; } = "";

    public string BridgeName { get; init; } = "berth0";

    /// <summary>The bridge's own address with its prefix length, as dockerd's --bip; null: the first free default pool.</summary>
    public string? BridgeIp { get; init; }

    /// <summary>Addresses are given from this part of the bridge's network only; null: all of it.</summary>
    public string? FixedCidr { get; init; }

    /// <summary>Default gateway of containers on the bridge; null: the bridge's own address.</summary>
    public string? DefaultGateway { get; init; }

    /// <summary>--ipv6, --bip6, --fixed-cidr-v6, --default-gateway-v6: the default bridge's IPv6, off unless asked for.</summary>
    public bool EnableIPv6 { get; init; }
    public string? BridgeIp6 { get; init; }
    public string? FixedCidr6 { get; init; }
    public string? DefaultGateway6 { get; init; }

    public int Mtu { get; init; } = 1500;
    public bool InterContainerCommunication { get; init; } = true;
    public bool IpMasquerade { get; init; } = true;
    public bool IpForward { get; init; } = true;

    /// <summary>Whether the engine writes firewall rules for IPv4 (--iptables).</summary>
    public bool Firewall { get; init; } = true;

    /// <summary>And for IPv6 (--ip6tables).</summary>
    public bool Firewall6 { get; init; } = true;

    /// <summary>Which of the host's firewall rules decide about published ports (--publish-through).</summary>
    public Berth.Networks.PublishThrough PublishThrough { get; init; }

    /// <summary>Host address ports are published on when -p names none (--ip).</summary>
    public string DefaultHostBinding { get; init; } = "0.0.0.0";

    public IReadOnlyList<string> Dns { get; init; } = [];
    public IReadOnlyList<string> DnsSearch { get; init; } = [];

    /// <summary>What host-gateway stands for in --add-host; empty: the default bridge's address.</summary>
    public IReadOnlyList<string> HostGatewayIps { get; init; } = [];
    public IReadOnlyList<string> DnsOptions { get; init; } = [];

    /// <summary>systemd's, for the log driver journald.</summary>
    public string JournalSocket { get; init; } = "/run/systemd/journal/socket";

    public string LogDriver { get; init; } = "json-file";
    public IReadOnlyDictionary<string, string> LogOptions { get; init; } = new Dictionary<string, string>();

    /// <summary>Finds out before the first container does.</summary>
    /// <exception cref="EngineException">InvalidParameter: the options are not the driver's.</exception>
    public void CheckLogging()
    {
        if (LogOptions.Count == 0) return;
        try
        {
            LogDrivers.Check(LogDriver, new Dictionary<string, string>(LogOptions));
        }
        catch (EngineException e)
        {
            throw EngineException.Invalid("failed to set log opts: " + e.Message);
        }
    }

    public string DefaultRuntime { get; init; } = "berth";
    public long DefaultShmSizeBytes { get; init; } = 64 << 20;
    public string DefaultIpcMode { get; init; } = "private";
    public bool NoNewPrivileges { get; init; }

    /// <summary>"builtin", "unconfined" or the path of a JSON profile.</summary>
    public string SeccompProfile { get; init; } = "builtin";

    /// <summary>name=soft[:hard], as --default-ulimit.</summary>
    public IReadOnlyList<string> DefaultUlimits { get; init; } = [];

    /// <summary>Labels of the engine itself, shown by info.</summary>
    public IReadOnlyList<string> Labels { get; init; } = [];

    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];
    public IReadOnlyList<string> RegistryMirrors { get; init; } = [];
    /// <summary>What images must be signed with to be pulled.</summary>
    public IReadOnlyList<ImageTrust> ImageTrust { get; init; } = [];

    public int MaxConcurrentDownloads { get; init; } = 3;
    public int MaxConcurrentUploads { get; init; } = 5;
    public int MaxDownloadAttempts { get; init; } = 5;

    /// <summary>Networks that name no subnet get one of these; empty: Docker's. Also where the default bridge's comes from.</summary>
    public IReadOnlyList<AddressPool> DefaultAddressPools { get; init; } = [];

    /// <summary>How long requests that still run may hold up the daemon's end.</summary>
    public int ShutdownTimeoutSeconds { get; init; } = 3;

    public bool Debug { get; init; }

    /// <summary>What info warns about besides what the kernel lacks: how the API can be reached.</summary>
    public IReadOnlyList<string> ApiWarnings { get; init; } = [];

    /// <summary>Shown by version and info.</summary>
    public string Version { get; init; } = "0.1.0";
    public string GitCommit { get; init; } = "";
    public string BuildTime { get; init; } = "";

    /// <summary>As configured; what is not comes from the environment (<see cref="Proxy"/>).</summary>
    public string HttpProxy { get; init; } = "";
    public string HttpsProxy { get; init; } = "";
    public string NoProxy { get; init; } = "";

    internal ProxySettings Proxy => ProxySettings.OrEnvironment(HttpProxy, HttpsProxy, NoProxy);

    /// <summary>Directories with certificates and mirrors of registries (certs.d), the first that knows a registry counts.</summary>
    public IReadOnlyList<string> RegistryHostDirectories { get; init; } = ["/etc/berth/certs.d", "/etc/docker/certs.d"];

    internal RegistrySettings Registries => new() { Insecure = InsecureRegistries, Mirrors = RegistryMirrors, HostDirectories = RegistryHostDirectories, Trust = [.. ImageTrust.Select(t => t.ToPolicy())], Proxy = Proxy };
}

/// <summary>What images of a part of a registry must be signed with (--image-trust).</summary>
/// <param name="Scope">host, host/path or *.</param>
/// <param name="Type">cosign, notation or none.</param>
/// <param name="Files">PEM files: keys for cosign, certificates for notation.</param>
public sealed record ImageTrust(string Scope, string Type, IReadOnlyList<string> Files)
{
    internal TrustPolicy ToPolicy() => new()
    {
        Scope = Scope, Files = Files, Kind = Type switch { "cosign" => SignatureKind.Cosign, "notation" => SignatureKind.Notation, _ => SignatureKind.None },
    };
}

/// <summary>A range of addresses from which subnets of one size are given (--default-address-pool).</summary>
/// <param name="Base">In CIDR notation.</param>
/// <param name="Size">Prefix length of each subnet.</param>
public sealed record AddressPool(string Base, int Size)
{
    /// <exception cref="EngineException">Never: what is wrong is returned.</exception>
    public static bool TryMake(string prefix, int size, [global::System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out AddressPool? pool, out string problem)
    {
        (pool, problem) = (null, "");
        if (!global::System.Net.IPNetwork.TryParse(prefix, out var network)) problem = $"invalid base prefix {GoText.Quote(prefix)}";
        else if (size > (network.BaseAddress.AddressFamily == global::System.Net.Sockets.AddressFamily.InterNetwork ? 32 : 128)) problem = $"invalid size value: {size}: must be no more than the address's bits";
        else if (size < network.PrefixLength) problem = $"the base's prefix ({prefix}) is longer than the size of its subnets ({size})";
        else pool = new AddressPool(prefix, size);
        return pool is not null;
    }
}
