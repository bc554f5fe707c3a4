using System.Runtime.InteropServices;

namespace Berth.Linux;

/// <summary>Decompression by libbz2 (Debian's libbz2-1.0, which dpkg itself needs), which is loaded when first needed. Not thread-safe.</summary>
public sealed unsafe class Bzip2Decoder : IStreamDecoder
{
    private LibBz2.State* _state;
    private bool _ended;

    /// <exception cref="DllNotFoundException">With a message that says which package to install.</exception>
    public Bzip2Decoder()
    {
        _state = (LibBz2.State*)NativeMemory.AllocZeroed((nuint)sizeof(LibBz2.State));
        try
        {
            Begin();
        }
        catch (DllNotFoundException e)
        {
            Dispose();
            throw new DllNotFoundException("bzip2 data needs libbz2.so.1.0, which is not installed: install the package libbz2-1.0", e);
        }
    }

    public void Decode(ReadOnlySpan<byte> input, Span<byte> output, out int consumed, out int produced, out bool atFrameEnd)
    {
        ObjectDisposedException.ThrowIf(_state is null, this);
        (consumed, produced, atFrameEnd) = (0, 0, _ended);
        if (input.IsEmpty && _ended) return;
        if (_ended)
        {
            LibBz2.BZ2_bzDecompressEnd(_state);
            Begin();
        }
        fixed (byte* source = input)
        fixed (byte* destination = output)
        {
            _state->NextIn = source;
            _state->NextOut = destination;
            (_state->AvailableIn, _state->AvailableOut) = ((uint)input.Length, (uint)output.Length);
            var result = LibBz2.BZ2_bzDecompress(_state);
            if (result is not (LibBz2.Ok or LibBz2.StreamEnd)) throw new InvalidDataException("bzip2: " + result switch { -5 => "not bzip2", -4 => "data is corrupt", -3 => "out of memory", _ => $"error {result}" });
            (consumed, produced) = (input.Length - (int)_state->AvailableIn, output.Length - (int)_state->AvailableOut);
            atFrameEnd = _ended = result == LibBz2.StreamEnd;
        }
    }

    private void Begin()
    {
        var result = LibBz2.BZ2_bzDecompressInit(_state, 0, 0);
        if (result != LibBz2.Ok) throw new InvalidDataException($"BZ2_bzDecompressInit() = {result}");
        _ended = false;
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    ~Bzip2Decoder() => Free();

    private void Free()
    {
        if (_state is null) return;
        if (_state->Internal != 0) LibBz2.BZ2_bzDecompressEnd(_state);
        NativeMemory.Free(_state);
        _state = null;
    }
}

internal static unsafe partial class LibBz2
{
    private const string Library = "libbz2.so.1.0";

    internal const int Ok = 0, StreamEnd = 4;

    // bz_stream of bzlib.h.
    [StructLayout(LayoutKind.Sequential)]
    internal struct State
    {
        internal byte* NextIn;
        internal uint AvailableIn, TotalInLow, TotalInHigh;
        internal byte* NextOut;
        internal uint AvailableOut, TotalOutLow, TotalOutHigh;
        internal nint Internal, Allocate, Free, Opaque;
    }

    [LibraryImport(Library)]
    internal static partial int BZ2_bzDecompressInit(State* state, int verbosity, int small);

    [LibraryImport(Library)]
    internal static partial int BZ2_bzDecompress(State* state);

    [LibraryImport(Library)]
    internal static partial int BZ2_bzDecompressEnd(State* state);
}
