using System.Runtime.InteropServices;

namespace Berth.Linux.Abi;

/// <summary>From include/uapi/linux/eventpoll.h.</summary>
internal static class EpollAbi
{
    internal const int CTL_ADD = 1;
    internal const int CTL_DEL = 2;
    internal const int CTL_MOD = 3;
    internal const int CLOEXEC = 0x80000;

    /// <summary>struct epoll_event is packed on x64 alone.</summary>
    internal static readonly int EventBytes = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 12 : 16;

    internal static readonly int DataOffset = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 4 : 8;
}

/// <summary>What a descriptor is ready for; the values are those of poll(2) as well.</summary>
[Flags]
public enum PollEvents : uint
{
    None = 0,
    Readable = 0x1,

    /// <summary>POLLPRI: a cgroup or other kernfs file has changed since it was read.</summary>
    Priority = 0x2,

    Writable = 0x4,

    /// <summary>Always reported.</summary>
    Error = 0x8,

    /// <summary>The other side is gone; always reported.</summary>
    HangUp = 0x10,

    /// <summary>EPOLLONESHOT: reported once, until modified.</summary>
    OneShot = 1u << 30,
}

/// <summary>struct pollfd of include/uapi/asm-generic/poll.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PollFd
{
    internal int Fd;
    internal short Events;
    internal short Returned;
}

/// <summary>From include/linux/eventfd.h.</summary>
internal static class EventFdAbi
{
    internal const int CLOEXEC = 0x80000;
    internal const int NONBLOCK = 0x800;
}
