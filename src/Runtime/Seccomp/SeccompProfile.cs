namespace Berth.Runtime.Seccomp;

/// <summary>
/// What a seccomp filter does per syscall: the OCI <c>linux.seccomp</c> object with its names checked.
/// </summary>
public sealed record SeccompProfile
{
    /// <summary>What happens to a syscall that no rule names.</summary>
    public required SeccompAction DefaultAction { get; init; }

    /// <summary>errno of the default action, EPERM (1) when null.</summary>
    public uint? DefaultErrno { get; init; }

    /// <summary>
    /// Rules. Of those for one syscall, as in libseccomp: the first without conditions rules out all others; among those with conditions
    /// the first that holds counts; a rule whose action is the default one is as if it were not there.
    /// </summary>
    public required IReadOnlyList<SeccompRule> Rules { get; init; }

    /// <summary>Architectures besides the native one (SCMP_ARCH_X86, ...).</summary>
    public IReadOnlyList<SeccompArch> Architectures { get; init; } = [];

    /// <summary>SECCOMP_FILTER_FLAG_* names of the OCI object; null, unlike an empty list, means runc's default: SPEC_ALLOW.</summary>
    public IReadOnlyList<string>? Flags { get; init; }
}

/// <summary>Names, conditions, action.</summary>
/// <param name="Names">Syscall names; those unknown on an architecture are ignored there.</param>
/// <param name="Action">What happens.</param>
/// <param name="Errno">errno (or trace data) of the action; EPERM when null.</param>
/// <param name="Args">All must hold.</param>
public sealed record SeccompRule(IReadOnlyList<string> Names, SeccompAction Action, uint? Errno, IReadOnlyList<SeccompArg> Args);

/// <summary>One condition on an argument; comparisons are unsigned on 64 bits.</summary>
/// <param name="Index">0-5.</param>
/// <param name="Value">Right side; the mask for <see cref="SeccompOperator.MaskedEqual"/>.</param>
/// <param name="ValueTwo">Right side of <see cref="SeccompOperator.MaskedEqual"/>.</param>
/// <param name="Operator">Comparison.</param>
public sealed record SeccompArg(int Index, ulong Value, ulong ValueTwo, SeccompOperator Operator);

/// <summary>SCMP_CMP_*.</summary>
public enum SeccompOperator
{
    /// <summary>!=</summary>
    NotEqual,

    /// <summary>&lt;</summary>
    Less,

    /// <summary>&lt;=</summary>
    LessOrEqual,

    /// <summary>==</summary>
    Equal,

    /// <summary>&gt;=</summary>
    GreaterOrEqual,

    /// <summary>&gt;</summary>
    Greater,

    /// <summary>(argument &amp; Value) == ValueTwo</summary>
    MaskedEqual,
}

/// <summary>SCMP_ACT_*; the values are the kernel's SECCOMP_RET_* (linux/seccomp.h) without data.</summary>
public enum SeccompAction : uint
{
    /// <summary>SECCOMP_RET_KILL_PROCESS</summary>
    KillProcess = 0x80000000,

    /// <summary>SECCOMP_RET_KILL_THREAD (SCMP_ACT_KILL)</summary>
    KillThread = 0,

    /// <summary>SECCOMP_RET_TRAP</summary>
    Trap = 0x00030000,

    /// <summary>SECCOMP_RET_ERRNO</summary>
    Errno = 0x00050000,

    /// <summary>SECCOMP_RET_USER_NOTIF</summary>
    Notify = 0x7fc00000,

    /// <summary>SECCOMP_RET_TRACE</summary>
    Trace = 0x7ff00000,

    /// <summary>SECCOMP_RET_LOG</summary>
    Log = 0x7ffc0000,

    /// <summary>SECCOMP_RET_ALLOW</summary>
    Allow = 0x7fff0000,
}

/// <summary>AUDIT_ARCH_* (linux/audit.h) of the architectures we have tables for; x32 is x86-64 with a bit in the syscall number.</summary>
public enum SeccompArch : uint
{
    /// <summary>x86-64</summary>
    X64 = 0xC000003E,

    /// <summary>i386</summary>
    X86 = 0x40000003,

    /// <summary>x32: shares AUDIT_ARCH_X86_64, hence a value of our own.</summary>
    X32 = 0x4000003E,

    /// <summary>aarch64</summary>
    Arm64 = 0xC00000B7,

    /// <summary>32-bit arm, little endian.</summary>
    Arm = 0x40000028,
}
