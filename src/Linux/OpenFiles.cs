namespace Berth.Linux;

/// <summary>How many descriptors this process may have open (RLIMIT_NOFILE).</summary>
public static unsafe class OpenFiles
{
    private const int RLIMIT_NOFILE = 7;

    private static readonly Lazy<ulong> Raised = new(RaiseOnce);

    /// <summary>
    /// Raises the soft limit to the hard one: 1024 is what a shell gives, and enough for some 170 containers. Children inherit it; what was
    /// there before is what they should be given back.
    /// </summary>
    /// <returns>The soft limit before the first call.</returns>
    public static ulong Raise() => Raised.Value;

    private static ulong RaiseOnce()
    {
        var limit = stackalloc ulong[2]; // soft, hard
        LibC.Check(LibC.prlimit(0, RLIMIT_NOFILE, null, limit), "prlimit", "RLIMIT_NOFILE");
        var before = limit[0];
        limit[0] = limit[1];
        LibC.Check(LibC.prlimit(0, RLIMIT_NOFILE, limit, null), "prlimit", $"RLIMIT_NOFILE, {limit[1]}");
        return before;
    }

    /// <summary>The hard limit.</summary>
    public static ulong Hard
    {
        get
        {
            var limit = stackalloc ulong[2];
            LibC.Check(LibC.prlimit(0, RLIMIT_NOFILE, null, limit), "prlimit", "RLIMIT_NOFILE");
            return limit[1];
        }
    }
}
