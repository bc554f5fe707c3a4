using System.Diagnostics;
using System.Net.Sockets;
using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>The bridge interface on the host: made, adopted or removed. Runs inside the host's namespace.</summary>
/// <param name="IsOurs">Made by us, now or by a former daemon: it has our alias. Others' are used but never changed or removed.</param>
/// <param name="IsNew">Made just now.</param>
internal sealed record HostBridge(int Index, Ipv4Interface Address, bool IsOurs, bool IsNew)
{
    /// <summary>Docker's default address pools, in its order.</summary>
    private static readonly IReadOnlyList<Ipv4Prefix> DefaultSubnets =
    [
        .. Enumerable.Range(17, 15).Select(b => new Ipv4Prefix(new Ipv4Address(0xac10_0000u | ((uint)(b - 16) << 16)), 16)),
        .. Enumerable.Range(0, 16).Select(b => new Ipv4Prefix(new Ipv4Address(0xc0a8_0000u | ((uint)b << 12)), 20)),
    ];

    /// <summary>More subnets of one pool than this are not tried: a host does not have as many routes.</summary>
    private const int SubnetsTried = 65_536;

    /// <summary>Every subnet that may be chosen, in order.</summary>
    internal static IEnumerable<Ipv4Prefix> Subnets(IReadOnlyList<(Ipv4Prefix Base, int Size)> pools)
    {
        if (pools.Count == 0) return DefaultSubnets;
        return pools.SelectMany(pool => Enumerable.Range(0, (int)Math.Min(1L << (pool.Size - pool.Base.Length), SubnetsTried))
            .Select(i => new Ipv4Prefix(new Ipv4Address(pool.Base.Network.Value + ((uint)i << (32 - pool.Size))), pool.Size)));
    }

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

    internal static HostBridge Prepare(string name, Ipv4Interface? wanted, Ipv4Interface? remembered, IReadOnlyList<(Ipv4Prefix Base, int Size)> pools, int mtuBytes, ILogger logger)
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
        // Up to the number of pools: another engine may choose the same at the same time, see below.
        var given = wanted ?? (existing.Count > 0 ? existing[0] : null);
        for (var attempt = 0; ; attempt++)
        {
            var address = given ?? Choose(netlink.Routes(), link?.Index ?? 0, attempt == 0 ? remembered : null, pools);
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
            if (existing.Contains(address)) return new HostBridge(link.Index, address, isOurs, isNew);

            batch.Clear();
            batch.AddAddress(link.Index, address.Address.ToBytes(), address.PrefixLength, broadcast: true);
            netlink.Execute(batch);
            // Two engines that start together may have seen the same subnet free. The one whose bridge is the younger gives way.
            if (given is null && attempt < DefaultSubnets.Count && netlink.Routes().Any(r => r.LinkIndex < link.Index && PrefixOf(r) is { Length: > 0 } p && p.Overlaps(address.Prefix)))
            {
                Remove(name);
                link = null;
                continue;
            }
            return new HostBridge(link.Index, address, isOurs, isNew);
        }
    }

    internal static void Remove(string name)
    {
        using var netlink = NetlinkSocket.OpenRoute();
        var batch = new NetlinkBatch();
        batch.DeleteLink(name);
        netlink.Execute(batch);
    }

    private static List<Ipv4Interface> AddressesOf(NetlinkSocket netlink, int index) =>
    [
        .. netlink.Addresses()
            .Where(a => a.LinkIndex == index)
            .Select(a => Ipv4Address.TryFrom(a.Address, out var v4) ? new Ipv4Interface(v4, a.PrefixLength) : (Ipv4Interface?)null)
            .OfType<Ipv4Interface>(),
    ];

    private static Ipv4Interface Choose(IReadOnlyList<RouteInfo> routes, int ownIndex, Ipv4Interface? remembered, IReadOnlyList<(Ipv4Prefix Base, int Size)> pools)
    {
        if (remembered is { } r && Free(r.Prefix)) return r;
        foreach (var pool in Subnets(pools))
            if (Free(pool)) return new Ipv4Interface(new Ipv4Address(pool.Network.Value + 1), pool.Length);
        throw new NetworkException(NetworkErrorKind.Exhausted, "all predefined address pools have been fully subnetted: every default subnet overlaps a route of this host; choose one with --bip");

        bool Free(Ipv4Prefix pool) => !routes.Any(route => route.LinkIndex != ownIndex && PrefixOf(route) is { Length: > 0 } p && p.Overlaps(pool));
    }

    private static string? Overlap(NetlinkSocket netlink, Ipv4Prefix subnet, int ownIndex)
    {
        foreach (var route in netlink.Routes())
        {
            if (route.LinkIndex == ownIndex || PrefixOf(route) is not { Length: > 0 } prefix || !prefix.Overlaps(subnet)) continue;
            return $"the host's route {prefix} on {netlink.Links().FirstOrDefault(l => l.Index == route.LinkIndex)?.Name ?? "an unknown interface"}";
        }
        return null;
    }

    private static Ipv4Prefix PrefixOf(RouteInfo route) =>
        Ipv4Address.TryFrom(route.Destination, out var address) ? new Ipv4Prefix(address, route.PrefixLength) : default;
}
