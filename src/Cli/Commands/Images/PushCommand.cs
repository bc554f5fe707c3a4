using Berth.Cli.CommandLine;
using Berth.Cli.Output;
using Berth.Cli.Registries;

namespace Berth.Cli.Commands.Images;

internal static class PushCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["push", "image push"],
        Usage = "[OPTIONS] NAME[:TAG]",
        Summary = "Send an image to a registry",
        Flags = static () =>
        [
            new("all-tags", 'a', FlagKind.Bool, "Every tag of the repository"),
            new("disable-content-trust", FlagKind.Bool, "Accepted for docker's sake: images are not signed here") { Default = "true", Hidden = true },
            new("platform", FlagKind.String, "The image must be for this platform, os[/arch[/variant]]"),
            new("quiet", 'q', FlagKind.Bool, "Print the name only"),
        ],
        MinArguments = 1,
        MaxArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var text = flags.Positional[0];
        var name = ImageName.Parse(text);
        var (all, quiet, platform) = (flags.Bool("all-tags"), flags.Bool("quiet"), PlatformFlag.Json(flags));
        if (all && (name.Tag.Length > 0 || name.Digest.Length > 0)) throw new CommandException("tag can't be used with --all-tags/-a");
        if (!all && name is { Tag: "", Digest: "" })
        {
            name = name with { Tag = "latest" };
            if (!quiet) context.Out.Write("Using default tag: latest\n");
        }
        var repository = name.Digest.Length > 0 ? $"{name.Repository}@{name.Digest}" : name.Repository;
        context.Flush();
        using var response = await context.Client.PushImageAsync(repository, name.Tag, platform, await Credentials.ForImageAsync(context, text), context.Cancelled);
        await new ProgressDisplay(quiet ? TextWriter.Null : context.Out, context.Terminal.OutputIsTerminal, context.Terminal.Size.Width).ShowAsync(response.Body, _ => { }, context.Cancelled);
        if (quiet) context.Out.Write(PullCommand.FullName(name.Tag.Length > 0 ? $"{name.Repository}:{name.Tag}" : repository) + "\n");
        return 0;
    }
}
