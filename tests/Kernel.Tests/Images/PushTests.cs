using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Berth.Images;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

public sealed class PushTests : IDisposable
{
    private readonly TestDirectory directory = new();
    private readonly ImageStore store;
    private readonly List<ImageEvent> events = [];

    public PushTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        store = Open("one");
    }

    public void Dispose()
    {
        store.Dispose();
        directory.Dispose();
    }

    private ImageStore Open(string name) => ImageStore.Open(directory[name], new ImageStoreOptions { OnEvent = events.Add, RetryUnit = TimeSpan.FromMilliseconds(1) });

    private static async Task LoadAsync(ImageStore into, TestImage image, params string[] names) =>
        await into.LoadAsync(new MemoryStream(image.DockerArchive(names)), null, quiet: true, _ => { }, TestContext.Current.CancellationToken);

    private async Task<List<string>> Push(string name, ImageStore? from = null, RegistryCredentials? credentials = null)
    {
        var lines = new List<string>();
        await (from ?? store).PushAsync(ImageReference.Parse(name), null, credentials,
            p => lines.Add(p.Pushed is { } pushed ? $"aux {pushed.Tag} {pushed.Digest} {pushed.SizeBytes}" : p.Id is null ? p.Status! : $"{p.Id}: {p.Status}"), TestContext.Current.CancellationToken);
        return [.. lines.Where(l => !l.EndsWith(": Pushing", StringComparison.Ordinal) && !l.EndsWith(": Waiting", StringComparison.Ordinal))];
    }

    private async Task<string> PushError(string name, RegistryCredentials? credentials = null) => (await Assert.ThrowsAsync<ImageException>(() => Push(name, credentials: credentials))).Message;

    private static TestImage Image(string marker = "one") => new TestImage().Layer(t => t.File("base", "base")).Layer(t => t.File("marker", marker));

    // A layer too large to be compressed in memory, that gzip can do little about.
    private static TestImage LargeImage(int bytes = 9_000_000)
    {
        var content = new byte[bytes];
        new Random(5).NextBytes(content);
        return new TestImage().Layer(t => t.File("large", content));
    }

    private static DockerRegistry Registry()
    {
        var registry = DockerRegistry.Start();
        Assert.SkipWhen(registry is null, "the package docker-registry is not to be had");
        return registry!;
    }

    private static string Short(string digest) => digest[7..19];

    private static string DigestOf(List<string> lines) => lines[^1].Split(' ')[2];

    private static byte[] Gunzip(byte[] blob)
    {
        var plain = new MemoryStream();
        using (var gzip = new GZipStream(new MemoryStream(blob), CompressionMode.Decompress)) gzip.CopyTo(plain);
        return plain.ToArray();
    }

    [Fact]
    public async Task An_image_is_pushed_to_a_real_registry_with_docker_s_lines_and_another_store_pulls_it()
    {
        using var registry = Registry();
        var image = Image();
        var name = $"{registry.Host}/some/app:1";
        await LoadAsync(store, image, name);
        events.Clear();
        var layers = image.Layers.Reverse().Select(l => Short(TestImage.Digest(l))).ToList();

        var lines = await Push(name);
        Assert.Equal([$"The push refers to repository [{registry.Host}/some/app]", $"{layers[0]}: Preparing", $"{layers[1]}: Preparing"], lines[..3]);
        Assert.Equal(layers.Select(l => $"{l}: Pushed").Order(), lines[3..5].Order());
        var digest = DigestOf(lines);
        var size = lines[^1].Split(' ')[3];
        Assert.Equal([$"1: digest: {digest} size: {size}", $"aux 1 {digest} {size}"], lines[5..]);
        Assert.Equal([$"{registry.Host}/some/app@{digest}"], store.Get(name).RepoDigests);
        var push = Assert.Single(events);
        Assert.Equal(("push", name, $"{registry.Host}/some/app"), (push.Action, push.ActorId, push.Name));

        using var other = Open("two");
        await other.PullAsync(ImageReference.Parse(name), null, null, _ => { }, TestContext.Current.CancellationToken);
        Assert.Equal(image.Id, other.Get($"{registry.Host}/some/app@{digest}").Id.ToString());
    }

    [Fact]
    public async Task What_the_registry_has_is_not_sent_again_and_what_another_repository_has_is_mounted()
    {
        using var registry = Registry();
        var image = Image();
        var (name, second) = ($"{registry.Host}/a:1", $"{registry.Host}/b:1");
        await LoadAsync(store, image, name, second);
        var first = await Push(name);
        var again = await Push(name);
        Assert.Equal(2, again.Count(l => l.EndsWith(": Layer already exists", StringComparison.Ordinal)));
        var mounted = await Push(second);
        Assert.Equal(2, mounted.Count(l => l.EndsWith(": Mounted from a", StringComparison.Ordinal)));
        Assert.Equal([DigestOf(first), DigestOf(first)], [DigestOf(again), DigestOf(mounted)]);
    }

    [Fact]
    public async Task Two_stores_that_never_met_push_the_same_bytes()
    {
        using UploadRegistry one = new(), two = new();
        using var other = Open("two");
        var image = LargeImage().Layer(t => t.File("small", "s"));
        await LoadAsync(store, image, $"{one.Host}/app:1");
        await LoadAsync(other, image, $"{two.Host}/app:1");
        Assert.Equal(DigestOf(await Push($"{one.Host}/app:1")), DigestOf(await Push($"{two.Host}/app:1", other)));
        Assert.Equal(one.Blobs.Keys.Order(), two.Blobs.Keys.Order());
    }

    [Fact]
    public async Task A_manifest_is_docker_s_unless_the_image_came_with_another_kind()
    {
        using var registry = new UploadRegistry();
        var image = Image();
        await LoadAsync(store, image, $"{registry.Host}/app:1");
        var lines = await Push($"{registry.Host}/app:1");
        var (bytes, type) = registry.Manifests["app:1"];
        Assert.Equal("application/vnd.docker.distribution.manifest.v2+json", type);
        Assert.Equal(DigestOf(lines), TestImage.Digest(bytes));
        // Docker's own form, to the byte: its digests are compared with ours.
        var layers = image.Layers.Select(l => registry.Blobs.Single(b => b.Key != image.Id && Gunzip(b.Value).AsSpan().SequenceEqual(l))).ToList();
        var parts = string.Join(",\n", layers.Select(l => $$"""
                  {
                     "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                     "size": {{l.Value.Length}},
                     "digest": "{{l.Key}}"
                  }
            """));
        Assert.Equal($$"""
            {
               "schemaVersion": 2,
               "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
               "config": {
                  "mediaType": "application/vnd.docker.container.image.v1+json",
                  "size": {{image.Config.Length}},
                  "digest": "{{image.Id}}"
               },
               "layers": [
            {{parts}}
               ]
            }
            """, Encoding.UTF8.GetString(bytes));
    }

    [Fact]
    public async Task A_pulled_image_keeps_kind_and_digest_where_its_layers_can_be_mounted()
    {
        using var registry = Registry();
        var image = Image();
        var digest = await registry.PushAsync("from", "1", image, oci: true);
        await store.PullAsync(ImageReference.Parse($"{registry.Host}/from:1"), null, null, _ => { }, TestContext.Current.CancellationToken);
        store.Tag(store.Get($"{registry.Host}/from:1").Id, ImageReference.Parse($"{registry.Host}/to:1"));
        var lines = await Push($"{registry.Host}/to:1");
        Assert.Equal(2, lines.Count(l => l.EndsWith(": Mounted from from", StringComparison.Ordinal)));
        Assert.Equal(digest, DigestOf(lines));

        // Elsewhere the layers are compressed anew; the kind stays.
        using var elsewhere = new UploadRegistry();
        store.Tag(store.Get($"{registry.Host}/from:1").Id, ImageReference.Parse($"{elsewhere.Host}/to:1"));
        await Push($"{elsewhere.Host}/to:1");
        var (bytes, type) = elsewhere.Manifests["to:1"];
        Assert.Equal("application/vnd.oci.image.manifest.v1+json", type);
        using var manifest = JsonDocument.Parse(bytes);
        Assert.All(manifest.RootElement.GetProperty("layers").EnumerateArray(), l => Assert.Equal("application/vnd.oci.image.layer.v1.tar+gzip", l.GetProperty("mediaType").GetString()));
    }

    [Fact]
    public async Task All_tags_are_pushed_when_none_is_named()
    {
        using var registry = new UploadRegistry();
        await LoadAsync(store, Image("a"), $"{registry.Host}/app:a");
        await LoadAsync(store, Image("b"), $"{registry.Host}/app:b", $"{registry.Host}/app:c");
        var lines = await Push($"{registry.Host}/app");
        Assert.Equal(["a", "b", "c"], lines.Where(l => l.StartsWith("aux", StringComparison.Ordinal)).Select(l => l.Split(' ')[1]));
        Assert.Equal(["app:a", "app:b", "app:c"], registry.Manifests.Keys.Order());
        // The layer they share, sent once.
        Assert.Equal(5, registry.Blobs.Count);
    }

    [Fact]
    public async Task A_broken_upload_goes_on_where_the_registry_says_it_stopped()
    {
        using var registry = new UploadRegistry { CutFirstPatchAfter = 3_000_001 };
        var image = LargeImage();
        await LoadAsync(store, image, $"{registry.Host}/app:1");
        var lines = await Push($"{registry.Host}/app:1");
        Assert.Contains(lines, l => l.EndsWith("Retrying in 1 second", StringComparison.Ordinal));
        Assert.Equal(["PATCH /v2/app/blobs/uploads/…", "GET /v2/app/blobs/uploads/…", "PATCH /v2/app/blobs/uploads/…", "PUT /v2/app/blobs/uploads/…"],
            registry.Requests.SkipWhile(r => !r.StartsWith("PATCH", StringComparison.Ordinal)).Take(4));
        Assert.Contains(registry.Blobs.Values, b => b.Length > 1_000_000 && Gunzip(b).AsSpan().SequenceEqual(image.Layers[0]));
    }

    [Fact]
    public async Task A_busy_registry_is_left_alone_for_as_long_as_it_says()
    {
        using var registry = new UploadRegistry();
        var (posts, manifests) = (0, 0);
        registry.Instead = context => context.Request switch
        {
            { HttpMethod: "POST" } when posts++ == 0 => UploadRegistry.Fail(context, 503, "UNAVAILABLE", "later", ("Retry-After", "3")),
            { HttpMethod: "PUT", Url.AbsolutePath: "/v2/app/manifests/1" } when manifests++ == 0 => UploadRegistry.Fail(context, 429, "TOOMANYREQUESTS", "slow down", ("Retry-After", "2")),
            _ => false,
        };
        await LoadAsync(store, new TestImage().Layer(t => t.File("a", "a")), $"{registry.Host}/app:1");
        var lines = await Push($"{registry.Host}/app:1");
        Assert.Equal(["Retrying in 3 seconds", "Retrying in 2 seconds", "Retrying in 1 second"], lines.Where(l => l.Contains("Retrying", StringComparison.Ordinal)).Select(l => l[14..]));
        Assert.True(registry.Manifests.ContainsKey("app:1"));
    }

    [Fact]
    public async Task A_registry_that_says_no_is_quoted_and_left_nothing()
    {
        using var registry = new UploadRegistry();
        await LoadAsync(store, LargeImage(), $"{registry.Host}/app:1");
        registry.Instead = c => c.Request.HttpMethod == "POST" && UploadRegistry.Fail(c, 403, "DENIED", "requested access to the resource is denied");
        Assert.Equal("denied: requested access to the resource is denied", await PushError($"{registry.Host}/app:1"));
        Assert.Single(registry.Requests, r => r.StartsWith("POST", StringComparison.Ordinal));

        // It takes the blob and refuses to keep it: tried again from the beginning, then given up.
        registry.Instead = c => c.Request.HttpMethod == "PUT" && UploadRegistry.Fail(c, 400, "DIGEST_INVALID", "provided digest did not match uploaded content");
        Assert.Equal("digest invalid: provided digest did not match uploaded content", await PushError($"{registry.Host}/app:1"));
        Assert.Equal(5, registry.Requests.Count(r => r.StartsWith("PATCH", StringComparison.Ordinal)));
        Assert.Empty(store.Get($"{registry.Host}/app:1").RepoDigests);
    }

    [Fact]
    public async Task A_layer_damaged_on_disk_does_not_reach_a_registry()
    {
        using var registry = new UploadRegistry();
        await LoadAsync(store, LargeImage(), $"{registry.Host}/app:1");
        var file = Path.Combine(store.Get($"{registry.Host}/app:1").LayerDirectories[0], "large");
        using (var open = File.OpenWrite(file)) open.Write("damage"u8);
        Assert.Contains("damaged", await PushError($"{registry.Host}/app:1"), StringComparison.Ordinal);
        Assert.Empty(registry.Manifests);
        Assert.Empty(registry.Blobs);
        Assert.Equal(0, registry.UnfinishedUploads);
    }

    [Fact]
    public async Task Names_that_cannot_be_pushed_are_refused_in_docker_s_words()
    {
        await LoadAsync(store, Image(), "host.invalid/app:1");
        Assert.Equal("An image does not exist locally with the tag: host.invalid/other", await PushError("host.invalid/other:1"));
        Assert.Equal("tag does not exist: host.invalid/app:2", await PushError("host.invalid/app:2"));
        Assert.Equal("cannot push a digest reference", await PushError($"host.invalid/app@{Image().Id}"));
        Assert.StartsWith("Get \"https://host.invalid/v2/\": dial tcp: lookup host.invalid", await PushError("host.invalid/app:1"), StringComparison.Ordinal);
        var wrong = await Assert.ThrowsAsync<ImageException>(() => store.PushAsync(ImageReference.Parse("host.invalid/app:1"), Platform.Parse("linux/s390x"), null, _ => { }, TestContext.Current.CancellationToken));
        Assert.Equal(ImageErrorKind.NotFound, wrong.Kind);
    }

    [Fact]
    public async Task The_token_asked_for_may_push_and_read_what_is_mounted()
    {
        using var registry = new UploadRegistry();
        var asked = new List<string>();
        registry.Instead = context =>
        {
            var request = context.Request;
            if (request.Url!.AbsolutePath == "/token")
            {
                lock (asked) asked.Add(string.Join(' ', request.QueryString.GetValues("scope") ?? []) + " " + request.Headers["Authorization"]);
                context.Response.Close("""{"token":"t"}"""u8.ToArray(), willBlock: true);
                return true;
            }
            return request.Headers["Authorization"] != "Bearer t"
                && UploadRegistry.Fail(context, 401, "UNAUTHORIZED", "authentication required", ("WWW-Authenticate", $"Bearer realm=\"http://{registry.Host}/token\",service=\"s\""));
        };
        var login = new RegistryCredentials("alice", "secret", null, null);
        await LoadAsync(store, Image(), $"{registry.Host}/a:1", $"{registry.Host}/b:1");
        await Push($"{registry.Host}/a:1", credentials: login);
        await Push($"{registry.Host}/b:1", credentials: login);
        var basic = "Basic " + Convert.ToBase64String("alice:secret"u8);
        Assert.Equal([$"repository:a:pull,push {basic}", $"repository:b:pull,push repository:a:pull {basic}"], asked);
    }

    [Fact]
    public async Task The_memory_of_pushes_survives_a_restart_and_a_lie()
    {
        using var registry = new UploadRegistry();
        await LoadAsync(store, Image(), $"{registry.Host}/app:1");
        var first = DigestOf(await Push($"{registry.Host}/app:1"));
        store.Dispose();
        using var again = Open("one");
        Assert.Equal(2, (await Push($"{registry.Host}/app:1", again)).Count(l => l.EndsWith("Layer already exists", StringComparison.Ordinal)));
        // The registry was emptied behind our back.
        registry.Blobs.Clear();
        var lines = await Push($"{registry.Host}/app:1", again);
        Assert.Equal(2, lines.Count(l => l.EndsWith(": Pushed", StringComparison.Ordinal)));
        Assert.Equal(first, DigestOf(lines));
    }
}
