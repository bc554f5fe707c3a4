using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Net.Http.Headers;
using Berth.Api.BuildKit;

namespace Berth.Daemon.BuildKit;

/// <summary>Calls to the other side of one connection, which speaks HTTP/2 from its first byte.</summary>
internal sealed class GrpcChannel : IDisposable
{
    /// <summary>What the other side may send ahead of its being read: a context is sent as fast as it comes.</summary>
    private const int WindowBytes = 4 << 20;

    private readonly WatchedStream _stream;
    private readonly HttpMessageInvoker _client;
    private int _taken;

    public GrpcChannel(Stream stream)
    {
        _stream = new WatchedStream(stream);
        _client = new HttpMessageInvoker(new SocketsHttpHandler
        {
            ConnectCallback = (_, _) => Interlocked.Exchange(ref _taken, 1) == 0 ? ValueTask.FromResult<Stream>(new HeaderLines(_stream)) : throw new IOException("the connection is closed"),
            PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan, PooledConnectionLifetime = Timeout.InfiniteTimeSpan, ActivityHeadersPropagator = null, UseProxy = false, UseCookies = false,
            AllowAutoRedirect = false, AutomaticDecompression = DecompressionMethods.None, InitialHttp2StreamWindowSize = WindowBytes,
        });
    }

    /// <summary>Fires when the connection is over.</summary>
    public CancellationToken Closed => _stream.Closed;

    /// <summary>A call with one message each way.</summary>
    /// <exception cref="GrpcException"/>
    public async Task<T> CallAsync<T>(string method, IProtoMessage request, CancellationToken cancellation) where T : class, IProtoMessage<T>
    {
        await using var call = Open(method, [], cancellation);
        await call.WriteAsync(request);
        await call.CompleteAsync();
        var answer = await call.ReadAsync<T>() ?? throw new GrpcException(GrpcCode.Internal, $"{method}: no answer");
        await call.ReadAsync<T>(); // to its end, for its status
        return answer;
    }

    /// <summary>A call with messages both ways.</summary>
    /// <param name="metadata">Names in lower case; see <see cref="HeaderLines"/> for several values of one.</param>
    public GrpcClientCall Open(string method, IEnumerable<(string Name, string Value)> metadata, CancellationToken cancellation)
    {
        var content = new SentMessages();
        content.Headers.ContentType = new MediaTypeHeaderValue("application/grpc");
        var request = new HttpRequestMessage(HttpMethod.Post, "http://localhost" + method) { Version = HttpVersion.Version20, VersionPolicy = HttpVersionPolicy.RequestVersionExact, Content = content };
        request.Headers.TryAddWithoutValidation("te", "trailers");
        foreach (var (name, value) in metadata) request.Headers.TryAddWithoutValidation(name, value);
        return new GrpcClientCall(_client, request, content, cancellation);
    }

    public void Dispose()
    {
        _client.Dispose();
        _stream.Dispose();
    }
}

/// <summary>The body of a request that is written while its answer is read.</summary>
internal sealed class SentMessages : HttpContent
{
    private readonly TaskCompletionSource<Stream> _stream = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _complete = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public Task<Stream> StreamAsync => _stream.Task;

    public void Complete() => _complete.TrySetResult();

    public void Fail(Exception e)
    {
        _stream.TrySetException(e);
        _complete.TrySetResult();
    }

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
    {
        // The head goes now: the other side may have the first word.
        await stream.FlushAsync();
        _stream.TrySetResult(stream);
        await _complete.Task;
    }

    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }
}

/// <summary>A call to the other side, under way.</summary>
internal sealed class GrpcClientCall : IAsyncDisposable
{
    private readonly HttpRequestMessage _request;
    private readonly SentMessages _content;
    private readonly CancellationTokenSource _cancel;
    private readonly Task<HttpResponseMessage> _response;
    private readonly SemaphoreSlim _writing = new(1);
    private PipeReader? _reader;
    private HttpResponseMessage? _answer;

    public GrpcClientCall(HttpMessageInvoker client, HttpRequestMessage request, SentMessages content, CancellationToken cancellation)
    {
        (_request, _content) = (request, content);
        _cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        _response = SendAsync(client);
    }

    private async Task<HttpResponseMessage> SendAsync(HttpMessageInvoker client)
    {
        try
        {
            return await client.SendAsync(_request, _cancel.Token);
        }
        catch (Exception e)
        {
            // Whoever waits to write is told as well.
            _content.Fail(e);
            throw;
        }
    }

    /// <exception cref="GrpcException">The other side has ended the call, or the connection.</exception>
    public async Task WriteAsync(IProtoMessage message, bool flush = true)
    {
        await _writing.WaitAsync(_cancel.Token);
        try
        {
            var stream = await _content.StreamAsync.WaitAsync(_cancel.Token);
            await stream.WriteAsync(GrpcFrames.Encode(message), _cancel.Token);
            if (flush) await stream.FlushAsync(_cancel.Token);
        }
        catch (Exception e) when (e is IOException or HttpRequestException or ObjectDisposedException)
        {
            throw new GrpcException(GrpcCode.Unavailable, "the client has ended the call: " + e.Message);
        }
        finally
        {
            _writing.Release();
        }
    }

    /// <summary>No more comes from us.</summary>
    public async Task CompleteAsync()
    {
        await _writing.WaitAsync(_cancel.Token);
        _writing.Release();
        _content.Complete();
    }

    /// <summary>The next message; null at the end.</summary>
    /// <exception cref="GrpcException">The call has failed.</exception>
    public async Task<T?> ReadAsync<T>() where T : class, IProtoMessage<T>
    {
        try
        {
            if (_reader is null)
            {
                _answer = await _response;
                Check(_answer.Headers);
                if (_answer.StatusCode != HttpStatusCode.OK) throw new GrpcException(GrpcCode.Unavailable, $"the client answered {(int)_answer.StatusCode}");
                _reader = PipeReader.Create(await _answer.Content.ReadAsStreamAsync(_cancel.Token), new StreamPipeReaderOptions(bufferSize: 64 * 1024));
            }
            while (true)
            {
                var read = await _reader.ReadAsync(_cancel.Token);
                var buffer = read.Buffer;
                if (GrpcFrames.TryRead(ref buffer, out var bytes))
                {
                    var message = T.Parse(bytes.IsSingleSegment ? bytes.FirstSpan : bytes.ToArray());
                    _reader.AdvanceTo(buffer.Start);
                    return message;
                }
                _reader.AdvanceTo(buffer.Start, buffer.End);
                if (!read.IsCompleted) continue;
                Check(_answer!.TrailingHeaders);
                return null;
            }
        }
        catch (Exception e) when (e is IOException or HttpRequestException or ObjectDisposedException)
        {
            throw new GrpcException(GrpcCode.Unavailable, "the client is gone: " + e.Message);
        }
        catch (ProtoException e)
        {
            throw new GrpcException(GrpcCode.Internal, e.Message);
        }
    }

    private static void Check(HttpResponseHeaders headers)
    {
        if (!headers.TryGetValues("grpc-status", out var values)) return;
        if (!int.TryParse(string.Concat(values), out var code)) throw new GrpcException(GrpcCode.Internal, "grpc-status is no number");
        if (code == 0) return;
        var message = headers.TryGetValues("grpc-message", out var texts) ? Uri.UnescapeDataString(string.Concat(texts)) : "";
        throw new GrpcException((GrpcCode)code, message);
    }

    public async ValueTask DisposeAsync()
    {
        _content.Complete();
        await _cancel.CancelAsync();
        try
        {
            (await _response).Dispose();
        }
        catch (Exception e) when (e is IOException or HttpRequestException or OperationCanceledException or ObjectDisposedException)
        {
            // It failed, and whoever used it knows.
        }
        if (_reader is not null) await _reader.CompleteAsync();
        _request.Dispose();
        _cancel.Dispose();
    }
}
