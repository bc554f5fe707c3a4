using Berth.Api.BuildKit;

namespace Berth.Api.Grpc;

/// <summary>Calls to the other side of one connection, which speaks HTTP/2 from its first byte.</summary>
/// <param name="stream">Belongs to the channel from now on.</param>
public sealed class GrpcChannel(Stream stream) : IDisposable
{
    private readonly Http2Connection _connection = new(stream);

    /// <summary>Fires when the connection is over.</summary>
    public CancellationToken Closed => _connection.Closed;

    /// <summary>A call with one message each way.</summary>
    /// <exception cref="GrpcException"/>
    public async Task<T> CallAsync<T>(string method, IProtoMessage request, CancellationToken cancellation, IEnumerable<(string Name, string Value)>? metadata = null) where T : class, IProtoMessage<T>
    {
        await using var call = Open(method, metadata ?? [], cancellation);
        await call.WriteAsync(request).ConfigureAwait(false);
        await call.CompleteAsync().ConfigureAwait(false);
        var answer = await call.ReadAsync<T>().ConfigureAwait(false) ?? throw new GrpcException(GrpcCode.Internal, $"{method}: no answer");
        await call.ReadAsync<T>().ConfigureAwait(false); // to its end, for its status
        return answer;
    }

    /// <summary>A call with messages both ways.</summary>
    /// <param name="method">/package.Service/Method</param>
    /// <param name="metadata">Names in lower case; a name with several values comes several times.</param>
    /// <exception cref="GrpcException">The connection is over.</exception>
    public GrpcClientCall Open(string method, IEnumerable<(string Name, string Value)> metadata, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        try
        {
            return new GrpcClientCall(_connection.Open([(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers"), .. metadata]), cancellation);
        }
        catch (Http2Exception e)
        {
            throw GrpcClientCall.Explain(e);
        }
    }

    public void Dispose() => _connection.Dispose();
}

/// <summary>A call to the other side, under way. One may read while another writes.</summary>
public sealed class GrpcClientCall : IAsyncDisposable
{
    private readonly Http2Stream _stream;
    private readonly GrpcFrames _frames;
    private readonly CancellationToken _cancellation;
    private readonly CancellationTokenRegistration _onCancel;

    internal GrpcClientCall(Http2Stream stream, CancellationToken cancellation)
    {
        (_stream, _frames, _cancellation) = (stream, new GrpcFrames(stream), cancellation);
        _onCancel = cancellation.UnsafeRegister(static s => ((Http2Stream)s!).Reset(Http2Error.Cancel), stream);
    }

    /// <exception cref="GrpcException">The other side has ended the call, or the connection.</exception>
    public async Task WriteAsync(IProtoMessage message)
    {
        try
        {
            await _frames.WriteAsync(message, _cancellation).ConfigureAwait(false);
        }
        catch (Http2Exception e)
        {
            _cancellation.ThrowIfCancellationRequested();
            throw Status(out _) ?? Explain(e); // a server that has answered takes no more
        }
    }

    /// <summary>No more comes from us.</summary>
    public async Task CompleteAsync()
    {
        try
        {
            await _stream.SendAsync(default, end: true, _cancellation).ConfigureAwait(false);
        }
        catch (Http2Exception)
        {
            // It has ended already; whoever reads is told how.
        }
    }

    /// <summary>The next message; null at the end.</summary>
    /// <exception cref="GrpcException">The call has failed.</exception>
    public async Task<T?> ReadAsync<T>() where T : class, IProtoMessage<T>
    {
        try
        {
            if (await _frames.ReadAsync<T>(_cancellation).ConfigureAwait(false) is { } message) return message;
            await _stream.Headers.ConfigureAwait(false);
            if (Status(out var known) is { } failure) throw failure;
            return known ? null : throw new GrpcException(GrpcCode.Unavailable, "the other side is no server of gRPC: its answer has no status");
        }
        catch (Http2Exception e)
        {
            _cancellation.ThrowIfCancellationRequested();
            throw Explain(e);
        }
        catch (ProtoException e)
        {
            throw new GrpcException(GrpcCode.Internal, e.Message, inner: e);
        }
    }

    // Behind the answer, or in its head when it is nothing else.
    private GrpcException? Status(out bool known)
    {
        var status = GrpcFrames.StatusOf(_stream.Trailers, out known);
        return known || !_stream.Headers.IsCompletedSuccessfully ? status : GrpcFrames.StatusOf(_stream.Headers.Result, out known);
    }

    internal static GrpcException Explain(Http2Exception e) => new(e.Error == Http2Error.Cancel ? GrpcCode.Cancelled : GrpcCode.Unavailable, e.Message, inner: e);

    public async ValueTask DisposeAsync()
    {
        await _onCancel.DisposeAsync().ConfigureAwait(false);
        _stream.Reset(Http2Error.Cancel);
        _frames.Dispose();
    }
}
