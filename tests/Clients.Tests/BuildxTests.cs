using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>docker build as most people have it: with the buildx plugin, over BuildKit's protocol.</summary>
public sealed partial class BuildxTests(BuildxTests.Fixture shared) : IClassFixture<BuildxTests.Fixture>
{
    /// <summary>A daemon, and a client's configuration with Debian's docker-buildx as a plugin.</summary>
    public sealed class Fixture : IAsyncLifetime
    {
        private readonly SharedDaemon _shared = new();

        public TestDaemon Daemon => _shared.Daemon;
        public string Image => _shared.Image;
        public string? Configuration { get; private set; }

        public async ValueTask InitializeAsync()
        {
            await _shared.InitializeAsync();
            if ((DebianPackage.Unpack("docker-buildx") ?? DebianPackage.Unpack("docker-buildx", "sid")) is not { } root) return;
            Configuration = Path.Combine(Daemon.WorkDirectory, "docker-config");
            Directory.CreateDirectory(Path.Combine(Configuration, "cli-plugins"));
            File.CreateSymbolicLink(Path.Combine(Configuration, "cli-plugins", "docker-buildx"), Path.Combine(root, "usr/libexec/docker/cli-plugins/docker-buildx"));
        }

        public ValueTask DisposeAsync() => _shared.DisposeAsync();
    }

    private readonly TestDaemon _daemon = shared.Daemon;

    private string Context(string name, params (string Path, string Content)[] files)
    {
        var directory = Path.Combine(_daemon.WorkDirectory, "buildx-" + name);
        foreach (var (path, content) in files)
        {
            var file = Path.Combine(directory, path);
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, content.Replace("BASE", shared.Image, StringComparison.Ordinal));
        }
        return directory;
    }

    private Command Docker(params string[] arguments)
    {
        Assert.SkipWhen(shared.Configuration is null, "the package docker-buildx can't be had here");
        return _daemon.Docker(arguments).WithEnvironment("DOCKER_CONFIG", shared.Configuration!).WithEnvironment("BUILDKIT_PROGRESS", "plain").WithEnvironment("NO_COLOR", "1").WithTimeout(TimeSpan.FromSeconds(60));
    }

    [Fact]
    public async Task A_plain_docker_build_comes_through_buildkit_and_runs()
    {
        var context = Context("first", ("Dockerfile", """
            FROM BASE AS words
            ARG GREETING=hello
            RUN echo "$GREETING" > /word
            FROM BASE
            COPY --from=words /word /word
            COPY . /srv
            WORKDIR /srv
            LABEL a=b
            CMD cat /word
            """), ("app.txt", "app"), ("left.out", "no"), ("kept/deep.txt", "deep"), (".dockerignore", "*.out\n"));
        var iid = Path.Combine(context, "..", "first.iid");
        var metadata = Path.Combine(context, "..", "first.json");
        var built = await Docker("build", "-t", "bx-first:1", "-t", "bx-first:2", "--build-arg", "GREETING=hi", "--label", "more=1", "--iidfile", iid, "--metadata-file", metadata, context);
        Assert.Contains("[internal] load build definition from Dockerfile", built.Error, StringComparison.Ordinal);
        Assert.Contains("[words 2/2] RUN echo \"hi\" > /word", built.Error.Replace("$GREETING", "hi", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Contains("naming to docker.io/library/bx-first:2 done", built.Error, StringComparison.Ordinal);
        Assert.Contains("JSONArgsRecommended", built.Error, StringComparison.Ordinal);
        Assert.Equal("hi\n", (await _daemon.Docker("run", "--rm", "--network", "none", "bx-first:2")).Output);
        Assert.Equal("/srv\n/srv/.dockerignore\n/srv/Dockerfile\n/srv/app.txt\n/srv/kept\n/srv/kept/deep.txt\n", (await _daemon.Docker("run", "--rm", "--network", "none", "bx-first:1", "sh", "-c", "find /srv | sort")).Output);
        var id = (await _daemon.Docker("image", "inspect", "bx-first:1", "-f", "{{.Id}} {{.Config.Labels}}")).Line;
        Assert.Equal($"{File.ReadAllText(iid)} map[a:b more:1]", id);
        using var json = JsonDocument.Parse(File.ReadAllText(metadata));
        Assert.Equal("docker.io/library/bx-first:1,docker.io/library/bx-first:2", json.RootElement.GetProperty("image.name").GetString());
        Assert.Equal(File.ReadAllText(iid), json.RootElement.GetProperty("containerimage.config.digest").GetString());
    }

    [Fact]
    public async Task Failures_show_the_lines_they_are_about()
    {
        var context = Context("fails", ("Dockerfile", "FROM BASE\nRUN echo before; \\\n  exit 7\n"), ("Parse", "FROM BASE\nRUNN x\n"), ("Missing", "FROM BASE\nCOPY nothing /\n"));
        var failed = await Docker("build", context).MayFail();
        Assert.Equal(1, failed.ExitCode);
        Assert.Contains("   1 |     FROM ", failed.Error, StringComparison.Ordinal);
        Assert.Contains("   2 | >>> RUN echo before; \\\n   3 | >>>   exit 7\n", failed.Error, StringComparison.Ordinal);
        Assert.EndsWith("failed to solve: process \"/bin/sh -c echo before;   exit 7\" did not complete successfully: exit code: 7\n", failed.Error.Split("\n\nView build details", 2)[0].TrimEnd() + "\n", StringComparison.Ordinal);
        Assert.Contains("before\n", failed.Error, StringComparison.Ordinal);

        var unknown = await Docker("build", "-f", Path.Combine(context, "Parse"), context).MayFail();
        Assert.Contains("   2 | >>> RUNN x\n", unknown.Error, StringComparison.Ordinal);
        Assert.Contains("failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN", unknown.Error, StringComparison.Ordinal);
        var missing = await Docker("build", "-f", Path.Combine(context, "Missing"), context).MayFail();
        Assert.Contains("   2 | >>> COPY nothing /\n", missing.Error, StringComparison.Ordinal);
        Assert.Contains("failed to solve: failed to compute cache key: failed to calculate checksum of ref", missing.Error, StringComparison.Ordinal);
        Assert.Contains("\"/nothing\": not found", missing.Error, StringComparison.Ordinal);
        await File.WriteAllTextAsync(Path.Combine(context, "Base"), "FROM 127.0.0.1:9/none\n", TestContext.Current.CancellationToken);
        var image = await Docker("build", "-f", Path.Combine(context, "Base"), context).MayFail();
        Assert.Contains("   1 | >>> FROM 127.0.0.1:9/none\n", image.Error, StringComparison.Ordinal);
        Assert.Contains("failed to solve: 127.0.0.1:9/none: failed to resolve source metadata for 127.0.0.1:9/none:latest: ", image.Error, StringComparison.Ordinal);
        var none = await Docker("build", "-f", Path.Combine(context, "None"), context).MayFail();
        Assert.Equal(1, none.ExitCode);
        Assert.Contains("failed to solve: failed to read dockerfile: open None: no such file or directory", none.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("#1 ERROR", none.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_plugin_of_the_year_before_builds_as_well()
    {
        var root = DebianPackage.Unpack("docker-buildx", "trixie");
        Assert.SkipWhen(root is null, "docker-buildx 0.13 can't be had here");
        var context = Context("older", ("Dockerfile", "FROM BASE\nCOPY a /a\nRUN cat /a > /b\n"), ("a", "older\n"));
        var plugin = new Command(Path.Combine(root!, "usr/libexec/docker/cli-plugins/docker-buildx"), ["build", "--progress", "plain", "-t", "bx-older", context], new Dictionary<string, string>
        {
            ["DOCKER_HOST"] = "unix://" + _daemon.SocketPath, ["DOCKER_CONFIG"] = Path.Combine(_daemon.WorkDirectory, "older-config"),
        });
        Assert.Contains("naming to docker.io/library/bx-older", (await plugin).Error, StringComparison.Ordinal);
        Assert.Equal("older\n", (await _daemon.Docker("run", "--rm", "--network", "none", "bx-older", "cat", "/b")).Output);
    }

    [Fact]
    public async Task Secrets_and_other_contexts_come_from_the_client()
    {
        var context = Context("more", ("Dockerfile", """
            FROM BASE AS base
            RUN --mount=type=secret,id=token,required=true test "$(wc -c < /run/secrets/token)" = 4
            FROM base
            COPY --from=extra two.txt /two
            COPY --from=other /bin/busybox /again
            RUN test -x /again && ! test -e /run/secrets/token
            """), ("secret.txt", "hush"));
        var extra = Context("more-extra", ("two.txt", "2\n"), ("three.txt", "3\n"), (".dockerignore", "three.txt\n"));
        var built = await Docker("buildx", "build", "-t", "bx-more", "--secret", $"id=token,src={context}/secret.txt", "--build-context", "extra=" + extra, "--build-context", "other=docker-image://" + shared.Image, context);
        Assert.Contains("[context extra] load from client", built.Error, StringComparison.Ordinal);
        Assert.Equal("2\n", (await _daemon.Docker("run", "--rm", "--network", "none", "bx-more", "cat", "/two")).Output);
        Assert.DoesNotContain("hush", built.Error + (await _daemon.Docker("image", "inspect", "bx-more")).Output + (await _daemon.Docker("history", "--no-trunc", "bx-more")).Output, StringComparison.Ordinal);
        var without = await Docker("buildx", "build", "--no-cache", "--target", "base", context).MayFail();
        Assert.Contains("secret token: not found", without.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_bake_builds_targets_out_of_each_other()
    {
        var context = Context("bake", ("docker-bake.hcl", """
            group "default" { targets = ["app", "lib"] }
            target "lib" {
              dockerfile-inline = "FROM BASE\nENV FROM_LIB=yes\nRUN echo made once > /lib.txt"
            }
            target "app" {
              contexts = { lib = "target:lib" }
              dockerfile-inline = "FROM lib\nRUN echo $FROM_LIB >> /lib.txt\nCOPY --from=lib /lib.txt /first.txt"
              tags = ["bx-app"]
            }
            """));
        var baked = await Docker("buildx", "bake", "-f", Path.Combine(context, "docker-bake.hcl"));
        Assert.Contains("[app 1/3] FROM", baked.Error.Replace("[app stage", "[app", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Equal("made once\nyes\nmade once\n", (await _daemon.Docker("run", "--rm", "--network", "none", "bx-app", "cat", "/lib.txt", "/first.txt")).Output);
    }

    [Fact]
    public async Task What_comes_out_may_be_files()
    {
        var context = Context("files", ("Dockerfile", "FROM BASE AS made\nRUN mkdir -p /o/d && echo one > /o/d/one && ln -s d/one /o/link && chmod 700 /o/d\nFROM scratch\nCOPY --from=made /o /\n"));
        var output = Path.Combine(_daemon.WorkDirectory, "buildx-out");
        await Docker("buildx", "build", "--output", "type=local,dest=" + output, context);
        Assert.Equal("one\n", File.ReadAllText(Path.Combine(output, "d/one")));
        Assert.Equal("d/one", new FileInfo(Path.Combine(output, "link")).LinkTarget);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.Combine(output, "d")));
        var tar = Path.Combine(_daemon.WorkDirectory, "buildx-out.tar");
        await Docker("buildx", "build", "--output", "type=tar,dest=" + tar, context);
        Assert.Equal("d/\nd/one\nlink\n", (await new Command("tar", ["tf", tar])).Output);
        await Docker("buildx", "build", "--output", "type=oci,dest=" + tar, context);
        Assert.Contains("index.json", (await new Command("tar", ["tf", tar])).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_what_has_changed_travels_again()
    {
        var context = Context("again", ("Dockerfile", "FROM scratch\nCOPY . /\n"), ("small", "1"));
        File.WriteAllBytes(Path.Combine(context, "large"), new byte[3_000_000]);
        var first = await Docker("buildx", "build", "-t", "bx-again", context);
        Assert.Contains("transferring context: 3.00MB", first.Error, StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(context, "small"), "22");
        var second = await Docker("buildx", "build", "-t", "bx-again", context);
        Assert.Matches(@"transferring context: \d+B", second.Error);
        Assert.Contains("not cached: 1 file changed: small", second.Error, StringComparison.Ordinal);
        File.Delete(Path.Combine(context, "large"));
        await Docker("buildx", "build", "--output", "type=local,dest=" + context + ".out", context);
        Assert.Equal(["Dockerfile", "small"], Directory.GetFiles(context + ".out").Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Results_are_found_again_in_a_directory_of_the_client_and_in_a_registry_and_an_image_says_how_it_was_made()
    {
        await using var registry = await BerthRegistry.StartAsync();
        var context = Context("results", ("Dockerfile", "FROM BASE\nCOPY f /f\nRUN cat /f /proc/uptime > /made\n"), ("f", "results"));
        var directory = Path.Combine(context, "..", "results-cache");
        await Docker("buildx", "build", "-t", $"{registry.Host}/results:1", "--push", "--cache-to", $"type=local,dest={directory}", "--cache-to", $"type=registry,ref={registry.Host}/results:cache", context);
        var made = (await _daemon.Docker("run", "--rm", "--network", "none", $"{registry.Host}/results:1", "cat", "/made")).Output;
        foreach (var from in (string[])[$"type=local,src={directory}", $"type=registry,ref={registry.Host}/results:cache"])
        {
            await _daemon.Docker("rmi", "-f", $"{registry.Host}/results:1");
            await Docker("buildx", "prune", "-af");
            Assert.Equal(2, (await Docker("buildx", "build", "-t", $"{registry.Host}/results:1", "--cache-from", from, context)).Error.Split(" CACHED\n").Length - 1);
            Assert.Equal(made, (await _daemon.Docker("run", "--rm", "--network", "none", $"{registry.Host}/results:1", "cat", "/made")).Output);
        }
        // As buildx asks for it of its own accord.
        var index = await registry.Http.GetStringAsync("/v2/results/manifests/1", TestContext.Current.CancellationToken);
        Assert.Contains("\"attestation-manifest\"", index, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Questions_about_a_dockerfile_are_answered_without_building()
    {
        var context = Context("call", ("Dockerfile", "# web the web server\nFROM BASE AS web\n# PORT to listen at\nARG PORT=80\nfrom web\n"));
        var check = await Docker("build", "--check", context).MayFail();
        Assert.Equal(1, check.ExitCode);
        Assert.Contains("WARNING: ConsistentInstructionCasing - https://docs.docker.com/go/dockerfile/rule/consistent-instruction-casing/", check.Output, StringComparison.Ordinal);
        Assert.Contains("   5 | >>> from web\n", check.Output, StringComparison.Ordinal);
        Assert.Equal("TARGET    DESCRIPTION\nweb       the web server\n(default) \n", (await Docker("build", "--call", "targets", context)).Output);
        Assert.Contains("PORT        80      to listen at\n", (await Docker("build", "--call", "outline", "--target", "web", context)).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_builder_describes_itself_and_its_cache()
    {
        Assert.Contains("running", (await Docker("buildx", "ls")).Output, StringComparison.Ordinal);
        Assert.Contains("linux/amd64", (await Docker("buildx", "inspect")).Output.Replace("arm64", "amd64", StringComparison.Ordinal), StringComparison.Ordinal);
        var context = Context("du", ("Dockerfile", "FROM BASE\nRUN echo kept > /for-du\n"));
        await Docker("build", context);
        Assert.Contains("RUN echo kept > /for-du", (await Docker("buildx", "du", "--verbose")).Output, StringComparison.Ordinal);
        Assert.Contains("CACHED", (await Docker("build", context)).Error, StringComparison.Ordinal);
        await Docker("buildx", "prune", "-af", "--filter", "description~=for-du");
        Assert.DoesNotContain("RUN echo kept > /for-du", (await Docker("buildx", "du", "--verbose")).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_build_that_is_interrupted_leaves_nothing_running()
    {
        var context = Context("stop", ("Dockerfile", "FROM BASE\nRUN echo at it; sleep 4242\n"));
        using var build = Docker("build", "--no-cache", context).MayFail().Start();
        await build.ErrorAsync("at it");
        // The words are in the step's title as well, which comes first.
        await Eventually.HoldsAsync("the command runs", () => Host.ProcessesWith("4242").Count > 0);
        build.Signal("INT");
        Assert.NotEqual(0, (await build.WaitAsync()).ExitCode);
        await Eventually.HoldsAsync("the command is gone", () => Host.ProcessesWith("4242").Count == 0);
    }

    [Fact]
    public async Task Connections_that_are_none_are_refused()
    {
        var (status, body) = await _daemon.AskAsync("POST", "/grpc");
        Assert.Equal((400, "{\"message\":\"no upgrade proto in request\"}\n"), (status, body));
        Assert.Equal(400, (await _daemon.AskAsync("POST", "/session")).Status);
    }
}
