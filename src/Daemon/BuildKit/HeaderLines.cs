using System.Buffers;
using System.Buffers.Binary;

namespace Berth.Daemon.BuildKit;

/// <summary>
/// What an HTTP/2 client writes, with one change: a header whose value is several, joined by <see cref="Separator"/>, becomes as many headers. .NET's client joins the values
/// of a header with commas, as HTTP allows; gRPC takes the headers of a call one by one, and BuildKit's clients are told their patterns so (RFC 9113 section 6.2, RFC 7541).
/// </summary>
internal sealed class HeaderLines(Stream inner) : SequentialStream
{
    /// <summary>Between values; no pattern or path has it.</summary>
    public const char Separator = '\u001f';

    private const int FrameHead = 9, MaxFrameBytes = 16 * 1024;
    private const byte Headers = 1, Continuation = 9, EndHeaders = 4;
    private static readonly byte[] Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray();

    private readonly ArrayBufferWriter<byte> _out = new();
    private readonly List<byte> _head = [], _block = [];
    private byte _blockFlags;
    private uint _blockStream;
    private int _prefaceLeft = Preface.Length;
    private int _left;
    private bool _inBlock;

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Take(buffer.Span);
        if (_out.WrittenCount == 0) return;
        await inner.WriteAsync(_out.WrittenMemory, cancellationToken);
        _out.ResetWrittenCount();
    }

    /// <summary>As it goes to the other side; for tests.</summary>
    internal byte[] Rewrite(ReadOnlySpan<byte> bytes)
    {
        Take(bytes);
        var written = _out.WrittenSpan.ToArray();
        _out.ResetWrittenCount();
        return written;
    }

    private void Take(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            if (_prefaceLeft > 0)
            {
                var count = Math.Min(_prefaceLeft, bytes.Length);
                _out.Write(bytes[..count]);
                _prefaceLeft -= count;
                bytes = bytes[count..];
            }
            else if (_left > 0)
            {
                var count = Math.Min(_left, bytes.Length);
                if (_inBlock) _block.AddRange(bytes[..count]);
                else _out.Write(bytes[..count]);
                _left -= count;
                bytes = bytes[count..];
                if (_left == 0) EndFrame();
            }
            else
            {
                _head.Add(bytes[0]);
                bytes = bytes[1..];
                if (_head.Count == FrameHead) BeginFrame();
            }
        }
    }

    private void BeginFrame()
    {
        _left = _head[0] << 16 | _head[1] << 8 | _head[2];
        var type = _head[3];
        _inBlock = type is Headers or Continuation;
        if (!_inBlock)
        {
            foreach (var part in _head) _out.Write([part]);
            _head.Clear();
            return;
        }
        if (type == Headers)
        {
            _block.Clear();
            _blockFlags = _head[4];
            _blockStream = (uint)(_head[5] << 24 | _head[6] << 16 | _head[7] << 8 | _head[8]);
        }
        else _blockFlags |= (byte)(_head[4] & EndHeaders);
        _head.Clear();
        if (_left == 0) EndFrame();
    }

    private void EndFrame()
    {
        if (!_inBlock || (_blockFlags & EndHeaders) == 0) return;
        var block = Split(_block.ToArray());
        for (var at = 0; at == 0 || at < block.Length; at += MaxFrameBytes)
        {
            var part = block.AsSpan(at, Math.Min(MaxFrameBytes, block.Length - at));
            var span = _out.GetSpan(FrameHead);
            (span[0], span[1], span[2]) = ((byte)(part.Length >> 16), (byte)(part.Length >> 8), (byte)part.Length);
            span[3] = at == 0 ? Headers : Continuation;
            var last = at + part.Length == block.Length;
            span[4] = (byte)((at == 0 ? _blockFlags & ~EndHeaders : 0) | (last ? EndHeaders : 0));
            BinaryPrimitives.WriteUInt32BigEndian(span[5..], _blockStream);
            _out.Advance(FrameHead);
            _out.Write(part);
        }
        _inBlock = false;
    }

    // Headers one after the other; those with a name of their own and several values are written as often.
    private static byte[] Split(byte[] block)
    {
        var result = new List<byte>(block.Length);
        for (var at = 0; at < block.Length;)
        {
            var from = at;
            var first = block[at];
            if ((first & 0x80) != 0) Number(block, ref at, 7);
            else if ((first & 0xE0) == 0x20) Number(block, ref at, 5);
            else
            {
                if (Number(block, ref at, (first & 0x40) != 0 ? 6 : 4) == 0) Text(block, ref at);
                var name = block.AsSpan(from, at - from);
                var huffman = (block[at] & 0x80) != 0;
                var value = Text(block, ref at);
                if (!huffman && value.Contains((byte)Separator))
                {
                    while (true)
                    {
                        var end = value.IndexOf((byte)Separator);
                        var part = end < 0 ? value : value[..end];
                        result.AddRange(name);
                        WriteLength(result, part.Length);
                        result.AddRange(part);
                        if (end < 0) break;
                        value = value[(end + 1)..];
                    }
                    continue;
                }
            }
            result.AddRange(block.AsSpan(from, at - from));
        }
        return [.. result];
    }

    private static int Number(byte[] block, ref int at, int bits)
    {
        var mask = (1 << bits) - 1;
        var value = block[at++] & mask;
        if (value < mask) return value;
        for (var shift = 0; ; shift += 7)
        {
            var part = block[at++];
            value += (part & 0x7F) << shift;
            if (part < 0x80) return value;
        }
    }

    private static ReadOnlySpan<byte> Text(byte[] block, ref int at)
    {
        var length = Number(block, ref at, 7);
        var text = block.AsSpan(at, length);
        at += length;
        return text;
    }

    private static void WriteLength(List<byte> result, int length)
    {
        if (length < 127)
        {
            result.Add((byte)length);
            return;
        }
        result.Add(127);
        for (length -= 127; length >= 0x80; length >>= 7) result.Add((byte)(length | 0x80));
        result.Add((byte)length);
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => inner.ReadAsync(buffer, cancellationToken);
    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);
    public override bool CanRead => true;
    public override bool CanWrite => true;

    protected override void Dispose(bool disposing)
    {
        if (disposing) inner.Dispose();
        base.Dispose(disposing);
    }
}
