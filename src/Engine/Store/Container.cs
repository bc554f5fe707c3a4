using System.Collections.Concurrent;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

/// <summary>
/// A live container. <see cref="Record"/> is the snapshot readers take; whoever changes it holds <see cref="Gate"/>. Waiting for a process to end, copying
/// streams and everything else that may take long is done without the gate.
/// </summary>
internal sealed class Container(ContainerRecord record, string directory)
{
    private volatile ContainerRecord _record = record;
    private volatile ContainerJson.Fixed? _frozen;
    private readonly Lock _lock = new();
    private readonly List<Waiter> _waiters = [];
    private readonly List<ContainerAttachment> _attachments = [];

    public string Id { get; } = record.Id;

    /// <summary>&lt;data-root&gt;/containers/&lt;id&gt;.</summary>
    public string Directory { get; } = directory;

    /// <summary>What the monitor writes; empty: nothing.</summary>
    public string LogFile { get; } = LogConfiguration.PathOf(record.HostConfig.LogConfig, directory, record.Id);

    /// <summary>Of its writable layer.</summary>
    public TreeSize Size { get; } = new(Path.Combine(directory, "overlay", "upper"));

    public ContainerRecord Record => _record;
    public RunState State => _record.State;
    public string Name => _record.Name;

    /// <summary>One writer at a time.</summary>
    public SemaphoreSlim Gate { get; } = new(1, 1);

    /// <summary>One writer to the process's stdin at a time.</summary>
    public SemaphoreSlim InputGate { get; } = new(1, 1);

    /// <summary>What rarely changes as JSON, made once.</summary>
    public ContainerJson.Fixed FrozenFor(ContainerRecord record)
    {
        var frozen = _frozen;
        return frozen?.IsOf(record) == true ? frozen : _frozen = ContainerJson.Freeze(record);
    }

    /// <summary>The process while it runs; set and cleared with the gate held, read by anyone.</summary>
    public volatile MonitoredProcess? Process;

    /// <summary>Execs that were created and not yet ended.</summary>
    public ConcurrentDictionary<string, Exec> Execs { get; } = new();

    /// <summary>Set while a removal is under way, so that a second one is told.</summary>
    public int RemovalInProgress;
    public bool Removing => Volatile.Read(ref RemovalInProgress) != 0;
    public bool Removed { get; private set; }

    /// <summary>The user asked for a restart: the exit in between is no reason to auto-remove.</summary>
    public volatile bool ManuallyRestarting;

    /// <summary>Delays and counts of the restart policy.</summary>
    public RestartState Restart { get; } = new();

    /// <summary>The start that its policy asked for when the engine started.</summary>
    public volatile Task? PolicyStart;

    /// <summary>Ends the health checks; null while there are none. With the gate held.</summary>
    public CancellationTokenSource? HealthChecks;

    /// <summary>Listens for want of memory while it runs. With the gate held.</summary>
    public IDisposable? OomWatch;

    /// <summary>An end that is acknowledged only when the container is gone.</summary>
    public ProcessExit? UnacknowledgedExit;

    /// <summary>Publishes a new snapshot. With the gate held, after it was stored.</summary>
    public void Publish(ContainerRecord next) => _record = next;

    /// <summary>
    /// Registers a wait. Whether the condition holds already is decided under the same lock that the notification takes, so that no end slips between.
    /// </summary>
    public Task<WaitOutcome> Wait(WaitCondition condition, CancellationToken cancellationToken)
    {
        Waiter waiter;
        lock (_lock)
        {
            var state = _record.State;
            if ((condition == WaitCondition.NotRunning && !state.Running) || (condition == WaitCondition.Removed && Removed))
                return Task.FromResult(new WaitOutcome(state.ExitCode, state.Error));
            waiter = new Waiter(condition);
            _waiters.Add(waiter);
        }
        if (cancellationToken.CanBeCanceled)
        {
            var registration = cancellationToken.Register(() =>
            {
                lock (_lock) _waiters.Remove(waiter);
                waiter.Source.TrySetCanceled(cancellationToken);
            });
            waiter.Source.Task.ContinueWith(static (_, state) => ((CancellationTokenRegistration)state!).Dispose(), registration, CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
        return waiter.Source.Task;
    }

    /// <summary>Publishes and tells those who wait for an end (of a run; restarting counts as one).</summary>
    public void PublishStopped(ContainerRecord next)
    {
        List<Waiter> met;
        lock (_lock)
        {
            _record = next;
            met = TakeWaiters(w => w.Condition != WaitCondition.Removed);
        }
        foreach (var waiter in met) waiter.Source.TrySetResult(new WaitOutcome(next.State.ExitCode, next.State.Error));
    }

    /// <summary>Publishes the last snapshot and tells everybody who waits.</summary>
    public void PublishRemoved(string? error)
    {
        List<Waiter> all;
        WaitOutcome outcome;
        lock (_lock)
        {
            if (error is null) Removed = true;
            outcome = new WaitOutcome(_record.State.ExitCode, error ?? "");
            all = TakeWaiters(_ => true);
        }
        foreach (var waiter in all) waiter.Source.TrySetResult(outcome);
    }

    private List<Waiter> TakeWaiters(Predicate<Waiter> which)
    {
        var met = _waiters.FindAll(which);
        if (met.Count > 0) _waiters.RemoveAll(which);
        return met;
    }

    /// <summary>Keeps an attachment for the next start.</summary>
    public void AddPending(ContainerAttachment attachment)
    {
        lock (_lock) _attachments.Add(attachment);
    }

    public void RemovePending(ContainerAttachment attachment)
    {
        lock (_lock) _attachments.Remove(attachment);
    }

    public List<ContainerAttachment> TakePending()
    {
        lock (_lock)
        {
            var taken = new List<ContainerAttachment>(_attachments);
            _attachments.Clear();
            return taken;
        }
    }

    private sealed class Waiter(WaitCondition condition)
    {
        public WaitCondition Condition { get; } = condition;

        // Continuations run elsewhere: whoever notifies may hold the gate.
        public TaskCompletionSource<WaitOutcome> Source { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}

/// <param name="Error">What kept the container from starting or being removed; empty normally.</param>
internal readonly record struct WaitOutcome(int ExitCode, string Error);
