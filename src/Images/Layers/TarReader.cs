using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Berth.Images.Layers;

/// <summary>
/// Reads a tar as it streams by: v7, ustar, GNU (long names, base-256 numbers, sparse) and PAX (times, ids, paths,
/// SCHILY.xattr, sparse 0.0, 0.1 and 1.0). System.Formats.Tar is not used because it decodes names as UTF-8 and so loses
/// those that aren't, and drops sparse files (docs/decisions/0401-own-tar-reader.md).
/// </summary>
/// <remarks>Errors are <see cref="InvalidDataException"/> in the words of Go's archive/tar, which Docker's users know.</remarks>
/// <param name="recipe">Is told every byte that is read, except by <see cref="TakeContent"/>.</param>
internal sealed class TarReader(Stream source, TarRecipeWriter? recipe = null)
{
    public const int BlockBytes = 512;

    /// <summary>Longest extended header or GNU long name: as much as Go's archive/tar takes. A path ends at 4096 and an xattr at 64 KiB anyway.</summary>
    public const int MaxExtendedHeaderBytes = 1 << 20;

    /// <summary>Most stretches of one sparse file; each takes 16 bytes of memory here.</summary>
    public const int MaxSegments = 1 << 20;

    private const int BufferBytes = 256 * 1024;

    private readonly byte[] buffer = new byte[BufferBytes];
    private int start, end;
    private long contentLeft, paddingLeft;

    /// <summary>The next member, or null at the end of the archive. What was not read of the one before is skipped.</summary>
    public TarEntry? Next()
    {
        Skip(contentLeft + paddingLeft);
        contentLeft = paddingLeft = 0;
        Pax? pax = null;
        byte[]? longName = null, longLink = null;
        while (true)
        {
            var block = HeaderBlock();
            if (block.IsEmpty) return pax is null && longName is null && longLink is null ? null : throw Truncated();
            switch ((char)block[156])
            {
                case 'x':
                    pax = Pax.Parse(ReadSpecial(Number(block, 124, 12)));
                    continue;
                case 'g':
                    ReadSpecial(Number(block, 124, 12)); // global headers name no file; Docker ignores them as well
                    continue;
                case 'L':
                    longName = UntilZero(ReadSpecial(Number(block, 124, 12))).ToArray();
                    continue;
                case 'K':
                    longLink = UntilZero(ReadSpecial(Number(block, 124, 12))).ToArray();
                    continue;
                default:
                    return Entry(block, pax, longName, longLink);
            }
        }
    }

    /// <summary>Some of the current member's stored content, at most <paramref name="max"/> bytes; empty at its end. Valid until the next call.</summary>
    public ReadOnlySpan<byte> ReadContent(int max = int.MaxValue)
    {
        var span = TakeContent(max);
        recipe?.Literal(span);
        return span;
    }

    /// <summary>As <see cref="ReadContent"/>, for a caller who notes down himself where it went.</summary>
    public ReadOnlySpan<byte> TakeContent(int max)
    {
        if (contentLeft == 0) return default;
        if (start == end) Fill();
        var count = (int)Math.Min(Math.Min(end - start, contentLeft), max);
        var span = buffer.AsSpan(start, count);
        start += count;
        contentLeft -= count;
        return span;
    }

    /// <summary>The rest of the current member's content.</summary>
    /// <exception cref="InvalidDataException">When it is longer than <paramref name="maxBytes"/>.</exception>
    public byte[] ReadAllContent(int maxBytes, string what)
    {
        if (contentLeft > maxBytes) throw new InvalidDataException($"{what} is larger than {maxBytes} bytes");
        var all = new byte[contentLeft];
        for (var at = 0; at < all.Length;)
        {
            var some = ReadContent();
            some.CopyTo(all.AsSpan(at));
            at += some.Length;
        }
        return all;
    }

    /// <summary>Reads to the end of the stream: what follows the archive belongs to its digest too.</summary>
    public void Drain()
    {
        do
        {
            recipe?.Literal(buffer.AsSpan(start, end - start));
            (start, end) = (0, source.Read(buffer, 0, buffer.Length));
        }
        while (end > 0);
    }

    private TarEntry Entry(ReadOnlySpan<byte> block, Pax? pax, byte[]? longName, byte[]? longLink)
    {
        var isUstar = block[257..263].SequenceEqual("ustar\0"u8);
        var isGnu = block[257..265].SequenceEqual("ustar  \0"u8);
        var name = pax?.Path ?? longName ?? HeaderName(block, isUstar);
        var link = pax?.LinkPath ?? longLink ?? UntilZero(block.Slice(157, 100)).ToArray();
        var type = (char)block[156];
        var size = pax?.Size ?? Number(block, 124, 12);
        var kind = type switch
        {
            '0' or '7' or 'S' => TarKind.File,
            '\0' => name is [.., (byte)'/'] ? TarKind.Directory : TarKind.File,
            '1' => TarKind.HardLink,
            '2' => TarKind.SymbolicLink,
            '3' => TarKind.CharacterDevice,
            '4' => TarKind.BlockDevice,
            '5' => TarKind.Directory,
            '6' => TarKind.Fifo,
            _ => throw new InvalidDataException($"unhandled tar header type {(int)type}"),
        };
        if (kind != TarKind.File) size = 0; // as Go: only regular files have content, whatever the header says
        if (size < 0) throw BadHeader();

        var hasDevice = kind is TarKind.CharacterDevice or TarKind.BlockDevice;
        var entry = new TarEntry
        {
            Name = name,
            LinkName = link,
            Kind = kind,
            Mode = (uint)Number(block, 100, 8) & 0xFFF,
            Uid = pax?.Uid ?? Number(block, 108, 8),
            Gid = pax?.Gid ?? Number(block, 116, 8),
            StoredBytes = size,
            LengthBytes = size,
            Modified = pax?.Modified ?? (Number(block, 136, 12), 0),
            Major = hasDevice ? (uint)Number(block, 329, 8) : 0,
            Minor = hasDevice ? (uint)Number(block, 337, 8) : 0,
            Xattrs = pax?.Xattrs ?? [],
            Segments = null,
        };
        if (kind == TarKind.File && (type == 'S' || pax is { IsSparse: true })) entry = Sparse(entry, block, type == 'S' && isGnu, pax);
        else (contentLeft, paddingLeft) = (size, Padding(size));
        return entry;
    }

    private TarEntry Sparse(TarEntry entry, ReadOnlySpan<byte> block, bool oldGnu, Pax? pax)
    {
        var segments = new List<TarSegment>();
        long length;
        var stored = entry.StoredBytes;
        if (oldGnu)
        {
            length = Number(block, 483, 12);
            var more = block[482] != 0;
            OldSegments(block.Slice(386, 96), segments);
            while (more)
            {
                var extension = Block();
                if (extension.IsEmpty) throw Truncated();
                OldSegments(extension[..504], segments);
                more = extension[504] != 0;
            }
            (contentLeft, paddingLeft) = (stored, Padding(stored));
        }
        else
        {
            if (pax is null) throw BadHeader();
            length = pax.SparseLength ?? stored;
            (contentLeft, paddingLeft) = (stored, Padding(stored));
            if (pax.SparseMajor == 1)
            {
                // The map precedes the content: a count, then pairs, a number a line, filled up to a block.
                var read = 0L;
                var count = SparseNumber(ref read);
                if (count > MaxSegments) throw BadHeader();
                for (var i = 0L; i < count; i++) segments.Add(new TarSegment(SparseNumber(ref read), SparseNumber(ref read)));
                for (var pad = Padding(read); pad > 0;)
                {
                    var some = ReadContent((int)pad);
                    if (some.IsEmpty) throw BadHeader();
                    pad -= some.Length;
                    read += some.Length;
                }
                stored -= read;
            }
            else
            {
                if (pax.SparseMap.Count % 2 != 0) throw BadHeader();
                for (var i = 0; i < pax.SparseMap.Count; i += 2) segments.Add(new TarSegment(pax.SparseMap[i], pax.SparseMap[i + 1]));
            }
        }

        if (length < 0) throw BadHeader();
        long total = 0, previous = 0;
        foreach (var segment in segments)
        {
            if (segment.Offset < previous || segment.Length < 0 || segment.Length > length - segment.Offset) throw BadHeader();
            previous = segment.Offset + segment.Length;
            total += segment.Length;
        }
        if (total != stored) throw BadHeader();
        return entry with { Name = pax?.SparseName ?? entry.Name, StoredBytes = stored, LengthBytes = length, Segments = segments };
    }

    private static void OldSegments(ReadOnlySpan<byte> map, List<TarSegment> segments)
    {
        for (; map.Length >= 24 && map[0] != 0; map = map[24..])
        {
            if (segments.Count >= MaxSegments) throw BadHeader();
            segments.Add(new TarSegment(Number(map, 0, 12), Number(map, 12, 12)));
        }
    }

    private long SparseNumber(ref long read)
    {
        long value = 0;
        for (var digits = 0; ; digits++)
        {
            var one = ReadContent(1);
            if (one.IsEmpty) throw BadHeader();
            read++;
            if (one[0] == '\n' && digits > 0) return value;
            if (one[0] is < (byte)'0' or > (byte)'9' || digits > 18) throw BadHeader();
            value = value * 10 + (one[0] - '0');
        }
    }

    // The header block, or empty at the end: two blocks of zeros, one of them and then nothing, or just nothing.
    private ReadOnlySpan<byte> HeaderBlock()
    {
        var block = Block();
        if (block.IsEmpty) return default;
        if (!block.ContainsAnyExcept((byte)0))
        {
            block = Block();
            return block.IsEmpty || !block.ContainsAnyExcept((byte)0) ? default : throw BadHeader();
        }
        if (!HasValidChecksum(block)) throw BadHeader();
        return block;
    }

    /// <summary>Whether 512 bytes can be a tar header.</summary>
    public static bool HasValidChecksum(ReadOnlySpan<byte> block)
    {
        long unsigned = 0, signed = 0;
        for (var i = 0; i < BlockBytes; i++)
        {
            var b = i is >= 148 and < 156 ? (byte)' ' : block[i];
            unsigned += b;
            signed += (sbyte)b;
        }
        return TryNumber(block, 148, 8, out var sum) && (sum == unsigned || sum == signed);
    }

    private ReadOnlySpan<byte> Block()
    {
        while (end - start < BlockBytes)
        {
            if (start > 0)
            {
                buffer.AsSpan(start, end - start).CopyTo(buffer);
                (start, end) = (0, end - start);
            }
            var got = source.Read(buffer, end, buffer.Length - end);
            if (got == 0) return end == start ? default : throw Truncated();
            end += got;
        }
        start += BlockBytes;
        recipe?.Literal(buffer.AsSpan(start - BlockBytes, BlockBytes));
        return buffer.AsSpan(start - BlockBytes, BlockBytes);
    }

    private byte[] ReadSpecial(long size)
    {
        if (size is < 0 or > MaxExtendedHeaderBytes) throw new InvalidDataException("archive/tar: header field too long");
        (contentLeft, paddingLeft) = (size, Padding(size));
        var all = ReadAllContent(MaxExtendedHeaderBytes, "tar header");
        Skip(paddingLeft);
        paddingLeft = 0;
        return all;
    }

    private void Skip(long count)
    {
        while (count > 0)
        {
            if (start == end) Fill();
            var some = (int)Math.Min(count, end - start);
            recipe?.Literal(buffer.AsSpan(start, some));
            start += some;
            count -= some;
        }
    }

    private void Fill()
    {
        start = 0;
        end = source.Read(buffer, 0, buffer.Length);
        if (end == 0) throw Truncated();
    }

    private static long Padding(long size) => -size & (BlockBytes - 1);

    private static byte[] HeaderName(ReadOnlySpan<byte> block, bool isUstar)
    {
        var name = UntilZero(block[..100]);
        if (!isUstar) return name.ToArray();
        // Jörg Schilling's star keeps times behind a shorter prefix and marks that with "tar" at the end.
        var prefix = UntilZero(block.Slice(345, block[508..512].SequenceEqual("tar\0"u8) ? 131 : 155));
        return prefix.IsEmpty ? name.ToArray() : [.. prefix, (byte)'/', .. name];
    }

    private static ReadOnlySpan<byte> UntilZero(ReadOnlySpan<byte> field)
    {
        var zero = field.IndexOf((byte)0);
        return zero < 0 ? field : field[..zero];
    }

    private static long Number(ReadOnlySpan<byte> block, int offset, int length) =>
        TryNumber(block, offset, length, out var value) ? value : throw BadHeader();

    // Octal text, or GNU's base-256: the first bit set, then two's complement, big end first.
    private static bool TryNumber(ReadOnlySpan<byte> block, int offset, int length, out long value)
    {
        var field = block.Slice(offset, length);
        value = 0;
        if ((field[0] & 0x80) != 0)
        {
            var negative = (field[0] & 0x40) != 0;
            var fill = (byte)(negative ? 0xFF : 0);
            var head = (byte)(negative ? field[0] : field[0] & 0x7F);
            if (field.Length > 8 && (head != fill || field[1..^8].ContainsAnyExcept(fill))) return false;
            if (field.Length > 8)
            {
                value = BinaryPrimitives.ReadInt64BigEndian(field[^8..]);
                return value < 0 == negative;
            }
            Span<byte> wide = stackalloc byte[8];
            wide.Fill(fill);
            field.CopyTo(wide[(8 - field.Length)..]);
            wide[8 - field.Length] = head;
            value = BinaryPrimitives.ReadInt64BigEndian(wide);
            return true;
        }
        field = field.Trim(" \0"u8);
        foreach (var digit in UntilZero(field))
        {
            if (digit is < (byte)'0' or > (byte)'7') return false;
            value = value << 3 | (uint)(digit - '0');
        }
        return true;
    }

    private static InvalidDataException BadHeader() => new("archive/tar: invalid tar header");

    private static InvalidDataException Truncated() => new("unexpected EOF");

    /// <summary>The records of a PAX extended header that mean something here.</summary>
    private sealed class Pax
    {
        public byte[]? Path { get; private set; }
        public byte[]? LinkPath { get; private set; }
        public long? Size { get; private set; }
        public long? Uid { get; private set; }
        public long? Gid { get; private set; }
        public (long, uint)? Modified { get; private set; }
        public List<KeyValuePair<byte[], byte[]>>? Xattrs { get; private set; }
        public bool IsSparse { get; private set; }
        public int SparseMajor { get; private set; }
        public byte[]? SparseName { get; private set; }
        public long? SparseLength { get; private set; }
        public List<long> SparseMap { get; } = [];

        // "<length> <key>=<value>\n", the length counting itself.
        public static Pax Parse(ReadOnlySpan<byte> bytes)
        {
            var pax = new Pax();
            while (!bytes.IsEmpty)
            {
                var space = bytes.IndexOf((byte)' ');
                if (space is < 1 or > 8 || !int.TryParse(bytes[..space], NumberStyles.None, CultureInfo.InvariantCulture, out var length) ||
                    length <= space + 1 || length > bytes.Length || bytes[length - 1] != '\n')
                    throw BadHeader();
                var record = bytes[(space + 1)..(length - 1)];
                bytes = bytes[length..];
                var equals = record.IndexOf((byte)'=');
                if (equals < 1) throw BadHeader();
                pax.Add(record[..equals], record[(equals + 1)..]);
            }
            return pax;
        }

        private void Add(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
        {
            var xattr = "SCHILY.xattr."u8;
            if (key.StartsWith(xattr))
            {
                (Xattrs ??= []).Add(new(key[xattr.Length..].ToArray(), value.ToArray()));
                return;
            }
            switch (Encoding.UTF8.GetString(key))
            {
                case "path": Path = Text(value); break;
                case "linkpath": LinkPath = Text(value); break;
                case "size": Size = Decimal(value); break;
                case "uid": Uid = Decimal(value); break;
                case "gid": Gid = Decimal(value); break;
                case "mtime": Modified = value.IsEmpty ? null : Time(value); break;
                case "GNU.sparse.major": (IsSparse, SparseMajor) = (true, (int)(Decimal(value) ?? 0)); break;
                case "GNU.sparse.minor": break;
                case "GNU.sparse.name": (IsSparse, SparseName) = (true, Text(value)); break;
                case "GNU.sparse.realsize" or "GNU.sparse.size": (IsSparse, SparseLength) = (true, Decimal(value)); break;
                case "GNU.sparse.offset" or "GNU.sparse.numbytes": Map(Decimal(value) ?? throw BadHeader()); break;
                case "GNU.sparse.map":
                    foreach (var range in value.Split((byte)',')) Map(Decimal(value[range]) ?? throw BadHeader());
                    break;
            }
        }

        private void Map(long number)
        {
            if (SparseMap.Count >= 2 * MaxSegments) throw BadHeader();
            SparseMap.Add(number);
        }

        // An empty value takes back what the plain header would say only in theory; nobody writes that.
        private static byte[]? Text(ReadOnlySpan<byte> value) => value.IsEmpty ? null : value.Contains((byte)0) ? throw BadHeader() : value.ToArray();

        private static long? Decimal(ReadOnlySpan<byte> value) =>
            value.IsEmpty ? null : long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : throw BadHeader();

        private static (long, uint) Time(ReadOnlySpan<byte> value)
        {
            var dot = value.IndexOf((byte)'.');
            var whole = dot < 0 ? value : value[..dot];
            if (!long.TryParse(whole, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var seconds)) throw BadHeader();
            uint nanoseconds = 0;
            if (dot >= 0)
            {
                var fraction = value[(dot + 1)..];
                for (var i = 0; i < 9; i++)
                {
                    nanoseconds *= 10;
                    if (i >= fraction.Length) continue;
                    if (fraction[i] is < (byte)'0' or > (byte)'9') throw BadHeader();
                    nanoseconds += (uint)(fraction[i] - '0');
                }
            }
            // -1.25 is a quarter of a second before -1, and the kernel counts nanoseconds upwards.
            if (whole[0] == '-' && nanoseconds > 0) return (seconds - 1, 1_000_000_000 - nanoseconds);
            return (seconds, nanoseconds);
        }
    }
}
