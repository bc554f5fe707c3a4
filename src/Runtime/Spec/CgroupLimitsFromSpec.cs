using Berth.Linux.Cgroups;

namespace Berth.Runtime.Spec;

/// <summary>linux.resources of config.json as limits of a cgroup.</summary>
public static class CgroupLimitsFromSpec
{
    /// <exception cref="LaunchException">A device rule that is none.</exception>
    public static CgroupLimits ToLimits(this OciResources resources) => new()
    {
        MemoryLimitBytes = resources.Memory?.Limit,
        MemoryReservationBytes = resources.Memory?.Reservation,
        MemorySwapBytes = resources.Memory?.Swap,
        KernelMemoryTcpBytes = resources.Memory?.KernelTCP,
        MemorySwappiness = resources.Memory?.Swappiness,
        DisableOomKiller = resources.Memory?.DisableOOMKiller,
        CpuShares = resources.Cpu?.Shares,
        CpuQuotaMicroseconds = resources.Cpu?.Quota,
        CpuPeriodMicroseconds = resources.Cpu?.Period,
        CpuBurstMicroseconds = resources.Cpu?.Burst,
        CpuRealtimeRuntimeMicroseconds = resources.Cpu?.RealtimeRuntime,
        CpuRealtimePeriodMicroseconds = resources.Cpu?.RealtimePeriod,
        CpuIdle = resources.Cpu?.Idle,
        CpusetCpus = resources.Cpu?.Cpus,
        CpusetMems = resources.Cpu?.Mems,
        PidsLimit = resources.Pids?.Limit,
        BlkioWeight = resources.BlockIO?.Weight,
        BlkioLeafWeight = resources.BlockIO?.LeafWeight,
        BlkioWeightDevices = [.. (resources.BlockIO?.WeightDevice ?? []).Select(d => new BlkioDeviceWeight(d.Major, d.Minor, d.Weight, d.LeafWeight))],
        ThrottleReadBps = Throttles(resources.BlockIO?.ThrottleReadBpsDevice),
        ThrottleWriteBps = Throttles(resources.BlockIO?.ThrottleWriteBpsDevice),
        ThrottleReadIops = Throttles(resources.BlockIO?.ThrottleReadIOPSDevice),
        ThrottleWriteIops = Throttles(resources.BlockIO?.ThrottleWriteIOPSDevice),
        HugePageLimits = (resources.HugepageLimits ?? []).ToDictionary(h => h.PageSize, h => h.Limit),
        Unified = resources.Unified ?? new Dictionary<string, string>(),
        // After the container's own rules, as runc does.
        Devices = resources.Devices is { } devices ? [.. devices.Select(ToRule), .. DeviceList.RuntimeDefaults] : null,
    };

    private static BlkioThrottle[] Throttles(IReadOnlyList<OciThrottleDevice>? devices) =>
        [.. (devices ?? []).Select(d => new BlkioThrottle(d.Major, d.Minor, d.Rate))];

    private static DeviceRule ToRule(OciDeviceCgroup device)
    {
        var kind = device.Type switch
        {
            null or "" or "a" => DeviceKind.All,
            "c" => DeviceKind.Character,
            "b" => DeviceKind.Block,
            var other => throw new LaunchException(LaunchErrorKind.InvalidSpec, $"linux.resources.devices: no such type: {other}"),
        };
        if (!DeviceRule.TryParseAccess(device.Access ?? "rwm", out var access))
            throw new LaunchException(LaunchErrorKind.InvalidSpec, $"linux.resources.devices: no such access: {device.Access}");
        return new DeviceRule(device.Allow, kind, Number(device.Major), Number(device.Minor), access);
    }

    private static long? Number(long? number) => number is null or -1 ? null : number;
}
