using System.Text;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Engine;

/// <summary>… prune: the removal of what nobody uses, for each kind of object and for all of them.</summary>
internal static class PruneCommands
{
    private const string Sure = "Are you sure you want to continue?";

    private static readonly Flag Filter = new("filter", FlagKind.List, "Only those that match (until=..., label=...)") { ValueName = "filter", Normalize = FilterFlag.Check };
    private static readonly Flag Force = new("force", 'f', FlagKind.Bool, "Do not ask");

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["container prune"], Usage = "[OPTIONS]", Summary = "Remove all stopped containers", Flags = static () => [Filter, Force], MaxArguments = 0,
            Run = static i => OneAsync(i, "WARNING! This will remove all stopped containers.\n" + Sure, ContainersAsync),
        },
        new()
        {
            Paths = ["image prune"], Usage = "[OPTIONS]", Summary = "Remove images that nothing uses",
            Flags = static () => [new("all", 'a', FlagKind.Bool, "Those with a name as well, if no container uses them"), Filter, Force], MaxArguments = 0,
            Run = static i => OneAsync(i, (i.Arguments.Bool("all") ? "WARNING! This will remove all images without at least one container associated to them.\n" : "WARNING! This will remove all dangling images.\n") + Sure, ImagesAsync),
        },
        new()
        {
            Paths = ["network prune"], Usage = "[OPTIONS]", Summary = "Remove all networks that no container is on", Flags = static () => [Filter, Force], MaxArguments = 0,
            Run = static i => OneAsync(i, "WARNING! This will remove all custom networks not used by at least one container.\n" + Sure, NetworksAsync, showsSpace: false),
        },
        new()
        {
            Paths = ["volume prune"], Usage = "[OPTIONS]", Summary = "Remove local volumes that no container uses",
            Flags = static () => [new("all", 'a', FlagKind.Bool, "Those with a name as well"), Filter, Force], MaxArguments = 0,
            Run = static i => OneAsync(i, (i.Arguments.Bool("all") ? "WARNING! This will remove all local volumes not used by at least one container.\n" : "WARNING! This will remove anonymous local volumes not used by at least one container.\n") + Sure, VolumesAsync),
        },
        new()
        {
            Paths = ["builder prune"], Summary = "Remove what builds have kept for later ones",
            Flags = static () =>
            [
                new("all", 'a', FlagKind.Bool, "Everything that no build uses at the moment"), Filter, Force,
                new("keep-storage", FlagKind.Bytes, "How much may stay"),
            ],
            MaxArguments = 0,
            Run = static i => OneAsync(i, $"WARNING! This will remove all {(i.Arguments.Bool("all") ? "" : "dangling ")}build cache. {Sure}", BuildCacheAsync),
        },
        new()
        {
            Paths = ["system prune"], Usage = "[OPTIONS]", Summary = "Remove everything that nothing uses",
            Flags = static () =>
            [
                new("all", 'a', FlagKind.Bool, "Images with a name as well, if no container uses them"), Filter, Force,
                new("volumes", FlagKind.Bool, "Anonymous volumes as well"),
            ],
            MaxArguments = 0,
            Run = SystemAsync,
        },
    ];

    /// <summary>What was removed, as it is shown, and how much room that made.</summary>
    private readonly record struct Pruned(string Text, ulong Bytes)
    {
        public static Pruned Of(string heading, IReadOnlyList<string>? lines, ulong bytes)
        {
            if (lines is not { Count: > 0 }) return new("", bytes);
            var text = new StringBuilder(heading).Append('\n');
            foreach (var line in lines) text.Append(line).Append('\n');
            return new(text.ToString(), bytes);
        }
    }

    private static async Task<int> OneAsync(Invocation invocation, string question, Func<Invocation, Filters, Task<Pruned>> prune, bool showsSpace = true)
    {
        var context = invocation.Context;
        var filters = FiltersOf(invocation);
        if (invocation.Path == "volume prune") AddAll(invocation, filters);
        if (!invocation.Arguments.Bool("force") && !Prompt.Confirm(context, question)) return 0;
        var pruned = await prune(invocation, filters);
        if (pruned.Text.Length > 0) context.Out.Write(pruned.Text + "\n");
        if (showsSpace) context.Out.Write($"Total reclaimed space: {Units.HumanSize(pruned.Bytes)}\n");
        return 0;
    }

    /// <summary>Those of the flags, and those of the configuration that do not contradict them.</summary>
    private static Filters FiltersOf(Invocation invocation)
    {
        var filters = FilterFlag.Of(invocation.Arguments);
        foreach (var text in invocation.Context.Config.List("pruneFilters"))
        {
            var equals = text.IndexOf('=');
            if (equals < 0) continue;
            var (name, value) = (text[..equals], text[(equals + 1)..]);
            var opposite = name switch { "label" => "label!", "label!" => "label", _ => null };
            if (opposite is null || !filters[opposite].Contains(value)) filters.Add(name, value);
        }
        return filters;
    }

    private static async Task<int> SystemAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (all, volumes) = (flags.Bool("all"), flags.Bool("volumes"));
        var filters = FiltersOf(invocation);
        if (volumes && filters.Contains("until")) throw new CommandException("ERROR: The \"until\" filter is not supported with \"--volumes\"");
        if (!flags.Bool("force"))
        {
            var question = new StringBuilder("WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n");
            if (volumes) question.Append("  - all anonymous volumes not used by at least one container\n");
            question.Append(all ? "  - all images without at least one container associated to them\n  - all build cache\n" : "  - all dangling images\n  - unused build cache\n");
            var shown = (from name in (string[])["label", "label!", "until"] from value in filters[name] select $"  - {name}={value}\n").Order(StringComparer.Ordinal).ToArray();
            if (shown.Length > 0) question.Append("\n  Items to be pruned will be filtered with:\n").AppendJoin("", shown);
            if (!Prompt.Confirm(context, question.Append('\n').Append(Sure).ToString())) return 0;
        }
        ulong bytes = 0;
        foreach (var prune in (Func<Invocation, Filters, Task<Pruned>>[])[ContainersAsync, NetworksAsync, .. volumes ? [VolumesAsync] : (Func<Invocation, Filters, Task<Pruned>>[])[], ImagesAsync, BuildCacheAsync])
        {
            var pruned = await prune(invocation, FiltersOf(invocation));
            bytes += pruned.Bytes;
            if (pruned.Text.Length == 0) continue;
            context.Out.Write(pruned.Text + "\n");
            context.Flush();
        }
        context.Out.Write($"Total reclaimed space: {Units.HumanSize(bytes)}\n");
        return 0;
    }

    private static async Task<Pruned> ContainersAsync(Invocation invocation, Filters filters)
    {
        var report = await invocation.Context.Client.PruneContainersAsync(filters, invocation.Cancelled);
        return Pruned.Of("Deleted Containers:", report.ContainersDeleted, report.SpaceReclaimed);
    }

    private static async Task<Pruned> NetworksAsync(Invocation invocation, Filters filters)
    {
        var report = await invocation.Context.Client.PruneNetworksAsync(filters, invocation.Cancelled);
        return Pruned.Of("Deleted Networks:", report.NetworksDeleted, 0);
    }

    private static void AddAll(Invocation invocation, Filters filters)
    {
        if (!invocation.Arguments.Bool("all")) return;
        if (filters.Contains("all")) throw new CommandException("conflicting options: cannot specify both --all and --filter all=1");
        filters.Add("all", "true");
    }

    private static async Task<Pruned> VolumesAsync(Invocation invocation, Filters filters)
    {
        var report = await invocation.Context.Client.PruneVolumesAsync(filters, invocation.Cancelled);
        return Pruned.Of("Deleted Volumes:", report.VolumesDeleted, report.SpaceReclaimed);
    }

    private static async Task<Pruned> ImagesAsync(Invocation invocation, Filters filters)
    {
        filters.Add("dangling", invocation.Arguments.Bool("all") ? "false" : "true");
        var report = await invocation.Context.Client.PruneImagesAsync(filters, invocation.Cancelled);
        var lines = new List<string>();
        foreach (var item in report.ImagesDeleted ?? []) lines.Add(item.Untagged is { Length: > 0 } name ? "untagged: " + name : "deleted: " + item.Deleted);
        return Pruned.Of("Deleted Images:", lines, report.SpaceReclaimed);
    }

    private static async Task<Pruned> BuildCacheAsync(Invocation invocation, Filters filters)
    {
        var report = await invocation.Context.Client.PruneBuildCacheAsync(invocation.Arguments.Bool("all"), invocation.Arguments.Bytes("keep-storage"), filters, invocation.Cancelled);
        return Pruned.Of("Deleted build cache objects:", report.CachesDeleted, report.SpaceReclaimed);
    }
}
