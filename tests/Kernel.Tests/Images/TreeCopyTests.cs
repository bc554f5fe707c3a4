using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Testing;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Images;

/// <summary>COPY: a tree into an overlay, of which most is written to the upper directory without going through it.</summary>
public sealed class TreeCopyTests : IDisposable
{
    private readonly TestDirectory directory = new();

    public TreeCopyTests() => Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");

    public void Dispose() => directory.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_is_written_past_the_overlay_is_what_would_be_written_through_it()
    {
        // Below: a directory that is merged into, a file and a link in the way, and a directory that the layer between hides.
        Make("below/there/old", "old");
        Make("below/there/replaced", "old");
        Make("below/hidden/old", "old");
        Directory.CreateSymbolicLink(directory["below/there/link"], "/elsewhere");
        Directory.CreateDirectory(directory["between"]);
        using (var between = Open("between")) Assert.Equal(Errno.Success, RawAt.MakeNode(between, "hidden"u8, FileKind.CharacterDevice, 0));

        Make("source/there/replaced", "new");
        Make("source/there/link", "no link any more");
        Make("source/hidden/new", "new");
        Make("source/fresh/deep/large", new string('x', 300_000));
        Make("source/fresh/deep/empty", "");
        Make("source/fresh/set-id", "s");
        Make("source/fresh/first", "two names");
        using (var source = Open("source/fresh"))
        {
            RawAt.ChangeOwner(source, "set-id"u8, 1000, 2000);
            RawAt.ChangeMode(source, "set-id"u8, 0xDED);
            RawAt.SetXattr(source, "set-id"u8, "security.capability"u8, [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            RawAt.SymbolicLink("first"u8, source, "symbolic"u8);
            RawAt.MakeNode(source, "pipe"u8, FileKind.Fifo, 0x1A4);
            Assert.Equal(Errno.Success, RawAt.HardLink(source, "first"u8, source, "second"u8));
            using var other = Open("source/there");
            Assert.Equal(Errno.Success, RawAt.HardLink(source, "first"u8, other, "third"u8));
        }
        Make("more/fresh/deep/later", "into what the first made");

        var through = await CopyAsync("through", past: false);
        var past = await CopyAsync("past", past: true);
        Assert.Equal(through, past);
        Assert.Equal(3u, FileAt.Status(null, directory["past/fresh/first"]).LinkCount);
        Assert.Equal(0xDEDu, FileAt.Status(null, directory["past/fresh/set-id"]).Permissions);
        Assert.Equal(0u, FileAt.Status(null, directory["past/fresh/deep/large"]).Modified.Nanoseconds);
        Assert.False(File.Exists(directory["past/there/old"])); // the layer has what was copied and nothing else
    }

    private SafeFileHandle Open(string path) => FileAt.Open(null, directory[path], OpenFlags.ReadOnly | OpenFlags.Directory);

    private void Make(string path, string content)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(directory[path])!);
        File.WriteAllText(directory[path], content);
        File.SetLastWriteTimeUtc(directory[path], new DateTime(2001, 2, 3, 4, 5, 6, 789, DateTimeKind.Utc));
    }

    // The merged tree as a tar, as a container would see it, with directories' times evened out: those that were there get a new one.
    private async Task<string> CopyAsync(string upper, bool past)
    {
        Directory.CreateDirectory(directory[upper]);
        Directory.CreateDirectory(directory[upper + "-work"]);
        using var overlay = new PrivateMountTree(DetachedMount.Overlay([directory["between"], directory["below"]], directory[upper], directory[upper + "-work"], MountAttributes.NoDev, isVolatile: true));
        using (var alone = Open(upper))
        {
            foreach (var name in (string[])["source", "more"])
            {
                using var source = Open(name);
                TreeCopy.Copy(source, "/", overlay.Root, "/", new TreeCopyRules { WholeSeconds = true, Upper = past ? alone : null }, Cancellation);
            }
            using var again = Open("source");
            TreeCopy.Copy(again, "/fresh", overlay.Root, "/made/for/it", new TreeCopyRules { WholeSeconds = true, Upper = past ? alone : null, Owner = (7, 8) }, Cancellation);
        }
        var tar = new MemoryStream();
        foreach (var path in Directory.EnumerateDirectories(directory[upper], "*", SearchOption.AllDirectories)) Directory.SetLastWriteTimeUtc(path, DateTime.UnixEpoch);
        using var layers = new PrivateMountTree(DetachedMount.Overlay([directory[upper], directory["between"], directory["below"]], null, null, MountAttributes.ReadOnly));
        await TreeArchive.WriteAsync(layers.Root, "/", null, userXattrs: true, tar, Cancellation);
        return Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(tar.ToArray())) + " " + string.Join(' ', Directory.EnumerateFileSystemEntries(directory[upper], "*", SearchOption.AllDirectories).Select(p => Path.GetRelativePath(directory[upper], p)).Order(StringComparer.Ordinal));
    }
}
