using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images;

/// <summary>
/// Paths beneath a root, as a process whose root it is would see them. The kernel does the walking (openat2 with RESOLVE_IN_ROOT); only where the path itself is wanted,
/// as text without links, it is put together here, name by name, from answers that cannot lead out either.
/// </summary>
public static class RootedPath
{
    private const ResolveFlags Inside = ResolveFlags.InRoot | ResolveFlags.NoMagicLinks;

    /// <summary>Symbolic links followed on one path, as in the kernel (MAXSYMLINKS).</summary>
    private const int MaxLinks = 40;

    /// <summary>Opens what the path leads to; a link in its last part is opened itself unless a slash follows.</summary>
    public static SafeFileHandle? TryOpen(SafeFileHandle root, string path, out Errno errno) => FileAt.TryOpen(root, path, OpenFlags.Path | OpenFlags.NoFollow, Inside, out errno);

    /// <summary>The path with every link followed, and "." and ".." gone.</summary>
    /// <param name="mustExist">Otherwise what is not there is taken literally, to the end.</param>
    /// <returns>Null with the error: ENOENT, ENOTDIR, ELOOP.</returns>
    public static string? TryResolve(SafeFileHandle root, string path, bool mustExist, out Errno errno)
    {
        errno = Errno.Success;
        var done = new List<string>();
        var rest = new Stack<string>(path.Split('/', StringSplitOptions.RemoveEmptyEntries).AsEnumerable().Reverse());
        var links = 0;
        while (rest.TryPop(out var part))
        {
            if (part == ".") continue;
            if (part == "..")
            {
                if (done.Count > 0) done.RemoveAt(done.Count - 1);
                continue;
            }
            done.Add(part);
            var soFar = "/" + string.Join('/', done);
            using var found = TryOpen(root, soFar, out errno);
            if (found is null)
            {
                if (mustExist || errno is not (Errno.ENOENT or Errno.ENOTDIR)) return null;
                errno = Errno.Success;
                continue;
            }
            if (FileAt.Status(found).Kind != FileKind.SymbolicLink) continue;
            if (++links > MaxLinks)
            {
                errno = Errno.ELOOP;
                return null;
            }
            if (RawAt.ReadLink(found, default, out var target) != Errno.Success) continue;
            done.RemoveAt(done.Count - 1);
            var text = Encoding.UTF8.GetString(target);
            if (text.StartsWith('/')) done.Clear();
            foreach (var step in text.Split('/', StringSplitOptions.RemoveEmptyEntries).AsEnumerable().Reverse()) rest.Push(step);
        }
        return "/" + string.Join('/', done);
    }

    /// <summary>The place for a mount: makes it, and the directories above it (0755 root:root), where it is not there.</summary>
    public static SafeFileHandle OpenMountPoint(SafeFileHandle root, string path, bool directory)
    {
        if (FileAt.TryOpen(root, path, OpenFlags.Path, Inside, out _) is { } there) return there;
        var parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        var at = FileAt.Open(root, "/", OpenFlags.Path | OpenFlags.Directory, Inside);
        for (var i = 0; i < parts.Length; i++)
        {
            var soFar = "/" + string.Join('/', parts.AsSpan(0, i + 1)!);
            var next = FileAt.TryOpen(root, soFar, OpenFlags.Path, Inside, out var errno);
            if (next is null && errno == Errno.ENOENT)
            {
                var name = Encoding.UTF8.GetBytes(parts[i]);
                errno = i < parts.Length - 1 || directory ? RawAt.MakeDirectory(at, name, 0x1ED) : RawAt.MakeNode(at, name, FileKind.Regular, 0x1ED);
                if (errno is Errno.Success) RawAt.ChangeMode(at, name, 0x1ED);
                if (errno is Errno.Success or Errno.EEXIST) next = FileAt.TryOpen(root, soFar, OpenFlags.Path, Inside, out errno);
            }
            at.Dispose();
            at = next ?? throw new LinuxException("openat2", $"\"{soFar}\"", errno);
        }
        return at;
    }
}
