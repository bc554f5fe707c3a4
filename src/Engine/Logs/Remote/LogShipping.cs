using Berth.Api.Json;

namespace Berth.Engine;

/// <summary>
/// Delivers the logs of containers with a remote driver. The monitor writes every container's lines to files, whatever the driver; a shipper here, one per container, reads
/// them and sends them on, and keeps how far it came. So neither a slow nor a dead destination is felt by the container, `docker logs` works all the
/// same, and kill -9 of daemon or monitor loses no line. docs/logs.md.
/// </summary>
internal sealed class LogShipping(EngineCore core, LogWatch watch)
{
    // A removed container's files are read to their end from open descriptors; a destination that is down is waited for this long.
    private static readonly TimeSpan AfterRemoval = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan FirstRetry = TimeSpan.FromMilliseconds(100), LongestRetry = TimeSpan.FromSeconds(10);

    // Sent at the latest after this many, so that a position is kept now and then.
    private const int BatchLines = 1000;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Shipper> _shippers = new(StringComparer.Ordinal);

    /// <exception cref="EngineException">An option can't be used; as dockerd fails a start.</exception>
    public static void Check(ContainerRecord record, EngineOptions options)
    {
        try
        {
            _ = LogDestination.For(record, options.JournalSocket); // connected to nothing yet
        }
        catch (FormatException e)
        {
            throw LogConfiguration.Failed(e.Message);
        }
        if (record.HostConfig.LogConfig.Type == "journald" && !File.Exists(options.JournalSocket)) throw LogConfiguration.Failed("journald is not enabled on this host");
    }

    /// <summary>Begins, or goes on, delivering. For any container: those without a remote driver have nothing to do here.</summary>
    public void Start(Container container)
    {
        if (!LogDrivers.IsRemote(container.Record.HostConfig.LogConfig.Type)) return;
        lock (_lock)
        {
            if (_shippers.ContainsKey(container.Id)) return; // it sees that the container runs
            Shipper shipper;
            try
            {
                // Opened and watched here, not by the task: a container with --rm may be gone before that runs.
                shipper = new Shipper(container, new LogCursor(container.LogFile), watch.Directory(Path.GetDirectoryName(container.LogFile)!));
            }
            catch (IOException e)
            {
                core.Logger.LogShippingFailed(container.Id, container.Record.HostConfig.LogConfig.Type, e);
                return;
            }
            _shippers.Add(container.Id, shipper);
            _ = Task.Run(() => RunAsync(shipper), CancellationToken.None);
        }
    }

    /// <summary>Before the container's directory goes: what is not delivered yet is, without it.</summary>
    public void Detach(Container container)
    {
        lock (_lock)
        {
            if (!_shippers.Remove(container.Id, out var shipper)) return;
            shipper.Cursor.Detach();
            shipper.Removed.CancelAfter(AfterRemoval);
            shipper.Wake.TrySetResult();
        }
    }

    private async Task RunAsync(Shipper shipper)
    {
        var container = shipper.Container;
        var driver = container.Record.HostConfig.LogConfig.Type;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(core.Stopping, shipper.Removed.Token);
        var complaint = "";
        try
        {
            using var cursor = shipper.Cursor;
            await using var destination = LogDestination.For(container.Record, core.Options.JournalSocket);
            using var changes = shipper.Changes;
            var retry = FirstRetry;
            Task? ended = null;
            while (true)
            {
                try
                {
                    // Before reading, so that what is written while we read wakes us again.
                    var over = !container.State.Running;
                    var changed = changes.NextAsync(stop.Token);
                    await DeliverAsync(shipper, destination, stop.Token).ConfigureAwait(false);
                    if (complaint.Length > 0) core.Logger.LogDelivered(container.Id, driver);
                    (complaint, retry) = ("", FirstRetry);
                    if (over)
                    {
                        if (TryEnd(shipper)) return;
                        continue;
                    }
                    // One wait for a run, however often its lines wake us.
                    if (ended is null or { IsCompleted: true }) ended = container.Wait(WaitCondition.NotRunning, stop.Token);
                    await Task.WhenAny(changed, ended, shipper.Wake.Task).ConfigureAwait(false);
                    stop.Token.ThrowIfCancellationRequested();
                }
                catch (IOException e)
                {
                    destination.Disconnect();
                    cursor.Rewind();
                    shipper.RestoreParts();
                    if (complaint.Length == 0) core.Logger.LogWaits(container.Id, driver, e.Message);
                    complaint = e.Message;
                    await Task.Delay(retry, core.Time, stop.Token).ConfigureAwait(false);
                    retry = retry * 2 < LongestRetry ? retry * 2 : LongestRetry;
                }
            }
        }
        catch (OperationCanceledException)
        {
            if (shipper.Cursor.IsDetached && complaint.Length > 0) core.Logger.LogAbandoned(container.Id, driver, complaint);
        }
        catch (Exception e)
        {
            core.Logger.LogShippingFailed(container.Id, driver, e);
        }
        finally
        {
            lock (_lock)
            {
                if (_shippers.TryGetValue(container.Id, out var current) && current == shipper) _shippers.Remove(container.Id);
            }
            shipper.Removed.Dispose();
        }
    }

    /// <summary>True when the shipper is forgotten: its container does not run, and a start after this makes another.</summary>
    private bool TryEnd(Shipper shipper)
    {
        lock (_lock)
        {
            if (shipper.Cursor.IsDetached) return true;
            if (shipper.Container.State.Running) return false;
            return _shippers.Remove(shipper.Container.Id);
        }
    }

    private async Task DeliverAsync(Shipper shipper, ILogDestination destination, CancellationToken cancellationToken)
    {
        var cursor = shipper.Cursor;
        do
        {
            var (count, last) = (0, cursor.LastTime);
            while (count < BatchLines && cursor.TryRead(out var line))
            {
                if (Parse(shipper, line) is not { } logged) continue;
                last = logged.Time;
                if (logged.Time <= cursor.SkipBefore) continue;
                await destination.ConnectAsync(cancellationToken).ConfigureAwait(false);
                await destination.AddAsync(logged, cancellationToken).ConfigureAwait(false);
                count++;
            }
            if (count > 0) await destination.FlushAsync(cancellationToken).ConfigureAwait(false);
            if (cursor.TakeGap())
                core.Logger.LogLinesLost(shipper.Container.Id, shipper.Container.Record.HostConfig.LogConfig.Type, GoTime.Format(DateTimeOffset.UnixEpoch.AddTicks(cursor.LastTime / 100)));
            cursor.Commit(last);
            shipper.KeepParts();
            if (count < BatchLines && !cursor.AtEndOfFile) return;
        }
        while (true);
    }

    private static LoggedLine? Parse(Shipper shipper, ReadOnlyMemory<byte> line)
    {
        if (shipper.Scratch.Length < line.Length) shipper.Scratch = new byte[line.Length];
        if (!LogLine.TryParse(line.Span, shipper.Scratch, out var text, out var stderr, out var time, out _) || !LogLine.TryTime(time, out var nanoseconds)) return null;
        var whole = text.EndsWith("\n"u8);
        if (whole) text = text[..^1];
        // A long line is in pieces, of which only the last has a newline.
        ref var part = ref shipper.Parts[stderr ? 1 : 0];
        LinePart? shown = null;
        if (!whole || part is not null) shown = part = new LinePart(part?.Id ?? Names.NewId(), (part?.Ordinal ?? 0) + 1, whole);
        if (whole) part = null;
        return new LoggedLine(text.ToArray(), stderr, nanoseconds, shown);
    }

    private sealed class Shipper(Container container, LogCursor cursor, LogWatch.Follower changes)
    {
        public Container Container { get; } = container;
        public LogCursor Cursor { get; } = cursor;
        public LogWatch.Follower Changes { get; } = changes;
        public CancellationTokenSource Removed { get; } = new();
        public TaskCompletionSource Wake { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public byte[] Scratch { get; set; } = [];

        /// <summary>The long lines of stdout and stderr that are not at their end yet.</summary>
        public LinePart?[] Parts { get; } = new LinePart?[2];

        private readonly LinePart?[] _kept = new LinePart?[2];

        public void KeepParts() => Parts.CopyTo(_kept, 0);

        public void RestoreParts() => _kept.CopyTo(Parts, 0);
    }
}

public sealed partial class ContainerService
{
    /// <summary>What was not delivered when the last daemon ended, of stopped containers too.</summary>
    internal void ResumeLog(Container container) => _shipping.Start(container);
}
