using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// libc as it is, one file per area (LibC.File.cs, LibC.Mount.cs, …): names, argument order and return values of the man pages.
/// Declared with SetLastError, so that <see cref="LastErrno"/> right after a failed call tells why. Everything public wraps these and throws <see cref="LinuxException"/>.
/// </summary>
internal static partial class LibC
{
    private const string Library = "libc";

    /// <summary>errno of the last call on this thread that was declared with SetLastError.</summary>
    internal static Errno LastErrno => (Errno)Marshal.GetLastPInvokeError();

    /// <summary>syscall(2), for calls that glibc 2.36 has no function for.</summary>
    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint syscall(nint number, nint a = 0, nint b = 0, nint c = 0, nint d = 0, nint e = 0, nint f = 0);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int close(int fd);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int getpid();

    /// <summary>Throws for a result of -1. The handler formats its arguments only when the call has failed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int Check(int result, string call, string arguments)
    {
        if (result < 0) throw new LinuxException(call, arguments, LastErrno);
        return result;
    }

    /// <summary>Throws for an invalid handle, else returns it.</summary>
    internal static SafeFileHandle Check(SafeFileHandle handle, string call, string arguments)
    {
        if (!handle.IsInvalid) return handle;
        var errno = LastErrno; // before Dispose
        handle.Dispose();
        throw new LinuxException(call, arguments, errno);
    }
}
