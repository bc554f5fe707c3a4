using System.Globalization;
using System.Text;

namespace Berth.Engine;

/// <summary>Formats of Go's fmt and strconv that are part of Docker's texts.</summary>
internal static class GoText
{
    /// <summary>%q: in double quotes, with escapes.</summary>
    public static string Quote(string text)
    {
        var b = new StringBuilder(text.Length + 2).Append('"');
        foreach (var rune in text.EnumerateRunes())
        {
            switch (rune.Value)
            {
                case '"': b.Append("\\\""); break;
                case '\\': b.Append("\\\\"); break;
                case '\a': b.Append("\\a"); break;
                case '\b': b.Append("\\b"); break;
                case '\f': b.Append("\\f"); break;
                case '\n': b.Append("\\n"); break;
                case '\r': b.Append("\\r"); break;
                case '\t': b.Append("\\t"); break;
                case '\v': b.Append("\\v"); break;
                case < ' ' or 127: b.Append("\\x").Append(rune.Value.ToString("x2", CultureInfo.InvariantCulture)); break;
                default: b.Append(rune); break;
            }
        }
        return b.Append('"').ToString();
    }

    /// <summary>time.Duration's String: 1m30s, 1.5s, 500ms.</summary>
    public static string Duration(TimeSpan d)
    {
        if (d == TimeSpan.Zero) return "0s";
        if (d < TimeSpan.Zero) return "-" + Duration(-d);
        string Number(double n) => n.ToString("0.#########", CultureInfo.InvariantCulture);
        if (d < TimeSpan.FromMilliseconds(1)) return Number(d.TotalMicroseconds) + "µs";
        if (d < TimeSpan.FromSeconds(1)) return Number(d.TotalMilliseconds) + "ms";
        var seconds = Number((d.Ticks % TimeSpan.TicksPerMinute) / (double)TimeSpan.TicksPerSecond) + "s";
        if (d < TimeSpan.FromMinutes(1)) return seconds;
        return d < TimeSpan.FromHours(1) ? $"{d.Minutes}m{seconds}" : $"{(long)d.TotalHours}h{d.Minutes}m{seconds}";
    }

    /// <summary>strconv.ParseBool.</summary>
    public static bool TryParseBool(string text, out bool value)
    {
        value = text is "1" or "t" or "T" or "true" or "TRUE" or "True";
        return value || text is "0" or "f" or "F" or "false" or "FALSE" or "False";
    }

    /// <summary>units.FromHumanSize: decimal multiples ("10m" is 10,000,000), an optional b or ib.</summary>
    public static bool TryParseSize(string text, out long bytes) => TryParseSize(text, 1000, out bytes);

    /// <summary>units.RAMInBytes: binary multiples.</summary>
    public static bool TryParseRamSize(string text, out long bytes) => TryParseSize(text, 1024, out bytes);

    private static bool TryParseSize(string text, int unit, out long bytes)
    {
        bytes = 0;
        var digits = 0;
        while (digits < text.Length && (char.IsAsciiDigit(text[digits]) || text[digits] == '.')) digits++;
        if (digits == 0 || !decimal.TryParse(text.AsSpan(0, digits), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number)) return false;
        var suffix = text.AsSpan(digits);
        if (suffix.Length > 0 && suffix[0] == ' ') suffix = suffix[1..];
        decimal factor = 1;
        if (suffix.Length > 0)
        {
            if (suffix.Length > 3) return false;
            if (suffix is "b" or "B")
            {
                bytes = (long)number;
                return true;
            }
            var power = "kmgtp".IndexOf(char.ToLowerInvariant(suffix[0])) + 1;
            if (power == 0 || !(suffix.Length == 1 || suffix[1..].Equals("b", StringComparison.OrdinalIgnoreCase) || suffix[1..].Equals("ib", StringComparison.OrdinalIgnoreCase)))
                return false;
            for (var i = 0; i < power; i++) factor *= unit;
        }
        var result = number * factor;
        if (result > long.MaxValue) return false;
        bytes = (long)result;
        return true;
    }
}
