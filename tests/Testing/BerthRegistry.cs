using System.Diagnostics;
using System.Globalization;

namespace Berth.Testing;

/// <summary>`berth registry serve` on a free loopback port, with its own directory, in a process that can be killed and started again.</summary>
public sealed class BerthRegistry : IAsyncDisposable
{
    private static readonly TimeSpan ReadyWithin = TimeSpan.FromSeconds(20);

    private readonly TestDirectory _directory = new();
    private readonly string[] _flags;
    private Process? _process;

    private readonly string _address;

    private BerthRegistry(string address, string[] flags) => (_address, _flags) = (address, flags);

    public int Port { get; } = Testing.Host.FreePort();

    /// <summary>Host and port, as in an image's name.</summary>
    public string Host => $"{_address}:{Port}";

    public string Root => _directory["root"];
    public string Log { get; private set; } = "";
    public HttpClient Http { get; private set; } = new();

    /// <param name="flags">Further flags of `berth registry serve`.</param>
    public static Task<BerthRegistry> StartAsync(params string[] flags) => StartOnAsync("127.0.0.1", flags);

    /// <summary>As <see cref="StartAsync"/>, on another address of this machine.</summary>
    public static async Task<BerthRegistry> StartOnAsync(string address, params string[] flags)
    {
        var registry = new BerthRegistry(address, flags);
        await registry.LaunchAsync();
        registry.Http = new HttpClient { BaseAddress = new Uri($"http://{registry.Host}"), Timeout = TimeSpan.FromSeconds(20) };
        return registry;
    }

    /// <summary>Starts it on the same directory, after <see cref="KillAsync"/> or <see cref="StopAsync"/>.</summary>
    public async Task LaunchAsync()
    {
        var start = new ProcessStartInfo(Repository.Executable("berth")) { RedirectStandardError = true };
        foreach (var argument in (string[])["registry", "serve", "--root", Root, "--listen", Host, .. _flags])
            start.ArgumentList.Add(argument);
        // berthd is beside berth in a build's directory, and elsewhere on PATH.
        start.Environment["PATH"] = $"{Path.GetDirectoryName(Repository.Executable("berthd"))}:{start.Environment["PATH"]}";
        _process = Process.Start(start)!;
        var ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _process.ErrorDataReceived += (_, line) =>
        {
            Log += line.Data + "\n";
            if (line.Data is null) ready.TrySetException(new TestException($"the registry ended:\n{Log}"));
            else if (line.Data.Contains("Registry listens on", StringComparison.Ordinal)) ready.TrySetResult();
        };
        _process.BeginErrorReadLine();
        await ready.Task.WaitAsync(ReadyWithin);
    }

    public async Task KillAsync()
    {
        _process!.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>SIGTERM; returns its exit code.</summary>
    public async Task<int> StopAsync()
    {
        await new Command("kill", ["-TERM", _process!.Id.ToString(CultureInfo.InvariantCulture)]);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        await _process.WaitForExitAsync(limit.Token);
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        if (_process is { HasExited: false }) await KillAsync();
        _process?.Dispose();
        _directory.Dispose();
    }
}
