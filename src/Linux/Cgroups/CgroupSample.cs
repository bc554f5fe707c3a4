namespace Berth.Linux.Cgroups;

/// <summary>What a cgroup has used, at one moment. A part whose controller is not there is null.</summary>
public sealed record CgroupSample
{
    public CgroupCpuUsage? Cpu { get; init; }
    public CgroupMemoryUsage? Memory { get; init; }
    public CgroupPids? Pids { get; init; }

    /// <summary>Null: no io or blkio controller.</summary>
    public CgroupIo? Io { get; init; }
}

/// <param name="PerCpuNanoseconds">v1 only; empty otherwise.</param>
public sealed record CgroupCpuUsage(
    ulong TotalNanoseconds, ulong UserNanoseconds, ulong KernelNanoseconds, ulong[] PerCpuNanoseconds, ulong Periods, ulong ThrottledPeriods, ulong ThrottledNanoseconds);

/// <param name="MaxUsageBytes">v1 only; 0 otherwise.</param>
/// <param name="LimitBytes"><see cref="ulong.MaxValue"/>, or on v1 a number near 2^63: none.</param>
/// <param name="Failures">How often the limit was hit: failcnt on v1, the oom events on v2.</param>
/// <param name="Details">memory.stat, by the kernel's names.</param>
public sealed record CgroupMemoryUsage(ulong UsageBytes, ulong MaxUsageBytes, ulong LimitBytes, ulong Failures, IReadOnlyDictionary<string, ulong> Details);

/// <param name="Limit">Null: none.</param>
public readonly record struct CgroupPids(ulong Current, ulong? Limit);

/// <summary>Counters per block device; on v2 only <see cref="Bytes"/> has entries, with "read" and "write".</summary>
public sealed record CgroupIo
{
    public IReadOnlyList<CgroupIoEntry> Bytes { get; init; } = [];
    public IReadOnlyList<CgroupIoEntry> Operations { get; init; } = [];
    public IReadOnlyList<CgroupIoEntry> Queued { get; init; } = [];
    public IReadOnlyList<CgroupIoEntry> ServiceTime { get; init; } = [];
    public IReadOnlyList<CgroupIoEntry> WaitTime { get; init; } = [];
    public IReadOnlyList<CgroupIoEntry> Merged { get; init; } = [];
    public IReadOnlyList<CgroupIoEntry> Time { get; init; } = [];
    public IReadOnlyList<CgroupIoEntry> Sectors { get; init; } = [];
}

/// <param name="Operation">As the kernel writes it (Read, Sync, Total, ...); empty where it writes none.</param>
public readonly record struct CgroupIoEntry(ulong Major, ulong Minor, string Operation, ulong Value);
