using System.Globalization;
using System.Text;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>Whole directory trees, whoever made them: no link is followed, names may be any bytes, depth is not limited.</summary>
public static class FileTree
{
    // A container can nest directories deeper than any path or descriptor table is long. Below this depth a directory is
    // moved up beside the tree's root and taken from there, so that descriptors and stack stay bounded.
    private const int MaxDepth = 64;

    private const OpenFlags DirectoryFlags = OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow;

    /// <summary>Removes a file or a directory with everything in it. Absence is fine.</summary>
    /// <exception cref="LinuxException">Something could not be removed (EBUSY: a mount; EPERM: immutable); the rest of the tree may be gone.</exception>
    public static void Remove(string path)
    {
        path = Path.TrimEndingDirectorySeparator(path);
        SafeFileHandle parent;
        try
        {
            parent = FileAt.Open(null, Path.GetDirectoryName(path) is { Length: > 0 } directory ? directory : ".", OpenFlags.Path | OpenFlags.Directory);
        }
        catch (LinuxException e) when (e.Errno == Errno.ENOENT)
        {
            return;
        }
        using (parent) Remove(parent, Encoding.UTF8.GetBytes(Path.GetFileName(path)));
    }

    /// <summary>Removes <paramref name="name"/> (one name, no slash) from the directory, with everything in it. Absence is fine.</summary>
    public static void Remove(SafeFileHandle directory, ReadOnlySpan<byte> name)
    {
        var errno = RawAt.Unlink(directory, name);
        if (errno is Errno.Success or Errno.ENOENT) return;
        if (errno is not (Errno.EISDIR or Errno.EPERM)) throw Failed("unlinkat", name, errno);
        var why = errno; // EPERM may mean a directory, on some file systems, or an immutable file
        errno = RawAt.RemoveDirectory(directory, name);
        if (errno is Errno.Success or Errno.ENOENT) return;
        if (errno is not (Errno.ENOTEMPTY or Errno.EEXIST)) throw Failed("unlinkat", name, errno == Errno.ENOTDIR ? why : errno);

        // Directories moved up appear in the top directory, perhaps behind the reading position: read again until none was.
        int moved = 0, before;
        do
        {
            before = moved;
            errno = RawAt.Open(directory, name, DirectoryFlags, ResolveFlags.NoSymlinks, 0, out var top);
            if (errno != Errno.Success) throw Failed("openat2", name, errno);
            using (top) Empty(top!, top!, depth: 0, ref moved);
        }
        while (moved != before);
        errno = RawAt.RemoveDirectory(directory, name);
        if (errno is not (Errno.Success or Errno.ENOENT)) throw Failed("unlinkat", name, errno);
    }

    private static void Empty(SafeFileHandle directory, SafeFileHandle top, int depth, ref int moved)
    {
        var entries = new List<DirectoryEntry>();
        while (true)
        {
            entries.Clear();
            var errno = DirectoryList.ReadSome(directory, entries);
            if (errno != Errno.Success) throw new LinuxException("getdents64", "", errno);
            if (entries.Count == 0) return;
            foreach (var entry in entries)
            {
                errno = entry.Kind == FileKind.Directory ? Errno.EISDIR : RawAt.Unlink(directory, entry.Name);
                if (errno is Errno.Success or Errno.ENOENT) continue;
                if (errno is not (Errno.EISDIR or Errno.EPERM)) throw Failed("unlinkat", entry.Name, errno);
                var why = errno;
                errno = RawAt.RemoveDirectory(directory, entry.Name);
                if (errno is Errno.Success or Errno.ENOENT) continue;
                if (errno is not (Errno.ENOTEMPTY or Errno.EEXIST)) throw Failed("unlinkat", entry.Name, errno == Errno.ENOTDIR ? why : errno);
                if (depth >= MaxDepth)
                {
                    var up = Encoding.ASCII.GetBytes($".removing-{(++moved).ToString(CultureInfo.InvariantCulture)}-{Environment.TickCount64:x}");
                    errno = RawAt.Rename(directory, entry.Name, top, up);
                    if (errno != Errno.Success) throw Failed("renameat", entry.Name, errno);
                    continue;
                }
                errno = RawAt.Open(directory, entry.Name, DirectoryFlags, ResolveFlags.NoSymlinks | ResolveFlags.NoMounts, 0, out var child);
                if (errno != Errno.Success) throw Failed("openat2", entry.Name, errno);
                using (child) Empty(child!, top, depth + 1, ref moved);
                errno = RawAt.RemoveDirectory(directory, entry.Name);
                if (errno is not (Errno.Success or Errno.ENOENT)) throw Failed("unlinkat", entry.Name, errno);
            }
        }
    }

    /// <summary>
    /// Bytes of all files below a directory, each inode once, links by their length, directories not counted. What vanishes meanwhile, or can't be read, is left out.
    /// </summary>
    public static ulong SizeBytes(string path, CancellationToken cancellationToken = default)
    {
        SafeFileHandle top;
        try
        {
            top = FileAt.Open(null, path, DirectoryFlags);
        }
        catch (LinuxException)
        {
            return 0;
        }
        ulong total = 0;
        HashSet<((uint, uint), ulong)>? seen = null;
        using (top) Measure(top, 0);
        return total;

        void Measure(SafeFileHandle directory, int depth)
        {
            var entries = new List<DirectoryEntry>();
            while (true)
            {
                entries.Clear();
                cancellationToken.ThrowIfCancellationRequested();
                if (DirectoryList.ReadSome(directory, entries) != Errno.Success || entries.Count == 0) return;
                foreach (var entry in entries)
                {
                    if (entry.Kind is not FileKind.Directory)
                    {
                        if (RawAt.Status(directory, entry.Name, out var status) != Errno.Success) continue;
                        if (!status.IsDirectory)
                        {
                            if (status.LinkCount < 2 || (seen ??= []).Add((status.Device, status.Inode))) total += status.SizeBytes;
                            continue;
                        }
                    }
                    if (depth >= MaxMeasuredDepth || RawAt.Open(directory, entry.Name, DirectoryFlags, ResolveFlags.NoSymlinks | ResolveFlags.NoMounts, 0, out var child) != Errno.Success) continue;
                    using (child) Measure(child!, depth + 1);
                }
            }
        }
    }

    // Each level takes a descriptor and some stack meanwhile; nobody's files lie deeper.
    private const int MaxMeasuredDepth = 256;

    private static LinuxException Failed(string call, ReadOnlySpan<byte> name, Errno errno) =>
        new(call, $"\"{Encoding.UTF8.GetString(name)}\"", errno);
}
