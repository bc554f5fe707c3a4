using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>What is told, with what attributes, and that nobody who listens can hold the engine up. Expected texts are Docker's for the same commands.</summary>
public sealed class EventsTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private async Task<string[]> SeenAsync(string container, Func<Task> during)
    {
        using var events = _daemon.Docker("events", "--format", "{{.Type}} {{.Action}} {{json .Actor.Attributes}}").MayFail().Start(); // it is interrupted
        await Eventually.HoldsAsync("the client listens", async () => (await _daemon.Docker("info", "--format", "{{.NEventsListener}}")).Line != "0");
        await during();
        await events.OutputAsync("container destroy");
        events.Signal("INT");
        await events.WaitAsync();
        var id = System.Text.RegularExpressions.Regex.Match(events.OutputSoFar, "[0-9a-f]{64}").Value;
        return [.. events.OutputSoFar.Split('\n').Where(l => l.Contains(container, StringComparison.Ordinal) || (id.Length > 0 && l.Contains(id, StringComparison.Ordinal))).Select(l => id.Length > 0 ? l.Replace(id, "ID", StringComparison.Ordinal) : l)];
    }

    [Fact]
    public async Task A_run_is_told_with_all_its_attributes()
    {
        var seen = await SeenAsync("told-1", async () => await _daemon.Docker("run", "--rm", "--name", "told-1", "--label", "a=b", "--network", "none", "-v", "told-vol:/v", shared.Image, "true"));
        var common = $"\"image\":\"{shared.Image}\",\"name\":\"told-1\"";
        Assert.Equal(
        [
            $$"""container create {"a":"b",{{common}}}""",
            $$"""container attach {"a":"b",{{common}}}""",
            """volume mount {"container":"ID","destination":"/v","driver":"local","propagation":"","read/write":"true"}""",
            """network connect {"container":"ID","name":"none","type":"null"}""",
            $$"""container start {"a":"b",{{common}}}""",
            """network disconnect {"container":"ID","name":"none","type":"null"}""",
            """volume unmount {"container":"ID","driver":"local"}""",
            $$"""container die {"a":"b","execDuration":"0","exitCode":"0",{{common}}}""",
            $$"""container destroy {"a":"b",{{common}}}""",
        ], seen.Order(new Steps()));
        await _daemon.Docker("volume", "rm", "told-vol");
    }

    // Network and volume are given back side by side, in Docker as here.
    private sealed class Steps : IComparer<string>
    {
        private static readonly string[] Order = ["container create", "container attach", "volume mount", "network connect", "container start", "network disconnect", "volume unmount", "container die", "container destroy"];
        public int Compare(string? x, string? y) => Array.FindIndex(Order, o => x!.StartsWith(o, StringComparison.Ordinal)) - Array.FindIndex(Order, o => y!.StartsWith(o, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Who_hears_of_an_end_and_looks_finds_it()
    {
        // `die` came before the state: a client that looked at once, as compose does, saw it running and waited for good.
        const int containers = 20;
        foreach (var number in Enumerable.Range(0, containers)) await _daemon.Docker("create", "--name", $"ends-{number}", "--label", "ends", "--network", "none", shared.Image, "true");
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        using var response = await _daemon.Http.GetAsync(new Uri("/events?filters=" + Uri.EscapeDataString("""{"label":["ends"],"event":["die"]}"""), UriKind.Relative), HttpCompletionOption.ResponseHeadersRead, limit.Token);
        using var lines = new StreamReader(await response.Content.ReadAsStreamAsync(limit.Token));
        var starts = Task.WhenAll(Enumerable.Range(0, containers).Select(n => _daemon.AskAsync("POST", $"/containers/ends-{n}/start")));
        for (var ended = 0; ended < containers; ended++)
        {
            var id = JsonDocument.Parse(await lines.ReadLineAsync(limit.Token) ?? "").RootElement.GetProperty("Actor").GetProperty("ID").GetString();
            Assert.Contains("\"Status\":\"exited\"", (await _daemon.AskAsync("GET", $"/containers/{id}/json")).Body, StringComparison.Ordinal);
        }
        await starts;
    }

    [Fact]
    public async Task A_start_that_fails_connects_nothing_and_gives_back_what_it_had()
    {
        var seen = await SeenAsync("told-2", async () =>
        {
            await _daemon.Docker("run", "--name", "told-2", shared.Image, "/absent").MayFail();
            await _daemon.Docker("rm", "told-2");
        });
        Assert.Equal(["container create", "container attach", "network disconnect", "container destroy"], seen.Select(l => l[..l.IndexOf('{', StringComparison.Ordinal)].Trim()));
    }

    [Fact]
    public async Task A_listener_that_reads_nothing_holds_up_nobody()
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(_daemon.SocketPath));
        await socket.SendAsync(Encoding.ASCII.GetBytes("GET /events HTTP/1.1\r\nHost: d\r\n\r\n"));
        await socket.ReceiveAsync(new byte[16]);
        var id = (await _daemon.Docker("create", "--name", "told-3", "--label", "long=" + new string('x', 20_000), shared.Image, "true")).Line;
        for (var i = 0; i < 200; i++) // 4 MB of events, more than the socket takes
            Assert.Equal(204, (await _daemon.AskAsync("POST", $"/containers/{id}/rename?name=told-{3 + (i + 1) % 2}")).Status);
        await _daemon.Docker("rm", "-f", id);
    }

    [Theory]
    [InlineData("since=abc", 500, "strconv.ParseInt: parsing \\\"abc\\\": invalid syntax")]
    [InlineData("until=1.x", 500, "strconv.ParseInt: parsing \\\"x\\\": invalid syntax")]
    [InlineData("since=10&until=5", 400, "`since` time (10) cannot be after `until` time (5)")]
    [InlineData("filters=x", 400, "invalid filter")]
    public async Task What_is_wrong_with_a_query_is_told_as_Docker_tells_it(string query, int status, string message) =>
        Assert.Equal((status, $"{{\"message\":\"{message}\"}}\n"), await _daemon.AskAsync("GET", "/events?" + query));
}
