using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;

namespace Berth.Runtime.Seccomp;

/// <summary>
/// Turns a profile into classic BPF. The program looks at the architecture, then finds the syscall number in a binary tree of number ranges
/// that are treated alike, so that a look-up takes some 9 steps and not 400:
/// <code>
///   ld arch ─ x64? ─ ld nr ─ x32 bit? ─┬─ nr &gt;= 120? ─┬─ nr &gt;= 180? ─┬─ allow
///          └ i386? ─ ...               └─ ...          └─ ...          ├─ ERRNO(EPERM)
///          └ other: kill                                               └─ arguments: ld args[0]; ...
/// </code>
/// What it decides is what runc with libseccomp decides (docs/seccomp.md); a property test interprets the program against the profile.
/// The tree is not for the speed of calls, where the kernel remembers which numbers are always allowed (since 5.11), but for that of installing:
/// to find those numbers the kernel runs the filter once for each.
/// </summary>
public static class SeccompCompiler
{
    /// <summary>BPF_MAXINSNS of linux/bpf_common.h.</summary>
    public const int MaxInstructions = 4096;

    private const int MaxCached = 64;
    private static readonly ConcurrentDictionary<string, SeccompProgram> Cache = new(StringComparer.Ordinal);

    /// <summary>The program for seccomp(SECCOMP_SET_MODE_FILTER) on this machine. The last few are kept, by content.</summary>
    /// <exception cref="FormatException">Names the member at fault; or too long for the kernel (<see cref="MaxInstructions"/>).</exception>
    public static SeccompProgram Compile(SeccompProfile profile)
    {
        var key = KeyOf(profile);
        if (Cache.TryGetValue(key, out var program)) return program;
        program = Compile(profile, RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? SeccompArch.Arm64 : SeccompArch.X64);
        if (Cache.Count >= MaxCached) Cache.Clear(); // a client that sends ever new profiles; the usual two or three come back at once
        Cache[key] = program;
        return program;
    }

    internal static SeccompProgram Compile(SeccompProfile profile, SeccompArch native)
    {
        var flags = FlagsOf(profile);
        // Of the other architectures only those that this machine's kernel can run.
        var architectures = new List<SeccompArch> { native };
        foreach (var architecture in native == SeccompArch.X64 ? [SeccompArch.X86, SeccompArch.X32] : new[] { SeccompArch.Arm })
            if (profile.Architectures.Contains(architecture))
                architectures.Add(architecture);

        // Written from the end to the beginning, since BPF jumps only forward.
        var code = new BpfWriter();
        var sections = architectures.Where(a => a != SeccompArch.X32).ToDictionary(a => a, a => Section(code, profile, a, architectures));
        var next = code.Return((uint)SeccompAction.KillThread);
        foreach (var architecture in architectures.Where(a => a != SeccompArch.X32).Reverse())
            next = code.Jump(BpfWriter.IfEqual, (uint)architecture, sections[architecture], next);
        code.Load(BpfWriter.Architecture, next);
        if (code.Count > MaxInstructions) throw new FormatException($"seccomp profile: {code.Count} instructions; the kernel takes {MaxInstructions}");
        return new SeccompProgram(code.ToBytes(), flags);
    }

    private static uint FlagsOf(SeccompProfile profile)
    {
        // runc's default, so that containers do not pay for speculation barriers that processes outside do not have either.
        if (profile.Flags is null) return SeccompProgram.SpecAllow;
        var flags = 0u;
        foreach (var flag in profile.Flags)
        {
            flags |= flag switch
            {
                "SECCOMP_FILTER_FLAG_TSYNC" => 0, // a process that is about to exec has one thread
                "SECCOMP_FILTER_FLAG_LOG" => SeccompProgram.Log,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => SeccompProgram.SpecAllow,
                _ => throw new FormatException($"seccomp flag {flag} is not known"),
            };
        }
        return flags;
    }

    /// <summary>Writes the code for one AUDIT_ARCH value; returns where it begins.</summary>
    private static int Section(BpfWriter code, SeccompProfile profile, SeccompArch architecture, List<SeccompArch> all)
    {
        var tree = Tree(code, Decisions.For(profile, architecture));
        if (architecture == SeccompArch.X64)
        {
            // x32 shares the AUDIT_ARCH value. Where it is not asked for, its calls are as those of a foreign architecture, but for -1,
            // which is what is left of a call that a tracer has cancelled.
            var x32 = all.Contains(SeccompArch.X32)
                ? Tree(code, Decisions.For(profile, SeccompArch.X32))
                : code.Jump(BpfWriter.IfEqual, uint.MaxValue, tree, code.Return((uint)SeccompAction.KillThread));
            tree = code.Jump(BpfWriter.IfAtLeast, SyscallTable.X32Bit, x32, tree);
        }
        return code.Load(BpfWriter.Number, tree);
    }

    private static int Tree(BpfWriter code, Decisions decisions)
    {
        var ranges = decisions.Ranges();
        return Node(0, ranges.Count);

        int Node(int from, int to)
        {
            if (to - from == 1) return Leaf(code, decisions, ranges[from].Decision);
            var middle = (from + to) / 2;
            var right = Node(middle, to);
            var left = Node(from, middle);
            return code.Jump(BpfWriter.IfAtLeast, ranges[middle].First, right, left);
        }
    }

    private static int Leaf(BpfWriter code, Decisions decisions, Decision decision)
    {
        var next = code.Return(decision.Otherwise);
        foreach (var rule in decision.Conditional.Reverse())
        {
            var (holds, fails) = (code.Return(rule.Result), next);
            next = holds;
            foreach (var condition in rule.Conditions.Reverse()) next = Condition(code, condition, next, fails, decisions.Is64Bit);
        }
        return next;
    }

    /// <summary>Arguments have 64 bits and the machine 32: the upper half decides unless it is equal.</summary>
    private static int Condition(BpfWriter code, SeccompArg condition, int holds, int fails, bool is64Bit)
    {
        var (high, low) = ((uint)(condition.Value >> 32), (uint)condition.Value);
        var lowWord = BpfWriter.Argument(condition.Index);
        var highWord = lowWord + 4; // little endian, as x64 and arm64 are
        switch (condition.Operator)
        {
            case SeccompOperator.Equal: return Equality(holds, fails);
            case SeccompOperator.NotEqual: return Equality(fails, holds);
            case SeccompOperator.GreaterOrEqual: return Order(BpfWriter.IfAtLeast, holds, fails);
            case SeccompOperator.Greater: return Order(BpfWriter.IfGreater, holds, fails);
            case SeccompOperator.Less: return Order(BpfWriter.IfAtLeast, fails, holds);
            case SeccompOperator.LessOrEqual: return Order(BpfWriter.IfGreater, fails, holds);
            case SeccompOperator.MaskedEqual:
                var (wantedHigh, wantedLow) = ((uint)(condition.ValueTwo >> 32), (uint)condition.ValueTwo);
                var lowPart = code.Load(lowWord, code.And(low, code.Jump(BpfWriter.IfEqual, wantedLow, holds, fails)));
                if (!is64Bit || (high == 0 && wantedHigh == 0)) return lowPart;
                return code.Load(highWord, code.And(high, code.Jump(BpfWriter.IfEqual, wantedHigh, lowPart, fails)));
            default: throw new FormatException($"seccomp profile: unknown operator {condition.Operator}");
        }

        int Equality(int equal, int different)
        {
            var lowPart = code.Load(lowWord, code.Jump(BpfWriter.IfEqual, low, equal, different));
            return is64Bit ? code.Load(highWord, code.Jump(BpfWriter.IfEqual, high, lowPart, different)) : lowPart;
        }

        int Order(ushort comparison, int yes, int no)
        {
            var lowPart = code.Load(lowWord, code.Jump(comparison, low, yes, no));
            if (!is64Bit) return lowPart;
            return code.Load(highWord, code.Jump(BpfWriter.IfGreater, high, yes, code.Jump(BpfWriter.IfEqual, high, lowPart, no)));
        }
    }

    private static string KeyOf(SeccompProfile profile)
    {
        var key = new StringBuilder(16 << 10);
        key.Append((uint)profile.DefaultAction).Append(' ').Append(profile.DefaultErrno).Append(' ').AppendJoin(',', profile.Architectures)
            .Append(' ').Append(profile.Flags is null ? "default" : string.Join(',', profile.Flags));
        foreach (var rule in profile.Rules)
        {
            key.Append('\n').AppendJoin(',', rule.Names).Append(' ').Append((uint)rule.Action).Append(' ').Append(rule.Errno);
            foreach (var arg in rule.Args) key.Append(' ').Append(arg.Index).Append((int)arg.Operator).Append(':').Append(arg.Value).Append(':').Append(arg.ValueTwo);
        }
        return key.ToString();
    }
}

/// <summary>A compiled filter.</summary>
/// <param name="Instructions">struct sock_filter records of 8 bytes.</param>
/// <param name="Flags">SECCOMP_FILTER_FLAG_* for the seccomp call.</param>
public sealed record SeccompProgram(ReadOnlyMemory<byte> Instructions, uint Flags)
{
    // linux/seccomp.h
    internal const uint Log = 2, SpecAllow = 4;

    /// <summary>Number of instructions (struct sock_fprog.len).</summary>
    public ushort Length => (ushort)(Instructions.Length / 8);
}
