using System.Text.Json;
using System.Text.Json.Nodes;
using Berth.Api;
using Berth.Engine;
using Berth.Linux.Cgroups;
using Berth.Runtime.Spec;
using Berth.Testing;

namespace Berth.Fast.Tests.Engine;

public class SpecCompilerTests
{
    private static readonly HostFacts Facts = new() { CgroupNamespaces = true, MaskedPaths = ["/proc/kcore"], ReadonlyPaths = ["/proc/sys"], Limits = new CgroupFeatures { OomKillDisable = true } };

    private static SpecInput Input(Action<ContainerConfig, HostConfig>? change = null, HostFacts? facts = null, EngineOptions? options = null)
    {
        var config = new ContainerConfig { Hostname = "0123456789ab", Env = ["A=1"], Labels = [] };
        var host = new HostConfig();
        change?.Invoke(config, host);
        facts ??= Facts;
        options ??= new EngineOptions();
        Validation.ApplyDefaults(host, facts, options);
        return new SpecInput
        {
            Container = new ContainerRecord
            {
                Id = new string('a', 64), Name = "name", Created = default, Path = "/bin/sh", Args = ["-c", "true"], ImageId = "", State = RunState.Created, Config = config, HostConfig = host,
            },
            Facts = facts, Options = options, User = new ResolvedUser(0, 0, "/root", [0, 10]),
        };
    }

    private static OciSpec Compile(Action<ContainerConfig, HostConfig> change) => SpecCompiler.Compile(Input(change));

    private static string Text(OciSpec spec) =>
        JsonNode.Parse(OciJson.Serialize(spec))!.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n";

    [Fact]
    public void A_container_without_options_gets_dockers_defaults()
    {
        var (expected, actual) = Golden.Read("spec-default.json", Text(SpecCompiler.Compile(Input())));
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void A_container_with_many_options()
    {
        var input = Input((config, host) =>
        {
            config.Tty = true;
            config.WorkingDir = "/work";
            host.ConsoleSize = [24, 80];
            host.Memory = 64 << 20;
            host.NanoCpus = 500_000_000;
            host.PidsLimit = 50;
            host.CapDrop = ["ALL"];
            host.CapAdd = ["NET_ADMIN"];
            host.SecurityOpt = ["no-new-privileges"];
            host.ReadonlyRootfs = true;
            host.Sysctls = new() { ["net.ipv4.ip_forward"] = "1" };
            host.Ulimits = [new Ulimit { Name = "nofile", Soft = 100, Hard = 200 }];
            host.OomScoreAdj = 7;
            host.ShmSize = 1 << 20;
            host.CgroupParent = "mine";
            host.BlkioDeviceReadBps = [new ThrottleDevice { Path = "/dev/sda", Rate = 1000 }];
        }) with
        {
            Mounts =
            [
                new SpecMount { Destination = "/data/inner", Source = "/srv/inner", ReadWrite = false, Propagation = "rprivate" },
                new SpecMount { Destination = "/data", Source = "/srv/data" },
                new SpecMount { Destination = "/run", TmpfsOptions = "size=1m,exec" },
            ],
            InitPath = "/run/berth/berth-init",
            BlockDevices = new Dictionary<string, (long, long)> { ["/dev/sda"] = (8, 0) },
            DeviceRules = [Devices.ParseRule("c 10:* rw")],
        };
        var (expected, actual) = Golden.Read("spec-options.json", Text(SpecCompiler.Compile(input)));
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void A_privileged_container_sees_and_may_everything()
    {
        var (expected, actual) = Golden.Read("spec-privileged.json", Text(Compile((_, host) =>
        {
            host.Privileged = true;
            // Which capabilities there are depends on the kernel under the test.
            host.CapDrop = ["ALL"];
        })));
        Assert.Equal(expected, actual);
    }

    [Theory]
    [InlineData("host", "private", "", "mount uts pid ipc")]
    [InlineData("none", "host", "", "mount network uts pid")]
    [InlineData("bridge", "none", "host", "mount network uts ipc")]
    public void Namespaces_follow_the_modes(string network, string ipc, string pid, string expected)
    {
        var spec = Compile((_, host) => (host.NetworkMode, host.IpcMode, host.PidMode) = (network, ipc, pid));
        Assert.Equal(expected, string.Join(' ', spec.Linux!.Namespaces!.Select(n => n.Type)));
    }

    [Fact]
    public void Cgroup_namespaces_are_private_on_v2_and_the_hosts_on_v1()
    {
        Assert.DoesNotContain(SpecCompiler.Compile(Input()).Linux!.Namespaces!, n => n.Type == OciNamespaceTypes.Cgroup);
        Assert.Contains(SpecCompiler.Compile(Input(facts: Facts with { CgroupV2 = true })).Linux!.Namespaces!, n => n.Type == OciNamespaceTypes.Cgroup);
    }

    [Fact]
    public void A_mount_on_dev_takes_the_place_of_everything_below_it()
    {
        var input = Input() with { Mounts = [new SpecMount { Destination = "/dev", Source = "/dev" }] };
        Assert.DoesNotContain(SpecCompiler.Compile(input).Mounts!, m => m.Destination.StartsWith("/dev/", StringComparison.Ordinal));
    }

    [Fact]
    public void An_outer_mount_comes_before_an_inner_one()
    {
        var input = Input() with
        {
            Mounts = [new SpecMount { Destination = "/a/b/c", Source = "/1" }, new SpecMount { Destination = "/a", Source = "/2" }, new SpecMount { Destination = "/a/b", Source = "/3" }],
        };
        Assert.Equal(["/a", "/a/b", "/a/b/c"], SpecCompiler.Compile(input).Mounts!.Select(m => m.Destination).Where(d => d.StartsWith("/a", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("/x", "../../etc", "/etc/ID")]
    [InlineData("/berth", "", "/berth/ID")]
    [InlineData("/berth", "a//b/", "/a/b/ID")]
    public void A_cgroup_parent_can_not_lead_above_the_root(string ours, string asked, string expected) =>
        Assert.Equal(expected, SpecCompiler.CgroupPath(new HostConfig { CgroupParent = asked }, new EngineOptions { CgroupParent = ours }, "ID"));

    [Theory]
    [InlineData("kernel.pid_max", "bridge", "private", "is not in a separate kernel namespace")]
    [InlineData("net.ipv4.ip_forward", "host", "private", "not allowed in host network namespace")]
    [InlineData("kernel.shmmax", "bridge", "host", "is not allowed in the hosts ipc namespace")]
    public void A_sysctl_of_a_namespace_that_is_not_the_containers_own_is_refused(string name, string network, string ipc, string expected)
    {
        var e = Assert.Throws<EngineException>(() => Compile((_, host) =>
        {
            (host.NetworkMode, host.IpcMode) = (network, ipc);
            host.Sysctls = new() { [name] = "1" };
        }));
        Assert.EndsWith($"sysctl \"{name}\" {expected}", e.Message);
    }

    [Fact]
    public void The_containers_variables_override_the_engines_and_a_bare_name_removes_one()
    {
        var config = new ContainerConfig { Hostname = "h", Env = ["PATH=/bin", "X=1", "HOSTNAME"] };
        Assert.Equal(["PATH=/bin", "TERM=xterm", "X=2", "Y=3", "HOME=/home/u"], SpecCompiler.Environment(config, tty: true, "/home/u", ["X=2", "Y=3"]));
    }

    [Theory]
    [InlineData("", "noexec nosuid nodev rprivate")]
    [InlineData("exec,size=1m", "nosuid nodev rprivate exec size=1m")]
    [InlineData("size=1m,size=2m", "noexec nosuid nodev rprivate size=2m")]
    public void Tmpfs_options_override_the_defaults_and_the_last_counts(string options, string expected) =>
        Assert.Equal(expected, string.Join(' ', MountParser.MergeTmpfs(options)));

    [Fact]
    public void An_unknown_tmpfs_option_is_refused() =>
        Assert.Equal("invalid tmpfs option \"foo\"", Assert.Throws<EngineException>(() => MountParser.MergeTmpfs("foo")).Message);
}
