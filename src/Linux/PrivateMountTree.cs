using Berth.Linux.Abi;
using Berth.Linux.Spawn;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// Mounts on mounts that nobody else sees: a root, and others attached beneath it, in a mount namespace that no process lives in. Walked through <see cref="Root"/>'s descriptor;
/// all of it is gone when this object is disposed of, or the process has died.
/// </summary>
/// <remarks>Before Linux 6.15 nothing can be attached to a mount that is in no namespace, hence the namespace; no thread of ours ever enters it (see <see cref="EmptyMountNamespace"/>).</remarks>
public sealed class PrivateMountTree : IDisposable
{
    private SafeFileHandle? _namespace;

    /// <param name="root">A detached mount (<see cref="DetachedMount"/>); owned by the tree from here on.</param>
    public PrivateMountTree(SafeFileHandle root) => Root = root;

    /// <summary>The root's directory, for paths relative to it.</summary>
    public SafeFileHandle Root { get; }

    /// <summary>Attaches a detached mount to a directory or file of the tree. The handle is still the caller's, and still means the mount.</summary>
    public void Attach(SafeFileHandle mount, SafeFileHandle target)
    {
        _namespace ??= CreateNamespace();
        var plan = new SpawnPlan();
        plan.Add(SystemCall.Setns, _namespace, (ulong)CloneFlags.NewMount);
        plan.Add(SystemCall.MoveMount, mount, "", target, "", MountAbi.MOVE_MOUNT_F_EMPTY_PATH | MountAbi.MOVE_MOUNT_T_EMPTY_PATH);
        Run(plan);
    }

    // The root is put on the empty namespace's empty directory, in a copy of that namespace.
    private SafeFileHandle CreateNamespace()
    {
        using var proc = FileAt.Open(null, "/proc", OpenFlags.Path | OpenFlags.Directory);
        var plan = new SpawnPlan();
        plan.Add(SystemCall.Setns, EmptyMountNamespace.Handle, (ulong)CloneFlags.NewMount);
        plan.Add(SystemCall.Unshare, (ulong)CloneFlags.NewMount);
        var space = plan.Add(SystemCall.Openat, proc, "thread-self/ns/mnt", (int)OpenFlags.CloseOnExec);
        plan.Add(SystemCall.MoveMount, Root, "", At.FDCWD, EmptyMountNamespace.EmptyPath, MountAbi.MOVE_MOUNT_F_EMPTY_PATH);
        try
        {
            Run(plan);
        }
        catch
        {
            if (space.Result > 0) new SafeFileHandle((nint)space.Result, ownsHandle: true).Dispose();
            throw;
        }
        return new SafeFileHandle((nint)space.Result, ownsHandle: true);
    }

    private static void Run(SpawnPlan plan)
    {
        plan.Add(SystemCall.ExitGroup, 0);
        var result = plan.Run(CloneFlags.Files);
        using (result.PidFd) PidFd.WaitAndReap(result.PidFd);
        if (result.Failed is { } failed) throw new LinuxException(failed.Call.Name, "for a private mount tree", result.Errno);
    }

    /// <summary>
    /// The mount that is the root of a process's mount namespace, without what is mounted on it, as a detached mount of its own.
    /// </summary>
    public static PrivateMountTree OfNamespaceRoot(SafeFileHandle mountNamespace)
    {
        var plan = new SpawnPlan();
        plan.Add(SystemCall.Setns, mountNamespace, (ulong)CloneFlags.NewMount);
        var copy = plan.Add(SystemCall.OpenTree, At.FDCWD, "/", MountAbi.OPEN_TREE_CLONE | MountAbi.OPEN_TREE_CLOEXEC);
        Run(plan);
        return new PrivateMountTree(new SafeFileHandle((nint)copy.Result, ownsHandle: true));
    }

    public void Dispose()
    {
        Root.Dispose();
        _namespace?.Dispose();
    }
}
