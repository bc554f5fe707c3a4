using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>What a bridge network is made of; the default one's comes from the daemon's flags.</summary>
internal sealed record BridgeSettings
{
    internal required string Bridge { get; init; }
    /// <summary>The bridge's own address in its subnet.</summary>
    internal required Ipv4Interface Address { get; init; }
    internal Ipv4Prefix? Range { get; init; }
    /// <summary>Containers' default route.</summary>
    internal required Ipv4Address Gateway { get; init; }
    internal int MtuBytes { get; init; } = 1500;
    internal bool InterContainerCommunication { get; init; } = true;
    internal bool Masquerade { get; init; } = true;
    internal bool IsDefault { get; init; }
    internal string HostBindingAddress { get; init; } = "0.0.0.0";

    internal FirewallNetwork ForFirewall => new(Bridge, Address.Prefix, Masquerade, InterContainerCommunication);
}

/// <summary>
/// Containers on a Linux bridge, each by a veth pair: eth0 inside, a bridge port outside. A join is one message of requests to the host's
/// namespace (pair, bridge port), one to the container's (address, up, route), and, with published ports only, one nft transaction.
/// </summary>
internal sealed class BridgeNetwork : Network, IDisposable
{
    /// <summary>Interface alias of everything we make, so that a later daemon knows its own from others'.</summary>
    internal const string Alias = "berth";

    private const string ContainerInterface = "eth0";
    private const int MaxNameAttempts = 3;

    private readonly BridgeSettings settings;
    private readonly int bridgeIndex;
    private readonly HostNamespace host;
    private readonly Ipam ipam;
    private readonly NamespacePool pool;
    private readonly HostPorts hostPorts;
    private readonly Firewall? firewall;
    private readonly LinkReaper reaper;
    private readonly NetlinkSocket netlink;
    private readonly Lock netlinkGate = new();
    private readonly Conntrack conntrack;
    private readonly ILogger logger;
    private readonly ConcurrentDictionary<string, BoundPorts> ports = new(StringComparer.Ordinal);

    internal BridgeNetwork(StoredNetwork stored, BridgeSettings settings, int bridgeIndex, HostNamespace host, NamespacePool pool,
        HostPorts hostPorts, Firewall? firewall, LinkReaper reaper, ILogger logger) : base(stored)
    {
        this.settings = settings;
        this.bridgeIndex = bridgeIndex;
        this.host = host;
        this.pool = pool;
        this.hostPorts = hostPorts;
        this.firewall = firewall;
        this.reaper = reaper;
        this.logger = logger;
        ipam = new Ipam(settings.Address.Prefix, settings.Range, settings.Address.Address, settings.Gateway);
        (netlink, conntrack) = host.Run(() => (NetlinkSocket.OpenRoute(), Conntrack.Open()));
    }

    internal BridgeSettings Settings => settings;

    internal override NetworkRecord Record => base.Record with
    {
        Subnet = settings.Address.Prefix,
        Gateway = settings.Gateway,
        IpRange = settings.Range,
        Options = ImmutableSortedDictionary.CreateRange(StringComparer.Ordinal,
        [
            new("com.docker.network.bridge.default_bridge", settings.IsDefault ? "true" : "false"),
            new("com.docker.network.bridge.enable_icc", settings.InterContainerCommunication ? "true" : "false"),
            new("com.docker.network.bridge.enable_ip_masquerade", settings.Masquerade ? "true" : "false"),
            new("com.docker.network.bridge.host_binding_ipv4", settings.HostBindingAddress),
            new("com.docker.network.bridge.name", settings.Bridge),
            new KeyValuePair<string, string>("com.docker.network.driver.mtu", settings.MtuBytes.ToString(CultureInfo.InvariantCulture)),
        ]),
    };

    internal override NetworkSandbox Join(string containerId, EndpointRequest request)
    {
        var started = Stopwatch.GetTimestamp();
        if (request.Address is not null && settings.IsDefault)
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"""
                invalid config for network {Name}: invalid endpoint settings:
                * user specified IP address is supported on user defined networks only
                * user specified IP address is supported only when connecting to networks with user configured subnets
                """);
        if (request.MacAddress is { IsMulticast: true } multicast)
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid MAC address: {multicast} is a multicast address");

        var endpoint = NewEndpoint(containerId, request);
        var address = TakeAddress(request);
        BoundPorts? bound = null;
        PreparedNamespace? prepared = null;
        var hostInterface = "";
        var redirected = false;
        try
        {
            try
            {
                bound = hostPorts.Bind(request.Ports, address);
            }
            catch (NetworkException e) when (e.Kind == NetworkErrorKind.PortUnavailable)
            {
                throw new NetworkException(e.Kind,
                    $"failed to set up container networking: driver failed programming external connectivity on endpoint {request.ContainerName} ({endpoint.EndpointId}): {e.Message}", e);
            }
            var mac = request.MacAddress ?? MacAddress.For(address);
            prepared = pool.Take();
            hostInterface = Connect(prepared, address, mac);
            if (bound.Redirected is { Count: > 0 } redirect && firewall is not null)
            {
                firewall.Add(redirect);
                redirected = true;
                ForgetUdp(redirect);
            }
            hostPorts.StartProxies(bound);
            endpoint = endpoint with
            {
                IPAddress = address.ToString(),
                IPPrefixLength = settings.Address.PrefixLength,
                Gateway = settings.Gateway.ToString(),
                MacAddress = mac.ToString(),
                HostInterface = hostInterface,
                Ports = bound.Published,
            };
            if (bound.All.Count > 0) ports[containerId] = bound;
            logger.Joined(request.ContainerName, Name, endpoint.IPAddress, hostInterface, Stopwatch.GetElapsedTime(started).TotalMilliseconds);
            return new NetworkSandbox(prepared.Detach(), endpoint);
        }
        catch (Exception e)
        {
            if (redirected) Attempt("Firewall", () => firewall!.Remove(bound!.Redirected));
            bound?.Dispose();
            prepared?.Dispose();
            if (hostInterface.Length > 0) reaper.Remove(hostInterface);
            ipam.Release(address);
            if (e is LinuxException) throw new NetworkException(NetworkErrorKind.System, $"failed to set up container networking: {e.Message}", e);
            throw;
        }
    }

    private Ipv4Address TakeAddress(EndpointRequest request)
    {
        if (request.Address is { } wanted)
            return ipam.TryReserve(wanted) ? wanted : throw new NetworkException(NetworkErrorKind.Forbidden, "Address already in use");
        if (request.PreferredAddress is { } preferred && settings.Address.Prefix.Contains(preferred) && ipam.TryReserve(preferred)) return preferred;
        return ipam.Allocate();
    }

    /// <summary>Returns the name of the bridge port it made.</summary>
    private string Connect(PreparedNamespace prepared, Ipv4Address address, MacAddress mac)
    {
        var name = MakePair(prepared, mac);
        try
        {
            var batch = new NetlinkBatch();
            batch.SetLink(name, masterIndex: bridgeIndex, alias: Alias, up: true);
            // Nothing passes yet: the other end is down. Hairpin, because with br_netfilter (any machine with Docker or Kubernetes on it) a
            // connection from a container to its own published port is turned round inside the bridge and leaves by the port it came from.
            batch.SetBridgePort(name, hairpin: true, isolated: !settings.InterContainerCommunication && !HasBridgeNetfilter());
            lock (netlinkGate) netlink.Execute(batch);

            prepared.IPv6ForNewInterfaces();
            var index = prepared.Netlink.Link(ContainerInterface)?.Index ?? throw new LinuxException("RTM_GETLINK", ContainerInterface, Errno.ENODEV);
            batch.Clear();
            batch.AddAddress(index, address.ToBytes(), settings.Address.PrefixLength, broadcast: true);
            batch.SetLink(null, index: index, up: true);
            batch.AddDefaultRoute(index, settings.Gateway.ToBytes());
            prepared.Netlink.Execute(batch);
            return name;
        }
        catch
        {
            reaper.Remove(name);
            throw;
        }
    }

    private string MakePair(PreparedNamespace prepared, MacAddress mac)
    {
        for (var attempt = 1; ; attempt++)
        {
            var name = "veth" + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))[..7];
            var batch = new NetlinkBatch();
            batch.AddVeth(name, ContainerInterface, prepared.Handle, settings.MtuBytes, peerMac: mac.ToBytes());
            try
            {
                lock (netlinkGate) netlink.Execute(batch);
                return name;
            }
            catch (LinuxException e) when (e.Errno == Errno.EEXIST && attempt < MaxNameAttempts)
            {
                // Somebody has the name already, of 2^28: the pair was not made, and his must not be touched.
            }
        }
    }

    // With br_netfilter our forward rules see what one port sends another, and let published ports pass, which isolation would not.
    private bool HasBridgeNetfilter() => host.Run(() =>
    {
        const string path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        return File.Exists(path) && File.ReadAllText(path).Trim() != "0";
    });

    internal override void Leave(EndpointState endpoint)
    {
        if (ports.TryRemove(endpoint.ContainerId, out var bound))
        {
            var redirect = bound.Redirected;
            if (firewall is not null) Attempt("Firewall", () => firewall.Remove(redirect));
            bound.Dispose();
            ForgetUdp(redirect);
        }
        // Down at once, so that nothing answers for the address when it is given out again; the removal itself is slow.
        if (endpoint.HostInterface.Length > 0)
        {
            Attempt($"Interface {endpoint.HostInterface}", () =>
            {
                var batch = new NetlinkBatch();
                batch.SetLink(endpoint.HostInterface, up: false, mayBeGone: true);
                lock (netlinkGate) netlink.Execute(batch);
            });
            reaper.Remove(endpoint.HostInterface);
        }
        if (Ipv4Address.TryParse(endpoint.IPAddress, out var address)) ipam.Release(address);
    }

    internal override void Restore(RunningContainer container)
    {
        var endpoint = container.Endpoint;
        if (!Ipv4Address.TryParse(endpoint.IPAddress, out var address))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"\"{endpoint.IPAddress}\" is not an address");
        if (!ipam.TryReserve(address))
            throw new NetworkException(NetworkErrorKind.Conflict, $"address {address} belongs to another container");
        if (endpoint.Ports.Count > 0)
        {
            var bound = hostPorts.Restore(endpoint.Ports, address, endpoint.ContainerName);
            hostPorts.StartProxies(bound);
            ports[container.ContainerId] = bound;
        }
        lock (netlinkGate)
        {
            var link = netlink.Link(endpoint.HostInterface);
            if (link is null) throw new NetworkException(NetworkErrorKind.NotFound, $"interface {endpoint.HostInterface} is gone");
            if (link.MasterIndex == bridgeIndex && link.IsUp) return;
            // The bridge was removed and made anew while its ports lived on.
            var batch = new NetlinkBatch();
            batch.SetLink(endpoint.HostInterface, masterIndex: bridgeIndex, up: true);
            netlink.Execute(batch);
        }
    }

    /// <summary>After all restores: what the firewall shall redirect.</summary>
    internal IEnumerable<FirewallPort> Redirected => ports.Values.SelectMany(p => p.Redirected);

    /// <summary>After all restores: removes ports of our bridge that no container has.</summary>
    internal void Sweep()
    {
        var known = Endpoints.Values.Select(e => e.HostInterface).ToHashSet(StringComparer.Ordinal);
        IReadOnlyList<LinkInfo> links;
        lock (netlinkGate) links = netlink.Links();
        foreach (var link in links)
        {
            if (link.Kind != "veth" || link.MasterIndex != bridgeIndex || link.Alias != Alias || known.Contains(link.Name)) continue;
            logger.StaleInterface(link.Name, settings.Bridge);
            reaper.Remove(link.Name);
        }
    }

    // A UDP "connection" that the kernel tracks keeps going where it went before, rules or no rules, for as long as its client keeps sending.
    private void ForgetUdp(IReadOnlyList<FirewallPort> changed)
    {
        foreach (var port in changed)
        {
            if (port.Protocol != PortProtocol.Udp) continue;
            try
            {
                conntrack.DropUdp(port.HostPort);
            }
            catch (LinuxException e)
            {
                logger.ConntrackNotFlushed(port.HostPort, e.Message);
            }
        }
    }

    private void Attempt(string what, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is LinuxException or NetworkException)
        {
            logger.LeaveIncomplete(what, Name, e.Message);
        }
    }

    /// <summary>Closes what this process holds; the kernel's side stays.</summary>
    public void Dispose()
    {
        foreach (var bound in ports.Values) bound.Dispose();
        ports.Clear();
        netlink.Dispose();
        conntrack.Dispose();
    }
}
