using System.Net;
using System.Security.Cryptography;
using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>
/// Containers on a Linux bridge, each by a veth pair: eth0 inside, a bridge port outside. An attachment is one message of requests to the host's
/// namespace (pair, bridge port), and one to the container's (address, up, route).
/// </summary>
internal sealed class BridgeNetwork : Network
{
    /// <summary>Interface alias of everything we make, so that a later daemon knows its own from others'.</summary>
    internal const string Alias = "berth";

    private const int MaxNameAttempts = 3;

    private readonly BridgeSettings settings;
    private readonly HostBridge bridge;
    private readonly HostLinks links;
    private readonly LinkReaper reaper;
    private readonly Ipam? ipam, ipam6;
    private readonly ILogger logger;

    internal BridgeNetwork(NetworkSpec spec, BridgeSettings settings, HostBridge bridge, HostLinks links, LinkReaper reaper, ILogger logger) : base(spec)
    {
        (this.settings, this.bridge, this.links, this.reaper, this.logger) = (settings, bridge, links, reaper, logger);
        (ipam, ipam6) = (IpamFor(settings.IPv4), IpamFor(settings.IPv6));
    }

    internal static Ipam? IpamFor(SubnetSpec? subnet) => subnet is null ? null
        : new Ipam(subnet.Subnet, subnet.Range, subnet.Gateway is { } gateway ? [gateway, .. subnet.Auxiliary.Values] : subnet.Auxiliary.Values);

    internal BridgeSettings Settings => settings;

    internal HostBridge Bridge => bridge;

    internal override bool PublishesPorts => !settings.Internal;

    internal override GatewayMode Mode => settings.Mode;

    internal override GatewayMode Mode6 => settings.Mode6;

    internal override IPAddress? HostBinding => settings.IsDefault ? null : settings.HostBinding;

    internal override string InterfacePrefix => settings.InterfacePrefix;

    internal override NetworkRecord Record => settings.IsDefault ? base.Record with { Options = settings.Options } : base.Record;

    internal override EndpointState Reserve(EndpointState endpoint, EndpointRequest request, bool disableIPv6)
    {
        if (request is { Address: not null } or { Address6: not null } && settings.IsDefault)
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"""
                invalid config for network {Name}: invalid endpoint settings:
                * user specified IP address is supported on user defined networks only
                * user specified IP address is supported only when connecting to networks with user configured subnets
                """);
        if (request.MacAddress is { IsMulticast: true } multicast)
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid MAC address: {multicast} is a multicast address");

        var address = Take(ipam, request.Address, request.PreferredAddress);
        InetAddress? address6;
        try
        {
            address6 = disableIPv6 ? null : Take(ipam6, request.Address6, request.PreferredAddress6);
        }
        catch
        {
            if (address is { } taken) ipam!.Release(taken);
            throw;
        }
        return endpoint with
        {
            IPAddress = address?.ToString() ?? "", IPPrefixLength = address is null ? 0 : settings.IPv4!.Subnet.Length, Gateway = address is null ? "" : settings.Gateway?.ToString() ?? "",
            IPv6Address = address6?.ToString() ?? "", IPv6PrefixLength = address6 is null ? 0 : settings.IPv6!.Subnet.Length, IPv6Gateway = address6 is null ? "" : settings.Gateway6?.ToString() ?? "",
            MacAddress = (request.MacAddress ?? MacAddress.For(address ?? address6 ?? default)).ToString(),
        };
    }

    private InetAddress? Take(Ipam? from, InetAddress? wanted, InetAddress? preferred)
    {
        if (from is null) return null;
        try
        {
            return from.Take(wanted, preferred);
        }
        catch (NetworkException e) when (e.Kind == NetworkErrorKind.Exhausted)
        {
            throw new NetworkException(e.Kind, $"{e.Message}: {Name} ({Id})", e);
        }
    }

    internal override EndpointState Attach(EndpointState endpoint, EndpointRequest request, SandboxNamespace inside, DefaultRoutes routes)
    {
        MacAddress.TryParse(endpoint.MacAddress, out var mac);
        inside.IPv6ForNewInterfaces(endpoint.IPv6Address.Length > 0);
        var name = MakePair(inside, endpoint.Interface, mac);
        try
        {
            var batch = new NetlinkBatch();
            batch.SetLink(name, masterIndex: bridge.Index, alias: Alias, up: true);
            // Nothing passes yet: the other end is down. Hairpin, because with br_netfilter (any machine with Docker or Kubernetes on it) a
            // connection from a container to its own published port is turned round inside the bridge and leaves by the port it came from.
            batch.SetBridgePort(name, hairpin: true, isolated: !settings.InterContainerCommunication && !HasBridgeNetfilter());
            links.Execute(batch);
            inside.Configure(endpoint, request, routes);
            return endpoint with { HostInterface = name };
        }
        catch
        {
            reaper.Remove(name);
            throw;
        }
    }

    private string MakePair(SandboxNamespace inside, string insideName, MacAddress mac)
    {
        for (var attempt = 1; ; attempt++)
        {
            var name = "veth" + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))[..7];
            var batch = new NetlinkBatch();
            batch.AddVeth(name, insideName, inside.Handle, settings.MtuBytes > 0 ? settings.MtuBytes : bridge.MtuBytes, peerMac: mac.ToBytes());
            try
            {
                links.Execute(batch);
                return name;
            }
            catch (LinuxException e) when (e.Errno == Errno.EEXIST && attempt < MaxNameAttempts && links.Find(name) is not null)
            {
                // Somebody has the name already, of 2^28: the pair was not made, and his must not be touched.
            }
        }
    }

    // With br_netfilter our forward rules see what one port sends another, and let published ports pass, which isolation would not.
    private bool HasBridgeNetfilter() => links.Host.Run(() =>
    {
        const string path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        return File.Exists(path) && File.ReadAllText(path).Trim() != "0";
    });

    internal override void Detach(EndpointState endpoint)
    {
        if (endpoint.HostInterface.Length == 0) return;
        // Down at once, so that nothing answers for the address when it is given out again; the removal itself is slow.
        try
        {
            var batch = new NetlinkBatch();
            batch.SetLink(endpoint.HostInterface, up: false, mayBeGone: true);
            links.Execute(batch);
        }
        catch (LinuxException e)
        {
            logger.LeaveIncomplete($"Interface {endpoint.HostInterface}", Name, e.Message);
        }
        reaper.Remove(endpoint.HostInterface);
    }

    internal override void Release(EndpointState endpoint)
    {
        if (endpoint.Address is { } address) ipam?.Release(address);
        if (endpoint.Address6 is { } address6) ipam6?.Release(address6);
    }

    internal override void Restore(EndpointState endpoint)
    {
        Reserve(ipam, endpoint.IPAddress);
        Reserve(ipam6, endpoint.IPv6Address);
        var link = links.Find(endpoint.HostInterface) ?? throw new NetworkException(NetworkErrorKind.NotFound, $"interface {endpoint.HostInterface} is gone");
        if (link.MasterIndex == bridge.Index && link.IsUp) return;
        // The bridge was removed and made anew while its ports lived on.
        var batch = new NetlinkBatch();
        batch.SetLink(endpoint.HostInterface, masterIndex: bridge.Index, up: true);
        links.Execute(batch);

        static void Reserve(Ipam? ipam, string text)
        {
            if (text.Length == 0) return;
            if (!InetAddress.TryParse(text, out var address)) throw new NetworkException(NetworkErrorKind.InvalidArgument, $"\"{text}\" is not an address");
            if (ipam?.TryReserve(address) == false) throw new NetworkException(NetworkErrorKind.Conflict, $"address {address} belongs to another container");
        }
    }

    internal override void Sweep()
    {
        var known = Endpoints.Values.Select(e => e.HostInterface).ToHashSet(StringComparer.Ordinal);
        foreach (var link in links.All())
        {
            if (link.Kind != "veth" || link.MasterIndex != bridge.Index || link.Alias != Alias || known.Contains(link.Name)) continue;
            logger.StaleInterface(link.Name, settings.Bridge);
            reaper.Remove(link.Name);
        }
    }

    /// <summary>The bridge, if we made it.</summary>
    internal override void Remove()
    {
        if (bridge.IsOurs) links.Host.Run(() => HostBridge.Remove(settings.Bridge));
    }
}
