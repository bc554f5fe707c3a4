using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using Berth.Runtime.Spec;

namespace Berth.Runtime.Seccomp;

/// <summary>
/// Docker's profiles as <c>linux.seccomp</c> objects for one container: what a profile says for this machine's architecture and kernel and
/// the container's capabilities.
/// </summary>
public static class SeccompProfiles
{
    /// <summary>Most characters of a profile that are read; Docker's own has 20,000.</summary>
    public const int MaxCharacters = 1 << 20;

    /// <summary>Docker's default (that of 28.5).</summary>
    /// <param name="capabilities">Bounding set, as <c>CAP_...</c> names.</param>
    public static OciSeccomp Default(IReadOnlyCollection<string> capabilities) =>
        Resolve(DefaultProfile.Profile, capabilities, RuntimeInformation.ProcessArchitecture, Environment.OSVersion.Version)!;

    /// <summary>
    /// A profile as <c>--security-opt seccomp=...</c> carries its text: names, args, includes/excludes (caps, arches, minKernel), archMap.
    /// </summary>
    /// <returns>Null for a profile without default action and rules: no filter.</returns>
    /// <exception cref="FormatException">Message as dockerd words it.</exception>
    public static OciSeccomp? Load(string json, IReadOnlyCollection<string> capabilities) =>
        Resolve(Parse(json), capabilities, RuntimeInformation.ProcessArchitecture, Environment.OSVersion.Version);

    internal static DockerProfile Parse(string json)
    {
        if (json.Length > MaxCharacters) throw new FormatException($"Decoding seccomp profile failed: more than {MaxCharacters} characters");
        try
        {
            return JsonSerializer.Deserialize(json, DockerProfileJson.Default.DockerProfile) ?? new DockerProfile();
        }
        catch (JsonException e)
        {
            throw new FormatException($"Decoding seccomp profile failed: {e.Message}", e);
        }
    }

    internal static OciSeccomp? Resolve(DockerProfile profile, IReadOnlyCollection<string> capabilities, Architecture machine, Version kernel)
    {
        var rules = profile.Syscalls ?? [];
        if (string.IsNullOrEmpty(profile.DefaultAction) && rules.Count == 0) return null;
        if (profile.Architectures is { Count: > 0 } && profile.ArchMap is { Count: > 0 })
            throw new FormatException("both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'");
        var (native, goName) = machine == Architecture.Arm64 ? ("SCMP_ARCH_AARCH64", "arm64") : ("SCMP_ARCH_X86_64", "amd64");
        var architectures = new List<string>(profile.Architectures ?? []);
        if (profile.ArchMap?.FirstOrDefault(a => a.Architecture == native) is { } map) architectures.AddRange([native, .. map.SubArchitectures ?? []]);
        return new OciSeccomp
        {
            DefaultAction = profile.DefaultAction ?? "",
            DefaultErrnoRet = profile.DefaultErrnoRet,
            Architectures = architectures,
            Flags = profile.Flags,
            Syscalls = [.. rules.Where(rule => Applies(rule)).Select(rule => new OciSyscall { Names = NamesOf(rule), Action = rule.Action ?? "", ErrnoRet = rule.ErrnoRet, Args = rule.Args })],
        };

        bool Applies(DockerSyscall rule)
        {
            _ = NamesOf(rule);
            if (rule.Excludes is { } excludes
                && (excludes.Arches?.Contains(goName) == true || excludes.Caps?.Any(capabilities.Contains) == true || (excludes.MinKernel is { Length: > 0 } from && IsAtLeast(kernel, from))))
                return false;
            return rule.Includes is not { } includes
                || ((includes.Arches is not { Count: > 0 } || includes.Arches.Contains(goName))
                    && (includes.Caps is null || includes.Caps.All(capabilities.Contains))
                    && (includes.MinKernel is not { Length: > 0 } minimum || IsAtLeast(kernel, minimum)));
        }
    }

    private static IReadOnlyList<string> NamesOf(DockerSyscall rule)
    {
        if (string.IsNullOrEmpty(rule.Name)) return rule.Names ?? [];
        if (rule.Names is { Count: > 0 }) throw new FormatException("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'");
        return [rule.Name];
    }

    private static bool IsAtLeast(Version kernel, string minimum)
    {
        var parts = minimum.Split('.');
        if (parts.Length != 2 || !byte.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var major) || !byte.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var minor))
            throw new FormatException($"Decoding seccomp profile failed: invalid kernel version: \"{minimum}\", expected \"<kernel>.<major>\"");
        if (major == 0 && minor == 0) throw new FormatException($"Decoding seccomp profile failed: invalid kernel version: \"{minimum}\", expected \"<kernel>.<major>\": version cannot be 0.0");
        return (kernel.Major, kernel.Minor).CompareTo((major, minor)) >= 0;
    }
}
