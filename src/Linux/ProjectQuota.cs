using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// How much a directory tree may hold: the files below it belong to a project, a number that new files inherit from their directory, and the file system keeps accounts of
/// projects. xfs mounted with prjquota, ext4 made with the features quota and project and mounted with prjquota; Linux 5.14 or later (quotactl_fd).
/// </summary>
public static unsafe class ProjectQuota
{
    private const ulong BlockBytes = 512;

    /// <summary>Whether limits of projects are enforced on the file system that holds the directory.</summary>
    public static bool IsEnforced(SafeFileHandle directory)
    {
        using var fd = new DirectoryArgument(directory);
        var status = new QuotaStatus { Version = 1 };
        return LibC.quotactl_fd(fd.Fd, Quota.OfProjects(Quota.Q_XGETQSTAT), 0, &status) == 0 && (status.Flags & Quota.FS_QUOTA_PDQ_ENFD) != 0;
    }

    /// <summary>The directory's project; 0: none, or a file system without.</summary>
    public static uint ProjectOf(SafeFileHandle directory)
    {
        using var fd = new DirectoryArgument(directory);
        FileSystemAttributes attributes = default;
        return LibC.ioctl(fd.Fd, FileSystemAttributes.FS_IOC_FSGETXATTR, (nint)(&attributes)) == 0 ? attributes.ProjectId : 0;
    }

    /// <summary>Makes the directory, and what is made in it from now on, part of a project.</summary>
    public static void Assign(SafeFileHandle directory, uint project)
    {
        using var fd = new DirectoryArgument(directory);
        FileSystemAttributes attributes = default;
        LibC.Check(LibC.ioctl(fd.Fd, FileSystemAttributes.FS_IOC_FSGETXATTR, (nint)(&attributes)), "ioctl", "FS_IOC_FSGETXATTR");
        attributes.ProjectId = project;
        attributes.Flags |= FileSystemAttributes.FS_XFLAG_PROJINHERIT;
        LibC.Check(LibC.ioctl(fd.Fd, FileSystemAttributes.FS_IOC_FSSETXATTR, (nint)(&attributes)), "ioctl", $"FS_IOC_FSSETXATTR, project {project}");
    }

    /// <summary>What the project may hold on the directory's file system; 0: as much as there is.</summary>
    public static void Limit(SafeFileHandle directory, uint project, ulong bytes)
    {
        using var fd = new DirectoryArgument(directory);
        var blocks = bytes / BlockBytes;
        var quota = new DiskQuota
        {
            Version = DiskQuota.CurrentVersion, Flags = DiskQuota.Project, Id = project, FieldMask = DiskQuota.HardBlocks | DiskQuota.SoftBlocks, HardBlockLimit = blocks, SoftBlockLimit = blocks,
        };
        LibC.Check(LibC.quotactl_fd(fd.Fd, Quota.OfProjects(Quota.Q_XSETQLIM), project, &quota), "quotactl_fd", $"Q_XSETQLIM, project {project}, {bytes} bytes");
    }
}
