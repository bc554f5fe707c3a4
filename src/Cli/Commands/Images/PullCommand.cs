using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Output;
using Berth.Cli.Registries;

namespace Berth.Cli.Commands.Images;

internal static class PullCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["pull", "image pull"],
        Usage = "[OPTIONS] NAME[:TAG|@DIGEST]",
        Summary = "Fetch an image from a registry",
        CommonRank = 4,
        Flags = static () =>
        [
            new("all-tags", 'a', FlagKind.Bool, "Every tag of the repository"),
            new("disable-content-trust", FlagKind.Bool, "Accepted for docker's sake: the engine's policies say what must be signed") { Default = "true", Hidden = true },
            new("platform", FlagKind.String, "Platform of the image, os[/arch[/variant]]"),
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
        var (all, quiet) = (flags.Bool("all-tags"), flags.Bool("quiet"));
        if (all && (name.Tag.Length > 0 || name.Digest.Length > 0)) throw new CommandException("tag can't be used with --all-tags/-a");
        ImageName.Check(text);
        if (!all && name is { Tag: "", Digest: "" })
        {
            text += ":latest";
            if (!quiet) context.Out.Write("Using default tag: latest\n");
        }
        await PullAsync(context, text, context.PlatformOf(flags), quiet ? TextWriter.Null : context.Out, all);
        context.Out.Write(FullName(text) + "\n");
        return 0;
    }

    /// <summary>Pulls and shows how it goes. A name without tag means latest, unless all are wanted.</summary>
    public static async Task PullAsync(CommandContext context, string image, string platform, TextWriter target, bool all = false)
    {
        var name = ImageName.Parse(image);
        var tag = all ? "" : name.Digest.Length > 0 ? name.Digest : name.Tag.Length > 0 ? name.Tag : "latest";
        context.Flush();
        using var response = await context.Client.PullImageAsync(name.Repository, tag, platform, await Credentials.ForImageAsync(context, image), context.Cancelled);
        await new ProgressDisplay(target, context.Terminal.OutputIsTerminal, context.Terminal.Size.Width).ShowAsync(response.Body, null, context.Cancelled);
    }

    /// <summary>With registry and repository spelled out: "docker.io/library/busybox:latest".</summary>
    internal static string FullName(string text)
    {
        var slash = text.IndexOf('/');
        var first = slash < 0 ? "" : text[..slash];
        if (first is "localhost" || first.Contains('.') || first.Contains(':')) return text;
        return "docker.io/" + (slash < 0 ? "library/" : "") + text;
    }
}
