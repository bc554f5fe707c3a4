namespace Berth.Linux.Cgroups;

/// <summary>
/// The cgroup hierarchies of this machine. <see cref="Detect"/> once at start; cheap to keep, thread-safe.
/// </summary>
public abstract class CgroupHost
{
    private protected CgroupHost(IReadOnlyList<CgroupHierarchy> hierarchies) => Hierarchies = hierarchies;

    /// <summary>Which interface the limits go through.</summary>
    public abstract CgroupVersion Version { get; }

    /// <summary>Every mounted hierarchy; on a hybrid machine (v1 with an empty v2 beside) also the v2 one, last.</summary>
    public IReadOnlyList<CgroupHierarchy> Hierarchies { get; }

    /// <summary>What can be limited here, read once.</summary>
    public CgroupFeatures Features => throw new NotImplementedException();

    /// <summary>Whether a controller (<c>memory</c>, <c>pids</c>, <c>blkio</c> or <c>io</c>, ...) can be used here.</summary>
    public bool HasController(string name) => Hierarchies.Any(h => h.Controllers.Contains(name));

    /// <summary>
    /// Reads /proc/self/mountinfo and /proc/self/cgroup. v2 when /sys/fs/cgroup itself is a cgroup2 mount, v1 otherwise.
    /// </summary>
    /// <exception cref="LinuxException">No cgroup file system is mounted (ENOENT).</exception>
    public static CgroupHost Detect() => throw new NotImplementedException();

    /// <summary>
    /// Makes the cgroup and the parents that are missing, and sets the limits. Whatever was made is removed again when a step fails.
    /// </summary>
    /// <param name="path">Absolute, below the hierarchy's root: <c>/berth/ID</c>. An existing cgroup of that name is used when it is empty.</param>
    /// <param name="limits">What is written.</param>
    /// <exception cref="LinuxException">Names the file and, for a write, the value: <c>write("/sys/fs/cgroup/cpuset/berth/x/cpuset.cpus", "99") = EACCES (...)</c>.</exception>
    /// <exception cref="NotSupportedException">A limit was asked for whose controller is not there.</exception>
    public abstract ICgroup Create(string path, CgroupLimits limits);

    /// <summary>An existing cgroup, for a successor after a crash; <c>null</c> when it exists in no hierarchy.</summary>
    public abstract ICgroup? Open(string path);

    /// <summary>Names (last path elements) of the cgroups directly below a parent, over all hierarchies; empty when the parent is not there. For the sweep at start.</summary>
    public abstract IReadOnlyList<string> Children(string parent);

    /// <summary>Removes the empty cgroups from <paramref name="path"/> upwards while they are empty (never the root). For an engine's parent at shutdown of a test.</summary>
    public abstract void RemoveEmpty(string path);
}
