using System.Runtime.InteropServices;

namespace Berth.Linux;

internal static partial class LibC
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int setsid();

    [LibraryImport(Library)]
    internal static partial uint umask(uint mask);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int dup2(int from, int to);

    [LibraryImport(Library, SetLastError = true)]
    internal static unsafe partial int prlimit(int pid, int resource, ulong* newLimit, ulong* oldLimit);
}
