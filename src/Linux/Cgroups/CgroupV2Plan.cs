using System.Globalization;

namespace Berth.Linux.Cgroups;

/// <summary>
/// Limits as writes to v2 files (Documentation/admin-guide/cgroup-v2.rst). The OCI object speaks v1; the conversions are runc's, since
/// users compare. Devices are not files on v2: see <see cref="DeviceProgram"/>.
/// </summary>
public static class CgroupV2Plan
{
    /// <summary>The kernel's default for the second number of cpu.max, in microseconds.</summary>
    public const ulong DefaultCpuPeriodMicroseconds = 100_000;

    /// <exception cref="CgroupLimitException">Values that contradict each other.</exception>
    public static IReadOnlyList<CgroupWrite> For(CgroupLimits limits)
    {
        var plan = new List<CgroupWrite>();
        if (limits.PidsLimit is { } pids and not 0) plan.Add(new("pids", "pids.max", pids > 0 ? Text(pids) : "max"));
        Memory(plan, limits);
        Io(plan, limits);
        Cpu(plan, limits);
        if (limits.CpusetCpus is { Length: > 0 } cpus) plan.Add(new("cpuset", "cpuset.cpus", cpus));
        if (limits.CpusetMems is { Length: > 0 } mems) plan.Add(new("cpuset", "cpuset.mems", mems));
        foreach (var (size, bytes) in limits.HugePageLimits.OrderBy(l => l.Key, StringComparer.Ordinal))
        {
            plan.Add(new("hugetlb", $"hugetlb.{size}.max", Text(bytes)));
            plan.Add(new("hugetlb", $"hugetlb.{size}.rsvd.max", Text(bytes)) { Optional = true });
        }
        foreach (var (file, value) in limits.Unified.OrderBy(l => l.Key, StringComparer.Ordinal))
        {
            if (file.Contains('/')) throw new CgroupLimitException($"unified resource \"{file}\" must be a file name (no slashes)");
            plan.Add(new(file.Split('.')[0], file, value));
        }
        return plan;
    }

    private static void Memory(List<CgroupWrite> plan, CgroupLimits limits)
    {
        var memory = limits.MemoryLimitBytes ?? 0;
        // "max" and "no swap" are what a kernel without swap accounting does anyway.
        if (SwapMax(limits.MemorySwapBytes ?? 0, memory) is { } swap)
            plan.Add(new("memory", "memory.swap.max", Max(swap)) { Optional = swap <= 0 });
        if (memory != 0) plan.Add(new("memory", "memory.max", Max(memory)));
        if (limits.MemoryReservationBytes is { } reservation and not 0) plan.Add(new("memory", "memory.low", Max(reservation)));
    }

    /// <summary>v1 counts memory and swap together, v2 swap alone. Null: leave it.</summary>
    private static long? SwapMax(long memoryAndSwap, long memory)
    {
        if (memory == -1 && memoryAndSwap == 0) return -1;
        if (memoryAndSwap == 0) return null;
        if (memoryAndSwap == -1 || memory == -1) return memoryAndSwap;
        if (memory == 0) throw new CgroupLimitException("unable to set swap limit without memory limit");
        if (memory < 0) throw new CgroupLimitException($"invalid memory value: {memory}");
        if (memoryAndSwap < memory) throw new CgroupLimitException("memory+swap limit should be >= memory limit");
        return memoryAndSwap - memory;
    }

    private static void Io(List<CgroupWrite> plan, CgroupLimits limits)
    {
        if (limits.BlkioWeight is { } weight and not 0)
            plan.Add(new("io", "io.bfq.weight", Text(weight)) { Otherwise = new("io", "io.weight", Text(IoWeight(weight))) });
        foreach (var device in limits.BlkioWeightDevices)
            if (device.Weight is { } w and not 0)
                plan.Add(new("io", "io.bfq.weight", $"{device.Major}:{device.Minor} {Text(w)}") { Optional = true });
        void Throttle(string key, IReadOnlyList<BlkioThrottle> devices)
        {
            foreach (var device in devices) plan.Add(new("io", "io.max", $"{device.Major}:{device.Minor} {key}={(device.Rate == 0 ? "max" : Text(device.Rate))}"));
        }
        Throttle("rbps", limits.ThrottleReadBps);
        Throttle("wbps", limits.ThrottleWriteBps);
        Throttle("riops", limits.ThrottleReadIops);
        Throttle("wiops", limits.ThrottleWriteIops);
    }

    private static void Cpu(List<CgroupWrite> plan, CgroupLimits limits)
    {
        if (limits.CpuIdle is { } idle) plan.Add(new("cpu", "cpu.idle", Text(idle)));
        if (limits.CpuShares is { } shares and not 0) plan.Add(new("cpu", "cpu.weight", Text(CpuWeight(shares))));
        var quota = limits.CpuQuotaMicroseconds ?? 0;
        var period = limits.CpuPeriodMicroseconds ?? 0;
        var burst = limits.CpuBurstMicroseconds is { } b ? new CgroupWrite("cpu", "cpu.max.burst", Text(b)) : null;
        if (quota != 0 || period != 0)
        {
            if (burst is not null && quota != 0) plan.Add(burst with { Tentative = true }); // bounded by the quota: before and after, as on v1
            plan.Add(new("cpu", "cpu.max", $"{(quota > 0 ? Text(quota) : "max")} {Text(period == 0 ? DefaultCpuPeriodMicroseconds : period)}"));
        }
        if (burst is not null) plan.Add(burst);
    }

    /// <summary>cpu.weight (1-10000, default 100) for v1 shares (2-262144, default 1024): runc 1.3's quadratic fit through the two ends and the default.</summary>
    public static ulong CpuWeight(ulong shares)
    {
        if (shares == 0) return 0;
        if (shares <= CgroupV1Plan.MinCpuShares) return 1;
        if (shares >= CgroupV1Plan.MaxCpuShares) return 10_000;
        var l = Math.Log2(shares);
        return (ulong)Math.Ceiling(Math.Pow(10, ((l * l) + (125 * l)) / 612.0 - (7.0 / 34.0)));
    }

    /// <summary>io.weight (1-10000) for a v1 weight (10-1000), linear.</summary>
    public static ulong IoWeight(ushort weight) => weight < 10 ? 0UL : 1 + (((ulong)weight - 10) * 9999 / 990);

    private static string Max(long value) => value == -1 ? "max" : Text(value);

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Text(ulong value) => value.ToString(CultureInfo.InvariantCulture);
}
