using System.Text;
using Berth.Images.Layers;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images;

/// <summary>
/// Reads single files through a stack of layers as overlay would show them: topmost wins, whiteouts and opaque
/// directories hide, symbolic links are followed inside the root only. Cheaper than a mount (a few system calls per part of
/// the path), and it does not disturb a mount that a running container has on the same directories. It knows nothing of
/// overlay's redirect_dir and metacopy features, which Berth's mounts leave off.
/// </summary>
public sealed class LayerFileReader : IDisposable
{
    /// <summary>Symbolic links followed on one path, as in the kernel (MAXSYMLINKS).</summary>
    private const int MaxLinks = 40;

    /// <summary>Directories nested in a copied tree; deeper than any real one, and each costs a descriptor per layer.</summary>
    private const int MaxCopyDepth = 256;

    private const ResolveFlags OneName = ResolveFlags.Beneath | ResolveFlags.NoSymlinks;

    private readonly MergedDirectory root;

    /// <param name="directories">Topmost first.</param>
    internal LayerFileReader(IReadOnlyList<string> directories) => root = MergedDirectory.Open(directories);

    /// <summary>The file's bytes.</summary>
    /// <returns>False when there is no such file, or it is not a regular one.</returns>
    /// <exception cref="ImageException">When it is larger than <paramref name="maxBytes"/>.</exception>
    public bool TryReadFile(string path, int maxBytes, out byte[] content)
    {
        content = [];
        using var found = Resolve(path);
        if (found is not { File: { } file } || RawAt.Status(file.Directory, file.Name, out var status) != Errno.Success || status.Kind != FileKind.Regular) return false;
        if (status.SizeBytes > (ulong)maxBytes) throw ImageException.Failed($"{path} is larger than {maxBytes} bytes");
        if (RawAt.Open(file.Directory, file.Name, OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.NonBlocking, OneName, 0, out var handle) != Errno.Success) return false;
        using (handle)
        {
            // The container may be writing to it: what is there now, but never more than allowed.
            using var stream = new FileStream(handle!, FileAccess.Read, bufferSize: 0);
            var buffer = new byte[maxBytes < int.MaxValue ? Math.Min(maxBytes + 1L, (long)status.SizeBytes + 1) : (long)status.SizeBytes];
            var length = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
            content = buffer.AsSpan(0, Math.Min(length, maxBytes)).ToArray();
        }
        return true;
    }

    /// <summary>Whether the path leads to a directory.</summary>
    public bool IsDirectory(string path)
    {
        using var found = Resolve(path);
        return found is { Directory: not null };
    }

    /// <summary>Whether the path leads to anything at all.</summary>
    public bool Exists(string path)
    {
        using var found = Resolve(path);
        return found is not null;
    }

    /// <summary>
    /// Copies the directory's content (not itself) with owners, modes, times, xattrs and links into an empty
    /// directory: what a new volume gets from the image. The target takes over the source's owner and mode.
    /// </summary>
    /// <returns>False when there is no such directory.</returns>
    /// <exception cref="LinuxException"/>
    public bool TryCopyDirectory(string path, string targetDirectory)
    {
        using var found = Resolve(path);
        if (found is not { Directory: { } source }) return false;
        using var target = FileAt.Open(null, targetDirectory, OpenFlags.ReadOnly | OpenFlags.Directory);
        new TreeCopy().CopyDirectory(source, target, 0);
        return true;
    }

    public void Dispose() => root.Dispose();

    // ---- walking

    // What a path led to: a directory in all its layers, or a file by its name in one layer's directory.
    private sealed class Found(MergedDirectory? directory, (SafeFileHandle Directory, byte[] Name)? file, IReadOnlyList<MergedDirectory> open) : IDisposable
    {
        public MergedDirectory? Directory => directory;
        public (SafeFileHandle Directory, byte[] Name)? File => file;

        public void Dispose()
        {
            foreach (var merged in open) merged.Dispose();
        }
    }

    private Found? Resolve(string path)
    {
        // The directories walked through, for "..": the root is never popped.
        var stack = new List<MergedDirectory> { root };
        var opened = new List<MergedDirectory>();
        var rest = new Stack<byte[]>(Parts(Encoding.UTF8.GetBytes(path)));
        var links = 0;
        var success = false;
        try
        {
            while (rest.TryPop(out var part))
            {
                if (part is [(byte)'.']) continue;
                if (part is [(byte)'.', (byte)'.'])
                {
                    if (stack.Count > 1) stack.RemoveAt(stack.Count - 1);
                    continue;
                }
                if (!stack[^1].TryFind(part, out var kind, out var directory, out var layer)) return null;
                if (kind == FileKind.Directory)
                {
                    stack.Add(directory!);
                    opened.Add(directory!);
                    continue;
                }
                if (kind == FileKind.SymbolicLink)
                {
                    if (++links > MaxLinks || RawAt.ReadLink(layer!, part, out var target) != Errno.Success) return null;
                    if (target is [(byte)'/', ..]) stack.RemoveRange(1, stack.Count - 1);
                    foreach (var step in Parts(target)) rest.Push(step);
                    continue;
                }
                if (rest.Count > 0) return null; // a file on the way
                success = true;
                return new Found(null, (layer!, part), opened);
            }
            success = true;
            return new Found(stack[^1], null, opened);
        }
        finally
        {
            if (!success)
                foreach (var merged in opened) merged.Dispose();
        }
    }

    // In reverse, for a stack.
    private static IEnumerable<byte[]> Parts(byte[] path)
    {
        var parts = new List<byte[]>();
        foreach (var range in path.AsSpan().Split((byte)'/'))
            if (!path.AsSpan(range).IsEmpty) parts.Add(path.AsSpan(range).ToArray());
        parts.Reverse();
        return parts;
    }

    // ---- copying

    private sealed class TreeCopy
    {
        // The first copy of each file that has several names.
        private readonly Dictionary<((uint, uint) Device, ulong Inode), (SafeFileHandle Directory, byte[] Name)> linked = [];

        public void CopyDirectory(MergedDirectory source, SafeFileHandle target, int depth)
        {
            if (depth > MaxCopyDepth) throw ImageException.Failed($"directories are nested deeper than {MaxCopyDepth}");
            foreach (var (name, layer) in source.Entries())
            {
                if (!source.TryFind(name, out var kind, out var directory, out var at)) continue; // whited out
                if (kind == FileKind.Directory)
                    using (directory)
                    {
                        Check(RawAt.MakeDirectory(target, name, 0x1C0), "mkdirat", name);
                        Check(RawAt.Open(target, name, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow, OneName, 0, out var made), "openat2", name);
                        using (made) CopyDirectory(directory!, made!, depth + 1);
                    }
                else CopyFile(at!, name, kind, target);
            }
            // The directory's own face is its topmost layer's. Times last: filling it changed them.
            Check(RawAt.Status(source.Layers[0], default, out var status), "statx", default);
            CopyXattrs(source.Layers[0], default, target, default);
            Check(RawAt.ChangeOwner(target, default, status.Uid, status.Gid), "fchown", default);
            Check(RawAt.ChangeMode(target, default, status.Permissions), "fchmod", default);
            Check(RawAt.SetTimes(target, default, status.Modified, status.Modified), "utimensat", default);
        }

        private void CopyFile(SafeFileHandle source, byte[] name, FileKind kind, SafeFileHandle target)
        {
            Check(RawAt.Status(source, name, out var status), "statx", name);
            var key = (status.Device, status.Inode);
            if (status.LinkCount > 1 && linked.TryGetValue(key, out var first) && !first.Directory.IsClosed &&
                RawAt.HardLink(first.Directory, first.Name, target, name) == Errno.Success) return;
            switch (kind)
            {
                case FileKind.Regular:
                    Check(RawAt.Open(source, name, OpenFlags.ReadOnly | OpenFlags.NoFollow, OneName, 0, out var from), "openat2", name);
                    using (from)
                    {
                        Check(RawAt.Open(target, name, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow, OneName, 0x180, out var to), "openat2", name);
                        using (to) Check(RawAt.CopyContent(from!, to!), "copy_file_range", name);
                    }
                    break;
                case FileKind.SymbolicLink:
                    Check(RawAt.ReadLink(source, name, out var link), "readlinkat", name);
                    Check(RawAt.SymbolicLink(link, target, name), "symlinkat", name);
                    break;
                default:
                    Check(RawAt.MakeNode(target, name, kind, 0, status.NodeDevice.Major, status.NodeDevice.Minor), "mknodat", name);
                    break;
            }
            Check(RawAt.ChangeOwner(target, name, status.Uid, status.Gid), "fchownat", name);
            CopyXattrs(source, name, target, name);
            if (kind != FileKind.SymbolicLink) Check(RawAt.ChangeMode(target, name, status.Permissions), "fchmodat", name);
            Check(RawAt.SetTimes(target, name, status.Modified, status.Modified), "utimensat", name);
            if (status.LinkCount > 1) linked[key] = (target, name);
        }

        private static void CopyXattrs(SafeFileHandle source, ReadOnlySpan<byte> name, SafeFileHandle target, ReadOnlySpan<byte> targetName)
        {
            if (RawAt.ListXattrs(source, name, out var keys) != Errno.Success) return;
            foreach (var key in keys)
            {
                if (key.AsSpan().StartsWith("trusted.overlay."u8)) continue;
                if (RawAt.GetXattr(source, name, key, out var value) != Errno.Success) continue;
                var errno = targetName.IsEmpty ? RawAt.SetXattr(target, key, value) : RawAt.SetXattr(target, targetName, key, value);
                if (errno is not (Errno.Success or Errno.EOPNOTSUPP)) throw new LinuxException("setxattr", TarExtractor.Show(key), errno);
            }
        }

        private static void Check(Errno errno, string call, ReadOnlySpan<byte> name)
        {
            if (errno != Errno.Success) throw new LinuxException(call, TarExtractor.Show(name), errno);
        }
    }
}
