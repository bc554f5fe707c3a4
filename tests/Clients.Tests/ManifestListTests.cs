using System.Text.Json.Nodes;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>manifest create, annotate, push and rm: docker's client and ours side by side on the same registry, and one after the other on the same files.</summary>
public sealed class ManifestListTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private static TestImage For(string architecture) => new TestImage { ConfigMembers = $$""" "architecture":"{{architecture}}","os":"linux","config":{} """ }.Layer(t => t.File("arch", architecture));

    private async Task<(int Exit, string Output, string Error)> RunAsync(string client, TestDirectory config, params string[] words)
    {
        var command = client == "berth" ? _daemon.Berth(["manifest", .. words]) : _daemon.Docker(["manifest", .. words]);
        var result = await command.WithEnvironment("DOCKER_CONFIG", config.Path).MayFail();
        return (result.ExitCode, result.Output, result.Error);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_list_is_made_annotated_pushed_and_forgotten_as_by_docker(bool oci)
    {
        using var registry = DockerRegistry.Start();
        Assert.SkipWhen(registry is null, "the package docker-registry is not to be had");
        foreach (var architecture in (string[])["amd64", "arm64"]) await registry.PushAsync("source/" + architecture, "1", For(architecture), oci);
        await registry.PushAsync("app", "arm", For("arm"), oci);
        string[] images = [$"{registry.Host}/source/arm64:1", $"{registry.Host}/source/amd64:1", $"{registry.Host}/app:arm"];
        var told = new List<string>();
        foreach (var client in (string[])["docker", "berth"])
        {
            using var config = new TestDirectory();
            // Each under its own tag: what the second pushes is not there already.
            var list = $"{registry.Host}/app:{client}";
            var log = new List<(int, string, string)>
            {
                await RunAsync(client, config, ["create", "--insecure", list, .. images]),
                await RunAsync(client, config, "create", "--insecure", list, images[0]),
                await RunAsync(client, config, "create", "--insecure", "--amend", list, images[0]),
                await RunAsync(client, config, "annotate", "--variant", "v8", "--os-features", "a,b", "--os-features", "b", "--os-version", "1.2", list, images[0]),
                await RunAsync(client, config, "annotate", "--arch", "vax", list, images[0]),
                await RunAsync(client, config, "annotate", "--arch", "arm", list, $"{registry.Host}/other:1"),
                await RunAsync(client, config, "inspect", list),
                await RunAsync(client, config, "inspect", list, images[0]),
                await RunAsync(client, config, "inspect", list, $"{registry.Host}/other:1"),
                await RunAsync(client, config, "push", "--insecure", "--purge", list),
                await RunAsync(client, config, "push", "--insecure", list),
                await RunAsync(client, config, "rm", list),
                await RunAsync(client, config, "create", "--insecure", "elsewhere.example/app:1", images[0]),
                await RunAsync(client, config, "push", "elsewhere.example/app:1"),
                await RunAsync(client, config, "rm", "elsewhere.example/app:1"),
                await RunAsync(client, config, "create", "--insecure", $"{registry.Host}/app:list", list),
                await RunAsync(client, config, "inspect", "--insecure", list),
            };
            told.Add(string.Join('\n', log).Replace($"app:{client}", "app:CLIENT", StringComparison.Ordinal));
        }
        Assert.Equal(told[0], told[1]);
        Assert.Contains("\"os.features\"", told[0], StringComparison.Ordinal);
        await _daemon.Docker("pull", "-q", "--platform", "linux/arm64", $"{registry.Host}/app:berth");
        await _daemon.Docker("rmi", $"{registry.Host}/app:berth");
    }

    [Fact]
    public async Task One_client_goes_on_with_the_list_of_the_other()
    {
        using var registry = DockerRegistry.Start();
        Assert.SkipWhen(registry is null, "the package docker-registry is not to be had");
        foreach (var architecture in (string[])["amd64", "arm64"]) await registry.PushAsync("source", architecture, For(architecture));
        var (amd, arm, list) = ($"{registry.Host}/source:amd64", $"{registry.Host}/source:arm64", $"{registry.Host}/shared/app:1");
        foreach (var (first, second) in ((string, string)[])[("docker", "berth"), ("berth", "docker")])
        {
            using var config = new TestDirectory();
            Assert.Equal(0, (await RunAsync(first, config, "create", "--insecure", list, amd)).Exit);
            Assert.Equal(0, (await RunAsync(second, config, "create", "--insecure", "--amend", list, arm)).Exit);
            Assert.Equal(0, (await RunAsync(second, config, "annotate", "--variant", "v8", list, arm)).Exit);
            Assert.Equal((await RunAsync(first, config, "inspect", list)).Output, (await RunAsync(second, config, "inspect", list)).Output);
            Assert.Equal(0, (await RunAsync(first, config, "push", "--insecure", list)).Exit);
            var index = JsonNode.Parse((await RunAsync(second, config, "inspect", list)).Output)!;
            Assert.Equal(["amd64/", "arm64/v8"], index["manifests"]!.AsArray().Select(m => $"{m!["platform"]!["architecture"]}/{m["platform"]!["variant"]}"));
            Assert.Equal(0, (await RunAsync(second, config, "rm", list)).Exit);
        }
    }
}
