using System.Net.Sockets;
using Berth.Linux;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>The daemon as a process: its socket, its locks, its end and its next beginning; a full disk.</summary>
public sealed class DaemonTests
{
    [Fact]
    public async Task Containers_and_their_output_outlive_a_daemon_that_is_told_to_end()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("run", "-d", "--name", "survivor", image, "sh", "-c", "i=0; while [ $i -lt 60 ]; do echo $i; i=$((i+1)); usleep 20000; done; exit 6");
        using (var follow = daemon.Docker("logs", "-f", "survivor").MayFail().Start())
        {
            await follow.OutputAsync("3\n");
            Assert.Equal(0, await daemon.StopAsync());
            await follow.WaitAsync(); // a stream does not hold the daemon up
        }
        Assert.False(File.Exists(daemon.SocketPath));
        await daemon.RestartAsync();
        Assert.Equal("6", (await daemon.Docker("wait", "survivor")).Line);
        Assert.Equal(string.Concat(Enumerable.Range(0, 60).Select(n => $"{n}\n")), (await daemon.Docker("logs", "survivor")).Output);
    }

    [Fact]
    public async Task A_machine_that_goes_down_ends_the_containers_and_the_next_start_brings_back_who_asks_for_it()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("run", "-d", "--name", "once", image, "sh", "-c", "trap 'exit 4' TERM; sleep 600 & wait");
        await daemon.Docker("run", "-d", "--name", "service", "--restart", "unless-stopped", image, "sh", "-c", "trap 'exit 5' TERM; sleep 600 & wait");
        await daemon.StopAsync();
        Assert.NotNull(daemon.MonitorPid); // an ordinary stop leaves them alone

        var systemctl = Path.Combine(daemon.WorkDirectory, "systemctl");
        File.WriteAllText(systemctl, "#!/bin/sh\n[ \"$*\" = is-system-running ] && echo stopping\nexit 1\n");
        File.SetUnixFileMode(systemctl, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        daemon.Environment["PATH"] = $"{daemon.WorkDirectory}:{Environment.GetEnvironmentVariable("PATH")}";
        await daemon.RestartAsync();
        Assert.Equal(0, await daemon.StopAsync());
        await Eventually.HoldsAsync("nothing runs any more", () => daemon.MonitorPid is null);

        daemon.Environment.Clear();
        await daemon.RestartAsync();
        Assert.Equal("exited 4", (await daemon.Docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "once")).Line);
        await Eventually.HoldsAsync("the service is back", async () => (await daemon.Docker("inspect", "--format", "{{.State.Status}}", "service")).Line == "running");
    }

    [Fact]
    public async Task A_second_daemon_on_the_same_roots_is_refused()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var second = await new Command(Repository.Executable("berthd"), daemon.Arguments).MayFail();
        Assert.Equal(1, second.ExitCode);
        Assert.Contains($"failed to start daemon: another berthd (process {daemon.Pid}) uses the data root {daemon.DataRoot}", second.Error);
        await daemon.Docker("version"); // the first one is none the worse
    }

    [Fact]
    public async Task Two_daemons_run_side_by_side()
    {
        await using var one = await TestDaemon.StartAsync();
        await using var two = await TestDaemon.StartAsync();
        var image = await one.LoadBusyboxAsync();
        await two.LoadBusyboxAsync();
        await one.Docker("run", "-d", "--name", "same", image, "sleep", "600");
        await two.Docker("run", "-d", "--name", "same", image, "sleep", "600");
        Assert.Equal("same", (await one.Docker("ps", "--format", "{{.Names}}")).Line);
        await one.Docker("rm", "-f", "same");
        Assert.Equal("same", (await two.Docker("ps", "--format", "{{.Names}}")).Line);
        Assert.StartsWith(two.Gateway[..^1], (await two.Docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "same")).Line);
    }

    [Fact]
    public async Task The_socket_has_its_mode_and_group()
    {
        await using var daemon = await TestDaemon.StartAsync("--group", "daemon");
        Assert.Equal("660 root daemon\n", (await new Command("stat", ["-c", "%a %U %G", daemon.SocketPath])).Output);
    }

    [Fact]
    public async Task Sockets_of_systemd_are_taken_over()
    {
        await using var daemon = await TestDaemon.StartAsync();
        await daemon.StopAsync();
        var path = Path.Combine(daemon.WorkDirectory, "activated.sock");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        // What systemd does: the socket as descriptor 3, and whose it is.
        var number = listener.Handle.ToInt32();
        Descriptors.SetCloseOnExec(number, close: false);
        var arguments = daemon.Arguments.SkipWhile(a => a != "--data-root").ToArray();
        using var activated = new Command("bash", ["-c", $"exec 3<&{number} {number}<&-; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "bash", Repository.Executable("berthd"), "-H", "fd://", .. arguments]).Start();
        Descriptors.SetCloseOnExec(number);
        var version = await daemon.Docker("version", "--format", "{{.Server.APIVersion}}").WithEnvironment("DOCKER_HOST", "unix://" + path);
        Assert.Equal("1.51", version.Line);
        activated.Signal("TERM");
        await activated.WaitAsync();
        Assert.True(File.Exists(path)); // systemd's, not ours to remove
        await daemon.RestartAsync();
    }

    [Theory]
    [InlineData("unknown flag: --nosuch\nSee 'berthd --help'.\n", "--nosuch")]
    [InlineData("invalid bind address (ftp://x): unsupported proto 'ftp'\n", "-H", "ftp://x")]
    [InlineData("failed to start daemon: failed to set log opts: unknown log opt 'foo' for json-file log driver\n", "--log-opt", "foo=1")]
    [InlineData("failed to start daemon: failed to set log opts: gelf-address is a required parameter\n", "--validate", "--log-driver", "gelf", "--log-opt", "mode=non-blocking")]
    [InlineData("no sockets found via socket activation: make sure the service was started by systemd\n", "-H", "fd://")]
    public async Task A_wrong_command_line_ends_at_once(string error, params string[] arguments)
    {
        var directory = Directory.CreateTempSubdirectory("berth-test-").FullName;
        var result = await new Command(Repository.Executable("berthd"), [.. arguments, "--data-root", directory + "/data", "--exec-root", directory + "/run"]).MayFail();
        Assert.Equal(1, result.ExitCode);
        Assert.EndsWith(error, result.Error);
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public async Task A_full_disk_is_reported_and_nothing_half_made_is_left()
    {
        var mount = Directory.CreateTempSubdirectory("berth-test-disk-").FullName;
        await new Command("mount", ["-t", "tmpfs", "-o", "size=24m", "berth-test", mount]);
        try
        {
            await using var daemon = await TestDaemon.StartAsync(mount, []);
            var image = await daemon.LoadBusyboxAsync();
            var images = (await daemon.Docker("images", "-q")).Output;
            var used = new DriveInfo(mount).AvailableFreeSpace;

            var big = new byte[32 << 20];
            new Random(2).NextBytes(big);
            var import = await daemon.Docker("import", "-", "big:1").WithInput(Images.Tar(("big", big))).MayFail();
            Assert.Equal(1, import.ExitCode);
            Assert.Contains("no space left on device", import.Error, StringComparison.OrdinalIgnoreCase);
            Assert.Equal(images, (await daemon.Docker("images", "-q")).Output);
            Assert.InRange(new DriveInfo(mount).AvailableFreeSpace, used - (1 << 20), long.MaxValue); // given back

            var write = await daemon.Docker("run", "--rm", image, "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=40").MayFail();
            Assert.Contains("No space left on device", write.Error);

            // What a container wrote is given back in the background; filled before that, the disk would not stay full.
            await Eventually.HoldsAsync("the container's files are gone", () => new DriveInfo(mount).AvailableFreeSpace >= used - (1 << 20));
            await new Command("sh", ["-c", $"dd if=/dev/zero of={mount}/filler bs=64k 2>/dev/null || true"]);
            var create = await daemon.Docker("create", "--name", "unborn", image, "true").MayFail();
            Assert.Equal(1, create.ExitCode);
            Assert.Contains("no space left on device", create.Error, StringComparison.OrdinalIgnoreCase);
            File.Delete(mount + "/filler");
            Assert.Equal("", (await daemon.Docker("ps", "-aq")).Output);
            Assert.Equal("fits\n", (await daemon.Docker("run", "--rm", "--name", "unborn", image, "echo", "fits")).Output);
        }
        finally
        {
            await new Command("umount", ["-l", mount]);
            Directory.Delete(mount);
        }
    }
}
