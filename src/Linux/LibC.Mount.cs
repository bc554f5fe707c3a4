using System.Runtime.InteropServices;
using Berth.Linux.Abi;

namespace Berth.Linux;

// Numbers are the same on every architecture; glibc has these functions since 2.36 only.
internal static unsafe partial class LibC
{
    internal static int open_tree(int dirfd, byte* path, uint flags) => (int)syscall(428, dirfd, (nint)path, (nint)flags);

    internal static int move_mount(int fromDirfd, byte* fromPath, int toDirfd, byte* toPath, uint flags) =>
        (int)syscall(429, fromDirfd, (nint)fromPath, toDirfd, (nint)toPath, (nint)flags);

    internal static int fsopen(byte* name, uint flags) => (int)syscall(430, (nint)name, (nint)flags);

    internal static int fsconfig(int fd, uint command, byte* key, byte* value, int aux) => (int)syscall(431, fd, (nint)command, (nint)key, (nint)value, aux);

    internal static int fsmount(int fd, uint flags, ulong attributes) => (int)syscall(432, fd, (nint)flags, (nint)attributes);

    internal static int mount_setattr(int dirfd, byte* path, uint flags, MountAttr* attributes) =>
        (int)syscall(442, dirfd, (nint)path, (nint)flags, (nint)attributes, sizeof(MountAttr));
}
