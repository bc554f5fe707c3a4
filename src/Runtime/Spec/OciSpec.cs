namespace Berth.Runtime.Spec;

// The OCI runtime specification's config.json (https://github.com/opencontainers/runtime-spec, config.md and config-linux.md), Linux only.
// Names are the specification's; an absent member is null, never an empty default, so that a file read and written again stays the same.

/// <summary>A container's config.json.</summary>
public sealed record OciSpec
{
    public const string CurrentVersion = "1.2.1";

    public required string OciVersion { get; init; }
    public OciProcess? Process { get; init; }
    public OciRoot? Root { get; init; }
    public string? Hostname { get; init; }
    public string? Domainname { get; init; }
    /// <summary>In the order in which they are mounted.</summary>
    public IReadOnlyList<OciMount>? Mounts { get; init; }
    public IReadOnlyDictionary<string, string>? Annotations { get; init; }
    public OciLinux? Linux { get; init; }
}

/// <summary>A process to start: the container's first one, or an exec.</summary>
public sealed record OciProcess
{
    /// <summary>A pseudo terminal of the container's own devpts becomes stdin, stdout, stderr and the controlling terminal.</summary>
    public bool? Terminal { get; init; }
    public OciConsoleSize? ConsoleSize { get; init; }
    public required OciUser User { get; init; }
    public IReadOnlyList<string>? Args { get; init; }
    public IReadOnlyList<string>? Env { get; init; }
    /// <summary>Absolute path in the container.</summary>
    public required string Cwd { get; init; }
    /// <summary>Null drops nothing.</summary>
    public OciCapabilities? Capabilities { get; init; }
    public IReadOnlyList<OciRlimit>? Rlimits { get; init; }
    public bool? NoNewPrivileges { get; init; }
    public string? ApparmorProfile { get; init; }
    public int? OomScoreAdj { get; init; }
    public string? SelinuxLabel { get; init; }
}

/// <summary>Characters.</summary>
public sealed record OciConsoleSize(uint Height, uint Width);

public sealed record OciUser
{
    public required uint Uid { get; init; }
    public required uint Gid { get; init; }
    public uint? Umask { get; init; }
    public IReadOnlyList<uint>? AdditionalGids { get; init; }
}

/// <summary>Names as CAP_NET_RAW; names that this kernel lacks are ignored.</summary>
public sealed record OciCapabilities
{
    public IReadOnlyList<string>? Bounding { get; init; }
    public IReadOnlyList<string>? Effective { get; init; }
    public IReadOnlyList<string>? Inheritable { get; init; }
    public IReadOnlyList<string>? Permitted { get; init; }
    public IReadOnlyList<string>? Ambient { get; init; }
}

/// <param name="Type">RLIMIT_NOFILE and so on.</param>
public sealed record OciRlimit(string Type, ulong Hard, ulong Soft);

public sealed record OciRoot
{
    /// <summary>Of no meaning here: the root is given to the <see cref="Launcher"/> as a <see cref="RootFilesystem"/>.</summary>
    public string? Path { get; init; }
    public bool? Readonly { get; init; }
}

public sealed record OciMount
{
    /// <summary>Absolute path in the container.</summary>
    public required string Destination { get; init; }
    /// <summary>Of a file system, or "bind" (also given by the options bind and rbind).</summary>
    public string? Type { get; init; }
    public string? Source { get; init; }
    /// <summary>As in fstab: ro, nosuid, rbind, rprivate, mode=755, size=64m, …</summary>
    public IReadOnlyList<string>? Options { get; init; }
}

public sealed record OciLinux
{
    public IReadOnlyDictionary<string, string>? Sysctl { get; init; }
    public OciResources? Resources { get; init; }
    public string? CgroupsPath { get; init; }
    public IReadOnlyList<OciNamespace>? Namespaces { get; init; }
    public IReadOnlyList<OciDevice>? Devices { get; init; }
    public OciSeccomp? Seccomp { get; init; }
    /// <summary>shared, slave, private or unbindable, or the same with an r before it.</summary>
    public string? RootfsPropagation { get; init; }
    public IReadOnlyList<string>? MaskedPaths { get; init; }
    public IReadOnlyList<string>? ReadonlyPaths { get; init; }
}

/// <param name="Type">One of <see cref="OciNamespaceTypes"/>.</param>
/// <param name="Path">Of an existing namespace to join (/proc/42/ns/ipc); a new one without it. A type that is not listed stays the host's.</param>
public sealed record OciNamespace(string Type, string? Path = null);

public static class OciNamespaceTypes
{
    public const string Pid = "pid", Network = "network", Mount = "mount", Ipc = "ipc", Uts = "uts", User = "user", Cgroup = "cgroup", Time = "time";
}

/// <param name="Type">c, b, u (unbuffered c) or p (fifo).</param>
/// <param name="FileMode">Permission bits; 0666 when absent.</param>
public sealed record OciDevice(string Path, string Type, long Major, long Minor, uint? FileMode = null, uint? Uid = null, uint? Gid = null);

public sealed record OciResources
{
    public IReadOnlyList<OciDeviceCgroup>? Devices { get; init; }
    public OciMemory? Memory { get; init; }
    public OciCpu? Cpu { get; init; }
    public OciPids? Pids { get; init; }
    public OciBlockIO? BlockIO { get; init; }
    public IReadOnlyList<OciHugepageLimit>? HugepageLimits { get; init; }
    /// <summary>cgroup v2 file name to what is written to it.</summary>
    public IReadOnlyDictionary<string, string>? Unified { get; init; }
}

/// <param name="Type">a, c or b; a when absent.</param>
/// <param name="Major">Any when absent or -1.</param>
/// <param name="Access">Some of r, w, m.</param>
public sealed record OciDeviceCgroup(bool Allow, string? Type = null, long? Major = null, long? Minor = null, string? Access = null);

/// <summary>Bytes; -1 is no limit.</summary>
public sealed record OciMemory
{
    public long? Limit { get; init; }
    public long? Reservation { get; init; }
    /// <summary>Memory and swap together.</summary>
    public long? Swap { get; init; }
    public long? Kernel { get; init; }
    public long? KernelTCP { get; init; }
    public ulong? Swappiness { get; init; }
    public bool? DisableOOMKiller { get; init; }
}

/// <summary>Times in microseconds.</summary>
public sealed record OciCpu
{
    public ulong? Shares { get; init; }
    public long? Quota { get; init; }
    public ulong? Burst { get; init; }
    public ulong? Period { get; init; }
    public long? RealtimeRuntime { get; init; }
    public ulong? RealtimePeriod { get; init; }
    public string? Cpus { get; init; }
    public string? Mems { get; init; }
    public long? Idle { get; init; }
}

/// <param name="Limit">Processes; 0 or -1 is no limit.</param>
public sealed record OciPids(long? Limit);

public sealed record OciBlockIO
{
    public ushort? Weight { get; init; }
    public ushort? LeafWeight { get; init; }
    public IReadOnlyList<OciWeightDevice>? WeightDevice { get; init; }
    public IReadOnlyList<OciThrottleDevice>? ThrottleReadBpsDevice { get; init; }
    public IReadOnlyList<OciThrottleDevice>? ThrottleWriteBpsDevice { get; init; }
    public IReadOnlyList<OciThrottleDevice>? ThrottleReadIOPSDevice { get; init; }
    public IReadOnlyList<OciThrottleDevice>? ThrottleWriteIOPSDevice { get; init; }
}

public sealed record OciWeightDevice(long Major, long Minor, ushort? Weight = null, ushort? LeafWeight = null);

/// <param name="Rate">Bytes or operations per second.</param>
public sealed record OciThrottleDevice(long Major, long Minor, ulong Rate);

/// <param name="PageSize">As the kernel names it: 2MB.</param>
/// <param name="Limit">Bytes.</param>
public sealed record OciHugepageLimit(string PageSize, ulong Limit);

/// <summary>Actions, architectures, flags and operators by libseccomp's names (SCMP_ACT_ERRNO, SCMP_ARCH_X86_64, SCMP_CMP_EQ).</summary>
public sealed record OciSeccomp
{
    public required string DefaultAction { get; init; }
    public uint? DefaultErrnoRet { get; init; }
    public IReadOnlyList<string>? Architectures { get; init; }
    public IReadOnlyList<string>? Flags { get; init; }
    public IReadOnlyList<OciSyscall>? Syscalls { get; init; }
}

public sealed record OciSyscall
{
    public required IReadOnlyList<string> Names { get; init; }
    public required string Action { get; init; }
    public uint? ErrnoRet { get; init; }
    public IReadOnlyList<OciSeccompArg>? Args { get; init; }
}

public sealed record OciSeccompArg(uint Index, ulong Value, ulong? ValueTwo, string Op);
