using System.Text;
using Berth.Images;
using Berth.Images.Layers;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Berth.Kernel.Tests.Images;

public sealed class LayerTests : IDisposable
{
    private readonly TestDirectory directory = new();
    private readonly LayerStore store;

    public LayerTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        Directory.CreateDirectory(directory["tmp"]);
        store = new LayerStore(directory["layers"], directory["tmp"], NullLogger.Instance);
    }

    public void Dispose() => directory.Dispose();

    private string Apply(byte[] tar)
    {
        using var layer = store.Unpack(new MemoryStream(tar), CancellationToken.None);
        Assert.Equal(TestImage.Digest(tar), layer.DiffId.ToString());
        layer.Publish();
        return store.DiffDirectory(layer.DiffId);
    }

    private static FileStatus Status(string path) => FileAt.Status(null, path, followLinks: false);

    private static byte[]? Xattr(string path, string name)
    {
        using var parent = FileAt.Open(null, Path.GetDirectoryName(path)!, OpenFlags.Path | OpenFlags.Directory);
        return RawAt.GetXattr(parent, Encoding.UTF8.GetBytes(Path.GetFileName(path)), Encoding.UTF8.GetBytes(name), out var value) == Errno.Success ? value : null;
    }

    [Fact]
    public void Owner_mode_and_times_are_kept()
    {
        var root = Apply(new TarBuilder()
            .Directory("d", 0x5ED /* 02755 */, uid: 5, gid: 6, pax: ("mtime", "1500000000.25"))
            .File("d/f", "hello", mode: 0x9ED /* 04755 */, uid: 1000, gid: 2000, pax: ("mtime", "1500000001.123456789"))
            .File("d/big-owner", "", uid: 3_000_000_000, gid: 4_000_000_000)
            .Symlink("d/l", "/nowhere")
            .Build());

        var d = Status(root + "/d");
        Assert.Equal((0x5EDu, 5u, 6u, (1500000000L, 250000000u)), (d.Permissions, d.Uid, d.Gid, d.Modified));
        var f = Status(root + "/d/f");
        Assert.Equal((0x9EDu, 1000u, 2000u, (1500000001L, 123456789u)), (f.Permissions, f.Uid, f.Gid, f.Modified));
        var big = Status(root + "/d/big-owner");
        Assert.Equal((3_000_000_000u, 4_000_000_000u), (big.Uid, big.Gid));
        Assert.Equal("/nowhere", File.ResolveLinkTarget(root + "/d/l", false)!.FullName);
        Assert.Equal(1_600_000_000, Status(root + "/d/l").Modified.Seconds);
    }

    [Fact]
    public void Devices_fifos_and_hard_links_are_what_they_were()
    {
        var root = Apply(new TarBuilder()
            .Device('3', "null", 1, 3)
            .Device('4', "block", 259, 300)
            .Device('6', "fifo", 0, 0)
            .File("a", "same")
            .Link("dir/b", "a")
            .Build());

        Assert.Equal((FileKind.CharacterDevice, (1u, 3u)), (Status(root + "/null").Kind, Status(root + "/null").NodeDevice));
        Assert.Equal((FileKind.BlockDevice, (259u, 300u)), (Status(root + "/block").Kind, Status(root + "/block").NodeDevice));
        Assert.Equal(FileKind.Fifo, Status(root + "/fifo").Kind);
        Assert.Equal(Status(root + "/a").Inode, Status(root + "/dir/b").Inode);
        Assert.Equal(0x1EDu, Status(root + "/dir").Permissions);
    }

    [Fact]
    public void Extended_attributes_are_kept()
    {
        // The capability of ping: cap_net_raw=ep, a v2 vfs_cap_data.
        var capability = "\u0001\0\0\u0002\0\u0020\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        var root = Apply(new TarBuilder()
            .Directory("d", pax: ("SCHILY.xattr.user.dir", "yes"))
            .File("d/ping", "x", uid: 1, pax: [("SCHILY.xattr.security.capability", capability), ("SCHILY.xattr.user.note", "a=b")])
            .Build());

        Assert.Equal(Encoding.Latin1.GetBytes(capability), Xattr(root + "/d/ping", "security.capability"));
        Assert.Equal("a=b"u8.ToArray(), Xattr(root + "/d/ping", "user.note"));
        Assert.Equal("yes"u8.ToArray(), Xattr(root + "/d", "user.dir"));
    }

    [Fact]
    public void Whiteouts_become_what_overlay_understands()
    {
        var root = Apply(new TarBuilder()
            .Directory("etc")
            .File("etc/.wh.passwd")
            .File("no/parent/.wh.gone")
            .Directory("opaque")
            .File("opaque/new", "n")
            .File("opaque/.wh..wh..opq")
            .Build());

        var whiteout = Status(root + "/etc/passwd");
        Assert.Equal((FileKind.CharacterDevice, (0u, 0u)), (whiteout.Kind, whiteout.NodeDevice));
        Assert.Equal(FileKind.CharacterDevice, Status(root + "/no/parent/gone").Kind);
        Assert.Equal("y"u8.ToArray(), Xattr(root + "/opaque", "trusted.overlay.opaque"));
        Assert.False(File.Exists(root + "/opaque/.wh..wh..opq"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_directory_that_is_whited_out_and_made_again_is_opaque_in_either_order(bool whiteoutFirst)
    {
        var tar = new TarBuilder();
        if (whiteoutFirst) tar.File(".wh.d");
        tar.Directory("d").File("d/f", "1");
        if (!whiteoutFirst) tar.File(".wh.d");
        var root = Apply(tar.Build());

        Assert.True(File.Exists(root + "/d/f"));
        Assert.Equal("y"u8.ToArray(), Xattr(root + "/d", "trusted.overlay.opaque"));
    }

    [Fact]
    public void The_second_of_two_members_with_a_name_wins()
    {
        var root = Apply(new TarBuilder()
            .File("f", "old").File("f", "new")
            .Directory("d").File("d/x", "x").File("d", "now a file")
            .File("e", "file").Directory("e").File("e/y", "y")
            .Symlink("s", "f").File("s", "not through the link")
            .Build());

        Assert.Equal("new", File.ReadAllText(root + "/f"));
        Assert.Equal("now a file", File.ReadAllText(root + "/d"));
        Assert.Equal("y", File.ReadAllText(root + "/e/y"));
        Assert.Equal("not through the link", File.ReadAllText(root + "/s"));
    }

    [Fact]
    public void Names_are_bytes_and_may_be_long()
    {
        var name = string.Join('/', Enumerable.Repeat(new string('n', 200), 10)) + "/caf\u00e9"; // é in Latin-1: not UTF-8
        var root = Apply(new TarBuilder().File("x", "data", pax: ("path", name)).Build());

        using var top = FileAt.Open(null, root, OpenFlags.Path | OpenFlags.Directory);
        Assert.Equal(Errno.Success, RawAt.Status(top, Encoding.Latin1.GetBytes(name), out var status));
        Assert.Equal(4ul, status.SizeBytes);
    }

    [Fact]
    public void Entries_may_go_through_links_that_stay_inside()
    {
        var root = Apply(new TarBuilder().Directory("usr/lib").Symlink("lib", "usr/lib").File("lib/x", "1").Build());
        Assert.True(File.Exists(root + "/usr/lib/x"));
    }

    [Fact]
    public void The_root_directory_gets_its_own_metadata()
    {
        var root = Apply(new TarBuilder().Directory("./", 0x1C0, uid: 7, gid: 8).File("./f").Build());
        Assert.Equal((0x1C0u, 7u, 8u, 1_600_000_000L), (Status(root).Permissions, Status(root).Uid, Status(root).Gid, Status(root).Modified.Seconds));
    }

    [Fact]
    public void A_sparse_file_keeps_its_holes()
    {
        // PAX sparse 1.0: the map, padded to a block, before the content.
        var map = Encoding.ASCII.GetBytes("2\n0\n3\n10485760\n3\n");
        var content = new byte[512 + 6];
        map.CopyTo(content, 0);
        "abcxyz"u8.CopyTo(content.AsSpan(512));
        var root = Apply(new TarBuilder().File("GNUSparseFile.1/s", content, pax:
            [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "s"), ("GNU.sparse.realsize", "10485763")]).Build());

        var status = Status(root + "/s");
        Assert.Equal(10485763ul, status.SizeBytes);
        Assert.InRange(status.Blocks, 1ul, 64ul);
        var bytes = File.ReadAllBytes(root + "/s");
        Assert.Equal("abc"u8.ToArray(), bytes[..3]);
        Assert.Equal("xyz"u8.ToArray(), bytes[^3..]);
    }

    [Fact]
    public void Size_counts_each_inode_once_and_links_by_their_length()
    {
        using var layer = store.Unpack(new MemoryStream(new TarBuilder().File("a", "12345").Link("b", "a").Symlink("c", "xyz").Directory("d").File("a2", "1").File("a2", "22").Build()), CancellationToken.None);
        Assert.Equal(5 + 3 + 2, layer.Record.SizeBytes);
    }

    [Fact]
    public void Absolute_names_and_link_targets_mean_the_layers_root()
    {
        var root = Apply(new TarBuilder().Directory("/etc/").File("/etc/berth-absolute", "x").File("//double", "y").Link("/hard", "/etc/berth-absolute").File("/etc/.wh.gone").Build());
        Assert.Equal("x", File.ReadAllText(Path.Combine(root, "etc/berth-absolute")));
        Assert.Equal("x", File.ReadAllText(Path.Combine(root, "hard")));
        Assert.Equal("y", File.ReadAllText(Path.Combine(root, "double")));
        Assert.Equal(FileKind.CharacterDevice, Status(Path.Combine(root, "etc/gone")).Kind);
        Assert.False(File.Exists("/etc/berth-absolute"));
    }

    public static TheoryData<string, Func<TarBuilder, TarBuilder>> Hostile => new()
    {
        { "dotdot", t => t.File("../evil", "x") },
        { "dotdot inside", t => t.Directory("a").File("a/../../evil", "x") },
        { "absolute link as parent", t => t.Symlink("out", "/").File("out/evil", "x") },
        { "relative link as parent", t => t.Symlink("out", "../..").File("out/evil", "x") },
        { "link chain", t => t.Symlink("a", ".").Symlink("b", "a/../..").File("b/evil", "x") },
        { "link deep", t => t.Directory("d/e").Symlink("d/e/up", "../../../..").File("d/e/up/evil", "x") },
        { "link to proc", t => t.Symlink("p", "/proc/self/cwd").File("p/evil", "x") },
        { "directory through link", t => t.Symlink("out", "../..").Directory("out/evil") },
        { "symlink through link", t => t.Symlink("out", "../..").Symlink("out/evil", "x") },
        { "device through link", t => t.Symlink("out", "../..").Device('3', "out/evil", 1, 3) },
        { "whiteout through link", t => t.Symlink("out", "../..").File("out/.wh.evil") },
        { "opaque through link", t => t.Symlink("out", "../..").File("out/.wh..wh..opq") },
        { "hard link absolute", t => t.Link("evil", "/etc/passwd") },
        { "hard link dotdot", t => t.Link("evil", "../../../../../../etc/passwd") },
        { "hard link through link", t => t.Symlink("etc", "/etc").Link("evil", "etc/passwd") },
        { "hard link to nothing", t => t.Link("evil", "nothing") },
        { "hard link to directory", t => t.Directory("d").Link("evil", "d") },
        { "whiteout of dot", t => t.Directory("d").File("d/.wh..") },
        { "whiteout of dotdot", t => t.Directory("d").File("d/.wh...") },
        { "whiteout of nothing", t => t.Directory("d").File("d/.wh.") },
        { "root replaced", t => t.Symlink(".", "/evil") },
        { "file as parent", t => t.File("f", "x").File("f/evil", "x") },
        { "link loop", t => t.Symlink("a", "b").Symlink("b", "a").File("a/evil", "x") },
        { "dangling link as parent", t => t.Symlink("a", "nothing").File("a/evil", "x") },
        { "overlay redirect", t => t.Directory("d", pax: ("SCHILY.xattr.trusted.overlay.redirect", "/etc")) },
        { "owner out of range", t => t.File("f", "x", uid: 4294967295) },
        { "name too long", t => t.File("x", "", pax: ("path", new string('n', 5000))) },
        { "component too long", t => t.File("x", "", pax: ("path", new string('n', 300))) },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void A_hostile_layer_is_refused_and_leaves_nothing(string what, Func<TarBuilder, TarBuilder> write)
    {
        var before = Tree();
        var tar = write(new TarBuilder().File("good", "x")).Build();

        var refusal = Assert.Throws<ImageException>(() => store.Unpack(new MemoryStream(tar), CancellationToken.None));

        Assert.Equal(ImageErrorKind.System, refusal.Kind);
        Assert.Contains("\"", refusal.Message); // names the entry
        Assert.Equal(before, Tree());
        Assert.False(File.Exists("/evil") || Directory.Exists("/evil"), what);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    [InlineData(512)]
    [InlineData(700)]
    public void A_layer_that_is_cut_off_is_refused_and_leaves_nothing(int bytes)
    {
        var tar = new TarBuilder().File("f", new string('x', 1000)).Unfinished()[..bytes];
        if (bytes == 0)
        {
            Apply(tar); // nothing at all is an empty layer, as for Docker
            return;
        }
        Assert.Equal("unexpected EOF", Assert.Throws<ImageException>(() => store.Unpack(new MemoryStream(tar), CancellationToken.None)).Message);
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["tmp"]));
    }

    [Fact]
    public void A_damaged_gzip_stream_is_refused()
    {
        var gzip = TestImage.Gzip(new TarBuilder().File("f", new string('x', 100_000)).Build());
        Assert.Throws<ImageException>(() => store.Unpack(new MemoryStream(gzip[..(gzip.Length / 2)]), CancellationToken.None));
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["tmp"]));
    }

    private List<string> Tree() =>
        [.. Directory.EnumerateFileSystemEntries(directory.Path, "*", SearchOption.AllDirectories).Order()];
}
