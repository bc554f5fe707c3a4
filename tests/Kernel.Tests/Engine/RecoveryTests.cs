using System.Text;
using Berth.Api;
using Berth.Engine;
using Berth.Linux.Cgroups;
using Berth.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Berth.Kernel.Tests.Engine;

/// <summary>An engine in the test's own process, with a monitor of its own and no bridge.</summary>
internal sealed class TestEngine : IAsyncDisposable
{
    private static int s_number;
    private readonly TestDirectory _directory = new();
    private readonly string _cgroupParent = $"/berth-engine-test-{Environment.ProcessId}-{Interlocked.Increment(ref s_number)}";

    public BerthEngine Engine { get; private set; } = null!;
    public string DataRoot => _directory["data"];
    public string ExecRoot => _directory["run"];

    public static async Task<TestEngine> StartAsync()
    {
        Assert.SkipUnless(Environment.UserName == "root", "needs root");
        Assert.SkipUnless(File.Exists("/bin/busybox"), "needs /bin/busybox (Debian: busybox-static)");
        var engine = new TestEngine();
        await engine.StartEngineAsync();
        var image = new TestImage().Layer(tar => tar.Directory("bin").File("bin/busybox", File.ReadAllBytes("/bin/busybox"), 0x1ED).Symlink("bin/sh", "busybox").Symlink("bin/sleep", "busybox")
            .Directory("seed").File("seed/file", "from the image"u8.ToArray()));
        await engine.Engine.Images.ImportAsync(new MemoryStream(image.Layers[0]), "busybox", "test", null, [], null, _ => { }, CancellationToken.None);
        return engine;
    }

    public async Task StartEngineAsync() => Engine = await BerthEngine.StartAsync(new EngineOptions
    {
        DataRoot = DataRoot, ExecRoot = ExecRoot, BridgeName = "none", IpForward = false, Firewall = false, CgroupParent = _cgroupParent,
        MonitorPath = Path.Combine(AppContext.BaseDirectory, "berth-monitor"),
    }, NullLoggerFactory.Instance, null, CancellationToken.None);

    /// <summary>Ends the engine; containers go on. What the test then does to the files, a crash could have left.</summary>
    public async Task StopEngineAsync() => await Engine.DisposeAsync();

    public async Task<string> CreateAsync(string command, Action<ContainerCreateRequest>? change = null)
    {
        var request = new ContainerCreateRequest { Image = "busybox:test", Cmd = ["/bin/sh", "-c", command], HostConfig = new HostConfig { NetworkMode = "none" } };
        change?.Invoke(request);
        return (await Engine.Containers.CreateAsync(request, null, null, CancellationToken.None)).Id;
    }

    public async Task<ContainerState> StateAsync(string id) => (await Engine.Containers.InspectAsync(id, false, CancellationToken.None)).State;

    public async ValueTask DisposeAsync()
    {
        foreach (var container in await Engine.Containers.ListAsync(new ContainerListOptions { All = true }, CancellationToken.None))
            await Engine.Containers.RemoveAsync(container.Id, force: true, removeVolumes: true, link: false, CancellationToken.None);
        await Engine.DisposeAsync();
        var cgroups = CgroupHost.Detect();
        Assert.Empty(cgroups.Children(_cgroupParent));
        cgroups.RemoveEmpty(_cgroupParent);
        Assert.Empty(Directory.EnumerateDirectories(Path.Combine(DataRoot, "containers")));
        _directory.Dispose();
    }
}

public class RecoveryTests
{
    private static readonly CancellationToken None = CancellationToken.None;

    [Fact]
    public async Task What_a_create_cut_short_has_left_is_swept_with_its_anonymous_volume()
    {
        await using var test = await TestEngine.StartAsync();
        var id = await test.CreateAsync("true", r => (r.Volumes, r.HostConfig!.Binds) = (["/anonymous"], ["named:/named"]));
        await test.StopEngineAsync();
        File.Delete(Path.Combine(test.DataRoot, "containers", id, "container.json"));
        await test.StartEngineAsync();
        Assert.False(Directory.Exists(Path.Combine(test.DataRoot, "containers", id)));
        Assert.Equal(["named"], test.Engine.Volumes.List(new Filters()).Volumes.Select(v => v.Name));
        await test.Engine.Volumes.RemoveAsync("named", false, None);
    }

    [Fact]
    public async Task A_removal_cut_short_after_its_rename_is_finished_volumes_included()
    {
        await using var test = await TestEngine.StartAsync();
        var id = await test.CreateAsync("true", r => r.Volumes = ["/anonymous"]);
        await test.StopEngineAsync();
        Directory.Move(Path.Combine(test.DataRoot, "containers", id), Path.Combine(test.DataRoot, "trash", id + ".volumes"));
        await test.StartEngineAsync();
        Assert.Empty(test.Engine.Volumes.List(new Filters()).Volumes);
        await Eventually.HoldsAsync("the trash is empty", () => !Directory.EnumerateFileSystemEntries(Path.Combine(test.DataRoot, "trash")).Any());
    }

    [Fact]
    public async Task A_running_container_is_adopted_and_its_end_while_nobody_looked_is_recorded()
    {
        await using var test = await TestEngine.StartAsync();
        var stays = await test.CreateAsync("while :; do sleep 1000; done");
        var ends = await test.CreateAsync($"while [ ! -e /gate/go ]; do sleep 0.01; done; exit 7", r => r.HostConfig!.Binds = [$"{test.ExecRoot}:/gate"]);
        var removed = await test.CreateAsync($"while [ ! -e /gate/go ]; do sleep 0.01; done", r => (r.HostConfig!.Binds, r.HostConfig.AutoRemove) = ([$"{test.ExecRoot}:/gate"], true));
        foreach (var id in (string[])[stays, ends, removed]) await test.Engine.Containers.StartAsync(id, None);
        var (staysPid, endsPid) = ((await test.StateAsync(stays)).Pid, (await test.StateAsync(ends)).Pid);
        await test.StopEngineAsync();
        File.WriteAllText(Path.Combine(test.ExecRoot, "go"), "");
        await Eventually.HoldsAsync("the process has ended", () => !Directory.Exists($"/proc/{endsPid}"));
        await test.StartEngineAsync();
        var (one, two) = (await test.StateAsync(stays), await test.StateAsync(ends));
        Assert.Equal(("running", staysPid), (one.Status, one.Pid));
        Assert.Equal(("exited", 7), (two.Status, two.ExitCode));
        await Eventually.HoldsAsync("it is removed", () => !Directory.Exists(Path.Combine(test.DataRoot, "containers", removed)));
        await test.Engine.Containers.StopAsync(stays, null, 0, None);
        Assert.Equal(137, (await test.StateAsync(stays)).ExitCode);
    }

    [Fact]
    public async Task A_start_cut_short_after_the_launch_is_found_running()
    {
        await using var test = await TestEngine.StartAsync();
        var id = await test.CreateAsync("while :; do sleep 1000; done");
        var file = Path.Combine(test.DataRoot, "containers", id, "container.json");
        var before = File.ReadAllBytes(file);
        await test.Engine.Containers.StartAsync(id, None);
        await test.StopEngineAsync();
        File.WriteAllBytes(file, before);
        await test.StartEngineAsync();
        Assert.Equal("running", (await test.StateAsync(id)).Status);
        Assert.Equal("none", Assert.Single((await test.Engine.Containers.InspectAsync(id, false, None)).NetworkSettings.Networks!).Key);
    }

    [Fact]
    public async Task One_that_runs_for_the_record_alone_has_ended_with_255()
    {
        await using var test = await TestEngine.StartAsync();
        var id = await test.CreateAsync("while :; do sleep 1000; done");
        var file = Path.Combine(test.DataRoot, "containers", id, "container.json");
        await test.Engine.Containers.StartAsync(id, None);
        var running = File.ReadAllBytes(file);
        await test.Engine.Containers.KillAsync(id, null, None);
        await test.StopEngineAsync();
        File.WriteAllBytes(file, running);
        await test.StartEngineAsync();
        var state = await test.StateAsync(id);
        Assert.Equal(("exited", 255, 0), (state.Status, state.ExitCode, state.Pid));
    }

    [Fact]
    public async Task A_file_that_is_no_container_json_does_not_keep_the_others_from_coming_back()
    {
        await using var test = await TestEngine.StartAsync();
        var good = await test.CreateAsync("true");
        var bad = await test.CreateAsync("true");
        await test.StopEngineAsync();
        var file = Path.Combine(test.DataRoot, "containers", bad, "container.json");
        var text = File.ReadAllText(file);
        File.WriteAllText(file, text[..100]);
        await test.StartEngineAsync();
        Assert.Equal(good, Assert.Single(await test.Engine.Containers.ListAsync(new ContainerListOptions { All = true }, None)).Id);
        await test.StopEngineAsync();
        File.WriteAllText(file, text);
        await test.StartEngineAsync();
        Assert.Equal(2, (await test.Engine.Containers.ListAsync(new ContainerListOptions { All = true }, None)).Count);
    }

    [Theory]
    [InlineData("always", true, "running")]
    [InlineData("unless-stopped", true, "exited")]
    [InlineData("unless-stopped", false, "running")]
    [InlineData("no", false, "exited")]
    public async Task A_restart_policy_decides_who_comes_back(string policy, bool stopped, string expected)
    {
        await using var test = await TestEngine.StartAsync();
        var id = await test.CreateAsync("trap 'exit 0' TERM; while :; do sleep 0.01; done", r => r.HostConfig!.RestartPolicy = new RestartPolicy { Name = policy });
        var file = Path.Combine(test.DataRoot, "containers", id, "container.json");
        await test.Engine.Containers.StartAsync(id, None);
        var running = File.ReadAllBytes(file);
        await test.Engine.Containers.StopAsync(id, null, 10, None);
        await test.StopEngineAsync();
        // Not stopped by the user, but by the machine's end: the record says that it runs.
        if (!stopped) File.WriteAllBytes(file, running);
        await test.StartEngineAsync();
        if (expected == "running") await Eventually.HoldsAsync("it runs", async () => (await test.StateAsync(id)).Running);
        Assert.Equal(expected, (await test.StateAsync(id)).Status);
    }

    [Fact]
    public async Task A_new_volume_begins_with_the_images_files_and_a_used_one_is_left_alone()
    {
        await using var test = await TestEngine.StartAsync();
        var first = await test.CreateAsync("true", r => r.HostConfig!.Binds = ["vol:/seed"]);
        var file = Path.Combine(test.DataRoot, "volumes", "vol", "_data", "file");
        Assert.Equal("from the image", File.ReadAllText(file));
        File.WriteAllText(file, "changed");
        var second = await test.CreateAsync("true", r => r.HostConfig!.Binds = ["vol:/seed"]);
        Assert.Equal("changed", File.ReadAllText(file));
        var e = await Assert.ThrowsAsync<EngineException>(() => test.Engine.Volumes.RemoveAsync("vol", false, None));
        Assert.Equal((ErrorKind.Conflict, $"remove vol: volume is in use - [{first}, {second}]"), (e.Kind, e.Message));
        foreach (var id in (string[])[first, second]) await test.Engine.Containers.RemoveAsync(id, false, false, false, None);
        await test.Engine.Volumes.RemoveAsync("vol", false, None);
    }

    [Fact]
    public async Task A_failed_create_leaves_nothing()
    {
        await using var test = await TestEngine.StartAsync();
        var e = await Assert.ThrowsAsync<EngineException>(() => test.CreateAsync("true", r => (r.Volumes, r.HostConfig!.Binds) = (["/anonymous"], ["bad name:/x"])));
        Assert.Equal(ErrorKind.InvalidParameter, e.Kind);
        Assert.Empty(Directory.EnumerateDirectories(Path.Combine(test.DataRoot, "containers")));
        Assert.Empty(test.Engine.Volumes.List(new Filters()).Volumes);
    }

    [Fact]
    public async Task A_failed_start_leaves_nothing_and_says_why()
    {
        await using var test = await TestEngine.StartAsync();
        var id = await test.CreateAsync("", r => r.Cmd = ["/nosuch"]);
        var e = await Assert.ThrowsAsync<EngineException>(() => test.Engine.Containers.StartAsync(id, None));
        var state = await test.StateAsync(id);
        Assert.Equal((ErrorKind.InvalidParameter, "created", 127, e.Message), (e.Kind, state.Status, state.ExitCode, state.Error));
        Assert.Empty(Directory.EnumerateDirectories(Path.Combine(test.ExecRoot, "containers")));
    }

    [Fact]
    public async Task An_attachment_made_before_the_start_sees_the_first_byte_and_the_end()
    {
        await using var test = await TestEngine.StartAsync();
        var id = await test.CreateAsync("echo first; echo last >&2");
        await using var session = await test.Engine.Containers.AttachAsync(id, new AttachOptions { Stdout = true, Stderr = true, Stream = true }, None);
        using var client = new MemoryStream();
        var running = session.RunAsync(client, None);
        var wait = test.Engine.Containers.Wait(id, WaitCondition.NextExit, None);
        await test.Engine.Containers.StartAsync(id, None);
        Assert.Equal(0, (await wait).StatusCode);
        await running;
        var text = Encoding.ASCII.GetString(client.ToArray());
        Assert.Contains("first\n", text);
        Assert.Contains("last\n", text);
    }

    [Fact]
    public async Task Many_containers_at_once_start_end_and_vanish()
    {
        await using var test = await TestEngine.StartAsync();
        await Task.WhenAll(Enumerable.Range(0, 40).Select(async i =>
        {
            var id = await test.CreateAsync($"exit {i}", r => r.HostConfig!.AutoRemove = i % 2 == 0);
            var ended = test.Engine.Containers.Wait(id, WaitCondition.NextExit, None);
            var gone = i % 2 == 0 ? test.Engine.Containers.Wait(id, WaitCondition.Removed, None) : null;
            await test.Engine.Containers.StartAsync(id, None);
            Assert.Equal(i, (await ended).StatusCode);
            if (gone is not null) await gone;
            else await test.Engine.Containers.RemoveAsync(id, false, false, false, None);
        }));
        Assert.Empty(await test.Engine.Containers.ListAsync(new ContainerListOptions { All = true }, None));
    }
}
