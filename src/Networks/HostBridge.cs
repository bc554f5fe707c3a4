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

    internal static HostBridge Prepare(string name, InetInterface? wanted, InetInterface? remembered, SubnetPools pools, int mtuBytes)
    {
        if (wanted is { } w && (w.PrefixLength is < 8 or > 30 || w.Address == w.Prefix.Network || w.Address == w.Prefix.Last))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid bridge address {w}: a host address with a prefix of 8 to 30 bits is needed");

        using var netlink = NetlinkSocket.OpenRoute();
        var link = netlink.Link(name);
        if (link is { Kind: not "bridge" })
            throw new NetworkException(NetworkErrorKind.Conflict, $"interface {name} exists and is not a bridge");
        var isOurs = link is null || link.Alias == BridgeNetwork.Alias;
        var existing = link is null ? [] : AddressesOf(netlink, link.Index);

        if (link is not null && wanted is { } needed && !existing.Contains(needed))
        {
            var hasPorts = netlink.Links().Any(l => l.MasterIndex == link.Index);
            if (!isOurs || hasPorts)
                throw new NetworkException(NetworkErrorKind.Conflict,
                    $"bridge {name} has {(existing.Count == 0 ? "no address" : $"address {existing[0]}")}, not {needed}, and is in use{(isOurs ? "" : " by others")}");
            Remove(name);
            (link, existing) = (null, []);
        }

        var isNew = false;
        // Another engine may choose the same at the same time, see below.
        var given = wanted ?? (existing.Count > 0 ? existing[0] : null);
        for (var attempt = 0; ; attempt++)
        {
            var address = given ?? pools.ChooseForBridge(netlink, link?.Index ?? 0, attempt == 0 ? remembered : null);
            if (wanted is { } asked && !existing.Contains(asked) && Overlap(netlink, asked.Prefix, link?.Index ?? 0) is { } overlap)
                throw new NetworkException(NetworkErrorKind.Conflict, $"subnet {asked.Prefix} of bridge {name} overlaps {overlap}; choose another with --bip");
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
            if (existing.Contains(address)) return new HostBridge(link.Index, mtuBytes, isOurs, isNew) { Address = address };

            batch.Clear();
            batch.AddAddress(link.Index, address.Address.ToBytes(), address.PrefixLength, broadcast: true);
            netlink.Execute(batch);
            // Two engines that start together may have seen the same subnet free. The one whose bridge is the younger gives way.
            if (given is null && attempt < MaxAttempts && IsTakenByElder(netlink, link.Index, address.Prefix))
            {
                Remove(name);
                link = null;
                continue;
            }
            return new HostBridge(link.Index, mtuBytes, isOurs, isNew) { Address = address };
        }
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
            if (settings.IPv6 is not null)
            {
                Sysctl.TryWrite($"/proc/sys/net/ipv6/conf/{name}/accept_ra", "0");
                if (!Sysctl.TryWrite($"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "0"))
                    throw new NetworkException(NetworkErrorKind.System, $"Unable to enable IPv6 addresses on bridge: /proc/sys/net/ipv6/conf/{name}/disable_ipv6: this machine has no IPv6");
            }
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

    internal static void Remove(string name)
    {
        using var netlink = NetlinkSocket.OpenRoute();
        var batch = new NetlinkBatch();
        batch.DeleteLink(name);
        netlink.Execute(batch);
    }

    private static List<InetInterface> AddressesOf(NetlinkSocket netlink, int index) =>
    [
        .. netlink.Addresses()
            .Where(a => a.LinkIndex == index)
            .Select(a => InetAddress.TryFrom(a.Address, out var v4) && !v4.IsIPv6 ? new InetInterface(v4, a.PrefixLength) : (InetInterface?)null)
            .OfType<InetInterface>(),
    ];

    private static string? Overlap(NetlinkSocket netlink, InetPrefix subnet, int ownIndex)
    {
        foreach (var route in netlink.Routes())
        {
            if (route.LinkIndex == ownIndex || SubnetPools.PrefixOf(route) is not { Length: > 0 } prefix || !prefix.Overlaps(subnet)) continue;
            return $"the host's route {prefix} on {netlink.Links().FirstOrDefault(l => l.Index == route.LinkIndex)?.Name ?? "an unknown interface"}";
        }
        return null;
    }
}
