using System.Text;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Daemon.BuildKit;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Testing;

namespace Berth.Fast.Tests.Daemon.BuildKit;

/// <summary>Transfers of files, with a client that is a list of packets.</summary>
public sealed class FileReceiverTests : IDisposable
{
    private readonly TestDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    private string Root => Path.Combine(_directory.Path, "root");

    private static FileStat Folder(string path) => new(path) { Mode = FileStat.Directory | 0x1ED };
    private static FileStat File_(string path, int size = 0, long time = 1_000_000_000) => new(path) { Mode = 0x1A4, Size = size, ModTime = time };
    private static FileStat Link(string path, string target) => new(path) { Mode = FileStat.SymbolicLink | 0x1FF, LinkName = target };

    /// <summary>Tells the files, answers what is asked for, ends as the protocol has it.</summary>
    private async Task<FileReceiver> ReceiveAsync(IReadOnlyList<FileStat> files, Func<string, byte[]>? content = null, IEnumerable<Packet>? instead = null, KnownDigests? known = null)
    {
        Directory.CreateDirectory(Root);
        using var root = FileAt.Open(null, Root, OpenFlags.ReadOnly | OpenFlags.Directory);
        var packets = System.Threading.Channels.Channel.CreateUnbounded<Packet?>();
        foreach (var packet in instead ?? [.. files.Select(f => new Packet(PacketType.Stat) { Stat = f }), new Packet(PacketType.Stat)]) packets.Writer.TryWrite(packet);
        if (instead is not null) packets.Writer.TryWrite(null);
        var receiver = new FileReceiver(root, known: known);
        await receiver.ReceiveAsync(async () => await packets.Reader.ReadAsync(), packet =>
        {
            if (packet.Type == PacketType.Request)
            {
                var bytes = content!(files[(int)packet.Id].Path);
                // In two pieces.
                packets.Writer.TryWrite(new Packet(PacketType.Data) { Id = packet.Id, Data = bytes[..(bytes.Length / 2)] });
                packets.Writer.TryWrite(new Packet(PacketType.Data) { Id = packet.Id, Data = bytes[(bytes.Length / 2)..] });
                packets.Writer.TryWrite(new Packet(PacketType.Data) { Id = packet.Id });
            }
            else if (packet.Type == PacketType.End)
            {
                packets.Writer.TryWrite(new Packet(PacketType.End));
                packets.Writer.TryWrite(null);
            }
            return Task.CompletedTask;
        });
        return receiver;
    }

    [Fact]
    public async Task A_tree_arrives_and_later_only_what_changed()
    {
        static byte[] Content(string path) => Encoding.UTF8.GetBytes(path + "!");
        FileStat[] first = [File_("a", 2), Folder("d"), File_("d/b", 4), Folder("d/e"), Link("d/l", "../../outside"), File_("empty"), Folder("gone"), File_("gone/x", 7)];
        Assert.Equal(3, (await ReceiveAsync(first, Content)).Requested);
        Assert.Equal("d/b!", File.ReadAllText(Path.Combine(Root, "d/b")));
        Assert.Equal("../../outside", new FileInfo(Path.Combine(Root, "d/l")).LinkTarget);

        FileStat[] second = [File_("a", 2), Folder("d"), File_("d/b", 4, time: 2_000_000_000), Folder("d/e"), File_("d/l", 4), File_("empty")];
        Assert.Equal(2, (await ReceiveAsync(second, Content)).Requested);
        Assert.False(Directory.Exists(Path.Combine(Root, "gone")));
        Assert.Equal("d/l!", File.ReadAllText(Path.Combine(Root, "d/l")));
        Assert.Equal(DateTimeOffset.FromUnixTimeSeconds(2).UtcDateTime, File.GetLastWriteTimeUtc(Path.Combine(Root, "d/b")));

        // A directory where a file was, and the other way round.
        FileStat[] third = [Folder("a"), File_("d", 2)];
        await ReceiveAsync(third, Content);
        Assert.True(Directory.Exists(Path.Combine(Root, "a")));
        Assert.Equal("d!", File.ReadAllText(Path.Combine(Root, "d")));
    }

    [Fact]
    public async Task What_files_hold_is_known_when_they_have_come()
    {
        Directory.CreateDirectory(Root);
        var (uid, gid) = FileAt.Status(null, Root) is var status ? (status.Uid, status.Gid) : default;
        FileStat File(string path, int size) => new(path) { Mode = 0x1A4, Size = size, ModTime = 1_000_000_000, Uid = uid, Gid = gid };
        var known = new KnownDigests();
        // The second is longer than it was told to be: it grew while it was sent.
        await ReceiveAsync([File("as-told", 7), File("longer", 3)], Encoding.UTF8.GetBytes, known: known);
        known.Save(_directory["known"]);
        Assert.Equal(60, new FileInfo(_directory["known"]).Length);

        using var root = FileAt.Open(null, Root, OpenFlags.ReadOnly | OpenFlags.Directory);
        Assert.Equal(TreeCopy.Describe(root, "/", null, false, 10, CancellationToken.None), TreeCopy.Describe(root, "/", null, false, 10, CancellationToken.None, KnownDigests.Read(_directory["known"])));
    }

    [Fact]
    public async Task Names_of_one_file_stay_one()
    {
        await ReceiveAsync([File_("a", 2), new FileStat("b") { Mode = 0x1A4, Size = 2, LinkName = "a" }], Encoding.UTF8.GetBytes);
        Assert.Equal(2u, FileAt.Status(null, Path.Combine(Root, "a")).LinkCount);
    }

    public static TheoryData<string, FileStat[]> Hostile => new()
    {
        { "up", [File_("../x")] },
        { "up within", [Folder("d"), File_("d/../../x")] },
        { "absolute", [File_("/x")] },
        { "dot", [File_(".")] },
        { "empty", [File_("")] },
        { "slash at the end", [Folder("d/")] },
        { "a directory that was not told", [File_("d/x")] },
        { "through a link", [Link("d", "/tmp"), File_("d/x")] },
        { "through a file", [File_("d"), File_("d/x")] },
        { "back into a directory that was left", [Folder("a"), Folder("b"), File_("a/x")] },
        { "told twice", [File_("x"), File_("x")] },
        { "a link made a directory", [Link("d", "/tmp"), Folder("d"), File_("d/x")] },
        { "a name for a file that was not told", [new FileStat("x") { Mode = 0x1A4, LinkName = "../../etc/passwd" }] },
        { "a name for a link", [Link("l", "/etc/passwd"), new FileStat("x") { Mode = 0x1A4, LinkName = "l" }] },
        { "too deep", [.. Enumerable.Range(1, 300).Select(n => Folder(string.Join('/', Enumerable.Repeat("d", n))))] },
        { "a long name", [File_(new string('x', 256))] },
    };

    [Theory]
    [MemberData(nameof(Hostile), DisableDiscoveryEnumeration = true)]
    public async Task A_client_that_leaves_its_root_is_refused(string why, FileStat[] files)
    {
        Assert.NotEmpty(why);
        var failure = await Assert.ThrowsAsync<GrpcException>(() => ReceiveAsync(files, _ => []));
        Assert.StartsWith("transfer of files: ", failure.Message, StringComparison.Ordinal);
        Assert.Equal(["root"], Directory.GetFileSystemEntries(_directory.Path).Select(Path.GetFileName));
    }

    [Fact]
    public async Task What_stands_there_from_before_leads_nowhere()
    {
        // A context that held a link where this one has a directory.
        await ReceiveAsync([Link("d", _directory.Path)], _ => []);
        await ReceiveAsync([Folder("d"), File_("d/x", 1)], _ => "x"u8.ToArray());
        Assert.True(File.Exists(Path.Combine(Root, "d/x")));
        Assert.False(File.Exists(Path.Combine(_directory.Path, "x")));
    }

    [Fact]
    public async Task Content_nobody_asked_for_and_errors_end_the_transfer()
    {
        var unasked = await Assert.ThrowsAsync<GrpcException>(() => ReceiveAsync([], instead: [new Packet(PacketType.Data) { Id = 3 }]));
        Assert.Contains("not asked for", unasked.Message, StringComparison.Ordinal);
        var failed = await Assert.ThrowsAsync<GrpcException>(() => ReceiveAsync([], instead: [new Packet(PacketType.Error) { Data = "disk on fire"u8.ToArray() }]));
        Assert.Equal("error from sender: disk on fire", failed.Message);
        var cut = await Assert.ThrowsAsync<GrpcException>(() => ReceiveAsync([], instead: [new Packet(PacketType.Stat) { Stat = File_("a", 9) }]));
        Assert.Contains("ended before its time", cut.Message, StringComparison.Ordinal);
    }
}
