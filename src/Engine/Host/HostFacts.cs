using System.Globalization;
using Berth.Linux.Cgroups;

namespace Berth.Engine;

/// <summary>What this machine's kernel offers containers: read once at start, a plain record so that validation is pure.</summary>
public sealed record HostFacts
{
    public bool CgroupV2 { get; init; }

    /// <summary>Which limits can be set.</summary>
    public CgroupFeatures Limits { get; init; } = new();

    public bool CgroupNamespaces { get; init; }
    public bool IPv4Forwarding { get; init; }
    public int ProcessorCount { get; init; } = 1;
    public long MemoryTotalBytes { get; init; }

    /// <summary>/proc and /sys paths hidden and made read-only in every container that is not privileged.</summary>
    public IReadOnlyList<string> MaskedPaths { get; init; } = [];
    public IReadOnlyList<string> ReadonlyPaths { get; init; } = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

    public static HostFacts Detect(CgroupHost cgroups) => new()
    {
        CgroupV2 = cgroups.Version == CgroupVersion.V2,
        Limits = cgroups.Features,
        CgroupNamespaces = File.Exists("/proc/self/ns/cgroup"),
        IPv4Forwarding = TryRead("/proc/sys/net/ipv4/ip_forward") == "1",
        ProcessorCount = Environment.ProcessorCount,
        MemoryTotalBytes = ReadMemoryTotal(),
        MaskedPaths = DefaultMaskedPaths(),
    };

    private static long ReadMemoryTotal()
    {
        foreach (var line in (TryRead("/proc/meminfo") ?? "").Split('\n'))
        {
            if (!line.StartsWith("MemTotal:", StringComparison.Ordinal)) continue;
            return long.TryParse(line["MemTotal:".Length..].Replace("kB", "").Trim(), CultureInfo.InvariantCulture, out var kilobytes) ? kilobytes * 1024 : 0;
        }
        return 0;
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
