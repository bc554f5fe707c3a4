using System.Text;
using Berth.Daemon.BuildKit;

namespace Berth.Fast.Tests.Daemon.BuildKit;

public sealed class HeaderLinesTests
{
    private static readonly byte[] Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray();

    private static byte[] Frame(byte type, byte flags, byte[] payload) =>
        [(byte)(payload.Length >> 16), (byte)(payload.Length >> 8), (byte)payload.Length, type, flags, 0, 0, 0, 1, .. payload];

    private static byte[] Text(string text)
    {
        var bytes = Encoding.ASCII.GetBytes(text);
        Assert.True(bytes.Length < 127);
        return [(byte)bytes.Length, .. bytes];
    }

    private static byte[] Literal(string name, string value) => [0, .. Text(name), .. Text(value)];

    [Theory]
    [InlineData(int.MaxValue)]
    [InlineData(1)] // as it may come from a network
    [InlineData(7)]
    public void Values_with_the_separator_become_headers_of_their_own(int pieces)
    {
        byte[] indexed = [0x83, 0x0F, 0x0D, .. Text("a,b")];
        byte[] sent = [.. Preface, .. Frame(4, 0, [1, 2, 3, 4, 5, 6]), .. Frame(1, 4, [.. indexed, .. Literal("paths", "one\u001ftwo\u001f"), .. Literal("other", "x")]), .. Frame(0, 1, Encoding.ASCII.GetBytes("body\u001f"))];
        byte[] expected = [.. Preface, .. Frame(4, 0, [1, 2, 3, 4, 5, 6]),
            .. Frame(1, 4, [.. indexed, .. Literal("paths", "one"), .. Literal("paths", "two"), .. Literal("paths", ""), .. Literal("other", "x")]), .. Frame(0, 1, Encoding.ASCII.GetBytes("body\u001f"))];
        using var lines = new HeaderLines(Stream.Null);
        var written = new List<byte>();
        for (var at = 0; at < sent.Length; at += Math.Min(pieces, sent.Length - at)) written.AddRange(lines.Rewrite(sent.AsSpan(at, Math.Min(pieces, sent.Length - at))));
        Assert.Equal(expected, written);
    }

    [Fact]
    public void A_block_in_several_frames_is_split_where_a_frame_is_full()
    {
        var values = string.Join(HeaderLines.Separator, Enumerable.Range(0, 3000).Select(i => $"pattern{i:0000}"));
        var bytes = Encoding.ASCII.GetBytes(values);
        List<byte> length = [127];
        for (var left = bytes.Length - 127; ; left >>= 7)
        {
            length.Add((byte)(left >= 0x80 ? left | 0x80 : left));
            if (left < 0x80) break;
        }
        byte[] block = [0, .. Text("p"), .. length, .. bytes];
        using var lines = new HeaderLines(Stream.Null);
        var written = lines.Rewrite([.. Preface, .. Frame(1, 1, block[..16000]), .. Frame(9, 0, block[16000..20000]), .. Frame(9, 4, block[20000..])]).AsSpan(Preface.Length);
        var (count, types) = (0, new List<(byte, byte)>());
        var whole = new List<byte>();
        while (written.Length > 0)
        {
            var size = written[0] << 16 | written[1] << 8 | written[2];
            Assert.InRange(size, 1, 16 * 1024);
            types.Add((written[3], written[4]));
            whole.AddRange(written.Slice(9, size));
            written = written[(9 + size)..];
        }
        for (var at = 0; at < whole.Count; at += 4 + 11, count++) Assert.Equal(Literal("p", $"pattern{count:0000}"), whole.GetRange(at, 15));
        Assert.Equal(3000, count);
        Assert.Equal(((byte)1, (byte)1), types[0]);
        Assert.All(types[1..^1], t => Assert.Equal(((byte)9, (byte)0), t));
        Assert.Equal(((byte)9, (byte)4), types[^1]);
    }
}
