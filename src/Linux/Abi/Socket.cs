using System.Runtime.InteropServices;

namespace Berth.Linux.Abi;

/// <summary>From include/linux/socket.h, include/linux/net.h and include/uapi/asm-generic/socket.h.</summary>
internal static class SocketAbi
{
    internal const int AF_UNIX = 1;
    internal const int SOCK_STREAM = 1;
    internal const int SOCK_SEQPACKET = 5;
    internal const int SOCK_CLOEXEC = 0x80000;
    internal const int SOL_SOCKET = 1;
    internal const int SO_PEERCRED = 17;
    internal const int SCM_RIGHTS = 1;
    internal const int MSG_TRUNC = 0x20;
    internal const int MSG_CTRUNC = 0x8;
    internal const int MSG_DONTWAIT = 0x40;
    internal const int MSG_NOSIGNAL = 0x4000;
    internal const int MSG_CMSG_CLOEXEC = 0x40000000;
    internal const int SHUT_RD = 0;
    internal const int SHUT_WR = 1;
    internal const int SHUT_RDWR = 2;

    /// <summary>sizeof(sun_path) of include/uapi/linux/un.h, final zero included.</summary>
    internal const int UNIX_PATH_MAX = 108;
}

/// <summary>struct msghdr as glibc and the kernel see it on 64-bit machines.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct MsgHdr
{
    internal void* Name;
    internal uint NameLength;
    internal IoVec* Vectors;
    internal nuint VectorCount;
    internal void* Control;
    internal nuint ControlLength;
    internal int Flags;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct IoVec
{
    internal void* Base;
    internal nuint Length;
}

/// <summary>struct cmsghdr; the data follows, everything aligned to 8 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CMsgHdr
{
    internal nuint Length;
    internal int Level;
    internal int Type;
}

/// <summary>struct ucred of include/linux/socket.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UCred
{
    internal int Pid;
    internal uint Uid;
    internal uint Gid;
}
