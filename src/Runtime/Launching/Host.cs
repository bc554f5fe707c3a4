using System.Globalization;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Launching;

/// <summary>Facts about this process and machine that each start needs, read once.</summary>
internal static class Host
{
    private static readonly Lazy<SafeFileHandle> HostProc = new(() => FileAt.Open(null, "/proc", OpenFlags.Path | OpenFlags.Directory));

    /// <summary>The host's /proc.</summary>
    public static SafeFileHandle Proc => HostProc.Value;

    /// <summary>Signals that this process ignores and a child would go on ignoring. SIGPIPE, which the .NET runtime ignores, and what was inherited (nohup).</summary>
    public static IReadOnlyList<int> IgnoredSignals { get; } = ReadIgnoredSignals();

    /// <summary>What a child inherits.</summary>
    public static int OwnOomScore { get; } = int.Parse(File.ReadAllText("/proc/self/oom_score_adj"), CultureInfo.InvariantCulture);

    public static int LastCapability { get; } = int.Parse(File.ReadAllText("/proc/sys/kernel/cap_last_cap"), CultureInfo.InvariantCulture);

    private static List<int> ReadIgnoredSignals()
    {
        const int SIGPIPE = 13, SIGKILL = 9, SIGSTOP = 19, LastSignal = 64;
        var line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("SigIgn:", StringComparison.Ordinal));
        var mask = ulong.Parse(line["SigIgn:".Length..].Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        var signals = new List<int>();
        for (var signal = 1; signal <= LastSignal; signal++)
            if (signal is not (SIGKILL or SIGSTOP) && (signal == SIGPIPE || (mask & 1ul << (signal - 1)) != 0)) signals.Add(signal);
        return signals;
    }
}

/// <summary>Numbers of RLIMIT_…, from include/uapi/asm-generic/resource.h.</summary>
internal static class ResourceLimits
{
    public static int? Number(string type) => type switch
    {
        "RLIMIT_CPU" => 0, "RLIMIT_FSIZE" => 1, "RLIMIT_DATA" => 2, "RLIMIT_STACK" => 3, "RLIMIT_CORE" => 4, "RLIMIT_RSS" => 5, "RLIMIT_NPROC" => 6, "RLIMIT_NOFILE" => 7,
        "RLIMIT_MEMLOCK" => 8, "RLIMIT_AS" => 9, "RLIMIT_LOCKS" => 10, "RLIMIT_SIGPENDING" => 11, "RLIMIT_MSGQUEUE" => 12, "RLIMIT_NICE" => 13, "RLIMIT_RTPRIO" => 14, "RLIMIT_RTTIME" => 15,
        _ => null,
    };
}
