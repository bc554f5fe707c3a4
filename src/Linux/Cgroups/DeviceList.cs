namespace Berth.Linux.Cgroups;

/// <summary>What a list of device rules comes down to.</summary>
public static class DeviceList
{
    /// <summary>
    /// Devices every container may use besides those its configuration names, after its own rules: runc's list, which Docker relies on
    /// (the OCI specification's default devices, pseudo terminals, /dev/net/tun, and mknod of anything, which without the right to
    /// open it does no harm).
    /// </summary>
    public static IReadOnlyList<DeviceRule> RuntimeDefaults { get; } =
    [
        Character(null, null, DeviceAccess.Mknod),
        new(true, DeviceKind.Block, null, null, DeviceAccess.Mknod),
        Character(1, 3), // null
        Character(1, 8), // random
        Character(1, 7), // full
        Character(5, 0), // tty
        Character(1, 5), // zero
        Character(1, 9), // urandom
        Character(136, null), // pts
        Character(5, 2), // ptmx
        Character(10, 200), // net/tun
    ];

    private static DeviceRule Character(long? major, long? minor, DeviceAccess access = DeviceAccess.All) => new(true, DeviceKind.Character, major, minor, access);

    /// <summary>Writes to devices.allow and devices.deny of a new cgroup, whose parent allows everything.</summary>
    public static IReadOnlyList<CgroupWrite> ForV1(IReadOnlyList<DeviceRule> rules)
    {
        var (allowed, exceptions) = Reduce(rules);
        var plan = new List<CgroupWrite>();
        // "a" makes the kernel forget all exceptions, whatever numbers follow. A new cgroup starts with its parent's list, which allows all.
        if (!allowed) plan.Add(new("devices", "devices.deny", DeviceRule.DenyAll.ToString()));
        plan.AddRange(exceptions.Select(rule => new CgroupWrite("devices", rule.Allow ? "devices.allow" : "devices.deny", rule.ToString())));
        return plan;
    }

    /// <summary>
    /// The default and the rules that make a difference, in order: what stands before the last rule for all devices is dropped, rules for
    /// the same devices that follow each other with no contrary rule between are joined.
    /// </summary>
    public static (bool Allowed, IReadOnlyList<DeviceRule> Exceptions) Reduce(IReadOnlyList<DeviceRule> rules)
    {
        var allowed = true;
        var exceptions = new List<DeviceRule>();
        // The v1 kernel takes any rule for "a" as one for everything; with numbers or less than rwm it means both kinds.
        foreach (var rule in rules.SelectMany(r => r.Kind == DeviceKind.All && !IsEverything(r)
            ? [r with { Kind = DeviceKind.Character }, r with { Kind = DeviceKind.Block }]
            : new[] { r }))
        {
            if (IsEverything(rule))
            {
                allowed = rule.Allow;
                exceptions.Clear();
                continue;
            }
            if (rule.Allow == allowed && exceptions.TrueForAll(e => e.Allow == allowed)) continue; // says what holds already
            var same = exceptions.FindLastIndex(e => e.Allow == rule.Allow && e.Kind == rule.Kind && e.Major == rule.Major && e.Minor == rule.Minor);
            if (same >= 0 && exceptions.FindLastIndex(e => e.Allow != rule.Allow) < same)
                exceptions[same] = exceptions[same] with { Access = exceptions[same].Access | rule.Access };
            else
                exceptions.Add(rule);
        }
        return (allowed, exceptions);
    }

    private static bool IsEverything(DeviceRule rule) =>
        rule.Kind == DeviceKind.All && rule.Major is null && rule.Minor is null && rule.Access == DeviceAccess.All;
}
