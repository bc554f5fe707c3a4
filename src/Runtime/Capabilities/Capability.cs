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

    private static readonly Dictionary<string, int> Numbers = Names.Select((name, number) => (name, number)).ToDictionary(c => c.name, c => c.number, StringComparer.Ordinal);

    // What this process may pass on: its effective set, which within another container is less than the kernel knows.
    private static readonly Lazy<(ulong Kernel, ulong Current)> Available = new(() => ReadAvailable(
        File.ReadAllText("/proc/sys/kernel/cap_last_cap"), File.ReadAllText("/proc/self/status")));

    /// <summary>Number of a <c>CAP_...</c> name; false when unknown.</summary>
    public static bool TryGetNumber(string name, out int number) => Numbers.TryGetValue(name, out number);

    /// <summary>Bit mask of names, for capset and PR_CAPBSET_DROP; unknown names and those this kernel lacks are ignored, as runc warns and goes on.</summary>
    public static ulong Mask(IEnumerable<string> names)
    {
        ulong mask = 0;
        foreach (var name in names)
            if (Numbers.TryGetValue(name, out var number))
                mask |= 1UL << number;
        return mask & Available.Value.Kernel;
    }

    /// <summary>Names of a bit mask, by number.</summary>
    public static IReadOnlyList<string> NamesOf(ulong mask) => [.. Names.Where((_, number) => (mask >> number & 1) != 0)];

    /// <summary>Names of the capabilities that this kernel knows and we have, by number: what a privileged container gets.</summary>
    public static IReadOnlyList<string> Known() => NamesOf(Available.Value.Kernel & Available.Value.Current);

    /// <summary>
    /// <c>--cap-add</c> and <c>--cap-drop</c> over a base set as dockerd computes them: names in any case, with or without CAP_, ALL in either list.
    /// ALL added beats ALL dropped.
    /// </summary>
    /// <exception cref="FormatException">Docker's text: <c>invalid CapAdd: unknown capability: "CAP_FOO"</c>.</exception>
    public static IReadOnlyList<string> Tweak(IReadOnlyList<string> basics, IReadOnlyList<string> adds, IReadOnlyList<string> drops, bool privileged)
    {
        if (privileged) return Known();
        if (adds.Count == 0 && drops.Count == 0) return basics;
        var add = Normalise(adds, "CapAdd");
        var drop = Normalise(drops, "CapDrop");
        if (add.Contains(All)) return [.. Known().Except(drop)];
        if (drop.Contains(All)) return add;
        return [.. basics.Except(drop).Concat(add).Distinct()];
    }

    private const string All = "ALL";

    private static List<string> Normalise(IReadOnlyList<string> names, string list)
    {
        var result = new List<string>();
        foreach (var given in names)
        {
            var name = given.ToUpperInvariant();
            if (name != All)
            {
                if (!name.StartsWith("CAP_", StringComparison.Ordinal)) name = "CAP_" + name;
                if (!Numbers.TryGetValue(name, out var number)) throw new FormatException($"invalid {list}: unknown capability: \"{name}\"");
                if (((Available.Value.Kernel & Available.Value.Current) >> number & 1) == 0)
                    throw new FormatException($"invalid {list}: capability not supported by your kernel or not available in the current environment: \"{name}\"");
            }
            if (!result.Contains(name)) result.Add(name);
        }
        return result;
    }

    internal static (ulong Kernel, ulong Current) ReadAvailable(string lastCapability, string status)
    {
        var last = int.Parse(lastCapability, System.Globalization.CultureInfo.InvariantCulture);
        var kernel = last >= 63 ? ulong.MaxValue : (1UL << (last + 1)) - 1;
        foreach (var line in status.AsSpan().EnumerateLines())
            if (line.StartsWith("CapEff:"))
                return (kernel, ulong.Parse(line["CapEff:".Length..].Trim(), System.Globalization.NumberStyles.HexNumber, System.Globalization.CultureInfo.InvariantCulture));
        return (kernel, kernel);
    }
}
