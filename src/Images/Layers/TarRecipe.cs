using System.IO.Compression;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images.Layers;

/// <summary>
/// What of a layer's tar is not in its files, noted down while it is unpacked, so that the very bytes can be given back: a layer's diff id is their hash, and no other tar of the
/// same tree has it. Two files beside <c>diff/</c>:
/// <code>
///   tar.recipe      "BTR1", then, deflated, the tar from its first byte to its last as records:
///                     literal  (n &lt;&lt; 1)       n bytes as they were: headers, padding, what follows the end, contents of a few bytes
///                     content  (n &lt;&lt; 1 | 1)   n bytes of a file:  length and bytes of its path (0: the same file as before), offset in it
///                     end      0
///   tar.shadowed    per file or directory that a later member of the same tar replaced: how many content records came before, length and bytes of its path
///   shadowed/0 …    those files and directories themselves, in that order
/// </code>
/// Numbers are LEB128. Paths have no links in them: where a member went through one, the path it led to is noted.
/// The idea is Vincent Batts' tar-split's; decision 0850 says what differs.
/// </summary>
internal static class TarRecipe
{
    public const string FileName = "tar.recipe", ShadowedFileName = "tar.shadowed", ShadowedDirectory = "shadowed";

    /// <summary>Contents up to here are kept in the recipe itself: opening a file costs more than these bytes do.</summary>
    public const int MaxInlineBytes = 512;

    /// <summary>Members of one tar that replace others of it. Programs that write tars write a name once; some write a handful twice.</summary>
    public const int MaxShadowed = 16_384;

    /// <summary>Their paths together, which a reader holds in memory.</summary>
    public const int MaxShadowedPathBytes = 4 << 20;

    public static ReadOnlySpan<byte> Magic => "BTR1"u8;

    public static int WriteNumber(Span<byte> to, ulong value)
    {
        var length = 0;
        for (; value >= 0x80; value >>= 7) to[length++] = (byte)(value | 0x80);
        to[length++] = (byte)value;
        return length;
    }

    public static ulong ReadNumber(Stream from)
    {
        ulong value = 0;
        for (var shift = 0; shift < 63; shift += 7)
        {
            var one = from.ReadByte();
            if (one < 0) throw new EndOfStreamException();
            value |= (ulong)(one & 0x7F) << shift;
            if (one < 0x80) return value;
        }
        throw new InvalidDataException("a number is too long");
    }

    /// <summary>Paths of the files that a record gives at least so many bytes; of one that was replaced later on, what is there now has the path.</summary>
    /// <exception cref="InvalidDataException"/>
    /// <exception cref="IOException"/>
    public static IEnumerable<byte[]> FilesOf(string layer, long minBytes)
    {
        using var file = new FileStream(Path.Combine(layer, FileName), FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        var magic = new byte[Magic.Length];
        if (file.ReadAtLeast(magic, magic.Length, throwOnEndOfStream: false) < magic.Length || !magic.AsSpan().SequenceEqual(Magic)) throw new InvalidDataException("its recipe is none");
        using var records = new BufferedStream(new DeflateStream(file, CompressionMode.Decompress), 64 * 1024);
        byte[] path = [], given = path, literal = new byte[4096];
        while (ReadNumber(records) is var record and not 0)
        {
            var length = (long)(record >> 1);
            if ((record & 1) == 0)
            {
                for (; length > 0; length -= Math.Min(length, literal.Length)) records.ReadExactly(literal, 0, (int)Math.Min(length, literal.Length));
                continue;
            }
            var pathBytes = ReadNumber(records);
            if (pathBytes > FileAt.MaxPathBytes) throw new InvalidDataException("a path is too long");
            if (pathBytes > 0) records.ReadExactly(path = new byte[pathBytes]);
            ReadNumber(records); // where in the file
            if (length < minBytes || ReferenceEquals(path, given)) continue;
            yield return given = path;
        }
    }
}

/// <summary>Writes a recipe as the tar goes by. Not thread-safe; nothing is complete before <see cref="Complete"/>.</summary>
internal sealed class TarRecipeWriter : IDisposable
{
    private const int BufferBytes = 64 * 1024, MaxNumberBytes = 10;

    private readonly SafeFileHandle directory;
    private readonly DiskWriter file;
    private readonly Stream packed;

    // Bytes of the literal record that is not written yet.
    private readonly byte[] literal = new byte[BufferBytes];
    private readonly byte[] number = new byte[MaxNumberBytes];
    private int literalBytes;
    private byte[] lastPath = [];
    private ulong contents;

    private DiskWriter? shadowedFile;
    private SafeFileHandle? shadowed;
    private int shadowedCount, shadowedPathBytes;

    /// <param name="path">The layer's directory, beside <c>diff/</c>.</param>
    public TarRecipeWriter(string path)
    {
        directory = FileAt.Open(null, path, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow);
        file = new DiskWriter(directory, TarRecipe.FileName);
        file.Write(TarRecipe.Magic);
        // Headers are mostly zeros and shrink to some tens of bytes each even so.
        packed = new DeflateStream(file, CompressionLevel.Fastest, leaveOpen: true);
    }

    /// <summary>Bytes of the tar that are not in a file.</summary>
    public void Literal(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            if (literalBytes == literal.Length) FlushLiteral();
            var some = Math.Min(bytes.Length, literal.Length - literalBytes);
            bytes[..some].CopyTo(literal.AsSpan(literalBytes));
            literalBytes += some;
            bytes = bytes[some..];
        }
    }

    /// <summary>Bytes of the tar that were written to a file.</summary>
    public void Content(byte[] path, long offset, long length)
    {
        if (length == 0) return;
        FlushLiteral();
        Number((ulong)length << 1 | 1);
        var same = path.AsSpan().SequenceEqual(lastPath);
        Number(same ? 0 : (ulong)path.Length);
        if (!same) packed.Write(path);
        Number((ulong)offset);
        lastPath = path;
        contents++;
    }

    /// <summary>Puts a file or directory aside that a later member replaces: what was written to it is part of the tar.</summary>
    /// <param name="path">What it is called in the records so far.</param>
    public void Shadow(SafeFileHandle parent, ReadOnlySpan<byte> name, byte[] path)
    {
        if (shadowedCount >= TarRecipe.MaxShadowed || (shadowedPathBytes += path.Length) > TarRecipe.MaxShadowedPathBytes)
            throw new LayerEntryException($"refused {TarExtractor.Show(path)}: the layer replaces more of its own files than are kept");
        if (shadowed is null)
        {
            shadowedFile = new DiskWriter(directory, TarRecipe.ShadowedFileName);
            FileAt.MakeDirectory(directory, TarRecipe.ShadowedDirectory, 0x1C0);
            shadowed = FileAt.Open(directory, TarRecipe.ShadowedDirectory, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow);
        }
        var errno = RawAt.Rename(parent, name, shadowed, System.Text.Encoding.ASCII.GetBytes(shadowedCount.ToString(System.Globalization.CultureInfo.InvariantCulture)));
        if (errno != Errno.Success) throw new LinuxException("renameat", TarExtractor.Show(path), errno);
        shadowedCount++;
        lastPath = []; // whatever has this name next is another file
        shadowedFile!.Write(number.AsSpan(0, TarRecipe.WriteNumber(number, contents)));
        shadowedFile.Write(number.AsSpan(0, TarRecipe.WriteNumber(number, (ulong)path.Length)));
        shadowedFile.Write(path);
    }

    /// <summary>The tar has ended.</summary>
    public void Complete()
    {
        FlushLiteral();
        Number(0);
        packed.Dispose();
        file.Flush();
        shadowedFile?.Flush();
    }

    private void FlushLiteral()
    {
        if (literalBytes == 0) return;
        Number((ulong)literalBytes << 1);
        packed.Write(literal, 0, literalBytes);
        literalBytes = 0;
    }

    private void Number(ulong value) => packed.Write(number, 0, TarRecipe.WriteNumber(number, value));

    public void Dispose()
    {
        shadowed?.Dispose();
        shadowedFile?.Dispose();
        file.Dispose();
        directory.Dispose();
    }

    // Errors as errno: a full disk is said in the same words here as by a layer's files.
    private sealed class DiskWriter(SafeFileHandle directory, string name) : WriteOnlyStream
    {
        private readonly SafeFileHandle file = FileAt.Open(directory, name, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow, 0x180);
        private readonly byte[] buffer = new byte[BufferBytes];
        private int count;
        private long offset;

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            while (!bytes.IsEmpty)
            {
                if (count == buffer.Length) Flush();
                var some = Math.Min(bytes.Length, buffer.Length - count);
                bytes[..some].CopyTo(buffer.AsSpan(count));
                count += some;
                bytes = bytes[some..];
            }
        }

        public override void Flush()
        {
            var errno = RawAt.WriteAt(file, buffer.AsSpan(0, count), offset);
            if (errno != Errno.Success) throw new LayerEntryException($"{name}: {errno.DescribeAsGo()}");
            offset += count;
            count = 0;
        }

        protected override void Dispose(bool disposing)
        {
            file.Dispose();
            base.Dispose(disposing);
        }
    }
}
