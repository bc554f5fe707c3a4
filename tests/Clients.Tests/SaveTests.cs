using System.Text;
using System.Text.Json.Nodes;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>docker save, and what others make of it; images for several platforms as the stock client shows them.</summary>
public sealed class SaveTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private string Path(string name) => System.IO.Path.Combine(_daemon.WorkDirectory, name);

    private static TestImage Image(string word, string architecture = "amd64") =>
        new TestImage { ConfigMembers = $$""" "architecture":"{{architecture}}","os":"linux","config":{"Cmd":["cat","/word"],"Env":["PATH=/bin"]} """ }
            .Layer(Images.BusyboxRootfs).Layer(t => t.File("word", word + "\n"));

    private async Task LoadAsync(string name, byte[] archive)
    {
        await File.WriteAllBytesAsync(Path(name), archive);
        await _daemon.Docker("load", "-q", "-i", Path(name));
    }

    [Fact]
    public async Task Several_images_saved_in_one_archive_load_again_and_run()
    {
        await LoadAsync("s1.tar", Image("one").DockerArchive("save-1:a", "save-1:b"));
        await LoadAsync("s2.tar", Image("two").DockerArchive("save-2:a"));
        await _daemon.Docker("save", "-o", Path("both.tar"), "save-1", "save-2:a");
        await _daemon.Docker("save", "-o", Path("again.tar"), "save-1", "save-2:a");
        Assert.Equal(await File.ReadAllBytesAsync(Path("both.tar")), await File.ReadAllBytesAsync(Path("again.tar")));

        await _daemon.Docker("rmi", "save-1:a", "save-1:b", "save-2:a");
        Assert.Equal(["Loaded image: save-1:a", "Loaded image: save-1:b", "Loaded image: save-2:a"], (await _daemon.Docker("load", "-i", Path("both.tar"))).Lines);
        Assert.Equal("two\n", (await _daemon.Docker("run", "--rm", "--network", "none", "save-2:a")).Output);
        await _daemon.Docker("rmi", "save-1:a", "save-1:b", "save-2:a");
    }

    [Fact]
    public async Task Skopeo_reads_our_archives_and_we_read_skopeo_s()
    {
        Assert.SkipUnless((await new Command("sh", ["-c", "command -v skopeo"]).MayFail()).ExitCode == 0, "skopeo is not installed");
        await LoadAsync("k.tar", Image("skopeo").DockerArchive("skopeo-1:a"));
        var id = (await _daemon.Docker("image", "inspect", "-f", "{{.Id}}", "skopeo-1:a")).Line;
        await _daemon.Docker("save", "-o", Path("k-saved.tar"), "skopeo-1:a");
        await _daemon.Docker("rmi", "skopeo-1:a");
        foreach (var (to, expected) in ((string, string)[])
        [
            ($"docker-archive:{Path("k-docker.tar")}:skopeo-1:b", "Loaded image: skopeo-1:b"),
            ($"oci-archive:{Path("k-oci.tar")}:docker.io/library/skopeo-1:c", "Loaded image: skopeo-1:c"),
        ])
        {
            await new Command("skopeo", ["--insecure-policy", "copy", "-q", $"docker-archive:{Path("k-saved.tar")}:skopeo-1:a", to]);
            Assert.Equal(expected, (await _daemon.Docker("load", "-i", to.Split(':')[1])).Line);
            var name = expected["Loaded image: ".Length..];
            Assert.Equal("skopeo\n", (await _daemon.Docker("run", "--rm", "--network", "none", name)).Output);
            // A docker-archive keeps the configuration; skopeo rewrites it for OCI.
            if (to.StartsWith("docker-archive", StringComparison.Ordinal)) Assert.Equal(id, (await _daemon.Docker("image", "inspect", "-f", "{{.Id}}", name)).Line);
            await _daemon.Docker("rmi", name);
        }
    }

    [Fact]
    public async Task A_damaged_layer_fails_the_save()
    {
        await LoadAsync("d.tar", new TestImage().Layer(t => t.File("bytes", new string('d', 300_000))).DockerArchive("damaged-1:a"));
        await File.WriteAllTextAsync(System.IO.Path.Combine((await _daemon.Docker("image", "inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "damaged-1:a")).Line, "bytes"), new string('e', 300_000));
        var saved = await _daemon.Docker("save", "-o", Path("damaged.tar"), "damaged-1:a").MayFail();
        Assert.Equal(1, saved.ExitCode);
        Assert.Contains("EOF", saved.Error);
        await _daemon.Docker("rmi", "damaged-1:a");
    }

    [Fact]
    public async Task What_cannot_be_saved_is_said_with_docker_s_status_and_words()
    {
        await LoadAsync("e.tar", Image("e").DockerArchive("errors-1:a"));
        foreach (var (query, status, message) in ((string, int, string)[])
        [
            ("names=nosuch", 404, "No such image: nosuch"),
            ("names=errors-1:b", 404, "reference does not exist"),
            ("names=Bad", 500, "invalid reference format: repository name (library/Bad) must be lowercase"),
            ("names=errors-1:a&platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22s390x%22%7D", 500, "no suitable export target found for platform linux/s390x"),
            ("names=errors-1:a&platform=%7B%22os%22%3A%22linux%22%7D", 400, "both OS and Architecture must be provided"),
            ("names=errors-1:a&platform=%7B%7D&platform=%7B%7D", 400, "multiple platform parameters not supported"),
        ])
        {
            using var answer = await _daemon.Http.GetAsync($"/v1.51/images/get?{query}");
            Assert.Equal((status, message), ((int)answer.StatusCode, (string)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["message"]!));
        }
        await _daemon.Docker("rmi", "errors-1:a");
    }

    [Fact]
    public async Task Platforms_of_one_name_are_a_tree_to_the_client_and_can_be_chosen()
    {
        var (amd, arm) = (Image("amd", "amd64"), Image("arm", "arm64"));
        var tar = new TarBuilder();
        var entries = new List<string>();
        foreach (var (image, architecture) in ((TestImage, string)[])[(amd, "amd64"), (arm, "arm64")])
        {
            var (manifest, blobs) = image.Manifest();
            foreach (var blob in blobs.Append(manifest)) tar.File("blobs/sha256/" + TestImage.Digest(blob)[7..], blob);
            entries.Add($$"""{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{TestImage.Digest(manifest)}}","size":{{manifest.Length}},"platform":{"architecture":"{{architecture}}","os":"linux"} }""");
        }
        var index = Encoding.ASCII.GetBytes("""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[""" + string.Join(',', entries) + "]}");
        tar.File("blobs/sha256/" + TestImage.Digest(index)[7..], index);
        tar.File("index.json", $$$"""{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{{{TestImage.Digest(index)}}}","size":{{{index.Length}}},"annotations":{"io.containerd.image.name":"docker.io/library/tree-1:a"} }]}""");
        await LoadAsync("tree.tar", tar.File("oci-layout", """{"imageLayoutVersion":"1.0.0"}""").Build());

        var row = JsonNode.Parse(await _daemon.Http.GetStringAsync("/v1.51/images/json?manifests=1"))!.AsArray().Single(i => (string?)i!["RepoTags"]!.AsArray().FirstOrDefault() == "tree-1:a")!;
        Assert.Equal(TestImage.Digest(index), (string)row["Descriptor"]!["digest"]!);
        Assert.Equal(["linux/amd64 True", "linux/arm64 True"], row["Manifests"]!.AsArray().Select(m => $"{m!["ImageData"]!["Platform"]!["os"]}/{m["ImageData"]!["Platform"]!["architecture"]} {(bool)m["Available"]!}"));
        Assert.Equal("arm64", (await _daemon.Docker("image", "inspect", "--platform", "linux/arm64", "-f", "{{.Architecture}}", "tree-1:a")).Line);
        await _daemon.Docker("save", "--platform", "linux/arm64", "-o", Path("arm.tar"), "tree-1:a");
        await _daemon.Docker("rmi", "tree-1:a");
        await _daemon.Docker("load", "-q", "-i", Path("arm.tar"));
        Assert.Equal(arm.Id, (await _daemon.Docker("image", "inspect", "-f", "{{.Id}}", "tree-1:a")).Line);
        await _daemon.Docker("rmi", "tree-1:a");
    }
}
