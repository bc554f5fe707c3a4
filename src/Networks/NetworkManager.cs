using System.Collections.Concurrent;
using System.Net.Sockets;
using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>The engine's networks: joins containers to them, publishes their ports, and gives all of it back. Safe for concurrent use.
/// The kernel answers at once, so most of these complete before they return.</summary>
public sealed partial class NetworkManager : IAsyncDisposable
{
    /// <summary>Longest interface name, without its final zero: IFNAMSIZ - 1.</summary>
    private const int MaxInterfaceName = 15;

    private readonly NetworkManagerOptions options;
    private readonly ILogger logger;
    private readonly TimeProvider time;
    private readonly HostNamespace host;
    private readonly NetworkStore store;
    private readonly ConcurrentDictionary<string, Network> joined = new(StringComparer.Ordinal);
    private NamespacePool? pool;
    private LinkReaper? reaper;
    private Firewall? firewall;
    private HostPorts? hostPorts;
    private volatile Network[] networks = [];
    private Socket? claim;
    private bool bridgeIsOurs;

    public NetworkManager(NetworkManagerOptions options, ILogger<NetworkManager> logger, TimeProvider? time = null)
    {
        this.options = options;
        this.logger = logger;
        this.time = time ?? TimeProvider.System;
        host = new HostNamespace(options.HostNamespace);
        store = new NetworkStore(options.DataDirectory);
    }

    /// <summary>Makes or adopts the bridge, the firewall table and the sysctls, and starts filling the pool. Call once, first.
    /// Throws <see cref="NetworkException"/>: subnet overlaps a host route (Conflict), or the kernel or libnftables refuses (System).</summary>
    public Task InitialiseAsync(CancellationToken cancellationToken) => Completed(() =>
    {
        cancellationToken.ThrowIfCancellationRequested();
        try
        {
            Initialise();
        }
        catch (Exception e)
        {
            Close();
            if (e is LinuxException) throw new NetworkException(NetworkErrorKind.System, $"bridge {options.BridgeName}: {e.Message}", e);
            throw;
        }
    });

    private void Initialise()
    {
        var stored = store.Load();
        pool = new NamespacePool(options.PoolSize, logger);
        reaper = new LinkReaper(host, logger);
        var all = new List<Network>();
        if (options.BridgeName != NetworkManagerOptions.NoBridge) all.Add(MakeDefaultBridge(stored));
        all.Add(new HostNetwork(Stored("host", "host", null)));
        all.Add(new NullNetwork(Stored("none", "null", null), pool));
        networks = [.. all];
        store.Save(all.Select(n => n.Stored));

        StoredNetwork Stored(string name, string driver, string? subnet) =>
            StoredAs(stored, name, driver, subnet);
    }

    private StoredNetwork StoredAs(IReadOnlyList<StoredNetwork> stored, string name, string driver, string? subnet) =>
        stored.FirstOrDefault(s => s.Name == name && s.Driver == driver) is { } known
            ? known with { Subnet = subnet }
            : new StoredNetwork(name, NetworkStore.NewId(), time.GetUtcNow(), driver, subnet);

    private BridgeNetwork MakeDefaultBridge(IReadOnlyList<StoredNetwork> stored)
    {
        var name = options.BridgeName;
        if (name.Length is 0 or > MaxInterfaceName || !name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.') || name is "." or "..")
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid bridge name \"{name}\": 1 to {MaxInterfaceName} letters, digits, '-', '_' and '.'");

        claim = host.Run(() => HostBridge.Claim(name));
        Ipv4Interface? remembered = stored.FirstOrDefault(s => s.Name == "bridge")?.Subnet is { } text && Ipv4Interface.TryParse(text, out var before) ? before : null;
        var bridge = host.Run(() => HostBridge.Prepare(name, options.BridgeAddress, remembered, options.AddressPools, options.Mtu, logger));
        bridgeIsOurs = bridge.IsOurs;

        if (options.FixedCidr is { } range && !bridge.Address.Prefix.Contains(range))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"fixed-cidr {range} is not within the bridge's subnet {bridge.Address.Prefix}");
        if (options.DefaultGateway is { } gateway && !bridge.Address.Prefix.Contains(gateway))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"default gateway {gateway} is not within the bridge's subnet {bridge.Address.Prefix}");

        var settings = new BridgeSettings
        {
            Bridge = name,
            Address = bridge.Address,
            Range = options.FixedCidr,
            Gateway = options.DefaultGateway ?? bridge.Address.Address,
            MtuBytes = options.Mtu,
            InterContainerCommunication = options.InterContainerCommunication,
            Masquerade = options.IpMasquerade,
            IsDefault = true,
            HostBindingAddress = options.DefaultBindAddress?.ToString() ?? "0.0.0.0",
        };
        if (options.IpForward) host.Run(EnableForwarding);
        var table = FirewallPlan.TableName(name);
        if (options.Firewall)
        {
            try
            {
                firewall = new Firewall(table, host, logger);
                firewall.Initialise([settings.ForFirewall]);
            }
            catch when (bridge.IsNew)
            {
                host.Run(() => HostBridge.Remove(name));
                throw;
            }
            // So that a connection to 127.0.0.1 may leave by the bridge, and its answer come back. After the rules and never without them,
            // for it would also let containers reach the host's loopback.
            host.Run(() => Set($"/proc/sys/net/ipv4/conf/{name}/route_localnet", "1"));
        }
        hostPorts = new HostPorts(host, options.Firewall, options.DefaultBindAddress, logger);
        logger.BridgeReady(name, bridge.Address, options.Firewall ? table : "(none)");
        return new BridgeNetwork(StoredAs(stored, "bridge", "bridge", bridge.Address.ToString()), settings, bridge.Index, host, pool!, hostPorts, firewall, reaper!, logger);
    }

    private void EnableForwarding()
    {
        const string path = "/proc/sys/net/ipv4/ip_forward";
        try
        {
            // Writing it, even with what it holds, resets settings of every interface: see ip_forward in the kernel's ip-sysctl.
            if (File.ReadAllText(path).Trim() != "0") return;
        }
        catch (IOException)
        {
            // the write below says why
        }
        Set(path, "1");
    }

    private void Set(string path, string value)
    {
        if (!Sysctl.TryWrite(path, value)) logger.SysctlNotSet(path, "no such setting, or it can't be written");
    }

    /// <summary>Takes over the containers that outlived the former daemon: their addresses and host ports are reserved again, missing rules are
    /// made anew, rules and interfaces that belong to none of them are removed. Call once, after <see cref="InitialiseAsync"/> and before any join.
    /// Never throws for a single container; what could not be restored is logged.</summary>
    public Task RestoreAsync(IReadOnlyList<RunningContainer> running, CancellationToken cancellationToken) => Completed(() =>
    {
        foreach (var container in running)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var endpoint = container.Endpoint;
            var network = networks.FirstOrDefault(n => n.Id == endpoint.NetworkId) ?? networks.FirstOrDefault(n => n.Name == endpoint.NetworkName);
            if (network is null)
            {
                logger.EndpointNotRestored(endpoint.ContainerName, endpoint.NetworkName, "no such network");
                continue;
            }
            try
            {
                network.Restore(container);
            }
            catch (Exception e) when (e is NetworkException or LinuxException)
            {
                logger.EndpointNotRestored(endpoint.ContainerName, endpoint.NetworkName, e.Message);
                // Its address is another's: it must not be given back by this one.
                if (e is NetworkException { Kind: NetworkErrorKind.Conflict or NetworkErrorKind.InvalidArgument }) continue;
            }
            joined[container.ContainerId] = network;
            network.Put(endpoint);
        }
        var bridges = networks.OfType<BridgeNetwork>().ToArray();
        firewall?.Replace(bridges.SelectMany(b => b.Redirected));
        foreach (var bridge in bridges) bridge.Sweep();
    });

    /// <summary>The networks of now: bridge, host, none; a snapshot, never waits.</summary>
    public IReadOnlyList<NetworkRecord> Networks => [.. networks.Select(n => n.Record)];

    /// <summary>By name, id or unique id prefix; null when there is none. A snapshot, never waits.</summary>
    public NetworkRecord? Find(string nameOrId) => FindNetwork(nameOrId)?.Record;

    private Network? FindNetwork(string nameOrId)
    {
        if (nameOrId == "default") nameOrId = "bridge";
        if (networks.FirstOrDefault(n => n.Name == nameOrId) is { } byName) return byName;
        if (nameOrId.Length == 0) return null;
        var byId = networks.Where(n => n.Id.StartsWith(nameOrId, StringComparison.Ordinal)).Take(2).ToArray();
        return byId.Length == 1 ? byId[0] : null;
    }

    /// <summary>The address that <c>host-gateway</c> stands for in --add-host: the default bridge's; null when there is no bridge.</summary>
    public Ipv4Address? HostGateway => networks.OfType<BridgeNetwork>().FirstOrDefault()?.Settings.Address.Address;

    /// <summary>Puts a container on a network and publishes its ports. Nothing is left half-made when it throws.
    /// PortUnavailable has Docker's full text ("failed to set up container networking: driver failed programming external connectivity on …").</summary>
    public Task<NetworkSandbox> JoinAsync(string containerId, EndpointRequest request, CancellationToken cancellationToken)
    {
        try
        {
            cancellationToken.ThrowIfCancellationRequested();
            var network = FindNetwork(request.Network)
                ?? throw new NetworkException(NetworkErrorKind.NotFound, $"failed to set up container networking: network {request.Network} not found");
            if (!joined.TryAdd(containerId, network))
                throw new NetworkException(NetworkErrorKind.Conflict, $"container {containerId} is already on network {joined.GetValueOrDefault(containerId)?.Name}");
            try
            {
                var sandbox = network.Join(containerId, request);
                network.Put(sandbox.Endpoint);
                return Task.FromResult(sandbox);
            }
            catch
            {
                joined.TryRemove(containerId, out _);
                throw;
            }
        }
        catch (Exception e)
        {
            return Task.FromException<NetworkSandbox>(e);
        }
    }

    /// <summary>Takes the container off its network: ports closed, rules and interface removed, address free again. Does nothing when it is on none.
    /// The slow part (the kernel's removal of the interface) goes on in the background; <see cref="SettleAsync"/> waits for it.</summary>
    public Task LeaveAsync(string containerId, CancellationToken cancellationToken) => Completed(() =>
    {
        if (!joined.TryGetValue(containerId, out var network)) return;
        // Whoever takes the endpoint out is the one who takes it down.
        if (!network.Endpoints.TryGetValue(containerId, out var endpoint) || !network.Drop(containerId)) return;
        network.Leave(endpoint);
        joined.TryRemove(containerId, out _);
    });

    /// <summary>Changes the name that error texts and network inspect show for a container.</summary>
    public void Rename(string containerId, string newName)
    {
        if (joined.TryGetValue(containerId, out var network)) network.Rename(containerId, newName);
    }

    /// <summary>Namespaces ready in the pool now.</summary>
    internal int PooledNamespaces => pool?.Count ?? 0;

    /// <summary>Completes when every removal begun so far has been carried out.</summary>
    public Task SettleAsync(CancellationToken cancellationToken) => reaper?.SettleAsync(cancellationToken) ?? Task.CompletedTask;

    /// <summary>Clean shutdown: drops the pool and waits for removals. When no container is joined, the bridge and the firewall table go too, if
    /// this engine made them; with containers running they stay, and the next daemon adopts them.</summary>
    public async Task ShutdownAsync(CancellationToken cancellationToken)
    {
        pool?.Dispose();
        await SettleAsync(cancellationToken).ConfigureAwait(false);
        if (joined.IsEmpty)
        {
            firewall?.RemoveTable();
            if (bridgeIsOurs) host.Run(() => HostBridge.Remove(options.BridgeName));
        }
        claim?.Dispose();
    }

    /// <summary>Closes what this process holds; bridge, rules and running containers stay as they are.</summary>
    public ValueTask DisposeAsync()
    {
        Close();
        return ValueTask.CompletedTask;
    }

    private void Close()
    {
        pool?.Dispose();
        reaper?.Stop();
        foreach (var network in networks.OfType<BridgeNetwork>()) network.Dispose();
        firewall?.Dispose();
        claim?.Dispose();
    }

    private static Task Completed(Action action)
    {
        try
        {
            action();
            return Task.CompletedTask;
        }
        catch (Exception e)
        {
            return Task.FromException(e);
        }
    }
}
