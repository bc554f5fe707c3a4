using System.Globalization;

namespace Berth.Cli.Output;

/// <summary>Sizes and durations for people, as docker prints and reads them.</summary>
internal static class Units
{
    private static readonly string[] Decimal = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    private static readonly string[] Binary = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

    /// <summary>Powers of 1000: "4.45MB".</summary>
    public static string HumanSize(double bytes, int digits = 4) => Sized(bytes, 1000, digits, Decimal);

    /// <summary>Powers of 1024: "23.54GiB".</summary>
    public static string BytesSize(double bytes) => Sized(bytes, 1024, 4, Binary);

    private static string Sized(double bytes, double step, int digits, string[] names)
    {
        var unit = 0;
        for (; bytes >= step && unit < names.Length - 1; unit++) bytes /= step;
        return GoText.General(bytes, digits) + names[unit];
    }

    /// <summary>"3 minutes", "About an hour".</summary>
    public static string HumanDuration(TimeSpan duration)
    {
        var seconds = (long)duration.TotalSeconds;
        if (seconds < 1) return "Less than a second";
        if (seconds == 1) return "1 second";
        if (seconds < 60) return $"{seconds} seconds";
        var minutes = (long)duration.TotalMinutes;
        if (minutes == 1) return "About a minute";
        if (minutes < 60) return $"{minutes} minutes";
        var hours = (long)(duration.TotalHours + 0.5);
        return hours switch
        {
            1 => "About an hour",
            < 48 => $"{hours} hours",
            < 24 * 7 * 2 => $"{hours / 24} days",
            < 24 * 30 * 2 => $"{hours / 24 / 7} weeks",
            < 24 * 365 * 2 => $"{hours / 24 / 30} months",
            _ => $"{(long)duration.TotalHours / 24 / 365} years",
        };
    }

    /// <summary>"64m" and the like in bytes, powers of 1024, "b" and "ib" allowed after the unit.</summary>
    /// <exception cref="FormatException">Docker's words.</exception>
    public static long ParseRam(string text)
    {
        var last = text.AsSpan().LastIndexOfAny("0123456789. ");
        if (last < 0) throw new FormatException($"invalid size: '{text}'");
        var number = text[last] == ' ' ? text[..last] : text[..(last + 1)];
        var suffix = text[(last + 1)..].ToLowerInvariant();
        if (!double.TryParse(number, NumberStyles.Float, CultureInfo.InvariantCulture, out var size))
            throw new FormatException($"strconv.ParseFloat: parsing {GoText.Quote(number)}: invalid syntax");
        if (size < 0 || double.IsNaN(size)) throw new FormatException($"invalid size: '{text}'");
        if (suffix.Length > 0)
        {
            var power = suffix[0] == 'b' ? 0 : "kmgtp".IndexOf(suffix[0]) + 1;
            if (suffix[0] == 'b' ? suffix.Length > 1 : power == 0 || suffix[1..] is not ("" or "b" or "ib")) throw new FormatException($"invalid suffix: '{suffix}'");
            size *= Math.Pow(1024, power);
        }
        return size >= long.MaxValue ? long.MaxValue : (long)size;
    }
}
