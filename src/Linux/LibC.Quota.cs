namespace Berth.Linux;

internal static unsafe partial class LibC
{
    // glibc has no quotactl_fd; 443 on every architecture, since Linux 5.14.
    internal static int quotactl_fd(int fd, uint command, uint id, void* address) => (int)syscall(443, fd, (nint)command, (nint)id, (nint)address);
}
