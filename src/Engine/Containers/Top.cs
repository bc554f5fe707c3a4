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
        var columns = PsColumns.Parse(psArguments);
        var cgroup = _core.Cgroups.Open(SpecCompiler.CgroupPath(record.HostConfig, _core.Options, record.Id));
        var facts = new PsFacts(_core.Time.GetUtcNow());
        var rows = new List<string[]>();
        foreach (var pid in (cgroup?.Processes() ?? [record.State.Pid]).Order())
        {
            if (PsProcess.Read(pid) is { } process) rows.Add(Array.ConvertAll(columns, c => c.Value(process, facts)));
        }
        _core.Emit(container, "top");
        return Task.FromResult(new ContainerTopResponse { Titles = Array.ConvertAll(columns, c => c.Title), Processes = [.. rows] });
    }
}

internal sealed record PsColumn(string Title, Func<PsProcess, PsFacts, string> Value);

/// <summary>What of ps's options is understood: -ef, -e, -f, aux, ax, u, and -o with column names.</summary>
internal static class PsColumns
{
    private static readonly Dictionary<string, PsColumn> ByName = new(StringComparer.OrdinalIgnoreCase)
    {
        ["pid"] = new("PID", (p, _) => Text(p.Pid)),
        ["ppid"] = new("PPID", (p, _) => Text(p.ParentPid)),
        ["pgid"] = new("PGID", (p, _) => Text(p.Group)),
        ["pgrp"] = new("PGRP", (p, _) => Text(p.Group)),
        ["sid"] = new("SID", (p, _) => Text(p.Session)),
        ["user"] = new("USER", (p, f) => f.UserName(p.Uid)),
        ["euser"] = new("EUSER", (p, f) => f.UserName(p.Uid)),
        ["uid"] = new("UID", (p, _) => Text(p.Uid)),
        ["gid"] = new("GID", (p, _) => Text(p.Gid)),
        ["c"] = new("C", (p, f) => Text((long)f.CpuPercent(p))),
        ["%cpu"] = new("%CPU", (p, f) => f.CpuPercent(p).ToString("0.0", CultureInfo.InvariantCulture)),
        ["pcpu"] = new("%CPU", (p, f) => f.CpuPercent(p).ToString("0.0", CultureInfo.InvariantCulture)),
        ["%mem"] = new("%MEM", (p, f) => f.MemoryPercent(p).ToString("0.0", CultureInfo.InvariantCulture)),
        ["pmem"] = new("%MEM", (p, f) => f.MemoryPercent(p).ToString("0.0", CultureInfo.InvariantCulture)),
        ["vsz"] = new("VSZ", (p, _) => Text(p.VirtualBytes / 1024)),
        ["rss"] = new("RSS", (p, _) => Text(p.ResidentPages * Environment.SystemPageSize / 1024)),
        ["stime"] = new("STIME", (p, f) => f.StartText(p)),
        ["start"] = new("STARTED", (p, f) => f.StartText(p)),
        ["start_time"] = new("START", (p, f) => f.StartText(p)),
        ["tty"] = new("TTY", (p, _) => p.Terminal),
        ["tt"] = new("TT", (p, _) => p.Terminal),
        ["stat"] = new("STAT", (p, _) => p.State),
        ["s"] = new("S", (p, _) => p.State[..1]),
        ["state"] = new("S", (p, _) => p.State[..1]),
        ["time"] = new("TIME", (p, f) => Clock(f.CpuSeconds(p), hours: true)),
        ["cputime"] = new("TIME", (p, f) => Clock(f.CpuSeconds(p), hours: true)),
        ["etime"] = new("ELAPSED", (p, f) => Clock(f.Elapsed(p), hours: false)),
        ["etimes"] = new("ELAPSED", (p, f) => Text(f.Elapsed(p))),
        ["ni"] = new("NI", (p, _) => Text(p.Nice)),
        ["pri"] = new("PRI", (p, _) => Text(39 - p.Priority)),
        ["nlwp"] = new("NLWP", (p, _) => Text(p.Threads)),
        ["cmd"] = new("CMD", (p, _) => p.Command),
        ["args"] = new("COMMAND", (p, _) => p.Command),
        ["command"] = new("COMMAND", (p, _) => p.Command),
        ["comm"] = new("COMMAND", (p, _) => p.Name),
        ["ucmd"] = new("CMD", (p, _) => p.Name),
    };

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static string Clock(long seconds, bool hours) => hours || seconds >= 3600
        ? $"{seconds / 3600:00}:{seconds / 60 % 60:00}:{seconds % 60:00}"
        : $"{seconds / 60:00}:{seconds % 60:00}";

    private static readonly PsColumn[] Full =
    [
        ByName["user"] with { Title = "UID" }, ByName["pid"], ByName["ppid"], ByName["c"], ByName["stime"], ByName["tty"], ByName["time"], ByName["cmd"],
    ];

    private static readonly PsColumn[] UserOriented =
    [
        ByName["user"], ByName["pid"], ByName["%cpu"], ByName["%mem"], ByName["vsz"], ByName["rss"], ByName["tty"], ByName["stat"], ByName["start_time"],
        ByName["time"] with { Value = (p, f) => $"{f.CpuSeconds(p) / 60}:{f.CpuSeconds(p) % 60:00}" }, ByName["command"],
    ];

    /// <exception cref="EngineException">System (as dockerd, whose ps fails): unknown options; InvalidParameter: no PID column.</exception>
    public static PsColumn[] Parse(string? arguments)
    {
        var words = (arguments ?? "").Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        if (words.Length == 0) return Full;
        var columns = new List<PsColumn>();
        var result = Full;
        for (var i = 0; i < words.Length; i++)
        {
            var word = words[i];
            string? list = null;
            if (word is "-o" or "o" or "--format" or "-O") list = ++i < words.Length ? words[i] : "";
            else if (word.StartsWith("-o", StringComparison.Ordinal)) list = word[2..];
            else if (word.StartsWith("--format=", StringComparison.Ordinal)) list = word[9..];
            else if (word.EndsWith('o') && word.Length > 1 && word[..^1].All(c => "-eAaxfuw".Contains(c))) list = ++i < words.Length ? words[i] : "";
            if (list is not null)
            {
                foreach (var name in list.Split(',', StringSplitOptions.RemoveEmptyEntries))
                {
                    var equals = name.IndexOf('=');
                    if (!ByName.TryGetValue(equals < 0 ? name : name[..equals], out var column))
                        throw EngineException.System($"ps: error: unknown user-defined format specifier {GoText.Quote(name)}");
                    columns.Add(equals < 0 ? column : column with { Title = name[(equals + 1)..] });
                }
                continue;
            }
            if (word.All(c => "-eAaxfuwF".Contains(c)) && word.Trim('-').Length > 0) result = word.Contains('u') && !word.StartsWith('-') ? UserOriented : Full;
            else throw EngineException.System("ps: error: " + (word.StartsWith("--", StringComparison.Ordinal) ? "unknown gnu long option" : word[0] == '-' ? "unsupported SysV option" : "unsupported option (BSD syntax)"));
        }
        if (columns.Count == 0) return result;
        return columns.Exists(c => c.Title == "PID") ? [.. columns] : throw EngineException.System("Couldn't find PID field in ps output");
    }
}

/// <summary>What of the machine is needed to word a process's times and owner.</summary>
internal sealed class PsFacts(DateTimeOffset now)
{
    // USER_HZ is 100 on every architecture of Linux's ABI we run on.
    private const int TicksPerSecond = 100;
    private readonly double _uptimeSeconds = double.TryParse(HostFacts.TryRead("/proc/uptime")?.Split(' ')[0], CultureInfo.InvariantCulture, out var s) ? s : 0;
    private readonly Dictionary<uint, string> _names = ReadNames();

    private static Dictionary<uint, string> ReadNames()
    {
        var map = new Dictionary<uint, string>();
        foreach (var line in (HostFacts.TryRead("/etc/passwd") ?? "").Split('\n'))
        {
            var parts = line.Split(':');
            if (parts.Length > 2 && uint.TryParse(parts[2], out var uid)) map.TryAdd(uid, parts[0]);
        }
        return map;
    }

    public string UserName(uint uid) => _names.GetValueOrDefault(uid) ?? uid.ToString(CultureInfo.InvariantCulture);
    public long CpuSeconds(PsProcess p) => p.CpuTicks / TicksPerSecond;
    public long Elapsed(PsProcess p) => Math.Max(0, (long)(_uptimeSeconds - (double)p.StartTicks / TicksPerSecond));

    public double CpuPercent(PsProcess p)
    {
        var elapsed = _uptimeSeconds - (double)p.StartTicks / TicksPerSecond;
        return elapsed <= 0 ? 0 : Math.Min(999, 100.0 * p.CpuTicks / TicksPerSecond / elapsed);
    }

    public double MemoryPercent(PsProcess p)
    {
        var total = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        return total <= 0 ? 0 : 100.0 * p.ResidentPages * Environment.SystemPageSize / total;
    }

    public string StartText(PsProcess p)
    {
        var started = now.AddSeconds(-Elapsed(p)).ToLocalTime();
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
    public long CpuTicks { get; init; }
    public int Priority { get; init; }
    public int Nice { get; init; }
    public int Threads { get; init; }
    public long StartTicks { get; init; }
    public long VirtualBytes { get; init; }
    public long ResidentPages { get; init; }
    public uint Uid { get; init; }
    public uint Gid { get; init; }

    /// <summary>Null when it is gone.</summary>
    public static PsProcess? Read(int pid)
    {
        if (HostFacts.TryRead($"/proc/{pid}/stat") is not { } stat || HostFacts.TryRead($"/proc/{pid}/status") is not { } status) return null;
        return Parse(pid, stat, status, HostFacts.TryRead($"/proc/{pid}/cmdline") ?? "");
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
            CpuTicks = Number(11) + Number(12), Priority = (int)Number(15), Nice = nice, Threads = (int)Number(17), StartTicks = Number(19), VirtualBytes = Number(20), ResidentPages = Number(21),
            Uid = Id("Uid:"), Gid = Id("Gid:"),
        };

        uint Id(string key)
        {
            foreach (var line in status.Split('\n'))
            {
                // Real, effective, saved, file system.
                if (line.StartsWith(key, StringComparison.Ordinal)) return uint.TryParse(line[key.Length..].Split('\t', StringSplitOptions.RemoveEmptyEntries)[1], out var id) ? id : 0;
            }
            return 0;
        }
    }
}
