using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Berth.Api.BuildKit;
using Microsoft.AspNetCore.Http;

namespace Berth.Daemon.BuildKit;

/// <summary>Codes of gRPC that are used here.</summary>
internal enum GrpcCode
{
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// <summary>A call failed, here or at the other side.</summary>
internal sealed class GrpcException(GrpcCode code, string message, IReadOnlyList<byte[]>? details = null) : Exception(message)
{
    public GrpcCode Code => code;

    /// <summary>google.protobuf.Any, encoded: what the other side may want to know beside the text.</summary>
    public IReadOnlyList<byte[]> Details => details ?? [];
}

/// <summary>Frames of gRPC: a byte that says "not compressed", four of length, a message. "gRPC over HTTP2" in grpc/grpc.</summary>
internal static class GrpcFrames
{
    /// <summary>As BuildKit's clients and servers have it.</summary>
    public const int MaxMessageBytes = 16 << 20;

    public const int HeadBytes = 5;

    public static byte[] Encode(IProtoMessage message)
    {
        var bytes = ProtoWriter.Encode(message);
        var frame = new byte[HeadBytes + bytes.Length];
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(1), (uint)bytes.Length);
        bytes.CopyTo(frame, HeadBytes);
        return frame;
    }

    /// <summary>Takes the first message away, if it is there as a whole.</summary>
    /// <exception cref="GrpcException"/>
    public static bool TryRead(ref ReadOnlySequence<byte> buffer, out ReadOnlySequence<byte> message)
    {
        message = default;
        if (buffer.Length < HeadBytes) return false;
        Span<byte> head = stackalloc byte[HeadBytes];
        buffer.Slice(0, HeadBytes).CopyTo(head);
        if (head[0] != 0) throw new GrpcException(GrpcCode.Unimplemented, "compressed messages are not supported");
        var length = BinaryPrimitives.ReadUInt32BigEndian(head[1..]);
        if (length > MaxMessageBytes) throw new GrpcException(GrpcCode.ResourceExhausted, $"grpc: received message larger than max ({length} vs. {MaxMessageBytes})");
        if (buffer.Length < HeadBytes + length) return false;
        message = buffer.Slice(HeadBytes, length);
        buffer = buffer.Slice(HeadBytes + length);
        return true;
    }

    /// <summary>As a header takes it: grpc-message.</summary>
    public static string EncodeText(string text)
    {
        var encoded = new StringBuilder();
        foreach (var part in Encoding.UTF8.GetBytes(text))
        {
            if (part is >= 0x20 and <= 0x7E and not (byte)'%') encoded.Append((char)part);
            else encoded.Append('%').Append(part.ToString("X2", System.Globalization.CultureInfo.InvariantCulture));
        }
        return encoded.ToString();
    }
}

/// <summary>A call that a client makes here.</summary>
internal sealed class GrpcCall(HttpContext http)
{
    private readonly SemaphoreSlim _writing = new(1);

    /// <summary>Fires when the client has given the call up or is gone.</summary>
    public CancellationToken Gone => http.RequestAborted;

    public string Header(string name) => http.Request.Headers[name].ToString();

    public IReadOnlyCollection<string> Headers(string name) => [.. http.Request.Headers[name].Select(v => v ?? "")];

    /// <summary>The next message of the client; null at the end.</summary>
    public async Task<T?> ReadAsync<T>(CancellationToken cancellation) where T : class, IProtoMessage<T>
    {
        var body = http.Request.BodyReader;
        while (true)
        {
            var read = await body.ReadAsync(cancellation);
            var buffer = read.Buffer;
            if (GrpcFrames.TryRead(ref buffer, out var bytes))
            {
                var message = T.Parse(bytes.IsSingleSegment ? bytes.FirstSpan : bytes.ToArray());
                body.AdvanceTo(buffer.Start);
                return message;
            }
            body.AdvanceTo(buffer.Start, buffer.End);
            if (!read.IsCompleted) continue;
            return buffer.IsEmpty ? null : throw new GrpcException(GrpcCode.InvalidArgument, "a message is cut short");
        }
    }

    /// <summary>The message of a call that has one.</summary>
    public async Task<T> RequestAsync<T>() where T : class, IProtoMessage<T> => await ReadAsync<T>(Gone) ?? throw new GrpcException(GrpcCode.InvalidArgument, "a message is missing");

    public async Task WriteAsync(IProtoMessage message)
    {
        await _writing.WaitAsync(Gone);
        try
        {
            await http.Response.BodyWriter.WriteAsync(GrpcFrames.Encode(message), Gone);
        }
        finally
        {
            _writing.Release();
        }
    }

    /// <summary>Lets the client know that the call is taken, before there is anything to say.</summary>
    public async Task StartAsync()
    {
        await http.Response.StartAsync(Gone);
        await http.Response.BodyWriter.FlushAsync(Gone);
    }
}

/// <summary>Answers calls of gRPC: a table of methods over the web server's HTTP/2.</summary>
internal sealed class GrpcServer(ILogger log)
{
    private readonly Dictionary<string, Func<GrpcCall, Task>> _methods = new(StringComparer.Ordinal);

    /// <param name="path">/package.Service/Method</param>
    public void Add(string path, Func<GrpcCall, Task> method) => _methods[path] = method;

    /// <summary>A call with one message each way.</summary>
    public void Add<T>(string path, Func<GrpcCall, T, Task<IProtoMessage>> method) where T : class, IProtoMessage<T> =>
        Add(path, async call => await call.WriteAsync(await method(call, await call.RequestAsync<T>())));

    public async Task ProcessAsync(HttpContext http)
    {
        var path = http.Request.Path.Value ?? "";
        http.Response.ContentType = "application/grpc";
        var (status, message) = (GrpcCode.Ok, "");
        IReadOnlyList<byte[]> details = [];
        try
        {
            if (!_methods.TryGetValue(path, out var method))
                throw new GrpcException(GrpcCode.Unimplemented, path.Split('/') is ["", var service, var name] ? $"unknown method {name} for service {service}" : "malformed method name: " + path);
            log.Call(path);
            await method(new GrpcCall(http));
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
        catch (Exception e) when (!http.RequestAborted.IsCancellationRequested)
        {
            log.CallFault(e, path);
            (status, message) = (GrpcCode.Internal, e.Message);
        }
        catch
        {
            return;
        }
        if (http.RequestAborted.IsCancellationRequested) return;
        if (!http.Response.HasStarted) await http.Response.StartAsync();
        http.Response.AppendTrailer("grpc-status", ((int)status).ToString(System.Globalization.CultureInfo.InvariantCulture));
        if (status == GrpcCode.Ok) return;
        http.Response.AppendTrailer("grpc-message", GrpcFrames.EncodeText(message));
        if (details.Count > 0)
            http.Response.AppendTrailer("grpc-status-details-bin", Convert.ToBase64String(ProtoWriter.Encode(new RpcStatus((int)status, message) { Details = details })).TrimEnd('='));
    }
}
