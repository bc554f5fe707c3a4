using System.Text.Json.Serialization;
using Berth.Api.Json;

namespace Berth.Api;

/// <summary>Per-network wishes of a create request.</summary>
public sealed record NetworkingConfig
{
    public Dictionary<string, EndpointSettings>? EndpointsConfig { get; set; }
}

/// <summary>A container's place in one network: what was asked for, then what it got.</summary>
public sealed record EndpointSettings
{
    public EndpointIPAMConfig? IPAMConfig { get; set; }
    public string[]? Links { get; set; }
    public string[]? Aliases { get; set; }
    public string MacAddress { get; set; } = "";
    public Dictionary<string, string>? DriverOpts { get; set; }
    public int GwPriority { get; set; }
    public string NetworkID { get; set; } = "";
    public string EndpointID { get; set; } = "";
    public string Gateway { get; set; } = "";
    public string IPAddress { get; set; } = "";
    public int IPPrefixLen { get; set; }
    public string IPv6Gateway { get; set; } = "";
    public string GlobalIPv6Address { get; set; } = "";
    public int GlobalIPv6PrefixLen { get; set; }
    public string[]? DNSNames { get; set; }
}

public sealed record EndpointIPAMConfig
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? IPv4Address { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? IPv6Address { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? LinkLocalIPs { get; set => field = GoJson.OrNull(value); }
}

/// <summary>Answer of GET /networks/{id}, and one row of GET /networks.</summary>
public sealed record NetworkInspect
{
    public string Name { get; set; } = "";
    public string Id { get; set; } = "";
    public DateTimeOffset Created { get; set; }
    public string Scope { get; set; } = "";
    public string Driver { get; set; } = "";
    public bool EnableIPv4 { get; set; }
    public bool EnableIPv6 { get; set; }
    public IPAM IPAM { get; set => field = value ?? new(); } = new();
    public bool Internal { get; set; }
    public bool Attachable { get; set; }
    public bool Ingress { get; set; }
    public ConfigReference ConfigFrom { get; set => field = value ?? new(); } = new();
    public bool ConfigOnly { get; set; }
    /// <summary>By container id; filled by inspect, empty in a list.</summary>
    public Dictionary<string, EndpointResource>? Containers { get; set => field = value ?? []; } = [];
    public Dictionary<string, string>? Options { get; set => field = value ?? []; } = [];
    public Dictionary<string, string>? Labels { get; set => field = value ?? []; } = [];
}

public sealed record IPAM
{
    public string Driver { get; set; } = "";
    public Dictionary<string, string>? Options { get; set; }
    public IPAMConfig[]? Config { get; set; }
}

public sealed record IPAMConfig
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Subnet { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? IPRange { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Gateway { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? AuxiliaryAddresses { get; set => field = GoJson.OrNull(value); }
}

public sealed record ConfigReference
{
    public string Network { get; set; } = "";
}

public sealed record EndpointResource
{
    public string Name { get; set; } = "";
    public string EndpointID { get; set; } = "";
    public string MacAddress { get; set; } = "";
    public string IPv4Address { get; set; } = "";
    public string IPv6Address { get; set; } = "";
}

/// <summary>Body of POST /networks/create.</summary>
public sealed record NetworkCreateRequest
{
    public string Name { get; set; } = "";
    /// <summary>Of old clients: two networks never have the same name.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? CheckDuplicate { get; set; }
    public string Driver { get; set; } = "";
    public string Scope { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? EnableIPv4 { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public bool? EnableIPv6 { get; set; }
    public IPAM? IPAM { get; set; }
    public bool Internal { get; set; }
    public bool Attachable { get; set; }
    public bool Ingress { get; set; }
    public bool ConfigOnly { get; set; }
    public ConfigReference? ConfigFrom { get; set; }
    public Dictionary<string, string>? Options { get; set; }
    public Dictionary<string, string>? Labels { get; set; }
}

public sealed record NetworkCreateResponse
{
    public string Id { get; set; } = "";
    public string Warning { get; set; } = "";
}

/// <summary>Body of POST /networks/{id}/connect.</summary>
public sealed record NetworkConnectRequest
{
    public string Container { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public EndpointSettings? EndpointConfig { get; set; }
}

/// <summary>Body of POST /networks/{id}/disconnect.</summary>
public sealed record NetworkDisconnectRequest
{
    public string Container { get; set; } = "";
    public bool Force { get; set; }
}

/// <summary>Answer of POST /networks/prune.</summary>
public sealed record NetworkPruneResponse
{
    public string[]? NetworksDeleted { get; set; }
}
