using System.Text;
using Berth.Images;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

public sealed class PullTests : IDisposable
{
    private readonly TestDirectory directory = new();
    private readonly ImageStore store;
    private readonly List<ImageEvent> events = [];

    public PullTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        store = ImageStore.Open(directory.Path, new ImageStoreOptions { OnEvent = events.Add, RetryUnit = TimeSpan.FromMilliseconds(1) });
    }

    public void Dispose()
    {
        store.Dispose();
        directory.Dispose();
    }

    private async Task<List<string>> Pull(string name, string? platform = null, RegistryCredentials? credentials = null)
    {
        var lines = new List<string>();
        await store.PullAsync(ImageReference.Parse(name), platform is null ? null : Platform.Parse(platform), credentials,
            p => lines.Add(p.Id is null ? p.Status! : $"{p.Id}: {p.Status}"), TestContext.Current.CancellationToken);
        return [.. lines.Where(l => !l.EndsWith("Downloading", StringComparison.Ordinal) && !l.EndsWith("Waiting", StringComparison.Ordinal))];
    }

    private async Task<string> PullError(string name, ImageErrorKind kind = ImageErrorKind.System, RegistryCredentials? credentials = null)
    {
        var error = await Assert.ThrowsAsync<ImageException>(() => Pull(name, credentials: credentials));
        Assert.Equal(kind, error.Kind);
        await store.Discarding;
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/tmp"]));
        return error.Message;
    }

    private static TestImage Image(string marker = "one") => new TestImage().Layer(t => t.File("base", "base")).Layer(t => t.File("marker", marker));

    private static DockerRegistry Registry()
    {
        var registry = DockerRegistry.Start();
        Assert.SkipWhen(registry is null, "the package docker-registry is not to be had");
        return registry!;
    }

    private static string Short(string digest) => digest[7..19];

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task An_image_is_pulled_from_a_real_registry_with_docker_s_lines(bool oci)
    {
        using var registry = Registry();
        var image = Image();
        var digest = await registry.PushAsync("some/app", "1", image, oci);
        var layers = image.Manifest(oci).Blobs.Skip(1).Select(b => Short(TestImage.Digest(b))).ToList();

        var lines = await Pull($"{registry.Host}/some/app:1");
        Assert.Equal("1: Pulling from some/app", lines[0]);
        Assert.Equal([$"{layers[0]}: Pulling fs layer", $"{layers[1]}: Pulling fs layer"], lines[1..3]);
        foreach (var layer in layers)
            Assert.Equal(["Pulling fs layer", "Verifying Checksum", "Download complete", "Extracting", "Pull complete"], lines.Where(l => l.StartsWith(layer, StringComparison.Ordinal)).Select(l => l[14..]));
        Assert.Equal([$"Digest: {digest}", $"Status: Downloaded newer image for {registry.Host}/some/app:1"], lines[^2..]);

        var found = store.Get($"{registry.Host}/some/app:1");
        Assert.Equal(image.Id, found.Id.ToString());
        Assert.Equal([$"{registry.Host}/some/app@{digest}"], found.RepoDigests);
        Assert.Equal("one", File.ReadAllText(Path.Combine(found.LayerDirectories[0], "marker")));
        var pull = Assert.Single(events);
        Assert.Equal(("pull", $"{registry.Host}/some/app:1", $"{registry.Host}/some/app"), (pull.Action, pull.ActorId, pull.Name));

        Assert.Equal(["1: Pulling from some/app", $"Digest: {digest}", $"Status: Image is up to date for {registry.Host}/some/app:1"], await Pull($"{registry.Host}/some/app:1"));
    }

    [Fact]
    public async Task Layers_that_are_here_are_not_fetched_again()
    {
        using var registry = Registry();
        var first = Image("one");
        var second = Image("two");
        await registry.PushAsync("app", "1", first);
        await registry.PushAsync("app", "2", second);
        await Pull($"{registry.Host}/app:1");
        Assert.Contains($"{Short(TestImage.Digest(second.Manifest().Blobs[1]))}: Already exists", await Pull($"{registry.Host}/app:2"));
    }

    [Fact]
    public async Task By_digest_an_image_gets_no_tag()
    {
        using var registry = Registry();
        var digest = await registry.PushAsync("app", "1", Image());
        var name = $"{registry.Host}/app@{digest}";
        var lines = await Pull(name);
        Assert.Equal($"{name}: Pulling from app", lines[0]);
        Assert.Equal($"Status: Downloaded newer image for {name}", lines[^1]);
        Assert.Empty(store.Get(name).RepoTags);
        Assert.Equal([name], store.Get(name).RepoDigests);
    }

    [Fact]
    public async Task All_tags_are_pulled_when_none_is_named()
    {
        using var registry = Registry();
        foreach (var tag in new[] { "a", "b", "c" }) await registry.PushAsync("app", tag, Image(tag));
        Assert.Equal($"Status: Downloaded newer image for {registry.Host}/app", (await Pull($"{registry.Host}/app"))[^1]);
        Assert.Equal(3, store.All.Count);
    }

    [Fact]
    public async Task Of_an_index_the_image_for_the_platform_is_taken()
    {
        using var registry = Registry();
        TestImage For(string architecture) => new TestImage { ConfigMembers = $"\"os\":\"linux\",\"architecture\":\"{architecture}\"" }.Layer(t => t.File("arch", architecture));
        var (amd, arm, s390) = (For("amd64"), For("arm64"), For("s390x"));
        var digest = await registry.PushIndexAsync("app", "1", ("unknown/unknown", s390), ("linux/arm64/v8", arm), ("linux/amd64", amd));

        await Pull($"{registry.Host}/app:1", "linux/amd64");
        Assert.Equal(amd.Id, store.Get($"{registry.Host}/app:1").Id.ToString());
        Assert.Equal([$"{registry.Host}/app@{digest}"], store.Get($"{registry.Host}/app:1").RepoDigests);
        await Pull($"{registry.Host}/app:1", "linux/arm64");
        Assert.Equal(arm.Id, store.Get($"{registry.Host}/app:1").Id.ToString());
        var error = await Assert.ThrowsAsync<ImageException>(() => Pull($"{registry.Host}/app:1", "linux/riscv64"));
        Assert.Equal("no matching manifest for linux/riscv64 in the manifest list entries", error.Message);
    }

    [Fact]
    public async Task A_single_image_for_another_platform_is_pulled_with_a_warning()
    {
        using var registry = Registry();
        await registry.PushAsync("app", "1", Image());
        var name = $"{registry.Host}/app:1";
        Assert.Equal($"WARNING: image with reference {name} was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)", (await Pull(name, "linux/arm64"))[^1]);
    }

    [Fact]
    public async Task What_a_registry_does_not_have_is_said_in_docker_s_words()
    {
        using var registry = Registry();
        await registry.PushAsync("app", "1", Image());
        Assert.Equal($"manifest for {registry.Host}/app:2 not found: manifest unknown: manifest unknown", await PullError($"{registry.Host}/app:2", ImageErrorKind.NotFound));
        Assert.Equal($"manifest for {registry.Host}/none:latest not found: manifest unknown: manifest unknown", await PullError($"{registry.Host}/none:latest", ImageErrorKind.NotFound));
        Assert.Equal($"repository {registry.Host}/none not found: name unknown: repository name not known to registry", await PullError($"{registry.Host}/none", ImageErrorKind.NotFound));
    }

    [Fact]
    public async Task A_registry_that_is_not_there_is_said_in_docker_s_words()
    {
        Assert.Equal("Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused", await PullError("127.0.0.1:1/x:1"));
        Assert.Equal("'scratch' is a reserved name", await PullError("scratch", ImageErrorKind.Forbidden));
    }

    [Fact]
    public async Task The_same_image_pulled_by_many_at_once_is_downloaded_once()
    {
        using var registry = new FakeRegistry();
        var image = Image();
        registry.Serve("app", "1", image);
        await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => Pull($"{registry.Host}/app:1")));
        var layer = TestImage.Digest(image.Manifest().Blobs[1]);
        Assert.Single(registry.Requests, r => r.Path.EndsWith(layer, StringComparison.Ordinal));
        Assert.Equal(image.Id, Assert.Single(store.All).Id.ToString());
    }

    [Fact]
    public async Task A_layer_with_another_content_than_its_digest_is_refused()
    {
        using var registry = new FakeRegistry();
        var image = Image();
        registry.Serve("app", "1", image);
        var blobs = image.Manifest().Blobs;
        var digest = TestImage.Digest(blobs[1]);

        registry.Serve($"/v2/app/blobs/{digest}", [.. blobs[1][..^1], (byte)(blobs[1][^1] ^ 1)]);
        Assert.Equal($"filesystem layer verification failed for digest {digest}", await PullError($"{registry.Host}/app:1"));
        registry.Serve($"/v2/app/blobs/{digest}", [.. blobs[1], 0]);
        Assert.Equal($"filesystem layer verification failed for digest {digest}", await PullError($"{registry.Host}/app:1"));
        registry.Serve($"/v2/app/blobs/{digest}", [.. Enumerable.Repeat((byte)'x', blobs[1].Length)]);
        Assert.Equal($"filesystem layer verification failed for digest {digest}", await PullError($"{registry.Host}/app:1"));
        Assert.Empty(store.All);
    }

    [Fact]
    public async Task A_configuration_or_manifest_with_another_content_is_refused()
    {
        using var registry = new FakeRegistry();
        var image = Image();
        registry.Serve("app", "1", image);
        registry.Serve($"/v2/app/blobs/{image.Id}", "{}"u8.ToArray());
        Assert.Equal($"error pulling image configuration: image config verification failed for digest {image.Id}", await PullError($"{registry.Host}/app:1"));

        var wrong = "sha256:" + new string('a', 64);
        registry.Serve($"/v2/app/manifests/{wrong}", image.Manifest().Manifest);
        Assert.Equal($"manifest verification failed for digest {wrong}", await PullError($"{registry.Host}/app@{wrong}"));
    }

    [Fact]
    public async Task A_layer_that_unpacks_to_something_else_than_the_configuration_says_is_refused()
    {
        using var registry = new FakeRegistry();
        var image = Image();
        var (manifest, blobs) = image.Manifest();
        var other = Encoding.UTF8.GetString(manifest).Replace(TestImage.Digest(blobs[1]), TestImage.Digest(blobs[2])).Replace($"\"size\":{blobs[1].Length}", $"\"size\":{blobs[2].Length}");
        registry.Serve("app", "1", image);
        registry.Serve("/v2/app/manifests/1", Encoding.UTF8.GetBytes(other));
        Assert.Equal("layers from manifest don't match image configuration", await PullError($"{registry.Host}/app:1"));
    }

    [Fact]
    public async Task A_manifest_that_is_too_large_is_not_read()
    {
        using var registry = new FakeRegistry();
        registry.Serve("/v2/app/manifests/1", new byte[Manifest.MaxBytes + 1]);
        Assert.Equal($"manifest 1 is larger than {Manifest.MaxBytes} bytes", await PullError($"{registry.Host}/app:1"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_download_that_breaks_off_goes_on_where_it_was(bool ranges)
    {
        using var registry = new FakeRegistry();
        var random = new byte[3_000_000];
        new Random(1).NextBytes(random);
        var image = new TestImage().Layer(t => t.File("big", random));
        registry.Serve("app", "1", image);
        var blob = image.Manifest().Blobs[1];
        var path = $"/v2/app/blobs/{TestImage.Digest(blob)}";
        var tries = 0;
        registry.Answers[path] = request =>
        {
            tries++;
            var from = ranges && request.Headers.TryGetValue("Range", out var range) ? int.Parse(range["bytes=".Length..^1]) : 0;
            int? cut = tries <= 2 ? Math.Min(blob.Length - from, 1_000_000) : null;
            return from > 0
                ? new FakeRegistry.Answer(206, blob[from..], cut, ("Content-Range", $"bytes {from}-{blob.Length - 1}/{blob.Length}"))
                : new FakeRegistry.Answer(200, blob, cut);
        };
        var lines = await Pull($"{registry.Host}/app:1");
        Assert.Contains(lines, l => l.Contains("Retrying in 5 seconds", StringComparison.Ordinal));
        Assert.Equal(3, tries);
        Assert.Equal(random, File.ReadAllBytes(Path.Combine(store.Get($"{registry.Host}/app:1").LayerDirectories[0], "big")));
    }

    [Fact]
    public async Task A_download_that_always_breaks_off_fails_and_no_image_is_there()
    {
        using var registry = new FakeRegistry();
        var image = Image();
        registry.Serve("app", "1", image);
        var blob = image.Manifest().Blobs[1];
        registry.Answers[$"/v2/app/blobs/{TestImage.Digest(blob)}"] = _ => new FakeRegistry.Answer(200, blob, CutAfter: 10);
        await PullError($"{registry.Host}/app:1");
        Assert.Empty(store.All);
        store.RemoveUnfinished();
        await store.Discarding;
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/layers"]));
    }

    [Fact]
    public async Task A_hostile_layer_is_refused_by_a_pull_too()
    {
        using var registry = new FakeRegistry();
        registry.Serve("app", "1", new TestImage().Layer(t => t.File("../evil", "x")));
        Assert.Equal("failed to register layer: refused \"../evil\": its name contains \"..\"", await PullError($"{registry.Host}/app:1"));
    }

    [Fact]
    public async Task Credentials_go_to_the_token_server_and_the_token_to_the_registry_and_neither_to_where_it_redirects()
    {
        using var registry = new FakeRegistry();
        using var storage = new FakeRegistry();
        var image = Image();
        registry.Serve("app", "1", image);
        foreach (var blob in image.Manifest().Blobs)
        {
            storage.Serve("/" + TestImage.Digest(blob), blob);
            registry.Answers[$"/v2/app/blobs/{TestImage.Digest(blob)}"] = _ => new FakeRegistry.Answer(307, [], null, ("Location", $"http://{storage.Host}/{TestImage.Digest(blob)}"));
        }
        foreach (var (path, answer) in registry.Answers.ToList())
            registry.Answers[path] = request => request.Headers.GetValueOrDefault("Authorization") == "Bearer t0ken" ? answer(request)
                : new FakeRegistry.Answer(401, "{}"u8.ToArray(), null, ("WWW-Authenticate", $"Bearer realm=\"http://{registry.Host}/token?x=1\",service=\"the, service\",scope=\"repository:app:pull\""));
        registry.Answers["/token"] = request => request.Headers.GetValueOrDefault("Authorization") == "Basic dXNlcjpwYXNz"
            ? FakeRegistry.Answer.Ok("{\"token\":\"t0ken\"}"u8.ToArray()) : FakeRegistry.Answer.Error(401, "UNAUTHORIZED", "incorrect username or password");

        await Pull($"{registry.Host}/app:1", credentials: new RegistryCredentials("user", "pass", null, null));
        var token = registry.Requests.First(r => r.Path.StartsWith("/token", StringComparison.Ordinal));
        Assert.Equal("/token?x=1&service=the%2C%20service&scope=repository%3Aapp%3Apull&account=user", token.Path);
        Assert.NotEmpty(storage.Requests);
        Assert.All(storage.Requests, r => Assert.False(r.Headers.ContainsKey("Authorization")));

        Assert.Equal("unauthorized: incorrect username or password", await PullError($"{registry.Host}/app:1", credentials: new RegistryCredentials("user", "wrong", null, null)));
    }

    [Fact]
    public async Task Refusals_of_a_registry_are_said_in_docker_s_words()
    {
        using var registry = new FakeRegistry();
        registry.Answers["/v2/denied/manifests/1"] = _ => FakeRegistry.Answer.Error(403, "DENIED", "requested access to the resource is denied");
        registry.Answers["/v2/basic/manifests/1"] = _ => new FakeRegistry.Answer(401, [], null, ("WWW-Authenticate", "Basic realm=\"x\""));
        registry.Answers["/v2/scope/manifests/1"] = _ => new FakeRegistry.Answer(401, [], null, ("WWW-Authenticate", "Bearer error=\"insufficient_scope\""));
        registry.Answers["/v2/broken/manifests/1"] = _ => new FakeRegistry.Answer(500, []);
        registry.Answers["/v2/busy/manifests/1"] = _ => FakeRegistry.Answer.Error(429, "TOOMANYREQUESTS", "slow down");

        Assert.Equal($"pull access denied for {registry.Host}/denied, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", await PullError($"{registry.Host}/denied:1", ImageErrorKind.NotFound));
        Assert.Equal($"Head \"http://{registry.Host}/v2/basic/manifests/1\": no basic auth credentials", await PullError($"{registry.Host}/basic:1"));
        Assert.Equal($"pull access denied for {registry.Host}/scope, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", await PullError($"{registry.Host}/scope:1", ImageErrorKind.NotFound));
        Assert.Equal("received unexpected HTTP status: 500 Status", await PullError($"{registry.Host}/broken:1"));
        Assert.Equal("toomanyrequests: slow down", await PullError($"{registry.Host}/busy:1"));
    }

    [Fact]
    public async Task What_is_no_image_is_refused()
    {
        using var registry = new FakeRegistry();
        string Manifest(string config, string layer) => $$"""{"schemaVersion":2,"config":{"mediaType":"{{config}}","digest":"sha256:{{new string('a', 64)}}","size":1},"layers":[{"mediaType":"{{layer}}","digest":"sha256:{{new string('b', 64)}}","size":1}]}""";
        registry.Serve("/v2/app/manifests/helm", Encoding.UTF8.GetBytes(Manifest("application/vnd.cncf.helm.config.v1+json", "x")));
        registry.Serve("/v2/app/manifests/plugin", Encoding.UTF8.GetBytes(Manifest("application/vnd.docker.plugin.v1+json", "x")));
        registry.Serve("/v2/app/manifests/json", "{"u8.ToArray());
        registry.Serve("/v2/app/manifests/both", Encoding.UTF8.GetBytes(Manifest("application/vnd.oci.image.config.v1+json", "x").Replace("\"config\"", "\"manifests\":[],\"config\"")));

        Assert.Equal("unsupported media type application/vnd.cncf.helm.config.v1+json", await PullError($"{registry.Host}/app:helm", ImageErrorKind.InvalidParameter));
        Assert.Equal("Encountered remote \"application/vnd.docker.plugin.v1+json\"(plugin) when fetching", await PullError($"{registry.Host}/app:plugin", ImageErrorKind.InvalidParameter));
        await PullError($"{registry.Host}/app:json", ImageErrorKind.InvalidParameter);
        await PullError($"{registry.Host}/app:both", ImageErrorKind.InvalidParameter);
    }

    [Fact]
    public async Task A_pull_that_is_given_up_leaves_nothing()
    {
        using var registry = new FakeRegistry();
        var image = Image();
        registry.Serve("app", "1", image);
        using var cancelled = new CancellationTokenSource();
        var reached = new TaskCompletionSource();
        registry.Answers[$"/v2/app/blobs/{TestImage.Digest(image.Manifest().Blobs[1])}"] = request =>
        {
            reached.SetResult();
            cancelled.Token.WaitHandle.WaitOne();
            return FakeRegistry.Answer.Ok([]);
        };
        var pull = store.PullAsync(ImageReference.Parse($"{registry.Host}/app:1"), null, null, _ => { }, cancelled.Token);
        await reached.Task;
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pull);
        Assert.Empty(store.All);
        store.RemoveUnfinished(); // what was whole by then is kept for the next pull
        await store.Discarding;
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/tmp"]));
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/layers"]));
    }
}
