using System.Globalization;
using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>
/// Mixed operations from eight clients at once, and nothing is left of them: no mount, namespace, cgroup, descriptor or file, and the memory of both processes stays.
/// The seed is printed; BERTH_SEED repeats it, BERTH_SOAK_OPERATIONS=2000 is the full length.
/// </summary>
public sealed class SoakTests(ITestOutputHelper output)
{
    private const int Operations = 200;
    private const int Clients = 8;

    // What a process may have more of afterwards than before: threads come and go with their descriptors, namespaces are kept ready.
    private const int DescriptorsMore = 24;
    private const long DaemonBytesMore = 64L << 20, MonitorBytesMore = 24L << 20;

    // What is alive after a collection: the last events, tables made on first use, and buffers that the shared pool gives back within two minutes. However long the soak.
    private const long DaemonLiveBytesMore = 4 << 20, MonitorLiveBytesMore = 512 << 10;

    private static int Number(string variable, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out var given) ? given : otherwise;

    [Fact]
    public async Task Many_clients_doing_everything_at_once_leave_nothing_behind()
    {
        var seed = Number("BERTH_SEED", Random.Shared.Next());
        output.WriteLine($"BERTH_SEED={seed}");
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();

        // Once around, so that what is made on first use is there before the measuring.
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(c => new Client(daemon, image, $"warm{c}", new Random(seed - c - 1)).RunAsync(6)));
        await daemon.CheckLeaksAsync();
        var before = Measure(daemon);
        var heapBefore = await BooksAsync(daemon);

        var total = Number("BERTH_SOAK_OPERATIONS", Operations);
        var clients = Enumerable.Range(0, Clients).Select(c => new Client(daemon, image, $"soak{c}", new Random(seed + c))).ToList();
        await Task.WhenAll(clients.Select(c => c.RunAsync(total / Clients)));
        var problems = clients.SelectMany(c => c.Problems).ToList();
        Assert.True(problems.Count == 0, string.Join("\n", problems.Take(20)) + "\n" + daemon.LogTail());

        await daemon.CheckLeaksAsync();
        Assert.Equal("", (await daemon.Docker("volume", "ls", "-q")).Output);
        (string Who, long Bytes, int Descriptors)[] after = [];
        await Eventually.HoldsAsync("as many descriptors as before", () =>
        {
            after = Measure(daemon);
            return before.Zip(after).All(p => p.Second.Descriptors <= p.First.Descriptors + DescriptorsMore);
        });
        Books heap = default;
        await Eventually.HoldsAsync("the books are empty", async () =>
        {
            heap = await BooksAsync(daemon);
            return heap.Entries == 0;
        }, TimeSpan.FromSeconds(30));
        output.WriteLine($"live: daemon {heapBefore.DaemonLive >> 10} → {heap.DaemonLive >> 10} KB, monitor {heapBefore.MonitorLive >> 10} → {heap.MonitorLive >> 10} KB");
        Assert.InRange(heap.DaemonLive - heapBefore.DaemonLive, long.MinValue, DaemonLiveBytesMore);
        Assert.InRange(heap.MonitorLive - heapBefore.MonitorLive, long.MinValue, MonitorLiveBytesMore);
        foreach (var ((who, bytes, descriptors), then) in before.Zip(after))
        {
            output.WriteLine($"{who}: {bytes >> 20} MB → {then.Bytes >> 20} MB, {descriptors} → {then.Descriptors} descriptors");
            Assert.InRange(then.Bytes - bytes, long.MinValue, who == "daemon" ? DaemonBytesMore : MonitorBytesMore);
        }
        Assert.DoesNotContain(File.ReadLines(daemon.LogPath), l => l.Contains("level=error", StringComparison.Ordinal) && l.Contains(" error=\"", StringComparison.Ordinal));
    }

    private static (string Who, long Bytes, int Descriptors)[] Measure(TestDaemon daemon)
    {
        (string, long, int) Of(string who, int pid)
        {
            var resident = File.ReadLines($"/proc/{pid}/status").First(l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
            return (who, long.Parse(resident.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) << 10, Directory.EnumerateFileSystemEntries($"/proc/{pid}/fd").Count());
        }
        return [Of("daemon", daemon.Pid), .. daemon.MonitorPid is { } monitor ? [Of("monitor", monitor)] : Array.Empty<(string, long, int)>()];
    }

    /// <param name="Entries">Containers, execs, volumes, listeners and processes that engine and monitor know, together.</param>
    private readonly record struct Books(int Entries, long DaemonLive, long MonitorLive);

    private static async Task<Books> BooksAsync(TestDaemon daemon)
    {
        var (status, body) = await daemon.AskAsync("GET", "/debug/vars?gc=1");
        Assert.Equal(200, status);
        using var json = JsonDocument.Parse(body);
        var books = json.RootElement.GetProperty("berth");
        var live = books.GetProperty("MonitorHeapAlloc").GetInt64();
        var entries = books.EnumerateObject().Where(p => p.Name != "MonitorHeapAlloc").Sum(p => p.Value.GetInt32());
        return new Books(entries, json.RootElement.GetProperty("memstats").GetProperty("HeapAlloc").GetInt64(), live);
    }

    private sealed class Client(TestDaemon daemon, string image, string name, Random random)
    {
        private readonly List<string> _containers = [];
        private int _count;

        public List<string> Problems { get; } = [];

        public async Task RunAsync(int operations)
        {
            for (var n = 0; n < operations; n++)
            {
                try
                {
                    await OneAsync();
                }
                catch (Exception e) when (e is HttpRequestException or TaskCanceledException or TestException or JsonException)
                {
                    Problems.Add($"{name}: {e.Message}");
                }
            }
            foreach (var container in _containers)
                await Ask("DELETE", $"/containers/{container}?force=1&v=1");
            await Ask("DELETE", $"/volumes/{name}");
        }

        private async Task OneAsync()
        {
            var container = _containers.Count > 0 ? _containers[random.Next(_containers.Count)] : null;
            var choice = container is null ? 0 : random.Next(22);
            switch (choice)
            {
                case 0 or 1 or 2 or 3:
                    if (_containers.Count < 4)
                        await CreateAsync();
                    else
                        await RemoveAsync(container!);
                    break;
                case 4:
                    await Run();
                    break;
                case 5 or 6:
                    await Exec(container!);
                    break;
                case 7: await Ask("POST", $"/containers/{container}/stop?t=0"); break;
                case 8: await Ask("POST", $"/containers/{container}/start"); break;
                case 9: await Ask("POST", $"/containers/{container}/restart?t=0"); break;
                case 10: await Ask("POST", $"/containers/{container}/kill"); break;
                case 11:
                    await Ask("POST", $"/containers/{container}/pause");
                    await Ask("POST", $"/containers/{container}/unpause");
                    break;
                case 12: await Ask("GET", $"/containers/{container}/logs?stdout=1&stderr=1&tail=5"); break;
                case 13: await Ask("GET", $"/containers/{container}/json?size=1"); break;
                case 14: await Ask("GET", "/containers/json?all=1&size=1"); break;
                case 15: await Ask("GET", $"/containers/{container}/stats?stream=0&one-shot=1"); break;
                case 16: await Ask("GET", $"/containers/{container}/archive?path=/etc"); break;
                case 17: await Ask("GET", $"/containers/{container}/top"); break;
                case 18: await Ask("GET", "/system/df"); break;
                case 19: await Ask("POST", $"/containers/{container}/update", """{"Memory":67108864,"MemorySwap":134217728}"""); break;
                case 20: await Ask("GET", "/events?since=1&until=2"); break;
                default:
                    var renamed = $"{name}-{++_count}";
                    if (await Ask("POST", $"/containers/{container}/rename?name={renamed}") == 204)
                        _containers[_containers.IndexOf(container!)] = renamed;
                    break;
            }
        }

        private async Task CreateAsync()
        {
            var container = $"{name}-{++_count}";
            var mount = random.Next(4) switch
            {
                0 => $$""","Mounts":[{"Type":"volume","Source":"{{name}}","Target":"/m","VolumeOptions":{"DriverConfig":{"Options":{"type":"tmpfs","device":"x","o":"size=1m"} } } }]""",
                1 => ""","Tmpfs":{"/m":""}""",
                2 => $$""","Mounts":[{"Type":"image","Source":"{{image}}","Target":"/m"}],"IpcMode":"shareable" """,
                _ => "",
            };
            var status = await Ask("POST", "/containers/create?name=" + container,
                $$$"""{"Image":"{{{image}}}","Cmd":["sh","-c","while :; do echo tick; sleep 0.2; done"],"Volumes":{"/anonymous":{}},"HostConfig":{"NetworkMode":"{{{(random.Next(2) == 0 ? "bridge" : "none")}}}"{{{mount}}}}}""");
            if (status != 201)
            {
                Problems.Add($"{container} was not created: {status}");
                return;
            }
            _containers.Add(container);
            await Ask("POST", $"/containers/{container}/start");
        }

        private async Task RemoveAsync(string container)
        {
            if (await Ask("DELETE", $"/containers/{container}?force=1&v=1") is 204 or 404)
                _containers.Remove(container);
        }

        private async Task Run()
        {
            var result = await daemon.Docker("run", "--rm", "-i", image, "cat").WithInput("through\n").WithTimeout(TimeSpan.FromSeconds(60));
            if (result.Output != "through\n")
                Problems.Add($"{name}: run printed '{result.Output}'");
        }

        private async Task Exec(string container)
        {
            var (status, body) = await daemon.AskAsync("POST", $"/containers/{container}/exec", """{"Cmd":["sh","-c","exit 3"]}""");
            if (status != 201)
            {
                Check("exec", status, body);
                return;
            }
            using var created = JsonDocument.Parse(body);
            await Ask("POST", $"/exec/{created.RootElement.GetProperty("Id").GetString()}/start", """{"Detach":true}""");
        }

        private async Task<int> Ask(string method, string path, string? json = null)
        {
            var (status, body) = await daemon.AskAsync(method, path, json);
            Check($"{method} {path}", status, body);
            return status;
        }

        // States change under us: refused is fine, failed is not. Docker's own 500 for what is not paused or running is a refusal too.
        private void Check(string what, int status, string body)
        {
            if (status is >= 200 and < 400 or 404 or 409 || body.Contains(" is not paused", StringComparison.Ordinal) || body.Contains("is not running", StringComparison.Ordinal))
                return;
            Problems.Add($"{name}: {what}: {status} {body.Trim()}");
        }
    }
}
