using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Berth.Api.BuildKit;

namespace Berth.Api.Grpc;

/// <summary>Codes of gRPC that are used here.</summary>
public enum GrpcCode
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
public sealed class GrpcException(GrpcCode code, string message, IReadOnlyList<byte[]>? details = null, Exception? inner = null) : Exception(message, inner)
{
    public GrpcCode Code => code;

    /// <summary>google.protobuf.Any, encoded: what the other side may want to know beside the text.</summary>
    public IReadOnlyList<byte[]> Details => details ?? [];
}

/// <summary>Messages of gRPC on a stream of HTTP/2: a byte that says "not compressed", four of length, the message. "gRPC over HTTP2" in grpc/grpc.</summary>
internal sealed class GrpcFrames(Http2Stream stream) : IDisposable
{
    /// <summary>As BuildKit's clients and servers have it.</summary>
    public const int MaxMessageBytes = 16 << 20;

    private const int HeadBytes = 5;

    private readonly SemaphoreSlim _writing = new(1);
    private long _counted; // of the message that is on its way, what counts as read already

    /// <exception cref="Http2Exception"/>
    public async Task WriteAsync(IProtoMessage message, CancellationToken cancellation)
    {
        var bytes = ProtoWriter.Encode(message);
        var frame = ArrayPool<byte>.Shared.Rent(HeadBytes + bytes.Length);
        frame[0] = 0;
        BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(1), bytes.Length);
        bytes.CopyTo(frame, HeadBytes);
        await _writing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            await stream.SendAsync(frame.AsMemory(0, HeadBytes + bytes.Length), end: false, cancellation).ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
            ArrayPool<byte>.Shared.Return(frame);
        }
    }

    /// <summary>The next message; null at the end.</summary>
    /// <exception cref="Http2Exception"/>
    /// <exception cref="GrpcException">What came is no message.</exception>
    /// <exception cref="ProtoException"/>
    public async ValueTask<T?> ReadAsync<T>(CancellationToken cancellation) where T : class, IProtoMessage<T>
    {
        while (true)
        {
            var read = await stream.Input.ReadAsync(cancellation).ConfigureAwait(false);
            var buffer = read.Buffer;
            if (TryRead(buffer, out var bytes))
            {
                var length = bytes.Length; // of a sequence that was given back it is any number
                try
                {
                    return T.Parse(bytes.IsSingleSegment ? bytes.FirstSpan : bytes.ToArray());
                }
                finally
                {
                    stream.Input.AdvanceTo(bytes.End);
                    stream.Consumed(HeadBytes + length - _counted);
                    _counted = 0;
                }
            }
            // Of a message that is larger than the window the rest comes only when its beginning counts as read.
            stream.Consumed(buffer.Length - _counted);
            _counted = buffer.Length;
            stream.Input.AdvanceTo(buffer.Start, buffer.End);
            if (!read.IsCompleted) continue;
            return buffer.IsEmpty ? null : throw new GrpcException(GrpcCode.Internal, "a message is cut short");
        }
    }

    private static bool TryRead(ReadOnlySequence<byte> buffer, out ReadOnlySequence<byte> message)
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
        return true;
    }

    public void Dispose()
    {
        stream.Input.Complete();
        _writing.Dispose();
    }

    /// <summary>The status of a call as its trailers say it; null when they don't.</summary>
    public static GrpcException? StatusOf(IReadOnlyList<(string Name, string Value)> headers, out bool known)
    {
        known = false;
        int code = 0;
        string message = "", details = "";
        foreach (var (name, value) in headers)
        {
            if (name == "grpc-status") known = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out code);
            else if (name == "grpc-message") message = Uri.UnescapeDataString(value);
            else if (name == "grpc-status-details-bin") details = value;
        }
        if (!known || code == 0) return null;
        IReadOnlyList<byte[]> parts = [];
        try
        {
            if (details.Length > 0) parts = RpcStatus.Parse(Convert.FromBase64String(details.TrimEnd('=').PadRight((details.TrimEnd('=').Length + 3) / 4 * 4, '='))).Details;
        }
        catch (Exception e) when (e is FormatException or ProtoException)
        {
            // Without them, then: the text says what happened.
        }
        return new GrpcException((GrpcCode)code, message, parts);
    }

    public static List<(string Name, string Value)> Trailers(GrpcCode code, string message, IReadOnlyList<byte[]> details)
    {
        List<(string, string)> trailers = [("grpc-status", ((int)code).ToString(CultureInfo.InvariantCulture))];
        if (code == GrpcCode.Ok) return trailers;
        trailers.Add(("grpc-message", EncodeText(message)));
        if (details.Count > 0) trailers.Add(("grpc-status-details-bin", Convert.ToBase64String(ProtoWriter.Encode(new RpcStatus((int)code, message) { Details = details })).TrimEnd('=')));
        return trailers;
    }

    private static string EncodeText(string text)
    {
        var encoded = new StringBuilder();
        foreach (var part in Encoding.UTF8.GetBytes(text))
        {
            if (part is >= 0x20 and <= 0x7E and not (byte)'%') encoded.Append((char)part);
            else encoded.Append(CultureInfo.InvariantCulture, $"%{part:X2}");
        }
        return encoded.ToString();
    }
}
