namespace Berth.Linux;

/// <summary>Mounts in our own mount namespace, for the one thing that several containers have to find by its path: a /dev/shm they share.</summary>
public static class HostMount
{
    // include/uapi/linux/mount.h and linux/fs.h
    private const nuint MS_NOSUID = 2, MS_NODEV = 4, MS_NOEXEC = 8;
    private const int MNT_DETACH = 2, UMOUNT_NOFOLLOW = 8;

    /// <summary>A tmpfs that holds at most this many bytes.</summary>
    public static void Tmpfs(string target, long sizeBytes, uint permissions)
    {
        var data = $"mode={Convert.ToString(permissions, 8)},size={sizeBytes}";
        LibC.Check(LibC.mount("shm", target, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, data), "mount", $"\"shm\", \"{target}\", \"tmpfs\", MS_NOSUID|MS_NODEV|MS_NOEXEC, \"{data}\"");
    }

    /// <summary>Lazily, not following a link; nothing mounted there is no error.</summary>
    public static void Unmount(string target)
    {
        if (LibC.umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return;
        var errno = LibC.LastErrno;
        if (errno is not (Errno.EINVAL or Errno.ENOENT)) throw new LinuxException("umount2", $"\"{target}\", MNT_DETACH|UMOUNT_NOFOLLOW", errno);
    }
}
