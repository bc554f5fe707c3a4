using System.Runtime.InteropServices;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>read, write, poll and their kin on any descriptor, without the checks and seeks that System.IO adds for files.</summary>
public static unsafe class Descriptor
{
    private const int F_DUPFD_CLOEXEC = 1030, F_GETFL = 3, F_SETFL = 4, F_SETPIPE_SZ = 1031, O_NONBLOCK = 0x800;

    /// <returns>Bytes read, 0 at the end, or -1 with the error in <paramref name="errno"/>. EINTR is retried.</returns>
    public static int TryRead(SafeFileHandle descriptor, Span<byte> buffer, out Errno errno)
    {
        using var fd = new DirectoryArgument(descriptor);
        fixed (byte* p = buffer)
        {
            nint count;
            do count = LibC.read(fd.Fd, p, (nuint)buffer.Length);
            while (count < 0 && LibC.LastErrno == Errno.EINTR);
            errno = count < 0 ? LibC.LastErrno : Errno.Success;
            return (int)count;
        }
    }

    /// <returns>Bytes taken (may be fewer than given), or -1 with the error in <paramref name="errno"/>. EINTR is retried.</returns>
    public static int TryWrite(SafeFileHandle descriptor, ReadOnlySpan<byte> bytes, out Errno errno)
    {
        using var fd = new DirectoryArgument(descriptor);
        fixed (byte* p = bytes)
        {
            nint count;
            do count = LibC.write(fd.Fd, p, (nuint)bytes.Length);
            while (count < 0 && LibC.LastErrno == Errno.EINTR);
            errno = count < 0 ? LibC.LastErrno : Errno.Success;
            return (int)count;
        }
    }

    /// <summary>Waits until the descriptor is ready (or has an error or hang-up, which are always told).</summary>
    /// <returns>None after the timeout.</returns>
    public static PollEvents Poll(SafeFileHandle descriptor, PollEvents events, int timeoutMilliseconds)
    {
        using var fd = new DirectoryArgument(descriptor);
        var entry = new PollFd { Fd = fd.Fd, Events = (short)events };
        var deadline = Environment.TickCount64 + timeoutMilliseconds;
        while (true)
        {
            var count = LibC.poll(&entry, 1, timeoutMilliseconds);
            if (count >= 0) return count == 0 ? PollEvents.None : (PollEvents)(ushort)entry.Returned;
            if (LibC.LastErrno != Errno.EINTR) throw new LinuxException("poll", "", LibC.LastErrno);
            if (timeoutMilliseconds > 0) timeoutMilliseconds = (int)Math.Max(0, deadline - Environment.TickCount64);
        }
    }

    /// <summary>Another descriptor of the same open file, close-on-exec.</summary>
    public static SafeFileHandle Duplicate(SafeHandle descriptor)
    {
        var held = false;
        descriptor.DangerousAddRef(ref held);
        try
        {
            return new SafeFileHandle(LibC.Check(LibC.fcntl((int)descriptor.DangerousGetHandle(), F_DUPFD_CLOEXEC, 3), "fcntl", "F_DUPFD_CLOEXEC"), true);
        }
        finally
        {
            descriptor.DangerousRelease();
        }
    }

    /// <summary>O_NONBLOCK belongs to the open file: every duplicate sees it.</summary>
    public static void SetNonBlocking(SafeFileHandle descriptor)
    {
        using var fd = new DirectoryArgument(descriptor);
        var flags = LibC.Check(LibC.fcntl(fd.Fd, F_GETFL, 0), "fcntl", "F_GETFL");
        LibC.Check(LibC.fcntl(fd.Fd, F_SETFL, flags | O_NONBLOCK), "fcntl", "F_SETFL, O_NONBLOCK");
    }

    /// <summary>A pipe; both ends close-on-exec and blocking.</summary>
    public static (SafeFileHandle Read, SafeFileHandle Write) Pipe()
    {
        var fds = stackalloc int[2];
        LibC.Check(LibC.pipe2(fds, OpenFlags.CloseOnExec.ToKernel()), "pipe2", "O_CLOEXEC");
        return (new SafeFileHandle(fds[0], true), new SafeFileHandle(fds[1], true));
    }

    /// <summary>ftruncate(2).</summary>
    public static bool TrySetLength(SafeFileHandle file, long length)
    {
        using var fd = new DirectoryArgument(file);
        return LibC.ftruncate(fd.Fd, length) >= 0;
    }

    /// <summary>How much a pipe holds, in bytes.</summary>
    /// <returns>False where the user's share of pipe buffers is used up (EPERM); the pipe stays as it was.</returns>
    public static bool TrySetPipeSize(SafeFileHandle pipe, int bytes)
    {
        using var fd = new DirectoryArgument(pipe);
        return LibC.fcntl(fd.Fd, F_SETPIPE_SZ, bytes) >= 0;
    }
}
