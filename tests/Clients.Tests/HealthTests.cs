using System.Globalization;
using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Health checks: what runs, what ps, inspect and events say of it, and the restart that an owner can ask for.</summary>
public sealed class HealthTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private async Task<string> Health(string name) => (await _daemon.Docker("inspect", "--format", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}", name)).Line;

    // Listened to from now on: the checks' own events soon push older ones out of what is remembered.
    private RunningCommand Events(string container, params string[] actions) => _daemon.Docker([
        "events", "--since", DateTimeOffset.UtcNow.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture), "--filter", "container=" + container, "--format", "{{.Action}}",
        .. actions.SelectMany(a => (string[])["--filter", "event=" + a])]).Start();

    [Fact]
    public async Task A_container_becomes_healthy_unhealthy_and_healthy_again()
    {
        await _daemon.Docker("run", "-d", "--name", "health-0", "--health-cmd", "true", "--health-interval", "1h", shared.Image, "sleep", "600");
        Assert.Equal("starting 0", await Health("health-0"));
        Assert.EndsWith("(health: starting)", (await _daemon.Docker("ps", "--filter", "name=health-0", "--format", "{{.Status}}")).Line);

        using var events = Events("health-1", "health_status");
        await _daemon.Docker("run", "-d", "--name", "health-1", "--health-cmd", "cat /state", "--health-interval", "50ms", "--health-retries", "2", shared.Image, "sleep", "600");
        await Eventually.HoldsAsync("it is unhealthy", async () => (await Health("health-1")).StartsWith("unhealthy", StringComparison.Ordinal));
        Assert.Equal("health-1", (await _daemon.Docker("ps", "--filter", "health=unhealthy", "--filter", "name=health-1", "--format", "{{.Names}}")).Line);
        await _daemon.Docker("exec", "health-1", "sh", "-c", "echo fine > /state");
        await Eventually.HoldsAsync("it is healthy", async () => await Health("health-1") == "healthy 0");
        Assert.EndsWith("(healthy)", (await _daemon.Docker("ps", "--filter", "health=healthy", "--filter", "name=health-1", "--format", "{{.Status}}")).Line);

        using var log = JsonDocument.Parse((await _daemon.Docker("inspect", "--format", "{{json .State.Health.Log}}", "health-1")).Line);
        Assert.InRange(log.RootElement.GetArrayLength(), 1, 5);
        var last = log.RootElement[log.RootElement.GetArrayLength() - 1];
        Assert.Equal((0, "fine\n"), (last.GetProperty("ExitCode").GetInt32(), last.GetProperty("Output").GetString()));
        Assert.True(last.GetProperty("End").GetDateTimeOffset() >= last.GetProperty("Start").GetDateTimeOffset());

        await events.OutputAsync("health_status: unhealthy\nhealth_status: healthy\n");

        await _daemon.Docker("stop", "-t", "0", "health-1");
        Assert.Equal("unhealthy", (await _daemon.Docker("inspect", "--format", "{{.State.Health.Status}}", "health-1")).Line); // as dockerd: who is stopped is not healthy
        await _daemon.Docker("rm", "-f", "health-0", "health-1");
    }

    [Fact]
    public async Task A_check_that_takes_too_long_or_cannot_run_has_failed()
    {
        await _daemon.Docker("run", "-d", "--name", "health-2", "--health-cmd", "echo slow; exec sleep 60", "--health-interval", "20ms", "--health-timeout", "100ms", "--health-retries", "1",
            shared.Image, "sleep", "600");
        await Eventually.HoldsAsync("it is unhealthy", async () => (await Health("health-2")).StartsWith("unhealthy", StringComparison.Ordinal));
        Assert.Equal("-1 Health check exceeded timeout (100ms): slow", (await _daemon.Docker("inspect", "--format", "{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}", "health-2")).Line);
        Assert.InRange((await _daemon.Docker("exec", "health-2", "ps", "-o", "args")).Lines.Count(l => l.Trim() == "sleep 60"), 0, 1); // those that took too long are gone

        var (status, body) = await _daemon.AskAsync("POST", "/containers/create?name=health-3",
            $$"""{"Image":"{{shared.Image}}","Cmd":["sleep","600"],"Healthcheck":{"Test":["CMD","/not/there"],"Retries":1,"Interval":20000000 } }""");
        Assert.True(status == 201, body);
        await _daemon.Docker("start", "health-3");
        await Eventually.HoldsAsync("it is unhealthy", async () => (await Health("health-3")).StartsWith("unhealthy", StringComparison.Ordinal));
        Assert.Contains("/not/there", (await _daemon.Docker("inspect", "--format", "{{(index .State.Health.Log 0).Output}}", "health-3")).Line, StringComparison.Ordinal);
        await _daemon.Docker("rm", "-f", "health-2", "health-3");
    }

    [Fact]
    public async Task Long_output_is_cut_and_checks_can_be_switched_off()
    {
        await _daemon.Docker("run", "-d", "--name", "health-4", "--health-cmd", "head -c 5000 /dev/zero | tr '\\0' x", "--health-interval", "20ms", shared.Image, "sleep", "600");
        await Eventually.HoldsAsync("it is healthy", async () => await Health("health-4") == "healthy 0");
        Assert.Equal(new string('x', 4096) + "...", (await _daemon.Docker("inspect", "--format", "{{(index .State.Health.Log 0).Output}}", "health-4")).Line);
        await _daemon.Docker("run", "-d", "--name", "health-5", "--no-healthcheck", shared.Image, "sleep", "600");
        Assert.Equal("<nil>", (await _daemon.Docker("inspect", "--format", "{{.State.Health}}", "health-5")).Line);
        Assert.Contains("health-5", (await _daemon.Docker("ps", "--filter", "health=none", "--format", "{{.Names}}")).Lines);
        await _daemon.Docker("rm", "-f", "health-4", "health-5");
    }

    [Fact]
    public async Task A_paused_container_is_not_checked()
    {
        await _daemon.Docker("run", "-d", "--name", "health-6", "--health-cmd", "true", "--health-interval", "20ms", shared.Image, "sleep", "600");
        await Eventually.HoldsAsync("it is healthy", async () => await Health("health-6") == "healthy 0");
        await _daemon.Docker("pause", "health-6");
        var paused = await Log();
        await _daemon.Docker("unpause", "health-6");
        await Eventually.HoldsAsync("it is checked again", async () => await Log() != paused);
        Assert.Equal("healthy 0", await Health("health-6"));
        await _daemon.Docker("rm", "-f", "health-6");

        async Task<string> Log() => (await _daemon.Docker("inspect", "--format", "{{json .State.Health.Log}}", "health-6")).Line;
    }

    [Fact]
    public async Task An_unhealthy_container_is_started_again_when_its_label_asks()
    {
        using var events = Events("health-7", "health_status", "die", "start");
        await _daemon.Docker("run", "-d", "--name", "health-7", "--label", "berth.restart-unhealthy=true", "--stop-timeout", "0", "--health-cmd", "test ! -e /tmp/ill || { rm /tmp/ill; exit 1; }",
            "--health-interval", "20ms", "--health-retries", "1", shared.Image, "sleep", "600");
        await Eventually.HoldsAsync("it is healthy", async () => await Health("health-7") == "healthy 0");
        var first = (await _daemon.Docker("inspect", "--format", "{{.State.Pid}}", "health-7")).Line;
        await _daemon.Docker("exec", "health-7", "touch", "/tmp/ill");
        await Eventually.HoldsAsync("it runs again and is healthy", async () =>
            (await _daemon.Docker("inspect", "--format", "{{.RestartCount}} {{.State.Running}} {{.State.Health.Status}}", "health-7")).Line == "1 true healthy");
        Assert.NotEqual(first, (await _daemon.Docker("inspect", "--format", "{{.State.Pid}}", "health-7")).Line);
        await events.OutputAsync("start\nhealth_status: healthy\nhealth_status: unhealthy\ndie\nstart\nhealth_status: healthy\n");
        await _daemon.Docker("stop", "-t", "0", "health-7");
        Assert.Equal("exited 1", (await _daemon.Docker("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", "health-7")).Line);
        await _daemon.Docker("rm", "health-7");
    }
}

/// <summary>Checks and the daemon's own life.</summary>
public sealed class HealthRestartTests
{
    [Fact]
    public async Task Health_and_its_checks_go_on_after_a_crash_of_the_daemon()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        async Task<string> Health(string name) => (await daemon.Docker("inspect", "--format", "{{.State.Health.Status}}", name)).Line;

        await daemon.Docker("run", "-d", "--name", "well", "--health-cmd", "true", "--health-interval", "50ms", "--health-start-period", "1h", "--health-start-interval", "20ms", image, "sleep", "600");
        // A check that never ends by itself is not left behind.
        await daemon.Docker("run", "-d", "--name", "hangs", "--health-cmd", "exec sleep 3600", "--health-interval", "20ms", image, "sleep", "600");
        await Eventually.HoldsAsync("one is healthy", async () => await Health("well") == "healthy");
        await Eventually.HoldsAsync("the other is being checked", async () => (await daemon.Docker("exec", "hangs", "ps", "-o", "args")).Output.Contains("sleep 3600\n", StringComparison.Ordinal));
        await daemon.KillAsync();
        await daemon.RestartAsync();
        Assert.Equal("healthy", await Health("well"));
        var known = (await daemon.Docker("inspect", "--format", "{{json .State.Health.Log}}", "well")).Line;
        await Eventually.HoldsAsync("it is checked again", async () => (await daemon.Docker("inspect", "--format", "{{json .State.Health.Log}}", "well")).Line != known);
        await Eventually.HoldsAsync("there is one check at a time", async () =>
            (await daemon.Docker("exec", "hangs", "ps", "-o", "args")).Lines.Count(l => l.Trim() == "sleep 3600") <= 1);
        await daemon.Docker("rm", "-f", "hangs");
    }
}
