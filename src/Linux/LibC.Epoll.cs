using System.Runtime.InteropServices;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

internal static unsafe partial class LibC
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial SafeFileHandle epoll_create1(int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int epoll_ctl(SafeFileHandle epoll, int operation, SafeFileHandle target, void* @event);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int epoll_wait(SafeFileHandle epoll, void* events, int maxEvents, int timeoutMilliseconds);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial SafeFileHandle eventfd(uint initial, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int poll(PollFd* fds, nuint count, int timeoutMilliseconds);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int ftruncate(int fd, long length);
}
