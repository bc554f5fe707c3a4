using System.Runtime.InteropServices;

namespace Berth.Linux;

/// <summary>
/// Decompression by libzstd (Debian's libzstd1), which is loaded when first needed. Not thread-safe.
/// </summary>
public sealed unsafe class ZstdDecoder : IStreamDecoder
{
    private nint _stream;

    /// <exception cref="DllNotFoundException">With a message that says which package to install.</exception>
    public ZstdDecoder()
    {
        try
        {
            _stream = LibZstd.ZSTD_createDStream();
        }
        catch (DllNotFoundException e)
        {
            throw new DllNotFoundException("zstd data needs libzstd.so.1, which is not installed: install the package libzstd1", e);
        }
        if (_stream == 0) throw new OutOfMemoryException("ZSTD_createDStream() = NULL");
    }

    /// <summary>Decodes as much as fits. Frames that follow each other are decoded as one stream.</summary>
    /// <param name="atFrameEnd">True when the last byte consumed ended a frame and all of it was given out: the only place where the input may end.</param>
    /// <exception cref="InvalidDataException">Not zstd, damaged, or a window above libzstd's own limit of 128 MiB.</exception>
    public void Decode(ReadOnlySpan<byte> input, Span<byte> output, out int consumed, out int produced, out bool atFrameEnd)
    {
        ObjectDisposedException.ThrowIf(_stream == 0, this);
        fixed (byte* source = input)
        fixed (byte* destination = output)
        {
            var from = new LibZstd.Buffer { Data = source, Size = (nuint)input.Length };
            var to = new LibZstd.Buffer { Data = destination, Size = (nuint)output.Length };
            var result = LibZstd.ZSTD_decompressStream(_stream, &to, &from);
            if (LibZstd.ZSTD_isError(result) != 0)
                throw new InvalidDataException($"zstd: {Marshal.PtrToStringUTF8((nint)LibZstd.ZSTD_getErrorName(result))}");
            (consumed, produced, atFrameEnd) = ((int)from.Position, (int)to.Position, result == 0);
        }
    }

    public void Dispose()
    {
        if (_stream != 0) LibZstd.ZSTD_freeDStream(_stream);
        _stream = 0;
        GC.SuppressFinalize(this);
    }

    ~ZstdDecoder() => Dispose();
}

/// <summary>Compression by libzstd, the same bytes for the same content and level. Not thread-safe.</summary>
public sealed unsafe class ZstdEncoder : IDisposable
{
    /// <summary>libzstd's own.</summary>
    public const int DefaultLevel = 3;

    private nint _stream;

    /// <param name="level">1 to 22; others become the nearest.</param>
    /// <exception cref="DllNotFoundException">With a message that says which package to install.</exception>
    public ZstdEncoder(int level)
    {
        try
        {
            _stream = LibZstd.ZSTD_createCStream();
        }
        catch (DllNotFoundException e)
        {
            throw new DllNotFoundException("zstd data needs libzstd.so.1, which is not installed: install the package libzstd1", e);
        }
        if (_stream == 0) throw new OutOfMemoryException("ZSTD_createCStream() = NULL");
        LibZstd.ZSTD_initCStream(_stream, Math.Clamp(level, 1, 22));
    }

    /// <summary>Encodes as much as there is room for.</summary>
    /// <param name="end">Nothing comes after this: true is returned when the frame is finished.</param>
    public bool Encode(ReadOnlySpan<byte> input, Span<byte> output, bool end, out int consumed, out int produced)
    {
        ObjectDisposedException.ThrowIf(_stream == 0, this);
        const int Continue = 0, End = 2; // ZSTD_EndDirective
        fixed (byte* source = input)
        fixed (byte* destination = output)
        {
            var from = new LibZstd.Buffer { Data = source, Size = (nuint)input.Length };
            var to = new LibZstd.Buffer { Data = destination, Size = (nuint)output.Length };
            var result = LibZstd.ZSTD_compressStream2(_stream, &to, &from, end ? End : Continue);
            if (LibZstd.ZSTD_isError(result) != 0)
                throw new InvalidDataException($"zstd: {Marshal.PtrToStringUTF8((nint)LibZstd.ZSTD_getErrorName(result))}");
            (consumed, produced) = ((int)from.Position, (int)to.Position);
            return end && result == 0;
        }
    }

    public void Dispose()
    {
        if (_stream != 0) LibZstd.ZSTD_freeCStream(_stream);
        _stream = 0;
        GC.SuppressFinalize(this);
    }

    ~ZstdEncoder() => Dispose();
}

internal static unsafe partial class LibZstd
{
    private const string Library = "libzstd.so.1";

    // ZSTD_inBuffer and ZSTD_outBuffer have the same shape.
    [StructLayout(LayoutKind.Sequential)]
    internal struct Buffer
    {
        internal byte* Data;
        internal nuint Size;
        internal nuint Position;
    }

    [LibraryImport(Library)]
    internal static partial nint ZSTD_createDStream();

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_freeDStream(nint stream);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_decompressStream(nint stream, Buffer* output, Buffer* input);

    [LibraryImport(Library)]
    internal static partial nint ZSTD_createCStream();

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_freeCStream(nint stream);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_initCStream(nint stream, int level);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_compressStream2(nint stream, Buffer* output, Buffer* input, int endOp);

    [LibraryImport(Library)]
    internal static partial uint ZSTD_isError(nuint code);

    [LibraryImport(Library)]
    internal static partial byte* ZSTD_getErrorName(nuint code);
}
