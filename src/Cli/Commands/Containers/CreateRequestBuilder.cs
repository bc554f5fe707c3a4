using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Containers;

/// <summary>
/// From the flags of run and create to the request: reads files that flags name and the environment, changes nothing.
/// </summary>
internal static partial class CreateRequestBuilder
{
    /// <exception cref="FormatException">What is wrong with the flags, in docker's words.</exception>
    public static ContainerCreateRequest Build(Arguments flags, Func<string, string?> environment)
    {
        var image = flags.Positional[0];
        var command = flags.Positional.Count > 1 ? flags.Positional[1..].ToArray() : null;
        var attach = flags.List("attach");
        var stdin = flags.Bool("interactive");
        var attachStdin = stdin || attach.Contains("stdin");

        if (flags.String("mac-address") is { Length: > 0 } mac && !MacAddress().IsMatch(mac)) throw new FormatException($"{mac} is not a valid mac address");
        var swappiness = flags.Long("memory-swappiness");
        if (swappiness is < -1 or > 100) throw new FormatException($"invalid value: {swappiness}. Valid memory swappiness range is 0-100");

        var (binds, volumes) = Volumes(flags.List("volume"));
        var exposed = new SortedSet<string>(StringComparer.Ordinal);
        var bindings = new SortedDictionary<string, List<PortBinding>>(StringComparer.Ordinal);
        foreach (var spec in flags.List("publish")) PortSpecs.Publish(spec, exposed, bindings);
        foreach (var spec in flags.List("expose")) PortSpecs.Expose(spec, exposed);

        var env = flags.List("env-file").SelectMany(f => EnvironmentFiles.Read(f, environment)).Concat(flags.List("env").Select(e => Variable(e, environment))).ToArray();
        var labels = Map(flags.List("label-file").SelectMany(f => EnvironmentFiles.Read(f, null)).Concat(flags.List("label")));

        var pid = flags.String("pid");
        if (pid is not ("" or "host") && !IsContainer(pid)) throw new FormatException("--pid: invalid PID mode");
        if (flags.String("uts") is not ("" or "host")) throw new FormatException("--uts: invalid UTS mode");
        if (flags.String("userns") is not ("" or "host")) throw new FormatException("--userns: invalid USER mode");
        if (flags.String("cgroupns") is not ("" or "host" or "private")) throw new FormatException("--cgroupns: invalid CGROUP mode");
        var restart = RestartPolicyOf(flags.String("restart"));
        if (flags.String("log-driver") == "none" && flags.List("log-opt").Count > 0) throw new FormatException("invalid logging opts for driver none");
        var security = SecurityOptions(flags.List("security-opt"), out var unconfined);
        if (flags.Bool("rm") && restart.Name is not ("" or "no")) throw new FormatException("conflicting options: cannot specify both --restart and --rm");

        var (networkMode, networking) = Networking(flags);

        var host = new HostConfig
        {
            Binds = binds.Count > 0 ? [.. binds] : null,
            ContainerIDFile = flags.String("cidfile"),
            LogConfig = new LogConfig { Type = flags.String("log-driver"), Config = Map(flags.List("log-opt")) },
            NetworkMode = networkMode,
            PortBindings = bindings.ToDictionary(b => b.Key, b => (PortBinding[]?)b.Value.ToArray()),
            RestartPolicy = restart,
            AutoRemove = flags.Bool("rm"),
            VolumeDriver = flags.String("volume-driver"),
            VolumesFrom = OrNull(flags.List("volumes-from")),
            Annotations = Map(flags.List("annotation")),
            CapAdd = OrNull(flags.List("cap-add")),
            CapDrop = OrNull(flags.List("cap-drop")),
            CgroupnsMode = flags.String("cgroupns"),
            Dns = [.. flags.List("dns")],
            DnsOptions = [.. flags.List("dns-option")],
            DnsSearch = [.. flags.List("dns-search")],
            ExtraHosts = OrNull(flags.List("add-host")),
            GroupAdd = OrNull(flags.List("group-add")),
            IpcMode = flags.String("ipc"),
            Links = NetworkSpec.IsUserDefined(networkMode) ? null : OrNull(flags.List("link")),
            OomScoreAdj = flags.Int("oom-score-adj"),
            PidMode = pid,
            Privileged = flags.Bool("privileged"),
            PublishAllPorts = flags.Bool("publish-all"),
            ReadonlyRootfs = flags.Bool("read-only"),
            SecurityOpt = security,
            StorageOpt = Map(flags.List("storage-opt").Select(o => o.Contains('=') ? o : throw new FormatException("invalid storage option"))),
            Tmpfs = flags.List("tmpfs").Select(t => Cut(t, ':')).GroupBy(t => t.Key).ToDictionary(g => g.Key, g => g.Last().Value),
            UTSMode = flags.String("uts"),
            UsernsMode = flags.String("userns"),
            ShmSize = flags.Bytes("shm-size"),
            Sysctls = Map(flags.List("sysctl")),
            Runtime = flags.String("runtime"),
            Isolation = flags.String("isolation"),
            CpuShares = flags.Long("cpu-shares"),
            Memory = flags.Bytes("memory"),
            NanoCpus = NanoCpus(flags.String("cpus")),
            CgroupParent = flags.String("cgroup-parent"),
            BlkioWeight = (ushort)flags.UInt64("blkio-weight"),
            BlkioWeightDevice = [.. flags.List("blkio-weight-device").Select(ParseWeightDevice)],
            BlkioDeviceReadBps = [.. flags.List("device-read-bps").Select(d => ParseThrottle(d, bytes: true))],
            BlkioDeviceWriteBps = [.. flags.List("device-write-bps").Select(d => ParseThrottle(d, bytes: true))],
            BlkioDeviceReadIOps = [.. flags.List("device-read-iops").Select(d => ParseThrottle(d, bytes: false))],
            BlkioDeviceWriteIOps = [.. flags.List("device-write-iops").Select(d => ParseThrottle(d, bytes: false))],
            CpuPeriod = flags.Long("cpu-period"),
            CpuQuota = flags.Long("cpu-quota"),
            CpuRealtimePeriod = flags.Long("cpu-rt-period"),
            CpuRealtimeRuntime = flags.Long("cpu-rt-runtime"),
            CpusetCpus = flags.String("cpuset-cpus"),
            CpusetMems = flags.String("cpuset-mems"),
            DeviceRequests = flags.List("gpus") is { Count: > 0 } gpus ? [.. gpus.Select(ParseGpus)] : null,
            Devices = [.. flags.List("device").Select(ParseDevice)],
            DeviceCgroupRules = OrNull(flags.List("device-cgroup-rule")),
            MemoryReservation = flags.Bytes("memory-reservation"),
            MemorySwap = flags.Bytes("memory-swap"),
            MemorySwappiness = swappiness == -1 ? null : swappiness,
            OomKillDisable = flags.Bool("oom-kill-disable"),
            PidsLimit = flags.Changed("pids-limit") ? flags.Long("pids-limit") : null,
            Ulimits = [.. flags.List("ulimit").Select(ParseUlimit)],
            Mounts = [.. flags.List("mount").Select(MountSpec.Parse)],
            MaskedPaths = unconfined ? [] : null,
            ReadonlyPaths = unconfined ? [] : null,
            Init = flags.Changed("init") ? flags.Bool("init") : null,
        };

        return new ContainerCreateRequest
        {
            Hostname = flags.String("hostname"),
            Domainname = flags.String("domainname"),
            User = flags.String("user"),
            AttachStdin = attachStdin,
            AttachStdout = attach.Count == 0 || attach.Contains("stdout"),
            AttachStderr = attach.Count == 0 || attach.Contains("stderr"),
            ExposedPorts = exposed,
            Tty = flags.Bool("tty"),
            OpenStdin = stdin,
            StdinOnce = stdin && attachStdin,
            Env = env.Length > 0 ? env : null,
            Cmd = command,
            Healthcheck = HealthCheck(flags),
            Image = image,
            Volumes = volumes,
            WorkingDir = flags.String("workdir"),
            Entrypoint = flags.Changed("entrypoint") ? [flags.String("entrypoint")] : null,
            MacAddress = flags.String("mac-address"),
            Labels = labels,
            StopSignal = flags.String("stop-signal"),
            StopTimeout = flags.Changed("stop-timeout") ? flags.Int("stop-timeout") : null,
            HostConfig = host,
            NetworkingConfig = networking,
        };
    }

    /// <summary>What update can change; the rest stays empty.</summary>
    public static HostConfig LimitsOf(Arguments flags) => new()
    {
        BlkioWeight = (ushort)flags.UInt64("blkio-weight"),
        CpuShares = flags.Long("cpu-shares"),
        NanoCpus = NanoCpus(flags.String("cpus")),
        CpuPeriod = flags.Long("cpu-period"),
        CpuQuota = flags.Long("cpu-quota"),
        CpuRealtimePeriod = flags.Long("cpu-rt-period"),
        CpuRealtimeRuntime = flags.Long("cpu-rt-runtime"),
        CpusetCpus = flags.String("cpuset-cpus"),
        CpusetMems = flags.String("cpuset-mems"),
        Memory = flags.Bytes("memory"),
        MemoryReservation = flags.Bytes("memory-reservation"),
        MemorySwap = flags.Bytes("memory-swap"),
        PidsLimit = flags.Changed("pids-limit") ? flags.Long("pids-limit") : null,
        RestartPolicy = flags.Changed("restart") ? RestartPolicyOf(flags.String("restart")) : new(),
    };

    /// <summary>-v: what has a source is bound, what has none becomes an anonymous volume.</summary>
    private static (List<string> Binds, SortedSet<string> Volumes) Volumes(IReadOnlyList<string> specs)
    {
        var binds = new List<string>();
        var volumes = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var spec in specs.Distinct())
        {
            if (spec.Length == 0) throw new FormatException("invalid empty volume spec");
            var parts = spec.Split(':');
            if (spec.Length > 2)
            {
                if (parts.Any(p => p.Length == 0)) throw new FormatException($"invalid spec: {spec}: empty section between colons");
                if (parts.Length > 3) throw new FormatException($"invalid spec: {spec}: too many colons");
            }
            if (parts.Length == 1) volumes.Add(spec);
            else binds.Add(spec[0] == '.' ? Path.GetFullPath(parts[0]) + spec[parts[0].Length..] : spec);
        }
        return (binds, volumes);
    }

    private static (string Mode, NetworkingConfig? Config) Networking(Arguments flags)
    {
        var specs = flags.List("network").Select(NetworkSpec.Parse).ToArray();
        if (specs.Length == 0) specs = [new("default", new())];
        var endpoints = new Dictionary<string, EndpointSettings>();
        for (var i = 0; i < specs.Length; i++)
        {
            var (target, endpoint) = specs[i];
            if (target.Trim().Length == 0) throw new FormatException("no name set for network");
            // The flags from before --network could say more are about the first one.
            if (i == 0) ApplyOlderFlags(flags, target, endpoint);
            if (!NetworkSpec.IsUserDefined(target))
            {
                if (endpoint.Aliases is { Length: > 0 }) throw new FormatException("network-scoped aliases are only supported for user-defined networks");
                if (endpoint.Links is { Length: > 0 }) throw new FormatException("links are only supported for user-defined networks");
            }
            if (endpoint.MacAddress.Length > 0 && !MacAddress().IsMatch(endpoint.MacAddress)) throw new FormatException($"{endpoint.MacAddress} is not a valid mac address");
            if (endpoints.ContainsKey(target)) throw new FormatException($"network {GoText.Quote(target)} is specified multiple times");
            if (specs.Length > 1 || endpoint != new EndpointSettings()) endpoints[target] = endpoint;
        }
        if (specs.Any(s => NetworkSpec.IsUserDefined(s.Target)) && specs.Any(s => !NetworkSpec.IsUserDefined(s.Target)))
            throw new FormatException("conflicting options: cannot attach both user-defined and non-user-defined network-modes");
        return (specs[0].Target, endpoints.Count == 0 ? null : new NetworkingConfig { EndpointsConfig = endpoints });
    }

    private static void ApplyOlderFlags(Arguments flags, string target, EndpointSettings endpoint)
    {
        string[] aliases = [.. flags.List("network-alias")], links = [.. flags.List("link")], linkLocal = [.. flags.List("link-local-ip")];
        if (aliases.Length > 0)
        {
            if (endpoint.Aliases is { Length: > 0 }) throw new FormatException("conflicting options: cannot specify both --network-alias and per-network alias");
            endpoint.Aliases = aliases;
        }
        // On the default bridge a link is the container's, not the endpoint's.
        if (links.Length > 0 && NetworkSpec.IsUserDefined(target)) endpoint.Links = links;
        if (flags.String("ip") is { Length: > 0 } ip)
        {
            if (endpoint.IPAMConfig?.IPv4Address is not null) throw new FormatException("conflicting options: cannot specify both --ip and per-network IPv4 address");
            (endpoint.IPAMConfig ??= new()).IPv4Address = ip;
        }
        if (flags.String("ip6") is { Length: > 0 } ip6)
        {
            if (endpoint.IPAMConfig?.IPv6Address is not null) throw new FormatException("conflicting options: cannot specify both --ip6 and per-network IPv6 address");
            (endpoint.IPAMConfig ??= new()).IPv6Address = ip6;
        }
        if (linkLocal.Length > 0)
        {
            if (endpoint.IPAMConfig?.LinkLocalIPs is not null) throw new FormatException("conflicting options: cannot specify both --link-local-ip and per-network link-local IP addresses");
            (endpoint.IPAMConfig ??= new()).LinkLocalIPs = linkLocal;
        }
        if (flags.String("mac-address") is { Length: > 0 } mac)
        {
            if (endpoint.MacAddress.Length > 0) throw new FormatException("conflicting options: cannot specify both --mac-address and per-network MAC address");
            endpoint.MacAddress = mac;
        }
    }

    private static HealthConfig? HealthCheck(Arguments flags)
    {
        var command = flags.String("health-cmd");
        var (interval, timeout, period, startInterval, retries) = (flags.Duration("health-interval"), flags.Duration("health-timeout"), flags.Duration("health-start-period"), flags.Duration("health-start-interval"), flags.Int("health-retries"));
        var any = command.Length > 0 || (interval | timeout | period | startInterval) != 0 || retries != 0;
        if (flags.Bool("no-healthcheck"))
            return any ? throw new FormatException("--no-healthcheck conflicts with --health-* options") : new HealthConfig { Test = ["NONE"] };
        if (!any) return null;
        foreach (var (name, value) in new[] { ("interval", interval), ("timeout", timeout), ("retries", retries), ("start-period", period), ("start-interval", startInterval) })
            if (value < 0) throw new FormatException($"--health-{name} cannot be negative");
        return new HealthConfig { Test = command.Length > 0 ? ["CMD-SHELL", command] : null, Interval = interval, Timeout = timeout, StartPeriod = period, StartInterval = startInterval, Retries = retries };
    }

    private static RestartPolicy RestartPolicyOf(string text)
    {
        var (name, count) = Cut(text, ':');
        if (text.Contains(':') && name.Length == 0) throw new FormatException("invalid restart policy format: no policy provided before colon");
        var times = 0;
        if (count.Length > 0 && !int.TryParse(count, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out times)) throw new FormatException("invalid restart policy format: maximum retry count must be an integer");
        return new RestartPolicy { Name = name, MaximumRetryCount = times };
    }

    private static string[]? SecurityOptions(IReadOnlyList<string> options, out bool unconfined)
    {
        unconfined = false;
        var result = new List<string>();
        foreach (var option in options)
        {
            var (key, value) = option.Contains('=') || option == "no-new-privileges" ? Cut(option) : Cut(option, ':');
            if (value.Length == 0 && key != "no-new-privileges") throw new FormatException($"Invalid --security-opt: {GoText.Quote(option)}");
            if (option == "systempaths=unconfined") unconfined = true;
            else if (key == "seccomp" && value is not ("unconfined" or "builtin")) result.Add("seccomp=" + SeccompProfile(value));
            else result.Add(option);
        }
        return result.Count > 0 ? [.. result] : null;
    }

    // The profile is a file of this machine: its content is sent.
    private static string SeccompProfile(string path)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            var reason = e is FileNotFoundException or DirectoryNotFoundException ? "no such file or directory" : "permission denied";
            throw new FormatException($"opening seccomp profile ({path}) failed: open {path}: {reason}");
        }
        try
        {
            using var document = JsonDocument.Parse(bytes);
            using var stream = new MemoryStream();
            using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping })) document.WriteTo(writer);
            return global::System.Text.Encoding.UTF8.GetString(stream.ToArray());
        }
        catch (JsonException e)
        {
            throw new FormatException($"compacting json for seccomp profile ({path}) failed: {e.Message}");
        }
    }

    /// <summary>path[:container path[:mode]]</summary>
    internal static DeviceMapping ParseDevice(string text)
    {
        var parts = text.Split(':');
        if (parts.Length > 3 || parts[0].Length == 0) throw new FormatException($"bad format for path: {text}");
        var (inside, mode) = (parts[0], "rwm");
        if (parts.Length == 2)
        {
            if (IsDeviceMode(parts[1])) mode = parts[1];
            else inside = parts[1];
        }
        else if (parts.Length == 3)
        {
            (inside, mode) = (parts[1], parts[2]);
            if (!IsDeviceMode(mode)) throw new FormatException($"bad mode specified: {mode}");
        }
        if (!inside.StartsWith('/')) throw new FormatException($"{inside} is not an absolute path");
        return new DeviceMapping { PathOnHost = parts[0], PathInContainer = inside, CgroupPermissions = mode };
    }

    private static bool IsDeviceMode(string mode) => mode.Length is > 0 and <= 3 && mode.All(c => "rwm".Contains(c)) && mode.Distinct().Count() == mode.Length;

    /// <summary>path:weight</summary>
    internal static WeightDevice ParseWeightDevice(string text)
    {
        var (path, weight) = Cut(text, ':');
        if (path.Length == 0 || !text.Contains(':')) throw new FormatException("bad format: " + text);
        if (!path.StartsWith("/dev/", StringComparison.Ordinal)) throw new FormatException($"bad format for device path: {text}");
        if (!ushort.TryParse(weight, NumberStyles.None, CultureInfo.InvariantCulture, out var value) || value is > 0 and < 10 or > 1000) throw new FormatException($"invalid weight for device: {text}");
        return new WeightDevice { Path = path, Weight = value };
    }

    /// <summary>path:rate; the rate may have a unit when it is in bytes.</summary>
    internal static ThrottleDevice ParseThrottle(string text, bool bytes)
    {
        var (path, rate) = Cut(text, ':');
        if (path.Length == 0 || !text.Contains(':')) throw new FormatException("bad format: " + text);
        if (!path.StartsWith("/dev/", StringComparison.Ordinal)) throw new FormatException($"bad format for device path: {text}");
        ulong value;
        try
        {
            value = bytes ? (ulong)Units.ParseRam(rate) : GoText.ParseUInt(rate, 64);
        }
        catch (FormatException)
        {
            throw new FormatException($"invalid rate for device: {text}. The correct format is <device-path>:<number>{(bytes ? "[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb" : ". Number must be a positive integer")}");
        }
        return new ThrottleDevice { Path = path, Rate = value };
    }

    /// <summary>name=soft[:hard]; -1 is no limit.</summary>
    internal static Ulimit ParseUlimit(string text)
    {
        var (name, limits) = Cut(text);
        if (!text.Contains('=')) throw new FormatException($"invalid ulimit argument: {text}");
        if (name is not ("as" or "core" or "cpu" or "data" or "fsize" or "locks" or "memlock" or "msgqueue" or "nice" or "nofile" or "nproc" or "rss" or "rtprio" or "rttime" or "sigpending" or "stack"))
            throw new FormatException($"invalid ulimit type: {name}");
        var parts = limits.Split(':');
        if (parts.Length > 2) throw new FormatException($"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`");
        var soft = GoText.ParseInt(parts[0]);
        var hard = parts.Length > 1 ? GoText.ParseInt(parts[1]) : soft;
        if (hard != -1)
        {
            if (soft == -1) throw new FormatException($"ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}");
            if (soft > hard) throw new FormatException($"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}");
        }
        return new Ulimit { Name = name, Soft = soft, Hard = hard };
    }

    private static long NanoCpus(string text)
    {
        if (text.Length == 0) return 0;
        var nano = decimal.Parse(text, NumberStyles.AllowDecimalPoint | NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture) * 1_000_000_000m;
        return nano == decimal.Truncate(nano) ? (long)nano : throw new FormatException("value is too precise");
    }

    internal static string Variable(string text, Func<string, string?> environment)
    {
        if (text.Length == 0 || text[0] == '=') throw new FormatException("invalid environment variable: " + text);
        return text.Contains('=') || environment(text) is not { } value ? text : $"{text}={value}";
    }

    /// <exception cref="FormatException">Docker's words.</exception>
    internal static DeviceRequest ParseGpus(string value)
    {
        var request = new DeviceRequest();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var field in Csv.Fields(value))
        {
            var (key, text) = Cut(field);
            if (!seen.Add(key)) throw new FormatException($"gpu request key '{key}' can be specified only once");
            if (!field.Contains('='))
            {
                seen.Add("count");
                request.Count = Count(key);
                continue;
            }
            switch (key)
            {
                case "driver": request.Driver = text; break;
                case "count": request.Count = Count(text); break;
                case "device": request.DeviceIDs = text.Split(','); break;
                case "capabilities": request.Capabilities = [[.. text.Split(','), "gpu"]]; break;
                case "options": request.Options = Map(Csv.Fields(text)); break;
                default: throw new FormatException($"unexpected key '{key}' in '{field}'");
            }
        }
        if (!seen.Contains("count") && request.DeviceIDs is null) request.Count = 1;
        request.Options ??= [];
        request.Capabilities ??= [["gpu"]];
        return request;

        static int Count(string text) => text == "all" ? -1 : int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var count) ? count
            : throw new FormatException($"invalid count ({text}): value must be either \"all\" or an integer: invalid syntax");
    }

    internal static (string Key, string Value) Cut(string text, char at = '=')
    {
        var index = text.IndexOf(at);
        return index < 0 ? (text, "") : (text[..index], text[(index + 1)..]);
    }

    private static Dictionary<string, string> Map(IEnumerable<string> pairs)
    {
        var map = new Dictionary<string, string>();
        foreach (var pair in pairs)
        {
            var (key, value) = Cut(pair);
            map[key] = value;
        }
        return map;
    }

    private static string[]? OrNull(IReadOnlyList<string> list) => list.Count > 0 ? [.. list] : null;

    private static bool IsContainer(string mode) => mode.StartsWith("container:", StringComparison.Ordinal) && mode.Length > "container:".Length;

    [GeneratedRegex("^([0-9a-fA-F]{2}[:-]){5}([0-9a-fA-F]{2})$|^([0-9a-fA-F]{4}\\.){2}[0-9a-fA-F]{4}$")]
    private static partial Regex MacAddress();
}
