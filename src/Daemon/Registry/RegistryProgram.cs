using System.Diagnostics;
using System.Net;
using System.Runtime.InteropServices;
using System.Threading.Channels;
using Berth.Daemon.Host;
using Berth.Daemon.Http;
using Berth.Images;
using Berth.Registry;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;

namespace Berth.Daemon.Registry;

/// <summary>`berth registry …`: the object graph of a registry, by hand and in order: flags, log, store, users, sockets, web server, collector.</summary>
internal static class RegistryProgram
{
    private const PosixSignal CollectSignal = (PosixSignal)10; // SIGUSR1, asm-generic/signal.h

    public static async Task<int> RunAsync(string[] arguments)
    {
        try
        {
            var (action, options) = RegistryFlags.Parse(arguments);
            if (action == RegistryAction.Help)
            {
                Console.Out.Write(RegistryFlags.Help(arguments));
                return 0;
            }
            using var loggers = new LineLoggerFactory(options.LogLevel, options.LogAsJson, TextWriter.Synchronized(Console.Error), TimeProvider.System);
            return action == RegistryAction.Collect ? Collect(options, loggers) : await ServeAsync(options, loggers);
        }
        catch (Exception e) when (e is FlagsException or FormatException or IOException or UnauthorizedAccessException or DllNotFoundException)
        {
            Console.Error.WriteLine(e.Message);
            return 1;
        }
    }

    private static RegistryStoreOptions StoreOptions(RegistryOptions options, ILogger log) => new()
    {
        UnreferencedFor = options.KeepUnreferenced,
        UploadsFor = options.KeepUploads,
        DeleteUntagged = options.DeleteUntagged,
        ReadOnly = options.ReadOnly,
        Logger = log,
    };

    private static RegistryStore Open(RegistryOptions options, ILogger log)
    {
        try
        {
            return RegistryStore.Open(options.Root, StoreOptions(options, log));
        }
        catch (StoreInUseException e)
        {
            throw new FlagsException($"registry {options.Root}: {e.Message}");
        }
    }

    private static int Collect(RegistryOptions options, LineLoggerFactory loggers)
    {
        if (!Directory.Exists(options.Root)) throw new FlagsException($"there is no registry in {options.Root}");
        RegistryStore store;
        try
        {
            store = RegistryStore.Open(options.Root, StoreOptions(options, loggers.CreateLogger("Berth.Registry")));
        }
        catch (StoreInUseException e) when (e.Pid is { } pid)
        {
            using var kill = Process.Start("kill", ["-USR1", pid.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
            kill.WaitForExit();
            if (kill.ExitCode != 0) throw new FlagsException($"registry {options.Root}: {e.Message}, and could not be told");
            Console.Out.WriteLine($"Process {pid} serves this registry and collects its garbage now, with its own settings; its log says what was removed");
            return 0;
        }
        using (store)
        {
            var found = store.Collect(CancellationToken.None);
            Console.Out.WriteLine($"{found.Repositories} repositories: removed {found.Manifests} untagged manifests, {found.Links} unreferenced blobs of repositories, {found.Blobs} blobs of none ({found.Bytes} bytes), {found.Uploads} abandoned uploads");
        }
        return 0;
    }

    private static async Task<int> ServeAsync(RegistryOptions options, LineLoggerFactory loggers)
    {
        var log = loggers.CreateLogger("Berth.Registry");
        using var stopping = new CancellationTokenSource();
        var signalled = new TaskCompletionSource<PosixSignal>(TaskCreationOptions.RunContinuationsAsynchronously);
        using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
        // One that waits is enough, however many ask.
        var wanted = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
        using var collect = PosixSignalRegistration.Create(CollectSignal, context =>
        {
            context.Cancel = true;
            wanted.Writer.TryWrite(true);
        });

        var tls = options.TlsCertificate.Length > 0 ? Tls.From(options.TlsCertificate, options.TlsKey, log) : null;
        var users = options.Htpasswd.Length > 0 ? new Htpasswd(options.Htpasswd, TimeProvider.System) : null;
        var credentials = options.ProxyCredentials.Length > 0 ? Credentials(options.ProxyCredentials) : null;
        using var store = Open(options, log);
        using var upstream = options.Proxy.Length > 0 ? new Upstream(store, options.Proxy, credentials, log) : null;

        var endpoints = new List<ListeningEndPoint>();
        foreach (var address in options.EffectiveListen)
            endpoints.Add(Listeners.Tcp(address, RegistryOptions.DefaultPort, tls));
        using var server = new KestrelServer(Options.Create(Kestrel(endpoints)), new SocketTransport(), loggers);
        var noPushes = options.Proxy.Length > 0 ? $"this registry gives out what {options.Proxy} has: push there" : options.ReadOnly ? "the registry is read-only" : null;
        var access = new RegistryAccess(users, options.AnonymousRead, tls is not null, TimeProvider.System);
        await server.StartAsync(new RegistryServer(store, upstream, access, log, noPushes, options.AccessLog, () => wanted.Writer.TryWrite(true)), CancellationToken.None);
        var collector = options.ReadOnly ? Task.CompletedTask : CollectAsync(store, options.CollectEvery, wanted.Reader, log, stopping.Token);

        foreach (var endpoint in endpoints)
        {
            var open = endpoint.Socket.LocalEndPoint is IPEndPoint { Address: var ip } && !IPAddress.IsLoopback(ip);
            log.RegistryListening(endpoint.ToString(), options.Root, options.Proxy.Length > 0 ? $", in front of {options.Proxy}" : options.ReadOnly ? ", read-only" : "");
            if (open && users is null && noPushes is null) log.RegistryOpenToAll(endpoint.ToString());
            if (open && users is not null && tls is null) log.PasswordsInTheClear(endpoint.ToString());
        }
        Systemd.Notify("READY=1");

        var signal = await signalled.Task;
        log.RegistryStopping(signal == PosixSignal.SIGINT ? "interrupt" : "terminated");
        Systemd.Notify("STOPPING=1");
        await stopping.CancelAsync();
        // Uploads that are cut now go on where they are after the next start.
        using (var limit = new CancellationTokenSource(options.ShutdownTimeout))
            await server.StopAsync(limit.Token);
        await collector;
        return 0;

        void OnSignal(PosixSignalContext context)
        {
            context.Cancel = true;
            signalled.TrySetResult(context.Signal);
        }
    }

    /// <summary>user:password, or user and password on lines of their own.</summary>
    private static RegistryCredentials Credentials(string path)
    {
        var text = File.ReadAllText(path).Trim();
        var split = text.IndexOfAny([':', '\n']);
        if (split <= 0) throw new FlagsException($"{path}: not user:password");
        return new RegistryCredentials(text[..split].Trim(), text[(split + 1)..].Trim(), null, null);
    }

    // Unlike the daemon's its clients are strangers: what they leave hanging ends.
    private static KestrelServerOptions Kestrel(IEnumerable<ListeningEndPoint> endpoints)
    {
        var kestrel = KestrelSetup.Options(endpoints);
        var usual = new KestrelServerLimits();
        kestrel.Limits.KeepAliveTimeout = usual.KeepAliveTimeout;
        kestrel.Limits.RequestHeadersTimeout = usual.RequestHeadersTimeout;
        kestrel.Limits.MaxRequestLineSize = 16 * 1024; // a manifest's tags are in its query
        kestrel.Limits.MaxRequestHeadersTotalSize = usual.MaxRequestHeadersTotalSize;
        kestrel.Limits.MaxRequestHeaderCount = usual.MaxRequestHeaderCount;
        kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(60));
        kestrel.Limits.MinResponseDataRate = new MinDataRate(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(60));
        return kestrel;
    }

    private static async Task CollectAsync(RegistryStore store, TimeSpan every, ChannelReader<bool> wanted, ILogger log, CancellationToken stopping)
    {
        using var timer = new PeriodicTimer(every > TimeSpan.Zero ? every : Timeout.InfiniteTimeSpan);
        var tick = timer.WaitForNextTickAsync(stopping).AsTask();
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                await Task.Run(() => store.Collect(stopping), stopping);
                // The one at the start is for what a killed process left. Then on time, and when something was deleted or somebody asks.
                var asked = wanted.WaitToReadAsync(stopping).AsTask();
                await await Task.WhenAny(tick, asked);
                if (tick.IsCompleted) tick = timer.WaitForNextTickAsync(stopping).AsTask();
                wanted.TryRead(out _);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                log.CollectionFailed(e);
                await Task.Delay(TimeSpan.FromMinutes(1), stopping).ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            }
        }
    }
}
