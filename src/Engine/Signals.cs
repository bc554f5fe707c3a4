using System.Globalization;

namespace Berth.Engine;

/// <summary>Signal names and numbers of Linux on x86 and ARM (signal(7)); MIPS and SPARC differ and are not supported.</summary>
public static class Signals
{
    public const int Kill = 9;
    public const int Term = 15;
    private const int RtMin = 34, RtMax = 64;

    private static readonly Dictionary<string, int> Numbers = Build();

    private static Dictionary<string, int> Build()
    {
        string[] names =
        [
            "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
            "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
        ];
        var map = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 1; i < names.Length; i++) map[names[i]] = i;
        map["IOT"] = 6;
        map["CLD"] = 17;
        map["POLL"] = 29;
        map["UNUSED"] = 31;
        map["RTMIN"] = RtMin;
        map["RTMAX"] = RtMax;
        for (var i = 1; i <= 15; i++) map[$"RTMIN+{i}"] = RtMin + i;
        for (var i = 1; i <= 14; i++) map[$"RTMAX-{i}"] = RtMax - i;
        return map;
    }

    /// <summary>"KILL", "SIGKILL", "sigkill" or "9" → 9.</summary>
    public static bool TryParse(string text, out int signal)
    {
        if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out signal)) return signal != 0;
        var name = text.ToUpperInvariant();
        if (name.StartsWith("SIG", StringComparison.Ordinal)) name = name[3..];
        return Numbers.TryGetValue(name, out signal);
    }

    /// <exception cref="EngineException">InvalidParameter, "invalid signal: x".</exception>
    public static int Parse(string text) =>
        TryParse(text, out var signal) ? signal : throw EngineException.Invalid($"invalid signal: {text}");

    public static bool IsValid(int signal) => signal is >= 1 and <= RtMax;
}
