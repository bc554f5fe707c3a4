using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>berth registry serve, with docker (on a Berth engine), skopeo and raw HTTP; killed, in front of another registry, and while garbage is collected.</summary>
public sealed class RegistryTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    // "secret", by htpasswd -nbBC 4.
    private const string Users = "alice:$2y$04$28a7aSQVKM1aId8Zy4.DSO3mU74lcTpFSekk8tVHZNoYvzr8pHcqK\n";
    private readonly TestDaemon _daemon = shared.Daemon;

    private static string Digest(byte[] content) => TestImage.Digest(content);

    private static byte[] RandomBytes(int length, int seed)
    {
        var content = new byte[length];
        new Random(seed).NextBytes(content);
        return content;
    }

    private static Command Skopeo(params string[] arguments) => new("skopeo", ["--insecure-policy", .. arguments]);

    private async Task<string> OciArchiveAsync(string name)
    {
        var path = Path.Combine(_daemon.WorkDirectory, name);
        await File.WriteAllBytesAsync(path, new TestImage().Layer(t => t.File("file", Encoding.UTF8.GetBytes(name))).Layer(t => t.File("other", RandomBytes(200_000, 1))).OciArchive());
        return path;
    }

    private static async Task PushBlobAsync(HttpClient http, string repository, byte[] content)
    {
        using var response = await http.PostAsync($"/v2/{repository}/blobs/uploads/?digest={Digest(content)}", new ByteArrayContent(content));
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
    }

    private static string Descriptor(byte[] blob) => $$"""{"mediaType":"application/x","digest":"{{Digest(blob)}}","size":{{blob.Length}}}""";

    private static async Task<HttpStatusCode> PushManifestAsync(HttpClient http, string repository, string tag, params byte[][] blobs)
    {
        var json = "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":" + Descriptor(blobs[0]) + ",\"layers\":[" + string.Join(',', blobs.Skip(1).Select(Descriptor)) + "]}";
        using var content = new ByteArrayContent(Encoding.UTF8.GetBytes(json));
        content.Headers.ContentType = new MediaTypeHeaderValue("application/vnd.oci.image.manifest.v1+json");
        using var response = await http.PutAsync($"/v2/{repository}/manifests/{tag}", content);
        return response.StatusCode;
    }

    [Fact]
    public async Task Docker_pushes_an_image_and_gets_it_back()
    {
        await using var registry = await BerthRegistry.StartAsync();
        var name = $"{registry.Host}/library/busybox:1";
        await _daemon.Docker("tag", Images.Busybox, name);
        var pushed = await _daemon.Docker("push", name);
        Assert.Contains("1: digest: sha256:", pushed.Output, StringComparison.Ordinal);
        await _daemon.Docker("tag", name, $"{registry.Host}/other:2");
        Assert.Contains("2: digest: sha256:", (await _daemon.Docker("push", $"{registry.Host}/other:2")).Output, StringComparison.Ordinal);
        await _daemon.Docker("rmi", name, $"{registry.Host}/other:2");
        Assert.Contains("Status: Downloaded newer image", (await _daemon.Docker("pull", name)).Output, StringComparison.Ordinal);
        Assert.Equal("hello\n", (await _daemon.Docker("run", "--rm", "--network", "none", name, "echo", "hello")).Output);
        await _daemon.Docker("rmi", name);
        Assert.Equal(0, await registry.StopAsync());
    }

    [Fact]
    public async Task Skopeo_copies_inspects_lists_and_deletes()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/skopeo"), "skopeo is not installed");
        await using var registry = await BerthRegistry.StartAsync();
        var archive = await OciArchiveAsync("skopeo.tar");
        var image = $"docker://{registry.Host}/a/b";
        await Skopeo("copy", "-q", "--dest-tls-verify=false", $"oci-archive:{archive}", $"{image}:one");
        await Skopeo("copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", $"{image}:one", $"docker://{registry.Host}/c:two"); // mounts
        await Skopeo("copy", "-q", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false", $"{image}:one", $"{image}:docker");
        Assert.Contains("\"one\"", (await Skopeo("list-tags", "--tls-verify=false", image)).Output, StringComparison.Ordinal);
        Assert.Contains("\"Layers\"", (await Skopeo("inspect", "--tls-verify=false", $"{image}:docker")).Output, StringComparison.Ordinal);
        await Skopeo("delete", "--tls-verify=false", $"{image}:one");
        Assert.NotEqual(0, (await Skopeo("inspect", "--tls-verify=false", $"{image}:one").MayFail()).ExitCode);
        await Skopeo("copy", "-q", "--src-tls-verify=false", $"docker://{registry.Host}/c:two", $"dir:{Path.Combine(_daemon.WorkDirectory, "skopeo-dir")}");
    }

    [Fact]
    public async Task Over_TLS_users_push_and_everybody_pulls()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/skopeo"), "skopeo is not installed");
        string At(string name) => Path.Combine(_daemon.WorkDirectory, name);
        using (var key = ECDsa.Create(ECCurve.NamedCurves.nistP256))
        {
            var request = new CertificateRequest("CN=registry", key, HashAlgorithmName.SHA256);
            var names = new SubjectAlternativeNameBuilder();
            names.AddIpAddress(IPAddress.Loopback);
            request.CertificateExtensions.Add(names.Build());
            using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
            await File.WriteAllTextAsync(At("registry.pem"), certificate.ExportCertificatePem());
            await File.WriteAllTextAsync(At("registry.key"), key.ExportPkcs8PrivateKeyPem());
        }
        await File.WriteAllTextAsync(At("users"), Users);
        await using var registry = await BerthRegistry.StartAsync("--tls-cert", At("registry.pem"), "--tls-key", At("registry.key"), "--htpasswd", At("users"), "--anonymous-read");
        var archive = await OciArchiveAsync("tls.tar");
        var image = $"docker://{registry.Host}/tls:1";
        Assert.NotEqual(0, (await Skopeo("copy", "-q", "--dest-tls-verify=false", $"oci-archive:{archive}", image).MayFail()).ExitCode);
        Assert.NotEqual(0, (await Skopeo("copy", "-q", "--dest-tls-verify=false", "--dest-creds", "alice:wrong", $"oci-archive:{archive}", image).MayFail()).ExitCode);
        await Skopeo("copy", "-q", "--dest-tls-verify=false", "--dest-creds", "alice:secret", $"oci-archive:{archive}", image);
        await Skopeo("copy", "-q", "--src-tls-verify=false", image, $"dir:{At("tls-dir")}");
        Assert.Contains("alice PUT /v2/tls/manifests/1 201", registry.Log, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_killed_registry_has_all_of_what_it_said_and_uploads_go_on()
    {
        await using var registry = await BerthRegistry.StartAsync();
        var whole = RandomBytes(1_000_000, 2);
        var config = "{}"u8.ToArray();
        await PushBlobAsync(registry.Http, "a", config);
        await PushBlobAsync(registry.Http, "a", whole);
        Assert.Equal(HttpStatusCode.Created, await PushManifestAsync(registry.Http, "a", "x", config, whole));

        var half = RandomBytes(3_000_000, 3);
        using var started = await registry.Http.PostAsync("/v2/a/blobs/uploads/", null);
        var location = started.Headers.Location!;
        // A request whose body does not end: the registry is killed in the middle of it.
        using var endless = new HttpRequestMessage(HttpMethod.Patch, location) { Content = new StreamContent(new StallingStream(half.AsMemory(0, 2_000_000))) };
        var patch = registry.Http.SendAsync(endless);
        await Eventually.HoldsAsync("2,000,000 bytes of the upload are on the disk", () => Directory.GetFiles(Path.Combine(registry.Root, "uploads"), "data", SearchOption.AllDirectories).Any(f => new FileInfo(f).Length == 2_000_000));
        await registry.KillAsync();
        await Assert.ThrowsAnyAsync<Exception>(() => patch);
        Assert.False(File.Exists(Path.Combine(registry.Root, "blobs/sha256", Digest(half)[7..])));

        await registry.LaunchAsync();
        using var image = await registry.Http.GetAsync("/v2/a/manifests/x");
        Assert.Equal(HttpStatusCode.OK, image.StatusCode);
        Assert.Equal(Digest(whole), Digest(await registry.Http.GetByteArrayAsync($"/v2/a/blobs/{Digest(whole)}")));
        using var status = await registry.Http.GetAsync(location);
        Assert.Equal(("0-1999999", HttpStatusCode.NoContent), (status.Headers.NonValidated["Range"].ToString(), status.StatusCode));
        using var rest = new ByteArrayContent(half, 2_000_000, 1_000_000);
        rest.Headers.TryAddWithoutValidation("Content-Range", "2000000-2999999");
        using var done = await registry.Http.PutAsync($"{location}?digest={Digest(half)}", rest);
        Assert.Equal(HttpStatusCode.Created, done.StatusCode);
        Assert.Equal(Digest(half), Digest(await registry.Http.GetByteArrayAsync($"/v2/a/blobs/{Digest(half)}")));
        Assert.Empty(Directory.GetDirectories(Path.Combine(registry.Root, "uploads")));
    }

    [Fact]
    public async Task A_cache_fetches_once_and_gives_out_what_it_has_when_the_other_registry_is_away()
    {
        var blob = RandomBytes(8_000_000, 4);
        var config = "{}"u8.ToArray();
        await using var origin = await BerthRegistry.StartAsync();
        await PushBlobAsync(origin.Http, "up/stream", config);
        await PushBlobAsync(origin.Http, "up/stream", blob);
        await PushManifestAsync(origin.Http, "up/stream", "latest", config, blob);
        await using var cache = await BerthRegistry.StartAsync("--proxy", $"http://{origin.Host}");
        Assert.Equal(HttpStatusCode.NotFound, (await cache.Http.GetAsync("/v2/up/none/manifests/latest")).StatusCode);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, (await cache.Http.PostAsync("/v2/up/stream/blobs/uploads/", null)).StatusCode);
        var manifest = await cache.Http.GetStringAsync("/v2/up/stream/manifests/latest");
        var all = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => cache.Http.GetByteArrayAsync($"/v2/up/stream/blobs/{Digest(blob)}")));
        Assert.All(all, got => Assert.Equal(Digest(blob), Digest(got)));
        Assert.Single(origin.Log.Split('\n'), line => line.Contains($"GET /v2/up/stream/blobs/{Digest(blob)}", StringComparison.Ordinal));
        using var part = new HttpRequestMessage(HttpMethod.Get, $"/v2/up/stream/blobs/{Digest(config)}") { Headers = { Range = new RangeHeaderValue(1, 1) } };
        Assert.Equal("}", await (await cache.Http.SendAsync(part)).Content.ReadAsStringAsync());

        // What the tag means changes there, and so here.
        await PushBlobAsync(origin.Http, "up/stream", "new"u8.ToArray());
        await PushManifestAsync(origin.Http, "up/stream", "latest", config, "new"u8.ToArray());
        Assert.NotEqual(manifest, manifest = await cache.Http.GetStringAsync("/v2/up/stream/manifests/latest"));
        Assert.Contains("\"latest\"", await cache.Http.GetStringAsync("/v2/up/stream/tags/list"), StringComparison.Ordinal);

        await origin.KillAsync();
        Assert.Equal(manifest, await cache.Http.GetStringAsync("/v2/up/stream/manifests/latest"));
        Assert.Equal(Digest(blob), Digest(await cache.Http.GetByteArrayAsync($"/v2/up/stream/blobs/{Digest(blob)}")));
        Assert.Contains("\"latest\"", await cache.Http.GetStringAsync("/v2/up/stream/tags/list"), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await cache.Http.GetAsync($"/v2/up/stream/blobs/{Digest("new"u8.ToArray())}")).StatusCode);
    }

    [Fact]
    public async Task Garbage_is_collected_while_images_are_pushed()
    {
        await using var registry = await BerthRegistry.StartAsync("--keep-unreferenced", "3s", "--access-log=false");
        using var ended = new CancellationTokenSource();
        var collecting = Task.Run(async () =>
        {
            while (!ended.IsCancellationRequested)
                Assert.Contains("collects its garbage now", (await new Command(Repository.Executable("berth"), ["registry", "gc", "--root", registry.Root],
                    new Dictionary<string, string> { ["PATH"] = $"{Path.GetDirectoryName(Repository.Executable("berthd"))}:/usr/bin:/bin" })).Output, StringComparison.Ordinal);
        });
        var shared = RandomBytes(50_000, 5);
        await Parallel.ForEachAsync(Enumerable.Range(0, 30), async (i, _) =>
        {
            byte[][] blobs = [Encoding.UTF8.GetBytes($"{{\"n\":{i}}}"), shared, RandomBytes(20_000, 100 + i)];
            foreach (var blob in blobs)
                await PushBlobAsync(registry.Http, $"r{i % 3}", blob);
            Assert.Equal(HttpStatusCode.Created, await PushManifestAsync(registry.Http, $"r{i % 3}", $"t{i}", blobs));
        });
        await ended.CancelAsync();
        await collecting;
        for (var i = 0; i < 30; i++)
            Assert.Equal(Digest(RandomBytes(20_000, 100 + i)), Digest(await registry.Http.GetByteArrayAsync($"/v2/r{i % 3}/blobs/{Digest(RandomBytes(20_000, 100 + i))}")));
        Assert.Equal(61, Directory.GetFiles(Path.Combine(registry.Root, "blobs/sha256")).Length);
        Assert.Equal(0, await registry.StopAsync());
    }

    [Fact]
    public async Task A_second_registry_on_the_same_root_is_refused_by_name()
    {
        await using var registry = await BerthRegistry.StartAsync();
        var second = await new Command(Repository.Executable("berthd"), ["registry", "serve", "--root", registry.Root, "--listen", "127.0.0.1:0"]).MayFail();
        Assert.Equal(1, second.ExitCode);
        Assert.Matches($@"^registry {registry.Root}: another process \(\d+\) serves it\n$", second.Error);
    }

    /// <summary>Some bytes, and then nothing, not even an end.</summary>
    private sealed class StallingStream(ReadOnlyMemory<byte> content) : MemoryStream(content.ToArray())
    {
        public override bool CanSeek => false;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var count = await base.ReadAsync(buffer, cancellationToken);
            if (count == 0) await Task.Delay(Timeout.Infinite, cancellationToken);
            return count;
        }
    }
}
