using System.Text;
using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>What the builder keeps: shown, pruned, limited, the same on two machines, and whole after a kill.</summary>
public sealed class BuildCacheTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private static string Context(TestDaemon daemon, string dockerfile, params (string Path, string Content)[] files)
    {
        var directory = Directory.CreateDirectory(Path.Combine(daemon.WorkDirectory, "context-" + Guid.NewGuid().ToString("N"))).FullName;
        File.WriteAllText(Path.Combine(directory, "Dockerfile"), dockerfile.Replace("BASE", Images.Busybox, StringComparison.Ordinal));
        foreach (var (path, content) in files) File.WriteAllText(Path.Combine(directory, path), content);
        return directory;
    }

    private static Command Build(TestDaemon daemon, string directory, params string[] arguments) =>
        daemon.Docker(["build", .. arguments, directory]).WithEnvironment("DOCKER_BUILDKIT", "0").WithTimeout(TimeSpan.FromSeconds(60));

    private async Task<List<JsonElement>> RecordsAsync()
    {
        using var json = JsonDocument.Parse(await _daemon.Http.GetStringAsync("/v1.51/system/df?type=build-cache", TestContext.Current.CancellationToken));
        return [.. json.RootElement.GetProperty("BuildCache").EnumerateArray().Select(r => r.Clone())];
    }

    [Fact]
    public async Task What_is_kept_is_shown_and_pruned_by_filters()
    {
        var context = Context(_daemon, "FROM BASE\nRUN --mount=type=cache,target=/cc,id=kept echo cached > /cc/f\nRUN dd if=/dev/zero of=/big bs=1k count=300\n");
        var image = (await Build(_daemon, context, "-q")).Line;
        var records = await RecordsAsync();
        var big = records.Single(r => r.GetProperty("Description").GetString()!.EndsWith("count=300", StringComparison.Ordinal));
        Assert.Equal((300 * 1024, true, false, "regular"), (big.GetProperty("Size").GetInt32(), big.GetProperty("Shared").GetBoolean(), big.GetProperty("InUse").GetBoolean(), big.GetProperty("Type").GetString()));
        Assert.Contains(records, r => r.GetProperty("Type").GetString() == "exec.cachemount" && r.GetProperty("Description").GetString() == "cached mount /cc with id \"kept\"");
        Assert.Equal(image, (await Build(_daemon, context, "-q")).Line);
        Assert.Equal(1, (await RecordsAsync()).Single(r => r.GetProperty("ID").GetString() == big.GetProperty("ID").GetString()).GetProperty("UsageCount").GetInt32());
        // What an image has gives no room back, and stays without --all.
        Assert.DoesNotContain(big.GetProperty("ID").GetString()!, (await _daemon.Docker("builder", "prune", "-f", "--filter", "type=regular")).Output, StringComparison.Ordinal);
        await _daemon.Docker("rmi", image);
        Assert.DoesNotContain(big.GetProperty("ID").GetString()!, (await _daemon.Docker("builder", "prune", "-f", "--filter", "until=1h")).Output, StringComparison.Ordinal);
        var pruned = (await _daemon.Docker("builder", "prune", "-f", "--filter", "id=" + big.GetProperty("ID").GetString())).Output;
        Assert.Contains("Total reclaimed space: 307.2kB", pruned, StringComparison.Ordinal);
        Assert.Contains(await RecordsAsync(), r => r.GetProperty("Type").GetString() == "exec.cachemount");
        await _daemon.Docker("builder", "prune", "-af");
        Assert.Empty(await RecordsAsync());
    }

    [Fact]
    public async Task The_same_steps_on_the_same_files_are_the_same_image_as_old_as_their_results()
    {
        var context = Context(_daemon, "FROM BASE\nENV BEFORE=1\nRUN echo once > /once\nENV AFTER=1\nCOPY file /\n", ("file", "one"));
        var first = (await Build(_daemon, context, "-q")).Line;
        Assert.Equal(first, (await Build(_daemon, context, "-q")).Line);
        Assert.Equal(first, (await Build(_daemon, context, "-q", "-t", "named:1", "-t", "named:2")).Line);
        Assert.Equal(first, (await _daemon.Docker("image", "inspect", "-f", "{{.Id}}", "named:2")).Line);
        // What made no layer is as old as the layer before it; before the first, as that one.
        var times = (await _daemon.Docker("history", "--no-trunc", "--format", "{{.CreatedAt}} {{.CreatedBy}}", first)).Lines;
        Assert.Equal(4, times.TakeWhile(t => t.Contains("# buildkit", StringComparison.Ordinal) || t.Contains(" ENV ", StringComparison.Ordinal)).Count());
        Assert.Equal(times[2].Split(' ')[0], times[1].Split(' ')[0]);
        Assert.Equal(times[2].Split(' ')[0], times[3].Split(' ')[0]);

        await File.WriteAllTextAsync(Path.Combine(context, "file"), "two", TestContext.Current.CancellationToken);
        var second = (await Build(_daemon, context, "-q")).Line;
        Assert.NotEqual(first, second);
        await File.WriteAllTextAsync(Path.Combine(context, "file"), "one", TestContext.Current.CancellationToken);
        Assert.Equal(first, (await Build(_daemon, context, "-q")).Line);
        Assert.NotEqual(first, (await Build(_daemon, context, "-q", "--no-cache")).Line);

        // Without a layer of its own an image is as old as what it stands on.
        var named = (await Build(_daemon, Context(_daemon, "FROM BASE\nENV ALONE=1\n"), "-q")).Line;
        Assert.Equal((await _daemon.Docker("image", "inspect", "-f", "{{.Created}}", Images.Busybox)).Line, (await _daemon.Docker("image", "inspect", "-f", "{{.Created}}", named)).Line);
    }

    [Fact]
    public async Task The_cache_stays_within_what_the_configuration_gives_it()
    {
        var configuration = Path.Combine(_daemon.WorkDirectory, "gc.json");
        await File.WriteAllTextAsync(configuration, """{"builder":{"gc":{"enabled":true,"policy":[{"keepStorage":"250KB","all":true}]}}}""", TestContext.Current.CancellationToken);
        await using var daemon = await TestDaemon.StartAsync("--config-file", configuration);
        await daemon.LoadBusyboxAsync();
        for (var i = 0; i < 3; i++)
        {
            var image = (await Build(daemon, Context(daemon, $"FROM BASE\nRUN dd if=/dev/urandom of=/{i} bs=1k count=100\n"), "-q")).Line;
            await daemon.Docker("rmi", image);
        }
        await Build(daemon, Context(daemon, "FROM BASE\nRUN echo last\n"), "-q");
        await Eventually.HoldsAsync("the cache is within its limit", async () =>
        {
            using var json = JsonDocument.Parse(await daemon.Http.GetStringAsync("/v1.51/system/df?type=build-cache"));
            return json.RootElement.GetProperty("BuildCache").EnumerateArray().Sum(r => r.GetProperty("Size").GetInt64()) is > 0 and <= 256 * 1024;
        });
    }

    [Fact]
    public async Task The_same_inputs_give_the_same_image_on_two_machines()
    {
        await using var other = await TestDaemon.StartAsync();
        await other.LoadBusyboxAsync();
        const string Dockerfile = "FROM BASE\nARG X=1\nCOPY file /copied/\nADD packed.tar /unpacked/\nRUN mkdir /made && date > /dev/null && echo $X > /made/file && ln /made/file /made/hard && ln -s file /made/link\nWORKDIR /work\nCOPY <<E /inline\ntext\nE\n";
        var ids = new List<string>();
        foreach (var daemon in (TestDaemon[])[_daemon, other])
        {
            var context = Context(daemon, Dockerfile, ("file", "content\n"));
            await File.WriteAllBytesAsync(Path.Combine(context, "packed.tar"), Images.Tar(("inside", "i"u8.ToArray())), TestContext.Current.CancellationToken);
            ids.Add((await Build(daemon, context, "-q", "--build-arg", "SOURCE_DATE_EPOCH=1600000000")).Line);
        }
        Assert.Equal(ids[0], ids[1]);
        Assert.Equal("2020-09-13T12:26:40Z", (await _daemon.Docker("inspect", "-f", "{{.Created}}", ids[0])).Line);
        Assert.Equal("1600000000\n1600000000\n1600000000\n", (await _daemon.Docker("run", "--rm", "--network", "none", ids[0], "stat", "-c", "%Y", "/made/file", "/work", "/inline")).Output);
    }

    [Fact]
    public async Task A_daemon_killed_at_any_moment_of_a_build_leaves_nothing_half_and_a_cache_that_works()
    {
        await using var daemon = await TestDaemon.StartAsync();
        await daemon.LoadBusyboxAsync();
        var steps = string.Concat(Enumerable.Range(0, 6).Select(i => $"RUN --mount=type=cache,target=/c --mount=type=bind,target=/ctx echo {i} >> /c/n; cp /ctx/file /{i}; sleep 0.05\nCOPY file /copy{i}\n"));
        var context = Context(daemon, "FROM BASE\n" + steps, ("file", new string('x', 100_000)));
        var random = new Random(44);
        for (var round = 0; round < 3; round++)
        {
            var building = Build(daemon, context, "--no-cache", "-t", "killed:1").MayFail().RunAsync();
            await Task.Delay(random.Next(50, 700), TestContext.Current.CancellationToken); // the moment is what is random here
            await daemon.KillAsync();
            await building;
            await daemon.RestartAsync();
            // Trees are deleted while the daemon answers already.
            await Eventually.HoldsAsync("what the killed build left is deleted", () => !Directory.EnumerateFileSystemEntries(Path.Combine(daemon.DataRoot, "images", "tmp")).Any());
            Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(daemon.ExecRoot, "build")));
            Assert.DoesNotContain(daemon.ExecRoot + "/build", await File.ReadAllTextAsync("/proc/self/mounts", TestContext.Current.CancellationToken), StringComparison.Ordinal);
        }
        await Build(daemon, context, "-t", "killed:2");
        Assert.Equal(12, (await Build(daemon, context, "-t", "killed:3")).Output.Split("Using cache").Length - 1);
        Assert.Equal("100000\n", (await daemon.Docker("run", "--rm", "--network", "none", "killed:3", "sh", "-c", "wc -c < /copy5")).Output);
    }

    [Fact]
    public async Task A_secret_is_nowhere_when_the_build_has_ended()
    {
        const string Secret = "s3cret-never-to-be-found";
        var file = Path.Combine(_daemon.WorkDirectory, "secret");
        await File.WriteAllTextAsync(file, Secret, TestContext.Current.CancellationToken);
        var context = Context(_daemon, "FROM BASE\nRUN --mount=type=secret,id=one grep -q never-to-be /run/secrets/one && cat /run/secrets/one | wc -c > /length\nRUN --mount=type=secret,id=one,env=TOKEN test ${#TOKEN} = 24\n");
        await _daemon.Berth("build", "--secret", "id=one,src=" + file, "-t", "secret:1", context);
        Assert.Equal("24\n", (await _daemon.Docker("run", "--rm", "--network", "none", "secret:1", "cat", "/length")).Output);
        var needle = Encoding.ASCII.GetBytes(Secret);
        foreach (var path in Directory.EnumerateFiles(_daemon.DataRoot, "*", new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint | FileAttributes.Device }).Append(_daemon.LogPath))
        {
            if (path.EndsWith(".lock", StringComparison.Ordinal) || new FileInfo(path).Length > 1 << 20 && !path.EndsWith(".log", StringComparison.Ordinal)) continue; // busybox itself
            Assert.False((await File.ReadAllBytesAsync(path, TestContext.Current.CancellationToken)).AsSpan().IndexOf(needle) >= 0, path);
        }
        Assert.DoesNotContain(Secret, (await _daemon.Docker("history", "--no-trunc", "secret:1")).Output, StringComparison.Ordinal);
    }
}
