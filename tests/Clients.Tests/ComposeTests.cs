using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>berth compose against the engine, and side by side with the stock docker compose v2. Subnets are given, so that engines side by side do not choose the same.</summary>
public sealed class ComposeTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private sealed class Files : IDisposable
    {
        public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("berth-compose-").FullName;

        public Files With(string name, string text)
        {
            File.WriteAllText(Path.Combine(Directory, name), text);
            return this;
        }

        public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);
    }

    private Command Compose(Files files, params string[] arguments) => _daemon.Berth(["compose", "-f", Path.Combine(files.Directory, "compose.yaml"), .. arguments]);

    /// <summary>Debian's docker compose 2; sid's is the one whose hashes berth compose computes.</summary>
    private static readonly Lazy<string?> StockProgram = new(static () => (DebianPackage.Unpack("docker-compose", "sid") ?? DebianPackage.Unpack("docker-compose", "trixie")) is { } root ? Path.Combine(root, "usr/libexec/docker/cli-plugins/docker-compose") : null);

    private Command Stock(Files files, params string[] arguments) =>
        new(StockProgram.Value!, ["-f", Path.Combine(files.Directory, "compose.yaml"), .. arguments], new Dictionary<string, string> { ["DOCKER_HOST"] = "unix://" + _daemon.SocketPath });

    private static void NeedStock() => Assert.SkipWhen(StockProgram.Value is null, "Debian's docker-compose could not be fetched");

    private async Task<string> LeftAsync(string project)
    {
        var filter = $"label=com.docker.compose.project={project}";
        return (await _daemon.Docker("ps", "-aq", "--filter", filter)).Output + (await _daemon.Docker("network", "ls", "-q", "--filter", filter)).Output + (await _daemon.Docker("volume", "ls", "-q", "--filter", filter)).Output;
    }

    private Files Shop(string name, int octet, string more = "") => new Files().With("compose.yaml", $$"""
        name: {{name}}
        services:
          store:
            image: {{shared.Image}}
            command: sh -c "mkdir /www; cat /run/secrets/word > /www/index.html; trap 'exit 0' TERM; httpd -p 80 -h /www; echo open; while :; do sleep 0.1; done"
            healthcheck: {test: wget -qO- http://127.0.0.1/, interval: 100ms}
            secrets: [word]
            volumes: ["data:/data"]
          front:
            image: {{shared.Image}}
            command: sh -c "trap 'exit 0' TERM; wget -qO- http://store/; cat /etc/motd; while :; do sleep 0.1; done"
            depends_on: {store: {condition: service_healthy} }
            configs: [{source: motd, target: /etc/motd}]
        {{more}}
        volumes: {data: }
        secrets: {word: {file: ./word.txt} }
        configs: {motd: {content: "welcome\n"} }
        networks: {default: {ipam: {config: [{subnet: 198.18.47.{{octet}}/28}]} } }
        """).With("word.txt", "sesame\n");

    [Fact]
    public async Task An_application_comes_up_survives_a_restart_and_goes_down_leaving_nothing()
    {
        using var files = Shop("shop1", 0);
        var up = await Compose(files, "up", "-d");
        Assert.Contains(" Container shop1-front-1  Started\n", up.Error);
        await Eventually.HoldsAsync("both have printed what they print", async () => (await Compose(files, "logs", "--no-color")).Output is var logs && logs.Contains("store-1  | open\n") && logs.Contains("front-1  | sesame\nfront-1  | welcome\n"));
        Assert.Equal("front\nstore\n", (await Compose(files, "ps", "--services")).Output);
        Assert.Equal("sesame\n", (await Compose(files, "exec", "-T", "front", "wget", "-qO-", "http://store/")).Output);
        Assert.Equal("welcome\n", (await Compose(files, "run", "--rm", "-T", "--no-deps", "front", "cat", "/etc/motd")).Output);
        Assert.Equal(7, (await Compose(files, "run", "--rm", "-T", "front", "sh", "-c", "exit 7").MayFail()).ExitCode);

        var again = await Compose(files, "up", "-d");
        Assert.Equal(" Container shop1-front-1  Running\n Container shop1-store-1  Running\n", string.Concat(again.Error.Split('\n').Where(l => l.Length > 0 && !l.Contains("Healthy") && !l.Contains("Waiting")).Order(StringComparer.Ordinal).Select(l => l + "\n")));
        await Compose(files, "restart", "-t", "1");
        Assert.Equal("2", (await Compose(files, "ps", "-q")).Lines.Length.ToString());
        await Compose(files, "up", "-d", "--scale", "front=3");
        Assert.Equal(4, (await Compose(files, "ps", "-q")).Lines.Length);
        Assert.Contains("shop1", (await _daemon.Berth("compose", "ls", "-q")).Lines);
        await Compose(files, "down", "-v", "-t", "1");
        Assert.Equal("", await LeftAsync("shop1"));
    }

    [Fact]
    public async Task An_attached_up_shows_lines_and_ends_with_the_exit_code_that_was_asked_for()
    {
        using var files = new Files().With("compose.yaml", $$"""
            name: shop2
            services:
              a: {image: {{shared.Image}}, command: sh -c "echo one; exit 3", network_mode: none, depends_on: {b: {condition: service_healthy} } }
              b: {image: {{shared.Image}}, command: sh -c "trap 'echo bye; exit 0' TERM; touch /ready; while :; do sleep 0.1; done", network_mode: none, depends_on: [c], healthcheck: {test: test -e /ready, interval: 50ms} }
              c: {image: {{shared.Image}}, stop_signal: KILL, command: sh -c "echo unread; while :; do sleep 0.1; done", network_mode: none, logging: {driver: none} }
            """);
        var up = await Compose(files, "up", "--exit-code-from", "a").MayFail();
        Assert.Equal(3, up.ExitCode);
        Assert.StartsWith("Attaching to a-1, b-1, c-1\n", up.Output);
        Assert.DoesNotContain("Started", up.Error);
        Assert.Contains("a-1  | one\n", up.Output);
        Assert.Contains("c-1  | unread\n", up.Output);
        Assert.Contains("a-1  | exited with code 3\n", up.Output[up.Output.IndexOf("a-1  | one\n", StringComparison.Ordinal)..]);
        Assert.Contains("b-1  | exited with code 0\n", up.Output[up.Output.IndexOf("b-1  | bye\n", StringComparison.Ordinal)..]);
        Assert.Equal("", (await Compose(files, "ps", "-q")).Output);
        var again = await Compose(files, "up", "--no-deps", "--no-log-prefix", "a"); // the same container: what it printed before is not shown again
        Assert.Equal("Attaching to a-1\none\nexited with code 3\n", again.Output);
        await Compose(files, "down");
        Assert.Equal("", await LeftAsync("shop2"));
    }

    [Fact]
    public async Task A_dependency_that_fails_is_named_and_an_image_is_built()
    {
        using var files = new Files().With("Dockerfile", $"FROM {shared.Image}\nARG WORD\nRUN echo $WORD > /word\n").With("compose.yaml", $$"""
            name: shop3
            services:
              built: {build: {context: ., args: {WORD: built} }, command: cat /word, network_mode: none, depends_on: {fails: {condition: service_completed_successfully} } }
              fails: {image: {{shared.Image}}, command: 'sh -c "exit ${CODE:-4}"', network_mode: none}
            """);
        var up = await Compose(files, "up", "-d").WithTimeout(TimeSpan.FromMinutes(1)).MayFail();
        Assert.Equal(1, up.ExitCode);
        Assert.EndsWith("service \"fails\" didn't complete successfully: exit 4\n", up.Error);
        await Compose(files, "up", "-d").WithEnvironment("CODE", "0");
        await Eventually.HoldsAsync("the built image has printed its word", async () => (await Compose(files, "logs", "--no-log-prefix", "built")).Output == "built\n");
        await Compose(files, "down", "--rmi", "local");
        Assert.Equal("", await LeftAsync("shop3"));
        Assert.Equal("", (await _daemon.Docker("images", "-q", "shop3-built")).Output);
    }

    [Fact]
    public async Task What_berth_started_docker_compose_finds_up_to_date_and_takes_down_and_the_other_way_round()
    {
        NeedStock();
        using var files = Shop("shop4", 32);
        await Compose(files, "up", "-d");
        var ids = (await Compose(files, "ps", "-q")).Output;
        var up = await Stock(files, "up", "-d");
        Assert.DoesNotContain("Recreate", up.Error);
        Assert.Equal(ids, (await Compose(files, "ps", "-q")).Output);
        await Stock(files, "down", "-v", "-t", "1");
        Assert.Equal("", await LeftAsync("shop4"));

        await Stock(files, "up", "-d");
        ids = (await Compose(files, "ps", "-q")).Output;
        Assert.DoesNotContain("Recreate", (await Compose(files, "up", "-d")).Error);
        Assert.Equal(ids, (await Compose(files, "ps", "-q")).Output);
        await Compose(files, "down", "-v", "-t", "1");
        Assert.Equal("", await LeftAsync("shop4"));
    }

    [Fact]
    public async Task The_stock_docker_compose_scales_shows_logs_and_takes_down()
    {
        NeedStock();
        using var files = Shop("shop5", 64);
        await Stock(files, "up", "-d", "--wait");
        await Stock(files, "up", "-d", "--scale", "front=2");
        Assert.Equal(3, (await Stock(files, "ps", "-q")).Lines.Length);
        await Eventually.HoldsAsync("both fronts have greeted", async () => (await Stock(files, "logs", "--no-color")).Output is var logs && logs.Contains("front-1  | welcome") && logs.Contains("front-2  | welcome"));
        Assert.Equal("sesame\n", (await Stock(files, "exec", "-T", "front", "wget", "-qO-", "http://store/")).Output);
        Assert.Equal((await Stock(files, "config", "--hash", "*")).Output, (await Compose(files, "config", "--hash", "*")).Output);
        await Stock(files, "restart", "-t", "1");
        await Stock(files, "down", "-v", "-t", "1");
        Assert.Equal("", await LeftAsync("shop5"));
    }
}
