using System.Runtime.InteropServices;
using Berth.Linux.Abi;

namespace Berth.Linux;

internal static unsafe partial class LibC
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int waitid(int idType, int id, SigInfo* info, int options);

    // glibc has neither before 2.36; the numbers are the same on every architecture.
    internal static int pidfd_open(int pid, uint flags) => (int)syscall(434, pid, (nint)flags);

    internal static int pidfd_send_signal(int pidfd, int signal) => (int)syscall(424, pidfd, signal);
}
