using Berth.Cli;
using Berth.Cli.Commands.Builds;
using Berth.Testing;

namespace Berth.Fast.Tests.Cli;

public class BuildFilesTests
{
    private static void Unpack(string directory, TarBuilder tar)
    {
        var unpacker = new BuildUnpacker(directory);
        // In pieces of an odd length: nothing may hang on where they end.
        var bytes = tar.Build();
        for (var at = 0; at < bytes.Length; at += 333) unpacker.Take(bytes.AsSpan(at, Math.Min(333, bytes.Length - at)));
        unpacker.Take([]);
    }

    [Fact]
    public void Files_directories_and_links_become_what_the_tar_says()
    {
        using var directory = new TestDirectory();
        Unpack(directory.Path, new TarBuilder().Directory("d/", 0x1C0).File("d/x", "content", 0x1ED).Symlink("link", "d/x").Link("hard", "d/x"));
        Assert.Equal("content", File.ReadAllText(directory["hard"]));
        Assert.Equal("d/x", new FileInfo(directory["link"]).LinkTarget);
        Assert.Equal((UnixFileMode)0x1C0, File.GetUnixFileMode(directory["d"]));
        Assert.Equal((UnixFileMode)0x1ED, File.GetUnixFileMode(directory["d/x"]));
        Assert.Equal(DateTimeOffset.FromUnixTimeSeconds(1_600_000_000).UtcDateTime, File.GetLastWriteTimeUtc(directory["d/x"]));
    }

    [Theory]
    [InlineData("../out")]
    [InlineData("/out")]
    [InlineData("a/../../out")]
    [InlineData("./out")]
    public void A_name_that_leads_elsewhere_is_refused(string name)
    {
        using var directory = new TestDirectory();
        Directory.CreateDirectory(directory["in"]);
        Assert.Throws<CommandException>(() => Unpack(directory["in"], new TarBuilder().File(name, "x")));
        Assert.False(File.Exists(directory["out"]));
    }

    [Fact]
    public void Nothing_is_written_through_a_link_that_came_with_the_tar()
    {
        using var directory = new TestDirectory();
        Directory.CreateDirectory(directory["in"]);
        Directory.CreateDirectory(directory["victim"]);
        Assert.Throws<CommandException>(() => Unpack(directory["in"], new TarBuilder().Symlink("door", directory["victim"]).File("door/x", "x")));
        Assert.Throws<CommandException>(() => Unpack(directory["in"], new TarBuilder().Directory("d/").Symlink("d", directory["victim"])));
        Assert.Throws<CommandException>(() => Unpack(directory["in"], new TarBuilder().Link("secret", "door/../../victim/x")));
        Assert.Empty(Directory.GetFileSystemEntries(directory["victim"]));
        // A file takes a link's place; it does not go where the link leads.
        File.WriteAllText(directory["victim/x"], "theirs");
        File.CreateSymbolicLink(directory["in/x"], directory["victim/x"]);
        Unpack(directory["in"], new TarBuilder().File("x", "ours"));
        Assert.Equal(("theirs", "ours"), (File.ReadAllText(directory["victim/x"]), File.ReadAllText(directory["in/x"])));
    }
}
