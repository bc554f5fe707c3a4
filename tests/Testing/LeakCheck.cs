using System.Globalization;

namespace Berth.Testing;

/// <summary>
/// When a daemon's containers are removed nothing of them may be left: no mount (the machine's, the daemon's or the monitor's), device, network namespace,
/// cgroup, firewall rule, process, descriptor or directory.
/// </summary>
internal static class LeakCheck
{
    /// <summary>After a clean end with no container: neither bridge nor firewall table nor cgroup of the engine's own.</summary>
    public static void NothingIsLeftOf(TestDaemon daemon)
    {
        string[] left =
        [
            .. Host.Links().Where(l => l.Name == daemon.Bridge).Select(l => $"device {l.Name}"),
            .. Host.FirewallTables().Where(t => t.Contains(daemon.Bridge, StringComparison.Ordinal)),
            .. Host.CgroupDirectories(daemon.CgroupParent).Select(d => $"cgroup {d}"),
        ];
        if (left.Length > 0)
            throw new TestException($"left after a clean end:\n{string.Join('\n', left)}\n{daemon.LogTail()}");
    }

    /// <summary>Empty network namespaces that the daemon keeps ready.</summary>
    private const int PooledNamespacesAtMost = 16;

    private static readonly TimeSpan Within = TimeSpan.FromSeconds(5);

    public static async Task HoldsAsync(TestDaemon daemon)
    {
        // Some of it goes in the background (namespaces are slow to end): it has a moment to go.
        List<string> left = [];
        try
        {
            await Eventually.HoldsAsync("nothing left", () => (left = Find(daemon)).Count == 0, Within);
        }
        catch (TestException)
        {
            throw new TestException($"left behind by {daemon.LogPath}:\n  {string.Join("\n  ", left)}");
        }
    }

    private static List<string> Find(TestDaemon daemon)
    {
        var left = new List<string>();
        var monitor = daemon.MonitorPid;

        foreach (var (who, pid) in (ReadOnlySpan<(string, int?)>)[("this machine", Environment.ProcessId), ("the daemon", daemon.Pid), ("the monitor", monitor)])
        {
            if (pid is null)
                continue;
            foreach (var line in ReadLines($"/proc/{pid}/mountinfo"))
            {
                var target = line.Split(' ')[4];
                // A data root that is a file system of the test's own is no leak.
                if (target.StartsWith(daemon.WorkDirectory, StringComparison.Ordinal) && target != daemon.DataRoot && !daemon.DataRoot.StartsWith(target + "/", StringComparison.Ordinal))
                    left.Add($"mount of {who}: {line}");
            }
        }

        foreach (var link in Host.Links().Where(l => l.Master == daemon.Bridge))
            left.Add($"device {link.Name} on {daemon.Bridge}");

        foreach (var directory in Host.CgroupDirectories(daemon.CgroupParent))
        {
            if (!directory.EndsWith(daemon.CgroupParent, StringComparison.Ordinal))
                left.Add($"cgroup {directory}");
            foreach (var pid in Host.ProcessesIn(directory))
                left.Add($"process {pid} ({TestDaemon.ReadLink($"/proc/{pid}/exe")}) in {directory}");
        }

        foreach (var table in Host.FirewallTables().Where(t => t.Contains(daemon.Bridge, StringComparison.Ordinal)))
        {
            foreach (var line in Host.Run("nft", ["list", .. table.Split(' ')]).Split('\n')
                .Where(l => l.Contains("elements = {", StringComparison.Ordinal) && !l.Contains("elements = { \"", StringComparison.Ordinal))) // published ports are elements of maps; rules, and elements that name a bridge, are for good
                left.Add($"firewall rule in {table}: {line.Trim()}");
        }

        foreach (var (who, pid) in (ReadOnlySpan<(string, int?)>)[("the daemon", daemon.Pid), ("the monitor", monitor)])
        {
            if (pid is null)
                continue;
            var links = Descriptors(pid.Value);
            // Our end of a container's life: one pidfd each; the daemon watches its monitor by another.
            Count(links, who, "anon_inode:[pidfd]", who == "the daemon" ? 1 : 0);
            Count(links, who, "/dev/pts/ptmx", 0);
            Count(links, who, "/dev/ptmx", 0);
            Count(links, who, "net:[", PooledNamespacesAtMost);
            foreach (var link in links.Where(l => l.EndsWith("-json.log", StringComparison.Ordinal)))
                left.Add($"descriptor of {who}: {link}");
        }

        foreach (var root in (ReadOnlySpan<string>)[Path.Combine(daemon.DataRoot, "containers"), Path.Combine(daemon.ExecRoot, "containers")])
        {
            foreach (var entry in Directory.Exists(root) ? Directory.EnumerateFileSystemEntries(root) : [])
                left.Add($"file {entry}");
        }

        foreach (var pid in ChildrenOf(monitor))
            left.Add($"process {pid} ({string.Join(' ', ReadLines($"/proc/{pid}/cmdline")).Replace('\0', ' ')}), a child of the monitor");
        return left;

        void Count(List<string> links, string who, string prefix, int most)
        {
            var count = links.Count(l => l.StartsWith(prefix, StringComparison.Ordinal));
            if (count > most)
                left.Add($"{count} descriptors {prefix} of {who}, at most {most} are for good");
        }
    }

    private static List<string> Descriptors(int pid)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/fd")).Select(LinkText)];
        }
        catch (IOException)
        {
            return [];
        }

        static string LinkText(string path)
        {
            try
            {
                return new FileInfo(path).LinkTarget ?? "";
            }
            catch (IOException)
            {
                return "";
            }
        }
    }

    private static List<int> ChildrenOf(int? pid) => pid is null ? [] :
        [.. Directory.EnumerateDirectories(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/task"))
            .SelectMany(task => ReadLines(Path.Combine(task, "children"))).SelectMany(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Select(p => int.Parse(p, CultureInfo.InvariantCulture))];

    private static string[] ReadLines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
