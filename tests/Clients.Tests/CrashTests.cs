using System.Diagnostics;
using System.Globalization;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>kill -9 of daemon and monitor at random moments under load. The seed is printed; BERTH_SEED repeats it.</summary>
public sealed class CrashTests(ITestOutputHelper output)
{
    private const int Loggers = 6;
    private const int Lines = 250;
    private const int Kills = 8;

    private Random Seeded()
    {
        var seed = int.TryParse(Environment.GetEnvironmentVariable("BERTH_SEED"), NumberStyles.None, CultureInfo.InvariantCulture, out var given) ? given : Random.Shared.Next();
        output.WriteLine($"BERTH_SEED={seed}");
        return new Random(seed);
    }

    /// <summary>Prints 0, 1, 2, … and ends with a code of its own.</summary>
    private static string Logger(int n) => $"i=0; while [ $i -lt {Lines} ]; do echo $i; i=$((i+1)); usleep {15_000 + n * 3_000}; done; exit {n + 10}";

    private static async Task<string> FetchAsync(int port)
    {
        using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(2) };
        return await http.GetStringAsync($"http://127.0.0.1:{port}/");
    }

    [Fact]
    public async Task Nothing_is_lost_when_the_daemon_is_killed()
    {
        var random = Seeded();
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        var port = 20_000 + Random.Shared.Next(10_000);
        await daemon.Docker("run", "-d", "--name", "web", "-p", $"{port}:80", image, "sh", "-c", "mkdir /www; echo here > /www/index.html; exec httpd -f -p 80 -h /www");
        for (var n = 0; n < Loggers; n++)
            await daemon.Docker("run", "-d", "--name", $"logger-{n}", image, "sh", "-c", Logger(n));

        using var end = new CancellationTokenSource();
        var churn = Enumerable.Range(0, 2).Select(_ => Churn(daemon, image, end.Token)).ToArray();
        for (var kill = 0; kill < Kills; kill++)
        {
            await Task.Delay(random.Next(700)); // the random moment itself
            await daemon.KillAsync();
            Assert.Equal("here\n", await FetchAsync(port)); // the port works without a daemon
            var started = Stopwatch.GetTimestamp();
            await daemon.RestartAsync();
            var names = (await daemon.Docker("ps", "--format", "{{.Names}}")).Lines.Where(n => !n.StartsWith("churn-", StringComparison.Ordinal)).ToHashSet();
            var elapsed = Stopwatch.GetElapsedTime(started);
            Assert.True(elapsed < TimeSpan.FromSeconds(2), $"ps was answered {elapsed.TotalSeconds:0.00} s after the start"); // 1 s, and the client's own time on a busy machine
            Assert.Contains("web", names);
            for (var n = 0; n < Loggers; n++)
            {
                var name = $"logger-{n}";
                // It may end while we look: said to run and running, or said to have ended and ended.
                await Eventually.HoldsAsync($"what is said of {name} is so", async () =>
                {
                    var state = (await daemon.Docker("inspect", "--format", "{{.State.Status}} {{.State.Pid}}", name)).Line.Split(' ');
                    return state[0] == "running" ? Directory.Exists($"/proc/{state[1]}/root/proc") || Directory.Exists($"/proc/{state[1]}/root/bin") : state[1] == "0";
                }, TimeSpan.FromSeconds(2));
            }
            Assert.Equal("here\n", await FetchAsync(port));
        }
        await end.CancelAsync();
        await Task.WhenAll(churn);

        for (var n = 0; n < Loggers; n++)
        {
            Assert.Equal($"{n + 10}", (await daemon.Docker("wait", $"logger-{n}")).Line);
            Assert.Equal(string.Concat(Enumerable.Range(0, Lines).Select(i => $"{i}\n")), (await daemon.Docker("logs", $"logger-{n}")).Output);
        }
        // What the churn left half-done is no obstacle to removing everything; the leak check follows.
        await daemon.Docker("stop", "-t", "1", "web");
    }

    [Fact]
    public async Task Containers_are_known_and_can_be_stopped_when_the_monitor_is_killed()
    {
        var random = Seeded();
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        for (var n = 0; n < Loggers; n++)
            await daemon.Docker("run", "-d", "-i", "--name", $"stays-{n}", image, "sh", "-c", $"trap 'exit {n + 20}' TERM; while :; do echo alive; usleep 50000; done");
        for (var kill = 0; kill < 4; kill++)
        {
            await Task.Delay(random.Next(500));
            var monitor = daemon.MonitorPid ?? throw new TestException("there is no monitor");
            Berth.Testing.Host.Kill(monitor);
            await Eventually.HoldsAsync("another monitor runs", () => daemon.MonitorPid is { } pid && pid != monitor);
            Assert.Equal(Loggers, (await daemon.Docker("ps", "-q", "--filter", "name=stays-")).Lines.Length);
            Assert.Equal("hi\n", (await daemon.Docker("run", "--rm", image, "echo", "hi")).Output); // and new ones start
            if (random.Next(2) == 0)
            {
                // Now the new monitor is the only one that knows.
                await daemon.KillAsync();
                await daemon.RestartAsync();
                Assert.Equal(Loggers, (await daemon.Docker("ps", "-q", "--filter", "name=stays-")).Lines.Length);
            }
            Assert.Equal("ok\n", (await daemon.Docker("exec", "stays-0", "echo", "ok")).Output);
        }
        for (var n = 0; n < Loggers; n++)
        {
            await daemon.Docker("stop", "-t", "5", $"stays-{n}");
            Assert.Equal($"exited {n + 20}", (await daemon.Docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", $"stays-{n}")).Line);
        }
    }

    [Fact]
    public async Task When_both_die_at_once_nothing_is_left_running_unknown()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("run", "-d", "--name", "orphan-1", image, "sleep", "600");
        await daemon.Docker("run", "-d", "--name", "orphan-2", "--restart", "always", image, "sleep", "600");
        var pid = (await daemon.Docker("inspect", "--format", "{{.State.Pid}}", "orphan-1")).Line;
        await daemon.KillAsync();
        Berth.Testing.Host.Kill(daemon.MonitorPid!.Value);
        await daemon.RestartAsync();
        // Whatever was made of it, what is said is so.
        var running = (await daemon.Docker("inspect", "--format", "{{.State.Running}}", "orphan-1")).Line == "true";
        await Eventually.HoldsAsync("the process runs if and only if the container does", () => Directory.Exists($"/proc/{pid}") == running);
        await Eventually.HoldsAsync("the restart policy is applied", async () => (await daemon.Docker("inspect", "--format", "{{.State.Status}}", "orphan-2")).Line == "running");
    }

    [Fact]
    public async Task What_ended_while_the_daemon_was_away_is_known_afterwards()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("run", "-d", "--name", "ends", image, "sh", "-c", "while ! test -e /tmp/go; do usleep 10000; done; echo last words; exit 42");
        await daemon.Docker("run", "-d", "--rm", "--name", "ends-and-goes", image, "sh", "-c", "while ! test -e /tmp/go; do usleep 10000; done");
        await daemon.Docker("run", "-d", "--restart", "always", "--name", "comes-back", image, "sh", "-c", "if test -e /tmp/go; then exec sleep 600; fi; touch /tmp/ready; while ! test -e /tmp/go; do usleep 10000; done; exit 1");
        var pids = (await daemon.Docker("inspect", "--format", "{{.State.Pid}}", "ends", "ends-and-goes", "comes-back")).Lines;
        // The last one looks for the file when it begins: it must have looked.
        await Eventually.HoldsAsync("it has begun", () => File.Exists($"/proc/{pids[2]}/root/tmp/ready"));
        await daemon.KillAsync();
        foreach (var pid in pids)
            await File.WriteAllTextAsync($"/proc/{pid}/root/tmp/go", "");
        await Eventually.HoldsAsync("they have ended", () => pids.All(pid => !Directory.Exists($"/proc/{pid}/root/tmp")));
        await daemon.RestartAsync();
        Assert.Equal("exited 42", (await daemon.Docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "ends")).Line);
        Assert.Equal("last words\n", (await daemon.Docker("logs", "ends")).Output);
        await Eventually.HoldsAsync("the --rm container is gone", async () => (await daemon.Docker("ps", "-aq", "--filter", "name=ends-and-goes")).Output == "");
        await Eventually.HoldsAsync("the restart policy is applied", async () => (await daemon.Docker("inspect", "--format", "{{.State.Status}}", "comes-back")).Line == "running");
    }

    private static async Task Churn(TestDaemon daemon, string image, CancellationToken end)
    {
        // Requests fail while the daemon is away; that is the load's part of the test.
        for (var n = 0; !end.IsCancellationRequested; n++)
            await daemon.Docker("run", "--rm", "--name", string.Create(CultureInfo.InvariantCulture, $"churn-{Random.Shared.Next()}-{n}"), image, "echo", "x").MayFail();
    }
}
