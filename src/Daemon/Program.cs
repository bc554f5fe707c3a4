using System.Diagnostics;
using System.Runtime.InteropServices;
using Berth.Builder;
using Berth.Daemon;
using Berth.Daemon.BuildKit;
using Berth.Daemon.Host;
using Berth.Daemon.Http;
using Berth.Daemon.Registry;
using Berth.Daemon.Routes;
using Berth.Engine;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;

// The object graph of the daemon, by hand and in order: flags, log, locks, engine, routes, sockets, web server.

// The same executable serves a registry, which needs neither root nor an engine: the web server is linked in here already (docs/decisions/0860).
if (args is ["registry", .. var rest])
    return await RegistryProgram.RunAsync(rest);

DaemonOptions options;
try
{
    (var action, options) = Flags.Parse(args, ConfigFile.Read);
    switch (action)
    {
        case FlagsAction.Help:
            Console.Out.Write(Flags.Usage);
            return 0;
        case FlagsAction.Version:
            Console.Out.WriteLine($"Berth version {BuildInfo.Version}, build {BuildInfo.GitCommit} (Docker Engine API {ApiVersion.Max})");
            return 0;
    }
}
catch (FlagsException e)
{
    Console.Error.WriteLine(e.Message.Contains(" flag", StringComparison.Ordinal) && !e.Message.StartsWith("unable to", StringComparison.Ordinal) ? $"{e.Message}\nSee 'berthd --help'." : e.Message);
    return 1;
}

var startedAt = Stopwatch.GetTimestamp();
var time = TimeProvider.System;
using var loggers = new LineLoggerFactory(options.LogLevel, options.LogAsJson, TextWriter.Synchronized(Console.Error), time);
var log = loggers.CreateLogger("Berth.Daemon");
try
{
    var tls = Tls.From(options, log);
    options.Engine.CheckLogging();
    if (options.Validate)
    {
        Console.Error.WriteLine("configuration OK");
        return 0;
    }
    using var engineLock = EngineLock.Acquire(options);
    log.Starting(BuildInfo.Version, options.Engine.DataRoot, options.Engine.ExecRoot);

    using var stopping = new CancellationTokenSource();
    var signalled = new TaskCompletionSource<PosixSignal>(TaskCreationOptions.RunContinuationsAsynchronously);
    using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
    using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
    var reloading = new SemaphoreSlim(0);
    using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context =>
    {
        context.Cancel = true;
        reloading.Release();
    });

    // Listening comes last, but a socket that cannot be had must not first cost a recovery.
    var endpoints = Listeners.Open(options, tls, log);

    await using var engine = await BerthEngine.StartAsync(
        options.Engine with { ApiWarnings = Listeners.Warnings(options), Version = BuildInfo.EngineVersion, GitCommit = BuildInfo.GitCommit, BuildTime = BuildInfo.BuildTime }, loggers, time, stopping.Token);

    var router = new Router();
    var builder = new BuildService(engine, time, options.BuilderGarbage is { } garbage ? CacheFilters.ParseConfiguration(garbage, engine.Options.DataRoot) : null);
    var buildKit = new BuildKitServer(engine, builder, time, log);
    AllRoutes.Map(router, engine, builder, buildKit);
    using var server = new KestrelServer(Options.Create(KestrelSetup.Options(endpoints)), new SocketTransport(), loggers);
    var times = new ActionTimes();
    using var idle = new IdleTrim();
    await server.StartAsync(new ApiServer(router, BuildInfo.EngineVersion, log, stopping.Token, times, idle), CancellationToken.None);
    using var metrics = Metrics.Start(options.MetricsAddress, engine, times, BuildInfo.EngineVersion, log);
    _ = new Reload(args, options, engine, loggers, log).RunAsync(reloading, stopping.Token);
    foreach (var endpoint in endpoints)
        log.Listening(endpoint.ToString());
    log.Ready((long)Stopwatch.GetElapsedTime(startedAt).TotalMilliseconds);
    Systemd.Notify("READY=1");

    var signal = await signalled.Task;
    log.Stopping(signal == PosixSignal.SIGINT ? "interrupt" : "terminated");
    Systemd.Notify("STOPPING=1");
    var machineStops = Systemd.MachineStopsAsync();
    // Streams end first (their token), then requests get a moment, then connections are cut.
    await stopping.CancelAsync();
    // Negative is for ever, as dockerd has it for its containers.
    var patience = engine.Options.ShutdownTimeoutSeconds < 0 ? Timeout.InfiniteTimeSpan : TimeSpan.FromSeconds(engine.Options.ShutdownTimeoutSeconds);
    using (var limit = new CancellationTokenSource(patience))
    {
        await server.StopAsync(limit.Token);
        if (limit.IsCancellationRequested)
            log.RequestsCut(patience.TotalSeconds);
    }
    if (await machineStops)
    {
        log.MachineStops();
        await engine.StopContainersAsync();
    }
    foreach (var host in options.EffectiveHosts.Where(h => h.StartsWith("unix://", StringComparison.Ordinal)))
        File.Delete(host["unix://".Length..]);
    log.Stopped();
    return 0;

    void OnSignal(PosixSignalContext context)
    {
        context.Cancel = true;
        signalled.TrySetResult(context.Signal);
    }
}
catch (Exception e) when (e is FlagsException or EngineException)
{
    // For people: what is wrong and with what.
    Console.Error.WriteLine(e is EngineException ? "failed to start daemon: " + e.Message : e.Message);
    return 1;
}
catch (Exception e)
{
    log.Failed(e); // a fault of ours keeps its stack
    return 1;
}
