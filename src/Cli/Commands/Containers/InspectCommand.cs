using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Templates;

namespace Berth.Cli.Commands.Containers;

/// <summary>berth inspect: what the engine says of objects, as it says it, or through a template.</summary>
internal static class InspectCommand
{
    private static Flag[] FormatFlag() =>
    [
        new("format", 'f', FlagKind.String, "'json' for one line, or a Go template"),
    ];

    public static readonly Command Command = new()
    {
        Paths = ["inspect"],
        Usage = "[OPTIONS] NAME|ID [NAME|ID...]",
        Summary = "Show everything that is known of containers, images, networks or volumes",
        Flags = static () =>
        [
            .. FormatFlag(),
            new("size", 's', FlagKind.Bool, "How large containers are on disk"),
            new("type", FlagKind.String, "Only objects of this type: container, image, network, volume"),
        ],
        MinArguments = 1,
        Run = static i => RunAsync(i, i.Arguments.String("type")),
    };

    public static readonly Command ContainerCommand = new()
    {
        Paths = ["container inspect"],
        Usage = "[OPTIONS] CONTAINER [CONTAINER...]",
        Summary = "Show everything that is known of containers",
        Flags = static () => [.. FormatFlag(), new("size", 's', FlagKind.Bool, "How large they are on disk")],
        MinArguments = 1,
        Run = static i => RunAsync(i, "container"),
    };

    public static readonly Command ImageCommand = new()
    {
        Paths = ["image inspect"],
        Usage = "[OPTIONS] IMAGE [IMAGE...]",
        Summary = "Show everything that is known of images",
        Flags = static () => [.. FormatFlag(), new("platform", FlagKind.String, "Of an image for several platforms, the one for this: os[/arch[/variant]]")],
        MinArguments = 1,
        Run = static i => RunAsync(i, "image"),
    };

    public static readonly Command NetworkCommand = new()
    {
        Paths = ["network inspect"],
        Usage = "[OPTIONS] NETWORK [NETWORK...]",
        Summary = "Show everything that is known of networks",
        Flags = static () => [.. FormatFlag(), new("verbose", 'v', FlagKind.Bool, "For Swarm: with services and tasks")],
        MinArguments = 1,
        Run = static i => RunAsync(i, "network"),
    };

    public static readonly Command VolumeCommand = new()
    {
        Paths = ["volume inspect"],
        Usage = "[OPTIONS] VOLUME [VOLUME...]",
        Summary = "Show everything that is known of volumes",
        Flags = FormatFlag,
        MinArguments = 1,
        Run = static i => RunAsync(i, "volume"),
    };

    /// <summary>In the order they are looked for when the type is not given.</summary>
    private static readonly (string Type, Func<string, string> Path, Type Record)[] Kinds =
    [
        ("container", id => $"/containers/{EnginePath.Segment(id)}/json", typeof(ContainerInspect)),
        ("image", id => $"/images/{EnginePath.Segment(id)}/json", typeof(ImageInspect)),
        ("network", id => $"/networks/{EnginePath.Segment(id)}", typeof(NetworkInspect)),
        ("volume", id => $"/volumes/{EnginePath.Segment(id)}", typeof(Volume)),
    ];

    private static async Task<int> RunAsync(Invocation invocation, string type)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        if (flags.Changed("type") && flags.String("type").Length == 0) throw new CommandException("type is empty: must be one of \"container\", \"image\", \"network\", \"volume\"");
        if (type.Length > 0 && Kinds.All(k => k.Type != type))
            throw new CommandException($"unknown type: {GoText.Quote(type)}: must be one of {string.Join(", ", Kinds.Select(k => GoText.Quote(k.Type)))}");
        return await ShowAsync(context, flags.Positional, flags.String("format"), name => FindAsync(context, name, type, flags.Bool("size"), Images.PlatformFlag.Json(flags.String("platform"))));
    }

    /// <summary>Documents as JSON or through a template; what is not found is said at the end.</summary>
    public static async Task<int> ShowAsync(CommandContext context, IReadOnlyList<string> names, string format, Func<string, Task<(JsonElement Document, Type? Record)>> find)
    {
        Template? template = null;
        try
        {
            if (format is not ("" or "json")) template = Template.Parse(format);
        }
        catch (TemplateException e)
        {
            throw new CommandException($"template parsing error: {e.Message}", 64);
        }

        var errors = new List<string>();
        var documents = new List<JsonElement>();
        var lines = new List<string>();
        foreach (var name in names)
        {
            try
            {
                var (document, record) = await find(name);
                if (template is null) documents.Add(document);
                else lines.Add(record is null ? template.Execute(JsonValue.Wrap(document, null)) : template.Execute(document, record));
            }
            catch (TemplateException e)
            {
                errors.Add($"template parsing error: {e.Message}");
                lines.Add("");
                break;
            }
            catch (Exception e) when (e is EngineApiException or CommandException)
            {
                errors.Add(e.Message + await NearestName.HintAsync(context, e.Message));
            }
        }
        if (template is not null) context.Out.Write(string.Concat(lines.Select(l => l + "\n")) is { Length: > 0 } text ? text : "\n");
        else if (format == "json") context.Out.Write("[" + string.Join(',', documents.Select(d => d.GetRawText())) + "]\n");
        else context.Out.Write(Indented(documents));
        if (errors.Count > 0) throw new CommandException(string.Join("\n", errors));
        return 0;
    }

    private static async Task<(JsonElement, Type?)> FindAsync(CommandContext context, string name, string type, bool size, string? platform)
    {
        foreach (var kind in Kinds)
        {
            if (type.Length > 0 && kind.Type != type) continue;
            try
            {
                if (size && kind.Type != "container" && type.Length > 0) context.Err.Write($"WARNING: --size ignored for {type}\n");
                var path = new EnginePath(kind.Path(name)).AddIf("size", size && kind.Type == "container").AddIf("platform", platform);
                using var document = JsonDocument.Parse(await context.Client.GetBytesAsync(path, context.Cancelled));
                return (document.RootElement.Clone(), kind.Record);
            }
            catch (EngineApiException e) when (type.Length == 0 && e.Status == 404)
            {
                // Perhaps one of another kind.
            }
        }
        throw new CommandException($"Error: No such object: {name}");
    }

    private static string Indented(List<JsonElement> documents)
    {
        if (documents.Count == 0) return "[]\n";
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, IndentSize = 4, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartArray();
            foreach (var document in documents) document.WriteTo(writer);
            writer.WriteEndArray();
        }
        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length) + "\n";
    }
}
