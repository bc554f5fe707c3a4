using System.Text;
using System.Text.Json.Nodes;
using Berth.Images;
using Berth.Images.Layers;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

/// <summary>Images on their way out, and in again.</summary>
public sealed class SaveTests : IDisposable
{
    private static readonly byte[] Base = new TarBuilder().Directory("etc").File("etc/base", new string('b', 3000)).Link("etc/link", "etc/base").Build();

    private readonly TestDirectory directory = new();
    private readonly List<ImageEvent> events = [];
    private readonly ImageStore store;

    public SaveTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        store = ImageStore.Open(directory["one"], new ImageStoreOptions { OnEvent = events.Add });
    }

    public void Dispose()
    {
        store.Dispose();
        directory.Dispose();
    }

    private static TestImage Image(string marker) => new TestImage().Layer(Base).Layer(t => t.File("marker", marker + new string('m', 2000)));

    private static async Task Load(ImageStore into, byte[] archive) =>
        await into.LoadAsync(new MemoryStream(archive), null, quiet: true, _ => { }, TestContext.Current.CancellationToken);

    private async Task<byte[]> Save(params string[] names)
    {
        using var archive = store.OpenArchive(names, null);
        var output = new MemoryStream();
        await archive.CopyToAsync(output, TestContext.Current.CancellationToken);
        Assert.Equal(archive.MeasureBytes(), output.Length);
        return output.ToArray();
    }

    private static Dictionary<string, byte[]> Members(byte[] archive)
    {
        var members = new Dictionary<string, byte[]>();
        var tar = new TarReader(new MemoryStream(archive));
        while (tar.Next() is { } entry) Assert.True(members.TryAdd(Encoding.ASCII.GetString(entry.Name), tar.ReadAllContent(int.MaxValue, "member")));
        return members;
    }

    [Fact]
    public async Task What_was_saved_can_be_loaded_and_saved_again_to_the_byte()
    {
        var (a, b) = (Image("a"), Image("b"));
        await Load(store, a.DockerArchive("test:a", "host:5000/x/test:2"));
        await Load(store, b.OciArchive("\"io.containerd.image.name\":\"docker.io/library/other:b\""));
        var saved = await Save("test:a", "other:b");
        Assert.Equal(saved, await Save("test:a", "other:b"));
        Assert.Equal(["load", "load", "save", "save", "save", "save"], events.Select(e => e.Action));

        using var second = ImageStore.Open(directory["two"]);
        await Load(second, saved);
        Assert.Equal(a.Id, second.Get("test:a").Id.ToString());
        Assert.Equal(b.Id, second.Get("other:b").Id.ToString());
        Assert.Equal(["test:a"], second.Get("test:a").RepoTags);
        using var again = second.OpenArchive(["test:a", "other:b"], null);
        var output = new MemoryStream();
        await again.CopyToAsync(output, TestContext.Current.CancellationToken);
        Assert.Equal(saved, output.ToArray());
    }

    [Fact]
    public async Task An_archive_is_an_oci_layout_and_a_docker_archive_with_every_layer_once()
    {
        var (a, b) = (Image("a"), Image("b"));
        await Load(store, a.DockerArchive("test:a", "test:a2"));
        await Load(store, b.DockerArchive("other:b"));
        var members = Members(await Save("test", "other:b"));

        foreach (var layer in a.Layers.Concat(b.Layers)) Assert.Equal(layer, members["blobs/sha256/" + TestImage.Digest(layer)[7..]]);
        Assert.Equal(a.Config, members["blobs/sha256/" + a.Id[7..]]);
        Assert.Equal(["blobs/", "blobs/sha256/", "index.json", "manifest.json", "oci-layout", "repositories"], members.Keys.Where(k => k.Length < 20));
        Assert.Equal(3 + 2 + 2, members.Keys.Count(k => k.StartsWith("blobs/sha256/", StringComparison.Ordinal)) - 1);

        var items = JsonNode.Parse(members["manifest.json"])!.AsArray();
        Assert.Equal("""["test:a","test:a2"]""", items[0]!["RepoTags"]!.ToJsonString());
        Assert.Equal("blobs/sha256/" + b.Id[7..], (string)items[1]!["Config"]!);
        var entries = JsonNode.Parse(members["index.json"])!["manifests"]!.AsArray();
        Assert.Equal(["docker.io/library/test:a", "docker.io/library/test:a2", "docker.io/library/other:b"], entries.Select(e => (string)e!["annotations"]!["io.containerd.image.name"]!));
        foreach (var entry in entries) Assert.Equal((long)entry!["size"]!, members["blobs/sha256/" + ((string)entry["digest"]!)[7..]].Length);
        var manifest = JsonNode.Parse(members["blobs/sha256/" + ((string)entries[0]!["digest"]!)[7..]])!;
        Assert.Equal(a.Id, (string)manifest["config"]!["digest"]!);
        Assert.Equal(a.Layers.Select(l => (TestImage.Digest(l), (long)l.Length)), manifest["layers"]!.AsArray().Select(l => ((string)l!["digest"]!, (long)l["size"]!)));
        string Top(TestImage image) => TestImage.Digest(image.Layers[1])[7..];
        Assert.Equal($$$"""{"other":{"b":"{{{Top(b)}}}"},"test":{"a":"{{{Top(a)}}}","a2":"{{{Top(a)}}}"}}""" + "\n", Encoding.ASCII.GetString(members["repositories"]));
    }

    [Fact]
    public async Task By_id_an_image_is_saved_without_a_name()
    {
        await Load(store, Image("a").DockerArchive("test:a"));
        var id = store.Get("test:a").Id;
        foreach (var given in (string[])[id.ToString(), id.Hex, id.ShortId])
        {
            var members = Members(await Save(given));
            Assert.Null(JsonNode.Parse(members["manifest.json"])![0]!["RepoTags"]);
            Assert.DoesNotContain("repositories", members.Keys);
        }
        Assert.Equal("""["test:a"]""", JsonNode.Parse(Members(await Save(id.ShortId, "test:a"))["manifest.json"])![0]!["RepoTags"]!.ToJsonString());
    }

    [Theory]
    [InlineData("nosuch", ImageErrorKind.NotFound, "No such image: nosuch")]
    [InlineData("nosuch:tag", ImageErrorKind.NotFound, "reference does not exist")]
    [InlineData("test:nosuch", ImageErrorKind.NotFound, "reference does not exist")]
    [InlineData("sha256:abc", ImageErrorKind.NotFound, "No such image: sha256:abc")]
    [InlineData("Bad:::x", ImageErrorKind.System, "invalid reference format: repository name (library/Bad) must be lowercase")]
    public async Task What_is_not_there_is_said_in_docker_s_words(string name, ImageErrorKind kind, string message)
    {
        await Load(store, Image("a").DockerArchive("test:a"));
        var error = Assert.Throws<ImageException>(() => store.OpenArchive(["test:a", name], null));
        Assert.Equal((kind, message), (error.Kind, error.Message));
    }

    [Fact]
    public async Task For_another_platform_there_is_nothing_to_save()
    {
        await Load(store, Image("a").DockerArchive("test:a"));
        var error = Assert.Throws<ImageException>(() => store.OpenArchive(["test:a"], new Platform("linux", "s390x")));
        Assert.Equal((ImageErrorKind.System, "no suitable export target found for platform linux/s390x"), (error.Kind, error.Message));
    }

    [Fact]
    public async Task An_image_removed_meanwhile_is_saved_whole_and_then_gone()
    {
        var image = Image("a");
        await Load(store, image.DockerArchive("test:a"));
        using (var archive = store.OpenArchive(["test:a"], null))
        {
            store.Remove("test:a", force: false, prune: true, () => []);
            var output = new MemoryStream();
            await archive.CopyToAsync(output, TestContext.Current.CancellationToken);
            Assert.Equal(image.Layers[1], Members(output.ToArray())["blobs/sha256/" + TestImage.Digest(image.Layers[1])[7..]]);
        }
        Assert.Empty(Directory.EnumerateDirectories(directory["one/images/layers"]));
    }

    [Fact]
    public async Task A_damaged_layer_is_never_part_of_a_whole_archive()
    {
        await Load(store, Image("a").DockerArchive("test:a"));
        var whole = (await Save("test:a")).Length;
        await using (var file = File.OpenWrite(Path.Combine(store.Get("test:a").LayerDirectories[1], "etc/base"))) file.WriteByte((byte)'X');

        using var archive = store.OpenArchive(["test:a"], null);
        var output = new MemoryStream();
        var error = await Assert.ThrowsAsync<ImageException>(() => archive.CopyToAsync(output, TestContext.Current.CancellationToken));
        Assert.Equal($"layer {TestImage.Digest(Base)} is damaged: its files are not what was unpacked", error.Message);
        Assert.True(output.Length < whole);
    }
}
