using Berth.Images.Storage;

namespace Berth.Images;

/// <summary>The index a name came by: an image for several platforms, not all of which need to be here.</summary>
/// <param name="Images">Those that are.</param>
internal sealed record NamedIndex(string MediaType, Digest Digest, long SizeBytes, IReadOnlyList<Digest> Images)
{
    public IndexRecord ToRecord() => new() { MediaType = MediaType, Digest = Digest.ToString(), SizeBytes = SizeBytes, Images = [.. Images.Select(i => i.ToString())] };

    public bool Equals(NamedIndex? other) => other is not null && Digest == other.Digest && Images.SequenceEqual(other.Images);

    public override int GetHashCode() => Digest.GetHashCode();
}

/// <summary>One entry of an image for several platforms, or the one manifest of another.</summary>
/// <param name="Image">Null when it is not here.</param>
/// <param name="AttestationFor">Not an image, but what was said about the one with this manifest.</param>
public sealed record PlatformManifest(Descriptor Descriptor, Image? Image, Digest AttestationFor);

// Several platforms under one name (decision 0851). A name means one image, the one that came last, exactly as in Docker's own store. When it came out of an index, the name stands
// for the index's other images that are here as well: whoever asks for a platform gets the one that fits best.
public sealed partial class ImageStore
{
    /// <summary>What an image for several platforms consists of, or an image's own manifest; empty when it came without one (import, commit, a docker-archive).</summary>
    /// <param name="target">The descriptor of the index or the manifest.</param>
    public IReadOnlyList<PlatformManifest> Manifests(Digest id, out Descriptor? target)
    {
        target = null;
        lock (gate)
        {
            if (!images.TryGetValue(id, out var stored)) return [];
            if (names.Values.FirstOrDefault(n => n.Image == id && n.Index is not null).Index is { } index && blobs.TryRead(index.Digest) is { } bytes)
            {
                target = new Descriptor { MediaType = index.MediaType, DigestText = index.Digest.ToString(), SizeBytes = index.SizeBytes };
                var byManifest = index.Images.Where(images.ContainsKey).ToDictionary(i => images[i].Manifest.ToString());
                return
                [
                    .. (Manifest.Parse(bytes).Manifests ?? []).Select(entry => new PlatformManifest(entry,
                        byManifest.TryGetValue(entry.DigestText ?? "", out var here) ? MakeImage(here) : null,
                        entry.IsAttestation && Digest.TryParse(entry.Annotations?.GetValueOrDefault("vnd.docker.reference.digest"), out var about) ? about : default)),
                ];
            }
            if (stored.Manifest.IsEmpty || blobs.TryRead(stored.Manifest) is not { } manifest) return [];
            target = new Descriptor { MediaType = Manifest.Parse(manifest).MediaType ?? MediaTypes.OciManifest, DigestText = stored.Manifest.ToString(), SizeBytes = manifest.Length };
            return [new PlatformManifest(target, MakeImage(id), default)];
        }
    }

    // What is called so; with a platform, of those that are called so the one that fits best.
    private Digest FindFor(string nameOrId, Platform? platform)
    {
        var id = Find(nameOrId);
        if (platform is not { } wanted) return id;
        Digest best = default;
        var bestRank = int.MaxValue;
        foreach (var candidate in (IReadOnlyList<Digest>)[id, .. IndexOf(nameOrId)?.Images ?? []])
            if (images.ContainsKey(candidate) && wanted.Rank(Config(candidate).Platform) is var rank and >= 0 && rank < bestRank) (best, bestRank) = (candidate, rank);
        return !best.IsEmpty ? best : throw ImageException.NotFound($"image with reference {nameOrId} was found but its platform ({Config(id).Platform}) does not match the specified platform ({wanted})");
    }

    private NamedIndex? IndexOf(string nameOrId) =>
        !ImageReference.IsIdentifier(nameOrId) && ImageReference.TryParse(nameOrId, out var reference) && names.TryGetValue(Key(reference).ToString(), out var name) ? name.Index : null;

    private NamedIndex Join(Name? before, Digest id, byte[] bytes)
    {
        var digest = blobs.Put(bytes);
        var same = before is { } known && (known.Index?.Digest == digest || known.Reference.Digest == digest) ? known.Index?.Images ?? [known.Image] : [];
        return new NamedIndex(Manifest.Parse(bytes).MediaType ?? MediaTypes.OciIndex, digest, bytes.Length, [.. same.Where(i => i != id && images.ContainsKey(i)), id]);
    }

    private NamedIndex? ReadIndex(StoreState state, string name) =>
        state.Indexes is not null && state.Indexes.TryGetValue(name, out var record) && Digest.TryParse(record.Digest, out var digest) && blobs.Contains(digest)
            ? new NamedIndex(record.MediaType, digest, record.SizeBytes, [.. record.Images.Select(Digest.Parse).Where(images.ContainsKey)])
            : null;

    private HashSet<Digest> Indexes() => [.. names.Values.Where(n => n.Index is not null).Select(n => n.Index!.Digest)];

    // After the state is on disk: the bytes of indexes that no name came by any more.
    private void RemoveUnused(HashSet<Digest> before)
    {
        if (before.Count == 0) return;
        before.ExceptWith(Indexes());
        foreach (var digest in before) blobs.Remove(digest);
    }

    // Here only as part of what a name stands for.
    private bool IsCompanion(Digest id) => !names.Values.Any(n => n.Image == id) && names.Values.Any(n => n.Index?.Images.Contains(id) == true);

    private HashSet<Digest> Companions()
    {
        HashSet<Digest> companions = [.. names.Values.SelectMany(n => n.Index?.Images ?? [])];
        companions.ExceptWith(names.Values.Select(n => n.Image));
        return companions;
    }
}
