using System.Net;

namespace Berth.Networks.Dns;

/// <summary>What a container on a network is called there.</summary>
/// <param name="Names">Container name first, which is what its address is called in reverse; then aliases, short id, hostname. The same name may belong to several containers.</param>
/// <param name="Links">Names that only this container knows for others on the network: alias → name.</param>
public sealed record DnsEndpoint(string ContainerId, string NetworkId, string NetworkName, IReadOnlyList<string> Names, IReadOnlyList<KeyValuePair<string, string>> Links, IReadOnlyList<IPAddress> Addresses);

/// <summary>
/// Who is called what on which network, and who may know: a name is looked up in the networks of the one who asks, in the order of
/// <see cref="Put"/>, and the first that has it answers. Safe for concurrent use.
/// </summary>
internal sealed class NameTable
{
    private sealed class Zone(string name)
    {
        internal string Name { get; set; } = name;
        internal int Members { get; set; }
        internal Dictionary<string, List<DnsEndpoint>> ByName { get; } = new(StringComparer.OrdinalIgnoreCase);
        internal Dictionary<IPAddress, DnsEndpoint> ByAddress { get; } = [];
    }

    private readonly Lock gate = new();
    private readonly Dictionary<string, Zone> zones = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<DnsEndpoint>> byContainer = new(StringComparer.Ordinal);

    /// <summary>Adds the endpoint, or replaces the container's on that network.</summary>
    internal void Put(DnsEndpoint endpoint)
    {
        lock (gate)
        {
            if (!byContainer.TryGetValue(endpoint.ContainerId, out var own)) byContainer[endpoint.ContainerId] = own = [];
            var at = own.FindIndex(e => e.NetworkId == endpoint.NetworkId);
            if (at < 0)
            {
                own.Add(endpoint);
            }
            else
            {
                Forget(own[at]);
                own[at] = endpoint;
            }
            if (!zones.TryGetValue(endpoint.NetworkId, out var zone)) zones[endpoint.NetworkId] = zone = new Zone(endpoint.NetworkName);
            zone.Name = endpoint.NetworkName;
            zone.Members++;
            foreach (var name in endpoint.Names)
            {
                if (!zone.ByName.TryGetValue(name, out var called)) zone.ByName[name] = called = [];
                if (!called.Contains(endpoint)) called.Add(endpoint);
            }
            foreach (var address in endpoint.Addresses) zone.ByAddress[address] = endpoint;
        }
    }

    /// <summary>From now on these are the container's endpoints, in this order.</summary>
    internal void Set(string containerId, IReadOnlyList<DnsEndpoint> endpoints)
    {
        lock (gate)
        {
            foreach (var former in byContainer.GetValueOrDefault(containerId)?.ToArray() ?? [])
                if (!endpoints.Any(e => e.NetworkId == former.NetworkId)) Remove(containerId, former.NetworkId);
            foreach (var endpoint in endpoints) Put(endpoint);
            if (endpoints.Count > 0) byContainer[containerId] = [.. endpoints];
        }
    }

    internal void Remove(string containerId, string networkId)
    {
        lock (gate)
        {
            if (!byContainer.TryGetValue(containerId, out var own)) return;
            var at = own.FindIndex(e => e.NetworkId == networkId);
            if (at < 0) return;
            Forget(own[at]);
            own.RemoveAt(at);
            if (own.Count == 0) byContainer.Remove(containerId);
        }
    }

    private void Forget(DnsEndpoint endpoint)
    {
        var zone = zones[endpoint.NetworkId];
        foreach (var name in endpoint.Names)
        {
            if (zone.ByName.TryGetValue(name, out var called) && called.Remove(endpoint) && called.Count == 0) zone.ByName.Remove(name);
        }
        foreach (var address in endpoint.Addresses)
        {
            if (zone.ByAddress.TryGetValue(address, out var known) && ReferenceEquals(known, endpoint)) zone.ByAddress.Remove(address);
        }
        if (--zone.Members == 0) zones.Remove(endpoint.NetworkId);
    }

    /// <summary>Whether the asker may know the name, and the addresses it stands for, of both families.</summary>
    /// <param name="name">Without a dot at the end. "name.network" is looked up in that network alone, when nothing is called so in whole.</param>
    internal bool Resolve(string askerId, ReadOnlySpan<char> name, List<IPAddress> addresses)
    {
        addresses.Clear();
        lock (gate)
        {
            if (!byContainer.TryGetValue(askerId, out var own)) return false;
            if (Find(own, name, default, addresses)) return true;
            for (var dot = name.LastIndexOf('.'); dot > 0; dot = name[..dot].LastIndexOf('.'))
                if (Find(own, name[..dot], name[(dot + 1)..], addresses)) return true;
            return false;
        }
    }

    private bool Find(List<DnsEndpoint> own, ReadOnlySpan<char> name, ReadOnlySpan<char> network, List<IPAddress> addresses)
    {
        // What the asker calls others goes before what they call themselves.
        foreach (var endpoint in own)
        {
            if (endpoint.Links.Count == 0 || !IsOn(endpoint, network)) continue;
            foreach (var (alias, target) in endpoint.Links)
                if (name.Equals(alias, StringComparison.OrdinalIgnoreCase) && Collect(endpoint.NetworkId, target, addresses)) return true;
        }
        foreach (var endpoint in own)
            if (IsOn(endpoint, network) && Collect(endpoint.NetworkId, name, addresses)) return true;
        return false;
    }

    private static bool IsOn(DnsEndpoint endpoint, ReadOnlySpan<char> network) => network.IsEmpty || network.Equals(endpoint.NetworkName, StringComparison.OrdinalIgnoreCase);

    private bool Collect(string networkId, ReadOnlySpan<char> name, List<IPAddress> addresses)
    {
        if (!zones[networkId].ByName.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(name, out var called)) return false;
        foreach (var endpoint in called)
            foreach (var address in endpoint.Addresses)
                if (!addresses.Contains(address)) addresses.Add(address);
        return true;
    }

    /// <summary>"name.network" of an address on a network of the asker; null when there is none.</summary>
    internal string? Reverse(string askerId, IPAddress address)
    {
        lock (gate)
        {
            if (!byContainer.TryGetValue(askerId, out var own)) return null;
            foreach (var endpoint in own)
            {
                var zone = zones[endpoint.NetworkId];
                if (zone.ByAddress.TryGetValue(address, out var found) && found.Names.Count > 0) return $"{found.Names[0]}.{zone.Name}";
            }
            return null;
        }
    }
}
