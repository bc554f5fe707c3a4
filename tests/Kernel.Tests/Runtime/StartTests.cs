using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Runtime;
using Berth.Runtime.Spec;

namespace Berth.Kernel.Tests.Runtime;

/// <summary>What a container sees, feature by feature.</summary>
public sealed class StartTests
{
    [Fact]
    public void A_process_runs_and_its_output_and_exit_code_come_back()
    {
        using var container = new TestContainer();

        var output = container.Run("sh", "-c", "echo out; echo err >&2; exit 7");

        Assert.Equal(new Output("out\n", "err\n", 7), output);
    }

    [Fact]
    public void Mounts_are_Dockers()
    {
        using var container = new TestContainer();

        var mounts = container.Run("cat", "/proc/self/mountinfo").Lines.Select(line => line.Split(' ')).Select(f => $"{f[4]} {f[5]} {f[Array.IndexOf(f, "-") + 1]}").Order().ToList();

        Assert.Contains("/ rw,relatime overlay", mounts);
        Assert.Contains("/proc rw,nosuid,nodev,noexec,relatime proc", mounts);
        Assert.Contains("/dev rw,nosuid tmpfs", mounts);
        Assert.Contains("/dev/pts rw,nosuid,noexec,relatime devpts", mounts);
        Assert.Contains("/dev/mqueue rw,nosuid,nodev,noexec,relatime mqueue", mounts);
        Assert.Contains("/dev/shm rw,nosuid,nodev,noexec,relatime tmpfs", mounts);
        Assert.Contains("/sys ro,nosuid,nodev,noexec,relatime sysfs", mounts);
        Assert.Contains("/proc/sys ro,nosuid,nodev,noexec,relatime proc", mounts);
    }

    [Fact]
    public void No_mount_propagates_from_or_to_the_host()
    {
        using var container = new TestContainer();
        container.WithMount(new OciMount { Destination = "/data", Type = "bind", Source = container.Scratch, Options = ["rbind", "rprivate"] });

        var optional = container.Run("cat", "/proc/self/mountinfo").Lines.Select(line => line.Split(' ')[6]);

        Assert.All(optional, field => Assert.Equal("-", field));
    }

    [Fact]
    public void Devices_are_Dockers()
    {
        using var container = new TestContainer();

        var devices = container.Run("sh", "-c", "cd /dev; stat -c '%A %t:%T %N' * | sort").Lines;

        Assert.Contains("crw-rw-rw- 1:3 null", devices);
        Assert.Contains("crw-rw-rw- 1:5 zero", devices);
        Assert.Contains("crw-rw-rw- 1:7 full", devices);
        Assert.Contains("crw-rw-rw- 1:8 random", devices);
        Assert.Contains("crw-rw-rw- 1:9 urandom", devices);
        Assert.Contains("crw-rw-rw- 5:0 tty", devices);
        Assert.Contains(devices, line => line.EndsWith("'ptmx' -> 'pts/ptmx'", StringComparison.Ordinal));
        Assert.Contains(devices, line => line.EndsWith("'fd' -> '/proc/self/fd'", StringComparison.Ordinal));
        Assert.Equal(14, devices.Length);
    }

    [Fact]
    public void A_device_of_the_spec_has_its_mode_and_owner()
    {
        using var container = new TestContainer();
        container.WithLinux(linux => linux with { Devices = [new OciDevice("/dev/my/loop", "b", 7, 300, 0x1A0, 1000, 5), new OciDevice("/dev/zero", "c", 1, 5, 0x180)] });

        var output = container.Run("stat", "-c", "%A %t:%T %u:%g", "/dev/my/loop", "/dev/zero");

        Assert.Equal("brw-r----- 7:12c 1000:5\ncrw------- 1:5 0:0\n", output.Text);
    }

    [Fact]
    public void Nothing_but_stdio_is_inherited()
    {
        using var container = new TestContainer();

        var output = container.Run("sh", "-c", "exec ls /proc/self/fd");

        Assert.Equal("0\n1\n2\n3\n", output.Text); // 3 is ls's own view of the directory
    }

    [Fact]
    public void Signals_are_neither_blocked_nor_ignored()
    {
        using var container = new TestContainer();

        var status = container.Run("cat", "/proc/self/status");

        Assert.Equal("0000000000000000", status.Field("SigBlk"));
        Assert.Equal("0000000000000000", status.Field("SigIgn"));
    }

    [Fact]
    public void Pid_uts_ipc_and_network_namespaces_are_new()
    {
        using var container = new TestContainer();

        var output = container.Run("sh", "-c", "echo $$; hostname; for n in mnt pid uts ipc net; do readlink /proc/self/ns/$n; done; ls /sys/class/net");

        Assert.Equal("1", output.Lines[0]);
        Assert.Equal("a07a9d76686a", output.Lines[1]);
        var inside = output.Lines[2..7];
        var outside = ((string[])["mnt", "pid", "uts", "ipc", "net"]).Select(name => new FileInfo($"/proc/self/ns/{name}").LinkTarget);
        Assert.Empty(inside.Intersect(outside));
        Assert.Equal(["lo"], output.Lines[7..].Except(["bonding_masters"]));
    }

    [Fact]
    public void Namespaces_that_the_spec_does_not_name_stay_the_hosts()
    {
        using var container = new TestContainer();
        container.With(spec => spec with { Hostname = null });
        container.WithLinux(linux => linux with { Namespaces = [new("mount")], Sysctl = null });

        var output = container.Run("sh", "-c", "for n in pid uts ipc net; do readlink /proc/self/ns/$n; done");

        Assert.Equal(((string[])["pid", "uts", "ipc", "net"]).Select(name => new FileInfo($"/proc/self/ns/{name}").LinkTarget), output.Lines);
    }

    [Fact]
    public void Namespaces_of_another_container_are_joined_by_path()
    {
        using var first = new TestContainer();
        var pid = first.Start("sleep", "1000").Pid;
        using var second = new TestContainer();
        second.With(spec => spec with { Hostname = null });
        second.WithLinux(linux => linux with
        {
            Namespaces = [new("mount"), new("pid", $"/proc/{pid}/ns/pid"), new("ipc", $"/proc/{pid}/ns/ipc"), new("uts", $"/proc/{pid}/ns/uts"), new("network", $"/proc/{pid}/ns/net")],
        });

        var output = second.Run("sh", "-c", "hostname; for n in pid uts ipc net; do readlink /proc/self/ns/$n; done; ps -o args | grep -c '[s]leep 1000'");

        Assert.Equal("a07a9d76686a", output.Lines[0]);
        Assert.Equal(((string[])["pid", "uts", "ipc", "net"]).Select(name => new FileInfo($"/proc/{pid}/ns/{name}").LinkTarget), output.Lines[1..5]);
        Assert.Equal("1", output.Lines[5]);
    }

    [Fact]
    public void A_network_namespace_is_joined_by_descriptor()
    {
        using var first = new TestContainer();
        var pid = first.Start("sleep", "1000").Pid;
        using var second = new TestContainer();
        using var handle = File.OpenHandle($"/proc/{pid}/ns/net");
        second.NetworkNamespace = handle;

        var output = second.Run("readlink", "/proc/self/ns/net");

        Assert.Equal(new FileInfo($"/proc/{pid}/ns/net").LinkTarget, output.Text.Trim());
    }

    [Fact]
    public void Masked_files_are_empty_and_masked_directories_too()
    {
        using var container = new TestContainer();

        var output = container.Run("sh", "-c", "wc -c < /proc/interrupts; ls /sys/firmware | wc -l; touch /sys/firmware/x 2>&1; echo x > /proc/keys && echo written");

        Assert.Equal("0", output.Lines[0].Trim());
        Assert.Equal("0", output.Lines[1].Trim());
        Assert.Equal("touch: /sys/firmware/x: Read-only file system", output.Lines[2]);
        Assert.Equal("written", output.Lines[3]); // into the null device
    }

    [Fact]
    public void Read_only_paths_refuse_writes()
    {
        using var container = new TestContainer();

        var output = container.Run("sh", "-c", "echo x > /proc/sys/kernel/hostname");

        Assert.Contains("Read-only file system", output.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void Sysctls_are_written()
    {
        using var container = new TestContainer();
        container.WithLinux(linux => linux with { Sysctl = new Dictionary<string, string> { ["kernel.shm_rmid_forced"] = "1", ["net.ipv4.ip_unprivileged_port_start"] = "77" } });

        var output = container.Run("cat", "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/net/ipv4/ip_unprivileged_port_start");

        Assert.Equal("1\n77\n", output.Text);
    }

    [Fact]
    public void A_read_only_root_has_its_mount_points_and_refuses_writes()
    {
        using var container = new TestContainer();
        container.With(spec => spec with { Root = new OciRoot { Readonly = true } });
        container.WithMount(new OciMount { Destination = "/not/there/yet", Type = "tmpfs", Source = "tmpfs", Options = ["nosuid"] });

        var output = container.Run("sh", "-c", "touch /not/there/yet/x && echo tmpfs; touch /x");

        Assert.Equal("tmpfs\n", output.Text);
        Assert.Equal("touch: /x: Read-only file system\n", output.Errors);
    }

    [Fact]
    public void Writes_go_to_the_upper_directory()
    {
        using var container = new TestContainer();

        container.Run("sh", "-c", "echo hello > /etc/new; rm /etc/group");

        Assert.Equal("hello\n", File.ReadAllText(Path.Combine(container.Root.UpperDirectory, "etc/new")));
        Assert.Equal(Berth.Linux.Abi.FileKind.CharacterDevice, FileAt.Status(null, Path.Combine(container.Root.UpperDirectory, "etc/group")).Kind); // a whiteout
    }

    [Fact]
    public void A_hundred_layers_are_no_trouble()
    {
        using var container = new TestContainer();
        var layers = Enumerable.Range(0, 100).Select(i =>
        {
            var layer = Path.Combine(container.Scratch, $"layer-{i}-{new string('x', 100)}");
            Directory.CreateDirectory(layer);
            File.WriteAllText(Path.Combine(layer, "number"), $"{i}\n");
            return layer;
        });
        container.Root = container.Root with { LowerDirectories = [.. layers, .. container.Root.LowerDirectories] };

        Assert.Equal("0\n", container.Run("cat", "/number").Text);
    }

    [Fact]
    public void Binds_show_files_and_directories_of_the_host()
    {
        using var container = new TestContainer();
        Directory.CreateDirectory(Path.Combine(container.Scratch, "dir"));
        File.WriteAllText(Path.Combine(container.Scratch, "dir/file"), "content\n");
        container.WithMount(Bind(container, "dir", "/a/b/dir", "rbind", "rprivate"));
        container.WithMount(Bind(container, "dir/file", "/etc/config", "rbind", "rprivate"));

        var output = container.Run("sh", "-c", "cat /a/b/dir/file /etc/config; echo changed > /a/b/dir/file; cat /etc/config");

        Assert.Equal("content\ncontent\nchanged\n", output.Text);
    }

    [Fact]
    public void A_read_only_bind_refuses_writes()
    {
        using var container = new TestContainer();
        Directory.CreateDirectory(Path.Combine(container.Scratch, "dir"));
        container.WithMount(Bind(container, "dir", "/data", "rbind", "ro", "rprivate"));

        Assert.Equal("touch: /data/x: Read-only file system\n", container.Run("touch", "/data/x").Errors);
    }

    [Fact]
    public void A_shared_bind_keeps_its_peer_group()
    {
        using var container = new TestContainer();
        container.WithMount(Bind(container, "upper", "/data", "rbind", "rshared"));
        container.WithLinux(linux => linux with { RootfsPropagation = "shared" });

        var mounts = container.Run("cat", "/proc/self/mountinfo").Lines;

        Assert.Contains(mounts, line => line.Contains(" /data ", StringComparison.Ordinal) && line.Contains("shared:", StringComparison.Ordinal));
        Assert.Contains(mounts, line => line.Contains(" / / ", StringComparison.Ordinal) && line.Contains("shared:", StringComparison.Ordinal));
    }

    [Fact]
    public void A_tmpfs_has_its_options_and_a_copy_of_what_it_covers()
    {
        using var container = new TestContainer();
        container.AddFile("/var/lib/thing/file", "kept\n");
        container.WithMount(new OciMount { Destination = "/var/lib/thing", Type = "tmpfs", Source = "tmpfs", Options = ["noexec", "nosuid", "nodev", "size=1m", "tmpcopyup"] });
        container.WithMount(new OciMount { Destination = "/run", Type = "tmpfs", Source = "tmpfs", Options = ["mode=0700", "size=64k"] });

        var output = container.Run("sh", "-c", "cat /var/lib/thing/file; stat -c %a /run; df -k /run | tail -n1 | tr -s ' '");

        Assert.StartsWith("kept\n700\ntmpfs 64 ", output.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void The_working_directory_is_made()
    {
        using var container = new TestContainer();
        container.WithProcess(process => process with { Cwd = "/srv/new/place" });

        Assert.Equal("/srv/new/place\n", container.Run("pwd").Text);
    }

    [Fact]
    public void User_groups_and_umask_are_set()
    {
        using var container = new TestContainer();
        container.WithProcess(process => process with { User = new OciUser { Uid = 1000, Gid = 1001, AdditionalGids = [5, 77], Umask = 0x3F } });

        var output = container.Run("sh", "-c", "id -u; id -g; id -G; umask; echo $HOME; echo to-stdout > /dev/stdout");

        Assert.Equal(["1000", "1001", "1001 5 77", "0077", "/home", "to-stdout"], output.Lines);
    }

    [Fact]
    public void Limits_and_oom_score_are_set()
    {
        using var container = new TestContainer();
        container.WithProcess(process => process with { OomScoreAdj = 321, Rlimits = [new OciRlimit("RLIMIT_NOFILE", 2048, 1024), new OciRlimit("RLIMIT_CORE", 0, 0)] });

        var output = container.Run("sh", "-c", "cat /proc/self/oom_score_adj; ulimit -n; ulimit -H -n; ulimit -c");

        Assert.Equal("321\n1024\n2048\n0\n", output.Text);
    }

    [Fact]
    public void No_new_privileges_is_set_where_asked()
    {
        using var container = new TestContainer();
        container.WithProcess(process => process with { NoNewPrivileges = true });

        Assert.Equal("1", container.Run("cat", "/proc/self/status").Field("NoNewPrivs"));
    }

    [Fact]
    public void Capabilities_are_Dockers_and_those_of_another_user_are_none()
    {
        using var container = new TestContainer();
        using var other = new TestContainer();
        other.WithProcess(process => process with { User = new OciUser { Uid = 1000, Gid = 1000 }, Capabilities = process.Capabilities! with { Effective = [], Permitted = [] } });

        var root = container.Run("cat", "/proc/self/status");
        var user = other.Run("cat", "/proc/self/status");

        Assert.Equal(["0000000000000000", "00000000a80425fb", "00000000a80425fb", "00000000a80425fb", "0000000000000000"], Sets(root));
        Assert.Equal(["0000000000000000", "0000000000000000", "0000000000000000", "00000000a80425fb", "0000000000000000"], Sets(user));
    }

    [Fact]
    public void Ambient_capabilities_reach_another_users_process()
    {
        using var container = new TestContainer();
        string[] one = ["CAP_NET_BIND_SERVICE"];
        container.WithProcess(process => process with
        {
            User = new OciUser { Uid = 1000, Gid = 1000 },
            Capabilities = new OciCapabilities { Bounding = Specs.DockerCapabilities, Effective = one, Permitted = one, Inheritable = one, Ambient = one },
        });

        Assert.Equal(["0000000000000400", "0000000000000400", "0000000000000400", "00000000a80425fb", "0000000000000400"], Sets(container.Run("cat", "/proc/self/status")));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_filter_is_installed_with_and_without_new_privileges(bool noNewPrivileges)
    {
        using var container = new TestContainer();
        container.WithProcess(process => process with { User = new OciUser { Uid = 1000, Gid = 1000 }, NoNewPrivileges = noNewPrivileges, Capabilities = process.Capabilities! with { Effective = [], Permitted = [] } });
        // Nothing but what must come after the filter is allowed to the launcher; mkdir is refused to the program.
        container.WithLinux(linux => linux with
        {
            Seccomp = new OciSeccomp
            {
                DefaultAction = "SCMP_ACT_ALLOW",
                Architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                Syscalls =
                [
                    new() { Names = ["mkdir", "mkdirat"], Action = "SCMP_ACT_ERRNO", ErrnoRet = 95 },
                    new() { Names = ["faccessat2", "close_range", "setresuid", "setresgid", "setgroups", "openat2", "fchdir"], Action = "SCMP_ACT_KILL_PROCESS" },
                ],
            },
        });

        var output = container.Run("/bin/busybox", "mkdir", "/tmp/x");

        Assert.Equal(new Output("", "mkdir: can't create directory '/tmp/x': Operation not supported\n", 1), output);
    }

    [Fact]
    public void Dockers_default_filter_lets_a_container_start_and_exec()
    {
        using var container = new TestContainer();
        container.WithLinux(linux => linux with { Seccomp = Berth.Runtime.Seccomp.SeccompProfiles.Default(Specs.DockerCapabilities) });
        container.Start("sleep", "1000");

        var output = container.Exec("sh", "-c", "cat /proc/self/status; unshare -m true || mount -t tmpfs x /tmp");

        Assert.Equal("2", output.Field("Seccomp"));
        Assert.NotEqual(0, output.Code);
    }

    [Fact]
    public void The_process_is_in_its_cgroup_and_sees_it()
    {
        var host = Berth.Linux.Cgroups.CgroupHost.Detect();
        var cgroup = host.Create($"/berth-launch-test-{Environment.ProcessId}/x", Berth.Linux.Cgroups.CgroupLimits.None);
        try
        {
            using (var container = new TestContainer { Cgroup = cgroup })
            {
                container.Start("sleep", "1000");
                Assert.Equal([container.Started!.Pid], cgroup.Processes());

                var output = container.Exec("sh", "-c", "cat /proc/1/cgroup; ls /sys/fs/cgroup");

                Assert.All(output.Lines.Where(line => line.Contains(':') && !line.StartsWith("0::", StringComparison.Ordinal)), line => Assert.EndsWith(cgroup.Path, line, StringComparison.Ordinal));
                if (host.Version == Berth.Linux.Cgroups.CgroupVersion.V1) Assert.Contains("memory", output.Lines);
            }
        }
        finally
        {
            cgroup.Remove();
            host.RemoveEmpty($"/berth-launch-test-{Environment.ProcessId}");
        }
    }

    [Fact]
    public void A_volatile_overlay_can_be_mounted_again_whatever_the_next_one_is()
    {
        using var container = new TestContainer();
        foreach (var isVolatile in (ReadOnlySpan<bool>)[true, true, false, true])
        {
            using var mount = DetachedMount.Overlay(container.Root.LowerDirectories, container.Root.UpperDirectory, container.Root.WorkDirectory, 0, isVolatile);
            using var file = FileAt.Open(mount, $"written-{isVolatile}", OpenFlags.ReadWrite | OpenFlags.Create, 0x1A4);
            RandomAccess.Write(file, "x"u8, 0);
            RandomAccess.FlushToDisk(file);
        }
        Assert.True(File.Exists(Path.Combine(container.Root.UpperDirectory, "written-True")));
        Assert.True(File.Exists(Path.Combine(container.Root.UpperDirectory, "written-False")));
    }

    [Fact]
    public void An_overlay_is_mounted_without_lowerdir_plus_too()
    {
        using var container = new TestContainer();
        var layers = Enumerable.Range(0, 300).Select(i =>
        {
            var layer = Path.Combine(container.Scratch, $"layer-{i}-{new string('x', 60)}");
            Directory.CreateDirectory(layer);
            File.WriteAllText(Path.Combine(layer, $"file-{i}"), $"{i}\n");
            return layer;
        }).ToList();

        using var mount = DetachedMount.OverlayByMount(layers, container.Root.UpperDirectory, container.Root.WorkDirectory, 0);

        Assert.Equal(2ul, FileAt.Status(mount, "file-7").SizeBytes);
        Assert.Equal(4ul, FileAt.Status(mount, "file-299").SizeBytes);
    }

    [Fact]
    public void A_file_system_is_asked_for_an_option_and_not_believed_when_it_takes_any()
    {
        Assert.True(DetachedMount.Understands("tmpfs", "size", "4k"));
        Assert.False(DetachedMount.Understands("tmpfs", "lowerdir+", "/"));

        // ramfs takes whatever it is given, as overlay does before Linux 6.5 (and complains when it is mounted, too late to do otherwise).
        using (DetachedMount.Create("ramfs", "none", [new("lowerdir+", "/")], 0)) Assert.False(DetachedMount.Understands("ramfs", "lowerdir+", "/"));
    }

    private static string[] Sets(Output status) => [status.Field("CapInh"), status.Field("CapPrm"), status.Field("CapEff"), status.Field("CapBnd"), status.Field("CapAmb")];

    [Fact]
    public void A_terminal_is_the_containers_own()
    {
        using var container = new TestContainer();
        container.WithProcess(process => process with { Terminal = true, ConsoleSize = new OciConsoleSize(Height: 33, Width: 111), User = new OciUser { Uid = 1000, Gid = 1000 } });

        var output = container.Run("sh", "-c", "tty; stty size; readlink /proc/self/fd/2; test -c /dev/console && echo console; stat -c %u /dev/pts/0; echo > /dev/tty && echo controlling");

        Assert.Equal("/dev/pts/0\r\n33 111\r\n/dev/pts/0\r\nconsole\r\n1000\r\n\r\ncontrolling\r\n", output.Text);
    }

    [Fact]
    public void A_variable_given_twice_counts_once_and_home_is_the_users()
    {
        using var container = new TestContainer();
        container.WithProcess(process => process with { Env = [.. process.Env!, "A=1", "B=2", "A=3"] });

        var lines = container.Run("env").Lines;

        Assert.Contains("A=3", lines);
        Assert.DoesNotContain("A=1", lines);
        Assert.Contains("HOME=/root", lines);
    }

    [Fact]
    public void An_exec_sees_what_the_container_sees()
    {
        using var container = new TestContainer();
        container.Start("sleep", "1000");

        var output = container.Exec("sh", "-c", "readlink /proc/1/exe; for n in mnt net; do readlink /proc/1/ns/$n; readlink /proc/self/ns/$n; done; hostname; ls /proc/self/fd | wc -l; exit 3");

        Assert.Equal(3, output.Code);
        Assert.Equal("/bin/busybox", output.Lines[0]);
        Assert.Equal(output.Lines[1], output.Lines[2]);
        Assert.Equal(output.Lines[3], output.Lines[4]);
        Assert.Equal(["a07a9d76686a", "4"], output.Lines[5..]);
    }

    [Fact]
    public void An_exec_has_its_own_user_directory_and_environment()
    {
        using var container = new TestContainer();
        container.Start("sleep", "1000");

        var output = container.Exec(process => process with { User = new OciUser { Uid = 1000, Gid = 5 }, Cwd = "/tmp", Env = [.. process.Env!, "X=y"] }, "sh", "-c", "id -u; id -g; pwd; echo $X $HOME");

        Assert.Equal(["1000", "5", "/tmp", "y /home"], output.Lines);
    }

    [Fact]
    public void An_exec_with_a_terminal_uses_the_containers_devpts()
    {
        using var container = new TestContainer();
        container.Start("sleep", "1000");

        var output = container.Exec(process => process with { Terminal = true, ConsoleSize = new OciConsoleSize(10, 20) }, "sh", "-c", "tty; stty size; echo ok > /dev/tty");

        Assert.Equal("/dev/pts/0\r\n10 20\r\nok\r\n", output.Text);
    }

    [Fact]
    public void An_exec_into_a_container_that_has_ended_says_so()
    {
        using var container = new TestContainer();
        var started = container.Start("true");
        Descriptor.Poll(started.PidFd, Berth.Linux.Abi.PollEvents.Readable, -1);

        var exception = Assert.Throws<LaunchException>(() => container.Exec("true"));

        Assert.Equal(LaunchErrorKind.NoSuchContainer, exception.Kind);
    }

    private static OciMount Bind(TestContainer container, string source, string target, params string[] options) =>
        new() { Destination = target, Type = "bind", Source = Path.Combine(container.Scratch, source), Options = options };
}
