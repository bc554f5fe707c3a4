using Berth.Runtime.Monitor;

namespace Berth.Engine;

// What recovery and shutdown ask of the containers.
public sealed partial class ContainerService
{
    /// <summary>always: back in any case; unless-stopped: back unless the user stopped it; on-failure: back when it ended badly.</summary>
    internal void ApplyPolicyAtStart(Container container)
    {
        var record = container.Record;
        if (record.State.Running || !record.StartedBefore || record.State.Dead) return;
        var policy = record.HostConfig.RestartPolicy;
        var start = policy.Name switch
        {
            "always" => true,
            "unless-stopped" => !record.ManuallyStopped,
            _ when IsToBeReplaced(record) => !record.ManuallyStopped,
            "on-failure" => !record.ManuallyStopped && record.State.ExitCode != 0 && (policy.MaximumRetryCount == 0 || record.RestartCount < policy.MaximumRetryCount),
            _ => false,
        };
        if (!start) return;
        container.PolicyStart = Task.Run(async () =>
        {
            await StartedLinksAsync(record).ConfigureAwait(false);
            await container.Gate.WaitAsync().ConfigureAwait(false);
            try
            {
                if (container.State.Running || container.Removing || container.Removed) return;
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
        }, CancellationToken.None);
    }

    // Those it is linked to first. Older ones, so no two wait for each other; and theirs was begun before, since recovery goes by age.
    private async Task StartedLinksAsync(ContainerRecord record)
    {
        foreach (var link in record.Links)
        {
            if (_core.Containers.TryGetById(link.Child, out var child) && child.PolicyStart is { } start) await start.ConfigureAwait(false);
        }
    }

    /// <summary>What the engine does for a container as long as it runs, for one that went on without an engine.</summary>
    internal async Task ResumeAsync(Container container)
    {
        if (container.Process is null) return;
        await container.Gate.WaitAsync().ConfigureAwait(false);
        try
        {
            if (container.State is not { Running: true, Restarting: false } state) return;
            BeginOomWatch(container);
            if (!state.Paused) BeginHealthChecks(container);
        }
        finally
        {
            container.Gate.Release();
        }
    }

    internal void AutoRemoveInBackground(Container container) => _ = Task.Run(() => AutoRemoveAsync(container, gateHeld: false));

    internal void DiscardInBackground(string id, string trash) => _ = Task.Run(() => Discard(id, trash));

    private volatile bool _machineStops;

    /// <summary>
    /// The machine goes down: all containers get their stop signal and their time, side by side. Their policies do nothing now and everything at the next start, as if they had ended by themselves.
    /// </summary>
    internal Task StopAllAsync()
    {
        _machineStops = true;
        return Task.WhenAll(_core.Containers.All.Where(container => container.State.Running).Select(StopOneAsync));

        async Task StopOneAsync(Container container)
        {
            try
            {
                await StopCoreAsync(container, signalText: null, timeoutSeconds: null, byUser: false).ConfigureAwait(false);
            }
            catch (Exception e) when (e is EngineException or MonitorException)
            {
                _core.Logger.NotStopped(container.Id, e.Message);
            }
        }
    }

    internal async Task CloseAsync()
    {
        _logWatch.Dispose();
        _oomLoop.Dispose();
        _execs.Dispose();
        await KeepHealthAsync().ConfigureAwait(false);
    }
}
