using System.Formats.Tar;
using System.Text;
using Berth.Images.Layers;
using TarEntry = Berth.Images.Layers.TarEntry;
using TarReader = Berth.Images.Layers.TarReader;
using TarWriter = Berth.Images.Layers.TarWriter;

namespace Berth.Fast.Tests.Images;

public class TarWriterTests
{
    private static byte[] Bytes(string text) => Encoding.Latin1.GetBytes(text);

    private static TarEntry Entry(string name, TarKind kind = TarKind.File, string link = "") => new()
    {
        Name = Bytes(name), LinkName = Bytes(link), Kind = kind, Mode = 0x1A4, Uid = 0, Gid = 0, StoredBytes = 0, LengthBytes = 0, Modified = (1_600_000_000, 0), Major = 0, Minor = 0,
        Xattrs = [], Segments = null,
    };

    private static byte[] Write(params (TarEntry Entry, byte[] Content)[] members)
    {
        var stream = new MemoryStream();
        var writer = new TarWriter(stream);
        foreach (var (entry, content) in members)
        {
            writer.WriteHeader(entry with { StoredBytes = content.Length });
            writer.WriteContent(content);
        }
        writer.Complete();
        return stream.ToArray();
    }

    private static TarEntry Again(TarEntry entry)
    {
        var reader = new TarReader(new MemoryStream(Write((entry, []))));
        var read = reader.Next();
        Assert.NotNull(read);
        Assert.Null(reader.Next());
        return read;
    }

    public static TheoryData<string> Names => ["a", new string('n', 100), new string('n', 101), "dir/" + new string('n', 300), "sp ace", "new\nline", "\xff\xfe not utf8", "bell\a"];

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_name_and_link_comes_back_byte_for_byte(string name)
    {
        Assert.Equal(Bytes(name), Again(Entry(name)).Name);
        Assert.Equal(Bytes(name), Again(Entry("l", TarKind.SymbolicLink, name)).LinkName);
    }

    [Theory]
    [InlineData(0, 0, 0)]
    [InlineData(2097151, 2097152, 8589934591)]
    [InlineData(4294967294, 1, 8589934592)]
    [InlineData(1, 4294967294, -5)]
    public void Numbers_too_large_for_octal_come_back(long uid, long gid, long seconds)
    {
        var read = Again(Entry("a") with { Uid = uid, Gid = gid, Modified = (seconds, 0) });
        Assert.Equal((uid, gid, (seconds, 0u)), (read.Uid, read.Gid, read.Modified));
    }

    [Fact]
    public void Devices_modes_and_attributes_come_back()
    {
        var read = Again(Entry("null", TarKind.CharacterDevice) with { Major = 1, Minor = 259, Mode = 0xFFF });
        Assert.Equal((TarKind.CharacterDevice, 1u, 259u, 0xFFFu), (read.Kind, read.Major, read.Minor, read.Mode));
        var xattr = Assert.Single(Again(Entry("a") with { Xattrs = [new(Bytes("user.x"), Bytes("a\0=\nb"))] }).Xattrs);
        Assert.Equal(Bytes("user.x"), xattr.Key);
        Assert.Equal(Bytes("a\0=\nb"), xattr.Value);
    }

    [Fact]
    public void Records_whose_length_grows_by_its_own_digits_are_right()
    {
        for (var length = 80; length < 110; length++)
            Assert.Equal(length, Assert.Single(Again(Entry("a") with { Xattrs = [new(Bytes("user.x"), new byte[length])] }).Xattrs).Value.Length);
    }

    [Fact]
    public void A_file_that_shrank_is_filled_up_with_zeros()
    {
        var stream = new MemoryStream();
        var writer = new TarWriter(stream);
        writer.WriteHeader(Entry("shrunk") with { StoredBytes = 2000 });
        writer.WriteContent(Bytes("abc"));
        writer.WriteHeader(Entry("next"));
        writer.Complete();
        var reader = new TarReader(new MemoryStream(stream.ToArray()));
        Assert.Equal("shrunk"u8.ToArray(), reader.Next()!.Name);
        Assert.Equal([.. Bytes("abc"), .. new byte[1997]], reader.ReadAllContent(4096, "content"));
        Assert.Equal("next"u8.ToArray(), reader.Next()!.Name);
        Assert.Equal(0, stream.Length % 512);
    }

    [Fact]
    public void Dotnet_reads_what_we_write()
    {
        var tar = Write((Entry("dir/", TarKind.Directory), []), (Entry("dir/" + new string('f', 200)), Bytes("content")), (Entry("link", TarKind.SymbolicLink, "dir"), []), (Entry("hard", TarKind.HardLink, "link"), []));
        var reader = new System.Formats.Tar.TarReader(new MemoryStream(tar));
        var seen = new List<string>();
        while (reader.GetNextEntry() is { } entry)
        {
            seen.Add($"{entry.EntryType} {entry.Name.Length} {entry.LinkName} {(entry.DataStream is { } data ? new StreamReader(data).ReadToEnd() : "")}");
        }
        Assert.Equal(["Directory 4  ", "RegularFile 204  content", "SymbolicLink 4 dir ", "HardLink 4 link "], seen);
    }
}
