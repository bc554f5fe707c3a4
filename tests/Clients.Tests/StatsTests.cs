using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Berth.Api;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>docker stats, and the API behind it.</summary>
public sealed class StatsTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private async Task<ContainerStats> OneAsync(string name, string query) =>
        JsonSerializer.Deserialize((await _daemon.AskAsync("GET", $"/containers/{name}/stats?{query}")).Body, ApiJson.Wire.ContainerStats)!;

    [Fact]
    public async Task All_columns_are_filled_for_running_containers_and_empty_for_stopped_ones()
    {
        await _daemon.Docker("run", "-d", "--name", "stats-1", "--memory", "64m", "--pids-limit", "50", shared.Image, "sh", "-c", "while :; do :; done");
        await _daemon.Docker("create", "--name", "stats-2", shared.Image, "true");
        var rows = (await _daemon.Docker("stats", "--no-stream", "--format", "{{.Name}};{{.CPUPerc}};{{.MemUsage}};{{.NetIO}};{{.BlockIO}};{{.PIDs}}", "stats-1", "stats-2")).Lines;
        var running = rows.Single(r => r.StartsWith("stats-1;", StringComparison.Ordinal)).Split(';');
        Assert.InRange(double.Parse(running[1].TrimEnd('%'), CultureInfo.InvariantCulture), 5, 100 * Environment.ProcessorCount);
        Assert.EndsWith("/ 64MiB", running[2]);
        Assert.Equal("1", running[5]);
        Assert.Contains("stats-2;0.00%;0B / 0B;0B / 0B;0B / 0B;0", rows);

        // Without -a, those that run.
        Assert.DoesNotContain("stats-2", (await _daemon.Docker("stats", "--no-stream")).Output);
        Assert.Contains("stats-2", (await _daemon.Docker("stats", "--no-stream", "-a")).Output);
        await _daemon.Docker("rm", "-f", "stats-1", "stats-2");
    }

    [Fact]
    public async Task A_second_sample_tells_what_was_before_and_one_shot_does_not()
    {
        await _daemon.Docker("run", "-d", "--name", "stats-3", "--memory", "64m", "--pids-limit", "50", shared.Image, "sleep", "600");
        var two = await OneAsync("stats-3", "stream=false");
        Assert.Equal("/stats-3", two.Name);
        Assert.InRange((two.Read - two.PreRead).TotalSeconds, 0.4, 5);
        Assert.True(two.PreCpu.SystemUsage > 0 && two.Cpu.SystemUsage > two.PreCpu.SystemUsage);
        Assert.Equal((1UL, 50UL, 64UL << 20), (two.Pids.Current, two.Pids.Limit, two.Memory.Limit));
        Assert.True(two.Networks!.ContainsKey("eth0"));

        var one = await OneAsync("stats-3", "stream=false&one-shot=true");
        Assert.Equal((default, 0UL), (one.PreRead, one.PreCpu.Usage.Total));
        Assert.True(one.Memory.Usage > 0);
        Assert.Equal((400, "{\"message\":\"cannot have stream=true and one-shot=true\"}\n"), await _daemon.AskAsync("GET", "/containers/stats-3/stats?one-shot=true"));
        await _daemon.Docker("rm", "-f", "stats-3");
    }

    [Fact]
    public async Task A_stream_goes_on_when_the_container_stops_and_ends_when_it_is_removed()
    {
        await _daemon.Docker("run", "-d", "--name", "stats-4", shared.Image, "sleep", "600");
        using var response = await _daemon.Http.GetAsync("/containers/stats-4/stats", HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
        using var lines = new StreamReader(await response.Content.ReadAsStreamAsync(TestContext.Current.CancellationToken));
        async Task<ContainerStats?> NextAsync() => await lines.ReadLineAsync(TestContext.Current.CancellationToken) is { } line ? JsonSerializer.Deserialize(line, ApiJson.Wire.ContainerStats) : null;

        Assert.Equal(1UL, (await NextAsync())!.Pids.Current);
        await _daemon.Docker("kill", "stats-4");
        ContainerStats? sample;
        do sample = await NextAsync();
        while (sample!.Pids.Current > 0);
        Assert.Equal(("/stats-4", default), (sample.Name, sample.Read));
        await _daemon.Docker("rm", "stats-4");
        while (await NextAsync() is not null)
        {
        }
    }

    [Fact]
    public async Task Who_watches_a_container_keeps_neither_its_network_nor_its_cgroup()
    {
        await _daemon.Docker("run", "-d", "--name", "stats-5", shared.Image, "sleep", "600");
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(_daemon.SocketPath));
        await socket.SendAsync(Encoding.ASCII.GetBytes("GET /containers/stats-5/stats HTTP/1.1\r\nHost: d\r\n\r\n"));
        await socket.ReceiveAsync(new byte[16]); // and never again
        await _daemon.Docker("rm", "-f", "stats-5");
        await _daemon.CheckLeaksAsync();
    }
}
