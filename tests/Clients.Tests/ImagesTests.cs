using System.Globalization;
using System.IO.Compression;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>load, import, images, tag, rmi, inspect, history, pull.</summary>
public sealed class ImagesTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;
    private const string PathEnvironment = "\"Env\":[\"PATH=/bin\"]";

    private static byte[] Gzip(byte[] bytes)
    {
        var output = new MemoryStream();
        using (var gzip = new GZipStream(output, CompressionLevel.Fastest, leaveOpen: true))
            gzip.Write(bytes);
        return output.ToArray();
    }

    private static string Digest(byte[] bytes) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(bytes));

    private async Task<string> FileAsync(string name, byte[] content)
    {
        var path = Path.Combine(_daemon.WorkDirectory, name);
        await File.WriteAllBytesAsync(path, content);
        return path;
    }

    private async Task RunsAsync(string image, string word) =>
        Assert.Equal(word + "\n", (await _daemon.Docker("run", "--rm", "--network", "none", image, "cat", "/word")).Output);

    /// <summary>Busybox and a file of its own, so that images differ.</summary>
    private static byte[] Layer(string word)
    {
        var own = Images.Tar(("word", Encoding.UTF8.GetBytes(word + "\n")));
        // A tar is a row of members up to its zero blocks; two become one by dropping the first one's end.
        var rootfs = Images.BusyboxRootfs;
        var end = rootfs.Length;
        while (end >= 512 && rootfs.AsSpan(end - 512, 512).IndexOfAnyExcept((byte)0) < 0)
            end -= 512;
        return [.. rootfs.AsSpan(0, end), .. own];
    }

    [Fact]
    public async Task A_docker_archive_loads_plain_and_compressed()
    {
        var archive = Images.DockerArchive(Layer("one"), "load-1:a", $"{{{PathEnvironment}}}");
        Assert.Equal("Loaded image: load-1:a\n", (await _daemon.Docker("load", "-i", await FileAsync("load1.tar", archive))).Output);
        await RunsAsync("load-1:a", "one");
        await _daemon.Docker("rmi", "load-1:a");
        Assert.Equal("Loaded image: load-1:a\n", (await _daemon.Docker("load").WithInput(Gzip(archive))).Output);
        await RunsAsync("load-1:a", "one");
        await _daemon.Docker("rmi", "load-1:a");

        if ((await new Command("sh", ["-c", "command -v zstd"]).MayFail()).ExitCode == 0)
        {
            await new Command("zstd", ["-qf", Path.Combine(_daemon.WorkDirectory, "load1.tar"), "-o", Path.Combine(_daemon.WorkDirectory, "load1.tar.zst")]);
            await _daemon.Docker("load", "-i", Path.Combine(_daemon.WorkDirectory, "load1.tar.zst"));
            await RunsAsync("load-1:a", "one");
            await _daemon.Docker("rmi", "load-1:a");
        }
    }

    [Fact]
    public async Task An_OCI_layout_loads()
    {
        var layer = Layer("oci");
        var compressed = Gzip(layer);
        var config = Encoding.UTF8.GetBytes($$"""{"architecture":"amd64","os":"linux","config":{ {{PathEnvironment}} },"rootfs":{"type":"layers","diff_ids":["{{Digest(layer)}}"]} }""");
        var manifest = Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{{Digest(config)}}","size":{{config.Length}} },"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{{Digest(compressed)}}","size":{{compressed.Length}} }]}""");
        var index = Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{Digest(manifest)}}","size":{{manifest.Length}},"annotations":{"io.containerd.image.name":"docker.io/library/load-2:oci","org.opencontainers.image.ref.name":"oci"} }]}""");
        var layout = Images.Tar(("oci-layout", Encoding.UTF8.GetBytes("""{"imageLayoutVersion":"1.0.0"}""")), ("index.json", index),
            (Blob(manifest), manifest), (Blob(config), config), (Blob(compressed), compressed));
        Assert.Equal("Loaded image: load-2:oci\n", (await _daemon.Docker("load", "-i", await FileAsync("oci.tar", layout))).Output);
        await RunsAsync("load-2:oci", "oci");
        await _daemon.Docker("rmi", "load-2:oci");

        static string Blob(byte[] content) => "blobs/" + Digest(content).Replace(':', '/');
    }

    [Fact]
    public async Task A_root_file_system_is_imported_with_changes()
    {
        var imported = await _daemon.Docker("import", "-c", "CMD [\"cat\",\"/word\"]", "-c", "ENV A=b", "-c", "WORKDIR /tmp", "-m", "why", "-", "import-1:x").WithInput(Layer("imported"));
        Assert.Matches("^sha256:[0-9a-f]{64}\n$", imported.Output);
        Assert.Equal("imported\n", (await _daemon.Docker("run", "--rm", "import-1:x")).Output);
        Assert.Equal("[A=b] /tmp why", (await _daemon.Docker("image", "inspect", "--format", "{{.Config.Env}} {{.Config.WorkingDir}} {{.Comment}}", "import-1:x")).Line);
        await _daemon.Docker("rmi", "import-1:x");
    }

    [Fact]
    public async Task Images_are_tagged_listed_shown_and_removed()
    {
        await _daemon.Docker("load", "-i", await FileAsync("tags.tar", Images.DockerArchive(Layer("tags"), "tags-1:a", "{\"Cmd\":[\"true\"],\"Labels\":{\"k\":\"v\"}}")));
        await _daemon.Docker("tag", "tags-1:a", "localhost:5000/some/where:b");
        var id = (await _daemon.Docker("image", "inspect", "--format", "{{.Id}}", "tags-1:a")).Line;
        Assert.Equal(id, (await _daemon.Docker("image", "inspect", "--format", "{{.Id}}", "localhost:5000/some/where:b")).Line);
        Assert.Equal(id, (await _daemon.Docker("image", "inspect", "--format", "{{.Id}}", id["sha256:".Length..][..12])).Line);
        Assert.Equal(["localhost:5000/some/where:b", "tags-1:a"], (await _daemon.Docker("images", "--filter", "label=k=v", "--format", "{{.Repository}}:{{.Tag}}")).Lines.Order(StringComparer.Ordinal));
        Assert.Equal("tags-1:a", (await _daemon.Docker("images", "--filter", "reference=tags-*", "--format", "{{.Repository}}:{{.Tag}}")).Line);
        Assert.Contains("ADD rootfs /", (await _daemon.Docker("history", "--no-trunc", "tags-1:a")).Output);

        await _daemon.Docker("create", "--name", "user-of-tags", "tags-1:a");
        Assert.Equal("Untagged: localhost:5000/some/where:b\n", (await _daemon.Docker("rmi", "localhost:5000/some/where:b")).Output);
        var used = await _daemon.Docker("rmi", "tags-1:a").MayFail();
        Assert.Equal(1, used.ExitCode);
        Assert.Contains("conflict: unable to remove repository reference \"tags-1:a\" (must force) - container ", used.Error);
        await _daemon.Docker("rm", "user-of-tags");
        var removed = (await _daemon.Docker("rmi", "tags-1:a")).Lines;
        Assert.Equal("Untagged: tags-1:a", removed[0]);
        Assert.Contains($"Deleted: {id}", removed);
    }

    [Fact]
    public async Task What_is_no_image_is_refused_and_leaves_nothing()
    {
        var before = (await _daemon.Docker("images", "-aq")).Output;
        var garbage = await _daemon.Docker("load").WithInput("this is not a tar\n").MayFail();
        Assert.Equal(1, garbage.ExitCode);
        Assert.NotEqual("", garbage.Error.Trim());
        var cut = Images.DockerArchive(Layer("cut"), "cut-1:a", "{}").AsSpan(0, 500_000).ToArray();
        Assert.Equal(1, (await _daemon.Docker("load").WithInput(cut).MayFail()).ExitCode);
        Assert.Equal(1, (await _daemon.Docker("import", "-", "cut-2:a").WithInput("garbage, too").MayFail()).ExitCode);
        Assert.Equal(before, (await _daemon.Docker("images", "-aq")).Output);
        var temporary = Directory.EnumerateFiles(Path.Combine(_daemon.DataRoot, "images"), "*", SearchOption.AllDirectories)
            .Select(f => Path.GetRelativePath(_daemon.DataRoot, f)).Where(f => f.Contains("tmp", StringComparison.OrdinalIgnoreCase));
        Assert.Empty(temporary);
    }

    [Fact]
    public async Task An_image_is_pulled_from_a_plain_registry_by_tag_platform_and_digest()
    {
        await using var registry = await LocalRegistry.StartAsync(_daemon.WorkDirectory);
        var arch = System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.Arm64 ? "arm64" : "amd64";
        var single = await registry.PushImageAsync("team/single", "1", Layer("pulled"), arch);
        var pulled = await _daemon.Docker("pull", $"{registry.Address}/team/single:1");
        Assert.Contains($"Digest: {single}", pulled.Output);
        Assert.Contains($"Status: Downloaded newer image for {registry.Address}/team/single:1", pulled.Output);
        await RunsAsync($"{registry.Address}/team/single:1", "pulled");
        Assert.Contains("Status: Image is up to date", (await _daemon.Docker("pull", $"{registry.Address}/team/single:1")).Output);

        var other = await registry.PushImageAsync("team/multi", "other", Layer("wrong one"), arch == "amd64" ? "arm64" : "amd64");
        var own = await registry.PushImageAsync("team/multi", "own", Layer("right one"), arch);
        await registry.PushIndexAsync("team/multi", "1", (other, arch == "amd64" ? "arm64" : "amd64"), (own, arch));
        await _daemon.Docker("pull", $"{registry.Address}/team/multi:1");
        await RunsAsync($"{registry.Address}/team/multi:1", "right one");
        // run pulls what is missing; a digest names exactly one.
        Assert.Equal("right one\n", (await _daemon.Docker("run", "--rm", $"{registry.Address}/team/multi@{own}", "cat", "/word")).Output);

        var missing = await _daemon.Docker("pull", $"{registry.Address}/team/nosuch:1").MayFail();
        Assert.Equal(1, missing.ExitCode);
        Assert.Contains("manifest unknown", missing.Error);
        foreach (var name in (string[])["team/single:1", "team/multi:1"])
            await _daemon.Docker("rmi", "-f", $"{registry.Address}/{name}");
    }

    /// <summary>Debian's docker-registry on a port of its own, filled over HTTP.</summary>
    private sealed class LocalRegistry : IAsyncDisposable
    {
        private readonly RunningCommand _server;
        private readonly HttpClient _http;

        private LocalRegistry(RunningCommand server, int port)
        {
            (_server, Address) = (server, string.Create(CultureInfo.InvariantCulture, $"localhost:{port}"));
            _http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        }

        public string Address { get; }

        public static async Task<LocalRegistry> StartAsync(string directory)
        {
            if ((await new Command("sh", ["-c", "command -v docker-registry"]).MayFail()).ExitCode != 0)
                Assert.Skip("docker-registry is not installed (apt-get install docker-registry)");
            using var probe = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            probe.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            var port = ((IPEndPoint)probe.LocalEndPoint!).Port;
            probe.Dispose();
            var config = Path.Combine(directory, "registry.yml");
            await File.WriteAllTextAsync(config, $"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {directory}/registry\nhttp:\n  addr: 127.0.0.1:{port}\n");
            var registry = new LocalRegistry(new Command("docker-registry", ["serve", config]).Start(), port);
            await Eventually.HoldsAsync("the registry answers", async () =>
            {
                try
                {
                    return (await registry._http.GetAsync("/v2/")).IsSuccessStatusCode;
                }
                catch (HttpRequestException)
                {
                    return false;
                }
            });
            return registry;
        }

        private async Task BlobAsync(string repository, byte[] content)
        {
            using var begun = await _http.PostAsync($"/v2/{repository}/blobs/uploads/", null);
            var location = begun.Headers.Location!.ToString();
            using var put = await _http.PutAsync($"{location}{(location.Contains('?') ? '&' : '?')}digest={Digest(content)}", new ByteArrayContent(content));
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);
        }

        private async Task<string> ManifestAsync(string repository, string tag, string type, string json)
        {
            var content = new ByteArrayContent(Encoding.UTF8.GetBytes(json));
            content.Headers.ContentType = new(type);
            using var put = await _http.PutAsync($"/v2/{repository}/manifests/{tag}", content);
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);
            return Digest(Encoding.UTF8.GetBytes(json));
        }

        public async Task<string> PushImageAsync(string repository, string tag, byte[] layer, string architecture)
        {
            var compressed = Gzip(layer);
            var config = Encoding.UTF8.GetBytes($$"""{"architecture":"{{architecture}}","os":"linux","config":{ {{PathEnvironment}} },"rootfs":{"type":"layers","diff_ids":["{{Digest(layer)}}"]} }""");
            await BlobAsync(repository, compressed);
            await BlobAsync(repository, config);
            return await ManifestAsync(repository, tag, "application/vnd.docker.distribution.manifest.v2+json",
                $$"""{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{{Digest(config)}}","size":{{config.Length}} },"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"{{Digest(compressed)}}","size":{{compressed.Length}} }]}""");
        }

        public async Task PushIndexAsync(string repository, string tag, params (string Digest, string Architecture)[] images)
        {
            var entries = new List<string>();
            foreach (var (digest, architecture) in images)
            {
                var size = (await _http.GetByteArrayAsync($"/v2/{repository}/manifests/{digest}")).Length;
                entries.Add($$"""{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"{{digest}}","size":{{size}},"platform":{"architecture":"{{architecture}}","os":"linux"} }""");
            }
            await ManifestAsync(repository, tag, "application/vnd.docker.distribution.manifest.list.v2+json",
                $$"""{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[{{string.Join(',', entries)}}]}""");
        }

        public ValueTask DisposeAsync()
        {
            _http.Dispose();
            _server.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
