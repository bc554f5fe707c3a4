using System.Reflection;

namespace Berth.Daemon;

/// <summary>What this build is, from the attributes that the build wrote.</summary>
internal static class BuildInfo
{
    /// <summary>Berth's own version, without the commit.</summary>
    public static string Version { get; }

    public static string GitCommit { get; }
    public static string BuildTime { get; } = "";

    /// <summary>
    /// The Docker Engine release whose API and behaviour this is, with ours as semver build metadata: tools compare engine versions
    /// (docs/decisions/0802).
    /// </summary>
    public static string EngineVersion { get; }

    static BuildInfo()
    {
        var informational = typeof(BuildInfo).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "0.0.0";
        var plus = informational.IndexOf('+');
        Version = plus < 0 ? informational : informational[..plus];
        GitCommit = plus < 0 ? "unknown" : informational[(plus + 1)..];
        EngineVersion = $"28.5.2+berth.{Version}";
    }
}
