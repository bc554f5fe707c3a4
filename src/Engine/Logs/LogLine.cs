using System.Buffers;
using System.Buffers.Text;
using System.Text;
using System.Text.Json;

namespace Berth.Engine;

/// <summary>
/// One line of a json-file log, read in place: {"log":"text\n","stream":"stdout","time":"2006-01-02T15:04:05.999999999Z"}. The monitor writes exactly this, in this
/// order; the fast path knows it and searches for quotes and backslashes with vector instructions. Anything else (other engines' logs, attributes) is read by a JSON reader.
/// </summary>
internal static class LogLine
{
    private static ReadOnlySpan<byte> Head => "{\"log\":\""u8;
    private static ReadOnlySpan<byte> StreamKey => "\",\"stream\":\"std"u8;
    private static ReadOnlySpan<byte> TimeKey => "\",\"time\":\""u8;
    private static ReadOnlySpan<byte> AttributesKey => "\",\"attrs\":"u8;
    private static ReadOnlySpan<byte> TimeAfterAttributes => ",\"time\":\""u8;

    /// <summary>
    /// Parses a line without its newline. <paramref name="text"/> is the log text: a slice of the line, or of <paramref name="scratch"/> when it had escapes.
    /// <paramref name="time"/> is the time as written, <paramref name="attributes"/> the JSON object of labels, env and tag, or empty. False for a line that is none (a torn one).
    /// </summary>
    /// <param name="scratch">At least as long as the line: what is unescaped is never longer.</param>
    public static bool TryParse(ReadOnlySpan<byte> line, Span<byte> scratch, out ReadOnlySpan<byte> text, out bool stderr, out ReadOnlySpan<byte> time, out ReadOnlySpan<byte> attributes)
    {
        text = time = attributes = default;
        stderr = false;
        if (!line.StartsWith(Head)) return TryParseAny(line, scratch, out text, out stderr, out time, out attributes);
        var rest = line[Head.Length..];
        var end = rest.IndexOfAny((byte)'"', (byte)'\\');
        if (end < 0) return false;
        if (rest[end] == '"')
        {
            text = rest[..end];
            rest = rest[end..];
        }
        else
        {
            if (!TryUnescape(rest, end, scratch, out var length, out var consumed)) return false;
            text = scratch[..length];
            rest = rest[consumed..];
        }
        // ","stream":"stdout","time":"…"}
        if (!rest.StartsWith(StreamKey)) return TryParseAny(line, scratch, out text, out stderr, out time, out attributes);
        rest = rest[StreamKey.Length..];
        if (rest.StartsWith("out"u8)) stderr = false;
        else if (rest.StartsWith("err"u8)) stderr = true;
        else return TryParseAny(line, scratch, out text, out stderr, out time, out attributes);
        rest = rest[3..];
        if (rest.StartsWith(AttributesKey))
        {
            // They are flat and stand before the time: what looks like the time's key inside them has its quotes escaped.
            rest = rest[AttributesKey.Length..];
            var next = rest.LastIndexOf(TimeAfterAttributes);
            if (next < 0) return false;
            attributes = rest[..next];
            time = rest[(next + TimeAfterAttributes.Length)..];
            end = time.IndexOf((byte)'"');
            if (end < 0) return false;
            time = time[..end];
            return true;
        }
        if (!rest.StartsWith(TimeKey)) return TryParseAny(line, scratch, out text, out stderr, out time, out attributes);
        rest = rest[TimeKey.Length..];
        end = rest.IndexOf((byte)'"');
        if (end < 0) return false;
        time = rest[..end];
        return true;
    }

    /// <summary>Unescapes up to the closing quote. <paramref name="consumed"/>: how much was read, the quote not included.</summary>
    private static bool TryUnescape(ReadOnlySpan<byte> source, int firstEscape, Span<byte> target, out int length, out int consumed)
    {
        source[..firstEscape].CopyTo(target);
        length = firstEscape;
        consumed = firstEscape;
        while (true)
        {
            var rest = source[consumed..];
            var end = rest.IndexOfAny((byte)'"', (byte)'\\');
            if (end < 0) return false;
            rest[..end].CopyTo(target[length..]);
            length += end;
            consumed += end;
            if (rest[end] == '"') return true;
            if (end + 1 >= rest.Length) return false;
            var escape = rest[end + 1];
            consumed += 2;
            switch (escape)
            {
                case (byte)'n': target[length++] = (byte)'\n'; break;
                case (byte)'r': target[length++] = (byte)'\r'; break;
                case (byte)'t': target[length++] = (byte)'\t'; break;
                case (byte)'b': target[length++] = (byte)'\b'; break;
                case (byte)'f': target[length++] = (byte)'\f'; break;
                case (byte)'"' or (byte)'\\' or (byte)'/': target[length++] = escape; break;
                case (byte)'u':
                    if (!TryHex(source, consumed, out var unit)) return false;
                    consumed += 4;
                    var rune = new Rune(0xFFFD);
                    if (!char.IsSurrogate((char)unit)) rune = new Rune((char)unit);
                    else if (source[consumed..].StartsWith("\\u"u8) && TryHex(source, consumed + 2, out var low) && Rune.TryCreate((char)unit, (char)low, out var pair))
                    {
                        rune = pair;
                        consumed += 6;
                    }
                    length += rune.EncodeToUtf8(target[length..]);
                    break;
                default:
                    return false;
            }
        }
    }

    private static bool TryHex(ReadOnlySpan<byte> source, int at, out uint value)
    {
        value = 0;
        return source.Length >= at + 4 && Utf8Parser.TryParse(source.Slice(at, 4), out value, out var used, 'x') && used == 4;
    }

    private static bool TryParseAny(ReadOnlySpan<byte> line, Span<byte> scratch, out ReadOnlySpan<byte> text, out bool stderr, out ReadOnlySpan<byte> time, out ReadOnlySpan<byte> attributes)
    {
        text = time = attributes = default;
        stderr = false;
        var written = 0;
        try
        {
            var reader = new Utf8JsonReader(line);
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) return false;
            var found = false;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var (isLog, isStream, isTime, isAttributes) =
                    (reader.ValueTextEquals("log"u8), reader.ValueTextEquals("stream"u8), reader.ValueTextEquals("time"u8), reader.ValueTextEquals("attrs"u8));
                reader.Read();
                if (isLog && reader.TokenType == JsonTokenType.String)
                {
                    var length = reader.CopyString(scratch[written..]);
                    text = scratch.Slice(written, length);
                    written += length;
                    found = true;
                }
                else if (isStream && reader.TokenType == JsonTokenType.String) stderr = reader.ValueTextEquals("stderr"u8);
                else if (isTime && reader.TokenType == JsonTokenType.String)
                {
                    var length = reader.CopyString(scratch[written..]);
                    time = scratch.Slice(written, length);
                    written += length;
                }
                else
                {
                    var start = (int)reader.TokenStartIndex;
                    reader.Skip();
                    if (isAttributes) attributes = line[start..(int)reader.BytesConsumed];
                }
            }
            return found;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            return false;
        }
    }

    /// <summary>Unix nanoseconds of a time as the log has it; false when it is none.</summary>
    public static bool TryTime(ReadOnlySpan<byte> text, out long nanoseconds)
    {
        nanoseconds = 0;
        // 2006-01-02T15:04:05 at least, then a fraction, then Z or an offset.
        if (text.Length < 20) return false;
        Span<char> chars = stackalloc char[64];
        if (text.Length > chars.Length || Ascii.ToUtf16(text, chars, out var length) != OperationStatus.Done) return false;
        if (!Api.Json.GoTime.TryParse(chars[..length], out var time)) return false;
        nanoseconds = Timestamps.UnixNanoseconds(time);
        // GoTime keeps seven digits; the last two of nine.
        var dot = text.IndexOf((byte)'.');
        if (dot < 0) return true;
        if (dot + 8 < text.Length && text[dot + 8] is >= (byte)'0' and <= (byte)'9' and var d8) nanoseconds += (d8 - '0') * 10;
        if (dot + 9 < text.Length && text[dot + 8] is >= (byte)'0' and <= (byte)'9' && text[dot + 9] is >= (byte)'0' and <= (byte)'9' and var d9) nanoseconds += d9 - '0';
        return true;
    }

    /// <summary>Writes the time with nine fraction digits, as `docker logs -t` prints it; returns the length.</summary>
    public static int WriteFixedTime(ReadOnlySpan<byte> time, Span<byte> target)
    {
        var zone = time.IndexOfAny("Z+"u8);
        if (zone < 0) zone = time.Length > 10 ? time[10..].IndexOf((byte)'-') + 10 : -1;
        if (zone < 19 || time.Length + 10 > target.Length)
        {
            time.CopyTo(target);
            return time.Length;
        }
        var dot = time[..zone].IndexOf((byte)'.');
        var seconds = dot < 0 ? zone : dot;
        time[..seconds].CopyTo(target);
        var at = seconds;
        target[at++] = (byte)'.';
        var digits = dot < 0 ? 0 : Math.Min(9, zone - dot - 1);
        if (digits > 0) time.Slice(dot + 1, digits).CopyTo(target[at..]);
        at += digits;
        for (; digits < 9; digits++) target[at++] = (byte)'0';
        time[zone..].CopyTo(target[at..]);
        return at + time.Length - zone;
    }
}
