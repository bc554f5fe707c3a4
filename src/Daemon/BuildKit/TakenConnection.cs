using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;

namespace Berth.Daemon.BuildKit;

/// <summary>
/// Where connections arrive that began as a request of HTTP/1 and go on as HTTP/2 without encryption (h2c): POST /grpc. A listener of the one web server like any other, but
/// connections are put into it by hand.
/// </summary>
internal sealed class TakenConnections : EndPoint, IConnectionListener
{
    private readonly Channel<ConnectionContext> _waiting = Channel.CreateUnbounded<ConnectionContext>();

    EndPoint IConnectionListener.EndPoint => this;

    /// <summary>Serves HTTP/2 on a stream until either side ends it.</summary>
    public async Task ServeAsync(Stream stream)
    {
        var connection = new Connection(new WatchedStream(stream, quiet: true));
        if (!_waiting.Writer.TryWrite(connection)) await connection.DisposeAsync();
        await connection.Ended;
    }

    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
    {
        try
        {
            return await _waiting.Reader.ReadAsync(cancellationToken);
        }
        catch (ChannelClosedException)
        {
            return null;
        }
    }

    public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        _waiting.Writer.TryComplete();
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    public override string ToString() => "h2c";

    private sealed class Connection : ConnectionContext
    {
        private readonly WatchedStream _stream;
        private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Connection(WatchedStream stream)
        {
            _stream = stream;
            Transport = new Duplex(PipeReader.Create(stream, new StreamPipeReaderOptions(bufferSize: 16 * 1024, leaveOpen: true)), PipeWriter.Create(stream, new StreamPipeWriterOptions(leaveOpen: true)));
            ConnectionClosed = stream.Closed;
        }

        public Task Ended => _ended.Task;
        public override string ConnectionId { get; set; } = "h2c";
        public override IFeatureCollection Features { get; } = new FeatureCollection();
        public override IDictionary<object, object?> Items { get; set; } = new ConnectionItems();
        public override IDuplexPipe Transport { get; set; }

        public override void Abort(ConnectionAbortedException abortReason) => _stream.Dispose();

        public override async ValueTask DisposeAsync()
        {
            await _stream.DisposeAsync();
            _ended.TrySetResult();
        }

        private sealed class Duplex(PipeReader input, PipeWriter output) : IDuplexPipe
        {
            public PipeReader Input => input;
            public PipeWriter Output => output;
        }
    }
}

/// <summary>A stream over a connection that says when the connection is over: it was read to its end, failed, or closed by us.</summary>
/// <param name="quiet">What can't be written any more is dropped, and only <see cref="Closed"/> tells: the web server takes an exception of its transport for a fault.</param>
internal sealed class WatchedStream(Stream inner, bool quiet = false) : SequentialStream
{
    private readonly CancellationTokenSource _closed = new();
    private int _disposed;

    public CancellationToken Closed => _closed.Token;

    public override bool CanRead => true;
    public override bool CanWrite => true;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            var count = await inner.ReadAsync(buffer, cancellationToken);
            if (count == 0 && buffer.Length > 0) _closed.Cancel();
            return count;
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            _closed.Cancel();
            return 0;
        }
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            await inner.WriteAsync(buffer, cancellationToken);
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            _closed.Cancel();
            if (!quiet) throw new IOException("the connection is closed", e);
        }
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    protected override void Dispose(bool disposing)
    {
        if (disposing && Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            inner.Dispose();
            _closed.Cancel();
        }
        base.Dispose(disposing);
    }

    public override ValueTask DisposeAsync()
    {
        Dispose();
        return ValueTask.CompletedTask;
    }
}
