using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Images;
using Berth.Cli.Registries;

namespace Berth.Cli.Commands.Manifests;

/// <summary>berth manifest …: what registries say of images. Lists are made by builds and by buildx imagetools.</summary>
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
                new("insecure", FlagKind.Bool, "The registry may be spoken to without TLS, or have any certificate"),
                new("verbose", 'v', FlagKind.Bool, "With name, digest and size"),
            ],
            MinArguments = 1,
            MaxArguments = 2,
            Run = InspectAsync,
        },
        Without("create"), Without("annotate"), Without("push"), Without("rm"),
    ];

    private static Command Without(string verb) => new()
    {
        Paths = ["manifest " + verb],
        Usage = "...",
        Summary = "Not there: lists of manifests are made by 'build --platform' and 'buildx imagetools create'",
        Hidden = true,
        ForAnother = true,
        Run = i => throw new CommandException($"'{i.FullPath}' is not supported. Lists of manifests are made by 'build --platform a,b' and 'buildx imagetools create'"),
    };

    private static async Task<int> InspectAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        if (flags.Positional.Count == 2) throw new CommandException($"No such manifest: {flags.Positional[1]}: there are no lists of manifests on this machine");
        var name = ImageName.Parse(flags.Positional[0]);
        using var registry = new RegistryReader(context, name.Repository, flags.Bool("insecure"));
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
            writer.WriteString("digest", "sha256:" + Convert.ToHexStringLower(SHA256.HashData(bytes)));
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
