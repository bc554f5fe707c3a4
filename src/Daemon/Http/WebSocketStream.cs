using Berth.Api;
using System.Buffers.Binary;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Berth.Daemon.Http;

/// <summary>
/// The payload of a WebSocket's data frames (RFC 6455, the server's side) as a stream of bytes. Not System.Net.WebSockets: there a read that is cancelled, as ours is when the
/// container's output ends first, breaks the connection, and what was written last is lost with it.
/// </summary>
internal sealed class WebSocketStream(Stream connection, bool binary) : SequentialStream
{
    private const int ContinuationFrame = 0, TextFrame = 1, BinaryFrame = 2, CloseFrame = 8, PingFrame = 9, PongFrame = 10;
    private const int MaxControlBytes = 125;

    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly byte[] _header = new byte[14];
    private readonly byte[] _mask = new byte[4];
    private long _left;
    private int _maskAt;
    private bool _ended, _closed;

    /// <summary>What answers a client's Sec-WebSocket-Key.</summary>
    public static string Accept(string key) => Convert.ToBase64String(SHA1.HashData(Encoding.ASCII.GetBytes(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));

    /// <returns>0 when the client has closed, in either way.</returns>
    /// <exception cref="IOException">What came is no frame of a client's.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (_left == 0)
        {
            if (_ended || !await NextFrameAsync(cancellationToken))
            {
                _ended = true;
                return 0;
            }
        }
        var count = await connection.ReadAsync(buffer[..(int)Math.Min(buffer.Length, _left)], cancellationToken);
        if (count == 0)
        {
            _ended = true;
            return 0;
        }
        Unmask(buffer.Span[..count]);
        _left -= count;
        return count;
    }

    /// <summary>Reads up to the next frame with data; false at the end.</summary>
    private async ValueTask<bool> NextFrameAsync(CancellationToken cancellationToken)
    {
        while (await FillAsync(_header.AsMemory(0, 2), cancellationToken))
        {
            var (opcode, length) = (_header[0] & 0xf, (long)(_header[1] & 0x7f));
            if ((_header[0] & 0x70) != 0 || (_header[1] & 0x80) == 0) throw new IOException("a websocket frame of an unknown kind, or without a mask");
            if (length == 126)
            {
                if (!await FillAsync(_header.AsMemory(2, 2), cancellationToken)) return false;
                length = BinaryPrimitives.ReadUInt16BigEndian(_header.AsSpan(2));
            }
            else if (length == 127)
            {
                if (!await FillAsync(_header.AsMemory(2, 8), cancellationToken)) return false;
                length = BinaryPrimitives.ReadInt64BigEndian(_header.AsSpan(2));
                if (length < 0) throw new IOException("a websocket frame of an impossible length");
            }
            if (!await FillAsync(_mask, cancellationToken)) return false;
            _maskAt = 0;
            if (opcode is ContinuationFrame or TextFrame or BinaryFrame)
            {
                _left = length;
                if (length > 0) return true;
                continue;
            }
            if (length > MaxControlBytes) throw new IOException("a websocket control frame that is too long");
            var payload = new byte[length];
            if (!await FillAsync(payload, cancellationToken)) return false;
            Unmask(payload);
            switch (opcode)
            {
                case CloseFrame:
                    await SendAsync(CloseFrame, payload, cancellationToken);
                    return false;
                case PingFrame:
                    await SendAsync(PongFrame, payload, cancellationToken);
                    break;
                case PongFrame:
                    break;
                default:
                    throw new IOException($"a websocket frame of an unknown kind: {opcode}");
            }
        }
        return false;
    }

    private async ValueTask<bool> FillAsync(Memory<byte> buffer, CancellationToken cancellationToken) =>
        await connection.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken) == buffer.Length;

    private void Unmask(Span<byte> bytes)
    {
        for (var i = 0; i < bytes.Length; i++)
            bytes[i] ^= _mask[_maskAt++ & 3];
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        await SendAsync(binary ? BinaryFrame : TextFrame, buffer, cancellationToken);

    // The reader answers pings while output is written: one frame at a time.
    private async ValueTask SendAsync(int opcode, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        await _writing.WaitAsync(cancellationToken);
        try
        {
            if (_closed)
                return;
            _closed = opcode == CloseFrame;
            var header = new byte[10];
            header[0] = (byte)(0x80 | opcode);
            var length = 2;
            if (payload.Length < 126)
            {
                header[1] = (byte)payload.Length;
            }
            else if (payload.Length <= ushort.MaxValue)
            {
                header[1] = 126;
                BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(2), (ushort)payload.Length);
                length = 4;
            }
            else
            {
                header[1] = 127;
                BinaryPrimitives.WriteInt64BigEndian(header.AsSpan(2), payload.Length);
                length = 10;
            }
            await connection.WriteAsync(header.AsMemory(0, length), cancellationToken);
            await connection.WriteAsync(payload, cancellationToken);
        }
        finally
        {
            _writing.Release();
        }
    }

    /// <summary>Tells the client that it is over, and ends the connection.</summary>
    public override async ValueTask DisposeAsync()
    {
        try
        {
            await SendAsync(CloseFrame, new byte[] { 0x03, 0xe8 } /* 1000: as agreed */, CancellationToken.None);
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            // The client is gone.
        }
        await connection.DisposeAsync();
        _writing.Dispose();
        GC.SuppressFinalize(this);
    }

    public override bool CanRead => true;
    public override bool CanWrite => true;
}
