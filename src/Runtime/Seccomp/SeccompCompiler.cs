namespace Berth.Runtime.Seccomp;

/// <summary>Turns a profile into classic BPF: a binary tree over syscall numbers, so that a lookup takes some 9 steps and not 400.</summary>
public static class SeccompCompiler
{
    /// <summary>The program for seccomp(SECCOMP_SET_MODE_FILTER). The last few are kept, by content.</summary>
    /// <exception cref="FormatException">Names the member at fault; or too long for the kernel (BPF_MAXINSNS).</exception>
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
