using System.Runtime.InteropServices;

namespace Berth.Linux.Abi;

/// <summary>Flags of open(2), from include/uapi/asm-generic/fcntl.h. The values are x64's; <see cref="OpenFlagsExtensions.ToKernel"/> gives those of this machine.</summary>
[Flags]
public enum OpenFlags
{
    ReadOnly = 0,
    WriteOnly = 1,
    ReadWrite = 2,
    Create = 0x40,
    Exclusive = 0x80,
    NoControllingTerminal = 0x100,
    Truncate = 0x200,
    Append = 0x400,
    NonBlocking = 0x800,
    Directory = 0x10000,
    NoFollow = 0x20000,
    /// <summary>O_NOATIME: for the owner and for root.</summary>
    NoAccessTime = 0x40000,
    CloseOnExec = 0x80000,
    /// <summary>O_PATH: names a file without opening it.</summary>
    Path = 0x200000,
    TemporaryFile = 0x400000 | Directory,
}

internal static class OpenFlagsExtensions
{
    private const int Arm64Directory = 0x4000, Arm64NoFollow = 0x8000;

    internal static int ToKernel(this OpenFlags flags) => ToKernel(flags, RuntimeInformation.ProcessArchitecture);

    internal static int ToKernel(OpenFlags flags, Architecture architecture)
    {
        if (architecture != Architecture.Arm64) return (int)flags;
        // arm64 has O_DIRECTORY and O_NOFOLLOW elsewhere: arch/arm64/include/uapi/asm/fcntl.h.
        var value = (int)(flags & ~(OpenFlags.Directory | OpenFlags.NoFollow));
        if ((flags & OpenFlags.Directory) != 0) value |= Arm64Directory;
        if ((flags & OpenFlags.NoFollow) != 0) value |= Arm64NoFollow;
        return value;
    }
}

/// <summary>From include/uapi/linux/fcntl.h.</summary>
public static class At
{
    public const int FDCWD = -100;
    public const int SYMLINK_NOFOLLOW = 0x100;
    public const int REMOVEDIR = 0x200;
    public const int SYMLINK_FOLLOW = 0x400;
    public const int EMPTY_PATH = 0x1000;
    public const int RECURSIVE = 0x8000;
}

/// <summary>From include/uapi/linux/openat2.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct OpenHow
{
    internal ulong Flags;
    internal ulong Mode;
    internal ulong Resolve;
}

/// <summary>How openat2(2) may walk a path, from include/uapi/linux/openat2.h.</summary>
[Flags]
public enum ResolveFlags : ulong
{
    None = 0,
    /// <summary>Crosses no mount.</summary>
    NoMounts = 0x01,
    /// <summary>Follows none of the links of /proc/pid/fd and their like.</summary>
    NoMagicLinks = 0x02,
    /// <summary>Follows no symbolic link at all (ELOOP).</summary>
    NoSymlinks = 0x04,
    /// <summary>Refuses (EXDEV) whatever leaves the directory: "..", absolute paths and links.</summary>
    Beneath = 0x08,
    /// <summary>Treats the directory as the root: "/" and ".." stay inside, as after chroot.</summary>
    InRoot = 0x10,
}
