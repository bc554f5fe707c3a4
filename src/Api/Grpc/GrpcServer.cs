using Berth.Api.BuildKit;

namespace Berth.Api.Grpc;

/// <summary>Answers the calls of gRPC that come over connections: a table of methods.</summary>
/// <param name="called">Told of each call: its path.</param>
/// <param name="faulted">Told of an exception that no method should throw; the client is told its text.</param>
public sealed class GrpcServer(Action<string>? called = null, Action<Exception, string>? faulted = null)
{
    private readonly Dictionary<string, Func<GrpcCall, Task>> _methods = new(StringComparer.Ordinal);

    /// <summary>/package.Service/Method of each that there is.</summary>
    public IEnumerable<string> Methods => _methods.Keys;

    /// <param name="path">/package.Service/Method</param>
    public void Add(string path, Func<GrpcCall, Task> method) => _methods[path] = method;

    /// <summary>A call with one message each way.</summary>
    public void Add<T>(string path, Func<GrpcCall, T, Task<IProtoMessage>> method) where T : class, IProtoMessage<T> =>
        Add(path, async call => await call.WriteAsync(await method(call, await call.RequestAsync<T>().ConfigureAwait(false)).ConfigureAwait(false)).ConfigureAwait(false));

    /// <summary>Serves a connection until either side ends it.</summary>
    /// <param name="stream">Belongs to us from now on.</param>
    public async Task ServeAsync(Stream stream, CancellationToken cancellation)
    {
        using var connection = new Http2Connection(stream, accepted => _ = Task.Run(() => ProcessAsync(accepted), CancellationToken.None));
        await using var stop = cancellation.UnsafeRegister(static c => ((Http2Connection)c!).Dispose(), connection);
        await connection.Ended.ConfigureAwait(false);
    }

    private async Task ProcessAsync(Http2Stream stream)
    {
        var headers = await stream.Headers.ConfigureAwait(false);
        var path = headers.FirstOrDefault(h => h.Name == ":path").Value ?? "";
        using var call = new GrpcCall(stream, headers);
        var (status, message) = (GrpcCode.Ok, "");
        IReadOnlyList<byte[]> details = [];
        try
        {
            if (!_methods.TryGetValue(path, out var method))
                throw new GrpcException(GrpcCode.Unimplemented, path.Split('/') is ["", var service, var name] ? $"unknown method {name} for service {service}" : "malformed method name: " + path);
            called?.Invoke(path);
            await method(call).ConfigureAwait(false);
        }
        catch (GrpcException e)
        {
            (status, message, details) = (e.Code, e.Message, e.Details);
        }
        catch (ProtoException e)
        {
            (status, message) = (GrpcCode.InvalidArgument, e.Message);
        }
        catch (OperationCanceledException)
        {
            (status, message) = (GrpcCode.Cancelled, "context canceled");
        }
        catch (Exception e)
        {
            if (!stream.Gone.IsCancellationRequested) faulted?.Invoke(e, path);
            (status, message) = (GrpcCode.Internal, e.Message);
        }
        call.End(GrpcFrames.Trailers(status, message, details));
        // For a client that goes on sending: nobody reads it (RFC 9113, 8.1).
        stream.Reset(Http2Error.None);
    }
}

/// <summary>A call that a client makes here.</summary>
public sealed class GrpcCall : IDisposable
{
    private readonly Http2Stream _stream;
    private readonly IReadOnlyList<(string Name, string Value)> _headers;
    private readonly GrpcFrames _frames;
    private int _started;

    internal GrpcCall(Http2Stream stream, IReadOnlyList<(string Name, string Value)> headers) => (_stream, _headers, _frames) = (stream, headers, new GrpcFrames(stream));

    /// <summary>Fires when the client has given the call up or is gone.</summary>
    public CancellationToken Gone => _stream.Gone;

    /// <param name="name">In lower case.</param>
    /// <returns>The first value, or "".</returns>
    public string Header(string name) => Headers(name) is [var first, ..] ? first : "";

    /// <param name="name">In lower case.</param>
    public IReadOnlyList<string> Headers(string name)
    {
        var values = new List<string>();
        foreach (var header in _headers)
            if (header.Name == name) values.Add(header.Value);
        return values;
    }

    /// <summary>The next message of the client; null at the end.</summary>
    /// <exception cref="OperationCanceledException">The client has given the call up, too.</exception>
    public async Task<T?> ReadAsync<T>(CancellationToken cancellation) where T : class, IProtoMessage<T>
    {
        try
        {
            return await _frames.ReadAsync<T>(cancellation).ConfigureAwait(false);
        }
        catch (Http2Exception e)
        {
            throw new OperationCanceledException("the client has ended the call", e, Gone);
        }
    }

    /// <summary>The message of a call that has one.</summary>
    public async Task<T> RequestAsync<T>() where T : class, IProtoMessage<T> => await ReadAsync<T>(Gone).ConfigureAwait(false) ?? throw new GrpcException(GrpcCode.InvalidArgument, "a message is missing");

    /// <exception cref="OperationCanceledException">The client has given the call up.</exception>
    public async Task WriteAsync(IProtoMessage message)
    {
        await StartAsync().ConfigureAwait(false);
        try
        {
            await _frames.WriteAsync(message, Gone).ConfigureAwait(false);
        }
        catch (Http2Exception e)
        {
            throw new OperationCanceledException("the client has ended the call", e, Gone);
        }
    }

    /// <summary>Lets the client know that the call is taken, before there is anything to say.</summary>
    /// <param name="metadata">Names in lower case.</param>
    public Task StartAsync(params IReadOnlyList<(string Name, string Value)> metadata)
    {
        if (Interlocked.Exchange(ref _started, 1) == 0) _stream.SendHeaders([(":status", "200"), ("content-type", "application/grpc"), .. metadata]);
        return Task.CompletedTask;
    }

    internal void End(List<(string Name, string Value)> trailers)
    {
        // One block says it all when nothing was sent.
        if (Interlocked.Exchange(ref _started, 1) == 0) trailers.InsertRange(0, [(":status", "200"), ("content-type", "application/grpc")]);
        _stream.SendHeaders(trailers, end: true);
    }

    public void Dispose() => _frames.Dispose();
}
