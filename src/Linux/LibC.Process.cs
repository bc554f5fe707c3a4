using System.Runtime.InteropServices;

namespace Berth.Linux;

internal static unsafe partial class LibC
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint mmap(nint address, nuint length, int protection, int flags, int fd, nint offset);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int mprotect(nint address, nuint length, int protection);

    // From libgcc; only called on arm64.
    [LibraryImport("libgcc_s.so.1", EntryPoint = "__clear_cache")]
    internal static partial void clear_cache(nint start, nint end);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int prctl(int option, nuint a = 0, nuint b = 0, nuint c = 0, nuint d = 0);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int setns(int fd, int type);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int unshare(int flags);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int execve(string path, byte** argv, byte** envp);

    [LibraryImport(Library)]
    internal static partial int malloc_trim(nuint pad);

    [LibraryImport(Library)]
    internal static partial int madvise(void* addr, nuint length, int advice);
}
