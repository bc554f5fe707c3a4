using System.Globalization;

namespace Berth.Runtime.Monitor;

/// <summary>The monitor's own log: lines on stderr, which its start points at monitor.log. Rare by design: a line means that something went wrong.</summary>
internal static class Journal
{
    public static void Write(string message) =>
        Console.Error.WriteLine($"{DateTimeOffset.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture)} {message}");
}
