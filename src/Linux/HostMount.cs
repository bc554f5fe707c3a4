using System.Text;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>Flags of mount(2), from include/uapi/linux/mount.h.</summary>
[Flags]
public enum MountFlags : ulong
{
    None = 0,
    ReadOnly = 1,
    NoSuid = 2,
    NoDev = 4,
    NoExec = 8,
    Synchronous = 0x10,
    Remount = 0x20,
    Mandatory = 0x40,
    DirectorySync = 0x80,
    NoAtime = 0x400,
    NoDirectoryAtime = 0x800,
    Bind = 0x1000,
    Recursive = 0x4000,
    Unbindable = 1 << 17,
    Private = 1 << 18,
    Slave = 1 << 19,
    Shared = 1 << 20,
    RelativeAtime = 1 << 21,
    StrictAtime = 1 << 24,
}

/// <summary>Mounts in our own mount namespace, for what several containers or people have to find by its path: a shared /dev/shm, a volume with a file system of its own.</summary>
public static unsafe class HostMount
{
    private const int MNT_DETACH = 2, UMOUNT_NOFOLLOW = 8;

    /// <summary>More mounts than this are not stacked on one point by anybody in good faith.</summary>
    private const int MaxStacked = 64;

    /// <summary>A tmpfs that holds at most this many bytes.</summary>
    public static void Tmpfs(string target, long sizeBytes, uint permissions)
    {
        var data = $"mode={Convert.ToString(permissions, 8)},size={sizeBytes}";
        var errno = TryMount("shm", target, "tmpfs", MountFlags.NoSuid | MountFlags.NoDev | MountFlags.NoExec, data);
        if (errno != Errno.Success) throw new LinuxException("mount", $"\"shm\", \"{target}\", \"tmpfs\", MS_NOSUID|MS_NODEV|MS_NOEXEC, \"{data}\"", errno);
    }

    /// <summary>mount(2).</summary>
    public static Errno TryMount(string source, string target, string type, MountFlags flags, string? data) =>
        LibC.mount(source, target, type, (nuint)flags, string.IsNullOrEmpty(data) ? null : data) == 0 ? Errno.Success : LibC.LastErrno;

    /// <summary>Puts a detached mount at a path.</summary>
    public static void Attach(SafeFileHandle mount, string target)
    {
        using var at = new DirectoryArgument(mount);
        var bytes = new byte[Encoding.UTF8.GetByteCount(target) + 1];
        Encoding.UTF8.GetBytes(target, bytes);
        int result;
        fixed (byte* empty = "\0"u8)
        fixed (byte* path = bytes)
            result = LibC.move_mount(at.Fd, empty, At.FDCWD, path, MountAbi.MOVE_MOUNT_F_EMPTY_PATH);
        LibC.Check(result, "move_mount", $"\"{target}\"");
    }

    /// <summary>Lazily, not following a link; nothing mounted there is no error.</summary>
    public static void Unmount(string target)
    {
        if (LibC.umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return;
        var errno = LibC.LastErrno;
        if (errno is not (Errno.EINVAL or Errno.ENOENT)) throw new LinuxException("umount2", $"\"{target}\", MNT_DETACH|UMOUNT_NOFOLLOW", errno);
    }

    /// <summary>The same for all that is mounted on one point.</summary>
    public static void UnmountAll(string target)
    {
        for (var i = 0; i < MaxStacked && LibC.umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) == 0; i++)
        {
        }
        Unmount(target);
    }
}
