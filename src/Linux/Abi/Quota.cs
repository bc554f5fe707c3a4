using System.Runtime.InteropServices;

namespace Berth.Linux.Abi;

/// <summary>include/uapi/linux/quota.h, dqblk_xfs.h: the calls that xfs brought and every file system with project quotas answers.</summary>
internal static class Quota
{
    internal const uint PRJQUOTA = 2;
    internal const uint Q_XSETQLIM = 'X' << 8 | 4, Q_XGETQUOTA = 'X' << 8 | 3, Q_XGETQSTAT = 'X' << 8 | 5;

    /// <summary>qs_flags: limits of projects are enforced.</summary>
    internal const ushort FS_QUOTA_PDQ_ENFD = 1 << 5;

    /// <summary>QCMD(command, PRJQUOTA).</summary>
    internal static uint OfProjects(uint command) => command << 8 | PRJQUOTA;
}

/// <summary>struct fs_disk_quota; blocks are of 512 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DiskQuota
{
    internal const sbyte CurrentVersion = 1, Project = 2; // FS_DQUOT_VERSION, FS_PROJ_QUOTA
    internal const ushort SoftBlocks = 1 << 2, HardBlocks = 1 << 3; // FS_DQ_BSOFT, FS_DQ_BHARD

    internal sbyte Version, Flags;
    internal ushort FieldMask;
    internal uint Id;
    internal ulong HardBlockLimit, SoftBlockLimit, HardInodeLimit, SoftInodeLimit, BlockCount, InodeCount;
    internal int InodeTimer, BlockTimer;
    internal ushort InodeWarnings, BlockWarnings;
    internal sbyte InodeTimerHigh, BlockTimerHigh, RealtimeTimerHigh, Padding2;
    internal ulong RealtimeHardLimit, RealtimeSoftLimit, RealtimeCount;
    internal int RealtimeTimer;
    internal ushort RealtimeWarnings;
    internal short Padding3;
    internal ulong Padding4;
}

/// <summary>struct fs_quota_stat, of which the flags are read.</summary>
[StructLayout(LayoutKind.Sequential, Size = 80)]
internal struct QuotaStatus
{
    internal sbyte Version;
    internal ushort Flags;
}

/// <summary>struct fsxattr of include/uapi/linux/fs.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FileSystemAttributes
{
    internal const nuint FS_IOC_FSGETXATTR = 0x801c581f, FS_IOC_FSSETXATTR = 0x401c5820;
    internal const uint FS_XFLAG_PROJINHERIT = 0x200;

    internal uint Flags, ExtentSize, Extents, ProjectId, CopyExtentSize;
    internal uint Padding1, Padding2;
}
