namespace Berth.Linux.Spawn;

/// <summary>What this process does so that containers can't reach it.</summary>
public static class ProcessSecurity
{
    /// <summary>
    /// No process without CAP_SYS_PTRACE can look into this one or a child that still shares its memory: not at its memory, descriptors or executable (man 2 ptrace,
    /// "Ptrace access mode checking").
    /// </summary>
    public static void ForbidInspection()
    {
        const int PR_SET_DUMPABLE = 4;
        LibC.Check(LibC.prctl(PR_SET_DUMPABLE, 0), "prctl", "PR_SET_DUMPABLE, 0");
    }
}
