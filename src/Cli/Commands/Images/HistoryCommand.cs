using System.Globalization;
using Berth.Api;
using Berth.Api.Json;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Images;

internal static class HistoryCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["history", "image history"],
        Usage = "[OPTIONS] IMAGE",
        Summary = "Show how an image was made",
        Flags = static () =>
        [
            new("format", FlagKind.String, PsCommand.FormatHelp),
            new("human", 'H', FlagKind.Bool, "Sizes and times for people") { Default = "true" },
            new("no-trunc", FlagKind.Bool, "Do not shorten anything"),
            new("platform", FlagKind.String, "Of an image for several platforms, the one for this: os[/arch[/variant]]"),
            new("quiet", 'q', FlagKind.Bool, "IDs only"),
        ],
        MinArguments = 1,
        MaxArguments = 1,
        Run = RunAsync,
    };

    private static readonly long Year2000 = new DateTimeOffset(2000, 1, 1, 0, 0, 0, TimeSpan.Zero).ToUnixTimeSeconds();

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var history = await context.Client.ImageHistoryAsync(flags.Positional[0], PlatformFlag.Json(flags.String("platform")), invocation.Cancelled);
        var (human, truncate, now) = (flags.Bool("human"), !flags.Bool("no-trunc"), context.Time.GetUtcNow());
        string At(HistoryResponseItem item) => GoTime.Format(TimeZoneInfo.ConvertTime(DateTimeOffset.FromUnixTimeSeconds(item.Created), context.Time.LocalTimeZone));
        var formatter = new Formatter<HistoryResponseItem>("formatter.historyContext",
        [
            new("Comment", "COMMENT", i => i.Comment),
            new("CreatedAt", "CREATED AT", At),
            new("CreatedBy", "CREATED BY", i => truncate ? Shorten.Ellipsis(i.CreatedBy.Replace('\t', ' '), 45) : i.CreatedBy.Replace('\t', ' ')),
            new("CreatedSince", "CREATED", i => !human ? At(i) : i.Created <= Year2000 ? "N/A" : Units.HumanDuration(now - DateTimeOffset.FromUnixTimeSeconds(i.Created)) + " ago"),
            new("ID", "IMAGE", i => truncate ? Shorten.Id(i.Id) : i.Id),
            new("Size", "SIZE", i => human ? Units.HumanSize(i.Size, 3) : i.Size.ToString(CultureInfo.InvariantCulture)),
        ]);
        var format = flags.Bool("quiet") ? "{{.ID}}" : flags.String("format");
        formatter.Write(context.Out, format, $"{{{{.ID}}}}\t{{{{.{(human ? "CreatedSince" : "CreatedAt")}}}}}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}", history);
        return 0;
    }
}
