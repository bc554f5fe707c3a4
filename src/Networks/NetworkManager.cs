using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>The engine's networks: joins containers to them, publishes their ports, and gives all of it back. Safe for concurrent use.</summary>
public sealed partial class NetworkManager : IAsyncDisposable
{
    public NetworkManager(NetworkManagerOptions options, ILogger<NetworkManager> logger, TimeProvider? time = null) => throw new NotImplementedException();

    /// <summary>Makes or adopts the bridge, the firewall table and the sysctls, and starts filling the pool. Call once, first.
    /// Throws <see cref="NetworkException"/>: subnet overlaps a host route (Conflict), or the kernel or libnftables refuses (System).</summary>
    public Task InitialiseAsync(CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Takes over the containers that outlived the former daemon: their addresses and host ports are reserved again, missing rules are
    /// made anew, rules and interfaces that belong to none of them are removed. Call once, after <see cref="InitialiseAsync"/> and before any join.
    /// Never throws for a single container; what could not be restored is logged.</summary>
    public Task RestoreAsync(IReadOnlyList<RunningContainer> running, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>The networks of now, in order of creation; a snapshot, never waits.</summary>
    public IReadOnlyList<NetworkRecord> Networks => throw new NotImplementedException();

    /// <summary>By name, id or unique id prefix; null when there is none. A snapshot, never waits.</summary>
    public NetworkRecord? Find(string nameOrId) => throw new NotImplementedException();

    /// <summary>The address that <c>host-gateway</c> stands for in --add-host: the default bridge's; null when there is no bridge.</summary>
    public Ipv4Address? HostGateway => throw new NotImplementedException();

    /// <summary>Puts a container on a network and publishes its ports. Nothing is left half-made when it throws.
    /// PortUnavailable has Docker's full text ("failed to set up container networking: driver failed programming external connectivity on …").</summary>
    public Task<NetworkSandbox> JoinAsync(string containerId, EndpointRequest request, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Takes the container off its network: ports closed, rules and interface removed, address free again. Does nothing when it is on none.
    /// The slow part (the kernel's removal of the interface) goes on in the background; <see cref="SettleAsync"/> waits for it.</summary>
    public Task LeaveAsync(string containerId, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Changes the name that error texts and network inspect show for a container.</summary>
    public void Rename(string containerId, string newName) => throw new NotImplementedException();

    /// <summary>Completes when every removal begun so far has been carried out.</summary>
    public Task SettleAsync(CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Clean shutdown: drops the pool and waits for removals. When no container is joined, the bridge and the firewall table go too, if
    /// this engine made them; with containers running they stay, and the next daemon adopts them.</summary>
    public Task ShutdownAsync(CancellationToken cancellationToken) => throw new NotImplementedException();

    public ValueTask DisposeAsync() => throw new NotImplementedException();
}
