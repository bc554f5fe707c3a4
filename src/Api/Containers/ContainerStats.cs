using System.Text.Json.Serialization;
using Berth.Api.Json;

namespace Berth.Api;

/// <summary>Answer of GET /containers/{id}/stats, and each line of its stream. Times in nanoseconds.</summary>
public sealed record ContainerStats
{
    /// <summary>With a leading slash.</summary>
    [JsonPropertyName("name")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Name { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("id")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Id { get; set => field = GoJson.OrNull(value); }
    /// <summary>Default for a container that does not run.</summary>
    [JsonPropertyName("read")]
    public DateTimeOffset Read { get; set; }
    [JsonPropertyName("preread")]
    public DateTimeOffset PreRead { get; set; }
    [JsonPropertyName("pids_stats")]
    public PidsStats Pids { get; set => field = value ?? new(); } = new();
    [JsonPropertyName("blkio_stats")]
    public BlkioStats Blkio { get; set => field = value ?? new(); } = new();
    /// <summary>Windows' own, as is <see cref="Storage"/>.</summary>
    [JsonPropertyName("num_procs")]
    public uint NumProcs { get; set; }
    [JsonPropertyName("storage_stats")]
    public StorageStats Storage { get; set => field = value ?? new(); } = new();
    [JsonPropertyName("cpu_stats")]
    public CpuStats Cpu { get; set => field = value ?? new(); } = new();
    /// <summary>The sample before this one: what was used in between is the difference.</summary>
    [JsonPropertyName("precpu_stats")]
    public CpuStats PreCpu { get; set => field = value ?? new(); } = new();
    [JsonPropertyName("memory_stats")]
    public MemoryStats Memory { get; set => field = value ?? new(); } = new();
    /// <summary>By the interface's name inside the container.</summary>
    [JsonPropertyName("networks")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, NetworkStats>? Networks { get; set => field = GoJson.OrNull(value); }
}

public sealed record PidsStats
{
    [JsonPropertyName("current")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ulong Current { get; set; }
    [JsonPropertyName("limit")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ulong Limit { get; set; }
}

/// <summary>Null is what the kernel does not count.</summary>
public sealed record BlkioStats
{
    [JsonPropertyName("io_service_bytes_recursive")]
    public BlkioStatEntry[]? ServiceBytes { get; set; }
    [JsonPropertyName("io_serviced_recursive")]
    public BlkioStatEntry[]? Serviced { get; set; }
    [JsonPropertyName("io_queue_recursive")]
    public BlkioStatEntry[]? Queued { get; set; }
    [JsonPropertyName("io_service_time_recursive")]
    public BlkioStatEntry[]? ServiceTime { get; set; }
    [JsonPropertyName("io_wait_time_recursive")]
    public BlkioStatEntry[]? WaitTime { get; set; }
    [JsonPropertyName("io_merged_recursive")]
    public BlkioStatEntry[]? Merged { get; set; }
    [JsonPropertyName("io_time_recursive")]
    public BlkioStatEntry[]? Time { get; set; }
    [JsonPropertyName("sectors_recursive")]
    public BlkioStatEntry[]? Sectors { get; set; }
}

public sealed record BlkioStatEntry
{
    [JsonPropertyName("major")]
    public ulong Major { get; set; }
    [JsonPropertyName("minor")]
    public ulong Minor { get; set; }
    [JsonPropertyName("op")]
    public string Op { get; set; } = "";
    [JsonPropertyName("value")]
    public ulong Value { get; set; }
}

/// <summary>Always empty on Linux.</summary>
public sealed record StorageStats;

public sealed record CpuStats
{
    [JsonPropertyName("cpu_usage")]
    public CpuUsage Usage { get; set => field = value ?? new(); } = new();
    /// <summary>Of all processors together, idle time included.</summary>
    [JsonPropertyName("system_cpu_usage")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ulong SystemUsage { get; set; }
    [JsonPropertyName("online_cpus")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public uint OnlineCpus { get; set; }
    [JsonPropertyName("throttling_data")]
    public ThrottlingData Throttling { get; set => field = value ?? new(); } = new();
}

public sealed record CpuUsage
{
    [JsonPropertyName("total_usage")]
    public ulong Total { get; set; }
    [JsonPropertyName("percpu_usage")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ulong[]? PerCpu { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("usage_in_kernelmode")]
    public ulong KernelMode { get; set; }
    [JsonPropertyName("usage_in_usermode")]
    public ulong UserMode { get; set; }
}

public sealed record ThrottlingData
{
    [JsonPropertyName("periods")]
    public ulong Periods { get; set; }
    [JsonPropertyName("throttled_periods")]
    public ulong ThrottledPeriods { get; set; }
    [JsonPropertyName("throttled_time")]
    public ulong ThrottledTime { get; set; }
}

public sealed record MemoryStats
{
    [JsonPropertyName("usage")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ulong Usage { get; set; }
    [JsonPropertyName("max_usage")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ulong MaxUsage { get; set; }
    /// <summary>Of memory.stat, those that Docker shows.</summary>
    [JsonPropertyName("stats")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, ulong>? Stats { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("failcnt")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ulong FailCount { get; set; }
    [JsonPropertyName("limit")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ulong Limit { get; set; }
}

public sealed record NetworkStats
{
    [JsonPropertyName("rx_bytes")]
    public ulong RxBytes { get; set; }
    [JsonPropertyName("rx_packets")]
    public ulong RxPackets { get; set; }
    [JsonPropertyName("rx_errors")]
    public ulong RxErrors { get; set; }
    [JsonPropertyName("rx_dropped")]
    public ulong RxDropped { get; set; }
    [JsonPropertyName("tx_bytes")]
    public ulong TxBytes { get; set; }
    [JsonPropertyName("tx_packets")]
    public ulong TxPackets { get; set; }
    [JsonPropertyName("tx_errors")]
    public ulong TxErrors { get; set; }
    [JsonPropertyName("tx_dropped")]
    public ulong TxDropped { get; set; }
}
