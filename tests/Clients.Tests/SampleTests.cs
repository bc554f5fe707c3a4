using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>
/// Applications as people's compose files describe them (Samples/), on images built here from Debian's packages: each comes up, answers, survives a restart, keeps what it
/// has to keep and goes down leaving nothing; under berth compose and under Debian's docker compose.
/// </summary>
public sealed class SampleTests(SampleEngine engine) : IClassFixture<SampleEngine>
{
    /// <summary>Who is in charge.</summary>
    public enum Tool
    {
        Berth,

        /// <summary>docker compose 2.40, sid's.</summary>
        Newest,

        /// <summary>docker compose 2.26, trixie's.</summary>
        Oldest,
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    [InlineData(Tool.Oldest)]
    public async Task A_counter_goes_on_after_a_restart_a_crash_of_the_daemon_and_a_down(Tool tool)
    {
        using var sample = Open("flask-redis", tool);
        await sample.UpAsync();
        await sample.AnswersAsync("seen by redis: 1\n");
        await sample.Compose("restart");
        await sample.AnswersAsync("seen by redis: 2\n");
        await engine.Daemon.KillAsync();
        await engine.Daemon.RestartAsync();
        await sample.AnswersAsync("seen by redis: 3\n");
        Assert.Contains("redis-1  | ", (await sample.Compose("logs", "--no-color", "redis")).Output, StringComparison.Ordinal);
        await sample.Compose("down");
        Assert.Equal($"{sample.Project}_data\n", await LeftAsync(sample));
        await sample.UpAsync();
        await sample.AnswersAsync("seen by redis: 4\n");
        await GoneAsync(sample);
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    [InlineData(Tool.Oldest)]
    public async Task A_proxy_a_web_application_and_a_database_see_whom_they_should(Tool tool)
    {
        using var sample = Open("nginx-flask-postgres", tool);
        await sample.UpAsync();
        await sample.AnswersAsync("version 1\n");
        await sample.TellAsync("remember me", "noted\n");
        Assert.NotEmpty((await sample.Compose("exec", "-T", "backend", "getent", "hosts", "db")).Output);
        Assert.Equal(2, (await sample.Compose("exec", "-T", "proxy", "getent", "hosts", "db").MayFail()).ExitCode);
        // Nor by its address.
        var address = (await sample.Compose("exec", "-T", "db", "hostname", "-i")).Line;
        Assert.NotEqual(0, (await sample.Compose("exec", "-T", "proxy", "timeout", "1", "bash", "-c", $"echo > /dev/tcp/{address}/5432").MayFail()).ExitCode);
        await sample.Compose("exec", "-T", "backend", "timeout", "1", "bash", "-c", $"echo > /dev/tcp/{address}/5432");
        await sample.Compose("restart");
        await sample.AnswersAsync("version 1\n1 remember me\n");

        var database = (await sample.Compose("ps", "-q", "db")).Output;
        sample.Replace("compose.yaml", "VERSION: \"1\"", "VERSION: \"2\"");
        await sample.UpAsync("--build");
        await sample.AnswersAsync("version 2\n1 remember me\n");
        Assert.Equal(database, (await sample.Compose("ps", "-q", "db")).Output);
        await GoneAsync(sample);
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    [InlineData(Tool.Oldest)]
    public async Task A_balancer_finds_as_many_as_there_are(Tool tool)
    {
        using var sample = Open("load-balancer", tool);
        await sample.UpAsync();
        await AreAsync(3);
        var limits = await engine.Daemon.Docker("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.MemoryReservation}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}", $"{sample.Project}-web-3");
        Assert.Equal("100663296 16777216 500000000 32 on-failure 3", limits.Line);
        await sample.UpAsync("--scale", "web=5");
        await AreAsync(5);
        await sample.Compose("restart");
        await AreAsync(5);
        if (tool == Tool.Oldest) await sample.UpAsync("--scale", "web=1");
        else await sample.Compose("scale", "web=1");
        await AreAsync(1);
        await GoneAsync(sample);

        async Task AreAsync(int number)
        {
            var hosts = (await sample.Compose("ps", "-q", "web")).Lines.Select(static id => $"I am {id[..12]}\n").ToHashSet();
            Assert.Equal(number, hosts.Count);
            var seen = new HashSet<string>();
            // The name service's answers are kept by the balancer for a second.
            await Eventually.HoldsAsync($"{number} have answered", async () =>
            {
                if (await sample.GetAsync() is var answer && hosts.Contains(answer)) seen.Add(answer);
                return seen.Count == number;
            }, TimeSpan.FromSeconds(20));
        }
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    public async Task A_guest_book_runs_from_a_directory_of_the_host(Tool tool)
    {
        using var sample = Open("nginx-php-sqlite", tool);
        await sample.UpAsync();
        await sample.AnswersAsync("Guests:\n");
        await sample.TellAsync("Ada", "Guests:\nAda\n");
        await sample.TellAsync("Grace", "Guests:\nAda\nGrace\n");
        sample.Replace("pages/index.php", "getenv('TITLE')", "'Those here'");
        await sample.AnswersAsync("Those here:\nAda\nGrace\n");
        await sample.Compose("restart");
        await sample.AnswersAsync("Those here:\nAda\nGrace\n");
        Assert.Equal("guests", (await engine.Daemon.Docker("volume", "inspect", "-f", "{{.Labels.keeps}}", $"{sample.Project}_book")).Line);
        await GoneAsync(sample);
    }

    [Theory]
    [InlineData(Tool.Berth, Tool.Berth)]
    [InlineData(Tool.Berth, Tool.Newest)]
    [InlineData(Tool.Newest, Tool.Berth)]
    public async Task Workers_share_a_queue_and_whoever_took_it_up_another_tool_takes_over(Tool tool, Tool other)
    {
        using var sample = Open("worker-queue", tool);
        await sample.UpAsync();
        await sample.AnswersAsync("");
        await sample.TellAsync("3\n5\n", "queued\n");
        await sample.AnswersAsync("3 squared is 9\n5 squared is 25\n");
        var ids = (await sample.Compose("ps", "-q")).Lines.Order();

        sample.Tool = other;
        var again = await sample.UpAsync();
        Assert.DoesNotContain("Recreate", again.Error, StringComparison.Ordinal);
        Assert.Equal(ids, (await sample.Compose("ps", "-q")).Lines.Order());
        await sample.UpAsync("--scale", "worker=4");
        Assert.Equal(4, (await sample.Compose("ps", "-q", "worker")).Lines.Length);
        await sample.Compose("stop", "worker");
        await sample.TellAsync("7\n", "queued\n");
        await sample.AnswersAsync("3 squared is 9\n5 squared is 25\n");
        await sample.Compose("start", "worker");
        await sample.AnswersAsync("3 squared is 9\n5 squared is 25\n7 squared is 49\n");
        Assert.Single((await sample.Compose("logs", "--no-log-prefix", "worker")).Lines, "did 7");
        await sample.Compose("restart");
        await sample.AnswersAsync("3 squared is 9\n5 squared is 25\n7 squared is 49\n");
        await GoneAsync(sample);
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    [InlineData(Tool.Oldest)]
    public async Task A_profile_adds_a_page_about_a_database_that_has_its_first_tables(Tool tool)
    {
        using var sample = Open("postgres-admin", tool);
        await sample.UpAsync();
        Assert.Equal("db\n", (await sample.Compose("ps", "--services")).Output);
        sample.Environment["COMPOSE_PROFILES"] = "admin";
        await sample.UpAsync();
        await sample.AnswersAsync("apples: 2\npears: 0\n");
        await sample.Compose("exec", "-T", "db", "psql", "-q", "-U", "keeper", "shop", "-c", "INSERT INTO pears VALUES ('Conference')");
        await sample.Compose("restart");
        await sample.AnswersAsync("apples: 2\npears: 1\n");
        Assert.Equal("pa$$word\n", (await sample.Compose("exec", "-T", "admin", "printenv", "PGPASSWORD")).Output);
        Assert.Equal("131072\n", (await sample.Compose("exec", "-T", "db", "sh", "-c", "df --output=size /dev/shm | tail -1 | tr -d ' '")).Output);
        await sample.Compose("down");
        await sample.UpAsync();
        await sample.AnswersAsync("apples: 2\npears: 1\n");
        await GoneAsync(sample);
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    [InlineData(Tool.Oldest)]
    public async Task A_watched_site_follows_its_sources(Tool tool)
    {
        using var sample = Open("static-watch", tool);
        await sample.UpAsync();
        await sample.AnswersAsync("<h1>hello</h1>\n");
        using (var watch = sample.Compose("watch", "--no-up").MayFail().Start())
        {
            await Eventually.HoldsAsync("it watches", () => (watch.OutputSoFar + watch.ErrorSoFar).Contains("Watch enabled", StringComparison.OrdinalIgnoreCase), TimeSpan.FromSeconds(20));
            sample.Write("html/index.html", "<h1>changed</h1>\n");
            await sample.AnswersAsync("<h1>changed</h1>\n");
            sample.Write("html/page.html.tmp", "nobody's business\n");
            sample.Write("html/deeper/page.html", "new\n");
            await sample.AnswersAsync("new\n", "/deeper/page.html");
            Assert.Contains("404", await sample.GetAsync("/page.html.tmp"), StringComparison.Ordinal);
            // A whole directory at once, from elsewhere.
            sample.Write("elsewhere/inner/page.html", "moved\n");
            Directory.Move(Path.Combine(sample.Directory, "elsewhere"), Path.Combine(sample.Directory, "html/moved"));
            await sample.AnswersAsync("moved\n", "/moved/inner/page.html");
            File.Delete(Path.Combine(sample.Directory, "html/deeper/page.html"));
            await Eventually.HoldsAsync("what is deleted here is deleted there", async () => (await sample.GetAsync("/deeper/page.html")).Contains("404", StringComparison.Ordinal));

            var started = await StartedAsync();
            sample.Replace("site.conf", "the first", "the second");
            await sample.AnswersAsync("from the second configuration\n", "/answer");
            Assert.NotEqual(started, await StartedAsync());

            sample.Replace("Dockerfile", "echo first", "echo second");
            await sample.AnswersAsync("second\n", "/edition");
            watch.Signal("INT");
            Assert.Equal(130, (await watch.WaitAsync()).ExitCode);
        }
        await GoneAsync(sample);

        async Task<string> StartedAsync() => (await engine.Daemon.Docker("inspect", "-f", "{{.State.StartedAt}}", $"{sample.Project}-site-1")).Line;
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    public async Task Sidecars_share_addresses_processes_memory_and_files(Tool tool)
    {
        using var sample = Open("sidecar", tool);
        const string shared = "cache: STORED\nnote: left by the sidecar\nmemory: 5\nneighbour: sleep\n";
        await sample.UpAsync();
        await sample.AnswersAsync(shared);
        await sample.Compose("restart");
        await sample.AnswersAsync(shared);
        await sample.Compose("stop");
        await sample.Compose("start");
        await sample.AnswersAsync(shared);
        await GoneAsync(sample);
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    public async Task A_service_has_no_more_than_it_was_given(Tool tool)
    {
        using var sample = Open("hardened", tool);
        sample.Environment["SUBNET"] = engine.Daemon.PoolPrefix;
        var given = $"""
            user 4711:4712 [4712, 4713]
            host vault vault.example.test
            capabilities 0000000000000400 0000000000000000 no new 1
            writable / Read-only file system, /tmp yes
            upstream 192.0.2.7
            bell {engine.Daemon.PoolPrefix}.249
            search ['example.test']
            somaxconn 321 mtu 1300
            files (500, 600) core (0, 0)
            oom 100
            first docker-init

            """;
        await sample.UpAsync();
        await sample.AnswersAsync(given);
        await sample.Compose("restart");
        await sample.AnswersAsync(given);
        await GoneAsync(sample);
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    public async Task A_page_lists_containers_through_the_engines_socket(Tool tool)
    {
        using var sample = Open("container-list", tool);
        sample.Environment["SOCKET"] = engine.Daemon.SocketPath;
        await sample.UpAsync();
        await sample.AnswersAsync("the first: running on 1 network\nthe second: running on 1 network\nthis page: running on 1 network\n");
        await sample.Compose("pause", "one");
        await sample.AnswersAsync("the first: paused on 1 network\nthe second: running on 1 network\nthis page: running on 1 network\n");
        await sample.Compose("unpause", "one");
        await sample.Compose("restart");
        await sample.Compose("kill", "two");
        await sample.AnswersAsync("the first: running on 1 network\nthis page: running on 1 network\n");
        await GoneAsync(sample);
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    public async Task Projects_meet_on_a_network_and_a_service_has_ports_of_all_kinds(Tool tool)
    {
        using var sample = Open("ports", tool);
        sample.Environment["SHARED"] = sample.Project + "-shared";
        var missing = await sample.Compose("up", "-d").MayFail();
        Assert.Contains($"network {sample.Project}-shared declared as external, but could not be found", missing.Error, StringComparison.Ordinal);
        using var shared = sample.Inner("shared", "shared-by-all");
        await shared.UpAsync();
        await sample.UpAsync();
        await AnswerAsync();
        await sample.Compose("restart");
        await AnswerAsync();
        Assert.Contains("Resource is still in use", (await shared.Compose("down").MayFail()).Error, StringComparison.Ordinal);
        await GoneAsync(sample);
        await GoneAsync(shared);

        async Task AnswerAsync()
        {
            await EchoesAsync(sample.Port, "8000: hello\n");
            foreach (var inner in (int[])[8001, 8002, 8003])
            {
                var port = (await sample.Compose("port", "echo", inner.ToString(CultureInfo.InvariantCulture))).Line;
                await EchoesAsync(int.Parse(port[(port.LastIndexOf(':') + 1)..], CultureInfo.InvariantCulture), $"{inner}: hello\n");
            }
            using var udp = new UdpClient("127.0.0.1", sample.Port);
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5));
            await udp.SendAsync("hello"u8.ToArray(), limit.Token);
            Assert.Equal("udp: hello", Encoding.UTF8.GetString((await udp.ReceiveAsync(limit.Token)).Buffer));
            Assert.Equal("8000: hi\n", (await shared.Compose("exec", "-T", "asker", "bash", "-c", "exec 3<>/dev/tcp/echo.shared/8000; echo hi >&3; cat <&3")).Output);
        }
    }

    [Theory]
    [InlineData(Tool.Berth)]
    [InlineData(Tool.Newest)]
    public async Task Hooks_run_around_a_service_and_its_restart_policy_brings_it_back(Tool tool)
    {
        using var sample = Open("hooks", tool);
        await sample.UpAsync();
        await sample.AnswersAsync("seeded\nstarted for you as root\n");
        var follower = await StartedAsync("follower");
        await sample.Compose("restart", "app");
        await sample.AnswersAsync("seeded\nstarted for you as root\nstopping\nstarted for you as root\n");
        Assert.NotEqual(follower, await StartedAsync("follower")); // it wants to be restarted with it
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => sample.PostAsync("crash"));
        await sample.AnswersAsync("seeded\nstarted for you as root\nstopping\nstarted for you as root\n");
        Assert.Equal("1", (await engine.Daemon.Docker("inspect", "-f", "{{.RestartCount}}", $"{sample.Project}-app-1")).Line);
        await GoneAsync(sample);

        async Task<string> StartedAsync(string service) => (await engine.Daemon.Docker("inspect", "-f", "{{.State.StartedAt}}", $"{sample.Project}-{service}-1")).Line;
    }

    // ---- how

    private Sample Open(string name, Tool tool)
    {
        Assert.SkipWhen(engine.Missing.Length > 0, engine.Missing);
        var project = $"{name}-{tool.ToString().ToLowerInvariant()}";
        var directory = Path.Combine(engine.Daemon.WorkDirectory, $"sample{engine.Number()}", project);
        Copy(Path.Combine(Repository.Root, "tests/Clients.Tests/Samples", name), directory);
        return new Sample(engine.Daemon, directory, project, tool);
    }

    private static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (var file in Directory.GetFiles(from)) File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        foreach (var directory in Directory.GetDirectories(from)) Copy(directory, Path.Combine(to, Path.GetFileName(directory)));
    }

    private async Task GoneAsync(Sample sample)
    {
        await sample.Compose("down", "-v");
        Assert.Equal("", await LeftAsync(sample));
    }

    private async Task<string> LeftAsync(Sample sample)
    {
        var filter = $"label=com.docker.compose.project={sample.Project}";
        return (await engine.Daemon.Docker("ps", "-aq", "--filter", filter)).Output + (await engine.Daemon.Docker("network", "ls", "-q", "--filter", filter)).Output + (await engine.Daemon.Docker("volume", "ls", "-q", "--filter", filter)).Output;
    }

    private static async Task EchoesAsync(int port, string line)
    {
        var answer = "";
        await Eventually.HoldsAsync($"port {port} echoes", async () =>
        {
            using var client = new TcpClient();
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5));
            try
            {
                await client.ConnectAsync("127.0.0.1", port, limit.Token);
                await client.GetStream().WriteAsync("hello\n"u8.ToArray(), limit.Token);
                using var reader = new StreamReader(client.GetStream());
                answer = await reader.ReadToEndAsync(limit.Token);
            }
            catch (Exception e) when (e is SocketException or IOException)
            {
                return false; // not there yet
            }
            return answer == line;
        });
    }

    /// <summary>A copy of a sample, under one of the tools.</summary>
    private sealed class Sample(TestDaemon daemon, string directory, string project, Tool tool) : IDisposable
    {
        // No connection is kept: the next one is to find the container's port as it is then.
        private readonly HttpClient _http = new(new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.Zero }) { Timeout = TimeSpan.FromSeconds(5) };

        public string Directory => directory;
        public string Project => project;
        public int Port { get; } = Host.FreePort();
        public Tool Tool { get; set; } = tool;
        public Dictionary<string, string> Environment { get; } = [];

        /// <summary>Another project, in a directory of this one.</summary>
        public Sample Inner(string inner, string name)
        {
            var sample = new Sample(daemon, Path.Combine(directory, inner), name, Tool);
            foreach (var (key, value) in Environment) sample.Environment[key] = value;
            return sample;
        }

        public Command Compose(params string[] arguments)
        {
            string[] all = ["-f", Path.Combine(directory, "compose.yaml"), .. arguments];
            var command = Tool == Tool.Berth ? daemon.Berth(["compose", .. all])
                : new Command(SampleEngine.Stock(Tool == Tool.Oldest), all, new Dictionary<string, string> { ["DOCKER_HOST"] = "unix://" + daemon.SocketPath, ["DOCKER_CONFIG"] = Path.Combine(daemon.WorkDirectory, "docker-config") });
            foreach (var (name, value) in Environment) command.WithEnvironment(name, value);
            return command.WithEnvironment("PORT", Port.ToString(CultureInfo.InvariantCulture)).WithTimeout(TimeSpan.FromMinutes(1));
        }

        public Command UpAsync(params string[] arguments) => Compose(["up", "-d", "--wait", .. arguments]).WithTimeout(TimeSpan.FromMinutes(2));

        public void Write(string file, string text)
        {
            var path = Path.Combine(directory, file);
            System.IO.Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, text);
        }

        public void Replace(string file, string old, string with)
        {
            var text = File.ReadAllText(Path.Combine(directory, file));
            Assert.Contains(old, text, StringComparison.Ordinal);
            Write(file, text.Replace(old, with, StringComparison.Ordinal));
        }

        /// <summary>What it answers now; why it does not.</summary>
        public async Task<string> GetAsync(string path = "/")
        {
            try
            {
                using var response = await _http.GetAsync(new Uri($"http://127.0.0.1:{Port}{path}"));
                return await response.Content.ReadAsStringAsync();
            }
            catch (Exception e) when (e is HttpRequestException or TaskCanceledException)
            {
                return e.Message;
            }
        }

        public async Task<string> PostAsync(string text)
        {
            using var content = new StringContent(text);
            using var response = await _http.PostAsync(new Uri($"http://127.0.0.1:{Port}/"), content);
            return await response.Content.ReadAsStringAsync();
        }

        /// <summary>Soon, and with these words: "up" says that it runs, not that it listens.</summary>
        public async Task AnswersAsync(string text, string path = "/")
        {
            var last = "";
            try
            {
                await Eventually.HoldsAsync("answers", async () => (last = await GetAsync(path)) == text, TimeSpan.FromSeconds(15));
            }
            catch (TestException)
            {
                Assert.Fail($"{project} was to answer:\n{text}and its last answer was:\n{last}\n{(await Compose("ps", "-a").MayFail()).Output}\n{(await Compose("logs", "--tail", "20").MayFail()).Output}");
            }
        }

        public async Task TellAsync(string text, string answer) => Assert.Equal(answer, await PostAsync(text));

        public void Dispose() => _http.Dispose();
    }
}

/// <summary>A daemon that has the images of Samples/images, built by berth compose from Debian's packages.</summary>
public sealed class SampleEngine : IAsyncLifetime
{
    private TestDaemon? _daemon;
    private int _samples;

    public TestDaemon Daemon => _daemon ?? throw new InvalidOperationException("not started");

    /// <summary>Why no sample can run here; "" where they can.</summary>
    public string Missing { get; private set; } = "";

    public int Number() => Interlocked.Increment(ref _samples);

    /// <summary>Debian's docker compose: trixie's (2.26) or sid's (2.40).</summary>
    public static string Stock(bool oldest)
    {
        var root = DebianPackage.Unpack("docker-compose", oldest ? "trixie" : "sid");
        Assert.SkipWhen(root is null, "Debian's docker-compose could not be fetched");
        return Path.Combine(root, "usr/libexec/docker/cli-plugins/docker-compose");
    }

    public async ValueTask InitializeAsync()
    {
        if (await DebianImage.ArchiveAsync("bookworm") is not { } archive)
        {
            Missing = DebianImage.Missing;
            return;
        }
        _daemon = await TestDaemon.StartAsync("--default-address-pool", $"base={TestDaemon.Pool}.0/24,size=28");
        await _daemon.Docker("import", "-c", "CMD [\"bash\"]", archive, "debian:bookworm");
        var images = Path.Combine(Repository.Root, "tests/Clients.Tests/Samples/images/compose.yaml");
        await _daemon.Berth("compose", "-f", images, "build").WithEnvironment("NETWORK", DebianImage.BuildNetwork).WithTimeout(TimeSpan.FromMinutes(8));
    }

    public async ValueTask DisposeAsync()
    {
        if (_daemon is not null) await _daemon.DisposeAsync();
    }
}
