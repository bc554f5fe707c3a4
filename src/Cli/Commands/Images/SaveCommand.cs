using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Images;

internal static class SaveCommand
{
    private const string Failure = "failed to save image";

    public static readonly Command Command = new()
    {
        Paths = ["save", "image save"],
        Usage = "[OPTIONS] IMAGE [IMAGE...]",
        Summary = "Write images as a tar archive",
        Description = "Write one or more images as a tar archive, to the standard output unless a file is named",
        Flags = static () =>
        [
            new("output", 'o', FlagKind.String, "Write to a file instead of the standard output"),
            new("platform", FlagKind.String, "Only this platform of the images, os[/arch[/variant]]"),
        ],
        MinArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var path = flags.String("output");
        var platform = PlatformFlag.Json(flags);
        if (path.Length > 0) OutputFile.Check(path, Failure);
        else if (context.Terminal.OutputIsTerminal) throw new CommandException("cowardly refusing to save to a terminal. Use the -o flag or redirect");
        using var response = await context.Client.SaveImagesAsync(flags.Positional, platform, invocation.Cancelled);
        if (path.Length > 0) await OutputFile.WriteAsync(context, path, response.Body, Failure);
        else
        {
            context.Flush();
            await response.Body.CopyToAsync(context.OutStream, invocation.Cancelled);
        }
        return 0;
    }
}
