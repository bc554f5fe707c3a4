using Berth.Runtime.Spec;

namespace Berth.Runtime.Seccomp;

/// <summary>
/// Docker's profiles as <c>linux.seccomp</c> objects for one container: what a profile says for this machine's architecture and kernel and
/// the container's capabilities.
/// </summary>
public static class SeccompProfiles
{
    /// <summary>Docker's default (that of 28.5).</summary>
    /// <param name="capabilities">Bounding set, as <c>CAP_...</c> names.</param>
    public static OciSeccomp Default(IReadOnlyCollection<string> capabilities) => throw new NotImplementedException();

    /// <summary>
    /// A profile as <c>--security-opt seccomp=...</c> carries its text: names, args, includes/excludes (caps, arches, minKernel), archMap.
    /// </summary>
    /// <returns>Null for a profile without default action and rules: no filter.</returns>
    /// <exception cref="FormatException">Message as dockerd words it.</exception>
    public static OciSeccomp? Load(string json, IReadOnlyCollection<string> capabilities) => throw new NotImplementedException();
}
