using Berth.Api;

namespace Berth.Engine;

/// <summary>The end of a run, as far as a restart depends on it.</summary>
/// <param name="ManuallyStopped">The user sent a signal, whichever.</param>
/// <param name="EndWanted">The user sent the signal that is to end it.</param>
/// <param name="Unhealthy">It is to be replaced because its checks failed.</param>
internal readonly record struct RunEnd(int ExitCode, TimeSpan Ran, bool ManuallyStopped = false, bool EndWanted = false, bool Unhealthy = false);

/// <summary>Delays of a restart policy: 100 ms, doubled up to a minute, from the beginning again after a run of 10 s.</summary>
internal sealed class RestartState
{
    internal static readonly TimeSpan FirstDelay = TimeSpan.FromMilliseconds(100);
    internal static readonly TimeSpan LongestDelay = TimeSpan.FromMinutes(1);
    internal static readonly TimeSpan LongRun = TimeSpan.FromSeconds(10);

    private readonly Lock _lock = new();
    private TimeSpan _delay;
    private CancellationTokenSource? _timer;

    /// <summary>How long to wait before the next start; null: no restart.</summary>
    /// <param name="restartCount">Restarts since the user's last start: they and no run's length are what on-failure's maximum counts.</param>
    public TimeSpan? Decide(RestartPolicy policy, RunEnd end, int restartCount)
    {
        lock (_lock)
        {
            // Counted also when nothing follows, as dockerd does.
            if (end.Ran >= LongRun) _delay = TimeSpan.Zero;
            _delay = _delay == TimeSpan.Zero ? FirstDelay : _delay * 2 < LongestDelay ? _delay * 2 : LongestDelay;
            return !end.EndWanted && Wants(policy, end, restartCount) ? _delay : null;
        }
    }

    private static bool Wants(RestartPolicy policy, RunEnd end, int restartCount) => policy.Name switch
    {
        "always" => true,
        "unless-stopped" => !end.ManuallyStopped,
        "on-failure" => (end.ExitCode != 0 || end.Unhealthy) && (policy.MaximumRetryCount == 0 || restartCount < policy.MaximumRetryCount),
        _ => end.Unhealthy,
    };

    /// <summary>A start by the user: delays begin anew. A wait for a restart ends.</summary>
    public void Cancel()
    {
        lock (_lock)
        {
            _delay = TimeSpan.Zero;
            _timer?.Cancel();
            _timer = null;
        }
    }

    /// <summary>A token for the wait until the restart.</summary>
    public CancellationToken Arm(CancellationToken stopping)
    {
        lock (_lock)
        {
            _timer?.Cancel();
            _timer = CancellationTokenSource.CreateLinkedTokenSource(stopping);
            return _timer.Token;
        }
    }
}

public sealed partial class ContainerService
{
    private void ScheduleRestart(Container container, TimeSpan delay)
    {
        var token = container.Restart.Arm(_core.Stopping);
        _ = Task.Run(async () =>
        {
            try
            {
                await Task.Delay(delay, _core.Time, token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                if (!_core.Stopping.IsCancellationRequested) await GiveUpRestartAsync(container).ConfigureAwait(false);
                return;
            }
            await RestartByPolicyAsync(container).ConfigureAwait(false);
        }, CancellationToken.None);
    }

    private async Task RestartByPolicyAsync(Container container)
    {
        await container.Gate.WaitAsync().ConfigureAwait(false);
        try
        {
            // Stopped or started meanwhile.
            if (!container.State.Restarting || container.Removed) return;
            if (container.Record.EndWanted || container.Removing)
            {
                GiveUpLocked(container);
                return;
            }
            await StartOrExplainAsync(container, byUser: false).ConfigureAwait(false);
        }
        catch (EngineException e)
        {
            _core.Logger.RestartFailed(container.Id, e.Message);
        }
        finally
        {
            container.Gate.Release();
        }
    }

    // Stopped while it waited for its restart: it ends with the code of its last run.
    private async Task GiveUpRestartAsync(Container container)
    {
        await container.Gate.WaitAsync().ConfigureAwait(false);
        try
        {
            if (container.State.Restarting && !container.Removed) GiveUpLocked(container);
        }
        finally
        {
            container.Gate.Release();
        }
    }

    private void GiveUpLocked(Container container)
    {
        var next = container.Record with { State = container.State with { Running = false, Restarting = false, Pid = 0 } };
        StoreOrLog(container, next);
        container.PublishStopped(next);
    }
}
