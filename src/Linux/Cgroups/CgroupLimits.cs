namespace Berth.Linux.Cgroups;

/// <summary>
/// What a cgroup allows its processes, in the terms of the OCI runtime specification. <c>null</c> means "leave the
/// kernel's default", so that nothing is written for it: on v1 every file written costs a start some 5-20 µs.
/// </summary>
public sealed record CgroupLimits
{
    /// <summary>No limit at all and access to every device.</summary>
    public static CgroupLimits None { get; } = new();

    /// <summary>Bytes of memory; -1 is unlimited.</summary>
    public long? MemoryLimitBytes { get; init; }

    /// <summary>Soft limit in bytes (v2: memory.low); -1 is unlimited.</summary>
    public long? MemoryReservationBytes { get; init; }

    /// <summary>Bytes of memory and swap together, as v1 counts them; -1 is unlimited. Converted for v2's memory.swap.max.</summary>
    public long? MemorySwapBytes { get; init; }

    /// <summary>Bytes of kernel memory for TCP buffers (v1 only).</summary>
    public long? KernelMemoryTcpBytes { get; init; }

    /// <summary>0-100 (v1 only; v2 has no such file, the value is ignored as runc does).</summary>
    public ulong? MemorySwappiness { get; init; }

    /// <summary>Processes over the limit wait instead of being killed (v1 only).</summary>
    public bool? DisableOomKiller { get; init; }

    /// <summary>2-262144, 1024 by default; converted to cpu.weight for v2. 0 is "not set".</summary>
    public ulong? CpuShares { get; init; }

    /// <summary>Microseconds of processor time per period; -1 is unlimited.</summary>
    public long? CpuQuotaMicroseconds { get; init; }

    /// <summary>Length of a period in microseconds; the kernel's default is 100000.</summary>
    public ulong? CpuPeriodMicroseconds { get; init; }

    /// <summary>Microseconds a quota may be exceeded by once.</summary>
    public ulong? CpuBurstMicroseconds { get; init; }

    /// <summary>Microseconds of real-time scheduling per real-time period (v1 only).</summary>
    public long? CpuRealtimeRuntimeMicroseconds { get; init; }

    /// <summary>Real-time period in microseconds (v1 only).</summary>
    public ulong? CpuRealtimePeriodMicroseconds { get; init; }

    /// <summary>1 schedules the group as SCHED_IDLE.</summary>
    public long? CpuIdle { get; init; }

    /// <summary>Processors in list form, such as <c>0-2,5</c>. Empty is "not set".</summary>
    public string? CpusetCpus { get; init; }

    /// <summary>Memory nodes in list form. Empty is "not set".</summary>
    public string? CpusetMems { get; init; }

    /// <summary>Number of processes and threads; 0 or less is unlimited.</summary>
    public long? PidsLimit { get; init; }

    /// <summary>10-1000; 0 is "not set".</summary>
    public ushort? BlkioWeight { get; init; }

    /// <summary>10-1000 for tasks of the group itself against its children (v1 CFQ only).</summary>
    public ushort? BlkioLeafWeight { get; init; }

    /// <summary>Weights per block device.</summary>
    public IReadOnlyList<BlkioDeviceWeight> BlkioWeightDevices { get; init; } = [];

    /// <summary>Bytes per second.</summary>
    public IReadOnlyList<BlkioThrottle> ThrottleReadBps { get; init; } = [];

    /// <summary>Bytes per second.</summary>
    public IReadOnlyList<BlkioThrottle> ThrottleWriteBps { get; init; } = [];

    /// <summary>Operations per second.</summary>
    public IReadOnlyList<BlkioThrottle> ThrottleReadIops { get; init; } = [];

    /// <summary>Operations per second.</summary>
    public IReadOnlyList<BlkioThrottle> ThrottleWriteIops { get; init; } = [];

    /// <summary>Bytes per huge page size, the size as the kernel names it (<c>2MB</c>, <c>1GB</c>).</summary>
    public IReadOnlyDictionary<string, ulong> HugePageLimits { get; init; } = new Dictionary<string, ulong>();

    /// <summary>v2 files written as they are, last (OCI <c>linux.resources.unified</c>).</summary>
    public IReadOnlyDictionary<string, string> Unified { get; init; } = new Dictionary<string, string>();

    /// <summary>
    /// Device rules, the last match wins; <c>null</c> leaves every device accessible. An OCI list begins with "deny all",
    /// as Docker's does.
    /// </summary>
    public IReadOnlyList<DeviceRule>? Devices { get; init; }
}

/// <summary>A rate for one block device; bytes or operations per second by the list it is in.</summary>
/// <param name="Major">Major device number.</param>
/// <param name="Minor">Minor device number.</param>
/// <param name="Rate">Bytes or operations per second; 0 removes the limit.</param>
public sealed record BlkioThrottle(long Major, long Minor, ulong Rate);

/// <summary>A weight for one block device.</summary>
/// <param name="Major">Major device number.</param>
/// <param name="Minor">Minor device number.</param>
/// <param name="Weight">10-1000, 0 removes it.</param>
/// <param name="LeafWeight">10-1000 (v1 CFQ only).</param>
public sealed record BlkioDeviceWeight(long Major, long Minor, ushort? Weight, ushort? LeafWeight = null);

/// <summary>Which device files a rule speaks of.</summary>
public enum DeviceKind
{
    /// <summary>Character and block devices (<c>a</c>).</summary>
    All,

    /// <summary>Character devices (<c>c</c>).</summary>
    Character,

    /// <summary>Block devices (<c>b</c>).</summary>
    Block,
}

/// <summary>What a device rule allows or denies.</summary>
[Flags]
public enum DeviceAccess
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>mknod (<c>m</c>).</summary>
    Mknod = 1,

    /// <summary>Open for reading (<c>r</c>).</summary>
    Read = 2,

    /// <summary>Open for writing (<c>w</c>).</summary>
    Write = 4,

    /// <summary><c>rwm</c>.</summary>
    All = Mknod | Read | Write,
}

/// <summary>One line of a device list, as the v1 device cgroup words it.</summary>
/// <param name="Allow">Allow or deny.</param>
/// <param name="Kind">Which kind of device.</param>
/// <param name="Major">Major number; <c>null</c> is every one (<c>*</c>).</param>
/// <param name="Minor">Minor number; <c>null</c> is every one (<c>*</c>).</param>
/// <param name="Access">What is allowed or denied.</param>
public sealed record DeviceRule(bool Allow, DeviceKind Kind, long? Major, long? Minor, DeviceAccess Access)
{
    /// <summary>Denies everything: the first rule of every container's list.</summary>
    public static DeviceRule DenyAll { get; } = new(false, DeviceKind.All, null, null, DeviceAccess.All);

    /// <summary>Allows everything: a privileged container.</summary>
    public static DeviceRule AllowAll { get; } = new(true, DeviceKind.All, null, null, DeviceAccess.All);

    /// <summary>The rule as the v1 files take it, <c>c 1:3 rwm</c>, without "allow" or "deny".</summary>
    public override string ToString()
    {
        var kind = Kind switch { DeviceKind.Character => 'c', DeviceKind.Block => 'b', _ => 'a' };
        return $"{kind} {(Major is { } major ? major.ToString() : "*")}:{(Minor is { } minor ? minor.ToString() : "*")} {AccessText(Access)}";
    }

    /// <summary><c>rwm</c> in that order, only the letters that are set.</summary>
    public static string AccessText(DeviceAccess access) =>
        $"{(access.HasFlag(DeviceAccess.Read) ? "r" : "")}{(access.HasFlag(DeviceAccess.Write) ? "w" : "")}{(access.HasFlag(DeviceAccess.Mknod) ? "m" : "")}";

    /// <summary>Letters r, w and m in any order; <c>false</c> on any other.</summary>
    public static bool TryParseAccess(ReadOnlySpan<char> text, out DeviceAccess access)
    {
        access = DeviceAccess.None;
        foreach (var letter in text)
        {
            switch (letter)
            {
                case 'r': access |= DeviceAccess.Read; break;
                case 'w': access |= DeviceAccess.Write; break;
                case 'm': access |= DeviceAccess.Mknod; break;
                default: return false;
            }
        }
        return true;
    }
}
