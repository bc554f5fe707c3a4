using System.Diagnostics;
using System.Text;
using Berth.Images;
using Berth.Images.Layers;
using Berth.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Berth.Kernel.Tests.Images;

/// <summary>A layer's tar, given back from its files and its recipe, has the layer's digest.</summary>
public sealed class LayerTarTests : IDisposable
{
    private static readonly string Large = string.Concat(Enumerable.Range(0, 400).Select(i => $"{i} is the line.\n"));
    private static readonly string Larger = Large + Large;

    private readonly TestDirectory directory = new();
    private readonly LayerStore store;

    public LayerTarTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        Directory.CreateDirectory(directory["tmp"]);
        store = new LayerStore(directory["layers"], directory["tmp"], NullLogger.Instance);
    }

    public void Dispose() => directory.Dispose();

    private Digest Unpack(byte[] tar)
    {
        using var layer = store.Unpack(new MemoryStream(tar), CancellationToken.None);
        layer.Publish();
        return layer.DiffId;
    }

    private byte[] TarOf(Digest diffId)
    {
        using var tar = store.OpenTar(diffId);
        var copy = new MemoryStream();
        tar.CopyTo(copy);
        Assert.Equal(tar.TarBytes, copy.Length);
        return copy.ToArray();
    }

    public static TheoryData<string, byte[]> Tars()
    {
        var data = new TheoryData<string, byte[]>();
        void Add(string what, TarBuilder tar) => data.Add(what, tar.Build());
        byte[] LongName(char type, string name) => new TarBuilder().Entry(type, "././@LongLink", content: [.. Encoding.Latin1.GetBytes(name), 0]).Unfinished();

        data.Add("nothing", []);
        Add("no members", new TarBuilder());
        Add("small and large contents", new TarBuilder().Directory("d").File("d/empty").File("d/small", "hello").File("d/512", new string('x', 512)).File("d/513", new string('x', 513)).File("d/large", Large));
        Add("GNU long names", new TarBuilder().Raw(LongName('L', new string('n', 180))).File("short", Large).Raw(LongName('K', new string('t', 300))).Symlink("link", "cut"));
        Add("PAX", new TarBuilder().File("x", Large, pax: [("path", string.Join('/', Enumerable.Repeat(new string('n', 200), 10))), ("mtime", "1500000001.123456789"), ("SCHILY.xattr.user.a", "b\0c\nd")]));
        Add("a global header", new TarBuilder().Raw(new TarBuilder().Entry('g', "g", content: TarBuilder.PaxRecord("comment", new string('c', 2000))).Unfinished()).File("f", Large));
        Add("base-256 numbers", new TarBuilder().File("f", Large, uid: 3_000_000_000, gid: 4_000_000_000).Entry('0', "old", content: Encoding.ASCII.GetBytes(Large), mtime: -5));
        Add("hard links", new TarBuilder().File("a", Large).Link("d/b", "a").Link("/c", "/d/b").File("a2", Larger));
        Add("a file twice", new TarBuilder().File("f", Large).File("g", Larger).File("f", Larger).File("f", Large + "3"));
        Add("a file twice and a hard link to the first", new TarBuilder().File("f", Large).Link("l", "f").File("f", Larger).Link("f", "l").File("l", "x"));
        Add("a directory replaced and made again", new TarBuilder().Directory("d/e").File("d/e/f", Large).File("d/g", Larger).File("d", Large).Directory("d").Directory("d/e").File("d/e/f", Larger).Directory("y").Symlink("d/e", "../y").File("d/e/f", Large));
        Add("a replaced directory in a replaced directory", new TarBuilder().File("a/b/c", Large).File("a/b", Larger).File("a", Large + "1").File("a", Large + "2"));
        Add("a file put in the place of a device", new TarBuilder().Device('3', "f", 1, 3).File("f", Large).Device('6', "f", 0, 0).File("f", Larger));
        Add("through links that are replaced", new TarBuilder().Directory("usr/lib").Symlink("lib", "usr/lib").File("lib/x", Large).Directory("lib").File("lib/x", Larger).Symlink("top", ".").File("top/y", Large).File("top", Larger));
        Add("through a link into a directory that is replaced", new TarBuilder().Directory("usr/lib").Symlink("lib", "usr/lib").File("lib/x", Large).File("usr/lib", Larger));
        Add("whiteouts", new TarBuilder().File(".wh.gone").File("d/.wh..wh..opq").Directory("w").File("w/f", Large).File(".wh.w").File(".wh.v").File("v/f", Large).File("d/.wh.odd", Large));
        Add("absolute names and dots", new TarBuilder().Directory("./", 0x1C0).File("/etc/f", Large).File(".//etc/./g", Larger).File("/etc/f", "small now"));
        Add("content of a directory, as no one writes", new TarBuilder().Entry('5', "d", content: []).Entry('7', "contiguous", content: Encoding.ASCII.GetBytes(Large)));
        Add("names that are not UTF-8", new TarBuilder().File("caf\u00e9/\u00ff\u00fe", Large).File("caf\u00e9/\u00ff\u00fe", Larger));

        var sparse = new byte[512 + 3 + 600];
        "2\n0\n3\n10485760\n600\n"u8.CopyTo(sparse);
        new Random(1).NextBytes(sparse.AsSpan(512));
        Add("a sparse file, PAX 1.0", new TarBuilder().File("GNUSparseFile.1/s", sparse, pax: [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "s"), ("GNU.sparse.realsize", "10486360")]).File("t", Large));
        Add("a sparse file, PAX 0.1", new TarBuilder().File("s", sparse[512..], pax: [("GNU.sparse.map", "0,3,10485760,600"), ("GNU.sparse.size", "10486360")]).File("t", Large));

        var plain = new TarBuilder().File("f", Large).Unfinished();
        data.Add("no end", plain);
        data.Add("one block of zeros for an end", [.. plain, .. new byte[512]]);
        data.Add("much padding", [.. plain, .. new byte[10240]]);
        var garbage = new byte[100_001];
        new Random(2).NextBytes(garbage);
        data.Add("garbage behind the end", [.. plain, .. new byte[1024], .. garbage]);
        byte[] odd = [.. plain];
        odd.AsSpan(512 + Large.Length, -Large.Length & 511).Fill(0xAA);
        data.Add("padding that is not zero", [.. odd, .. new byte[1024]]);
        return data;
    }

    [Theory]
    [MemberData(nameof(Tars))]
    public void The_tar_of_a_layer_comes_back_to_the_byte(string what, byte[] tar)
    {
        var diffId = Unpack(tar);
        Assert.True(tar.AsSpan().SequenceEqual(TarOf(diffId)), what);
        Assert.Equal(TestImage.Digest(tar), diffId.ToString());
    }

    [Theory]
    [InlineData("gnu", "--sparse")]
    [InlineData("oldgnu", "--sparse")]
    [InlineData("pax", "--sparse")]
    [InlineData("pax", "--sparse-version=0.0")]
    [InlineData("v7", "--hard-dereference")]
    [InlineData("ustar", "--absolute-names")]
    public void Tars_of_gnu_tar_come_back_to_the_byte(string format, string option)
    {
        Directory.CreateDirectory(directory["tree/d"]);
        for (var i = 0; i < 40; i++) File.WriteAllText(directory[$"tree/d/{i}"], string.Concat(Enumerable.Repeat(Large, i)));
        File.CreateSymbolicLink(directory["tree/link"], "d/1");
        using (var sparse = File.Create(directory["tree/sparse"]))
            for (var i = 0; i < 30; i++)
            {
                sparse.Position = i * 1_000_000L;
                sparse.Write(Encoding.ASCII.GetBytes(Large));
            }
        List<string> options = ["-C", directory["tree"], $"--format={format}", "--numeric-owner", option, "-cf", directory["tar"], "."];
        if (option.StartsWith("--sparse-version", StringComparison.Ordinal)) options.Insert(0, "--sparse");
        using (var tar = Process.Start(new ProcessStartInfo("tar", options))!) tar.WaitForExit();

        var bytes = File.ReadAllBytes(directory["tar"]);
        Assert.True(bytes.AsSpan().SequenceEqual(TarOf(Unpack(bytes))));
    }

    [Fact]
    public void Replaced_contents_are_not_to_be_seen_in_the_layer()
    {
        var diffId = Unpack(new TarBuilder().File("f", Large).Directory("d").File("d/x", Large).File("f", "new").File("d", "file").Build());
        Assert.Equal(["d", "f"], Directory.EnumerateFileSystemEntries(store.DiffDirectory(diffId)).Select(Path.GetFileName).Order());
        Assert.Equal("new", File.ReadAllText(store.DiffDirectory(diffId) + "/f"));
    }

    [Fact]
    public void A_small_read_gives_the_same_bytes_as_a_large_one()
    {
        var tar = new TarBuilder().File("a", Large).File("b", "small").File("c", Larger).Build();
        using var stream = store.OpenTar(Unpack(tar));
        var copy = new List<byte>();
        var buffer = new byte[7];
        for (int count; (count = stream.Read(buffer)) > 0;) copy.AddRange(buffer.AsSpan(0, count));
        Assert.Equal(tar, copy);
    }

    public static TheoryData<string, Action<string>, string> Damages => new()
    {
        { "a changed byte", root => { using var f = File.OpenWrite(root + "/diff/d/f"); f.WriteByte((byte)'X'); }, "its files are not what was unpacked" },
        { "a shorter file", root => { using var f = File.OpenWrite(root + "/diff/d/f"); f.SetLength(100); }, "\"d/f\" is shorter than it was" },
        { "a missing file", root => File.Delete(root + "/diff/d/f"), "\"d/f\": no such file or directory" },
        { "a link in its place", root => { File.Delete(root + "/diff/d/f"); File.CreateSymbolicLink(root + "/diff/d/f", "/etc/passwd"); }, "\"d/f\": too many levels of symbolic links" },
        { "a link above it", root => { Directory.Move(root + "/diff/d", root + "/diff/e"); File.CreateSymbolicLink(root + "/diff/d", "e"); }, "\"d/f\": too many levels of symbolic links" },
        { "a recipe cut short", root => { using var f = File.OpenWrite(root + "/tar.recipe"); f.SetLength(f.Length / 2); }, "its recipe" },
        { "a recipe that is none", root => File.WriteAllText(root + "/tar.recipe", "x"), "its recipe is none" },
        { "no recipe", root => File.Delete(root + "/tar.recipe"), "tar.recipe" },
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public void A_damaged_layer_is_an_error_that_names_it_and_never_a_whole_tar(string what, Action<string> damage, string message)
    {
        var tar = new TarBuilder().File("d/f", Larger).File("last", Large).Build();
        var diffId = Unpack(tar);
        damage(Path.GetDirectoryName(store.DiffDirectory(diffId))!);

        var copy = new MemoryStream();
        var error = Assert.Throws<ImageException>(() =>
        {
            using var stream = store.OpenTar(diffId);
            stream.CopyTo(copy, 4096);
        });
        Assert.StartsWith($"layer {diffId} is damaged: ", error.Message);
        Assert.Contains(message, error.Message);
        Assert.True(copy.Length < tar.Length, what);
    }

    [Fact]
    public void A_layer_of_before_there_were_recipes_says_what_to_do()
    {
        var diffId = Unpack(new TarBuilder().File("f", Large).Build());
        var record = Path.Combine(Path.GetDirectoryName(store.DiffDirectory(diffId))!, "layer.json");
        File.WriteAllText(record, """{"sizeBytes":1}""");
        var later = new LayerStore(directory["layers"], directory["tmp"], NullLogger.Instance);
        Assert.Contains("pull or load them again", Assert.Throws<ImageException>(() => later.OpenTar(diffId)).Message);
    }

    [Fact]
    public void A_tar_that_replaces_its_own_files_without_end_is_refused()
    {
        var tar = new TarBuilder();
        var name = string.Join('/', Enumerable.Repeat(new string('n', 200), 20));
        for (var i = 0; i <= TarRecipe.MaxShadowedPathBytes / name.Length + 1; i++) tar.File("f", new string('x', 513), pax: ("path", name));
        Assert.Contains("replaces more of its own files", Assert.Throws<ImageException>(() => store.Unpack(new MemoryStream(tar.Build()), CancellationToken.None)).Message);
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["tmp"]));
    }
}
