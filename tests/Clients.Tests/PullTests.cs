using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>docker pull from registries that are not as they should be, and a daemon that is killed meanwhile.</summary>
public sealed class PullTests
{
    private static byte[] Noise(int count)
    {
        var bytes = new byte[count];
        new Random(1).NextBytes(bytes);
        return bytes;
    }

    [Fact]
    public async Task A_pull_goes_on_where_it_stopped_when_the_daemon_was_killed()
    {
        using var registry = new FakeRegistry();
        await using var daemon = await TestDaemon.StartAsync();
        var image = new TestImage().Layer(t => t.File("small", "small")).Layer(t => t.File("big", Noise(6_000_000)));
        registry.Serve("app", "1", image);
        var blobs = image.Manifest().Blobs;
        var big = $"/v2/app/blobs/{TestImage.Digest(blobs[2])}";
        using var killed = new CancellationTokenSource();
        registry.Answers[big] = _ => new FakeRegistry.Answer(200, blobs[2])
        {
            Writer = stream =>
            {
                stream.Write(blobs[2].AsSpan(0, 5_000_000));
                killed.Token.WaitHandle.WaitOne();
            },
        };
        var name = $"{registry.Host}/app:1";
        var first = new Command("docker", ["-H", "unix://" + daemon.SocketPath, "pull", name]).MayFail();
        var partial = Path.Combine(daemon.DataRoot, "images", "partial", "sha256-" + TestImage.Digest(blobs[2])[7..]);
        var layer = Path.Combine(daemon.DataRoot, "images", "layers", TestImage.Digest(image.Layers[0])[7..]);
        var pulling = Task.Run(async () => await first, TestContext.Current.CancellationToken);
        await Eventually.HoldsAsync("the small layer is there, and most of the large one", () => File.Exists(partial) && new FileInfo(partial).Length == 5_000_000 && Directory.Exists(layer));
        await daemon.KillAsync();
        await killed.CancelAsync();
        Assert.NotEqual(0, (await pulling).ExitCode);

        await daemon.RestartAsync();
        registry.ServeRanges(big, blobs[2]);
        var output = (await daemon.Docker("pull", name)).Output;
        Assert.Contains($"{TestImage.Digest(blobs[1])[7..19]}: Already exists", output, StringComparison.Ordinal);
        Assert.Contains($"Status: Downloaded newer image for {name}", output, StringComparison.Ordinal);
        Assert.Equal("bytes=5000000-", Assert.Single(registry.Requests, r => r.Path == big && r.Headers.ContainsKey("Range")).Headers["Range"]);
        Assert.Single(registry.Requests, r => r.Path == $"/v2/app/blobs/{TestImage.Digest(blobs[1])}");
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.GetDirectoryName(partial)!));
        await daemon.Docker("rmi", name);
    }

    [Fact]
    public async Task Docker_hub_s_images_come_from_the_daemon_s_mirror_and_another_registry_s_from_its_own()
    {
        using var hub = new FakeRegistry();
        using var mirror = new FakeRegistry();
        using var origin = new FakeRegistry();
        var image = new TestImage().Layer(t => t.File("file", "content"));
        hub.Serve("library/thing", "latest", image);
        mirror.Serve("app", "1", image);
        using var directory = new TestDirectory();
        Directory.CreateDirectory(directory[$"certs.d/{origin.Host}"]);
        await File.WriteAllTextAsync(directory[$"certs.d/{origin.Host}/hosts.toml"], $"[host.\"http://{mirror.Host}\"]\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(directory["daemon.json"], $$"""{"registry-mirrors":["http://{{hub.Host}}"]}""", TestContext.Current.CancellationToken);
        await using var daemon = await TestDaemon.StartAsync("--config-file", directory["daemon.json"]);

        Assert.EndsWith("Status: Downloaded newer image for thing:latest\ndocker.io/library/thing:latest\n", (await daemon.Docker("pull", "thing")).Output, StringComparison.Ordinal);
        Assert.EndsWith($"Status: Downloaded newer image for {origin.Host}/app:1\n{origin.Host}/app:1\n", (await daemon.Docker("pull", $"{origin.Host}/app:1")).Output, StringComparison.Ordinal);
        Assert.Empty(origin.Requests);
        Assert.Contains($"http://{hub.Host}/", (await daemon.Docker("info", "-f", "{{.RegistryConfig.Mirrors}}")).Output, StringComparison.Ordinal);
        await daemon.Docker("rmi", "thing", $"{origin.Host}/app:1");
    }
}
