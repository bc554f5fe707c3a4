using System.Globalization;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Images;

internal static class ImagesCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["images", "image ls", "image list"],
        Usage = "[OPTIONS] [REPOSITORY[:TAG]]",
        Summary = "List images",
        CommonRank = 5,
        Flags = static () =>
        [
            new("all", 'a', FlagKind.Bool, "Those that only others are built on as well"),
            new("digests", FlagKind.Bool, "Show digests"),
            new("filter", 'f', FlagKind.List, "Only those that match (dangling=..., reference=..., label=...)") { ValueName = "filter", Normalize = FilterFlag.Check },
            new("format", FlagKind.String, PsCommand.FormatHelp),
            new("no-trunc", FlagKind.Bool, "Do not shorten anything"),
            new("quiet", 'q', FlagKind.Bool, "IDs only"),
            new("tree", FlagKind.Bool, "With the platforms that images consist of"),
        ],
        MaxArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var filters = FilterFlag.Of(flags);
        if (flags.Positional is [var name]) filters.Add("reference", name);
        if (flags.Bool("tree"))
        {
            foreach (var (flag, shown) in (ReadOnlySpan<(string, string)>)[("quiet", "quiet"), ("no-trunc", "no-trunc"), ("digests", "show-digest"), ("format", "format")])
                if (flags.Changed(flag)) throw new CommandException($"--{shown} is not yet supported with --tree");
            ImageTree.Write(context.Out, await context.Client.ListImagesAsync(flags.Bool("all"), filters, manifests: true, cancellationToken: invocation.Cancelled), flags.Bool("all"));
            return 0;
        }
        var images = await context.Client.ListImagesAsync(flags.Bool("all"), filters, cancellationToken: invocation.Cancelled);
        var format = context.FormatOf(flags, "imagesFormat");
        var digests = flags.Bool("digests");
        if (flags.Bool("quiet") && format is "" or "table") format = "{{.ID}}";
        else if (digests && format is not ("" or "table") && format.StartsWith("table", StringComparison.Ordinal) && !format.Contains("{{.Digest}}", StringComparison.Ordinal)) format += "\t{{.Digest}}";
        var table = "{{.Repository}}\t{{.Tag}}" + (digests ? "\t{{.Digest}}" : "") + "\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
        var rows = Rows(images, digests || format.Contains("{{.Digest}}", StringComparison.Ordinal), digests);
        FormatterFor(truncate: !flags.Bool("no-trunc"), context.Time).Write(context.Out, format, table, rows, flags.Bool("quiet") ? "image_id: {{.ID}}" :
            "repository: {{.Repository}}\ntag: {{.Tag}}\n" + (digests ? "digest: {{.Digest}}\n" : "") + "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n");
        return 0;
    }

    internal sealed record ImageRow(ImageSummary Image, string Repository, string Tag, string Digest);

    /// <summary>A row for each name of an image.</summary>
    internal static List<ImageRow> Rows(IEnumerable<ImageSummary> images, bool needDigest, bool showDigests)
    {
        const string none = "<none>";
        var rows = new List<ImageRow>();
        foreach (var image in images.OrderByDescending(i => i.Created))
        {
            var tags = image.RepoTags.Where(t => t != "<none>:<none>").Select(ImageName.Parse).GroupBy(n => n.Repository).ToDictionary(g => g.Key, g => g.Select(n => n.Tag).ToArray());
            var digests = image.RepoDigests.Where(d => d != "<none>@<none>").Select(ImageName.Parse).GroupBy(n => n.Repository).ToDictionary(g => g.Key, g => g.Select(n => n.Digest).ToArray());
            if (tags.Count == 0 && digests.Count == 0)
            {
                rows.Add(new(image, none, none, none));
                continue;
            }
            foreach (var (repository, names) in tags.OrderBy(t => t.Key, StringComparer.Ordinal))
            {
                var own = needDigest && digests.TryGetValue(repository, out var found) ? found : [none];
                foreach (var tag in names)
                    foreach (var digest in own) rows.Add(new(image, repository, tag, digest));
            }
            // Names that are digests only.
            foreach (var (repository, values) in digests.Where(d => !tags.ContainsKey(d.Key)).OrderBy(d => d.Key, StringComparer.Ordinal))
                foreach (var digest in showDigests ? values : [""]) rows.Add(new(image, repository, none, digest));
        }
        return rows;
    }

    internal static Formatter<ImageRow> FormatterFor(bool truncate, TimeProvider clock) => new("formatter.imageContext",
    [
        new("Containers", "CONTAINERS", r => Count(r.Image.Containers)),
        new("CreatedAt", "CREATED AT", r => Shorten.Time(r.Image.Created, clock.LocalTimeZone)),
        new("CreatedSince", "CREATED", r => Units.HumanDuration(clock.GetUtcNow() - DateTimeOffset.FromUnixTimeSeconds(r.Image.Created)) + " ago"),
        new("Digest", "DIGEST", r => r.Digest),
        new("ID", "IMAGE ID", r => truncate ? Shorten.Id(r.Image.Id) : r.Image.Id),
        new("Repository", "REPOSITORY", r => r.Repository),
        new("SharedSize", "SHARED SIZE", r => r.Image.SharedSize == -1 ? "N/A" : Units.HumanSize(r.Image.SharedSize)),
        new("Size", "SIZE", r => Units.HumanSize(r.Image.Size, 3)),
        new("Tag", "TAG", r => r.Tag),
        new("UniqueSize", "UNIQUE SIZE", r => r.Image.Size == -1 || r.Image.SharedSize == -1 ? "N/A" : Units.HumanSize(r.Image.Size - r.Image.SharedSize)),
        new("VirtualSize", "SIZE", r => Units.HumanSize(r.Image.Size)),
    ]);

    private static string Count(long count) => count == -1 ? "N/A" : count.ToString(CultureInfo.InvariantCulture);
}
