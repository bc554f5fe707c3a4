using System.Buffers.Binary;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>inotify(7): tells which watched directories something happened in.</summary>
public sealed class Inotify : IDisposable
{
    // include/uapi/linux/inotify.h
    private const uint IN_MODIFY = 0x2, IN_MOVED_FROM = 0x40, IN_MOVED_TO = 0x80, IN_CREATE = 0x100, IN_DELETE_SELF = 0x400, IN_ONLYDIR = 0x01000000;
    private const int IN_CLOEXEC = 0x80000;
    private const int EventHeaderBytes = 16;

    private readonly SafeFileHandle _handle;

    public Inotify() => _handle = LibC.Check(LibC.inotify_init1(IN_CLOEXEC), "inotify_init1", "IN_CLOEXEC");

    /// <summary>Watches what is written, made and renamed in a directory. Watching one twice gives the same number.</summary>
    public int Watch(string directory)
    {
        using var fd = new DirectoryArgument(_handle);
        const uint Mask = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_ONLYDIR;
        return LibC.Check(LibC.inotify_add_watch(fd.Fd, directory, Mask), "inotify_add_watch", $"\"{directory}\"");
    }

    public void Unwatch(int watch)
    {
        using var fd = new DirectoryArgument(_handle);
        // A directory that was removed takes its watch along: EINVAL is fine.
        LibC.inotify_rm_watch(fd.Fd, watch);
    }

    /// <summary>Waits for events; adds the watches they belong to. -1 stands for "some were lost". False when the wait timed out.</summary>
    public bool Read(Span<byte> buffer, HashSet<int> watches, int timeoutMilliseconds)
    {
        if (Descriptor.Poll(_handle, PollEvents.Readable, timeoutMilliseconds) == PollEvents.None) return false;
        var count = Descriptor.TryRead(_handle, buffer, out var errno);
        if (count < 0) throw new LinuxException("read", "inotify", errno);
        var events = buffer[..count];
        while (events.Length >= EventHeaderBytes)
        {
            watches.Add(BinaryPrimitives.ReadInt32LittleEndian(events));
            events = events[(EventHeaderBytes + BinaryPrimitives.ReadInt32LittleEndian(events[12..]))..];
        }
        return true;
    }

    public void Dispose() => _handle.Dispose();
}
