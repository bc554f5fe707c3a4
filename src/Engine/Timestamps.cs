using System.Globalization;
using Berth.Api.Json;

namespace Berth.Engine;

/// <summary>Times in queries: Unix seconds with an optional fraction (what clients send), or RFC 3339.</summary>
internal static class Timestamps
{
    /// <summary>Seconds since 1970, RFC 3339, or a duration before now ("24h"); null for an empty text.</summary>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static DateTimeOffset? Parse(string? text, TimeProvider clock)
    {
        if (string.IsNullOrEmpty(text)) return null;
        if (TryUnix(text, out var time) || GoTime.TryParse(text, out time)) return time;
        if (GoDuration.TryParse(text, out var before)) return clock.GetUtcNow() - before;
        throw EngineException.Invalid($"failed to parse value as time or duration: {GoText.Quote(text)}");
    }

    /// <summary>As <see cref="Parse"/>, of a query's own parameter rather than a filter's: there Docker's error is its number parser's.</summary>
    /// <exception cref="EngineException">System.</exception>
    public static DateTimeOffset? ParseParameter(string? text)
    {
        if (string.IsNullOrEmpty(text)) return null;
        if (TryUnix(text, out var time) || GoTime.TryParse(text, out time)) return time;
        var (seconds, fraction) = text.IndexOf('.') is >= 0 and var dot ? (text[..dot], text[(dot + 1)..]) : (text, "");
        var wrong = long.TryParse(seconds, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _) ? fraction : seconds;
        throw EngineException.System($"strconv.ParseInt: parsing {GoText.Quote(wrong)}: invalid syntax");
    }

    private static bool TryUnix(string text, out DateTimeOffset time)
    {
        time = default;
        var dot = text.IndexOf('.');
        if (!long.TryParse(dot < 0 ? text : text.AsSpan(0, dot), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var seconds)) return false;
        long ticks = 0;
        if (dot >= 0)
        {
            var fraction = text.AsSpan(dot + 1);
            if (fraction.Length == 0 || fraction.ContainsAnyExceptInRange('0', '9')) return false;
            long unit = TimeSpan.TicksPerSecond / 10;
            foreach (var digit in fraction)
            {
                ticks += (digit - '0') * unit;
                unit /= 10;
            }
        }
        // What DateTimeOffset can hold: years 1 to 9999.
        if (seconds is < -62_135_596_800 or > 253_402_300_799) return false;
        time = DateTimeOffset.FromUnixTimeSeconds(seconds).AddTicks(ticks);
        return true;
    }

    /// <summary>Nanoseconds since 1970, as far as the clock's 100 ns go.</summary>
    public static long UnixNanoseconds(DateTimeOffset time) => (time.UtcTicks - DateTimeOffset.UnixEpoch.UtcTicks) * 100;
}
