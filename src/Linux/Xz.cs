using System.Runtime.InteropServices;

namespace Berth.Linux;

/// <summary>Decompression by liblzma (Debian's liblzma5, which dpkg itself needs), which is loaded when first needed. Not thread-safe.</summary>
public sealed unsafe class XzDecoder : IStreamDecoder
{
    /// <summary>What a stream may ask for: xz -9 needs 65 MiB.</summary>
    public const ulong MaxMemoryBytes = 256 << 20;

    private LibLzma.State* _state;
    private bool _begun, _fresh = true;

    /// <exception cref="DllNotFoundException">With a message that says which package to install.</exception>
    public XzDecoder()
    {
        _state = (LibLzma.State*)NativeMemory.AllocZeroed((nuint)sizeof(LibLzma.State));
        try
        {
            Begin();
        }
        catch (DllNotFoundException e)
        {
            Dispose();
            throw new DllNotFoundException("xz data needs liblzma.so.5, which is not installed: install the package liblzma5", e);
        }
    }

    public void Decode(ReadOnlySpan<byte> input, Span<byte> output, out int consumed, out int produced, out bool atFrameEnd)
    {
        ObjectDisposedException.ThrowIf(_state is null, this);
        (consumed, produced, atFrameEnd) = (0, 0, false);
        if (_fresh)
        {
            // Zeros may fill up the space between streams.
            if (_begun) while (consumed < input.Length && input[consumed] == 0) consumed++;
            if (consumed == input.Length)
            {
                atFrameEnd = _begun;
                return;
            }
            if (_begun) Begin();
            (_fresh, _begun) = (false, true);
        }
        fixed (byte* source = input)
        fixed (byte* destination = output)
        {
            _state->NextIn = source + consumed;
            _state->NextOut = destination;
            (_state->AvailableIn, _state->AvailableOut) = ((nuint)(input.Length - consumed), (nuint)output.Length);
            var result = LibLzma.lzma_code(_state, LibLzma.Run);
            if (result is not (LibLzma.Ok or LibLzma.StreamEnd or LibLzma.NoProgress))
                throw new InvalidDataException("xz: " + result switch { 6 => "the stream needs too much memory to decompress", 7 => "not xz", 8 => "an option of the stream is not supported", 9 => "data is corrupt", _ => $"error {result}" });
            (consumed, produced) = (input.Length - (int)_state->AvailableIn, output.Length - (int)_state->AvailableOut);
            atFrameEnd = _fresh = result == LibLzma.StreamEnd;
        }
    }

    private void Begin()
    {
        var result = LibLzma.lzma_stream_decoder(_state, MaxMemoryBytes, 0);
        if (result != LibLzma.Ok) throw new InvalidDataException($"lzma_stream_decoder() = {result}");
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    ~XzDecoder() => Free();

    private void Free()
    {
        if (_state is null) return;
        if (_state->Internal != 0) LibLzma.lzma_end(_state);
        NativeMemory.Free(_state);
        _state = null;
    }
}

internal static unsafe partial class LibLzma
{
    private const string Library = "liblzma.so.5";

    internal const int Ok = 0, StreamEnd = 1, NoProgress = 10;
    internal const int Run = 0;

    // lzma_stream of lzma/base.h.
    [StructLayout(LayoutKind.Sequential)]
    internal struct State
    {
        internal byte* NextIn;
        internal nuint AvailableIn;
        internal ulong TotalIn;
        internal byte* NextOut;
        internal nuint AvailableOut;
        internal ulong TotalOut;
        internal nint Allocator, Internal;
        internal nint Reserved1, Reserved2, Reserved3, Reserved4;
        internal ulong SeekPosition, Reserved5;
        internal nuint Reserved6, Reserved7;
        internal int Reserved8, Reserved9;
    }

    [LibraryImport(Library)]
    internal static partial int lzma_stream_decoder(State* state, ulong memoryLimit, uint flags);

    [LibraryImport(Library)]
    internal static partial int lzma_code(State* state, int action);

    [LibraryImport(Library)]
    internal static partial void lzma_end(State* state);
}
