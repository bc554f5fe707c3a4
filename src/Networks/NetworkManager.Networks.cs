using Berth.Linux;

namespace Berth.Networks;

// Networks made and removed. What is in networks.json exists: written last when made, first when removed; what a crash leaves in between is swept at the next start.
public sealed partial class NetworkManager
{
    /// <summary>Networks of one engine: each is a bridge with addresses of its own.</summary>
    private const int MaxNetworks = 4096;

    private string BridgeAlias => $"{BridgeNetwork.Alias} {EngineName}";

    /// <summary>Makes a network.</summary>
    /// <exception cref="NetworkException">As Docker says it.</exception>
    public Task<NetworkRecord> CreateAsync(NetworkRequest request, CancellationToken cancellationToken)
    {
        try
        {
            cancellationToken.ThrowIfCancellationRequested();
            lock (changes) return Task.FromResult(Create(request));
        }
        catch (LinuxException e)
        {
            return Task.FromException<NetworkRecord>(new NetworkException(NetworkErrorKind.System, e.Message, e));
        }
        catch (Exception e)
        {
            return Task.FromException<NetworkRecord>(e);
        }
    }

    private NetworkRecord Create(NetworkRequest request)
    {
        var spec = NetworkValidation.Check(request, NetworkStore.NewId(), time.GetUtcNow(), name => Array.Find(networks, n => n.Name == name)?.Spec);
        if (networks.Length >= MaxNetworks) throw new NetworkException(NetworkErrorKind.Exhausted, $"more than {MaxNetworks} networks");
        for (var attempt = 0; ; attempt++)
        {
            var complete = WithSubnets(spec);
            var network = Make(complete);
            if (network is BridgeNetwork { Bridge.IsNew: true } bridge && attempt < HostBridge.MaxAttempts && IsTakenByElder(bridge))
            {
                bridge.Remove();
                continue;
            }
            try
            {
                if (network is BridgeNetwork made)
                {
                    firewall?.AddNetwork(made.Settings.ForFirewall);
                    RouteLoopback(made.Settings.Bridge);
                }
                networks = [.. networks, network];
                store.Save(networks.Select(n => n.Spec));
            }
            catch
            {
                networks = [.. networks.Where(n => n != network)];
                if (network is BridgeNetwork failed && firewall is not null) Attempt("Firewall", spec.Name, () => firewall.RemoveNetwork(failed.Settings.ForFirewall));
                Attempt("Interfaces", spec.Name, network.Remove);
                throw;
            }
            return network.Record;
        }
    }

    private bool IsTakenByElder(BridgeNetwork network) => host.Run(() =>
    {
        using var netlink = NetlinkSocket.OpenRoute();
        return network.Spec.Subnets.Any(s => !s.Given && HostBridge.IsTakenByElder(netlink, network.Bridge.Index, s.Subnet));
    });

    /// <summary>Chooses what was not given, and the gateways.</summary>
    private NetworkSpec WithSubnets(NetworkSpec spec)
    {
        if (spec.ConfigOnly || spec.IpamDriver == "null") return spec;
        var taken = networks.Where(n => !n.Spec.ConfigOnly).SelectMany(n => n.Spec.Subnets).Select(s => s.Subnet).ToList();
        var subnets = spec.Subnets.ToList();
        // Read without subnets: whether a gateway is wanted at all.
        var settings = spec.Driver == "bridge" ? BridgeSettings.From(spec) : null;
        foreach (var ipv6 in (ReadOnlySpan<bool>)[false, true])
        {
            if (!(ipv6 ? spec.EnableIPv6 : spec.EnableIPv4)) continue;
            var given = subnets.Where(s => s.Subnet.IsIPv6 == ipv6).ToList();
            if (given.Any(g => taken.Any(g.Subnet.Overlaps)) || given.Where((g, i) => given.Take(i).Any(o => o.Subnet.Overlaps(g.Subnet))).Any())
                throw new NetworkException(NetworkErrorKind.Forbidden, "invalid pool request: Pool overlaps with other one on this address space");
            if (given.Count == 0)
            {
                var chosen = new SubnetSpec(host.Run(() =>
                {
                    using var netlink = NetlinkSocket.OpenRoute();
                    return pools.Choose(netlink, ipv6, taken);
                }));
                subnets.Insert(ipv6 ? subnets.Count : 0, chosen);
            }
            var wantsGateway = settings is null ? ParentSettings.From(spec) is { Internal: false, HasDeviceRoute: false }
                : (ipv6 ? settings.Mode6 : settings.Mode) != GatewayMode.Isolated && !(!ipv6 && settings.InhibitIPv4 && settings.Internal);
            for (var i = 0; i < subnets.Count; i++)
                if (subnets[i].Subnet.IsIPv6 == ipv6) subnets[i] = WithGateway(subnets[i], wantsGateway);
        }
        return spec with { Subnets = subnets };
    }

    private static SubnetSpec WithGateway(SubnetSpec subnet, bool wantsGateway)
    {
        var ipam = new Ipam(subnet.Subnet, subnet.Range);
        var gateway = subnet.GivenGateway;
        if (gateway is { } given)
        {
            if (!ipam.TryReserve(given)) throw new NetworkException(NetworkErrorKind.System, $"failed to allocate gateway ({given}): Address already in use");
        }
        else if (wantsGateway) gateway = ipam.Allocate();
        foreach (var (name, address) in subnet.Auxiliary)
            if (!ipam.TryReserve(address)) throw new NetworkException(NetworkErrorKind.System, $"failed to allocate secondary ip address ({name}:{address}): Address already in use");
        return subnet with { Gateway = gateway };
    }

    /// <summary>What the network is made of, for one that is new or was there before the last restart.</summary>
    private Network Make(NetworkSpec spec)
    {
        if (spec.ConfigOnly) return new ConfigurationNetwork(spec);
        if (spec.Driver is "macvlan" or "ipvlan") return MakeParentNetwork(spec);
        var settings = BridgeSettings.From(spec);
        if (!BridgeSettings.IsInterfaceName(settings.Bridge))
            throw new NetworkException(NetworkErrorKind.System, settings.Bridge.Length > BridgeSettings.MaxInterfaceName ? "numerical result out of range" : $"invalid bridge name {settings.Bridge}");
        if (networks.OfType<BridgeNetwork>().FirstOrDefault(n => n.Settings.Bridge == settings.Bridge) is { } other)
            throw new NetworkException(NetworkErrorKind.Forbidden,
                $"cannot create network {spec.Id} ({settings.Bridge}): conflicts with network {other.Id} ({other.Settings.Bridge}): networks have same bridge name");
        if (settings.IPv6 is not null && options.IpForward) host.Run(() => EnableForwarding("/proc/sys/net/ipv6/conf/all/forwarding"));
        return new BridgeNetwork(spec, settings, host.Run(() => HostBridge.Make(settings, BridgeAlias)), links!, reaper!, logger);
    }

    private ParentNetwork MakeParentNetwork(NetworkSpec spec)
    {
        var settings = ParentSettings.From(spec);
        foreach (var other in networks.OfType<ParentNetwork>().Where(n => n.Parent == settings.Parent && n.Id != spec.Id))
        {
            if (spec.Driver == "ipvlan" || other.Spec.Driver == "ipvlan")
                throw new NetworkException(NetworkErrorKind.System, $"network di-{other.Id[..12]} is already using parent interface {settings.Parent}");
            if (settings.Mode == ParentSettings.Passthru)
                throw new NetworkException(NetworkErrorKind.System, $"cannot use mode passthru, macvlan network {other.Id} is already using parent interface {settings.Parent}");
            if (other.IsPassthru) throw new NetworkException(NetworkErrorKind.System, $"macvlan network {other.Id} is already using parent interface {settings.Parent} in mode passthru");
        }
        return new ParentNetwork(spec, links!, BridgeAlias, parent => networks.OfType<ParentNetwork>().Any(n => n.Parent == parent && n.Id != spec.Id));
    }

    /// <summary>Removes a network that nobody is on.</summary>
    /// <exception cref="NetworkException">NotFound; Forbidden: predefined, or in use.</exception>
    public Task RemoveAsync(string nameOrId, CancellationToken cancellationToken) => Completed(() =>
    {
        cancellationToken.ThrowIfCancellationRequested();
        lock (changes)
        {
            var network = FindNetwork(nameOrId) ?? throw new NetworkException(NetworkErrorKind.NotFound, $"network {nameOrId} not found");
            if (IsPredefined(network.Name)) throw new NetworkException(NetworkErrorKind.Forbidden, $"{network.Name} is a pre-defined network and cannot be removed");
            if (network.Spec.ConfigOnly && networks.Any(n => n.Spec.ConfigFrom == network.Name))
                throw new NetworkException(NetworkErrorKind.Forbidden, $"error while removing network: configuration network \"{network.Name}\" is in use");
            network.BeginRemoval();
            networks = [.. networks.Where(n => n != network)];
            store.Save(networks.Select(n => n.Spec));
            if (network is BridgeNetwork bridge && firewall is not null) Attempt("Firewall", network.Name, () => firewall.RemoveNetwork(bridge.Settings.ForFirewall));
            Attempt("Interfaces", network.Name, network.Remove);
        }
    });

    /// <summary>Bridges that a former daemon of this engine made for networks that are no longer there.</summary>
    private void SweepBridges(IReadOnlyList<BridgeSettings> known)
    {
        var names = known.Select(b => b.Bridge).ToHashSet(StringComparer.Ordinal);
        foreach (var broken in networks.OfType<BrokenNetwork>()) names.Add(broken.Spec.Options.GetValueOrDefault(BridgeSettings.NameOption) ?? "br-" + broken.Id[..12]);
        foreach (var link in links!.All())
        {
            if (link.Alias != BridgeAlias || names.Contains(link.Name) || networks.OfType<ParentNetwork>().Any(n => n.Parent == link.Name)) continue;
            logger.StaleInterface(link.Name, EngineName);
            Attempt("Interfaces", link.Name, () => host.Run(() => HostBridge.Remove(link.Name)));
        }
    }
}

/// <summary>One that could not be brought back: it is listed and can be removed, and whoever joins is told why he can't.</summary>
internal sealed class BrokenNetwork(NetworkSpec spec, string reason) : Network(spec)
{
    internal override EndpointState Reserve(EndpointState endpoint, EndpointRequest request, bool disableIPv6) =>
        throw new NetworkException(NetworkErrorKind.System, $"network {Name} could not be brought back when the engine started: {reason}");
}
