using System.Globalization;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>A container from create to rm, and what ps, inspect, wait, top, port and events say meanwhile.</summary>
public sealed class LifecycleTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private async Task<string> State(string name) => (await _daemon.Docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name)).Line;

    [Fact]
    public async Task A_wait_that_comes_after_a_container_removed_itself_still_gets_its_status()
    {
        var id = (await _daemon.Docker("create", "--rm", "--network", "none", "--name", "late-1", shared.Image, "sh", "-c", "exit 9")).Line;
        await _daemon.Docker("start", "late-1");
        await Eventually.HoldsAsync("the container is gone", async () => (await _daemon.AskAsync("GET", $"/containers/{id}/json")).Status == 404);
        Assert.Equal((200, """{"StatusCode":9}"""), await WaitAsync(id));
        Assert.Equal(404, (await WaitAsync("late-1")).Status); // the name may be another's by now

        async Task<(int Status, string Body)> WaitAsync(string name)
        {
            var (status, body) = await _daemon.AskAsync("POST", $"/containers/{name}/wait");
            return (status, body.TrimEnd());
        }
    }

    [Fact]
    public async Task From_create_to_rm()
    {
        await _daemon.Docker("create", "--name", "life-1", shared.Image, "sh", "-c", "trap 'exit 12' TERM; while :; do sleep 0.05; done");
        Assert.Equal("created 0", await State("life-1"));
        await _daemon.Docker("start", "life-1");
        Assert.Equal("running 0", await State("life-1"));
        await _daemon.Docker("pause", "life-1");
        Assert.Equal("paused 0", await State("life-1"));
        Assert.Contains("(Paused)", (await _daemon.Docker("ps", "--format", "{{.Status}}", "--filter", "name=life-1")).Line);
        await _daemon.Docker("unpause", "life-1");
        await _daemon.Docker("stop", "life-1");
        Assert.Equal("exited 12", await State("life-1"));
        await _daemon.Docker("restart", "life-1");
        Assert.Equal("running 0", await State("life-1"));
        await _daemon.Docker("kill", "life-1");
        Assert.Equal("exited 137", await State("life-1"));
        Assert.Equal("137", (await _daemon.Docker("wait", "life-1")).Line);
        await _daemon.Docker("rename", "life-1", "life-2");
        await _daemon.Docker("rm", "life-2");
        Assert.Equal(1, (await _daemon.Docker("inspect", "life-2").MayFail()).ExitCode);
    }

    [Fact]
    public async Task Stop_kills_what_does_not_end_in_time_and_uses_the_containers_own_signal_and_time()
    {
        await _daemon.Docker("run", "-d", "--name", "stop-1", shared.Image, "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done");
        var stop = await _daemon.Docker("stop", "-t", "1", "stop-1");
        Assert.InRange(stop.Duration.TotalSeconds, 0.9, 5);
        Assert.Equal("exited 137", await State("stop-1"));
        await _daemon.Docker("run", "-d", "--name", "stop-2", "--stop-signal", "USR1", "--stop-timeout", "20", shared.Image, "sh", "-c", "trap 'exit 3' USR1; while :; do sleep 0.05; done");
        await Eventually.HoldsAsync("the trap is set", async () => 
            (Convert.ToUInt64((await _daemon.Docker("exec", "stop-2", "awk", "/SigCgt/ {print $2}", "/proc/1/status")).Line, 16) & (1 << 9)) != 0); // SIGUSR1 is 10
        await _daemon.Docker("stop", "stop-2");
        Assert.Equal("exited 3", await State("stop-2"));
        await _daemon.Docker("rm", "stop-1", "stop-2");
    }

    [Fact]
    public async Task A_container_that_is_stopped_is_not_stopped_again_nor_killed()
    {
        await _daemon.Docker("run", "--name", "stop-3", shared.Image, "true");
        var id = (await _daemon.Docker("inspect", "--format", "{{.Id}}", "stop-3")).Line;
        await _daemon.Docker("stop", "stop-3"); // 304 is no error
        var kill = await _daemon.Docker("kill", "stop-3").MayFail();
        Assert.Equal($"Error response from daemon: cannot kill container: stop-3: container {id} is not running\n", kill.Error);
        var pause = await _daemon.Docker("pause", "stop-3").MayFail();
        Assert.Equal($"Error response from daemon: container {id} is not running\n", pause.Error);
        var exec = await _daemon.Docker("exec", "stop-3", "true").MayFail();
        Assert.Equal((1, $"Error response from daemon: container {id} is not running\n"), (exec.ExitCode, exec.Error));
        await _daemon.Docker("rm", "stop-3");
    }

    [Fact]
    public async Task What_a_container_wrote_is_there_when_it_starts_again()
    {
        await _daemon.Docker("run", "--name", "again-1", shared.Image, "sh", "-c", "cat /kept 2>/dev/null; echo kept >> /kept");
        Assert.Equal("kept\n", (await _daemon.Docker("start", "-a", "again-1")).Output);
        Assert.Equal("kept\nkept\n", (await _daemon.Docker("start", "-a", "again-1")).Output);
        await _daemon.Docker("rm", "again-1");
    }

    [Fact]
    public async Task Run_rm_leaves_nothing_when_it_returns()
    {
        await _daemon.Docker("run", "--rm", "--name", "gone-1", shared.Image, "true");
        Assert.Equal("", (await _daemon.Docker("ps", "-aq", "--filter", "name=gone-1")).Output);
        await _daemon.Docker("run", "-d", "--rm", "--name", "gone-2", "-v", "/anonymous", shared.Image, "sleep", "600");
        var volume = (await _daemon.Docker("inspect", "--format", "{{(index .Mounts 0).Name}}", "gone-2")).Line;
        // The headers come when the wait is registered.
        using var request = new HttpRequestMessage(HttpMethod.Post, "/containers/gone-2/wait?condition=removed");
        using var wait = await _daemon.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        await _daemon.Docker("stop", "-t", "0", "gone-2");
        Assert.Equal("{\"StatusCode\":137}\n", await wait.Content.ReadAsStringAsync());
        await Eventually.HoldsAsync("the container is removed", async () => (await _daemon.Docker("ps", "-aq", "--filter", "name=gone-2")).Output == "");
        await Eventually.HoldsAsync("its anonymous volume is removed", async () => (await _daemon.Docker("volume", "ls", "-q")).Lines.Contains(volume) == false);
    }

    [Fact]
    public async Task Restart_policies_are_followed()
    {
        await _daemon.Docker("run", "-d", "--name", "policy-1", "--restart", "on-failure:2", shared.Image, "sh", "-c", "echo x; exit 1");
        await Eventually.HoldsAsync("it was restarted twice and then left", async () =>
            (await _daemon.Docker("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", "policy-1")).Line == "exited 2");
        Assert.Equal("x\nx\nx\n", (await _daemon.Docker("logs", "policy-1")).Output);

        await _daemon.Docker("run", "-d", "--name", "policy-2", "--restart", "always", shared.Image, "sh", "-c", "sleep 0.1");
        await Eventually.HoldsAsync("it is restarted", async () => int.Parse((await _daemon.Docker("inspect", "--format", "{{.RestartCount}}", "policy-2")).Line, CultureInfo.InvariantCulture) >= 1);
        await _daemon.Docker("stop", "policy-2");
        Assert.StartsWith("exited", await State("policy-2"));

        await _daemon.Docker("run", "-d", "--name", "policy-3", "--restart", "on-failure", shared.Image, "true");
        Assert.Equal("0", (await _daemon.Docker("wait", "policy-3")).Line);
        Assert.Equal("exited 0", await State("policy-3"));
        await _daemon.Docker("rm", "-f", "policy-1", "policy-2", "policy-3");
    }

    [Fact]
    public async Task Ps_filters_and_formats()
    {
        await _daemon.Docker("run", "-d", "--name", "ps-1", "--label", "kind=web", "--label", "n=1", shared.Image, "sleep", "600");
        await _daemon.Docker("run", "--name", "ps-2", "--label", "kind=job", shared.Image, "sh", "-c", "exit 4").MayFail();
        await _daemon.Docker("create", "--name", "ps-3", "--label", "kind=web", shared.Image, "true");
        Assert.Equal("ps-1", await Names());
        Assert.Equal("ps-3 ps-2 ps-1", await Names("-a"));
        Assert.Equal("ps-3 ps-1", await Names("-a", "--filter", "label=kind=web"));
        Assert.Equal("ps-1", await Names("-a", "--filter", "label=kind=web", "--filter", "label=n"));
        Assert.Equal("ps-2", await Names("-a", "--filter", "exited=4"));
        Assert.Equal("ps-3", await Names("-a", "--filter", "status=created"));
        Assert.Equal("ps-2", (await _daemon.Docker("ps", "-a", "--filter", "name=ps-2", "--format", "{{.Names}}")).Line);
        Assert.Equal("ps-3", await Names("-a", "--filter", "since=ps-2"));
        Assert.Equal("ps-1", await Names("-a", "--filter", "before=ps-2"));
        Assert.Equal("ps-3 ps-2 ps-1", await Names("-a", "--filter", "ancestor=" + shared.Image));
        Assert.Equal("ps-3", await Names("-l"));
        Assert.Equal("ps-3 ps-2", await Names("-n", "2"));
        var row = (await _daemon.Docker("ps", "-a", "--no-trunc", "--filter", "name=ps-2", "--format", "{{.Image}}|{{.Command}}|{{.State}}|{{.Status}}")).Line;
        Assert.StartsWith($"{shared.Image}|\"sh -c 'exit 4'\"|exited|Exited (4) ", row);
        Assert.Matches("^Up (Less than a second|[0-9]+ seconds?)$", (await _daemon.Docker("ps", "--filter", "name=ps-1", "--format", "{{.Status}}")).Line);
        Assert.NotEqual("0B", (await _daemon.Docker("ps", "-as", "--filter", "name=ps-1", "--format", "{{.Size}}")).Line);
        await _daemon.Docker("rm", "-f", "ps-1", "ps-2", "ps-3");

        async Task<string> Names(params string[] arguments) =>
            string.Join(' ', (await _daemon.Docker(["ps", "--format", "{{.Names}}", "--filter", "name=^/ps-", .. arguments])).Lines);
    }

    [Fact]
    public async Task An_id_may_be_shortened_and_names_are_given_when_none_was()
    {
        var id = (await _daemon.Docker("create", shared.Image, "true")).Line;
        Assert.Matches("^[0-9a-f]{64}$", id);
        Assert.Matches("^/[a-z]+_[a-z0-9]+$", (await _daemon.Docker("inspect", "--format", "{{.Name}}", id[..12])).Line);
        await _daemon.Docker("rm", id[..8]);
    }

    [Fact]
    public async Task Top_shows_the_containers_processes()
    {
        await _daemon.Docker("run", "-d", "--name", "top-1", shared.Image, "sleep", "600");
        var top = await _daemon.Docker("top", "top-1");
        Assert.Equal(2, top.Lines.Length);
        Assert.Matches("^UID +PID +PPID +C +STIME +TTY +TIME +CMD", top.Lines[0]);
        Assert.Contains("sleep 600", top.Lines[1]);
        Assert.Matches("^PID +COMMAND\n[0-9]+ +sleep\n$", (await _daemon.Docker("top", "top-1", "-o", "pid,comm")).Output);
        await _daemon.Docker("rm", "-f", "top-1");
    }

    [Fact]
    public async Task Events_come_in_order_with_what_they_are_about()
    {
        var since = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0;
        using var events = _daemon.Docker("events", "--since", since.ToString("0.000", CultureInfo.InvariantCulture), "--format", "{{.Type}} {{.Action}}", "--filter", "container=events-1").Start();
        await _daemon.Docker("run", "--name", "events-1", shared.Image, "sh", "-c", "exit 2").MayFail();
        await _daemon.Docker("rm", "events-1");
        await events.OutputAsync("container destroy");
        events.Signal("INT");
        string[] wanted = ["container create", "container attach", "network connect", "container start", "container die", "network disconnect", "container destroy"];
        var seen = events.OutputSoFar.Split('\n').Where(wanted.Contains).ToArray();
        Assert.Equal(["container create", "container attach", "container start", "container die", "container destroy"], seen.Where(s => s.StartsWith("container", StringComparison.Ordinal)));

        // The past can be asked for.
        var until = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0;
        var past = await _daemon.Docker("events", "--since", since.ToString("0.000", CultureInfo.InvariantCulture), "--until", until.ToString("0.000", CultureInfo.InvariantCulture),
            "--filter", "event=die", "--filter", "container=events-1", "--format", "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}} {{.Actor.Attributes.image}}");
        Assert.Equal($"events-1 2 {shared.Image}", past.Line);
    }

    [Fact]
    public async Task Version_and_info_tell_who_answers()
    {
        Assert.Equal("Berth|1.51|linux", (await _daemon.Docker("version", "--format", "{{.Server.Platform.Name}}|{{.Server.APIVersion}}|{{.Server.Os}}")).Line);
        Assert.Matches(@"^28\.5\.\d+\+berth\.\d+\.\d+\.\d+$", (await _daemon.Docker("version", "--format", "{{.Server.Version}}")).Line);
        Assert.Equal($"{_daemon.DataRoot}|json-file|overlay2|inactive", (await _daemon.Docker("info", "--format", "{{.DockerRootDir}}|{{.LoggingDriver}}|{{.Driver}}|{{.Swarm.LocalNodeState}}")).Line);
        await _daemon.Docker("info");
        Assert.Equal("1.24", (await _daemon.Docker("version", "--format", "{{.Client.APIVersion}}").WithEnvironment("DOCKER_API_VERSION", "1.24")).Line);
        Assert.Equal("hi\n", (await _daemon.Docker("run", "--rm", shared.Image, "echo", "hi").WithEnvironment("DOCKER_API_VERSION", "1.24")).Output);
        Assert.Equal("hi\n", (await _daemon.Docker("run", "--rm", shared.Image, "echo", "hi").WithEnvironment("DOCKER_API_VERSION", "1.40")).Output);
    }
}
