using System.Globalization;
using Berth.Api;
using Berth.Runtime.Capabilities;
using Berth.Runtime.Init;
using Berth.Runtime.Spec;

namespace Berth.Engine;

/// <summary>
/// HostConfig and Config become the OCI config.json that dockerd would write for them. Pure: golden tests sit on the JSON.
/// </summary>
internal static class SpecCompiler
{
    private const string DefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// <exception cref="EngineException">System, for what dockerd finds wrong only at start.</exception>
    public static OciSpec Compile(SpecInput input)
    {
        var record = input.Container;
        var (config, host) = (record.Config, record.HostConfig);
        var security = SecurityOptions.Parse(host, input.Options.NoNewPrivileges);
        var process = Process(input, security);
        if (input.InitPath is not null) process = process with { Args = [InitProgram.ContainerPath, "--", .. process.Args!] };
        var ownUts = !Modes.IsHost(host.UTSMode);
        return new OciSpec
        {
            OciVersion = OciSpec.CurrentVersion,
            Process = process,
            Root = new OciRoot { Readonly = host.ReadonlyRootfs },
            Hostname = ownUts ? config.Hostname : null,
            Domainname = ownUts && config.Domainname.Length > 0 ? config.Domainname : null,
            Mounts = Mounts(input, security),
            Annotations = host.Annotations,
            Linux = new OciLinux
            {
                Sysctl = Sysctls(host),
                Resources = Resources(input),
                CgroupsPath = CgroupPath(host, input.Options, record.Id),
                Namespaces = Namespaces(input),
                Devices = input.Devices,
                Seccomp = input.Seccomp,
                RootfsPropagation = RootPropagation(input.Mounts),
                MaskedPaths = host.Privileged ? null : host.MaskedPaths,
                ReadonlyPaths = host.Privileged ? null : host.ReadonlyPaths,
            },
        };
    }

    /// <summary>Cleaned, so that "../../x" as parent can't name a cgroup above the root.</summary>
    public static string CgroupPath(HostConfig host, EngineOptions options, string id) =>
        Validation.CleanPath("/" + (host.CgroupParent.Length > 0 ? host.CgroupParent : options.CgroupParent) + "/" + id);

    private static OciProcess Process(SpecInput input, SecurityOptions security)
    {
        var record = input.Container;
        var (config, host) = (record.Config, record.HostConfig);
        var capabilities = Capability.Tweak(Capability.Default, host.CapAdd ?? [], host.CapDrop ?? [], host.Privileged);
        return new OciProcess
        {
            Terminal = config.Tty,
            ConsoleSize = config.Tty && host.ConsoleSize is [> 0, > 0] ? new OciConsoleSize(host.ConsoleSize[0], host.ConsoleSize[1]) : null,
            User = new OciUser { Uid = input.User.Uid, Gid = input.User.Gid, AdditionalGids = input.User.AdditionalGids },
            Args = [record.Path, .. record.Args],
            Env = Environment(config, config.Tty, input.User.Home, links: input.LinkEnvironment),
            Cwd = config.WorkingDir.Length > 0 ? config.WorkingDir : "/",
            Capabilities = Capabilities(capabilities),
            Rlimits = Rlimits(host, input.Options),
            NoNewPrivileges = security.NoNewPrivileges,
            OomScoreAdj = host.OomScoreAdj,
        };
    }

    internal static OciCapabilities Capabilities(IReadOnlyList<string> names) => new() { Bounding = names, Effective = names, Permitted = names };

    /// <summary>What the engine sets, overridden by the container's own; a bare name removes a variable. HOME is the user's unless set.</summary>
    public static List<string> Environment(ContainerConfig config, bool tty, string home, IReadOnlyList<string>? overrides = null, IReadOnlyList<string>? links = null)
    {
        List<string> variables = [DefaultPath, "HOSTNAME=" + config.Hostname];
        if (tty) variables.Add("TERM=xterm");
        if (links is not null) variables.AddRange(links);
        Merge(variables, config.Env ?? []);
        if (overrides is not null) Merge(variables, overrides);
        if (!variables.Exists(v => v.StartsWith("HOME=", StringComparison.Ordinal))) variables.Add("HOME=" + home);
        return variables;
    }

    private static void Merge(List<string> variables, IReadOnlyList<string> overrides)
    {
        foreach (var item in overrides)
        {
            var equals = item.IndexOf('=');
            var name = equals < 0 ? item : item[..equals];
            var index = variables.FindIndex(v => v.Length > name.Length && v[name.Length] == '=' && v.StartsWith(name, StringComparison.Ordinal));
            if (equals < 0)
            {
                if (index >= 0) variables.RemoveAt(index);
            }
            else if (index >= 0) variables[index] = item;
            else variables.Add(item);
        }
    }

    /// <summary>The container's limits, then the engine's defaults for names it does not set.</summary>
    public static List<OciRlimit>? Rlimits(HostConfig host, EngineOptions options)
    {
        var list = MergeUlimits(host.Ulimits, options).Select(u => new OciRlimit("RLIMIT_" + u.Name.ToUpperInvariant(), (ulong)u.Hard, (ulong)u.Soft)).ToList();
        return list.Count == 0 ? null : list;
    }

    public static List<Ulimit> MergeUlimits(Ulimit[]? own, EngineOptions options)
    {
        var list = new List<Ulimit>(own ?? []);
        foreach (var text in options.DefaultUlimits)
        {
            var equals = text.IndexOf('=');
            if (equals <= 0) continue;
            var name = text[..equals];
            if (list.Exists(u => u.Name == name)) continue;
            var values = text[(equals + 1)..].Split(':');
            if (!long.TryParse(values[0], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var soft)) continue;
            if (!long.TryParse(values[^1], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var hard)) continue;
            list.Add(new Ulimit { Name = name, Soft = soft, Hard = hard });
        }
        return list;
    }

    private static List<OciMount> Mounts(SpecInput input, SecurityOptions security)
    {
        var host = input.Container.HostConfig;
        // Mounted from the outside in: a mount must not hide one made before it. Path order beneath makes the list the same every time.
        var user = input.Mounts.OrderBy(m => m.Destination.Count(c => c == '/')).ThenBy(m => m.Destination, StringComparer.Ordinal).ToList();
        var taken = user.Select(m => m.Destination).ToHashSet(StringComparer.Ordinal);
        var mounts = new List<OciMount>();

        foreach (var mount in Defaults(input, security))
        {
            if (taken.Contains(mount.Destination)) continue;
            if (taken.Contains("/dev") && mount.Destination.StartsWith("/dev/", StringComparison.Ordinal)) continue;
            // A read-only root has read-only file systems, save those that can't do their work so.
            var writable = !host.ReadonlyRootfs || mount.Destination is "/proc" or "/dev/pts" or "/dev/shm" or "/dev/mqueue" or "/dev";
            mounts.Add(writable || mount.Options!.Contains("ro") ? mount : mount with { Options = [.. mount.Options!, "ro"] });
        }
        if (input.InitPath is not null)
            mounts.Add(new OciMount { Destination = InitProgram.ContainerPath, Type = "bind", Source = input.InitPath, Options = ["bind", "ro"] });

        foreach (var mount in user)
        {
            if (mount.Source is null)
            {
                mounts.Add(new OciMount { Destination = mount.Destination, Type = "tmpfs", Source = "tmpfs", Options = MountParser.MergeTmpfs(mount.TmpfsOptions) });
                continue;
            }
            List<string> options = [mount.NonRecursive ? "bind" : "rbind"];
            if (!mount.ReadWrite) options.Add(mount.ReadOnlyNonRecursive ? "ro" : "rro");
            if (mount.Propagation.Length > 0) options.Add(mount.Propagation);
            mounts.Add(new OciMount { Destination = mount.Destination, Type = "bind", Source = mount.Source, Options = options });
        }
        return mounts;
    }

    private static IEnumerable<OciMount> Defaults(SpecInput input, SecurityOptions security)
    {
        var host = input.Container.HostConfig;
        yield return new OciMount { Destination = "/proc", Type = "proc", Source = "proc", Options = ["nosuid", "noexec", "nodev"] };
        yield return new OciMount { Destination = "/dev", Type = "tmpfs", Source = "tmpfs", Options = ["nosuid", "strictatime", "mode=755", "size=65536k"] };
        yield return new OciMount { Destination = "/dev/pts", Type = "devpts", Source = "devpts", Options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] };
        yield return new OciMount { Destination = "/sys", Type = "sysfs", Source = "sysfs", Options = host.Privileged ? ["nosuid", "noexec", "nodev"] : ["nosuid", "noexec", "nodev", "ro"] };
        yield return new OciMount
        {
            Destination = "/sys/fs/cgroup", Type = "cgroup", Source = "cgroup",
            Options = security.WritableCgroups ?? host.Privileged ? ["nosuid", "noexec", "nodev"] : ["ro", "nosuid", "noexec", "nodev"],
        };
        yield return new OciMount { Destination = "/dev/mqueue", Type = "mqueue", Source = "mqueue", Options = ["nosuid", "noexec", "nodev"] };
        if (host.IpcMode == "none") yield break;
        yield return input.ShmPath is null
            ? new OciMount { Destination = "/dev/shm", Type = "tmpfs", Source = "shm", Options = ["nosuid", "noexec", "nodev", "mode=1777", "size=" + host.ShmSize.ToString(CultureInfo.InvariantCulture)] }
            : new OciMount { Destination = "/dev/shm", Type = "bind", Source = input.ShmPath, Options = ["rbind", "rprivate"] };
    }

    // A mount that shares or follows its source's mounts needs a root that does so too.
    private static string? RootPropagation(IReadOnlyList<SpecMount> mounts) =>
        mounts.Any(m => m.Propagation is "shared" or "rshared") ? "shared"
        : mounts.Any(m => m.Propagation is "slave" or "rslave") ? "rslave"
        : null;

    private static List<OciNamespace> Namespaces(SpecInput input)
    {
        var host = input.Container.HostConfig;
        List<OciNamespace> list = [new(OciNamespaceTypes.Mount)];
        // Which network namespace it is, is told with the launch by a descriptor; its absence here means the host's.
        if (!Modes.IsHost(host.NetworkMode)) list.Add(new(OciNamespaceTypes.Network));
        if (!Modes.IsHost(host.UTSMode)) list.Add(new(OciNamespaceTypes.Uts));
        if (!Modes.IsHost(host.PidMode)) list.Add(new(OciNamespaceTypes.Pid, input.PidNamespacePath));
        if (!Modes.IsHost(host.IpcMode)) list.Add(new(OciNamespaceTypes.Ipc, input.IpcNamespacePath));
        if (host.CgroupnsMode == "private" && input.Facts.CgroupNamespaces) list.Add(new(OciNamespaceTypes.Cgroup));
        return list;
    }

    private static readonly string[] IpcSysctls =
        ["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"];

    private static Dictionary<string, string>? Sysctls(HostConfig host)
    {
        var map = new Dictionary<string, string>(StringComparer.Ordinal);
        if (Modes.HasOwnNetwork(host.NetworkMode))
        {
            // Ping without a capability, and low ports without one: what the container could be given them for can do no harm in its own namespace.
            map["net.ipv4.ip_unprivileged_port_start"] = "0";
            map["net.ipv4.ping_group_range"] = "0 2147483647";
        }
        foreach (var (name, value) in host.Sysctls ?? [])
        {
            CheckSysctl(name, host);
            map[name] = value;
        }
        return map.Count == 0 ? null : map;
    }

    private static void CheckSysctl(string name, HostConfig host)
    {
        var dotted = name.Replace('/', '.');
        string? problem = null;
        if (IpcSysctls.Contains(dotted) || dotted.StartsWith("fs.mqueue.", StringComparison.Ordinal))
        {
            if (Modes.IsHost(host.IpcMode)) problem = $"sysctl {GoText.Quote(name)} is not allowed in the hosts ipc namespace";
        }
        else if (dotted.StartsWith("net.", StringComparison.Ordinal))
        {
            if (Modes.IsHost(host.NetworkMode)) problem = $"sysctl {GoText.Quote(name)} not allowed in host network namespace";
        }
        else if (dotted == "kernel.domainname")
        {
            if (Modes.IsHost(host.UTSMode)) problem = $"sysctl {GoText.Quote(name)} is not allowed in the hosts uts namespace";
        }
        else if (dotted == "kernel.hostname") problem = $"sysctl {GoText.Quote(name)} is conflicting with the OCI \"hostname\" field";
        else problem = $"sysctl {GoText.Quote(name)} is not in a separate kernel namespace";
        if (problem is not null)
            throw EngineException.System("failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: " + problem);
    }

    private static OciResources Resources(SpecInput input)
    {
        var host = input.Container.HostConfig;
        var (major, minor) = (0L, 0L);
        OciThrottleDevice[]? Throttles(ThrottleDevice[]? devices) => devices is not { Length: > 0 } ? null : Array.ConvertAll(devices, d =>
        {
            (major, minor) = input.BlockDevices[d.Path];
            return new OciThrottleDevice(major, minor, d.Rate);
        });

        var blockIo = new OciBlockIO
        {
            Weight = host.BlkioWeight == 0 ? null : host.BlkioWeight,
            WeightDevice = host.BlkioWeightDevice is not { Length: > 0 } weights ? null : Array.ConvertAll(weights, d =>
            {
                (major, minor) = input.BlockDevices[d.Path];
                return new OciWeightDevice(major, minor, d.Weight);
            }),
            ThrottleReadBpsDevice = Throttles(host.BlkioDeviceReadBps),
            ThrottleWriteBpsDevice = Throttles(host.BlkioDeviceWriteBps),
            ThrottleReadIOPSDevice = Throttles(host.BlkioDeviceReadIOps),
            ThrottleWriteIOPSDevice = Throttles(host.BlkioDeviceWriteIOps),
        };
        return new OciResources
        {
            Devices = DeviceRules(input),
            Memory = Memory(host),
            Cpu = Cpu(host),
            Pids = host.PidsLimit is { } limit ? new OciPids(limit <= 0 ? -1 : limit) : null,
            BlockIO = blockIo == new OciBlockIO() ? null : blockIo,
        };
    }

    private static List<OciDeviceCgroup> DeviceRules(SpecInput input)
    {
        List<OciDeviceCgroup> rules = [new(false, null, null, null, "rwm")];
        if (input.Container.HostConfig.Privileged)
        {
            rules.Add(new(true, null, null, null, "rwm"));
            return rules;
        }
        // zero, null, urandom, random, tty, console; what every runtime allows besides (ptmx, full, making any node) is the runtime's to add.
        foreach (var (major, minor) in (ReadOnlySpan<(long, long)>)[(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)]) rules.Add(new(true, "c", major, minor, "rwm"));
        rules.AddRange(input.DeviceRules);
        return rules;
    }

    private static OciMemory? Memory(HostConfig host)
    {
        var memory = new OciMemory
        {
            Limit = host.Memory > 0 ? host.Memory : null,
            Reservation = host.MemoryReservation > 0 ? host.MemoryReservation : null,
            Swap = host.MemorySwap > 0 || (host.MemorySwap == -1 && host.Memory > 0) ? host.MemorySwap : null,
            Swappiness = host.MemorySwappiness is { } s ? (ulong)s : null,
            // False is the kernel's default: no file is written for it.
            DisableOOMKiller = host.OomKillDisable == true ? true : null,
            KernelTCP = host.KernelMemoryTCP > 0 ? host.KernelMemoryTCP : null,
        };
        return memory == new OciMemory() ? null : memory;
    }

    /// <summary>--cpus is a quota of the usual period.</summary>
    internal static (ulong? Period, long? Quota) CpuTimes(HostConfig host)
    {
        const ulong PeriodMicroseconds = 100_000;
        return (host.CpuPeriod != 0 ? (ulong)host.CpuPeriod : host.NanoCpus > 0 ? PeriodMicroseconds : null,
            host.CpuQuota != 0 ? host.CpuQuota : host.NanoCpus > 0 ? host.NanoCpus * (long)PeriodMicroseconds / 1_000_000_000 : null);
    }

    private static OciCpu? Cpu(HostConfig host)
    {
        var times = CpuTimes(host);
        var cpu = new OciCpu
        {
            Shares = host.CpuShares > 0 ? (ulong)host.CpuShares : null,
            Cpus = host.CpusetCpus.Length > 0 ? host.CpusetCpus : null,
            Mems = host.CpusetMems.Length > 0 ? host.CpusetMems : null,
            Period = times.Period,
            Quota = times.Quota,
            RealtimePeriod = host.CpuRealtimePeriod != 0 ? (ulong)host.CpuRealtimePeriod : null,
            RealtimeRuntime = host.CpuRealtimeRuntime != 0 ? host.CpuRealtimeRuntime : null,
        };
        return cpu == new OciCpu() ? null : cpu;
    }
}
