using System.Buffers.Binary;
using System.Text;
using System.Text.RegularExpressions;
using Berth.Runtime.Capabilities;
using Berth.Runtime.Launching;
using Berth.Runtime.Seccomp;
using Berth.Runtime.Spec;
using Berth.Testing;
using Machine = System.Runtime.InteropServices.Architecture;

namespace Berth.Fast.Tests.Runtime;

public partial class SeccompTests
{
    private const uint Kill = 0, Allow = 0x7fff0000, Errno = 0x00050000, Eperm = Errno | 1, Enosys = Errno | 38;
    private static readonly ulong[] Edges =
        [0, 1, 2, 8, 39, 40, 41, 0x20000, 0x20008, 0x7E020000, 0x10000000, 0x00010000, 0xFFFFFFFF, 0x100000000, 0x100000028, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF];

    private static SeccompProfile Default(Machine machine, params string[] capabilities) =>
        OciSeccompProfile.From(SeccompProfiles.Resolve(DefaultProfile.Profile, capabilities, machine, new Version(6, 1))!);

    public static TheoryData<Machine, string[]> Machines => new()
    {
        { Machine.X64, [.. Capability.Default] },
        { Machine.X64, [.. Capability.Names] },
        { Machine.X64, [] },
        { Machine.Arm64, [.. Capability.Default] },
        { Machine.Arm64, [.. Capability.Names] },
    };

    [Theory]
    [MemberData(nameof(Machines))]
    public void The_compiled_default_profile_decides_every_call_as_the_profile_reads(Machine machine, string[] capabilities) =>
        AssertSame(Default(machine, capabilities), machine == Machine.Arm64 ? SeccompArch.Arm64 : SeccompArch.X64, Edges);

    [Fact]
    public void Compiled_random_profiles_decide_as_they_read()
    {
        var seed = Random.Shared.Next();
        var random = new Random(seed);
        var names = SyscallTable.Of(SeccompArch.X64).Keys.Concat(new[] { "no_such_call", "socketcall", "ipc", "stime" }).ToArray();
        SeccompAction[] actions = [SeccompAction.Allow, SeccompAction.Errno, SeccompAction.KillProcess, SeccompAction.KillThread, SeccompAction.Log, SeccompAction.Trace, SeccompAction.Trap];
        for (var round = 0; round < 25; round++)
        {
            // Some very long ones, so that jumps go farther than a byte.
            var rules = Enumerable.Range(0, random.Next(6) == 0 ? 300 : random.Next(20)).Select(_ => new SeccompRule(
                [.. Enumerable.Range(0, random.Next(1, 6)).Select(_ => names[random.Next(names.Length)])],
                actions[random.Next(actions.Length)], random.Next(3) == 0 ? (uint)random.Next(100) : null,
                [.. Enumerable.Range(0, random.Next(3) == 0 ? random.Next(1, 4) : 0).Select(_ =>
                    new SeccompArg(random.Next(6), Edges[random.Next(Edges.Length)], Edges[random.Next(Edges.Length)], (SeccompOperator)random.Next(7)))])).ToList();
            var profile = new SeccompProfile
            {
                DefaultAction = actions[random.Next(actions.Length)], Rules = rules,
                Architectures = [.. new[] { SeccompArch.X86, SeccompArch.X32 }.Where(_ => random.Next(2) == 0)],
            };
            AssertSame(profile, SeccompArch.X64, [Edges[random.Next(Edges.Length)], Edges[random.Next(Edges.Length)]], $"seed {seed}, round {round}, ");
        }
    }

    private static void AssertSame(SeccompProfile profile, SeccompArch native, ulong[] values, string about = "")
    {
        var program = SeccompCompiler.Compile(profile, native).Instructions;
        var used = native == SeccompArch.X64 ? new[] { SeccompArch.X64, SeccompArch.X86, SeccompArch.X32 } : [SeccompArch.Arm64, SeccompArch.Arm];
        var args = new ulong[6];
        foreach (var architecture in used)
        {
            var reference = new Reference(profile, architecture, architecture == native || profile.Architectures.Contains(architecture));
            var audit = architecture == SeccompArch.X32 ? SeccompArch.X64 : architecture;
            var bit = architecture == SeccompArch.X32 ? SyscallTable.X32Bit : 0;
            foreach (var number in Enumerable.Range(0, 600).Select(n => (uint)n | bit).Concat(new uint[] { 983040, 983042, 983047, 0x3fffffff, uint.MaxValue - 1 }.Where(n => audit != SeccompArch.X64 || n < SyscallTable.X32Bit).Select(n => n | bit)))
            {
                // All arguments alike, then each alone.
                foreach (var value in values)
                {
                    for (var alone = -1; alone < 6; alone++)
                    {
                        for (var i = 0; i < 6; i++) args[i] = alone < 0 || alone == i ? value : 0;
                        var (expected, actual) = (reference.Result(number, args), Run(program.Span, (uint)audit, number, args));
                        if (expected != actual) Assert.Fail($"{about}{architecture} call {number:x} with {value:x} in {alone}: {expected:x} expected, {actual:x} found");
                        if (!reference.HasConditions(number)) break;
                    }
                    if (!reference.HasConditions(number)) break;
                }
            }
        }
        Assert.Equal(Kill, Run(program.Span, 0x12345678, 0, args));
    }

    [Fact]
    public void What_the_default_profile_refuses_on_x64()
    {
        var program = SeccompCompiler.Compile(Default(Machine.X64, [.. Capability.Default]), SeccompArch.X64).Instructions;
        var text = new StringBuilder();
        foreach (var group in SyscallTable.Of(SeccompArch.X64).OrderBy(n => n.Key, StringComparer.Ordinal).GroupBy(n => Run(program.Span, (uint)SeccompArch.X64, n.Value, new ulong[6])).OrderBy(g => g.Key))
            if (group.Key != Allow)
                text.Append($"ERRNO {group.Key & 0xffff}: ").AppendJoin(' ', group.Select(n => n.Key)).Append('\n');
        var (expected, actual) = Golden.Read("DefaultProfileRefuses.txt", text.ToString());
        Assert.Equal(expected, actual);
    }

    [Theory]
    [InlineData("clone", 0x00000011UL, Allow)] // fork
    [InlineData("clone", 0x3D0F00UL, Allow)] // a thread
    [InlineData("clone", 0x10000000UL, Eperm)] // CLONE_NEWUSER
    [InlineData("clone", 0x00020000UL, Eperm)] // CLONE_NEWNS
    [InlineData("clone3", 0UL, Enosys)]
    [InlineData("socket", 40UL, Eperm)] // AF_VSOCK
    [InlineData("socket", 38UL, Allow)] // AF_ALG
    [InlineData("socket", 0x100000028UL, Allow)]
    [InlineData("personality", 0xFFFFFFFFUL, Allow)]
    [InlineData("personality", 0x40000UL, Eperm)] // ADDR_NO_RANDOMIZE
    [InlineData("unshare", 0UL, Eperm)]
    [InlineData("keyctl", 0UL, Eperm)]
    [InlineData("io_uring_setup", 0UL, Eperm)]
    [InlineData("chroot", 0UL, Allow)]
    [InlineData("listns", 0UL, Enosys)] // newer than the profile
    [InlineData("read", 0UL, Allow)]
    public void The_default_profile_decides(string name, ulong argument, uint result)
    {
        var program = SeccompCompiler.Compile(Default(Machine.X64, [.. Capability.Default]), SeccompArch.X64).Instructions;
        Assert.Equal(result, Run(program.Span, (uint)SeccompArch.X64, SyscallTable.Of(SeccompArch.X64)[name], [argument, 0, 0, 0, 0, 0]));
    }

    [Theory]
    [InlineData("unistd_64.h", SeccompArch.X64)]
    [InlineData("unistd_32.h", SeccompArch.X86)]
    [InlineData("unistd_x32.h", SeccompArch.X32)]
    public void The_tables_agree_with_the_system_headers(string header, SeccompArch architecture)
    {
        var path = "/usr/include/x86_64-linux-gnu/asm/" + header;
        Assert.SkipUnless(File.Exists(path), $"{path} is not installed (linux-libc-dev)");
        var table = SyscallTable.Of(architecture);
        var bit = architecture == SeccompArch.X32 ? SyscallTable.X32Bit : 0;
        var count = 0;
        foreach (Match match in HeaderLine().Matches(File.ReadAllText(path)))
        {
            count++;
            Assert.True(table.TryGetValue(match.Groups[1].Value, out var number) && number == (uint.Parse(match.Groups[2].Value) | bit), match.Value);
        }
        Assert.True(count > 300);
    }

    [GeneratedRegex(@"#define __NR_(\w+)\s+\(?(?:__X32_SYSCALL_BIT \+ )?(\d+)")]
    private static partial Regex HeaderLine();

    [Fact]
    public void A_profile_is_resolved_for_capabilities_kernel_and_architecture()
    {
        const string Json = """
            {"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"unknown":1,
             "archMap":[{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]},{"architecture":"SCMP_ARCH_X86_64","subArchitectures":null}],
             "syscalls":[
              {"name":"read","action":"SCMP_ACT_ALLOW","args":null},
              {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}},
              {"names":["mount"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}},
              {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"}},
              {"names":["kcmp"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"6.1"}},
              {"names":["socket"],"Action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64"]},"args":[{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}]}]}
            """;
        string Resolve(Machine machine, Version kernel, params string[] caps)
        {
            var oci = SeccompProfiles.Resolve(SeccompProfiles.Parse(Json), caps, machine, kernel)!;
            return string.Join(',', oci.Architectures!) + ": " + string.Join(' ', oci.Syscalls!.SelectMany(s => s.Names));
        }
        Assert.Equal("SCMP_ARCH_X86_64: read bpf mount socket", Resolve(Machine.X64, new Version(6, 1), "CAP_BPF"));
        Assert.Equal("SCMP_ARCH_X86_64: read ptrace socket", Resolve(Machine.X64, new Version(6, 18), "CAP_SYS_ADMIN"));
        Assert.Equal("SCMP_ARCH_AARCH64,SCMP_ARCH_ARM: read mount kcmp", Resolve(Machine.Arm64, new Version(5, 10)));
    }

    [Theory]
    [InlineData("{}", null)]
    [InlineData("{", "Decoding seccomp profile failed: ")]
    [InlineData("""{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}""", "both 'architectures' and 'archMap'")]
    [InlineData("""{"syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}""", "both 'name' and 'names'")]
    [InlineData("""{"syscalls":[{"names":["b"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"5"}}]}""", "invalid kernel version: \"5\"")]
    public void A_bad_profile_is_refused_in_dockers_words(string json, string? message)
    {
        if (message is null) Assert.Null(SeccompProfiles.Load(json, []));
        else Assert.StartsWith(message, Assert.Throws<FormatException>(() => SeccompProfiles.Load(json, [])).Message.Replace("Decoding seccomp profile failed: invalid", "invalid"));
    }

    [Fact]
    public void Flags_left_out_mean_runcs_default_and_unknown_ones_are_refused()
    {
        SeccompProfile With(params string[]? flags) => new() { DefaultAction = SeccompAction.Allow, Rules = [], Flags = flags };
        Assert.Equal(4u, SeccompCompiler.Compile(With(null)).Flags);
        Assert.Equal(0u, SeccompCompiler.Compile(With()).Flags);
        Assert.Equal(2u, SeccompCompiler.Compile(With("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC")).Flags);
        Assert.Throws<FormatException>(() => SeccompCompiler.Compile(With("SECCOMP_FILTER_FLAG_X")));
    }

    /// <summary>The profile read naively, with a rule list per call and no tree.</summary>
    private sealed class Reference
    {
        private readonly SeccompProfile _profile;
        private readonly bool _present, _is64;
        private readonly SeccompArch _architecture;
        private readonly Dictionary<uint, List<(string Name, ulong? Call)>> _names = [];
        private readonly Dictionary<uint, List<(IReadOnlyList<SeccompArg> Args, uint Result)>> _rules = [];
        private readonly ILookup<string, (int Order, SeccompRule Rule)> _used;
        private readonly uint _largest;

        internal Reference(SeccompProfile profile, SeccompArch architecture, bool present)
        {
            (_profile, _architecture, _present) = (profile, architecture, present);
            _is64 = architecture is SeccompArch.X64 or SeccompArch.Arm64;
            _used = profile.Rules.SelectMany(r => r.Names.Select(n => (Name: n, Rule: r))).Select((r, order) => (r.Name, r.Rule, Order: order)).ToLookup(r => r.Name, r => (r.Order, r.Rule));
            foreach (var (name, number) in SyscallTable.Of(architecture))
            {
                if (!_used.Contains(name)) continue;
                (_names.TryGetValue(number, out var list) ? list : _names[number] = []).Add((name, null));
                _largest = Math.Max(_largest, number);
            }
            if (architecture != SeccompArch.X86) return;
            foreach (var (through, calls) in new[] { (102u, SyscallTable.SocketCalls), (117u, SyscallTable.IpcCalls) })
                foreach (var (name, call) in calls)
                    (_names.TryGetValue(through, out var list) ? list : _names[through] = []).Add((name, call));
        }

        private static uint Value(SeccompAction action, uint? errno) => (uint)action | (action is SeccompAction.Errno or SeccompAction.Trace ? errno ?? 1 : 0);

        internal bool HasConditions(uint number) => _rules.TryGetValue(number, out var rules) && rules.Exists(r => r.Args.Count > 0);

        internal uint Result(uint number, ulong[] args)
        {
            if (!_present) return _architecture == SeccompArch.X32 && number == uint.MaxValue ? Result(SeccompArch.X64, number, args) : Kill;
            return Result(_architecture, number, args);
        }

        private uint Result(SeccompArch _, uint number, ulong[] args)
        {
            var otherwise = Value(_profile.DefaultAction, _profile.DefaultErrno);
            if (_largest > 0 && number > _largest && _profile.DefaultAction is not (SeccompAction.Allow or SeccompAction.Log or SeccompAction.Trace)) return Enosys;
            if (!_names.TryGetValue(number, out var names)) return otherwise;
            if (!_rules.TryGetValue(number, out var rules))
            {
                _rules[number] = rules = (from known in names
                                          from entry in _used[known.Name]
                                          orderby entry.Order
                                          where Value(entry.Rule.Action, entry.Rule.Errno) != otherwise
                                          select (Args: known.Call is { } call ? [new SeccompArg(0, call, 0, SeccompOperator.Equal)] : entry.Rule.Args, Result: Value(entry.Rule.Action, entry.Rule.Errno))).ToList();
            }
            foreach (var rule in rules)
                if (rule.Args.Count == 0)
                    return rule.Result;
            foreach (var rule in rules)
            {
                var twice = rule.Args.GroupBy(a => a.Index).Any(g => g.Count() > 1);
                if (twice ? rule.Args.Any(a => Holds(a, args)) : rule.Args.All(a => Holds(a, args))) return rule.Result;
            }
            return otherwise;
        }

        private bool Holds(SeccompArg arg, ulong[] args)
        {
            var mask = _is64 ? ulong.MaxValue : uint.MaxValue;
            var (left, right, two) = (args[arg.Index] & mask, arg.Value & mask, arg.ValueTwo & mask);
            return arg.Operator switch
            {
                SeccompOperator.Equal => left == right,
                SeccompOperator.NotEqual => left != right,
                SeccompOperator.Less => left < right,
                SeccompOperator.LessOrEqual => left <= right,
                SeccompOperator.Greater => left > right,
                SeccompOperator.GreaterOrEqual => left >= right,
                _ => (left & right) == two,
            };
        }
    }

    /// <summary>Classic BPF as net/core/filter.c runs it, the part that seccomp admits and we use.</summary>
    internal static uint Run(ReadOnlySpan<byte> program, uint architecture, uint number, ulong[] args)
    {
        var a = 0u;
        for (var pc = 0; ; pc++)
        {
            var record = program.Slice(pc * 8, 8);
            var (code, k) = (BinaryPrimitives.ReadUInt16LittleEndian(record), BinaryPrimitives.ReadUInt32LittleEndian(record[4..]));
            switch (code)
            {
                case 0x20: a = k switch { 0 => number, 4 => architecture, _ => (uint)(args[(k - 16) / 8] >> (int)(k % 8 * 8)) }; break;
                case 0x54: a &= k; break;
                case 0x05: pc += (int)k; break;
                case 0x15: pc += a == k ? record[2] : record[3]; break;
                case 0x25: pc += a > k ? record[2] : record[3]; break;
                case 0x35: pc += a >= k ? record[2] : record[3]; break;
                case 0x06: return k;
                default: Assert.Fail($"unknown instruction {code:x}"); break;
            }
        }
    }
}
