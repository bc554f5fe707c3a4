using System.Globalization;
using Berth.Api;
using Berth.Runtime.Capabilities;

namespace Berth.Engine;

/// <summary>
/// What a create request must fulfil, in the order and the words of dockerd, and the limits that are dropped with a warning because this kernel lacks them.
/// Pure but for the existence of bind sources, which --mount promises to check.
/// </summary>
internal static class Validation
{
    private const long MinimumMemoryBytes = 6 << 20;

    /// <summary>Checks and adapts the request's own Config and HostConfig; returns the warnings.</summary>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static List<string> Check(ContainerConfig config, HostConfig host, HostFacts facts, EngineOptions options)
    {
        CheckNetworkMode(config, host);
        if (host.Isolation is not ("" or "default")) throw Bad($"invalid isolation ({host.Isolation}): linux only supports 'default'");
        if (host.IOMaximumBandwidth != 0) throw Bad("invalid option: QoS maximum bandwidth configuration is not supported on linux");
        if (host.IOMaximumIOps != 0) throw Bad("invalid option: QoS maximum IOPs configuration is not supported on linux");
        if ((host.CpuRealtimePeriod != 0 || host.CpuRealtimeRuntime != 0) && !facts.Limits.CpuRealtime) throw Bad("kernel does not support CPU real-time scheduler");
        if (host.CpuRealtimePeriod != 0 && host.CpuRealtimeRuntime > host.CpuRealtimePeriod) throw Bad("cpu real-time runtime cannot be higher than cpu real-time period");
        if (facts.Limits.CpuShares && host.CpuShares < 0) throw Bad($"invalid CPU shares ({host.CpuShares}): value must be a positive integer");

        var warnings = new List<string>();
        CheckConfig(config);
        CheckHostConfig(host);
        CheckResources(host, facts, warnings);
        CheckPlatform(host, facts, options, warnings);
        return warnings;
    }

    /// <summary>The same for the limits and the restart policy of an update.</summary>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static List<string> CheckUpdate(HostConfig change, HostFacts facts)
    {
        var warnings = new List<string>();
        CheckRestartPolicy(change.RestartPolicy);
        CheckResources(change, facts, warnings, update: true);
        return warnings;
    }

    private static void CheckNetworkMode(ContainerConfig config, HostConfig host)
    {
        if (host.NetworkMode == "container" || Modes.IsContainer(host.NetworkMode))
        {
            if (Modes.ContainerOf(host.NetworkMode).Length == 0) throw Bad("invalid network mode: invalid container format container:<name|id>");
            if (config.Hostname.Length > 0) throw Bad("conflicting options: hostname and the network mode");
            if (host.Links is { Length: > 0 }) throw Bad("conflicting options: container type network can't be used with links. This would result in undefined behavior");
            if (host.Dns is { Length: > 0 }) throw Bad("conflicting options: dns and the network mode");
            if (host.ExtraHosts is { Length: > 0 }) throw Bad("conflicting options: custom host-to-IP mapping and the network mode");
            if (host.PortBindings is { Count: > 0 } || host.PublishAllPorts) throw Bad("conflicting options: port publishing and the container type network mode");
            if (config.ExposedPorts is { Count: > 0 }) throw Bad("conflicting options: port exposing and the container type network mode");
        }
        if (Modes.IsHost(host.UTSMode) && config.Hostname.Length > 0) throw Bad("conflicting options: hostname and the UTS mode");
        if (Modes.IsHost(host.NetworkMode) && host.Links is { Length: > 0 })
            throw Bad("conflicting options: host type networking can't be used with links. This would result in undefined behavior");
    }

    private static void CheckConfig(ContainerConfig config)
    {
        if (config.WorkingDir.Length > 0)
        {
            if (config.WorkingDir[0] != '/') throw Bad($"the working directory '{config.WorkingDir}' is invalid, it needs to be an absolute path");
            config.WorkingDir = CleanPath(config.WorkingDir);
        }
        if (config.StopSignal is { Length: > 0 } signal) Signals.Parse(signal);
        foreach (var variable in config.Env ?? [])
        {
            if (variable.Length == 0 || variable[0] == '=') throw Bad($"invalid environment variable: {variable}");
        }
        if (config.Healthcheck is { } health)
        {
            CheckDuration("Interval", health.Interval);
            CheckDuration("Timeout", health.Timeout);
            if (health.Retries < 0) throw Bad("Retries in Healthcheck cannot be negative");
            CheckDuration("StartPeriod", health.StartPeriod);
            CheckDuration("StartInterval", health.StartInterval);
        }

        static void CheckDuration(string name, long nanoseconds)
        {
            if (nanoseconds != 0 && nanoseconds < 1_000_000) throw Bad($"{name} in Healthcheck cannot be less than 1ms");
        }
    }

    private static void CheckHostConfig(HostConfig host)
    {
        if (host.AutoRemove && host.RestartPolicy.Name is not ("" or "no")) throw Bad("can't create 'AutoRemove' container with restart policy");
        foreach (var mount in host.Mounts ?? []) MountParser.Check(mount, sourceMustExist: true);
        foreach (var entry in host.ExtraHosts ?? [])
        {
            var colon = entry.IndexOf(':');
            if (colon <= 0) throw Bad($"bad format for add-host: {GoText.Quote(entry)}");
            var address = entry[(colon + 1)..];
            if (address != "host-gateway" && !IsAddress(address)) throw Bad($"invalid IP address in add-host: {GoText.Quote(address)}");
        }
        foreach (var (port, bindings) in host.PortBindings ?? [])
        {
            var slash = port.IndexOf('/');
            var number = slash < 0 ? port : port[..slash];
            if (!ushort.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out _)) throw Bad($"invalid port specification: {GoText.Quote(number)}");
            foreach (var binding in bindings ?? [])
            {
                if (!Networks.PortRange.TryParse(binding.HostPort, out _)) throw Bad($"invalid port specification: {GoText.Quote(binding.HostPort)}");
            }
        }
        CheckRestartPolicy(host.RestartPolicy);
        try
        {
            Capability.Tweak(Capability.Default, host.CapAdd ?? [], host.CapDrop ?? [], privileged: false);
        }
        catch (FormatException e)
        {
            throw Bad(e.Message);
        }
        if (host.Annotations?.ContainsKey("") == true) throw Bad("invalid Annotations: the empty string is not permitted as an annotation key");
    }

    // "[::1]" is taken as well as "::1".
    private static bool IsAddress(string text) =>
        System.Net.IPAddress.TryParse(text.StartsWith('[') && text.EndsWith(']') ? text[1..^1] : text, out var a)
        && (a.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 || text.Count(c => c == '.') == 3);

    public static void CheckRestartPolicy(RestartPolicy policy)
    {
        switch (policy.Name)
        {
            case "":
                return;
            case "no" or "always" or "unless-stopped":
                if (policy.MaximumRetryCount == 0) return;
                var text = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
                throw Bad(policy.MaximumRetryCount < 0 ? text + " and cannot be negative" : text);
            case "on-failure":
                if (policy.MaximumRetryCount < 0) throw Bad("invalid restart policy: maximum retry count cannot be negative");
                return;
            default:
                throw Bad($"invalid restart policy: unknown policy '{policy.Name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'");
        }
    }

    private static void CheckResources(HostConfig host, HostFacts facts, List<string> warnings, bool update = false)
    {
        // -1 asks for the kernel's default.
        if (host.MemorySwappiness == -1) host.MemorySwappiness = null;

        if (host.Memory != 0 && host.Memory < MinimumMemoryBytes) throw Bad("Minimum memory limit allowed is 6MB");
        if (host.Memory > 0 && !facts.Limits.MemoryLimit)
        {
            warnings.Add("Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.");
            host.Memory = 0;
            host.MemorySwap = -1;
        }
        if (host.Memory > 0 && host.MemorySwap != -1 && !facts.Limits.SwapLimit)
        {
            warnings.Add("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.");
            host.MemorySwap = -1;
        }
        if (host.Memory > 0 && host.MemorySwap > 0 && host.MemorySwap < host.Memory) throw Bad("Minimum memoryswap limit should be larger than memory limit, see usage");
        if (host.Memory == 0 && host.MemorySwap > 0 && !update) throw Bad("You should always set the Memory limit when using Memoryswap limit, see usage");
        if (host.MemorySwappiness is not null && !facts.Limits.MemorySwappiness)
        {
            warnings.Add("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.");
            host.MemorySwappiness = null;
        }
        if (host.MemorySwappiness is < 0 or > 100) throw Bad($"Invalid value: {host.MemorySwappiness}, valid memory swappiness range is 0-100");
        if (host.MemoryReservation > 0 && !facts.Limits.MemoryReservation)
        {
            warnings.Add("Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.");
            host.MemoryReservation = 0;
        }
        if (host.MemoryReservation is > 0 and < MinimumMemoryBytes) throw Bad("Minimum memory reservation allowed is 6MB");
        if (host.Memory > 0 && host.MemoryReservation > 0 && host.Memory < host.MemoryReservation)
            throw Bad("Minimum memory limit can not be less than memory reservation limit, see usage");
        if (host.KernelMemory > 0)
        {
            warnings.Add("Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.");
            host.KernelMemory = 0;
        }
        if (host.OomKillDisable is not null && !facts.Limits.OomKillDisable)
        {
            if (host.OomKillDisable == true) warnings.Add("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
            host.OomKillDisable = null;
        }
        if (host.OomKillDisable == true && host.Memory == 0)
            warnings.Add("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.");
        if (host.PidsLimit is <= 0 && !update) host.PidsLimit = null;
        if (host.PidsLimit is not null && !facts.Limits.PidsLimit)
        {
            if (host.PidsLimit > 0) warnings.Add("Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.");
            host.PidsLimit = null;
        }

        if (host.NanoCpus > 0 && host.CpuPeriod > 0) throw Bad("Conflicting options: Nano CPUs and CPU Period cannot both be set");
        if (host.NanoCpus > 0 && host.CpuQuota > 0) throw Bad("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
        if (host.NanoCpus > 0 && !facts.Limits.CpuCfs) throw Bad("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted");
        if (host.NanoCpus < 0 || host.NanoCpus > facts.ProcessorCount * 1_000_000_000L)
            throw Bad($"range of CPUs is from 0.01 to {facts.ProcessorCount}.00, as there are only {facts.ProcessorCount} CPUs available");
        if (host.CpuShares > 0 && !facts.Limits.CpuShares)
        {
            warnings.Add("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.");
            host.CpuShares = 0;
        }
        if ((host.CpuPeriod != 0 || host.CpuQuota != 0) && !facts.Limits.CpuCfs)
        {
            warnings.Add("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.");
            host.CpuPeriod = 0;
            host.CpuQuota = 0;
        }
        if (host.CpuPeriod != 0 && host.CpuPeriod is < 1000 or > 1_000_000)
            throw Bad("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
        if (host.CpuQuota is > 0 and < 1000) throw Bad("CPU cfs quota can not be less than 1ms (i.e. 1000)");
        if (host.CpuPercent > 0)
        {
            warnings.Add("linux does not support CPU percent. Percent discarded.");
            host.CpuPercent = 0;
        }

        if ((host.CpusetCpus.Length > 0 || host.CpusetMems.Length > 0) && !facts.Limits.Cpuset)
        {
            warnings.Add("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.");
            host.CpusetCpus = "";
            host.CpusetMems = "";
        }
        CheckList(host.CpusetCpus, facts.Limits.Cpus, "cpus", "Requested CPUs are not available");
        CheckList(host.CpusetMems, facts.Limits.Mems, "mems", "Requested memory nodes are not available");

        if (host.BlkioWeight > 0 && !facts.Limits.BlkioWeight)
        {
            warnings.Add("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.");
            host.BlkioWeight = 0;
        }
        if (host.BlkioWeight is > 0 and (< 10 or > 1000)) throw Bad("Range of blkio weight is from 10 to 1000");
        if (host.BlkioWeightDevice is { Length: > 0 } && !facts.Limits.BlkioWeightDevice)
        {
            warnings.Add("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.");
            host.BlkioWeightDevice = [];
        }
        host.BlkioDeviceReadBps = Throttle(host.BlkioDeviceReadBps, facts.Limits.BlkioThrottle,
            "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.");
        host.BlkioDeviceWriteBps = Throttle(host.BlkioDeviceWriteBps, facts.Limits.BlkioThrottle,
            "Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.");
        host.BlkioDeviceReadIOps = Throttle(host.BlkioDeviceReadIOps, facts.Limits.BlkioThrottle,
            "Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.");
        host.BlkioDeviceWriteIOps = Throttle(host.BlkioDeviceWriteIOps, facts.Limits.BlkioThrottle,
            "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.");

        ThrottleDevice[]? Throttle(ThrottleDevice[]? devices, bool supported, string warning)
        {
            if (devices is not { Length: > 0 } || supported) return devices;
            warnings.Add(warning);
            return [];
        }
    }

    private static void CheckList(string wanted, string available, string what, string unavailable)
    {
        if (wanted.Length == 0) return;
        if (!TryParseList(wanted, out var list, out var error)) throw Bad($"Invalid value {wanted} for cpuset {what}: {error}");
        if (!TryParseList(available, out var have, out _)) have = [];
        foreach (var item in list)
        {
            if (!have.Contains(item)) throw Bad($"{unavailable} - requested {wanted}, available: {available}");
        }
    }

    // The kernel's largest NR_CPUS; a list can't name more.
    private const int MaxListItem = 8192;

    internal static bool TryParseList(string text, out HashSet<int> items, out string error)
    {
        items = [];
        error = $"invalid format: {text}";
        if (text.Length == 0) return true;
        foreach (var part in text.Split(','))
        {
            var dash = part.IndexOf('-');
            if (!Number(dash < 0 ? part : part[..dash], out var first) || !Number(dash < 0 ? part : part[(dash + 1)..], out var last) || last < first) return false;
            if (last > MaxListItem)
            {
                error = $"value of out range, maximum is {MaxListItem}";
                return false;
            }
            for (var i = first; i <= last; i++) items.Add(i);
        }
        return true;

        static bool Number(string t, out int n) => int.TryParse(t, NumberStyles.None, CultureInfo.InvariantCulture, out n);
    }

    private static void CheckPlatform(HostConfig host, HostFacts facts, EngineOptions options, List<string> warnings)
    {
        if (host.IpcMode is not ("" or "none" or "private" or "host" or "shareable") && !Modes.IsContainer(host.IpcMode)) throw Bad($"invalid IPC mode: {host.IpcMode}");
        if (host.PidMode is not ("" or "host") && Modes.ContainerOf(host.PidMode).Length == 0) throw Bad($"invalid PID mode: {host.PidMode}");
        if (host.ShmSize < 0) throw Bad("SHM size can not be less than 0");
        if (host.UTSMode is not ("" or "host")) throw Bad($"invalid UTS mode: {host.UTSMode}");
        if (host.UsernsMode is not ("" or "host")) throw Bad($"invalid userns mode: {host.UsernsMode}");
        if (host.OomScoreAdj is < -1000 or > 1000) throw Bad($"Invalid value {host.OomScoreAdj}, range for oom score adj is [-1000, 1000]");
        if (!facts.IPv4Forwarding && !options.IpForward && !Modes.IsHost(host.NetworkMode) && host.NetworkMode != "none")
            warnings.Add("IPv4 forwarding is disabled. Networking will not work.");
        if (Modes.IsHost(host.NetworkMode) && host.PortBindings is { Count: > 0 }) warnings.Add("Published ports are discarded when using host network mode");
        if (string.IsNullOrEmpty(host.Runtime)) host.Runtime = options.DefaultRuntime;
        // The names that Docker's clients send for "the usual one" mean ours.
        else if (host.Runtime != options.DefaultRuntime && host.Runtime is not ("berth" or "runc" or "io.containerd.runc.v2"))
            throw Bad($"unknown or invalid runtime name: {host.Runtime}");
        foreach (var destination in host.Tmpfs?.Keys.AsEnumerable() ?? []) MountParser.CheckTmpfsDestination(destination);
        if (host.CgroupnsMode is not ("" or "host" or "private")) throw Bad($"invalid cgroup namespace mode: {host.CgroupnsMode}");
        if (host.CgroupnsMode == "private" && !facts.CgroupNamespaces)
            warnings.Add("Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded.");
    }

    /// <summary>Fills in what the client left to the engine.</summary>
    public static void ApplyDefaults(HostConfig host, HostFacts facts, EngineOptions options)
    {
        if (host.Memory > 0 && host.MemorySwap == 0) host.MemorySwap = host.Memory * 2;
        if (host.ShmSize == 0) host.ShmSize = options.DefaultShmSizeBytes;
        if (host.IpcMode.Length == 0) host.IpcMode = options.DefaultIpcMode;
        if (host.CgroupnsMode.Length == 0)
        {
            // On v1 a privileged container sees the host's cgroups, whatever the engine's default.
            host.CgroupnsMode = host.Privileged && !facts.CgroupV2 ? "host"
                : options.DefaultCgroupnsMode.Length > 0 ? options.DefaultCgroupnsMode
                : facts.CgroupV2 ? "private" : "host";
        }
        if (facts.Limits.OomKillDisable) host.OomKillDisable ??= false;
        if (host.RestartPolicy.Name.Length == 0) host.RestartPolicy.Name = "no";
        if (host.NetworkMode is "" or "default") host.NetworkMode = "bridge";
        // As dockerd on a host without SELinux: labels are switched off by name where namespaces are shared.
        if ((Modes.IsHost(host.IpcMode) || Modes.IsHost(host.PidMode) || host.Privileged) && host.SecurityOpt?.Any(o => o.StartsWith("label", StringComparison.Ordinal)) != true)
            host.SecurityOpt = [.. host.SecurityOpt ?? [], "label=disable"];
        if (!host.Privileged)
        {
            host.MaskedPaths ??= [.. facts.MaskedPaths];
            host.ReadonlyPaths ??= [.. facts.ReadonlyPaths];
        }
    }

    internal static EngineException Bad(string message) => EngineException.Invalid(message);

    /// <summary>Go's path.Clean for absolute paths: no double slashes, "." or "..", no slash at the end.</summary>
    public static string CleanPath(string path)
    {
        var parts = new List<string>();
        foreach (var part in path.Split('/'))
        {
            if (part is "" or ".") continue;
            if (part == "..")
            {
                if (parts.Count > 0) parts.RemoveAt(parts.Count - 1);
                continue;
            }
            parts.Add(part);
        }
        return "/" + string.Join('/', parts);
    }
}
