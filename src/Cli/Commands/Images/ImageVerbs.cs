using Berth.Api;
using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Images;

internal static class ImageVerbs
{
    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["tag", "image tag"],
            Usage = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
            Summary = "Give an image another name",
            MinArguments = 2,
            MaxArguments = 2,
            Run = TagAsync,
        },
        new()
        {
            Paths = ["rmi", "image rm", "image remove"],
            Usage = "[OPTIONS] IMAGE [IMAGE...]",
            Summary = "Remove images",
            Flags = static () =>
            [
                new("force", 'f', FlagKind.Bool, "Even when stopped containers use it"),
                new("no-prune", FlagKind.Bool, "Leave parents without a name"),
                new("platform", FlagKind.List, "Of an image for several platforms, only those for these: os[/arch[/variant]]") { ValueName = "strings" },
            ],
            MinArguments = 1,
            Run = RemoveAsync,
        },
    ];

    private static async Task<int> TagAsync(Invocation invocation)
    {
        var name = ImageName.Parse(invocation.Arguments.Positional[1]);
        foreach (var given in invocation.Arguments.Positional)
            if (ImageName.WrongWith(given, idAllowed: given == invocation.Arguments.Positional[0]) is { } wrong) throw new CommandException($"Error parsing reference: {GoText.Quote(given)} is not a valid repository/tag: {wrong}");
        if (name.Digest.Length > 0) throw new CommandException("refusing to create a tag with a digest reference");
        await invocation.Context.Client.TagImageAsync(invocation.Arguments.Positional[0], name.Repository, name.Tag.Length > 0 ? name.Tag : "latest", invocation.Cancelled);
        return 0;
    }

    private static async Task<int> RemoveAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        string[] platforms = [.. flags.List("platform").SelectMany(p => p.Split(',')).Select(p => PlatformFlag.Json(p) ?? "")];
        var exitCode = 0;
        foreach (var image in flags.Positional)
        {
            try
            {
                foreach (var removed in await context.Client.RemoveImageAsync(image, flags.Bool("force"), !flags.Bool("no-prune"), platforms, invocation.Cancelled))
                    context.Out.Write(removed.Deleted is { } id ? $"Deleted: {id}\n" : $"Untagged: {removed.Untagged}\n");
            }
            catch (EngineApiException e)
            {
                context.Out.Flush();
                context.Err.Write($"{e.Message}{await NearestName.HintAsync(context, e.Message)}\n");
                // With --force, what is not there counts as removed.
                if (e.Status != 404 || !flags.Bool("force")) exitCode = 1;
            }
        }
        return exitCode;
    }
}
