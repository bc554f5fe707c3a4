using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>
/// A process the monitor looks after, with this side's duplicates of its descriptors. They are owned by the <see cref="MonitorClient"/>, which needs them to
/// equip the next monitor should this one die, and closes them once the exit is acknowledged: callers neither dispose them nor keep them longer.
/// </summary>
public sealed record MonitoredProcess
{
    public required ProcessKey Key { get; init; }

    /// <summary>In the monitor's pid namespace, the host's.</summary>
    public required int Pid { get; init; }

    /// <summary>When it was started, by the wall clock.</summary>
    public required DateTimeOffset Started { get; init; }

    public required SafeFileHandle PidFd { get; init; }

    /// <summary>The write end of the stdin pipe (blocking); null without one, or after <see cref="MonitorClient.CloseStdinAsync"/>.</summary>
    public SafeFileHandle? Stdin { get; init; }

    /// <summary>The terminal's master: write input to it, resize it; only the monitor reads it.</summary>
    public SafeFileHandle? PtyMaster { get; init; }

    /// <summary>Stopped with <see cref="MonitorClient.PauseAsync"/>.</summary>
    public bool Paused { get; init; }
}

/// <summary>
/// The end of a process, told after all its output was written to the log and delivered to the attachments (or <see cref="MonitorLimits.OutputGrace"/>
/// has passed while some other process still holds the pipe open). Told again after every reconnection until acknowledged.
/// </summary>
/// <param name="Key">Which process.</param>
/// <param name="Pid">Its pid, which tells two runs of one container apart.</param>
/// <param name="ExitCode">0-255; 128 + n when ended by signal n; 255 when <paramref name="Error"/> says that nobody saw it.</param>
/// <param name="OomKilled">The kernel killed a process of the container because its memory limit was reached. False for exec processes.</param>
/// <param name="Time">When the end was seen.</param>
/// <param name="Error">What went wrong around the end (unknown exit code, log not written), else null.</param>
public sealed record ProcessExit(ProcessKey Key, int Pid, int ExitCode, bool OomKilled, DateTimeOffset Time, string? Error);
