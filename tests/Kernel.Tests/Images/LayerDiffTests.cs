using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Testing;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Images;

/// <summary>What a container did to its files, through a real overlay, and what diff and commit make of it.</summary>
public sealed class LayerDiffTests : IAsyncDisposable
{
    private readonly TestDirectory directory = new();
    private readonly ImageStore store;

    public LayerDiffTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        store = ImageStore.Open(directory.Path);
    }

    public async ValueTask DisposeAsync()
    {
        await store.Discarding;
        store.Dispose();
        directory.Dispose();
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private async Task<(Digest Image, WritableLayer Layer)> Container()
    {
        var image = new TestImage().Layer(t => t
            .Directory("dir").File("dir/a", "a").File("dir/b", "b").Directory("dir/sub").File("dir/sub/x", "x").Directory("gone").File("gone/f", "").Directory("moved").File("moved/m", "m")
            .File("file", new byte[100_000]).File("same", "s").Directory("replaced").File("replaced/old", ""));
        await store.LoadAsync(new MemoryStream(image.DockerArchive("base:1")), null, true, _ => { }, Cancellation);
        var id = store.Get("base:1").Id;
        return (id, store.CreateWritableLayer("c1", id));
    }

    private static PrivateMountTree Mount(WritableLayer layer) => new(DetachedMount.Overlay(layer.LowerDirectories, layer.UpperDirectory, layer.WorkDirectory, MountAttributes.None));

    private static List<string> Diff(WritableLayer layer) => [.. FileChange.Between(layer.UpperDirectory, layer.LowerDirectories).Select(c => $"{"CAD"[(int)c.Kind]} {c.Path}")];

    private static void Change(SafeFileHandle root)
    {
        FileAt.Unlink(root, "dir/a");
        using (var made = FileAt.Open(root, "dir/new", OpenFlags.WriteOnly | OpenFlags.Create, 0x1A4)) { }
        FileTree.Remove(root, "gone"u8);
        FileTree.Remove(root, "replaced"u8);
        FileAt.MakeDirectory(root, "replaced", 0x1ED);
        using (var made = FileAt.Open(root, "replaced/new", OpenFlags.WriteOnly | OpenFlags.Create, 0x1A4)) { }
        FileAt.ChangeMode(root, "file", 0x180);
        using (var opened = FileAt.Open(root, "same", OpenFlags.ReadWrite)) { }
    }

    [Fact]
    public async Task Changes_are_told_as_the_container_sees_them()
    {
        var (_, layer) = await Container();
        Assert.Empty(Diff(layer));
        using (var tree = Mount(layer)) Change(tree.Root);
        Assert.Equal(
            ["C /dir", "D /dir/a", "A /dir/new", "C /file", "D /gone", "C /replaced", "A /replaced/new", "D /replaced/old"],
            Diff(layer));
    }

    [Fact]
    public async Task Overlays_have_no_redirects_and_no_half_copied_files()
    {
        var (_, layer) = await Container();
        using (var tree = Mount(layer))
        {
            // With redirect_dir=on this would succeed and leave a directory whose content is elsewhere.
            Assert.Equal(Errno.EXDEV, RawAt.Rename(tree.Root, "moved"u8, tree.Root, "elsewhere"u8));
            FileAt.ChangeMode(tree.Root, "file", 0x180);
        }
        // With metacopy=on there would be only the mode.
        Assert.Equal(new byte[100_000], File.ReadAllBytes(Path.Combine(layer.UpperDirectory, "file")));
        using var upper = FileAt.Open(null, layer.UpperDirectory, OpenFlags.ReadOnly | OpenFlags.Directory);
        Assert.Equal(Errno.ENODATA, RawAt.GetXattr(upper, "file"u8, "trusted.overlay.metacopy"u8, out _));
    }

    [Fact]
    public async Task A_committed_image_shows_what_the_container_saw()
    {
        var (parent, layer) = await Container();
        using (var tree = Mount(layer)) Change(tree.Root);
        var id = await store.CommitAsync(layer.UpperDirectory, new CommitOptions
        {
            ContainerId = "c1", Parent = parent, ContainerConfig = new ContainerConfig { Cmd = ["run", "it"], Env = ["A=1"], Labels = new Dictionary<string, string> { ["l"] = "container" } },
            Config = new ContainerConfig { Cmd = ["run", "it"], Env = ["B=2"], Labels = new Dictionary<string, string> { ["l"] = "changed" }, Entrypoint = ["/e"] }, Author = "me", Message = "why", Name = ImageReference.Parse("committed:1"),
        }, Cancellation);
        var image = store.Get("committed:1");
        Assert.Equal((id, parent, 2), (image.Id, image.Parent, image.DiffIds.Count));
        Assert.Equal(["B=2", "A=1"], image.Config.Config!.Env!.OrderDescending());
        Assert.Equal(("changed", "me", "why"), (image.Config.Config.Labels!["l"], image.Config.Author, image.Config.Comment));
        Assert.Equal(["/e"], image.Config.Config.Entrypoint!);
        Assert.Equal(["run", "it"], image.Config.Config.Cmd!);
        Assert.Equal(("run it", "why"), (image.Config.History![^1].CreatedBy, image.Config.History[^1].Comment));

        var again = store.CreateWritableLayer("c2", id);
        using var before = Mount(layer);
        using var after = Mount(again);
        Assert.Equal(await Tar(before.Root), await Tar(after.Root));
        Assert.DoesNotContain("trusted.overlay", System.Text.Encoding.Latin1.GetString(await Tar(after.Root)));
    }

    [Fact]
    public async Task A_container_that_changed_nothing_adds_no_layer()
    {
        var (parent, layer) = await Container();
        var options = new CommitOptions { ContainerId = "c1", Parent = parent, ContainerConfig = new ContainerConfig { Cmd = ["x"] } };
        var image = store.Get((await store.CommitAsync(layer.UpperDirectory, options, Cancellation)).ToString());
        Assert.Equal(store.Get("base:1").DiffIds, image.DiffIds);
        Assert.True(image.Config.History![^1].EmptyLayer);
    }

    private static async Task<byte[]> Tar(SafeFileHandle root)
    {
        var output = new MemoryStream();
        await TreeArchive.WriteAsync(root, "/", null, userXattrs: true, output, Cancellation);
        return output.ToArray();
    }
}
