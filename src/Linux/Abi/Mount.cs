using System.Runtime.InteropServices;

namespace Berth.Linux.Abi;

/// <summary>Attributes of one mount (not of its file system), from include/uapi/linux/mount.h.</summary>
[Flags]
public enum MountAttributes : ulong
{
    None = 0,
    ReadOnly = 0x1,
    NoSuid = 0x2,
    NoDev = 0x4,
    NoExec = 0x8,
    /// <summary>The field that holds one of relatime (0), noatime and strictatime; goes into "clear" whenever one of them is set.</summary>
    AtimeMask = 0x70,
    NoAtime = 0x10,
    StrictAtime = 0x20,
    NoDirectoryAtime = 0x80,
    NoSymlinkFollow = 0x200000,
}

/// <summary>How mounts and unmounts travel between copies of a mount, from include/uapi/linux/mount.h.</summary>
public enum MountPropagation : ulong
{
    Unchanged = 0,
    Unbindable = 1 << 17,
    Private = 1 << 18,
    Slave = 1 << 19,
    Shared = 1 << 20,
}

/// <summary>struct mount_attr.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct MountAttr
{
    public MountAttributes Set;
    public MountAttributes Clear;
    public MountPropagation Propagation;
    public ulong UserNamespace;
}

/// <summary>From include/uapi/linux/mount.h.</summary>
public static class MountAbi
{
    public const uint FSOPEN_CLOEXEC = 1;
    public const uint FSCONFIG_SET_FLAG = 0;
    public const uint FSCONFIG_SET_STRING = 1;
    public const uint FSCONFIG_CMD_CREATE = 6;
    public const uint FSMOUNT_CLOEXEC = 1;
    public const uint OPEN_TREE_CLONE = 1;
    public const uint OPEN_TREE_CLOEXEC = 0x80000;
    public const uint AT_EMPTY_PATH = 0x1000;
    public const uint AT_RECURSIVE = 0x8000;
    public const uint MOVE_MOUNT_F_EMPTY_PATH = 0x4;
    public const uint MOVE_MOUNT_T_EMPTY_PATH = 0x40;

    public const ulong MS_REC = 0x4000;
    public const ulong MS_PRIVATE = 1 << 18;
    public const int MNT_DETACH = 2;
}
