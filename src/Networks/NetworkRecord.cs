namespace Berth.Networks;

/// <summary>A network as the engine lists it. Immutable; ask again for the containers of now.</summary>
public sealed record NetworkRecord
{
    public required string Name { get; init; }
    /// <summary>64 hex digits, kept across restarts.</summary>
    public required string Id { get; init; }
    public required DateTimeOffset Created { get; init; }
    /// <summary>bridge, host or null.</summary>
    public required string Driver { get; init; }
    /// <summary>Null for host and none.</summary>
    public Ipv4Prefix? Subnet { get; init; }
    public Ipv4Address? Gateway { get; init; }
    public Ipv4Prefix? IpRange { get; init; }
    /// <summary>Driver options in Docker's names (com.docker.network.bridge.name, …).</summary>
    public required IReadOnlyDictionary<string, string> Options { get; init; }
    /// <summary>Endpoints by container id.</summary>
    public IReadOnlyDictionary<string, EndpointState> Endpoints { get; init; } = new Dictionary<string, EndpointState>();
}
