using System.Globalization;
using Berth.Api;
using Berth.Api.Json;
using Berth.Cli.Output;

namespace Berth.Cli.Commands;

/// <summary>--since and --until.</summary>
internal static class Times
{
    private static readonly string[] Forms = ["yyyy-MM-dd", "yyyy-MM-ddTHH", "yyyy-MM-ddTHH:mm", "yyyy-MM-ddTHH:mm:ss", "yyyy-MM-ddTHH:mm:ss.FFFFFFF", "yyyy-MM-ddK", "yyyy-MM-ddTHHK", "yyyy-MM-ddTHH:mmK"];

    /// <summary>
    /// A time (RFC 3339 or a beginning of it, in local time unless it says), a duration before now, or Unix seconds; as Unix
    /// seconds with nine digits of fraction. null for "".
    /// </summary>
    /// <exception cref="CommandException">It is none of these.</exception>
    public static string? ToUnix(string text, TimeProvider clock)
    {
        if (text.Length == 0) return null;
        if (text.All(c => char.IsAsciiDigit(c) || c == '.') && char.IsAsciiDigit(text[0])) return text;
        if (GoTime.TryParse(text, out var exact)) return Unix(exact);
        if (DateTimeOffset.TryParseExact(text, Forms, CultureInfo.InvariantCulture, DateTimeStyles.AssumeLocal, out var time)) return Unix(time);
        try
        {
            return Unix(clock.GetUtcNow() - TimeSpan.FromTicks(GoDuration.ParseNanoseconds(text) / 100));
        }
        catch (FormatException)
        {
            throw new CommandException($"failed to parse value as time or duration: {GoText.Quote(text)}");
        }
    }

    private static string Unix(DateTimeOffset time)
    {
        var ticks = (time - DateTimeOffset.UnixEpoch).Ticks;
        return $"{ticks / TimeSpan.TicksPerSecond}.{ticks % TimeSpan.TicksPerSecond:0000000}00";
    }
}
