using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using Berth.Api;
using Berth.Testing;

namespace Berth.Bench;

/// <summary>One of the two engines: a socket, and the processes behind it.</summary>
internal sealed class Engine : IDisposable
{
    /// <summary>Everything we make carries it, so that it can be found and removed.</summary>
    internal const string Label = "berth.bench";

    private readonly string _socketPath;
    private readonly Func<IEnumerable<int>> _processes;

    private Engine(string name, string socketPath, Func<IEnumerable<int>> processes)
    {
        (Name, _socketPath, _processes) = (name, socketPath, processes);
        Api = new EngineClient(EngineHost.Parse("unix://" + socketPath));
    }

    internal string Name { get; }

    internal EngineClient Api { get; }

    internal string Host => "unix://" + _socketPath;

    internal static Engine Berth(TestDaemon daemon) => new("Berth", daemon.SocketPath, () => daemon.MonitorPid is { } monitor ? [daemon.Pid, monitor] : [daemon.Pid]);

    /// <summary>
    /// dockerd is who listens on the socket; containerd and its shims are found by name among the processes that share its network namespace,
    /// so that an engine in a namespace of its own is told apart from another one of the machine.
    /// </summary>
    internal static Engine Docker(string host)
    {
        var path = EngineHost.Parse(host).SocketPath ?? throw new ArgumentException($"{host}: a unix socket is needed");
        return new Engine("Docker", path, () =>
        {
            var dockerd = ListenerOf(path);
            var network = LinkOf($"/proc/{dockerd}/ns/net");
            return AllProcesses().Where(pid => pid == dockerd || (Comm(pid) is var name && name.StartsWith("containerd", StringComparison.Ordinal) && LinkOf($"/proc/{pid}/ns/net") == network));
        });
    }

    /// <summary>The process that listens on the socket: the daemon.</summary>
    internal int DaemonPid => ListenerOf(_socketPath);

    /// <summary>The daemon's largest resident memory since the last time this was asked, in kB.</summary>
    internal long PeakMemory()
    {
        var pid = DaemonPid;
        var peak = Field(ReadOrNull($"/proc/{pid}/status") ?? "VmHWM: 0", "VmHWM:");
        File.WriteAllText($"/proc/{pid}/clear_refs", "5");
        return peak;
    }

    /// <summary>SO_PEERCRED of a connection names the process that called listen.</summary>
    private static int ListenerOf(string socketPath)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(socketPath));
        Span<byte> credentials = stackalloc byte[12];
        socket.GetRawSocketOption(1 /* SOL_SOCKET */, 17 /* SO_PEERCRED */, credentials);
        return BinaryPrimitives.ReadInt32LittleEndian(credentials);
    }

    /// <summary>Resident and proportional memory of all the engine's processes, in kB.</summary>
    internal (long Rss, long Pss, int Count) Memory()
    {
        var (rss, pss, count) = (0L, 0L, 0);
        foreach (var pid in _processes())
        {
            var text = ReadOrNull($"/proc/{pid}/smaps_rollup");
            if (text is null) continue; // gone meanwhile
            rss += Field(text, "Rss:");
            pss += Field(text, "Pss:");
            count++;
        }
        return (rss, pss, count);
    }

    /// <summary>Used so far by all the engine's processes.</summary>
    internal TimeSpan ProcessorTime()
    {
        var ticks = 0L;
        foreach (var pid in _processes())
        {
            // The name before it may hold blanks; of what follows the parenthesis utime and stime are the 12th and 13th.
            if (ReadOrNull($"/proc/{pid}/stat") is not { } text) continue;
            var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            ticks += long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
        }
        return TimeSpan.FromSeconds(ticks / 100.0); // USER_HZ
    }

    private static long Field(string text, string name) =>
        long.Parse(text.Split('\n').First(l => l.StartsWith(name, StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);

    private static IEnumerable<int> AllProcesses() =>
        Directory.GetDirectories("/proc").Select(d => int.TryParse(Path.GetFileName(d), out var pid) ? pid : 0).Where(pid => pid > 0);

    private static string Comm(int pid) => ReadOrNull($"/proc/{pid}/comm")?.Trim() ?? "";

    private static string? ReadOrNull(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static string? LinkOf(string path)
    {
        try
        {
            return File.ResolveLinkTarget(path, returnFinalTarget: false)?.Name;
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>Runs the stock client against this engine; output goes to /dev/null.</summary>
    internal TimeSpan Client(params string[] arguments) => Time("docker", ["-H", Host, .. arguments]);

    internal static TimeSpan Time(string file, params string[] arguments)
    {
        // The shell opens /dev/null and is then replaced: no pipe of ours is in the way.
        var info = new ProcessStartInfo("/bin/sh") { RedirectStandardError = true };
        foreach (var argument in (string[])["-c", "exec \"$0\" \"$@\" > /dev/null < /dev/null", file, .. arguments]) info.ArgumentList.Add(argument);
        info.Environment["DOCKER_CONFIG"] = Path.Combine(Repository.Root, "artifacts", "bench", "docker-config");
        var start = Stopwatch.GetTimestamp();
        using var process = Process.Start(info)!;
        process.WaitForExit();
        var elapsed = Stopwatch.GetElapsedTime(start);
        if (process.ExitCode != 0) throw new InvalidOperationException($"{file} {string.Join(' ', arguments)} exited with {process.ExitCode}: {process.StandardError.ReadToEnd()}");
        return elapsed;
    }

    internal ContainerCreateRequest Request(string? network, params string[] command) => new()
    {
        Image = Images.Busybox,
        Cmd = command,
        Labels = new Dictionary<string, string> { [Label] = "1" },
        HostConfig = new HostConfig { NetworkMode = network ?? "" },
    };

    internal async Task<string> StartAsync(string? network, params string[] command)
    {
        var id = (await Api.CreateContainerAsync(Request(network, command))).Id;
        await Api.StartContainerAsync(id);
        return id;
    }

    /// <summary>Removes what this or an earlier run left, ten at a time.</summary>
    internal async Task RemoveContainersAsync()
    {
        var all = await Api.ListContainersAsync(all: true, filters: new Filters().Add("label", Label));
        await Parallel.ForEachAsync(all, new ParallelOptions { MaxDegreeOfParallelism = 10 }, async (container, cancellation) =>
        {
            try
            {
                await Api.RemoveContainerAsync(container.Id, force: true, cancellationToken: cancellation);
            }
            catch (EngineApiException e) when (e.Status is 404 or 409)
            {
                // gone, or on its way (--rm)
            }
        });
    }

    public void Dispose() => Api.Dispose();
}
