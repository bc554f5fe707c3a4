using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json.Nodes;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>docker push, login, search and manifest inspect against our registry and Debian's docker-registry; the texts are those of Docker Engine 28.5.</summary>
public sealed class PushTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    // "secret", by htpasswd -nbBC 4.
    private const string Users = "alice:$2y$04$28a7aSQVKM1aId8Zy4.DSO3mU74lcTpFSekk8tVHZNoYvzr8pHcqK\n";

    private readonly TestDaemon _daemon = shared.Daemon;

    private string At(string name) => Path.Combine(_daemon.WorkDirectory, name);

    /// <summary>One of the two kinds of registry.</summary>
    private sealed class Peer(string host, Func<ValueTask> stop) : IAsyncDisposable
    {
        public string Host => host;
        public ValueTask DisposeAsync() => stop();
    }

    private async Task<Peer> StartAsync(string kind, bool askWho = false)
    {
        var users = At("users-" + Guid.NewGuid().ToString("N"));
        if (askWho) await File.WriteAllTextAsync(users, Users);
        if (kind == "berth")
        {
            var berth = await BerthRegistry.StartAsync(askWho ? ["--htpasswd", users] : []);
            return new Peer(berth.Host, berth.DisposeAsync);
        }
        var debian = DockerRegistry.Start(htpasswd: askWho ? users : null);
        Assert.SkipWhen(debian is null, "the package docker-registry is not to be had");
        return new Peer(debian.Host, () =>
        {
            debian.Dispose();
            return ValueTask.CompletedTask;
        });
    }

    private async Task<string> LoadAsync(string name, Action<TarBuilder> fill)
    {
        var file = At(Guid.NewGuid().ToString("N"));
        var image = new TestImage().Layer(fill);
        await File.WriteAllBytesAsync(file, image.DockerArchive(name));
        await _daemon.Docker("load", "-q", "-i", file);
        return TestImage.Digest(image.Layers[0])[7..19];
    }

    private static byte[] Random(int seed, int length)
    {
        var content = new byte[length];
        new Random(seed).NextBytes(content);
        return content;
    }

    [Theory]
    [InlineData("berth")]
    [InlineData("docker-registry")]
    public async Task What_is_pushed_twice_has_one_digest_and_is_sent_once(string kind)
    {
        await using var registry = await StartAsync(kind);
        var (one, two) = ($"{registry.Host}/a/one", $"{registry.Host}/a/two");
        var layer = await LoadAsync(one + ":1", t => t.File("kind", kind));
        var first = await _daemon.Docker("push", one + ":1");
        var end = first.Lines[^1];
        Assert.Matches("^1: digest: sha256:[0-9a-f]{64} size: [0-9]+$", end);
        Assert.Equal([$"The push refers to repository [{one}]", $"{layer}: Preparing", $"{layer}: Pushed", end], first.Lines);
        Assert.Equal([$"The push refers to repository [{one}]", $"{layer}: Preparing", $"{layer}: Layer already exists", end], (await _daemon.Docker("push", one + ":1")).Lines);

        await _daemon.Docker("tag", one + ":1", two + ":1");
        Assert.Equal([$"The push refers to repository [{two}]", $"{layer}: Preparing", $"{layer}: Mounted from a/one", end], (await _daemon.Docker("push", two + ":1")).Lines);
        await _daemon.Docker("tag", one + ":1", two + ":2");
        Assert.Equal([$"The push refers to repository [{two}]", $"{layer}: Preparing", $"{layer}: Layer already exists", end, $"{layer}: Preparing", $"{layer}: Layer already exists", "2" + end[1..]],
            (await _daemon.Docker("push", "-a", two)).Lines);
        Assert.Equal(two + ":2", (await _daemon.Docker("push", "-q", two + ":2")).Line);

        // An engine that has nothing of it gets the very same.
        var digest = end.Split(' ')[2];
        Assert.Equal($"[\"{one}@{digest}\",\"{two}@{digest}\"]", (await _daemon.Docker("inspect", "-f", "{{json .RepoDigests}}", one + ":1")).Line);
        var id = (await _daemon.Docker("inspect", "-f", "{{.Id}}", one + ":1")).Line;
        await _daemon.Docker("rmi", one + ":1", two + ":1", two + ":2");
        await _daemon.Docker("pull", $"{two}@{digest}");
        Assert.Equal(id, (await _daemon.Docker("inspect", "-f", "{{.Id}}", $"{two}@{digest}")).Line);
        await _daemon.Docker("rmi", $"{two}@{digest}");
    }

    [Fact]
    public async Task What_cannot_be_pushed_is_said_in_docker_s_words()
    {
        await using var registry = await StartAsync("berth");
        var name = $"{registry.Host}/refused";
        await LoadAsync(name + ":1", t => t.File("f", "refused"));
        var nobody = $"127.0.0.1:{Host.FreePort()}";
        await _daemon.Docker("tag", name + ":1", nobody + "/x:1");
        foreach (var (arguments, error) in (((string[], string)[])
        [
            ([name + ":2"], $"tag does not exist: {name}:2"),
            ([name + "2:1"], $"An image does not exist locally with the tag: {name}2"),
            (["-a", name + "2"], $"An image does not exist locally with the tag: {name}2"),
            ([$"{name}@sha256:{new string('0', 64)}"], "cannot push a digest reference"),
            ([nobody + "/x:1"], $"Get \"http://{nobody}/v2/\": dial tcp {nobody}: connect: connection refused"),
            (["--platform", "linux/riscv64", name + ":1"], $"Error response from daemon: image with reference {name}:1 was found but its platform (linux/amd64) does not match the specified platform (linux/riscv64)"),
        ]))
        {
            var result = await _daemon.Docker(["push", .. arguments]).MayFail();
            Assert.Equal(1, result.ExitCode);
            Assert.Equal(error, result.Error.TrimEnd('\n').Split('\n')[^1]);
        }
        await _daemon.Docker("rmi", name + ":1", nobody + "/x:1");
    }

    [Theory]
    [InlineData("berth")]
    [InlineData("docker-registry")]
    public async Task A_registry_with_users_is_pushed_to_after_login_alone(string kind)
    {
        await using var registry = await StartAsync(kind, askWho: true);
        var name = $"{registry.Host}/mine:1";
        var layer = await LoadAsync(name, t => t.File("login", kind));
        Assert.Equal("no basic auth credentials\n", (await _daemon.Docker("push", name).MayFail()).Error);
        Assert.Equal($"Error response from daemon: login attempt to http://{registry.Host}/v2/ failed with status: 401 Unauthorized\n",
            (await _daemon.Docker("login", "-u", "alice", "--password-stdin", registry.Host).WithInput("wrong").MayFail()).Error);
        Assert.Contains("Login Succeeded", (await _daemon.Docker("login", "-u", "alice", "--password-stdin", registry.Host).WithInput("secret")).Output, StringComparison.Ordinal);
        Assert.Contains($"{layer}: Pushed", (await _daemon.Docker("push", name)).Lines);
        await _daemon.Docker("rmi", name);
        await _daemon.Docker("pull", name);
        // berth reads what docker login has written, and the other way round.
        Assert.Contains("Layer already exists", (await _daemon.Berth("push", name)).Output, StringComparison.Ordinal);
        await _daemon.Berth("logout", registry.Host);
        Assert.Equal($"Error response from daemon: Head \"http://{registry.Host}/v2/mine/manifests/1\": no basic auth credentials\n", (await _daemon.Docker("pull", name).MayFail()).Error);
        Assert.Equal(HttpStatusCode.OK, await AuthAsync(registry.Host, "secret"));
        Assert.Equal(HttpStatusCode.InternalServerError, await AuthAsync(registry.Host, "wrong"));
        await _daemon.Docker("rmi", name);
    }

    private async Task<HttpStatusCode> AuthAsync(string host, string password) =>
        (HttpStatusCode)(await _daemon.AskAsync("POST", "/auth", $$"""{"username":"alice","password":"{{password}}","serveraddress":"{{host}}"}""")).Status;

    [Fact]
    public async Task A_registry_is_trusted_by_the_authority_in_certs_d_and_not_without()
    {
        using var directory = new TestDirectory();
        await File.WriteAllTextAsync(directory["daemon.json"], "{}", TestContext.Current.CancellationToken);
        await using var daemon = await TestDaemon.StartAsync("--config-file", directory["daemon.json"]);
        // The bridge's address: loopback is trusted as it is.
        using (var key = ECDsa.Create(ECCurve.NamedCurves.nistP256))
        {
            var request = new CertificateRequest("CN=registry", key, HashAlgorithmName.SHA256);
            var names = new SubjectAlternativeNameBuilder();
            names.AddIpAddress(IPAddress.Parse(daemon.Gateway));
            request.CertificateExtensions.Add(names.Build());
            request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, false, 0, true));
            using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
            await File.WriteAllTextAsync(directory["registry.pem"], certificate.ExportCertificatePem(), TestContext.Current.CancellationToken);
            await File.WriteAllTextAsync(directory["registry.key"], key.ExportPkcs8PrivateKeyPem(), TestContext.Current.CancellationToken);
        }
        await using var registry = await BerthRegistry.StartOnAsync(daemon.Gateway, "--tls-cert", directory["registry.pem"], "--tls-key", directory["registry.key"]);
        var name = $"{registry.Host}/busybox:1";
        await daemon.LoadBusyboxAsync();
        await daemon.Docker("tag", Images.Busybox, name);
        var refused = await daemon.Docker("push", name).MayFail();
        Assert.Equal($"Get \"https://{registry.Host}/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority\n", refused.Error);

        Directory.CreateDirectory(directory[$"certs.d/{registry.Host}"]);
        File.Copy(directory["registry.pem"], directory[$"certs.d/{registry.Host}/ca.crt"]);
        Assert.Contains("1: digest: sha256:", (await daemon.Docker("push", name)).Output, StringComparison.Ordinal);
        await daemon.Docker("rmi", name);
        await daemon.Docker("pull", "-q", name);
    }

    [Fact]
    public async Task Of_an_image_for_several_platforms_all_are_pushed_or_the_one_asked_for_and_inspect_tells_all_of_them()
    {
        using var source = DockerRegistry.Start();
        Assert.SkipWhen(source is null, "the package docker-registry is not to be had");
        await using var target = await StartAsync("berth");
        TestImage For(string architecture) => new TestImage { ConfigMembers = $$""" "architecture":"{{architecture}}","os":"linux","config":{} """ }.Layer(t => t.File("arch", architecture));
        var (amd, arm) = (For("amd64"), For("arm64"));
        var index = await source.PushIndexAsync("multi", "1", ("linux/amd64", amd), ("linux/arm64/v8", arm));
        var name = $"{source.Host}/multi:1";

        var (status, body) = await _daemon.AskAsync("GET", $"/distribution/{name}/json");
        Assert.Equal(200, status);
        var told = JsonNode.Parse(body)!;
        Assert.Equal((index, "application/vnd.oci.image.index.v1+json"), (told["Descriptor"]!["digest"]!.ToString(), told["Descriptor"]!["mediaType"]!.ToString()));
        Assert.Equal("""[{"architecture":"amd64","os":"linux"},{"architecture":"arm64","os":"linux","variant":"v8"}]""", told["Platforms"]!.ToJsonString());
        Assert.Contains("\"variant\": \"v8\"", (await _daemon.Docker("manifest", "inspect", "--insecure", name)).Output, StringComparison.Ordinal);
        Assert.Equal((404, """{"message":"manifest unknown: manifest unknown"}"""), Trimmed(await _daemon.AskAsync("GET", $"/distribution/{source.Host}/multi:2/json")));
        Assert.Equal((400, """{"message":"invalid reference format: repository name (library/UPPER) must be lowercase"}"""), Trimmed(await _daemon.AskAsync("GET", "/distribution/UPPER/json")));

        await _daemon.Docker("pull", "-q", "--platform", "linux/arm64", name);
        await _daemon.Docker("pull", "-q", "--platform", "linux/amd64", name);
        await _daemon.Docker("tag", name, $"{target.Host}/multi:1");
        await _daemon.Docker("push", "-q", $"{target.Host}/multi:1");
        var pushed = JsonNode.Parse((await _daemon.Docker("manifest", "inspect", "--insecure", $"{target.Host}/multi:1")).Output)!["manifests"]!.AsArray();
        Assert.Equal(["amd64", "arm64"], pushed.Select(m => m!["platform"]!["architecture"]!.ToString()));
        foreach (var (platform, expected) in ((string, TestImage)[])[("linux/arm64", arm), ("linux/amd64", amd)])
        {
            await _daemon.Docker("push", "-q", "--platform", platform, $"{target.Host}/multi:1");
            Assert.Contains(expected.Id, (await _daemon.Docker("manifest", "inspect", "--insecure", $"{target.Host}/multi:1")).Output, StringComparison.Ordinal);
        }
        await _daemon.Docker("rmi", name, $"{target.Host}/multi:1");
    }

    private static (int, string) Trimmed((int Status, string Body) answer) => (answer.Status, answer.Body.TrimEnd());

    [Fact]
    public async Task A_search_asks_the_registry_that_the_term_names()
    {
        using var registry = new FakeRegistry();
        registry.Serve("/v1/_ping", "true"u8.ToArray());
        registry.Serve("/v1/search", Encoding.UTF8.GetBytes("""
            {"num_results":2,"query":"x","results":[{"name":"one","description":"first","star_count":7,"is_official":true,"is_automated":false},{"name":"me/two","description":"second","star_count":1,"is_official":false,"is_automated":false}]}
            """));
        foreach (var line in (string[][])[["docker"], ["berth"]])
        {
            Command Search(params string[] arguments) => line[0] == "docker" ? _daemon.Docker(["search", .. arguments]) : _daemon.Berth(["search", .. arguments]);
            Assert.Equal(["one|first|7|[OK]", "me/two|second|1|"], (await Search("--format", "{{.Name}}|{{.Description}}|{{.StarCount}}|{{.IsOfficial}}", $"{registry.Host}/x")).Lines);
            Assert.Equal("one", (await Search("--filter", "is-official=true", "--format", "{{.Name}}", $"{registry.Host}/x")).Line);
            Assert.Equal("one", (await Search("--filter", "stars=3", "--format", "{{.Name}}", $"{registry.Host}/x")).Line);
            Assert.Equal("Error response from daemon: limit 101 is outside the range of [1, 100]\n", (await Search("--limit", "101", $"{registry.Host}/x").MayFail()).Error);
            Assert.Equal("Error response from daemon: invalid filter 'foo'\n", (await Search("--filter", "foo=1", $"{registry.Host}/x").MayFail()).Error);
            Assert.Equal("Error response from daemon: invalid filter 'stars=x': strconv.Atoi: parsing \"x\": invalid syntax\n", (await Search("--filter", "stars=x", $"{registry.Host}/x").MayFail()).Error);
        }
        Assert.Contains(registry.Requests, r => r.Path == "/v1/search?q=x&n=25");
        await using var without = await StartAsync("berth");
        Assert.Equal("Error response from daemon: Unexpected status code 404\n", (await _daemon.Docker("search", $"{without.Host}/x").MayFail()).Error);
    }

    [Theory]
    [InlineData("berth")]
    [InlineData("docker-registry")]
    public async Task Two_pushes_of_one_layer_at_once_do_not_harm_each_other(string kind)
    {
        await using var registry = await StartAsync(kind);
        var (one, two) = ($"{registry.Host}/at/once:1", $"{registry.Host}/at/once:2");
        // Too large to be compressed before it is sent: neither knows of the other's.
        var content = Random(kind.Length, 6_000_000);
        await LoadAsync(one, t => t.File("large", content));
        await _daemon.Docker("tag", one, two);
        var pushes = await Task.WhenAll(_daemon.Docker("push", one).RunAsync(), _daemon.Docker("push", two).RunAsync(), _daemon.Berth("push", one).RunAsync());
        Assert.Single(pushes.Select(p => p.Lines[^1].Split(' ')[2]).Distinct());
        var id = (await _daemon.Docker("inspect", "-f", "{{.Id}}", one)).Line;
        await _daemon.Docker("rmi", one, two);
        await _daemon.Docker("pull", "-q", two);
        Assert.Equal(id, (await _daemon.Docker("inspect", "-f", "{{.Id}}", two)).Line);
        await _daemon.Docker("rmi", two);
    }
}
