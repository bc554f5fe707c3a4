using System.Buffers;
using System.Net.Sockets;
using System.Text;
using Berth.Api;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;
using Descriptor = Berth.Linux.Descriptor;

namespace Berth.Daemon.Http;

/// <summary>
/// The body of a request in chunks (RFC 9112, 7.1), read from the socket by a thread that may wait: of a `docker cp` of a gigabyte. Kestrel's way of a body is one through two
/// pipes and three threads, which takes longer than the work. What is left when this is disposed of, an end at least, Kestrel reads as if nobody had read before it.
/// </summary>
internal sealed class ChunkedBody : SequentialStream
{
    private const int BufferBytes = 256 * 1024;

    /// <summary>A chunk's length with its extensions, which nobody uses.</summary>
    private const int MaxLineBytes = 1024;

    private readonly Socket _socket;
    private readonly SafeFileHandle _descriptor;
    private readonly Action<byte[]> _giveBack;
    private readonly CancellationToken _cancellation;
    private readonly CancellationTokenRegistration _onCancel;
    private readonly byte[] _buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
    private int _from, _to;
    private long _left;
    private bool _inChunk, _ended, _disposed;

    /// <param name="early">What was read behind the head already.</param>
    /// <param name="giveBack">Gets what goes before whatever the socket gives from then on.</param>
    /// <param name="cancellation">Ends reading, and the connection's receiving with it.</param>
    public ChunkedBody(Socket socket, ReadOnlySequence<byte> early, Action<byte[]> giveBack, CancellationToken cancellation)
    {
        (_socket, _giveBack, _cancellation) = (socket, giveBack, cancellation);
        _descriptor = Descriptor.Duplicate(socket.SafeHandle);
        early.CopyTo(_buffer);
        _to = (int)early.Length;
        _onCancel = cancellation.UnsafeRegister(static s => Shutdown((Socket)s!), socket);
    }

    /// <summary>What may have been read behind a head at most.</summary>
    public const int MaxEarlyBytes = BufferBytes;

    public override bool CanRead => true;

    /// <summary>Waits for something to give, and gives with it what has come already.</summary>
    /// <exception cref="IOException">The client is gone, or what it sends are no chunks.</exception>
    /// <exception cref="OperationCanceledException"/>
    public override int Read(Span<byte> buffer)
    {
        var total = 0;
        while (!_ended && total < buffer.Length)
        {
            if (total > 0 && (_left > 0 ? _from == _to : !HasHead)) break;
            if (_left == 0)
            {
                NextChunk();
                continue;
            }
            if (_from == _to) Fill();
            var count = (int)Math.Min(Math.Min(buffer.Length - total, _to - _from), _left);
            _buffer.AsSpan(_from, count).CopyTo(buffer[total..]);
            total += count;
            _from += count;
            _left -= count;
        }
        return total;
    }

    // The next chunk's line has come as a whole, with the line end of the chunk before.
    private bool HasHead => _to - _from > 2 && _buffer.AsSpan(_from + 2, _to - _from - 2).IndexOf("\r\n"u8) >= 0;

    private void NextChunk()
    {
        if (_inChunk)
        {
            while (_to - _from < 2) Fill();
            if (!_buffer.AsSpan(_from, 2).SequenceEqual("\r\n"u8)) throw Broken();
            _from += 2;
            _inChunk = false;
        }
        int end;
        while ((end = _buffer.AsSpan(_from, _to - _from).IndexOf("\r\n"u8)) < 0)
        {
            if (_to - _from > MaxLineBytes) throw Broken();
            Fill();
        }
        var line = _buffer.AsSpan(_from, end);
        var length = line.IndexOf((byte)';') is var extension and >= 0 ? line[..extension] : line;
        if (!long.TryParse(Encoding.ASCII.GetString(length.Trim(" \t"u8)), System.Globalization.NumberStyles.AllowHexSpecifier, null, out _left) || _left < 0) throw Broken();
        if (_left == 0)
        {
            _ended = true; // Kestrel reads the last chunk, and what may follow it
            return;
        }
        _from += end + 2;
        _inChunk = true;
    }

    private static IOException Broken() => new("bad chunked request body");

    // More behind what there is.
    private void Fill()
    {
        if (_from == _to) (_from, _to) = (0, 0);
        else if (_to == BufferBytes)
        {
            _buffer.AsSpan(_from, _to - _from).CopyTo(_buffer);
            (_from, _to) = (0, _to - _from);
        }
        while (true)
        {
            var count = Descriptor.TryRead(_descriptor, _buffer.AsSpan(_to, BufferBytes - _to), out var errno);
            if (errno == Errno.EAGAIN)
            {
                Descriptor.Poll(_descriptor, PollEvents.Readable, -1);
                continue;
            }
            _cancellation.ThrowIfCancellationRequested();
            // In the words of Docker's HTTP server.
            if (count <= 0) throw new IOException("unexpected EOF");
            _to += count;
            return;
        }
    }

    private static void Shutdown(Socket socket)
    {
        try
        {
            socket.Shutdown(SocketShutdown.Receive);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // It is over already.
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (!disposing || _disposed) return;
        _disposed = true;
        _onCancel.Dispose();
        _descriptor.Dispose();
        // A chunk that was begun is told with what is left of it.
        var head = _left > 0 ? Encoding.ASCII.GetBytes($"{_left:x}\r\n") : [];
        // Behind a chunk its line end, which may not have come: the last byte cannot be given back as a chunk of nothing, so that the connection ends here.
        var rest = _buffer.AsSpan(_from, _to - _from);
        if (_inChunk && _left == 0)
        {
            if (rest.StartsWith("\r\n"u8)) rest = rest[2..];
            else Shutdown(_socket);
        }
        _giveBack([.. head, .. rest]);
        ArrayPool<byte>.Shared.Return(_buffer);
        base.Dispose(disposing);
    }
}
