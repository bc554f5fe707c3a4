using Berth.Api.BuildKit;
using Berth.Daemon.BuildKit;

namespace Berth.Fast.Tests.Daemon.BuildKit;

public sealed class ProtoTests
{
    [Fact]
    public void Messages_are_written_as_protoc_would()
    {
        // protoc --encode, with the values below.
        Assert.Equal("0803120A0A046C6962731080803E1807", Convert.ToHexString(ProtoWriter.Encode(new Packet(PacketType.End) { Stat = new FileStat("libs") { Mode = 0xF8000 }, Id = 7 })));
        Assert.Equal("0A0131", Convert.ToHexString(ProtoWriter.Encode(new TextMessage("1"))));
    }

    [Fact]
    public void What_is_written_is_read_back()
    {
        var request = new SolveRequest
        {
            Ref = "r", Session = "s", Frontend = "dockerfile.v0", FrontendAttributes = new Dictionary<string, string> { ["build-arg:A"] = "", ["target"] = "é" }, Entitlements = ["network.host"],
            Exporters = [new TypeAndAttributes("image", new Dictionary<string, string> { ["name"] = "a,b" })], CacheImports = [new TypeAndAttributes("registry", new Dictionary<string, string>())],
        };
        var read = SolveRequest.Parse(ProtoWriter.Encode(request));
        Assert.Equal(("r", "s", "dockerfile.v0", "network.host"), (read.Ref, read.Session, read.Frontend, Assert.Single(read.Entitlements)));
        Assert.Equal(request.FrontendAttributes, read.FrontendAttributes);
        Assert.Equal(("image", "a,b"), (Assert.Single(read.Exporters).Type, read.Exporters[0].Attributes["name"]));
        Assert.Equal("registry", Assert.Single(read.CacheImports).Type);

        var stat = new FileStat("a/b") { Mode = FileStat.ModeOf(0xDED), Uid = 5, Gid = uint.MaxValue, Size = 1L << 40, ModTime = -1, LinkName = "c", Xattrs = new Dictionary<string, byte[]> { ["user.x"] = [1, 2] } };
        var again = FileStat.Parse(ProtoWriter.Encode(stat));
        Assert.Equal(stat with { Xattrs = again.Xattrs }, again);
        Assert.Equal(0xDEDu, again.Permissions);
    }

    [Fact]
    public void The_first_exporter_alone_is_taken_from_clients_that_know_one()
    {
        var writer = new ProtoWriter();
        writer.String(3, "moby");
        writer.Map(4, new Dictionary<string, string> { ["name"] = "x" });
        var exporter = Assert.Single(SolveRequest.Parse(writer.Written).Exporters);
        Assert.Equal(("moby", "x"), (exporter.Type, exporter.Attributes["name"]));
    }

    [Fact]
    public void A_result_comes_back_by_its_definition() =>
        Assert.Equal("berth-result://a/1", SourceDefinition.Parse(SourceDefinition.Encode("berth-result://a/1"))!.Identifier);

    [Theory]
    [InlineData("0A05")] // text longer than the message
    [InlineData("08")] // a number that is not there
    [InlineData("08FFFFFFFFFFFFFFFFFFFF01")] // a number too long
    [InlineData("0801FF")] // a field that is cut
    [InlineData("0B")] // a group
    [InlineData("02")] // field 0
    [InlineData("0D0102")] // four bytes of which there are two
    [InlineData("0A01410801120108")] // a number where text was expected, behind good fields
    public void Messages_that_are_none_are_refused(string hex)
    {
        var bytes = Convert.FromHexString(hex);
        Assert.Throws<ProtoException>(() =>
        {
            _ = Packet.Parse(bytes);
            _ = SolveRequest.Parse(bytes);
            _ = FileStat.Parse(bytes);
        });
    }

    [Fact]
    public void Any_bytes_are_a_message_or_refused()
    {
        var random = new Random(4242);
        var bytes = new byte[64];
        for (var i = 0; i < 20_000; i++)
        {
            random.NextBytes(bytes);
            // Mostly fields that exist, so that something is reached behind the first byte.
            bytes[0] = (byte)(random.Next(1, 15) << 3 | 2);
            bytes[1] = (byte)random.Next(0, 40);
            var part = bytes.AsSpan(0, random.Next(bytes.Length));
            try
            {
                _ = Packet.Parse(part);
                _ = SolveRequest.Parse(part);
                _ = GatewaySolveRequest.Parse(part);
                _ = ReturnRequest.Parse(part);
            }
            catch (ProtoException)
            {
                // Well said.
            }
        }
    }

    [Fact]
    public void A_definition_is_understood_when_it_is_one_source_or_unpacks_one()
    {
        var source = SourceDefinition.Parse(Definition(Source("git://example.com/a.git#main:sub", ("git.fullurl", "https://example.com/a.git"))))!;
        Assert.Equal(("git://example.com/a.git#main:sub", "https://example.com/a.git", false), (source.Identifier, source["git.fullurl"], source.Unpack));
        // FileOp.actions, FileAction.copy, attemptUnpackDockerCompatibility.
        Assert.True(SourceDefinition.Parse(Definition(Source("https://example.com/c"), Field(4, Field(2, Field(4, [7 << 3, 1])))))!.Unpack);
        Assert.Null(SourceDefinition.Parse(Definition(Source("https://example.com/c"), Field(4, Field(2, Field(4, []))))));
        Assert.Null(SourceDefinition.Parse(Definition(Source("https://example.com/c"), Field(2, []))));
        Assert.Null(SourceDefinition.Parse(Definition(Source("https://example.com/c"), Source("https://example.com/d"))));
        Assert.Null(SourceDefinition.Parse([]));

        static byte[] Field(int number, byte[] content)
        {
            var writer = new ProtoWriter();
            writer.Element(number, content);
            return writer.Written.ToArray();
        }

        static byte[] Source(string identifier, params (string Name, string Value)[] attributes)
        {
            var writer = new ProtoWriter();
            writer.String(1, identifier);
            writer.Map(2, attributes.ToDictionary(a => a.Name, a => a.Value));
            return Field(3, writer.Written.ToArray());
        }

        static byte[] Definition(params byte[][] operations) => [.. operations.SelectMany(o => Field(1, o))];
    }
}
