using System.Runtime.InteropServices;

namespace Berth.Linux.Abi;

/// <summary>From include/uapi/linux/wait.h and include/uapi/asm-generic/siginfo.h.</summary>
internal static class WaitAbi
{
    internal const int P_PIDFD = 3;
    internal const int WNOHANG = 1;
    internal const int WEXITED = 4;
    internal const int CLD_EXITED = 1;
}

/// <summary>The head of siginfo_t as waitid(2) fills it (64-bit); 128 bytes in all.</summary>
[StructLayout(LayoutKind.Explicit, Size = 128)]
internal struct SigInfo
{
    [FieldOffset(0)] internal int Signal;
    [FieldOffset(4)] internal int Errno;
    [FieldOffset(8)] internal int Code;
    [FieldOffset(16)] internal int Pid;
    [FieldOffset(20)] internal uint Uid;
    [FieldOffset(24)] internal int Status;
}

/// <summary>struct pidfd_info of include/uapi/linux/pidfd.h, as of PIDFD_INFO_SIZE_VER0.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct PidFdInfo
{
    /// <summary>_IOWR(PIDFS_IOCTL_MAGIC, 11, 64 bytes).</summary>
    internal const uint PIDFD_GET_INFO = 0xC040FF0B;

    /// <summary>Since 6.15: exit_code is filled in once the process was reaped.</summary>
    internal const ulong PIDFD_INFO_EXIT = 1 << 3;

    [FieldOffset(0)] internal ulong Mask;
    [FieldOffset(8)] internal ulong CgroupId;
    [FieldOffset(16)] internal int Pid;
    [FieldOffset(60)] internal int ExitCode;
}
