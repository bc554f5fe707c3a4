namespace Berth.Linux;

/// <summary>Undoes a compression piece by piece. Not thread-safe.</summary>
public interface IStreamDecoder : IDisposable
{
    /// <summary>Decodes as much as fits. Compressed streams that follow each other are decoded as one.</summary>
    /// <param name="atFrameEnd">True when the last byte consumed ended a stream and all of it was given out: the only place where the input may end.</param>
    /// <exception cref="InvalidDataException">It is not what it should be, or damaged, or asks for more memory than is given.</exception>
    void Decode(ReadOnlySpan<byte> input, Span<byte> output, out int consumed, out int produced, out bool atFrameEnd);
}
