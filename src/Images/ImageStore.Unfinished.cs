using Berth.Images.Storage;

namespace Berth.Images;

public sealed partial class ImageStore
{
    private readonly UnfinishedPulls unfinished;

    // Layers without an image that are kept for a pull to go on with; guarded by the gate.
    private HashSet<Digest> kept = [];

    // At start: which layers without an image stay.
    private void ReadUnfinished()
    {
        kept = unfinished.ReadLayers();
        foreach (var layer in kept.Where(l => !layers.Contains(l)).ToList()) Forget(layer);
        foreach (var image in images.Values)
            foreach (var layer in image.Layers) Forget(layer);
    }

    private void Keep(Digest diffId)
    {
        unfinished.Keep(diffId);
        lock (gate) kept.Add(diffId);
    }

    private void Forget(Digest diffId)
    {
        bool was;
        lock (gate) was = kept.Remove(diffId);
        if (was) unfinished.Forget(diffId);
    }

    /// <summary>Removes what pulls that did not end have left (layers that are whole, blobs that are not) but for those that run now; returns the bytes.</summary>
    public long RemoveUnfinished() => TrimUnfinished(0);

    // The oldest go first. Blobs count before layers: they are smaller, and what is left of a layer that is whole is its place on disk.
    private long TrimUnfinished(long maxBytes)
    {
        var (left, freed) = unfinished.TrimBlobs(maxBytes);
        List<string> doomed = [];
        List<Digest> gone = [];
        lock (gate)
        {
            foreach (var (layer, since) in kept.Select(l => (l, unfinished.KeptSince(l))).OrderByDescending(l => l.Item2).ToList())
            {
                if (held.ContainsKey(layer)) continue;
                var size = layers.TryGet(layer)?.SizeBytes ?? 0;
                if (options.Time.GetUtcNow().UtcDateTime - since <= UnfinishedPulls.MaxAge && left + size <= maxBytes)
                {
                    left += size;
                    continue;
                }
                freed += size;
                kept.Remove(layer);
                gone.Add(layer);
            }
            doomed = DetachUnused(gone);
        }
        foreach (var layer in gone) unfinished.Forget(layer);
        Discard(doomed);
        return freed;
    }
}
