using System.Globalization;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Removing what is in any state, half removed, or half gone.</summary>
public sealed class RemovalTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private string DirectoryOf(string id) => Path.Combine(_daemon.DataRoot, "containers", id);

    private async Task GoneAsync(string name, string id)
    {
        Assert.Equal(404, (await _daemon.AskAsync("GET", $"/containers/{name}/json")).Status);
        Assert.False(Directory.Exists(DirectoryOf(id)));
        await Eventually.HoldsAsync("the trash is empty", () => !Directory.EnumerateFileSystemEntries(Path.Combine(_daemon.DataRoot, "trash")).Any(e => e.Contains(id, StringComparison.Ordinal)));
        await _daemon.Docker("run", "--rm", "--name", name, shared.Image, "true"); // the name is free
    }

    [Fact]
    public async Task Rm_f_removes_in_every_state()
    {
        await Try("created", "create");
        await Try("exited", "run", c => _daemon.Docker("kill", c));
        await Try("running", "run");
        await Try("paused", "run", c => _daemon.Docker("pause", c));
        await Try("restarting", "run --restart always", script: "exit 1");

        async Task Try(string state, string how, Func<string, Command>? then = null, string script = "trap '' TERM; sleep 600")
        {
            var name = "rm-" + state;
            string[] words = how.Split(' ');
            var id = (await _daemon.Docker([.. words, .. words[0] == "run" ? (string[])["-d"] : [], "--name", name, shared.Image, "sh", "-c", script])).Line;
            if (then is not null) await then(name);
            await Eventually.HoldsAsync($"it is {state}", async () => (await _daemon.Docker("inspect", "--format", "{{.State.Status}}", name)).Line == state);
            await _daemon.Docker("rm", "-f", name);
            await GoneAsync(name, id);
        }
    }

    // moby#22312: a removal that failed left "removal in progress" behind, and nothing but a restart of the daemon helped.
    [Fact]
    public async Task A_removal_that_failed_can_be_tried_again()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("run", "--name", "half", image, "true");
        var trash = Path.Combine(daemon.DataRoot, "trash");
        Directory.Delete(trash);
        await File.WriteAllTextAsync(trash, "in the way");
        for (var attempt = 0; attempt < 2; attempt++)
        {
            var failed = await daemon.Docker("rm", "half").MayFail();
            Assert.StartsWith("Error response from daemon: cannot remove container \"half\": unable to remove filesystem: ", failed.Error, StringComparison.Ordinal);
            Assert.Equal("dead", (await daemon.Docker("inspect", "--format", "{{.State.Status}}", "half")).Line);
        }
        Assert.Equal((409, "{\"message\":\"container is marked for removal and cannot be started\"}\n"), await daemon.AskAsync("POST", "/containers/half/start"));
        File.Delete(trash);
        await daemon.KillAsync();
        await daemon.RestartAsync();
        Assert.Equal("half Dead", (await daemon.Docker("ps", "-a", "--format", "{{.Names}} {{.Status}}")).Line);
        await daemon.Docker("rm", "half");
        Assert.Equal("", (await daemon.Docker("ps", "-aq")).Output);
    }

    // moby#36679, moby#32461: "device or resource busy" for as long as something was mounted in the container's directory.
    [Fact]
    public async Task A_mount_in_the_containers_directory_does_not_keep_it()
    {
        await _daemon.Docker("run", "--name", "busy", shared.Image, "mkdir", "/inside");
        var id = (await _daemon.Docker("inspect", "--format", "{{.Id}}", "busy")).Line;
        var inside = Path.Combine(DirectoryOf(id), "overlay", "upper", "inside");
        await new Command("mount", ["-t", "tmpfs", "busy-inside", inside]);
        await new Command("mount", ["--bind", DirectoryOf(id), DirectoryOf(id)]);
        // Somebody works in it.
        using var worker = new Command("sh", ["-c", $"cd {inside} && echo there && exec sleep 600"]).Start();
        await worker.OutputAsync("there");
        await _daemon.Docker("rm", "busy");
        await GoneAsync("busy", id);
        Assert.DoesNotContain(id, await File.ReadAllTextAsync("/proc/self/mountinfo"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, "")]
    [InlineData(true, "")]
    [InlineData(false, "overlay")]
    [InlineData(true, "overlay")]
    [InlineData(false, "container.json")]
    [InlineData(true, "container.json")]
    public async Task What_somebody_deleted_by_hand_is_not_missed(bool running, string part)
    {
        var id = (await _daemon.Docker("create", "--name", "gaps", shared.Image, "sleep", "600")).Line;
        if (running) await _daemon.Docker("start", "gaps");
        var path = Path.Combine(DirectoryOf(id), part);
        if (File.Exists(path)) File.Delete(path);
        else Directory.Delete(path, recursive: true);
        await _daemon.Docker("rm", "-f", "gaps");
        await GoneAsync("gaps", id);
    }

    [Fact]
    public async Task Trees_that_no_path_can_name_are_removed()
    {
        // No path is longer than 4096 bytes, but a tree moved into another is: three times fourteen names of 200 letters.
        await _daemon.Docker("run", "--name", "deep", shared.Image, "sh", "-ec",
            "n=$(printf '%0200d' 0); for c in 1 2 3; do p=/c$c; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do p=$p/$n; done; mkdir -p $p; if [ $c != 1 ]; then mv /c$((c-1)) $p/; fi; done");
        var id = (await _daemon.Docker("inspect", "--format", "{{.Id}}", "deep")).Line;
        await _daemon.Docker("rm", "deep");
        await GoneAsync("deep", id);
    }

    [Fact]
    public async Task Verbs_at_once_on_one_container_end_in_order()
    {
        var seed = int.TryParse(Environment.GetEnvironmentVariable("BERTH_SEED"), NumberStyles.None, CultureInfo.InvariantCulture, out var given) ? given : Random.Shared.Next();
        TestContext.Current.TestOutputHelper!.WriteLine($"BERTH_SEED={seed}");
        string[] verbs =
        [
            "POST /containers/all/start", "POST /containers/all/stop?t=0", "POST /containers/all/kill", "POST /containers/all/kill?signal=TERM", "POST /containers/all/restart?t=0", "POST /containers/all/pause",
            "POST /containers/all/unpause", "DELETE /containers/all?force=1", "DELETE /containers/all", "CREATE", "GET /containers/all/json", "GET /containers/json?all=1", "POST /containers/all/update",
        ];
        var answers = await Task.WhenAll(Enumerable.Range(0, 6).Select(n => Task.Run(async () =>
        {
            var random = new Random(seed + n);
            var bad = new List<string>();
            for (var i = 0; i < 40; i++)
            {
                var verb = verbs[random.Next(verbs.Length)];
                var (status, body) = verb == "CREATE"
                    ? await _daemon.AskAsync("POST", "/containers/create?name=all", $$$"""
                        {"Image":"{{{shared.Image}}}","Cmd":["sleep","600"],"HostConfig":{"RestartPolicy":{"Name":"{{{(random.Next(2) == 0 ? "always" : "no")}}}"}},"Healthcheck":{"Test":["CMD","true"],"Interval":5000000}}
                        """)
                    : await _daemon.AskAsync(verb.Split(' ')[0], verb.Split(' ')[1], verb.Contains("update", StringComparison.Ordinal) ? "{\"PidsLimit\":100}" : null);
                // dockerd's answer to unpause of what is not paused is a 500 as well.
                if (status >= 500 && !body.Contains("is not paused", StringComparison.Ordinal)) bad.Add($"{verb}: {status} {body}");
            }
            return bad;
        })));
        Assert.True(answers.All(a => a.Count == 0), string.Join((char)10, answers.SelectMany(a => a)));
        // The leak check at the daemon's end looks for the rest.
        Assert.True((await _daemon.AskAsync("DELETE", "/containers/all?force=1")).Status is 204 or 404);
    }
}
