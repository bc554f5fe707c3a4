namespace Berth.Linux.Cgroups;

/// <summary>Where a container's cgroup is: parent and id, with Docker's rules for <c>--cgroup-parent</c> under the cgroupfs driver.</summary>
public static class CgroupPath
{
    /// <summary>Longest path accepted; the kernel's PATH_MAX less room for the mount point and file names.</summary>
    public const int MaxLength = 3500;

    /// <summary>
    /// <c>/parent/id</c>. A parent without a leading slash is taken below the root; <c>..</c> cannot leave it; <c>foo.slice</c> is an ordinary name,
    /// as dockerd takes it with the cgroupfs driver.
    /// </summary>
    public static string Of(string parent, string id)
    {
        // Lexically, as filepath.Clean("/" + parent) does; there are no links in a cgroup file system.
        var parts = new List<string>();
        foreach (var part in parent.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part == ".") continue;
            if (part != "..") parts.Add(part);
            else if (parts.Count > 0) parts.RemoveAt(parts.Count - 1);
        }
        parts.Add(id);
        return "/" + string.Join('/', parts);
    }

    /// <summary>Refuses what <see cref="Of"/> would not have made.</summary>
    internal static void Check(string path)
    {
        if (path.Length > MaxLength) throw new LinuxException("cgroup", $"path of {path.Length} characters", Errno.ENAMETOOLONG);
        if (path.Length < 2 || path[0] != '/' || path[^1] == '/' || path.Split('/').Skip(1).Any(p => p is "" or "." or ".."))
            throw new LinuxException("cgroup", $"\"{path}\"", Errno.EINVAL);
    }
}
