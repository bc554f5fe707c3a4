using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Limits of what containers and volumes may hold, on a file system of the test's own that keeps project quotas.</summary>
public sealed class QuotaTests
{
    [Theory]
    [InlineData("ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota")]
    [InlineData("xfs", "-q")]
    public async Task A_container_and_a_volume_hold_no_more_than_their_size(string kind, params string[] options)
    {
        using var directory = new TestDirectory();
        var image = directory["disk.img"];
        await using (var file = File.Create(image)) file.SetLength(400 << 20);
        Assert.SkipUnless(File.Exists("/usr/sbin/mkfs." + kind), $"there is no mkfs.{kind}");
        await new Command("mkfs." + kind, [.. options, image]);
        var mount = Directory.CreateDirectory(directory["mount"]).FullName;
        var mounting = await new Command("mount", ["-o", "loop,prjquota", image, mount]).MayFail();
        // Or it is mounted, and keeps no accounts: said in the options that are shown.
        var kept = mounting.ExitCode == 0 && File.ReadLines("/proc/self/mounts").Any(l => l.Split(' ') is [_, var point, _, var shown, ..] && point == mount && shown.Contains("prjquota", StringComparison.Ordinal));
        if (!kept && mounting.ExitCode == 0) await new Command("umount", [mount]);
        Assert.SkipUnless(kept, $"this kernel keeps no project quotas for {kind}: {mounting.Error.Trim()}");
        try
        {
            await using var daemon = await TestDaemon.StartAsync(dataRoot: Path.Combine(mount, "data"), []);
            var busybox = await daemon.LoadBusyboxAsync();
            await daemon.Docker("run", "--name", "small", "--storage-opt", "size=5m", busybox, "dd", "if=/dev/zero", "of=/file", "bs=1M", "count=20").MayFail();
            Assert.InRange(await SizeOf(daemon, "small"), 4 << 20, 5 << 20);
            await daemon.Docker("run", "--name", "large", busybox, "dd", "if=/dev/zero", "of=/file", "bs=1M", "count=20");
            Assert.Equal(20 << 20, await SizeOf(daemon, "large"));

            await daemon.Docker("volume", "create", "-o", "size=3m", "limited");
            await daemon.Docker("run", "--rm", "-v", "limited:/v", busybox, "dd", "if=/dev/zero", "of=/v/file", "bs=1M", "count=20").MayFail();
            Assert.InRange(new FileInfo(Path.Combine(daemon.DataRoot, "volumes", "limited", "_data", "file")).Length, 2 << 20, 3 << 20);

            // Another daemon knows whose project is whose: one made now is limited by itself alone.
            await daemon.KillAsync();
            await daemon.RestartAsync();
            await daemon.Docker("run", "--name", "next", "--storage-opt", "size=5m", busybox, "dd", "if=/dev/zero", "of=/file", "bs=1M", "count=20").MayFail();
            Assert.InRange(await SizeOf(daemon, "next"), 4 << 20, 5 << 20);
            Assert.Equal("Error response from daemon: Unknown option foo\n", (await daemon.Docker("create", "--storage-opt", "foo=1", busybox, "true").MayFail()).Error);
            Assert.Equal("Error response from daemon: invalid size: 'x'\n", (await daemon.Docker("create", "--storage-opt", "size=x", busybox, "true").MayFail()).Error);
            await daemon.Docker("rm", "small", "large", "next");
            await daemon.Docker("volume", "rm", "limited");
        }
        finally
        {
            await new Command("umount", ["-l", mount]);
        }
    }

    private static async Task<long> SizeOf(TestDaemon daemon, string container) =>
        long.Parse((await daemon.Docker("inspect", "--size", "--format", "{{.SizeRw}}", container)).Line, System.Globalization.CultureInfo.InvariantCulture);
}
