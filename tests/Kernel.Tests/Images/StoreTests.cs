using Berth.Images;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

public sealed class StoreTests : IDisposable
{
    private readonly TestDirectory directory = new();
    private readonly List<ImageEvent> events = [];
    private ImageStore store;

    public StoreTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        store = Open();
    }

    public void Dispose()
    {
        store.Dispose();
        directory.Dispose();
    }

    private ImageStore Open() => ImageStore.Open(directory.Path, new ImageStoreOptions { OnEvent = events.Add });

    private void Reopen()
    {
        store.Dispose();
        store = Open();
    }

    private async Task<List<string>> Load(byte[] archive, Platform? platform = null)
    {
        var lines = new List<string>();
        await store.LoadAsync(new MemoryStream(archive), platform, quiet: true, p => lines.Add(p.Stream ?? p.Status!), TestContext.Current.CancellationToken);
        return lines;
    }

    private static TestImage Image(string marker = "one") => new TestImage().Layer(t => t.File("base", "base")).Layer(t => t.File("marker", marker));

    private int LayerCount => Directory.GetDirectories(directory["images/layers"]).Length;

    private static IReadOnlyCollection<ImageUser> Nobody() => [];

    [Fact]
    public async Task A_docker_archive_is_loaded_under_its_names()
    {
        var image = Image();
        Assert.Equal(["Loaded image: test:1\n", "Loaded image: host:5000/x/test:2\n"], await Load(image.DockerArchive("test:1", "host:5000/x/test:2")));

        Reopen();
        var found = store.Get("test:1");
        Assert.Equal(image.Id, found.Id.ToString());
        Assert.Equal(image.Config, found.ConfigBytes.ToArray());
        Assert.Equal(["test:1", "host:5000/x/test:2"], found.RepoTags);
        Assert.Equal("one", File.ReadAllText(Path.Combine(found.LayerDirectories[0], "marker")));
        Assert.Equal("base", File.ReadAllText(Path.Combine(found.LayerDirectories[1], "base")));
        Assert.Equal(7, found.SizeBytes);
        Assert.Equal(["load"], events.Select(e => e.Action));
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("zstd")]
    [InlineData("none")]
    public async Task An_oci_layout_is_loaded_whatever_the_compression(string compression)
    {
        var image = Image();
        Func<byte[], byte[]> compress = compression switch { "gzip" => TestImage.Gzip, "zstd" => Zstd, _ => b => b };
        var archive = compress(image.OciArchive("\"io.containerd.image.name\":\"docker.io/library/busybox:1\"", compress));

        Assert.Equal(["Loaded image: busybox:1\n"], await Load(archive));
        Assert.Equal(image.Id, store.Get("busybox:1").Id.ToString());
    }

    private static byte[] Zstd(byte[] content)
    {
        using var process = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("zstd", ["-q", "-c"]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        var writing = Task.Run(() =>
        {
            process.StandardInput.BaseStream.Write(content);
            process.StandardInput.Close();
        });
        var output = new MemoryStream();
        process.StandardOutput.BaseStream.CopyTo(output);
        writing.Wait();
        return output.ToArray();
    }

    [Fact]
    public async Task A_reference_name_that_is_only_a_tag_names_nothing()
    {
        var image = Image();
        Assert.Equal([$"Loaded image ID: {image.Id}\n"], await Load(image.OciArchive("\"org.opencontainers.image.ref.name\":\"latest\"")));
    }

    [Fact]
    public async Task Images_are_found_by_name_id_and_prefix()
    {
        var image = Image();
        await Load(image.DockerArchive("test:latest"));
        var hex = image.Id[7..];
        foreach (var name in new[] { "test", "test:latest", "docker.io/library/test", image.Id, hex, hex[..6], "sha256:" + hex[..6] })
            Assert.Equal(image.Id, store.Get(name).Id.ToString());

        AssertError(ImageErrorKind.NotFound, "No such image: nope:latest", () => store.Get("nope"));
        AssertError(ImageErrorKind.NotFound, "No such image: test:2", () => store.Get("docker.io/library/test:2"));
        AssertError(ImageErrorKind.NotFound, "No such image: sha256:" + new string('a', 64), () => store.Get(new string('a', 64)));
        AssertError(ImageErrorKind.InvalidParameter, "invalid reference format: repository name (library/Foo) must be lowercase", () => store.Get("Foo"));
        AssertError(ImageErrorKind.InvalidParameter, "invalid reference format", () => store.Get("-x"));
        AssertError(ImageErrorKind.NotFound, "image with reference test was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)", () => store.Get("test", Platform.Parse("linux/arm64")));
    }

    private static void AssertError(ImageErrorKind kind, string message, Action action)
    {
        var error = Assert.Throws<ImageException>(action);
        Assert.Equal((kind, message), (error.Kind, error.Message));
    }

    [Fact]
    public async Task Loading_again_under_the_same_name_says_that_the_old_one_loses_it()
    {
        var first = Image("one");
        var second = Image("two");
        await Load(first.DockerArchive("test:1"));
        Assert.Equal(["The image test:1 already exists, renaming the old one with ID " + first.Id + " to empty string\n", "Loaded image: test:1\n"],
            await Load(second.DockerArchive("test:1")));
        Assert.Equal(second.Id, store.Get("test:1").Id.ToString());
        Assert.Empty(store.Get(first.Id).RepoTags);
        Assert.Equal(3, LayerCount); // the base is shared
    }

    [Fact]
    public async Task Removing_the_last_name_removes_the_image_and_its_own_layers()
    {
        var first = Image("one");
        var second = Image("two");
        await Load(first.DockerArchive("first:1"));
        await Load(second.DockerArchive("second:1"));
        store.Tag(store.Get("first:1").Id, ImageReference.Parse("other"));

        Assert.Equal([new RemovedItem("other:latest", null)], store.Remove("other", false, true, Nobody));
        var chains = ImageStore.ChainIds(store.Get("first:1").DiffIds).ToList();
        Assert.Equal([new RemovedItem("first:1", null), new RemovedItem(null, first.Id), new RemovedItem(null, chains[1].ToString())], store.Remove("first:1", false, true, Nobody));
        Assert.Equal(2, LayerCount);
        Reopen();
        Assert.Equal(second.Id, Assert.Single(store.All).Id.ToString());

        store.Remove(second.Id[7..12], false, true, Nobody);
        Assert.Equal(0, LayerCount);
        Assert.Empty(Directory.EnumerateFiles(directory["images/blobs"], "*", SearchOption.AllDirectories));
        await store.Discarding;
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/tmp"]));
    }

    [Fact]
    public async Task Removal_is_refused_for_docker_s_reasons()
    {
        var image = Image();
        await Load(image.DockerArchive("test:1"));
        var id = store.Get("test:1").Id;
        var container = new string('c', 64);
        IReadOnlyCollection<ImageUser> Running() => [new ImageUser(container, id, true)];
        IReadOnlyCollection<ImageUser> Stopped() => [new ImageUser(container, id, false)];

        AssertError(ImageErrorKind.Conflict, $"conflict: unable to remove repository reference \"test:1\" (must force) - container cccccccccccc is using its referenced image {id.ShortId}", () => store.Remove("test:1", false, true, Stopped));
        AssertError(ImageErrorKind.Conflict, $"conflict: unable to delete {id.ShortId} (cannot be forced) - image is being used by running container cccccccccccc", () => store.Remove(id.Hex, true, true, Running));
        AssertError(ImageErrorKind.Conflict, $"conflict: unable to delete {id.ShortId} (must be forced) - image is being used by stopped container cccccccccccc", () => store.Remove(id.Hex, false, true, Stopped));
        store.Tag(id, ImageReference.Parse("second"));
        AssertError(ImageErrorKind.Conflict, $"conflict: unable to delete {id.ShortId} (must be forced) - image is referenced in multiple repositories", () => store.Remove(id.Hex, false, true, Nobody));

        // By force of its name under a running container: the name goes, the image stays.
        Assert.Equal(["second:latest"], store.Remove("second", true, true, Running).Select(i => i.Untagged));
        Assert.Equal(["test:1"], store.Remove("test:1", true, true, Running).Select(i => i.Untagged));
        Assert.NotNull(store.Get(id.Hex));
    }

    [Fact]
    public async Task Layers_stay_as_long_as_a_container_stands_on_them()
    {
        var image = Image();
        await Load(image.DockerArchive("test:1"));
        var id = store.Get("test:1").Id;
        var layer = store.CreateWritableLayer("c1", id);
        Assert.Equal(3, layer.LowerDirectories.Count); // and, lowest, the places for mounts
        Assert.True(Directory.Exists(layer.WorkDirectory));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute, File.GetUnixFileMode(layer.UpperDirectory));

        store.Remove("test:1", true, true, () => [new ImageUser("c1", id, false)]);
        Assert.Equal(2, LayerCount);
        Reopen();
        Assert.Equal(2, LayerCount);
        Assert.True(store.TryGetWritableLayer("c1", out var again));
        Assert.Equal(layer.LowerDirectories, again.LowerDirectories);

        store.RemoveWritableLayer("c1");
        Assert.Equal(0, LayerCount);
        Assert.False(Directory.Exists(directory["containers/c1/overlay"]));
    }

    [Fact]
    public async Task A_layer_that_occurs_twice_is_stacked_once()
    {
        var tar = new TarBuilder().File("f", "same").Build();
        await Load(new TestImage().Layer(tar).Layer(t => t.File("g", "x")).Layer(tar).DockerArchive("twice:1"));
        var image = store.Get("twice:1");
        Assert.Equal(3, image.DiffIds.Count);
        Assert.Equal(2, image.LayerDirectories.Count);
        Assert.True(File.Exists(Path.Combine(image.LayerDirectories[0], "f")));
    }

    [Fact]
    public async Task A_root_that_is_opaque_ends_the_stack()
    {
        await Load(new TestImage().Layer(t => t.File("f", "hidden")).Layer(t => t.File(".wh..wh..opq").File("g", "x")).DockerArchive("opaque:1"));
        Assert.Single(store.Get("opaque:1").LayerDirectories);
    }

    [Fact]
    public async Task Archives_that_are_none_are_refused_in_docker_s_words()
    {
        async Task<string> Error(byte[] archive) => (await Assert.ThrowsAsync<ImageException>(() => Load(archive))).Message;
        var good = Image();

        Assert.Equal("unexpected EOF", await Error("foo\n"u8.ToArray()));
        Assert.Equal("archive/tar: invalid tar header", await Error([.. Enumerable.Repeat((byte)7, 3000)]));
        Assert.Equal("open repositories: no such file or directory", await Error([]));
        Assert.Equal("open c.json: no such file or directory", await Error(new TarBuilder().File("manifest.json", """[{"Config":"c.json","Layers":[]}]""").Build()));
        Assert.Equal("invalid manifest, manifest cannot be null (but can be [])", await Error(new TarBuilder().File("manifest.json", "null").Build()));
        Assert.Equal("invalid manifest, layers length mismatch: expected 1, got 2",
            await Error(new TarBuilder().File("c.json", good.Config).File("l", good.Layers[0]).File("manifest.json", """[{"Config":"c.json","Layers":["l"]}]""").Build()));
        Assert.Equal($"invalid diffID for layer 1: expected \"{TestImage.Digest(good.Layers[1])}\", got \"{TestImage.Digest(good.Layers[0])}\"",
            await Error(new TarBuilder().File("c.json", good.Config).File("l", good.Layers[0]).File("manifest.json", """[{"Config":"c.json","Layers":["l","l"]}]""").Build()));
        var windows = new TestImage { ConfigMembers = "\"os\":\"windows\",\"architecture\":\"amd64\"" }.Layer(t => t.File("f"));
        Assert.Equal("cannot load windows image on linux", await Error(windows.DockerArchive("w:1")));

        Assert.Empty(store.All);
        Assert.Equal(0, LayerCount);
        await store.Discarding;
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/tmp"]));
    }

    [Fact]
    public async Task A_hostile_layer_in_an_archive_fails_the_load_and_leaves_nothing()
    {
        var image = new TestImage().Layer(t => t.File("ok", "x")).Layer(t => t.File("../../../../evil", "x"));
        var error = await Assert.ThrowsAsync<ImageException>(() => Load(image.DockerArchive("evil:1")));
        Assert.Equal("refused \"../../../../evil\": its name contains \"..\"", error.Message);
        Assert.Empty(store.All);
        Assert.Equal(0, LayerCount);
        await store.Discarding;
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/tmp"]));
    }

    [Fact]
    public async Task A_full_disk_fails_the_load_and_leaves_nothing()
    {
        using var small = new TestDirectory();
        using (var mount = System.Diagnostics.Process.Start("mount", ["-t", "tmpfs", "-o", "size=1m", "berth-test", small.Path])) await mount.WaitForExitAsync();
        try
        {
            using var full = ImageStore.Open(small.Path);
            var image = new TestImage().Layer(t => t.File("large", new byte[4 << 20]));
            var error = await Assert.ThrowsAsync<ImageException>(() => full.LoadAsync(new MemoryStream(image.DockerArchive("large:1")), null, true, _ => { }, CancellationToken.None));
            Assert.StartsWith("\"large\": no space left on device", error.Message);
            Assert.Empty(full.All);
            await full.Discarding;
            Assert.Empty(Directory.EnumerateFileSystemEntries(small["images/tmp"]));

            await full.LoadAsync(new MemoryStream(Image().DockerArchive("small:1")), null, true, _ => { }, CancellationToken.None);
            Assert.NotNull(full.Get("small:1"));
        }
        finally
        {
            using var umount = System.Diagnostics.Process.Start("umount", [small.Path]);
            await umount.WaitForExitAsync();
        }
    }

    [Fact]
    public async Task A_blob_that_is_not_what_its_name_says_is_refused()
    {
        var image = Image();
        var (manifest, blobs) = image.Manifest();
        var tar = new TarBuilder().File("index.json", $$"""{"schemaVersion":2,"manifests":[{"digest":"{{TestImage.Digest(manifest)}}","size":1}]}""")
            .File("blobs/sha256/" + TestImage.Digest(manifest)[7..], manifest).File("blobs/sha256/" + image.Id[7..], image.Config)
            .File("blobs/sha256/" + TestImage.Digest(blobs[1])[7..], blobs[2]).File("blobs/sha256/" + TestImage.Digest(blobs[2])[7..], blobs[2]);
        var error = await Assert.ThrowsAsync<ImageException>(() => Load(tar.Build()));
        Assert.Contains("does not have the digest in its name", error.Message);
    }

    [Fact]
    public async Task The_same_archive_loaded_by_many_at_once_is_there_once()
    {
        var image = Image();
        var archive = image.DockerArchive("test:1");
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(() => Load(archive))));
        Assert.Equal(image.Id, Assert.Single(store.All).Id.ToString());
        Assert.Equal(2, LayerCount);
        await store.Discarding;
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/tmp"]));
    }

    [Fact]
    public async Task An_import_has_one_layer_and_its_configuration()
    {
        var tar = new TarBuilder().File("f", "x").Build();
        var id = await store.ImportAsync(new MemoryStream(TestImage.Gzip(tar)), new ImportOptions
        {
            Name = ImageReference.Parse("imported:1"),
            Message = "from a test",
            Config = new ContainerConfig { Cmd = ["sh"], Env = ["A=1"] },
        }, CancellationToken.None);

        var image = store.Get("imported:1");
        Assert.Equal(id, image.Id);
        Assert.Equal(TestImage.Digest(tar), Assert.Single(image.DiffIds).ToString());
        Assert.Equal(["sh"], image.Config.Config!.Cmd!);
        Assert.Equal(["A=1"], image.Config.Config.Env!);
        Assert.Equal("from a test", Assert.Single(store.History("imported:1")).Comment);
        Assert.Equal(["tag", "import"], events.Select(e => e.Action));
    }

    [Fact]
    public async Task Filters_of_the_list_do_what_docker_s_do()
    {
        TestImage Made(string created, string label) => new TestImage
        {
            ConfigMembers = $$$""" "architecture":"amd64","os":"linux","created":"{{{created}}}","config":{"Labels":{"l":"{{{label}}}"}} """,
        }.Layer(t => t.File("f", created));
        var old = Made("2020-01-01T00:00:00Z", "a");
        var middle = Made("2021-01-01T00:00:00Z", "b");
        var young = Made("2022-01-01T00:00:00Z", "c");
        await Load(old.DockerArchive("x/old:1"));
        await Load(middle.DockerArchive("middle:1", "middle:2"));
        await Load(young.DockerArchive());

        string[] Ids(ImageFilters filters) => [.. store.List(filters).Select(s => s.Image.Id.ToString())];
        Assert.Equal([young.Id, middle.Id, old.Id], Ids(new ImageFilters()));
        Assert.Equal([young.Id], Ids(new ImageFilters { Dangling = true }));
        Assert.Equal([middle.Id, old.Id], Ids(new ImageFilters { Dangling = false }));
        Assert.Equal([old.Id], Ids(new ImageFilters { Before = ["middle:1"] }));
        Assert.Equal([young.Id], Ids(new ImageFilters { Since = ["middle:1"] }));
        Assert.Equal([middle.Id], Ids(new ImageFilters { Label = ["l=b"] }));
        Assert.Equal([old.Id], Ids(new ImageFilters { Reference = ["x/*"] }));
        Assert.Equal(["middle:2"], Assert.Single(store.List(new ImageFilters { Reference = ["mid*:2"] })).RepoTags);
        Assert.Equal([old.Id], Ids(new ImageFilters { Until = new DateTimeOffset(2020, 6, 1, 0, 0, 0, TimeSpan.Zero) }));
        Assert.Equal(0, store.List(new ImageFilters { SharedSize = true })[0].SharedSizeBytes);
    }

    [Fact]
    public async Task Files_are_read_through_the_layers_as_overlay_shows_them()
    {
        await Load(new TestImage()
            .Layer(t => t.File("etc/passwd", "lower").File("etc/group", "g").Directory("gone").File("gone/f", "x").Directory("op").File("op/old", "x").Directory("both").File("both/a", "a").Link("both/a2", "both/a"))
            .Layer(t => t.File("etc/passwd", "upper").Symlink("abs", "/etc/passwd").Symlink("rel", "../../../etc").Symlink("loop", "loop").File(".wh.gone").Directory("op").File("op/.wh..wh..opq").File("op/new", "n")
                .Directory("both", 0x1F8, uid: 9).File("both/b", "b").File("dir-file", "x"))
            .DockerArchive("f:1"));
        var layer = store.CreateWritableLayer("c1", store.Get("f:1").Id);
        File.WriteAllText(Path.Combine(layer.UpperDirectory, "own"), "own");
        using var files = store.OpenFiles("c1");

        string? Read(string path) => files.TryReadFile(path, 100, out var bytes) ? System.Text.Encoding.UTF8.GetString(bytes) : null;
        Assert.Equal("upper", Read("/etc/passwd"));
        Assert.Equal("g", Read("etc/group"));
        Assert.Equal("upper", Read("/abs"));
        Assert.Equal("g", Read("/rel/group"));
        Assert.Equal("g", Read("/etc/../../../etc/./group"));
        Assert.Equal("own", Read("/own"));
        Assert.Null(Read("/loop"));
        Assert.Null(Read("/gone/f"));
        Assert.Null(Read("/op/old"));
        Assert.Equal("n", Read("/op/new"));
        Assert.Null(Read("/etc"));
        Assert.Null(Read("/dir-file/x"));
        Assert.True(files.IsDirectory("/rel"));
        Assert.Throws<ImageException>(() => files.TryReadFile("/etc/passwd", 3, out _));

        Directory.CreateDirectory(directory["copy"]);
        Assert.True(files.TryCopyDirectory("/both", directory["copy"]));
        Assert.Equal(["a", "a2", "b"], Directory.EnumerateFiles(directory["copy"]).Select(Path.GetFileName).Order());
        var status = Berth.Linux.FileAt.Status(null, directory["copy"]);
        Assert.Equal((0x1F8u, 9u), (status.Permissions, status.Uid));
        Assert.Equal(Berth.Linux.FileAt.Status(null, directory["copy/a"]).Inode, Berth.Linux.FileAt.Status(null, directory["copy/a2"]).Inode);
        Assert.False(files.TryCopyDirectory("/nothing", directory["copy"]));
    }

    [Fact]
    public async Task Sizes_told_are_those_of_the_files_on_the_disk_to_the_byte()
    {
        static void Base(TarBuilder t) => t.File("big", new string('x', 100_001)).Directory("d").File("d/a", new string('y', 333)).Link("d/hard", "big").Symlink("sym", "some/where/else");
        var first = new TestImage().Layer(Base)
            // Replaced by the same layer: files, a directory with what was in it, links.
            .Layer(t => t.File("f", new string('1', 5000)).File("f", new string('2', 70)).Directory("dd").File("dd/x", new string('z', 900)).File("dd", new string('q', 11)).Symlink("s", "abc").Symlink("s", "abcdef")
                .File("p", new string('p', 700)).Link("p2", "p").File("p", "one").File("p2", "two"));
        var second = new TestImage().Layer(Base).Layer(t => t.File(".wh.big").Directory("d").File("d/.wh..wh..opq").File("d/new", new string('n', 17)));
        await Load(first.DockerArchive("first:1"));
        await Load(second.DockerArchive("second:1"));

        var sizes = new Dictionary<string, long>();
        foreach (var layer in Directory.GetDirectories(directory["images/layers"]))
        {
            var inodes = new Dictionary<string, long>();
            foreach (var line in (await new Command("find", [Path.Combine(layer, "diff"), "(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%i %s\n"])).Lines)
                inodes[line.Split(' ')[0]] = long.Parse(line.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);
            sizes[Path.Combine(layer, "diff")] = inodes.Values.Sum();
        }
        Assert.Equal(3, sizes.Count);
        Assert.Equal(sizes.Values.Sum(), store.LayerSizes().TotalBytes);
        foreach (var found in store.List(new ImageFilters { SharedSize = true }))
        {
            var own = found.Image.LayerDirectories.Select(d => sizes[d]).ToList(); // the topmost first
            Assert.Equal((own.Sum(), own[^1], own[0]), (found.Image.SizeBytes, found.SharedSizeBytes, found.Image.SizeBytes - found.SharedSizeBytes));
        }
        Assert.Equal(100_349, sizes.Values.Max());
    }
}
