using System.Collections.Immutable;

namespace Berth.Networks;

/// <summary>One subnet of a network.</summary>
public sealed record SubnetSpec(InetPrefix Subnet)
{
    /// <summary>Given by the user; otherwise chosen from the address pools. Containers may ask for addresses of their own only here.</summary>
    public bool Given { get; init; }
    /// <summary>As given: containers' addresses come from this part only.</summary>
    public InetPrefix? Range { get; init; }
    /// <summary>As given; shown by inspect.</summary>
    public InetAddress? GivenGateway { get; init; }
    /// <summary>The one in use; null where there is none (isolated networks).</summary>
    public InetAddress? Gateway { get; init; }
    /// <summary>Addresses of the subnet that containers never get, by the user's names for them.</summary>
    public IReadOnlyDictionary<string, InetAddress> Auxiliary { get; init; } = ImmutableDictionary<string, InetAddress>.Empty;
}

/// <summary>What a network is and keeps across restarts: immutable, and what networks.json holds.</summary>
public sealed record NetworkSpec
{
    public required string Name { get; init; }
    /// <summary>64 hex digits.</summary>
    public required string Id { get; init; }
    public required DateTimeOffset Created { get; init; }
    /// <summary>bridge, host, null, macvlan or ipvlan.</summary>
    public required string Driver { get; init; }
    public bool EnableIPv4 { get; init; } = true;
    public bool EnableIPv6 { get; init; }
    public bool Internal { get; init; }
    public bool Attachable { get; init; }
    /// <summary>Never made: others take their configuration from it.</summary>
    public bool ConfigOnly { get; init; }
    /// <summary>The network that the configuration was taken from; empty: its own.</summary>
    public string ConfigFrom { get; init => field = value ?? ""; } = "";
    // Null in a file that lacks them, whatever they are initialised with: hence the accessors.
    public IReadOnlyDictionary<string, string> Options { get; init => field = value ?? ImmutableDictionary<string, string>.Empty; } = ImmutableDictionary<string, string>.Empty;
    public IReadOnlyDictionary<string, string> Labels { get; init => field = value ?? ImmutableDictionary<string, string>.Empty; } = ImmutableDictionary<string, string>.Empty;
    public string IpamDriver { get; init => field = value ?? "default"; } = "default";
    /// <summary>Null when none were given, which the API tells from an empty map.</summary>
    public IReadOnlyDictionary<string, string>? IpamOptions { get; init; }
    /// <summary>IPv4 first. Of a family that is not enabled only what was given, to be shown.</summary>
    public IReadOnlyList<SubnetSpec> Subnets { get; init => field = value ?? []; } = [];

    /// <summary>In use, of this family.</summary>
    public SubnetSpec? SubnetOf(bool ipv6) => (ipv6 ? EnableIPv6 : EnableIPv4) ? Subnets.FirstOrDefault(s => s.Subnet.IsIPv6 == ipv6) : null;
}

/// <summary>One entry of a request's IPAM configuration, as the API has it: texts, each possibly empty.</summary>
public sealed record SubnetRequest(string? Subnet, string? Range, string? Gateway, IReadOnlyDictionary<string, string>? Auxiliary);

/// <summary>A wish for a network, as the API has it.</summary>
public sealed record NetworkRequest
{
    public required string Name { get; init; }
    /// <summary>Empty: bridge.</summary>
    public string Driver { get; init; } = "";
    /// <summary>Null: what the options say, else on.</summary>
    public bool? EnableIPv4 { get; init; }
    /// <summary>Null: what the options say, else off.</summary>
    public bool? EnableIPv6 { get; init; }
    public bool Internal { get; init; }
    public bool Attachable { get; init; }
    public bool Ingress { get; init; }
    public bool ConfigOnly { get; init; }
    public string ConfigFrom { get; init; } = "";
    public string Scope { get; init; } = "";
    public IReadOnlyDictionary<string, string> Options { get; init; } = ImmutableDictionary<string, string>.Empty;
    public IReadOnlyDictionary<string, string> Labels { get; init; } = ImmutableDictionary<string, string>.Empty;
    public string IpamDriver { get; init; } = "";
    public IReadOnlyDictionary<string, string>? IpamOptions { get; init; }
    public IReadOnlyList<SubnetRequest> Subnets { get; init; } = [];
}

/// <summary>A network and who is on it now. Immutable; ask again for the containers of now.</summary>
public sealed record NetworkRecord(NetworkSpec Spec, IReadOnlyDictionary<string, EndpointState> Endpoints)
{
    public string Name => Spec.Name;
    public string Id => Spec.Id;
    public string Driver => Spec.Driver;
    /// <summary>One of the three that are always there.</summary>
    public bool IsPredefined => NetworkManager.IsPredefined(Name);
    /// <summary>Driver options as inspect shows them: the default bridge's are the daemon's flags.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = Spec.Options;
}
