namespace Berth.Runtime.Capabilities;

/// <summary>Names and numbers of Linux capabilities (linux/capability.h), and Docker's arithmetic with them.</summary>
public static class Capability
{
    /// <summary>All known names, by number: <c>CAP_CHOWN</c> is 0.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
        "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
        "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
    ];

    /// <summary>What a container has unless told otherwise, in Docker's order.</summary>
    public static IReadOnlyList<string> Default { get; } =
    [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
    ];

    /// <summary>Number of a <c>CAP_...</c> name; false when unknown.</summary>
    public static bool TryGetNumber(string name, out int number) => throw new NotImplementedException();

    /// <summary>Bit mask of names, for capset and PR_CAPBSET_DROP; unknown names and those this kernel lacks are ignored, as runc warns and goes on.</summary>
    public static ulong Mask(IEnumerable<string> names) => throw new NotImplementedException();

    /// <summary>Names of the capabilities this kernel knows (/proc/sys/kernel/cap_last_cap), by number: what a privileged container gets.</summary>
    public static IReadOnlyList<string> Known() => throw new NotImplementedException();

    /// <summary>
    /// <c>--cap-add</c> and <c>--cap-drop</c> over a base set as dockerd computes them: names in any case, with or without CAP_, ALL in either list.
    /// </summary>
    /// <exception cref="FormatException">Docker's text: <c>invalid CapAdd: unknown capability: "CAP_FOO"</c>.</exception>
    public static IReadOnlyList<string> Tweak(IReadOnlyList<string> basics, IReadOnlyList<string> adds, IReadOnlyList<string> drops, bool privileged) =>
        throw new NotImplementedException();
}
