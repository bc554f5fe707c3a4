using System.Diagnostics;

namespace Berth.Testing;

/// <summary>Files of a Debian package and of what it needs that is not installed here, unpacked into a directory of their own: nothing is installed, and nothing that it brings is started.</summary>
public static class DebianPackage
{
    /// <summary>The directory; null: it can't be had here. Kept in artifacts/ for the next time.</summary>
    /// <param name="suite">Another Debian's: the package alone, without what it needs. Null: this machine's.</param>
    public static string? Unpack(string name, string? suite = null)
    {
        var root = Path.Combine(Repository.TestArtifacts, "packages", suite is null ? name : $"{name}-{suite}");
        if (Directory.Exists(root)) return root;
        var archives = root + ".archives";
        var unpacked = root + ".tmp";
        if (Directory.Exists(unpacked)) Directory.Delete(unpacked, recursive: true);
        Directory.CreateDirectory(archives);
        Directory.CreateDirectory(unpacked);
        if (suite is not null ? !Download(name, suite, archives)
            : !Run("apt-get", "-y", "-q", "--no-install-recommends", "--download-only", "-o", $"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=1", "install", name)) return null;
        foreach (var archive in Directory.GetFiles(archives, "*.deb"))
            if (!Run("dpkg-deb", "-x", archive, unpacked)) return null;
        // Where /lib is a link to usr/lib, as everywhere now, packages may still say /lib.
        foreach (var old in (string[])["bin", "lib", "sbin"])
            if (Directory.Exists(Path.Combine(unpacked, old)) && !Run("sh", "-c", $"mkdir -p '{unpacked}/usr/{old}' && cp -a '{unpacked}/{old}/.' '{unpacked}/usr/{old}/' && rm -r '{unpacked}/{old}'")) return null;
        Directory.Move(unpacked, root);
        return root;
    }

    // With lists and sources of their own: what this machine installs from stays as it is.
    private static bool Download(string name, string suite, string archives)
    {
        var lists = Path.Combine(archives, "lists");
        Directory.CreateDirectory(Path.Combine(lists, "partial"));
        var sources = Path.Combine(archives, "sources.list");
        File.WriteAllText(sources, $"deb http://deb.debian.org/debian {suite} main\n");
        string[] options = ["-q", "-o", "Dir::Etc::SourceList=" + sources, "-o", "Dir::Etc::SourceParts=/dev/null", "-o", "Dir::State::Lists=" + lists, "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root",
            "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"];
        return Run("apt-get", [.. options, "update"]) && Run("sh", ["-c", "cd \"$0\" && exec apt-get \"$@\"", archives, .. options, "download", $"{name}/{suite}"]);
    }

    private static bool Run(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, Environment = { ["DEBIAN_FRONTEND"] = "noninteractive" } })!;
            process.ErrorDataReceived += (_, _) => { };
            process.BeginErrorReadLine();
            process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false; // no such program: not a Debian
        }
    }
}
