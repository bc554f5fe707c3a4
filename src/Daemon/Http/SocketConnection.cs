using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using Berth.Api;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;

namespace Berth.Daemon.Http;

/// <summary>
/// One client's connection, as Kestrel and the routes see it.
/// <para>
/// Kestrel reads and writes it through <see cref="Transport"/>. Its <see cref="ConnectionClosed"/> fires when we end the
/// connection, never because the peer has stopped sending: half-closed connections still want their answer.
/// A route that must know whether its client is gone asks for <see cref="WatchForHangUp"/>.
/// A route that takes the connection over (<see cref="Hijack"/>) has the socket to itself from then on.
/// </para>
/// </summary>
internal sealed class SocketConnection : ConnectionContext, IConnectionIdFeature, IConnectionTransportFeature,
    IConnectionItemsFeature, IConnectionLifetimeFeature, IConnectionEndPointFeature
{
    // Large segments here too, for `docker cp` and `docker load`; a connection that waits has none (zero-byte reads).
    private static readonly StreamPipeReaderOptions ReaderOptions = new(bufferSize: 64 * 1024, minimumReadSize: 512, leaveOpen: true, useZeroByteReads: true);

    // Large segments: each becomes one write(2), and `docker logs` of a gigabyte passes here.
    private static readonly StreamPipeWriterOptions WriterOptions = new(minimumBufferSize: 32 * 1024, leaveOpen: true);

    private readonly Socket _socket;
    private readonly NetworkStream _stream;
    private PipeReader _input;
    private readonly Action<Client>? _giveBack;
    private readonly CancellationTokenSource _closed = new();
    private int _state; // 0 open, 1 hijacked, 2 disposed

    /// <param name="giveBack">Serves the next request on a connection that was taken over for one answer; null: nobody does.</param>
    public SocketConnection(Client client, string id, Action<Client>? giveBack = null)
    {
        var socket = _socket = client.Socket;
        _giveBack = giveBack;
        ConnectionId = id;
        _stream = new NetworkStream(socket, ownsSocket: false);
        _input = PipeReader.Create(_stream, ReaderOptions);
        Transport = new Duplex(new Reader(this), new Writer(PipeWriter.Create(_stream, WriterOptions), this));
        ConnectionClosed = _closed.Token;
        LocalEndPoint = socket.LocalEndPoint;
        RemoteEndPoint = client.Address;
        Features = new FeatureCollection();
        Features.Set<IConnectionIdFeature>(this);
        Features.Set<IConnectionTransportFeature>(this);
        Features.Set<IConnectionItemsFeature>(this);
        Features.Set<IConnectionLifetimeFeature>(this);
        Features.Set<IConnectionEndPointFeature>(this);
        Features.Set(this);
    }

    public override string ConnectionId { get; set; }
    public override IFeatureCollection Features { get; }
    public override IDictionary<object, object?> Items { get => field ??= new ConnectionItems(); set; }
    public override IDuplexPipe Transport { get; set; }
    public override CancellationToken ConnectionClosed { get; set; }

    /// <summary>
    /// Cancels <paramref name="gone"/> when the client has hung up or half-closed, as Docker does for logs, events and the like.
    /// Ask only once the request's body has been read: bytes that arrive are left alone, and end the watch.
    /// </summary>
    public async Task WatchForHangUp(CancellationTokenSource gone)
    {
        try
        {
            do
            {
                // A receive of nothing completes when there is something to receive: data (a pipelined request) or the end;
                // and now and then for no reason, so that poll has the last word.
                await _socket.ReceiveAsync(Memory<byte>.Empty, SocketFlags.None, gone.Token);
            }
            while (!_socket.Poll(0, SelectMode.SelectRead));
            if (_socket.Available == 0)
                await gone.CancelAsync();
        }
        catch (OperationCanceledException)
        {
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            await gone.CancelAsync();
        }
    }

    /// <summary>
    /// The body of a request that comes in chunks, past Kestrel, which must have read nothing of it; null when this cannot be. Once the body is disposed of Kestrel goes on with
    /// what was not read, and answers the request.
    /// </summary>
    public ChunkedBody? TakeBody(CancellationToken cancellation)
    {
        if (Volatile.Read(ref _state) != 0)
            return null;
        if (!_input.TryRead(out var early))
            return new ChunkedBody(_socket, ReadOnlySequence<byte>.Empty, GoOnWith, cancellation);
        if (early.Buffer.Length > ChunkedBody.MaxEarlyBytes)
        {
            _input.AdvanceTo(early.Buffer.Start);
            return null;
        }
        var body = new ChunkedBody(_socket, early.Buffer, GoOnWith, cancellation);
        _input.AdvanceTo(early.Buffer.End);
        return body;
    }

    private void GoOnWith(byte[] before)
    {
        if (before.Length == 0)
            return;
        _input.Complete();
        _input = PipeReader.Create(new PrefixedStream(before, _stream), ReaderOptions);
    }

    /// <summary>
    /// Takes the connection away from Kestrel, which must have read the whole request and written nothing of its response.
    /// What the client sent after its request is the beginning of the stream.
    /// </summary>
    public HijackedStream Hijack()
    {
        if (Interlocked.CompareExchange(ref _state, 1, 0) != 0)
            throw new InvalidOperationException("the connection is already taken over or closed");
        byte[] early = [];
        if (_input.TryRead(out var read))
        {
            early = read.Buffer.ToArray();
            _input.AdvanceTo(read.Buffer.End);
        }
        return new HijackedStream(_socket, early);
    }

    /// <summary>
    /// After <see cref="Hijack"/>: the one answer that this was done for is written, and nothing was read. The connection begins anew, with Kestrel above it; who holds the
    /// stream lets go of it without closing it.
    /// </summary>
    public void GiveBack()
    {
        if (_giveBack is null)
            _socket.Dispose();
        else
            _giveBack(new Client(_socket, RemoteEndPoint));
    }

    public override void Abort(ConnectionAbortedException abortReason)
    {
        // After a hijack Kestrel has nothing more to say here; the stream's owner closes the socket.
        if (Volatile.Read(ref _state) == 1)
            return;
        _socket.Close(timeout: 0);
        _closed.Cancel();
    }

    public override async ValueTask DisposeAsync()
    {
        var before = Interlocked.Exchange(ref _state, 2);
        if (before == 0)
        {
            // Whatever fails here, the socket is closed: a connection that is only half disposed of waits for the garbage collector,
            // and its client with it.
            try
            {
                await Transport.Input.CompleteAsync();
                await Transport.Output.CompleteAsync();
                _socket.Shutdown(SocketShutdown.Both);
            }
            catch (Exception e) when (e is SocketException or IOException or ObjectDisposedException)
            {
                // The peer has gone already, with what was still to be written.
            }
            finally
            {
                _socket.Dispose();
            }
        }
        _closed.Dispose();
    }

    /// <summary>Writing has failed: nobody is there to read. Fires RequestAborted for whoever still works on an answer.</summary>
    private void PeerIsGone()
    {
        try
        {
            _closed.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // It was us who ended it.
        }
    }

    /// <summary>A reader that is at its end once the connection was taken over: Kestrel looks for a next request even on one that it was told to abort, and would take another's.</summary>
    private sealed class Reader(SocketConnection connection) : PipeReader
    {
        private static readonly ReadResult AtEnd = new(ReadOnlySequence<byte>.Empty, isCanceled: false, isCompleted: true);

        private bool IsTaken => Volatile.Read(ref connection._state) == 1;

        public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) => IsTaken ? ValueTask.FromResult(AtEnd) : connection._input.ReadAsync(cancellationToken);

        public override bool TryRead(out ReadResult result)
        {
            if (!IsTaken)
                return connection._input.TryRead(out result);
            result = AtEnd;
            return true;
        }

        public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
        {
            // Of the empty result there is nothing to advance over.
            if (!IsTaken)
                connection._input.AdvanceTo(consumed, examined);
        }

        public override void CancelPendingRead() => connection._input.CancelPendingRead();
        public override void Complete(Exception? exception = null) => connection._input.Complete(exception);
    }

    private sealed class PrefixedStream(byte[] prefix, Stream rest) : SequentialStream
    {
        private int _given;

        public override bool CanRead => true;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_given == prefix.Length)
                return rest.ReadAsync(buffer, cancellationToken);
            var count = Math.Min(buffer.Length, prefix.Length - _given);
            prefix.AsMemory(_given, count).CopyTo(buffer);
            _given += count;
            return ValueTask.FromResult(count);
        }
    }

    /// <summary>A writer that tells a vanished peer by a completed flush, as Kestrel expects of a transport, instead of an exception.</summary>
    private sealed class Writer(PipeWriter inner, SocketConnection connection) : PipeWriter
    {
        private bool _broken;

        public override void Advance(int bytes) => inner.Advance(bytes);
        public override Memory<byte> GetMemory(int sizeHint = 0) => inner.GetMemory(sizeHint);
        public override Span<byte> GetSpan(int sizeHint = 0) => inner.GetSpan(sizeHint);
        public override void CancelPendingFlush() => inner.CancelPendingFlush();
        public override bool CanGetUnflushedBytes => inner.CanGetUnflushedBytes;
        public override long UnflushedBytes => inner.UnflushedBytes;

        public override void Complete(Exception? exception = null)
        {
            // Completing a stream writer writes what it still holds; on a broken one that would only throw again.
            if (!_broken)
                inner.Complete(exception);
        }

        public override async ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
        {
            if (_broken)
                return new FlushResult(isCanceled: false, isCompleted: true);
            try
            {
                return await inner.FlushAsync(cancellationToken);
            }
            catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
            {
                _broken = true;
                connection.PeerIsGone();
                return new FlushResult(isCanceled: false, isCompleted: true);
            }
        }
    }

    private sealed class Duplex(PipeReader input, PipeWriter output) : IDuplexPipe
    {
        public PipeReader Input => input;
        public PipeWriter Output => output;
    }
}
