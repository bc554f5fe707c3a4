using System.Runtime.InteropServices;

namespace Berth.Linux;

internal static unsafe partial class LibC
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint pread(int fd, byte* buffer, nuint count, long offset);

    // bpf(2) is 321 on x64 and 280 in the generic table that arm64 uses.
    internal static int bpf(int command, void* attributes, uint size) =>
        (int)syscall(RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 280 : 321, command, (nint)attributes, (nint)size);
}
