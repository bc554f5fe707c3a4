using System.Globalization;

namespace Berth.Api.Json;

/// <summary>Times as the wire has them.</summary>
public static class GoTime
{
    /// <summary>RFC 3339, the fraction without trailing zeros and without the point when there is none ("2006-01-02T15:04:05.999999999Z07:00").</summary>
    public static string Format(DateTimeOffset time)
    {
        Span<char> text = stackalloc char[40];
        time.DateTime.TryFormat(text, out var length, "yyyy-MM-ddTHH:mm:ss.fffffff", CultureInfo.InvariantCulture);
        while (text[length - 1] == '0') length--;
        if (text[length - 1] == '.') length--;
        return string.Concat(text[..length], time.Offset == TimeSpan.Zero ? "Z" : Offset(time.Offset));
    }

    /// <summary>RFC 3339 with exactly nine fraction digits, as log lines and "docker events" have it.</summary>
    public static string FormatFixed(DateTimeOffset time) =>
        time.DateTime.ToString("yyyy-MM-ddTHH:mm:ss.fffffff", CultureInfo.InvariantCulture) + "00" + (time.Offset == TimeSpan.Zero ? "Z" : Offset(time.Offset));

    /// <summary>Reads RFC 3339; fraction digits past the seventh (100 ns) are dropped.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out DateTimeOffset time)
    {
        time = default;
        if (text.Length < 20 || text[10] is not ('T' or 't')) return false;
        if (!DateTime.TryParseExact(text[..19], "yyyy-MM-ddTHH:mm:ss", CultureInfo.InvariantCulture, DateTimeStyles.None, out var seconds)) return false;
        var rest = text[19..];
        long ticks = 0;
        if (rest[0] == '.')
        {
            var digits = 1;
            for (long unit = TimeSpan.TicksPerSecond / 10; digits < rest.Length && char.IsAsciiDigit(rest[digits]); digits++, unit /= 10) ticks += (rest[digits] - '0') * unit;
            if (digits == 1) return false;
            rest = rest[digits..];
        }
        TimeSpan offset;
        if (rest is "Z" or "z") offset = TimeSpan.Zero;
        else if (rest.Length == 6 && rest[0] is '+' or '-' && TimeSpan.TryParseExact(rest[1..], @"hh\:mm", CultureInfo.InvariantCulture, out offset)) offset = rest[0] == '-' ? -offset : offset;
        else return false;
        var local = seconds.AddTicks(ticks);
        if (offset > TimeSpan.FromHours(14) || offset < TimeSpan.FromHours(-14)) return false;
        if (offset != TimeSpan.Zero && (local - DateTime.MinValue < offset || DateTime.MaxValue - local < -offset)) return false;
        time = new DateTimeOffset(local, offset);
        return true;
    }

    private static string Offset(TimeSpan offset) => (offset < TimeSpan.Zero ? "-" : "+") + offset.ToString(@"hh\:mm", CultureInfo.InvariantCulture);
}
