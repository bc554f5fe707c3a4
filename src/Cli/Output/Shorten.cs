using System.Globalization;

namespace Berth.Cli.Output;

/// <summary>What listings shorten unless --no-trunc.</summary>
internal static class Shorten
{
    /// <summary>Without "sha256:", twelve digits.</summary>
    public static string Id(string id)
    {
        var colon = id.IndexOf(':');
        if (colon >= 0) id = id[(colon + 1)..];
        return id.Length > 12 ? id[..12] : id;
    }

    /// <summary>At most so many characters, the last one an ellipsis where something is missing.</summary>
    public static string Ellipsis(string text, int length)
    {
        var runes = text.EnumerateRunes().ToArray();
        return runes.Length <= length ? text : string.Concat(runes.Take(length - 1)) + "…";
    }

    /// <summary>Unix seconds as Go prints a time: "2006-01-02 15:04:05 +0000 UTC".</summary>
    public static string Time(long unixSeconds, TimeZoneInfo zone) => Time(DateTimeOffset.FromUnixTimeSeconds(unixSeconds), zone);

    /// <summary>The same, with what it has of a fraction.</summary>
    public static string Time(DateTimeOffset moment, TimeZoneInfo zone)
    {
        var time = TimeZoneInfo.ConvertTime(moment, zone);
        var offset = (time.Offset < TimeSpan.Zero ? "-" : "+") + time.Offset.ToString("hhmm", CultureInfo.InvariantCulture);
        var zoneName = time.Offset == TimeSpan.Zero ? "UTC" : offset;
        return $"{time.DateTime.ToString("yyyy-MM-dd HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture)} {offset} {zoneName}";
    }
}
