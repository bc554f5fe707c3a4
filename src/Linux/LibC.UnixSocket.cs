using System.Runtime.InteropServices;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

internal static unsafe partial class LibC
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial SafeFileHandle socket(int domain, int type, int protocol);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int socketpair(int domain, int type, int protocol, int* fds);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int bind(SafeFileHandle socket, void* address, uint length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int listen(SafeFileHandle socket, int backlog);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int connect(SafeFileHandle socket, void* address, uint length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial SafeFileHandle accept4(SafeFileHandle socket, void* address, uint* length, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint sendmsg(SafeFileHandle socket, MsgHdr* message, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint recvmsg(SafeFileHandle socket, MsgHdr* message, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int getsockopt(SafeFileHandle socket, int level, int name, void* value, uint* length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int shutdown(SafeFileHandle socket, int how);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint recvfrom(SafeFileHandle socket, void* buffer, nuint length, int flags, void* address, uint* addressLength);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint sendto(SafeFileHandle socket, void* buffer, nuint length, int flags, void* address, uint addressLength);
}
