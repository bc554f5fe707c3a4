using Berth.Runtime.Seccomp;
using Berth.Runtime.Spec;

namespace Berth.Runtime.Launching;

/// <summary>The OCI object in the compiler's terms.</summary>
internal static class OciSeccompProfile
{
    public static SeccompProfile From(OciSeccomp seccomp) => new()
    {
        DefaultAction = Action(seccomp.DefaultAction),
        DefaultErrno = seccomp.DefaultErrnoRet,
        Architectures = (seccomp.Architectures ?? []).Select(Architecture).OfType<SeccompArch>().ToList(),
        Flags = seccomp.Flags,
        Rules = (seccomp.Syscalls ?? []).Select(rule => new SeccompRule(
            rule.Names, Action(rule.Action), rule.ErrnoRet,
            (rule.Args ?? []).Select(arg => new SeccompArg((int)arg.Index, arg.Value, arg.ValueTwo ?? 0, Operator(arg.Op))).ToList())).ToList(),
    };

    private static SeccompAction Action(string name) => name switch
    {
        "SCMP_ACT_KILL" or "SCMP_ACT_KILL_THREAD" => SeccompAction.KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction.KillProcess,
        "SCMP_ACT_TRAP" => SeccompAction.Trap,
        "SCMP_ACT_ERRNO" => SeccompAction.Errno,
        "SCMP_ACT_TRACE" => SeccompAction.Trace,
        "SCMP_ACT_LOG" => SeccompAction.Log,
        "SCMP_ACT_ALLOW" => SeccompAction.Allow,
        "SCMP_ACT_NOTIFY" => SeccompAction.Notify,
        _ => throw Unknown("action", name),
    };

    // Architectures we have no tables for never run on this machine.
    private static SeccompArch? Architecture(string name) => name switch
    {
        "SCMP_ARCH_X86_64" => SeccompArch.X64,
        "SCMP_ARCH_X86" => SeccompArch.X86,
        "SCMP_ARCH_X32" => SeccompArch.X32,
        "SCMP_ARCH_AARCH64" => SeccompArch.Arm64,
        "SCMP_ARCH_ARM" => SeccompArch.Arm,
        _ => null,
    };

    private static SeccompOperator Operator(string name) => name switch
    {
        "SCMP_CMP_NE" => SeccompOperator.NotEqual,
        "SCMP_CMP_LT" => SeccompOperator.Less,
        "SCMP_CMP_LE" => SeccompOperator.LessOrEqual,
        "SCMP_CMP_EQ" => SeccompOperator.Equal,
        "SCMP_CMP_GE" => SeccompOperator.GreaterOrEqual,
        "SCMP_CMP_GT" => SeccompOperator.Greater,
        "SCMP_CMP_MASKED_EQ" => SeccompOperator.MaskedEqual,
        _ => throw Unknown("operator", name),
    };

    private static LaunchException Unknown(string what, string name) =>
        new(LaunchErrorKind.InvalidSpec, ErrorTexts.Create($"string {name} is not a valid {what} for seccomp"));
}
