using Berth.Api;

namespace Berth.Engine;

/// <summary>Delays and counts of a restart policy: 100 ms, doubled up to a minute, from the beginning again after a run of 10 s.</summary>
internal sealed class RestartState
{
    internal static readonly TimeSpan FirstDelay = TimeSpan.FromMilliseconds(100);
    internal static readonly TimeSpan LongestDelay = TimeSpan.FromMinutes(1);
    internal static readonly TimeSpan LongRun = TimeSpan.FromSeconds(10);

    private readonly Lock _lock = new();
    private TimeSpan _delay;
    private int _failures;
    private CancellationTokenSource? _timer;

    /// <summary>How long to wait before the next start; null: no restart.</summary>
    public TimeSpan? Decide(RestartPolicy policy, int exitCode, bool manuallyStopped, TimeSpan ran, int restartCount)
    {
        if (manuallyStopped) return null;
        lock (_lock)
        {
            if (ran >= LongRun) (_delay, _failures) = (TimeSpan.Zero, 0);
            var restart = policy.Name switch
            {
                "always" or "unless-stopped" => true,
                "on-failure" => exitCode != 0 && (policy.MaximumRetryCount == 0 || _failures < policy.MaximumRetryCount),
                _ => false,
            };
            if (!restart) return null;
            _failures++;
            _delay = _delay == TimeSpan.Zero ? FirstDelay : _delay * 2 < LongestDelay ? _delay * 2 : LongestDelay;
            return _delay;
        }
    }

    /// <summary>A start by the user: counts begin anew.</summary>
    public void Cancel()
    {
        lock (_lock)
        {
            (_delay, _failures) = (TimeSpan.Zero, 0);
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
            // Stopped, started or removed meanwhile.
            if (!container.State.Restarting || container.Removing || container.Removed) return;
            if (container.Record.ManuallyStopped)
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
        _core.Containers.Write(container, next);
        container.PublishStopped(next);
    }
}
