namespace Berth.Images.Layers;

internal enum TarKind { File, HardLink, SymbolicLink, CharacterDevice, BlockDevice, Directory, Fifo }

/// <summary>A stretch of a sparse file that has content; everything between is a hole.</summary>
internal readonly record struct TarSegment(long Offset, long Length);

/// <summary>One member of a tar with the headers before it applied (PAX, GNU long names). Names are raw bytes.</summary>
internal sealed record TarEntry
{
    public required byte[] Name { get; init; }
    public required byte[] LinkName { get; init; }
    public required TarKind Kind { get; init; }
    /// <summary>The twelve permission bits.</summary>
    public required uint Mode { get; init; }
    public required long Uid { get; init; }
    public required long Gid { get; init; }
    /// <summary>Bytes of content stored in the archive.</summary>
    public required long StoredBytes { get; init; }
    /// <summary>The file's length: more than what is stored when the file is sparse.</summary>
    public required long LengthBytes { get; init; }
    public required (long Seconds, uint Nanoseconds) Modified { get; init; }
    public required uint Major { get; init; }
    public required uint Minor { get; init; }
    /// <summary>Extended attributes: full name and value.</summary>
    public required IReadOnlyList<KeyValuePair<byte[], byte[]>> Xattrs { get; init; }
    /// <summary>Null for an ordinary file.</summary>
    public required IReadOnlyList<TarSegment>? Segments { get; init; }
}
