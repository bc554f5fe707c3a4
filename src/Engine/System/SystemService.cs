using System.Globalization;
using System.Runtime.InteropServices;
using Berth.Api;
using Berth.Linux;

namespace Berth.Engine;

/// <summary>What the engine and its machine are.</summary>
public sealed class SystemService
{
    private readonly EngineCore _core;
    private readonly ContainerService _containers;
    private readonly string _id;

    internal SystemService(EngineCore core, ContainerService containers)
    {
        (_core, _containers) = (core, containers);
        _id = ReadOrMakeId(Path.Combine(core.Options.DataRoot, "engine-id"));
    }

    // A UUID kept with the data: the same engine for whoever collects infos.
    private static string ReadOrMakeId(string path)
    {
        if (HostFacts.TryRead(path) is { Length: > 0 } id) return id;
        id = Guid.NewGuid().ToString();
        AtomicFile.Write(path, global::System.Text.Encoding.ASCII.GetBytes(id + "\n"));
        return id;
    }

    /// <summary>What is in the books of engine and monitor: with nothing left of containers, nothing is left in them.</summary>
    public async Task<EngineBooks> BooksAsync(CancellationToken cancellationToken)
    {
        var monitor = new Runtime.Monitor.MonitorMemory(-1, -1);
        try
        {
            monitor = await _core.Monitor.MeasureAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Runtime.Monitor.MonitorException)
        {
            // Older than the question, or it died just now.
        }
        return new EngineBooks
        {
            Containers = _core.Containers.All.Count, Execs = _containers.RememberedExecs, Volumes = _core.Volumes.Count, EventListeners = _core.Events.Listeners,
            MonitoredProcesses = _core.Monitor.Processes.Count, MonitorProcesses = monitor.Processes, MonitorHeapAlloc = monitor.LiveBytes,
        };
    }

    /// <summary>What dockerd's reload event tells, by its names.</summary>
    internal void EmitReload()
    {
        var options = _core.Options;
        string Number(long n) => n.ToString(CultureInfo.InvariantCulture);
        string List(IEnumerable<string> values) => $"[{string.Join(',', values.Select(GoText.Quote))}]";
        _core.Events.Emit("daemon", "reload", _id, new()
        {
            ["debug"] = options.Debug ? "true" : "false", ["default-cgroupns-mode"] = options.DefaultCgroupnsMode, ["default-ipc-mode"] = options.DefaultIpcMode,
            ["default-runtime"] = options.DefaultRuntime, ["default-shm-size"] = Number(options.DefaultShmSizeBytes), ["features"] = "map[]",
            ["insecure-registries"] = List(options.InsecureRegistries), ["labels"] = List(options.Labels), ["live-restore"] = "true",
            ["max-concurrent-downloads"] = Number(options.MaxConcurrentDownloads), ["max-concurrent-uploads"] = Number(options.MaxConcurrentUploads),
            ["max-download-attempts"] = Number(options.MaxDownloadAttempts), ["name"] = Environment.MachineName, ["registry-mirrors"] = List(options.RegistryMirrors),
            ["runtimes"] = "", ["shutdown-timeout"] = Number(options.ShutdownTimeoutSeconds),
        });
    }

    private static string Architecture => RuntimeInformation.OSArchitecture switch
    {
        global::System.Runtime.InteropServices.Architecture.X64 => "amd64",
        global::System.Runtime.InteropServices.Architecture.Arm64 => "arm64",
        var other => other.ToString().ToLowerInvariant(),
    };

    /// <param name="apiVersion">Newest version the daemon speaks, and the oldest.</param>
    public SystemVersion Version(string apiVersion, string minApiVersion)
    {
        var options = _core.Options;
        var kernel = HostFacts.TryRead("/proc/sys/kernel/osrelease") ?? "";
        return new SystemVersion
        {
            Platform = new VersionPlatform { Name = "Berth" }, Version = options.Version, ApiVersion = apiVersion, MinAPIVersion = minApiVersion, GitCommit = options.GitCommit,
            // Clients show it and some parse it; there is no Go here.
            GoVersion = ".NET " + Environment.Version, Os = "linux", Arch = Architecture, KernelVersion = kernel, BuildTime = options.BuildTime,
            Components =
            [
                new ComponentVersion
                {
                    Name = "Engine", Version = options.Version,
                    Details = new()
                    {
                        ["ApiVersion"] = apiVersion, ["Arch"] = Architecture, ["BuildTime"] = options.BuildTime, ["Experimental"] = "false", ["GitCommit"] = options.GitCommit,
                        ["GoVersion"] = ".NET " + Environment.Version, ["KernelVersion"] = kernel, ["MinAPIVersion"] = minApiVersion, ["Os"] = "linux",
                    },
                },
            ],
        };
    }

    public SystemInfo Info()
    {
        var (options, facts) = (_core.Options, _core.Facts);
        int running = 0, paused = 0, stopped = 0;
        foreach (var container in _core.Containers.All)
        {
            var state = container.State;
            if (state.Paused) paused++;
            else if (state.Running) running++;
            else stopped++;
        }
        var release = OsRelease();
        return new SystemInfo
        {
            ID = _id, Containers = running + paused + stopped, ContainersRunning = running, ContainersPaused = paused, ContainersStopped = stopped, Images = _core.Images.All.Count,
            Driver = ContainerService.StorageDriver, DriverStatus = [["Backing Filesystem", FileSystemOf(options.DataRoot)], ["Supports d_type", "true"], ["Using metacopy", "false"], ["Native Overlay Diff", "true"], ["userxattr", "false"]],
            Plugins = new PluginsInfo { Volume = ["local"], Network = ["bridge", "host", "null"], Log = [.. LogDrivers.All] },
            MemoryLimit = facts.Limits.MemoryLimit, SwapLimit = facts.Limits.SwapLimit, KernelMemoryTCP = facts.Limits.KernelMemoryTcp, CpuCfsPeriod = facts.Limits.CpuCfs, CpuCfsQuota = facts.Limits.CpuCfs,
            CPUShares = facts.Limits.CpuShares, CPUSet = facts.Limits.Cpuset, PidsLimit = facts.Limits.PidsLimit, IPv4Forwarding = HostFacts.TryRead("/proc/sys/net/ipv4/ip_forward") == "1",
            Debug = options.Debug, NFd = CountFiles("/proc/self/fd"), OomKillDisable = facts.Limits.OomKillDisable, NGoroutines = ThreadPool.ThreadCount, SystemTime = _core.Time.GetLocalNow(),
            LoggingDriver = options.LogDriver, CgroupDriver = "cgroupfs", CgroupVersion = facts.CgroupV2 ? "2" : "1", NEventsListener = _core.Events.Listeners,
            KernelVersion = HostFacts.TryRead("/proc/sys/kernel/osrelease") ?? "", OperatingSystem = release.GetValueOrDefault("PRETTY_NAME", "Linux"), OSVersion = release.GetValueOrDefault("VERSION_ID", ""),
            OSType = "linux", Architecture = Architecture switch { "amd64" => "x86_64", "arm64" => "aarch64", var a => a }, IndexServerAddress = "https://index.docker.io/v1/",
            RegistryConfig = Registries(), NCPU = facts.ProcessorCount, MemTotal = facts.MemoryTotalBytes, DockerRootDir = options.DataRoot,
            HttpProxy = WithoutPassword(options.Proxy.HttpProxy), HttpsProxy = WithoutPassword(options.Proxy.HttpsProxy), NoProxy = options.Proxy.NoProxy, Name = Environment.MachineName, Labels = [.. options.Labels], ServerVersion = options.Version,
            Runtimes = new() { [options.DefaultRuntime] = new RuntimeWithStatus { Path = options.DefaultRuntime } }, DefaultRuntime = options.DefaultRuntime,
            // What Docker calls so is how this engine always is.
            LiveRestoreEnabled = true, InitBinary = "docker-init",
            SecurityOptions = SecurityOptionsOf(options, facts),
            DefaultAddressPools = options.DefaultAddressPools.Count == 0 ? null : [.. options.DefaultAddressPools.Select(p => new NetworkAddressPool { Base = p.Base, Size = p.Size })],
            FirewallBackend = new FirewallInfo { Driver = options.Firewall ? "nftables" : "none" }, Warnings = Warnings(options, facts, _core.Networks),
        };
    }

    // As dockerd masks it; what is not an address is shown as it is.
    private static string WithoutPassword(string proxy) =>
        Uri.TryCreate(proxy, UriKind.Absolute, out var uri) && uri.UserInfo.Length > 0 ? proxy.Replace(uri.UserInfo + "@", "xxxxx:xxxxx@", StringComparison.Ordinal) : proxy;

    private RegistryServiceConfig Registries()
    {
        var config = new RegistryServiceConfig { InsecureRegistryCIDRs = ["::1/128", "127.0.0.0/8", .. _core.Options.InsecureRegistries.Where(r => global::System.Net.IPNetwork.TryParse(r, out _))], Mirrors = _core.Options.RegistryMirrors.Count == 0 ? null : [.. _core.Options.RegistryMirrors] };
        config.IndexConfigs["docker.io"] = new IndexInfo { Name = "docker.io", Mirrors = [.. _core.Options.RegistryMirrors], Official = true, Secure = true };
        foreach (var registry in _core.Options.InsecureRegistries.Where(r => !global::System.Net.IPNetwork.TryParse(r, out _))) config.IndexConfigs[registry] = new IndexInfo { Name = registry };
        return config;
    }

    private static string[] SecurityOptionsOf(EngineOptions options, HostFacts facts)
    {
        List<string> list = ["name=seccomp,profile=" + (options.SeccompProfile.Length == 0 ? "builtin" : options.SeccompProfile)];
        // Named when containers get one of their own without asking.
        if (facts.CgroupNamespaces && (options.DefaultCgroupnsMode.Length > 0 ? options.DefaultCgroupnsMode == "private" : facts.CgroupV2)) list.Add("name=cgroupns");
        if (options.NoNewPrivileges) list.Add("name=no-new-privileges");
        return [.. list];
    }

    // In dockerd's order.
    private static string[]? Warnings(EngineOptions options, HostFacts facts, Berth.Networks.NetworkManager networks)
    {
        var list = new List<string>(options.ApiWarnings);
        if (!facts.Limits.MemoryLimit) list.Add("WARNING: No memory limit support");
        if (!facts.Limits.SwapLimit) list.Add("WARNING: No swap limit support");
        if (!facts.Limits.CpuCfs) list.Add("WARNING: No cpu cfs quota support");
        if (!facts.Limits.CpuCfs) list.Add("WARNING: No cpu cfs period support");
        if (!facts.Limits.CpuShares) list.Add("WARNING: No cpu shares support");
        if (!facts.Limits.Cpuset) list.Add("WARNING: No cpuset support");
        if (HostFacts.TryRead("/proc/sys/net/ipv4/ip_forward") != "1") list.Add("WARNING: IPv4 forwarding is disabled");
        list.AddRange(networks.FirewallWarnings);
        return list.Count == 0 ? null : [.. list];
    }

    private static Dictionary<string, string> OsRelease()
    {
        var map = new Dictionary<string, string>();
        foreach (var line in (HostFacts.TryRead("/etc/os-release") ?? HostFacts.TryRead("/usr/lib/os-release") ?? "").Split('\n'))
        {
            var equals = line.IndexOf('=');
            if (equals > 0) map[line[..equals]] = line[(equals + 1)..].Trim('"', '\'');
        }
        return map;
    }

    private static int CountFiles(string directory)
    {
        try
        {
            return Directory.EnumerateFileSystemEntries(directory).Count();
        }
        catch (IOException)
        {
            return -1;
        }
    }

    private static string FileSystemOf(string path)
    {
        var type = MountTable.Of(path, MountTable.Read())?.FileSystem ?? "<unknown>";
        return type is "ext2" or "ext3" or "ext4" ? "extfs" : type;
    }
}
