using System.Globalization;
using System.Text;

namespace Berth.Linux;

/// <summary>One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).</summary>
/// <param name="Point">Where it is mounted, as seen from our root.</param>
/// <param name="Shared">Mounts made on it appear on its peers.</param>
/// <param name="Slave">Mounts made on its master appear on it.</param>
public sealed record MountEntry(int Id, string Point, string FileSystem, string Source, bool Shared, bool Slave);

/// <summary>The mounts of our own namespace.</summary>
public static class MountTable
{
    public static List<MountEntry> Read() => Parse(File.ReadAllText("/proc/self/mountinfo"));

    internal static List<MountEntry> Parse(string text)
    {
        var list = new List<MountEntry>();
        foreach (var line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var fields = line.Split(' ');
            var dash = Array.IndexOf(fields, "-", Math.Min(6, fields.Length));
            if (dash < 0 || fields.Length < dash + 3 || !int.TryParse(fields[0], NumberStyles.None, CultureInfo.InvariantCulture, out var id)) continue;
            var tags = fields.AsSpan(6, dash - 6).ToArray();
            list.Add(new MountEntry(id, Unescape(fields[4]), fields[dash + 1], Unescape(fields[dash + 2]),
                tags.Any(t => t.StartsWith("shared:", StringComparison.Ordinal)), tags.Any(t => t.StartsWith("master:", StringComparison.Ordinal))));
        }
        return list;
    }

    /// <summary>The mount a path lies on: the longest mount point above it, and of several on one point the last.</summary>
    public static MountEntry? Of(string path, IEnumerable<MountEntry> mounts)
    {
        MountEntry? found = null;
        foreach (var mount in mounts)
        {
            if (IsAtOrBelow(path, mount.Point) && mount.Point.Length >= (found?.Point.Length ?? 0)) found = mount;
        }
        return found;
    }

    /// <summary>Whether a path is the given directory or lies in it; by name only.</summary>
    public static bool IsAtOrBelow(string path, string directory) =>
        path == directory || path.StartsWith(directory.EndsWith('/') ? directory : directory + "/", StringComparison.Ordinal);

    // Blanks and backslashes are written as \040.
    private static string Unescape(string field)
    {
        if (!field.Contains('\\')) return field;
        var bytes = new List<byte>(field.Length);
        var source = Encoding.UTF8.GetBytes(field);
        for (var i = 0; i < source.Length; i++)
        {
            if (source[i] == '\\' && i + 3 < source.Length && source.AsSpan(i + 1, 3).IndexOfAnyExceptInRange((byte)'0', (byte)'7') < 0)
            {
                bytes.Add((byte)(((source[i + 1] - '0') << 6) | ((source[i + 2] - '0') << 3) | (source[i + 3] - '0')));
                i += 3;
            }
            else bytes.Add(source[i]);
        }
        return Encoding.UTF8.GetString([.. bytes]);
    }
}
