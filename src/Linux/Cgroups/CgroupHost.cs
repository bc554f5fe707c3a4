namespace Berth.Linux.Cgroups;

/// <summary>
/// The cgroup hierarchies of this machine. <see cref="Detect"/> once at start; cheap to keep, thread-safe.
/// </summary>
public abstract class CgroupHost
{
    private readonly Lazy<CgroupFeatures> _features;

    private protected CgroupHost(IReadOnlyList<CgroupHierarchy> hierarchies)
    {
        Hierarchies = hierarchies;
        _features = new Lazy<CgroupFeatures>(ReadFeatures);
    }

    /// <summary>Which interface the limits go through.</summary>
    public abstract CgroupVersion Version { get; }

    /// <summary>Every mounted hierarchy; on a hybrid machine (v1 with an empty v2 beside) also the v2 one, last.</summary>
    public IReadOnlyList<CgroupHierarchy> Hierarchies { get; }

    /// <summary>What can be limited here, read once.</summary>
    public CgroupFeatures Features => _features.Value;

    /// <summary>Whether a controller (<c>memory</c>, <c>pids</c>, <c>blkio</c> or <c>io</c>, ...) can be used here.</summary>
    public bool HasController(string name) => Hierarchies.Any(h => h.Controllers.Contains(name));

    /// <summary>
    /// Reads /proc/self/mountinfo and /proc/self/cgroup. v1 where any v1 controller is mounted, v2 otherwise.
    /// </summary>
    /// <exception cref="LinuxException">No cgroup file system is mounted (ENOENT).</exception>
    public static CgroupHost Detect()
    {
        var hierarchies = CgroupMounts.Parse(CgroupFile.Read("/proc/self/mountinfo"), CgroupFile.Read("/proc/self/cgroup"));
        return Of(CgroupMounts.WithUnifiedControllers(hierarchies, path => CgroupFile.TryRead(path, out _)));
    }

    /// <summary>For tests: a host of some of the hierarchies, such as the v2 one of a hybrid machine alone.</summary>
    internal static CgroupHost Of(IReadOnlyList<CgroupHierarchy> hierarchies)
    {
        if (hierarchies.Count == 0) throw new LinuxException("cgroup", "no cgroup file system is mounted", Errno.ENOENT);
        return hierarchies.Any(h => !h.IsUnified) ? new CgroupV1Host(hierarchies) : new CgroupV2Host(hierarchies[0]);
    }

    /// <summary>
    /// Makes the cgroup and the parents that are missing, and sets the limits. Whatever was made is removed again when a step fails.
    /// </summary>
    /// <param name="path">Absolute, below the hierarchy's root: <c>/berth/ID</c>. One of that name left over is removed first if no process is in it.</param>
    /// <param name="limits">What is written.</param>
    /// <exception cref="LinuxException">Names the file and, for a write, the value: <c>write("/sys/fs/cgroup/cpuset/berth/x/cpuset.cpus", "99") = EACCES (...)</c>; EBUSY when a cgroup of that name is in use.</exception>
    /// <exception cref="CgroupLimitException">A limit makes no sense, or its controller is not there.</exception>
    public ICgroup Create(string path, CgroupLimits limits)
    {
        CgroupPath.Check(path);
        return CreateCore(path, limits);
    }

    private protected abstract ICgroup CreateCore(string path, CgroupLimits limits);

    /// <summary>An existing cgroup, for a successor after a crash; <c>null</c> when it exists in no hierarchy.</summary>
    public ICgroup? Open(string path)
    {
        CgroupPath.Check(path);
        return Hierarchies.Any(h => Directory.Exists(h.DirectoryOf(path))) ? OpenCore(path) : null;
    }

    private protected abstract ICgroup OpenCore(string path);

    /// <summary>Names (last path elements) of the cgroups directly below a parent, over all hierarchies; empty when the parent is not there. For the sweep at start.</summary>
    public IReadOnlyList<string> Children(string parent)
    {
        var names = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var hierarchy in Hierarchies)
            foreach (var directory in CgroupFile.Subdirectories(hierarchy.DirectoryOf(parent)))
                names.Add(System.IO.Path.GetFileName(directory));
        return [.. names];
    }

    /// <summary>
    /// Removes <paramref name="path"/> and its parents, as far up as they are empty: an engine's parent when its last container is gone.
    /// Never the root, and never a slice or scope, which is systemd's to remove.
    /// </summary>
    public void RemoveEmpty(string path)
    {
        CgroupPath.Check(path);
        foreach (var hierarchy in Hierarchies)
            for (var current = path; current.Length > 1 && !current.EndsWith(".slice", StringComparison.Ordinal) && !current.EndsWith(".scope", StringComparison.Ordinal); current = current[..Math.Max(1, current.LastIndexOf('/'))])
                if (CgroupFile.TryRemoveDirectory(hierarchy.DirectoryOf(current)) is not (Errno.Success or Errno.ENOENT))
                    break;
    }

    /// <summary>As <see cref="RemoveEmpty"/>, but of those alone that <see cref="Create"/> made as somebody's parents: what a user asked for by name goes again, what he made stays.</summary>
    public void RemoveMade(string path)
    {
        CgroupPath.Check(path);
        foreach (var hierarchy in Hierarchies)
        {
            for (var current = path; current.Length > 1; current = current[..Math.Max(1, current.LastIndexOf('/'))])
            {
                var directory = hierarchy.DirectoryOf(current);
                if (!CgroupFile.IsMadeByUs(directory) || CgroupFile.TryRemoveDirectory(directory) != Errno.Success) break;
            }
        }
    }

    private protected abstract CgroupFeatures ReadFeatures();

    /// <summary>Removes a cgroup directory and those below it; EBUSY is left to the caller.</summary>
    private protected static Errno TryRemoveTree(string directory)
    {
        var errno = CgroupFile.TryRemoveDirectory(directory);
        if (errno is Errno.Success or Errno.ENOENT) return Errno.Success;
        foreach (var child in CgroupFile.Subdirectories(directory)) _ = TryRemoveTree(child);
        errno = CgroupFile.TryRemoveDirectory(directory);
        return errno == Errno.ENOENT ? Errno.Success : errno;
    }

    /// <summary>How long <see cref="ICgroup.Remove"/> waits for killed processes to go: one stuck in the kernel (a dead NFS server) must not hold us for ever.</summary>
    private protected static readonly TimeSpan RemoveTimeout = TimeSpan.FromSeconds(10);

    /// <summary>Does one step of a plan in a cgroup's directory.</summary>
    private protected static void Execute(CgroupWrite write, string directory)
    {
        var path = $"{directory}/{write.File}";
        var errno = CgroupFile.TryWrite(path, write.Value, out var call);
        if (errno == Errno.Success) return;
        if (errno == Errno.ENOENT && call == "open")
        {
            if (write.Otherwise is { } other)
            {
                Execute(other, directory);
                return;
            }
            if (write.Optional) return;
        }
        if (errno == Errno.EINVAL && write.Tentative) return;
        // The memory controllers refuse a limit that is below what is in use.
        if (errno == Errno.EBUSY && write.File is "memory.limit_in_bytes" or "memory.max")
            throw new CgroupLimitException($"unable to set memory limit to {write.Value} ({Usage(directory)})");
        throw Refused(call, path, write.Value, errno);
    }

    private protected static Exception Refused(string call, string path, string value, Errno errno) => call == "write"
        ? new CgroupLimitException($"failed to write \"{value}\": write {path}: {errno.DescribeAsGo()}")
        : CgroupFile.Failure(call, path, value, errno);

    private static string Usage(string directory)
    {
        var usage = CgroupFile.TryRead(directory + "/memory.usage_in_bytes", out _) ?? CgroupFile.TryRead(directory + "/memory.current", out _);
        var peak = CgroupFile.TryRead(directory + "/memory.max_usage_in_bytes", out _) ?? CgroupFile.TryRead(directory + "/memory.peak", out _);
        return $"current usage: {usage?.Trim()}, peak usage: {peak?.Trim()}";
    }
}
