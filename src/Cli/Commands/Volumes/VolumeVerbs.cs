using System.Globalization;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Commands.Networks;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Volumes;

/// <summary>berth volume …</summary>
internal static class VolumeVerbs
{
    /// <summary>Flags of volumes of a cluster: known, so that using one says why it is of no use.</summary>
    private static readonly string[] ClusterFlags = ["availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "topology-preferred", "topology-required", "type"];

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["volume create"],
            Usage = "[OPTIONS] [VOLUME]",
            Summary = "Make a volume",
            Flags = static () =>
            [
                new("driver", 'd', FlagKind.String, "Who keeps it") { Default = "local" },
                new("label", FlagKind.List, "Labels"),
                new("name", FlagKind.String, "Its name, in the old spelling") { Hidden = true },
                new("opt", 'o', FlagKind.List, "Options of the driver") { ValueName = "map" },
                .. ClusterFlags.Select(f => new Flag(f, FlagKind.List, "For Swarm") { Hidden = true }),
            ],
            MaxArguments = 1,
            Run = CreateAsync,
        },
        new()
        {
            Paths = ["volume ls", "volume list"],
            Usage = "[OPTIONS]",
            Summary = "List volumes",
            Flags = static () =>
            [
                new("cluster", FlagKind.Bool, "For Swarm: volumes of the cluster only"),
                new("filter", 'f', FlagKind.List, "Only those that match (dangling=..., driver=..., label=..., name=...)") { ValueName = "filter", Normalize = FilterFlag.Check },
                new("format", FlagKind.String, PsCommand.FormatHelp),
                new("quiet", 'q', FlagKind.Bool, "Names only"),
            ],
            MaxArguments = 0,
            Run = ListAsync,
        },
        new()
        {
            Paths = ["volume rm", "volume remove"],
            Usage = "[OPTIONS] VOLUME [VOLUME...]",
            Summary = "Remove volumes; one that a container uses stays",
            Flags = static () => [new("force", 'f', FlagKind.Bool, "One that is not there is no error")],
            MinArguments = 1,
            Run = RemoveAsync,
        },
        new()
        {
            Paths = ["volume update"],
            Usage = "[OPTIONS] [VOLUME]",
            Summary = "Change a volume of a cluster",
            Flags = static () => [new("availability", FlagKind.String, "active, pause or drain") { Default = "active" }],
            MaxArguments = 1,
            Run = static _ => throw new CommandException("only volumes of a swarm's cluster can be updated, and Berth has no swarm mode"),
        },
    ];

    private static async Task<int> CreateAsync(Invocation invocation)
    {
        var flags = invocation.Arguments;
        if (ClusterFlags.FirstOrDefault(flags.Changed) is { } cluster) throw new CommandException($"--{cluster} is for volumes of a swarm's cluster, and Berth has no swarm mode");
        var name = flags.String("name");
        if (flags.Positional is [var given])
        {
            if (name.Length > 0) throw new CommandException("conflicting options: cannot specify a volume-name through both --name and as a positional arg");
            name = given;
        }
        var request = new VolumeCreateRequest
        {
            Name = name, Driver = flags.String("driver"), DriverOpts = flags.Changed("opt") ? NetworkVerbs.Map(flags.List("opt")) : null, Labels = flags.Changed("label") ? NetworkVerbs.Map(flags.List("label")) : null,
        };
        var volume = await invocation.Context.Client.CreateVolumeAsync(request, invocation.Cancelled);
        invocation.Context.Out.Write(volume.Name + "\n");
        return 0;
    }

    private static async Task<int> ListAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var answer = await context.Client.ListVolumesAsync(FilterFlag.Of(flags), invocation.Cancelled);
        var rows = flags.Bool("cluster") ? [] : answer.Volumes;
        Array.Sort(rows, static (a, b) => NaturalOrder.Compare(a.Name, b.Name));
        var format = context.FormatOf(flags, "volumesFormat");
        if (flags.Bool("quiet") && format is "" or "table") format = "{{.Name}}";
        Columns().Write(context.Out, format, "{{.Driver}}\t{{.Name}}", rows, raw: "name: {{.Name}}\ndriver: {{.Driver}}\n");
        return 0;
    }

    internal static Formatter<Volume> Columns() => new("formatter.volumeContext",
    [
        new("Availability", "AVAILABILITY", _ => "N/A"),
        new("Driver", "DRIVER", v => v.Driver),
        new("Group", "GROUP", _ => "N/A"),
        new("Labels", "LABELS", v => LabelsText.Of(v.Labels)),
        new("Links", "LINKS", v => v.UsageData is { } usage ? usage.RefCount.ToString(CultureInfo.InvariantCulture) : "N/A"),
        new("Mountpoint", "MOUNTPOINT", v => v.Mountpoint),
        new("Name", "VOLUME NAME", v => v.Name),
        new("Scope", "SCOPE", v => v.Scope),
        new("Size", "SIZE", v => v.UsageData is { } usage ? Units.HumanSize(usage.Size) : "N/A"),
        new("Status", "STATUS", _ => "N/A"),
    ])
    {
        Methods = new Dictionary<string, Func<Volume, string, string>> { ["Label"] = (v, name) => v.Labels?.GetValueOrDefault(name) ?? "" },
    };

    private static async Task<int> RemoveAsync(Invocation invocation)
    {
        var errors = new List<string>();
        foreach (var name in invocation.Arguments.Positional)
        {
            try
            {
                await invocation.Context.Client.RemoveVolumeAsync(name, invocation.Arguments.Bool("force"), invocation.Cancelled);
                invocation.Context.Out.Write(name + "\n");
            }
            catch (EngineApiException e)
            {
                errors.Add(e.Message + await NearestName.HintAsync(invocation.Context, e.Message));
            }
        }
        return errors.Count == 0 ? 0 : throw new CommandException(string.Join('\n', errors));
    }
}
