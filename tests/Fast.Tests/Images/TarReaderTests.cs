using System.Formats.Tar;
using System.Text;
using Berth.Images.Layers;
using Berth.Testing;
using TarEntry = Berth.Images.Layers.TarEntry;
using TarReader = Berth.Images.Layers.TarReader;
using TarWriter = System.Formats.Tar.TarWriter;

namespace Berth.Fast.Tests.Images;

public class TarReaderTests
{
    private static List<(TarEntry Entry, byte[] Content)> Read(byte[] tar)
    {
        var reader = new TarReader(new MemoryStream(tar));
        var all = new List<(TarEntry, byte[])>();
        while (reader.Next() is { } entry) all.Add((entry, reader.ReadAllContent(1 << 20, "content")));
        return all;
    }

    private static TarEntry One(byte[] tar) => Assert.Single(Read(tar)).Entry;

    private static string Text(byte[] bytes) => Encoding.Latin1.GetString(bytes);

    [Theory]
    [InlineData(TarEntryFormat.V7)]
    [InlineData(TarEntryFormat.Ustar)]
    [InlineData(TarEntryFormat.Gnu)]
    [InlineData(TarEntryFormat.Pax)]
    public void Every_format_that_dotnet_writes_is_read(TarEntryFormat format)
    {
        var stream = new MemoryStream();
        using (var writer = new TarWriter(stream, format, leaveOpen: true))
        {
            System.Formats.Tar.TarEntry Make(TarEntryType type, string name) => format switch
            {
                TarEntryFormat.V7 => new V7TarEntry(type == TarEntryType.RegularFile ? TarEntryType.V7RegularFile : type, name),
                TarEntryFormat.Ustar => new UstarTarEntry(type, name),
                TarEntryFormat.Gnu => new GnuTarEntry(type, name),
                _ => new PaxTarEntry(type, name),
            };
            var file = Make(TarEntryType.RegularFile, "d/f");
            file.DataStream = new MemoryStream("content"u8.ToArray());
            (file.Uid, file.Gid, file.Mode, file.ModificationTime) = (10, 20, (UnixFileMode)0x1A0, DateTimeOffset.FromUnixTimeSeconds(1234567890));
            writer.WriteEntry(file);
            var link = Make(TarEntryType.SymbolicLink, "l");
            link.LinkName = "d/f";
            writer.WriteEntry(link);
        }
        var entries = Read(stream.ToArray());
        Assert.Equal(["d/f", "l"], entries.Select(e => Text(e.Entry.Name)));
        var (read, content) = entries[0];
        Assert.Equal("content"u8.ToArray(), content);
        Assert.Equal((10L, 20L, 0x1A0u, (1234567890L, 0u)), (read.Uid, read.Gid, read.Mode, read.Modified));
        Assert.Equal((TarKind.SymbolicLink, "d/f"), (entries[1].Entry.Kind, Text(entries[1].Entry.LinkName)));
    }

    [Fact]
    public void Long_names_come_by_ustar_prefix_gnu_and_pax()
    {
        var name = new string('n', 150);
        Assert.Equal("p/x/" + name[..90], Text(One(new TarBuilder().Entry('0', name[..90], prefix: "p/x").Build()).Name));
        Assert.Equal(name, Text(One(new TarBuilder().Entry('L', "././@LongLink", content: Encoding.ASCII.GetBytes(name + "\0")).Entry('0', "short").Build()).Name));
        Assert.Equal(name, Text(One(new TarBuilder().Entry('K', "././@LongLink", content: Encoding.ASCII.GetBytes(name + "\0")).Entry('2', "x", "short").Build()).LinkName));
        Assert.Equal(name, Text(One(new TarBuilder().File("short", "", pax: ("path", name)).Build()).Name));
    }

    [Fact]
    public void Bytes_that_are_no_utf8_survive()
    {
        Assert.Equal("caf\u00e9", Text(One(new TarBuilder().File("caf\u00e9").Build()).Name));
        Assert.Equal("\u00ff", Text(One(new TarBuilder().File("f", "", pax: ("SCHILY.xattr.user.x", "\u00ff")).Build()).Xattrs[0].Value));
    }

    [Theory]
    [InlineData("1.5", 1, 500_000_000u)]
    [InlineData("1.123456789999", 1, 123_456_789u)]
    [InlineData("-1.25", -2, 750_000_000u)]
    [InlineData("7", 7, 0u)]
    public void Times_have_fractions(string text, long seconds, uint nanoseconds) =>
        Assert.Equal((seconds, nanoseconds), One(new TarBuilder().File("f", "", pax: ("mtime", text)).Build()).Modified);

    [Fact]
    public void Numbers_may_be_base_256()
    {
        var entry = One(new TarBuilder().File("f", "", uid: 0x7FFFFFFFFFL).Build());
        Assert.Equal(0x7FFFFFFFFFL, entry.Uid);
        Assert.Equal(-5, One(new TarBuilder().Entry('0', "f", mtime: -5).Build()).Modified.Seconds);
    }

    [Fact]
    public void Old_gnu_sparse_files_have_their_map_in_the_header()
    {
        var tar = new TarBuilder().File("s", "abcxyz").Unfinished();
        var header = tar.AsSpan(0, 512);
        header[156] = (byte)'S';
        "ustar  \0"u8.CopyTo(header[257..]);
        Encoding.ASCII.GetBytes("00000000000\0" + "00000000003\0" + "00000001000\0" + "00000000003\0").CopyTo(header[386..]);
        Encoding.ASCII.GetBytes("00000001003\0").CopyTo(header[483..]);
        TarBuilder.Seal(tar[..512]).CopyTo(tar, 0);
        var entry = One(tar);
        Assert.Equal([new TarSegment(0, 3), new TarSegment(512, 3)], entry.Segments!);
        Assert.Equal((6L, 515L), (entry.StoredBytes, entry.LengthBytes));
    }

    [Theory]
    [InlineData("0,3,1000,3", "1003", true)]
    [InlineData("0,3,1000,4", "1004", false)] // more than is stored
    [InlineData("0,3,2,3", "1003", false)] // overlapping
    [InlineData("0,3,1000,3", "1002", false)] // beyond the end
    [InlineData("0,3,1000", "1003", false)]
    [InlineData("0,-3,1000,9", "1003", false)]
    public void A_sparse_map_is_checked(string map, string size, bool valid)
    {
        var tar = new TarBuilder().File("s", "abcxyz", pax: [("GNU.sparse.map", map), ("GNU.sparse.size", size), ("GNU.sparse.name", "s")]).Build();
        if (valid) Assert.Equal(2, One(tar).Segments!.Count);
        else Assert.Throws<InvalidDataException>(() => Read(tar));
    }

    [Fact]
    public void Headers_that_are_wrong_are_refused()
    {
        var good = new TarBuilder().File("f", "x").Build();
        var bad = (byte[])good.Clone();
        bad[0] ^= 1; // the checksum no longer fits
        Assert.Equal("archive/tar: invalid tar header", Assert.Throws<InvalidDataException>(() => Read(bad)).Message);
        Assert.Throws<InvalidDataException>(() => Read(new TarBuilder().Entry('x', "x", content: "99 a=b\n"u8.ToArray()).File("f").Build()));
        Assert.Throws<InvalidDataException>(() => Read(new TarBuilder().Entry('x', "x", content: "6 a=b"u8.ToArray()).File("f").Build()));
        Assert.Throws<InvalidDataException>(() => Read(new TarBuilder().File("f", "", pax: ("path", "a\0b")).Build()));
        Assert.Equal("unhandled tar header type 86", Assert.Throws<InvalidDataException>(() => Read(new TarBuilder().Entry('V', "label").Build())).Message);
    }

    [Fact]
    public void A_header_that_promises_too_much_costs_no_memory()
    {
        var tar = new TarBuilder().Entry('x', "x", content: []).Unfinished();
        Encoding.ASCII.GetBytes("77777777777\0").CopyTo(tar, 124); // 8 GiB of extended header
        TarBuilder.Seal(tar);
        Assert.Equal("archive/tar: header field too long", Assert.Throws<InvalidDataException>(() => Read(tar)).Message);
    }

    [Fact]
    public void An_archive_ends_with_two_blocks_of_zeros_or_without()
    {
        var whole = new TarBuilder().File("f", "x").Build();
        Assert.Single(Read(whole));
        Assert.Single(Read(whole[..^512]));
        Assert.Single(Read(whole[..^1024]));
        Assert.Empty(Read([]));
        Assert.Equal("unexpected EOF", Assert.Throws<InvalidDataException>(() => Read(whole[..600])).Message);
        Assert.Equal("unexpected EOF", Assert.Throws<InvalidDataException>(() => Read(whole[..100])).Message);
    }

    [Fact]
    public void A_reader_of_damaged_archives_returns_or_throws_its_own_exception()
    {
        var good = new TarBuilder().Directory("d").File("d/f", "content", pax: [("mtime", "1.5"), ("SCHILY.xattr.user.a", "b")]).Link("l", "d/f")
            .File("s", "abcxyz", pax: [("GNU.sparse.map", "0,3,10,3"), ("GNU.sparse.size", "13")]).Build();
        var random = new Random(4001);
        for (var i = 0; i < 3_000; i++)
        {
            var damaged = (byte[])good.Clone();
            for (var n = random.Next(1, 5); n > 0; n--) damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            // Half of them with fitting checksums, so that the damage gets past the first look.
            if (i % 2 == 0)
                for (var at = 0; at + 512 <= damaged.Length; at += 512)
                    if (damaged.AsSpan(at + 257, 5).SequenceEqual("ustar"u8)) TarBuilder.Seal(damaged[at..(at + 512)]).CopyTo(damaged, at);
            try
            {
                Read(damaged);
            }
            catch (InvalidDataException)
            {
            }
        }
    }
}
