namespace Berth.Images;

public sealed partial class ImageStore
{
    /// <summary>The image list, newest first.</summary>
    /// <exception cref="ImageException">NotFound, when before/since name no image; InvalidParameter for a bad pattern.</exception>
    public IReadOnlyList<ImageSummary> List(ImageFilters filters)
    {
        var before = filters.Until;
        DateTimeOffset? since = null;
        foreach (var name in filters.Before)
            if (Get(name).Created is { } created && !(before < created)) before = created;
        foreach (var name in filters.Since)
            if (Get(name).Created is { } created && !(since > created)) since = created;

        IReadOnlyList<Image> all;
        HashSet<Digest> companions;
        Dictionary<Digest, int>? chains = null;
        lock (gate)
        {
            all = All;
            companions = Companions();
            if (filters.SharedSize)
            {
                chains = [];
                foreach (var image in images.Values)
                    foreach (var chain in ChainIds(image.Layers))
                        chains[chain] = chains.GetValueOrDefault(chain) + 1;
            }
        }
        var parents = all.Select(i => i.Parent).Where(p => !p.IsEmpty).ToHashSet();
        var result = new List<ImageSummary>();
        foreach (var image in all)
        {
            if (companions.Contains(image.Id)) continue; // shown with the image whose name it shares
            if (before is { } limit && !(image.Created < limit)) continue;
            if (since is { } start && !(image.Created > start)) continue;
            if (filters.Label.Count > 0 && !filters.Label.All(l => HasLabel(image, l))) continue;
            if (filters.Dangling == true && parents.Contains(image.Id)) continue;

            var tags = Filter(image.RepoTags, filters.Reference);
            var digests = Filter(image.RepoDigests, filters.Reference);
            if (tags.Count == 0 && digests.Count == 0)
            {
                if (!filters.All && parents.Contains(image.Id)) continue; // an intermediate image
                if (filters.Dangling == false || filters.Reference.Count > 0) continue;
            }
            else if (filters.Dangling == true && tags.Count > 0) continue;
            result.Add(new ImageSummary(image, tags, digests, SharedSize(image, chains)));
        }
        // Docker sorts by whole seconds; the order of the rest is then the names'.
        return [.. result.OrderByDescending(s => s.Image.Created?.ToUnixTimeSeconds() ?? 0)];
    }

    /// <summary>What the layers of all images take on disk, each counted once; and each by its chain id.</summary>
    public (long TotalBytes, IReadOnlyDictionary<string, long> ByChain) LayerSizes()
    {
        lock (gate)
        {
            var byChain = new Dictionary<string, long>(StringComparer.Ordinal);
            var seen = new HashSet<Digest>();
            long total = 0;
            foreach (var image in images.Values)
            {
                var i = 0;
                foreach (var chain in ChainIds(image.Layers))
                {
                    var layer = image.Layers[i++];
                    var size = layers.TryGet(layer)?.SizeBytes ?? 0;
                    byChain[chain.ToString()] = size;
                    if (seen.Add(layer)) total += size;
                }
            }
            return (total, byChain);
        }
    }

    private long SharedSize(Image image, Dictionary<Digest, int>? chains)
    {
        if (chains is null) return -1;
        long shared = 0;
        var i = 0;
        foreach (var chain in ChainIds(image.DiffIds))
        {
            if (chains[chain] > 1) shared += layers.TryGet(image.DiffIds[i])?.SizeBytes ?? 0;
            i++;
        }
        return shared;
    }

    private static bool HasLabel(Image image, string wanted)
    {
        if (image.Config.Config is not { } config) return false;
        var equals = wanted.IndexOf('=');
        var key = equals < 0 ? wanted : wanted[..equals];
        return config.Labels is { } labels && labels.TryGetValue(key, out var value) && (equals < 0 || value == wanted[(equals + 1)..]);
    }

    private static IReadOnlyList<string> Filter(IReadOnlyList<string> familiar, IReadOnlyList<string> patterns) =>
        patterns.Count == 0 ? familiar : [.. familiar.Where(name => patterns.Any(p => GlobPattern.Matches(p, name) || GlobPattern.Matches(p, ImageReference.Parse(name).FamiliarName)))];

    /// <summary>Chain ids of a stack of layers, lowest first (image-spec config.md, "Layer ChainID"): the names Docker's removal answers with.</summary>
    internal static IEnumerable<Digest> ChainIds(IReadOnlyList<Digest> diffIds)
    {
        Digest chain = default;
        foreach (var diffId in diffIds)
        {
            chain = chain.IsEmpty ? diffId : Digest.Sha256(System.Text.Encoding.ASCII.GetBytes($"{chain} {diffId}"));
            yield return chain;
        }
    }
}
