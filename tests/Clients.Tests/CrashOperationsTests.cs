using System.Globalization;
using System.Security.Cryptography;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>
/// Each operation is cut short by a kill -9 of the daemon or of the monitor at a random moment. Afterwards what is said is so, and the operation succeeds when it is asked for again.
/// The seed is printed; BERTH_SEED repeats it.
/// </summary>
public sealed class CrashOperationsTests(ITestOutputHelper output)
{
    private const int LatestMoment = 60; // milliseconds after the client was started; most operations take less

    /// <param name="Begin">Arguments of the client.</param>
    /// <param name="Check">After the crash: what must hold, and the operation once more.</param>
    private sealed record Operation(string Name, string[] Begin, Func<Task> Check);

    private TestDaemon _daemon = null!;
    private string _image = "";

    private Task<CommandResult> Ask(params string[] arguments) => _daemon.Docker(arguments).RunAsync();
    private async Task<string> Said(string container, string format) => (await Ask("inspect", "--type", "container", "--format", format, container)).Line;

    [Theory]
    [InlineData("daemon")]
    [InlineData("monitor")]
    public async Task What_a_crash_cuts_short_is_done_or_not_and_can_be_done_again(string killed)
    {
        var seed = int.TryParse(Environment.GetEnvironmentVariable("BERTH_SEED"), NumberStyles.None, CultureInfo.InvariantCulture, out var given) ? given : Random.Shared.Next();
        output.WriteLine($"BERTH_SEED={seed}");
        var random = new Random(seed);
        using var directory = new TestDirectory();
        await using var daemon = _daemon = await TestDaemon.StartAsync();
        _image = await daemon.LoadBusyboxAsync();
        await Ask("run", "-d", "--init", "--name", "box", "-v", "box-volume:/v", _image, "sleep", "600");
        var id = await Said("box", "{{.Id}}");

        await foreach (var operation in Operations(directory, random))
        {
            output.WriteLine(operation.Name);
            var begun = daemon.Docker(operation.Begin).MayFail().RunAsync();
            await Task.Delay(random.Next(LatestMoment)); // the random moment itself
            if (killed == "daemon")
            {
                await daemon.KillAsync();
                await daemon.RestartAsync();
            }
            else if (daemon.MonitorPid is { } monitor)
            {
                Berth.Testing.Host.Kill(monitor);
                await Eventually.HoldsAsync("another monitor runs", () => daemon.MonitorPid is { } pid && pid != monitor);
            }
            await begun;
            try
            {
                await operation.Check();
                Assert.Equal($"{id} running", await Said("box", "{{.Id}} {{.State.Status}}"));
                Assert.Equal("here\n", (await Ask("exec", "box", "echo", "here")).Output);
            }
            catch (Exception e) when (e is TestException or Xunit.Sdk.XunitException)
            {
                throw new TestException($"{operation.Name}, cut short by a crash of the {killed}: {e.Message}\n{daemon.LogTail()}");
            }
        }
    }

    private Task NothingUnfinishedAsync() => Eventually.HoldsAsync("nothing unfinished is left of images", () => !Directory.EnumerateFileSystemEntries(Path.Combine(_daemon.DataRoot, "images", "tmp")).Any());

    private async Task BothPlatformsAsync(params TestImage[] images)
    {
        foreach (var image in images)
        {
            var platform = image == images[0] ? "%7B%22architecture%22%3A%22amd64%22%2C%22os%22%3A%22linux%22%7D" : "%7B%22architecture%22%3A%22arm64%22%2C%22os%22%3A%22linux%22%7D";
            var (status, body) = await _daemon.AskAsync("GET", $"/images/multi:1/json?platform={platform}");
            Assert.True(status == 200 && body.Contains(image.Id, StringComparison.Ordinal), body);
        }
    }

    private async IAsyncEnumerable<Operation> Operations(TestDirectory directory, Random random)
    {
        var bytes = new byte[24 << 20];
        random.NextBytes(bytes);
        var digest = Convert.ToHexStringLower(SHA256.HashData(bytes));
        var source = directory["in"];
        File.WriteAllBytes(source, bytes);

        yield return new("cp into it", ["cp", source, "box:/big"], async () =>
        {
            await Ask("cp", source, "box:/big");
            Assert.StartsWith(digest, (await Ask("exec", "box", "sha256sum", "/big")).Output, StringComparison.Ordinal);
        });
        yield return new("cp out of it", ["cp", "box:/big", directory["out"]], async () =>
        {
            await Ask("cp", "box:/big", directory["out"]);
            Assert.Equal(digest, Convert.ToHexStringLower(SHA256.HashData(await File.ReadAllBytesAsync(directory["out"]))));
        });
        yield return new("export", ["export", "-o", directory["export.tar"], "box"], async () =>
        {
            await Ask("export", "-o", directory["export.tar"], "box");
            Assert.Contains("\nbig\n", (await new Command("tar", ["-tf", directory["export.tar"]])).Output, StringComparison.Ordinal);
        });
        yield return new("commit", ["commit", "box", "crashed:1"], async () =>
        {
            // Paused for it: it goes on all the same.
            if ((await Ask("images", "-q", "crashed:1")).Output.Length > 0) await Ask("run", "--rm", "crashed:1", "test", "-s", "/big");
            if (await Said("box", "{{.State.Paused}}") == "true") await Ask("unpause", "box");
            await Ask("commit", "box", "crashed:2");
            Assert.StartsWith(digest, (await Ask("run", "--rm", "crashed:2", "sha256sum", "/big")).Output, StringComparison.Ordinal);
        });
        yield return new("save", ["save", "-o", directory["saved.tar"], _image], async () =>
        {
            await Ask("save", "-o", directory["saved.tar"], _image);
            Assert.Equal($"Loaded image: {_image}", (await Ask("load", "-i", directory["saved.tar"])).Line);
            await NothingUnfinishedAsync();
        });
        var shared = new byte[6 << 20];
        random.NextBytes(shared);
        TestImage For(string architecture) => new TestImage { ConfigMembers = $$""" "architecture":"{{architecture}}","os":"linux","config":{} """ }
            .Layer(t => t.File("shared", shared)).Layer(t => t.File("arch", architecture));
        var (amd, arm) = (For("amd64"), For("arm64"));
        await File.WriteAllBytesAsync(directory["multi.tar"], TestImage.OciArchive("docker.io/library/multi:1", ("linux/amd64", amd), ("linux/arm64", arm)));
        yield return new("load of several platforms", ["load", "-i", directory["multi.tar"]], async () =>
        {
            // All of the name, or nothing of it.
            if ((await Ask("images", "-q", "multi:1")).Output.Length > 0) await BothPlatformsAsync(amd, arm);
            await Ask("load", "-i", directory["multi.tar"]);
            await BothPlatformsAsync(amd, arm);
            await NothingUnfinishedAsync();
            await Ask("rmi", "multi:1");
        });
        yield return new("update", ["update", "-m", "96m", "--memory-swap", "-1", "box"], async () =>
        {
            await Ask("update", "-m", "64m", "--memory-swap", "-1", "box");
            Assert.Equal($"{64 << 20}", await Said("box", "{{.HostConfig.Memory}}"));
        });
        yield return new("rename", ["rename", "box", "boxed"], async () =>
        {
            var name = (await Ask("ps", "--filter", "name=^box", "--format", "{{.Names}}")).Line;
            Assert.True(name is "box" or "boxed", name);
            await Ask("rename", name, "third");
            await Ask("rename", "third", "box");
        });
        yield return new("exec", ["exec", "-d", "box", "sleep", "600"], async () =>
        {
            // Whether it was started is nobody's knowledge but the kernel's: it is in the container and can be seen and ended there.
            await _daemon.Docker("exec", "box", "sh", "-c", "for p in $(pidof sleep); do [ $(cut -d' ' -f4 /proc/$p/stat) = 1 ] || kill $p; done").MayFail();
            Assert.Equal(3, (await _daemon.Docker("exec", "box", "sh", "-c", "exit 3").MayFail()).ExitCode);
        });
        yield return new("pause", ["pause", "box"], async () =>
        {
            if (await Said("box", "{{.State.Paused}}") == "true") await Ask("unpause", "box");
            await Ask("exec", "box", "true"); // said not to be paused, it is not
            await Ask("pause", "box");
            await Ask("unpause", "box");
        });
        yield return new("restart", ["restart", "-t", "0", "box"], async () =>
        {
            if (await Said("box", "{{.State.Running}}") == "false") await Ask("start", "box");
            await Ask("restart", "-t", "0", "box");
        });
        yield return new("create", ["create", "--name", "made", "-v", "/anonymous", _image, "true"], async () =>
        {
            await _daemon.Docker("rm", "-v", "made").MayFail();
            await Ask("create", "--name", "made", "-v", "/anonymous", _image, "true");
            await Ask("rm", "-v", "made");
            Assert.Equal("box-volume", (await Ask("volume", "ls", "-q")).Line);
        });
        yield return new("run", ["run", "--rm", "--name", "ran", _image, "true"], async () =>
        {
            await Eventually.HoldsAsync("it is gone, or can be removed", async () => (await _daemon.Docker("rm", "-f", "ran").MayFail()).ExitCode == 0 && (await Ask("ps", "-aq", "--filter", "name=^ran$")).Output.Length == 0);
            await Ask("run", "--rm", "--name", "ran", _image, "true");
        });
        yield return new("volume create", ["volume", "create", "made-volume"], async () =>
        {
            await Ask("volume", "create", "made-volume");
            await Ask("run", "--rm", "-v", "made-volume:/v", _image, "touch", "/v/x");
        });
        yield return new("volume rm", ["volume", "rm", "made-volume"], async () =>
        {
            await Ask("volume", "rm", "-f", "made-volume");
            Assert.False(Directory.Exists(Path.Combine(_daemon.DataRoot, "volumes", "made-volume")));
        });
        // The bridge, its rules and networks.json are all there or none of them.
        string[] create = ["network", "create", "--subnet", "198.18.31.0/28", "-o", "com.docker.network.bridge.name=br-crash", "made-net"];
        yield return new("network create", create, async () =>
        {
            var there = (await Ask("network", "ls", "-q", "--filter", "name=^made-net$")).Output.Length > 0;
            Assert.Equal(there, Directory.Exists("/sys/class/net/br-crash"));
            if (!there) await Ask(create);
            await Ask("run", "--rm", "--network", "made-net", _image, "true");
        });
        yield return new("network connect", ["network", "connect", "--ip", "198.18.31.9", "made-net", "box"], async () =>
        {
            var said = await Said("box", "{{with index .NetworkSettings.Networks \"made-net\"}}{{.IPAddress}}{{end}}");
            Assert.Equal(said.Length > 0, (await Ask("exec", "box", "ip", "-4", "addr")).Output.Contains("198.18.31.9", StringComparison.Ordinal));
            if (said.Length == 0) await Ask("network", "connect", "--ip", "198.18.31.9", "made-net", "box");
            await Ask("run", "--rm", "--network", "made-net", _image, "ping", "-c1", "box");
        });
        yield return new("network disconnect", ["network", "disconnect", "made-net", "box"], async () =>
        {
            var said = await Said("box", "{{with index .NetworkSettings.Networks \"made-net\"}}{{.IPAddress}}{{end}}");
            Assert.Equal(said.Length > 0, (await Ask("exec", "box", "ip", "-4", "addr")).Output.Contains("198.18.31.9", StringComparison.Ordinal));
            if (said.Length > 0) await Ask("network", "disconnect", "made-net", "box");
            await Ask("run", "--rm", "--network", "made-net", "--ip", "198.18.31.9", _image, "true");
        });
        yield return new("run on a network", ["run", "-d", "--name", "netted", "--network", "made-net", "--ip", "198.18.31.10", "-p", "127.0.0.1:26431:80", _image, "sleep", "600"], async () =>
        {
            await _daemon.Docker("rm", "-f", "netted").MayFail();
            await Ask("run", "-d", "--name", "netted", "--network", "made-net", "--ip", "198.18.31.10", "-p", "127.0.0.1:26431:80", _image, "sleep", "600");
            await Ask("rm", "-f", "netted");
        });
        yield return new("network rm", ["network", "rm", "made-net"], async () =>
        {
            if ((await Ask("network", "ls", "-q", "--filter", "name=^made-net$")).Output.Length > 0) await Ask("network", "rm", "made-net");
            Assert.False(Directory.Exists("/sys/class/net/br-crash"));
        });
        yield return new("rm", ["rm", "-f", "gone"], async () =>
        {
            await _daemon.Docker("rm", "-f", "gone").MayFail();
            await Ask("run", "-d", "--name", "gone", _image, "sleep", "600");
            await Ask("rm", "-f", "gone");
            foreach (var n in (int[])[1, 2, 3]) await Ask("create", "--name", $"stopped-{n}", _image, "true");
        });
        yield return new("prune", ["container", "prune", "-f"], async () =>
        {
            await Ask("container", "prune", "-f");
            Assert.Equal("box", (await Ask("ps", "-a", "--format", "{{.Names}}")).Line);
        });
        yield return new("system prune of what was committed", ["system", "prune", "-f"], async () =>
        {
            await Ask("system", "prune", "-f");
            await Ask("rmi", "crashed:2");
        });
    }
}
