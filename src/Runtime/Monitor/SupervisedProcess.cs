using Berth.Linux.Cgroups;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

internal enum ProcessState
{
    /// <summary>A worker is at it.</summary>
    Starting,
    Running,

    /// <summary>Reaped; output and cgroup are being dealt with.</summary>
    Ending,

    /// <summary>The exit waits to be acknowledged.</summary>
    Ended,
}

/// <summary>What the monitor knows of a process. Lives on the control loop.</summary>
internal sealed class SupervisedProcess(ProcessKey key) : IDisposable
{
    public ProcessKey Key { get; } = key;
    public ProcessState State { get; set; } = ProcessState.Starting;
    public LogSettings Log { get; init; } = LogSettings.None;
    public string BundleDirectory { get; init; } = "";

    // From here on since Running.
    public int Pid { get; set; }
    public DateTimeOffset Started { get; set; }
    public SafeFileHandle PidFd { get; set; } = null!;
    public SafeFileHandle? MountNamespace { get; set; }
    public SafeFileHandle? Stdin { get; set; }
    public SafeFileHandle? Terminal { get; set; }
    public SafeFileHandle? Stdout { get; set; }
    public SafeFileHandle? Stderr { get; set; }

    /// <summary>What the daemon wants to find again after its restart. Nobody looks at it here; it is closed when the process has ended.</summary>
    public SafeFileHandle[] Kept { get; private set; } = [];

    public void Keep(SafeFileHandle[] descriptors)
    {
        foreach (var former in Kept) former.Dispose();
        Kept = descriptors;
    }

    public ProcessOutput Output { get; set; } = null!;
    public LoopWatch? ExitWatch { get; set; }

    /// <summary>Of the container; an exec shares it.</summary>
    public ICgroup Cgroup { get; set; } = null!;

    public bool Paused { get; set; }

    /// <summary>A child of the last monitor, not of this one: it can't be waited for.</summary>
    public bool Adopted { get; init; }

    /// <summary>Who asked for it was gone before it ran: it is killed and its exit told to nobody.</summary>
    public bool Unclaimed { get; set; }

    // From here on since Ending.
    public ExitMessage? Exit { get; set; }

    /// <summary>Parts of the end still to come: output delivered, cgroup removed.</summary>
    public int PartsLeft { get; set; }

    /// <summary>Its mounts are being taken down, which nobody waits for but the next launch of the container.</summary>
    public bool Unmounting { get; set; }

    /// <summary>What to do once they are: answer the acknowledgement that came before.</summary>
    public Action? Unmounted { get; set; }

    public void Dispose()
    {
        ExitWatch?.Dispose();
        PidFd?.Dispose();
        Stdin?.Dispose();
        Terminal?.Dispose();
        MountNamespace?.Dispose();
        Keep([]);
    }
}
