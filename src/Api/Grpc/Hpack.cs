using System.Buffers;
using System.Text;

namespace Berth.Api.Grpc;

/// <summary>Header fields as HTTP/2 has them on the wire: RFC 7541. We write without a table of our own (2.1: nothing obliges us to one) and read with the other side's.</summary>
internal static class Hpack
{
    /// <summary>What each field counts beside its letters (RFC 7541, 4.1).</summary>
    public const int FieldOverhead = 32;

    /// <summary>RFC 7541, appendix A; the first has the index 1.</summary>
    public static readonly (string Name, string Value)[] StaticTable =
    [
        (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"),
        (":status", "206"), (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""),
        ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
        ("content-encoding", ""), ("content-language", ""), ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
        ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""),
        ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""),
        ("retry-after", ""), ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
    ];

    public static byte[] Encode(IEnumerable<(string Name, string Value)> fields)
    {
        var block = new ArrayBufferWriter<byte>(256);
        foreach (var (name, value) in fields)
        {
            var index = Array.IndexOf(StaticTable, (name, value)) + 1;
            if (index > 0)
            {
                Number(block, 0x80, 7, index);
                continue;
            }
            Number(block, 0, 4, 0); // a literal that is put into no table, with its name
            Text(block, name);
            Text(block, value);
        }
        return block.WrittenSpan.ToArray();
    }

    private static void Text(ArrayBufferWriter<byte> block, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        Number(block, 0, 7, bytes.Length);
        block.Write(bytes);
    }

    // RFC 7541, 5.1
    private static void Number(ArrayBufferWriter<byte> block, int pattern, int bits, int value)
    {
        var most = (1 << bits) - 1;
        if (value < most)
        {
            block.Write([(byte)(pattern | value)]);
            return;
        }
        block.Write([(byte)(pattern | most)]);
        for (value -= most; value >= 0x80; value >>= 7) block.Write([(byte)(value | 0x80)]);
        block.Write([(byte)value]);
    }
}

/// <summary>Reads the header blocks of one connection, in the order in which they came: each may change the table that the next refers to.</summary>
internal sealed class HpackDecoder
{
    /// <summary>What a peer may have in the table: the protocol's default, which we leave.</summary>
    private const int MaxTableBytes = 4096;

    private readonly List<(string Name, string Value)> _table = []; // the newest last
    private int _tableBytes, _tableLimit = MaxTableBytes;

    /// <param name="maxBytes">Of names and values together, each field counted with <see cref="Hpack.FieldOverhead"/>.</param>
    /// <exception cref="Http2Exception">COMPRESSION_ERROR: not what RFC 7541 says; ENHANCE_YOUR_CALM: too much.</exception>
    public List<(string Name, string Value)> Decode(ReadOnlySpan<byte> block, int maxBytes)
    {
        var fields = new List<(string, string)>();
        while (block.Length > 0)
        {
            var first = block[0];
            (string Name, string Value) field;
            if ((first & 0x80) != 0)
            {
                field = Entry(Number(ref block, 7));
            }
            else if ((first & 0xE0) == 0x20)
            {
                _tableLimit = Number(ref block, 5);
                if (_tableLimit > MaxTableBytes) throw Broken("a table larger than we have");
                Shrink(0);
                continue;
            }
            else
            {
                var kept = (first & 0x40) != 0;
                var index = Number(ref block, kept ? 6 : 4);
                var name = index == 0 ? Text(ref block) : Entry(index).Name;
                field = (name, Text(ref block));
                if (kept) Add(field);
            }
            maxBytes -= SizeOf(field);
            if (maxBytes < 0) throw new Http2Exception(Http2Error.EnhanceYourCalm, "the headers of a call are too long");
            fields.Add(field);
        }
        return fields;
    }

    private (string Name, string Value) Entry(int index)
    {
        if (index == 0) throw Broken("index 0");
        if (index <= Hpack.StaticTable.Length) return Hpack.StaticTable[index - 1];
        var at = _table.Count - (index - Hpack.StaticTable.Length);
        return at >= 0 ? _table[at] : throw Broken("an index beyond the table");
    }

    private void Add((string Name, string Value) field)
    {
        var size = SizeOf(field);
        Shrink(size);
        if (size > _tableLimit) return; // it empties the table and is not in it (RFC 7541, 4.4)
        _table.Add(field);
        _tableBytes += size;
    }

    // Drops the oldest until there is room for so much more.
    private void Shrink(int room)
    {
        var count = 0;
        while (count < _table.Count && _tableBytes + room > _tableLimit) _tableBytes -= SizeOf(_table[count++]);
        _table.RemoveRange(0, count);
    }

    private static int SizeOf((string Name, string Value) field) => field.Name.Length + field.Value.Length + Hpack.FieldOverhead;

    private static int Number(ref ReadOnlySpan<byte> block, int bits)
    {
        var most = (1 << bits) - 1;
        long value = block[0] & most;
        block = block[1..];
        if (value < most) return (int)value;
        for (var shift = 0; ; shift += 7)
        {
            if (block.IsEmpty || shift > 28) throw Broken("a number that does not end");
            var part = block[0];
            block = block[1..];
            value += (long)(part & 0x7F) << shift;
            if (value > int.MaxValue) throw Broken("a number that is too large");
            if (part < 0x80) return (int)value;
        }
    }

    private static string Text(ref ReadOnlySpan<byte> block)
    {
        if (block.IsEmpty) throw Broken("a text is missing");
        var huffman = (block[0] & 0x80) != 0;
        var length = Number(ref block, 7);
        if (length > block.Length) throw Broken("a text is cut short");
        var bytes = block[..length];
        block = block[length..];
        return huffman ? Huffman.Decode(bytes) : Encoding.UTF8.GetString(bytes);
    }

    private static Http2Exception Broken(string what) => new(Http2Error.CompressionError, "malformed headers: " + what);

    /// <summary>The code of RFC 7541, appendix B. It is canonical: the lengths tell it.</summary>
    private static class Huffman
    {
        private const int EndOfText = 256, Shortest = 5, Longest = 30;

        private static ReadOnlySpan<byte> Lengths =>
        [
            13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
            6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
            13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
            15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
            20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
            22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
            26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
            20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
            30,
        ];

        // The symbols in the order of their codes; for each length its first code and where its symbols begin.
        private static readonly short[] Symbols = new short[EndOfText + 1];
        private static readonly int[] FirstCode = new int[Longest + 1], FirstSymbol = new int[Longest + 2];

        static Huffman()
        {
            var (code, next) = (0, 0);
            for (var length = 1; length <= Longest; length++)
            {
                (FirstCode[length], FirstSymbol[length]) = (code <<= 1, next);
                for (var symbol = 0; symbol < Lengths.Length; symbol++)
                {
                    if (Lengths[symbol] != length) continue;
                    Symbols[next++] = (short)symbol;
                    code++;
                }
            }
            FirstSymbol[Longest + 1] = next;
        }

        public static string Decode(ReadOnlySpan<byte> bytes)
        {
            var text = new ArrayBufferWriter<byte>(Math.Max(1, bytes.Length * 8 / Shortest));
            var (code, length) = (0, 0);
            foreach (var part in bytes)
            {
                for (var bit = 7; bit >= 0; bit--)
                {
                    code = code << 1 | (part >> bit & 1);
                    if (++length < Shortest) continue;
                    if (length > Longest) throw Broken("a letter that there is not");
                    var at = code - FirstCode[length];
                    if (at >= FirstSymbol[length + 1] - FirstSymbol[length]) continue;
                    var symbol = Symbols[FirstSymbol[length] + at];
                    if (symbol == EndOfText) throw Broken("the end of text within a text");
                    text.Write([(byte)symbol]);
                    (code, length) = (0, 0);
                }
            }
            // What is left of the last byte is the beginning of the end's code: ones.
            if (length > 7 || code != (1 << length) - 1) throw Broken("a text with a wrong end");
            return Encoding.UTF8.GetString(text.WrittenSpan);
        }
    }
}
