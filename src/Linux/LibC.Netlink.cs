using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

internal static unsafe partial class LibC
{
    [LibraryImport(Library, EntryPoint = "socket", SetLastError = true)]
    internal static partial SafeFileHandle NetlinkSocket(int family, int type, int protocol);

    [LibraryImport(Library, EntryPoint = "setsockopt", SetLastError = true)]
    internal static partial int NetlinkOption(SafeFileHandle socket, int level, int name, int* value, uint length);

    [LibraryImport(Library, EntryPoint = "send", SetLastError = true)]
    internal static partial nint NetlinkSend(SafeFileHandle socket, byte* buffer, nuint length, int flags);

    [LibraryImport(Library, EntryPoint = "recv", SetLastError = true)]
    internal static partial nint NetlinkReceive(SafeFileHandle socket, byte* buffer, nuint length, int flags);

    [LibraryImport(Library, EntryPoint = "bind", SetLastError = true)]
    internal static partial int NetlinkBind(SafeFileHandle socket, ProcessExits.Address* address, uint length);
}
