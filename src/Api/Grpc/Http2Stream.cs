using System.Buffers;
using System.IO.Pipelines;

namespace Berth.Api.Grpc;

/// <summary>One request and its answer on an <see cref="Http2Connection"/>: headers and bytes both ways, each side ending by itself.</summary>
internal sealed class Http2Stream
{
    private readonly Http2Connection _connection;
    private readonly Pipe _input = new(new PipeOptions(pauseWriterThreshold: 0, minimumSegmentSize: 16 * 1024, useSynchronizationContext: false));
    private readonly TaskCompletionSource<IReadOnlyList<(string Name, string Value)>> _headers = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _gone = new();

    public Http2Stream(Http2Connection connection, int id, long sendWindow)
    {
        (_connection, Id, SendWindow) = (connection, id, sendWindow);
        // Nobody may be waiting when it fails.
        _ = _headers.Task.Exception;
    }

    public int Id { get; }

    /// <summary>Names in lower case. At a client the answer's, when they have come.</summary>
    /// <exception cref="Http2Exception">The stream has ended before.</exception>
    public Task<IReadOnlyList<(string Name, string Value)>> Headers => _headers.Task;

    /// <summary>What came after the bytes; empty until <see cref="Input"/> has been read to its end.</summary>
    public IReadOnlyList<(string Name, string Value)> Trailers { get; private set; } = [];

    /// <summary>The other side's bytes. Say of what is done with that it is (<see cref="Consumed"/>), or no more comes.</summary>
    /// <exception cref="Http2Exception">From a read: the stream was reset, or the connection is over.</exception>
    public PipeReader Input => _input.Reader;

    /// <summary>Fires when the stream was reset by the other side or the connection is over, not at an orderly end.</summary>
    public CancellationToken Gone => _gone.Token;

    // What follows is the connection's, under its lock.
    internal long SendWindow;
    internal int Unconsumed, Uncredited;
    internal bool LocalEnded, RemoteEnded;
    internal Http2Exception? Failure;

    public void Consumed(long bytes) => _connection.Credit(this, (int)bytes);

    public void SendHeaders(IEnumerable<(string Name, string Value)> headers, bool end = false) => _connection.SendHeaders(this, headers, end);

    /// <summary>Waits while the other side does not take more.</summary>
    /// <exception cref="Http2Exception">The stream was reset, or the connection is over.</exception>
    public ValueTask SendAsync(ReadOnlyMemory<byte> data, bool end, CancellationToken cancellation) => _connection.SendAsync(this, data, end, cancellation);

    /// <summary>Ends both directions, if they haven't, and tells the other side.</summary>
    public void Reset(Http2Error error) => _connection.Reset(this, error);

    internal void TakeHeaders(List<(string Name, string Value)> headers)
    {
        // An answer may begin with 1xx; it is not the answer yet (RFC 9113, 8.1).
        if (headers.Exists(h => h.Name == ":status" && h.Value.StartsWith('1'))) return;
        if (!_headers.TrySetResult(headers)) Trailers = headers;
    }

    internal void TakeData(ReadOnlySpan<byte> data)
    {
        _input.Writer.Write(data);
        _ = _input.Writer.FlushAsync(); // never waits: the window is the limit
    }

    internal void TakeEnd() => _input.Writer.Complete();

    internal void Fail(Http2Exception failure)
    {
        _headers.TrySetException(failure);
        _ = _headers.Task.Exception;
        _input.Writer.Complete(failure);
        _gone.Cancel();
    }
}
