namespace Berth.Runtime.Seccomp;

/// <summary>What to do for one syscall number: the first rule whose conditions all hold, else <see cref="Otherwise"/>. Values are what the filter returns.</summary>
internal sealed record Decision(IReadOnlyList<ConditionalResult> Conditional, uint Otherwise)
{
    internal bool SameAs(Decision other) => ReferenceEquals(this, other) || (Conditional.Count == 0 && other.Conditional.Count == 0 && Otherwise == other.Otherwise);
}

internal sealed record ConditionalResult(IReadOnlyList<SeccompArg> Conditions, uint Result);

/// <summary>A profile for one architecture, by number, with libseccomp's and runc's rules about which entry counts.</summary>
internal sealed class Decisions
{
    private const uint Enosys = 38, Eperm = 1;
    private const uint SocketCallNumber = 102, IpcNumber = 117; // i386

    private readonly SortedDictionary<uint, Decision> _byNumber = [];
    private readonly Decision _otherwise;
    private readonly Decision? _beyond;
    private readonly uint _largest;

    private Decisions(SeccompProfile profile, SeccompArch architecture)
    {
        Is64Bit = architecture is SeccompArch.X64 or SeccompArch.Arm64; // x32 passes 32-bit values, and libseccomp looks at no more
        var numbers = SyscallTable.Of(architecture);
        var otherwise = ResultOf(profile.DefaultAction, profile.DefaultErrno);
        _otherwise = new Decision([], otherwise);
        var conditional = new Dictionary<uint, List<ConditionalResult>>();
        var named = false;

        foreach (var rule in profile.Rules)
        {
            var result = ResultOf(rule.Action, rule.Errno);
            foreach (var name in rule.Names)
            {
                if (name.Length == 0) throw new FormatException("seccomp profile: empty string is not a valid syscall");
                // A name that this architecture or our tables do not know is no error: profiles are written for many machines.
                if (numbers.TryGetValue(name, out var number))
                {
                    named = true;
                    _largest = Math.Max(_largest, number);
                    if (result != otherwise) Add(number, rule.Args, result);
                }
                if (architecture == SeccompArch.X86 && result != otherwise)
                {
                    if (SyscallTable.SocketCalls.TryGetValue(name, out var call)) Add(SocketCallNumber, [FirstArgument(call)], result);
                    if (SyscallTable.IpcCalls.TryGetValue(name, out call)) Add(IpcNumber, [FirstArgument(call)], result);
                }
            }
        }
        foreach (var (number, rules) in conditional)
            _byNumber[number] = new Decision(rules, otherwise);

        // What the profile's author cannot have known is answered as an old kernel would, so that libc falls back: a program built for a
        // newer kernel than the profile gets ENOSYS, not EPERM. Holes below the largest known number get the default, as with runc.
        if (named && profile.DefaultAction is not (SeccompAction.Allow or SeccompAction.Log or SeccompAction.Trace))
            _beyond = new Decision([], (uint)SeccompAction.Errno | Enosys);

        void Add(uint number, IReadOnlyList<SeccompArg> args, uint result)
        {
            // The first rule without conditions holds for good: what comes later for this number is part of it.
            if (_byNumber.ContainsKey(number)) return;
            if (args.Count == 0)
            {
                _byNumber[number] = new Decision([], result);
                conditional.Remove(number);
                return;
            }
            if (!conditional.TryGetValue(number, out var rules)) conditional[number] = rules = [];
            // Conditions on different arguments are joined by and. Two on the same argument are alternatives: runc's reading of old profiles.
            if (args.Select(a => a.Index).Distinct().Count() == args.Count) rules.Add(new ConditionalResult(args, result));
            else rules.AddRange(args.Select(a => new ConditionalResult([a], result)));
        }
    }

    internal bool Is64Bit { get; }

    internal static Decisions For(SeccompProfile profile, SeccompArch architecture)
    {
        foreach (var arg in profile.Rules.SelectMany(r => r.Args))
            if (arg.Index is < 0 or > 5)
                throw new FormatException($"seccomp profile: argument {arg.Index}; a syscall has 0 to 5");
        return new Decisions(profile, architecture);
    }

    /// <summary>All numbers from 0 to 2^32-1 as ranges of equal decisions, in order.</summary>
    internal List<(uint First, Decision Decision)> Ranges()
    {
        var ranges = new List<(uint First, Decision Decision)>();
        var next = 0UL;
        foreach (var (number, decision) in _byNumber)
        {
            if (number > next) Append((uint)next, _otherwise);
            Append(number, decision);
            next = number + 1UL;
        }
        if (_beyond is null)
        {
            Append((uint)next, _otherwise);
        }
        else
        {
            if (next <= _largest) Append((uint)next, _otherwise);
            Append(_largest + 1, _beyond);
        }
        return ranges;

        void Append(uint first, Decision decision)
        {
            if (ranges.Count == 0 || !ranges[^1].Decision.SameAs(decision)) ranges.Add((first, decision));
        }
    }

    private static SeccompArg FirstArgument(uint value) => new(0, value, 0, SeccompOperator.Equal);

    private static uint ResultOf(SeccompAction action, uint? errno) => action switch
    {
        SeccompAction.Errno or SeccompAction.Trace => (uint)action | ((errno ?? Eperm) & 0xffff),
        SeccompAction.Notify => throw new FormatException("seccomp profile: SCMP_ACT_NOTIFY needs an agent to listen, which is not supported"),
        _ => (uint)action,
    };
}
