using Berth.Api;
using Berth.Engine;
using Berth.Linux.Cgroups;

namespace Berth.Fast.Tests.Engine;

public class ValidationTests
{
    private static readonly HostFacts Facts = new()
    {
        Limits = new CgroupFeatures
        {
            MemoryLimit = true, SwapLimit = true, MemoryReservation = true, OomKillDisable = true, MemorySwappiness = true, CpuShares = true, CpuCfs = true, Cpuset = true, Cpus = "0-1", Mems = "0",
            PidsLimit = true, BlkioWeight = true, BlkioThrottle = true,
        },
        CgroupNamespaces = true, IPv4Forwarding = true, ProcessorCount = 2,
    };

    private static List<string> Check(Action<ContainerConfig, HostConfig> change, HostFacts? facts = null)
    {
        var (config, host) = (new ContainerConfig(), new HostConfig());
        change(config, host);
        return Validation.Check(config, host, facts ?? Facts, new EngineOptions());
    }

    public static TheoryData<string, Action<ContainerConfig, HostConfig>> Refused => new()
    {
        { "Minimum memory limit allowed is 6MB", (_, h) => h.Memory = 1 << 20 },
        { "Minimum memoryswap limit should be larger than memory limit, see usage", (_, h) => (h.Memory, h.MemorySwap) = (20 << 20, 10 << 20) },
        { "You should always set the Memory limit when using Memoryswap limit, see usage", (_, h) => h.MemorySwap = 10 << 20 },
        { "Minimum memory limit can not be less than memory reservation limit, see usage", (_, h) => (h.Memory, h.MemoryReservation) = (10 << 20, 20 << 20) },
        { "Conflicting options: Nano CPUs and CPU Period cannot both be set", (_, h) => (h.NanoCpus, h.CpuPeriod) = (1, 1000) },
        { "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available", (_, h) => h.NanoCpus = 3_000_000_000 },
        { "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)", (_, h) => h.CpuPeriod = 1 },
        { "CPU cfs quota can not be less than 1ms (i.e. 1000)", (_, h) => h.CpuQuota = 1 },
        { "Requested CPUs are not available - requested 99, available: 0-1", (_, h) => h.CpusetCpus = "99" },
        { "Invalid value 1- for cpuset cpus: invalid format: 1-", (_, h) => h.CpusetCpus = "1-" },
        { "Range of blkio weight is from 10 to 1000", (_, h) => h.BlkioWeight = 5 },
        { "invalid IPC mode: bad", (_, h) => h.IpcMode = "bad" },
        { "invalid PID mode: container:", (_, h) => h.PidMode = "container:" },
        { "invalid UTS mode: x", (_, h) => h.UTSMode = "x" },
        { "SHM size can not be less than 0", (_, h) => h.ShmSize = -1 },
        { "Invalid value 1001, range for oom score adj is [-1000, 1000]", (_, h) => h.OomScoreAdj = 1001 },
        { "unknown or invalid runtime name: nosuch", (_, h) => h.Runtime = "nosuch" },
        { "invalid cgroup namespace mode: x", (_, h) => h.CgroupnsMode = "x" },
        { "can't create 'AutoRemove' container with restart policy", (_, h) => (h.AutoRemove, h.RestartPolicy) = (true, new RestartPolicy { Name = "always" }) },
        { "invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", (_, h) => h.RestartPolicy = new RestartPolicy { Name = "x" } },
        { "invalid restart policy: maximum retry count can only be used with 'on-failure'", (_, h) => h.RestartPolicy = new RestartPolicy { Name = "always", MaximumRetryCount = 1 } },
        { "bad format for add-host: \"x\"", (_, h) => h.ExtraHosts = ["x"] },
        { "invalid IP address in add-host: \"x\"", (_, h) => h.ExtraHosts = ["a:x"] },
        { "invalid port specification: \"http\"", (_, h) => h.PortBindings = new() { ["http/tcp"] = [] } },
        { "invalid port specification: \"x\"", (_, h) => h.PortBindings = new() { ["80/tcp"] = [new PortBinding { HostPort = "x" }] } },
        { "conflicting options: hostname and the network mode", (c, h) => (c.Hostname, h.NetworkMode) = ("h", "container:x") },
        { "conflicting options: port publishing and the container type network mode", (_, h) => (h.PublishAllPorts, h.NetworkMode) = (true, "container:x") },
        { "conflicting options: hostname and the UTS mode", (c, h) => (c.Hostname, h.UTSMode) = ("h", "host") },
        { "invalid network mode: invalid container format container:<name|id>", (_, h) => h.NetworkMode = "container:" },
        { "the working directory 'x' is invalid, it needs to be an absolute path", (c, _) => c.WorkingDir = "x" },
        { "invalid signal: FOO", (c, _) => c.StopSignal = "FOO" },
        { "invalid environment variable: =x", (c, _) => c.Env = ["=x"] },
        { "Interval in Healthcheck cannot be less than 1ms", (c, _) => c.Healthcheck = new HealthConfig { Interval = 5 } },
        { "invalid mount config for type \"bind\": bind source path does not exist: /nosuch/path", (_, h) => h.Mounts = [new Mount { Type = "bind", Source = "/nosuch/path", Target = "/x" }] },
        { "invalid mount config for type \"bind\": field Source must not be empty", (_, h) => h.Mounts = [new Mount { Type = "bind", Target = "/x" }] },
        { "invalid mount config for type \"volume\": invalid mount path: 'x' mount path must be absolute", (_, h) => h.Mounts = [new Mount { Type = "volume", Target = "x" }] },
        { "invalid mount config for type \"tmpfs\": invalid specification: destination can't be '/'", (_, h) => h.Mounts = [new Mount { Type = "tmpfs", Target = "/" }] },
        { "invalid mount config for type \"x\": mount type unknown", (_, h) => h.Mounts = [new Mount { Type = "x", Target = "/x" }] },
        { "kernel does not support CPU real-time scheduler", (_, h) => h.CpuRealtimePeriod = 1 },
        { "invalid CPU shares (-1): value must be a positive integer", (_, h) => h.CpuShares = -1 },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void A_bad_request_is_refused_in_dockers_words(string message, Action<ContainerConfig, HostConfig> change)
    {
        var e = Assert.Throws<EngineException>(() => Check(change));
        Assert.Equal((ErrorKind.InvalidParameter, message), (e.Kind, e.Message));
    }

    [Fact]
    public void A_limit_the_kernel_lacks_is_dropped_with_a_warning()
    {
        var host = new HostConfig { BlkioWeight = 100, Memory = 20 << 20 };
        var warnings = Validation.Check(new ContainerConfig(), host, Facts with { Limits = Facts.Limits with { BlkioWeight = false, SwapLimit = false } }, new EngineOptions());
        Assert.Equal(["Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."], warnings);
        Assert.Equal((0, -1L), (host.BlkioWeight, host.MemorySwap));
    }

    [Fact]
    public void Swap_is_twice_the_memory_unless_told() => Assert.Equal(40L << 20, Defaults(new HostConfig { Memory = 20 << 20 }).MemorySwap);

    private static HostConfig Defaults(HostConfig host)
    {
        Validation.ApplyDefaults(host, Facts, new EngineOptions());
        return host;
    }

    [Theory]
    [InlineData("/a/../b//c/.", "/b/c")]
    [InlineData("/..", "/")]
    public void Paths_are_cleaned_without_looking_at_the_disk(string path, string expected) => Assert.Equal(expected, Validation.CleanPath(path));

    [Theory]
    [InlineData("/host:/c", "bind /host /c rw rprivate")]
    [InlineData("/host:/c:ro,rslave", "bind /host /c ro rslave")]
    [InlineData("name:/c", "volume name /c rw ")]
    [InlineData("/c", "volume  /c rw ")]
    public void A_volume_text_is_read_as_docker_reads_it(string text, string expected)
    {
        var m = MountParser.ParseVolume(text, "").Record;
        Assert.Equal(expected, $"{m.Type} {(m.Type == "bind" ? m.Source : m.Name)} {m.Destination} {(m.ReadWrite ? "rw" : "ro")} {m.Propagation}");
    }

    [Theory]
    [InlineData("/h:/c:bad", "invalid mode: bad")]
    [InlineData("/c:ro", "invalid volume specification: '/c:ro'")]
    [InlineData("a:b:c:d", "invalid volume specification: 'a:b:c:d'")]
    [InlineData("/h:c", "invalid volume specification: '/h:c': invalid mount config for type \"bind\": invalid mount path: 'c' mount path must be absolute")]
    public void A_bad_volume_text_is_refused(string text, string message) => Assert.Equal(message, Assert.Throws<EngineException>(() => MountParser.ParseVolume(text, "")).Message);

    [Fact]
    public void A_nocopy_volume_does_not_copy()
    {
        Assert.False(MountParser.ParseVolume("name:/c:nocopy", "").Copy);
        Assert.True(MountParser.ParseVolume("name:/c", "").Copy);
    }

    [Fact]
    public void Without_a_command_from_either_side_there_is_nothing_to_run() =>
        Assert.Equal("no command specified", Assert.Throws<EngineException>(() => ImageDefaults.Merge(new ContainerConfig(), null)).Message);

    [Fact]
    public void The_images_settings_fill_in_what_the_request_leaves_open()
    {
        var config = new ContainerConfig { Env = ["A=mine"], Cmd = ["x"] };
        ImageDefaults.Merge(config, new Berth.Images.ContainerConfig
        {
            Env = ["A=image", "B=image"], Entrypoint = ["/entry"], Cmd = ["ignored"], User = "u", WorkingDir = "/w", StopSignal = "INT", Labels = new Dictionary<string, string> { ["l"] = "v" },
        });
        Assert.Equal(["A=mine", "B=image"], config.Env!);
        Assert.Equal(("/entry x", "u", "/w", "INT", "v"), (string.Join(' ', [.. config.Entrypoint!, .. config.Cmd!]), config.User, config.WorkingDir, config.StopSignal!, config.Labels!["l"]));
    }

    [Fact]
    public void Ports_and_volumes_of_the_image_are_added_to_the_requests()
    {
        var image = new Berth.Images.ContainerConfig
        {
            Cmd = ["x"], ExposedPorts = new Dictionary<string, Berth.Images.EmptyObject> { ["80/tcp"] = Berth.Images.EmptyObject.Value }, Volumes = new Dictionary<string, Berth.Images.EmptyObject> { ["/data"] = Berth.Images.EmptyObject.Value },
        };
        var none = new ContainerConfig();
        ImageDefaults.Merge(none, image);
        Assert.Equal(["80/tcp"], none.ExposedPorts!);
        Assert.Equal(["/data"], none.Volumes!);
        var some = new ContainerConfig { ExposedPorts = ["99/udp"], Volumes = ["/own"] };
        ImageDefaults.Merge(some, image);
        Assert.Equal(["80/tcp", "99/udp"], some.ExposedPorts!);
        Assert.Equal(["/data", "/own"], some.Volumes!);
    }

    [Fact]
    public void An_entrypoint_of_its_own_drops_the_images_command()
    {
        var config = new ContainerConfig { Entrypoint = ["/mine"] };
        ImageDefaults.Merge(config, new Berth.Images.ContainerConfig { Entrypoint = ["/entry"], Cmd = ["cmd"] });
        Assert.Equal("/mine", ImageDefaults.CommandOf(config).Path);
        Assert.Null(config.Cmd);
    }

    [Fact]
    public void An_empty_entrypoint_text_means_none()
    {
        var config = new ContainerConfig { Entrypoint = [""], Cmd = ["x"] };
        ImageDefaults.Merge(config, new Berth.Images.ContainerConfig { Entrypoint = ["/entry"] });
        Assert.Null(config.Entrypoint);
    }

    [Theory]
    [InlineData("10m", true, 10_000_000)]
    [InlineData("1k", true, 1000)]
    [InlineData("5", true, 5)]
    [InlineData("1.5kb", true, 1500)]
    [InlineData("2mib", true, 2_000_000)]
    [InlineData("x", false, 0)]
    [InlineData("10q", false, 0)]
    public void Log_sizes_are_decimal(string text, bool ok, long bytes) => Assert.Equal((ok, ok ? bytes : 0), (GoText.TryParseSize(text, out var b), ok ? b : 0));
}
