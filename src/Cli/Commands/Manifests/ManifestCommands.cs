using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Images;
using Berth.Cli.Registries;

namespace Berth.Cli.Commands.Manifests;

/// <summary>berth manifest …: what registries say of images, and lists of them that are put together here and pushed.</summary>
internal static class ManifestCommands
{
    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["manifest inspect"],
            Usage = "[OPTIONS] [MANIFEST_LIST] MANIFEST",
            Summary = "Show the manifest of an image in a registry, or the list of them",
            Flags = static () =>
            [
                Insecure,
                new("verbose", 'v', FlagKind.Bool, "With name, digest and size"),
            ],
            MinArguments = 1,
            MaxArguments = 2,
            Run = InspectAsync,
        },
        new()
        {
            Paths = ["manifest create"],
            Usage = "MANIFEST_LIST MANIFEST [MANIFEST...]",
            Summary = "Create a list of manifests here, to annotate and push it",
            Flags = static () =>
            [
                new("amend", 'a', FlagKind.Bool, "Add to a list that there is already"),
                Insecure,
            ],
            MinArguments = 2,
            Run = CreateAsync,
        },
        new()
        {
            Paths = ["manifest annotate"],
            Usage = "[OPTIONS] MANIFEST_LIST MANIFEST",
            Summary = "Say more about an image of a list that is here",
            Flags = static () =>
            [
                new("arch", FlagKind.String, "Set the architecture"),
                new("os", FlagKind.String, "Set the operating system"),
                new("os-features", FlagKind.List, "Set a feature of the operating system") { ValueName = "strings" },
                new("os-version", FlagKind.String, "Set the operating system's version"),
                new("variant", FlagKind.String, "Set the architecture's variant"),
            ],
            MinArguments = 2,
            MaxArguments = 2,
            Run = Annotate,
        },
        new()
        {
            Paths = ["manifest push"],
            Usage = "[OPTIONS] MANIFEST_LIST",
            Summary = "Push a list of manifests to its repository",
            Flags = static () =>
            [
                Insecure,
                new("purge", 'p', FlagKind.Bool, "Forget the list here once it is there"),
            ],
            MinArguments = 1,
            MaxArguments = 1,
            Run = PushAsync,
        },
        new()
        {
            Paths = ["manifest rm"],
            Usage = "MANIFEST_LIST [MANIFEST_LIST...]",
            Summary = "Forget one or more lists that are here",
            MinArguments = 1,
            Run = Remove,
        },
    ];

    private static Flag Insecure => new("insecure", FlagKind.Bool, "The registry may be spoken to without TLS, or have any certificate");

    private static async Task<int> CreateAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var local = new LocalManifests(context);
        var list = LocalManifests.FullName(flags.Positional[0]);
        if (local.List(list) is not null && !flags.Bool("amend")) throw new CommandException("refusing to amend an existing manifest list with no --amend flag");
        foreach (var image in flags.Positional.Skip(1).Select(LocalManifests.FullName))
            local.Save(list, image, local.Find(list, image) ?? await FetchAsync(context, image, flags.Bool("insecure")));
        context.Out.Write($"Created manifest list {list}\n");
        return 0;
    }

    private static async Task<LocalManifest> FetchAsync(CommandContext context, string image, bool insecure)
    {
        var name = ImageName.Parse(image);
        using var registry = new RegistryClient(context, name.Repository, insecure);
        var (mediaType, bytes) = await registry.ManifestAsync(name.Digest.Length > 0 ? name.Digest : name.Tag);
        if (name.Digest.Length > 0 && RegistryClient.Digest(bytes) != name.Digest) throw new CommandException($"manifest verification failed for digest {name.Digest}");
        try
        {
            using var document = JsonDocument.Parse(bytes);
            if (document.RootElement.TryGetProperty("manifests", out _)) throw new CommandException($"{image} is a manifest list");
            if (!document.RootElement.TryGetProperty("config", out var config) || !config.TryGetProperty("digest", out var digest)) throw new CommandException($"{image} is not a manifest");
            return LocalManifest.Of(image, mediaType, bytes, await registry.BlobAsync(digest.GetString() ?? ""));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new CommandException($"the manifest of {image} is damaged: {e.Message}");
        }
    }

    // What Go builds for, and linux/s390x: other pairs no engine could ask for.
    private static readonly HashSet<string> Platforms = new(StringComparer.Ordinal)
    {
        "darwin/386", "darwin/amd64", "darwin/arm", "darwin/arm64", "dragonfly/amd64", "freebsd/386", "freebsd/amd64", "freebsd/arm", "linux/386", "linux/amd64", "linux/arm", "linux/arm64", "linux/ppc64le",
        "linux/mips64", "linux/mips64le", "linux/riscv64", "linux/s390x", "netbsd/386", "netbsd/amd64", "netbsd/arm", "openbsd/386", "openbsd/amd64", "openbsd/arm", "plan9/386", "plan9/amd64", "solaris/amd64",
        "windows/386", "windows/amd64",
    };

    private static Task<int> Annotate(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var local = new LocalManifests(context);
        var (list, image) = (LocalManifests.FullName(flags.Positional[0]), LocalManifests.FullName(flags.Positional[1]));
        var manifest = local.Find(list, image) ?? throw new CommandException($"manifest for image {flags.Positional[1]} does not exist in {flags.Positional[0]}");
        foreach (var (flag, member) in ((string, string)[])[("arch", "architecture"), ("os", "os"), ("os-version", "os.version"), ("variant", "variant")])
            if (flags.String(flag) is { Length: > 0 } value) manifest.Platform[member] = value;
        foreach (var feature in flags.List("os-features").SelectMany(f => f.Split(',')))
        {
            if (manifest.Platform["os.features"] is not JsonArray features) manifest.Platform["os.features"] = features = [];
            if (!features.Any(f => (string?)f == feature)) features.Add((JsonNode)feature);
        }
        if (!Platforms.Contains($"{manifest.PlatformText("os")}/{manifest.PlatformText("architecture")}"))
            throw new CommandException($"manifest entry for image has unsupported os/arch combination: {flags.String("os")}/{flags.String("arch")}");
        local.Save(list, image, manifest);
        return Task.FromResult(0);
    }

    private static async Task<int> PushAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var local = new LocalManifests(context);
        var list = LocalManifests.FullName(flags.Positional[0]);
        var manifests = local.List(list) ?? throw new CommandException("No such manifest: " + list);
        if (manifests.Count == 0) throw new CommandException($"{list} not found");
        var (mediaType, document) = IndexOf(list, manifests);
        var target = ImageName.Parse(list);
        using var registry = new RegistryClient(context, target.Repository, flags.Bool("insecure"), push: true);
        foreach (var manifest in manifests)
        {
            var source = ImageName.Parse(manifest.Ref);
            if (source.Repository == target.Repository) continue;
            foreach (var blob in manifest.Blobs)
            {
                if (!await registry.MountAsync(blob, source.Repository) && manifest.PlatformText("os") != "windows")
                    throw new CommandException($"error mounting {source.Repository}@{blob} to {list}");
            }
            await PushAsync(registry, manifest.Digest, manifest.Raw, manifest.MediaType);
            context.Out.Write($"Pushed ref {target.Repository}@{manifest.Digest} with digest: {manifest.Digest}\n");
        }
        await PushAsync(registry, target.Tag, document, mediaType);
        context.Out.Write(RegistryClient.Digest(document) + "\n");
        if (flags.Bool("purge")) local.Remove(list);
        return 0;
    }

    private static async Task PushAsync(RegistryClient registry, string reference, byte[] manifest, string mediaType)
    {
        try
        {
            await registry.PushManifestAsync(reference, manifest, mediaType);
        }
        catch (EngineApiException e)
        {
            throw new CommandException($"failed to put manifest {reference}: {e.DaemonMessage}");
        }
    }

    // The bytes docker's client makes of the same images: whoever pushes the list gets the same digest.
    private static (string MediaType, byte[] Document) IndexOf(string list, IReadOnlyList<LocalManifest> manifests)
    {
        foreach (var manifest in manifests)
        {
            if (manifest.PlatformText("os").Length == 0 || manifest.PlatformText("architecture").Length == 0) throw new CommandException($"manifest {manifest.Ref} must have an OS and Architecture to be pushed to a registry");
            var (from, to) = (HostOf(manifest.Ref), HostOf(list));
            if (from != to) throw new CommandException($"cannot use source images from a different registry than the target image: {from} != {to}");
        }
        var mediaType = manifests is [{ MediaType: "application/vnd.oci.image.manifest.v1+json" }, ..] ? "application/vnd.oci.image.index.v1+json" : "application/vnd.docker.distribution.manifest.list.v2+json";
        return (mediaType, Encoding.UTF8.GetBytes(Write(
            writer =>
            {
                writer.WriteStartObject();
                writer.WriteNumber("schemaVersion", 2);
                writer.WriteString("mediaType", mediaType);
                writer.WriteStartArray("manifests");
                foreach (var manifest in manifests)
                {
                    writer.WriteStartObject();
                    writer.WriteString("mediaType", manifest.MediaType);
                    writer.WriteNumber("size", manifest.Size);
                    writer.WriteString("digest", manifest.Digest);
                    writer.WriteStartObject("platform");
                    writer.WriteString("architecture", manifest.PlatformText("architecture"));
                    writer.WriteString("os", manifest.PlatformText("os"));
                    if (manifest.PlatformText("os.version") is { Length: > 0 } version) writer.WriteString("os.version", version);
                    if (manifest.Platform["os.features"] is JsonArray { Count: > 0 } features)
                    {
                        writer.WritePropertyName("os.features");
                        features.WriteTo(writer);
                    }
                    if (manifest.PlatformText("variant") is { Length: > 0 } variant) writer.WriteString("variant", variant);
                    writer.WriteEndObject();
                    writer.WriteEndObject();
                }
                writer.WriteEndArray();
                writer.WriteEndObject();
            }, ' ', 3)));

        static string HostOf(string name) => name[..name.IndexOf('/')];
    }

    private static Task<int> Remove(Invocation invocation)
    {
        var local = new LocalManifests(invocation.Context);
        var missing = new List<string>();
        foreach (var list in invocation.Arguments.Positional.Select(LocalManifests.FullName))
        {
            if (local.List(list) is null) missing.Add("No such manifest: " + list);
            else local.Remove(list);
        }
        return missing.Count == 0 ? Task.FromResult(0) : throw new CommandException(string.Join('\n', missing));
    }

    private static async Task<int> InspectAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var local = new LocalManifests(context);
        if (flags.Positional is [var list, var image])
        {
            var full = LocalManifests.FullName(image);
            var found = local.Find(LocalManifests.FullName(list), full) ?? throw new CommandException("No such manifest: " + full);
            using var manifest = JsonDocument.Parse(found.Raw);
            context.Out.Write((flags.Bool("verbose") ? Write(writer => found.Document.WriteTo(writer), '\t', 1) : Write(manifest.RootElement.WriteTo, '\t', 1)) + "\n");
            return 0;
        }
        if (local.List(LocalManifests.FullName(flags.Positional[0])) is { } here)
        {
            var full = LocalManifests.FullName(flags.Positional[0]);
            context.Out.Write((flags.Bool("verbose") ? Write(writer => new JsonArray([.. here.Select(m => m.Document)]).WriteTo(writer), '\t', 1) : Encoding.UTF8.GetString(IndexOf(full, here).Document)) + "\n");
            return 0;
        }
        var name = ImageName.Parse(flags.Positional[0]);
        using var registry = new RegistryClient(context, name.Repository, flags.Bool("insecure"));
        var reference = name.Digest.Length > 0 ? name.Digest : name.Tag.Length > 0 ? name.Tag : "latest";
        var (mediaType, bytes) = await registry.ManifestAsync(reference);
        try
        {
            using var document = JsonDocument.Parse(bytes);
            context.Out.Write((flags.Bool("verbose") ? Verbose(name, reference, mediaType, bytes, document.RootElement) : Indented(document.RootElement)) + "\n");
        }
        catch (JsonException e)
        {
            throw new CommandException($"the manifest of {flags.Positional[0]} is no JSON: {e.Message}");
        }
        return 0;
    }

    private static string Indented(JsonElement manifest)
    {
        // Lists are printed by another library than manifests, in docker too.
        var isList = manifest.TryGetProperty("manifests", out _);
        return Write(manifest.WriteTo, isList ? ' ' : '\t', isList ? 3 : 1);
    }

    private static string Verbose(ImageName name, string reference, string mediaType, byte[] bytes, JsonElement manifest) => Write(
        writer =>
        {
            writer.WriteStartObject();
            writer.WriteString("Ref", PullCommand.FullName(name.Repository) + (reference.Contains(':') ? "@" : ":") + reference);
            writer.WriteStartObject("Descriptor");
            writer.WriteString("mediaType", mediaType);
            writer.WriteString("digest", RegistryClient.Digest(bytes));
            writer.WriteNumber("size", bytes.Length);
            writer.WriteEndObject();
            writer.WriteString("Raw", Convert.ToBase64String(bytes));
            writer.WritePropertyName(mediaType.Contains(".oci.", StringComparison.Ordinal) ? "OCIManifest" : "SchemaV2Manifest");
            manifest.WriteTo(writer);
            writer.WriteEndObject();
        }, '\t', 1);

    private static string Write(Action<Utf8JsonWriter> write, char indent, int size)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, IndentCharacter = indent, IndentSize = size, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping })) write(writer);
        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }
}
