using System.Formats.Tar;
using System.Net;
using System.Text;
using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>cp, diff, export and commit with the stock client, and the archive API by HTTP.</summary>
public sealed class FilesTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private string Local(string name) => Path.Combine(_daemon.WorkDirectory, name);

    private async Task<string> RunAsync(string name, params string[] flags)
    {
        await _daemon.Docker(["run", "-d", "--name", name, .. flags, shared.Image, "sleep", "600"]);
        return name;
    }

    private async Task<string> Exec(string container, string script) => (await _daemon.Docker("exec", container, "sh", "-c", script)).Output;

    private string Source(string name)
    {
        var source = Local(name);
        Directory.CreateDirectory(Path.Combine(source, "sub"));
        File.WriteAllText(Path.Combine(source, "a"), "hello\n");
        File.SetUnixFileMode(Path.Combine(source, "a"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.SetUser);
        File.WriteAllText(Path.Combine(source, "sub/b"), "two\n");
        File.CreateSymbolicLink(Path.Combine(source, "link"), "a");
        return source;
    }

    private static byte[] Tar(params (string Name, string Content)[] files) => Images.Tar([.. files.Select(f => (f.Name, Encoding.UTF8.GetBytes(f.Content)))]);

    private static List<string> Names(byte[] tar)
    {
        var names = new List<string>();
        using var reader = new TarReader(new MemoryStream(tar));
        while (reader.GetNextEntry() is { } entry) names.Add(entry.Name);
        return names;
    }

    [Fact]
    public async Task A_tree_goes_into_a_running_container_and_comes_out_again()
    {
        var container = await RunAsync("cp-1");
        var source = Source("cp-1-src");
        await _daemon.Docker("cp", source, $"{container}:/new");
        Assert.Equal("hello\n-rws\na\n", await Exec(container, "cat /new/a; ls -l /new/a | cut -c1-4; readlink /new/link"));
        await _daemon.Docker("cp", source, $"{container}:/new"); // it exists now: the directory goes into it
        await _daemon.Docker("cp", source + "/.", $"{container}:/tmp");
        Assert.Equal("two\ntwo\n", await Exec(container, "cat /new/cp-1-src/sub/b /tmp/sub/b"));
        await _daemon.Docker("cp", "-L", source + "/link", $"{container}:/followed");
        Assert.Equal("hello\n", await Exec(container, "cat /followed"));

        await _daemon.Docker("cp", $"{container}:/new/.", Local("cp-1-out"));
        Assert.Equal("hello\n", await File.ReadAllTextAsync(Local("cp-1-out/a"), TestContext.Current.CancellationToken));
        Assert.Equal("a", new FileInfo(Local("cp-1-out/link")).LinkTarget);
        await _daemon.Docker("cp", "-L", $"{container}:/new/link", Local("cp-1-file"));
        Assert.Null(new FileInfo(Local("cp-1-file")).LinkTarget);
        await _daemon.Docker("rm", "-f", container);
    }

    [Fact]
    public async Task Standard_streams_carry_tars()
    {
        var container = await RunAsync("cp-2");
        await _daemon.Docker("cp", "-", $"{container}:/tmp").WithInput(Tar(("one", "1\n"), ("dir/two", "2\n")));
        Assert.Equal("1\n2\n", await Exec(container, "cat /tmp/one /tmp/dir/two"));
        var output = await _daemon.Docker("cp", $"{container}:/tmp/dir", "-");
        Assert.Equal(["dir/", "dir/two"], Names(Encoding.Latin1.GetBytes(output.Output)));
        await _daemon.Docker("rm", "-f", container);
    }

    [Fact]
    public async Task Volumes_binds_and_tmpfs_are_seen()
    {
        Directory.CreateDirectory(Local("cp-3-bind"));
        var container = await RunAsync("cp-3", "-v", "cp-3-vol:/vol", "-v", $"{Local("cp-3-bind")}:/bind", "--tmpfs", "/tm");
        var source = Source("cp-3-src");
        foreach (var place in (string[])["/vol", "/bind", "/tm"])
        {
            await _daemon.Docker("cp", source, $"{container}:{place}");
            Assert.Equal("hello\n", await Exec(container, $"cat {place}/cp-3-src/a"));
            await Exec(container, $"echo back > {place}/back");
            await _daemon.Docker("cp", $"{container}:{place}/back", Local("cp-3-back"));
            Assert.Equal("back\n", await File.ReadAllTextAsync(Local("cp-3-back"), TestContext.Current.CancellationToken));
        }
        Assert.True(File.Exists(Local("cp-3-bind/cp-3-src/a")));
        await _daemon.Docker("rm", "-f", container);

        // One that never ran and one that has ended see them as well; what they are given is there when they run.
        await _daemon.Docker("create", "--name", "cp-3-created", "-v", "cp-3-vol:/vol", shared.Image, "cat", "/vol/fresh", "/root-fresh");
        Assert.Equal(["cp-3-src/", "cp-3-src/a", "cp-3-src/link", "cp-3-src/sub/", "cp-3-src/sub/b"],
            Names(Encoding.Latin1.GetBytes((await _daemon.Docker("cp", "cp-3-created:/vol/cp-3-src", "-")).Output)));
        await _daemon.Docker("cp", "-", "cp-3-created:/vol").WithInput(Tar(("fresh", "volume\n")));
        await _daemon.Docker("cp", "-", "cp-3-created:/").WithInput(Tar(("root-fresh", "root\n")));
        Assert.Equal("volume\nroot\n", (await _daemon.Docker("start", "-a", "cp-3-created")).Output);
        await _daemon.Docker("cp", "cp-3-created:/root-fresh", Local("cp-3-ended"));
        await _daemon.Docker("rm", "-v", "cp-3-created");
        await _daemon.Docker("volume", "rm", "cp-3-vol");
    }

    [Fact]
    public async Task A_paused_container_is_copied_from_and_to()
    {
        var container = await RunAsync("cp-4");
        await _daemon.Docker("pause", container);
        await _daemon.Docker("cp", "-", $"{container}:/").WithInput(Tar(("paused", "yes\n")));
        await _daemon.Docker("cp", $"{container}:/paused", Local("cp-4"));
        await _daemon.Docker("unpause", container);
        Assert.Equal("yes\n", await Exec(container, "cat /paused"));
        await _daemon.Docker("rm", "-f", container);
    }

    [Fact]
    public async Task What_is_read_only_is_not_written_and_mounts_are_not_replaced()
    {
        Directory.CreateDirectory(Local("cp-5-ro"));
        var container = await RunAsync("cp-5", "--read-only", "-v", $"{Local("cp-5-ro")}:/ro:ro", "-v", "/rw", "--tmpfs", "/tm");
        var tar = Tar(("f", "x"));
        async Task<string> Refused(string to) => (await _daemon.Docker("cp", "-", $"{container}:{to}").WithInput(tar).MayFail()).Error;
        Assert.Equal("Error response from daemon: container rootfs is marked read-only\n", await Refused("/tmp"));
        Assert.Equal("Error response from daemon: mounted volume is marked read-only\n", await Refused("/ro"));
        Assert.Equal("", await Refused("/rw"));
        Assert.Equal("", await Refused("/tm"));
        await _daemon.Docker("rm", "-fv", container);

        container = await RunAsync("cp-6", "-v", "/data");
        Assert.Equal("Error response from daemon: RemoveAll hosts: device or resource busy\n", (await _daemon.Docker("cp", "-", $"{container}:/etc").WithInput(Tar(("hosts", "x"))).MayFail()).Error);
        using (var put = await _daemon.Http.PutAsync(new Uri($"/containers/{container}/archive?path=/", UriKind.Relative), new ByteArrayContent(Tar(("data", "x"))), TestContext.Current.CancellationToken))
            Assert.Equal(HttpStatusCode.InternalServerError, put.StatusCode);
        Assert.Equal("ok\n", await Exec(container, "grep -q ' /data ' /proc/mounts && grep -q ' /etc/hosts ' /proc/mounts && echo ok"));
        await _daemon.Docker("rm", "-fv", container);
    }

    [Fact]
    public async Task Links_of_the_container_lead_nowhere_but_into_the_container()
    {
        var container = await RunAsync("cp-7");
        await Exec(container, "ln -s / /root-link; ln -s ../../../../../.. /up; ln -s /etc/nothing /dangling; ln -s /proc/1/root /magic");
        foreach (var link in (string[])["root-link", "up"])
        {
            await _daemon.Docker("cp", "-", $"{container}:/{link}").WithInput(Tar(("berth-cp-" + link, "x")));
            Assert.Equal("x", await Exec(container, $"cat /berth-cp-{link}"));
            Assert.False(File.Exists("/berth-cp-" + link));
        }
        using var head = await _daemon.Http.SendAsync(new HttpRequestMessage(HttpMethod.Head, $"/containers/{container}/archive?path=/dangling"), TestContext.Current.CancellationToken);
        using var stat = JsonDocument.Parse(Convert.FromBase64String(Assert.Single(head.Headers.GetValues("X-Docker-Container-Path-Stat"))));
        Assert.Equal(("dangling", "/etc/nothing", 1u << 27 | 0x1FFu),
            (stat.RootElement.GetProperty("name").GetString(), stat.RootElement.GetProperty("linkTarget").GetString(), stat.RootElement.GetProperty("mode").GetUInt32()));
        Assert.NotEqual(0, (await _daemon.Docker("cp", "-", $"{container}:/magic/tmp").WithInput(Tar(("x", "x"))).MayFail()).ExitCode);
        await _daemon.Docker("rm", "-f", container);
    }

    [Fact]
    public async Task Errors_are_in_Dockers_words()
    {
        var container = await RunAsync("cp-8");
        Assert.Equal((404, "{\"message\":\"Could not find the file /nope in container cp-8\"}\n"), await _daemon.AskAsync("GET", "/containers/cp-8/archive?path=/nope"));
        Assert.Equal((404, "{\"message\":\"No such container: nobody\"}\n"), await _daemon.AskAsync("GET", "/containers/nobody/archive?path=/"));
        Assert.Equal((400, "{\"message\":\"bad parameter: pathcannot be empty\"}\n"), await _daemon.AskAsync("GET", "/containers/cp-8/archive"));
        Assert.Equal((400, "{\"message\":\"extraction point is not a directory\"}\n"), await _daemon.AskAsync("PUT", "/containers/cp-8/archive?path=/etc/passwd"));
        Assert.Equal((500, "{\"message\":\"lstat /bin/busybox/: not a directory\"}\n"), await _daemon.AskAsync("GET", "/containers/cp-8/archive?path=/bin/busybox/"));
        Assert.Equal((404, "{\"message\":\"No such container: nobody\"}\n"), await _daemon.AskAsync("GET", "/containers/nobody/changes"));
        Assert.Equal((404, "{\"message\":\"No such container: nobody\"}\n"), await _daemon.AskAsync("POST", "/commit?container=nobody"));
        Assert.Equal((400, "{\"message\":\"RUN is not a valid change command\"}\n"), await _daemon.AskAsync("POST", $"/commit?container={container}&changes=RUN+x"));
        await _daemon.Docker("rm", "-f", container);
    }

    [Fact]
    public async Task Diff_shows_what_the_container_changed_and_nothing_of_ours()
    {
        await _daemon.Docker("run", "--name", "diff-1", "-v", "/vol", shared.Image, "true");
        Assert.Equal("A /vol\n", (await _daemon.Docker("diff", "diff-1")).Output);
        await _daemon.Docker("run", "--name", "diff-2", shared.Image, "true");
        Assert.Equal((200, "null\n"), await _daemon.AskAsync("GET", "/containers/diff-2/changes"));
        await _daemon.Docker("run", "--name", "diff-3", shared.Image, "sh", "-c", "echo > /etc/new; rm /etc/group; mkdir -p /a/b; chmod 700 /tmp");
        string[] expected = ["A /a", "A /a/b", "A /etc/new", "C /etc", "C /tmp", "D /etc/group"];
        Assert.Equal(expected, (await _daemon.Docker("diff", "diff-3")).Lines.Order(StringComparer.Ordinal));
        Assert.Equal(expected, (await _daemon.Berth("diff", "diff-3")).Lines.Order(StringComparer.Ordinal));
        await _daemon.Docker("rm", "-v", "diff-1", "diff-2", "diff-3");
    }

    [Fact]
    public async Task Export_has_the_containers_files_and_no_volumes_content()
    {
        var container = await RunAsync("export-1", "-v", "/vol");
        await Exec(container, "echo in > /vol/inside; echo mine > /mine");
        foreach (var again in (string[])["running", "stopped"])
        {
            await _daemon.Docker("export", "-o", Local(again + ".tar"), container);
            var names = Names(await File.ReadAllBytesAsync(Local(again + ".tar"), TestContext.Current.CancellationToken));
            Assert.Contains("mine", names);
            Assert.Contains("vol/", names);
            Assert.Contains(".dockerenv", names);
            Assert.DoesNotContain("vol/inside", names);
            Assert.DoesNotContain(names, n => n.StartsWith("proc/1", StringComparison.Ordinal));
            await _daemon.Docker("kill", container).MayFail();
        }
        await _daemon.Docker("rm", "-v", container);
        await _daemon.Docker("import", Local("stopped.tar"), "exported:1");
        await _daemon.Docker("run", "--name", "export-2", shared.Image, "touch", "/by-berth");
        await _daemon.Berth("export", "--output", Local("berth.tar"), "export-2");
        Assert.Contains("by-berth", Names(await File.ReadAllBytesAsync(Local("berth.tar"), TestContext.Current.CancellationToken)));
        var id = (await _daemon.Berth("commit", "-m", "by berth", "-c", "ENV X=1", "export-2", "by-berth:1")).Line;
        Assert.Matches($"^{id} by berth .*X=1", (await _daemon.Docker("image", "inspect", "--format", "{{.Id}} {{.Comment}} {{.Config.Env}}", "by-berth:1")).Line);
        await _daemon.Docker("rm", "export-2");
        await _daemon.Docker("rmi", "by-berth:1");
        Assert.Equal("mine\n", (await _daemon.Docker("run", "--rm", "exported:1", "/bin/busybox", "cat", "/mine")).Output);
        await _daemon.Docker("rmi", "exported:1");
    }

    [Fact]
    public async Task A_committed_container_runs_as_an_image_and_sizes_are_told()
    {
        var container = await RunAsync("commit-1", "-e", "KEPT=1");
        await Exec(container, "echo content > /made; rm /etc/group");
        Assert.StartsWith("8B (virtual ", (await _daemon.Docker("ps", "-s", "--filter", "name=commit-1", "--format", "{{.Size}}")).Line);
        var id = (await _daemon.Docker("commit", "-a", "me", "-m", "why", "-c", "ENV NEW=2", "-c", "CMD [\"sh\", \"-c\", \"cat /made; ls /etc/group; echo $KEPT$NEW\"]", container, "committed:1")).Line;
        Assert.Equal("running", (await _daemon.Docker("inspect", "--format", "{{.State.Status}}", container)).Line); // paused meanwhile, and thawed
        Assert.Equal($"{id} me why", (await _daemon.Docker("image", "inspect", "--format", "{{.Id}} {{.Author}} {{.Comment}}", "committed:1")).Line);
        var run = await _daemon.Docker("run", "--rm", "committed:1").MayFail();
        Assert.Equal("content\n12\n", run.Output);
        Assert.Contains("No such file", run.Error);
        var since = DateTimeOffset.UtcNow.AddMinutes(-5).ToUnixTimeSeconds();
        var events = await _daemon.Docker("events", "--since", $"{since}", "--until", $"{DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 1}", "--filter", "container=commit-1", "--format", "{{.Action}}");
        Assert.Equal(["pause", "commit", "unpause"], events.Lines.Where(e => e is "pause" or "commit" or "unpause"));
        await _daemon.Docker("rm", "-f", container);
        await _daemon.Docker("rmi", "committed:1");
    }

    [Fact]
    public async Task A_container_that_a_commit_had_frozen_when_the_daemon_died_is_thawed_and_one_its_owner_paused_is_not()
    {
        var (committed, paused) = (await RunAsync("commit-2"), await RunAsync("commit-3"));
        await _daemon.Docker("pause", committed, paused);
        var id = (await _daemon.Docker("inspect", "--format", "{{.Id}}", committed)).Line;
        // What a commit writes before it freezes.
        await File.WriteAllTextAsync(Path.Combine(_daemon.ExecRoot, "containers", id, "frozen-for-commit"), "", TestContext.Current.CancellationToken);
        await _daemon.KillAsync();
        await _daemon.RestartAsync();
        Assert.Equal(["running", "paused"], (await _daemon.Docker("inspect", "--format", "{{.State.Status}}", committed, paused)).Lines);
        Assert.Equal("", await Exec(committed, "true"));
        await _daemon.Docker("rm", "-f", committed, paused);
    }
}
