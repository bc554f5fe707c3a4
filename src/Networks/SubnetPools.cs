using System.Security.Cryptography;
using System.Text;
using Berth.Linux;

namespace Berth.Networks;

/// <summary>Where subnets come from that nobody gave: each pool is cut into subnets of its size, and the first is taken that neither a network has nor a
/// route of the host overlaps.</summary>
/// <param name="pools">--default-address-pool; a family without any has Docker's.</param>
/// <param name="engine">Whatever tells this engine from others: its own IPv6 subnets come from it.</param>
internal sealed class SubnetPools(IReadOnlyList<(InetPrefix Base, int Size)> pools, string engine)
{
    /// <summary>More subnets of one pool than this are not tried: a host does not have as many routes.</summary>
    private const int SubnetsTried = 65_536;

    private static readonly (InetPrefix Base, int Size)[] Docker =
    [
        .. Enumerable.Range(17, 15).Select(b => (new InetPrefix(new InetAddress(0xac10_0000u | ((uint)(b - 16) << 16)), 16), 16)),
        (new InetPrefix(new InetAddress(0xc0a8_0000u), 16), 20),
    ];

    private readonly (InetPrefix Base, int Size)[] ipv4 = pools.Any(p => !p.Base.IsIPv6) ? [.. pools.Where(p => !p.Base.IsIPv6)] : Docker;
    private readonly (InetPrefix Base, int Size)[] ipv6 = pools.Any(p => p.Base.IsIPv6) ? [.. pools.Where(p => p.Base.IsIPv6)] : [(UniqueLocal(engine), 64)];

    /// <summary>RFC 4193: fd, 40 bits that nobody else has, a subnet. Always the same for one engine on one machine.</summary>
    private static InetPrefix UniqueLocal(string engine)
    {
        string machine;
        try
        {
            machine = File.ReadAllText("/etc/machine-id").Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            machine = Environment.MachineName;
        }
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{machine} {engine}"));
        UInt128 value = 0xfd;
        for (var i = 0; i < 5; i++) value = (value << 8) | hash[i];
        return new InetPrefix(new InetAddress(value << 80, true), 48);
    }

    /// <summary>Every subnet that may be chosen, in order.</summary>
    internal IEnumerable<InetPrefix> Subnets(bool ipv6) => (ipv6 ? this.ipv6 : ipv4).SelectMany(pool =>
    {
        var bits = pool.Size - pool.Base.Length;
        var count = bits >= 16 ? SubnetsTried : 1 << bits;
        return Enumerable.Range(0, count).Select(i => new InetPrefix(pool.Base.Network + ((UInt128)i << (pool.Base.Network.Bits - pool.Size)), pool.Size));
    });

    /// <summary>Inside the host's namespace. <paramref name="taken"/>: the other networks', which may have no route now.</summary>
    /// <exception cref="NetworkException">InvalidArgument, in Docker's words.</exception>
    internal InetPrefix Choose(NetlinkSocket netlink, bool ipv6, IReadOnlyCollection<InetPrefix> taken)
    {
        var routes = netlink.Routes(ipv6).Select(PrefixOf).Where(p => p.Length > 0).ToArray();
        foreach (var subnet in Subnets(ipv6))
            if (!taken.Any(subnet.Overlaps) && !routes.Any(subnet.Overlaps)) return subnet;
        throw new NetworkException(NetworkErrorKind.InvalidArgument, "all predefined address pools have been fully subnetted");
    }

    /// <summary>For the default bridge, which may be there already (<paramref name="ownIndex"/>).</summary>
    internal InetInterface ChooseForBridge(NetlinkSocket netlink, int ownIndex, bool ipv6, InetInterface? remembered, IReadOnlyCollection<InetPrefix> taken)
    {
        var routes = netlink.Routes(ipv6).Where(r => r.LinkIndex != ownIndex).Select(PrefixOf).Where(p => p.Length > 0).ToArray();
        if (remembered is { } r && !routes.Any(r.Prefix.Overlaps)) return r;
        foreach (var subnet in Subnets(ipv6))
            if (!taken.Any(subnet.Overlaps) && !routes.Any(subnet.Overlaps)) return new InetInterface(subnet.Network + 1, subnet.Length);
        throw new NetworkException(NetworkErrorKind.Exhausted, $"all predefined address pools have been fully subnetted: every default subnet overlaps a route of this host; choose one with --{(ipv6 ? "bip6" : "bip")}");
    }

    internal static InetPrefix PrefixOf(RouteInfo route) => InetAddress.TryFrom(route.Destination, out var address) ? new InetPrefix(address, route.PrefixLength) : default;
}
