using System.Threading.Channels;
using Microsoft.Extensions.Logging;

namespace Berth.Runtime.Monitor;

/// <summary>Where the monitor is found, and how it is started.</summary>
public sealed record MonitorOptions
{
    /// <summary>Directory of monitor.sock (mode 0700); one monitor per exec root.</summary>
    public required string ExecRoot { get; init; }

    /// <summary>The berth-monitor executable.</summary>
    public required string MonitorPath { get; init; }

    /// <summary>How long a started monitor may take until it answers.</summary>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromSeconds(10);
}

/// <summary>
/// The daemon's side of the monitor. It connects to the one that runs or starts one; when the monitor dies it starts another, hands it the descriptors of all
/// running processes and goes on, without the caller doing anything: requests under way fail with <see cref="MonitorError.MonitorLost"/>, attachments end,
/// processes, logs and exits continue. Safe for concurrent use.
/// </summary>
public sealed class MonitorClient : IAsyncDisposable
{
    private MonitorClient() { }

    /// <summary>Connects to the monitor of this exec root, or starts one. <see cref="Processes"/> is complete when this returns.</summary>
    public static Task<MonitorClient> ConnectOrStartAsync(MonitorOptions options, ILogger<MonitorClient> logger, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>The monitor's own pid.</summary>
    public int MonitorPid => throw new NotImplementedException();

    /// <summary>What runs, by this side's books: each process from its Launch until its exit is acknowledged.</summary>
    public IReadOnlyCollection<MonitoredProcess> Processes => throw new NotImplementedException();

    /// <summary>Ends of processes, in the order seen; an exit can be read before the await of its own LaunchAsync has resumed. Acknowledge each with <see cref="AcknowledgeAsync"/> once it is recorded.</summary>
    public ChannelReader<ProcessExit> Exits => throw new NotImplementedException();

    /// <summary>Starts a container: cgroup, root fs, namespaces, process. Returns once the executable runs (execve succeeded).</summary>
    /// <exception cref="MonitorException">Nothing is left behind: no process, mount, cgroup.</exception>
    public Task<MonitoredProcess> LaunchAsync(LaunchRequest request, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Adds a process to a running container.</summary>
    public Task<MonitoredProcess> ExecAsync(ExecRequest request, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Sends a signal to one process.</summary>
    public Task SignalAsync(ProcessKey key, int signal, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Kills every process of the container, frozen ones as well.</summary>
    public Task KillAllAsync(string containerId, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Closes stdin on both sides: the process reads end of file. Does nothing if there is none.</summary>
    public Task CloseStdinAsync(ProcessKey key, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Copies output to the attachment from now on. Output made before is not repeated.</summary>
    public Task AttachAsync(ProcessKey key, Attachment attachment, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Freezes the container's cgroup.</summary>
    public Task PauseAsync(string containerId, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Thaws it.</summary>
    public Task ResumeAsync(string containerId, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Says that the exit is recorded: the monitor forgets it, the key is free again, this side's descriptors of it are closed.</summary>
    public Task AcknowledgeAsync(ProcessExit exit, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Tells the monitor to end if nothing runs (else it stays), and disconnects.</summary>
    public Task ShutdownAsync(CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Disconnects. The monitor goes on and keeps exits for the next daemon.</summary>
    public ValueTask DisposeAsync() => throw new NotImplementedException();
}
