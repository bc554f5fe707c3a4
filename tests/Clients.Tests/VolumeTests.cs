using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Volumes and mounts as the stock client sees them. What is expected is what Docker Engine 28.5 printed.</summary>
public sealed class VolumeTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private Task<CommandResult> Sh(string flags, string script) =>
        Run(["run", "--rm", .. flags.Split(' ', StringSplitOptions.RemoveEmptyEntries), shared.Image, "sh", "-c", script]);

    private async Task<CommandResult> Run(params string[] arguments) => await _daemon.Docker(arguments).MayFail();

    private string DataOf(string volume) => Path.Combine(_daemon.DataRoot, "volumes", volume, "_data");

    private bool IsMounted(string volume) => File.ReadLines("/proc/self/mountinfo").Any(l => l.Split(' ')[4] == DataOf(volume));

    [Fact]
    public async Task A_volume_with_its_own_file_system_is_mounted_while_containers_run_with_it_and_shared_by_them()
    {
        await _daemon.Docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000", "ram");
        Assert.False(IsMounted("ram"));
        await _daemon.Docker("run", "-d", "--name", "ram-user", "-v", "ram:/x", shared.Image, "sleep", "100");
        Assert.True(IsMounted("ram"));
        await _daemon.Docker("exec", "ram-user", "touch", "/x/seen");
        Assert.Equal("1024 seen\n", (await Sh("-v ram:/y", "echo $(df -k /y | tail -1 | awk '{print $2}') $(ls /y)")).Output);
        Assert.True(IsMounted("ram")); // the other one goes on
        Assert.Contains("remove ram: volume is in use - [", (await Run("volume", "rm", "-f", "ram")).Error, StringComparison.Ordinal);

        await _daemon.Docker("rm", "-f", "ram-user");
        await Eventually.HoldsAsync("the volume is unmounted", () => !IsMounted("ram"));
        await _daemon.Docker("volume", "rm", "ram");
    }

    [Fact]
    public async Task A_volume_can_be_a_directory_of_the_host_and_is_filled_from_the_image()
    {
        var source = Path.Combine(_daemon.WorkDirectory, "bound");
        Directory.CreateDirectory(source);
        await _daemon.Docker("volume", "create", "-o", "type=none", "-o", "device=" + source, "-o", "o=bind", "bound");
        Assert.Equal("from the image\n", (await Sh("-v bound:/var/lib/data", "cat /var/lib/data/seed")).Output);
        Assert.True(File.Exists(Path.Combine(source, "seed")));
        await _daemon.Docker("volume", "rm", "bound");
        Assert.True(File.Exists(Path.Combine(source, "seed"))); // the volume was only a name for it
    }

    [Theory]
    [InlineData("type=none device=/nonexistent o=bind", "mount /nonexistent:DATA, flags: 0x1000: no such file or directory", 127)]
    [InlineData("type=ext4 device=/dev/nosuch o=ro,nosuid,foo=bar", "mount /dev/nosuch:DATA, flags: 0x3, data: foo=bar: ", 125)]
    public async Task A_volume_that_cannot_be_mounted_fails_the_start_with_the_call(string options, string error, int exitCode)
    {
        await Run(["volume", "create", .. options.Split(' ').SelectMany(o => (string[])["-o", o]), "broken"]);
        var result = await Sh("-v broken:/x", "true");
        Assert.Contains($"error while mounting volume '{DataOf("broken")}': failed to mount local volume: {error.Replace("DATA", DataOf("broken"), StringComparison.Ordinal)}", result.Error, StringComparison.Ordinal);
        Assert.Equal(exitCode, result.ExitCode);
        await _daemon.Docker("volume", "rm", "broken");
    }

    [Theory]
    [InlineData("volume create -o type=tmpfs x1", "create x1: missing required option: \"device\"")]
    [InlineData("volume create -o foo=bar x1", "create x1: invalid option: \"foo\"")]
    [InlineData("volume create -o size=10m x1", "create x1: quota size requested but no quota support")]
    [InlineData("volume create -d nosuch x1", "create x1: error looking up volume plugin nosuch: plugin \"nosuch\" not found")]
    [InlineData("volume create x", "create x: volume name is too short, names should be at least two alphanumeric characters")]
    [InlineData("volume rm nosuch", "get nosuch: no such volume")]
    [InlineData("volume inspect nosuch", "get nosuch: no such volume")]
    [InlineData("volume ls -f bad=x", "invalid filter 'bad'")]
    [InlineData("volume ls -f dangling=maybe", "invalid filter 'dangling=[maybe]'")]
    [InlineData("volume prune -f --filter bad=x", "invalid filter 'bad'")]
    [InlineData("volume prune -f --filter all=x", "invalid filter 'all': strconv.ParseBool: parsing \"x\": invalid syntax")]
    [InlineData("run --rm -v /proc:/x:shared IMAGE true", "path /proc is mounted on /proc but it is not a shared mount")]
    [InlineData("run --rm -v /proc:/x:slave IMAGE true", "path /proc is mounted on /proc but it is not a shared or slave mount")]
    [InlineData("run --rm --mount type=bind,src=/proc,dst=/x,bind-propagation=foo IMAGE true", "invalid mount config for type \"bind\": invalid propagation mode: foo")]
    [InlineData("run --rm --mount type=bind,src=/nosuch,dst=/x IMAGE true", "invalid mount config for type \"bind\": bind source path does not exist: /nosuch")]
    [InlineData("run --rm --mount type=image,src=IMAGE,dst=/x,image-subpath=../y IMAGE true", "invalid mount config for type \"image\": subpath must be a relative path within the volume")]
    public async Task What_is_wrong_is_said_in_Dockers_words(string command, string error)
    {
        var result = await Run(command.Replace("IMAGE", shared.Image, StringComparison.Ordinal).Split(' '));
        Assert.Contains("Error response from daemon: " + error, result.Error, StringComparison.Ordinal);
        Assert.NotEqual(0, result.ExitCode);
    }

    [Fact]
    public async Task Volumes_are_listed_by_driver_name_label_and_use()
    {
        await _daemon.Docker("volume", "create", "--label", "a=1", "list-one");
        await _daemon.Docker("volume", "create", "--label", "a=2", "list-two");
        await _daemon.Docker("create", "--name", "list-user", "-v", "list-two:/x", shared.Image);
        async Task<string> List(params string[] filters) =>
            string.Join(' ', (await _daemon.Docker(["volume", "ls", "-q", .. filters.SelectMany(f => (string[])["-f", f])])).Lines);
        Assert.Equal("list-one list-two", await List("name=list-"));
        Assert.Equal("list-one", await List("label=a=1"));
        Assert.Equal("list-one list-two", await List("label=a", "driver=local"));
        Assert.Equal("", await List("driver=other"));
        Assert.Equal("list-one", await List("name=list-", "dangling=true"));
        Assert.Equal("list-two", await List("name=list-", "dangling=false"));
        await _daemon.Docker("rm", "list-user");
        await _daemon.Docker("volume", "rm", "list-one", "list-two");
    }

    [Fact]
    public async Task Prune_takes_anonymous_volumes_and_with_all_the_named_but_none_with_options()
    {
        await using var daemon = await TestDaemon.StartAsync();
        await daemon.Docker("volume", "create", "named");
        await daemon.Docker("volume", "create", "--label", "keep=me", "kept");
        await daemon.Docker("volume", "create", "-o", "type=tmpfs", "-o", "device=x", "ram");
        var anonymous = (await daemon.Docker("volume", "create")).Output.Trim();
        Assert.Equal($"Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 0B\n", (await daemon.Docker("volume", "prune", "-f")).Output);
        Assert.Equal("Deleted Volumes:\nnamed\n\nTotal reclaimed space: 0B\n", (await daemon.Docker("volume", "prune", "-af", "--filter", "label!=keep")).Output);
        Assert.Equal("kept\nram\n", (await daemon.Docker("volume", "ls", "-q")).Output);
        Assert.Equal((503, "{\"message\":\"volume update only valid for cluster volumes, but swarm is unavailable\"}\n"), await daemon.AskAsync("PUT", "/volumes/kept?version=1", "{}"));
    }

    [Fact]
    public async Task An_image_can_be_mounted_whole_or_in_part_and_cannot_be_written_to()
    {
        Assert.Equal("from the image\n", (await Sh($"--mount type=image,src={shared.Image},dst=/x", "cat /x/var/lib/data/seed")).Output);
        Assert.Equal("from the image\n", (await Sh($"--mount type=image,src={shared.Image},dst=/x,image-subpath=var/lib", "cat /x/data/seed")).Output);
        Assert.Equal("touch: /x/y: Read-only file system\n", (await Sh($"--mount type=image,src={shared.Image},dst=/x", "touch /x/y")).Error.Replace("WARNING: Image mount is an experimental feature\n", "", StringComparison.Ordinal));
        var missing = await Sh($"--mount type=image,src={shared.Image},dst=/x,image-subpath=no/such", "true");
        Assert.Contains("cannot access path ", missing.Error, StringComparison.Ordinal);
        Assert.Contains("/no/such: no such file or directory", missing.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Files_of_a_stopped_container_are_copied_from_and_to_its_mounted_volumes_and_images()
    {
        var host = Path.Combine(_daemon.WorkDirectory, "volume-backing");
        Directory.CreateDirectory(host);
        File.WriteAllText(host + "/inside", "of the volume\n");
        await _daemon.Docker("volume", "create", "-o", "type=none", "-o", "device=" + host, "-o", "o=bind", "copied");
        await _daemon.Docker("create", "--name", "copy-target", "-v", "copied:/v", "--mount", $"type=image,src={shared.Image},dst=/i", shared.Image);
        var outside = Path.Combine(_daemon.WorkDirectory, "copied-out");
        await _daemon.Docker("cp", "copy-target:/v/inside", outside);
        Assert.Equal("of the volume\n", File.ReadAllText(outside));
        await _daemon.Docker("cp", outside, "copy-target:/v/back");
        Assert.Equal("of the volume\n", File.ReadAllText(host + "/back"));
        await _daemon.Docker("cp", "copy-target:/i/var/lib/data/seed", outside);
        Assert.Equal("from the image\n", File.ReadAllText(outside));
        await Eventually.HoldsAsync("the volume is unmounted again", () => !IsMounted("copied"));
        await _daemon.Docker("rm", "copy-target");
        await _daemon.Docker("volume", "rm", "copied");
    }

    [Fact]
    public async Task Mounts_travel_as_far_as_their_propagation_says()
    {
        var source = Path.Combine(_daemon.WorkDirectory, "shared");
        Directory.CreateDirectory(source);
        await new Command("mount", ["-t", "tmpfs", "x", source]);
        try
        {
            await new Command("mount", ["--make-shared", source]);
            Directory.CreateDirectory(source + "/host");
            Directory.CreateDirectory(source + "/inside");
            foreach (var mode in (string[])["rshared", "rslave", "rprivate"])
                await _daemon.Docker("run", "-d", "--privileged", "--name", "p-" + mode, "-v", $"{source}:/x:{mode}", shared.Image, "sleep", "100");
            await new Command("mount", ["-t", "tmpfs", "y", source + "/host"]);
            File.WriteAllText(source + "/host/seen", "");
            Assert.Equal("seen\n", (await _daemon.Docker("exec", "p-rshared", "ls", "/x/host")).Output);
            Assert.Equal("seen\n", (await _daemon.Docker("exec", "p-rslave", "ls", "/x/host")).Output);
            Assert.Equal("", (await _daemon.Docker("exec", "p-rprivate", "ls", "/x/host")).Output);
            await _daemon.Docker("exec", "p-rshared", "sh", "-c", "mount -t tmpfs z /x/inside; touch /x/inside/seen");
            Assert.True(File.Exists(source + "/inside/seen"));
            await _daemon.Docker("rm", "-f", "p-rshared", "p-rslave", "p-rprivate");

            // read-only: the mounts below too, unless asked for otherwise
            Assert.Contains("/x/host/y: Read-only", (await Sh($"-v {source}:/x:ro", "touch /x/host/y")).Error, StringComparison.Ordinal);
            Assert.Contains("/x/host/y: Read-only", (await Sh($"--mount type=bind,src={source},dst=/x,readonly,bind-recursive=readonly,bind-propagation=rprivate", "touch /x/host/y")).Error, StringComparison.Ordinal);
            Assert.Equal("seen\ny\n", (await Sh($"--mount type=bind,src={source},dst=/x,readonly,bind-recursive=writable", "touch /x/host/y && ls /x/host")).Output);
            Assert.Equal("", (await Sh($"--mount type=bind,src={source},dst=/x,readonly,bind-recursive=disabled", "ls /x/host")).Output);
        }
        finally
        {
            await new Command("umount", ["-R", source]).MayFail();
        }
    }

    [Fact]
    public async Task A_daemon_that_is_killed_leaves_no_volume_mounted_for_nobody()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("volume", "create", "-o", "type=tmpfs", "-o", "device=x", "ram");
        await daemon.Docker("run", "-d", "--name", "stays", "-v", "ram:/x", image, "sh", "-c", "touch /x/kept; sleep 100");
        await daemon.Docker("run", "-d", "--name", "ends", "-v", "ram:/x", image, "sleep", "100");
        await daemon.KillAsync();
        await daemon.RestartAsync();
        Assert.Equal("kept\n", (await daemon.Docker("exec", "ends", "ls", "/x")).Output);
        await daemon.Docker("rm", "-f", "ends");
        Assert.Equal("kept\n", (await daemon.Docker("run", "--rm", "-v", "ram:/y", image, "ls", "/y")).Output);

        var stays = int.Parse((await daemon.Docker("inspect", "-f", "{{.State.Pid}}", "stays")).Output, System.Globalization.CultureInfo.InvariantCulture);
        await daemon.KillAsync();
        await new Command("kill", ["-9", stays.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        await daemon.RestartAsync();
        Assert.Equal("exited\n", (await daemon.Docker("inspect", "-f", "{{.State.Status}}", "stays")).Output);
        await Eventually.HoldsAsync("the volume is unmounted", () => !File.ReadAllText("/proc/self/mountinfo").Contains(daemon.DataRoot, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_data_root_can_be_moved_between_two_starts()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("run", "--name", "mover", "-v", "kept:/x", image, "sh", "-c", "echo first; echo data > /x/file");
        await daemon.StopAsync();
        await daemon.MoveDataRootAsync(Path.Combine(daemon.WorkDirectory, "elsewhere"));
        Assert.Equal("first\n", (await daemon.Docker("logs", "mover")).Output);
        await daemon.Docker("start", "-a", "mover");
        Assert.Equal("first\nfirst\n", (await daemon.Docker("logs", "mover")).Output);
        Assert.Equal("data\n", (await daemon.Docker("run", "--rm", "-v", "kept:/y", image, "cat", "/y/file")).Output);
        Assert.DoesNotContain(Path.Combine(daemon.WorkDirectory, "data") + "/", (await daemon.Docker("inspect", "mover")).Output + (await daemon.Docker("volume", "inspect", "kept")).Output, StringComparison.Ordinal);
    }
}
