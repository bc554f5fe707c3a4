using System.Text;

namespace Berth.Linux.Cgroups;

/// <summary>Finds the hierarchies in /proc/self/mountinfo and /proc/self/cgroup (man 5 proc, man 7 cgroups); functions of their texts.</summary>
internal static class CgroupMounts
{
    internal static IReadOnlyList<CgroupHierarchy> Parse(string mountinfo, string selfCgroup)
    {
        // "4:memory:/x": the numbers, and which controllers share a hierarchy.
        var known = new List<(int Id, string[] Controllers)>();
        foreach (var line in selfCgroup.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var fields = line.Split(':', 3);
            if (fields.Length == 3 && int.TryParse(fields[0], out var id)) known.Add((id, fields[1].Split(',', StringSplitOptions.RemoveEmptyEntries)));
        }
        var v1 = new List<CgroupHierarchy>();
        CgroupHierarchy? unified = null;
        foreach (var line in mountinfo.Split('\n'))
        {
            // "36 35 98:0 /root /mount/point options optional... - type source super-options"
            var halves = line.Split(" - ", 2);
            if (halves.Length < 2) continue;
            var left = halves[0].Split(' ');
            var right = halves[1].Split(' ');
            if (left.Length < 5 || right.Length < 3) continue;
            var (root, mountPoint) = (Unescape(left[3]), Unescape(left[4]));
            if (right[0] == "cgroup2")
            {
                // The one at the customary place wins over binds of it elsewhere.
                if (unified is null || mountPoint.Length < unified.MountPoint.Length) unified = new CgroupHierarchy(0, NameOf(mountPoint), [], mountPoint, root);
            }
            else if (right[0] == "cgroup")
            {
                var options = right[2].Split(',');
                var (id, controllers) = known.Find(k => k.Id != 0 && k.Controllers.Length > 0 && k.Controllers.All(options.Contains));
                if (controllers is null) continue;
                var at = v1.FindIndex(h => h.Id == id);
                var hierarchy = new CgroupHierarchy(id, NameOf(mountPoint), controllers, mountPoint, root);
                if (at < 0) v1.Add(hierarchy);
                else if (mountPoint.Length < v1[at].MountPoint.Length) v1[at] = hierarchy;
            }
        }
        if (unified is not null) v1.Add(unified);
        return v1;
    }

    /// <summary>Fills in the controllers that the v2 root offers.</summary>
    internal static IReadOnlyList<CgroupHierarchy> WithUnifiedControllers(IReadOnlyList<CgroupHierarchy> hierarchies, Func<string, string?> read) =>
        [.. hierarchies.Select(h => h.IsUnified
            ? h with { Controllers = (read(h.MountPoint + "/cgroup.controllers") ?? "").Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries) }
            : h)];

    private static string NameOf(string mountPoint) => mountPoint[(mountPoint.LastIndexOf('/') + 1)..];

    // Space, tab, newline and backslash are written as \040 and so on.
    private static string Unescape(string text)
    {
        if (!text.Contains('\\')) return text;
        var result = new StringBuilder();
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '\\' && i + 3 < text.Length)
            {
                result.Append((char)Convert.ToInt32(text.Substring(i + 1, 3), 8));
                i += 3;
            }
            else
            {
                result.Append(text[i]);
            }
        }
        return result.ToString();
    }
}
