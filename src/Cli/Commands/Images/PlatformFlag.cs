using Berth.Api;
using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Images;

/// <summary>--platform os[/arch[/variant]] of commands whose routes take it as JSON.</summary>
internal static class PlatformFlag
{
    /// <exception cref="CommandException">It is not a platform.</exception>
    public static string? Json(Arguments flags) => Json(flags.String("platform"));

    /// <summary>null for "".</summary>
    /// <exception cref="CommandException">It is not a platform.</exception>
    public static string? Json(string text)
    {
        if (text.Length == 0) return null;
        var parts = text.Split('/');
        if (parts.Length is < 2 or > 3 || parts.Contains(""))
            throw new CommandException($"invalid platform: {GoText.Quote(text)}: {(parts.Length == 1 ? "unknown operating system or architecture" : "cannot parse platform specifier")}: invalid argument");
        return System.Text.Json.JsonSerializer.Serialize(new Platform { Os = parts[0], Architecture = parts[1], Variant = parts.Length > 2 ? parts[2] : null }, ApiJson.Wire.Platform);
    }
}
