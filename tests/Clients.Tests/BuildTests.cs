using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>docker build as the stock client does it without BuildKit: the context as a tar, the answer a stream.</summary>
public sealed class BuildTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private string Context(string name, params (string Path, string Content)[] files)
    {
        var directory = Path.Combine(_daemon.WorkDirectory, "build-" + name);
        foreach (var (path, content) in files)
        {
            var file = Path.Combine(directory, path);
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, content.Replace("BASE", shared.Image, StringComparison.Ordinal));
        }
        return directory;
    }

    private Command Build(string directory, params string[] arguments) => _daemon.Docker(["build", .. arguments, directory]).WithEnvironment("DOCKER_BUILDKIT", "0").WithTimeout(TimeSpan.FromSeconds(60));

    private async Task<string> RunAsync(string image, params string[] command) => (await _daemon.Docker(["run", "--rm", "--network", "none", image, .. command])).Output;

    [Fact]
    public async Task A_dockerfile_becomes_an_image_that_runs()
    {
        var context = Context("first", ("Dockerfile", """
            # what beginners are shown
            ARG GREETING=hello
            FROM BASE AS words
            ARG GREETING
            RUN echo "$GREETING $(hostname)" > /word
            FROM BASE
            WORKDIR /srv
            COPY --from=words /word .
            COPY app.sh ./
            ENV NAME="the builder"
            RUN echo 'app:x:4242:4242::/:/bin/sh' >> /etc/passwd
            USER app
            EXPOSE 8000
            LABEL maintainer="someone" version=1.0
            CMD ["sh", "app.sh"]
            """), ("app.sh", "echo $(cat word) from $NAME as $(id -un) in $(pwd)\n"));
        // Whoever is logged in somewhere sends that along.
        var configuration = Context("logged-in", ("config.json", """{"auths":{"127.0.0.1:9":{"auth":"dTpw"}}}"""));
        var built = await Build(context, "-t", "first:1", "-t", "first:2", "--build-arg", "GREETING=hi", "--label", "more=1").WithEnvironment("DOCKER_CONFIG", configuration);
        Assert.Contains("Step 1/13 : FROM ", built.Output, StringComparison.Ordinal);
        Assert.EndsWith("Successfully tagged first:1\nSuccessfully tagged first:2\n", built.Output, StringComparison.Ordinal);
        Assert.Equal("hi buildkitsandbox from the builder as app in /srv\n", await RunAsync("first:2"));
        var config = (await _daemon.Docker("image", "inspect", "first:1", "-f", "{{json .Config}}")).Output;
        using var json = JsonDocument.Parse(config);
        Assert.Equal(("app", "/srv"), (json.RootElement.GetProperty("User").GetString(), json.RootElement.GetProperty("WorkingDir").GetString()));
        Assert.Equal("""{"maintainer":"someone","more":"1","version":"1.0"}""", json.RootElement.GetProperty("Labels").GetRawText());
        Assert.Contains("RUN |1 GREETING=hi", (await Build(context, "-t", "first:words", "--target", "words", "--build-arg", "GREETING=hi")).Output + (await _daemon.Docker("history", "--no-trunc", "first:words")).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_did_not_change_is_not_done_again_and_what_did_is_told()
    {
        var context = Context("cache", ("Dockerfile", "FROM BASE\nCOPY src /src\nRUN cat /src/* > /all; date +%N >> /all\n"), ("src/a.txt", "a\n"), ("src/b.txt", "b\n"));
        var first = (await Build(context, "-q")).Output;
        // Another time is not another content.
        File.SetLastWriteTimeUtc(Path.Combine(context, "src/a.txt"), DateTime.UtcNow.AddDays(-3));
        var again = await Build(context, "-t", "cache:1");
        Assert.Equal(2, again.Output.Split("Using cache").Length - 1);
        Assert.Equal(await RunAsync(first.Trim(), "cat", "/all"), await RunAsync("cache:1", "cat", "/all"));
        await File.WriteAllTextAsync(Path.Combine(context, "src/b.txt"), "c\n");
        var changed = await Build(context, "-t", "cache:2");
        Assert.Contains("Not cached: 1 file changed: src/b.txt\n", changed.Output, StringComparison.Ordinal);
        Assert.Contains("Not cached: what it stands on has changed\n", changed.Output, StringComparison.Ordinal);
        Assert.StartsWith("a\nc\n", await RunAsync("cache:2", "cat", "/all"), StringComparison.Ordinal);
        Assert.DoesNotContain("Using cache", (await Build(context, "--no-cache", "-t", "cache:3")).Output, StringComparison.Ordinal);
        // The cache outlives the daemon.
        await _daemon.StopAsync();
        await _daemon.RestartAsync();
        Assert.Equal(2, (await Build(context, "-t", "cache:4")).Output.Split("Using cache").Length - 1);
    }

    [Fact]
    public async Task Files_arrive_as_the_flags_say()
    {
        var context = Context("files", (".dockerignore", "*.log\nsecret\n"), ("Dockerfile", """
            FROM BASE
            COPY --chown=5:6 --chmod=u=rwX,go= tree /owned
            COPY one two/*.txt /flat/
            COPY --parents tree/deep/file /parents/
            COPY --exclude=deep tree /excluded
            COPY . /all
            ENV WHO=you
            COPY <<EOF <<"RAW" /inline/
            who=$WHO
            EOF
            raw=$PATH
            RAW
            ADD packed.tar /unpacked/
            ADD --unpack=false packed.tar /packed.tar
            """), ("one", "1"), ("two/a.txt", "a"), ("two/b.txt", "b"), ("two/c.log", "c"), ("tree/deep/file", "f"), ("secret", "s"));
        await File.WriteAllBytesAsync(Path.Combine(context, "packed.tar"), Images.Tar(("inside", "i"u8.ToArray())));
        File.CreateSymbolicLink(Path.Combine(context, "tree/link"), "deep/file");
        await Build(context, "-t", "files:1");
        Assert.Equal("5 6 755\n5 6 700\n5 6 600\n", await RunAsync("files:1", "stat", "-c", "%u %g %a", "/owned", "/owned/deep", "/owned/deep/file"));
        Assert.Equal("a.txt\nb.txt\none\n", await RunAsync("files:1", "ls", "/flat"));
        Assert.Equal("f", await RunAsync("files:1", "cat", "/parents/tree/deep/file"));
        Assert.Equal("link\n", await RunAsync("files:1", "ls", "/excluded"));
        Assert.Equal("deep/file\n", await RunAsync("files:1", "readlink", "/all/tree/link"));
        Assert.Equal("ls: /all/secret: No such file or directory\n", (await _daemon.Docker("run", "--rm", "--network", "none", "files:1", "ls", "/all/secret").MayFail()).Error);
        Assert.Equal("who=you\nraw=$PATH\n", await RunAsync("files:1", "cat", "/inline/EOF", "/inline/RAW"));
        Assert.Equal("i", await RunAsync("files:1", "cat", "/unpacked/inside"));
        Assert.Equal("inside\n", await RunAsync("files:1", "tar", "tf", "/packed.tar"));
    }

    [Fact]
    public async Task Commands_have_their_mounts()
    {
        var context = Context("mounts", ("Dockerfile", """
            FROM BASE AS other
            RUN mkdir /out && echo made > /out/file
            FROM BASE
            RUN --mount=type=bind,source=data,target=/data cat /data > /one && ! echo x > /data
            RUN --mount=type=bind,from=other,source=/out,target=/o,rw cp /o/file /two && echo x > /o/new
            RUN --mount=type=cache,target=/cache,id=build-tests echo line >> /cache/n && wc -l < /cache/n > /three
            RUN --mount=type=tmpfs,target=/t,size=1m grep -q ' /t tmpfs' /proc/mounts
            RUN --network=none ! ip link show eth0
            RUN <<EOF
            #!/bin/sh
            echo script > /four
            EOF
            RUN <<EOF
            set -e
            echo shell > /five
            EOF
            """), ("data", "data\n"));
        await Build(context, "-t", "mounts:1");
        Assert.Equal("data\nmade\n1\nscript\nshell\n", await RunAsync("mounts:1", "cat", "/one", "/two", "/three", "/four", "/five"));
        // The cache is there for the next build, and no part of the image.
        await Build(context, "--no-cache", "-t", "mounts:2");
        Assert.Equal("2\n", await RunAsync("mounts:2", "cat", "/three"));
        Assert.Equal("", await RunAsync("mounts:2", "sh", "-c", "ls -d /cache /data /o /t 2>/dev/null || true"));
    }

    [Theory]
    [InlineData("FROM BASE\nRUNN x", 1, "Error response from daemon: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)")]
    [InlineData("FROM BASE\nRUN exit 7", 7, "The command '/bin/sh -c exit 7' returned a non-zero code: 7")]
    [InlineData("FROM BASE\nCOPY nothing /", 1, "failed to calculate checksum of ref: \"/nothing\": not found")]
    [InlineData("FROM BASE\nCOPY ../../etc/shadow /", 1, "failed to calculate checksum of ref: \"/etc/shadow\": not found")]
    [InlineData("FROM 127.0.0.1:9/nothing\n", 1, "127.0.0.1:9")]
    public async Task A_build_that_fails_says_why_and_leaves_no_image(string dockerfile, int exit, string message)
    {
        var before = (await _daemon.Docker("images", "-aq")).Output;
        var result = await Build(Context("wrong", ("Dockerfile", dockerfile)), "-t", "wrong:1").MayFail();
        Assert.Equal(exit, result.ExitCode);
        Assert.Contains(message, result.Error, StringComparison.Ordinal);
        Assert.Equal(before, (await _daemon.Docker("images", "-aq")).Output);
    }

    // Failed: FROM b took the image whose id happened to begin with b.
    [Fact]
    public async Task A_base_is_found_by_its_name_or_a_whole_short_id_and_by_no_beginning_of_one()
    {
        var id = (await _daemon.Docker("images", "-q", "--no-trunc", shared.Image)).Output.Trim()["sha256:".Length..];
        await Build(Context("by-id", ("Dockerfile", $"FROM {id[..12]}\nLABEL by=id\n")));
        await _daemon.Docker("tag", shared.Image, "127.0.0.1:9/" + id[..5]);
        Assert.NotEqual(0, (await Build(Context("by-prefix", ("Dockerfile", $"FROM 127.0.0.1:9/{id[..4]}\n"))).MayFail()).ExitCode);
        await _daemon.Docker("rmi", "127.0.0.1:9/" + id[..5]);
    }

    [Fact]
    public async Task A_link_in_the_context_leads_nowhere_outside()
    {
        var context = Context("links", ("Dockerfile", "FROM BASE\nCOPY out /out\n"));
        File.CreateSymbolicLink(Path.Combine(context, "out"), "/etc/passwd");
        var result = await Build(context).MayFail();
        Assert.Contains("\"/out\": not found", result.Error, StringComparison.Ordinal);
        // And a link in the image not out of it.
        context = Context("links2", ("Dockerfile", "FROM BASE\nRUN ln -s /tmp/../../../../../berth-was-here /evil\nCOPY file /evil/\n"), ("file", "x"));
        await Build(context, "-t", "links:2");
        Assert.Equal("x", await RunAsync("links:2", "cat", "/berth-was-here/file"));
        Assert.False(Path.Exists("/berth-was-here"));
    }

    [Fact]
    public async Task Stages_that_do_not_need_each_other_run_side_by_side()
    {
        // Each waits for the other: one after the other they would wait for ever.
        var context = Context("parallel", ("Dockerfile", """
            FROM BASE AS a
            RUN --mount=type=cache,target=/c,id=build-parallel touch /c/a && until [ -e /c/b ]; do usleep 10000; done
            FROM BASE AS b
            RUN --mount=type=cache,target=/c,id=build-parallel touch /c/b && until [ -e /c/a ]; do usleep 10000; done
            FROM BASE
            COPY --from=a /etc/passwd /a
            COPY --from=b /etc/passwd /b
            """));
        await Build(context, "-t", "parallel:1");
    }

    [Fact]
    public async Task A_build_whose_client_goes_away_ends()
    {
        var context = Context("gone", ("Dockerfile", "FROM BASE\nRUN echo begun && sleep 1000\n"));
        using var client = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("docker", ["-H", "unix://" + _daemon.SocketPath, "build", context])
        {
            Environment = { ["DOCKER_BUILDKIT"] = "0" }, RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        while (await client.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line && line != "begun") { }
        var step = Assert.Single(Sleeping());
        client.Kill();
        await client.WaitForExitAsync(TestContext.Current.CancellationToken);
        await Eventually.HoldsAsync("the command has ended", () => !Path.Exists($"/proc/{step}"));

        IEnumerable<string> Sleeping() => Directory.EnumerateDirectories("/proc").Where(p => char.IsDigit(Path.GetFileName(p)[0]))
            .Where(p => TryRead(p + "/cmdline") == "sleep\01000\0" && TryRead(p + "/cgroup").Contains(_daemon.CgroupParent, StringComparison.Ordinal)).Select(p => Path.GetFileName(p)!);
        static string TryRead(string path)
        {
            try
            {
                return File.ReadAllText(path);
            }
            catch (IOException)
            {
                return "";
            }
        }
    }

    [Fact]
    public async Task A_daemon_that_is_killed_while_it_builds_leaves_nothing_but_what_was_finished()
    {
        var context = Context("killed", ("Dockerfile", "FROM BASE\nRUN echo one > /one\nRUN --mount=type=bind,source=.,target=/ctx echo begun && sleep 1000\n"));
        using var client = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("docker", ["-H", "unix://" + _daemon.SocketPath, "build", context])
        {
            Environment = { ["DOCKER_BUILDKIT"] = "0" }, RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        while (await client.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line && line != "begun") { }
        await _daemon.KillAsync();
        await client.WaitForExitAsync(TestContext.Current.CancellationToken);
        await _daemon.RestartAsync();
        Assert.Empty((await _daemon.Docker("ps", "-aq")).Output);
        await Eventually.HoldsAsync("what was unfinished has gone", () => !Directory.EnumerateFileSystemEntries(Path.Combine(_daemon.DataRoot, "images/tmp")).Any());
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(_daemon.ExecRoot, "build")));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(_daemon.ExecRoot, "containers")));
    }

    [Fact]
    public async Task What_builds_keep_is_pruned()
    {
        var context = Context("prune", ("Dockerfile", "FROM BASE\nRUN head -c 100000 /dev/zero > /big\n"));
        var id = (await Build(context, "-q", "-t", "prune:1")).Output.Trim();
        await _daemon.Docker("rmi", "prune:1");
        // Without its image it is still there to be found...
        Assert.Contains("Using cache", (await Build(context, "-t", "prune:1")).Output, StringComparison.Ordinal);
        await _daemon.Docker("rmi", "prune:1");
        var (status, body) = await _daemon.AskAsync("POST", "/build/prune?all=1");
        using var json = JsonDocument.Parse(body);
        Assert.Equal((200, true), (status, json.RootElement.GetProperty("SpaceReclaimed").GetInt64() >= 100000));
        // ... and then not.
        Assert.DoesNotContain("Using cache", (await Build(context, "-t", "prune:1")).Output, StringComparison.Ordinal);
    }
}
