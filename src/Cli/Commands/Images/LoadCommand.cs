using Berth.Cli.CommandLine;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Images;

internal static class LoadCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["load", "image load"],
        Usage = "[OPTIONS]",
        Summary = "Load images from a tar archive or STDIN",
        Flags = static () =>
        [
            new("input", 'i', FlagKind.String, "Read from this file instead of STDIN"),
            new("platform", FlagKind.String, "Only this platform of what is in it, os[/arch[/variant]]"),
            new("quiet", 'q', FlagKind.Bool, "Do not show progress"),
        ],
        MaxArguments = 0,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (file, platform) = (flags.String("input"), PlatformFlag.Json(flags));
        if (file.Length == 0 && context.Terminal.InputIsTerminal) throw new CommandException("requested load from stdin, but stdin is empty");
        await using var content = file.Length == 0 ? context.InStream : Files.OpenRead(file);
        var quiet = flags.Bool("quiet") || !context.Terminal.OutputIsTerminal;
        using var meter = CopyMeter.ForUpload(context, content);
        using var counted = meter.Count(content);
        using var response = await context.Client.LoadImagesAsync(counted, quiet, platform, invocation.Cancelled);
        meter.Dispose();
        if (response.Header("Content-Type")?.StartsWith("application/json", StringComparison.Ordinal) == true)
            await new ProgressDisplay(context.Out, context.Terminal.OutputIsTerminal, context.Terminal.Size.Width).ShowAsync(response.Body, null, invocation.Cancelled);
        else
        {
            context.Flush();
            await response.Body.CopyToAsync(context.OutStream, invocation.Cancelled);
        }
        return 0;
    }
}
