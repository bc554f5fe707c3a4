using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>Pseudo terminals, made in a given devpts (the container's own, so that tty(1) finds its terminal there).</summary>
public static unsafe class Pty
{
    private const uint TIOCSWINSZ = 0x5414, TIOCSPTLCK = 0x40045431, TIOCGPTPEER = 0x5441;
    private const long DEVPTS_SUPER_MAGIC = 0x1cd1;

    /// <summary>The master of a new terminal.</summary>
    /// <param name="devPts">A devpts mount, attached or not; null for the host's.</param>
    public static SafeFileHandle Open(SafeFileHandle? devPts)
    {
        const OpenFlags Flags = OpenFlags.ReadWrite | OpenFlags.NoControllingTerminal;
        return Unlock(devPts is null ? FileAt.Open(null, "/dev/ptmx", Flags) : FileAt.Open(devPts, "ptmx", Flags, ResolveFlags.Beneath | ResolveFlags.NoSymlinks));
    }

    /// <summary>The master of a new terminal of a running container. What lies at /dev/pts there may be hostile: nothing but a devpts is opened.</summary>
    /// <param name="root">The container's root directory.</param>
    /// <exception cref="LinuxException">ENOENT without a /dev/pts/ptmx; ENODEV if it is no terminal.</exception>
    public static SafeFileHandle OpenInContainer(SafeFileHandle root)
    {
        using var path = FileAt.Open(root, "dev/pts/ptmx", OpenFlags.Path, ResolveFlags.Beneath | ResolveFlags.NoSymlinks);
        var status = FileAt.Status(path);
        if (status.Kind != FileKind.CharacterDevice || status.NodeDevice != (5, 2) || FileSystemType(path) != DEVPTS_SUPER_MAGIC)
            throw new LinuxException("open", "\"/dev/pts/ptmx\"", Errno.ENODEV);
        return Unlock(FileAt.Open(null, $"/proc/self/fd/{(int)path.DangerousGetHandle()}", OpenFlags.ReadWrite | OpenFlags.NoControllingTerminal));
    }

    /// <summary>The other side of a master, by the open file itself and no path (TIOCGPTPEER).</summary>
    public static SafeFileHandle OpenPeer(SafeFileHandle master)
    {
        using var fd = new DirectoryArgument(master);
        var flags = (OpenFlags.ReadWrite | OpenFlags.NoControllingTerminal | OpenFlags.CloseOnExec).ToKernel();
        return new SafeFileHandle(LibC.Check(LibC.ioctl(fd.Fd, TIOCGPTPEER, flags), "ioctl", "TIOCGPTPEER"), ownsHandle: true);
    }

    public static void SetSize(SafeFileHandle master, ushort columns, ushort rows)
    {
        var size = stackalloc ushort[4] { rows, columns, 0, 0 };
        using var fd = new DirectoryArgument(master);
        LibC.Check(LibC.ioctl(fd.Fd, TIOCSWINSZ, (nint)size), "ioctl", $"TIOCSWINSZ, {columns}x{rows}");
    }

    private static SafeFileHandle Unlock(SafeFileHandle master)
    {
        var unlocked = 0;
        using var fd = new DirectoryArgument(master);
        LibC.Check(LibC.ioctl(fd.Fd, TIOCSPTLCK, (nint)(&unlocked)), "ioctl", "TIOCSPTLCK");
        return master;
    }

    private static long FileSystemType(SafeFileHandle file)
    {
        var status = stackalloc long[15]; // struct statfs, 120 bytes; f_type comes first
        using var fd = new DirectoryArgument(file);
        LibC.Check(LibC.fstatfs(fd.Fd, status), "fstatfs", "");
        return status[0];
    }
}
