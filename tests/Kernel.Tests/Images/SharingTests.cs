using Berth.Images;
using Berth.Images.Layers;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

/// <summary>Equal files of several layers lie in the same blocks, on file systems that can.</summary>
public sealed class SharingTests : IDisposable
{
    private const int BigBytes = 8 << 20;

    private readonly TestDirectory directory = new();
    private string? mount;

    public void Dispose()
    {
        if (mount is not null) new Command("umount", ["-l", mount]).RunAsync().GetAwaiter().GetResult();
        directory.Dispose();
    }

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    private static byte[] Random(int seed, int length = BigBytes)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private async Task<string> MountAsync(string kind, params string[] options)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        Assert.SkipUnless(File.Exists("/usr/sbin/mkfs." + kind), $"there is no mkfs.{kind}");
        await using (var image = File.Create(directory["disk.img"])) image.SetLength(400 << 20);
        await new Command("mkfs." + kind, [.. options, directory["disk.img"]]);
        var point = Directory.CreateDirectory(directory["mount"]).FullName;
        var mounting = await new Command("mount", ["-t", kind, "-o", "loop", directory["disk.img"], point]).MayFail();
        Assert.SkipUnless(mounting.ExitCode == 0, $"this kernel does not mount {kind}: {mounting.Error.Trim()}");
        return mount = point;
    }

    private static async Task<long> FreeAsync(string path)
    {
        await new Command("sync", ["-f", path]);
        return new DriveInfo(path).AvailableFreeSpace;
    }

    private static Task LoadAsync(ImageStore store, TestImage image, string name) => store.LoadAsync(new MemoryStream(image.DockerArchive(name)), null, quiet: true, _ => { }, Cancelled);

    [Theory]
    [InlineData("xfs", "-q")]
    [InlineData("btrfs", "-q")]
    public async Task Equal_files_of_layers_take_the_room_of_one_and_stay_what_they_are(string kind, params string[] options)
    {
        var root = await MountAsync(kind, options);
        var content = Random(1);
        // As long, and the same wherever a sample is taken.
        var other = content.ToArray();
        other[100_000] ^= 1;
        // Not whole blocks.
        var uneven = Random(2, 1_000_001);
        var first = new TestImage().Layer(t => t.File("one", content).File("one-again", content).File("uneven", uneven));
        var second = new TestImage().Layer(t => t.Directory("d").File("d/two", content, mode: 0x9ED, uid: 7).File("other", other).File("d/again", content).File("uneven", uneven));
        using (var store = ImageStore.Open(root))
        {
            await LoadAsync(store, first, "first:1");
            await LoadAsync(store, second, "second:1");
            var before = await FreeAsync(root);
            Assert.Equal(3L * BigBytes + uneven.Length, store.ShareIdenticalFiles(Cancelled));
            Assert.InRange(await FreeAsync(root) - before, 3L * BigBytes + uneven.Length - (1 << 20), long.MaxValue);
            Assert.Equal(0, store.ShareIdenticalFiles(Cancelled));

            var layer = store.Get("second:1").LayerDirectories[0];
            Assert.Equal(content, File.ReadAllBytes(Path.Combine(layer, "d/two")));
            Assert.Equal(other, File.ReadAllBytes(Path.Combine(layer, "other")));
            Assert.Equal(uneven, File.ReadAllBytes(Path.Combine(layer, "uneven")));
            Assert.Equal((UnixFileMode)0x9ED, File.GetUnixFileMode(Path.Combine(layer, "d/two")));
            Assert.Equal(1_600_000_000, new DateTimeOffset(File.GetLastWriteTimeUtc(Path.Combine(layer, "d/two"))).ToUnixTimeSeconds());
        }
        using (var store = ImageStore.Open(root))
        {
            // What was gone through before a restart is not gone through again, and is known.
            await LoadAsync(store, new TestImage().Layer(t => t.File("three", content)), "third:1");
            Assert.Equal(BigBytes, store.ShareIdenticalFiles(Cancelled));
            // Blocks are there for as long as one file has them.
            store.Remove("first:1", force: false, prune: true, () => []);
            await store.Discarding;
            Assert.Equal(content, File.ReadAllBytes(Path.Combine(store.Get("third:1").LayerDirectories[0], "three")));
            Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(root, "images/tmp")));
        }
    }

    [Fact]
    public async Task It_is_done_when_no_layer_has_come_for_a_while()
    {
        var root = await MountAsync("xfs", "-q");
        var time = new HandTime();
        using var store = ImageStore.Open(root, new ImageStoreOptions { Time = time });
        await LoadAsync(store, new TestImage().Layer(t => t.File("one", Random(1))), "first:1");
        time.Pass(ImageStore.SharingQuiet / 2);
        await LoadAsync(store, new TestImage().Layer(t => t.File("two", Random(1))), "second:1");
        time.Pass(ImageStore.SharingQuiet / 2);
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(root, "images/layers"), LayerSharing.FileName, SearchOption.AllDirectories));
        time.Pass(ImageStore.SharingQuiet / 2);
        await Eventually.HoldsAsync("both layers were gone through", () => Directory.EnumerateFiles(Path.Combine(root, "images/layers"), LayerSharing.FileName, SearchOption.AllDirectories).Count() == 2);
    }

    [Fact]
    public async Task Where_blocks_cannot_be_shared_nothing_is_done_and_nothing_left()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        mount = Directory.CreateDirectory(directory["mount"]).FullName;
        await new Command("mount", ["-t", "tmpfs", "-o", "size=64m", "none", mount]);
        using var store = ImageStore.Open(mount);
        await LoadAsync(store, new TestImage().Layer(t => t.File("one", Random(1)).File("two", Random(1))), "first:1");
        Assert.Equal(0, store.ShareIdenticalFiles(Cancelled));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(mount, "images/tmp")));
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(mount, "images/layers"), LayerSharing.FileName, SearchOption.AllDirectories));
    }

    // Timers go off when the test says that time has passed.
    private sealed class HandTime : TimeProvider
    {
        private readonly Lock gate = new();
        private readonly List<HandTimer> timers = [];
        private TimeSpan passed;

        public void Pass(TimeSpan time)
        {
            List<HandTimer> due;
            lock (gate)
            {
                passed += time;
                due = timers.FindAll(t => t.Due <= passed);
                foreach (var timer in due) timer.Due = TimeSpan.MaxValue;
            }
            foreach (var timer in due) timer.Fire();
        }

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            var timer = new HandTimer(this, callback, state);
            timer.Change(dueTime, period);
            lock (gate) timers.Add(timer);
            return timer;
        }

        private sealed class HandTimer(HandTime time, TimerCallback callback, object? state) : ITimer
        {
            public TimeSpan Due { get; set; } = TimeSpan.MaxValue;

            public void Fire() => callback(state);

            public bool Change(TimeSpan dueTime, TimeSpan period)
            {
                lock (time.gate) Due = dueTime == Timeout.InfiniteTimeSpan ? TimeSpan.MaxValue : time.passed + dueTime;
                return true;
            }

            public void Dispose()
            {
                lock (time.gate) time.timers.Remove(this);
            }

            public ValueTask DisposeAsync()
            {
                Dispose();
                return default;
            }
        }
    }
}
