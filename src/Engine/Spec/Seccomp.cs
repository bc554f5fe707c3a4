using System.Collections.Concurrent;
using Berth.Runtime.Capabilities;
using Berth.Runtime.Seccomp;
using Berth.Runtime.Spec;

namespace Berth.Engine;

/// <summary>Which system call filter a container gets.</summary>
internal static class Seccomp
{
    // A filter of the default profile depends on the capabilities alone, and most containers have the same ones.
    private static readonly ConcurrentDictionary<string, OciSeccomp> Defaults = new();
    private const int MaxCached = 64;

    /// <exception cref="EngineException">System, "Decoding seccomp profile failed: …".</exception>
    public static OciSeccomp? For(ContainerRecord record, EngineOptions options)
    {
        var host = record.HostConfig;
        if (host.Privileged) return null;
        var json = SecurityOptions.Parse(host, noNewPrivilegesDefault: false).Seccomp;
        if (json is null && options.SeccompProfile is not ("" or "builtin"))
            json = options.SeccompProfile == "unconfined" ? "unconfined" : File.ReadAllText(options.SeccompProfile);
        if (json == "unconfined") return null;
        var capabilities = Capability.Tweak(Capability.Default, host.CapAdd ?? [], host.CapDrop ?? [], host.Privileged);
        if (json is null or "builtin")
        {
            var key = string.Join(',', capabilities);
            if (Defaults.TryGetValue(key, out var cached)) return cached;
            if (Defaults.Count >= MaxCached) Defaults.Clear();
            return Defaults[key] = SeccompProfiles.Default([.. capabilities]);
        }
        try
        {
            return SeccompProfiles.Load(json, [.. capabilities]);
        }
        catch (FormatException e)
        {
            throw EngineException.System(e.Message, e);
        }
    }
}
