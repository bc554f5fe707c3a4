using System.Runtime.CompilerServices;
using System.Text;
using Berth.Linux.Cgroups;
using Berth.Runtime;
using Berth.Runtime.Launching;
using Berth.Runtime.Spec;
using Berth.Testing;

namespace Berth.Fast.Tests.Runtime;

public sealed class LaunchPlanTests
{
    private static readonly RootFilesystem Root = new(["/layers/top", "/layers/base"], "/c/upper", "/c/work");

    private static readonly IReadOnlyList<CgroupHierarchy> V1 =
    [
        new(9, "systemd", ["name=systemd"], "/sys/fs/cgroup/systemd", "/"), new(4, "memory", ["memory"], "/sys/fs/cgroup/memory", "/"),
        new(1, "cpu,cpuacct", ["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct", "/"), new(0, "unified", [], "/sys/fs/cgroup/unified", "/"),
    ];

    private static readonly IReadOnlyList<CgroupHierarchy> V2 = [new(0, "cgroup", ["memory", "pids"], "/sys/fs/cgroup", "/")];

    // docker-config.json is what dockerd 28.5 hands to runc for `docker run -it alpine sleep 1000`.
    [Fact]
    public void A_container_of_docker_run_on_cgroup_v1() => Check("LaunchPlanDockerRunV1.txt", LaunchPlan.For(DockerRun(), Root, hasNetworkNamespace: false, "/docker/x", V1).ToString());

    [Fact]
    public void A_container_of_docker_run_on_cgroup_v2_with_a_given_network()
    {
        var spec = DockerRun();
        spec = spec with { Linux = spec.Linux! with { Namespaces = [.. spec.Linux.Namespaces!, new(OciNamespaceTypes.Cgroup)] } };
        Check("LaunchPlanDockerRunV2.txt", LaunchPlan.For(spec, Root, hasNetworkNamespace: true, "/docker/x", V2).ToString());
    }

    [Fact]
    public void A_privileged_container_with_shared_namespaces()
    {
        var spec = DockerRun();
        spec = spec with
        {
            Hostname = null,
            Root = new OciRoot { Readonly = true },
            Process = spec.Process! with { Terminal = false, Cwd = "/srv", User = new OciUser { Uid = 1000, Gid = 1000, Umask = 63 }, NoNewPrivileges = true, Rlimits = [new("RLIMIT_NOFILE", 20, 10)] },
            Mounts =
            [
                .. spec.Mounts!.Where(m => m.Type != "bind" && m.Destination is not "/sys/fs/cgroup"),
                new() { Destination = "/sys/fs/cgroup", Type = "cgroup", Source = "cgroup", Options = ["rw", "nosuid", "noexec", "nodev"] },
                new() { Destination = "/data", Type = "bind", Source = "/srv/data", Options = ["rbind", "ro", "rro", "rshared"] },
                new() { Destination = "/run", Type = "tmpfs", Source = "tmpfs", Options = ["ro", "nosuid", "tmpcopyup", "size=1m"] },
            ],
            Linux = new OciLinux
            {
                Namespaces = [new("mount"), new("pid", "/proc/7/ns/pid"), new("ipc", "/proc/7/ns/ipc"), new("network", "/proc/7/ns/net")],
                Devices = [new("/dev/sda", "b", 8, 0, 0x1B0, 0, 6), new("/dev/null", "c", 1, 3, 0x1B6)],
                RootfsPropagation = "rshared",
            },
        };
        Check("LaunchPlanPrivileged.txt", LaunchPlan.For(spec, Root, hasNetworkNamespace: false, "/docker/x", V1).ToString());
    }

    [Fact]
    public void An_exec()
    {
        var spec = DockerRun();
        Check("ExecPlan.txt", ExecPlan.For(spec.Process! with { Args = ["/bin/sh", "-c", "id"], Cwd = "/tmp" }, spec, "/docker/x").ToString());
    }

    [Theory]
    [InlineData("/a//b/./c/", "/a/b/c")]
    [InlineData("/../../etc/../dev", "/dev")]
    [InlineData("relative", "/relative")]
    [InlineData("/..", "/")]
    public void Targets_are_cleaned_of_dots_and_stay_inside(string path, string expected) => Assert.Equal(expected, LaunchPlan.Normalize(path));

    [Fact]
    public void The_path_of_the_spec_is_searched_and_not_ours() =>
        Assert.Equal(["/x/tool", "/y/tool"], LaunchPlan.Candidates("tool", ["PATH=/a", "HOME=/", "PATH=/x/:/y"]));

    [Theory]
    [InlineData("user")]
    [InlineData("time")]
    [InlineData("nonsense")]
    public void A_namespace_that_we_do_not_have_is_refused(string type)
    {
        var spec = DockerRun();
        spec = spec with { Linux = spec.Linux! with { Namespaces = [new("mount"), new(type)] } };

        var exception = Assert.Throws<LaunchException>(() => LaunchPlan.For(spec, Root, false, "/x", V1));

        Assert.Equal(LaunchErrorKind.InvalidSpec, exception.Kind);
        Assert.Contains(type, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_config_read_and_written_again_stays_the_same()
    {
        var first = OciJson.Serialize(DockerRun());
        var second = OciJson.Serialize(OciJson.ParseSpec(first));

        Assert.Equal(Encoding.UTF8.GetString(first), Encoding.UTF8.GetString(second));
        Assert.Contains("\"ociVersion\":\"1.2.1\"", Encoding.UTF8.GetString(first), StringComparison.Ordinal);
        Assert.DoesNotContain("null", Encoding.UTF8.GetString(first).Replace("/dev/null", "", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    private static OciSpec DockerRun([CallerFilePath] string here = "") => OciJson.ParseSpec(File.ReadAllBytes(Path.Combine(Path.GetDirectoryName(here)!, "testdata/docker-config.json")));

    private static void Check(string name, string actual)
    {
        var (expected, got) = Golden.Read(name, actual);
        Assert.Equal(expected, got);
    }
}
