using System.Globalization;

namespace Berth.Linux.Cgroups;

/// <summary>Limits as writes to v1 files (Documentation/admin-guide/cgroup-v1/).</summary>
public static class CgroupV1Plan
{
    /// <summary>The kernel's bounds for cpu.shares, MIN_SHARES and MAX_SHARES of kernel/sched/sched.h; it clamps silently, we say so.</summary>
    public const ulong MinCpuShares = 2, MaxCpuShares = 262144;

    /// <param name="limits">What is asked for.</param>
    /// <param name="memoryLimitBytes">What memory.limit_in_bytes says now (<see cref="long.MaxValue"/> in a new cgroup): memory may never be above memory and swap, which decides the order.</param>
    /// <exception cref="CgroupLimitException">Values that no kernel takes.</exception>
    public static IReadOnlyList<CgroupWrite> For(CgroupLimits limits, long memoryLimitBytes = long.MaxValue)
    {
        if (limits.Unified.Count > 0) throw new CgroupLimitException("invalid configuration: cannot use unified on cgroup v1");
        var plan = new List<CgroupWrite>();
        Memory(plan, limits, memoryLimitBytes);
        Cpu(plan, limits);
        if (limits.CpusetCpus is { Length: > 0 } cpus) plan.Add(new("cpuset", "cpuset.cpus", cpus));
        if (limits.CpusetMems is { Length: > 0 } mems) plan.Add(new("cpuset", "cpuset.mems", mems));
        if (limits.PidsLimit is { } pids and not 0) plan.Add(new("pids", "pids.max", pids > 0 ? Text(pids) : "max"));
        Blkio(plan, limits);
        foreach (var (size, bytes) in limits.HugePageLimits.OrderBy(l => l.Key, StringComparer.Ordinal))
        {
            plan.Add(new("hugetlb", $"hugetlb.{size}.limit_in_bytes", Text(bytes)));
            plan.Add(new("hugetlb", $"hugetlb.{size}.rsvd.limit_in_bytes", Text(bytes)) { Optional = true });
        }
        if (limits.Devices is { } devices) plan.AddRange(DeviceList.ForV1(devices));
        return plan;
    }

    private static void Memory(List<CgroupWrite> plan, CgroupLimits limits, long current)
    {
        var memory = limits.MemoryLimitBytes ?? 0;
        var swap = limits.MemorySwapBytes ?? 0;
        if (memory != 0)
        {
            var limit = new CgroupWrite("memory", "memory.limit_in_bytes", Text(memory));
            // Unlimited memory means unlimited swap unless said otherwise; without swap accounting there is no such file.
            var withSwap = swap != 0 ? new CgroupWrite("memory", "memory.memsw.limit_in_bytes", Text(swap))
                : memory == -1 ? new CgroupWrite("memory", "memory.memsw.limit_in_bytes", "-1") { Optional = true }
                : null;
            var swapFirst = withSwap is not null && (swap == -1 || memory == -1 || current < swap);
            if (withSwap is not null && swapFirst) plan.Add(withSwap);
            plan.Add(limit);
            if (withSwap is not null && !swapFirst) plan.Add(withSwap);
        }
        else if (swap != 0)
        {
            plan.Add(new("memory", "memory.memsw.limit_in_bytes", Text(swap)));
        }
        if (limits.MemoryReservationBytes is { } reservation and not 0) plan.Add(new("memory", "memory.soft_limit_in_bytes", Text(reservation)));
        if (limits.KernelMemoryTcpBytes is { } tcp and not 0) plan.Add(new("memory", "memory.kmem.tcp.limit_in_bytes", Text(tcp)) { Optional = true });
        if (limits.DisableOomKiller == true) plan.Add(new("memory", "memory.oom_control", "1"));
        if (limits.MemorySwappiness is { } swappiness && swappiness != ulong.MaxValue)
        {
            if (swappiness > 100) throw new CgroupLimitException($"invalid memory swappiness value: {swappiness} (valid range is 0-100)");
            plan.Add(new("memory", "memory.swappiness", Text(swappiness)));
        }
    }

    private static void Cpu(List<CgroupWrite> plan, CgroupLimits limits)
    {
        if (limits.CpuShares is { } shares and not 0)
        {
            if (shares > MaxCpuShares) throw new CgroupLimitException($"the maximum allowed cpu-shares is {MaxCpuShares}");
            if (shares < MinCpuShares) throw new CgroupLimitException($"the minimum allowed cpu-shares is {MinCpuShares}");
            plan.Add(new("cpu", "cpu.shares", Text(shares)));
        }
        // A new period may be refused with the old quota (their ratio above the parent's) and a new quota with the old period;
        // so the period is tried before and, if a quota follows, once more after it. The same with the burst, bounded by the quota.
        var period = limits.CpuPeriodMicroseconds is { } p and not 0 ? new CgroupWrite("cpu", "cpu.cfs_period_us", Text(p)) : null;
        var burst = limits.CpuBurstMicroseconds is { } b ? new CgroupWrite("cpu", "cpu.cfs_burst_us", Text(b)) { Optional = true } : null;
        if (limits.CpuQuotaMicroseconds is { } quota and not 0)
        {
            if (period is not null) plan.Add(period with { Tentative = true });
            plan.Add(new("cpu", "cpu.cfs_quota_us", Text(quota)));
        }
        if (period is not null) plan.Add(period);
        if (burst is not null) plan.Add(burst);
        if (limits.CpuIdle is { } idle) plan.Add(new("cpu", "cpu.idle", Text(idle)));
        var runtime = limits.CpuRealtimeRuntimeMicroseconds is { } r and not 0 ? new CgroupWrite("cpu", "cpu.rt_runtime_us", Text(r)) : null;
        var realtimePeriod = limits.CpuRealtimePeriodMicroseconds is { } rp and not 0 ? new CgroupWrite("cpu", "cpu.rt_period_us", Text(rp)) : null;
        if (realtimePeriod is not null && runtime is not null) plan.Add(realtimePeriod with { Tentative = true });
        if (runtime is not null) plan.Add(runtime);
        if (realtimePeriod is not null) plan.Add(realtimePeriod);
    }

    private static void Blkio(List<CgroupWrite> plan, CgroupLimits limits)
    {
        // With the BFQ scheduler the same files carry its name.
        CgroupWrite Weight(string file, string value) => new("blkio", "blkio." + file, value) { Otherwise = new("blkio", "blkio.bfq." + file, value) };
        if (limits.BlkioWeight is { } weight and not 0) plan.Add(Weight("weight", Text(weight)));
        if (limits.BlkioLeafWeight is { } leaf and not 0) plan.Add(new("blkio", "blkio.leaf_weight", Text(leaf)));
        foreach (var device in limits.BlkioWeightDevices)
        {
            if (device.Weight is { } w and not 0) plan.Add(Weight("weight_device", $"{device.Major}:{device.Minor} {Text(w)}"));
            if (device.LeafWeight is { } l and not 0) plan.Add(new("blkio", "blkio.leaf_weight_device", $"{device.Major}:{device.Minor} {Text(l)}"));
        }
        void Throttle(string file, IReadOnlyList<BlkioThrottle> devices)
        {
            foreach (var device in devices) plan.Add(new("blkio", $"blkio.throttle.{file}", $"{device.Major}:{device.Minor} {Text(device.Rate)}"));
        }
        Throttle("read_bps_device", limits.ThrottleReadBps);
        Throttle("write_bps_device", limits.ThrottleWriteBps);
        Throttle("read_iops_device", limits.ThrottleReadIops);
        Throttle("write_iops_device", limits.ThrottleWriteIops);
    }

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Text(ulong value) => value.ToString(CultureInfo.InvariantCulture);
}
