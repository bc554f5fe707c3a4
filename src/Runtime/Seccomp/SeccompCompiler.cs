namespace Berth.Runtime.Seccomp;

/// <summary>Turns a profile into classic BPF: a binary tree over syscall numbers, so that a lookup takes some 9 steps and not 400.</summary>
public static class SeccompCompiler
{
    /// <summary>
    /// The program as <c>struct sock_filter[]</c> bytes (8 each), for seccomp(SECCOMP_SET_MODE_FILTER). Cached by content; do not change the array.
    /// </summary>
    /// <exception cref="FormatException">Too long for the kernel (BPF_MAXINSNS), or contradictory.</exception>
    public static SeccompProgram Compile(SeccompProfile profile) => throw new NotImplementedException();
}

/// <summary>A compiled filter.</summary>
/// <param name="Instructions">struct sock_filter records of 8 bytes.</param>
/// <param name="Flags">SECCOMP_FILTER_FLAG_* for the seccomp call.</param>
public sealed record SeccompProgram(ReadOnlyMemory<byte> Instructions, uint Flags)
{
    /// <summary>Number of instructions (struct sock_fprog.len).</summary>
    public ushort Length => (ushort)(Instructions.Length / 8);
}
