using System.Diagnostics;
using Berth.Linux.Abi;

namespace Berth.Linux.Cgroups;

/// <summary>
/// The core files of a v2 cgroup that need no controller: cgroup.freeze, cgroup.kill, cgroup.events. Also there on a hybrid machine, where
/// they do better what v1's freezer does by trial: the kernel says when it is done.
/// </summary>
internal sealed class UnifiedGroup(string directory)
{
    internal string Directory { get; } = directory;

    internal bool IsFrozen => CgroupFile.TryRead(Directory + "/cgroup.freeze", out _) is { Length: > 0 } text && text[0] == '1';

    internal void Freeze(TimeSpan timeout, CancellationToken cancellation)
    {
        CgroupFile.Write(Directory + "/cgroup.freeze", "1");
        var frozen = false;
        try
        {
            frozen = WaitFor("frozen", 1, timeout, cancellation);
        }
        finally
        {
            if (!frozen) Thaw();
        }
        if (!frozen) throw new TimeoutException($"{Directory}: not frozen within {timeout.TotalSeconds:0} seconds");
    }

    internal void Thaw()
    {
        var errno = CgroupFile.TryWrite(Directory + "/cgroup.freeze", "0", out var call);
        if (errno is not (Errno.Success or Errno.ENOENT or Errno.ENODEV)) throw CgroupFile.Failure(call, Directory + "/cgroup.freeze", "0", errno);
    }

    /// <summary>SIGKILL to all processes in it and below.</summary>
    internal void Kill()
    {
        var errno = CgroupFile.TryWrite(Directory + "/cgroup.kill", "1", out var call);
        switch (errno)
        {
            case Errno.Success or Errno.ENODEV: return;
            case Errno.ENOENT when !System.IO.Directory.Exists(Directory): return;
            case Errno.ENOENT or Errno.EOPNOTSUPP: break; // before Linux 5.14; or a threaded cgroup
            default: throw CgroupFile.Failure(call, Directory + "/cgroup.kill", "1", errno);
        }
        // Freeze before kill: a fork bomb can outrun a list of pids read from cgroup.procs. SIGKILL works on frozen v2 processes.
        _ = CgroupFile.TryWrite(Directory + "/cgroup.freeze", "1", out _);
        _ = WaitFor("frozen", 1, Freezer.Timeout, default);
        Freezer.KillOnce(Directory);
        Thaw();
    }

    /// <summary>Waits until no live process is in it or below. False when the time is over.</summary>
    internal bool WaitEmpty(TimeSpan timeout, CancellationToken cancellation) => WaitFor("populated", 0, timeout, cancellation);

    /// <summary>Waits for a line of cgroup.events; the kernel wakes a poll for POLLPRI at each change. A cgroup that is gone is frozen and empty.</summary>
    private bool WaitFor(string name, long wanted, TimeSpan timeout, CancellationToken cancellation)
    {
        using var file = LibC.openat(At.FDCWD, Directory + "/cgroup.events", (OpenFlags.ReadOnly | OpenFlags.CloseOnExec).ToKernel(), 0);
        if (file.IsInvalid) return LibC.LastErrno is Errno.ENOENT or Errno.ENODEV;
        var start = Stopwatch.GetTimestamp();
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            // Read first, then poll: an event between the two is remembered by the open file.
            var text = CgroupFile.TryRead(file, out var errno);
            if (text is null) return errno is Errno.ENODEV;
            if (CgroupFile.Value(text, name) == wanted) return true;
            var left = timeout - Stopwatch.GetElapsedTime(start);
            if (left <= TimeSpan.Zero) return false;
            // With a token that can be cancelled the wait is cut into slices: cheaper than a descriptor per wait, and cancelling is rare.
            if (cancellation.CanBeCanceled && left > CancellationSlice) left = CancellationSlice;
            _ = Descriptor.Poll(file, PollEvents.Priority, (int)Math.Ceiling(left.TotalMilliseconds));
        }
    }

    private static readonly TimeSpan CancellationSlice = TimeSpan.FromMilliseconds(100);
}
