using System.Diagnostics;
using System.Globalization;

namespace Berth.Testing;

/// <summary>A network device as `ip -o link` shows it.</summary>
public sealed record Link(string Name, string? Master);

/// <summary>Looks at the machine the tests run on.</summary>
public static class Host
{
    /// <summary>A port of the loopback that nobody listens on at this moment.</summary>
    public static int FreePort()
    {
        using var listener = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        return ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
    }

    public static string Run(string file, params string[] arguments)
    {
        var start = new ProcessStartInfo(file) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        _ = error.Result;
        return output;
    }

    public static List<Link> Links()
    {
        var links = new List<Link>();
        foreach (var line in Run("ip", "-o", "link").Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            // 7: veth1a2b@if6: <BROADCAST,…> mtu 1500 … master berthtest0 state UP …
            var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var name = words[1].TrimEnd(':').Split('@')[0];
            var master = Array.IndexOf(words, "master");
            links.Add(new Link(name, master > 0 ? words[master + 1] : null));
        }
        return links;
    }

    /// <summary>"table ip name" each.</summary>
    public static string[] FirewallTables() => Run("nft", "list", "tables").Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>The cgroup and all below it, in every hierarchy that has it.</summary>
    public static List<string> CgroupDirectories(string cgroup)
    {
        var found = new List<string>();
        foreach (var line in File.ReadLines("/proc/self/mountinfo"))
        {
            var words = line.Split(' ');
            var type = words[Array.IndexOf(words, "-") + 1];
            if (type is not ("cgroup" or "cgroup2"))
                continue;
            var directory = words[4] + cgroup;
            if (Directory.Exists(directory))
                found.AddRange([directory, .. Directory.EnumerateDirectories(directory, "*", SearchOption.AllDirectories)]);
        }
        return [.. found.Distinct()];
    }

    public static List<int> ProcessesIn(string cgroupDirectory)
    {
        try
        {
            return [.. File.ReadAllLines(Path.Combine(cgroupDirectory, "cgroup.procs")).Select(l => int.Parse(l, CultureInfo.InvariantCulture)).Where(p => p > 0)];
        }
        catch (IOException)
        {
            return [];
        }
    }

    public static void Kill(int pid)
    {
        try
        {
            using var process = Process.GetProcessById(pid);
            process.Kill();
            process.WaitForExit(TimeSpan.FromSeconds(1));
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            // Gone.
        }
    }

    /// <summary>Processes whose command line holds <paramref name="text"/>, zombies not counted.</summary>
    public static List<int> ProcessesWith(string text)
    {
        var found = new List<int>();
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(directory), NumberStyles.None, CultureInfo.InvariantCulture, out var pid) || pid == Environment.ProcessId)
                continue;
            try
            {
                if (File.ReadAllText(Path.Combine(directory, "cmdline")).Contains(text, StringComparison.Ordinal))
                    found.Add(pid);
            }
            catch (IOException)
            {
                // Ended while we looked.
            }
        }
        return found;
    }

    internal static void TryWrite(string path, string text)
    {
        try
        {
            File.WriteAllText(path, text);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Not a hierarchy that has it.
        }
    }

    internal static void TryRemoveDirectory(string path)
    {
        try
        {
            Directory.Delete(path); // rmdir: a cgroup's files cannot be removed and need not be
        }
        catch (IOException)
        {
        }
    }
}
