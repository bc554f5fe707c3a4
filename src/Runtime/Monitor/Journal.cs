using System.Globalization;
using Berth.Linux;

namespace Berth.Runtime.Monitor;

/// <summary>The monitor's own log: lines on stderr, which its start points at monitor.log. Rare by design: a line means that something went wrong.</summary>
internal static class Journal
{
    public static void Write(string message) =>
        Session.WriteStandard(error: true, $"{DateTimeOffset.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture)} {message}\n");
}
