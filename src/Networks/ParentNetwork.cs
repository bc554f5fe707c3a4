using System.Globalization;
using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>What a macvlan or ipvlan network's options say.</summary>
/// <param name="Parent">The host's interface, or one that we make: a VLAN (eth0.10), or one that leads nowhere when none is named.</param>
/// <param name="Mode">As the kernel numbers it.</param>
/// <param name="Flags">Of ipvlan, as the kernel numbers them.</param>
/// <param name="HasDeviceRoute">ipvlan l3: no gateway, everything goes straight out.</param>
internal sealed record ParentSettings(string Parent, uint Mode, ushort Flags, bool Internal, bool HasDeviceRoute)
{
    /// <exception cref="NetworkException">System, in Docker's words.</exception>
    internal static ParentSettings From(NetworkSpec spec)
    {
        var macvlan = spec.Driver == "macvlan";
        var parent = spec.Options.GetValueOrDefault("parent", "");
        var mode = spec.Options.GetValueOrDefault(macvlan ? "macvlan_mode" : "ipvlan_mode", "");
        var flag = macvlan ? "" : spec.Options.GetValueOrDefault("ipvlan_flag", "");
        uint number = (macvlan, mode) switch
        {
            (true, "private") => 1,
            (true, "vepa") => 2,
            (true, "" or "bridge") => 4,
            (true, "passthru") => 8,
            (false, "" or "l2") => 0,
            (false, "l3") => 1,
            (false, "l3s") => 2,
            (true, _) => throw Error($"requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan driver default"),
            _ => throw Error($"requested ipvlan mode '{mode}' is not valid, 'l2' mode is the ipvlan driver default"),
        };
        ushort flags = flag switch
        {
            "" or "bridge" => 0,
            "private" => 1,
            "vepa" => 2,
            _ => throw Error($"requested ipvlan flag '{flag}' is not valid, 'bridge' is the ipvlan driver default"),
        };
        if (parent == "lo") throw Error($"loopback interface is not a valid {spec.Driver} parent link");
        return new ParentSettings(parent.Length > 0 ? parent : (macvlan ? "dm-" : "di-") + spec.Id[..12], number, flags, spec.Internal || parent.Length == 0, !macvlan && number != 0);
    }

    internal const uint Passthru = 8;

    private static NetworkException Error(string message) => new(NetworkErrorKind.System, message);
}

/// <summary>Containers beside the host on one of its interfaces: by a MAC address of their own (macvlan) or by the host's (ipvlan). Neither bridge nor
/// firewall are between; published ports mean nothing here.</summary>
internal sealed class ParentNetwork : Network
{
    private readonly ParentSettings settings;
    private readonly HostLinks links;
    private readonly string alias;
    private readonly Func<string, bool> isShared;
    private readonly (SubnetSpec Subnet, Ipam Ipam)[] subnets;

    /// <param name="alias">Of parents that we make.</param>
    /// <param name="isShared">Whether another network has this parent, too.</param>
    internal ParentNetwork(NetworkSpec spec, HostLinks links, string alias, Func<string, bool> isShared) : base(spec)
    {
        (settings, this.links, this.alias, this.isShared) = (ParentSettings.From(spec), links, alias, isShared);
        subnets = [.. spec.Subnets.Where(s => s.Subnet.IsIPv6 ? spec.EnableIPv6 : spec.EnableIPv4).Select(s => (s, BridgeNetwork.IpamFor(s)!))];
        if (links.Find(settings.Parent) is null) MakeParent();
    }

    private const int DefaultMtuBytes = 1500;

    internal string Parent => settings.Parent;

    internal bool IsPassthru => Spec.Driver == "macvlan" && settings.Mode == ParentSettings.Passthru;

    private void MakeParent()
    {
        var name = settings.Parent;
        var batch = new NetlinkBatch();
        if (!Spec.Options.TryGetValue("parent", out var given) || given.Length == 0)
        {
            try
            {
                batch.AddDummy(name);
                links.Execute(batch);
            }
            catch (LinuxException e) when (e.Errno == Errno.EOPNOTSUPP)
            {
                // A kernel without dummy interfaces: a bridge without ports leads as far.
                batch.Clear();
                batch.AddBridge(name, DefaultMtuBytes, default);
                links.Execute(batch);
            }
            batch.Clear();
        }
        else
        {
            var (parent, vlan) = ParseVlan(name);
            batch.AddVlan(name, links.Find(parent)?.Index ?? throw Error($"-o parent interface was not found on the host: {parent}"), vlan);
        }
        batch.SetLink(name, alias: alias, up: true);
        links.Execute(batch);
    }

    private static (string Parent, ushort Vlan) ParseVlan(string name)
    {
        if (!name.Contains('.')) throw Error($"invalid subinterface vlan name {name}, example formatting is eth0.10");
        var parts = name.Split('.');
        if (parts.Length != 2) throw Error($"required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received {name}");
        if (!int.TryParse(parts[1], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var vlan)) throw Error($"unable to parse a valid vlan id from: {parts[1]} (ex. eth0.10 for vlan 10)");
        return vlan is >= 1 and <= 4094 ? (parts[0], (ushort)vlan) : throw Error($"vlan id must be between 1-4094, received: {vlan}");
    }

    internal override EndpointState Reserve(EndpointState endpoint, EndpointRequest request, bool disableIPv6)
    {
        var (address, gateway, length) = Take(ipv6: false, request.Address, request.PreferredAddress);
        var (address6, gateway6, length6) = ((InetAddress?)null, "", 0);
        try
        {
            if (!disableIPv6) (address6, gateway6, length6) = Take(ipv6: true, request.Address6, request.PreferredAddress6);
        }
        catch
        {
            Release(address);
            throw;
        }
        // ipvlan interfaces all have their parent's.
        var mac = Spec.Driver == "macvlan" ? (request.MacAddress ?? MacAddress.For(address ?? address6 ?? default)).ToString() : "";
        return endpoint with
        {
            IPAddress = address?.ToString() ?? "", IPPrefixLength = length, Gateway = gateway, IPv6Address = address6?.ToString() ?? "", IPv6PrefixLength = length6, IPv6Gateway = gateway6,
            MacAddress = mac, Internal = settings.Internal,
        };
    }

    private (InetAddress? Address, string Gateway, int Length) Take(bool ipv6, InetAddress? wanted, InetAddress? preferred)
    {
        var ofFamily = Array.FindAll(subnets, s => s.Subnet.Subnet.IsIPv6 == ipv6);
        if (ofFamily.Length == 0) return (null, "", 0);
        if (wanted is { } asked) ofFamily = Array.FindAll(ofFamily, s => s.Subnet.Subnet.Contains(asked));
        for (var i = 0; i < ofFamily.Length; i++)
        {
            var (subnet, ipam) = ofFamily[i];
            try
            {
                var gateway = settings.Internal ? "" : settings.HasDeviceRoute ? SandboxNamespace.DeviceRoute : subnet.Gateway?.ToString() ?? "";
                return (ipam.Take(wanted, preferred), gateway, subnet.Subnet.Length);
            }
            catch (NetworkException e) when (e.Kind == NetworkErrorKind.Exhausted && i + 1 < ofFamily.Length)
            {
                // the next subnet
            }
        }
        throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid address {wanted}: It does not belong to any of this network's subnets");
    }

    private void Release(InetAddress? address)
    {
        if (address is { } given) Array.Find(subnets, s => s.Subnet.Subnet.Contains(given)).Ipam?.Release(given);
    }

    internal override EndpointState Attach(EndpointState endpoint, EndpointRequest request, SandboxNamespace inside, DefaultRoutes routes)
    {
        var parent = links.Find(settings.Parent) ?? throw Error($"the requested parent interface {settings.Parent} was not found on the Docker host");
        var batch = new NetlinkBatch();
        inside.IPv6ForNewInterfaces(endpoint.IPv6Address.Length > 0);
        if (Spec.Driver == "ipvlan") batch.AddIpvlan(endpoint.Interface, parent.Index, (ushort)settings.Mode, settings.Flags, inside.Handle, 0);
        else
        {
            // The parent's own MAC is what passthru passes through.
            MacAddress.TryParse(endpoint.MacAddress, out var mac);
            batch.AddMacvlan(endpoint.Interface, parent.Index, settings.Mode, inside.Handle, 0, IsPassthru && request.MacAddress is null ? default : mac.ToBytes());
        }
        try
        {
            links.Execute(batch);
        }
        catch (LinuxException e)
        {
            throw new NetworkException(NetworkErrorKind.System, $"failed to create the {Spec.Driver} port: {e.Message}", e);
        }
        try
        {
            inside.Configure(endpoint, request, routes);
        }
        catch
        {
            batch.Clear();
            batch.DeleteLink(endpoint.Interface);
            inside.Netlink.Execute(batch);
            throw;
        }
        return endpoint;
    }

    internal override void Release(EndpointState endpoint)
    {
        Release(endpoint.Address);
        Release(endpoint.Address6);
    }

    internal override void Restore(EndpointState endpoint)
    {
        foreach (var address in (ReadOnlySpan<InetAddress?>)[endpoint.Address, endpoint.Address6])
        {
            if (address is { } given && Array.Find(subnets, s => s.Subnet.Subnet.Contains(given)).Ipam?.TryReserve(given) == false)
                throw new NetworkException(NetworkErrorKind.Conflict, $"address {given} belongs to another container");
        }
    }

    /// <summary>The parent, if we made it and nobody else needs it.</summary>
    internal override void Remove()
    {
        if (isShared(settings.Parent) || links.Find(settings.Parent) is not { } link || link.Alias != alias) return;
        var batch = new NetlinkBatch();
        batch.DeleteLink(link.Index);
        links.Execute(batch);
    }

    private static NetworkException Error(string message) => new(NetworkErrorKind.System, message);
}
