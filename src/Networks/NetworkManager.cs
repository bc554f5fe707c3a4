using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Berth.Linux;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>The engine's networks: makes and removes them, joins containers to them, publishes their ports, and gives all of it back. Safe for concurrent use.
/// The kernel answers at once, so most of these complete before they return.</summary>
public sealed partial class NetworkManager : IAsyncDisposable
{
    private readonly NetworkManagerOptions options;
    private readonly ILogger logger;
    private readonly TimeProvider time;
    private readonly HostNamespace host;
    private readonly NetworkStore store;
    private readonly SubnetPools pools;
    private readonly Lock changes = new();
    private readonly ConcurrentDictionary<string, Sandbox> sandboxes = new(StringComparer.Ordinal);
    private NamespacePool? pool;
    private LinkReaper? reaper;
    private HostLinks? links;
    private Firewall? firewall;
    private HostPorts? hostPorts;
    private volatile Network[] networks = [];
    private Socket? claim;

    public NetworkManager(NetworkManagerOptions options, ILogger<NetworkManager> logger, TimeProvider? time = null)
    {
        this.options = options;
        this.logger = logger;
        this.time = time ?? TimeProvider.System;
        host = new HostNamespace(options.HostNamespace);
        Loop = new ReadinessLoop(host, logger);
        store = new NetworkStore(options.DataDirectory);
        pools = new SubnetPools(options.AddressPools, options.DataDirectory);
        // Bridges and tables of several engines on one machine are told apart by the default bridge's name, which only one can have.
        EngineName = options.BridgeName != NetworkManagerOptions.NoBridge ? options.BridgeName
            : "none-" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Path.GetFullPath(options.DataDirectory))))[..8];
    }

    /// <summary>
    /// What the user should know of the host's firewall, with a remedy; empty when nothing is in the way. Looked up now.
    /// </summary>
    public IReadOnlyList<string> FirewallWarnings => [.. (firewall?.ForeignForwards() ?? []).SelectMany(c => FirewallAdvice.For(c, [.. networks.OfType<BridgeNetwork>().Select(b => b.Settings.Bridge)], options.PublishThrough))];

    /// <summary>Waits for all that there is to wait for: queries for names, and news of the firewall.</summary>
    internal ReadinessLoop Loop { get; }

    /// <summary>What our tables and the alias of our bridges are named after.</summary>
    internal string EngineName { get; }

    /// <summary>Told of containers' comings and goings, on the thread that makes them: must be quick, and must not throw.</summary>
    public event Action<SandboxChange>? SandboxChanged;

    /// <summary>The three that are always there.</summary>
    public static bool IsPredefined(string name) => name is "bridge" or "host" or "none" or "default";

    /// <summary>Makes or adopts the bridges, the firewall tables and the sysctls, and starts filling the pool. Call once, first.
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
        links = new HostLinks(host, logger);
        var all = new List<Network>();
        HostBridge? made = null;
        if (options.IpForward) host.Run(() => EnableForwarding("/proc/sys/net/ipv4/ip_forward"));
        if (options.BridgeName != NetworkManagerOptions.NoBridge)
        {
            var bridge = MakeDefaultBridge(stored);
            made = bridge.Bridge;
            all.Add(bridge);
        }
        all.Add(new HostNetwork(StoredAs(stored, "host", "host")));
        all.Add(new NullNetwork(StoredAs(stored, "none", "null")));
        foreach (var spec in stored.Where(s => !IsPredefined(s.Name)))
        {
            try
            {
                all.Add(Make(spec));
            }
            catch (Exception e) when (e is NetworkException or LinuxException)
            {
                // It is kept, and so is its name: whatever is in its way may go.
                logger.NetworkNotRestored(spec.Name, e.Message);
                all.Add(new BrokenNetwork(spec, e.Message));
            }
        }
        var bridges = all.OfType<BridgeNetwork>().Select(b => b.Settings).ToArray();
        var table = FirewallPlan.TableName(EngineName);
        if (options.Firewall || options.Firewall6)
        {
            try
            {
                firewall = new Firewall(table, options.PublishThrough, options.Firewall, options.Firewall6, host, Loop, logger);
                firewall.Initialise([.. bridges.Select(b => b.ForFirewall)]);
            }
            catch when (made is { IsNew: true })
            {
                host.Run(() => HostBridge.Remove(options.BridgeName));
                throw;
            }
            foreach (var bridge in bridges) RouteLoopback(bridge.Bridge);
        }
        hostPorts = new HostPorts(host, options, logger);
        networks = [.. all];
        SweepBridges(bridges);
        store.Save(all.Select(n => n.Spec));
    }

    // So that a connection to 127.0.0.1 may leave by the bridge, and its answer come back. After the rules and never without them,
    // for it would also let containers reach the host's loopback.
    private void RouteLoopback(string bridge)
    {
        if (options.Firewall) host.Run(() => Set($"/proc/sys/net/ipv4/conf/{bridge}/route_localnet", "1"));
    }

    private NetworkSpec StoredAs(IReadOnlyList<NetworkSpec> stored, string name, string driver) =>
        stored.FirstOrDefault(s => s.Name == name && s.Driver == driver) ?? new NetworkSpec { Name = name, Id = NetworkStore.NewId(), Created = time.GetUtcNow(), Driver = driver };

    private BridgeNetwork MakeDefaultBridge(IReadOnlyList<NetworkSpec> stored)
    {
        var name = options.BridgeName;
        if (!BridgeSettings.IsInterfaceName(name))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid bridge name \"{name}\": 1 to {BridgeSettings.MaxInterfaceName} letters, digits, '-', '_' and '.'");

        claim = host.Run(() => HostBridge.Claim(name));
        var spec = StoredAs(stored, "bridge", "bridge");
        // Those of the others, which are made after this one.
        var taken = stored.Where(s => s.Id != spec.Id && !s.ConfigOnly).SelectMany(s => s.Subnets).Select(s => s.Subnet).ToList();
        BridgeWish Wish(bool ipv6, InetInterface? given, InetPrefix? range) => new(ipv6, given, range,
            spec.Subnets.FirstOrDefault(s => s.Subnet.IsIPv6 == ipv6) is { Gateway: { } own } before ? new InetInterface(own, before.Subnet.Length) : null, taken);
        if (options.EnableIPv6 && options.IpForward) host.Run(() => EnableForwarding("/proc/sys/net/ipv6/conf/all/forwarding"));
        var bridge = host.Run(() => HostBridge.Prepare(name, Wish(ipv6: false, options.BridgeAddress, options.FixedCidr),
            options.EnableIPv6 ? Wish(ipv6: true, options.BridgeAddress6, options.FixedCidr6) : null, pools, options.Mtu));

        List<SubnetSpec> subnets = [DefaultSubnet(bridge.Address, options.FixedCidr, options.DefaultGateway)];
        if (bridge.Address6 is { } address6) subnets.Add(DefaultSubnet(address6, options.FixedCidr6, options.DefaultGateway6));
        spec = spec with { EnableIPv6 = options.EnableIPv6, Subnets = subnets };
        var settings = new BridgeSettings
        {
            Bridge = name,
            IPv4 = subnets[0],
            IPv6 = spec.SubnetOf(ipv6: true),
            MtuBytes = options.Mtu,
            InterContainerCommunication = options.InterContainerCommunication,
            Masquerade = options.IpMasquerade,
            IsDefault = true,
            HostBinding = options.DefaultBindAddress,
        };
        logger.BridgeReady(name, bridge.Address, options.Firewall ? FirewallPlan.TableName(EngineName) : "(none)");
        return new BridgeNetwork(spec, settings, bridge, links!, reaper!, logger);
    }

    private static SubnetSpec DefaultSubnet(InetInterface bridge, InetPrefix? range, InetAddress? gateway)
    {
        var subnet = bridge.Prefix;
        if (range is { } part && !subnet.Contains(part))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"fixed-cidr {part} is not within the bridge's subnet {subnet}");
        if (gateway is { } given && !subnet.Contains(given))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"default gateway {given} is not within the bridge's subnet {subnet}");
        return new SubnetSpec(subnet)
        {
            Range = range, Gateway = bridge.Address, GivenGateway = gateway ?? bridge.Address,
            Auxiliary = gateway is { } other ? new Dictionary<string, InetAddress> { [subnet.IsIPv6 ? "DefaultGatewayIPv6" : "DefaultGatewayIPv4"] = other } : new Dictionary<string, InetAddress>(),
        };
    }

    private void EnableForwarding(string path)
    {
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
            Restore(container);
        }
        // All names before any question: those that waited for us ask for containers that come later in the list.
        foreach (var container in running) Tell(SandboxChangeKind.Named, sandboxes[container.Sandbox.ContainerId].State, null);
        foreach (var container in running) TellOpened(container);
        firewall?.Replace(sandboxes.Values.SelectMany(s => s.Ports?.Redirected ?? []));
        foreach (var network in networks) network.Sweep();
    });

    private void Restore(RunningContainer container)
    {
        var state = container.Sandbox;
        var kept = new List<EndpointState>();
        foreach (var endpoint in state.Endpoints)
        {
            var network = NetworkOf(endpoint) ?? networks.FirstOrDefault(n => n.Name == endpoint.NetworkName);
            if (network is null)
            {
                logger.EndpointNotRestored(state.ContainerName, endpoint.NetworkName, "no such network");
                continue;
            }
            try
            {
                network.Restore(endpoint);
            }
            catch (Exception e) when (e is NetworkException or LinuxException)
            {
                logger.EndpointNotRestored(state.ContainerName, endpoint.NetworkName, e.Message);
                // Its address is another's: it must not be given back by this one.
                if (e is NetworkException { Kind: NetworkErrorKind.Conflict or NetworkErrorKind.InvalidArgument }) continue;
            }
            network.Adopt(endpoint);
            kept.Add(endpoint);
        }
        var sandbox = new Sandbox(state with { Endpoints = kept });
        if (state.Ports.Count > 0)
        {
            sandbox.Ports = hostPorts!.Restore(state.Ports, TargetOf(sandbox.State), state.ContainerName);
            hostPorts.StartProxies(sandbox.Ports);
        }
        sandboxes[state.ContainerId] = sandbox;
    }

    private void TellOpened(RunningContainer container)
    {
        if (SandboxChanged is null) return;
        var sandbox = sandboxes[container.Sandbox.ContainerId];
        try
        {
            using var inside = container.Pid > 0 ? NetworkNamespace.OfProcess(container.Pid) : null;
            Tell(SandboxChangeKind.Opened, sandbox.State, inside);
        }
        catch (LinuxException)
        {
            // It has just ended: its end is told in a moment.
            Tell(SandboxChangeKind.Opened, sandbox.State, null);
        }
    }

    private void Tell(SandboxChangeKind kind, SandboxState state, SafeFileHandle? inside) => SandboxChanged?.Invoke(new SandboxChange(kind, state, inside));

    /// <summary>The networks of now, a snapshot; never waits.</summary>
    public IReadOnlyList<NetworkRecord> Networks => [.. networks.Select(n => n.Record)];

    /// <summary>By name, by id, or by an unambiguous prefix of the id; null when there is none.</summary>
    /// <exception cref="NetworkException">InvalidArgument: the prefix fits several.</exception>
    public NetworkRecord? Find(string nameOrId) => FindNetwork(nameOrId)?.Record;

    private Network? FindNetwork(string nameOrId)
    {
        if (nameOrId == "default") nameOrId = "bridge";
        var all = networks;
        if (Array.Find(all, n => n.Id == nameOrId) is { } byId) return byId;
        if (Array.Find(all, n => n.Name == nameOrId) is { } byName) return byName;
        if (nameOrId.Length == 0) return null;
        var byPrefix = Array.FindAll(all, n => n.Id.StartsWith(nameOrId, StringComparison.Ordinal));
        if (byPrefix.Length > 1) throw new NetworkException(NetworkErrorKind.InvalidArgument, $"network {nameOrId} is ambiguous ({byPrefix.Length} matches found based on ID prefix)");
        return byPrefix.Length == 1 ? byPrefix[0] : null;
    }

    private Network? NetworkOf(EndpointState endpoint) => Array.Find(networks, n => n.Id == endpoint.NetworkId);

    /// <summary>What <c>host-gateway</c> stands for in --add-host: the default bridge's addresses, IPv4 first; none when there is no bridge.</summary>
    public IReadOnlyList<InetAddress> HostGateways
    {
        get
        {
            var bridge = networks.OfType<BridgeNetwork>().FirstOrDefault(b => b.Settings.IsDefault)?.Settings;
            return [.. new[] { bridge?.IPv4?.Gateway, bridge?.IPv6?.Gateway }.OfType<InetAddress>()];
        }
    }

    /// <summary>The containers that are on networks now.</summary>
    public IReadOnlyList<SandboxState> Sandboxes => [.. sandboxes.Values.Select(s => s.State)];

    /// <summary>Null: it is on no network.</summary>
    public SandboxState? FindSandbox(string containerId) => sandboxes.TryGetValue(containerId, out var sandbox) ? sandbox.State : null;

    /// <summary>Changes the name that error texts and network inspect show for a container, and the one it is found by.</summary>
    /// <param name="dnsNames">The new list of an endpoint's names.</param>
    public void Rename(string containerId, string newName, Func<EndpointState, IReadOnlyList<string>> dnsNames)
    {
        if (!sandboxes.TryGetValue(containerId, out var sandbox)) return;
        lock (sandbox.Gate)
        {
            if (sandbox.Gone) return;
            sandbox.State = sandbox.State with
            {
                ContainerName = newName, Endpoints = [.. sandbox.State.Endpoints.Select(e => e with { ContainerName = newName, DnsNames = dnsNames(e) })],
            };
            foreach (var endpoint in sandbox.State.Endpoints) NetworkOf(endpoint)?.Rename(containerId, endpoint);
            Tell(SandboxChangeKind.Changed, sandbox.State, null);
        }
    }

    /// <summary>Namespaces ready in the pool now.</summary>
    internal int PooledNamespaces => pool?.Count ?? 0;

    /// <summary>Completes when every removal begun so far has been carried out.</summary>
    public Task SettleAsync(CancellationToken cancellationToken) => reaper?.SettleAsync(cancellationToken) ?? Task.CompletedTask;

    /// <summary>Clean shutdown: drops the pool and waits for removals. When no container is joined, bridges and firewall tables go too, if
    /// this engine made them; with containers running they stay, and the next daemon adopts them.</summary>
    public async Task ShutdownAsync(CancellationToken cancellationToken)
    {
        pool?.Dispose();
        await SettleAsync(cancellationToken).ConfigureAwait(false);
        if (sandboxes.IsEmpty)
        {
            firewall?.RemoveTables();
            var bridges = new List<string>();
            foreach (var network in networks)
            {
                if (network is not BridgeNetwork bridge) Attempt("Interfaces", network.Name, network.Remove);
                else if (bridge.Bridge.IsOurs) bridges.Add(bridge.Settings.Bridge);
            }
            Attempt("Interfaces", string.Join(' ', bridges), () => host.Run(() => HostBridge.Remove(bridges)));
        }
        claim?.Dispose();
    }

    /// <summary>Closes what this process holds; bridges, rules and running containers stay as they are.</summary>
    public ValueTask DisposeAsync()
    {
        Close();
        return ValueTask.CompletedTask;
    }

    private void Close()
    {
        pool?.Dispose();
        reaper?.Stop();
        foreach (var sandbox in sandboxes.Values) sandbox.Ports?.Dispose();
        Loop.Dispose();
        links?.Dispose();
        firewall?.Dispose();
        claim?.Dispose();
    }

    private void Attempt(string what, string network, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is LinuxException or NetworkException)
        {
            logger.LeaveIncomplete(what, network, e.Message);
        }
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
