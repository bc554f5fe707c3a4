using System.Globalization;

namespace Berth.Linux;

/// <summary>The pages of this program's own file that it has touched: code, and tables that only its start reads.</summary>
public static class ProgramPages
{
    private const int DontNeed = 4; // MADV_DONTNEED

    /// <summary>
    /// Gives them back (madvise(2)): they are as they are in the file, which the kernel has in its cache, and come back sixteen at a time when they are touched again. Does nothing when the program
    /// is not a file of its own (dotnet berthd.dll).
    /// </summary>
    public static unsafe void Release()
    {
        if (File.ResolveLinkTarget("/proc/self/exe", returnFinalTarget: false)?.FullName is not { } program) return;
        foreach (var (from, length) in Unwritten(File.ReadLines("/proc/self/maps"), program))
            _ = LibC.madvise((void*)from, (nuint)length, DontNeed); // it is advice: nothing depends on its being taken
    }

    /// <summary>The parts of a program that nobody can have written to: its first segments, up to the code. What comes behind is relocated by the loader, though it is read-only in the end.</summary>
    /// <param name="maps">Lines of proc_pid_maps(5).</param>
    internal static IEnumerable<(long From, long Length)> Unwritten(IEnumerable<string> maps, string program)
    {
        foreach (var line in maps)
        {
            // from-to perms offset dev inode path
            if (!line.EndsWith(program, StringComparison.Ordinal) || line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries) is not [var range, var access, _, _, _, var path] || path != program) continue;
            if (access[1] == 'w' || range.Split('-') is not [var from, var to]) yield break;
            var (start, end) = (long.Parse(from, NumberStyles.HexNumber, CultureInfo.InvariantCulture), long.Parse(to, NumberStyles.HexNumber, CultureInfo.InvariantCulture));
            yield return (start, end - start);
            if (access[2] == 'x') yield break;
        }
    }
}
