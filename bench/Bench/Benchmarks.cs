using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Berth.Api;
using Berth.Linux;
using Berth.Testing;

namespace Berth.Bench;

/// <summary>One method per row of the table. The limits are what the project promises (ratio to Docker, or absolute).</summary>
internal sealed class Benchmarks(Engine berth, Engine? docker, Options options)
{
    internal Table Table { get; } = new();

    private static double Median(List<double> values)
    {
        values.Sort();
        return (values[(values.Count - 1) / 2] + values[values.Count / 2]) / 2;
    }

    /// <summary>Median of the samples on both engines, taken in turn.</summary>
    private async Task<(double Ours, double? Theirs)> CompareAsync(Func<Engine, Task<TimeSpan>> sample, int samples)
    {
        List<double> ours = [], theirs = [];
        for (var i = 0; i < samples; i++)
        {
            ours.Add((await sample(berth)).TotalMilliseconds);
            if (docker is not null) theirs.Add((await sample(docker)).TotalMilliseconds);
        }
        return (Median(ours), docker is null ? null : Median(theirs));
    }

    private static Func<double, double?, bool?> RatioOf(double limit) => (_, ratio) => ratio is null ? null : ratio <= limit;

    private static Func<double, double?, bool?> AtMost(double limit) => (ours, _) => ours <= limit;

    internal void Run(string row, string what, string network, string limit, double ratio)
    {
        var (ours, theirs) = CompareAsync(e => Task.FromResult(e.Client("run", "--rm", "--label", Engine.Label, "--network", network, Images.Busybox, "true")), options.Samples).GetAwaiter().GetResult();
        Table.Add(row, what, ours, theirs, "ms", limit + " of Docker", RatioOf(ratio));
    }

    internal async Task ApiAsync(string row, string what, string? network, double limitMilliseconds)
    {
        async Task<TimeSpan> Once(Engine engine)
        {
            var request = engine.Request(network, "true");
            var start = Stopwatch.GetTimestamp();
            var id = (await engine.Api.CreateContainerAsync(request)).Id;
            await engine.Api.StartContainerAsync(id);
            using (var wait = await engine.Api.BeginWaitAsync(id)) await wait.ResultAsync();
            await engine.Api.RemoveContainerAsync(id);
            return Stopwatch.GetElapsedTime(start);
        }
        await Once(berth);
        if (docker is not null) await Once(docker);
        var (ours, theirs) = await CompareAsync(Once, options.Samples);
        Table.Add(row, what, ours, theirs, "ms", $"{limitMilliseconds} ms", AtMost(limitMilliseconds));
    }

    internal void BerthRun()
    {
        var executable = Repository.Executable("berth");
        var (ours, theirs) = CompareAsync(e => Task.FromResult(e == berth
            ? Engine.Time(executable, "-H", e.Host, "run", "--rm", "--label", Engine.Label, Images.Busybox, "true")
            : e.Client("run", "--rm", "--label", Engine.Label, Images.Busybox, "true")), options.Samples).GetAwaiter().GetResult();
        Table.Add("berth-run", "berth run --rm … true against docker run on Docker", ours, theirs, "ms", "1/10 of Docker", RatioOf(0.1));
    }

    internal void BerthVersion()
    {
        var executable = Repository.Executable("berth");
        var (ours, theirs) = CompareAsync(e => Task.FromResult(e == berth ? Engine.Time(executable, "-H", e.Host, "version") : e.Client("version")), options.Samples).GetAwaiter().GetResult();
        Table.Add("version", "berth version against docker version on Docker", ours, theirs, "ms", "1/2 of Docker", RatioOf(0.5));
    }

    internal async Task ExecAsync()
    {
        var ids = new Dictionary<Engine, string>();
        foreach (var engine in docker is null ? [berth] : new[] { berth, docker }) ids[engine] = await engine.StartAsync("none", "sleep", "100000");
        var (ours, theirs) = await CompareAsync(e => Task.FromResult(e.Client("exec", ids[e], "true")), options.Samples);
        foreach (var (engine, id) in ids) await engine.Api.RemoveContainerAsync(id, force: true);
        Table.Add("exec", "docker exec … true", ours, theirs, "ms", "1/3 of Docker", RatioOf(1 / 3.0));
    }

    /// <summary>Networks made and removed, and containers connected while they run.</summary>
    internal async Task NetworkCreateAsync()
    {
        var number = 0;
        var (ours, theirs) = await CompareAsync(async engine =>
        {
            var name = $"berth-bench-{number++}";
            var start = Stopwatch.GetTimestamp();
            await engine.Api.CreateNetworkAsync(new NetworkCreateRequest { Name = name, Labels = new() { [Engine.Label] = "" } });
            await engine.Api.RemoveNetworkAsync(name);
            return Stopwatch.GetElapsedTime(start);
        }, options.Samples);
        Table.Add("net-create", "a network made and removed (API)", ours, theirs, "ms", "1/3 of Docker", RatioOf(1 / 3.0));
    }

    internal async Task NetworkConnectAsync()
    {
        var ids = new Dictionary<Engine, string>();
        foreach (var engine in docker is null ? [berth] : new[] { berth, docker })
        {
            ids[engine] = await engine.StartAsync(null, "sleep", "100000");
            await engine.Api.CreateNetworkAsync(new NetworkCreateRequest { Name = "berth-bench", Labels = new() { [Engine.Label] = "" } });
        }
        var (ours, theirs) = await CompareAsync(async engine =>
        {
            var start = Stopwatch.GetTimestamp();
            await engine.Api.ConnectNetworkAsync("berth-bench", ids[engine]);
            var elapsed = Stopwatch.GetElapsedTime(start);
            await engine.Api.DisconnectNetworkAsync("berth-bench", ids[engine]);
            return elapsed;
        }, options.Samples);
        foreach (var (engine, id) in ids)
        {
            await engine.Api.RemoveContainerAsync(id, force: true);
            await engine.Api.RemoveNetworkAsync("berth-bench");
        }
        Table.Add("net-connect", "a running container connected to one more network (API)", ours, theirs, "ms", "1/3 of Docker", RatioOf(1 / 3.0));
    }

    // Clients expose what they publish; Docker publishes nothing else.
    private static void Publish(ContainerCreateRequest request, string port)
    {
        request.ExposedPorts = [port];
        request.HostConfig!.PortBindings = new() { [port] = [new PortBinding { HostIp = "0.0.0.0" }] };
    }

    /// <summary>What a start costs once there are 100 networks and 300 containers, against what it cost before.</summary>
    internal async Task NetworkScaleAsync()
    {
        const int Networks = 100, Containers = 300;
        async Task<double> StartAsync()
        {
            var samples = new List<double>();
            for (var i = 0; i < options.Samples; i++)
            {
                var request = berth.Request("berth-bench-0", "sleep", "100000");
                Publish(request, "80/tcp");
                var id = (await berth.Api.CreateContainerAsync(request)).Id;
                var start = Stopwatch.GetTimestamp();
                await berth.Api.StartContainerAsync(id);
                samples.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
                await berth.Api.RemoveContainerAsync(id, force: true);
            }
            return Median(samples);
        }
        static NetworkCreateRequest Network(int i) => new()
        {
            Name = $"berth-bench-{i}", Labels = new() { [Engine.Label] = "" }, IPAM = new IPAM { Config = [new IPAMConfig { Subnet = $"198.18.{100 + i}.0/24" }] },
        };
        await berth.Api.CreateNetworkAsync(Network(0));
        await StartAsync();
        var first = await StartAsync();
        for (var i = 1; i < Networks; i++) await berth.Api.CreateNetworkAsync(Network(i));
        for (var i = 0; i < Containers; i++)
        {
            var request = berth.Request($"berth-bench-{i % Networks}", "sleep", "100000");
            Publish(request, "80/tcp");
            await berth.Api.StartContainerAsync((await berth.Api.CreateContainerAsync(request)).Id);
        }
        var last = await StartAsync();
        await berth.RemoveContainersAsync();
        for (var i = 0; i < Networks; i++) await berth.Api.RemoveNetworkAsync($"berth-bench-{i}");
        Table.Add("net-300", $"a start with a published port, {Networks} networks and {Containers} containers beside it; in the other column without them", last, first, "ms", "1.5 ×", RatioOf(1.5));
    }

    /// <summary>iperf3 through an engine's network: its server and client run in the namespaces, not in the images.</summary>
    internal async Task ThroughputAsync()
    {
        const int Port = 5201, Seconds = 2;
        const string Network = "berth-bench-iperf";
        Engine[] engines = docker is null ? [berth] : [berth, docker];
        var places = new Dictionary<Engine, (int Server, int Client, string Address, string Gateway, int Published)>();
        var servers = new List<Process>();
        try
        {
            foreach (var engine in engines)
            {
                await engine.Api.CreateNetworkAsync(new NetworkCreateRequest { Name = Network, Labels = new() { [Engine.Label] = "" } });
                var request = engine.Request(Network, "sleep", "100000");
                Publish(request, $"{Port}/tcp");
                var id = (await engine.Api.CreateContainerAsync(request)).Id;
                await engine.Api.StartContainerAsync(id);
                var server = await engine.Api.InspectContainerAsync(id);
                var client = await engine.Api.InspectContainerAsync(await engine.StartAsync(Network, "sleep", "100000"));
                var endpoint = server.NetworkSettings!.Networks![Network];
                places[engine] = (server.State.Pid, client.State.Pid, endpoint.IPAddress, endpoint.Gateway, int.Parse(server.NetworkSettings.Ports![$"{Port}/tcp"]![0].HostPort));
                servers.Add(Within(server.State.Pid, "-s", "--forceflush", "-p", $"{Port}"));
                while (servers[^1].StandardOutput.ReadLine() is { } line && !line.Contains("Server listening", StringComparison.Ordinal)) { }
            }
            await RowAsync("from the host to a published port, by the host's address", e => (e.DaemonPid, places[e].Gateway, places[e].Published));
            await RowAsync("the same by 127.0.0.1", e => (e.DaemonPid, "127.0.0.1", places[e].Published));
            await RowAsync("from container to container on one network", e => (places[e].Client, places[e].Address, Port));
        }
        finally
        {
            foreach (var server in servers)
            {
                server.Kill();
                server.Dispose();
            }
            foreach (var engine in engines)
            {
                await engine.RemoveContainersAsync();
                await engine.Api.RemoveNetworkAsync(Network);
            }
        }

        async Task RowAsync(string what, Func<Engine, (int Pid, string Address, int Port)> path)
        {
            var samples = engines.ToDictionary(e => e, _ => new List<double>());
            for (var i = 0; i < Math.Min(options.Samples, 5); i++)
                foreach (var engine in engines)
                {
                    var (pid, address, port) = path(engine);
                    using var client = Within(pid, "-c", address, "-p", $"{port}", "-t", $"{Seconds}", "-J");
                    using var result = await System.Text.Json.JsonDocument.ParseAsync(client.StandardOutput.BaseStream);
                    if (!result.RootElement.GetProperty("end").TryGetProperty("sum_received", out var sum)) throw new InvalidOperationException($"{engine.Name}: iperf3: {result.RootElement.GetProperty("error")}");
                    samples[engine].Add(sum.GetProperty("bits_per_second").GetDouble() / 1e9);
                }
            // Two equal paths differ by as much from run to run.
            Table.Add("iperf", $"iperf3, one connection, {what}", Median(samples[berth]), docker is null ? null : Median(samples[docker]), "Gbit/s", "at least Docker, less 5 %", (_, ratio) => ratio is null ? null : ratio >= 0.95);
        }

        static Process Within(int pid, params string[] arguments) =>
            Process.Start(new ProcessStartInfo("nsenter", ["-t", $"{pid}", "-n", "iperf3", .. arguments]) { RedirectStandardOutput = true })!;
    }

    internal async Task IdleAsync()
    {
        // What was needed to load the image is given back once nothing was asked for a while (docs/decisions/0804); nothing tells when.
        await Task.Delay(TimeSpan.FromSeconds(8));
        var (rss, pss, count) = berth.Memory();
        var theirs = docker?.Memory();
        Table.Add("idle", $"all processes ({count}{(theirs is { } t ? $"; {t.Count}" : "")}), no container: RSS", rss / 1024.0, theirs?.Rss / 1024.0, "MB", "50 MB", AtMost(50));
        Table.Add("idle", "the same, PSS (shared pages divided)", pss / 1024.0, theirs?.Pss / 1024.0, "MB", "", (_, _) => null);
    }

    /// <summary>100 containers from 10 clients at once: ten loops, each starting the stock client ten times.</summary>
    internal async Task ParallelAsync()
    {
        const int Clients = 10, Each = 10;
        async Task<double> WallAsync(Engine engine)
        {
            var start = Stopwatch.GetTimestamp();
            await Task.WhenAll(Enumerable.Range(0, Clients).Select(_ => Task.Factory.StartNew(() =>
            {
                for (var i = 0; i < Each; i++) engine.Client("run", "-d", "--label", Engine.Label, Images.Busybox, "sleep", "100000");
            }, TaskCreationOptions.LongRunning)));
            var elapsed = Stopwatch.GetElapsedTime(start).TotalSeconds;
            await engine.RemoveContainersAsync();
            return elapsed;
        }
        var ours = await WallAsync(berth);
        double? theirs = docker is null ? null : await WallAsync(docker);
        Table.Add("parallel", "100 × docker run -d from 10 clients: wall time", ours, theirs, "s", "1/5 of Docker", RatioOf(0.2));
    }

    internal async Task DensityAsync()
    {
        async Task<(double Rss, double Pss)> PerContainerAsync(Engine engine)
        {
            var before = engine.Memory();
            await Parallel.ForEachAsync(Enumerable.Range(0, options.Density), new ParallelOptions { MaxDegreeOfParallelism = 10 },
                async (_, _) => await engine.StartAsync(null, "sleep", "100000"));
            var after = engine.Memory();
            await engine.RemoveContainersAsync();
            return ((after.Rss - before.Rss) / 1024.0 / options.Density, (after.Pss - before.Pss) / 1024.0 / options.Density);
        }
        var ours = await PerContainerAsync(berth);
        (double Rss, double Pss)? theirs = docker is null ? null : await PerContainerAsync(docker);
        Table.Add("density", $"added per idle container at {options.Density}: RSS", ours.Rss, theirs?.Rss, "MB", "0.3 MB", AtMost(0.3));
        Table.Add("density", "the same, PSS (shared pages divided)", ours.Pss, theirs?.Pss, "MB", "", (_, _) => null);
    }

    /// <summary>A container prints, then the client reads its log; lines of 100 bytes.</summary>
    internal async Task LogsAsync()
    {
        async Task<(double Print, double Read)> OnceAsync(Engine engine)
        {
            var line = new string('x', 99);
            var start = Stopwatch.GetTimestamp();
            var id = await engine.StartAsync("none", "sh", "-c", $"yes {line} | head -c {options.LogMegabytes}000000");
            using (var wait = await engine.Api.BeginWaitAsync(id)) await wait.ResultAsync();
            var print = Stopwatch.GetElapsedTime(start).TotalSeconds;
            var read = engine.Client("logs", id).TotalSeconds;
            await engine.Api.RemoveContainerAsync(id, force: true);
            return (print, read);
        }
        var ours = await OnceAsync(berth);
        (double Print, double Read)? theirs = docker is null ? null : await OnceAsync(docker);
        Table.Add("logs", $"a container prints {options.LogMegabytes} MB", ours.Print, theirs?.Print, "s", "Docker", RatioOf(1));
        Table.Add("logs", "docker logs of it", ours.Read, theirs?.Read, "s", "Docker", RatioOf(1));
    }

    /// <summary>100 containers, the statistics of each streamed to a client of its own: processor time of the engine's processes.</summary>
    internal async Task StatsAsync()
    {
        const int Containers = 100;
        var (settle, measure) = (TimeSpan.FromSeconds(3), TimeSpan.FromSeconds(10));
        async Task<double> PercentAsync(Engine engine)
        {
            using var stop = new CancellationTokenSource();
            var ids = new List<string>();
            for (var i = 0; i < Containers; i++) ids.Add(await engine.StartAsync(null, "sleep", "100000"));
            var watchers = ids.ConvertAll(async id =>
            {
                try
                {
                    await foreach (var _ in engine.Api.StatsAsync(id, cancellationToken: stop.Token))
                    {
                    }
                }
                catch (OperationCanceledException)
                {
                }
            });
            await Task.Delay(settle);
            var (before, start) = (engine.ProcessorTime(), Stopwatch.GetTimestamp());
            await Task.Delay(measure);
            var percent = 100 * (engine.ProcessorTime() - before).TotalSeconds / Stopwatch.GetElapsedTime(start).TotalSeconds;
            await stop.CancelAsync();
            await Task.WhenAll(watchers);
            await engine.RemoveContainersAsync();
            return percent;
        }
        var ours = await PercentAsync(berth);
        double? theirs = docker is null ? null : await PercentAsync(docker);
        Table.Add("stats", $"statistics of {Containers} containers once a second: processor time, of one core", ours, theirs, "%", "10 %", AtMost(10));
    }

    /// <summary>A program in a container asks for a name of its network, steadily. A late answer counts from when the question was due.</summary>
    internal async Task NamesAsync()
    {
        const int PerSecond = 5000, Seconds = 5;
        const string Network = "bench-names";
        async Task<double> Percentile99Async(Engine engine)
        {
            engine.Client("network", "create", Network);
            var id = await engine.StartAsync(Network, "sleep", "100000");
            using var place = NetworkNamespace.OfProcess((await engine.Api.InspectContainerAsync(id)).State.Pid);
            var name = id[..12];
            byte[] query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, (byte)name.Length, .. System.Text.Encoding.ASCII.GetBytes(name), 0, 0, 1, 0, 1];
            var late = NetworkNamespace.Run(place, () =>
            {
                using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) { ReceiveTimeout = 1000 };
                socket.Connect(new System.Net.IPAddress([127, 0, 0, 11]), 53);
                var answer = new byte[512];
                var times = new List<double>(PerSecond * Seconds);
                var start = Stopwatch.GetTimestamp();
                for (var i = 0; i < PerSecond * Seconds; i++)
                {
                    var due = start + i * Stopwatch.Frequency / PerSecond;
                    while (Stopwatch.GetTimestamp() < due) Thread.SpinWait(20);
                    socket.Send(query);
                    var got = socket.Receive(answer);
                    if (answer[7] != 1) throw new InvalidDataException($"{engine.Name}: {got} bytes without an address");
                    times.Add(Stopwatch.GetElapsedTime(due).TotalMilliseconds);
                }
                times.Sort();
                return times;
            });
            await engine.RemoveContainersAsync();
            engine.Client("network", "rm", Network);
            return late[late.Count * 99 / 100];
        }
        var ours = await Percentile99Async(berth);
        double? theirs = docker is null ? null : await Percentile99Async(docker);
        Table.Add("dns", $"{PerSecond:N0} queries a second for a container's name, from a container: 99 of 100 within", ours, theirs, "ms", "5 ms", AtMost(5));
    }

    /// <summary>Made by the API, ten at a time: never started, which is what a stopped one is to a listing.</summary>
    private Task CreateStoppedAsync(Engine engine) => Parallel.ForEachAsync(Enumerable.Range(0, options.Stopped), new ParallelOptions { MaxDegreeOfParallelism = 10 },
        async (_, cancellation) => await engine.Api.CreateContainerAsync(engine.Request(null, "true"), cancellationToken: cancellation));

    /// <summary>docker ps -a with many stopped containers; then the request alone, for the client's own time is the same with both engines.</summary>
    internal async Task ListAsync()
    {
        Engine[] engines = docker is null ? [berth] : [berth, docker];
        foreach (var engine in engines) await CreateStoppedAsync(engine);
        var (ours, theirs) = await CompareAsync(e => Task.FromResult(e.Client("ps", "-a")), options.Samples);
        Table.Add("ps-500", $"docker ps -a with {options.Stopped} stopped containers", ours, theirs, "ms", "1/3 of Docker", RatioOf(1 / 3.0));
        (ours, theirs) = await CompareAsync(async e =>
        {
            var start = Stopwatch.GetTimestamp();
            await e.Api.GetBytesAsync(new EnginePath("/containers/json").Add("all", "1"));
            return Stopwatch.GetElapsedTime(start);
        }, options.Samples);
        Table.Add("ps-500", "the same, the request alone", ours, theirs, "ms", "", (_, _) => null);
        foreach (var engine in engines) await engine.RemoveContainersAsync();
    }

    /// <summary>
    /// From the exec of berthd, after kill -9, until docker ps has answered, with stopped and running containers. Berth alone: the other engine is
    /// not ours to end.
    /// </summary>
    internal async Task RestartAsync(TestDaemon daemon)
    {
        await CreateStoppedAsync(berth);
        await Parallel.ForEachAsync(Enumerable.Range(0, options.Running), new ParallelOptions { MaxDegreeOfParallelism = 10 }, async (_, _) => await berth.StartAsync(null, "sleep", "100000"));
        var times = new List<double>();
        // A few, for each is seconds of a killed engine.
        for (var i = 0; i < Math.Min(options.Samples, 5); i++)
        {
            await daemon.KillAsync();
            var start = Stopwatch.GetTimestamp();
            await daemon.RestartAsync();
            berth.Client("ps");
            times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            // Its figure is worth nothing if the containers were not taken over.
            if (await berth.Api.ListContainersAsync() is var running && running.Length != options.Running)
                throw new InvalidOperationException($"{running.Length} containers run after the restart, not {options.Running}");
        }
        await berth.RemoveContainersAsync();
        Table.Add("restart", $"berthd started with {options.Stopped} stopped and {options.Running} running containers: first docker ps", Median(times), null, "ms", "1 s", AtMost(1000));
    }

    /// <summary>docker cp of one file of 1 GB and of a tree of 20,000 small files, to and from a running container.</summary>
    internal async Task CopyAsync()
    {
        const int LargeMegabytes = 1000, Directories = 100, FilesEach = 200;
        using var directory = new TestDirectory();
        var block = new byte[1_000_000];
        new Random(1).NextBytes(block);
        await using (var large = File.Create(directory["large"]))
            for (var i = 0; i < LargeMegabytes; i++) await large.WriteAsync(block);
        for (var d = 0; d < Directories; d++)
        {
            Directory.CreateDirectory(directory[$"tree/{d}"]);
            for (var f = 0; f < FilesEach; f++) await File.WriteAllTextAsync(directory[$"tree/{d}/{f}"], $"file {f} of directory {d}");
        }
        var ids = new Dictionary<Engine, string>();
        foreach (var engine in docker is null ? [berth] : new[] { berth, docker }) ids[engine] = await engine.StartAsync("none", "sleep", "100000");
        // A few, for each takes seconds; what was copied is removed outside of the measured time.
        var samples = Math.Min(options.Samples, 3);
        foreach (var (name, what) in ((string, string)[])[("large", "a file of 1 GB"), ("tree", $"{Directories * FilesEach:N0} small files")])
        {
            var (into, theirsInto) = await CompareAsync(e =>
            {
                e.Client("exec", ids[e], "rm", "-rf", "/" + name);
                return Task.FromResult(e.Client("cp", directory[name], $"{ids[e]}:/{name}"));
            }, samples);
            Table.Add("cp", $"docker cp of {what} into a container", into / 1000, theirsInto / 1000, "s", "Docker", RatioOf(1));
            var (from, theirsFrom) = await CompareAsync(e =>
            {
                using (var rm = Process.Start("rm", ["-rf", directory["out"]])) rm.WaitForExit();
                return Task.FromResult(e.Client("cp", $"{ids[e]}:/{name}", directory["out"]));
            }, samples);
            Table.Add("cp", "the same out of it", from / 1000, theirsFrom / 1000, "s", "Docker", RatioOf(1));
        }
        foreach (var (engine, id) in ids) await engine.Api.RemoveContainerAsync(id, force: true);
    }

    /// <summary>docker load of an image that is not there, and docker save of it to a file; each sample another one, for the reason given at <see cref="PullImage"/>.</summary>
    internal async Task LoadAndSaveAsync(bool load, bool save)
    {
        var image = PullImage.Large;
        var samples = Math.Min(options.Samples, image.Variants - 1);
        Engine[] engines = docker is null ? [berth] : [berth, docker];
        using var directory = new TestDirectory();
        for (var v = 0; v <= samples; v++) await image.ArchiveAsync(v);
        var next = engines.ToDictionary(e => e, _ => 0);
        async Task<TimeSpan> LoadAsync(Engine engine) => engine.Client("load", "-q", "-i", await image.ArchiveAsync(next[engine]++));
        TimeSpan Save(Engine engine, int variant)
        {
            var took = engine.Client("save", "-o", directory["out"], image.Name(variant));
            File.Delete(directory["out"]);
            return took;
        }
        try
        {
            // The first of each is not counted.
            foreach (var engine in engines)
            {
                await LoadAsync(engine);
                engine.PeakMemory();
            }
            var (mine, other) = await CompareAsync(LoadAsync, samples);
            if (load)
            {
                Table.Add("load", "docker load of 1 GB in 10 layers", mine / 1000, other / 1000, "s", "0.7 of Docker", RatioOf(0.7));
                Table.Add("load", "the daemon's largest memory meanwhile: RSS", berth.PeakMemory() / 1024.0, docker?.PeakMemory() / 1024.0, "MB", "150 MB", AtMost(150));
            }
            if (!save) return;
            foreach (var engine in engines) Save(engine, 0);
            var saved = engines.ToDictionary(e => e, _ => 1);
            (mine, other) = await CompareAsync(e => Task.FromResult(Save(e, saved[e]++)), samples);
            Table.Add("save", "docker save of it to a file", mine / 1000, other / 1000, "s", "0.7 of Docker", RatioOf(0.7));
        }
        finally
        {
            foreach (var engine in engines)
                for (var v = 0; v < next[engine]; v++) engine.Client("rmi", "--force", image.Name(v));
        }
    }

    /// <summary>docker push of an image into an empty registry on the engine's own loopback, a new one for each sample.</summary>
    internal async Task PushAsync(string row, string what, PullImage image)
    {
        var storage = await image.StorageAsync();
        Engine[] engines = docker is null ? [berth] : [berth, docker];
        var names = new Dictionary<Engine, string>();
        int? Loopback(Engine engine) => engine == berth ? null : engine.DaemonPid;
        foreach (var engine in engines)
        {
            using var source = DockerRegistry.Start(storage, Loopback(engine)) ?? throw new InvalidOperationException("the package docker-registry is needed");
            engine.Client("pull", "-q", names[engine] = $"{source.Host}/{image.Name(0)}");
        }
        try
        {
            var (mine, other) = await CompareAsync(engine =>
            {
                using var target = DockerRegistry.Start(loopbackOf: Loopback(engine))!;
                var name = $"{target.Host}/bench/pushed:1";
                engine.Client("tag", names[engine], name);
                var elapsed = engine.Client("push", "-q", name);
                engine.Client("rmi", name);
                return Task.FromResult(elapsed);
            }, Math.Min(options.Samples, 3));
            Table.Add(row, $"docker push of {what}", mine / 1000, other / 1000, "s", "0.8 of Docker", RatioOf(0.8));
        }
        finally
        {
            foreach (var engine in engines) engine.Client("rmi", "--force", names[engine]);
        }
    }

    /// <summary>docker pull of an image that is not there, each engine from a registry on its own loopback, both over the same files; then once more when it is there.</summary>
    internal async Task PullAsync(string row, string what, PullImage image)
    {
        var storage = await image.StorageAsync();
        using var ours = DockerRegistry.Start(storage) ?? throw new InvalidOperationException("the package docker-registry is needed");
        using var theirs = docker is null ? null : DockerRegistry.Start(storage, docker.DaemonPid);
        Engine[] engines = docker is null ? [berth] : [berth, docker];
        string NameFor(Engine engine, int variant) => $"{(engine == berth ? ours : theirs!).Host}/{image.Name(variant)}";
        var next = engines.ToDictionary(e => e, _ => 0);
        async Task<TimeSpan> PullAsync(Engine engine, bool isThere)
        {
            var start = Stopwatch.GetTimestamp();
            using (var answer = await engine.Api.PullImageAsync(NameFor(engine, isThere ? 0 : next[engine]++), null)) await answer.Body.CopyToAsync(Stream.Null);
            return Stopwatch.GetElapsedTime(start);
        }
        try
        {
            // The first of each is not counted: the registry's files come into the cache.
            foreach (var engine in engines)
            {
                await PullAsync(engine, isThere: false);
                engine.PeakMemory();
            }
            var (mine, other) = await CompareAsync(e => Task.FromResult(e.Client("pull", "-q", NameFor(e, next[e]++))), Math.Min(options.Samples, image.Variants - 1));
            Table.Add(row, $"docker pull of {what}", mine / 1000, other / 1000, "s", "0.6 of Docker", RatioOf(0.6));
            Table.Add(row, "the daemon's largest memory meanwhile: RSS", berth.PeakMemory() / 1024.0, docker?.PeakMemory() / 1024.0, "MB", "150 MB", AtMost(150));
            (mine, other) = await CompareAsync(e => PullAsync(e, isThere: true), options.Samples);
            Table.Add(row, "the same when it is there, the request alone", mine, other, "ms", "50 ms", AtMost(50));
        }
        finally
        {
            foreach (var engine in engines)
                for (var v = 0; v < next[engine]; v++) engine.Client("rmi", "--force", NameFor(engine, v));
        }
    }

    private const int RegistryBlobBytes = 512 << 20;

    /// <summary>A blob from `berth registry serve`, and from Debian's docker-registry beside it, by curl over loopback: one at a time, and four at once.</summary>
    internal async Task RegistryAsync()
    {
        await using var ours = await BerthRegistry.StartAsync();
        using var theirs = DockerRegistry.Start() ?? throw new InvalidOperationException("the package docker-registry is needed");
        var blob = new byte[RegistryBlobBytes];
        new Random(7).NextBytes(blob);
        var digest = TestImage.Digest(blob);
        foreach (var host in (string[])[ours.Host, theirs.Host])
        {
            using var http = new HttpClient { Timeout = TimeSpan.FromMinutes(2) };
            await PutAsync(http, host, blob);
            var config = "{}"u8.ToArray();
            await PutAsync(http, host, config);
            // What no manifest names is garbage to a registry.
            using var manifest = new ByteArrayContent(Encoding.UTF8.GetBytes($$"""
                {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{{TestImage.Digest(config)}}","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{{digest}}","size":{{blob.Length}}}]}
                """));
            manifest.Headers.ContentType = new("application/vnd.oci.image.manifest.v1+json");
            using var answer = await http.PutAsync($"http://{host}/v2/bench/manifests/1", manifest);
            answer.EnsureSuccessStatusCode();
        }
        foreach (var (at, what) in (ReadOnlySpan<(int, string)>)[(1, "download of a blob of 512 MB from our registry, and from docker-registry"), (4, "four downloads of it at once")])
        {
            List<double> mine = [], others = [];
            // The first of each is not counted.
            for (var i = -1; i < Math.Min(options.Samples, 5); i++)
                foreach (var (host, times) in (ReadOnlySpan<(string, List<double>)>)[(ours.Host, mine), (theirs.Host, others)])
                {
                    var took = Download($"http://{host}/v2/bench/blobs/{digest}", at);
                    if (i >= 0) times.Add(took.TotalSeconds);
                }
            Table.Add("registry", what, Median(mine), Median(others), "s", "1.0 of it", RatioOf(1.0));
        }

        static async Task PutAsync(HttpClient http, string host, byte[] content)
        {
            using var started = await http.PostAsync($"http://{host}/v2/bench/blobs/uploads/", null);
            started.EnsureSuccessStatusCode();
            var location = new Uri(new Uri($"http://{host}"), started.Headers.Location!).ToString();
            using var done = await http.PutAsync($"{location}{(location.Contains('?') ? '&' : '?')}digest={Uri.EscapeDataString(TestImage.Digest(content))}", new ByteArrayContent(content));
            done.EnsureSuccessStatusCode();
        }

        static TimeSpan Download(string url, int atOnce)
        {
            var start = Stopwatch.GetTimestamp();
            var clients = Enumerable.Range(0, atOnce).Select(_ => Process.Start(new ProcessStartInfo("curl", ["-sSf", "-o", "/dev/null", url]))!).ToList();
            foreach (var client in clients)
            {
                client.WaitForExit();
                if (client.ExitCode != 0) throw new InvalidOperationException($"curl {url} failed");
                client.Dispose();
            }
            return Stopwatch.GetElapsedTime(start);
        }
    }
}
