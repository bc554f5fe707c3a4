using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux.Cgroups;

/// <summary>
/// Tells when a cgroup runs out of memory: a descriptor for an epoll loop. v1: an eventfd registered with memory.oom_control; v2: memory.events, which
/// polls as changed. Remove it from the loop before it is disposed.
/// </summary>
public sealed class OomWatch : IDisposable
{
    private readonly Func<bool> _happened;

    private OomWatch(SafeFileHandle descriptor, PollEvents events, Func<bool> happened) => (Descriptor, Events, _happened) = (descriptor, events, happened);

    public SafeFileHandle Descriptor { get; }

    /// <summary>What the descriptor is to be polled for.</summary>
    public PollEvents Events { get; }

    /// <summary>Whether memory ran out since the last call; when the cgroup is gone, false. Ask whenever the descriptor is ready: that also arms it again.</summary>
    public bool Happened() => _happened();

    /// <param name="directory">Of the memory hierarchy.</param>
    internal static OomWatch V1(string directory)
    {
        var counter = new EventFd();
        try
        {
            using var control = FileAt.Open(null, directory + "/memory.oom_control", OpenFlags.ReadOnly);
            CgroupFile.Write(directory + "/cgroup.event_control", $"{counter.Handle.DangerousGetHandle()} {control.DangerousGetHandle()}");
        }
        catch
        {
            counter.Dispose();
            throw;
        }
        return new OomWatch(counter.Handle, PollEvents.Readable, () =>
        {
            counter.Clear();
            // The removal of the cgroup signals as well. The count of kills would not do: the signal comes before the kill.
            return Directory.Exists(directory);
        });
    }

    internal static OomWatch V2(string directory)
    {
        var file = FileAt.Open(null, directory + "/memory.events", OpenFlags.ReadOnly);
        long Kills() => CgroupFile.TryRead(file, out _) is { } text ? CgroupFile.Value(text, "oom_kill") ?? 0 : 0;
        var seen = Kills();
        return new OomWatch(file, PollEvents.Priority, () =>
        {
            var now = Kills();
            if (now <= seen) return false;
            seen = now;
            return true;
        });
    }

    public void Dispose() => Descriptor.Dispose();
}
