using System.Collections.Concurrent;
using System.Diagnostics;
using Berth.Linux.Abi;

namespace Berth.Linux.Cgroups;

/// <summary>The unified hierarchy (Documentation/admin-guide/cgroup-v2.rst).</summary>
internal sealed class CgroupV2Host(CgroupHierarchy hierarchy) : CgroupHost([hierarchy])
{
    // Parents whose controllers were switched on for their children; each costs a write of some 50 µs that walks the subtree.
    private readonly ConcurrentDictionary<string, bool> _prepared = new(StringComparer.Ordinal);

    public override CgroupVersion Version => CgroupVersion.V2;

    private CgroupHierarchy Hierarchy => Hierarchies[0];

    private protected override ICgroup OpenCore(string path) => new Group(this, path);

    private protected override ICgroup CreateCore(string path, CgroupLimits limits)
    {
        var plan = CgroupV2Plan.For(limits);
        var parent = path[..path.LastIndexOf('/')];
        var directory = Hierarchy.DirectoryOf(path);
        if (!_prepared.ContainsKey(parent)) PrepareParents(path);
        var errno = CgroupFile.TryMakeDirectory(directory);
        if (errno == Errno.ENOENT) // the parent was removed since
        {
            PrepareParents(path);
            errno = CgroupFile.TryMakeDirectory(directory);
        }
        if (errno == Errno.EEXIST)
        {
            errno = TryRemoveTree(directory);
            if (errno == Errno.Success) errno = CgroupFile.TryMakeDirectory(directory);
        }
        if (errno != Errno.Success) throw new LinuxException("mkdir", $"\"{directory}\"", errno);
        var group = new Group(this, path);
        try
        {
            group.Apply(plan);
            if (limits.Devices is { } devices) DeviceProgram.Attach(directory, devices);
            return group;
        }
        catch
        {
            _ = CgroupFile.TryRemoveDirectory(directory);
            throw;
        }
    }

    private void PrepareParents(string path)
    {
        EnableControllers(Hierarchy.MountPoint);
        for (var slash = path.IndexOf('/', 1); slash > 0; slash = path.IndexOf('/', slash + 1))
        {
            var parent = Hierarchy.DirectoryOf(path[..slash]);
            var errno = CgroupFile.TryMakeParent(parent);
            if (errno is not (Errno.Success or Errno.EEXIST)) throw new LinuxException("mkdir", $"\"{parent}\"", errno);
            EnableControllers(parent);
        }
        _prepared[path[..path.LastIndexOf('/')]] = true;
    }

    /// <summary>
    /// Lets the children of a cgroup have controllers. All at once, and one by one if that fails, since one that cannot be had (real-time
    /// processes hold back cpu; a parent with processes of its own has none but the threaded ones) must not cost us the others. What is
    /// really missing shows when a limit is written.
    /// </summary>
    private void EnableControllers(string directory)
    {
        if (Hierarchy.Controllers.Count == 0) return;
        var file = directory + "/cgroup.subtree_control";
        if (CgroupFile.TryWrite(file, "+" + string.Join(" +", Hierarchy.Controllers), out _) == Errno.Success) return;
        foreach (var controller in Hierarchy.Controllers) _ = CgroupFile.TryWrite(file, "+" + controller, out _);
    }

    private protected override CgroupFeatures ReadFeatures()
    {
        var (memory, cpu, io, cpuset) = (HasController("memory"), HasController("cpu"), HasController("io"), HasController("cpuset"));
        string Text(string file) => cpuset ? CgroupFile.TryRead($"{Hierarchy.MountPoint}/{file}", out _)?.Trim() ?? "" : "";
        return new CgroupFeatures
        {
            MemoryLimit = memory,
            SwapLimit = memory && HasSwap(),
            MemoryReservation = memory,
            CpuShares = cpu,
            CpuCfs = cpu,
            Cpuset = cpuset,
            Cpus = Text("cpuset.cpus.effective"),
            Mems = Text("cpuset.mems.effective"),
            PidsLimit = HasController("pids"),
            BlkioWeight = io,
            BlkioWeightDevice = io,
            BlkioThrottle = io,
            Devices = true,
        };
    }

    /// <summary>The root has no memory.swap.max; any other cgroup with the controller does, if the kernel counts swap.</summary>
    private bool HasSwap()
    {
        var own = CgroupFile.TryRead("/proc/self/cgroup", out _)?.Split('\n').FirstOrDefault(l => l.StartsWith("0::", StringComparison.Ordinal))?[3..];
        if (own is { Length: > 1 } && File.Exists($"{Hierarchy.DirectoryOf(own)}/memory.swap.max")) return true;
        return CgroupFile.Subdirectories(Hierarchy.MountPoint).Any(d => File.Exists(d + "/memory.swap.max"));
    }

    private sealed class Group(CgroupV2Host host, string path) : ICgroup
    {
        private readonly UnifiedGroup _unified = new(host.Hierarchy.DirectoryOf(path));

        public string Path => path;

        public CgroupEntry OpenEntry() => new(FileAt.Open(null, _unified.Directory, OpenFlags.Path | OpenFlags.Directory), []);

        public void Freeze(CancellationToken cancellation) => _unified.Freeze(Freezer.Timeout, cancellation);

        public void Thaw() => _unified.Thaw();

        public bool IsFrozen => _unified.IsFrozen;

        public void Kill() => _unified.Kill();

        public IReadOnlyList<int> Processes()
        {
            var processes = new HashSet<int>();
            CgroupFile.CollectProcesses(_unified.Directory, processes);
            return [.. processes];
        }

        public long OomKillCount() =>
            CgroupFile.TryRead(_unified.Directory + "/memory.events", out _) is { } text ? CgroupFile.Value(text, "oom_kill") ?? 0 : 0;

        public OomWatch? WatchOom() => File.Exists(_unified.Directory + "/memory.events") ? OomWatch.V2(_unified.Directory) : null;

        public CgroupStatistics OpenStatistics() => new CgroupV2Statistics(_unified.Directory);

        public void Update(CgroupLimits limits)
        {
            Apply(CgroupV2Plan.For(limits));
            if (limits.Devices is { } devices) DeviceProgram.Attach(_unified.Directory, devices);
        }

        internal void Apply(IReadOnlyList<CgroupWrite> plan)
        {
            foreach (var write in plan)
            {
                try
                {
                    Execute(write, _unified.Directory);
                }
                catch (LinuxException e) when (e is { Errno: Errno.ENOENT, Call: "open" } && Directory.Exists(_unified.Directory) && !IsEnabled(write.Controller))
                {
                    throw new CgroupLimitException($"cannot set {write.Controller} limit: the {write.Controller} controller is not available in cgroup {path}");
                }
            }
        }

        private bool IsEnabled(string controller) =>
            CgroupFile.TryRead(_unified.Directory + "/cgroup.controllers", out _)?.Split([' ', '\n']).Contains(controller) == true;

        public void Remove()
        {
            var start = Stopwatch.GetTimestamp();
            while (TryRemoveTree(_unified.Directory) is var errno && errno != Errno.Success)
            {
                var left = RemoveTimeout - Stopwatch.GetElapsedTime(start);
                if (errno != Errno.EBUSY || left <= TimeSpan.Zero) throw new LinuxException("rmdir", $"\"{_unified.Directory}\"", errno);
                _unified.Kill();
                _ = _unified.WaitEmpty(left, default);
            }
        }
    }
}
