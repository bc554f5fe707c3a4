using System.Text.Json.Serialization;
using Berth.Api.Json;

namespace Berth.Api;

/// <summary>Answer of GET /containers/{id}/json.</summary>
public sealed record ContainerInspect
{
    public string Id { get; set; } = "";
    public DateTimeOffset Created { get; set; }
    public string Path { get; set; } = "";
    public string[]? Args { get; set; }
    public ContainerState State { get; set => field = value ?? new(); } = new();
    /// <summary>The image's id.</summary>
    public string Image { get; set; } = "";
    public string ResolvConfPath { get; set; } = "";
    public string HostnamePath { get; set; } = "";
    public string HostsPath { get; set; } = "";
    public string LogPath { get; set; } = "";
    /// <summary>With a leading slash.</summary>
    public string Name { get; set; } = "";
    public int RestartCount { get; set; }
    public string Driver { get; set; } = "";
    public string Platform { get; set; } = "";
    public string MountLabel { get; set; } = "";
    public string ProcessLabel { get; set; } = "";
    public string AppArmorProfile { get; set; } = "";
    public string[]? ExecIDs { get; set; }
    public HostConfig HostConfig { get; set => field = value ?? new(); } = new();
    public DriverData GraphDriver { get; set => field = value ?? new(); } = new();
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long? SizeRw { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long? SizeRootFs { get; set; }
    public MountPoint[] Mounts { get; set => field = value ?? []; } = [];
    public ContainerConfig Config { get; set => field = value ?? new(); } = new();
    public NetworkSettings NetworkSettings { get; set => field = value ?? new(); } = new();
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public Descriptor? ImageManifestDescriptor { get; set; }
}

public sealed record ContainerState
{
    /// <summary>created, running, paused, restarting, removing, exited, dead.</summary>
    public string Status { get; set; } = "";
    public bool Running { get; set; }
    public bool Paused { get; set; }
    public bool Restarting { get; set; }
    public bool OOMKilled { get; set; }
    public bool Dead { get; set; }
    public int Pid { get; set; }
    public int ExitCode { get; set; }
    public string Error { get; set; } = "";
    public DateTimeOffset StartedAt { get; set; }
    public DateTimeOffset FinishedAt { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public Health? Health { get; set; }
}

public sealed record Health
{
    /// <summary>none, starting, healthy, unhealthy.</summary>
    public string Status { get; set; } = "";
    public int FailingStreak { get; set; }
    public HealthcheckResult[]? Log { get; set; }
}

public sealed record HealthcheckResult
{
    public DateTimeOffset Start { get; set; }
    public DateTimeOffset End { get; set; }
    public int ExitCode { get; set; }
    public string Output { get; set; } = "";
}

/// <summary>Where an object's files are; free keys per storage driver.</summary>
public sealed record DriverData
{
    public Dictionary<string, string>? Data { get; set; }
    public string Name { get; set; } = "";
}

/// <summary>A mount as the container has it.</summary>
public sealed record MountPoint
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Type { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Name { get; set => field = GoJson.OrNull(value); }
    public string Source { get; set; } = "";
    public string Destination { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Driver { get; set => field = GoJson.OrNull(value); }
    public string Mode { get; set; } = "";
    public bool RW { get; set; }
    public string Propagation { get; set; } = "";
}

public sealed record NetworkSettings
{
    public string Bridge { get; set; } = "";
    public string SandboxID { get; set; } = "";
    public string SandboxKey { get; set; } = "";
    /// <summary>"port/protocol" to host bindings; null for one exposed but not published.</summary>
    public Dictionary<string, PortBinding[]?>? Ports { get; set => field = value ?? []; } = [];
    public bool HairpinMode { get; set; }
    public string LinkLocalIPv6Address { get; set; } = "";
    public int LinkLocalIPv6PrefixLen { get; set; }
    public NetworkAddress[]? SecondaryIPAddresses { get; set; }
    public NetworkAddress[]? SecondaryIPv6Addresses { get; set; }
    public string EndpointID { get; set; } = "";
    public string Gateway { get; set; } = "";
    public string GlobalIPv6Address { get; set; } = "";
    public int GlobalIPv6PrefixLen { get; set; }
    public string IPAddress { get; set; } = "";
    public int IPPrefixLen { get; set; }
    public string IPv6Gateway { get; set; } = "";
    public string MacAddress { get; set; } = "";
    public Dictionary<string, EndpointSettings>? Networks { get; set; }
}

public sealed record NetworkAddress
{
    public string Addr { get; set; } = "";
    public int PrefixLen { get; set; }
}

/// <summary>One row of GET /containers/json.</summary>
public sealed record ContainerSummary
{
    public string Id { get; set; } = "";
    public string[]? Names { get; set; }
    public string Image { get; set; } = "";
    public string ImageID { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public Descriptor? ImageManifestDescriptor { get; set; }
    public string Command { get; set; } = "";
    /// <summary>Unix seconds.</summary>
    public long Created { get; set; }
    public Port[] Ports { get; set => field = value ?? []; } = [];
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long SizeRw { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long SizeRootFs { get; set; }
    public Dictionary<string, string> Labels { get; set => field = value ?? []; } = [];
    public string State { get; set; } = "";
    /// <summary>For people: "Up 2 seconds".</summary>
    public string Status { get; set; } = "";
    public HostConfigSummary HostConfig { get; set => field = value ?? new(); } = new();
    public NetworkSettingsSummary? NetworkSettings { get; set; }
    public MountPoint[] Mounts { get; set => field = value ?? []; } = [];
}

public sealed record HostConfigSummary
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? NetworkMode { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Annotations { get; set => field = GoJson.OrNull(value); }
}

public sealed record NetworkSettingsSummary
{
    public Dictionary<string, EndpointSettings>? Networks { get; set; }
}

public sealed record Port
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? IP { get; set => field = GoJson.OrNull(value); }
    public ushort PrivatePort { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ushort PublicPort { get; set; }
    public string Type { get; set; } = "";
}

/// <summary>Answer of GET /containers/{id}/top.</summary>
public sealed record ContainerTopResponse
{
    public string[][] Processes { get; set => field = value ?? []; } = [];
    public string[] Titles { get; set => field = value ?? []; } = [];
}

/// <summary>Answer of POST /containers/{id}/wait.</summary>
public sealed record ContainerWaitResponse
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ContainerWaitExitError? Error { get; set; }
    public long StatusCode { get; set; }
}

public sealed record ContainerWaitExitError
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Message { get; set => field = GoJson.OrNull(value); }
}

/// <summary>Answer of POST /containers/prune.</summary>
public sealed record ContainerPruneResponse
{
    public string[]? ContainersDeleted { get; set; }
    public ulong SpaceReclaimed { get; set; }
}

/// <summary>Body of POST /containers/{id}/update.</summary>
public sealed record ContainerUpdateResponse
{
    public string[]? Warnings { get; set; }
}
