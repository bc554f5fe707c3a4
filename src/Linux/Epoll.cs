using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>A ready descriptor: the token it was added with, and for what.</summary>
public readonly record struct EpollEvent(ulong Token, PollEvents Events);

/// <summary>epoll(7). A descriptor must be removed before it is closed: a duplicate elsewhere keeps its registration alive otherwise.</summary>
public sealed unsafe class Epoll : IDisposable
{
    // One wait's worth; more just takes another wait.
    private const int MaxEvents = 128;

    private readonly SafeFileHandle _handle = LibC.Check(LibC.epoll_create1(EpollAbi.CLOEXEC), "epoll_create1", "EPOLL_CLOEXEC");
    private readonly byte[] _buffer = GC.AllocateArray<byte>(MaxEvents * EpollAbi.EventBytes, pinned: true);

    public void Add(SafeFileHandle descriptor, PollEvents events, ulong token) => Control(EpollAbi.CTL_ADD, descriptor, events, token);

    public void Modify(SafeFileHandle descriptor, PollEvents events, ulong token) => Control(EpollAbi.CTL_MOD, descriptor, events, token);

    public void Remove(SafeFileHandle descriptor) => Control(EpollAbi.CTL_DEL, descriptor, PollEvents.None, 0);

    /// <summary>Waits and returns how many of <paramref name="events"/> were filled; 0 after the timeout or a signal. For one thread at a time.</summary>
    /// <param name="timeoutMilliseconds">-1: for ever.</param>
    public int Wait(Span<EpollEvent> events, int timeoutMilliseconds)
    {
        var count = LibC.epoll_wait(_handle, (void*)System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(_buffer, 0), Math.Min(events.Length, MaxEvents), timeoutMilliseconds);
        if (count < 0)
        {
            if (LibC.LastErrno == Errno.EINTR) return 0;
            throw new LinuxException("epoll_wait", "", LibC.LastErrno);
        }
        for (var i = 0; i < count; i++)
        {
            var entry = _buffer.AsSpan(i * EpollAbi.EventBytes, EpollAbi.EventBytes);
            events[i] = new EpollEvent(BitConverter.ToUInt64(entry[EpollAbi.DataOffset..]), (PollEvents)BitConverter.ToUInt32(entry));
        }
        return count;
    }

    private void Control(int operation, SafeFileHandle descriptor, PollEvents events, ulong token)
    {
        var entry = stackalloc byte[16];
        *(uint*)entry = (uint)events;
        *(ulong*)(entry + EpollAbi.DataOffset) = token;
        LibC.Check(LibC.epoll_ctl(_handle, operation, descriptor, entry), "epoll_ctl", operation switch { EpollAbi.CTL_ADD => "ADD", EpollAbi.CTL_DEL => "DEL", _ => "MOD" });
    }

    public void Dispose() => _handle.Dispose();
}

/// <summary>A counter to wake an epoll loop from another thread.</summary>
public sealed unsafe class EventFd : IDisposable
{
    public SafeFileHandle Handle { get; } = LibC.Check(LibC.eventfd(0, EventFdAbi.CLOEXEC | EventFdAbi.NONBLOCK), "eventfd", "0");

    public void Signal()
    {
        // EAGAIN: the counter is full, so whoever waits is awake.
        ulong one = 1;
        Descriptor.TryWrite(Handle, new ReadOnlySpan<byte>(&one, sizeof(ulong)), out _);
    }

    public void Clear()
    {
        ulong value;
        Descriptor.TryRead(Handle, new Span<byte>(&value, sizeof(ulong)), out _);
    }

    public void Dispose() => Handle.Dispose();
}
