using System.Globalization;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Commands.Images;
using Berth.Cli.Commands.Volumes;
using Berth.Cli.Output;
using Berth.Cli.Templates;

namespace Berth.Cli.Commands.Engine;

/// <summary>berth system df: what takes how much room on the engine's disk, and how much of it could go.</summary>
internal static class DiskUsageCommand
{
    private const string ImageTable = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    private const string ContainerTable = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
    private const string CacheTable = "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";

    public static readonly Command Command = new()
    {
        Paths = ["system df"],
        Usage = "[OPTIONS]",
        Summary = "Show how much room images, containers, volumes and build cache take",
        Flags = static () =>
        [
            new("format", FlagKind.String, PsCommand.FormatHelp),
            new("verbose", 'v', FlagKind.Bool, "Every object by itself"),
        ],
        MaxArguments = 0,
        Run = RunAsync,
    };

    /// <summary>A kind of object, counted and summed.</summary>
    private sealed record Kind(string Type, int Total, int Active, long Bytes, long Reclaimable, bool InPercent = true);

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var usage = await context.Client.DiskUsageAsync(invocation.Cancelled);
        var format = flags.String("format");
        if (flags.Bool("verbose")) Verbose(context, usage, format);
        else
            new Formatter<Kind>("formatter.diskUsageImagesContext",
            [
                new("Active", "ACTIVE", k => k.Active.ToString(CultureInfo.InvariantCulture)),
                new("Reclaimable", "RECLAIMABLE", k => Units.HumanSize(k.Reclaimable) + (k.InPercent && k.Bytes > 0 ? $" ({k.Reclaimable * 100 / k.Bytes}%)" : "")),
                new("Size", "SIZE", k => Units.HumanSize(k.Bytes)),
                new("TotalCount", "TOTAL", k => k.Total.ToString(CultureInfo.InvariantCulture)),
                new("Type", "TYPE", k => k.Type),
            ]).Write(context.Out, format, "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}", Kinds(usage),
                raw: "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n");
        return 0;
    }

    private static Kind[] Kinds(DiskUsageResponse usage)
    {
        var images = usage.Images ?? [];
        long used = 0;
        foreach (var image in images)
            if (image.Containers != 0 && image.Size != -1 && image.SharedSize != -1) used += image.Size - image.SharedSize;
        var containers = usage.Containers ?? [];
        static bool Lives(ContainerSummary c) => c.State.Contains("running", StringComparison.Ordinal) || c.State.Contains("paused", StringComparison.Ordinal) || c.State.Contains("restarting", StringComparison.Ordinal);
        var volumes = usage.Volumes ?? [];
        long SizeOf(Volume v) => v.UsageData is { Size: > 0 and var size } ? size : 0;
        var cache = usage.BuildCache ?? [];
        var cacheBytes = BytesOf(cache);
        return
        [
            new("Images", images.Length, images.Count(i => i.Containers > 0), usage.LayersSize, usage.LayersSize - used),
            new("Containers", containers.Length, containers.Count(Lives), containers.Sum(c => c.SizeRw), containers.Where(c => !Lives(c)).Sum(c => c.SizeRw)),
            new("Local Volumes", volumes.Length, volumes.Count(v => v.UsageData?.RefCount > 0), volumes.Sum(SizeOf), volumes.Where(v => v.UsageData?.RefCount == 0).Sum(SizeOf)),
            new("Build Cache", cache.Length, cache.Count(c => c.InUse), cacheBytes, cacheBytes - cache.Where(c => c is { InUse: true, Shared: false }).Sum(c => c.Size), InPercent: false),
        ];
    }

    private static long BytesOf(BuildCacheRecord[] cache) => cache.Where(c => !c.Shared).Sum(c => c.Size);

    private static void Verbose(CommandContext context, DiskUsageResponse usage, string format)
    {
        // A template is given what is not shortened.
        var truncate = format is "" || format.StartsWith("table", StringComparison.Ordinal);
        var images = ImagesCommand.FormatterFor(truncate, context.Time);
        ImagesCommand.ImageRow[] imageRows = [.. (usage.Images ?? []).Select(Row)];
        var containers = PsCommand.FormatterFor(truncate, context.Time);
        ContainerSummary[] containerRows = usage.Containers ?? [];
        foreach (var container in containerRows) container.SizeRootFs = 0;
        var volumes = VolumeVerbs.Columns();
        Volume[] volumeRows = usage.Volumes ?? [];
        var cache = CacheColumns(truncate, context.Time);
        BuildCacheRecord[] cacheRows = [.. (usage.BuildCache ?? []).OrderBy(c => c.LastUsedAt ?? DateTimeOffset.MinValue).ThenBy(c => c.ID, StringComparer.Ordinal)];
        if (format is not ("" or "table"))
        {
            var record = new TemplateRecord("*formatter.diskUsageContext")
                .Add("Images", imageRows.Select(images.RowOf).ToArray()).Add("Containers", containerRows.Select(containers.RowOf).ToArray())
                .Add("Volumes", volumeRows.Select(volumes.RowOf).ToArray()).Add("BuildCache", cacheRows.Select(cache.RowOf).ToArray());
            try
            {
                var template = Template.Parse(format == "json" ? "{{json .}}" : (format.StartsWith("table", StringComparison.Ordinal) ? format["table".Length..] : format).Trim(' ').Replace("\\t", "\t").Replace("\\n", "\n"));
                context.Out.Write(template.Execute(record));
            }
            catch (TemplateException e)
            {
                throw new CommandException(e.Message.Contains(": executing ", StringComparison.Ordinal) ? e.Message : $"template parsing error: {e.Message}");
            }
            return;
        }
        context.Out.Write("Images space usage:\n\n");
        images.Write(context.Out, "", ImageTable, imageRows);
        context.Out.Write("\nContainers space usage:\n\n");
        containers.Write(context.Out, "", ContainerTable, containerRows);
        context.Out.Write("\nLocal Volumes space usage:\n\n");
        volumes.Write(context.Out, "", "{{.Name}}\t{{.Links}}\t{{.Size}}", volumeRows);
        context.Out.Write($"\nBuild cache usage: {Units.HumanSize(BytesOf(cacheRows))}\n\n");
        cache.Write(context.Out, "", CacheTable, cacheRows);
    }

    private static ImagesCommand.ImageRow Row(ImageSummary image)
    {
        var name = image.RepoTags.FirstOrDefault(t => t != "<none>:<none>") is { } tag ? ImageName.Parse(tag) : new ImageName("<none>", "<none>", "");
        return new(image, name.Repository, name.Tag, "");
    }

    private static Formatter<BuildCacheRecord> CacheColumns(bool truncate, TimeProvider clock) => new("formatter.buildCacheContext",
    [
        new("CacheType", "CACHE TYPE", c => c.Type),
        new("CreatedAt", "CREATED AT", c => Shorten.Time(c.CreatedAt.ToUnixTimeSeconds(), clock.LocalTimeZone)),
        new("CreatedSince", "CREATED", c => Units.HumanDuration(clock.GetUtcNow() - c.CreatedAt) + " ago"),
        new("Description", "DESCRIPTION", c => c.Description),
        new("ID", "CACHE ID", c => (truncate ? Shorten.Id(c.ID) : c.ID) + (c.InUse ? "*" : "")),
        new("InUse", "IN USE", c => c.InUse ? "true" : "false"),
        new("LastUsedAt", "LAST USED AT", c => c.LastUsedAt is { } used ? Shorten.Time(used.ToUnixTimeSeconds(), clock.LocalTimeZone) : ""),
        new("LastUsedSince", "LAST USED", c => c.LastUsedAt is { } used ? Units.HumanDuration(clock.GetUtcNow() - used) + " ago" : ""),
        new("Parent", "PARENT", c => string.Join(", ", c.Parents ?? []) is var parents && truncate ? Shorten.Id(parents) : parents),
        new("Shared", "SHARED", c => c.Shared ? "true" : "false"),
        new("Size", "SIZE", c => Units.HumanSize(c.Size, 3)),
        new("UsageCount", "USAGE", c => c.UsageCount.ToString(CultureInfo.InvariantCulture)),
    ]);
}
