using System.Reflection;

namespace Berth.Cli;

internal static class BuildInfo
{
    /// <summary>Of the assembly: major.minor.patch.</summary>
    public static string Version { get; } = typeof(BuildInfo).Assembly.GetName().Version?.ToString(3) ?? "0.0.0";
}
