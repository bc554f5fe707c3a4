namespace Berth.Engine;

/// <summary>A line on its way. The text is without its newline and good until the call returns.</summary>
/// <param name="Time">Unix nanoseconds.</param>
/// <param name="Part">Of a line that was too long for one record.</param>
internal readonly record struct LoggedLine(ReadOnlyMemory<byte> Text, bool Stderr, long Time, LinePart? Part);

internal readonly record struct LinePart(string Id, int Ordinal, bool Last);

/// <summary>
/// A destination and the connection to it, if there is one. <see cref="AddAsync"/> may keep lines until <see cref="FlushAsync"/>; after an IOException what was added since the last
/// flush is added again, over a new connection. So lines may arrive twice, and none is lost while the container's files hold it.
/// </summary>
internal interface ILogDestination : IAsyncDisposable
{
    /// <exception cref="IOException">It can't be reached.</exception>
    Task ConnectAsync(CancellationToken cancellationToken);

    /// <exception cref="IOException">The connection is lost.</exception>
    ValueTask AddAsync(LoggedLine line, CancellationToken cancellationToken);

    /// <exception cref="IOException">The connection is lost.</exception>
    Task FlushAsync(CancellationToken cancellationToken);

    /// <summary>Forgets the connection and what was added and not flushed.</summary>
    void Disconnect();
}

/// <summary>The connection that the drivers have in common.</summary>
internal abstract class LogDestination(Func<CancellationToken, Task<RemoteConnection>> connect) : ILogDestination
{
    // A batch is sent when it is this long; also what a stream's receiver gets in one piece.
    protected const int BatchBytes = 64 * 1024;

    protected MemoryStream Batch { get; } = new();
    protected RemoteConnection? Connection { get; private set; }

    public async Task ConnectAsync(CancellationToken cancellationToken) => Connection ??= await connect(cancellationToken).ConfigureAwait(false);

    public abstract ValueTask AddAsync(LoggedLine line, CancellationToken cancellationToken);

    public virtual async Task FlushAsync(CancellationToken cancellationToken)
    {
        if (Batch.Length == 0) return;
        await Connection!.SendAsync(Batch.GetBuffer().AsMemory(0, (int)Batch.Length), cancellationToken).ConfigureAwait(false);
        Batch.SetLength(0);
    }

    public void Disconnect()
    {
        Connection?.Dispose();
        Connection = null;
        Batch.SetLength(0);
    }

    public async ValueTask DisposeAsync()
    {
        if (Connection is { } connection) await connection.DisposeAsync().ConfigureAwait(false);
        Disconnect();
    }

    /// <exception cref="FormatException">An option or the tag can't be used.</exception>
    public static ILogDestination For(ContainerRecord record, string journalSocket) => record.HostConfig.LogConfig.Type switch
    {
        "syslog" => new SyslogDestination(SyslogOptions.Parse(record.HostConfig.LogConfig.Config ?? []), LogAttributes.Tag(record, "{{.ID}}")),
        "gelf" => new GelfDestination(GelfOptions.Parse(record.HostConfig.LogConfig.Config ?? []), record),
        "fluentd" => new FluentdDestination(FluentdOptions.Parse(record.HostConfig.LogConfig.Config ?? []), record),
        "journald" => new JournaldDestination(record, journalSocket),
        var other => throw new ArgumentException($"{other} is no remote log driver", nameof(record)),
    };
}
