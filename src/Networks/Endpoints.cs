using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>What a container asks of one network.</summary>
public sealed record EndpointRequest
{
    /// <summary>Network name, id or unique id prefix; "default" means bridge.</summary>
    public string Network { get; init; } = "bridge";
    /// <summary>By which others on the network find it: its name first, then aliases, short id and host name. None on the default bridge.</summary>
    public IReadOnlyList<string> DnsNames { get; init; } = [];
    /// <summary>--link on this network: alias to container name, known to this container alone.</summary>
    public IReadOnlyDictionary<string, string> Links { get; init; } = new Dictionary<string, string>();
    /// <summary>--mac-address. Null: derived from the address given.</summary>
    public MacAddress? MacAddress { get; init; }
    /// <summary>--ip. Refused on the default bridge, as by Docker.</summary>
    public InetAddress? Address { get; init; }
    /// <summary>--ip6.</summary>
    public InetAddress? Address6 { get; init; }
    /// <summary>--link-local-ip: further addresses of the interface.</summary>
    public IReadOnlyList<InetAddress> LinkLocalAddresses { get; init; } = [];
    /// <summary>The addresses the container had before, taken again when they are free: for a restart by policy.</summary>
    public InetAddress? PreferredAddress { get; init; }
    public InetAddress? PreferredAddress6 { get; init; }
    /// <summary>The network with the highest gives the default route and the published ports.</summary>
    public int GatewayPriority { get; init; }
    /// <summary>com.docker.network.endpoint.ifname. Empty: eth and the lowest free number.</summary>
    public string InterfaceName { get; init; } = "";
    /// <summary>com.docker.network.endpoint.sysctls: "net.ipv4.conf.IFNAME.log_martians=1".</summary>
    public IReadOnlyList<string> Sysctls { get; init; } = [];
}

/// <summary>What a container asks of all its networks.</summary>
public sealed record SandboxRequest
{
    /// <summary>For error texts, which name the endpoint. Without the leading slash.</summary>
    public required string ContainerName { get; init; }
    public IReadOnlyList<EndpointRequest> Endpoints { get; init; } = [];
    public IReadOnlyList<PortRequest> Ports { get; init; } = [];
    /// <summary>The container switches IPv6 off for itself (--sysctl): it gets no such address.</summary>
    public bool DisableIPv6 { get; init; }
}

/// <summary>A container's place on a network: everything a restarted daemon needs to know of it. Plain texts and numbers, ready for JSON.</summary>
public sealed record EndpointState
{
    public required string NetworkName { get; init; }
    public required string NetworkId { get; init; }
    /// <summary>64 hex digits; new at each join.</summary>
    public required string EndpointId { get; init; }
    public required string ContainerId { get; init; }
    public required string ContainerName { get; init; }
    /// <summary>See <see cref="EndpointRequest.DnsNames"/>.</summary>
    public IReadOnlyList<string> DnsNames { get; init; } = [];
    public IReadOnlyDictionary<string, string> Links { get; init; } = new Dictionary<string, string>();
    /// <summary>Empty on host and none, and without IPv4.</summary>
    public string IPAddress { get; init; } = "";
    public int IPPrefixLength { get; init; }
    /// <summary>Empty where the network leads nowhere.</summary>
    public string Gateway { get; init; } = "";
    public string IPv6Address { get; init; } = "";
    public int IPv6PrefixLength { get; init; }
    public string IPv6Gateway { get; init; } = "";
    public IReadOnlyList<string> LinkLocalAddresses { get; init; } = [];
    public string MacAddress { get; init; } = "";
    public int GatewayPriority { get; init; }
    public bool Internal { get; init; }
    /// <summary>Inside the container: eth0.</summary>
    public string Interface { get; init; } = "";
    /// <summary>Host end of the veth pair; empty where there is none.</summary>
    public string HostInterface { get; init; } = "";

    internal InetAddress? Address => InetAddress.TryParse(IPAddress, out var address) ? address : null;
    internal InetAddress? Address6 => InetAddress.TryParse(IPv6Address, out var address) ? address : null;
}

/// <summary>A container's networks, all of them: its network namespace as far as it is ours. Immutable, ready for JSON.</summary>
public sealed record SandboxState
{
    /// <summary>64 hex digits; new at each start.</summary>
    public required string SandboxId { get; init; }
    public required string ContainerId { get; init; }
    public required string ContainerName { get; init; }
    /// <summary>By gateway priority, then networks that lead outside before internal ones, then name: the order in which interfaces are numbered at start.</summary>
    public IReadOnlyList<EndpointState> Endpoints { get; init; } = [];
    /// <summary>As asked for, to be published anew when networks change.</summary>
    public IReadOnlyList<PortRequest> PortRequests { get; init; } = [];
    /// <summary>In the order asked for; 0.0.0.0 before ::. They lead to the endpoint that is the gateway.</summary>
    public IReadOnlyList<PublishedPort> Ports { get; init; } = [];
    public bool DisableIPv6 { get; init; }

    public EndpointState? On(string networkName) => Endpoints.FirstOrDefault(e => e.NetworkName == networkName);

    /// <summary>The endpoints that give the default route, per address family.</summary>
    internal (EndpointState? IPv4, EndpointState? IPv6) Gateways
    {
        get
        {
            // As Docker: the first with both families is preferred to one of each, whatever their priorities.
            var candidates = Endpoints.Order(GatewayOrder.Instance).ToArray();
            var both = Array.Find(candidates, e => e is { Gateway.Length: > 0, IPv6Gateway.Length: > 0 });
            var (first4, first6) = (Array.Find(candidates, e => e.Gateway.Length > 0), Array.Find(candidates, e => e.IPv6Gateway.Length > 0));
            // Up to the first with both families the single ones found before it give way to it.
            return both is null ? (first4, first6) : (both, both);
        }
    }
}

/// <summary>Which endpoint comes first: by priority, then those that lead outside, then those with more address families, then by name.</summary>
internal sealed class GatewayOrder : IComparer<EndpointState>
{
    internal static readonly GatewayOrder Instance = new();

    public int Compare(EndpointState? x, EndpointState? y)
    {
        if (x is null || y is null) return (x is null).CompareTo(y is null);
        var order = y.GatewayPriority.CompareTo(x.GatewayPriority);
        if (order == 0) order = x.Internal.CompareTo(y.Internal);
        if (order == 0) order = Families(y).CompareTo(Families(x));
        return order != 0 ? order : string.CompareOrdinal(x.NetworkName, y.NetworkName);

        static int Families(EndpointState e) => (e.Gateway.Length > 0 ? 1 : 0) + (e.IPv6Gateway.Length > 0 ? 1 : 0);
    }
}

/// <summary>A joined network namespace. Dispose once the monitor has its own duplicate: the descriptor is closed, the endpoints stay
/// until <see cref="NetworkManager.LeaveAsync"/>.</summary>
public sealed class NetworkSandbox : IDisposable
{
    internal NetworkSandbox(SafeFileHandle? networkNamespace, SandboxState state)
    {
        Namespace = networkNamespace;
        State = state;
    }

    /// <summary>Open descriptor of the namespace (O_CLOEXEC), configured and ready: interfaces, lo, addresses, default route. Null for host: the container stays in the host's.</summary>
    public SafeFileHandle? Namespace { get; }

    public SandboxState State { get; }

    public void Dispose() => Namespace?.Dispose();
}

/// <summary>A container that was found running when the daemon started.</summary>
/// <param name="Pid">Any process of it, for /proc/PID/ns/net; 0 when not known.</param>
public sealed record RunningContainer(int Pid, SandboxState Sandbox);
