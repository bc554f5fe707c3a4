using System.Net.Sockets;
using System.Text;
using Berth.Api;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

// Health checks: one asynchronous loop per container that is checked, which is a timer while it waits; no thread. A run is an exec like any other, under a name
// by which the next daemon finds those that this one left behind. The state is in the record: a new daemon goes on with it instead of beginning anew.
public sealed partial class ContainerService
{
    /// <summary>The label by which an owner asks for what Docker does not do: a container that turned unhealthy is stopped and started again.</summary>
    internal const string RestartUnhealthyLabel = "berth.restart-unhealthy";

    // As dockerd: an exec that has not begun by then is given up. The time does not count towards the check's own.
    private static readonly TimeSpan ProbeStartTimeout = TimeSpan.FromSeconds(30);

    // After SIGKILL: a process that the kernel holds back is not waited for, and the next run takes its chance.
    private static readonly TimeSpan ProbeKillTimeout = TimeSpan.FromSeconds(10);

    private static bool WantsRestartWhenUnhealthy(ContainerRecord record) =>
        record.Config.Labels?.TryGetValue(RestartUnhealthyLabel, out var value) == true && value.Equals("true", StringComparison.OrdinalIgnoreCase);

    /// <summary>Turned unhealthy, by its owner's label to be started again whatever its policy says of other ends.</summary>
    internal static bool IsToBeReplaced(ContainerRecord record) => record.State.Health?.Status == HealthState.Unhealthy && WantsRestartWhenUnhealthy(record);

    private static HealthState? HealthAtStart(ContainerRecord record) =>
        HealthCheck.Of(record.Config) is null ? null : new HealthState { Status = HealthState.Starting, Log = record.State.Health?.Log ?? [] };

    /// <summary>With the gate held, once the container runs and is not paused.</summary>
    private void BeginHealthChecks(Container container)
    {
        EndHealthChecks(container);
        var record = container.Record;
        if (HealthCheck.Of(record.Config) is not { } check) return;
        if (record.State.Health is null) container.Publish(record with { State = record.State with { Health = HealthAtStart(record) } });
        var checks = container.HealthChecks = CancellationTokenSource.CreateLinkedTokenSource(_core.Stopping);
        _ = Task.Run(() => CheckHealthAsync(container, check, checks.Token), CancellationToken.None);
    }

    /// <summary>With the gate held.</summary>
    private static void EndHealthChecks(Container container)
    {
        // Not disposed: its token is still looked at.
        container.HealthChecks?.Cancel();
        container.HealthChecks = null;
    }

    private async Task CheckHealthAsync(Container container, HealthCheck check, CancellationToken stop)
    {
        try
        {
            while (true)
            {
                if (IsToBeReplaced(container.Record)) await ReplaceUnhealthyAsync(container, stop).ConfigureAwait(false);
                var state = container.State;
                await Task.Delay(check.NextIn(state.Health!, _core.Time.GetUtcNow() - state.StartedAt), _core.Time, stop).ConfigureAwait(false);
                await RecordHealthAsync(container, check, await ProbeAsync(container, check, stop).ConfigureAwait(false), stop).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // Stopped, paused, or the engine ends.
        }
        catch (Exception e)
        {
            _core.Logger.HealthChecksEnded(container.Id, e);
        }
    }

    private async Task ReplaceUnhealthyAsync(Container container, CancellationToken stop)
    {
        _core.Logger.Unhealthy(container.Id);
        try
        {
            // It ends these checks with the container. The exit that follows finds it unhealthy and asks for the restart.
            await StopCoreAsync(container, signalText: null, timeoutSeconds: null, byUser: false).ConfigureAwait(false);
        }
        catch (Exception e) when (e is EngineException or MonitorException)
        {
            if (stop.IsCancellationRequested) return;
            _core.Logger.RestartFailed(container.Id, e.Message);
        }
    }

    /// <summary>One run. What goes wrong is its result.</summary>
    private async Task<HealthcheckResult> ProbeAsync(Container container, HealthCheck check, CancellationToken stop)
    {
        var began = _core.Time.GetUtcNow();
        var exec = new Exec(Names.NewId(), container, new ExecCreateRequest { Cmd = check.Command, AttachStdout = true, AttachStderr = true }, DetachKeys.Default, isProbe: true);
        using var attachment = new ContainerAttachment(stdout: true, stderr: true, multiplexed: false);
        var output = new ProbeOutput();
        try
        {
            _execs.Add(exec);
            container.Execs[exec.Id] = exec;
            _core.Emit(container, "exec_create: " + CommandOf(exec.Request), ("execID", exec.Id));
            BeginExec(exec);
            await LaunchExecAsync(exec, consoleSize: null, attachment).WaitAsync(ProbeStartTimeout, _core.Time, stop).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            return Result(-1, $"timed out starting health check for container {container.Id}");
        }
        catch (EngineException e)
        {
            _execs.Forget(exec);
            return Result(-1, e.Message);
        }

        var reading = output.ReadAsync(attachment.Output!, stop);
        try
        {
            await exec.Ended.WaitAsync(check.Timeout, _core.Time, stop).ConfigureAwait(false);
            // All of it is on its way by now.
            await reading.WaitAsync(ProbeKillTimeout, _core.Time, stop).ConfigureAwait(false);
            return Result(exec.ExitCode ?? -1, output.Text);
        }
        catch (TimeoutException)
        {
            await KillProbeAsync(exec, stop).ConfigureAwait(false);
            var text = output.Text;
            return Result(-1, $"Health check exceeded timeout ({GoDuration.Format(check.Timeout)})" + (text.Length > 0 ? ": " + text : ""));
        }
        catch (OperationCanceledException)
        {
            await KillProbeAsync(exec, stop).ConfigureAwait(false);
            throw;
        }

        HealthcheckResult Result(int exitCode, string text) => new() { Start = began, End = _core.Time.GetUtcNow(), ExitCode = exitCode, Output = text };
    }

    private async Task KillProbeAsync(Exec exec, CancellationToken stop)
    {
        try
        {
            _core.Monitor.Signal(exec.Key, Signals.Kill);
            // Dying probes must not pile up.
            await exec.Ended.WaitAsync(ProbeKillTimeout, _core.Time, stop).ConfigureAwait(false);
        }
        catch (Exception e) when (e is MonitorException or TimeoutException or OperationCanceledException)
        {
            // It has ended, or will when the kernel lets it.
        }
    }

    private async Task RecordHealthAsync(Container container, HealthCheck check, HealthcheckResult result, CancellationToken stop)
    {
        await container.Gate.WaitAsync(stop).ConfigureAwait(false);
        try
        {
            // Ended with the gate held: from here on this run still counts or does not.
            stop.ThrowIfCancellationRequested();
            var record = container.Record;
            var before = record.State.Health!;
            var after = check.After(before, result, record.State.StartedAt);
            var next = record with { State = record.State with { Health = after } };
            if (after.Status == before.Status)
            {
                // A file per check would be the dearest part of it; the next change takes it along.
                container.Publish(next);
                return;
            }
            StoreAndPublish(container, next);
            _core.Emit(next, "health_status: " + after.Status);
        }
        finally
        {
            container.Gate.Release();
        }
    }

    /// <summary>For the next daemon: the results that were not worth a write by themselves.</summary>
    private async Task KeepHealthAsync()
    {
        foreach (var container in _core.Containers.All)
        {
            if (container.HealthChecks is null) continue;
            await container.Gate.WaitAsync().ConfigureAwait(false);
            try
            {
                if (!container.Removed) StoreOrLog(container, container.Record);
            }
            finally
            {
                container.Gate.Release();
            }
        }
    }

    /// <summary>The beginning of what a check prints; the rest is read and dropped, so that it does not wait for us.</summary>
    private sealed class ProbeOutput
    {
        private readonly byte[] _kept = new byte[HealthCheck.MaxOutputBytes];
        private readonly Lock _lock = new();
        private int _length;
        private bool _truncated;

        public async Task ReadAsync(Socket socket, CancellationToken cancellationToken)
        {
            var buffer = new byte[HealthCheck.MaxOutputBytes];
            try
            {
                int count;
                while ((count = await socket.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, cancellationToken).ConfigureAwait(false)) > 0) Add(buffer.AsSpan(0, count));
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException)
            {
            }
        }

        private void Add(ReadOnlySpan<byte> data)
        {
            lock (_lock)
            {
                var room = Math.Min(data.Length, _kept.Length - _length);
                data[..room].CopyTo(_kept.AsSpan(_length));
                _length += room;
                _truncated |= room < data.Length;
            }
        }

        public string Text
        {
            get
            {
                lock (_lock) return Encoding.UTF8.GetString(_kept, 0, _length) + (_truncated ? "..." : "");
            }
        }
    }
}
