using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Testing;

namespace Berth.Fast.Tests.Images;

public sealed class KnownDigestsTests
{
    [Fact]
    public void Files_that_did_not_change_are_known_again_and_those_that_did_are_read()
    {
        using var directory = new TestDirectory();
        var tree = Directory.CreateDirectory(directory["tree"]).FullName;
        File.WriteAllText(Path.Combine(tree, "same"), "same");
        File.WriteAllText(Path.Combine(tree, "other"), "before");
        using var root = FileAt.Open(null, tree, OpenFlags.ReadOnly | OpenFlags.Directory);
        List<TreeEntry> Describe(KnownDigests known) => TreeCopy.Describe(root, "/", null, false, 100, CancellationToken.None, known);

        var first = new KnownDigests();
        var before = Describe(first);
        first.Save(directory["known"]);
        // As a transfer does it: another file takes the name.
        File.Delete(Path.Combine(tree, "other"));
        File.WriteAllText(Path.Combine(tree, "other"), "after!");
        File.SetLastWriteTimeUtc(Path.Combine(tree, "other"), DateTime.UnixEpoch);
        var after = Describe(KnownDigests.Read(directory["known"]));
        Assert.Equal(Describe(new KnownDigests()), after);
        Assert.Equal(before.Single(e => e.Path == "same"), after.Single(e => e.Path == "same"));
        Assert.NotEqual(before.Single(e => e.Path == "other").Digest, after.Single(e => e.Path == "other").Digest);
    }

    [Fact]
    public void A_file_that_is_no_record_is_none()
    {
        using var directory = new TestDirectory();
        File.WriteAllText(directory["known"], "not a multiple of anything");
        KnownDigests.Read(directory["known"]).Save(directory["again"]);
        Assert.False(File.Exists(directory["again"]));
        KnownDigests.Read(directory["missing"]);
    }
}
