using System.Net;

namespace Berth.Cli.Commands.Containers;

/// <summary>Addresses as docker reads them: four decimal numbers or IPv6; not .NET's "1.2.3", "0x7f.1", "[::1]" or "fe80::1%eth0".</summary>
internal static class IpText
{
    public static bool TryParse(string text, out IPAddress address)
    {
        address = IPAddress.None;
        if (text.AsSpan().ContainsAny("[]%xX")) return false;
        if (!text.Contains(':'))
        {
            var parts = text.Split('.');
            if (parts.Length != 4 || parts.Any(p => p.Length is 0 or > 3 || !p.All(char.IsAsciiDigit) || (p.Length > 1 && p[0] == '0'))) return false;
        }
        if (!IPAddress.TryParse(text, out var parsed)) return false;
        address = parsed;
        return true;
    }
}
