using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>docker update: limits and restart policy of containers in each state.</summary>
public sealed class UpdateTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private string PidsMax(string id) =>
        File.ReadAllText(Berth.Testing.Host.CgroupDirectories($"{_daemon.CgroupParent}/{id}").Select(d => Path.Combine(d, "pids.max")).First(File.Exists)).Trim();

    [Fact]
    public async Task Limits_of_a_running_container_change_at_once_and_stay()
    {
        using var events = _daemon.Docker("events", "--since", DateTimeOffset.UtcNow.ToUnixTimeSeconds().ToString(System.Globalization.CultureInfo.InvariantCulture),
            "--filter", "container=update-1", "--filter", "event=update", "--format", "{{.Action}}").Start();
        var id = (await _daemon.Docker("run", "-d", "--name", "update-1", "--pids-limit", "50", "--memory", "64m", shared.Image, "sleep", "600")).Line;
        Assert.Equal("50", PidsMax(id));
        await _daemon.Docker("pause", "update-1"); // paused is running, too
        Assert.Equal("update-1", (await _daemon.Docker("update", "--pids-limit", "40", "--cpus", "0.5", "--memory", "32m", "--memory-swap", "48m", "update-1")).Line);
        Assert.Equal("40", PidsMax(id));
        await _daemon.Docker("unpause", "update-1");
        Assert.Equal("40 500000000 33554432 50331648", await Limits());

        await _daemon.Docker("restart", "-t", "0", "update-1");
        Assert.Equal("40", PidsMax(id));
        await _daemon.Docker("update", "--pids-limit", "-1", "update-1");
        Assert.Equal("max", PidsMax(id));
        await _daemon.Docker("stop", "-t", "0", "update-1");
        await _daemon.Docker("update", "--pids-limit", "30", "update-1");
        Assert.Equal("30 500000000 33554432 50331648", await Limits());
        await _daemon.Docker("start", "update-1");
        Assert.Equal("30", PidsMax(id));

        await events.OutputAsync("update\nupdate\nupdate\n");
        await _daemon.Docker("rm", "-f", "update-1");

        async Task<string> Limits() =>
            (await _daemon.Docker("inspect", "--format", "{{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}", "update-1")).Line;
    }

    [Fact]
    public async Task A_restart_policy_that_is_given_later_is_followed()
    {
        var id = (await _daemon.Docker("run", "-d", "--name", "update-2", shared.Image, "sleep", "600")).Line;
        await _daemon.Docker("update", "--restart", "on-failure:1", "update-2");
        Assert.Equal("on-failure 1", (await _daemon.Docker("inspect", "--format", "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}", "update-2")).Line);
        // Not by docker: what a user kills stays down.
        Berth.Testing.Host.Kill(int.Parse((await _daemon.Docker("inspect", "--format", "{{.State.Pid}}", "update-2")).Line, System.Globalization.CultureInfo.InvariantCulture));
        await Eventually.HoldsAsync("it is restarted", async () => (await _daemon.Docker("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", id)).Line == "running 1");
        await _daemon.Docker("rm", "-f", "update-2");
    }

    [Fact]
    public async Task What_can_not_be_changed_is_refused_and_leaves_things_as_they_were()
    {
        var id = (await _daemon.Docker("create", "--rm", "--name", "update-3", "--cpus", "1", shared.Image, "true")).Line;
        await Refused($"Cannot update container {id}: Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set", "--cpu-quota", "5000");
        await Refused($"Cannot update container {id}: Restart policy cannot be updated because AutoRemove is enabled for the container", "--restart", "always");
        await Refused("Minimum memory limit allowed is 6MB", "--memory", "1m");
        await Refused("invalid restart policy: unknown policy 'often'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", "--restart", "often");
        Assert.Equal("0 0 no", (await _daemon.Docker("inspect", "--format", "{{.HostConfig.CpuQuota}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}", "update-3")).Line);
        Assert.Equal((404, "{\"message\":\"No such container: nope\"}\n"), await _daemon.AskAsync("POST", "/containers/nope/update", "{}"));
        await _daemon.Docker("rm", "update-3");

        async Task Refused(string message, params string[] flags) =>
            Assert.Equal("Error response from daemon: " + message, (await _daemon.Docker(["update", .. flags, "update-3"]).MayFail()).Error.Trim());
    }
}
