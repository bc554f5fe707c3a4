using System.Buffers;
using System.Runtime.CompilerServices;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// The at-family of calls for those who handle file names of foreign origin by the thousand: names are raw bytes
/// (no final zero; not necessarily UTF-8) and failures are returned as <see cref="Errno"/>, because the caller decides which of
/// them are ordinary. Nothing here follows a symbolic link in the last part of a path. Opened descriptors are close-on-exec.
/// </summary>
public static unsafe class RawAt
{
    private const int StackBytes = 512;

    /// <summary>openat2(2).</summary>
    public static Errno Open(SafeFileHandle directory, ReadOnlySpan<byte> path, OpenFlags flags, ResolveFlags resolve, uint mode, out SafeFileHandle? handle)
    {
        handle = null;
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        var how = new OpenHow { Flags = (ulong)(flags | OpenFlags.CloseOnExec).ToKernel(), Mode = mode, Resolve = (ulong)resolve };
        using var at = new DirectoryArgument(directory);
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        {
            int fd, attempts = 0;
            do fd = LibC.openat2(at.Fd, p, &how);
            while (fd < 0 && LibC.LastErrno is Errno.EAGAIN or Errno.EINTR && ++attempts < MaxAttempts);
            if (fd < 0) return LibC.LastErrno;
            handle = new SafeFileHandle(fd, ownsHandle: true);
            return Errno.Success;
        }
    }

    // openat2 says EAGAIN when a rename elsewhere raced with "..", for as long as somebody keeps renaming.
    private const int MaxAttempts = 128;

    public static Errno MakeDirectory(SafeFileHandle directory, ReadOnlySpan<byte> path, uint mode)
    {
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        using var at = new DirectoryArgument(directory);
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
            return Result(LibC.mkdirat(at.Fd, p, mode));
    }

    public static Errno MakeNode(SafeFileHandle directory, ReadOnlySpan<byte> path, FileKind kind, uint permissions, uint major = 0, uint minor = 0)
    {
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        using var at = new DirectoryArgument(directory);
        // new_encode_dev of include/linux/kdev_t.h.
        var device = (minor & 0xffu) | ((ulong)major << 8) | ((ulong)(minor & ~0xffu) << 12);
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
            return Result(LibC.mknodat(at.Fd, p, (uint)kind | permissions, device));
    }

    public static Errno SymbolicLink(ReadOnlySpan<byte> target, SafeFileHandle directory, ReadOnlySpan<byte> path)
    {
        if (!Fits(path) || !Fits(target)) return Errno.ENAMETOOLONG;
        using var at = new DirectoryArgument(directory);
        fixed (byte* t = Terminate(target, target.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
            return Result(LibC.symlinkat(t, at.Fd, p));
    }

    public static Errno HardLink(SafeFileHandle existingDirectory, ReadOnlySpan<byte> existing, SafeFileHandle directory, ReadOnlySpan<byte> path)
    {
        if (!Fits(path) || !Fits(existing)) return Errno.ENAMETOOLONG;
        using var from = new DirectoryArgument(existingDirectory);
        using var to = new DirectoryArgument(directory);
        fixed (byte* e = Terminate(existing, existing.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
            return Result(LibC.linkat(from.Fd, e, to.Fd, p, 0));
    }

    public static Errno Unlink(SafeFileHandle directory, ReadOnlySpan<byte> path) => Unlink(directory, path, 0);

    public static Errno RemoveDirectory(SafeFileHandle directory, ReadOnlySpan<byte> path) => Unlink(directory, path, At.REMOVEDIR);

    private static Errno Unlink(SafeFileHandle directory, ReadOnlySpan<byte> path, int flags)
    {
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        using var at = new DirectoryArgument(directory);
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
            return Result(LibC.unlinkat(at.Fd, p, flags));
    }

    public static Errno Rename(SafeFileHandle fromDirectory, ReadOnlySpan<byte> from, SafeFileHandle toDirectory, ReadOnlySpan<byte> to)
    {
        if (!Fits(from) || !Fits(to)) return Errno.ENAMETOOLONG;
        using var a = new DirectoryArgument(fromDirectory);
        using var b = new DirectoryArgument(toDirectory);
        fixed (byte* f = Terminate(from, from.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        fixed (byte* t = Terminate(to, to.Length < StackBytes ? stackalloc byte[StackBytes] : default))
            return Result(LibC.renameat(a.Fd, f, b.Fd, t));
    }

    /// <summary>An empty path means the open file <paramref name="directory"/> itself.</summary>
    public static Errno ChangeOwner(SafeFileHandle directory, ReadOnlySpan<byte> path, uint uid, uint gid)
    {
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        using var at = new DirectoryArgument(directory);
        if (path.Length == 0) return Result(LibC.fchown(at.Fd, uid, gid));
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
            return Result(LibC.fchownat(at.Fd, p, uid, gid, At.SYMLINK_NOFOLLOW));
    }

    /// <summary>An empty path means the open file <paramref name="directory"/> itself. A symbolic link is not followed and has no mode of its own: ELOOP.</summary>
    public static Errno ChangeMode(SafeFileHandle directory, ReadOnlySpan<byte> path, uint permissions)
    {
        if (path.Length == 0)
        {
            using var at = new DirectoryArgument(directory);
            return Result(LibC.fchmod(at.Fd, permissions));
        }
        // There is no fchmodat that does not follow before Linux 6.6; the way through /proc/self/fd means the very file that was looked at.
        var errno = Open(directory, path, OpenFlags.Path | OpenFlags.NoFollow, ResolveFlags.None, 0, out var file);
        if (errno != Errno.Success) return errno;
        using (file)
        {
            errno = Status(file!, default, out var status);
            if (errno != Errno.Success) return errno;
            if (status.Kind == FileKind.SymbolicLink) return Errno.ELOOP;
            using var fd = new DirectoryArgument(file);
            fixed (byte* p = System.Text.Encoding.ASCII.GetBytes($"/proc/self/fd/{fd.Fd}\0")) return Result(LibC.fchmodat(At.FDCWD, p, permissions, 0));
        }
    }

    /// <summary>An empty path means the open file <paramref name="directory"/> itself.</summary>
    public static Errno SetTimes(SafeFileHandle directory, ReadOnlySpan<byte> path, (long Seconds, uint Nanoseconds) access, (long Seconds, uint Nanoseconds) modification)
    {
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        var times = stackalloc long[4] { access.Seconds, access.Nanoseconds, modification.Seconds, modification.Nanoseconds };
        using var at = new DirectoryArgument(directory);
        if (path.Length == 0) return Result(LibC.futimens(at.Fd, times));
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
            return Result(LibC.utimensat(at.Fd, p, times, At.SYMLINK_NOFOLLOW));
    }

    /// <summary>statx(2). An empty path means the open file <paramref name="directory"/> itself.</summary>
    public static Errno Status(SafeFileHandle directory, ReadOnlySpan<byte> path, out FileStatus status)
    {
        status = default;
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        Statx raw;
        using var at = new DirectoryArgument(directory);
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        {
            var flags = At.SYMLINK_NOFOLLOW | (path.Length == 0 ? At.EMPTY_PATH : 0);
            if (LibC.statx(at.Fd, p, flags, Statx.STATX_BASIC_STATS, &raw) < 0) return LibC.LastErrno;
        }
        status = FileStatus.From(raw);
        return Errno.Success;
    }

    public static Errno ReadLink(SafeFileHandle directory, ReadOnlySpan<byte> path, out byte[] target)
    {
        target = [];
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        var buffer = stackalloc byte[FileAt.MaxPathBytes];
        using var at = new DirectoryArgument(directory);
        fixed (byte* p = Terminate(path, path.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        {
            var length = LibC.readlinkat(at.Fd, p, buffer, FileAt.MaxPathBytes);
            if (length < 0) return LibC.LastErrno;
            target = new Span<byte>(buffer, (int)length).ToArray();
            return Errno.Success;
        }
    }

    /// <summary>The path of an open file as of now, as this process would name it; " (deleted)" follows when it has none any more.</summary>
    public static Errno CurrentPath(SafeFileHandle file, out byte[] path)
    {
        path = [];
        var buffer = stackalloc byte[FileAt.MaxPathBytes];
        using var fd = new DirectoryArgument(file);
        fixed (byte* p = System.Text.Encoding.ASCII.GetBytes($"/proc/self/fd/{fd.Fd}\0"))
        {
            var length = LibC.readlinkat(At.FDCWD, p, buffer, FileAt.MaxPathBytes);
            if (length < 0) return LibC.LastErrno;
            if (length == FileAt.MaxPathBytes) return Errno.ENAMETOOLONG;
            path = new Span<byte>(buffer, (int)length).ToArray();
            return Errno.Success;
        }
    }

    /// <summary>Sets an extended attribute of a file open for reading or writing (not O_PATH).</summary>
    public static Errno SetXattr(SafeFileHandle file, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        if (!Fits(name)) return Errno.ERANGE;
        using var fd = new DirectoryArgument(file);
        fixed (byte* n = Terminate(name, name.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        fixed (byte* v = value)
            return Result(LibC.fsetxattr(fd.Fd, n, v, (nuint)value.Length, 0));
    }

    /// <summary>Sets an extended attribute of <paramref name="path"/> (one name, no slash) in the directory, whatever kind of file it is.</summary>
    public static Errno SetXattr(SafeFileHandle directory, ReadOnlySpan<byte> path, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        if (!Fits(name)) return Errno.ERANGE;
        using var at = new DirectoryArgument(directory);
        fixed (byte* p = ThroughProc(at.Fd, path))
        fixed (byte* n = Terminate(name, name.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        fixed (byte* v = value)
            return Result(LibC.lsetxattr(p, n, v, (nuint)value.Length, 0));
    }

    /// <summary>An extended attribute of a file open for reading or writing (not O_PATH). ENODATA when there is none.</summary>
    public static Errno GetXattr(SafeFileHandle file, ReadOnlySpan<byte> name, out byte[] value)
    {
        value = [];
        if (!Fits(name)) return Errno.ERANGE;
        using var fd = new DirectoryArgument(file);
        Span<byte> small = stackalloc byte[256];
        fixed (byte* n = Terminate(name, name.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        {
            nint length;
            fixed (byte* v = small) length = LibC.fgetxattr(fd.Fd, n, v, (nuint)small.Length);
            if (length >= 0)
            {
                value = small[..(int)length].ToArray();
                return Errno.Success;
            }
            if (LibC.LastErrno != Errno.ERANGE) return LibC.LastErrno;
            var large = new byte[Xattr.MaxValueBytes];
            fixed (byte* v = large) length = LibC.fgetxattr(fd.Fd, n, v, (nuint)large.Length);
            if (length < 0) return LibC.LastErrno;
            value = large[..(int)length];
            return Errno.Success;
        }
    }

    /// <summary>An extended attribute of <paramref name="path"/> (one name; empty for the directory itself). ENODATA when there is none.</summary>
    public static Errno GetXattr(SafeFileHandle directory, ReadOnlySpan<byte> path, ReadOnlySpan<byte> name, out byte[] value)
    {
        value = [];
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        using var at = new DirectoryArgument(directory);
        Span<byte> small = stackalloc byte[256];
        fixed (byte* p = ThroughProc(at.Fd, path))
        fixed (byte* n = Terminate(name, name.Length < StackBytes ? stackalloc byte[StackBytes] : default))
        {
            nint length;
            fixed (byte* v = small) length = LibC.lgetxattr(p, n, v, (nuint)small.Length);
            if (length >= 0)
            {
                value = small[..(int)length].ToArray();
                return Errno.Success;
            }
            if (LibC.LastErrno != Errno.ERANGE) return LibC.LastErrno;
            var large = new byte[Xattr.MaxValueBytes];
            fixed (byte* v = large) length = LibC.lgetxattr(p, n, v, (nuint)large.Length);
            if (length < 0) return LibC.LastErrno;
            value = large[..(int)length];
            return Errno.Success;
        }
    }

    /// <summary>Names of the extended attributes of a file open for reading or writing (not O_PATH).</summary>
    public static Errno ListXattrs(SafeFileHandle file, out IReadOnlyList<byte[]> names)
    {
        names = [];
        using var fd = new DirectoryArgument(file);
        var length = LibC.flistxattr(fd.Fd, null, 0);
        if (length < 0) return LibC.LastErrno;
        if (length == 0) return Errno.Success;
        var buffer = new byte[Xattr.MaxValueBytes];
        fixed (byte* b = buffer) length = LibC.flistxattr(fd.Fd, b, (nuint)buffer.Length);
        if (length < 0) return LibC.LastErrno;
        names = Names(buffer.AsSpan(0, (int)length));
        return Errno.Success;
    }

    /// <summary>Names of the extended attributes of <paramref name="path"/> (one name; empty for the directory itself).</summary>
    public static Errno ListXattrs(SafeFileHandle directory, ReadOnlySpan<byte> path, out IReadOnlyList<byte[]> names)
    {
        names = [];
        if (!Fits(path)) return Errno.ENAMETOOLONG;
        using var at = new DirectoryArgument(directory);
        fixed (byte* p = ThroughProc(at.Fd, path))
        {
            var length = LibC.llistxattr(p, null, 0);
            if (length < 0) return LibC.LastErrno;
            if (length == 0) return Errno.Success;
            var buffer = new byte[Xattr.MaxValueBytes];
            fixed (byte* b = buffer) length = LibC.llistxattr(p, b, (nuint)buffer.Length);
            if (length < 0) return LibC.LastErrno;
            names = Names(buffer.AsSpan(0, (int)length));
            return Errno.Success;
        }
    }

    private static List<byte[]> Names(ReadOnlySpan<byte> rest)
    {
        var list = new List<byte[]>();
        while (rest.IndexOf((byte)0) is var end and >= 0)
        {
            list.Add(rest[..end].ToArray());
            rest = rest[(end + 1)..];
        }
        return list;
    }

    /// <summary>Reads at the offset what one call gives: less than asked for at the end, nothing beyond it.</summary>
    public static Errno ReadAt(SafeFileHandle file, Span<byte> buffer, long offset, out int count)
    {
        count = 0;
        using var fd = new DirectoryArgument(file);
        fixed (byte* p = buffer)
        {
            nint got;
            do got = LibC.pread(fd.Fd, p, (nuint)buffer.Length, offset);
            while (got < 0 && LibC.LastErrno == Errno.EINTR);
            if (got < 0) return LibC.LastErrno;
            count = (int)got;
            return Errno.Success;
        }
    }

    /// <summary>Writes all of it at the offset.</summary>
    public static Errno WriteAt(SafeFileHandle file, ReadOnlySpan<byte> content, long offset)
    {
        using var fd = new DirectoryArgument(file);
        fixed (byte* p = content)
        {
            var done = 0;
            while (done < content.Length)
            {
                var written = LibC.pwrite(fd.Fd, p + done, (nuint)(content.Length - done), offset + done);
                if (written < 0 && LibC.LastErrno != Errno.EINTR) return LibC.LastErrno;
                if (written > 0) done += (int)written;
            }
        }
        return Errno.Success;
    }

    public static Errno SetLength(SafeFileHandle file, long bytes)
    {
        using var fd = new DirectoryArgument(file);
        return Result(LibC.ftruncate(fd.Fd, bytes));
    }

    /// <summary>Up to here a file is read and written: two calls, where asking whether extents can be shared is one more.</summary>
    private const int SmallFileBytes = 64 * 1024;

    /// <summary>Copies the whole content from one file into another, sharing extents where the file system can.</summary>
    /// <param name="sizeBytes">As far as it is known: what there is is copied.</param>
    public static Errno CopyContent(SafeFileHandle from, SafeFileHandle to, ulong sizeBytes = ulong.MaxValue)
    {
        using var a = new DirectoryArgument(from);
        using var b = new DirectoryArgument(to);
        while (sizeBytes > SmallFileBytes)
        {
            var copied = LibC.copy_file_range(a.Fd, null, b.Fd, null, 1 << 30, 0);
            if (copied == 0) return Errno.Success;
            if (copied > 0) continue;
            if (LibC.LastErrno is not (Errno.EXDEV or Errno.EINVAL or Errno.EOPNOTSUPP or Errno.ENOSYS)) return LibC.LastErrno;
            break;
        }
        // Not between these two file systems, as with any overlay: by hand, from where the offsets stand now. The buffer is one of those that are there: a new one for each of many small
        // files is more work than the copying.
        var buffer = ArrayPool<byte>.Shared.Rent(128 * 1024);
        try
        {
            fixed (byte* p = buffer)
            {
                while (true)
                {
                    var got = LibC.read(a.Fd, p, (nuint)buffer.Length);
                    if (got == 0) return Errno.Success;
                    if (got < 0 && LibC.LastErrno == Errno.EINTR) continue;
                    if (got < 0) return LibC.LastErrno;
                    for (nint done = 0; done < got;)
                    {
                        var written = LibC.write(b.Fd, p + done, (nuint)(got - done));
                        if (written < 0 && LibC.LastErrno != Errno.EINTR) return LibC.LastErrno;
                        if (written > 0) done += written;
                    }
                    // A regular file gives less than was asked for at its end alone.
                    if ((ulong)got == sizeBytes && got < buffer.Length) return Errno.Success;
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static bool Fits(ReadOnlySpan<byte> path) => path.Length < FileAt.MaxPathBytes;

    private static Errno Result(int result) => result < 0 ? LibC.LastErrno : Errno.Success;

    private static ReadOnlySpan<byte> Terminate(ReadOnlySpan<byte> name, Span<byte> buffer)
    {
        if (buffer.Length <= name.Length) buffer = new byte[name.Length + 1];
        name.CopyTo(buffer);
        buffer[name.Length] = 0;
        return buffer;
    }

    // There is no setxattrat before Linux 6.13; the way through /proc/self/fd names the same file.
    private static byte[] ThroughProc(int fd, ReadOnlySpan<byte> name)
    {
        var prefix = $"/proc/self/fd/{fd}";
        var path = new byte[prefix.Length + name.Length + 2];
        System.Text.Encoding.ASCII.GetBytes(prefix, path);
        if (name.Length == 0)
        {
            // "/." so that the call acts on the directory and not on the magic link, which the l-calls would not follow.
            path = [.. path.AsSpan(0, prefix.Length), (byte)'/', (byte)'.', 0];
            return path;
        }
        path[prefix.Length] = (byte)'/';
        name.CopyTo(path.AsSpan(prefix.Length + 1));
        return path;
    }
}
