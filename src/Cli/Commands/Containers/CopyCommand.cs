using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Copying;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Containers;

/// <summary>berth cp: the engine packs and unpacks in the container, we do here; how names and directories meet is decided here, as docker has it.</summary>
internal static class CopyCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["cp", "container cp"],
        Usage = "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tberth cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        Summary = "Copy files between a container and this machine",
        Description =
            """
            Copy files between a container and this machine

            A directory is copied with all that is in it: into the destination if that
            is a directory, under its name otherwise; 'SRC_PATH/.' copies what is in it.
            '-' instead of a path is a tar archive on standard input or output.
            """,
        Flags = static () =>
        [
            new("archive", 'a', FlagKind.Bool, "Keep owners and groups"),
            new("follow-link", 'L', FlagKind.Bool, "Copy what a symbolic link at SRC_PATH leads to"),
            new("quiet", 'q', FlagKind.Bool, "Do not show how it goes; so by itself where there is no terminal"),
        ],
        MinArguments = 2,
        MaxArguments = 2,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (from, to) = (flags.Positional[0], flags.Positional[1]);
        if (from.Length == 0) throw new CommandException("source can not be empty");
        if (to.Length == 0) throw new CommandException("destination can not be empty");
        var (fromContainer, source) = Split(from);
        var (toContainer, destination) = Split(to);
        if (fromContainer.Length > 0 && toContainer.Length > 0) throw new CommandException("copying between containers is not supported");
        if (fromContainer.Length == 0 && toContainer.Length == 0) throw new CommandException("must specify at least one container source");
        using var meter = new CopyMeter(context, quiet: flags.Changed("quiet") ? flags.Bool("quiet") : !context.Terminal.OutputIsTerminal, fromContainer.Length > 0 ? "Copying from container" : "Copying to container");
        try
        {
            if (fromContainer.Length > 0) await FromAsync(context, fromContainer, source, destination, flags.Bool("follow-link"), meter);
            else await ToAsync(context, source, toContainer, destination, flags.Bool("follow-link"), flags.Bool("archive"), meter);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or DirectoryNotFoundException or FileNotFoundException)
        {
            throw new CommandException(e.Message);
        }
        return 0;
    }

    /// <summary>"container:path"; a path of ours with a colon in it begins with / or a dot.</summary>
    internal static (string Container, string Path) Split(string word)
    {
        if (word.StartsWith('/') || Path.IsPathFullyQualified(word)) return ("", word);
        var colon = word.IndexOf(':');
        return colon < 0 || word.StartsWith('.') ? ("", word) : (word[..colon], word[(colon + 1)..]);
    }

    private static async Task FromAsync(CommandContext context, string container, string source, string destination, bool follow, CopyMeter meter)
    {
        var client = context.Client;
        if (destination != "-")
        {
            destination = LocalPath.Absolute(destination);
            LocalPath.CheckOutput(destination);
        }
        var name = "";
        if (follow && await TryStatAsync(client, container, source) is { } link && (link.Mode & ContainerPathStat.SymbolicLink) != 0)
        {
            var target = link.LinkTarget.StartsWith('/') ? link.LinkTarget : ContainerPath.Join(ContainerPath.Split(source).Directory, link.LinkTarget);
            (source, name) = ContainerPath.WithNameOf(source, target);
        }
        using var response = await client.ReadArchiveAsync(container, source, context.Cancelled);
        if (destination == "-")
        {
            context.Flush();
            await response.Body.CopyToAsync(context.OutStream, context.Cancelled);
            return;
        }
        var stat = EngineClient.PathStatOf(response);
        var isDirectory = (stat.Mode & ContainerPathStat.Directory) != 0;
        var target2 = LocalPath.Destination(destination);
        var sourceBase = ContainerPath.Split(source).Base;
        var (directory, newBase) = CopyPlan.Place(sourceBase, name, isDirectory, target2.Path, target2.Exists, target2.IsDirectory, LocalPath.Split);
        meter.Begin();
        using (var counted = meter.Count(response.Body)) Unpacker.Unpack(counted, directory, sourceBase, newBase ?? (name.Length > 0 ? name : null));
        meter.End(destination);
    }

    private static async Task ToAsync(CommandContext context, string source, string container, string destination, bool follow, bool owners, CopyMeter meter)
    {
        var client = context.Client;
        if (source != "-") source = LocalPath.Absolute(source);
        var shown = destination;
        var stat = await TryStatAsync(client, container, destination);
        if (stat is not null && (stat.Mode & ContainerPathStat.SymbolicLink) != 0)
        {
            destination = stat.LinkTarget.StartsWith('/') ? stat.LinkTarget : ContainerPath.Join(ContainerPath.Split(destination).Directory, stat.LinkTarget);
            stat = await TryStatAsync(client, container, destination);
        }
        var mode = stat?.Mode ?? 0;
        if ((mode & (ContainerPathStat.Device | ContainerPathStat.CharacterDevice)) != 0) throw new CommandException($"destination \"{container}:{shown}\" must be a directory or a regular file: got a device");
        var isDirectory = (mode & ContainerPathStat.Directory) != 0;
        if (source == "-")
        {
            if (!isDirectory) throw new CommandException($"destination \"{container}:{shown}\" must be a directory");
            meter.Begin();
            using (var counted = meter.Count(context.InStream)) await client.ExtractArchiveAsync(container, destination, counted, owners, context.Cancelled);
            meter.End($"{container}:{destination}");
            return;
        }
        var (path, name) = LocalPath.Source(source, follow);
        var sourceIsDirectory = LocalPath.IsRealDirectory(path);
        var (directory, newBase) = CopyPlan.Place(LocalPath.Split(path).Base, name, sourceIsDirectory, destination, stat is not null, isDirectory, ContainerPath.Split);
        meter.Begin();
        using (var packed = new PackedStream(path, newBase ?? (name.Length > 0 ? name : LocalPath.Split(path).Base)))
        using (var counted = meter.Count(packed)) await client.ExtractArchiveAsync(container, directory, counted, owners, context.Cancelled);
        meter.End($"{container}:{destination}");
    }

    private static async Task<ContainerPathStat?> TryStatAsync(EngineClient client, string container, string path)
    {
        try
        {
            return await client.StatPathAsync(container, path);
        }
        catch (EngineApiException)
        {
            return null; // what comes next will say so if it matters
        }
    }
}
