using System.Text.RegularExpressions;
using Berth.Cli.CommandLine;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Containers;

/// <summary>The flags that run and create share, and what can be checked of their values before anything is sent.</summary>
internal static partial class ContainerFlags
{
    public static Flag[] ForRun() =>
    [
        .. ForCreate(),
        new("detach", 'd', FlagKind.Bool, "Leave the container running in the background and print its ID"),
        new("detach-keys", FlagKind.String, "Keys that detach from the container, instead of ctrl-p,ctrl-q"),
        new("sig-proxy", FlagKind.Bool, "Pass signals on to the container's process") { Default = "true" },
    ];

    public static Flag[] ForCreate() =>
    [
        new("add-host", FlagKind.List, "Add a line to the container's /etc/hosts (host:ip)") { Normalize = ExtraHost },
        new("annotation", FlagKind.List, "Note for the runtime (key=value)") { ValueName = "map" },
        new("attach", 'a', FlagKind.List, "Attach to STDIN, STDOUT or STDERR only") { Normalize = Attach },
        new("blkio-weight", FlagKind.UInt16, "Share of block I/O against other containers, 10 to 1000; 0 leaves it alone"),
        new("blkio-weight-device", FlagKind.List, "The same for one device (path:weight)") { Normalize = WeightDevice },
        new("cap-add", FlagKind.List, "Give a Linux capability"),
        new("cap-drop", FlagKind.List, "Take a Linux capability away"),
        new("cgroup-parent", FlagKind.String, "Cgroup to put the container's under"),
        new("cgroupns", FlagKind.String, "Cgroup namespace: host or private; the engine decides when not given"),
        new("cidfile", FlagKind.String, "Write the container's ID to this file"),
        new("cpu-count", FlagKind.Int, "For Windows: number of CPUs") { Hidden = true },
        new("cpu-percent", FlagKind.Int, "For Windows: share of the CPUs") { Hidden = true },
        new("cpu-period", FlagKind.Int, "Length of a CPU quota's period, in microseconds"),
        new("cpu-quota", FlagKind.Int, "CPU time in each period, in microseconds"),
        new("cpu-rt-period", FlagKind.Int, "Length of the real-time period, in microseconds"),
        new("cpu-rt-runtime", FlagKind.Int, "Real-time CPU time in each period, in microseconds"),
        new("cpu-shares", 'c', FlagKind.Int, "Share of CPU time against other containers (1024 is one share)"),
        new("cpus", FlagKind.Decimal, "Number of CPUs, with fractions"),
        new("cpuset-cpus", FlagKind.String, "CPUs to run on (0-3, 0,1)"),
        new("cpuset-mems", FlagKind.String, "Memory nodes to allocate from (0-3, 0,1)"),
        new("device", FlagKind.List, "Make a device of the host available (host[:container[:rwm]])"),
        new("device-cgroup-rule", FlagKind.List, "Rule for the device cgroup ('c 1:3 rwm')") { Normalize = DeviceCgroupRule },
        new("device-read-bps", FlagKind.List, "Limit reading from a device, bytes per second (path:rate)") { Normalize = ThrottleBytes },
        new("device-read-iops", FlagKind.List, "Limit reading from a device, operations per second (path:rate)") { Normalize = ThrottleOperations },
        new("device-write-bps", FlagKind.List, "Limit writing to a device, bytes per second (path:rate)") { Normalize = ThrottleBytes },
        new("device-write-iops", FlagKind.List, "Limit writing to a device, operations per second (path:rate)") { Normalize = ThrottleOperations },
        new("disable-content-trust", FlagKind.Bool, "Accepted for docker's sake: the engine's policies say what must be signed") { Default = "true", Hidden = true },
        new("dns", FlagKind.List, "Name server for the container") { Normalize = IpAddress },
        new("dns-opt", FlagKind.List, "Option line of its resolv.conf") { Hidden = true, SpellingOf = "dns-option" },
        new("dns-option", FlagKind.List, "Option of the container's resolver"),
        new("dns-search", FlagKind.List, "Domain to search names in"),
        new("domainname", FlagKind.String, "NIS domain name of the container"),
        new("entrypoint", FlagKind.String, "Program to run instead of the image's entry point"),
        new("env", 'e', FlagKind.List, "Set an environment variable (NAME=value, or NAME to pass ours on)"),
        new("env-file", FlagKind.List, "Read environment variables from a file"),
        new("expose", FlagKind.List, "Note that a port, or a range of them, is served"),
        new("gpus", FlagKind.List, "GPUs to add (all, a number, device=ID,...)") { ValueName = "gpu-request", Normalize = static v => { CreateRequestBuilder.ParseGpus(v); return v; } },
        new("group-add", FlagKind.List, "Group to join in addition"),
        new("health-cmd", FlagKind.String, "Command that tells whether the container is well"),
        new("health-interval", FlagKind.Duration, "Time between two checks (ms|s|m|h)"),
        new("health-retries", FlagKind.Int, "Failures in a row until it counts as unwell"),
        new("health-start-interval", FlagKind.Duration, "Time between checks while it starts (ms|s|m|h)"),
        new("health-start-period", FlagKind.Duration, "Time it has to start, failures not counted (ms|s|m|h)"),
        new("health-timeout", FlagKind.Duration, "Longest time for one check (ms|s|m|h)"),
        new("help", FlagKind.Bool, "Print usage") { Hidden = true },
        new("hostname", 'h', FlagKind.String, "Host name inside the container"),
        new("init", FlagKind.Bool, "Run a small init as process 1 that forwards signals and reaps orphans"),
        new("interactive", 'i', FlagKind.Bool, "Keep STDIN open"),
        new("io-maxbandwidth", FlagKind.Bytes, "For Windows: limit of I/O on the system drive") { Hidden = true },
        new("io-maxiops", FlagKind.UInt64, "For Windows: the same in operations per second") { Hidden = true },
        new("ip", FlagKind.String, "IPv4 address in the network"),
        new("ip6", FlagKind.String, "IPv6 address in the network"),
        new("ipc", FlagKind.String, "IPC namespace: private, shareable, host, none or container:NAME"),
        new("isolation", FlagKind.String, "Isolation technology (one on Linux: default)"),
        new("kernel-memory", FlagKind.Bytes, "Accepted for docker's sake: no kernel of today limits it") { Hidden = true },
        new("label", 'l', FlagKind.List, "Attach a label (key=value)") { Normalize = Label },
        new("label-file", FlagKind.List, "Read labels from a file"),
        new("link", FlagKind.List, "Name of another container to be reachable under (NAME:ALIAS)"),
        new("link-local-ip", FlagKind.List, "Link-local address in the network"),
        new("log-driver", FlagKind.String, "Where output is logged to"),
        new("log-opt", FlagKind.List, "Option of the log (max-size=10m)"),
        new("mac-address", FlagKind.String, "MAC address of the container"),
        new("memory", 'm', FlagKind.Bytes, "Limit of memory"),
        new("memory-reservation", FlagKind.Bytes, "Memory to be left when the host gets short"),
        new("memory-swap", FlagKind.BytesOrUnlimited, "Limit of memory and swap together; -1 for no limit of swap"),
        new("memory-swappiness", FlagKind.Int, "How readily memory is swapped out, 0 to 100") { Default = "-1" },
        new("mount", FlagKind.List, "Mount something: type=bind|volume|tmpfs,src=...,dst=...,...") { ValueName = "mount", Normalize = static v => { MountSpec.Parse(v); return v; } },
        new("name", FlagKind.String, "Name of the container"),
        new("net", FlagKind.List, "") { Hidden = true, SpellingOf = "network" },
        new("net-alias", FlagKind.List, "") { Hidden = true, SpellingOf = "network-alias" },
        new("network", FlagKind.List, "Network to join: bridge, host, none, container:NAME or a network's name") { ValueName = "network", Normalize = static v => { NetworkSpec.Parse(v); return v; } },
        new("network-alias", FlagKind.List, "Further name in the network"),
        new("no-healthcheck", FlagKind.Bool, "Turn the image's health check off"),
        new("oom-kill-disable", FlagKind.Bool, "Stop instead of being killed when memory runs out (cgroup v1)"),
        new("oom-score-adj", FlagKind.Int, "How soon to be killed when the host runs out of memory, -1000 to 1000"),
        new("pid", FlagKind.String, "PID namespace: host or container:NAME"),
        new("pids-limit", FlagKind.Int, "Most processes at a time (-1 for no limit)"),
        new("platform", FlagKind.String, "Platform of the image, os[/arch[/variant]]"),
        new("privileged", FlagKind.Bool, "Give the container nearly all rights on this host"),
        new("publish", 'p', FlagKind.List, "Make a port reachable through the host ([ip:][host:]container[/udp])"),
        new("publish-all", 'P', FlagKind.Bool, "Publish every exposed port on a free port of the host"),
        new("pull", FlagKind.String, "When to pull the image: always, missing or never") { Default = "missing" },
        new("quiet", 'q', FlagKind.Bool, "Do not show the pull"),
        new("read-only", FlagKind.Bool, "Make the container's root file system read-only"),
        new("restart", FlagKind.String, "When to start it again: no, on-failure[:times], always, unless-stopped") { Default = "no" },
        new("rm", FlagKind.Bool, "Remove the container and its anonymous volumes when it exits"),
        new("runtime", FlagKind.String, "Runtime to use"),
        new("security-opt", FlagKind.List, "Security option: no-new-privileges, seccomp=FILE, systempaths=unconfined"),
        new("shm-size", FlagKind.Bytes, "Size of /dev/shm"),
        new("stop-signal", FlagKind.String, "Signal that asks the container to stop"),
        new("stop-timeout", FlagKind.Int, "Seconds it has to do so before it is killed"),
        new("storage-opt", FlagKind.List, "Option of the storage driver (key=value)"),
        new("sysctl", FlagKind.List, "Kernel parameter of the container's namespaces (key=value)") { ValueName = "map", Normalize = Sysctl },
        new("tmpfs", FlagKind.List, "Mount a tmpfs (path[:options])"),
        new("tty", 't', FlagKind.Bool, "Give the container a terminal"),
        new("ulimit", FlagKind.List, "Resource limit (name=soft[:hard])") { ValueName = "ulimit", Normalize = static v => { CreateRequestBuilder.ParseUlimit(v); return v; } },
        new("use-api-socket", FlagKind.Bool, "Give the container the engine's socket, and our logins to registries"),
        new("user", 'u', FlagKind.String, "User to run as, name|uid[:group|gid]"),
        new("userns", FlagKind.String, "User namespace: host"),
        new("uts", FlagKind.String, "UTS namespace: host"),
        new("volume", 'v', FlagKind.List, "Mount a directory of the host or a volume ([source:]path[:ro])"),
        new("volume-driver", FlagKind.String, "Driver of the volumes made for it"),
        new("volumes-from", FlagKind.List, "Mount what another container has mounted (NAME[:ro])"),
        new("workdir", 'w', FlagKind.String, "Directory to start in"),
    ];

    internal static string Attach(string value) => value.ToLowerInvariant() is "stdin" or "stdout" or "stderr"
        ? value.ToLowerInvariant() : throw new FormatException("valid streams are STDIN, STDOUT and STDERR");

    internal static string Label(string value) => value.Length == 0 || value[0] == '=' ? throw new FormatException($"invalid label '{value}': empty name") : value;

    private static readonly string[] Sysctls = ["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"];

    // Those of the namespaces a container has of its own.
    private static string Sysctl(string value) =>
        value.Contains('=') && (Sysctls.Contains(CreateRequestBuilder.Cut(value).Key) || value.StartsWith("net.", StringComparison.Ordinal) || value.StartsWith("fs.mqueue.", StringComparison.Ordinal)) ? value : throw new FormatException($"sysctl '{value}' is not allowed");

    private static string IpAddress(string value) => IpText.TryParse(value.Trim(), out var address) ? address.ToString() : throw new FormatException($"IP address is not correctly formatted: {value}");

    private static string ExtraHost(string value)
    {
        var separator = value.IndexOf('=');
        if (separator < 0) separator = value.IndexOf(':');
        if (separator <= 0 || value[..separator].Contains(':')) throw new FormatException($"bad format for add-host: {GoText.Quote(value)}");
        var address = value[(separator + 1)..];
        if (address.StartsWith('[') && address.EndsWith(']')) address = address[1..^1];
        if (address != "host-gateway" && !IpText.TryParse(address, out _)) throw new FormatException($"invalid IP address in add-host: {GoText.Quote(address)}");
        return value[..separator] + ":" + address;
    }

    private static string DeviceCgroupRule(string value) => DeviceRule().IsMatch(value) ? value : throw new FormatException($"invalid device cgroup format '{value}'");

    private static string WeightDevice(string value)
    {
        CreateRequestBuilder.ParseWeightDevice(value);
        return value;
    }

    private static string ThrottleBytes(string value)
    {
        CreateRequestBuilder.ParseThrottle(value, bytes: true);
        return value;
    }

    private static string ThrottleOperations(string value)
    {
        CreateRequestBuilder.ParseThrottle(value, bytes: false);
        return value;
    }

    [GeneratedRegex(@"^[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}$")]
    private static partial Regex DeviceRule();
}
