using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Runtime;
using Microsoft.Win32.SafeHandles;

namespace Berth.Engine;

/// <summary>
/// A container's files, as its processes see them or would see them: open until disposed of.
/// <code>
///   it runs      the root of its first process: volumes, binds and tmpfs are there; the container goes on undisturbed
///   it does not  an overlay of its layers that is mounted nowhere, with its mounts laid on it; the container's gate is held, for
///                two overlays on one upper directory would confuse each other
/// </code>
/// Nothing of it is ever in the host's mount namespace, and a daemon that is killed leaves nothing behind.
/// </summary>
internal sealed class ContainerFiles : IDisposable
{
    private readonly IDisposable? _tree;
    private Action? _release;

    private ContainerFiles(SafeFileHandle root, IDisposable? tree, bool live, Action? release) => (Root, _tree, IsLive, _release) = (root, tree, live, release);

    /// <summary>Paths are relative to this, with RESOLVE_IN_ROOT: links in the container are not to be trusted.</summary>
    public SafeFileHandle Root { get; }

    /// <summary>The container runs on this very tree.</summary>
    public bool IsLive { get; }

    /// <summary>That of a running process; null when it has ended.</summary>
    public static ContainerFiles? TryOfProcess(int pid, SafeFileHandle pidFd)
    {
        SafeFileHandle root;
        try
        {
            root = FileAt.Open(null, $"/proc/{pid}/root", OpenFlags.Path | OpenFlags.Directory);
        }
        catch (LinuxException e) when (e.Errno is Errno.ENOENT or Errno.ESRCH)
        {
            return null;
        }
        // Only what was opened before the process ended is surely its own and not a successor's with the same number.
        if (!PidFd.HasEnded(pidFd)) return new ContainerFiles(root, null, live: true, null);
        root.Dispose();
        return null;
    }

    /// <summary>That of a running process without anything mounted in it: what the container's layers hold, and no volume's content.</summary>
    public static ContainerFiles? TryLayersOfProcess(int pid, SafeFileHandle pidFd)
    {
        try
        {
            using var space = FileAt.Open(null, $"/proc/{pid}/ns/mnt", OpenFlags.ReadOnly);
            if (PidFd.HasEnded(pidFd)) return null;
            var tree = PrivateMountTree.OfNamespaceRoot(space);
            return new ContainerFiles(tree.Root, tree, live: true, null);
        }
        catch (LinuxException e) when (e.Errno is Errno.ENOENT or Errno.ESRCH)
        {
            return null;
        }
    }

    /// <summary>That of a container without processes.</summary>
    /// <param name="mounts">What is mounted in it when it runs.</param>
    /// <param name="release">Called when this is disposed of.</param>
    public static ContainerFiles OfStopped(RootFilesystem layers, IEnumerable<SpecMount> mounts, Action release)
    {
        var tree = new PrivateMountTree(DetachedMount.Overlay(layers.LowerDirectories, layers.UpperDirectory, layers.WorkDirectory, MountAttributes.NoDev));
        try
        {
            // Those above first, so that what lies on a volume is laid there.
            foreach (var mount in mounts.OrderBy(m => m.Destination.Count(c => c == '/'))) Lay(tree, mount);
        }
        catch
        {
            tree.Dispose();
            throw;
        }
        return new ContainerFiles(tree.Root, tree, live: false, release);
    }

    private static void Lay(PrivateMountTree tree, SpecMount mount)
    {
        if (mount.Source is not { } source)
        {
            using var empty = DetachedMount.Create("tmpfs", "tmpfs", [], MountAttributes.NoSuid | MountAttributes.NoDev);
            using var place = RootedPath.OpenMountPoint(tree.Root, mount.Destination, directory: true);
            tree.Attach(empty, place);
            return;
        }
        using var bound = DetachedMount.Bind(null, source, !mount.NonRecursive);
        DetachedMount.SetAttributes(bound, 0, 0, MountPropagation.Private, recursive: true);
        if (!mount.ReadWrite) DetachedMount.SetAttributes(bound, MountAttributes.ReadOnly, 0, MountPropagation.Unchanged, recursive: !mount.ReadOnlyNonRecursive);
        using var target = RootedPath.OpenMountPoint(tree.Root, mount.Destination, FileAt.Status(bound).IsDirectory);
        tree.Attach(bound, target);
    }

    public void Dispose()
    {
        Root.Dispose();
        _tree?.Dispose();
        Interlocked.Exchange(ref _release, null)?.Invoke();
    }
}
