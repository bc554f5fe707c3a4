using Berth.Images;
using Berth.Linux.Cgroups;
using Berth.Networks;
using Berth.Runtime.Monitor;
using Microsoft.Extensions.Logging;

namespace Berth.Engine;

/// <summary>
/// What Docker means, without HTTP. One per data root and exec root. Everything is safe for concurrent use; a method takes a name or id as the client
/// wrote it, throws <see cref="EngineException"/> for whatever the client may see, and leaves nothing half-made when it throws.
/// </summary>
public sealed class BerthEngine : IAsyncDisposable
{
    private readonly EngineCore _core;
    private readonly CancellationTokenSource _stopping;
    private readonly Task _exits;

    private BerthEngine(EngineCore core, CancellationTokenSource stopping, ContainerService containers, Task exits)
    {
        (_core, _stopping, Containers, _exits) = (core, stopping, containers, exits);
        Images = new ImageService(core);
        Networks = new NetworkService(core);
        System = new SystemService(core, containers);
        DiskUsage = new DiskUsage(core, containers, Images);
    }

    /// <summary>
    /// Starting up is crash recovery: reads the store, asks the monitor (starting one if there is none), adopts what runs, records what ended meanwhile,
    /// finishes what was half-made, cleans up what nobody owns, and applies restart policies. When this returns `ps` tells the truth; containers to be
    /// restarted by policy start in the background.
    /// </summary>
    public static async Task<BerthEngine> StartAsync(EngineOptions options, ILoggerFactory loggers, TimeProvider? time, CancellationToken cancellationToken)
    {
        options.CheckLogging();
        time ??= TimeProvider.System;
        var began = time.GetTimestamp();
        var logger = loggers.CreateLogger("Berth.Engine");
        const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Directory.CreateDirectory(options.DataRoot, Private | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        Directory.CreateDirectory(options.ExecRoot, Private | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);

        var stopping = new CancellationTokenSource();
        MonitorClient? monitor = null;
        ImageStore? images = null;
        NetworkManager? networks = null;
        Networks.Dns.NameService? names = null;
        try
        {
            var events = new EventService(time);
            // Three slow beginnings, side by side.
            var connecting = MonitorClient.ConnectOrStartAsync(
                new MonitorOptions { ExecRoot = options.ExecRoot, MonitorPath = options.MonitorPath ?? Path.Combine(AppContext.BaseDirectory, "berth-monitor") },
                loggers.CreateLogger<MonitorClient>(), cancellationToken);
            var manager = networks = new NetworkManager(NetworkOptions(options), loggers.CreateLogger<NetworkManager>(), time);
            var initialising = Task.Run(() => manager.InitialiseAsync(cancellationToken), cancellationToken);
            var opening = Task.Run(() => ImageStore.Open(options.DataRoot, new ImageStoreOptions
            {
                Logger = loggers.CreateLogger<ImageStore>(), Time = time, Registries = options.Registries, MaxConcurrentDownloads = options.MaxConcurrentDownloads, MaxConcurrentUploads = options.MaxConcurrentUploads, MaxDownloadAttempts = options.MaxDownloadAttempts,
                OnEvent = e => events.Emit("image", e.Action, e.ActorId, Attributes(e)),
            }), cancellationToken);
            try
            {
                await Task.WhenAll(connecting, initialising, opening).ConfigureAwait(false);
            }
            finally
            {
                if (connecting.IsCompletedSuccessfully) monitor = await connecting.ConfigureAwait(false);
                if (opening.IsCompletedSuccessfully) images = await opening.ConfigureAwait(false);
            }
            var cgroups = CgroupHost.Detect();
            var quotas = new DirectoryQuotas(options.DataRoot);
            var store = new ContainerStore(options.DataRoot);
            EngineCore? made = null;
            names = new Networks.Dns.NameService(manager, id => store.TryGetById(id, out var container) ? NameFiles.For(container.Record, made?.Options ?? options).Settings : new(), loggers.CreateLogger<Networks.Dns.NameService>());
            var core = made = new EngineCore
            {
                Options = options, Facts = HostFacts.Detect(cgroups), Containers = store, Names = names, Images = images!,
                Volumes = new VolumeService(options.DataRoot, quotas, events, time), Quotas = quotas, Networks = networks, Monitor = monitor!, Cgroups = cgroups, Events = events, Time = time, Logger = logger,
                Stopping = stopping.Token,
            };
            var containers = new ContainerService(core);
            await new Recovery(core, containers).RunAsync(cancellationToken).ConfigureAwait(false);
            var exits = Task.Run(() => containers.RunExitLoopAsync(stopping.Token), CancellationToken.None);
            var all = core.Containers.All;
            logger.Recovered(all.Count, all.Count(c => c.State.Running), time.GetElapsedTime(began).TotalMilliseconds);
            return new BerthEngine(core, stopping, containers, exits);
        }
        catch
        {
            await stopping.CancelAsync().ConfigureAwait(false);
            names?.Dispose();
            if (networks is not null) await networks.DisposeAsync().ConfigureAwait(false);
            images?.Dispose();
            if (monitor is not null) await monitor.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static Dictionary<string, string> Attributes(ImageEvent e)
    {
        var attributes = e.Labels is null ? [] : new Dictionary<string, string>(e.Labels);
        if (e.Name.Length > 0) attributes["name"] = e.Name;
        return attributes;
    }

    private static NetworkManagerOptions NetworkOptions(EngineOptions options)
    {
        EngineException Bad(string flag, string value) => EngineException.Invalid($"invalid value {GoText.Quote(value)} for {flag}");
        return new NetworkManagerOptions
        {
            BridgeName = options.BridgeName,
            BridgeAddress = Address("--bip", options.BridgeIp, ipv6: false), BridgeAddress6 = Address("--bip6", options.BridgeIp6, ipv6: true),
            FixedCidr = Address("--fixed-cidr", options.FixedCidr, ipv6: false)?.Prefix, FixedCidr6 = Address("--fixed-cidr-v6", options.FixedCidr6, ipv6: true)?.Prefix,
            DefaultGateway = Gateway("--default-gateway", options.DefaultGateway, ipv6: false), DefaultGateway6 = Gateway("--default-gateway-v6", options.DefaultGateway6, ipv6: true),
            EnableIPv6 = options.EnableIPv6,
            Mtu = options.Mtu, InterContainerCommunication = options.InterContainerCommunication, IpMasquerade = options.IpMasquerade, IpForward = options.IpForward,
            DefaultBindAddress = options.DefaultHostBinding is "" or "0.0.0.0" ? null
                : global::System.Net.IPAddress.TryParse(options.DefaultHostBinding, out var bind) ? bind : throw Bad("--ip", options.DefaultHostBinding),
            AddressPools = [.. options.DefaultAddressPools.Where(p => InetPrefix.TryParse(p.Base, out _)).Select(p => (InetPrefix.TryParse(p.Base, out var range) ? range : default, p.Size))],
            Firewall = options.Firewall, Firewall6 = options.Firewall6, PublishThrough = options.PublishThrough, DataDirectory = Path.Combine(options.DataRoot, "network"),
        };

        InetInterface? Address(string flag, string? text, bool ipv6) => text is not { Length: > 0 } ? null
            : InetInterface.TryParse(text, out var address) && address.Address.IsIPv6 == ipv6 ? address : throw Bad(flag, text);

        InetAddress? Gateway(string flag, string? text, bool ipv6) => text is not { Length: > 0 } ? null
            : InetAddress.TryParse(text, out var address) && address.IsIPv6 == ipv6 ? address : throw Bad(flag, text);
    }

    /// <summary>
    /// Takes over what may change while the engine runs: labels, registries, limits of downloads, defaults of new containers (log driver, shm size, ipc and cgroup
    /// namespace modes). Everything else of <paramref name="next"/> is for the next start.
    /// </summary>
    public void Reload(EngineOptions next)
    {
        var options = _core.Options = _core.Options with
        {
            Debug = next.Debug, Labels = next.Labels, InsecureRegistries = next.InsecureRegistries, RegistryMirrors = next.RegistryMirrors, ImageTrust = next.ImageTrust, MaxConcurrentDownloads = next.MaxConcurrentDownloads,
            MaxConcurrentUploads = next.MaxConcurrentUploads, MaxDownloadAttempts = next.MaxDownloadAttempts, ShutdownTimeoutSeconds = next.ShutdownTimeoutSeconds,
            LogDriver = next.LogDriver, LogOptions = next.LogOptions, DefaultShmSizeBytes = next.DefaultShmSizeBytes, DefaultIpcMode = next.DefaultIpcMode, DefaultCgroupnsMode = next.DefaultCgroupnsMode,
        };
        _core.Images.Reconfigure(options.Registries, options.MaxConcurrentDownloads, options.MaxDownloadAttempts, options.MaxConcurrentUploads);
        System.EmitReload();
    }

    public EngineOptions Options => _core.Options;
    public ContainerService Containers { get; }
    public ImageService Images { get; }

    /// <summary>The layers themselves: for who makes some.</summary>
    public ImageStore ImageStore => _core.Images;
    public VolumeService Volumes => _core.Volumes;
    public NetworkService Networks { get; }

    /// <summary>What host-gateway stands for in --add-host; none when nothing says so.</summary>
    public IReadOnlyList<string> HostGateways => Options.HostGatewayIps is { Count: > 0 } given ? given : [.. _core.Networks.HostGateways.Select(a => a.ToString())];
    public SystemService System { get; }
    public DiskUsage DiskUsage { get; }
    public EventService Events => _core.Events;

    /// <summary>For a machine that goes down: ends all containers as they ask to be ended. Call it when no request can come any more; their restart policies act at the next start.</summary>
    public Task StopContainersAsync() => Containers.StopAllAsync();

    /// <summary>Disconnects from the monitor. Containers go on; attachments, log followers and waits end.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _exits.ConfigureAwait(false);
        await Containers.CloseAsync().ConfigureAwait(false);
        _core.Names.Dispose();
        await _core.Networks.ShutdownAsync(CancellationToken.None).ConfigureAwait(false);
        await _core.Networks.DisposeAsync().ConfigureAwait(false);
        // With nothing running the monitor has nothing to keep and ends too.
        await _core.Monitor.ShutdownAsync(CancellationToken.None).ConfigureAwait(false);
        await _core.Monitor.DisposeAsync().ConfigureAwait(false);
        _core.Cgroups.RemoveEmpty(Validation.CleanPath("/" + _core.Options.CgroupParent));
        _core.Images.Dispose();
        _stopping.Dispose();
    }
}
