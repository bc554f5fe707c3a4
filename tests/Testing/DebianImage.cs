using System.Diagnostics;

namespace Berth.Testing;

/// <summary>
/// Debian's smallest system as an archive for `docker import`, made with debootstrap from where this machine has its packages. Kept in artifacts/ for the
/// next time. In it, as in the images of Debian: no documentation, lists of packages compressed, no archives kept, nothing started by an installation.
/// </summary>
public static class DebianImage
{
    private static readonly Dictionary<string, Task<string?>> s_made = [];

    /// <summary>Why there is none, for tests to be skipped with.</summary>
    public const string Missing = "no Debian could be made with debootstrap (artifacts/test/images has its log)";

    /// <summary>For builds that fetch packages: what this machine fetches through may be reached from its own network alone.</summary>
    public static string BuildNetwork { get; } = new[] { Mirror, Proxy }.Any(static a => Uri.TryCreate(a, UriKind.Absolute, out var address) && address.IsLoopback) ? "host" : "default";

    /// <summary>The archive of a Debian (bookworm, say); null: it can't be had here.</summary>
    public static Task<string?> ArchiveAsync(string suite)
    {
        lock (s_made)
        {
            if (!s_made.TryGetValue(suite, out var made)) s_made[suite] = made = Task.Run(() => Make(suite));
            return made;
        }
    }

    private static string Mirror
    {
        get
        {
            var lines = Ask("apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)", "Created-By: Packages");
            return lines.Select(static l => l.Split(' ')).FirstOrDefault(static w => w is [_, "Debian", "Debian"])?[0] ?? "http://deb.debian.org/debian";
        }
    }

    private static string Proxy => Ask("apt-config", "dump", "--format", "%v%n", "Acquire::http::Proxy") is [var proxy, ..] ? proxy : "";

    private static string? Make(string suite)
    {
        var directory = Path.Combine(Repository.TestArtifacts, "images");
        var archive = Path.Combine(directory, $"debian-{suite}.tar");
        if (File.Exists(archive)) return archive;
        Directory.CreateDirectory(directory);
        var root = Directory.CreateTempSubdirectory($"berth-{suite}-").FullName;
        try
        {
            var start = new ProcessStartInfo("/bin/sh", ["-c", "exec >\"$0\" 2>&1; exec debootstrap --variant=minbase \"$@\"", Path.Combine(directory, $"debian-{suite}.log"), .. Certificates(), suite, root, Mirror]);
            start.Environment["PATH"] += ":/usr/sbin:/sbin";
            if (Proxy.Length > 0) start.Environment["http_proxy"] = Proxy;
            using (var debootstrap = Process.Start(start)!)
            {
                debootstrap.WaitForExit();
                if (debootstrap.ExitCode != 0) return null;
            }
            foreach (var name in (ReadOnlySpan<string>)["etc/resolv.conf", "etc/hostname"]) File.Delete(Path.Combine(root, name));
            // How this machine fetches: proxies, what it does not check.
            var fetching = Ask("apt-config", "dump").Where(static l => l.StartsWith("Acquire::http", StringComparison.Ordinal) || l.StartsWith("Acquire::Check-", StringComparison.Ordinal));
            File.WriteAllLines(Path.Combine(root, "etc/apt/apt.conf.d/90image"),
            [
                .. fetching, "Acquire::GzipIndexes \"true\";", "Acquire::Languages \"none\";", "Dir::Cache::pkgcache \"\";", "Dir::Cache::srcpkgcache \"\";", "DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb\"; };",
            ]);
            File.WriteAllText(Path.Combine(root, "etc/dpkg/dpkg.cfg.d/image"), "force-unsafe-io\npath-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n");
            var policy = Path.Combine(root, "usr/sbin/policy-rc.d");
            File.WriteAllText(policy, "#!/bin/sh\nexit 101\n");
            File.SetUnixFileMode(policy, (UnixFileMode)Convert.ToInt32("755", 8));
            using (var tar = Process.Start("tar", ["-C", root, "-cf", archive + ".tmp", "--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*", "--exclude=./usr/share/doc/*", "--exclude=./usr/share/man/*",
                "--exclude=./usr/share/locale/*", "--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*", "."]))
            {
                tar.WaitForExit();
                if (tar.ExitCode != 0) return null;
            }
            File.Move(archive + ".tmp", archive, overwrite: true);
            return archive;
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    private static string[] Certificates() => Mirror.StartsWith("https:", StringComparison.Ordinal) ? ["--include=ca-certificates"] : [];

    private static string[] Ask(string program, params string[] arguments)
    {
        try
        {
            return Host.Run(program, arguments).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return []; // no such program: not a Debian
        }
    }
}
