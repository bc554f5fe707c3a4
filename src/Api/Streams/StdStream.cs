using System.Buffers.Binary;

namespace Berth.Api;

/// <summary>Which of a container's streams a frame carries (first byte of its header).</summary>
public enum StdStream : byte
{
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// <summary>An error of the server, to be shown and to end the stream.</summary>
    SystemError = 3,
}

/// <summary>
/// Docker multiplexes stdout and stderr of a container without a terminal over one connection: each piece is preceded
/// by eight bytes, {stream, 0, 0, 0, length big-endian}. With a terminal the bytes are sent as they are.
/// </summary>
public static class StdFrame
{
    public const int HeaderLength = 8;

    /// <summary>Longest frame that readers accept; Docker writes at most 32 KiB, a log line may be longer.</summary>
    public const int MaxPayload = 1 << 26;

    public static void WriteHeader(Span<byte> header, StdStream stream, int length)
    {
        BinaryPrimitives.WriteUInt32BigEndian(header, (uint)stream << 24);
        BinaryPrimitives.WriteUInt32BigEndian(header[4..], (uint)length);
    }

    /// <exception cref="InvalidDataException">The first byte is no stream or the length is past <see cref="MaxPayload"/>.</exception>
    public static (StdStream Stream, int Length) ReadHeader(ReadOnlySpan<byte> header)
    {
        if (header[0] > (byte)StdStream.SystemError) throw new InvalidDataException($"Unrecognized input header: {header[0]}");
        var length = BinaryPrimitives.ReadUInt32BigEndian(header[4..]);
        if (length > MaxPayload) throw new InvalidDataException($"a stream frame of {length} bytes is longer than the limit of {MaxPayload}");
        return ((StdStream)header[0], (int)length);
    }

    /// <summary>Writes one frame.</summary>
    public static async ValueTask WriteAsync(Stream target, StdStream stream, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken = default)
    {
        var buffer = System.Buffers.ArrayPool<byte>.Shared.Rent(HeaderLength + payload.Length);
        try
        {
            WriteHeader(buffer, stream, payload.Length);
            payload.Span.CopyTo(buffer.AsSpan(HeaderLength));
            await target.WriteAsync(buffer.AsMemory(0, HeaderLength + payload.Length), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            System.Buffers.ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>
    /// Copies a multiplexed stream to its two targets until it ends; pieces are passed on as they come, not frame by frame.
    /// </summary>
    /// <exception cref="EngineStreamException">The server sent an error frame.</exception>
    /// <exception cref="InvalidDataException">What came is no such stream.</exception>
    public static async Task DemultiplexAsync(Stream source, Stream stdout, Stream stderr, CancellationToken cancellationToken = default)
    {
        var buffer = new byte[32 * 1024 + HeaderLength];
        int start = 0, end = 0;
        while (true)
        {
            while (end - start < HeaderLength)
            {
                if (start > 0)
                {
                    buffer.AsSpan(start, end - start).CopyTo(buffer);
                    (start, end) = (0, end - start);
                }
                var read = await source.ReadAsync(buffer.AsMemory(end), cancellationToken).ConfigureAwait(false);
                if (read == 0) return;
                end += read;
            }
            var (stream, left) = ReadHeader(buffer.AsSpan(start));
            start += HeaderLength;
            var error = stream == StdStream.SystemError ? new MemoryStream() : null;
            var target = error ?? (stream == StdStream.Stderr ? stderr : stdout);
            while (left > 0)
            {
                if (start == end)
                {
                    start = 0;
                    end = await source.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
                    if (end == 0) return;
                }
                var take = Math.Min(left, end - start);
                await target.WriteAsync(buffer.AsMemory(start, take), cancellationToken).ConfigureAwait(false);
                start += take;
                left -= take;
            }
            if (error is not null) throw new EngineStreamException(System.Text.Encoding.UTF8.GetString(error.ToArray()));
        }
    }
}

/// <summary>An error that the server sent inside a stream.</summary>
public sealed class EngineStreamException(string message) : Exception("error from daemon in stream: " + message);
