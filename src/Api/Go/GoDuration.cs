using System.Globalization;

namespace Berth.Api.Go;

/// <summary>Go's time.Duration as text: 1h15m30.918s, -1.5h, 100ms.</summary>
public static class GoDuration
{
    /// <summary>Go's "1h2m3.5s" in nanoseconds.</summary>
    /// <exception cref="FormatException">Go's words.</exception>
    public static long ParseNanoseconds(string text)
    {
        var rest = text.AsSpan();
        var negative = rest.StartsWith("-");
        if (negative || rest.StartsWith("+")) rest = rest[1..];
        if (rest is "0") return 0;
        if (rest.IsEmpty) throw new FormatException($"time: invalid duration {GoText.Quote(text)}");
        decimal total = 0;
        while (!rest.IsEmpty)
        {
            var digits = 0;
            while (digits < rest.Length && (char.IsAsciiDigit(rest[digits]) || rest[digits] == '.')) digits++;
            if (digits is 0 or > 19 || !decimal.TryParse(rest[..digits], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number))
                throw new FormatException($"time: invalid duration {GoText.Quote(text)}");
            rest = rest[digits..];
            var letters = 0;
            while (letters < rest.Length && rest[letters] != '.' && !char.IsAsciiDigit(rest[letters])) letters++;
            if (letters == 0) throw new FormatException($"time: missing unit in duration {GoText.Quote(text)}");
            if (number > long.MaxValue) throw new FormatException($"time: invalid duration {GoText.Quote(text)}");
            total += number * rest[..letters] switch
            {
                "ns" => 1m,
                "us" or "µs" or "μs" => 1_000m,
                "ms" => 1_000_000m,
                "s" => 1_000_000_000m,
                "m" => 60_000_000_000m,
                "h" => 3_600_000_000_000m,
                _ => throw new FormatException($"time: unknown unit {GoText.Quote(rest[..letters].ToString())} in duration {GoText.Quote(text)}"),
            };
            if (total > long.MaxValue) throw new FormatException($"time: invalid duration {GoText.Quote(text)}");
            rest = rest[letters..];
        }
        return negative ? -(long)total : (long)total;
    }

    /// <summary>The same to 100 ns, which is all that .NET's clock has.</summary>
    /// <exception cref="FormatException">Go's words.</exception>
    public static TimeSpan Parse(string text) => TimeSpan.FromTicks(ParseNanoseconds(text) / 100);

    public static bool TryParse(string text, out TimeSpan duration)
    {
        try
        {
            duration = Parse(text);
            return true;
        }
        catch (FormatException)
        {
            duration = default;
            return false;
        }
    }

    /// <summary>time.Duration's String: 1m30s, 1.5s, 500ms.</summary>
    public static string Format(TimeSpan d)
    {
        if (d == TimeSpan.Zero) return "0s";
        if (d < TimeSpan.Zero) return "-" + Format(-d);
        string Number(double n) => n.ToString("0.#########", CultureInfo.InvariantCulture);
        if (d < TimeSpan.FromMilliseconds(1)) return Number(d.TotalMicroseconds) + "µs";
        if (d < TimeSpan.FromSeconds(1)) return Number(d.TotalMilliseconds) + "ms";
        var seconds = Number((d.Ticks % TimeSpan.TicksPerMinute) / (double)TimeSpan.TicksPerSecond) + "s";
        if (d < TimeSpan.FromMinutes(1)) return seconds;
        return d < TimeSpan.FromHours(1) ? $"{d.Minutes}m{seconds}" : $"{(long)d.TotalHours}h{d.Minutes}m{seconds}";
    }
}
