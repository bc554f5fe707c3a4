namespace Berth.Networks;

/// <summary>
/// Hands out the addresses of one subnet, the lowest free one first, as Docker does. Knows only what is taken now: after a restart
/// the addresses of running containers are reserved again from what the engine remembers of them. Safe for concurrent use.
/// </summary>
public sealed class Ipam
{
    private readonly Lock gate = new();
    private readonly HashSet<Ipv4Address> taken = [];
    private readonly Ipv4Prefix subnet;
    private readonly uint first, last;
    private uint lowestMaybeFree;

    /// <param name="range">Part of the subnet to choose from (--fixed-cidr, --ip-range); null: all of it.</param>
    /// <param name="reserved">Never given out, such as the gateway's.</param>
    public Ipam(Ipv4Prefix subnet, Ipv4Prefix? range, params ReadOnlySpan<Ipv4Address> reserved)
    {
        var pool = range ?? subnet;
        if (!subnet.Contains(pool)) throw new NetworkException(NetworkErrorKind.InvalidArgument, $"range {pool} is not within subnet {subnet}");
        this.subnet = subnet;
        (first, last) = (pool.Network.Value, pool.Last.Value);
        // The subnet's own first and last address mean the network and everyone in it; a /31 and a /32 have neither (RFC 3021).
        if (subnet.Length <= 30)
        {
            if (first == subnet.Network.Value) first++;
            if (last == subnet.Last.Value) last--;
        }
        lowestMaybeFree = first;
        foreach (var address in reserved) taken.Add(address);
    }

    /// <exception cref="NetworkException">Exhausted, in Docker's words.</exception>
    public Ipv4Address Allocate()
    {
        lock (gate)
        {
            for (ulong candidate = lowestMaybeFree; candidate <= last; candidate++)
            {
                var address = new Ipv4Address((uint)candidate);
                if (!taken.Add(address)) continue;
                lowestMaybeFree = (uint)Math.Min(candidate + 1, uint.MaxValue);
                return address;
            }
            lowestMaybeFree = last;
            throw new NetworkException(NetworkErrorKind.Exhausted, "no available IPv4 addresses on this network's address pools");
        }
    }

    /// <summary>Takes one particular address; false: somebody has it.</summary>
    /// <exception cref="NetworkException">InvalidArgument: not an address of this subnet.</exception>
    public bool TryReserve(Ipv4Address address)
    {
        if (!subnet.Contains(address)) throw new NetworkException(NetworkErrorKind.InvalidArgument, $"no configured subnet contains IP address {address}");
        lock (gate) return taken.Add(address);
    }

    public void Release(Ipv4Address address)
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
