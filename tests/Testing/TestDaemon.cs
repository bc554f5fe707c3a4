using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;

namespace Berth.Testing;

/// <summary>
/// An engine of the test's own: data root, exec root, socket, bridge, addresses, cgroup parent. Disposing it removes its containers, checks that
/// nothing of them is left on the machine (<see cref="LeakCheck"/>), and ends it. Its log is in artifacts/test/.
/// </summary>
public sealed class TestDaemon : IAsyncDisposable
{
    private static readonly TimeSpan ReadyWithin = TimeSpan.FromSeconds(20);
    private static int s_count;

    private readonly Slot _slot;
    private readonly string _directory;
    private readonly string[] _flags;
    private Process? _process;

    private TestDaemon(Slot slot, string directory, string[] flags)
    {
        (_slot, _directory, _flags) = (slot, directory, [.. flags.Select(f => f.Replace(Pool, slot.Pool, StringComparison.Ordinal))]);
        LogPath = Path.Combine(Repository.TestArtifacts, $"{Path.GetFileName(directory)}.log");
        Http = NewHttpClient();
    }

    public string DataRoot { get; private set; } = "";
    public string ExecRoot => Path.Combine(_directory, "run");
    public string SocketPath => Path.Combine(ExecRoot, "berth.sock");
    public string Bridge => _slot.Bridge;

    /// <summary>The bridge's address, and the /24 around it the containers'.</summary>
    public string Gateway => _slot.Gateway;

    public string CgroupParent => _slot.CgroupParent;

    /// <summary>In a flag: the first three numbers of a /24 that is this daemon's alone, for networks that nobody gives a subnet.</summary>
    public const string Pool = "<pool>";

    /// <summary>What <see cref="Pool"/> stands for.</summary>
    public string PoolPrefix => _slot.Pool;

    public string LogPath { get; }

    /// <summary>All that is the daemon's lies below it, and files the test puts there go with it.</summary>
    public string WorkDirectory => _directory;

    /// <summary>What the daemon finds in its environment at its next start, besides ours.</summary>
    public Dictionary<string, string> Environment { get; } = [];

    /// <summary>The daemon's process id; it changes with <see cref="RestartAsync"/>.</summary>
    public int Pid => _process?.Id ?? throw new TestException("the daemon does not run");

    public bool IsRunning => _process is { HasExited: false };

    // By its arguments: the monitor runs from a read-only detached mount, so that /proc/PID/exe names nothing.
    private static bool IsMonitor(int pid)
    {
        try
        {
            return Path.GetFileName(File.ReadAllText($"/proc/{pid}/cmdline").Split('\0')[0]).StartsWith("berth-monitor", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false; // it has ended
        }
    }

    /// <summary>The monitor's process id; null when there is none.</summary>
    public int? MonitorPid => Host.ProcessesWith(ExecRoot + "\0").Concat(Host.ProcessesWith(ExecRoot)).Distinct()
        .FirstOrDefault(IsMonitor) is > 0 and var found ? found : null;

    /// <summary>Starts one and waits until it serves.</summary>
    /// <param name="flags">Further flags of berthd.</param>
    public static Task<TestDaemon> StartAsync(params string[] flags) => StartAsync(dataRoot: null, flags);

    /// <param name="dataRoot">A directory that the test brings (a small file system, say); null: one below the daemon's own.</param>
    public static async Task<TestDaemon> StartAsync(string? dataRoot, string[] flags)
    {
        if (System.Environment.UserName != "root")
            throw new TestException("these tests need root");
        var slot = Slot.Take();
        var directory = Path.Combine(Path.GetTempPath(), string.Create(CultureInfo.InvariantCulture, $"berth-test-{System.Environment.ProcessId}-{Interlocked.Increment(ref s_count)}"));
        Directory.CreateDirectory(directory);
        Directory.CreateDirectory(Repository.TestArtifacts);
        var daemon = new TestDaemon(slot, directory, flags) { DataRoot = dataRoot ?? Path.Combine(directory, "data") };
        File.Delete(daemon.LogPath);
        try
        {
            await daemon.LaunchAsync();
            return daemon;
        }
        catch
        {
            await daemon.EndAsync();
            throw;
        }
    }

    /// <summary>The flags this daemon is started with: for tests that start a second one.</summary>
    public string[] Arguments =>
    [
        "-H", "unix://" + SocketPath, "--data-root", DataRoot, "--exec-root", ExecRoot, "--pidfile", Path.Combine(ExecRoot, "berthd.pid"),
        "--bridge", Bridge, "--bip", _slot.Bip, "--cgroup-parent", CgroupParent, "--debug", .. _flags,
    ];

    private async Task LaunchAsync()
    {
        // The shell only redirects: the daemon's log must not depend on this process.
        var start = new ProcessStartInfo("/bin/sh");
        foreach (var argument in (string[])["-c", "exec \"$0\" \"$@\" >> \"$BERTH_TEST_LOG\" 2>&1 < /dev/null", Repository.Executable("berthd"), .. Arguments])
            start.ArgumentList.Add(argument);
        foreach (var (name, value) in Environment) start.Environment[name] = value;
        start.Environment["BERTH_TEST_LOG"] = LogPath;

        var notifyPath = Path.Combine(_directory, "notify");
        File.Delete(notifyPath);
        using var notify = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        notify.Bind(new UnixDomainSocketEndPoint(notifyPath));
        start.Environment["NOTIFY_SOCKET"] = notifyPath;

        _process = Process.Start(start)!;
        using var limit = new CancellationTokenSource(ReadyWithin);
        var exited = _process.WaitForExitAsync(limit.Token);
        var ready = ReadyAsync(notify, limit.Token);
        if (await Task.WhenAny(ready, exited) != ready || !ready.IsCompletedSuccessfully)
            throw new TestException($"berthd {(_process.HasExited ? $"ended with {_process.ExitCode}" : $"was not ready after {ReadyWithin.TotalSeconds} s")}; its log ends:\n{LogTail()}");
        await limit.CancelAsync();
    }

    private static async Task ReadyAsync(Socket notify, CancellationToken cancellationToken)
    {
        var buffer = new byte[4096];
        while (true)
        {
            var length = await notify.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, cancellationToken);
            if (Encoding.UTF8.GetString(buffer, 0, length).Split('\n').Contains("READY=1"))
                return;
        }
    }

    /// <summary>SIGKILL, as a crash would end it; containers and monitor go on.</summary>
    public async Task KillAsync()
    {
        _process!.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>SIGTERM, as systemd would end it; returns its exit code.</summary>
    public async Task<int> StopAsync()
    {
        await new Command("kill", ["-TERM", Pid.ToString(CultureInfo.InvariantCulture)]);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        try
        {
            await _process!.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            throw new TestException($"berthd did not end on SIGTERM; its log ends:\n{LogTail()}");
        }
        return _process.ExitCode;
    }

    /// <summary>Starts it again on the same roots, after <see cref="KillAsync"/> or <see cref="StopAsync"/>.</summary>
    public Task RestartAsync() => LaunchAsync();

    /// <summary>Moves the data root while the daemon is down, and starts it there.</summary>
    public Task MoveDataRootAsync(string to)
    {
        Directory.Move(DataRoot, to);
        DataRoot = to;
        return LaunchAsync();
    }

    // ---- talking to it

    /// <summary>The stock docker client against this daemon, with a configuration of its own.</summary>
    public Command Docker(params string[] arguments) => new("docker", arguments, new Dictionary<string, string>
    {
        ["DOCKER_HOST"] = "unix://" + SocketPath,
        ["DOCKER_CONFIG"] = Path.Combine(_directory, "docker-config"),
        ["DOCKER_CLI_HINTS"] = "false",
        ["DOCKER_CONTEXT"] = "",
    });

    /// <summary>Our own command line against this daemon.</summary>
    public Command Berth(params string[] arguments) => new(Repository.Executable("berth"), arguments, new Dictionary<string, string>
    {
        ["DOCKER_HOST"] = "unix://" + SocketPath,
        ["DOCKER_CONFIG"] = Path.Combine(_directory, "docker-config"),
    });

    /// <summary>The client on a terminal of its own (script(1)), for -t.</summary>
    public Command DockerOnTerminal(params string[] arguments)
    {
        var line = "docker " + string.Join(' ', arguments.Select(a => "'" + a.Replace("'", "'\\''", StringComparison.Ordinal) + "'"));
        return new Command("script", ["-qefc", line, "/dev/null"], new Dictionary<string, string>
        {
            ["DOCKER_HOST"] = "unix://" + SocketPath,
            ["DOCKER_CONFIG"] = Path.Combine(_directory, "docker-config"),
            ["SHELL"] = "/bin/sh",
            ["TERM"] = "xterm",
        });
    }

    /// <summary>HTTP over the daemon's socket; relative addresses.</summary>
    public HttpClient Http { get; }

    /// <summary>One request: status and body.</summary>
    public async Task<(int Status, string Body)> AskAsync(string method, string path, string? json = null)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (json is not null)
            request.Content = new StringContent(json, Encoding.UTF8, new MediaTypeHeaderValue("application/json"));
        using var response = await Http.SendAsync(request);
        return ((int)response.StatusCode, await response.Content.ReadAsStringAsync());
    }

    private HttpClient NewHttpClient() => new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, cancellationToken) =>
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(SocketPath), cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        },
    })
    {
        BaseAddress = new Uri("http://berth"),
        Timeout = TimeSpan.FromSeconds(60),
    };

    /// <summary>Loads <see cref="Images.Busybox"/> and returns its name.</summary>
    public async Task<string> LoadBusyboxAsync()
    {
        await Docker("load", "-i", Images.BusyboxArchive);
        return Images.Busybox;
    }

    public string LogTail(int lines = 30) => File.Exists(LogPath) ? string.Join('\n', File.ReadLines(LogPath).TakeLast(lines)) : "(no log)";

    // ---- the end

    /// <summary>Removes all containers and fails if anything of them is left.</summary>
    public async Task CheckLeaksAsync()
    {
        if (!IsRunning)
            await RestartAsync();
        var all = await Docker("ps", "-aq");
        if (all.Lines.Length > 0)
            await Docker(["rm", "-fv", .. all.Lines]);
        await LeakCheck.HoldsAsync(this);
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await CheckLeaksAsync();
            await StopAsync();
            LeakCheck.NothingIsLeftOf(this);
        }
        finally
        {
            await EndAsync();
        }
    }

    private async Task EndAsync()
    {
        Http.Dispose();
        if (_process is { HasExited: false })
            await KillAsync();
        if (MonitorPid is { } monitor)
            Host.Kill(monitor);
        _slot.Clear();
        // What the data root holds may be a mount that the test brought.
        Directory.Delete(_directory, recursive: true);
        _slot.Dispose();
    }

    internal static string ReadLink(string path)
    {
        try
        {
            return File.ResolveLinkTarget(path, returnFinalTarget: false)?.FullName ?? "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
