using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Images;

internal static class ImportCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["import", "image import"],
        Usage = "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        Summary = "Make an image of a root file system in a tar archive",
        Flags = static () =>
        [
            new("change", 'c', FlagKind.List, "Apply a Dockerfile instruction to the image (CMD, ENV, ...)"),
            new("message", 'm', FlagKind.String, "Note in the image's history"),
            new("platform", FlagKind.String, "Platform of its contents, os[/arch[/variant]]"),
        ],
        MinArguments = 1,
        MaxArguments = 2,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var source = flags.Positional[0];
        var isUrl = source.StartsWith("http://", StringComparison.Ordinal) || source.StartsWith("https://", StringComparison.Ordinal);
        await using var content = isUrl ? null : source == "-" ? context.InStream : Files.OpenRead(source);
        var name = flags.Positional.Count > 1 ? ImageName.Parse(flags.Positional[1]) : default;
        using var meter = CopyMeter.ForUpload(context, content);
        using var counted = content is null ? null : meter.Count(content);
        using var response = await context.Client.ImportImageAsync(
            isUrl ? source : "-", counted, name.Repository ?? "", name.Tag ?? "", flags.String("message"), flags.List("change"), flags.String("platform"), invocation.Cancelled);
        meter.Dispose();
        await new ProgressDisplay(context.Out, context.Terminal.OutputIsTerminal, context.Terminal.Size.Width).ShowAsync(response.Body, null, invocation.Cancelled);
        return 0;
    }
}
