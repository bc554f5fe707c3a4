using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Builds;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Commands.Contexts;
using Berth.Cli.Commands.Images;
using Berth.Cli.Commands.Engine;
using Berth.Cli.Commands.Manifests;
using Berth.Cli.Commands.Networks;
using Berth.Cli.Commands.Volumes;
using Berth.Cli.Completion;

namespace Berth.Cli.Commands;

/// <summary>"berth container ...", the long forms of commands and some that have no short one.</summary>
internal sealed record CommandGroup(string Name, string Summary)
{
    /// <summary>As errors show it.</summary>
    public string Usage => Name is "volume" or "manifest" ? Name + " COMMAND" : Name; // docker's own inconsistency, which scripts compare
}

/// <summary>Every command there is. A new one is a new line here.</summary>
internal static class CommandTable
{
    public static readonly CommandGroup[] Groups =
    [
        new("builder", "Manage what builds have kept"),
        new("container", "Manage containers"),
        new("context", "Manage contexts: which engine is talked to"),
        new("image", "Manage images"),
        new("manifest", "Manage manifests and lists of them"),
        new("network", "Manage networks"),
        new("registry", "Serve images and other artifacts"),
        new("system", "Manage the engine"),
        new("volume", "Manage volumes"),
    ];

    public static readonly Command[] All =
    [
        RunCommand.Command,
        CreateCommand.Command,
        StartCommand.Command,
        .. ContainerVerbs.Commands,
        .. FileVerbs.Commands,
        CopyCommand.Command,
        PsCommand.Command,
        LogsCommand.Command,
        ExecCommand.Command,
        AttachCommand.Command,
        TopCommand.Command,
        StatsCommand.Command,
        UpdateCommand.Command,
        PortCommand.Command,
        InspectCommand.Command,
        InspectCommand.ContainerCommand,
        InspectCommand.ImageCommand,
        BuildCommand.Command,
        ImagesCommand.Command,
        LoadCommand.Command,
        SaveCommand.Command,
        ImportCommand.Command,
        PullCommand.Command,
        PushCommand.Command,
        .. LoginCommands.Commands,
        SearchCommand.Command,
        .. ImageVerbs.Commands,
        HistoryCommand.Command,
        .. NetworkVerbs.Commands,
        InspectCommand.NetworkCommand,
        .. VolumeVerbs.Commands,
        InspectCommand.VolumeCommand,
        .. PruneCommands.Commands,
        DiskUsageCommand.Command,
        .. ContextCommands.Commands,
        DialStdioCommand.Command,
        .. ManifestCommands.Commands,
        .. ForeignCommands.Commands,
        .. CompletionCommands.Commands,
        ManualPages.Command,
        .. RegistryVerbs.Commands,
        Compose.ComposeCommand.Command,
        VersionCommand.Command,
        InfoCommand.Command,
        EventsCommand.Command,
    ];

    public static IEnumerable<string> Paths => All.SelectMany(c => c.Paths);

    public static Command? Find(string path)
    {
        foreach (var command in All)
            foreach (var candidate in command.Paths)
                if (candidate == path) return command;
        return null;
    }

    public static CommandGroup? Group(string name)
    {
        foreach (var group in Groups)
            if (group.Name == name) return group;
        return null;
    }
}
