namespace Berth.Networks;

/// <summary>
/// Hands out the addresses of one subnet, the lowest free one first, as Docker does. Knows only what is taken now: after a restart
/// the addresses of running containers are reserved again from what the engine remembers of them. Safe for concurrent use.
/// </summary>
public sealed class Ipam
{
    private readonly Lock gate = new();
    private readonly HashSet<InetAddress> taken = [];
    private readonly InetPrefix subnet;
    private readonly UInt128 first, last;
    private UInt128 lowestMaybeFree;

    /// <param name="range">Part of the subnet to choose from (--fixed-cidr, --ip-range); null: all of it.</param>
    /// <param name="reserved">Never given out, such as the gateway's.</param>
    public Ipam(InetPrefix subnet, InetPrefix? range, params IEnumerable<InetAddress> reserved)
    {
        var pool = range ?? subnet;
        if (!subnet.Contains(pool)) throw new NetworkException(NetworkErrorKind.InvalidArgument, $"range {pool} is not within subnet {subnet}");
        this.subnet = subnet;
        (first, last) = (pool.Network.Value, pool.Last.Value);
        // The subnet's own first and last address mean the network and everyone in it; a /31 and a /32 have neither (RFC 3021). In IPv6 the first one
        // means any router (RFC 4291, 2.6.1), and there is no other.
        if (IsForEverybody(pool.Network)) first++;
        if (IsForEverybody(pool.Last)) last--;
        lowestMaybeFree = first;
        foreach (var address in reserved) taken.Add(address);
    }

    private bool IsForEverybody(InetAddress address) => subnet.IsIPv6 ? subnet.Length < 128 && address == subnet.Network
        : subnet.Length <= 30 && (address == subnet.Network || address == subnet.Last);

    /// <exception cref="NetworkException">Exhausted, in Docker's words.</exception>
    public InetAddress Allocate()
    {
        lock (gate)
        {
            for (var candidate = lowestMaybeFree; candidate <= last; candidate++)
            {
                var address = new InetAddress(candidate, subnet.IsIPv6);
                if (taken.Add(address))
                {
                    lowestMaybeFree = candidate == last ? last : candidate + 1;
                    return address;
                }
                if (candidate == last) break; // of 2^128 - 1, which has no successor
            }
            lowestMaybeFree = last;
            throw new NetworkException(NetworkErrorKind.Exhausted, $"no available IPv{(subnet.IsIPv6 ? 6 : 4)} addresses on this network's address pools");
        }
    }

    /// <summary>Takes one particular address; false: somebody has it, or it means everybody.</summary>
    /// <exception cref="NetworkException">InvalidArgument: not an address of this subnet.</exception>
    public bool TryReserve(InetAddress address)
    {
        if (!subnet.Contains(address)) throw new NetworkException(NetworkErrorKind.InvalidArgument, $"no configured subnet contains IP address {address}");
        if (IsForEverybody(address)) return false;
        lock (gate) return taken.Add(address);
    }

    /// <summary>One particular address; else, when it is free, the one that was had before; else the lowest free one.</summary>
    /// <exception cref="NetworkException">Forbidden or Exhausted, in Docker's words.</exception>
    public InetAddress Take(InetAddress? wanted, InetAddress? preferred)
    {
        if (wanted is { } asked) return TryReserve(asked) ? asked : throw new NetworkException(NetworkErrorKind.Forbidden, "Address already in use");
        if (preferred is { } before && subnet.Contains(before) && TryReserve(before)) return before;
        return Allocate();
    }

    public void Release(InetAddress address)
    {
        lock (gate)
        {
            if (taken.Remove(address) && address.Value >= first && address.Value < lowestMaybeFree) lowestMaybeFree = address.Value;
        }
    }

    /// <summary>Number of addresses taken, reserved ones included.</summary>
    public int TakenCount
    {
        get
        {
            lock (gate) return taken.Count;
        }
    }
}
