using System.Globalization;
using System.Text.Json;
using Berth.Api;
using Berth.Compose.Model;
using Berth.Compose.Yaml;

namespace Berth.Compose.Engine;

/// <summary>A container to be made of a service.</summary>
/// <param name="Project">Of which project.</param>
/// <param name="Service">Its name.</param>
/// <param name="Config">References to other services' containers resolved.</param>
/// <param name="Number">From 1; 0 for one of `run`.</param>
/// <param name="Separator">Of names.</param>
internal sealed record ContainerSpec(Project Project, string Service, Node Config, int Number, string Separator)
{
    /// <summary>The image's id, for the label that says when it is out of date.</summary>
    public string ImageId { get; init; } = "";

    /// <summary>The container that this one takes the place of: its anonymous volumes go over.</summary>
    public ContainerSummary? Inherit { get; init; }

    /// <summary>Volumes that the image declares.</summary>
    public IReadOnlyCollection<string> ImageVolumes { get; init; } = [];

    public bool Aliases { get; init; } = true;

    public Dictionary<string, string> MoreLabels { get; init; } = [];

    public IReadOnlyList<string> Links { get; init; } = [];

    /// <summary>Told of what cannot be kept.</summary>
    public Action<string> Warn { get; init; } = static _ => { };

    public string Image => Config.TextOf("image") is { Length: > 0 } image ? image : $"{Project.Name}{Separator}{Service}";

    public string Name => NameOf(Project, Service, Config, Number, Separator);

    public static string NameOf(Project project, string service, Node config, int number, string separator) =>
        config.TextOf("container_name") is { Length: > 0 } own ? own : string.Join(separator, project.Name, service, number.ToString(CultureInfo.InvariantCulture));

    public ContainerCreateRequest Request()
    {
        var (mode, networking) = Networking();
        var (binds, mounts) = Volumes();
        var ports = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var port in Config.StringsOf("expose")) ports.Add(port.Contains('/') ? port : port + "/tcp");
        var bindings = new Dictionary<string, PortBinding[]?>(StringComparer.Ordinal);
        foreach (var port in Config.ListOf("ports"))
        {
            var key = $"{port.TextOf("target")}/{(port.TextOf("protocol") is { Length: > 0 } protocol ? protocol : "tcp")}";
            ports.Add(key);
            bindings[key] = [.. bindings.GetValueOrDefault(key) ?? [], new PortBinding { HostIp = port.TextOf("host_ip"), HostPort = port.TextOf("published") }];
        }
        var (security, unconfined) = Security();
        var host = new HostConfig
        {
            Annotations = Config.TextsOf("annotations"), Binds = binds, Mounts = mounts, CapAdd = OrNull("cap_add"), CapDrop = OrNull("cap_drop"), NetworkMode = mode,
            Init = Config.Get("init") is { } init ? init.Bool : null, IpcMode = Config.TextOf("ipc"), CgroupnsMode = Config.TextOf("cgroup"), ReadonlyRootfs = Config.BoolOf("read_only"), RestartPolicy = Restart(),
            ShmSize = Config.LongOf("shm_size"), Sysctls = Config.TextsOf("sysctls"), PortBindings = bindings, VolumeDriver = Config.TextOf("volume_driver"), VolumesFrom = OrNull("volumes_from"),
            Dns = OrNull("dns"), DnsSearch = OrNull("dns_search"), DnsOptions = OrNull("dns_opt"), ExtraHosts = Hosts(), SecurityOpt = security, StorageOpt = Config.TextsOf("storage_opt"),
            UsernsMode = Config.TextOf("userns_mode"), UTSMode = Config.TextOf("uts"), Privileged = Config.BoolOf("privileged"), PidMode = Config.TextOf("pid"), Tmpfs = Tmpfs(), Isolation = Config.TextOf("isolation"),
            Runtime = Config.TextOf("runtime"), GroupAdd = OrNull("group_add"), Links = Links.Count > 0 ? [.. Links] : null, OomScoreAdj = (int)Config.LongOf("oom_score_adj"),
        };
        if (Config.Get("logging") is { } logging) host.LogConfig = new LogConfig { Type = logging.TextOf("driver"), Config = logging.TextsOf("options") };
        if (unconfined) (host.MaskedPaths, host.ReadonlyPaths) = ([], []);
        Resources(host);
        return new ContainerCreateRequest
        {
            Hostname = Config.TextOf("hostname"), Domainname = Config.TextOf("domainname"), User = Config.TextOf("user"), ExposedPorts = ports, Tty = Config.BoolOf("tty"), OpenStdin = Config.BoolOf("stdin_open"),
            AttachStdout = true, AttachStderr = true, Cmd = Command("command"), Entrypoint = Command("entrypoint"), Image = Image, WorkingDir = Config.TextOf("working_dir"), Labels = AllLabels(),
            StopSignal = Config.TextOf("stop_signal"), Env = Env(), Healthcheck = Health(), StopTimeout = Config.Get("stop_grace_period") is { } grace ? (int)(grace.Int / 1_000_000_000) : null,
            HostConfig = host, NetworkingConfig = networking,
        };
    }

    private string[]? OrNull(string key) => Config.StringsOf(key) is { Length: > 0 } list ? list : null;

    private string[]? Command(string key) => Config.Get(key) is { } command ? [.. command.Items.Select(i => i.Text)] : null;

    private string[] Env()
    {
        var list = new List<string>();
        foreach (var (name, value) in Config.MapOf("environment")) list.Add(value.IsNull ? name : $"{name}={value.Text}");
        list.Sort(string.CompareOrdinal);
        return [.. list];
    }

    private string[]? Hosts()
    {
        var list = new List<string>();
        foreach (var (host, addresses) in Config.MapOf("extra_hosts"))
            foreach (var address in addresses.Items) list.Add($"{host}:{address.Text}");
        list.Sort(string.CompareOrdinal);
        return list.Count > 0 ? [.. list] : null;
    }

    private Dictionary<string, string> Tmpfs()
    {
        var map = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var text in Config.StringsOf("tmpfs"))
        {
            var colon = text.IndexOf(':');
            map[colon < 0 ? text : text[..colon]] = colon < 0 ? "" : text[(colon + 1)..];
        }
        return map;
    }

    private Dictionary<string, string> AllLabels()
    {
        var labels = Config.TextsOf("labels");
        foreach (var (name, value) in ProjectLabels(Project, Service)) labels[name] = value;
        if (ImageId.Length > 0) labels[Labels.Image] = ImageId;
        labels[Labels.ConfigHash] = ModelJson.ServiceHash(Config);
        if (Number > 0) labels[Labels.Number] = Number.ToString(CultureInfo.InvariantCulture);
        labels[Labels.DependsOn] = string.Join(',', Config.MapOf("depends_on").OrderBy(d => d.Key, StringComparer.Ordinal).Select(d => $"{d.Key}:{d.Value.TextOf("condition")}:{(d.Value.BoolOf("restart") ? "true" : "false")}"));
        foreach (var (name, value) in MoreLabels) labels[name] = value;
        return labels;
    }

    private static Dictionary<string, string> ProjectLabels(Project project, string service)
    {
        var labels = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [Labels.Project] = project.Name, [Labels.Service] = service, [Labels.Version] = Labels.CompatibleVersion, [Labels.WorkingDirectory] = project.WorkingDirectory,
            [Labels.ConfigFiles] = string.Join(',', project.Files), [Labels.OneOff] = "False",
        };
        if (project.EnvFiles.Count > 0) labels[Labels.EnvironmentFile] = string.Join(',', project.EnvFiles.Select(Path.GetFullPath));
        return labels;
    }

    private HealthConfig? Health()
    {
        if (Config.Get("healthcheck") is not { } check) return null;
        if (check.BoolOf("disable")) return new HealthConfig { Test = ["NONE"] };
        return new HealthConfig
        {
            Test = check.StringsOf("test"), Interval = check.LongOf("interval"), Timeout = check.LongOf("timeout"), StartPeriod = check.LongOf("start_period"), StartInterval = check.LongOf("start_interval"),
            Retries = (int)check.LongOf("retries"),
        };
    }

    private RestartPolicy Restart()
    {
        var policy = new RestartPolicy();
        if (Config.TextOf("restart") is { Length: > 0 } restart)
        {
            var parts = restart.Split(':');
            policy = new RestartPolicy { Name = Condition(parts[0]), MaximumRetryCount = parts.Length > 1 && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var attempts) ? attempts : 0 };
        }
        if (Config.Get("deploy")?.Get("restart_policy") is { } deploy) policy = new RestartPolicy { Name = Condition(deploy.TextOf("condition")), MaximumRetryCount = (int)deploy.LongOf("max_attempts") };
        return policy;

        static string Condition(string text) => text switch { "none" or "no" => "no", "any" or "always" => "always", _ => text };
    }

    private (string[]? Options, bool Unconfined) Security()
    {
        var unconfined = false;
        var list = new List<string>();
        foreach (var option in Config.StringsOf("security_opt"))
        {
            if (option == "systempaths=unconfined")
            {
                unconfined = true;
                continue;
            }
            var cut = option.IndexOf('=');
            if (cut < 0 && option != "no-new-privileges") cut = option.IndexOf(':');
            if (cut < 0 && option != "no-new-privileges") throw new ComposeException($"invalid security-opt: {GoText.Quote(option)}");
            var value = cut < 0 ? "" : option[(cut + 1)..];
            if (cut < 0 || option[..cut] != "seccomp" || value is "unconfined" or "builtin")
            {
                list.Add(option);
                continue;
            }
            var path = Loading.RelativePaths.Join(Project.WorkingDirectory, value);
            if (!File.Exists(path)) throw new ComposeException($"opening seccomp profile ({value}) failed: open {path}: no such file or directory");
            try
            {
                using var document = JsonDocument.Parse(File.ReadAllText(path));
                using var stream = new MemoryStream();
                using (var writer = new Utf8JsonWriter(stream)) document.WriteTo(writer);
                list.Add("seccomp=" + System.Text.Encoding.UTF8.GetString(stream.ToArray()));
            }
            catch (JsonException e)
            {
                throw new ComposeException($"compacting json for seccomp profile ({value}) failed: {e.Message}");
            }
        }
        return (list.Count > 0 ? [.. list] : null, unconfined);
    }

    // ---- networks

    /// <summary>The network that is the container's own first.</summary>
    public static List<string> ByPriority(Node config)
    {
        var names = new List<string>(config.MapOf("networks").Keys);
        names.Sort((a, b) => config.MapOf("networks")[b].LongOf("priority").CompareTo(config.MapOf("networks")[a].LongOf("priority")) is var order and not 0 ? order : string.CompareOrdinal(a, b));
        return names;
    }

    private (string Mode, NetworkingConfig? Config) Networking()
    {
        if (Config.TextOf("network_mode") is { Length: > 0 } mode) return (mode, null);
        if (Project.Networks.Count == 0) return ("none", null);
        var keys = ByPriority(Config);
        if (keys.Count == 0) return ("none", null);
        var endpoints = new Dictionary<string, EndpointSettings>(StringComparer.Ordinal);
        foreach (var key in keys) endpoints[Project.Networks[key].TextOf("name")] = Endpoint(key);
        var first = endpoints[Project.Networks[keys[0]].TextOf("name")];
        if (first.MacAddress.Length == 0) first.MacAddress = Config.TextOf("mac_address");
        else if (Config.TextOf("mac_address") is { Length: > 0 } own && own != first.MacAddress) throw new ComposeException($"the service-level mac_address should have the same value as network {keys[0]}");
        return (Project.Networks[keys[0]].TextOf("name"), new NetworkingConfig { EndpointsConfig = endpoints });
    }

    private EndpointSettings Endpoint(string key)
    {
        var wishes = Config.MapOf("networks")[key];
        List<string> aliases = [Name];
        if (Aliases)
        {
            aliases.Add(Service);
            aliases.AddRange(wishes.StringsOf("aliases"));
        }
        var endpoint = new EndpointSettings { Aliases = [.. aliases], Links = Links.Count > 0 ? [.. Links] : null };
        if (!wishes.IsMap) return endpoint;
        endpoint.IPAMConfig = new EndpointIPAMConfig
        {
            IPv4Address = wishes.TextOf("ipv4_address"), IPv6Address = wishes.TextOf("ipv6_address"), LinkLocalIPs = wishes.StringsOf("link_local_ips") is { Length: > 0 } local ? local : null,
        };
        endpoint.MacAddress = wishes.TextOf("mac_address");
        var options = wishes.TextsOf("driver_opts");
        if (wishes.TextOf("interface_name") is { Length: > 0 } name) options["com.docker.network.endpoint.ifname"] = name;
        endpoint.DriverOpts = options.Count > 0 ? options : null;
        endpoint.GwPriority = (int)wishes.LongOf("gw_priority");
        return endpoint;
    }

    // ---- volumes, secrets, configs

    private (string[]? Binds, Mount[]? Mounts) Volumes()
    {
        var byTarget = new SortedDictionary<string, Mount>(StringComparer.Ordinal);
        var inherited = new HashSet<string>(StringComparer.Ordinal);
        foreach (var mount in Inherit?.Mounts ?? [])
        {
            if (mount.Type == "tmpfs") continue;
            var anonymous = Config.ListOf("volumes").Any(v => v.TextOf("target") == mount.Destination && v.TextOf("source").Length == 0);
            if (!anonymous && !ImageVolumes.Contains(mount.Destination)) continue;
            byTarget[mount.Destination] = new Mount { Type = mount.Type, Source = mount.Type == "volume" ? mount.Name : mount.Source, Target = mount.Destination, ReadOnly = !mount.RW };
            if (anonymous) inherited.Add(mount.Destination);
        }
        var binds = new List<string>();
        foreach (var volume in Config.ListOf("volumes"))
        {
            var target = volume.TextOf("target");
            if (inherited.Contains(target)) continue;
            byTarget.Remove(target);
            var source = volume.TextOf("source");
            var type = volume.TextOf("type");
            if (type == "bind" && !Advanced(volume.Get("bind"), bind: true)) binds.Add(BindText(source, volume));
            else if (type == "volume" && source.Length > 0 && !Advanced(volume.Get("volume"), bind: false)) binds.Add(BindText(Project.Volumes.TryGetValue(source, out var named) ? named.TextOf("name") : source, volume));
            else byTarget[target] = MountOf(volume);
        }
        Files("secrets", Project.Secrets, "/run/secrets/", byTarget);
        Files("configs", Project.Configs, "/", byTarget);
        return (binds.Count > 0 ? [.. binds] : null, byTarget.Count > 0 ? [.. byTarget.Values] : null);
    }

    // What the short form of the engine's API cannot say.
    private static bool Advanced(Node? options, bool bind)
    {
        if (options is null) return false;
        return bind
            ? !options.BoolOf("create_host_path") || options.TextOf("propagation").Length > 0 || options.TextOf("recursive").Length > 0
            : options.MapOf("labels").Count > 0 || options.TextOf("subpath").Length > 0 || options.BoolOf("nocopy");
    }

    private static string BindText(string source, Node volume)
    {
        List<string> options = [volume.BoolOf("read_only") ? "ro" : "rw"];
        if (volume.Get("bind")?.TextOf("selinux") is { Length: > 0 } selinux) options.Add(selinux);
        if (volume.Get("bind")?.TextOf("propagation") is { Length: > 0 } propagation) options.Add(propagation);
        if (volume.Get("volume")?.BoolOf("nocopy") == true) options.Add("nocopy");
        return $"{source}:{volume.TextOf("target")}:{string.Join(',', options)}";
    }

    private Mount MountOf(Node volume)
    {
        var (type, source) = (volume.TextOf("type"), volume.TextOf("source"));
        if (type == "volume" && Project.Volumes.TryGetValue(source, out var named)) source = named.TextOf("name");
        var mount = new Mount { Type = type, Source = source, Target = volume.TextOf("target"), ReadOnly = volume.BoolOf("read_only"), Consistency = volume.TextOf("consistency") };
        if (type == "bind" && volume.Get("bind") is { } bind)
        {
            mount.BindOptions = new BindOptions
            {
                Propagation = bind.TextOf("propagation"), CreateMountpoint = bind.BoolOf("create_host_path"), NonRecursive = bind.TextOf("recursive") == "disabled", ReadOnlyNonRecursive = bind.TextOf("recursive") == "writable",
                ReadOnlyForceRecursive = bind.TextOf("recursive") == "readonly",
            };
        }
        if (type == "volume" && volume.Get("volume") is { } options) mount.VolumeOptions = new VolumeOptions { NoCopy = options.BoolOf("nocopy"), Subpath = options.TextOf("subpath"), Labels = options.TextsOf("labels") };
        if (type == "tmpfs" && volume.Get("tmpfs") is { } tmpfs) mount.TmpfsOptions = new TmpfsOptions { SizeBytes = tmpfs.LongOf("size"), Mode = (uint)tmpfs.LongOf("mode") };
        if (type == "image" && volume.Get("image") is { } image) mount.ImageOptions = new ImageOptions { Subpath = image.TextOf("subpath") };
        return mount;
    }

    private void Files(string kind, Dictionary<string, Node> defined, string directory, SortedDictionary<string, Mount> mounts)
    {
        foreach (var reference in Config.ListOf(kind))
        {
            var definition = defined[reference.TextOf("source")];
            if (definition.BoolOf("external")) throw new ComposeException($"unsupported external {kind[..^1]} {definition.TextOf("name")}");
            foreach (var unsupported in new[] { "driver", "template_driver" })
                if (definition.TextOf(unsupported).Length > 0) throw new ComposeException($"Docker Compose does not support {kind}.*.{unsupported}");
            if (definition.TextOf("environment").Length > 0 || definition.TextOf("content").Length > 0) continue;
            if (reference.TextOf("uid").Length > 0 || reference.TextOf("gid").Length > 0 || reference.Get("mode") is not null)
                Warn(kind == "secrets" ? "secrets `uid`, `gid` and `mode` are not supported, they will be ignored" : "config `uid`, `gid` and `mode` are not supported, they will be ignored");
            if (!File.Exists(definition.TextOf("file")) && kind == "secrets") Warn($"secret file {definition.TextOf("name")} does not exist");
            var target = Target(reference, directory);
            mounts.TryAdd(target, new Mount { Type = "bind", Source = definition.TextOf("file"), Target = target, ReadOnly = true, BindOptions = kind == "secrets" ? new BindOptions() : null });
        }
    }

    public static string Target(Node reference, string directory)
    {
        var target = reference.TextOf("target");
        return target.Length == 0 ? directory + reference.TextOf("source") : target[0] == '/' ? target : directory + target;
    }

    // ---- resources

    private void Resources(HostConfig host)
    {
        host.CgroupParent = Config.TextOf("cgroup_parent");
        host.Memory = Config.LongOf("mem_limit");
        host.MemorySwap = Config.LongOf("memswap_limit");
        host.MemorySwappiness = Config.LongOf("mem_swappiness") is var swappiness and not 0 ? swappiness : null;
        host.MemoryReservation = Config.LongOf("mem_reservation");
        host.OomKillDisable = Config.BoolOf("oom_kill_disable");
        host.CpuCount = Config.LongOf("cpu_count");
        host.CpuPeriod = Config.LongOf("cpu_period");
        host.CpuQuota = Config.LongOf("cpu_quota");
        host.CpuRealtimePeriod = Config.LongOf("cpu_rt_period");
        host.CpuRealtimeRuntime = Config.LongOf("cpu_rt_runtime");
        host.CpuShares = Config.LongOf("cpu_shares");
        host.NanoCpus = (long)(Config.DoubleOf("cpus") * 1e9);
        host.CpuPercent = (long)(Config.DoubleOf("cpu_percent") * 100);
        host.CpusetCpus = Config.TextOf("cpuset");
        host.DeviceCgroupRules = OrNull("device_cgroup_rules");
        if (Config.LongOf("pids_limit") is var pids and not 0) host.PidsLimit = pids;
        var requests = new List<DeviceRequest>();
        if (Config.Get("deploy")?.Get("resources") is { } resources)
        {
            if (resources.Get("limits") is { } limits)
            {
                if (limits.LongOf("memory") is var memory and not 0) host.Memory = memory;
                if (limits.DoubleOf("cpus") is var cpus and not 0) host.NanoCpus = (long)(cpus * 1e9);
                if (limits.LongOf("pids") is var most and > 0) host.PidsLimit = most;
            }
            if (resources.Get("reservations") is { } reservations)
            {
                if (reservations.LongOf("memory") is var memory and not 0) host.MemoryReservation = memory;
                foreach (var device in reservations.ListOf("devices")) requests.Add(RequestOf(device, device.StringsOf("capabilities")));
            }
        }
        if (Config.Get("blkio_config") is { } blkio)
        {
            host.BlkioWeight = (ushort)blkio.LongOf("weight");
            host.BlkioWeightDevice = [.. blkio.ListOf("weight_device").Select(d => new WeightDevice { Path = d.TextOf("path"), Weight = (ushort)d.LongOf("weight") })];
            host.BlkioDeviceReadBps = Throttles("device_read_bps");
            host.BlkioDeviceReadIOps = Throttles("device_read_iops");
            host.BlkioDeviceWriteBps = Throttles("device_write_bps");
            host.BlkioDeviceWriteIOps = Throttles("device_write_iops");

            ThrottleDevice[] Throttles(string key) => [.. blkio.ListOf(key).Select(d => new ThrottleDevice { Path = d.TextOf("path"), Rate = (ulong)d.LongOf("rate") })];
        }
        var devices = new List<DeviceMapping>();
        foreach (var device in Config.ListOf("devices"))
        {
            var source = device.TextOf("source");
            if (source == device.TextOf("target") && source.Contains('=') && source[0] != '/') requests.Add(new DeviceRequest { Driver = "cdi", DeviceIDs = [source] });
            else devices.Add(new DeviceMapping { PathOnHost = source, PathInContainer = device.TextOf("target"), CgroupPermissions = device.TextOf("permissions") });
        }
        host.Devices = devices.Count > 0 ? [.. devices] : null;
        foreach (var gpu in Config.ListOf("gpus")) requests.Add(RequestOf(gpu, [.. gpu.StringsOf("capabilities"), "gpu"]));
        host.DeviceRequests = requests.Count > 0 ? [.. requests] : null;
        var ulimits = new List<Ulimit>();
        foreach (var (name, limit) in Config.MapOf("ulimits"))
            ulimits.Add(limit.IsMap ? new Ulimit { Name = name, Soft = limit.LongOf("soft"), Hard = limit.LongOf("hard") } : new Ulimit { Name = name, Soft = limit.Int, Hard = limit.Int });
        host.Ulimits = ulimits.Count > 0 ? [.. ulimits] : null;
    }

    private static DeviceRequest RequestOf(Node device, string[] capabilities) => new()
    {
        Driver = device.TextOf("driver"), Count = (int)device.LongOf("count"), DeviceIDs = device.StringsOf("device_ids") is { Length: > 0 } ids ? ids : null, Capabilities = [capabilities], Options = device.TextsOf("options"),
    };
}
