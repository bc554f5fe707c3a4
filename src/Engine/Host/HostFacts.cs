using System.Globalization;
using Berth.Linux.Cgroups;

namespace Berth.Engine;

/// <summary>What this machine's kernel offers containers: read once at start, a plain record so that validation is pure.</summary>
public sealed record HostFacts
{
    public bool CgroupV2 { get; init; }
    public bool MemoryLimit { get; init; }
    public bool SwapLimit { get; init; }
    public bool MemoryReservation { get; init; }
    public bool OomKillDisable { get; init; }
    public bool MemorySwappiness { get; init; }
    public bool KernelMemoryTcp { get; init; }
    public bool CpuShares { get; init; }
    public bool CpuCfs { get; init; }
    public bool CpuRealtime { get; init; }
    public bool Cpuset { get; init; }

    /// <summary>Lists such as "0-3".</summary>
    public string Cpus { get; init; } = "";
    public string Mems { get; init; } = "";
    public bool PidsLimit { get; init; }
    public bool BlkioWeight { get; init; }
    public bool BlkioWeightDevice { get; init; }
    public bool BlkioReadBps { get; init; }
    public bool BlkioWriteBps { get; init; }
    public bool BlkioReadIops { get; init; }
    public bool BlkioWriteIops { get; init; }
    public bool CgroupNamespaces { get; init; }
    public bool IPv4Forwarding { get; init; }
    public int ProcessorCount { get; init; } = 1;
    public long MemoryTotalBytes { get; init; }

    /// <summary>/proc and /sys paths hidden and made read-only in every container that is not privileged.</summary>
    public IReadOnlyList<string> MaskedPaths { get; init; } = [];
    public IReadOnlyList<string> ReadonlyPaths { get; init; } = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

    public static HostFacts Detect(CgroupHost cgroups)
    {
        var facts = new HostFacts
        {
            CgroupNamespaces = File.Exists("/proc/self/ns/cgroup"),
            IPv4Forwarding = TryRead("/proc/sys/net/ipv4/ip_forward") == "1",
            ProcessorCount = Environment.ProcessorCount,
            MemoryTotalBytes = ReadMemoryTotal(),
            MaskedPaths = DefaultMaskedPaths(),
        };
        return cgroups.Version == CgroupVersion.V2 ? V2(facts, cgroups) : V1(facts, cgroups);
    }

    private static long ReadMemoryTotal()
    {
        foreach (var line in (TryRead("/proc/meminfo") ?? "").Split('\n'))
        {
            if (!line.StartsWith("MemTotal:", StringComparison.Ordinal)) continue;
            return long.TryParse(line["MemTotal:".Length..].Replace("kB", "").Trim(), CultureInfo.InvariantCulture, out var kilobytes) ? kilobytes * 1024 : 0;
        }
        return 0;
    }

    private static HostFacts V2(HostFacts facts, CgroupHost cgroups)
    {
        var memory = cgroups.HasController("memory");
        var cpu = cgroups.HasController("cpu");
        var io = cgroups.HasController("io");
        var own = TryRead("/proc/self/cgroup")?.Split('\n').FirstOrDefault(l => l.StartsWith("0::", StringComparison.Ordinal))?[3..] ?? "/";
        return facts with
        {
            CgroupV2 = true,
            MemoryLimit = memory,
            MemoryReservation = memory,
            SwapLimit = memory && File.Exists($"/sys/fs/cgroup{own}/memory.swap.max"),
            CpuShares = cpu,
            CpuCfs = cpu,
            Cpuset = cgroups.HasController("cpuset"),
            Cpus = TryRead("/sys/fs/cgroup/cpuset.cpus.effective") ?? "",
            Mems = TryRead("/sys/fs/cgroup/cpuset.mems.effective") ?? "",
            PidsLimit = cgroups.HasController("pids"),
            BlkioWeight = io, BlkioWeightDevice = io, BlkioReadBps = io, BlkioWriteBps = io, BlkioReadIops = io, BlkioWriteIops = io,
        };
    }

    private static HostFacts V1(HostFacts facts, CgroupHost cgroups)
    {
        bool Has(string controller, string file) =>
            cgroups.Hierarchies.FirstOrDefault(h => h.Controllers.Contains(controller)) is { } h && File.Exists(Path.Combine(h.MountPoint, file));
        string Text(string controller, string file) =>
            cgroups.Hierarchies.FirstOrDefault(h => h.Controllers.Contains(controller)) is { } h ? TryRead(Path.Combine(h.MountPoint, file)) ?? "" : "";
        return facts with
        {
            MemoryLimit = cgroups.HasController("memory"),
            SwapLimit = Has("memory", "memory.memsw.limit_in_bytes"),
            MemoryReservation = Has("memory", "memory.soft_limit_in_bytes"),
            OomKillDisable = Has("memory", "memory.oom_control"),
            MemorySwappiness = Has("memory", "memory.swappiness"),
            KernelMemoryTcp = Has("memory", "memory.kmem.tcp.limit_in_bytes"),
            CpuShares = Has("cpu", "cpu.shares"),
            CpuCfs = Has("cpu", "cpu.cfs_quota_us"),
            CpuRealtime = Has("cpu", "cpu.rt_period_us"),
            Cpuset = cgroups.HasController("cpuset"),
            Cpus = Text("cpuset", "cpuset.cpus"),
            Mems = Text("cpuset", "cpuset.mems"),
            PidsLimit = cgroups.HasController("pids"),
            BlkioWeight = Has("blkio", "blkio.weight"),
            BlkioWeightDevice = Has("blkio", "blkio.weight_device"),
            BlkioReadBps = Has("blkio", "blkio.throttle.read_bps_device"),
            BlkioWriteBps = Has("blkio", "blkio.throttle.write_bps_device"),
            BlkioReadIops = Has("blkio", "blkio.throttle.read_iops_device"),
            BlkioWriteIops = Has("blkio", "blkio.throttle.write_iops_device"),
        };
    }

    private static List<string> DefaultMaskedPaths()
    {
        List<string> paths =
        [
            "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
            "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
        ];
        // A processor's throttling counters tell what neighbours compute (GHSA-6fw5-f8r9-fgfm).
        for (var cpu = 0; Directory.Exists($"/sys/devices/system/cpu/cpu{cpu}"); cpu++)
        {
            var path = $"/sys/devices/system/cpu/cpu{cpu}/thermal_throttle";
            if (Directory.Exists(path)) paths.Add(path);
        }
        return paths;
    }

    internal static string? TryRead(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
