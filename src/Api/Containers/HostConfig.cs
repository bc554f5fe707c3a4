using System.Text.Json.Serialization;
using Berth.Api.Json;

namespace Berth.Api;

/// <summary>The part of a container that depends on this machine. Sizes in bytes, CPU periods in microseconds.</summary>
public sealed record HostConfig
{
    public string[]? Binds { get; set; }
    public string ContainerIDFile { get; set; } = "";
    public LogConfig LogConfig { get; set => field = value ?? new(); } = new();
    public string NetworkMode { get; set; } = "";
    public Dictionary<string, PortBinding[]?>? PortBindings { get; set; }
    public RestartPolicy RestartPolicy { get; set => field = value ?? new(); } = new();
    public bool AutoRemove { get; set; }
    public string VolumeDriver { get; set; } = "";
    public string[]? VolumesFrom { get; set; }
    /// <summary>Height, width.</summary>
    public uint[] ConsoleSize { get; set => field = value is { Length: 2 } ? value : [0, 0]; } = [0, 0];
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Annotations { get; set => field = GoJson.OrNull(value); }
    [JsonConverter(typeof(StrSliceConverter))]
    public string[]? CapAdd { get; set; }
    [JsonConverter(typeof(StrSliceConverter))]
    public string[]? CapDrop { get; set; }
    public string CgroupnsMode { get; set; } = "";
    public string[]? Dns { get; set; }
    public string[]? DnsOptions { get; set; }
    public string[]? DnsSearch { get; set; }
    public string[]? ExtraHosts { get; set; }
    public string[]? GroupAdd { get; set; }
    public string IpcMode { get; set; } = "";
    public string Cgroup { get; set; } = "";
    public string[]? Links { get; set; }
    public int OomScoreAdj { get; set; }
    public string PidMode { get; set; } = "";
    public bool Privileged { get; set; }
    public bool PublishAllPorts { get; set; }
    public bool ReadonlyRootfs { get; set; }
    public string[]? SecurityOpt { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? StorageOpt { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Tmpfs { get; set => field = GoJson.OrNull(value); }
    public string UTSMode { get; set; } = "";
    public string UsernsMode { get; set; } = "";
    public long ShmSize { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Sysctls { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Runtime { get; set => field = GoJson.OrNull(value); }
    public string Isolation { get; set; } = "";
    public long CpuShares { get; set; }
    public long Memory { get; set; }
    /// <summary>CPUs times 10^9.</summary>
    public long NanoCpus { get; set; }
    public string CgroupParent { get; set; } = "";
    public ushort BlkioWeight { get; set; }
    public WeightDevice[]? BlkioWeightDevice { get; set; }
    public ThrottleDevice[]? BlkioDeviceReadBps { get; set; }
    public ThrottleDevice[]? BlkioDeviceWriteBps { get; set; }
    public ThrottleDevice[]? BlkioDeviceReadIOps { get; set; }
    public ThrottleDevice[]? BlkioDeviceWriteIOps { get; set; }
    public long CpuPeriod { get; set; }
    public long CpuQuota { get; set; }
    public long CpuRealtimePeriod { get; set; }
    public long CpuRealtimeRuntime { get; set; }
    public string CpusetCpus { get; set; } = "";
    public string CpusetMems { get; set; } = "";
    public DeviceMapping[]? Devices { get; set; }
    public string[]? DeviceCgroupRules { get; set; }
    public DeviceRequest[]? DeviceRequests { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long KernelMemory { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long KernelMemoryTCP { get; set; }
    public long MemoryReservation { get; set; }
    /// <summary>Memory plus swap; -1 is no limit.</summary>
    public long MemorySwap { get; set; }
    public long? MemorySwappiness { get; set; }
    public bool? OomKillDisable { get; set; }
    /// <summary>null, 0 and -1 are no limit.</summary>
    public long? PidsLimit { get; set; }
    public Ulimit[]? Ulimits { get; set; }
    public long CpuCount { get; set; }
    public long CpuPercent { get; set; }
    public ulong IOMaximumIOps { get; set; }
    public ulong IOMaximumBandwidth { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Mount[]? Mounts { get; set => field = GoJson.OrNull(value); }
    /// <summary>null: the engine's own list; empty: none.</summary>
    public string[]? MaskedPaths { get; set; }
    /// <summary>null: the engine's own list; empty: none.</summary>
    public string[]? ReadonlyPaths { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool? Init { get; set; }
}

public sealed record LogConfig
{
    public string Type { get; set; } = "";
    public Dictionary<string, string>? Config { get; set; }
}

public sealed record PortBinding
{
    public string HostIp { get; set; } = "";
    public string HostPort { get; set; } = "";
}

/// <summary>"", no, always, unless-stopped, on-failure.</summary>
public sealed record RestartPolicy
{
    public string Name { get; set; } = "";
    public int MaximumRetryCount { get; set; }
}

public sealed record WeightDevice
{
    public string Path { get; set; } = "";
    public ushort Weight { get; set; }
}

/// <summary>Bytes or operations per second.</summary>
public sealed record ThrottleDevice
{
    public string Path { get; set; } = "";
    public ulong Rate { get; set; }
}

public sealed record DeviceMapping
{
    public string PathOnHost { get; set; } = "";
    public string PathInContainer { get; set; } = "";
    public string CgroupPermissions { get; set; } = "";
}

public sealed record DeviceRequest
{
    public string Driver { get; set; } = "";
    public int Count { get; set; }
    public string[]? DeviceIDs { get; set; }
    public string[][]? Capabilities { get; set; }
    public Dictionary<string, string>? Options { get; set; }
}

/// <summary>-1 is no limit.</summary>
public sealed record Ulimit
{
    public string Name { get; set; } = "";
    public long Hard { get; set; }
    public long Soft { get; set; }
}

/// <summary>One of --mount.</summary>
public sealed record Mount
{
    /// <summary>bind, volume, tmpfs, image, npipe, cluster.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Type { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Source { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Target { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool ReadOnly { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Consistency { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public BindOptions? BindOptions { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public VolumeOptions? VolumeOptions { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ImageOptions? ImageOptions { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public TmpfsOptions? TmpfsOptions { get; set; }
}

public sealed record BindOptions
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Propagation { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool NonRecursive { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool CreateMountpoint { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool ReadOnlyNonRecursive { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool ReadOnlyForceRecursive { get; set; }
}

public sealed record VolumeOptions
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool NoCopy { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Labels { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Subpath { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public VolumeDriverConfig? DriverConfig { get; set; }
}

public sealed record VolumeDriverConfig
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Name { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Options { get; set => field = GoJson.OrNull(value); }
}

public sealed record ImageOptions
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Subpath { get; set => field = GoJson.OrNull(value); }
}

public sealed record TmpfsOptions
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long SizeBytes { get; set; }
    /// <summary>Permission bits, sent as a decimal number.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public uint Mode { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[][]? Options { get; set => field = GoJson.OrNull(value); }
}
