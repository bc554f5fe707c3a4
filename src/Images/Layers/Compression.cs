using System.IO.Compression;
using Berth.Linux;

namespace Berth.Images.Layers;

/// <summary>Recognising and undoing the compressions of layers and archives.</summary>
internal static class Compression
{
    private const int MagicBytes = 6;

    /// <summary>The uncompressed content of a stream, whichever of none, gzip, zstd, xz and bzip2 it comes in.</summary>
    public static Stream Open(Stream source)
    {
        var head = new byte[MagicBytes];
        var count = source.ReadAtLeast(head, MagicBytes, throwOnEndOfStream: false);
        var whole = new PrefixedStream(head.AsMemory(0, count), source);
        return head.AsSpan(0, count) switch
        {
            [0x1F, 0x8B, 8, ..] => new GZipStream(whole, CompressionMode.Decompress),
            // A zstd frame, or one of the skippable frames that may come before it.
            [0x28, 0xB5, 0x2F, 0xFD, ..] or [>= 0x50 and <= 0x5F, 0x2A, 0x4D, 0x18, ..] => new DecoderStream(whole, new ZstdDecoder()),
            [(byte)'B', (byte)'Z', (byte)'h', ..] => new DecoderStream(whole, new Bzip2Decoder()),
            [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0] => new DecoderStream(whole, new XzDecoder()),
            _ => whole,
        };
    }
}

/// <summary>Bytes already taken from a stream, then the rest of it.</summary>
internal sealed class PrefixedStream(ReadOnlyMemory<byte> prefix, Stream rest) : ReadOnlyStream
{
    public override int Read(Span<byte> buffer)
    {
        if (prefix.IsEmpty) return rest.Read(buffer);
        var count = Math.Min(buffer.Length, prefix.Length);
        prefix.Span[..count].CopyTo(buffer);
        prefix = prefix[count..];
        return count;
    }
}

/// <summary>Counts what is read; the stream beneath stays open.</summary>
internal sealed class CountingStream(Stream source) : ReadOnlyStream
{
    public long Count { get; private set; }

    public override int Read(Span<byte> buffer)
    {
        var count = source.Read(buffer);
        Count += count;
        return count;
    }
}

/// <summary>What a decoder makes of a stream, frame after frame.</summary>
/// <param name="decoder">Disposed of with it.</param>
internal sealed class DecoderStream(Stream source, IStreamDecoder decoder) : ReadOnlyStream
{
    private readonly byte[] input = new byte[128 * 1024];
    private int start, end;
    private bool atFrameEnd = true, ended;

    public override int Read(Span<byte> buffer)
    {
        if (buffer.IsEmpty || ended) return 0;
        while (true)
        {
            if (start == end)
            {
                (start, end) = (0, source.Read(input));
                if (end == 0)
                {
                    // Output may still wait inside the decoder; a truncated stream gives none and is not at a frame's end.
                    decoder.Decode(default, buffer, out _, out var last, out var done);
                    if (last > 0) return last;
                    if (!atFrameEnd && !done) throw new InvalidDataException("unexpected EOF");
                    ended = true;
                    return 0;
                }
            }
            decoder.Decode(input.AsSpan(start, end - start), buffer, out var consumed, out var produced, out atFrameEnd);
            start += consumed;
            if (produced > 0) return produced;
        }
    }

    protected override void Dispose(bool disposing)
    {
        decoder.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>What every blocking, forward-only stream here has in common.</summary>
internal abstract class ReadOnlyStream : Stream
{
    public abstract override int Read(Span<byte> buffer);
    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));
    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => false;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }
    public override void Flush() { }
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

/// <summary>The same for what is written to.</summary>
internal abstract class WriteOnlyStream : Stream
{
    public abstract override void Write(ReadOnlySpan<byte> buffer);
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));
    public override bool CanRead => false;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => Length; set => throw new NotSupportedException(); }
    public override void Flush() { }
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
}
