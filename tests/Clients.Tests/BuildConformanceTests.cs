using System.Formats.Tar;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>
/// Dockerfiles/NAME/ is a build context, NAME.flags the flags of its build, NAME.expected what comes of it: configuration, history, and every layer's files. The expectations are those of Docker's own
/// builder: with BERTH_PEER (a socket of Docker Engine) and BERTH_PEER_BUILDX (the buildx executable) set, each is built there as well and compared. UPDATE_GOLDEN=1 rewrites what is expected.
/// </summary>
public sealed class BuildConformanceTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private const string Base = "berth-conformance";

    private static readonly string Folder = Path.Combine(Repository.Root, "tests", "Clients.Tests", "Dockerfiles");

    public static TheoryData<string> Cases => [.. Directory.EnumerateDirectories(Folder).Select(d => Path.GetFileName(d)!).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_dockerfile_gives_the_image_that_docker_makes_of_it(string name)
    {
        var daemon = shared.Daemon;
        await ImportBaseAsync(arguments => daemon.Docker(arguments));
        var context = Context(name);
        var flags = Flags(name);
        await daemon.Docker(["build", "-t", "conformance:" + name, .. flags, context]).WithEnvironment("DOCKER_BUILDKIT", "0").WithTimeout(TimeSpan.FromSeconds(60));
        var actual = await DescribeAsync(arguments => daemon.Docker(arguments), "conformance:" + name);
        var expected = Path.Combine(Folder, name + ".expected");
        if (Environment.GetEnvironmentVariable("UPDATE_GOLDEN") == "1") await File.WriteAllTextAsync(expected, actual, TestContext.Current.CancellationToken);
        Assert.Equal(await File.ReadAllTextAsync(expected, TestContext.Current.CancellationToken), actual);
        if (Environment.GetEnvironmentVariable("BERTH_PEER") is { } peer && Environment.GetEnvironmentVariable("BERTH_PEER_BUILDX") is { } buildx && WhyNotDocker(name) is null) await CompareWithPeerAsync(name, peer, buildx);
    }

    // The expectation is right: Docker makes the same of it.
    private async Task CompareWithPeerAsync(string name, string peer, string buildx)
    {
        Command Docker(params string[] arguments) => new("docker", ["-H", "unix://" + peer, .. arguments]);
        await ImportBaseAsync(Docker);
        await new Command(buildx, ["build", "--provenance=false", "--progress=plain", "-t", "conformance:" + name, .. Flags(name), Context(name)])
            .WithEnvironment("DOCKER_HOST", "unix://" + peer).WithTimeout(TimeSpan.FromSeconds(120));
        Assert.Equal(await File.ReadAllTextAsync(Path.Combine(Folder, name + ".expected"), TestContext.Current.CancellationToken), await DescribeAsync(Docker, "conformance:" + name));
        await Docker("rmi", "conformance:" + name);
    }

    private static async Task ImportBaseAsync(Func<string[], Command> docker)
    {
        if ((await docker(["image", "ls", "-q", Base])).Output.Length == 0) await docker(["import", "-", Base]).WithInput(Images.BusyboxRootfs);
    }

    private static string[] Lines(string name) => File.Exists(Path.Combine(Folder, name + ".flags")) ? File.ReadAllLines(Path.Combine(Folder, name + ".flags")) : [];

    private static string[] Flags(string name) => [.. Lines(name).Where(l => !l.StartsWith('#')).SelectMany(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))];

    private static string? WhyNotDocker(string name) => Lines(name).FirstOrDefault(l => l.StartsWith('#'))?[1..].Trim();

    // With permissions that do not depend on the umask of whoever checked it out.
    private string Context(string name)
    {
        var target = Path.Combine(shared.Daemon.WorkDirectory, "conformance", Guid.NewGuid().ToString("N"));
        Copy(new DirectoryInfo(Path.Combine(Folder, name)), Directory.CreateDirectory(target));
        File.WriteAllText(Path.Combine(target, "Dockerfile"), File.ReadAllText(Path.Combine(Folder, name, "Dockerfile")).Replace("BASE", Base, StringComparison.Ordinal));
        return target;

        static void Copy(DirectoryInfo from, DirectoryInfo to)
        {
            to.UnixFileMode = (UnixFileMode)0x1ED;
            foreach (var entry in from.EnumerateFileSystemInfos())
            {
                var path = Path.Combine(to.FullName, entry.Name);
                if (entry.LinkTarget is { } link) File.CreateSymbolicLink(path, link);
                else if (entry is DirectoryInfo directory) Copy(directory, Directory.CreateDirectory(path));
                else
                {
                    File.Copy(entry.FullName, path);
                    File.SetUnixFileMode(path, (UnixFileMode)0x1A4);
                }
            }
        }
    }

    private async Task<string> DescribeAsync(Func<string[], Command> docker, string image)
    {
        var path = Path.Combine(shared.Daemon.WorkDirectory, Path.GetRandomFileName());
        await docker(["save", "-o", path, image]);
        var files = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        await using (var stream = File.OpenRead(path))
        {
            await using var tar = new TarReader(stream);
            while (await tar.GetNextEntryAsync(copyData: true) is { } entry)
            {
                if (entry.EntryType is not (TarEntryType.RegularFile or TarEntryType.V7RegularFile)) continue;
                var content = new MemoryStream();
                if (entry.DataStream is { } data) await data.CopyToAsync(content);
                files[entry.Name] = content.ToArray();
            }
        }
        File.Delete(path);
        using var manifest = JsonDocument.Parse(files["manifest.json"]);
        using var config = JsonDocument.Parse(files[manifest.RootElement[0].GetProperty("Config").GetString()!]);
        var layers = manifest.RootElement[0].GetProperty("Layers").EnumerateArray().Select(l => l.GetString()!).ToList();
        var text = new StringBuilder();
        foreach (var member in config.RootElement.GetProperty("config").EnumerateObject().OrderBy(m => m.Name, StringComparer.Ordinal))
            if (member.Value.ToString() is not ("" or "{}" or "[]" or "False" or "null")) text.Append("config ").Append(member.Name).Append(' ').Append(Sorted(member.Value)).Append('\n');
        foreach (var name in (ReadOnlySpan<string>)["author", "architecture", "os", "variant"])
            if (config.RootElement.TryGetProperty(name, out var value) && name != "architecture") text.Append(name).Append(' ').Append(value).Append('\n');
        var next = 0;
        foreach (var step in config.RootElement.GetProperty("history").EnumerateArray())
        {
            var empty = step.TryGetProperty("empty_layer", out var flag) && flag.GetBoolean();
            if (step.TryGetProperty("comment", out var comment) && comment.GetString() == "Imported from -")
            {
                next++;
                continue;
            }
            text.Append(empty ? "- " : "+ ").Append(step.GetProperty("created_by").GetString()).Append('\n');
            if (!empty) Describe(files[layers[next++]], text);
        }
        Assert.Equal(layers.Count, next);
        return text.ToString();
    }

    private static string Sorted(JsonElement value) => value.ValueKind == JsonValueKind.Object
        ? "{" + string.Join(',', value.EnumerateObject().OrderBy(m => m.Name, StringComparer.Ordinal).Select(m => Quoted(m.Name) + ":" + Sorted(m.Value))) + "}"
        : value.ValueKind == JsonValueKind.Array ? "[" + string.Join(',', value.EnumerateArray().Select(Sorted)) + "]" : value.ValueKind == JsonValueKind.String ? Quoted(value.GetString()!) : value.GetRawText();

    private static string Quoted(string text) => JsonSerializer.Serialize(text, Readable);

    private static readonly JsonSerializerOptions Readable = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static void Describe(byte[] layer, StringBuilder text)
    {
        using var tar = new TarReader(new MemoryStream(layer));
        var lines = new List<(string Name, string Line)>();
        while (tar.GetNextEntry() is { } entry)
        {
            var name = entry.Name.TrimEnd('/');
            var owner = $"{Convert.ToString((int)entry.Mode, 8).PadLeft(4, '0')} {entry.Uid}:{entry.Gid} {name}";
            lines.Add((name, entry.EntryType switch
            {
                TarEntryType.Directory => "d " + owner,
                TarEntryType.SymbolicLink => $"l {entry.Uid}:{entry.Gid} {name} -> {entry.LinkName}",
                TarEntryType.HardLink => $"h {name} = {entry.LinkName}",
                TarEntryType.RegularFile or TarEntryType.V7RegularFile => $"f {owner} {Shown(entry)}",
                var other => $"{other} {owner}",
            }));
        }
        // Docker makes the places of its own mounts in /etc and takes them away again, which changes the directory's times.
        if (lines.Count(l => l.Name == "etc" || l.Name.StartsWith("etc/", StringComparison.Ordinal)) == 1) lines.RemoveAll(l => l.Line == "d 0755 0:0 etc");
        foreach (var (_, line) in lines.OrderBy(l => l.Name, StringComparer.Ordinal)) text.Append("    ").Append(line).Append('\n');
    }

    private static string Shown(TarEntry entry)
    {
        var content = new MemoryStream();
        entry.DataStream?.CopyTo(content);
        var bytes = content.ToArray();
        return bytes.Length <= 400 && bytes.All(b => b is (byte)'\n' or (byte)'\t' or >= 0x20 and < 0x7F)
            ? Quoted(Encoding.ASCII.GetString(bytes))
            : $"{bytes.Length} bytes {Convert.ToHexStringLower(SHA256.HashData(bytes))[..12]}";
    }
}
