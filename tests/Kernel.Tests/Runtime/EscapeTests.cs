using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Runtime;
using Berth.Runtime.Spec;

namespace Berth.Kernel.Tests.Runtime;

/// <summary>The known ways out of a runc container, tried on us.</summary>
public sealed class EscapeTests
{
    // CVE-2019-5736: an exec's process, not yet executed, is seen by the container; through its /proc/PID/exe (or mem, or fd) the runtime's own files were reached.
    [Fact]
    public void A_container_can_not_look_into_an_exec_before_it_executes()
    {
        using var container = new TestContainer();
        var seen = Path.Combine(container.Scratch, "seen");
        Directory.CreateDirectory(seen);
        container.WithMount(new OciMount { Destination = "/seen", Type = "bind", Source = seen, Options = ["rbind", "rprivate"] });
        container.Start("sh", "-c", """
            touch /seen/ready
            while :; do
              for p in /proc/[0-9]*; do
                for f in $p/exe $p/cwd $p/root $p/fd/*; do readlink $f; done
                head -c1 $p/mem && echo mem; head -c1 $p/maps
              done
            done 2>/dev/null >>/seen/links
            """);
        using (var watch = new FileSystemWatcherOnce(seen, "ready")) watch.Wait();

        for (var i = 0; i < 300; i++) Assert.Equal(0, container.Exec("true").Code);

        var links = File.ReadAllLines(Path.Combine(seen, "links")).Distinct().ToList();
        Assert.Contains("/bin/busybox", links); // it did look
        Assert.DoesNotContain(links, link => link.Contains("dotnet", StringComparison.Ordinal) || link.Contains("Kernel.Tests", StringComparison.Ordinal)
            || link.Contains("berth", StringComparison.Ordinal) || link.Contains("anon_inode", StringComparison.Ordinal) || link.Contains("mem", StringComparison.Ordinal));
    }

    // CVE-2019-5736, second half: an image whose command is a link to /proc/self/exe runs the runtime itself and reopens it for writing.
    [Fact]
    public void A_program_run_from_its_read_only_image_can_not_be_written_to()
    {
        using var container = new TestContainer();
        var file = container.AddFile("/program", "", executable: true);
        File.Copy("/bin/busybox", file, overwrite: true);
        using var image = Berth.Linux.Spawn.ProcessSecurity.OpenReadOnlyImage(file);

        var exception = Assert.Throws<LinuxException>(() => FileAt.Open(null, $"/proc/self/fd/{(int)image.DangerousGetHandle()}", OpenFlags.WriteOnly));

        Assert.Equal(Errno.EROFS, exception.Errno);
    }

    // CVE-2024-21626: a directory of the host, still open in the child, as working directory.
    [Fact]
    public void The_working_directory_can_not_be_a_descriptor()
    {
        for (var fd = 3; fd < 200; fd++)
        {
            using var container = new TestContainer();
            container.WithProcess(process => process with { Cwd = $"/proc/self/fd/{fd}" });

            var exception = Assert.Throws<LaunchException>(() => container.Run("pwd"));

            Assert.Equal(LaunchErrorKind.WorkingDirectory, exception.Kind);
        }
    }

    [Fact]
    public void The_working_directory_of_an_exec_can_not_be_a_descriptor_or_lead_to_one()
    {
        using var container = new TestContainer();
        container.AddFile("/x", "");
        container.Start("sh", "-c", "rm /x; ln -s /proc/self/fd /x; exec sleep 1000");
        for (var fd = 3; fd < 100; fd++)
        {
            Assert.Throws<LaunchException>(() => container.Exec(process => process with { Cwd = $"/proc/self/fd/{fd}" }, "pwd"));
            Assert.Throws<LaunchException>(() => container.Exec(process => process with { Cwd = $"/x/{fd}" }, "pwd"));
            Assert.Throws<LaunchException>(() => container.Exec(process => process with { Cwd = $"/proc/1/cwd/../proc/self/fd/{fd}" }, "pwd"));
        }
    }

    // CVE-2025-31133: masks were binds of the container's own /dev/null, which could be a link to anything.
    [Fact]
    public void Masks_do_not_come_from_the_containers_dev_null()
    {
        using var container = new TestContainer();
        var dev = Path.Combine(container.Scratch, "dev");
        Directory.CreateDirectory(dev);
        File.CreateSymbolicLink(Path.Combine(dev, "null"), "/proc/sys/kernel/core_pattern");
        container.With(spec => spec with
        {
            Mounts = [.. spec.Mounts!.Where(mount => !mount.Destination.StartsWith("/dev", StringComparison.Ordinal)), new OciMount { Destination = "/dev", Type = "bind", Source = dev, Options = ["rbind"] }],
        });

        Assert.Equal("1:3\n", container.Run("stat", "-c", "%t:%T", "/proc/interrupts").Text);
    }

    // CVE-2025-52565: /dev/console was a bind of the path /dev/pts/N.
    [Fact]
    public void The_console_is_the_terminal_whatever_lies_on_dev_pts()
    {
        using var container = new TestContainer();
        var pts = Path.Combine(container.Scratch, "pts");
        Directory.CreateDirectory(pts);
        for (var i = 0; i < 10; i++) File.CreateSymbolicLink(Path.Combine(pts, $"{i}"), "/proc/sys/kernel/core_pattern");
        container.WithMount(new OciMount { Destination = "/dev/pts", Type = "bind", Source = pts, Options = ["rbind", "rprivate"] });
        container.WithProcess(process => process with { Terminal = true });

        Assert.Equal("88\r\n", container.Run("stat", "-c", "%t", "/dev/console").Text); // major 136
    }

    // CVE-2025-52881: writes to /proc/sys and /proc/self/attr that went to files the attacker chose, or to harmless copies.
    [Fact]
    public void A_sysctl_reaches_the_kernel_whatever_the_image_has_in_proc()
    {
        using var container = new TestContainer();
        var fake = container.AddFile("/proc/sys/kernel/shm_rmid_forced", "untouched");
        container.With(spec => spec with { Mounts = [.. spec.Mounts!.Where(mount => mount.Destination != "/proc")] });
        container.WithLinux(linux => linux with { Sysctl = new Dictionary<string, string> { ["kernel.shm_rmid_forced"] = "1" }, MaskedPaths = null, ReadonlyPaths = null });
        // It mounts a /proc of its own to look.
        string[] capabilities = [.. Specs.DockerCapabilities, "CAP_SYS_ADMIN"];
        container.WithProcess(process => process with { Capabilities = new OciCapabilities { Bounding = capabilities, Effective = capabilities, Permitted = capabilities } });

        var output = container.Run("sh", "-c", "mkdir /p && mount -t proc proc /p && cat /p/sys/kernel/shm_rmid_forced");

        Assert.Equal(("1\n", "", 0), (output.Text, output.Errors, output.Code));
        Assert.Equal("untouched", File.ReadAllText(fake));
    }

    [Theory]
    [InlineData("/proc/sys")]
    [InlineData("/proc")]
    [InlineData("../../../proc/./sys")]
    public void A_link_in_the_image_does_not_bring_a_mount_into_proc(string to)
    {
        using var container = new TestContainer();
        File.CreateSymbolicLink(Path.Combine(container.Root.UpperDirectory, "innocent"), to);
        Directory.CreateDirectory(Path.Combine(container.Root.UpperDirectory, "proc/sys")); // without it the link dangles, which is refused
        var volume = Path.Combine(container.Scratch, "volume");
        Directory.CreateDirectory(volume);
        container.WithMount(new OciMount { Destination = "/innocent", Type = "bind", Source = volume, Options = ["rbind", "rprivate"] });

        var output = container.Run("sh", "-c", "test -e /proc/sys/kernel/hostname && grep -c ' /proc/sys ro' /proc/self/mountinfo");

        Assert.Equal("1\n", output.Text);
    }

    [Theory]
    [InlineData("proc")]
    [InlineData("sys")]
    public void Proc_and_sys_are_not_mounted_through_a_link(string name)
    {
        using var container = new TestContainer();
        File.CreateSymbolicLink(Path.Combine(container.Root.UpperDirectory, name), "/elsewhere");
        Directory.CreateDirectory(Path.Combine(container.Root.UpperDirectory, "elsewhere"));

        var exception = Assert.Throws<LaunchException>(() => container.Run("true"));

        Assert.EndsWith("must be mounted on ordinary directory", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/../../../../../../../..")]
    [InlineData("../../../../../../..")]
    [InlineData("/")]
    public void A_mount_point_behind_a_link_is_made_inside(string to)
    {
        using var container = new TestContainer();
        var marker = "berth-escape-" + Guid.NewGuid().ToString("N");
        File.CreateSymbolicLink(Path.Combine(container.Root.UpperDirectory, "link"), to);
        container.WithMount(new OciMount { Destination = $"/link/{marker}/x", Type = "tmpfs", Source = "tmpfs", Options = [] });
        container.WithProcess(process => process with { Cwd = $"/link/{marker}/cwd" });

        Assert.Equal($"/{marker}/cwd\n", container.Run("pwd").Text);

        Assert.False(Directory.Exists($"/{marker}"));
        Assert.True(Directory.Exists(Path.Combine(container.Root.UpperDirectory, marker)));
    }

    [Fact]
    public void A_mount_point_behind_a_magic_link_is_refused()
    {
        for (var fd = 3; fd < 150; fd++)
        {
            using var container = new TestContainer();
            File.CreateSymbolicLink(Path.Combine(container.Root.UpperDirectory, "link"), $"/proc/self/fd/{fd}");
            container.WithMount(new OciMount { Destination = "/link/made-outside", Type = "tmpfs", Source = "tmpfs", Options = [] });
            container.WithProcess(process => process with { Cwd = "/link/made-outside-too" });

            Assert.Throws<LaunchException>(() => container.Run("true"));
            Assert.False(Directory.Exists("/made-outside-too") || Directory.Exists(Path.Combine(container.Scratch, "made-outside-too")));
        }
    }

    [Fact]
    public void A_volume_that_changes_under_a_start_does_not_lead_it_outside()
    {
        using var fixture = new TestContainer();
        var volume = Path.Combine(fixture.Scratch, "volume");
        var outside = Path.Combine(fixture.Scratch, "outside");
        Directory.CreateDirectory(Path.Combine(volume, "real"));
        Directory.CreateDirectory(outside);
        var stop = false;
        var attacker = new Thread(() =>
        {
            using var directory = FileAt.Open(null, volume, OpenFlags.Path | OpenFlags.Directory);
            for (var i = 0; !Volatile.Read(ref stop); i++)
            {
                FileAt.SymbolicLink(((string[])["real", outside, "/proc/self/fd/10", "/proc/self/cwd", "../../../../../../.."])[i % 5], directory, "new");
                FileAt.Rename(directory, "new", directory, "a");
            }
        });
        attacker.Start();
        try
        {
            for (var i = 0; i < 200; i++)
            {
                using var container = new TestContainer();
                container.WithMount(new OciMount { Destination = "/vol", Type = "bind", Source = volume, Options = ["rbind", "rprivate"] });
                container.WithMount(new OciMount { Destination = "/vol/a/berth-made", Type = "tmpfs", Source = "tmpfs", Options = [] });
                try
                {
                    container.Run("true");
                }
                catch (LaunchException)
                {
                    // A link that may not be followed, or one that changed too often: refused is right as well.
                }
            }
        }
        finally
        {
            Volatile.Write(ref stop, true);
            attacker.Join();
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(outside));
        Assert.False(Directory.Exists("/berth-made"));
        Assert.False(Directory.Exists("/proc/self/cwd/berth-made"));
    }

    [Fact]
    public void The_host_is_not_found_above_the_root()
    {
        using var container = new TestContainer();

        // The classic: a root below the working directory, then up. What is found must be the container's own root.
        var output = container.Run("sh", "-c", "mkdir -p /jail/bin; cp /bin/busybox /jail/bin/ 2>/dev/null || cat /bin/busybox > /jail/bin/busybox; cd /; ls -d /../../../jail; chroot /jail /bin/busybox ls /../../..");

        Assert.Equal("/../../../jail\nbin\n", output.Text);
    }
}

/// <summary>Waits until a file of that name is there.</summary>
internal sealed class FileSystemWatcherOnce : IDisposable
{
    private readonly FileSystemWatcher _watcher;
    private readonly ManualResetEventSlim _there = new();
    private readonly string _path;

    public FileSystemWatcherOnce(string directory, string name)
    {
        _path = Path.Combine(directory, name);
        _watcher = new FileSystemWatcher(directory, name);
        _watcher.Created += (_, _) => _there.Set();
        _watcher.EnableRaisingEvents = true;
    }

    public void Wait()
    {
        if (!File.Exists(_path)) Assert.True(_there.Wait(TimeSpan.FromSeconds(30)), $"no {_path}");
    }

    public void Dispose()
    {
        _watcher.Dispose();
        _there.Dispose();
    }
}
