using System.Text;
using System.Threading.Channels;
using Berth.Api.BuildKit;
using Berth.Cli.Commands.Builds;
using Berth.Testing;

namespace Berth.Fast.Tests.Cli;

public class BuildFilesTests
{
    private static FileStat Directory_(string path, uint permissions = 0x1ED) => new(path) { Mode = FileStat.Directory | permissions };
    private static FileStat File_(string path, uint permissions = 0x1A4) => new(path) { Mode = permissions, ModTime = 1_600_000_000_000_000_000 };
    private static FileStat Link(string path, string target) => new(path) { Mode = FileStat.SymbolicLink | 0x1FF, LinkName = target };
    private static FileStat HardLink(string path, string other) => new(path) { Mode = 0x1A4, LinkName = other };

    /// <summary>Sends files whose content is their path, and writes them into the directory.</summary>
    private static async Task Transfer(string directory, ISentFiles files)
    {
        var (there, back) = (Channel.CreateUnbounded<Packet>(), Channel.CreateUnbounded<Packet>());
        var sending = new FileSender(files).SendAsync(() => Read(back), p => there.Writer.WriteAsync(p).AsTask(), TestContext.Current.CancellationToken);
        try
        {
            await new OutputTree(directory).ReceiveAsync(() => Read(there), p => back.Writer.WriteAsync(p).AsTask());
        }
        catch (IOException e)
        {
            await back.Writer.WriteAsync(new Packet(PacketType.Error) { Data = Encoding.UTF8.GetBytes(e.Message) });
            await ((Task)sending).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }
        await sending;

        static async Task<Packet?> Read(Channel<Packet> channel) => await channel.Reader.ReadAsync(TestContext.Current.CancellationToken);
    }

    private static Task Transfer(string directory, params FileStat[] files) => Transfer(directory, new Told(files));

    private sealed class Told(FileStat[] files) : ISentFiles
    {
        public IEnumerable<FileStat> List(CancellationToken cancellation) => files;

        public Stream Open(string path) => new MemoryStream(Encoding.UTF8.GetBytes(path));
    }

    [Fact]
    public async Task Files_directories_and_links_become_what_was_told()
    {
        using var directory = new TestDirectory();
        await Transfer(directory.Path, Directory_("d", 0x1C0), File_("d/x", 0x1ED), HardLink("hard", "d/x"), Link("link", "d/x"));
        Assert.Equal("d/x", File.ReadAllText(directory["hard"]));
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
    public async Task A_name_that_leads_elsewhere_is_refused(string name)
    {
        using var directory = new TestDirectory();
        Directory.CreateDirectory(directory["in"]);
        await Assert.ThrowsAsync<IOException>(() => Transfer(directory["in"], File_(name)));
        Assert.False(File.Exists(directory["out"]));
    }

    [Fact]
    public async Task Nothing_is_written_through_a_link_that_came_with_the_files()
    {
        using var directory = new TestDirectory();
        Directory.CreateDirectory(directory["in"]);
        Directory.CreateDirectory(directory["victim"]);
        await Assert.ThrowsAsync<IOException>(() => Transfer(directory["in"], Link("door", directory["victim"]), File_("door/x")));
        await Assert.ThrowsAsync<IOException>(() => Transfer(directory["in"], Directory_("d"), Link("d", directory["victim"])));
        await Assert.ThrowsAsync<IOException>(() => Transfer(directory["in"], HardLink("secret", "door/../../victim/x")));
        Assert.Empty(Directory.GetFileSystemEntries(directory["victim"]));
        // A file takes a link's place; it does not go where the link leads, nor does its mode when a link takes its name before its content has come.
        File.WriteAllText(directory["victim/x"], "theirs");
        File.SetUnixFileMode(directory["victim/x"], (UnixFileMode)0x180);
        File.CreateSymbolicLink(directory["in/x"], directory["victim/x"]);
        await Transfer(directory["in"], File_("x"));
        Assert.Equal(("theirs", "x"), (File.ReadAllText(directory["victim/x"]), File.ReadAllText(directory["in/x"])));
        await Transfer(directory["in"], File_("y", 0x1FF), Link("y", directory["victim/x"]));
        Assert.Equal((UnixFileMode)0x180, File.GetUnixFileMode(directory["victim/x"]));
    }

    private static string[] Listed(TestDirectory directory, string[] include, string[] exclude, string[] follow)
    {
        var paths = new List<string>();
        foreach (var file in new ContextFiles(directory.Path, include, exclude, follow).List(TestContext.Current.CancellationToken)) paths.Add(file.Path);
        return [.. paths];
    }

    [Fact]
    public void A_context_is_told_in_order_without_what_is_left_out_and_with_the_directories_of_what_is_not()
    {
        using var directory = new TestDirectory();
        foreach (var path in (string[])["a.b", "a/x", "a/deep/in", "a/deep/out", "b/y"])
        {
            Directory.CreateDirectory(Path.GetDirectoryName(directory[path])!);
            File.WriteAllText(directory[path], path);
        }
        Assert.Equal(["a", "a/deep", "a/deep/in", "a/deep/out", "a/x", "a.b", "b", "b/y"], Listed(directory, [], [], []));
        Assert.Equal(["a", "a/deep", "a/deep/in", "a.b", "b", "b/y"], Listed(directory, [], ["a", "!a/deep/in"], []));
        Assert.Equal(["a", "a/deep", "a/deep/in", "a/deep/out"], Listed(directory, [], [], ["a/deep"]));
        Assert.Equal(["b", "b/y"], Listed(directory, ["b/*"], [], []));
        Assert.Equal(["a", "a/deep", "a/deep/in"], Listed(directory, ["a"], ["a/x", "**/out"], []));
    }

    [Fact]
    public void What_a_wanted_link_leads_to_is_wanted_and_nothing_outside_is()
    {
        using var directory = new TestDirectory();
        Directory.CreateDirectory(directory["real/inner"]);
        File.WriteAllText(directory["real/inner/f"], "");
        File.WriteAllText(directory["other"], "");
        File.CreateSymbolicLink(directory["first"], "second");
        File.CreateSymbolicLink(directory["second"], "/real");
        File.CreateSymbolicLink(directory["round"], "round");
        Assert.Equal(["first", "real", "real/inner", "real/inner/f", "second"], Listed(directory, [], [], ["first/inner"]));
        Assert.Equal(["round"], Listed(directory, [], [], ["round", "../../etc/passwd"]));
    }

    [Fact]
    public async Task A_file_without_content_is_not_opened()
    {
        using var directory = new TestDirectory();
        File.WriteAllText(directory["empty"], "");
        await using var content = new ContextFiles(directory.Path, [], [], []).Open("empty");
        Assert.Equal(-1, content.ReadByte());
    }
}
