using System.Diagnostics;
using System.Net.Sockets;
using Berth.Linux;

namespace Berth.Networks;

/// <summary>The bridge interface on the host: made, adopted or removed. Runs inside the host's namespace.</summary>
/// <param name="IsOurs">Made by us, now or by a former daemon: it has our alias. Others' are used but never changed or removed.</param>
/// <param name="IsNew">Made just now.</param>
internal sealed record HostBridge(int Index, int MtuBytes, bool IsOurs, bool IsNew)
{
    /// <summary>The default bridge's.</summary>
    internal InetInterface Address { get; init; }
    internal InetInterface? Address6 { get; init; }

    /// <summary>How long a former daemon may take to end after it was killed: the kernel closes its sockets one by one.</summary>
    private static readonly TimeSpan FormerDaemonEnds = TimeSpan.FromSeconds(2);

    /// <summary>
    /// Says that this engine uses the bridge, until the result is disposed or the process ends in whatever way. An abstract unix socket: its
    /// name lives in the network namespace, as the bridge does.
    /// </summary>
    internal static Socket Claim(string name)
    {
        var endpoint = new UnixDomainSocketEndPoint($"\0berth/bridge/{name}");
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                socket.Bind(endpoint);
                socket.Listen();
                return socket;
            }
            catch (SocketException e)
            {
                socket.Dispose();
                if (e.SocketErrorCode != SocketError.AddressAlreadyInUse) throw new NetworkException(NetworkErrorKind.System, $"bridge {name}: {e.Message}", e);
                var left = FormerDaemonEnds - Stopwatch.GetElapsedTime(started);
                if (left <= TimeSpan.Zero || !HasEnded(endpoint, left))
                    throw new NetworkException(NetworkErrorKind.Conflict, $"bridge {name} belongs to another running engine; give each its own with --bridge", e);
            }
        }
    }

    // A connection to the other's socket breaks when it ends; nothing is ever sent.
    private static bool HasEnded(UnixDomainSocketEndPoint endpoint, TimeSpan within)
    {
        using var watch = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            watch.Connect(endpoint);
            watch.ReceiveTimeout = Math.Max(1, (int)within.TotalMilliseconds);
            watch.Receive(new byte[1]);
            return true;
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode is not (SocketError.TimedOut or SocketError.WouldBlock);
        }
    }

    /// <summary>The default bridge: made, adopted, or made anew when its addresses are no longer those that are wanted.</summary>
    /// <param name="ipv6">Null: the network has no IPv6.</param>
    internal static HostBridge Prepare(string name, BridgeWish ipv4, BridgeWish? ipv6, SubnetPools pools, int mtuBytes)
    {
        ipv4.Check();
        ipv6?.Check();
        using var netlink = NetlinkSocket.OpenRoute();
        var link = netlink.Link(name);
        if (link is { Kind: not "bridge" })
            throw new NetworkException(NetworkErrorKind.Conflict, $"interface {name} exists and is not a bridge");
        var isOurs = link is null || link.Alias == BridgeNetwork.Alias;
        var existing = AddressesOf(netlink, link, ipv6: false);
        var existing6 = AddressesOf(netlink, link, ipv6: true);
        var (needed, needed6) = (ipv4.Needed(existing), ipv6?.Needed(existing6));

        if (link is not null && (Lacks(existing, needed) || (Lacks(existing6, needed6) && (existing6.Count > 0 || !isOurs)) || (isOurs && ipv6 is null && existing6.Count > 0)))
        {
            var hasPorts = netlink.Links().Any(l => l.MasterIndex == link.Index);
            var (has, lacks) = Lacks(existing, needed) ? (existing, needed) : (existing6, needed6);
            if ((!isOurs || hasPorts) && lacks is not null)
                throw new NetworkException(NetworkErrorKind.Conflict,
                    $"bridge {name} has {(has.Count == 0 ? "no address" : $"address {has[0]}")}, not {lacks}, and is in use{(isOurs ? "" : " by others")}");
            // With containers on it, addresses that nobody needs any more stay until the next time.
            if (!hasPorts)
            {
                Remove(name);
                (link, existing, existing6) = (null, [], []);
                (needed, needed6) = (ipv4.Needed(existing), ipv6?.Needed(existing6));
            }
        }
        if (!isOurs && ipv6 is not null && existing6.Count == 0)
            throw new NetworkException(NetworkErrorKind.Conflict, $"bridge {name} belongs to others and has no IPv6 address: give it one, or leave --ipv6 out");

        var isNew = false;
        // Another engine may choose the same at the same time, see below.
        for (var attempt = 0; ; attempt++)
        {
            var address = Choose(ipv4, needed, existing);
            InetInterface? address6 = ipv6 is null ? null : Choose(ipv6, needed6, existing6);
            var batch = new NetlinkBatch();
            if (link is null)
            {
                // A MAC of its own: without, a bridge takes the lowest of its ports' and changes it as they come and go.
                batch.AddBridge(name, mtuBytes, MacAddress.For(address.Address).ToBytes());
                batch.SetLink(name, alias: BridgeNetwork.Alias);
            }
            else if (isOurs && link.MtuBytes != mtuBytes)
            {
                batch.SetLink(name, mtuBytes: mtuBytes);
            }
            if (link is null || !link.IsUp) batch.SetLink(name, up: true);
            isNew |= link is null;
            netlink.Execute(batch);
            link = netlink.Link(name) ?? throw new LinuxException("RTM_GETLINK", name, Errno.ENODEV);
            batch.Clear();
            if (!existing.Contains(address)) batch.AddAddress(link.Index, address.Address.ToBytes(), address.PrefixLength, broadcast: true);
            if (address6 is { } added && !existing6.Contains(added))
            {
                try
                {
                    AllowIPv6(name);
                }
                catch when (isNew)
                {
                    Remove(name);
                    throw;
                }
                batch.AddAddress(link.Index, added.Address.ToBytes(), added.PrefixLength, broadcast: false);
            }
            if (batch.Count > 0) netlink.Execute(batch);
            // Two engines that start together may have seen the same subnet free. The one whose bridge is the younger gives way.
            if (isNew && attempt < MaxAttempts && (IsYounger(needed, address) || (address6 is { } other && IsYounger(needed6, other))))
            {
                Remove(name);
                link = null;
                continue;
            }
            return new HostBridge(link.Index, mtuBytes, isOurs, isNew) { Address = address, Address6 = address6 };

            InetInterface Choose(BridgeWish wish, InetInterface? wanted, List<InetInterface> there)
            {
                if (wanted is null) return pools.ChooseForBridge(netlink, link?.Index ?? 0, wish.IsIPv6, attempt == 0 ? wish.Remembered : null, wish.Taken);
                if (!there.Contains(wanted.Value) && Overlap(netlink, wanted.Value.Prefix, link?.Index ?? 0) is { } overlap)
                    throw new NetworkException(NetworkErrorKind.Conflict, $"subnet {wanted.Value.Prefix} of bridge {name} overlaps {overlap}; choose another with --{(wish.IsIPv6 ? "bip6" : "bip")}");
                return wanted.Value;
            }

            bool IsYounger(InetInterface? wanted, InetInterface chosen) => wanted is null && IsTakenByElder(netlink, link!.Index, chosen.Prefix);
        }

        static bool Lacks(List<InetInterface> there, InetInterface? needed) => needed is { } address && !there.Contains(address);
    }

    // Addresses and no others: none that routers nearby announce.
    private static void AllowIPv6(string name)
    {
        Sysctl.TryWrite($"/proc/sys/net/ipv6/conf/{name}/accept_ra", "0");
        if (!Sysctl.TryWrite($"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "0"))
            throw new NetworkException(NetworkErrorKind.System, $"Unable to enable IPv6 addresses on bridge: /proc/sys/net/ipv6/conf/{name}/disable_ipv6: this machine has no IPv6");
    }

    /// <summary>The bridge of a network that a user made: made, or adopted when it is there.</summary>
    /// <param name="alias">By which a later daemon of this engine knows it.</param>
    internal static HostBridge Make(BridgeSettings settings, string alias)
    {
        var name = settings.Bridge;
        using var netlink = NetlinkSocket.OpenRoute();
        var link = netlink.Link(name);
        if (link is { Kind: not "bridge" }) throw new NetworkException(NetworkErrorKind.System, $"existing interface {name} is not a bridge");
        var isNew = link is null;
        var isOurs = link is null || link.Alias == alias;
        var mtu = settings.MtuBytes > 0 ? settings.MtuBytes : link?.MtuBytes ?? DefaultMtuBytes;
        var batch = new NetlinkBatch();
        if (link is null)
        {
            // A MAC of its own: without, a bridge takes the lowest of its ports' and changes it as they come and go.
            batch.AddBridge(name, mtu, MacAddress.For((settings.IPv4 ?? settings.IPv6)!.Gateway ?? (settings.IPv4 ?? settings.IPv6)!.Subnet.Network).ToBytes());
            batch.SetLink(name, alias: alias);
            netlink.Execute(batch);
            link = netlink.Link(name) ?? throw new LinuxException("RTM_GETLINK", name, Errno.ENODEV);
            batch.Clear();
        }
        try
        {
            if (settings.IPv6 is not null) AllowIPv6(name);
            if (settings.Address is { } address) batch.AddAddress(link.Index, address.Address.ToBytes(), address.PrefixLength, broadcast: true);
            if (settings.Address6 is { } address6) batch.AddAddress(link.Index, address6.Address.ToBytes(), address6.PrefixLength, broadcast: false);
            batch.SetLink(null, index: link.Index, up: true);
            netlink.Execute(batch);
        }
        catch
        {
            if (isNew) Remove(name);
            throw;
        }
        return new HostBridge(link.Index, mtu, isOurs, isNew);
    }

    /// <summary>Two engines that choose at the same time may have seen the same subnet free: then the one whose bridge is the younger gives way.</summary>
    internal static bool IsTakenByElder(NetlinkSocket netlink, int index, InetPrefix subnet) =>
        netlink.Routes(subnet.IsIPv6).Any(r => r.LinkIndex < index && SubnetPools.PrefixOf(r) is { Length: > 0 } p && p.Overlaps(subnet));

    // Not --mtu, which is the default bridge's.
    private const int DefaultMtuBytes = 1500;

    /// <summary>As many times another subnet is chosen.</summary>
    internal const int MaxAttempts = 31;

    internal static void Remove(params IReadOnlyList<string> names)
    {
        using var netlink = NetlinkSocket.OpenRoute();
        var batch = new NetlinkBatch();
        foreach (var some in names.Chunk(LinkRequests.MaxDeleted))
        {
            batch.Clear();
            batch.DeleteLinks(some);
            netlink.Execute(batch);
        }
    }

    /// <summary>Without those that the kernel gives every interface (fe80::/64).</summary>
    private static List<InetInterface> AddressesOf(NetlinkSocket netlink, LinkInfo? link, bool ipv6)
    {
        var found = new List<InetInterface>();
        if (link is null) return found;
        foreach (var address in netlink.Addresses())
            if (address.LinkIndex == link.Index && !address.Address.IsIPv6LinkLocal && InetAddress.TryFrom(address.Address, out var own) && own.IsIPv6 == ipv6)
                found.Add(new InetInterface(own, address.PrefixLength));
        return found;
    }

    private static string? Overlap(NetlinkSocket netlink, InetPrefix subnet, int ownIndex)
    {
        foreach (var route in netlink.Routes(subnet.IsIPv6))
        {
            if (route.LinkIndex == ownIndex || SubnetPools.PrefixOf(route) is not { Length: > 0 } prefix || !prefix.Overlaps(subnet)) continue;
            return $"the host's route {prefix} on {netlink.Links().FirstOrDefault(l => l.Index == route.LinkIndex)?.Name ?? "an unknown interface"}";
        }
        return null;
    }
}

/// <summary>What the daemon's flags and its memory say of the default bridge's address, for one address family.</summary>
/// <param name="Given">--bip, --bip6.</param>
/// <param name="Range">--fixed-cidr, --fixed-cidr-v6.</param>
/// <param name="Remembered">The one it had before.</param>
/// <param name="Taken">Subnets of other networks, which may have no route now.</param>
internal sealed record BridgeWish(bool IsIPv6, InetInterface? Given, InetPrefix? Range, InetInterface? Remembered, IReadOnlyList<InetPrefix> Taken)
{
    /// <exception cref="NetworkException">InvalidArgument.</exception>
    internal void Check()
    {
        if (Given is not { } given) return;
        var (shortest, longest) = IsIPv6 ? (8, 126) : (8, 30);
        if (given.PrefixLength < shortest || given.PrefixLength > longest || given.Address == given.Prefix.Network || (!IsIPv6 && given.Address == given.Prefix.Last))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid bridge address {given}: a host address with a prefix of {shortest} to {longest} bits is needed");
    }

    /// <summary>The address it must have; null: one of the pools.</summary>
    /// <param name="existing">What the bridge has now.</param>
    internal InetInterface? Needed(List<InetInterface> existing)
    {
        if (Given is not null) return Given;
        if (Range is not { } range) return existing.Count > 0 ? existing[0] : null;
        foreach (var address in existing)
            if (address.Prefix.Contains(range)) return address;
        if (Remembered is { } before && before.Prefix.Contains(range)) return before;
        return new InetInterface(range.Network + 1, range.Length);
    }
}
