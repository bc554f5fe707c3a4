using Berth.Api;
using Berth.Linux;
using Berth.Linux.Cgroups;

namespace Berth.Engine;

/// <summary>A cgroup's sample in Docker's words. Pure.</summary>
internal static class StatsReading
{
    private static readonly string[] MemoryNamesV1 =
    [
        "cache", "rss", "rss_huge", "mapped_file", "dirty", "writeback", "pgpgin", "pgpgout", "pgfault", "pgmajfault", "inactive_anon", "active_anon", "inactive_file", "active_file",
        "unevictable", "hierarchical_memory_limit", "hierarchical_memsw_limit", "total_cache", "total_rss", "total_rss_huge", "total_mapped_file", "total_dirty", "total_writeback",
        "total_pgpgin", "total_pgpgout", "total_pgfault", "total_pgmajfault", "total_inactive_anon", "total_active_anon", "total_inactive_file", "total_active_file", "total_unevictable",
    ];

    private static readonly string[] MemoryNamesV2 =
    [
        "anon", "file", "kernel_stack", "slab", "sock", "shmem", "file_mapped", "file_dirty", "file_writeback", "anon_thp", "inactive_anon", "active_anon", "inactive_file", "active_file",
        "unevictable", "slab_reclaimable", "slab_unreclaimable", "pgfault", "pgmajfault", "workingset_refault", "workingset_activate", "workingset_nodereclaim", "pgrefill", "pgscan",
        "pgsteal", "pgactivate", "pgdeactivate", "pglazyfree", "pglazyfreed", "thp_fault_alloc", "thp_collapse_alloc",
    ];

    /// <param name="machineMemoryBytes">What a container without a limit is limited to.</param>
    public static ContainerStats For(
        CgroupSample sample, CgroupVersion version, IReadOnlyList<InterfaceCounters> interfaces, (ulong Nanoseconds, uint Processors) system, ulong machineMemoryBytes, DateTimeOffset read) => new()
    {
        Read = read,
        Pids = sample.Pids is { } pids ? new PidsStats { Current = pids.Current, Limit = pids.Limit ?? 0 } : new(),
        Blkio = sample.Io is { } io ? Io(io, version) : new(),
        Cpu = Cpu(sample.Cpu, system),
        Memory = sample.Memory is { } memory ? Memory(memory, version, machineMemoryBytes) : new(),
        Networks = interfaces.Count == 0 ? null : interfaces.ToDictionary(i => i.Name, Network),
    };

    private static CpuStats Cpu(CgroupCpuUsage? cpu, (ulong Nanoseconds, uint Processors) system) => new()
    {
        Usage = cpu is null ? new() : new CpuUsage { Total = cpu.TotalNanoseconds, PerCpu = cpu.PerCpuNanoseconds, KernelMode = cpu.KernelNanoseconds, UserMode = cpu.UserNanoseconds },
        Throttling = cpu is null ? new() : new ThrottlingData { Periods = cpu.Periods, ThrottledPeriods = cpu.ThrottledPeriods, ThrottledTime = cpu.ThrottledNanoseconds },
        SystemUsage = system.Nanoseconds,
        OnlineCpus = system.Processors,
    };

    private static MemoryStats Memory(CgroupMemoryUsage memory, CgroupVersion version, ulong machineMemoryBytes)
    {
        // All of Docker's names, with 0 where this kernel has none of that name.
        var names = version == CgroupVersion.V1 ? MemoryNamesV1 : MemoryNamesV2;
        var details = new Dictionary<string, ulong>(names.Length, StringComparer.Ordinal);
        foreach (var name in names) details[name] = memory.Details.GetValueOrDefault(name);
        return new MemoryStats
        {
            Usage = memory.UsageBytes, MaxUsage = memory.MaxUsageBytes, FailCount = memory.Failures, Stats = details,
            Limit = machineMemoryBytes > 0 ? Math.Min(memory.LimitBytes, machineMemoryBytes) : memory.LimitBytes,
        };
    }

    private static BlkioStats Io(CgroupIo io, CgroupVersion version)
    {
        // v2 counts bytes only, and Docker says null there where v1 has an empty list.
        if (version == CgroupVersion.V2) return new BlkioStats { ServiceBytes = io.Bytes.Count == 0 ? null : Entries(io.Bytes) };
        return new BlkioStats
        {
            ServiceBytes = Entries(io.Bytes), Serviced = Entries(io.Operations), Queued = Entries(io.Queued), ServiceTime = Entries(io.ServiceTime), WaitTime = Entries(io.WaitTime),
            Merged = Entries(io.Merged), Time = Entries(io.Time), Sectors = Entries(io.Sectors),
        };
    }

    private static BlkioStatEntry[] Entries(IReadOnlyList<CgroupIoEntry> entries) =>
        [.. entries.Select(e => new BlkioStatEntry { Major = e.Major, Minor = e.Minor, Op = e.Operation, Value = e.Value })];

    private static NetworkStats Network(InterfaceCounters i) => new()
    {
        RxBytes = i.RxBytes, RxPackets = i.RxPackets, RxErrors = i.RxErrors, RxDropped = i.RxDropped, TxBytes = i.TxBytes, TxPackets = i.TxPackets, TxErrors = i.TxErrors, TxDropped = i.TxDropped,
    };
}
