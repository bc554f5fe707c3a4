using System.Text;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Berth.Runtime.Spec;

namespace Berth.Runtime.Launching;

/// <summary>
/// What is to be done to start a process, in order, decided before anything is done. Pure: the same spec gives the same plan, and <see cref="ToString"/> shows all of it.
/// The order is runc's, because images and users rely on it: mounts as listed, devices, terminal, read-only and masked paths, then the process's own attributes.
/// </summary>
internal sealed record LaunchPlan(IReadOnlyList<LaunchStep> Steps)
{
    /// <summary>More mounts than this are refused; the kernel's own limit (fs.mount-max) is 100,000 per namespace, and each costs a start some 10 µs.</summary>
    public const int MaxMounts = 4096;

    public override string ToString()
    {
        var text = new StringBuilder();
        for (var i = 0; i < Steps.Count; i++) text.Append($"{i,3} {Steps[i]}\n");
        return text.ToString();
    }

    /// <param name="hasNetworkNamespace">Whether a descriptor is given; it wins over the spec.</param>
    /// <param name="cgroup">Path of the container's cgroup.</param>
    /// <param name="hierarchies">Of this machine, for /sys/fs/cgroup.</param>
    public static LaunchPlan For(OciSpec spec, RootFilesystem root, bool hasNetworkNamespace, string cgroup, IReadOnlyList<CgroupHierarchy> hierarchies)
    {
        var process = spec.Process ?? throw Invalid("process is missing");
        var linux = spec.Linux ?? new OciLinux();
        var steps = new List<LaunchStep> { new EnterCgroup(cgroup) };

        var fresh = CloneFlags.None;
        foreach (var space in linux.Namespaces ?? [])
        {
            var kind = NamespaceNames.Parse(space.Type);
            if (kind is CloneFlags.NewUser or CloneFlags.NewTime) throw Invalid($"{space.Type} namespaces are not supported");
            if (kind == CloneFlags.NewNet && hasNetworkNamespace) continue;
            if (kind == CloneFlags.NewMount && !string.IsNullOrEmpty(space.Path)) throw Invalid("joining a mount namespace is not supported");
            if (string.IsNullOrEmpty(space.Path)) fresh |= kind;
            else steps.Add(new JoinNamespace(kind, space.Path));
        }
        if (hasNetworkNamespace) steps.Add(new JoinNamespace(CloneFlags.NewNet, null));
        if (!fresh.HasFlag(CloneFlags.NewMount)) throw Invalid("a container needs a mount namespace of its own");
        steps.Add(new NewNamespaces(fresh));
        steps.Add(new MountRoot(root));

        var mounts = spec.Mounts ?? [];
        if (mounts.Count > MaxMounts) throw Invalid($"more than {MaxMounts} mounts");
        var late = new List<LaunchStep>();
        string? devPts = null;
        var ownDev = true;
        // /proc comes after everything that is not meant to lie in it: a link in the image or in a volume that leads a mount into /proc
        // finds an ordinary directory there, which /proc then hides. So no such mount can cover a part of it (CVE-2025-52881).
        foreach (var mount in mounts.OrderBy(mount => IsInProc(Normalize(mount.Destination))))
        {
            var options = MountOptions.Parse(mount);
            var target = Normalize(mount.Destination);
            if (target == "/dev" && options.IsBind) ownDev = false;
            if (mount.Type == "devpts" && target == "/dev/pts") devPts = target;
            if (options.IsBind) steps.Add(Bind(mount, target, options));
            else if (mount.Type is "cgroup" or "cgroup2") AddCgroups(steps, mount, target, options, cgroup, hierarchies, fresh);
            else AddFileSystem(steps, late, mount, target, options);
        }

        if (ownDev) AddDevices(steps, linux, process.Terminal == true);
        steps.Add(new NewSession());
        if (process.Terminal == true) steps.Add(new OpenTerminal(devPts, Console: ownDev));
        if (process.Cwd is not "/") steps.Add(new ChangeDirectory(process.Cwd, Create: true));
        steps.AddRange(late);
        var rootAttributes = spec.Root?.Readonly == true ? MountAttributes.ReadOnly : 0;
        var rootPropagation = linux.RootfsPropagation?.TrimStart('r') switch
        {
            null or "" or "private" or "slave" => MountPropagation.Unchanged, // a new overlay has nobody to hear from
            "shared" => MountPropagation.Shared,
            "unbindable" => MountPropagation.Unbindable,
            var other => throw Invalid($"rootfsPropagation={other} is not supported"),
        };
        if (rootAttributes != 0 || rootPropagation != 0) steps.Add(new Remount("/", rootAttributes, rootPropagation));

        if (!string.IsNullOrEmpty(spec.Hostname)) steps.Add(new SetHostname(spec.Hostname));
        if (!string.IsNullOrEmpty(spec.Domainname)) steps.Add(new SetDomainname(spec.Domainname));
        foreach (var (key, value) in (linux.Sysctl ?? new Dictionary<string, string>()).OrderBy(pair => pair.Key, StringComparer.Ordinal)) steps.Add(new SetSysctl(key, value));
        foreach (var path in linux.ReadonlyPaths ?? []) steps.Add(new MakeReadonly(Normalize(path)));
        foreach (var path in linux.MaskedPaths ?? []) steps.Add(new Mask(Normalize(path)));
        AddProcess(steps, process, linux.Seccomp);
        return new LaunchPlan(steps);
    }

    /// <summary>The steps that only concern the process: the same for a container's first one and for an exec.</summary>
    internal static void AddProcess(List<LaunchStep> steps, OciProcess process, OciSeccomp? seccomp)
    {
        steps.Add(new SetOomScore(process.OomScoreAdj ?? 0)); // never the monitor's own, which is as good as unkillable
        foreach (var limit in process.Rlimits ?? []) steps.Add(new SetLimit(limit.Type, limit.Soft, limit.Hard));
        if (process.NoNewPrivileges == true) steps.Add(new SetNoNewPrivileges());
        // Docker's and runc's default; the umask of whoever started the monitor is nobody's business.
        const uint DefaultUmask = 0x12; // 022
        steps.Add(new BecomeUser(process.User.Uid, process.User.Gid, process.User.AdditionalGids ?? [], process.User.Umask ?? DefaultUmask, process.Capabilities));
        if (seccomp is not null) steps.Add(new InstallFilter(seccomp));
        if (process.Args is not [var name, ..]) throw Invalid("process.args is empty");
        var environment = process.Env ?? [];
        steps.Add(new Execute(Candidates(name, environment), process.Args, environment));
    }

    internal static IReadOnlyList<string> Candidates(string name, IReadOnlyList<string> environment)
    {
        if (name.Contains('/')) return [name];
        var path = environment.LastOrDefault(variable => variable.StartsWith("PATH=", StringComparison.Ordinal))?["PATH=".Length..] ?? "";
        return path.Split(':', StringSplitOptions.RemoveEmptyEntries).Select(directory => $"{directory.TrimEnd('/')}/{name}").ToList();
    }

    private static MountBind Bind(OciMount mount, string target, MountOptions options)
    {
        if (string.IsNullOrEmpty(mount.Source)) throw Invalid($"bind mount on {target} without a source");
        CheckProc(target, mount);
        // As mount --bind -o remount does: whatever is asked for replaces all that the source had, and nothing is changed when nothing is asked for.
        const MountAttributes All = MountAttributes.ReadOnly | MountAttributes.NoSuid | MountAttributes.NoDev | MountAttributes.NoExec | MountAttributes.NoDirectoryAtime | MountAttributes.NoSymlinkFollow;
        return new MountBind(mount.Source, target, options.BindRecursive)
        {
            Set = options.Set,
            Clear = options.ChangesAttributes ? (All & ~options.Set) | (options.Clear & MountAttributes.AtimeMask) : 0,
            RecursiveSet = options.RecursiveSet,
            RecursiveClear = options.RecursiveClear,
            // Without a word about it a mount made on the host later must not appear in the container.
            Propagation = options.Propagation == 0 ? MountPropagation.Private : options.Propagation,
            PropagationRecursive = options.Propagation == 0 || options.PropagationRecursive,
        };
    }

    private static void AddFileSystem(List<LaunchStep> steps, List<LaunchStep> late, OciMount mount, string target, MountOptions options)
    {
        var type = mount.Type ?? throw Invalid($"mount on {target} without a type");
        if (type != "proc") CheckProc(target, mount);
        var attributes = options.Set;
        IEnumerable<KeyValuePair<string, string?>> data = options.Data;
        if (type == "devpts") data = data.Where(pair => pair.Key != "newinstance"); // every instance is, since 4.7
        if (attributes.HasFlag(MountAttributes.ReadOnly))
        {
            if (type == "tmpfs")
            {
                // Others mount things below it first.
                attributes &= ~MountAttributes.ReadOnly;
                late.Add(new Remount(target, options.Set, 0));
            }
            else
            {
                data = data.Append(new("ro", null)); // the file system as well, as mount(8) does
            }
        }
        if (type == "tmpfs" && target == "/dev" && !options.Data.Any(pair => pair.Key == "mode")) data = data.Append(new("mode", "755"));
        steps.Add(new MountFileSystem(type, mount.Source ?? type, target, attributes, data.ToList()) { CopyUp = options.CopyUp && type == "tmpfs" });
    }

    private static void AddCgroups(List<LaunchStep> steps, OciMount mount, string target, MountOptions options, string cgroup, IReadOnlyList<CgroupHierarchy> hierarchies, CloneFlags fresh)
    {
        var ownView = fresh.HasFlag(CloneFlags.NewCgroup);
        if (hierarchies is [{ IsUnified: true } only])
        {
            if (ownView) steps.Add(new MountFileSystem("cgroup2", mount.Source ?? "cgroup", target, options.Set, []));
            else steps.Add(BindCgroup(only.MountPoint, target, options.Set));
            return;
        }
        const MountAttributes Default = MountAttributes.NoSuid | MountAttributes.NoDev | MountAttributes.NoExec;
        steps.Add(new MountFileSystem("tmpfs", "tmpfs", target, Default, [new("mode", "755")]));
        foreach (var hierarchy in hierarchies)
        {
            if (hierarchy.IsUnified) continue; // the empty v2 beside v1: Docker shows none
            steps.Add(BindCgroup(hierarchy.DirectoryOf(cgroup), $"{target}/{hierarchy.Name}", Default | (options.Set & MountAttributes.ReadOnly)));
            if (!hierarchy.Name.Contains(',')) continue;
            foreach (var controller in hierarchy.Name.Split(',')) steps.Add(new MakeSymlink($"{target}/{controller}", hierarchy.Name));
        }
    }

    private static MountBind BindCgroup(string source, string target, MountAttributes set) =>
        new(source, target, Recursive: false) { Set = set, Propagation = MountPropagation.Private };

    private static void AddDevices(List<LaunchStep> steps, OciLinux linux, bool terminal)
    {
        // config-linux.md, "Default Devices", and what Docker shows.
        const uint ReadWriteAll = MakeDevice.DefaultMode;
        OciDevice[] standard =
        [
            new("/dev/null", "c", 1, 3, ReadWriteAll), new("/dev/random", "c", 1, 8, ReadWriteAll), new("/dev/full", "c", 1, 7, ReadWriteAll),
            new("/dev/tty", "c", 5, 0, ReadWriteAll), new("/dev/zero", "c", 1, 5, ReadWriteAll), new("/dev/urandom", "c", 1, 9, ReadWriteAll),
        ];
        var asked = linux.Devices ?? [];
        foreach (var device in standard)
            if (!asked.Any(d => Normalize(d.Path) == device.Path)) steps.Add(new MakeDevice(device));
        foreach (var device in asked)
        {
            var path = Normalize(device.Path);
            if (path is "/dev/ptmx" or "/dev/console") continue; // the container's own
            steps.Add(new MakeDevice(device with { Path = path }));
        }
        steps.Add(new MakeSymlink("/dev/ptmx", "pts/ptmx"));
        steps.Add(new MakeSymlink("/dev/fd", "/proc/self/fd"));
        steps.Add(new MakeSymlink("/dev/stdin", "/proc/self/fd/0"));
        steps.Add(new MakeSymlink("/dev/stdout", "/proc/self/fd/1"));
        steps.Add(new MakeSymlink("/dev/stderr", "/proc/self/fd/2"));
        _ = terminal;
    }

    // What would hide or fake parts of /proc, and with it undo the masks, is refused; these are what lxcfs provides.
    private static readonly string[] AllowedInProc =
    [
        "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/loadavg", "/proc/slabinfo",
        "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
    ];

    private static bool IsInProc(string target) => target == "/proc" || target.StartsWith("/proc/", StringComparison.Ordinal);

    private static void CheckProc(string target, OciMount mount)
    {
        if (target == "/proc" && !(mount.Type == "bind" && mount.Source == "/proc"))
            throw MountError(mount, $"\"{target}\" cannot be mounted because it is not of type proc");
        if (target != "/proc" && IsInProc(target) && !AllowedInProc.Contains(target))
            throw MountError(mount, $"\"{target}\" cannot be mounted because it is inside /proc");
    }

    private static LaunchException MountError(OciMount mount, string text) =>
        new(LaunchErrorKind.Mount, ErrorTexts.Create($"error mounting \"{mount.Source}\" to rootfs at \"{mount.Destination}\": create mountpoint for {mount.Destination} mount: check proc-safety of {mount.Destination} mount: {text}"));

    /// <summary>Absolute, without doubled slashes, "." and ".."; what is above the root is the root.</summary>
    internal static string Normalize(string path)
    {
        if (path.Contains('\0')) throw Invalid($"a path holds a zero byte: {path.Replace('\0', '?')}");
        var parts = new List<string>();
        foreach (var part in path.Split('/'))
        {
            if (part is "" or ".") continue;
            if (part == "..")
            {
                if (parts.Count > 0) parts.RemoveAt(parts.Count - 1);
            }
            else
            {
                parts.Add(part);
            }
        }
        return "/" + string.Join('/', parts);
    }

    private static LaunchException Invalid(string message) => new(LaunchErrorKind.InvalidSpec, ErrorTexts.Create(message));
}
