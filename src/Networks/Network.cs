using System.Collections.Immutable;

namespace Berth.Networks;

/// <summary>A network that containers can join: one of <see cref="BridgeNetwork"/>, <see cref="HostNetwork"/>, <see cref="NullNetwork"/>.</summary>
internal abstract class Network(StoredNetwork stored)
{
    private ImmutableDictionary<string, EndpointState> endpoints = ImmutableDictionary<string, EndpointState>.Empty;

    internal string Name => Stored.Name;

    internal string Id => Stored.Id;

    internal StoredNetwork Stored { get; } = stored;

    /// <summary>Who is on it, by container id. Swapped whole, so readers need no lock.</summary>
    internal ImmutableDictionary<string, EndpointState> Endpoints => Volatile.Read(ref endpoints);

    internal virtual NetworkRecord Record => new()
    {
        Name = Name,
        Id = Id,
        Created = Stored.Created,
        Driver = Stored.Driver,
        Options = ImmutableDictionary<string, string>.Empty,
        Endpoints = Endpoints,
    };

    /// <summary>Makes the endpoint; leaves nothing when it throws.</summary>
    internal abstract NetworkSandbox Join(string containerId, EndpointRequest request);

    internal abstract void Leave(EndpointState endpoint);

    /// <summary>Takes over an endpoint of a former daemon.</summary>
    internal abstract void Restore(RunningContainer container);

    internal void Put(EndpointState endpoint) => ImmutableInterlocked.AddOrUpdate(ref endpoints, endpoint.ContainerId, endpoint, (_, _) => endpoint);

    /// <summary>False: somebody else has dropped it.</summary>
    internal bool Drop(string containerId) => ImmutableInterlocked.TryRemove(ref endpoints, containerId, out _);

    internal void Rename(string containerId, string name)
    {
        var all = Endpoints;
        while (all.TryGetValue(containerId, out var endpoint)
            && !ImmutableInterlocked.TryUpdate(ref endpoints, containerId, endpoint with { ContainerName = name }, endpoint)) all = Endpoints;
    }

    protected EndpointState NewEndpoint(string containerId, EndpointRequest request) => new()
    {
        NetworkName = Name,
        NetworkId = Id,
        EndpointId = NetworkStore.NewId(),
        SandboxId = NetworkStore.NewId(),
        ContainerId = containerId,
        ContainerName = request.ContainerName,
    };
}

/// <summary>--network host: the container stays in the host's namespace. Published ports mean nothing there.</summary>
internal sealed class HostNetwork(StoredNetwork stored) : Network(stored)
{
    internal override NetworkSandbox Join(string containerId, EndpointRequest request) => new(null, NewEndpoint(containerId, request));

    internal override void Leave(EndpointState endpoint) { }

    internal override void Restore(RunningContainer container) { }
}

/// <summary>--network none: a namespace with loopback and nothing else.</summary>
internal sealed class NullNetwork(StoredNetwork stored, NamespacePool pool) : Network(stored)
{
    internal override NetworkSandbox Join(string containerId, EndpointRequest request)
    {
        using var prepared = pool.Take();
        prepared.IPv6ForNewInterfaces();
        return new NetworkSandbox(prepared.Detach(), NewEndpoint(containerId, request));
    }

    internal override void Leave(EndpointState endpoint) { }

    internal override void Restore(RunningContainer container) { }
}
