using System.Collections.Immutable;
using System.Net;

namespace Berth.Networks;

/// <summary>
/// A network that containers can join: one of <see cref="BridgeNetwork"/>, <see cref="ParentNetwork"/> (macvlan, ipvlan), <see cref="HostNetwork"/>,
/// <see cref="NullNetwork"/>. A join has two halves: <see cref="Reserve"/> takes addresses, <see cref="Attach"/> makes the interface.
/// </summary>
internal abstract class Network(NetworkSpec spec)
{
    private readonly Lock gate = new();
    private ImmutableDictionary<string, EndpointState> endpoints = ImmutableDictionary<string, EndpointState>.Empty;
    private int joining;
    private bool removed;

    internal string Name => Spec.Name;

    internal string Id => Spec.Id;

    internal NetworkSpec Spec { get; } = spec;

    /// <summary>Who is on it, by container id. Swapped whole, so readers need no lock.</summary>
    internal ImmutableDictionary<string, EndpointState> Endpoints => Volatile.Read(ref endpoints);

    internal virtual NetworkRecord Record => new(Spec, Endpoints);

    /// <summary>Published ports of containers whose gateway this is lead somewhere.</summary>
    internal virtual bool PublishesPorts => false;

    internal virtual GatewayMode Mode => GatewayMode.Nat;

    internal virtual GatewayMode Mode6 => GatewayMode.Nat;

    /// <summary>Host address of published ports that name none; null: the engine's default.</summary>
    internal virtual IPAddress? HostBinding => null;

    /// <summary>eth, unless the network's options say otherwise.</summary>
    internal virtual string InterfacePrefix => "eth";

    /// <summary>Addresses for an endpoint that has its identity already. Nothing of the kernel's is touched.</summary>
    internal virtual EndpointState Reserve(EndpointState endpoint, EndpointRequest request, bool disableIPv6) => endpoint;

    /// <summary>Makes the interface and brings it up. Leaves nothing when it throws.</summary>
    internal virtual EndpointState Attach(EndpointState endpoint, EndpointRequest request, SandboxNamespace inside, DefaultRoutes routes) => endpoint;

    /// <summary>Undoes <see cref="Attach"/>. The slow part goes on in the background.</summary>
    internal virtual void Detach(EndpointState endpoint) { }

    /// <summary>Undoes <see cref="Reserve"/>.</summary>
    internal virtual void Release(EndpointState endpoint) { }

    /// <summary>Takes over an endpoint of a former daemon.</summary>
    internal virtual void Restore(EndpointState endpoint) { }

    /// <summary>After all restores: removes what belongs to no endpoint.</summary>
    internal virtual void Sweep() { }

    /// <summary>Removes what the network itself is made of.</summary>
    internal virtual void Remove() { }

    /// <summary>From here until <see cref="Put"/> or <see cref="GiveUp"/> the network can't be removed.</summary>
    internal void BeginJoin(string containerId, string containerName)
    {
        lock (gate)
        {
            if (removed) throw new NetworkException(NetworkErrorKind.NotFound, $"network {Name} not found");
            if (endpoints.ContainsKey(containerId)) throw new NetworkException(NetworkErrorKind.Forbidden, $"endpoint with name {containerName} already exists in network {Name}");
            joining++;
        }
    }

    internal void GiveUp()
    {
        lock (gate) joining--;
    }

    /// <summary>A join that <see cref="BeginJoin"/> began is complete.</summary>
    internal void Put(EndpointState endpoint)
    {
        lock (gate)
        {
            joining--;
            Volatile.Write(ref endpoints, endpoints.SetItem(endpoint.ContainerId, endpoint));
        }
    }

    internal void Adopt(EndpointState endpoint)
    {
        lock (gate) Volatile.Write(ref endpoints, endpoints.SetItem(endpoint.ContainerId, endpoint));
    }

    internal void Drop(string containerId)
    {
        lock (gate) Volatile.Write(ref endpoints, endpoints.Remove(containerId));
    }

    internal void Rename(string containerId, EndpointState renamed)
    {
        lock (gate)
            if (endpoints.ContainsKey(containerId)) Volatile.Write(ref endpoints, endpoints.SetItem(containerId, renamed));
    }

    /// <summary>From here on nobody can join.</summary>
    /// <exception cref="NetworkException">Forbidden, in Docker's words: somebody has.</exception>
    internal void BeginRemoval()
    {
        lock (gate)
        {
            if (joining > 0 || !endpoints.IsEmpty)
            {
                var list = string.Join(", ", endpoints.Values.OrderBy(e => e.ContainerName, StringComparer.Ordinal).Select(e => $"name:\"{e.ContainerName}\" id:\"{e.EndpointId[..12]}\""));
                throw new NetworkException(NetworkErrorKind.Forbidden, $"error while removing network: network {Name} has active endpoints ({list})");
            }
            removed = true;
        }
    }
}

/// <summary>Which default routes an endpoint gives.</summary>
internal readonly record struct DefaultRoutes(bool IPv4, bool IPv6);

/// <summary>--network host: the container stays in the host's namespace. Published ports mean nothing there.</summary>
internal sealed class HostNetwork(NetworkSpec spec) : Network(spec);

/// <summary>--network none: a namespace with loopback and nothing else.</summary>
internal sealed class NullNetwork(NetworkSpec spec) : Network(spec);

/// <summary>A configuration that other networks take over; nobody joins it.</summary>
internal sealed class ConfigurationNetwork(NetworkSpec spec) : Network(spec)
{
    internal override EndpointState Reserve(EndpointState endpoint, EndpointRequest request, bool disableIPv6) =>
        throw new NetworkException(NetworkErrorKind.Forbidden, "cannot create endpoint on configuration-only network");
}
