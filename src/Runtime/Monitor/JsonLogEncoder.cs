using System.Buffers;
using System.Buffers.Text;
using System.Text;

namespace Berth.Runtime.Monitor;

/// <summary>
/// One line of a json-file log, byte for byte as Docker writes it: <c>{"log":"text\n","stream":"stdout","time":"2006-01-02T15:04:05.999999999Z"}</c>.
/// Bytes that are no UTF-8 become \ufffd one by one, and of the control characters only \n and \r have short forms.
/// </summary>
internal static class JsonLogEncoder
{
    /// <summary>What one byte of output can grow to: \u00XX.</summary>
    public const int MaxGrowth = 6;

    /// <summary>Room for everything but the text: {"log":"\n" and the ending.</summary>
    public const int MaxOverheadBytes = 128;

    // Everything that can't be copied as it is, and all bytes of non-ASCII text, which is looked at rune by rune.
    private static readonly SearchValues<byte> Special = SearchValues.Create(
        [.. Enumerable.Range(0, 256).Where(b => b < 0x20 || b >= 0x80 || b is '"' or '\\' or '<' or '>' or '&').Select(b => (byte)b)]);

    /// <summary>Writes one record; the destination has room for <see cref="MaxGrowth"/> times the text and <see cref="MaxOverheadBytes"/>.</summary>
    /// <param name="ending">Made by <see cref="MakeEnding"/>.</param>
    /// <param name="complete">The line ended with a newline, which is not part of <paramref name="text"/>.</param>
    public static int Encode(ReadOnlySpan<byte> text, ReadOnlySpan<byte> ending, bool complete, Span<byte> destination)
    {
        "{\"log\":\""u8.CopyTo(destination);
        var length = 8;
        length += Escape(text, destination[length..]);
        if (complete)
        {
            destination[length++] = (byte)'\\';
            destination[length++] = (byte)'n';
        }
        ending.CopyTo(destination[length..]);
        return length + ending.Length;
    }

    /// <summary>Everything behind the text, the same for all lines of a stream read at one time.</summary>
    /// <param name="attributes">A JSON object, or nothing; the destination has room for it and <see cref="MaxOverheadBytes"/>.</param>
    public static int MakeEnding(bool stderr, DateTime time, ReadOnlySpan<byte> attributes, Span<byte> destination)
    {
        var length = 0;
        Put(ref length, destination, stderr ? "\",\"stream\":\"stderr\","u8 : "\",\"stream\":\"stdout\","u8);
        if (attributes.Length > 0)
        {
            Put(ref length, destination, "\"attrs\":"u8);
            Put(ref length, destination, attributes);
            Put(ref length, destination, ","u8);
        }
        Put(ref length, destination, "\"time\":\""u8);
        length += FormatTime(time, destination[length..]);
        Put(ref length, destination, "\"}\n"u8);
        return length;

        static void Put(ref int length, Span<byte> destination, ReadOnlySpan<byte> bytes)
        {
            bytes.CopyTo(destination[length..]);
            length += bytes.Length;
        }
    }

    /// <summary>Go's RFC3339Nano in UTC: the fraction without its trailing zeros, none at all when it is zero.</summary>
    public static int FormatTime(DateTime time, Span<byte> destination)
    {
        Utf8Formatter.TryFormat(time, destination, out _, 'O'); // 2006-01-02T15:04:05.1234567Z
        var length = "2006-01-02T15:04:05.1234567"u8.Length;
        while (destination[length - 1] == '0') length--;
        if (destination[length - 1] == '.') length--;
        destination[length++] = (byte)'Z';
        return length;
    }

    private static int Escape(ReadOnlySpan<byte> text, Span<byte> destination)
    {
        var length = 0;
        while (true)
        {
            var plain = text.IndexOfAny(Special);
            if (plain < 0)
            {
                text.CopyTo(destination[length..]);
                return length + text.Length;
            }
            text[..plain].CopyTo(destination[length..]);
            length += plain;
            text = text[plain..];
            if (text[0] < 0x80)
            {
                length += EscapeAscii(text[0], destination[length..]);
                text = text[1..];
            }
            else
            {
                length += CopyRunes(ref text, destination[length..]);
            }
        }
    }

    private static int EscapeAscii(byte character, Span<byte> destination)
    {
        destination[0] = (byte)'\\';
        switch (character)
        {
            case (byte)'"' or (byte)'\\':
                destination[1] = character;
                return 2;
            case (byte)'\n':
                destination[1] = (byte)'n';
                return 2;
            case (byte)'\r':
                destination[1] = (byte)'r';
                return 2;
            default:
                "u00"u8.CopyTo(destination[1..]);
                destination[4] = HexDigit(character >> 4);
                destination[5] = HexDigit(character & 0xf);
                return 6;
        }
    }

    // Up to the next ASCII character.
    private static int CopyRunes(ref ReadOnlySpan<byte> text, Span<byte> destination)
    {
        var length = 0;
        while (text.Length > 0 && text[0] >= 0x80)
        {
            if (Rune.DecodeFromUtf8(text, out var rune, out var size) != OperationStatus.Done)
            {
                "\\ufffd"u8.CopyTo(destination[length..]);
                length += 6;
                text = text[1..]; // Go takes a broken sequence byte by byte, Rune as far as it could have been good
                continue;
            }
            if (rune.Value is 0x2028 or 0x2029)
            {
                "\\u202"u8.CopyTo(destination[length..]);
                destination[length + 5] = HexDigit(rune.Value & 0xf);
                length += 6;
            }
            else
            {
                text[..size].CopyTo(destination[length..]);
                length += size;
            }
            text = text[size..];
        }
        return length;
    }

    private static byte HexDigit(int value) => (byte)(value < 10 ? '0' + value : 'a' + value - 10);
}
