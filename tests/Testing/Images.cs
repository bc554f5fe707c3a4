using System.Diagnostics;
using System.Formats.Tar;
using System.Security.Cryptography;
using System.Text;

namespace Berth.Testing;

/// <summary>Images made on the spot from Debian's busybox-static; nothing is downloaded.</summary>
public static class Images
{
    /// <summary>The name under which <see cref="BusyboxArchive"/> loads.</summary>
    public const string Busybox = "busybox:test";

    private const string BusyboxPath = "/bin/busybox";
    private static readonly Lazy<byte[]> Rootfs = new(MakeRootfs);
    private static readonly Lazy<string> Archive = new(WriteArchive);

    /// <summary>A root file system: busybox under all its names, users, and the directories one expects. A tar.</summary>
    public static byte[] BusyboxRootfs => Rootfs.Value;

    /// <summary>Path of a docker-archive (what `docker save` writes) with one image, <see cref="Busybox"/>.</summary>
    public static string BusyboxArchive => Archive.Value;

    private static byte[] MakeRootfs()
    {
        if (!File.Exists(BusyboxPath))
            throw new TestException($"{BusyboxPath} is missing: apt-get install busybox-static");
        var tar = new MemoryStream();
        using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var directory in (ReadOnlySpan<string>)["bin", "dev", "etc", "home", "home/alice", "proc", "root", "sys", "tmp", "usr", "usr/bin", "usr/sbin", "var", "var/lib", "var/lib/data"])
                Add(writer, new PaxTarEntry(TarEntryType.Directory, directory) { Mode = (UnixFileMode)(directory == "tmp" ? 0b001_111_111_111 : 0b111_101_101) });
            using (var busybox = File.OpenRead(BusyboxPath))
                Add(writer, new PaxTarEntry(TarEntryType.RegularFile, "bin/busybox") { Mode = (UnixFileMode)0b111_101_101, DataStream = busybox });
            foreach (var applet in Applets().Where(a => a != "busybox"))
                Add(writer, new PaxTarEntry(TarEntryType.SymbolicLink, "bin/" + applet) { LinkName = "busybox" });
            Add(writer, TextFile("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"));
            Add(writer, TextFile("etc/group", "root:x:0:\naudio:x:29:alice\nalice:x:1000:\nnogroup:x:65534:\n"));
            Add(writer, TextFile("etc/not-executable", "#!/bin/sh\n"));
            Add(writer, TextFile("var/lib/data/seed", "from the image\n"));
        }
        return tar.ToArray();

        static PaxTarEntry TextFile(string name, string text) =>
            new(TarEntryType.RegularFile, name) { Mode = (UnixFileMode)0b110_100_100, DataStream = new MemoryStream(Encoding.UTF8.GetBytes(text)) };

        static void Add(TarWriter writer, PaxTarEntry entry)
        {
            entry.ModificationTime = DateTimeOffset.UnixEpoch;
            writer.WriteEntry(entry);
        }
    }

    private static string[] Applets()
    {
        using var list = Process.Start(new ProcessStartInfo(BusyboxPath, "--list") { RedirectStandardOutput = true })!;
        var names = list.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        list.WaitForExit();
        return names;
    }

    private static string WriteArchive()
    {
        var path = Path.Combine(Repository.TestArtifacts, $"busybox-{Environment.ProcessId}.tar");
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, DockerArchive(BusyboxRootfs, Busybox, """{"Cmd":["sh"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}"""));
        AppDomain.CurrentDomain.ProcessExit += (_, _) => File.Delete(path);
        return path;
    }

    /// <summary>A docker-archive of one layer.</summary>
    /// <param name="config">The "config" object of the image, in JSON.</param>
    public static byte[] DockerArchive(byte[] layerTar, string name, string config)
    {
        var layerDigest = Hex(layerTar);
        var arch = System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.Arm64 ? "arm64" : "amd64";
        var configuration = Encoding.UTF8.GetBytes(
            $$"""{"architecture":"{{arch}}","os":"linux","created":"2024-01-01T00:00:00Z","config":{{config}},"rootfs":{"type":"layers","diff_ids":["sha256:{{layerDigest}}"]},"history":[{"created":"2024-01-01T00:00:00Z","created_by":"ADD rootfs / # made by the tests"}]}""");
        var configName = Hex(configuration) + ".json";
        var manifest = Encoding.UTF8.GetBytes($$"""[{"Config":"{{configName}}","RepoTags":["{{name}}"],"Layers":["{{layerDigest}}/layer.tar"]}]""");
        return Tar((configName, configuration), (layerDigest + "/layer.tar", layerTar), ("manifest.json", manifest));
    }

    /// <summary>A tar of plain files.</summary>
    public static byte[] Tar(params (string Name, byte[] Content)[] files)
    {
        var tar = new MemoryStream();
        using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var (name, content) in files)
                writer.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(content), ModificationTime = DateTimeOffset.UnixEpoch });
        }
        return tar.ToArray();
    }

    private static string Hex(byte[] content) => Convert.ToHexStringLower(SHA256.HashData(content));
}
