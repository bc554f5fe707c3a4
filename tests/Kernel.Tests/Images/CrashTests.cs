using System.Diagnostics;
using Berth.Images;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

/// <summary>kill -9 at random moments of a process that loads and removes images without pause.</summary>
public sealed class CrashTests
{
    private const string RootVariable = "BERTH_TEST_CRASH_ROOT";

    private const string Started = "loading";

    private static readonly TestImage[] Images =
    [
        Make("one"), Make("two"), Make("three"),
    ];

    private static TestImage Make(string marker) => new TestImage()
        .Layer(t => Fill(t, "base", 200))
        .Layer(t => Fill(t, marker, 300));

    private static void Fill(TarBuilder tar, string name, int files)
    {
        for (var i = 0; i < files; i++) tar.File($"{name}/{i % 10}/{i}", new string('x', i * 10));
    }

    [Fact]
    public async Task What_is_left_after_kill_9_is_whole_images_and_nothing_else()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        using var directory = new TestDirectory();
        var seed = Environment.TickCount;
        var random = new Random(seed);
        for (var round = 0; round < 5; round++)
        {
            using var child = Process.Start(new ProcessStartInfo(Environment.ProcessPath!, ["-method", $"*{nameof(Child_that_is_killed)}", "-explicit", "only", "-noLogo"])
            {
                Environment = { [RootVariable] = directory.Path }, RedirectStandardOutput = true,
            })!;
            // It says when it begins; the moment of the kill is random from there on.
            var said = new List<string>();
            while (await child.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line && line != Started) said.Add(line);
            Assert.False(child.HasExited, string.Join('\n', said));
            await Task.Delay(random.Next(0, 150), TestContext.Current.CancellationToken);
            child.Kill();
            await child.WaitForExitAsync(TestContext.Current.CancellationToken);

            var where = $"seed {seed}, round {round}";
            using var store = ImageStore.Open(directory.Path);
            await store.Discarding;
            Assert.True(Directory.GetFileSystemEntries(directory["images/tmp"]).Length == 0, where);
            var needed = new HashSet<string>();
            foreach (var image in store.All)
            {
                var made = Images.Single(i => i.Id == image.Id.ToString());
                Assert.True(made.Config.AsSpan().SequenceEqual(image.ConfigBytes.Span), where);
                foreach (var diffId in image.DiffIds) needed.Add(diffId.Hex);
                Assert.True(Directory.GetFiles(image.LayerDirectories[0], "*", SearchOption.AllDirectories).Length == 300, where);
                Assert.True(Directory.GetFiles(image.LayerDirectories[1], "*", SearchOption.AllDirectories).Length == 200, where);
            }
            Assert.Equal(needed.Order(), Directory.GetDirectories(directory["images/layers"]).Select(Path.GetFileName).Order()!);
        }
    }

    /// <summary>Not a test by itself: the victim of the one above.</summary>
    [Fact(Explicit = true)]
    public async Task Child_that_is_killed()
    {
        var root = Environment.GetEnvironmentVariable(RootVariable);
        Assert.True(root is not null, $"runs only as the child of {nameof(What_is_left_after_kill_9_is_whole_images_and_nothing_else)}");
        var archives = Images.Select(i => i.DockerArchive($"crash:{i.Id[7..17]}")).ToList();
        using var store = ImageStore.Open(root!);
        for (var i = 0; ; i++)
        {
            // Not at once: the first loads are mostly the compiler's time.
            if (i == 2) Console.Out.WriteLine(Started);
            await store.LoadAsync(new MemoryStream(archives[i % 3]), null, true, _ => { }, CancellationToken.None);
            if (store.TryGet(Digest.Parse(Images[(i + 1) % 3].Id), out var old)) store.Remove(old.RepoTags[0], true, true, () => []);
        }
    }
}
