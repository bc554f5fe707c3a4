using Berth.Linux.Cgroups;

namespace Berth.Fast.Tests.Linux;

/// <summary>The eBPF program, interpreted, must decide as the list does when read right by right: the last rule that speaks of it holds.</summary>
public class DeviceProgramTests
{
    [Fact]
    public void The_default_list_lets_null_through_and_disks_be_made_but_not_opened()
    {
        var program = DeviceProgram.Compile([DeviceRule.DenyAll, .. DeviceList.RuntimeDefaults]);
        Assert.True(Run(program, DeviceKind.Character, 1, 3, DeviceAccess.All));
        Assert.True(Run(program, DeviceKind.Character, 136, 7, DeviceAccess.Read | DeviceAccess.Write));
        Assert.True(Run(program, DeviceKind.Block, 8, 0, DeviceAccess.Mknod));
        Assert.False(Run(program, DeviceKind.Block, 8, 0, DeviceAccess.Read));
        Assert.False(Run(program, DeviceKind.Character, 1, 1, DeviceAccess.Read | DeviceAccess.Write)); // /dev/mem
    }

    [Fact]
    public void Rights_given_by_two_rules_add_up()
    {
        var program = DeviceProgram.Compile([DeviceRule.DenyAll, new(true, DeviceKind.Block, 8, null, DeviceAccess.Read), new(true, DeviceKind.Block, 8, 1, DeviceAccess.Write)]);
        Assert.True(Run(program, DeviceKind.Block, 8, 1, DeviceAccess.Read | DeviceAccess.Write));
        Assert.False(Run(program, DeviceKind.Block, 8, 2, DeviceAccess.Read | DeviceAccess.Write));
    }

    [Fact]
    public void Random_lists_are_decided_as_they_read()
    {
        var seed = Random.Shared.Next();
        var random = new Random(seed);
        for (var round = 0; round < 300; round++)
        {
            var rules = Enumerable.Range(0, random.Next(8)).Select(_ => new DeviceRule(random.Next(2) == 0, (DeviceKind)random.Next(3),
                random.Next(3) == 0 ? null : random.Next(3), random.Next(3) == 0 ? null : random.Next(3), (DeviceAccess)random.Next(1, 8))).ToArray();
            var program = DeviceProgram.Compile(rules);
            foreach (var kind in new[] { DeviceKind.Character, DeviceKind.Block })
                for (var major = 0; major < 3; major++)
                    for (var minor = 0; minor < 3; minor++)
                        for (var access = 1; access < 8; access++)
                            Assert.True(Read(rules, kind, major, minor, (DeviceAccess)access) == Run(program, kind, major, minor, (DeviceAccess)access),
                                $"seed {seed}, round {round}: {kind} {major}:{minor} {(DeviceAccess)access} with {string.Join("; ", rules.Select(r => $"{(r.Allow ? "allow" : "deny")} {r}"))}");
        }
    }

    private static bool Read(DeviceRule[] rules, DeviceKind kind, int major, int minor, DeviceAccess access) =>
        new[] { DeviceAccess.Mknod, DeviceAccess.Read, DeviceAccess.Write }.Where(right => access.HasFlag(right)).All(right =>
            rules.LastOrDefault(r => (r.Kind == DeviceKind.All || r.Kind == kind) && (r.Major ?? major) == major && (r.Minor ?? minor) == minor && r.Access.HasFlag(right))?.Allow ?? true);

    private static bool Run(DeviceProgram.Instruction[] program, DeviceKind kind, long major, long minor, DeviceAccess access)
    {
        var context = new uint[] { (uint)access << 16 | (kind == DeviceKind.Block ? 1u : 2u), (uint)major, (uint)minor };
        var r = new long[6];
        for (var pc = 0; ; pc++)
        {
            var (code, registers, offset, immediate) = program[pc];
            var (d, s) = (registers & 15, registers >> 4);
            switch (code)
            {
                case DeviceProgram.LoadWord: r[d] = context[offset / 4]; break;
                case DeviceProgram.AndImmediate: r[d] &= immediate; break;
                case DeviceProgram.ShiftRight: r[d] = (long)((ulong)r[d] >> immediate); break;
                case DeviceProgram.Move: r[d] = r[s]; break;
                case DeviceProgram.MoveImmediate: r[d] = immediate; break;
                case DeviceProgram.JumpNotEqual: if (r[d] != immediate) pc += offset; break;
                case DeviceProgram.JumpEqual: if (r[d] == immediate) pc += offset; break;
                case DeviceProgram.Exit: return r[0] != 0;
                default: Assert.Fail($"unknown instruction {code:x2}"); break;
            }
        }
    }
}
