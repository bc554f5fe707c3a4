using System.Text;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Testing;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Images;

/// <summary>Trees to tars and back beneath a root, as docker cp needs it: the tar and the root are both hostile.</summary>
public sealed class TreeArchiveTests : IDisposable
{
    private readonly TestDirectory directory = new();
    private readonly SafeFileHandle root;

    public TreeArchiveTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        Directory.CreateDirectory(directory["outside"]);
        Directory.CreateDirectory(directory["root/in"]);
        root = FileAt.Open(null, directory["root"], OpenFlags.Path | OpenFlags.Directory);
    }

    public void Dispose()
    {
        root.Dispose();
        directory.Dispose();
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private Task Extract(TarBuilder tar, string into = "/in", bool keepKinds = false, (uint, uint)? owner = null) =>
        TreeArchive.ExtractAsync(new MemoryStream(tar.Build()), root, into, owner, keepKinds, Cancellation);

    private async Task<byte[]> Write(string path, string? name)
    {
        var output = new MemoryStream();
        await TreeArchive.WriteAsync(root, path, name, userXattrs: true, output, Cancellation);
        return output.ToArray();
    }

    [Fact]
    public async Task A_tree_comes_back_as_it_was()
    {
        var tar = new TarBuilder()
            .Directory("d/", 0x5ED, uid: 5, gid: 6).File("d/f", "hello", mode: 0x9ED, uid: 1000, gid: 2000).Symlink("d/l", "../../x").Device('3', "d/null", 1, 3)
            .Entry('6', "d/pipe").File("d/" + new string('n', 200), "long").File("d/xattr", "x", pax: ("SCHILY.xattr.user.berth", "v")).File("hard", "h").Link("z-hard", "hard");
        await Extract(tar);
        var first = await Write("/in", null);
        Directory.CreateDirectory(directory["root/again"]);
        await TreeArchive.ExtractAsync(new MemoryStream(first), root, "/again", null, keepKinds: false, Cancellation);
        Assert.Equal(first, await Write("/again", null));
        var status = FileAt.Status(null, directory["root/again/d/f"]);
        Assert.Equal((1000u, 2000u, 0x9EDu), (status.Uid, status.Gid, status.Permissions));
        using (var file = FileAt.Open(null, directory["root/again/d/xattr"], OpenFlags.ReadOnly)) Assert.Equal((Errno.Success, "v"), (RawAt.GetXattr(file, "user.berth"u8, out var value), Encoding.UTF8.GetString(value)));
        Assert.Equal(2u, FileAt.Status(null, directory["root/again/hard"]).LinkCount);
        Assert.Equal("../../x", File.ResolveLinkTarget(directory["root/again/d/l"], false) is { } link ? Path.GetRelativePath(directory["root/again/d"], link.FullName) : "");
    }

    [Fact]
    public async Task Trees_deeper_than_descriptors_are_kept_open_come_back_whole()
    {
        var path = directory["root/in"];
        for (var depth = 0; depth < 200; depth++)
        {
            path += "/d";
            Directory.CreateDirectory(path);
            File.WriteAllText(path + "/before", $"{depth}");
            File.WriteAllText(path + "/after", $"{depth}");
        }
        var tar = await Write("/in", "in");
        Directory.CreateDirectory(directory["root/out"]);
        await TreeArchive.ExtractAsync(new MemoryStream(tar), root, "/out", null, keepKinds: false, Cancellation);
        Assert.Equal("199", File.ReadAllText(directory["root/out"] + "/in" + string.Concat(Enumerable.Repeat("/d", 200)) + "/before"));
        Assert.Equal(400, Directory.GetFiles(directory["root/out"], "*", SearchOption.AllDirectories).Length);
    }

    [Fact]
    public async Task Links_in_the_root_lead_nowhere_else()
    {
        File.CreateSymbolicLink(directory["root/in/abs"], directory["outside"]);
        File.CreateSymbolicLink(directory["root/in/up"], "../../../../../../../../.." + directory["outside"]);
        await Assert.ThrowsAsync<ImageException>(() => Extract(new TarBuilder().File("abs/evil", "x")));
        await Assert.ThrowsAsync<ImageException>(() => Extract(new TarBuilder().File("up/evil", "x")));
        await Extract(new TarBuilder().Symlink("to-root", "/").File("to-root/inside", "x").Symlink("dots", "../../..").File("dots/inside2", "x"));
        Assert.True(File.Exists(directory["root/inside"]) && File.Exists(directory["root/inside2"]));
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["outside"]));
        Assert.False(File.Exists("/inside") || File.Exists("/inside2"));
    }

    [Theory]
    [InlineData("../evil")]
    [InlineData("a/../../evil")]
    public async Task Names_that_leave_the_directory_are_refused(string name)
    {
        var error = await Assert.ThrowsAsync<ImageException>(() => Extract(new TarBuilder().File(name, "x")));
        Assert.Equal($"\"{name}\" is outside of \"/in\"", error.Message);
        Assert.Empty(Directory.EnumerateFiles(directory["root"], "evil", SearchOption.AllDirectories));
        error = await Assert.ThrowsAsync<ImageException>(() => Extract(new TarBuilder().Link("l", name)));
        Assert.Equal($"invalid hardlink \"/in/l\" -> \"{name}\"", error.Message);
    }

    [Fact]
    public async Task Names_from_the_root_on_and_dots_inside_stay_where_they_belong()
    {
        await Extract(new TarBuilder().File("/a", "1").File("/../b", "2").File("x/../c", "3").File("./d/./e", "4"));
        Assert.Equal(["a", "b", "c", "d", "d/e"], Directory.GetFileSystemEntries(directory["root/in"], "*", SearchOption.AllDirectories).Select(p => Path.GetRelativePath(directory["root/in"], p)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_container_that_swaps_directories_for_links_meanwhile_gains_nothing()
    {
        // The directory members go into is a directory one moment and a link out of the root the next.
        Directory.CreateDirectory(directory["root/in/d"]);
        File.CreateSymbolicLink(directory["root/in/link"], directory["outside"]);
        var tar = new TarBuilder();
        for (var i = 0; i < 500; i++) tar.File($"d/f{i}", "x").Directory($"d/s{i}", 0x1FF).Entry('6', $"d/p{i}");
        using var stop = new CancellationTokenSource();
        using var inside = FileAt.Open(null, directory["root/in"], OpenFlags.Path | OpenFlags.Directory);
        var swapping = Task.Run(
            () =>
            {
                while (!stop.IsCancellationRequested)
                {
                    _ = RawAt.Rename(inside, "d"u8, inside, "away"u8);
                    _ = RawAt.Rename(inside, "link"u8, inside, "d"u8);
                    _ = RawAt.Rename(inside, "d"u8, inside, "link"u8);
                    _ = RawAt.Rename(inside, "away"u8, inside, "d"u8);
                }
            }, Cancellation);
        for (var round = 0; round < 3; round++)
        {
            try
            {
                await Extract(tar);
            }
            catch (ImageException)
            {
                // That it fails is fine.
            }
        }
        await stop.CancelAsync();
        await swapping;
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["outside"]));
    }

    [Fact]
    public async Task Directories_and_files_do_not_replace_each_other_when_that_is_asked()
    {
        Directory.CreateDirectory(directory["root/in/d"]);
        File.WriteAllText(directory["root/in/f"], "");
        Assert.Equal("cannot overwrite directory \"/in/d\" with non-directory \"/in\"", (await Assert.ThrowsAsync<ImageException>(() => Extract(new TarBuilder().File("d", "x"), keepKinds: true))).Message);
        Assert.Equal("cannot overwrite non-directory \"/in/f\" with directory \"/in\"", (await Assert.ThrowsAsync<ImageException>(() => Extract(new TarBuilder().Directory("f"), keepKinds: true))).Message);
        await Extract(new TarBuilder().File("d", "x", uid: 7).Directory("f", uid: 7), owner: (8, 9));
        Assert.Equal((8u, 9u), (FileAt.Status(null, directory["root/in/d"]).Uid, FileAt.Status(null, directory["root/in/f"]).Gid));
    }

    [Fact]
    public async Task What_is_mounted_in_a_tree_is_seen_and_never_replaced()
    {
        using var tree = new PrivateMountTree(DetachedMount.Create("tmpfs", "berth-test", [], MountAttributes.None));
        using (var place = RootedPath.OpenMountPoint(tree.Root, "/a/volume", directory: true))
        using (var volume = DetachedMount.Create("tmpfs", "berth-test", [], MountAttributes.None))
            tree.Attach(volume, place);
        using (var place = RootedPath.OpenMountPoint(tree.Root, "/a/volume/file", directory: false))
        using (var file = DetachedMount.Bind(null, directory["outside"], recursive: false))
        {
            Assert.Throws<LinuxException>(() => tree.Attach(file, place)); // a directory on a file
        }
        await TreeArchive.ExtractAsync(new MemoryStream(new TarBuilder().File("inside", "x").Build()), tree.Root, "/a/volume", null, keepKinds: false, Cancellation);
        var output = new MemoryStream();
        await TreeArchive.WriteAsync(tree.Root, "/a", "a", userXattrs: false, output, Cancellation);
        Assert.Contains("a/volume/inside", Encoding.ASCII.GetString(output.ToArray()));
        foreach (var name in (string[])["a/volume", "a"])
        {
            var error = await Assert.ThrowsAsync<ImageException>(() => TreeArchive.ExtractAsync(new MemoryStream(new TarBuilder().File(name, "x").Build()), tree.Root, "/", null, keepKinds: false, Cancellation));
            Assert.Equal("RemoveAll volume: device or resource busy", error.Message);
        }
        Assert.NotNull(RootedPath.TryResolve(tree.Root, "/a/volume/inside", mustExist: true, out _));
    }

    [Fact]
    public void Paths_are_resolved_as_within_the_root()
    {
        Directory.CreateDirectory(directory["root/in/real"]);
        File.CreateSymbolicLink(directory["root/link"], "/in/real");
        File.CreateSymbolicLink(directory["root/in/real/up"], "../../../../..");
        File.CreateSymbolicLink(directory["root/loop"], "loop");
        File.CreateSymbolicLink(directory["root/dangling"], "/in/nothing/./x");
        Assert.Equal("/in/real", RootedPath.TryResolve(root, "link", mustExist: true, out _));
        Assert.Equal("/in", RootedPath.TryResolve(root, "/link/up/in", mustExist: true, out _));
        Assert.Equal("/", RootedPath.TryResolve(root, "../..", mustExist: true, out _));
        Assert.Equal("/in/nothing/x", RootedPath.TryResolve(root, "/dangling", mustExist: false, out _));
        Assert.Null(RootedPath.TryResolve(root, "/dangling", mustExist: true, out var errno));
        Assert.Equal(Errno.ENOENT, errno);
        Assert.Null(RootedPath.TryResolve(root, "/loop", mustExist: true, out errno));
        Assert.Equal(Errno.ELOOP, errno);
    }
}
