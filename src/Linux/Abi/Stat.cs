using System.Runtime.InteropServices;

namespace Berth.Linux.Abi;

/// <summary>From include/uapi/linux/stat.h; 256 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Size = 256)]
internal struct Statx
{
    internal const uint STATX_BASIC_STATS = 0x7ff;
    internal const uint STATX_BTIME = 0x800;
    internal const uint STATX_MNT_ID = 0x1000;
    internal const ulong STATX_ATTR_MOUNT_ROOT = 0x2000;

    internal uint Mask;
    internal uint BlockSize;
    internal ulong Attributes;
    internal uint LinkCount;
    internal uint Uid;
    internal uint Gid;
    internal ushort Mode;
    private readonly ushort _spare;
    internal ulong Inode;
    internal ulong Size;
    internal ulong Blocks;
    internal ulong AttributesMask;
    internal StatxTimestamp AccessTime, BirthTime, ChangeTime, ModifyTime;
    internal uint RdevMajor, RdevMinor, DevMajor, DevMinor;
    internal ulong MountId;
}

[StructLayout(LayoutKind.Sequential, Size = 16)]
internal struct StatxTimestamp
{
    internal long Seconds;
    internal uint Nanoseconds;
}

/// <summary>File types of st_mode, from include/uapi/linux/stat.h.</summary>
public enum FileKind
{
    Fifo = 0x1000,
    CharacterDevice = 0x2000,
    Directory = 0x4000,
    BlockDevice = 0x6000,
    Regular = 0x8000,
    SymbolicLink = 0xA000,
    Socket = 0xC000,
}
