using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>What a container asks of a network.</summary>
public sealed record EndpointRequest
{
    /// <summary>Network name, id or unique id prefix; "default" means bridge.</summary>
    public string Network { get; init; } = "bridge";
    /// <summary>For error texts, which name the endpoint. Without the leading slash.</summary>
    public required string ContainerName { get; init; }
    public IReadOnlyList<PortRequest> Ports { get; init; } = [];
    /// <summary>--mac-address. Null: derived from the address given.</summary>
    public MacAddress? MacAddress { get; init; }
    /// <summary>--ip. Refused on the default bridge, as by Docker.</summary>
    public Ipv4Address? Address { get; init; }
    /// <summary>The address the container had before, taken again when it is free: for a restart by policy.</summary>
    public Ipv4Address? PreferredAddress { get; init; }
}

/// <summary>A container's place on a network: everything a restarted daemon needs to know of it. Plain texts and numbers, ready for JSON.</summary>
public sealed record EndpointState
{
    public required string NetworkName { get; init; }
    public required string NetworkId { get; init; }
    /// <summary>64 hex digits; new at each join.</summary>
    public required string EndpointId { get; init; }
    /// <summary>64 hex digits; new at each join. The sandbox is the network namespace.</summary>
    public required string SandboxId { get; init; }
    public required string ContainerId { get; init; }
    public required string ContainerName { get; init; }
    /// <summary>Empty on host and none.</summary>
    public string IPAddress { get; init; } = "";
    public int IPPrefixLength { get; init; }
    public string Gateway { get; init; } = "";
    public string MacAddress { get; init; } = "";
    /// <summary>Host end of the veth pair; empty on host and none.</summary>
    public string HostInterface { get; init; } = "";
    /// <summary>In the order asked for; 0.0.0.0 before ::.</summary>
    public IReadOnlyList<PublishedPort> Ports { get; init; } = [];
}

/// <summary>A joined network namespace. Dispose once the monitor has its own duplicate: the descriptor is closed, the endpoint stays
/// until <see cref="NetworkManager.LeaveAsync"/>.</summary>
public sealed class NetworkSandbox : IDisposable
{
    internal NetworkSandbox(SafeFileHandle? networkNamespace, EndpointState endpoint)
    {
        Namespace = networkNamespace;
        Endpoint = endpoint;
    }

    /// <summary>Open descriptor of the namespace (O_CLOEXEC), configured and ready: eth0, lo, address, default route. Null for host: the container stays in the host's.</summary>
    public SafeFileHandle? Namespace { get; }

    public EndpointState Endpoint { get; }

    public void Dispose() => Namespace?.Dispose();
}

/// <summary>A container that was found running when the daemon started.</summary>
/// <param name="Pid">Any process of it, for /proc/PID/ns/net; 0 when not known.</param>
public sealed record RunningContainer(string ContainerId, int Pid, EndpointState Endpoint);
