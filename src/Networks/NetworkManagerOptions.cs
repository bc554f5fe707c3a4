using System.Net;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>How the default networks are laid out. Names in the comments are dockerd's flags.</summary>
public sealed record NetworkManagerOptions
{
    /// <summary>Name of an interface that can't exist, given by <c>--bridge none</c>: no default bridge network at all.</summary>
    public const string NoBridge = "none";

    /// <summary>Bridge interface of the default network (<c>--bridge</c>); made when absent, adopted when there. At most 15 bytes.</summary>
    public string BridgeName { get; init; } = "berth0";

    /// <summary>Where subnets come from that nobody chose (<c>--default-address-pool</c>): each range is cut into subnets of its size. Empty: Docker's.</summary>
    public IReadOnlyList<(InetPrefix Base, int Size)> AddressPools { get; init; } = [];

    /// <summary>Address of the bridge and its subnet (<c>--bip</c>), e.g. 172.30.0.1/16.
    /// Null: the bridge's own address when it exists, else what the data directory remembers, else the first default pool that no host route overlaps.</summary>
    public InetInterface? BridgeAddress { get; init; }

    /// <summary>Containers' addresses come from this part of the subnet only (<c>--fixed-cidr</c>). Without <see cref="BridgeAddress"/> it is the subnet, too.</summary>
    public InetPrefix? FixedCidr { get; init; }

    /// <summary>Default route of containers (<c>--default-gateway</c>). Null: the bridge's address.</summary>
    public InetAddress? DefaultGateway { get; init; }

    /// <summary><c>--ipv6</c>: the default network has IPv6 as well.</summary>
    public bool EnableIPv6 { get; init; }

    /// <summary><c>--bip6</c>, as <see cref="BridgeAddress"/>.</summary>
    public InetInterface? BridgeAddress6 { get; init; }

    /// <summary><c>--fixed-cidr-v6</c>, as <see cref="FixedCidr"/>.</summary>
    public InetPrefix? FixedCidr6 { get; init; }

    /// <summary><c>--default-gateway-v6</c>.</summary>
    public InetAddress? DefaultGateway6 { get; init; }

    /// <summary><c>--mtu</c>, bytes.</summary>
    public int Mtu { get; init; } = 1500;

    /// <summary><c>--icc</c>: containers on the default bridge may talk to each other.</summary>
    public bool InterContainerCommunication { get; init; } = true;

    /// <summary><c>--ip-masq</c>: containers' traffic to the outside wears the host's address.</summary>
    public bool IpMasquerade { get; init; } = true;

    /// <summary><c>--ip-forward</c>: switch net.ipv4.ip_forward on at start.</summary>
    public bool IpForward { get; init; } = true;

    /// <summary><c>--ip</c>: host address of published ports that name none. Null: all addresses (0.0.0.0 and [::]).</summary>
    public IPAddress? DefaultBindAddress { get; init; }

    /// <summary><c>--iptables</c>: false writes no rules for IPv4; published ports then work through the daemon's own proxy only.</summary>
    public bool Firewall { get; init; } = true;

    /// <summary><c>--ip6tables</c>: the same for IPv6.</summary>
    public bool Firewall6 { get; init; } = true;

    /// <summary><c>--publish-through</c>: which of the host's firewall rules decide about published ports.</summary>
    public PublishThrough PublishThrough { get; init; }

    /// <summary>Where network ids and the chosen subnet are kept, e.g. /var/lib/berth/network. Made when absent.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>Prepared network namespaces kept ready for the next starts; 0 prepares each when it is asked for.</summary>
    public int PoolSize { get; init; } = 12;

    /// <summary>Stands for the host's network namespace in tests. Null: the process's own.</summary>
    internal SafeFileHandle? HostNamespace { get; init; }
}
