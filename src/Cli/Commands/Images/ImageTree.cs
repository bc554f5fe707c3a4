using Berth.Api;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Images;

/// <summary>berth images --tree: images with the platforms they consist of, and what is here of each.</summary>
internal static class ImageTree
{
    private sealed record Line(string Name, string Id = "", string DiskUsage = "", string ContentSize = "", string Extra = "");

    public static void Write(TextWriter target, IEnumerable<ImageSummary> images, bool all)
    {
        var lines = new List<Line> { new("IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA") };
        var first = true;
        foreach (var image in images.OrderByDescending(i => i.Created))
        {
            string[] names = [.. image.RepoTags.Where(t => t != "<none>:<none>").OrderByDescending(n => n.Length)];
            if (names.Length == 0 && image.RepoDigests.Length == 0 && !all) continue;
            if (!first) lines.Add(new(""));
            first = false;
            foreach (var name in names.SkipLast(1)) lines.Add(new(name));
            var manifests = image.Manifests ?? [];
            var parts = manifests.Where(m => m.Kind == "image").ToArray();
            var used = image.Containers > 0 || parts.Any(p => p.ImageData?.Containers.Length > 0);
            lines.Add(new(names.LastOrDefault("<untagged>"), Shorten.Id(image.Id), Units.HumanSize(image.Size, 3), Units.HumanSize(manifests.Sum(m => m.Size.Content), 3), used ? "U" : ""));
            for (var i = 0; i < parts.Length; i++)
            {
                var platform = parts[i].ImageData?.Platform;
                var text = platform is null ? "unknown" : $"{platform.Os}/{platform.Architecture}" + (platform.Variant is { Length: > 0 } variant ? "/" + variant : "");
                lines.Add(new((i == parts.Length - 1 ? "└─ " : "├─ ") + text, Shorten.Id(parts[i].Id), Units.HumanSize(parts[i].Size.Total, 3), Units.HumanSize(parts[i].Size.Content, 3), parts[i].ImageData?.Containers.Length > 0 ? "U" : ""));
            }
        }
        var width = lines.Max(l => l.Name.Length);
        foreach (var line in lines) target.Write($"{line.Name.PadRight(width)}   {line.Id,-12}   {line.DiskUsage,10}   {line.ContentSize,12}   {line.Extra}".TrimEnd() + "\n");
        target.Write("\nU: in use\n");
    }
}
