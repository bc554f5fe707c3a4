using System.Diagnostics;

namespace Berth.Linux.Cgroups;

/// <summary>
/// The v1 freezer (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst), for machines without a v2 hierarchy. It gives no notice
/// when it is done and can hang in FREEZING when processes are added or stopped meanwhile; thawing and trying again gets it out.
/// </summary>
internal static class Freezer
{
    /// <summary>How long a freeze may take before it is given up.</summary>
    internal static readonly TimeSpan Timeout = TimeSpan.FromSeconds(10);

    private const int TriesBeforeThaw = 50;

    internal static bool IsFrozen(string directory) =>
        CgroupFile.TryRead(directory + "/freezer.state", out _) is { } text && !text.StartsWith("THAWED", StringComparison.Ordinal);

    internal static void Freeze(string directory, CancellationToken cancellation)
    {
        var start = Stopwatch.GetTimestamp();
        var frozen = false;
        try
        {
            for (var attempt = 1; Stopwatch.GetElapsedTime(start) < Timeout; attempt++)
            {
                cancellation.ThrowIfCancellationRequested();
                if (attempt % TriesBeforeThaw == 0)
                {
                    CgroupFile.Write(directory + "/freezer.state", "THAWED");
                    Pause();
                }
                CgroupFile.Write(directory + "/freezer.state", "FROZEN");
                if (CgroupFile.Read(directory + "/freezer.state").StartsWith("FROZEN", StringComparison.Ordinal))
                {
                    frozen = true;
                    return;
                }
                Pause();
            }
        }
        finally
        {
            if (!frozen) Thaw(directory);
        }
        throw new TimeoutException($"{directory}: not frozen within {Timeout.TotalSeconds:0} seconds");
    }

    internal static void Thaw(string directory)
    {
        var errno = CgroupFile.TryWrite(directory + "/freezer.state", "THAWED", out var call);
        if (errno is not (Errno.Success or Errno.ENOENT or Errno.ENODEV)) throw CgroupFile.Failure(call, directory + "/freezer.state", "THAWED", errno);
    }

    /// <summary>Freeze, SIGKILL to all, thaw: the signal waits in the frozen processes, and thawed they die before they run a line of their own.</summary>
    internal static void Kill(string directory)
    {
        var frozen = CgroupFile.TryWrite(directory + "/freezer.state", "FROZEN", out _) == Errno.Success;
        KillOnce(directory);
        if (!frozen) return;
        // A process that was forking when FROZEN was written may have joined after the list was read; it is frozen before it runs.
        KillOnce(directory);
        Thaw(directory);
    }

    internal static void KillOnce(string directory)
    {
        var processes = new HashSet<int>();
        CgroupFile.CollectProcesses(directory, processes);
        foreach (var pid in processes)
        {
            var process = LibC.pidfd_open(pid, 0);
            if (process < 0) continue; // gone
            _ = LibC.pidfd_send_signal(process, Sigkill);
            _ = LibC.close(process);
        }
    }

    /// <summary>One millisecond, where the kernel offers nothing to wait for.</summary>
    internal static unsafe void Pause() => _ = LibC.poll(null, 0, 1);

    private const int Sigkill = 9;
}
