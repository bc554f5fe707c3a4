using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Berth.Kernel.Tests.Runtime;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Berth.Runtime;
using Berth.Runtime.Monitor;
using Berth.Runtime.Spec;
using Berth.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Berth.Kernel.Tests.Monitor;

/// <summary>
/// A berth-monitor of the test's own with a client. Disposing ends all containers and fails the test if a process, cgroup or the monitor itself is left.
/// </summary>
internal sealed class TestMonitor : IAsyncDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    private static int s_number;

    private readonly string _directory = Directory.CreateTempSubdirectory("berth-monitor-").FullName;
    private readonly string _cgroupParent = $"/berth-monitor-test-{Environment.ProcessId}-{Interlocked.Increment(ref s_number)}";
    private readonly List<TestContainer> _containers = [];
    private readonly ConcurrentDictionary<ProcessKey, TaskCompletionSource<ProcessExit>> _exits = new();

    public MonitorClient Client { get; private set; } = null!;

    public string ExecRoot => Path.Combine(_directory, "run");

    public static async Task<TestMonitor> StartAsync()
    {
        Assert.SkipUnless(Environment.UserName == "root", "needs root");
        var monitor = new TestMonitor();
        await monitor.ConnectAsync();
        return monitor;
    }

    /// <summary>A new daemon, as it were. The one before is replaced, or was dropped with <see cref="DropClientAsync"/>.</summary>
    public async Task ConnectAsync()
    {
        var options = new MonitorOptions { ExecRoot = ExecRoot, MonitorPath = MonitorPath };
        Client = await MonitorClient.ConnectOrStartAsync(options, NullLogger<MonitorClient>.Instance, CancellationToken.None);
        _ = CollectAsync(Client);
    }

    /// <summary>As kill -9 of the daemon does it: no word is said.</summary>
    public async Task DropClientAsync() => await Client.DisposeAsync();

    // BERTH_MONITOR names the one to test instead: the published executable, say.
    private static string MonitorPath => Environment.GetEnvironmentVariable("BERTH_MONITOR") ?? Path.Combine(AppContext.BaseDirectory, "berth-monitor");

    private async Task CollectAsync(MonitorClient client)
    {
        await foreach (var exit in client.Exits.ReadAllAsync()) Exit(exit.Key).TrySetResult(exit);
    }

    private TaskCompletionSource<ProcessExit> Exit(ProcessKey key) => _exits.GetOrAdd(key, _ => new(TaskCreationOptions.RunContinuationsAsynchronously));

    /// <summary>Waits for the exit and leaves it unacknowledged.</summary>
    public Task<ProcessExit> ExitAsync(ProcessKey key) => Exit(key).Task.WaitAsync(Patience);

    /// <summary>Waits for the exit and acknowledges it.</summary>
    public async Task<ProcessExit> EndAsync(ProcessKey key)
    {
        var exit = await ExitAsync(key);
        await AcknowledgeAsync(exit);
        return exit;
    }

    public async Task AcknowledgeAsync(ProcessExit exit)
    {
        await Client.AcknowledgeAsync(exit, CancellationToken.None);
        _exits.TryRemove(exit.Key, out _);
    }

    public LaunchRequest Request(string id, params string[] arguments) => Request(id, spec => spec, arguments);

    public LaunchRequest Request(string id, Func<OciSpec, OciSpec> change, params string[] arguments)
    {
        var container = new TestContainer();
        _containers.Add(container);
        var bundle = Directory.CreateDirectory(Path.Combine(_directory, "bundles", id)).FullName;
        var spec = container.Spec;
        spec = change(spec with
        {
            Process = spec.Process! with { Args = arguments },
            Linux = spec.Linux! with { CgroupsPath = $"{_cgroupParent}/{id}" },
        });
        File.WriteAllBytes(Path.Combine(bundle, "config.json"), OciJson.Serialize(spec));
        return new LaunchRequest
        {
            ContainerId = id,
            BundleDirectory = bundle,
            RootFilesystem = container.Root,
            Log = new LogSettings(LogDriver.JsonFile, LogPath(id)),
        };
    }

    public string LogPath(string id) => Path.Combine(_directory, $"{id}-json.log");

    /// <summary>The text in a container's log.</summary>
    public string LogText(string id) => string.Concat(File.ReadAllLines(LogPath(id)).Select(l => System.Text.Json.JsonDocument.Parse(l).RootElement.GetProperty("log").GetString()));

    public Task<MonitoredProcess> LaunchAsync(string id, params string[] arguments) => Client.LaunchAsync(Request(id, arguments), CancellationToken.None);

    public Task<MonitoredProcess> LaunchAsync(LaunchRequest request) => Client.LaunchAsync(request, CancellationToken.None);

    public ExecRequest ExecRequest(string id, string execId, params string[] arguments)
    {
        var process = Specs.Docker(arguments).Process!;
        var file = Path.Combine(_directory, $"{execId}.json");
        File.WriteAllBytes(file, OciJson.Serialize(process));
        return new ExecRequest { ContainerId = id, ExecId = execId, ProcessFile = file };
    }

    public static (Attachment, Socket) NewAttachment(StreamFraming framing = StreamFraming.Raw)
    {
        var attachment = Attachment.Create(stdout: true, stderr: true, framing, out var reader);
        return (attachment, new Socket(reader));
    }

    public static async Task<string> ReadToEndAsync(Socket socket)
    {
        using var timeout = new CancellationTokenSource(Patience);
        var all = new MemoryStream();
        await using var stream = new NetworkStream(socket, ownsSocket: true);
        await stream.CopyToAsync(all, timeout.Token);
        return Encoding.UTF8.GetString(all.ToArray());
    }

    public static async Task ReadUntilAsync(Socket socket, string text)
    {
        using var timeout = new CancellationTokenSource(Patience);
        var all = new StringBuilder();
        var buffer = new byte[4096];
        while (!all.ToString().Contains(text, StringComparison.Ordinal))
        {
            var count = await socket.ReceiveAsync(buffer.AsMemory(), timeout.Token);
            Assert.True(count > 0, $"\"{text}\" did not come, but: {all}");
            all.Append(Encoding.UTF8.GetString(buffer, 0, count));
        }
    }

    public bool CgroupExists(string id) => Host.CgroupDirectories($"{_cgroupParent}/{id}").Count > 0;

    /// <summary>SIGKILL to the monitor; returns when it is dead. Nothing to do while the last one is dead and the next not there yet.</summary>
    public void KillMonitor()
    {
        try
        {
            using var monitor = PidFd.Open(Client.MonitorPid);
            PidFd.SendSignal(monitor, 9);
            Descriptor.Poll(monitor, PollEvents.Readable, -1);
        }
        catch (LinuxException gone) when (gone.Errno == Errno.ESRCH)
        {
        }
    }

    /// <summary>Open descriptors but for assemblies, which the JIT's runtime opens when it first needs them.</summary>
    public static int DescriptorsOf(int pid) => Directory.GetFiles($"/proc/{pid}/fd").Count(f =>
    {
        try
        {
            return File.ResolveLinkTarget(f, false)?.FullName.EndsWith(".dll", StringComparison.Ordinal) == false;
        }
        catch (FileNotFoundException)
        {
            return false; // closed while we looked
        }
    });

    public static long MemoryOf(int pid)
    {
        var line = File.ReadLines($"/proc/{pid}/status").Single(l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]) * 1024;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var process in Client.Processes.Where(p => p.Key.IsContainer))
        {
            try
            {
                await Client.KillAllAsync(process.Key.ContainerId, CancellationToken.None);
            }
            catch (MonitorException ended) when (ended.Error == MonitorError.NoSuchProcess)
            {
            }
        }
        foreach (var process in Client.Processes) await EndAsync(process.Key);
        foreach (var exit in _exits.Values.Where(e => e.Task.IsCompletedSuccessfully)) await Client.AcknowledgeAsync(exit.Task.Result, CancellationToken.None);
        var pid = Client.MonitorPid;
        await Client.ShutdownAsync(CancellationToken.None);
        await Eventually.HoldsAsync("the monitor has ended", () => !Directory.Exists($"/proc/{pid}")); // its parent reaps it at leisure

        var left = Host.CgroupDirectories(_cgroupParent).Where(d => d.Length > d.LastIndexOf(_cgroupParent, StringComparison.Ordinal) + _cgroupParent.Length).ToArray();
        CgroupHost.Detect().RemoveEmpty(_cgroupParent);
        foreach (var container in _containers) container.Dispose();
        var journal = File.ReadAllText(Path.Combine(ExecRoot, "monitor.log"));
        Directory.Delete(_directory, recursive: true);
        Assert.Empty(left);
        Assert.DoesNotContain("bug:", journal);
    }
}
