using System.Globalization;
using Berth.Networks;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

// The end of a process: the only call upward. Recorded first, acknowledged after; told again by the monitor if we die in between.
public sealed partial class ContainerService
{
    internal async Task RunExitLoopAsync(CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var exit in _core.Monitor.Exits.ReadAllAsync(cancellationToken).ConfigureAwait(false))
                _ = Task.Run(() => HandleExitAsync(exit), CancellationToken.None);
        }
        catch (OperationCanceledException)
        {
        }
    }

    internal async Task HandleExitAsync(ProcessExit exit)
    {
        try
        {
            if (exit.Key.IsContainer) await ContainerEndedAsync(exit).ConfigureAwait(false);
            else
            {
                ExecEnded(exit);
                await AcknowledgeAsync(exit).ConfigureAwait(false);
            }
        }
        catch (Exception e)
        {
            _core.Logger.ExitNotRecorded(exit.Key.ToString(), e);
        }
    }

    private async Task AcknowledgeAsync(ProcessExit exit)
    {
        try
        {
            await _core.Monitor.AcknowledgeAsync(exit, CancellationToken.None).ConfigureAwait(false);
        }
        catch (MonitorException)
        {
            // Lost or already acknowledged: it is told again or not, both are fine.
        }
    }

    private async Task ContainerEndedAsync(ProcessExit exit)
    {
        if (!_core.Containers.TryGetById(exit.Key.ContainerId, out var container))
        {
            Steps.TryEnd(exit);
            await AcknowledgeAsync(exit).ConfigureAwait(false);
            return;
        }
        TimeSpan? restartAfter;
        // A start holds the gate until it has recorded the process, so an end can't overtake it.
        await container.Gate.WaitAsync().ConfigureAwait(false);
        try
        {
            var record = container.Record;
            if (!record.State.Running || record.State.Pid != exit.Pid)
            {
                await AcknowledgeAsync(exit).ConfigureAwait(false);
                return;
            }
            if (exit.Error is { } problem) _core.Logger.ExitProblem(record.Id, problem);
            restartAfter = await EndLockedAsync(container, exit).ConfigureAwait(false);
            // Before anybody else has the gate: who stops it now must find the timer.
            if (restartAfter is { } delay) ScheduleRestart(container, delay);
        }
        finally
        {
            container.Gate.Release();
        }
        if (restartAfter is null && container.Record.HostConfig.AutoRemove && !container.ManuallyRestarting) await AutoRemoveAsync(container, gateHeld: false).ConfigureAwait(false);
    }

    /// <summary>With the gate held: gives back what the run had, records the end, tells who waits. Returns the delay when the policy wants a restart.</summary>
    private async Task<TimeSpan?> EndLockedAsync(Container container, ProcessExit exit)
    {
        var record = container.Record;
        var ran = exit.Time - record.State.StartedAt;
        EndHealthChecks(container);
        EndOomWatch(container);
        var restart = _machineStops ? null : container.Restart.Decide(record.HostConfig.RestartPolicy,
            new RunEnd(exit.ExitCode, ran, record.ManuallyStopped, record.EndWanted, Unhealthy: IsToBeReplaced(record)), record.RestartCount);

        if (exit.OomKilled && !record.State.OomKilled) _core.Emit(record, "oom");
        // Acknowledged with the network's leaving under way: the key must be free before anybody is told that a start would work.
        var leave = LeaveNetworkAsync(record);
        CleanAfterRun(record);
        var state = new RunState
        {
            StartedAt = record.State.StartedAt, FinishedAt = exit.Time, ExitCode = exit.ExitCode, OomKilled = exit.OomKilled || record.State.OomKilled, Error = record.State.Error, Health = record.State.Health,
            Running = restart is not null, Restarting = restart is not null,
        };
        var next = record with { State = state, Sandbox = null, RestartCount = restart is null ? record.RestartCount : record.RestartCount + 1 };
        var removed = restart is null && record.HostConfig.AutoRemove && !container.ManuallyRestarting;
        // One that is removed in a moment is not written once more: killed in between, we are told of the end again.
        if (!removed) StoreOrLog(container, next);
        await leave.ConfigureAwait(false);
        foreach (var exec in container.Execs.Values) exec.ContainerEnded();
        container.Process = null;
        if (!removed) await AcknowledgeAsync(exit).ConfigureAwait(false);
        else container.UnacknowledgedExit = exit;
        // Whoever hears of the end and looks must find it: nothing else will tell.
        container.Publish(next);
        _core.Emit(record, "die", ("exitCode", exit.ExitCode.ToString(CultureInfo.InvariantCulture)), ("execDuration", ((long)ran.TotalSeconds).ToString(CultureInfo.InvariantCulture)));
        // What was measured of it while it ran is worth nothing from here on.
        container.Size.Changed();
        container.PublishStopped(next);
        return restart;
    }

    private async Task LeaveNetworkAsync(ContainerRecord record)
    {
        if (record.Sandbox is not { } sandbox) return;
        try
        {
            await _core.Networks.LeaveAsync(record.Id, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e) when (e is NetworkException or IOException)
        {
            _core.Logger.CleanupFailed(record.Id, "leaving the network", e);
        }
        EmitNetworks(sandbox, "disconnect");
    }

    private void CleanAfterRun(ContainerRecord record)
    {
        if (record.HostConfig.IpcMode == "shareable") ShmMount.Unmount(_core.BundleOf(record.Id));
        TrashCan.Delete(_core.BundleOf(record.Id));
        UnmountVolumes(record, record.Id);
        EmitUnmounts(record);
    }

    private void EmitUnmounts(ContainerRecord record)
    {
        foreach (var mount in record.Mounts)
        {
            if (mount.Type == "volume") _core.Events.Emit("volume", "unmount", mount.Name, new() { ["driver"] = mount.Driver, ["container"] = record.Id });
        }
    }

    private async Task AutoRemoveAsync(Container container, bool gateHeld)
    {
        var state = container.Record.State;
        _recentEnds.Add(container.Id, new WaitOutcome(state.ExitCode, state.Error));
        try
        {
            await RemoveCoreAsync(container, container.Id, force: true, removeVolumes: true, gateHeld).ConfigureAwait(false);
        }
        catch (EngineException e) when (e.Kind is ErrorKind.Conflict or ErrorKind.NotFound)
        {
            // Somebody else removes it.
        }
        catch (Exception e)
        {
            _core.Logger.AutoRemoveFailed(container.Id, e);
        }
    }
}
