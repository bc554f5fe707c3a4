using Berth.Api;
using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Images;

/// <summary>--platform os[/arch[/variant]] of commands whose routes take it as JSON.</summary>
internal static class PlatformFlag
{
    /// <exception cref="CommandException">It is not a platform.</exception>
    public static string? Json(Arguments flags) => Json(flags.String("platform"));

    /// <summary>What may stand alone: systems, and architectures of this one.</summary>
    private static readonly string[] Alone = ["linux", "windows", "darwin", "freebsd", "amd64", "x86_64", "x86-64", "arm64", "aarch64", "arm", "armhf", "armel", "386", "i386", "ppc64le", "s390x", "riscv64", "mips64le", "loong64"];

    /// <summary>null: nothing.</summary>
    public static string? WrongWith(string text)
    {
        var parts = text.Split('/');
        if (parts.Length == 1) return Alone.Contains(text, StringComparer.OrdinalIgnoreCase) ? null : $"{GoText.Quote(text)}: unknown operating system or architecture: invalid argument";
        return parts.Length > 3 || parts.Contains("") ? $"{GoText.Quote(text)}: cannot parse platform specifier: invalid argument" : null;
    }

    /// <summary>null for "".</summary>
    /// <exception cref="CommandException">It is not a platform.</exception>
    public static string? Json(string text)
    {
        if (text.Length == 0) return null;
        if (WrongWith(text) is { } wrong) throw new CommandException("invalid platform: " + wrong);
        var parts = text.Split('/');
        if (parts.Length == 1) parts = parts[0] == "linux" ? ["linux", Engine.VersionCommand.Arch] : ["linux", parts[0]];
        return System.Text.Json.JsonSerializer.Serialize(new Platform { Os = parts[0], Architecture = parts[1], Variant = parts.Length > 2 ? parts[2] : null }, ApiJson.Wire.Platform);
    }
}
