using System.Globalization;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Images;
using Berth.Cli.Output;
using Berth.Cli.Templates;

namespace Berth.Cli.Commands.Containers;

internal static class PsCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["ps", "container ls", "container list", "container ps"],
        Usage = "[OPTIONS]",
        Summary = "List containers",
        CommonRank = 3,
        Flags = static () =>
        [
            new("all", 'a', FlagKind.Bool, "Those that do not run as well"),
            new("filter", 'f', FlagKind.List, "Only those that match (name=..., status=..., label=...)") { ValueName = "filter", Normalize = FilterFlag.Check },
            new("format", FlagKind.String, FormatHelp),
            new("last", 'n', FlagKind.Int, "The newest so many, running or not") { Default = "-1" },
            new("latest", 'l', FlagKind.Bool, "The newest one, running or not"),
            new("no-trunc", FlagKind.Bool, "Do not shorten anything"),
            new("quiet", 'q', FlagKind.Bool, "IDs only"),
            new("size", 's', FlagKind.Bool, "How large they are on disk"),
        ],
        MaxArguments = 0,
        Run = RunAsync,
    };

    /// <summary>For every listing's --format.</summary>
    public const string FormatHelp = "How to print each:\n'table'           in columns (default)\n'table TEMPLATE'  in the columns of a Go template\n'json'            as a JSON object\n'TEMPLATE'        as a Go template says";

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var format = context.FormatOf(flags, "psFormat");
        if (flags.Changed("format") && flags.Bool("quiet")) context.Err.Write("WARNING: Ignoring custom format, because both --format and --quiet are set.\n");
        Check(format, context.Time);
        var size = flags.Bool("size") || (!flags.Bool("quiet") && format.Contains(".Size", StringComparison.Ordinal));
        var limit = flags.Bool("latest") && !flags.Changed("last") ? 1 : flags.Int("last");
        var all = flags.Bool("all");
        var containers = await context.Client.ListContainersAsync(all, limit, size, FilterFlag.Of(flags), invocation.Cancelled);
        if (flags.Bool("quiet") && format is not ("raw" or "json")) format = "{{.ID}}";
        var table = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}" + (size ? "\t{{.Size}}" : "");
        FormatterFor(truncate: !flags.Bool("no-trunc"), context.Time).Write(context.Out, format, table, containers, flags.Bool("quiet") ? "container_id: {{.ID}}" :
            "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
            + (size ? "size: {{.Size}}\n" : ""));
        return 0;
    }

    // Before the engine is asked: a template that is wrong is so without containers, too.
    private static void Check(string format, TimeProvider clock)
    {
        if (format.Length == 0) return;
        try
        {
            Template.Parse(format).Execute(FormatterFor(truncate: true, clock).RowOf(new ContainerSummary()));
        }
        catch (TemplateException e)
        {
            throw new CommandException((e.Message.Contains(": executing ", StringComparison.Ordinal) ? "failed to execute template: " : "failed to parse template: ") + e.Message);
        }
    }

    internal static Formatter<ContainerSummary> FormatterFor(bool truncate, TimeProvider clock) => new("formatter.ContainerContext",
    [
        new("Command", "COMMAND", c => GoText.Quote(truncate ? Shorten.Ellipsis(c.Command, 20) : c.Command)),
        new("CreatedAt", "CREATED AT", c => Shorten.Time(c.Created, clock.LocalTimeZone)),
        new("ID", "CONTAINER ID", c => truncate ? Shorten.Id(c.Id) : c.Id),
        new("Image", "IMAGE", c => ImageOf(c, truncate)),
        new("Labels", "LABELS", c => string.Join(',', c.Labels.Select(l => $"{l.Key}={l.Value}").Order(StringComparer.Ordinal))),
        new("LocalVolumes", "LOCAL VOLUMES", c => c.Mounts.Count(m => m.Driver == "local").ToString(CultureInfo.InvariantCulture)),
        new("Mounts", "MOUNTS", c => string.Join(',', c.Mounts.Select(m => m.Name ?? m.Source).Select(n => truncate ? Shorten.Ellipsis(n, 15) : n))),
        new("Names", "NAMES", c => NamesOf(c, truncate)),
        new("Networks", "NETWORKS", c => string.Join(',', c.NetworkSettings?.Networks?.Keys.Order(StringComparer.Ordinal) ?? Enumerable.Empty<string>())),
        new("Platform", "PLATFORM", c => c.ImageManifestDescriptor?.Platform is { } platform ? $"{platform.Os}/{platform.Architecture}" : null),
        new("Ports", "PORTS", c => PortsText.Of(c.Ports)),
        new("RunningFor", "CREATED", c => Units.HumanDuration(clock.GetUtcNow() - DateTimeOffset.FromUnixTimeSeconds(c.Created)) + " ago"),
        new("Size", "SIZE", c => Units.HumanSize(c.SizeRw, 3) + (c.SizeRootFs > 0 ? $" (virtual {Units.HumanSize(c.SizeRootFs, 3)})" : "")),
        new("State", "STATE", c => c.State),
        new("Status", "STATUS", c => c.Status),
    ])
    {
        Methods = new Dictionary<string, Func<ContainerSummary, string, string>> { ["Label"] = (c, name) => c.Labels.GetValueOrDefault(name, "") },
    };

    // The digest of a name is left away when shortening; an image known by its id alone is shown by a short one.
    private static string ImageOf(ContainerSummary container, bool truncate)
    {
        if (container.Image.Length == 0) return "<no image>";
        if (!truncate) return container.Image;
        if (Shorten.Id(container.ImageID) == Shorten.Id(container.Image)) return Shorten.Id(container.ImageID);
        var name = ImageName.Parse(container.Image);
        return name.Digest.Length > 0 ? name.Repository + (name.Tag.Length > 0 ? ":" + name.Tag : "") : container.Image;
    }

    // The names that links give have a slash in them; shortened, only the container's own is shown.
    private static string NamesOf(ContainerSummary container, bool truncate)
    {
        var names = (container.Names ?? []).Select(n => n.TrimStart('/')).ToArray();
        if (truncate && names.FirstOrDefault(n => !n.Contains('/')) is { } own) return own;
        return string.Join(',', names);
    }
}
