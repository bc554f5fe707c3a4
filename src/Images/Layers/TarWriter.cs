using System.Globalization;
using System.Text;

namespace Berth.Images.Layers;

/// <summary>
/// Writes a tar as Docker writes one: ustar, with a PAX header before a member only where ustar cannot say it (long or non-ASCII names, large numbers, xattrs). Times are whole
/// seconds and there are no user names, so that the same tree gives the same bytes.
/// </summary>
/// <param name="output">Buffering is its own affair: headers come in small pieces.</param>
/// <param name="recipe">Is told how the tar went, for a tree that becomes a layer where it is: contents are then referred to by their members' names.</param>
internal sealed class TarWriter(Stream output, TarRecipeWriter? recipe = null)
{
    private const int NameBytes = 100, LinkBytes = 100;
    private const long MaxOctal7 = 0x1FFFFF, MaxOctal11 = 0x1FFFFFFFF;

    private readonly byte[] block = new byte[TarReader.BlockBytes];
    private readonly byte[] zeros = new byte[TarReader.BlockBytes];
    private readonly MemoryStream pax = new();
    private long contentLeft, paddingLeft;
    private bool contentIsInFile;

    /// <summary>How long the archive is of members with these headers and their contents.</summary>
    public static long MeasureBytes(IEnumerable<TarEntry> entries)
    {
        using var headers = new CountingStream();
        var tar = new TarWriter(headers);
        long content = 0;
        foreach (var entry in entries)
        {
            tar.WriteHeader(entry);
            content += tar.contentLeft;
            tar.contentLeft = 0;
        }
        tar.Complete();
        return headers.Length + content;
    }

    /// <summary>A member's header. For a file exactly <see cref="TarEntry.StoredBytes"/> bytes of content follow by <see cref="WriteContent"/>.</summary>
    public void WriteHeader(TarEntry entry)
    {
        Finish();
        pax.SetLength(0);
        var size = entry.Kind == TarKind.File ? entry.StoredBytes : 0;
        if (!Fits(entry.Name, NameBytes)) Record("path"u8, entry.Name);
        if (!Fits(entry.LinkName, LinkBytes)) Record("linkpath"u8, entry.LinkName);
        if (size > MaxOctal11) Record("size"u8, Decimal(size));
        if (entry.Uid > MaxOctal7) Record("uid"u8, Decimal(entry.Uid));
        if (entry.Gid > MaxOctal7) Record("gid"u8, Decimal(entry.Gid));
        var seconds = entry.Modified.Seconds;
        if (seconds is < 0 or > MaxOctal11) Record("mtime"u8, Decimal(seconds));
        foreach (var (key, value) in entry.Xattrs) Record([.. "SCHILY.xattr."u8, .. key], value);
        if (pax.Length > 0)
        {
            // The name of the header itself is for those who do not know PAX, and would unpack it as a file.
            Header("PaxHeaders.0/"u8, entry.Name, default, 'x', 0, 0, 0, pax.Length, 0, 0, 0);
            Put(pax.GetBuffer().AsSpan(0, (int)pax.Length));
            Put(zeros.AsSpan(0, (int)(-pax.Length & (TarReader.BlockBytes - 1))));
        }
        var type = entry.Kind switch
        {
            TarKind.File => '0',
            TarKind.HardLink => '1',
            TarKind.SymbolicLink => '2',
            TarKind.CharacterDevice => '3',
            TarKind.BlockDevice => '4',
            TarKind.Directory => '5',
            _ => '6',
        };
        Header(default, entry.Name, entry.LinkName, type, entry.Mode, entry.Uid > MaxOctal7 ? 0 : entry.Uid, entry.Gid > MaxOctal7 ? 0 : entry.Gid, size > MaxOctal11 ? 0 : size,
            seconds is < 0 or > MaxOctal11 ? 0 : seconds, entry.Major, entry.Minor);
        (contentLeft, paddingLeft) = (size, -size & (TarReader.BlockBytes - 1));
        contentIsInFile = recipe is not null && size > TarRecipe.MaxInlineBytes;
        if (contentIsInFile) recipe!.Content(entry.Name, 0, size);
    }

    public void WriteContent(ReadOnlySpan<byte> content)
    {
        contentLeft -= content.Length;
        if (contentLeft < 0) throw new InvalidOperationException("more content than the header said");
        if (contentIsInFile) output.Write(content);
        else Put(content);
    }

    /// <summary>The end of the archive.</summary>
    public void Complete()
    {
        Finish();
        Put(zeros);
        Put(zeros);
        recipe?.Complete();
    }

    private void Finish()
    {
        // A file that shrank while it was read: the header is out, so zeros take the place of what is gone.
        if (contentLeft > 0 && contentIsInFile) throw new InvalidOperationException("a file of the layer changed while it was read");
        for (; contentLeft > 0; contentLeft -= Math.Min(contentLeft, zeros.Length)) Put(zeros.AsSpan(0, (int)Math.Min(contentLeft, zeros.Length)));
        Put(zeros.AsSpan(0, (int)paddingLeft));
        paddingLeft = 0;
    }

    private void Put(ReadOnlySpan<byte> bytes)
    {
        recipe?.Literal(bytes);
        output.Write(bytes);
    }

    private void Header(ReadOnlySpan<byte> prefix, ReadOnlySpan<byte> name, ReadOnlySpan<byte> link, char type, uint mode, long uid, long gid, long size, long seconds, uint major, uint minor)
    {
        var header = block.AsSpan();
        header.Clear();
        prefix.CopyTo(header);
        Text(header[prefix.Length..NameBytes], name);
        Octal(header.Slice(100, 8), mode);
        Octal(header.Slice(108, 8), uid);
        Octal(header.Slice(116, 8), gid);
        Octal(header.Slice(124, 12), size);
        Octal(header.Slice(136, 12), seconds);
        header.Slice(148, 8).Fill((byte)' ');
        header[156] = (byte)type;
        Text(header.Slice(157, LinkBytes), link);
        "ustar\000"u8.CopyTo(header[257..]);
        Octal(header.Slice(329, 8), major);
        Octal(header.Slice(337, 8), minor);
        var sum = 0;
        foreach (var b in header) sum += b;
        Octal(header.Slice(148, 7), sum);
        Put(block);
    }

    // Beyond ASCII and beyond the field's length only PAX says it right; what is cut off here is for readers that don't know PAX.
    private static bool Fits(ReadOnlySpan<byte> text, int max) => text.Length <= max && !text.ContainsAnyExceptInRange((byte)1, (byte)0x7E);

    private static void Text(Span<byte> field, ReadOnlySpan<byte> text) => (text.Length > field.Length ? text[..field.Length] : text).CopyTo(field);

    private static void Octal(Span<byte> field, long value)
    {
        for (var i = field.Length - 2; i >= 0; i--, value >>= 3) field[i] = (byte)('0' + (value & 7));
        field[^1] = 0;
    }

    private static byte[] Decimal(long value) => Encoding.ASCII.GetBytes(value.ToString(CultureInfo.InvariantCulture));

    // "<length> <key>=<value>\n", the length counting itself.
    private void Record(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        var rest = key.Length + value.Length + 3;
        var length = rest + 1;
        while (length != rest + Decimal(length).Length) length = rest + Decimal(length).Length;
        pax.Write(Decimal(length));
        pax.WriteByte((byte)' ');
        pax.Write(key);
        pax.WriteByte((byte)'=');
        pax.Write(value);
        pax.WriteByte((byte)'\n');
    }

    private sealed class CountingStream : WriteOnlyStream
    {
        private long length;

        public override long Length => length;
        public override void Write(ReadOnlySpan<byte> buffer) => length += buffer.Length;
    }
}
