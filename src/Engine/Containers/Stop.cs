using System.Globalization;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

public sealed partial class ContainerService
{
    private const int DefaultStopTimeoutSeconds = 10;

    // Docker's figures: how long a SIGKILL may take before it is an error.
    private static readonly TimeSpan KillTimeout = TimeSpan.FromSeconds(10);

    /// <param name="signal">Name or number; null: the container's stop signal.</param>
    /// <param name="timeoutSeconds">Until SIGKILL; null: the container's (10 by default); negative: never.</param>
    /// <exception cref="EngineException">NotModified when it does not run.</exception>
    public async Task StopAsync(string idOrName, string? signal, int? timeoutSeconds, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        if (!container.State.Running) throw EngineException.NotModified("container is already stopped");
        try
        {
            await StopCoreAsync(container, signal, timeoutSeconds).ConfigureAwait(false);
        }
        catch (EngineException e) when (e.Kind != ErrorKind.NotModified)
        {
            throw EngineException.System($"cannot stop container: {idOrName}: {e.Message}", e);
        }
    }

    // A client that goes away does not undo its request: no token here.
    private async Task StopCoreAsync(Container container, string? signalText, int? timeoutSeconds, bool byUser = true)
    {
        if (!container.State.Running) return;
        var config = container.Record.Config;
        var signal = string.IsNullOrEmpty(signalText) ? StopSignalOf(config) : Signals.Parse(signalText);
        var timeout = timeoutSeconds ?? config.StopTimeout ?? DefaultStopTimeoutSeconds;

        // Registered before the signal: the end must not slip between.
        using var over = new CancellationTokenSource();
        var ended = container.Wait(WaitCondition.NotRunning, over.Token);
        Exception? failure = null;
        try
        {
            await SignalAsync(container, signal, byUser).ConfigureAwait(false);
        }
        catch (Exception e) when (e is EngineException or MonitorException)
        {
            failure = e;
        }
        var wait = failure is not null ? TimeSpan.FromSeconds(2) : timeout < 0 ? Timeout.InfiniteTimeSpan : TimeSpan.FromSeconds(timeout);
        if (!await WithinAsync(ended, wait).ConfigureAwait(false))
        {
            if (timeout < 0 && failure is not null) throw failure;
            _core.Logger.StopTimedOut(container.Id, wait.TotalSeconds, signal);
            await KillAndWaitAsync(container, byUser: byUser).ConfigureAwait(false);
        }
        await over.CancelAsync().ConfigureAwait(false);
        if (byUser) _core.Emit(container, "stop");
    }

    private static int StopSignalOf(Api.ContainerConfig config) =>
        config.StopSignal is { Length: > 0 } text && Signals.TryParse(text, out var signal) && signal > 0 ? signal : Signals.Term;

    private async Task<bool> WithinAsync(Task<WaitOutcome> ended, TimeSpan timeout)
    {
        try
        {
            await ended.WaitAsync(timeout, _core.Time).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    /// <summary>SIGKILL (null or empty) waits for the end, other signals do not. Error texts begin "cannot kill container: x: ".</summary>
    public async Task KillAsync(string idOrName, string? signal, CancellationToken cancellationToken)
    {
        try
        {
            var number = string.IsNullOrEmpty(signal) ? Signals.Kill : Signals.Parse(signal);
            if (!Signals.IsValid(number)) throw EngineException.Invalid($"the linux daemon does not support signal {number}");
            var container = _core.Containers.Get(idOrName);
            if (number == Signals.Kill) await KillAndWaitAsync(container, mustRun: true).ConfigureAwait(false);
            else await SignalAsync(container, number).ConfigureAwait(false);
        }
        catch (EngineException e)
        {
            throw new EngineException(e.Kind, $"cannot kill container: {idOrName}: {e.Message}", e);
        }
        catch (MonitorException e)
        {
            throw EngineException.System($"cannot kill container: {idOrName}: {e.Message}", e);
        }
    }

    private async Task KillAndWaitAsync(Container container, bool mustRun = false, bool byUser = true)
    {
        if (!container.State.Running)
        {
            if (mustRun) throw NotRunning(container.Id);
            return;
        }
        using var over = new CancellationTokenSource();
        var ended = container.Wait(WaitCondition.NotRunning, over.Token);
        try
        {
            await SignalAsync(container, Signals.Kill, byUser).ConfigureAwait(false);
        }
        catch (EngineException e) when (!mustRun && e.Kind == ErrorKind.Conflict)
        {
            // It ended by itself in between, which is what was wanted.
            if (!await WithinAsync(ended, TimeSpan.FromSeconds(2)).ConfigureAwait(false)) throw;
            await over.CancelAsync().ConfigureAwait(false);
            return;
        }
        if (!await WithinAsync(ended, KillTimeout).ConfigureAwait(false))
        {
            // The first process does not end (ptraced, or in the kernel): everything in the cgroup, then.
            try
            {
                await _core.Monitor.KillAllAsync(container.Id, CancellationToken.None).ConfigureAwait(false);
            }
            catch (MonitorException e) when (e.Error == MonitorError.NoSuchProcess)
            {
                // Ended just now; the exit is on its way.
            }
            if (!await WithinAsync(ended, TimeSpan.FromSeconds(2)).ConfigureAwait(false))
                throw EngineException.System("tried to kill container, but did not receive an exit event");
        }
        await over.CancelAsync().ConfigureAwait(false);
    }

    private static EngineException NotRunning(string id) => EngineException.Conflict($"container {id} is not running");

    private static EngineException IsRestarting(string id) => EngineException.Conflict($"Container {id} is restarting, wait until the container is running");

    /// <summary>
    /// Sends a signal. One that is meant to end the container (its stop signal, SIGKILL, or any when it names no stop signal) also ends the restart policy's
    /// work and thaws a paused container, which could not die otherwise.
    /// </summary>
    /// <param name="byUser">False for what the engine does by itself: the restart policy goes on.</param>
    private async Task SignalAsync(Container container, int signal, bool byUser = true)
    {
        await container.Gate.WaitAsync().ConfigureAwait(false);
        try
        {
            var record = container.Record;
            if (!record.State.Running) throw NotRunning(record.Id);
            var meansEnd = signal == Signals.Kill || string.IsNullOrEmpty(record.Config.StopSignal) || StopSignalOf(record.Config) == signal;
            if (byUser && (!record.ManuallyStopped || (meansEnd && !record.EndWanted)))
            {
                record = record with { ManuallyStopped = true, EndWanted = meansEnd || record.EndWanted };
                // Written when somebody would act on it: a policy that restarts.
                if (record.HostConfig.RestartPolicy.Name is not ("" or "no") || WantsRestartWhenUnhealthy(record)) StoreOrLog(container, record);
                container.Publish(record);
            }
            if (record.State.Restarting)
            {
                // There is no process: the wait for the restart ends, and with it the container.
                if (meansEnd) container.Restart.Cancel();
                return;
            }
            var key = new ProcessKey(record.Id);
            try
            {
                _core.Monitor.Signal(key, signal);
            }
            catch (MonitorException e) when (e.Error == MonitorError.NoSuchProcess)
            {
                // Ended a moment ago; the exit is on its way.
                return;
            }
            if (record.State.Paused && meansEnd)
            {
                try
                {
                    await _core.Monitor.ResumeAsync(record.Id, CancellationToken.None).ConfigureAwait(false);
                }
                catch (MonitorException e) when (e.Error == MonitorError.NoSuchProcess)
                {
                    // SIGKILL reaches the frozen, too, where the kernel has cgroup v2.
                }
                container.Publish(record with { State = record.State with { Paused = false } });
                BeginHealthChecks(container);
            }
            _core.Emit(record, "kill", ("signal", signal.ToString(CultureInfo.InvariantCulture)));
        }
        finally
        {
            container.Gate.Release();
        }
    }

    public async Task RestartAsync(string idOrName, string? signal, int? timeoutSeconds, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        try
        {
            container.ManuallyRestarting = true;
            try
            {
                await StopCoreAsync(container, signal, timeoutSeconds).ConfigureAwait(false);
                await container.Gate.WaitAsync(CancellationToken.None).ConfigureAwait(false);
                try
                {
                    CheckStartable(container);
                    container.Restart.Cancel();
                    await StartOrExplainAsync(container, byUser: true).ConfigureAwait(false);
                }
                finally
                {
                    container.Gate.Release();
                }
            }
            finally
            {
                container.ManuallyRestarting = false;
            }
        }
        catch (EngineException e) when (e.Kind == ErrorKind.NotModified)
        {
            return;
        }
        catch (EngineException e)
        {
            throw new EngineException(e.Kind == ErrorKind.Conflict ? ErrorKind.Conflict : ErrorKind.System, $"Cannot restart container {idOrName}: {e.Message}", e);
        }
        _core.Emit(container, "restart");
    }

    public async Task PauseAsync(string idOrName, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        await container.Gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var record = container.Record;
            if (!record.State.Running) throw NotRunning(record.Id);
            if (record.State.Paused) throw EngineException.Conflict($"Container {record.Id} is already paused");
            if (record.State.Restarting) throw IsRestarting(record.Id);
            try
            {
                await _core.Monitor.PauseAsync(record.Id, CancellationToken.None).ConfigureAwait(false);
            }
            catch (MonitorException e) when (e.Error == MonitorError.NoSuchProcess)
            {
                // Its end is on the way here.
                throw NotRunning(record.Id);
            }
            catch (MonitorException e)
            {
                throw EngineException.System($"cannot pause container {record.Id}: {e.Message}", e);
            }
            EndHealthChecks(container);
            StoreAndPublish(container, record with { State = record.State with { Paused = true } });
            _core.Emit(record, "pause");
        }
        finally
        {
            container.Gate.Release();
        }
    }

    public async Task UnpauseAsync(string idOrName, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        await container.Gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var record = container.Record;
            if (!record.State.Paused) throw EngineException.System($"Container {record.Id} is not paused");
            try
            {
                await _core.Monitor.ResumeAsync(record.Id, CancellationToken.None).ConfigureAwait(false);
            }
            catch (MonitorException e) when (e.Error == MonitorError.NoSuchProcess)
            {
                throw NotRunning(record.Id);
            }
            catch (MonitorException e)
            {
                throw EngineException.System($"Cannot unpause container {record.Id}: {e.Message}", e);
            }
            StoreAndPublish(container, record with { State = record.State with { Paused = false } });
            _core.Emit(record, "unpause");
            BeginHealthChecks(container);
        }
        finally
        {
            container.Gate.Release();
        }
    }
}
