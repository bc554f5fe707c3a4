using System.Text.Json.Serialization;
using Berth.Api.Json;

namespace Berth.Api;

/// <summary>Answer of GET /version.</summary>
public sealed record SystemVersion
{
    public VersionPlatform Platform { get; set => field = value ?? new(); } = new();
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ComponentVersion[]? Components { get; set => field = GoJson.OrNull(value); }
    public string Version { get; set; } = "";
    public string ApiVersion { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? MinAPIVersion { get; set => field = GoJson.OrNull(value); }
    public string GitCommit { get; set; } = "";
    public string GoVersion { get; set; } = "";
    public string Os { get; set; } = "";
    public string Arch { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? KernelVersion { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool Experimental { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? BuildTime { get; set => field = GoJson.OrNull(value); }
}

public sealed record VersionPlatform
{
    public string Name { get; set; } = "";
}

public sealed record ComponentVersion
{
    public string Name { get; set; } = "";
    public string Version { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Details { get; set => field = GoJson.OrNull(value); }
}

/// <summary>Answer of GET /info.</summary>
public sealed record SystemInfo
{
    public string ID { get; set; } = "";
    public int Containers { get; set; }
    public int ContainersRunning { get; set; }
    public int ContainersPaused { get; set; }
    public int ContainersStopped { get; set; }
    public int Images { get; set; }
    public string Driver { get; set; } = "";
    /// <summary>[name, value] each.</summary>
    public string[][] DriverStatus { get; set => field = value ?? []; } = [];
    public PluginsInfo Plugins { get; set => field = value ?? new(); } = new();
    public bool MemoryLimit { get; set; }
    public bool SwapLimit { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool KernelMemoryTCP { get; set; }
    public bool CpuCfsPeriod { get; set; }
    public bool CpuCfsQuota { get; set; }
    public bool CPUShares { get; set; }
    public bool CPUSet { get; set; }
    public bool PidsLimit { get; set; }
    public bool IPv4Forwarding { get; set; }
    public bool Debug { get; set; }
    public int NFd { get; set; }
    public bool OomKillDisable { get; set; }
    public int NGoroutines { get; set; }
    public DateTimeOffset SystemTime { get; set; }
    public string LoggingDriver { get; set; } = "";
    public string CgroupDriver { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? CgroupVersion { get; set => field = GoJson.OrNull(value); }
    public int NEventsListener { get; set; }
    public string KernelVersion { get; set; } = "";
    public string OperatingSystem { get; set; } = "";
    public string OSVersion { get; set; } = "";
    public string OSType { get; set; } = "";
    public string Architecture { get; set; } = "";
    public string IndexServerAddress { get; set; } = "";
    public RegistryServiceConfig? RegistryConfig { get; set; }
    public int NCPU { get; set; }
    public long MemTotal { get; set; }
    /// <summary>Always null: swarm's.</summary>
    public string[]? GenericResources { get; set; }
    public string DockerRootDir { get; set; } = "";
    public string HttpProxy { get; set; } = "";
    public string HttpsProxy { get; set; } = "";
    public string NoProxy { get; set; } = "";
    public string Name { get; set; } = "";
    public string[] Labels { get; set => field = value ?? []; } = [];
    public bool ExperimentalBuild { get; set; }
    public string ServerVersion { get; set; } = "";
    public Dictionary<string, RuntimeWithStatus>? Runtimes { get; set; }
    public string DefaultRuntime { get; set; } = "";
    public SwarmInfo Swarm { get; set => field = value ?? new(); } = new();
    public bool LiveRestoreEnabled { get; set; }
    public string Isolation { get; set; } = "";
    public string InitBinary { get; set; } = "";
    public Commit ContainerdCommit { get; set => field = value ?? new(); } = new();
    public Commit RuncCommit { get; set => field = value ?? new(); } = new();
    public Commit InitCommit { get; set => field = value ?? new(); } = new();
    public string[] SecurityOptions { get; set => field = value ?? []; } = [];
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? ProductLicense { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public NetworkAddressPool[]? DefaultAddressPools { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public FirewallInfo? FirewallBackend { get; set; }
    public string[] CDISpecDirs { get; set => field = value ?? []; } = [];
    public string[]? Warnings { get; set; }
}

public sealed record PluginsInfo
{
    public string[]? Volume { get; set; }
    public string[]? Network { get; set; }
    public string[]? Authorization { get; set; }
    public string[]? Log { get; set; }
}

public sealed record Commit
{
    public string ID { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Expected { get; set => field = GoJson.OrNull(value); }
}

public sealed record NetworkAddressPool
{
    public string Base { get; set; } = "";
    public int Size { get; set; }
}

public sealed record FirewallInfo
{
    public string Driver { get; set; } = "";
    /// <summary>[name, value] each.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[][]? Info { get; set => field = GoJson.OrNull(value); }
}

public sealed record RuntimeWithStatus
{
    [JsonPropertyName("path")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Path { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("runtimeArgs")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? RuntimeArgs { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("runtimeType")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? RuntimeType { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("status")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Status { get; set => field = GoJson.OrNull(value); }
}

/// <summary>Berth takes part in no swarm; clients want to be told so.</summary>
public sealed record SwarmInfo
{
    public string NodeID { get; set; } = "";
    public string NodeAddr { get; set; } = "";
    public string LocalNodeState { get; set; } = "inactive";
    public bool ControlAvailable { get; set; }
    public string Error { get; set; } = "";
    public string[]? RemoteManagers { get; set; }
}

public sealed record RegistryServiceConfig
{
    public Dictionary<string, IndexInfo> IndexConfigs { get; set => field = value ?? []; } = [];
    public string[] InsecureRegistryCIDRs { get; set => field = value ?? []; } = [];
    public string[]? Mirrors { get; set; }
}

public sealed record IndexInfo
{
    public string[] Mirrors { get; set => field = value ?? []; } = [];
    public string Name { get; set; } = "";
    public bool Official { get; set; }
    public bool Secure { get; set; }
}

/// <summary>Answer of GET /system/df; null: not asked for.</summary>
public sealed record DiskUsageResponse
{
    public long LayersSize { get; set; }
    public ImageSummary[]? Images { get; set; }
    public ContainerSummary[]? Containers { get; set; }
    public Volume[]? Volumes { get; set; }
    public BuildCacheRecord[]? BuildCache { get; set; }
    /// <summary>Before API 1.42.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long? BuilderSize { get; set; }
}

/// <summary>Answer of GET /debug/vars: what the process holds, by the names of Go's expvar where it has one.</summary>
public sealed record DebugVars
{
    [JsonPropertyName("cmdline")]
    public string[] CommandLine { get; set; } = [];
    [JsonPropertyName("memstats")]
    public MemoryStatistics MemStats { get; set; } = new();
    [JsonPropertyName("berth")]
    public EngineBooks Berth { get; set; } = new();
}

/// <summary>In bytes.</summary>
public sealed record MemoryStatistics
{
    public long Alloc { get; set; }
    public long TotalAlloc { get; set; }
    public long Sys { get; set; }
    public long HeapAlloc { get; set; }
    public long HeapSys { get; set; }
    public int NumGC { get; set; }
}

/// <summary>How many of each the engine has in its books, and what the monitor holds (-1: it does not say).</summary>
public sealed record EngineBooks
{
    public int Containers { get; set; }
    public int Execs { get; set; }
    public int Volumes { get; set; }
    public int EventListeners { get; set; }
    public int MonitoredProcesses { get; set; }
    public int MonitorProcesses { get; set; }
    public long MonitorHeapAlloc { get; set; }
}

/// <summary>One row of the build cache.</summary>
public sealed record BuildCacheRecord
{
    public string ID { get; set; } = "";
    [JsonPropertyName(" Parents")] // so it is in dockerd, blank and all, and its clients read nothing else
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? Parents { get; set => field = GoJson.OrNull(value); }
    public string Type { get; set; } = "";
    public string Description { get; set; } = "";
    public bool InUse { get; set; }
    public bool Shared { get; set; }
    public long Size { get; set; }
    public DateTimeOffset CreatedAt { get; set; }
    public DateTimeOffset? LastUsedAt { get; set; }
    public int UsageCount { get; set; }
}

/// <summary>Answer of POST /build/prune.</summary>
public sealed record BuildPruneResponse
{
    public string[]? CachesDeleted { get; set; }
    public ulong SpaceReclaimed { get; set; }
}

/// <summary>Header X-Registry-Auth (base64url of this as JSON), and body of POST /auth.</summary>
public sealed record AuthConfig
{
    [JsonPropertyName("username")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Username { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("password")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Password { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("auth")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Auth { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("email")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Email { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("serveraddress")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? ServerAddress { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("identitytoken")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? IdentityToken { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("registrytoken")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? RegistryToken { get; set => field = GoJson.OrNull(value); }
}

/// <summary>Answer of POST /auth.</summary>
public sealed record AuthResponse
{
    public string IdentityToken { get; set; } = "";
    public string Status { get; set; } = "";
}

/// <summary>The body of every answer with a status of 400 or more.</summary>
public sealed record ErrorResponse
{
    [JsonPropertyName("message")]
    public string Message { get; set; } = "";
}

/// <summary>One message of GET /events; the lower-case ones repeat it for clients of API 1.21 and before.</summary>
public sealed record EventMessage
{
    [JsonPropertyName("status")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Status { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("id")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Id { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("from")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? From { get; set => field = GoJson.OrNull(value); }
    /// <summary>container, image, network, volume, daemon, ...</summary>
    public string Type { get; set; } = "";
    public string Action { get; set; } = "";
    public EventActor Actor { get; set => field = value ?? new(); } = new();
    [JsonPropertyName("scope")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Scope { get; set => field = GoJson.OrNull(value); }
    /// <summary>Unix seconds.</summary>
    [JsonPropertyName("time")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Time { get; set; }
    /// <summary>Unix nanoseconds.</summary>
    [JsonPropertyName("timeNano")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long TimeNano { get; set; }
}

public sealed record EventActor
{
    public string ID { get; set; } = "";
    public Dictionary<string, string>? Attributes { get; set; }
}
