using System.Globalization;
using Berth.Api;

namespace Berth.Engine;

// `docker top` without ps: the columns of ps(1) from /proc, for the processes in the container's cgroup.
public sealed partial class ContainerService
{
    /// <param name="psArguments">As `ps`; null or empty: "-ef".</param>
    public Task<ContainerTopResponse> TopAsync(string idOrName, string? psArguments, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        var record = container.Record;
        if (!record.State.Running) throw NotRunning(record.Id);
        if (record.State.Restarting) throw IsRestarting(record.Id);
        var request = PsColumns.Parse(psArguments);
        var cgroup = _core.Cgroups.Open(SpecCompiler.CgroupPath(record.HostConfig, _core.Options, record.Id));
        var facts = new PsFacts(_core.Time.GetUtcNow(), _core.Facts.MemoryTotalBytes);
        var rows = new List<string[]>();
        foreach (var pid in (cgroup?.Processes() ?? [record.State.Pid]).Order())
        {
            if (PsProcess.Read(pid) is not { } process || !request.Selects(process)) continue;
            // Of a column that is the other's: "-".
            string[] Row(PsProcess of, PsScope? left) => Array.ConvertAll(request.Columns, c => c.Scope == left ? "-" : c.Value(of, facts));
            if (request.Threads == PsThreads.None) rows.Add(Row(process, null));
            if (request.Threads == PsThreads.Below) rows.Add(Row(process, PsScope.Thread));
            if (request.Threads == PsThreads.None) continue;
            foreach (var thread in process.ReadThreads()) rows.Add(Row(thread, request.Threads == PsThreads.Below ? PsScope.Process : null));
        }
        _core.Emit(container, "top");
        return Task.FromResult(new ContainerTopResponse { Titles = Array.ConvertAll(request.Columns, c => c.Title), Processes = [.. rows] });
    }
}

/// <summary>Whose a column is, where a process is shown with its threads below.</summary>
internal enum PsScope { Both, Process, Thread }

internal enum PsThreads { None, Instead, Below }

internal sealed record PsColumn(string Title, Func<PsProcess, PsFacts, string> Value, PsScope Scope = PsScope.Both);

/// <summary>What was asked of ps: columns, which of the container's processes, and whether their threads.</summary>
internal sealed record PsRequest(PsColumn[] Columns, Predicate<PsProcess> Selects, PsThreads Threads = PsThreads.None);

/// <summary>
/// What of ps's options is understood: its formats (-f -F -l -ly -j, u, l, j, and none), -o with column names, threads (-L -T H, m and -m), selection by -p, -C, -u, -U, --ppid.
/// </summary>
internal static class PsColumns
{
    private static readonly Dictionary<string, PsColumn> ByName = new(StringComparer.OrdinalIgnoreCase)
    {
        ["pid"] = new("PID", (p, _) => Text(p.Pid), PsScope.Process),
        ["ppid"] = new("PPID", (p, _) => Text(p.ParentPid), PsScope.Process),
        ["pgid"] = new("PGID", (p, _) => Text(p.Group), PsScope.Process),
        ["pgrp"] = new("PGRP", (p, _) => Text(p.Group), PsScope.Process),
        ["sid"] = new("SID", (p, _) => Text(p.Session), PsScope.Process),
        ["user"] = new("USER", (p, f) => f.UserName(p.Uid)),
        ["euser"] = new("EUSER", (p, f) => f.UserName(p.Uid)),
        ["uid"] = new("UID", (p, _) => Text(p.Uid)),
        ["gid"] = new("GID", (p, _) => Text(p.Gid)),
        ["ruser"] = new("RUSER", (p, f) => f.UserName(p.RealUid)),
        ["ruid"] = new("RUID", (p, _) => Text(p.RealUid)),
        ["rgid"] = new("RGID", (p, _) => Text(p.RealGid)),
        ["group"] = new("GROUP", (p, f) => f.GroupName(p.Gid)),
        ["egroup"] = new("EGROUP", (p, f) => f.GroupName(p.Gid)),
        ["rgroup"] = new("RGROUP", (p, f) => f.GroupName(p.RealGid)),
        ["minflt"] = new("MINFLT", (p, _) => Text(p.MinorFaults)),
        ["majflt"] = new("MAJFLT", (p, _) => Text(p.MajorFaults)),
        ["lstart"] = new("STARTED", (p, f) => f.Started(p).ToString("ddd MMM d HH:mm:ss yyyy", CultureInfo.InvariantCulture)),
        ["c"] = new("C", (p, f) => Text((long)f.CpuPercent(p))),
        ["%cpu"] = new("%CPU", (p, f) => f.CpuPercent(p).ToString("0.0", CultureInfo.InvariantCulture)),
        ["pcpu"] = new("%CPU", (p, f) => f.CpuPercent(p).ToString("0.0", CultureInfo.InvariantCulture)),
        ["%mem"] = new("%MEM", (p, f) => f.MemoryPercent(p).ToString("0.0", CultureInfo.InvariantCulture), PsScope.Process),
        ["pmem"] = new("%MEM", (p, f) => f.MemoryPercent(p).ToString("0.0", CultureInfo.InvariantCulture), PsScope.Process),
        ["vsz"] = new("VSZ", (p, _) => Text(p.VirtualBytes / 1024), PsScope.Process),
        ["rss"] = new("RSS", (p, _) => Text(p.ResidentPages * Environment.SystemPageSize / 1024), PsScope.Process),
        ["stime"] = new("STIME", (p, f) => f.StartText(p)),
        ["start"] = new("STARTED", (p, f) => f.StartText(p)),
        ["start_time"] = new("START", (p, f) => f.StartText(p)),
        ["tty"] = new("TTY", (p, _) => p.Terminal, PsScope.Process),
        ["tt"] = new("TT", (p, _) => p.Terminal, PsScope.Process),
        ["stat"] = new("STAT", (p, _) => p.State, PsScope.Thread),
        ["s"] = new("S", (p, _) => p.State[..1], PsScope.Thread),
        ["state"] = new("S", (p, _) => p.State[..1], PsScope.Thread),
        ["time"] = new("TIME", (p, f) => Clock(f.CpuSeconds(p), hours: true)),
        ["cputime"] = new("TIME", (p, f) => Clock(f.CpuSeconds(p), hours: true)),
        ["etime"] = new("ELAPSED", (p, f) => Clock(f.Elapsed(p), hours: false)),
        ["etimes"] = new("ELAPSED", (p, f) => Text(f.Elapsed(p))),
        ["ni"] = new("NI", (p, _) => Text(p.Nice), PsScope.Thread),
        ["pri"] = new("PRI", (p, _) => Text(39 - p.Priority), PsScope.Thread),
        ["nlwp"] = new("NLWP", (p, _) => Text(p.Threads), PsScope.Process),
        ["cmd"] = new("CMD", (p, _) => p.Command, PsScope.Process),
        ["args"] = new("COMMAND", (p, _) => p.Command, PsScope.Process),
        ["command"] = new("COMMAND", (p, _) => p.Command, PsScope.Process),
        ["comm"] = new("COMMAND", (p, _) => p.Name, PsScope.Process),
        ["ucmd"] = new("CMD", (p, _) => p.Name, PsScope.Process),
        ["f"] = new("F", (p, _) => Text(p.Flags >> 6 & 7)),
        ["opri"] = new("PRI", (p, _) => Text(60 + p.Priority), PsScope.Thread),
        ["bsdpri"] = new("PRI", (p, _) => Text(p.Priority), PsScope.Thread),
        ["addr"] = new("ADDR", (_, _) => "-"),
        ["sz"] = new("SZ", (p, _) => Text(p.VirtualBytes / Environment.SystemPageSize), PsScope.Process),
        ["psr"] = new("PSR", (p, _) => Text(p.Processor), PsScope.Thread),
        ["tpgid"] = new("TPGID", (p, _) => Text(p.ForegroundGroup), PsScope.Process),
        ["wchan"] = new("WCHAN", (p, _) => HostFacts.TryRead($"/proc/{p.Pid}/wchan") is { Length: > 0 } name && name != "0" ? name[..Math.Min(name.Length, 6)] : "-", PsScope.Thread),
    };

    static PsColumns()
    {
        foreach (var (name, title) in (ReadOnlySpan<(string, string)>)[("lwp", "LWP"), ("tid", "TID"), ("spid", "SPID")]) ByName[name] = new(title, (p, _) => Text(p.Thread), PsScope.Thread);
        foreach (var (name, other, title) in (ReadOnlySpan<(string, string, string)>)
        [
            ("tgid", "pid", "TGID"), ("thcount", "nlwp", "THCNT"), ("uname", "user", "USER"), ("euid", "uid", "EUID"), ("egid", "gid", "EGID"), ("sess", "sid", "SESS"), ("session", "sid", "SESS"),
            ("tname", "tty", "TTY"), ("flag", "f", "F"), ("flags", "f", "F"), ("vsize", "vsz", "VSZ"), ("rssize", "rss", "RSS"), ("nice", "ni", "NI"),
        ])
            ByName[name] = ByName[other] with { Title = title };
    }

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static string Clock(long seconds, bool hours) => hours || seconds >= 3600
        ? $"{seconds / 3600:00}:{seconds / 60 % 60:00}:{seconds % 60:00}"
        : $"{seconds / 60:00}:{seconds % 60:00}";

    private static PsColumn[] Of(string names) => [.. names.Split(' ').Select(n => ByName[n])];

    // ps's own formats.
    private static readonly PsColumn UserAsUid = ByName["user"] with { Title = "UID" };
    private static readonly PsColumn MinutesOfCpu = ByName["time"] with { Value = (p, f) => $"{f.CpuSeconds(p) / 60}:{f.CpuSeconds(p) % 60:00}" };
    private static readonly PsColumn[] Basic = Of("pid tty time ucmd");
    private static readonly PsColumn[] Full = [UserAsUid, .. Of("pid ppid c stime tty time cmd")];
    private static readonly PsColumn[] ExtraFull = [UserAsUid, .. Of("pid ppid c sz rss psr stime tty time cmd")];
    private static readonly PsColumn[] Long = Of("f s uid pid ppid c opri ni addr sz wchan tty time ucmd");
    private static readonly PsColumn[] LongWithMemory = Of("s uid pid ppid c opri ni rss sz wchan tty time ucmd");
    private static readonly PsColumn[] Jobs = Of("pid pgid sid tty time ucmd");
    private static readonly PsColumn[] BsdBasic = [.. Of("pid tty stat"), MinutesOfCpu, ByName["command"]];
    private static readonly PsColumn[] BsdUser = [.. Of("user pid %cpu %mem vsz rss tty stat start_time"), MinutesOfCpu, ByName["command"]];
    private static readonly PsColumn[] BsdLong = [.. Of("f uid pid ppid bsdpri ni vsz rss wchan stat tty"), MinutesOfCpu, ByName["command"]];
    private static readonly PsColumn[] BsdJobs = [.. Of("ppid pid pgid sid tty tpgid stat uid"), MinutesOfCpu, ByName["command"]];

    /// <summary>Where ps puts the thread's number: right behind the process's (-T), or behind the numbers that follow that one (-L), which counts the threads, too.</summary>
    private static PsColumn[] WithThreads(PsColumn[] columns, string title)
    {
        var all = columns.ToList();
        var at = all.FindIndex(c => c.Title == "PID") + 1;
        if (title == "LWP")
        {
            while (at < all.Count && all[at].Title is "PPID" or "PGID" or "SID") at++;
            if (columns == Full || columns == ExtraFull || columns == BsdUser) all.Insert(all.FindIndex(c => c.Title is "C" or "%CPU") + 1, ByName["nlwp"]);
        }
        all.Insert(at, ByName[title]);
        return [.. all];
    }

    /// <exception cref="EngineException">System (as dockerd, whose ps fails): unknown options, formats that exclude each other, no PID column.</exception>
    public static PsRequest Parse(string? arguments)
    {
        var words = new Queue<string>((arguments ?? "").Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries));
        if (words.Count == 0) return new PsRequest(Full, _ => true);
        var own = new List<PsColumn>();
        var formats = new List<PsColumn[]>();
        var withMemory = false;
        var (threads, threadTitle) = (PsThreads.None, "");
        Predicate<PsProcess>? selected = null;
        PsColumn[] standard = Basic;
        while (words.TryDequeue(out var word))
        {
            if (word.StartsWith("--", StringComparison.Ordinal))
            {
                var equals = word.IndexOf('=');
                var (name, value) = equals < 0 ? (word, null) : (word[..equals], word[(equals + 1)..]);
                switch (name)
                {
                    case "--format": own.AddRange(Own(value ?? Next())); break;
                    case "--pid": Select(value ?? Next(), (p, v) => Text(p.Pid) == v); break;
                    case "--ppid": Select(value ?? Next(), (p, v) => Text(p.ParentPid) == v); break;
                    case "--user": Select(value ?? Next(), IsUser); break;
                    case "--no-headers": throw NoPid();
                    case "--forest" or "--headers" or "--cols" or "--width" or "--sort": break;
                    default: throw Failed("unknown gnu long option");
                }
                continue;
            }
            var dashed = word[0] == '-';
            if (!dashed) standard = BsdBasic;
            for (var i = dashed ? 1 : 0; i < word.Length; i++)
            {
                // An option's value is what is left of the word, or the next one.
                string Value()
                {
                    var rest = word[(i + 1)..];
                    i = word.Length;
                    return rest.Length > 0 ? rest : Next();
                }
                switch ((dashed, word[i]))
                {
                    case (_, 'o' or 'O'): own.AddRange(Own(Value())); break;
                    case (_, 'p'): Select(Value(), (p, v) => Text(p.Pid) == v); break;
                    case (true, 'L' or 'T'):
                        if (threadTitle.Length > 0 && threadTitle != Title(word[i])) throw Failed("thread flags conflict; can't use both -L and -T");
                        threadTitle = Title(word[i]);
                        if (threads == PsThreads.None) threads = PsThreads.Instead;
                        break;
                    case (false, 'H'): threads = PsThreads.Instead; break;
                    case (_, 'm'): threads = PsThreads.Below; break;
                    case (true, 'u') or (false, 'U'): Select(Value(), IsUser); break;
                    case (true, 'U'): Select(Value(), (p, v) => Text(p.RealUid) == v || PsFacts.NameOfUser(p.RealUid) == v); break;
                    case (false, 'L'): throw Failed("the option is exclusive: L");
                    case (true, 'C'): Select(Value(), (p, v) => p.Name == v); break;
                    case (true, 'e' or 'A' or 'a' or 'd' or 'N' or 'H' or 'w' or 'M') or (false, 'a' or 'x' or 'g' or 'r' or 'f' or 'w' or 'e' or 'c' or 'n' or 'S' or 'h'): break;
                    case (true, 'f'): formats.Add(Full); break;
                    case (true, 'F'): formats.Add(ExtraFull); break;
                    case (true, 'l'): formats.Add(Long); break;
                    case (true, 'y'): withMemory = true; break;
                    case (true, 'j'): formats.Add(Jobs); break;
                    case (false, 'u'): formats.Add(BsdUser); break;
                    case (false, 'l'): formats.Add(BsdLong); break;
                    case (false, 'j'): formats.Add(BsdJobs); break;
                    default: throw Failed(dashed ? "unsupported SysV option" : "unsupported option (BSD syntax)");
                }
            }
        }
        if (formats.Distinct().Count() + (own.Count > 0 ? 1 : 0) > 1) throw Failed("conflicting format options");
        var columns = own.Count > 0 ? [.. own] : formats.Count > 0 ? formats[0] : standard;
        if (withMemory && columns != Long) throw Failed("modifier -y without format -l makes no sense");
        if (withMemory) columns = LongWithMemory;
        if (threadTitle.Length > 0 && own.Count == 0) columns = WithThreads(columns, threadTitle);
        return Array.Exists(columns, c => c.Title == "PID") ? new PsRequest(columns, selected ?? (_ => true), threads) : throw NoPid();

        string Next() => words.TryDequeue(out var next) ? next : throw Failed("option requires an argument");
        static string Title(char option) => option == 'L' ? "LWP" : "SPID";
        static bool IsUser(PsProcess process, string wanted) => Text(process.Uid) == wanted || PsFacts.NameOfUser(process.Uid) == wanted;
        static EngineException NoPid() => EngineException.System("Couldn't find PID field in ps output");
        static EngineException Failed(string reason) => EngineException.System("ps: error: " + reason);

        void Select(string list, Func<PsProcess, string, bool> matches)
        {
            var values = list.Split(',', StringSplitOptions.RemoveEmptyEntries);
            var before = selected;
            selected = p => before?.Invoke(p) == true || Array.Exists(values, v => matches(p, v));
        }

        static IEnumerable<PsColumn> Own(string list)
        {
            foreach (var name in list.Split(',', StringSplitOptions.RemoveEmptyEntries))
            {
                var equals = name.IndexOf('=');
                // A width ("comm:20") is the terminal's affair.
                if (!ByName.TryGetValue((equals < 0 ? name : name[..equals]).Split(':')[0], out var column)) throw Failed($"unknown user-defined format specifier {GoText.Quote(name)}");
                // ps's own formats name it differently.
                if (name == "tty") column = column with { Title = "TT" };
                yield return equals < 0 ? column : column with { Title = name[(equals + 1)..] };
            }
        }
    }
}

/// <summary>What of the machine is needed to word a process's times and owner.</summary>
internal sealed class PsFacts(DateTimeOffset now, long memoryTotalBytes)
{
    // USER_HZ is 100 on every architecture of Linux's ABI we run on.
    private const int TicksPerSecond = 100;
    private readonly double _uptimeSeconds = double.TryParse(HostFacts.TryRead("/proc/uptime")?.Split(' ')[0], CultureInfo.InvariantCulture, out var s) ? s : 0;
    private readonly Dictionary<uint, string> _users = ReadNames("/etc/passwd"), _groups = ReadNames("/etc/group");

    public static string? NameOfUser(uint uid) => ReadNames("/etc/passwd").GetValueOrDefault(uid);

    private static Dictionary<uint, string> ReadNames(string file)
    {
        var map = new Dictionary<uint, string>();
        foreach (var line in (HostFacts.TryRead(file) ?? "").Split('\n'))
        {
            var parts = line.Split(':');
            if (parts.Length > 2 && uint.TryParse(parts[2], out var uid)) map.TryAdd(uid, parts[0]);
        }
        return map;
    }

    public string UserName(uint uid) => _users.GetValueOrDefault(uid) ?? uid.ToString(CultureInfo.InvariantCulture);
    public string GroupName(uint gid) => _groups.GetValueOrDefault(gid) ?? gid.ToString(CultureInfo.InvariantCulture);
    public long CpuSeconds(PsProcess p) => p.CpuTicks / TicksPerSecond;
    public long Elapsed(PsProcess p) => Math.Max(0, (long)(_uptimeSeconds - (double)p.StartTicks / TicksPerSecond));

    public double CpuPercent(PsProcess p)
    {
        var elapsed = _uptimeSeconds - (double)p.StartTicks / TicksPerSecond;
        return elapsed <= 0 ? 0 : Math.Min(999, 100.0 * p.CpuTicks / TicksPerSecond / elapsed);
    }

    public double MemoryPercent(PsProcess p) => memoryTotalBytes <= 0 ? 0 : 100.0 * p.ResidentPages * Environment.SystemPageSize / memoryTotalBytes;

    public DateTimeOffset Started(PsProcess p) => now.AddSeconds(-Elapsed(p)).ToLocalTime();

    public string StartText(PsProcess p)
    {
        var started = Started(p);
        return started.Date == now.ToLocalTime().Date ? started.ToString("HH:mm", CultureInfo.InvariantCulture)
            : started.Year == now.Year ? started.ToString("MMMdd", CultureInfo.InvariantCulture) : started.ToString("yyyy", CultureInfo.InvariantCulture);
    }
}

/// <summary>proc_pid_stat(5), _status and _cmdline of one process.</summary>
internal sealed record PsProcess
{
    public int Pid { get; init; }
    public string Name { get; init; } = "";
    public string Command { get; init; } = "";
    public string State { get; init; } = "S";
    public int ParentPid { get; init; }
    public int Group { get; init; }
    public int Session { get; init; }
    public string Terminal { get; init; } = "?";
    public long Flags { get; init; }
    public int ForegroundGroup { get; init; }
    public int Processor { get; init; }
    public long CpuTicks { get; init; }
    public int Priority { get; init; }
    public int Nice { get; init; }
    public int Threads { get; init; }
    public long StartTicks { get; init; }
    public long VirtualBytes { get; init; }
    public long ResidentPages { get; init; }
    public uint Uid { get; init; }
    public uint Gid { get; init; }
    public uint RealUid { get; init; }
    public uint RealGid { get; init; }
    public long MinorFaults { get; init; }
    public long MajorFaults { get; init; }

    /// <summary>The thread's number; the process's own where it stands for all of them.</summary>
    public int Thread { get; init; }

    /// <summary>Null when it is gone.</summary>
    public static PsProcess? Read(int pid)
    {
        if (HostFacts.TryRead($"/proc/{pid}/stat") is not { } stat || HostFacts.TryRead($"/proc/{pid}/status") is not { } status) return null;
        return Parse(pid, stat, status, HostFacts.TryRead($"/proc/{pid}/cmdline") ?? "");
    }

    /// <summary>Its threads, the first one first; a process that ends meanwhile has fewer.</summary>
    public IEnumerable<PsProcess> ReadThreads()
    {
        List<int> threads;
        try
        {
            threads = [.. Directory.EnumerateDirectories($"/proc/{Pid}/task").Select(d => int.Parse(Path.GetFileName(d), CultureInfo.InvariantCulture)).Order()];
        }
        catch (IOException)
        {
            yield break;
        }
        foreach (var thread in threads)
        {
            var directory = $"/proc/{Pid}/task/{thread}/";
            if (HostFacts.TryRead(directory + "stat") is { } stat && HostFacts.TryRead(directory + "status") is { } status && Parse(Pid, stat, status, "") is { } read)
                yield return read with { Thread = thread, Command = Command };
        }
    }

    public static PsProcess? Parse(int pid, string stat, string status, string commandLine)
    {
        // The name is in parentheses and may hold anything, parentheses too.
        int open = stat.IndexOf('('), close = stat.LastIndexOf(')');
        if (open < 0 || close < open) return null;
        var name = stat[(open + 1)..close];
        var f = stat[(close + 2)..].Split(' ');
        if (f.Length < 22) return null;
        long Number(int i) => long.TryParse(f[i], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) ? n : 0;
        var (session, group, nice, tty) = ((int)Number(3), (int)Number(2), (int)Number(16), Number(4));
        var state = f[0] + (nice < 0 ? "<" : nice > 0 ? "N" : "") + (session == pid ? "s" : "") + (Number(17) > 1 ? "l" : "") + (Number(5) == group && group > 0 ? "+" : "");
        var command = commandLine.Replace('\0', ' ').Trim();
        return new PsProcess
        {
            Pid = pid, Name = name, Command = command.Length > 0 ? command : $"[{name}]", State = state, ParentPid = (int)Number(1), Group = group, Session = session,
            Terminal = tty == 0 ? "?" : (tty >> 8 & 0xfff) is >= 136 and <= 143 ? $"pts/{(tty & 0xff) | (tty >> 12 & 0xfff00)}" : "?",
            Flags = Number(6), ForegroundGroup = (int)Number(5), Processor = f.Length > 36 ? (int)Number(36) : 0,
            CpuTicks = Number(11) + Number(12), Priority = (int)Number(15), Nice = nice, Threads = (int)Number(17), StartTicks = Number(19), VirtualBytes = Number(20), ResidentPages = Number(21),
            Uid = Id("Uid:", 1), Gid = Id("Gid:", 1), RealUid = Id("Uid:", 0), RealGid = Id("Gid:", 0), MinorFaults = Number(7), MajorFaults = Number(9), Thread = pid,
        };

        uint Id(string key, int which)
        {
            foreach (var line in status.Split('\n'))
            {
                // Real, effective, saved, file system.
                if (line.StartsWith(key, StringComparison.Ordinal)) return uint.TryParse(line[key.Length..].Split('\t', StringSplitOptions.RemoveEmptyEntries)[which], out var id) ? id : 0;
            }
            return 0;
        }
    }
}
