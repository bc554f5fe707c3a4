using System.Buffers.Text;
using System.Globalization;
using System.Text;

namespace Berth.Api;

/// <summary>
/// HTTP/1.1 from the client's side, as much of it as the Engine API uses: one request at a time, answers with a length,
/// in chunks or until the end, and the switch of protocols after which the connection belongs to the caller in both
/// directions, half-close included. (Why not HttpClient: docs/decisions/0600-own-http-client.md.)
/// </summary>
internal sealed class HttpConnection : IDisposable
{
    /// <summary>Status line and headers together.</summary>
    private const int MaxHeadBytes = 64 * 1024;

    private readonly Transport _transport;
    private readonly Stream _stream;
    private readonly bool _blocking;
    private byte[] _buffer = new byte[4096];
    private int _start, _end;

    public HttpConnection(Transport transport, bool blocking) => (_transport, _stream, _blocking) = (transport, transport.Stream, blocking);

    /// <summary>A kept connection that has something to read has been closed by the server (or is out of step).</summary>
    public bool IsStale => _end > _start || _transport.IsStale;

    // The only two places that touch the network; everything above them is written once, for both ways of waiting.
    private ValueTask<int> ReceiveAsync(Memory<byte> target, CancellationToken cancellationToken) =>
        _blocking ? new(_stream.Read(target.Span)) : _stream.ReadAsync(target, cancellationToken);

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        try
        {
            if (_blocking) _stream.Write(bytes.Span);
            else await _stream.WriteAsync(bytes, cancellationToken).ConfigureAwait(false);
        }
        catch (IOException) when (_transport.Failure() is { } failure)
        {
            throw failure;
        }
    }

    public void Write(ReadOnlySpan<byte> bytes) => _stream.Write(bytes);

    public void ShutdownSend() => _transport.ShutdownSend();

    /// <summary>Sends the head and the body; a body without known length goes in chunks.</summary>
    public async ValueTask SendAsync(string head, ReadOnlyMemory<byte> body, Stream? bodyStream, long? bodyLength, CancellationToken cancellationToken)
    {
        var headBytes = Encoding.UTF8.GetBytes(head);
        if (bodyStream is null)
        {
            if (!body.IsEmpty)
            {
                var all = new byte[headBytes.Length + body.Length];
                headBytes.CopyTo(all, 0);
                body.CopyTo(all.AsMemory(headBytes.Length));
                headBytes = all;
            }
            await WriteAsync(headBytes, cancellationToken).ConfigureAwait(false);
            return;
        }
        await WriteAsync(headBytes, cancellationToken).ConfigureAwait(false);
        const int prefix = 10; // "xxxxxxxx\r\n"
        var buffer = new byte[prefix + 64 * 1024 + 2];
        while (true)
        {
            var read = _blocking ? bodyStream.Read(buffer, prefix, 64 * 1024) : await bodyStream.ReadAsync(buffer.AsMemory(prefix, 64 * 1024), cancellationToken).ConfigureAwait(false);
            if (bodyLength is null)
            {
                if (read == 0)
                {
                    await WriteAsync("0\r\n\r\n"u8.ToArray(), cancellationToken).ConfigureAwait(false);
                    return;
                }
                Utf8Formatter.TryFormat((uint)read, buffer, out _, new('x', 8));
                "\r\n"u8.CopyTo(buffer.AsSpan(8));
                "\r\n"u8.CopyTo(buffer.AsSpan(prefix + read));
                await WriteAsync(buffer.AsMemory(0, prefix + read + 2), cancellationToken).ConfigureAwait(false);
            }
            else if (read == 0) return;
            else await WriteAsync(buffer.AsMemory(prefix, read), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Reads status and headers; interim answers (100 Continue) are passed over.</summary>
    public async ValueTask<(int Status, string Reason, Dictionary<string, string> Headers)> ReadHeadAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var length = await FillHeadAsync(cancellationToken).ConfigureAwait(false);
            var head = ParseHead(Encoding.Latin1.GetString(_buffer, _start, length));
            _start += length;
            if (head.Status is < 100 or >= 200 or 101) return head;
        }
    }

    private async ValueTask<int> FillHeadAsync(CancellationToken cancellationToken)
    {
        var scanned = 0;
        while (true)
        {
            var end = _buffer.AsSpan(_start + scanned, _end - _start - scanned).IndexOf("\r\n\r\n"u8);
            if (end >= 0) return scanned + end + 4;
            scanned = Math.Max(0, _end - _start - 3);
            if (_end - _start >= MaxHeadBytes) throw new IOException($"the engine's answer has headers of more than {MaxHeadBytes} bytes");
            if (!await FillAsync(cancellationToken).ConfigureAwait(false)) throw _transport.Failure() ?? (Exception)new EndOfStreamException(_end == _start ? "EOF" : "unexpected EOF");
        }
    }

    private static (int Status, string Reason, Dictionary<string, string> Headers) ParseHead(string head)
    {
        var lines = head.Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        var status = lines[0].Split(' ', 3);
        if (status.Length < 2 || !status[0].StartsWith("HTTP/1.", StringComparison.Ordinal) || !int.TryParse(status[1], NumberStyles.None, CultureInfo.InvariantCulture, out var code))
            throw new IOException("what answered does not speak HTTP: " + lines[0]);
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var line in lines.AsSpan(1))
        {
            var colon = line.IndexOf(':');
            if (colon > 0) headers[line[..colon]] = line[(colon + 1)..].Trim();
        }
        return (code, status.Length > 2 ? status[2] : "", headers);
    }

    private async ValueTask<bool> FillAsync(CancellationToken cancellationToken)
    {
        if (_start == _end) _start = _end = 0;
        else if (_end == _buffer.Length)
        {
            if (_start > 0)
            {
                _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
                (_start, _end) = (0, _end - _start);
            }
            else Array.Resize(ref _buffer, _buffer.Length * 2);
        }
        var read = await ReceiveAsync(_buffer.AsMemory(_end), cancellationToken).ConfigureAwait(false);
        _end += read;
        return read > 0;
    }

    /// <summary>What was read past the head first, then the connection.</summary>
    public async ValueTask<int> ReadAsync(Memory<byte> target, CancellationToken cancellationToken)
    {
        if (_start == _end) return await ReceiveAsync(target, cancellationToken).ConfigureAwait(false);
        var count = Math.Min(target.Length, _end - _start);
        _buffer.AsMemory(_start, count).CopyTo(target);
        _start += count;
        return count;
    }

    /// <summary>A line of chunk framing, without its end.</summary>
    public async ValueTask<string> ReadLineAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var end = _buffer.AsSpan(_start, _end - _start).IndexOf((byte)'\n');
            if (end >= 0)
            {
                var line = Encoding.Latin1.GetString(_buffer, _start, end).TrimEnd('\r');
                _start += end + 1;
                return line;
            }
            if (_end - _start > 4096) throw new IOException("the engine's answer has a malformed chunk");
            if (!await FillAsync(cancellationToken).ConfigureAwait(false)) throw new EndOfStreamException("unexpected EOF");
        }
    }

    /// <summary>Both directions end at once, a read that is under way included; the descriptor stays until disposed.</summary>
    public void Shutdown() => _transport.Shutdown();

    public void Dispose() => _transport.Dispose();
}

/// <summary>The body of an answer. At its end the connection goes back to be used again; disposed before that, it is closed.</summary>
internal sealed class HttpBody : SequentialStream
{
    private const long UntilClose = -1, Chunked = -2;

    private readonly HttpConnection _connection;
    private readonly Action<HttpConnection>? _release;
    private readonly long _mode;
    private long _left;
    private bool _first = true, _done;

    public HttpBody(HttpConnection connection, long? length, bool chunked, Action<HttpConnection>? release)
    {
        (_connection, _release) = (connection, release);
        _mode = chunked ? Chunked : length ?? UntilClose;
        _left = Math.Max(0, _mode);
        if (_mode == 0) Finish();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_done || buffer.IsEmpty) return 0;
        if (_mode == Chunked && _left == 0)
        {
            if (!_first) await _connection.ReadLineAsync(cancellationToken).ConfigureAwait(false);
            _first = false;
            var line = await _connection.ReadLineAsync(cancellationToken).ConfigureAwait(false);
            if (!long.TryParse(line.Split(';')[0].Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out _left) || _left < 0)
                throw new IOException("the engine's answer has a malformed chunk");
            if (_left == 0)
            {
                while ((await _connection.ReadLineAsync(cancellationToken).ConfigureAwait(false)).Length > 0) { }
                Finish();
                return 0;
            }
        }
        if (_mode != UntilClose && buffer.Length > _left) buffer = buffer[..(int)_left];
        var read = await _connection.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        if (read == 0)
        {
            _done = true;
            _connection.Dispose();
            return _mode == UntilClose ? 0 : throw new EndOfStreamException("unexpected EOF");
        }
        _left -= read;
        if (_mode > 0 && _left == 0) Finish();
        return read;
    }

    private void Finish()
    {
        _done = true;
        if (_release is not null) _release(_connection);
        else _connection.Dispose();
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing && !_done)
        {
            _done = true;
            _connection.Dispose();
        }
        base.Dispose(disposing);
    }

    public override bool CanRead => true;
    public override int Read(Span<byte> buffer) => ReadBlocking(buffer);
}
