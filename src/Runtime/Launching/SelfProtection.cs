using Berth.Linux.Spawn;

namespace Berth.Runtime.Launching;

/// <summary>Between clone and execve a child shares our memory, descriptors and executable, and may already be visible in a container: an exec, or a shared pid namespace.</summary>
internal static class SelfProtection
{
    private static readonly Lazy<bool> Applied = new(() =>
    {
        ProcessSecurity.ForbidInspection();
        return true;
    });

    public static void Apply() => _ = Applied.Value;
}
