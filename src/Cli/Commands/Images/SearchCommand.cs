using System.Globalization;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Output;
using Berth.Cli.Registries;

namespace Berth.Cli.Commands.Images;

internal static class SearchCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["search"],
        Usage = "[OPTIONS] TERM",
        Summary = "Search a registry for images",
        Flags = static () =>
        [
            new("filter", 'f', FlagKind.List, "Only those that match (is-official=..., stars=...)") { ValueName = "filter", Normalize = FilterFlag.Check },
            new("format", FlagKind.String, PsCommand.FormatHelp),
            new("limit", FlagKind.Int, "At most so many"),
            new("no-trunc", FlagKind.Bool, "Do not shorten anything"),
        ],
        MinArguments = 1,
        MaxArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var filters = FilterFlag.Of(flags);
        if (filters.Contains("is-automated"))
            context.Err.Write("WARNING: the \"is-automated\" filter is deprecated, and searching for \"is-automated=true\" will not yield any results in future.\n");
        var term = flags.Positional[0];
        var found = await context.Client.SearchImagesAsync(term, flags.Changed("limit") ? flags.String("limit") : null, filters, await Credentials.ForImageAsync(context, term), invocation.Cancelled);
        var format = flags.String("format");
        var truncate = !flags.Bool("no-trunc");
        string Description(SearchResult r) => r.Description.Replace('\n', ' ').Replace('\r', ' ') is var text && truncate ? Shorten.Ellipsis(text, 45) : text;
        var json = format == "json" || format.Contains("json .", StringComparison.Ordinal);
        var formatter = new Formatter<SearchResult>("registry.searchContext",
        [
            new("Description", "DESCRIPTION", Description),
            new("IsOfficial", "OFFICIAL", r => json ? r.IsOfficial ? "true" : "false" : r.IsOfficial ? "[OK]" : ""),
            new("Name", "NAME", r => r.Name),
            new("StarCount", "STARS", r => r.StarCount.ToString(CultureInfo.InvariantCulture)),
        ]);
        formatter.Write(context.Out, format, "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}", found);
        return 0;
    }
}
