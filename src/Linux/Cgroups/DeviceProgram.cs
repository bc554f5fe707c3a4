using System.Collections.Concurrent;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux.Cgroups;

/// <summary>
/// Device rules on v2: an eBPF program of type BPF_PROG_TYPE_CGROUP_DEVICE that the kernel asks at each open and mknod of a device.
/// It reads the rules from the last to the first. Each of the wanted rights (read, write, mknod) is decided by the first rule met that
/// speaks of the device and of that right: one denied right refuses, all rights allowed admits; otherwise the default holds.
/// <code>
///   r2 = type  r3 = rights still undecided  r4 = major  r5 = minor
///   c 1:3 rw allow:   if r2 != CHAR goto next; if r4 != 1 goto next; if r5 != 3 goto next; r3 &amp;= ~rw; if r3 != 0 goto next; return 1
///   b 8:* w deny:     if r2 != BLOCK goto next; if r4 != 8 goto next; r0 = r3; r0 &amp;= w; if r0 == 0 goto next; return 0
///   default:          return 0
/// </code>
/// </summary>
internal static unsafe class DeviceProgram
{
    /// <summary>Most rules taken: the kernel's verifier takes 4096 instructions from anyone, a rule needs at most 8.</summary>
    internal const int MaxRules = 500;

    // include/uapi/linux/bpf.h: classes, operations and registers of the instructions used here.
    internal const byte LoadWord = 0x61, AndImmediate = 0x57, ShiftRight = 0x77, Move = 0xbf, MoveImmediate = 0xb7,
        JumpNotEqual = 0x55, JumpEqual = 0x15, Exit = 0x95;
    internal const int Block = 1, Character = 2;

    /// <summary>struct bpf_insn.</summary>
    internal readonly record struct Instruction(byte Code, byte Registers, short Offset, int Immediate)
    {
        internal static Instruction Of(byte code, int destination, int source = 0, int offset = 0, int immediate = 0) =>
            new(code, (byte)(destination | source << 4), (short)offset, immediate);
    }

    /// <exception cref="CgroupLimitException">Too many rules, or a device number out of range.</exception>
    internal static Instruction[] Compile(IReadOnlyList<DeviceRule> rules)
    {
        var (allowed, exceptions) = DeviceList.Reduce(rules);
        if (exceptions.Count > MaxRules) throw new CgroupLimitException($"{exceptions.Count} device rules; {MaxRules} is the most");
        // struct bpf_cgroup_dev_ctx in r1: rights << 16 | type, major, minor.
        var program = new List<Instruction>
        {
            Instruction.Of(LoadWord, 2, 1, 0), Instruction.Of(Move, 3, 2), Instruction.Of(AndImmediate, 2, immediate: 0xffff),
            Instruction.Of(ShiftRight, 3, immediate: 16), Instruction.Of(LoadWord, 4, 1, 4), Instruction.Of(LoadWord, 5, 1, 8),
        };
        foreach (var rule in exceptions.Reverse())
        {
            var start = program.Count;
            // Jumps to "next" get their offset when it is known.
            if (rule.Kind != DeviceKind.All) program.Add(Instruction.Of(JumpNotEqual, 2, immediate: rule.Kind == DeviceKind.Block ? Block : Character));
            if (rule.Major is { } major) program.Add(Instruction.Of(JumpNotEqual, 4, immediate: Number(major)));
            if (rule.Minor is { } minor) program.Add(Instruction.Of(JumpNotEqual, 5, immediate: Number(minor)));
            if (rule.Access != DeviceAccess.All)
            {
                if (rule.Allow)
                {
                    program.Add(Instruction.Of(AndImmediate, 3, immediate: (int)(DeviceAccess.All & ~rule.Access)));
                    program.Add(Instruction.Of(JumpNotEqual, 3));
                }
                else
                {
                    program.Add(Instruction.Of(Move, 0, 3));
                    program.Add(Instruction.Of(AndImmediate, 0, immediate: (int)rule.Access));
                    program.Add(Instruction.Of(JumpEqual, 0));
                }
            }
            program.Add(Instruction.Of(MoveImmediate, 0, immediate: rule.Allow ? 1 : 0));
            program.Add(Instruction.Of(Exit, 0));
            for (var i = start; i < program.Count; i++)
                if (program[i].Code is JumpNotEqual or JumpEqual)
                    program[i] = program[i] with { Offset = (short)(program.Count - i - 1) };
        }
        program.Add(Instruction.Of(MoveImmediate, 0, immediate: allowed ? 1 : 0));
        program.Add(Instruction.Of(Exit, 0));
        return [.. program];
    }

    private static int Number(long value) => value is >= 0 and <= int.MaxValue ? (int)value : throw new CgroupLimitException($"device number {value} is out of range");

    /// <summary>Makes these rules the ones of a v2 cgroup; what was attached before is taken off after the new program is on, so that no device is open meanwhile.</summary>
    internal static void Attach(string directory, IReadOnlyList<DeviceRule> rules)
    {
        using var cgroup = FileAt.Open(null, directory, OpenFlags.ReadOnly | OpenFlags.Directory);
        var before = Attached(cgroup);
        var (allowed, exceptions) = DeviceList.Reduce(rules);
        if (!allowed || exceptions.Count > 0)
        {
            var program = Loaded(rules);
            using var target = new DirectoryArgument(cgroup);
            using var attached = new DirectoryArgument(program);
            // Several programs may be on one cgroup and all must agree; BPF_F_ALLOW_MULTI lets a nested engine add its own below.
            AttachOrDetach(ProgAttach, target.Fd, attached.Fd, AllowMulti, directory);
        }
        foreach (var id in before) Detach(cgroup, id, directory);
    }

    // Loading takes 300 µs (verifier, compiler), and nearly all containers have the same rules. A program can be on any number of cgroups.
    private const int MaxLoaded = 16;
    private static readonly ConcurrentDictionary<string, SafeFileHandle> Programs = new(StringComparer.Ordinal);

    private static SafeFileHandle Loaded(IReadOnlyList<DeviceRule> rules)
    {
        var key = string.Join(';', rules.Select(r => (r.Allow ? "+" : "-") + r));
        if (Programs.TryGetValue(key, out var program)) return program;
        program = Load(Compile(rules));
        if (Programs.Count >= MaxLoaded) Programs.Clear(); // those in use are closed by their finalizer; the kernel keeps what is attached
        return Programs.GetOrAdd(key, program);
    }

    /// <summary>Identifiers of the device programs attached to the cgroup itself.</summary>
    internal static uint[] Attached(SafeFileHandle cgroup)
    {
        using var fd = new DirectoryArgument(cgroup);
        var ids = stackalloc uint[MaxAttached];
        var query = new Query { TargetFd = fd.Fd, AttachType = CgroupDevice, Ids = (ulong)ids, Count = MaxAttached };
        _ = LibC.Check(LibC.bpf(ProgQuery, &query, (uint)sizeof(Query)), "bpf", "BPF_PROG_QUERY, BPF_CGROUP_DEVICE");
        return new Span<uint>(ids, (int)query.Count).ToArray();
    }

    private static void Detach(SafeFileHandle cgroup, uint id, string directory)
    {
        var get = new GetById { Id = id };
        var fd = LibC.bpf(ProgGetFdById, &get, (uint)sizeof(GetById));
        if (fd < 0 && LibC.LastErrno == Errno.ENOENT) return;
        LibC.Check(fd, "bpf", $"BPF_PROG_GET_FD_BY_ID, {id}");
        using var program = new SafeFileHandle(fd, ownsHandle: true);
        using var target = new DirectoryArgument(cgroup);
        AttachOrDetach(ProgDetach, target.Fd, fd, 0, directory);
    }

    private static void AttachOrDetach(int command, int target, int program, uint flags, string directory)
    {
        var attributes = new AttachAttributes { TargetFd = target, ProgramFd = program, AttachType = CgroupDevice, Flags = flags };
        LibC.Check(LibC.bpf(command, &attributes, (uint)sizeof(AttachAttributes)), "bpf", $"{(command == ProgAttach ? "BPF_PROG_ATTACH" : "BPF_PROG_DETACH")}, \"{directory}\", BPF_CGROUP_DEVICE");
    }

    internal static SafeFileHandle Load(Instruction[] instructions)
    {
        fixed (Instruction* code = instructions)
        fixed (byte* license = "Apache-2.0\0"u8)
        {
            var load = new LoadAttributes { Type = ProgTypeCgroupDevice, Count = (uint)instructions.Length, Instructions = (ulong)code, License = (ulong)license };
            return new SafeFileHandle(LibC.Check(LibC.bpf(ProgLoad, &load, (uint)sizeof(LoadAttributes)), "bpf", $"BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE, {instructions.Length} instructions"), ownsHandle: true);
        }
    }

    // include/uapi/linux/bpf.h.
    private const int ProgLoad = 5, ProgAttach = 8, ProgDetach = 9, ProgGetFdById = 13, ProgQuery = 16;
    private const uint ProgTypeCgroupDevice = 15, CgroupDevice = 6, AllowMulti = 2;

    private const int MaxAttached = 64; // BPF_CGROUP_MAX_PROGS

    private struct LoadAttributes
    {
        internal uint Type, Count;
        internal ulong Instructions, License;
        internal uint LogLevel, LogSize;
        internal ulong Log;
        internal uint KernelVersion, Flags;
    }

    private struct AttachAttributes
    {
        internal int TargetFd, ProgramFd;
        internal uint AttachType, Flags;
    }

    private struct GetById
    {
        internal uint Id, NextId, Flags;
    }

    private struct Query
    {
        internal int TargetFd;
        internal uint AttachType, QueryFlags, AttachFlags;
        internal ulong Ids;
        internal uint Count;
    }
}
