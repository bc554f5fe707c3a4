using Berth.Linux.Abi;

namespace Berth.Linux;

/// <summary>What statx(2) says about a file.</summary>
public readonly record struct FileStatus
{
    public required FileKind Kind { get; init; }

    /// <summary>The twelve permission bits: 07777.</summary>
    public required uint Permissions { get; init; }

    public required uint Uid { get; init; }

    public required uint Gid { get; init; }

    public required ulong SizeBytes { get; init; }

    /// <summary>Space taken, in units of 512 bytes.</summary>
    public required ulong Blocks { get; init; }

    public required uint LinkCount { get; init; }

    public required ulong Inode { get; init; }

    /// <summary>The file system it lies on.</summary>
    public required (uint Major, uint Minor) Device { get; init; }

    /// <summary>The device it is, for device nodes.</summary>
    public required (uint Major, uint Minor) NodeDevice { get; init; }

    public required (long Seconds, uint Nanoseconds) Modified { get; init; }

    /// <summary>When the inode last changed: content, mode, owner, names. Set by the kernel alone.</summary>
    public (long Seconds, uint Nanoseconds) Changed { get; init; }

    /// <summary>It is what is mounted there (in whichever mount namespace the path was walked) and not what lies beneath. Known since Linux 5.8.</summary>
    public required bool IsMountRoot { get; init; }

    public bool IsDirectory => Kind == FileKind.Directory;

    internal static FileStatus From(in Statx status) => new()
    {
        Kind = (FileKind)(status.Mode & 0xF000),
        Permissions = (uint)status.Mode & 0xFFF,
        Uid = status.Uid,
        Gid = status.Gid,
        SizeBytes = status.Size,
        Blocks = status.Blocks,
        LinkCount = status.LinkCount,
        Inode = status.Inode,
        Device = (status.DevMajor, status.DevMinor),
        NodeDevice = (status.RdevMajor, status.RdevMinor),
        IsMountRoot = (status.Attributes & Statx.STATX_ATTR_MOUNT_ROOT) != 0,
        Changed = (status.ChangeTime.Seconds, status.ChangeTime.Nanoseconds),
        Modified = (status.ModifyTime.Seconds, status.ModifyTime.Nanoseconds),
    };
}
