using System.Text.Json;
using System.Text.Json.Nodes;
using Berth.Cli.Commands.Images;

namespace Berth.Cli.Commands.Manifests;

/// <summary>
/// Lists of manifests in the making: a directory below the configuration's for each list, a file for each of its images, named and written as docker's client does
/// (cli/manifest/store of docker/cli), so that one goes on where the other stopped.
/// </summary>
internal sealed class LocalManifests(CommandContext context)
{
    /// <summary>As many as a list has at most, and as large as a file of them may be.</summary>
    private const int MaxManifests = 1000, MaxFileBytes = 16 << 20;

    private string DirectoryOf(string list) => Path.Combine(context.ConfigDirectory, "manifests", FileNameOf(list));

    private static string FileNameOf(string name) => name.Replace(':', '-').Replace('/', '_');

    /// <summary>With registry, repository and tag spelled out, as lists and images are called here.</summary>
    public static string FullName(string text) => PullCommand.FullName(ImageName.WithTag(text));

    /// <summary>In the order of their files; null when there is no such list.</summary>
    public IReadOnlyList<LocalManifest>? List(string list)
    {
        if (!Directory.Exists(DirectoryOf(list))) return null;
        var files = Directory.GetFiles(DirectoryOf(list));
        if (files.Length > MaxManifests) throw new CommandException($"{list} has more than {MaxManifests} manifests");
        Array.Sort(files, StringComparer.Ordinal);
        return [.. files.Select(Read)];
    }

    /// <summary>Null when the list has no such image.</summary>
    public LocalManifest? Find(string list, string image)
    {
        var file = Path.Combine(DirectoryOf(list), FileNameOf(image));
        return File.Exists(file) ? Read(file) : null;
    }

    public void Save(string list, string image, LocalManifest manifest)
    {
        Directory.CreateDirectory(DirectoryOf(list));
        var file = Path.Combine(DirectoryOf(list), FileNameOf(image));
        File.WriteAllText(file + ".new", manifest.Document.ToJsonString());
        File.Move(file + ".new", file, overwrite: true);
    }

    public void Remove(string list) => Directory.Delete(DirectoryOf(list), recursive: true);

    private static LocalManifest Read(string file)
    {
        try
        {
            if (new FileInfo(file).Length > MaxFileBytes) throw new CommandException($"{file} is larger than {MaxFileBytes} bytes");
            return new LocalManifest(JsonNode.Parse(File.ReadAllBytes(file))!.AsObject());
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or NullReferenceException)
        {
            throw new CommandException($"invalid manifest file {file}: {e.Message}");
        }
    }
}

/// <summary>An image of a list: Ref, Descriptor, Raw, and its manifest once more as OCIManifest or SchemaV2Manifest.</summary>
internal sealed class LocalManifest(JsonObject document)
{
    public JsonObject Document => document;
    public string Ref => Text(document, "Ref");
    public string Digest => Text(Descriptor, "digest");
    public string MediaType => Text(Descriptor, "mediaType");
    public long Size => (long?)Descriptor["size"] ?? 0;
    public byte[] Raw => Convert.FromBase64String(Text(document, "Raw"));
    private JsonObject Descriptor => document["Descriptor"] as JsonObject ?? throw new CommandException("a manifest file has no descriptor");

    /// <summary>An object of architecture, os, os.version, os.features and variant; made when it is not there.</summary>
    public JsonObject Platform
    {
        get
        {
            if (Descriptor["platform"] is not JsonObject platform) Descriptor["platform"] = platform = [];
            return platform;
        }
    }

    /// <summary>Of its configuration and layers.</summary>
    public IEnumerable<string> Blobs
    {
        get
        {
            var manifest = document["OCIManifest"] as JsonObject ?? document["SchemaV2Manifest"] as JsonObject ?? throw new CommandException($"{Ref} is a manifest of an unknown kind");
            if (manifest["config"] is JsonObject config) yield return Text(config, "digest");
            foreach (var layer in manifest["layers"] as JsonArray ?? [])
                if (layer is JsonObject found) yield return Text(found, "digest");
        }
    }

    public static LocalManifest Of(string name, string mediaType, byte[] manifest, byte[] config)
    {
        var parsed = JsonNode.Parse(manifest)!.AsObject();
        var configuration = JsonNode.Parse(config)!.AsObject();
        JsonObject platform = new() { ["architecture"] = Text(configuration, "architecture"), ["os"] = Text(configuration, "os") };
        foreach (var more in (string[])["os.version", "variant"])
            if (Text(configuration, more) is { Length: > 0 } value) platform[more] = value;
        if (configuration["os.features"] is JsonArray features) platform["os.features"] = features.DeepClone();
        return new LocalManifest(new JsonObject
        {
            ["Ref"] = name,
            ["Descriptor"] = new JsonObject { ["mediaType"] = mediaType, ["digest"] = Registries.RegistryClient.Digest(manifest), ["size"] = manifest.Length, ["platform"] = platform },
            ["Raw"] = Convert.ToBase64String(manifest),
            [mediaType.Contains(".oci.", StringComparison.Ordinal) ? "OCIManifest" : "SchemaV2Manifest"] = parsed,
        });
    }

    private static string Text(JsonObject of, string member) => of[member] is JsonValue value && value.TryGetValue<string>(out var text) ? text : "";

    public string PlatformText(string member) => Text(Platform, member);
}
