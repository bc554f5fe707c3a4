using System.Diagnostics;
using Berth.Linux.Abi;

namespace Berth.Linux.Cgroups;

/// <summary>
/// One hierarchy per controller. Where a v2 hierarchy is mounted beside them ("hybrid", as systemd does and as we find on this kind of
/// machine) every container is in it too: it has no controllers, but its freeze, kill and events are better than anything v1 has.
/// </summary>
internal sealed class CgroupV1Host : CgroupHost
{
    private readonly CgroupHierarchy? _cpuset, _memory, _freezer, _unified;

    internal CgroupV1Host(IReadOnlyList<CgroupHierarchy> hierarchies) : base(hierarchies)
    {
        _cpuset = hierarchies.FirstOrDefault(h => h.Controllers.Contains("cpuset") && !h.IsUnified);
        _memory = hierarchies.FirstOrDefault(h => h.Controllers.Contains("memory") && !h.IsUnified);
        _freezer = hierarchies.FirstOrDefault(h => h.Controllers.Contains("freezer") && !h.IsUnified);
        _unified = hierarchies.FirstOrDefault(h => h.IsUnified);
    }

    public override CgroupVersion Version => CgroupVersion.V1;

    private protected override ICgroup OpenCore(string path) => new Group(this, path);

    private protected override ICgroup CreateCore(string path, CgroupLimits limits)
    {
        var plan = CgroupV1Plan.For(limits);
        var group = new Group(this, path);
        var created = 0;
        try
        {
            foreach (var hierarchy in Hierarchies)
            {
                MakeDirectory(hierarchy, path);
                created++;
            }
            Execute(plan, path);
            if (_cpuset is not null) FillCpuset(path, limits);
        }
        catch
        {
            foreach (var hierarchy in Hierarchies.Take(created + 1)) _ = CgroupFile.TryRemoveDirectory(hierarchy.DirectoryOf(path));
            throw;
        }
        return group;
    }

    private static void MakeDirectory(CgroupHierarchy hierarchy, string path)
    {
        var directory = hierarchy.DirectoryOf(path);
        var errno = CgroupFile.TryMakeDirectory(directory);
        if (errno == Errno.ENOENT)
        {
            MakeParents(hierarchy, path);
            errno = CgroupFile.TryMakeDirectory(directory);
        }
        if (errno == Errno.EEXIST)
        {
            // Of a crash: empty, but with limits that nobody knows.
            errno = TryRemoveTree(directory);
            if (errno == Errno.Success) errno = CgroupFile.TryMakeDirectory(directory);
        }
        if (errno != Errno.Success) throw new LinuxException("mkdir", $"\"{directory}\"", errno);
    }

    private static void MakeParents(CgroupHierarchy hierarchy, string path)
    {
        for (var slash = path.IndexOf('/', 1); slash > 0; slash = path.IndexOf('/', slash + 1))
        {
            var parent = hierarchy.DirectoryOf(path[..slash]);
            var errno = CgroupFile.TryMakeParent(parent);
            // A new cpuset is empty and admits nobody until it has processors and nodes. clone_children makes the kernel copy them
            // from parent to child at mkdir, here for this one and for all that will be made in it: two writes less per container.
            if (errno == Errno.Success && hierarchy.Controllers.Contains("cpuset"))
            {
                CopyFromParent(parent, "cpuset.cpus");
                CopyFromParent(parent, "cpuset.mems");
                CgroupFile.Write(parent + "/cgroup.clone_children", "1");
            }
            if (errno is not (Errno.Success or Errno.EEXIST)) throw new LinuxException("mkdir", $"\"{parent}\"", errno);
        }
    }

    /// <summary>Below a parent made by someone else the kernel may have copied nothing.</summary>
    private void FillCpuset(string path, CgroupLimits limits)
    {
        var directory = _cpuset!.DirectoryOf(path);
        var (cpus, mems) = (limits.CpusetCpus is not { Length: > 0 }, limits.CpusetMems is not { Length: > 0 });
        if (!cpus && !mems) return;
        // One read tells: the kernel copies both or neither.
        if (!CgroupFile.Read(directory + (mems ? "/cpuset.mems" : "/cpuset.cpus")).AsSpan().Trim().IsEmpty) return;
        if (cpus) CopyFromParent(directory, "cpuset.cpus");
        if (mems) CopyFromParent(directory, "cpuset.mems");
    }

    private static void CopyFromParent(string directory, string file)
    {
        var parent = directory[..directory.LastIndexOf('/')];
        var value = CgroupFile.Read($"{parent}/{file}").Trim();
        // An empty parent, made by someone who did not fill it either.
        if (value.Length == 0)
        {
            CopyFromParent(parent, file);
            value = CgroupFile.Read($"{parent}/{file}").Trim();
        }
        CgroupFile.Write($"{directory}/{file}", value);
    }

    private void Execute(IReadOnlyList<CgroupWrite> plan, string path)
    {
        for (var i = 0; i < plan.Count; i++)
        {
            var write = plan[i];
            var hierarchy = Hierarchies.FirstOrDefault(h => h.Controllers.Contains(write.Controller) && !h.IsUnified)
                ?? throw new CgroupLimitException($"cannot set {write.Controller} limit: the {write.Controller} cgroup controller is not mounted");
            var directory = hierarchy.DirectoryOf(path);
            // A device list is a dozen writes to one file: open it once.
            var same = i + 1;
            if (write is { Optional: false, Otherwise: null, Tentative: false })
                while (same < plan.Count && plan[same].File == write.File) same++;
            if (same - i > 1) WriteAll(directory, plan, i, same);
            else Execute(write, directory);
            i = same - 1;
        }
    }

    private static void WriteAll(string directory, IReadOnlyList<CgroupWrite> plan, int from, int to)
    {
        var path = $"{directory}/{plan[from].File}";
        using var file = LibC.openat(At.FDCWD, path, (OpenFlags.WriteOnly | OpenFlags.CloseOnExec).ToKernel(), 0);
        if (file.IsInvalid) throw CgroupFile.Failure("open", path, "", LibC.LastErrno);
        for (var i = from; i < to; i++)
            if (CgroupFile.TryWrite(file, plan[i].Value) is var errno && errno != Errno.Success)
                throw Refused("write", path, plan[i].Value, errno);
    }

    private protected override CgroupFeatures ReadFeatures()
    {
        bool Has(string controller, string file) =>
            Hierarchies.FirstOrDefault(h => h.Controllers.Contains(controller) && !h.IsUnified) is { } h && File.Exists($"{h.MountPoint}/{file}");
        string Text(string file) => _cpuset is null ? "" : CgroupFile.TryRead($"{_cpuset.MountPoint}/{file}", out _)?.Trim() ?? "";
        return new CgroupFeatures
        {
            MemoryLimit = _memory is not null,
            SwapLimit = Has("memory", "memory.memsw.limit_in_bytes"),
            MemoryReservation = Has("memory", "memory.soft_limit_in_bytes"),
            OomKillDisable = Has("memory", "memory.oom_control"),
            MemorySwappiness = Has("memory", "memory.swappiness"),
            KernelMemoryTcp = Has("memory", "memory.kmem.tcp.limit_in_bytes"),
            CpuShares = Has("cpu", "cpu.shares"),
            CpuCfs = Has("cpu", "cpu.cfs_quota_us"),
            CpuRealtime = Has("cpu", "cpu.rt_period_us"),
            Cpuset = _cpuset is not null,
            Cpus = Text("cpuset.cpus"),
            Mems = Text("cpuset.mems"),
            PidsLimit = HasController("pids"),
            // Docker looks for these two names in the root cgroup, where BFQ shows neither; so do we, for the same warnings.
            BlkioWeight = Has("blkio", "blkio.weight"),
            BlkioWeightDevice = Has("blkio", "blkio.weight_device"),
            BlkioThrottle = Has("blkio", "blkio.throttle.read_bps_device") && Has("blkio", "blkio.throttle.write_bps_device")
                && Has("blkio", "blkio.throttle.read_iops_device") && Has("blkio", "blkio.throttle.write_iops_device"),
            Devices = HasController("devices"),
        };
    }

    private sealed class Group(CgroupV1Host host, string path) : ICgroup
    {
        private readonly UnifiedGroup? _unified = host._unified is { } unified ? new UnifiedGroup(unified.DirectoryOf(path)) : null;
        private readonly string? _freezer = host._freezer?.DirectoryOf(path);

        public string Path => path;

        public CgroupEntry OpenEntry()
        {
            var tasks = new List<CgroupTasksFile>(host.Hierarchies.Count);
            try
            {
                foreach (var hierarchy in host.Hierarchies)
                {
                    if (hierarchy.IsUnified) continue;
                    var file = hierarchy.DirectoryOf(path) + "/tasks";
                    tasks.Add(new(string.Join(',', hierarchy.Controllers), file, FileAt.Open(null, file, OpenFlags.WriteOnly)));
                }
                return new CgroupEntry(_unified is null ? null : FileAt.Open(null, _unified.Directory, OpenFlags.Path | OpenFlags.Directory), tasks);
            }
            catch
            {
                foreach (var file in tasks) file.Handle.Dispose();
                throw;
            }
        }

        public void Freeze(CancellationToken cancellation)
        {
            if (_unified is not null) _unified.Freeze(Freezer.Timeout, cancellation);
            else if (_freezer is not null) Freezer.Freeze(_freezer, cancellation);
            else throw new CgroupLimitException("cannot freeze: the freezer cgroup controller is not mounted");
        }

        public void Thaw()
        {
            _unified?.Thaw();
            // Also when we froze through v2: an operator may have used the v1 file, and our predecessor may have run without v2.
            if (_freezer is not null && Freezer.IsFrozen(_freezer)) Freezer.Thaw(_freezer);
        }

        public bool IsFrozen => _unified is { IsFrozen: true } || (_freezer is not null && Freezer.IsFrozen(_freezer));

        public void Kill()
        {
            if (_unified is null)
            {
                if (_freezer is not null) Freezer.Kill(_freezer);
                else foreach (var directory in Directories()) Freezer.KillOnce(directory);
                return;
            }
            _unified.Kill();
            if (_freezer is not null && Freezer.IsFrozen(_freezer)) Freezer.Thaw(_freezer); // SIGKILL does not reach a process frozen by v1
        }

        public IReadOnlyList<int> Processes()
        {
            var processes = new HashSet<int>();
            CgroupFile.CollectProcesses(_unified?.Directory ?? _freezer ?? Directories().First(), processes);
            return [.. processes];
        }

        public long OomKillCount() =>
            host._memory is { } memory && CgroupFile.TryRead(memory.DirectoryOf(path) + "/memory.oom_control", out _) is { } text
                ? CgroupFile.Value(text, "oom_kill") ?? 0
                : 0;

        public OomWatch? WatchOom() => host._memory is { } memory ? OomWatch.V1(memory.DirectoryOf(path)) : null;

        public CgroupStatistics OpenStatistics() =>
            new CgroupV1Statistics(controller => host.Hierarchies.FirstOrDefault(h => h.Controllers.Contains(controller) && !h.IsUnified)?.DirectoryOf(path));

        public void Update(CgroupLimits limits)
        {
            var current = limits.MemoryLimitBytes is not null && host._memory is { } memory
                && long.TryParse(CgroupFile.TryRead(memory.DirectoryOf(path) + "/memory.limit_in_bytes", out _)?.Trim(), out var bytes) ? bytes : long.MaxValue;
            host.Execute(CgroupV1Plan.For(limits, current), path);
        }

        public void Remove()
        {
            var busy = new List<string>();
            foreach (var directory in Directories())
                if (CgroupFile.TryRemoveDirectory(directory) is not (Errno.Success or Errno.ENOENT))
                    busy.Add(directory);
            if (busy.Count > 0) RemoveBusy(busy);
        }

        private void RemoveBusy(List<string> busy)
        {
            var start = Stopwatch.GetTimestamp();
            while (true)
            {
                Errno last = Errno.Success;
                var name = "";
                busy.RemoveAll(directory =>
                {
                    var errno = TryRemoveTree(directory);
                    if (errno == Errno.Success) return true;
                    (last, name) = (errno, directory);
                    return false;
                });
                if (busy.Count == 0) return;
                var left = RemoveTimeout - Stopwatch.GetElapsedTime(start);
                if (last != Errno.EBUSY || left <= TimeSpan.Zero) throw new LinuxException("rmdir", $"\"{name}\"", last);
                Kill();
                // A privileged container can have moved processes out of one hierarchy and not of the others.
                foreach (var directory in busy) Freezer.KillOnce(directory);
                if (_unified is not null && busy.Contains(_unified.Directory)) _ = _unified.WaitEmpty(left, default);
                else Freezer.Pause(); // v1 tells nobody when it becomes empty
            }
        }

        private IEnumerable<string> Directories() => host.Hierarchies.Select(h => h.DirectoryOf(path));
    }
}
