using System.Collections.Concurrent;
using System.Text;
using Berth.Runtime.Capabilities;
using Berth.Runtime.Seccomp;
using Berth.Runtime.Spec;

namespace Berth.Engine;

/// <summary>Which system call filter a container gets, in the OCI's form.</summary>
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
        var choice = SecurityOptions.Parse(host, noNewPrivilegesDefault: false).Seccomp;
        var json = choice;
        if (choice is null && options.SeccompProfile is not ("" or "builtin"))
        {
            if (options.SeccompProfile == "unconfined") return null;
            json = File.ReadAllText(options.SeccompProfile);
        }
        if (json == "unconfined") return null;
        var capabilities = Capability.Tweak(Capability.Default, host.CapAdd ?? [], host.CapDrop ?? [], host.Privileged);
        if (json is null or "builtin")
        {
            var key = string.Join(',', capabilities);
            if (Defaults.TryGetValue(key, out var cached)) return cached;
            if (Defaults.Count >= MaxCached) Defaults.Clear();
            return Defaults[key] = Convert(SeccompProfile.Default([.. capabilities]));
        }
        try
        {
            return Convert(SeccompProfile.Parse(Encoding.UTF8.GetBytes(json), [.. capabilities]));
        }
        catch (FormatException e)
        {
            throw EngineException.System($"Decoding seccomp profile failed: {e.Message}", e);
        }
    }

    internal static OciSeccomp Convert(SeccompProfile profile) => new()
    {
        DefaultAction = Name(profile.DefaultAction),
        DefaultErrnoRet = profile.DefaultErrno,
        Architectures = [.. profile.Architectures.Select(Name)],
        Flags = profile.Flags.Count == 0 ? null : profile.Flags,
        Syscalls = [.. profile.Rules.Select(r => new OciSyscall
        {
            Names = r.Names, Action = Name(r.Action), ErrnoRet = r.Errno,
            Args = r.Args.Count == 0 ? null : [.. r.Args.Select(a => new OciSeccompArg((uint)a.Index, a.Value, a.ValueTwo, Name(a.Operator)))],
        })],
    };

    private static string Name(SeccompAction action) => action switch
    {
        SeccompAction.KillProcess => "SCMP_ACT_KILL_PROCESS",
        SeccompAction.KillThread => "SCMP_ACT_KILL_THREAD",
        SeccompAction.Trap => "SCMP_ACT_TRAP",
        SeccompAction.Errno => "SCMP_ACT_ERRNO",
        SeccompAction.Notify => "SCMP_ACT_NOTIFY",
        SeccompAction.Trace => "SCMP_ACT_TRACE",
        SeccompAction.Log => "SCMP_ACT_LOG",
        SeccompAction.Allow => "SCMP_ACT_ALLOW",
        _ => throw new ArgumentOutOfRangeException(nameof(action)),
    };

    private static string Name(SeccompArch architecture) => architecture switch
    {
        SeccompArch.X64 => "SCMP_ARCH_X86_64",
        SeccompArch.X86 => "SCMP_ARCH_X86",
        SeccompArch.X32 => "SCMP_ARCH_X32",
        SeccompArch.Arm64 => "SCMP_ARCH_AARCH64",
        SeccompArch.Arm => "SCMP_ARCH_ARM",
        _ => throw new ArgumentOutOfRangeException(nameof(architecture)),
    };

    private static string Name(SeccompOperator op) => op switch
    {
        SeccompOperator.NotEqual => "SCMP_CMP_NE",
        SeccompOperator.Less => "SCMP_CMP_LT",
        SeccompOperator.LessOrEqual => "SCMP_CMP_LE",
        SeccompOperator.Equal => "SCMP_CMP_EQ",
        SeccompOperator.GreaterOrEqual => "SCMP_CMP_GE",
        SeccompOperator.Greater => "SCMP_CMP_GT",
        SeccompOperator.MaskedEqual => "SCMP_CMP_MASKED_EQ",
        _ => throw new ArgumentOutOfRangeException(nameof(op)),
    };
}
