using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Images;

namespace Berth.Cli.Commands.Containers;

/// <summary>diff, export, commit: what a container made of its image's files.</summary>
internal static class FileVerbs
{
    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["diff", "container diff"],
            Usage = "CONTAINER",
            Summary = "Show which files a container has changed",
            MinArguments = 1,
            MaxArguments = 1,
            Run = DiffAsync,
        },
        new()
        {
            Paths = ["export", "container export"],
            Usage = "[OPTIONS] CONTAINER",
            Summary = "Write a container's files as a tar archive",
            Flags = static () => [new("output", 'o', FlagKind.String, "Write to a file instead of the standard output")],
            MinArguments = 1,
            MaxArguments = 1,
            Run = ExportAsync,
        },
        new()
        {
            Paths = ["commit", "container commit"],
            Usage = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
            Summary = "Make an image of a container",
            Flags = static () =>
            [
                new("author", 'a', FlagKind.String, "Author (\"Jane Doe <jane@example.com>\")"),
                new("change", 'c', FlagKind.List, "Apply a Dockerfile instruction to the image (CMD, ENV, ...)"),
                new("message", 'm', FlagKind.String, "Note in the image's history"),
                new("pause", 'p', FlagKind.Bool, "Freeze the container meanwhile") { Default = "true" },
            ],
            MinArguments = 1,
            MaxArguments = 2,
            Run = CommitAsync,
        },
    ];

    private const string ExportFailure = "failed to export container";

    private static async Task<int> DiffAsync(Invocation invocation)
    {
        foreach (var change in await invocation.Context.Client.ChangesAsync(invocation.Arguments.Positional[0], invocation.Cancelled))
            invocation.Context.Out.Write($"{change.Kind switch { 0 => 'C', 1 => 'A', _ => 'D' }} {change.Path}\n");
        return 0;
    }

    private static async Task<int> ExportAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var path = flags.String("output");
        if (path.Length > 0) OutputFile.Check(path, ExportFailure);
        else if (context.Terminal.OutputIsTerminal) throw new CommandException("cowardly refusing to save to a terminal. Use the -o flag or redirect");
        using var response = await context.Client.ExportContainerAsync(flags.Positional[0], invocation.Cancelled);
        if (path.Length > 0) await OutputFile.WriteAsync(context, path, response.Body, ExportFailure);
        else await response.Body.CopyToAsync(context.OutStream, invocation.Cancelled);
        return 0;
    }

    private static async Task<int> CommitAsync(Invocation invocation)
    {
        var flags = invocation.Arguments;
        if (flags.Positional is [_, { Length: > 0 } given]) ImageName.Check(given);
        var name = flags.Positional.Count > 1 ? ImageName.Parse(flags.Positional[1]) : default;
        var made = await invocation.Context.Client.CommitAsync(flags.Positional[0], name.Repository ?? "", name.Tag ?? "", flags.String("author"), flags.String("message"), flags.Bool("pause"),
            flags.List("change"), invocation.Cancelled);
        invocation.Context.Out.Write(made.Id + "\n");
        return 0;
    }
}
