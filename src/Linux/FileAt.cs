using System.Text;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>Opening files, and the at-family of calls: a directory descriptor and a path relative to it. A null directory means the working directory (or an absolute path).
/// Everything opened here is close-on-exec.</summary>
public static unsafe class FileAt
{
    /// <summary>Longest path the kernel takes, with its final zero: PATH_MAX of include/uapi/linux/limits.h.</summary>
    public const int MaxPathBytes = 4096;

    public static SafeFileHandle Open(SafeFileHandle? directory, string path, OpenFlags flags, uint mode = 0)
    {
        using var at = new DirectoryArgument(directory);
        return LibC.Check(LibC.openat(at.Fd, path, (flags | OpenFlags.CloseOnExec).ToKernel(), mode), "openat", $"\"{path}\", {flags}");
    }

    /// <summary>openat2(2): resolves <paramref name="path"/> under the given restrictions, so that no link or ".." can lead elsewhere.</summary>
    /// <exception cref="LinuxException">EXDEV: the path leaves the directory (Beneath); ELOOP: a link that is not allowed; EAGAIN is retried here.</exception>
    public static SafeFileHandle Open(SafeFileHandle directory, string path, OpenFlags flags, ResolveFlags resolve, uint mode = 0)
    {
        var handle = TryOpen(directory, path, flags, resolve, out var errno, mode);
        return handle ?? throw new LinuxException("openat2", $"\"{path}\", {flags}, {resolve}", errno);
    }

    /// <summary>As <see cref="Open(SafeFileHandle, string, OpenFlags, ResolveFlags, uint)"/>, with null and the error where that throws.</summary>
    public static SafeFileHandle? TryOpen(SafeFileHandle directory, string path, OpenFlags flags, ResolveFlags resolve, out Errno errno, uint mode = 0)
    {
        var how = new OpenHow { Flags = (ulong)(flags | OpenFlags.CloseOnExec).ToKernel(), Mode = mode, Resolve = (ulong)resolve };
        Span<byte> bytes = stackalloc byte[512];
        if (Encoding.UTF8.GetMaxByteCount(path.Length) >= bytes.Length) bytes = new byte[Encoding.UTF8.GetMaxByteCount(path.Length) + 1];
        bytes[Encoding.UTF8.GetBytes(path, bytes)] = 0;
        using var at = new DirectoryArgument(directory);
        int fd;
        fixed (byte* p = bytes)
        {
            // EAGAIN: a rename or mount elsewhere raced with the walk through ".."; the man page says to try again.
            var attempts = 0;
            do
                fd = LibC.openat2(at.Fd, p, &how);
            while (fd < 0 && LibC.LastErrno is Errno.EAGAIN or Errno.EINTR && ++attempts < MaxResolveAttempts);
        }
        errno = fd < 0 ? LibC.LastErrno : Errno.Success;
        return fd < 0 ? null : new SafeFileHandle(fd, ownsHandle: true);
    }

    // A hostile container can rename as fast as we walk; after this many tries the error is given to the caller.
    private const int MaxResolveAttempts = 128;

    public static FileStatus Status(SafeFileHandle? directory, string path, bool followLinks = true) =>
        TryStatus(directory, path, followLinks, out var errno) ?? throw new LinuxException("statx", $"\"{path}\"", errno);

    /// <summary>Status of an open descriptor (O_PATH ones too).</summary>
    public static FileStatus Status(SafeFileHandle handle) => Status(handle, "");

    public static FileStatus? TryStatus(SafeFileHandle? directory, string path, bool followLinks, out Errno errno)
    {
        Statx status;
        using var at = new DirectoryArgument(directory);
        var flags = (path.Length == 0 ? At.EMPTY_PATH : 0) | (followLinks ? 0 : At.SYMLINK_NOFOLLOW);
        if (LibC.statx(at.Fd, path, flags, Statx.STATX_BASIC_STATS, &status) < 0)
        {
            errno = LibC.LastErrno;
            return null;
        }
        errno = Errno.Success;
        return FileStatus.From(status);
    }

    /// <param name="mode">Subject to the process's umask, as mkdir(2) is.</param>
    public static void MakeDirectory(SafeFileHandle? directory, string path, uint mode)
    {
        using var at = new DirectoryArgument(directory);
        LibC.Check(LibC.mkdirat(at.Fd, path, mode), "mkdirat", $"\"{path}\", 0{Convert.ToString(mode, 8)}");
    }

    /// <summary>mknodat(2): a device, fifo, socket or empty regular file.</summary>
    public static void MakeNode(SafeFileHandle? directory, string path, FileKind kind, uint permissions, uint major = 0, uint minor = 0)
    {
        using var at = new DirectoryArgument(directory);
        LibC.Check(LibC.mknodat(at.Fd, path, (uint)kind | permissions, MakeDevice(major, minor)), "mknodat", $"\"{path}\", {kind}, {major}:{minor}");
    }

    public static void SymbolicLink(string target, SafeFileHandle? directory, string path)
    {
        using var at = new DirectoryArgument(directory);
        LibC.Check(LibC.symlinkat(target, at.Fd, path), "symlinkat", $"\"{target}\", \"{path}\"");
    }

    /// <summary>linkat(2) that does not follow a link at <paramref name="existing"/>.</summary>
    public static void HardLink(SafeFileHandle? existingDirectory, string existing, SafeFileHandle? directory, string path)
    {
        using var from = new DirectoryArgument(existingDirectory);
        using var to = new DirectoryArgument(directory);
        LibC.Check(LibC.linkat(from.Fd, existing, to.Fd, path, 0), "linkat", $"\"{existing}\", \"{path}\"");
    }

    public static void Unlink(SafeFileHandle? directory, string path)
    {
        using var at = new DirectoryArgument(directory);
        LibC.Check(LibC.unlinkat(at.Fd, path, 0), "unlinkat", $"\"{path}\"");
    }

    public static void RemoveDirectory(SafeFileHandle? directory, string path)
    {
        using var at = new DirectoryArgument(directory);
        LibC.Check(LibC.unlinkat(at.Fd, path, At.REMOVEDIR), "unlinkat", $"\"{path}\", AT_REMOVEDIR");
    }

    public static void Rename(SafeFileHandle? fromDirectory, string from, SafeFileHandle? toDirectory, string to)
    {
        using var a = new DirectoryArgument(fromDirectory);
        using var b = new DirectoryArgument(toDirectory);
        LibC.Check(LibC.renameat2(a.Fd, from, b.Fd, to, 0), "renameat2", $"\"{from}\", \"{to}\"");
    }

    /// <summary>Owner of the file itself, not of what a link points to.</summary>
    public static void ChangeOwner(SafeFileHandle? directory, string path, uint uid, uint gid)
    {
        using var at = new DirectoryArgument(directory);
        var flags = At.SYMLINK_NOFOLLOW | (path.Length == 0 ? At.EMPTY_PATH : 0);
        LibC.Check(LibC.fchownat(at.Fd, path, uid, gid, flags), "fchownat", $"\"{path}\", {uid}, {gid}");
    }

    /// <summary>fchmodat(2), which follows links: give it only paths whose last part is known not to be one.</summary>
    public static void ChangeMode(SafeFileHandle? directory, string path, uint permissions)
    {
        using var at = new DirectoryArgument(directory);
        LibC.Check(LibC.fchmodat(at.Fd, path, permissions, 0), "fchmodat", $"\"{path}\", 0{Convert.ToString(permissions, 8)}");
    }

    public static void ChangeMode(SafeFileHandle file, uint permissions)
    {
        using var fd = new DirectoryArgument(file);
        LibC.Check(LibC.fchmod(fd.Fd, permissions), "fchmod", $"0{Convert.ToString(permissions, 8)}");
    }

    /// <summary>Access and modification time of the file itself, not of what a link points to.</summary>
    public static void SetTimes(SafeFileHandle? directory, string path, (long Seconds, uint Nanoseconds) access, (long Seconds, uint Nanoseconds) modification)
    {
        var times = stackalloc long[4] { access.Seconds, access.Nanoseconds, modification.Seconds, modification.Nanoseconds };
        using var at = new DirectoryArgument(directory);
        LibC.Check(LibC.utimensat(at.Fd, path, times, At.SYMLINK_NOFOLLOW), "utimensat", $"\"{path}\"");
    }

    public static string ReadLink(SafeFileHandle? directory, string path)
    {
        var buffer = stackalloc byte[MaxPathBytes];
        using var at = new DirectoryArgument(directory);
        var length = (int)LibC.readlinkat(at.Fd, path, buffer, MaxPathBytes);
        LibC.Check(length, "readlinkat", $"\"{path}\"");
        return Encoding.UTF8.GetString(buffer, length);
    }

    // new_encode_dev of include/linux/kdev_t.h, which is what mknod takes.
    private static ulong MakeDevice(uint major, uint minor) => (minor & 0xffu) | (major << 8) | ((ulong)(minor & ~0xffu) << 12);
}

/// <summary>Lends the int of a handle for the length of one call; a null handle is AT_FDCWD.</summary>
internal ref struct DirectoryArgument
{
    private readonly SafeFileHandle? _handle;
    private readonly bool _held;

    internal DirectoryArgument(SafeFileHandle? handle)
    {
        _handle = handle;
        handle?.DangerousAddRef(ref _held);
        Fd = handle is null ? At.FDCWD : (int)handle.DangerousGetHandle();
    }

    internal int Fd { get; }

    public readonly void Dispose()
    {
        if (_held) _handle!.DangerousRelease();
    }
}
