using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Every flag of `docker run` that the engine knows, each seen from inside the container.</summary>
public sealed class RunFlagsTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    // Flags, what runs in the container's shell, what it prints. Words of the flags are split at blanks.
    // What is expected here is what Docker Engine 28.5 printed.
    [Theory]
    // who and where
    [InlineData("--hostname deckhand", "hostname; cat /etc/hostname", "deckhand\ndeckhand\n")]
    [InlineData("--hostname deckhand --domainname harbour", "cat /proc/sys/kernel/domainname", "harbour\n")]
    [InlineData("--hostname deckhand --network none", "grep deckhand /etc/hosts | wc -l", "0\n")]
    [InlineData("--add-host light:192.0.2.1 --add-host house:192.0.2.2", "grep 192.0.2 /etc/hosts", "192.0.2.1\tlight\n192.0.2.2\thouse\n")]
    [InlineData("--dns 192.0.2.53 --dns-search harbour.test --dns-option ndots:3", "grep -v '^#' /etc/resolv.conf | grep .", "nameserver 192.0.2.53\nsearch harbour.test\noptions ndots:3\n")]
    [InlineData("-u 1000", "id", "uid=1000(alice) gid=1000(alice) groups=29(audio),1000(alice)\n")]
    [InlineData("-u 1000:29", "id", "uid=1000(alice) gid=29(audio) groups=29(audio)\n")]
    [InlineData("-u alice", "id; echo $HOME", "uid=1000(alice) gid=1000(alice) groups=29(audio),1000(alice)\n/home/alice\n")]
    [InlineData("-u 4711:4712", "id -u; id -g", "4711\n4712\n")]
    [InlineData("-u alice --group-add nogroup --group-add 77", "id -G", "1000 29 77 65534\n")]
    [InlineData("-w /tmp/new/dir", "pwd", "/tmp/new/dir\n")]
    [InlineData("-w /etc", "pwd", "/etc\n")]
    // environment
    [InlineData("-e A=1 -e B= -e C", "echo [$A] [$B] [${C-unset}]", "[1] [] [unset]\n")]
    [InlineData("-e PATH=/bin", "echo $PATH", "/bin\n")]
    [InlineData("", "echo $HOME $PATH; test -n \"$HOSTNAME\" && echo named", "/root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nnamed\n")]
    [InlineData("-t -e TERM=", "echo [$TERM]", "[]\r\n")]
    // namespaces
    [InlineData("", "echo $$", "1\n")]
    [InlineData("--network none", "ls /sys/class/net", "lo\n")]
    [InlineData("", "ls /sys/class/net | tr '\\n' ' '", "eth0 lo ")]
    [InlineData("--uts host", "test \"$(hostname)\" = \"$(cat /proc/sys/kernel/hostname)\" && echo same", "same\n")]
    [InlineData("--ipc none", "test -e /dev/shm || echo none", "none\n")]
    [InlineData("--pid host", "test $$ -ne 1 && echo shared", "shared\n")]
    // file systems
    [InlineData("--read-only", "touch /x 2>&1; touch /dev/shm/y && echo shm", "touch: /x: Read-only file system\nshm\n")]
    [InlineData("--tmpfs /scratch", "grep ' /scratch ' /proc/mounts | cut -d' ' -f3,4 | tr , '\\n' | grep -E 'tmpfs|^nosuid|^nodev|^noexec'", "tmpfs rw\nnosuid\nnodev\nnoexec\n")]
    [InlineData("--tmpfs /scratch:size=64k,mode=1770,exec", "df -k /scratch | tail -1 | awk '{print $2}'; stat -c %a /scratch; grep ' /scratch ' /proc/mounts | grep -c noexec", "64\n1770\n0\n")]
    [InlineData("--mount type=tmpfs,dst=/scratch,tmpfs-size=1048576,tmpfs-mode=0700", "df -k /scratch | tail -1 | awk '{print $2}'; stat -c %a /scratch", "1024\n700\n")]
    [InlineData("--shm-size 2m", "df -k /dev/shm | tail -1 | awk '{print $2}'", "2048\n")]
    [InlineData("", "df -k /dev/shm | tail -1 | awk '{print $2}'", "65536\n")]
    [InlineData("", "ls /dev | grep -v core | tr '\\n' ' '", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ")]
    [InlineData("", "(echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo read-only; ls /sys/firmware | wc -l", "read-only\n0\n")]
    [InlineData("-v /var/lib/data", "cat /var/lib/data/seed", "from the image\n")]
    // limits that are no cgroup's
    [InlineData("--ulimit nofile=100:200 --ulimit core=0", "ulimit -Sn; ulimit -Hn; ulimit -c", "100\n200\n0\n")]
    [InlineData("--oom-score-adj 321", "cat /proc/self/oom_score_adj", "321\n")]
    [InlineData("--sysctl net.ipv4.ip_unprivileged_port_start=99", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "99\n")]
    [InlineData("", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range", "0\n0\t2147483647\n")]
    [InlineData("--sysctl kernel.msgmax=9000", "cat /proc/sys/kernel/msgmax", "9000\n")]
    // privileges
    [InlineData("", "grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb\n")]
    [InlineData("--cap-drop ALL", "grep -E 'CapEff|CapBnd' /proc/self/status", "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n")]
    [InlineData("--cap-drop ALL --cap-add NET_BIND_SERVICE", "grep CapEff /proc/self/status", "CapEff:\t0000000000000400\n")]
    [InlineData("--cap-add SYS_TIME", "grep CapEff /proc/self/status", "CapEff:\t00000000aa0425fb\n")]
    [InlineData("-u 1000", "grep -E 'CapEff|CapBnd' /proc/self/status", "CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n")]
    [InlineData("", "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status", "NoNewPrivs:\t0\nSeccomp:\t2\n")]
    [InlineData("--security-opt no-new-privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n")]
    [InlineData("--security-opt seccomp=unconfined", "grep Seccomp: /proc/self/status", "Seccomp:\t0\n")]
    [InlineData("--privileged", "grep Seccomp: /proc/self/status; test -e /dev/loop-control && echo devices; mount -t tmpfs x /tmp && echo mounted", "Seccomp:\t0\ndevices\nmounted\n")]
    [InlineData("--security-opt systempaths=unconfined", "grep -c ' /proc/kcore ' /proc/mounts", "0\n")]
    [InlineData("--device /dev/fuse", "test -c /dev/fuse && exec 3<> /dev/fuse && echo opened", "opened\n")]
    [InlineData("--device /dev/null:/dev/hole:w", "echo x > /dev/hole && echo written", "written\n")]
    [InlineData("", "mknod /tmp/k c 1 11 && cat /tmp/k 2>&1", "cat: can't open '/tmp/k': Operation not permitted\n")]
    // process
    [InlineData("--entrypoint /bin/echo", "-n sh -c", "sh -c -n sh -c\n")]
    public async Task A_flag_of_run_has_its_effect_inside(string flags, string script, string output)
    {
        string[] command = flags.Contains("--entrypoint", StringComparison.Ordinal) ? ["sh", "-c", .. script.Split(' ')] : ["sh", "-c", script];
        var result = await _daemon.Docker(["run", "--rm", .. flags.Split(' ', StringSplitOptions.RemoveEmptyEntries), shared.Image, .. command]).MayFail();
        Assert.Equal(output, result.Output + result.Error);
    }

    [Theory]
    [InlineData("-m 64m", "memory", "memory.limit_in_bytes", "memory.max", "67108864")]
    [InlineData("-m 64m --memory-swap 128m", "memory", "memory.memsw.limit_in_bytes", "memory.swap.max", "134217728|67108864")]
    [InlineData("-m 64m --memory-reservation 32m", "memory", "memory.soft_limit_in_bytes", "memory.low", "33554432")]
    [InlineData("--cpus 0.5", "cpu", "cpu.cfs_quota_us", "cpu.max", "50000|50000 100000")]
    [InlineData("--cpu-period 50000 --cpu-quota 25000", "cpu", "cpu.cfs_period_us", "cpu.max", "50000|25000 50000")]
    [InlineData("--cpu-shares 512", "cpu", "cpu.shares", "cpu.weight", "512|20")]
    [InlineData("--cpuset-cpus 0", "cpuset", "cpuset.cpus", "cpuset.cpus", "0")]
    [InlineData("--pids-limit 42", "pids", "pids.max", "pids.max", "42")]
    [InlineData("--blkio-weight 300", "blkio", "blkio.weight|blkio.bfq.weight", "io.weight|io.bfq.weight", "300|default 300")]
    public async Task A_limit_reaches_the_containers_cgroup(string flags, string controller, string v1File, string v2File, string value)
    {
        var run = await _daemon.Docker(["run", "-d", .. flags.Split(' '), shared.Image, "sleep", "60"]);
        var id = run.Line;
        try
        {
            if (run.Error.Contains("Your kernel does not support Block I/O weight", StringComparison.Ordinal))
                Assert.Skip("the kernel has no I/O weight here, and Docker's warning says so");
            var directories = Berth.Testing.Host.CgroupDirectories($"{_daemon.CgroupParent}/{id}");
            Assert.NotEmpty(directories);
            var v1 = directories.Where(d => d.Split('/').Any(part => part.Split(',').Contains(controller))).ToList();
            var files = (v1.Count > 0 ? v1File : v2File).Split('|').SelectMany(f => (v1.Count > 0 ? v1 : directories).Select(d => Path.Combine(d, f))).Where(File.Exists).ToList();
            if (v1File.Contains("memsw", StringComparison.Ordinal) && files.Count == 0)
                Assert.Skip("the kernel does not account swap here");
            var values = value.Split('|');
            Assert.Equal(v1.Count > 0 ? values[0] : values[^1], File.ReadAllText(files[0]).Trim());
        }
        finally
        {
            await _daemon.Docker("rm", "-f", id);
        }
    }

    [Theory]
    [InlineData("--device-read-bps", "blkio.throttle.read_bps_device", "rbps=1048576", "1mb", "1048576")]
    [InlineData("--device-write-bps", "blkio.throttle.write_bps_device", "wbps=1048576", "1mb", "1048576")]
    [InlineData("--device-read-iops", "blkio.throttle.read_iops_device", "riops=100", "100", "100")]
    [InlineData("--device-write-iops", "blkio.throttle.write_iops_device", "wiops=100", "100", "100")]
    public async Task A_throttled_device_reaches_the_containers_cgroup(string flag, string v1File, string v2Value, string given, string value)
    {
        var device = Directory.EnumerateDirectories("/sys/block").Select(Path.GetFileName).FirstOrDefault(d => !d!.StartsWith("zram", StringComparison.Ordinal) && File.Exists($"/dev/{d}"));
        if (device is null)
            Assert.Skip("no block device here");
        var number = File.ReadAllText($"/sys/block/{device}/dev").Trim();
        var id = (await _daemon.Docker("run", "-d", flag, $"/dev/{device}:{given}", shared.Image, "sleep", "60")).Line;
        try
        {
            var directories = Berth.Testing.Host.CgroupDirectories($"{_daemon.CgroupParent}/{id}");
            var v1 = directories.Select(d => Path.Combine(d, v1File)).FirstOrDefault(File.Exists);
            var v2 = directories.Select(d => Path.Combine(d, "io.max")).FirstOrDefault(File.Exists);
            if (v1 is not null)
                Assert.Equal($"{number} {value}", File.ReadAllText(v1).Trim());
            else
                Assert.Contains(v2Value, File.ReadAllText(v2!));
        }
        finally
        {
            await _daemon.Docker("rm", "-f", id);
        }
    }

    [Fact]
    public async Task A_bind_mount_shows_the_hosts_files_and_can_be_read_only()
    {
        var directory = Directory.CreateDirectory(Path.Combine(_daemon.WorkDirectory, "bind")).FullName;
        await File.WriteAllTextAsync(Path.Combine(directory, "in"), "from the host\n");
        await _daemon.Docker("run", "--rm", "-v", $"{directory}:/data", shared.Image, "sh", "-c", "cat /data/in > /data/out");
        Assert.Equal("from the host\n", await File.ReadAllTextAsync(Path.Combine(directory, "out")));

        var refused = await _daemon.Docker("run", "--rm", "-v", $"{directory}:/data:ro", shared.Image, "touch", "/data/x").MayFail();
        Assert.Equal("touch: /data/x: Read-only file system\n", refused.Error);
        refused = await _daemon.Docker("run", "--rm", "--mount", $"type=bind,src={directory},dst=/data,readonly", shared.Image, "touch", "/data/x").MayFail();
        Assert.Equal("touch: /data/x: Read-only file system\n", refused.Error);

        // -v makes a missing source, --mount refuses it.
        await _daemon.Docker("run", "--rm", "-v", $"{directory}/made:/data", shared.Image, "true");
        Assert.True(Directory.Exists(Path.Combine(directory, "made")));
        var missing = await _daemon.Docker("run", "--rm", "--mount", $"type=bind,src={directory}/nope,dst=/data", shared.Image, "true").MayFail();
        Assert.Equal(125, missing.ExitCode);
        Assert.Contains($"invalid mount config for type \"bind\": bind source path does not exist: {directory}/nope", missing.Error);
    }

    [Fact]
    public async Task A_bind_mount_may_be_a_single_file()
    {
        var file = Path.Combine(_daemon.WorkDirectory, "file");
        await File.WriteAllTextAsync(file, "single\n");
        var result = await _daemon.Docker("run", "--rm", "-v", $"{file}:/etc/deep/down/file", shared.Image, "cat", "/etc/deep/down/file");
        Assert.Equal("single\n", result.Output);
    }

    [Fact]
    public async Task A_named_volume_outlives_its_container_and_begins_with_what_the_image_has_there()
    {
        await _daemon.Docker("run", "--rm", "-v", "vol1:/var/lib/data", shared.Image, "sh", "-c", "cat /var/lib/data/seed; echo more > /var/lib/data/more");
        var result = await _daemon.Docker("run", "--rm", "--mount", "type=volume,src=vol1,dst=/x", shared.Image, "sh", "-c", "cat /x/seed /x/more");
        Assert.Equal("from the image\nmore\n", result.Output);
        result = await _daemon.Docker("run", "--rm", "-v", "vol1:/x:ro", shared.Image, "touch", "/x/y").MayFail();
        Assert.Equal("touch: /x/y: Read-only file system\n", result.Error);
        await _daemon.Docker("volume", "rm", "vol1");
    }

    [Fact]
    public async Task Env_files_cid_files_labels_and_names_do_what_they_say()
    {
        var envFile = Path.Combine(_daemon.WorkDirectory, "env");
        var cidFile = Path.Combine(_daemon.WorkDirectory, "cid");
        await File.WriteAllTextAsync(envFile, "# comment\nA=from file\nB=2\n");
        var result = await _daemon.Docker("run", "--name", "flags-1", "--cidfile", cidFile, "--env-file", envFile, "-e", "B=3", "--label", "a=b", "--label", "c", shared.Image, "sh", "-c", "echo $A $B");
        Assert.Equal("from file 3\n", result.Output);
        var inspect = await _daemon.Docker("inspect", "--format", "{{.Id}} {{.Name}} {{json .Config.Labels}}", "flags-1");
        Assert.Equal(await File.ReadAllTextAsync(cidFile) + " /flags-1 {\"a\":\"b\",\"c\":\"\"}", inspect.Line);
        await _daemon.Docker("rm", "flags-1");
    }

    [Fact]
    public async Task Namespaces_of_another_container_are_joined()
    {
        await _daemon.Docker("run", "-d", "--name", "ns-1", "--ipc", "shareable", shared.Image, "sleep", "60");
        var own = await _daemon.Docker("exec", "ns-1", "sh", "-c", "for n in net ipc pid; do readlink /proc/1/ns/$n; done");
        var joined = await _daemon.Docker("run", "--rm", "--network", "container:ns-1", "--ipc", "container:ns-1", "--pid", "container:ns-1", shared.Image,
            "sh", "-c", "for n in net ipc pid; do readlink /proc/self/ns/$n; done");
        Assert.Equal(own.Output, joined.Output);
        await _daemon.Docker("rm", "-f", "ns-1");
    }

    [Fact]
    public async Task Host_namespaces_are_the_machines()
    {
        var result = await _daemon.Docker("run", "--rm", "--network", "host", "--pid", "host", "--ipc", "host", "--uts", "host", shared.Image,
            "sh", "-c", "for n in net pid ipc uts; do readlink /proc/self/ns/$n; done");
        var own = string.Join('\n', ((string[])["net", "pid", "ipc", "uts"]).Select(n => new FileInfo($"/proc/self/ns/{n}").LinkTarget)) + "\n";
        Assert.Equal(own, result.Output);
    }

    [Fact]
    public async Task A_cgroup_parent_of_ones_own_is_used()
    {
        var parent = $"{_daemon.CgroupParent}/own/parent";
        var id = (await _daemon.Docker("run", "-d", "--cgroup-parent", parent, shared.Image, "sleep", "60")).Line;
        Assert.NotEmpty(Berth.Testing.Host.CgroupDirectories($"{parent}/{id}"));
        var second = (await _daemon.Docker("create", "--cgroup-parent", parent, shared.Image, "sleep", "60")).Line;
        await _daemon.Docker("rm", "-f", id);
        Assert.NotEmpty(Berth.Testing.Host.CgroupDirectories(parent)); // somebody else wants it
        await _daemon.Docker("rm", second);
        Assert.Empty(Berth.Testing.Host.CgroupDirectories($"{_daemon.CgroupParent}/own"));
    }

    [Fact]
    public async Task A_cgroup_parent_that_was_there_before_stays()
    {
        var parent = $"{_daemon.CgroupParent}-users";
        var memory = Path.Combine(Directory.Exists("/sys/fs/cgroup/memory") ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup", parent.TrimStart('/'));
        Directory.CreateDirectory(memory);
        try
        {
            await _daemon.Docker("run", "--rm", "--cgroup-parent", parent + "/below", shared.Image, "true");
            Assert.Equal([memory], Berth.Testing.Host.CgroupDirectories(parent));
        }
        finally
        {
            Directory.Delete(memory);
        }
    }

    [Fact]
    public async Task A_seccomp_profile_from_a_file_is_applied()
    {
        var profile = Path.Combine(_daemon.WorkDirectory, "seccomp.json");
        await File.WriteAllTextAsync(profile, """{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}""");
        var result = await _daemon.Docker("run", "--rm", "--security-opt", $"seccomp={profile}", shared.Image, "sh", "-c", "mkdir /x; echo went on").MayFail();
        Assert.Equal("went on\n", result.Output);
        Assert.Equal("mkdir: can't create directory '/x': Operation not permitted\n", result.Error);
    }

    [Fact]
    public async Task An_init_reaps_orphans_and_passes_signals_on()
    {
        var result = await _daemon.Docker("run", "--rm", "--init", shared.Image, "sh", "-c", "echo $$; (sleep 0.05 &) ; sleep 0.3; ps -o stat,comm | grep -c '^Z'; cat /proc/1/comm").MayFail();
        Assert.SkipWhen(result.Error.Contains("executable", StringComparison.Ordinal) && result.ExitCode == 125, "no init binary (tini) on this machine");
        Assert.NotEqual("1", result.Lines[0]);
        Assert.Equal("0", result.Lines[1]);
    }

    [Fact]
    public async Task Memory_beyond_the_limit_is_an_oom_kill()
    {
        var result = await _daemon.Docker("run", "--name", "oom-1", "-m", "16m", "--memory-swap", "16m", shared.Image, "sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1").MayFail();
        Assert.Equal(137, result.ExitCode);
        Assert.Equal("true 137", (await _daemon.Docker("inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", "oom-1")).Line);
        await _daemon.Docker("rm", "oom-1");
    }

    [Fact]
    public async Task A_process_killed_for_want_of_memory_is_told_while_the_container_goes_on()
    {
        using var events = _daemon.Docker("events", "--since", DateTimeOffset.UtcNow.ToUnixTimeSeconds().ToString(System.Globalization.CultureInfo.InvariantCulture), "--filter", "container=oom-2", "--filter", "event=oom", "--filter", "event=die", "--format", "{{.Action}}").Start();
        await _daemon.Docker("run", "-d", "--name", "oom-2", "-m", "16m", "--memory-swap", "16m", shared.Image, "sleep", "600");
        Assert.Equal("false", (await _daemon.Docker("inspect", "--format", "{{.State.OOMKilled}}", "oom-2")).Line);
        Assert.Equal(137, (await _daemon.Docker("exec", "oom-2", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1").MayFail()).ExitCode);
        await events.OutputAsync("oom\n");
        Assert.Equal("true running", (await _daemon.Docker("inspect", "--format", "{{.State.OOMKilled}} {{.State.Status}}", "oom-2")).Line);
        await _daemon.Docker("restart", "-t", "0", "oom-2");
        Assert.Equal("false", (await _daemon.Docker("inspect", "--format", "{{.State.OOMKilled}}", "oom-2")).Line);
        await events.OutputAsync("oom\ndie\n"); // once
        await _daemon.Docker("rm", "-f", "oom-2");
    }

    [Fact]
    public async Task Processes_beyond_the_limit_are_not_made()
    {
        var result = await _daemon.Docker("run", "--rm", "--pids-limit", "5", shared.Image, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait").MayFail();
        Assert.Contains("can't fork", result.Error);
    }
}
