using Microsoft.Win32.SafeHandles;

namespace Berth.Linux.Cgroups;

/// <summary>
/// One container's cgroup: on v2 one directory, on v1 one directory of the same name in each hierarchy.
/// Holds no descriptor, only names, so that hundreds of them cost nothing. Thread-safe. Failures are
/// <see cref="LinuxException"/> naming the file.
/// </summary>
public interface ICgroup
{
    /// <summary>Path below the hierarchy's root, as in /proc/PID/cgroup: <c>/berth/1f3a...</c>.</summary>
    string Path { get; }

    /// <summary>How a new process gets in, for a launch or an exec; the caller disposes it once the child is started.</summary>
    CgroupEntry OpenEntry();

    /// <summary>
    /// Stops every process in it from running and returns when all of them are frozen. Waits for the kernel's notification
    /// on v2, re-reads freezer.state on v1.
    /// </summary>
    /// <exception cref="TimeoutException">Not frozen within the time named by the implementation (a process in an uninterruptible wait); it is thawed again.</exception>
    void Freeze(CancellationToken cancellation = default);

    /// <summary>Lets the processes run again. No effect when nothing is frozen.</summary>
    void Thaw();

    /// <summary>Whether <see cref="Freeze"/> was asked for last (by anyone).</summary>
    bool IsFrozen { get; }

    /// <summary>
    /// SIGKILL to every process in it and below, frozen or not, so that none escapes by forking: cgroup.kill on v2 (5.14+),
    /// freeze, kill and thaw otherwise. Does not wait for them to be gone; <see cref="Remove"/> does.
    /// </summary>
    void Kill();

    /// <summary>Process ids (not threads) in it and in cgroups below it, as seen from our pid namespace; empty when it is gone.</summary>
    IReadOnlyList<int> Processes();

    /// <summary>How many processes the kernel killed for want of memory since the cgroup was made; 0 when it is gone or memory is not controlled.</summary>
    long OomKillCount();

    /// <summary>Opens the files with its counters, for sampling. The caller disposes it.</summary>
    CgroupStatistics OpenStatistics();

    /// <summary>Tells of kills for want of memory as they come; null where memory is not controlled.</summary>
    OomWatch? WatchOom();

    /// <summary>
    /// Writes new limits to the running cgroup (docker update); only what is not null is changed. Devices are replaced when given.
    /// </summary>
    void Update(CgroupLimits limits);

    /// <summary>
    /// Removes it and whatever the container made below it, in every hierarchy. A cgroup that still has processes is killed first.
    /// A cgroup already gone is no error.
    /// </summary>
    /// <exception cref="LinuxException">EBUSY still after the time named by the implementation.</exception>
    void Remove();
}

/// <summary>Which kernel interface is used for the limits.</summary>
public enum CgroupVersion
{
    /// <summary>One hierarchy per controller (also when an empty v2 hierarchy is mounted beside: "hybrid").</summary>
    V1 = 1,

    /// <summary>The unified hierarchy.</summary>
    V2 = 2,
}

/// <summary>
/// How a new process enters; do both halves, whichever are there. v2: clone3 with CLONE_INTO_CGROUP and <see cref="Directory"/>.
/// v1: the child itself writes <c>0</c> to each of <see cref="Tasks"/>: moving oneself needs no global lock, moving another process
/// waits for an RCU grace period (milliseconds). A hybrid machine has both.
/// </summary>
public sealed class CgroupEntry : IDisposable
{
    internal CgroupEntry(SafeFileHandle? directory, IReadOnlyList<CgroupTasksFile> tasks)
    {
        Directory = directory;
        Tasks = tasks;
    }

    /// <summary>v2 and hybrid: the cgroup's directory (O_PATH|O_DIRECTORY|O_CLOEXEC) for <c>clone_args.cgroup</c>; <c>null</c> on pure v1.</summary>
    public SafeFileHandle? Directory { get; }

    /// <summary>v1: one file per hierarchy, in the order in which the child should write; empty on v2.</summary>
    public IReadOnlyList<CgroupTasksFile> Tasks { get; }

    /// <summary>Closes every descriptor.</summary>
    public void Dispose()
    {
        Directory?.Dispose();
        foreach (var file in Tasks) file.Handle.Dispose();
    }
}

/// <summary>A v1 <c>tasks</c> file, open for writing (O_WRONLY|O_CLOEXEC); the child writes the one byte <c>0</c>.</summary>
/// <param name="Controllers">The hierarchy, <c>cpu,cpuacct</c> or <c>name=systemd</c>, for printing.</param>
/// <param name="Path">The file, for printing.</param>
/// <param name="Handle">The descriptor.</param>
public sealed record CgroupTasksFile(string Controllers, string Path, SafeFileHandle Handle);

/// <summary>One mounted hierarchy of this machine.</summary>
/// <param name="Id">Hierarchy number of /proc/cgroups; 0 is v2.</param>
/// <param name="Name">The mount's last path element, <c>cpu,cpuacct</c>, <c>systemd</c>, <c>unified</c>; where a container sees it below /sys/fs/cgroup.</param>
/// <param name="Controllers">Controllers as /proc/self/cgroup names them; a named hierarchy has the one element <c>name=x</c>; v2 lists cgroup.controllers.</param>
/// <param name="MountPoint">Where it is mounted.</param>
/// <param name="MountRoot">Which cgroup is at the mount point, <c>/</c> unless inside a container.</param>
public sealed record CgroupHierarchy(int Id, string Name, IReadOnlyList<string> Controllers, string MountPoint, string MountRoot)
{
    /// <summary>Whether it is the unified hierarchy.</summary>
    public bool IsUnified => Id == 0;

    /// <summary>The directory of a cgroup (<c>/berth/x</c>) below the mount point.</summary>
    public string DirectoryOf(string cgroup) => cgroup == "/" ? MountPoint : MountPoint + cgroup;
}
