using System.Globalization;

namespace Berth.Engine;

public sealed partial class ContainerService
{
    /// <summary>Opens the logs; the caller answers 200 with the content type and copies.</summary>
    public Task<LogSession> LogsAsync(string idOrName, LogOptions options, CancellationToken cancellationToken)
    {
        if (!options.Stdout && !options.Stderr) throw EngineException.Invalid("Bad parameters: you must choose at least one stream");
        var container = _core.Containers.Get(idOrName);
        if (container.Removing || container.State.Dead) throw EngineException.Conflict("can not get logs from container which is dead or marked for removal");
        if (!LogConfiguration.IsReadable(container.Record.HostConfig.LogConfig)) throw new EngineException(ErrorKind.NotImplemented, "configured logging driver does not support reading");
        return Task.FromResult(OpenLog(container, options, !container.Record.Config.Tty));
    }

    internal LogSession OpenLog(Container container, LogOptions options, bool multiplexed)
    {
        // Docker takes a tail it can't read for "all".
        var tail = long.TryParse(options.Tail, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) && n >= 0 ? n : -1;
        var since = Timestamps.ParseParameter(options.Since);
        var until = Timestamps.ParseParameter(options.Until);
        var query = new LogQuery
        {
            Stdout = options.Stdout, Stderr = options.Stderr, Timestamps = options.Timestamps, Details = options.Details, Follow = options.Follow, Multiplexed = multiplexed, Tail = tail,
            Since = since is { } s && s > DateTimeOffset.UnixEpoch ? Timestamps.UnixNanoseconds(s) : long.MinValue,
            Until = until is { } u && u > DateTimeOffset.UnixEpoch ? Timestamps.UnixNanoseconds(u) : long.MaxValue,
        };
        return new FileLogSession(this, container, query, until);
    }

    private sealed class FileLogSession(ContainerService service, Container container, LogQuery query, DateTimeOffset? until) : LogSession
    {
        private readonly CancellationTokenSource _over = CancellationTokenSource.CreateLinkedTokenSource(service._core.Stopping);

        public override bool Multiplexed => query.Multiplexed;

        public override async Task CopyToAsync(Stream client, CancellationToken cancellationToken)
        {
            using var both = CancellationTokenSource.CreateLinkedTokenSource(_over.Token, cancellationToken);
            using var reader = new LogReader(container.LogFile, query, service._logWatch);
            // A wait for the next exit of a container that does not run would be for ever: its log is what it is.
            Task ended = Task.CompletedTask;
            if (query.Follow)
            {
                ended = container.Wait(WaitCondition.NotRunning, both.Token);
                if (until is { } end && end > service._core.Time.GetUtcNow())
                    ended = Task.WhenAny(ended, Task.Delay(end - service._core.Time.GetUtcNow(), service._core.Time, both.Token));
            }
            try
            {
                await reader.CopyToAsync(client, ended, both.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (both.IsCancellationRequested)
            {
            }
        }

        public override ValueTask DisposeAsync()
        {
            _over.Cancel();
            _over.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
