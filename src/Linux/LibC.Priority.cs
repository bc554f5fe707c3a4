using System.Runtime.InteropServices;

namespace Berth.Linux;

internal static unsafe partial class LibC
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int setpriority(int which, uint who, int priority);

    // glibc has no ioprio_set.
    internal static int ioprio_set(nint which, nint who, nint priority) =>
        (int)syscall(RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 30 : 251, which, who, priority);
}
