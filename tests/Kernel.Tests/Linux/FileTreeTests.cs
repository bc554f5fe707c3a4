using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Testing;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Linux;

public sealed class FileTreeTests : IDisposable
{
    private readonly TestDirectory directory = new();

    public FileTreeTests() => Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");

    public void Dispose() => directory.Dispose();

    private static void Check(Errno errno) => Assert.Equal(Errno.Success, errno);

    [Fact]
    public void A_tree_deeper_than_any_path_is_removed()
    {
        Directory.CreateDirectory(directory["deep"]);
        var name = Encoding.ASCII.GetBytes(new string('d', 200));
        var at = FileAt.Open(null, directory["deep"], OpenFlags.Path | OpenFlags.Directory);
        for (var depth = 0; depth < 3000; depth++)
        {
            Check(RawAt.MakeDirectory(at, name, 0x1C0));
            Check(RawAt.MakeNode(at, "file"u8, FileKind.Regular, 0x180));
            Check(RawAt.Open(at, name, OpenFlags.Path | OpenFlags.Directory, ResolveFlags.None, 0, out var next));
            at.Dispose();
            at = next!;
        }
        at.Dispose();

        FileTree.Remove(directory["deep"]);
        Assert.False(Directory.Exists(directory["deep"]));
    }

    [Fact]
    public void Names_of_any_bytes_are_removed_and_no_link_is_followed()
    {
        Directory.CreateDirectory(directory["outside"]);
        File.WriteAllText(directory["outside/stays"], "");
        Directory.CreateDirectory(directory["tree/sub"]);
        File.CreateSymbolicLink(directory["tree/link"], directory["outside"]);
        File.CreateSymbolicLink(directory["tree/sub/up"], "../../outside");
        using (var sub = FileAt.Open(null, directory["tree/sub"], OpenFlags.Path | OpenFlags.Directory))
        {
            Check(RawAt.MakeDirectory(sub, [0xFF, (byte)'\n', (byte)'\\'], 0));
            Check(RawAt.MakeNode(sub, [0xC3, 0x28], FileKind.CharacterDevice, 0));
        }
        for (var i = 0; i < 3000; i++) File.WriteAllText(directory[$"tree/sub/{i}"], ""); // more than one getdents64 holds

        FileTree.Remove(directory["tree"]);
        Assert.False(Directory.Exists(directory["tree"]));
        Assert.True(File.Exists(directory["outside/stays"]));
        FileTree.Remove(directory["tree"]);
        FileTree.Remove(directory["nothing/there"]);
    }

    [Fact]
    public void A_link_is_removed_and_not_what_it_points_to()
    {
        Directory.CreateDirectory(directory["target"]);
        File.CreateSymbolicLink(directory["link"], "target");
        FileTree.Remove(directory["link"] + "/");
        Assert.True(Directory.Exists(directory["target"]));
        Assert.False(Path.Exists(directory["link"]));
    }
}
