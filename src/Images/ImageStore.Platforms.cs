using Berth.Images.Storage;

namespace Berth.Images;

/// <summary>The index a name came by: an image for several platforms, not all of which need to be here.</summary>
/// <param name="Images">Those that are.</param>
/// <param name="Documents">Blobs that it consists of and that are kept with it: of an index that was built here the manifests, and all that is said about the images.</param>
internal sealed record NamedIndex(string MediaType, Digest Digest, long SizeBytes, IReadOnlyList<Digest> Images, IReadOnlyList<Digest> Documents)
{
    public IndexRecord ToRecord() => new()
    {
        MediaType = MediaType, Digest = Digest.ToString(), SizeBytes = SizeBytes, Images = [.. Images.Select(i => i.ToString())], Documents = Documents.Count == 0 ? null : [.. Documents.Select(d => d.ToString())],
    };

    public bool Equals(NamedIndex? other) => other is not null && Digest == other.Digest && Images.SequenceEqual(other.Images);

    public override int GetHashCode() => Digest.GetHashCode();
}

/// <summary>One entry of an image for several platforms, or the one manifest of another.</summary>
/// <param name="Image">Null when it is not here, or no image.</param>
/// <param name="AttestationFor">Not an image, but what was said about the one with this manifest.</param>
/// <param name="ContentBytes">The manifest and what it names, as far as it is here as such: layers are not.</param>
public sealed record PlatformManifest(Descriptor Descriptor, Image? Image, Digest AttestationFor, long ContentBytes)
{
    public bool IsHere => Image is not null || ContentBytes > 0;
}

// Several platforms under one name (decision 0851). A name means one image, the one that came last, exactly as in Docker's own store. When it came out of an index, the name stands
// for the index's other images that are here as well: whoever asks for a platform gets the one that fits best.
public sealed partial class ImageStore
{
    /// <summary>What an image for several platforms consists of, or an image's own manifest; empty when it came without one (import, commit, a docker-archive).</summary>
    /// <param name="name">By which of its names: they may have come by different indexes. Null: any.</param>
    /// <param name="target">The descriptor of the index or the manifest.</param>
    public IReadOnlyList<PlatformManifest> Manifests(Digest id, string? name, out Descriptor? target)
    {
        target = null;
        lock (gate)
        {
            if (!images.TryGetValue(id, out var stored)) return [];
            if (((name is null ? null : IndexOf(name)) ?? names.Values.FirstOrDefault(n => n.Image == id && n.Index is not null).Index) is { } index && blobs.TryRead(index.Digest) is { } bytes)
            {
                target = new Descriptor { MediaType = index.MediaType, DigestText = index.Digest.ToString(), SizeBytes = index.SizeBytes };
                return [.. Parts(index, bytes).Select(part => new PlatformManifest(part.Entry, part.Image.IsEmpty ? null : MakeImage(part.Image), part.About, part.Bytes))];
            }
            if (stored.Manifest.IsEmpty || blobs.TryRead(stored.Manifest) is not { } manifest) return [];
            target = new Descriptor { MediaType = Manifest.Parse(manifest).MediaType ?? MediaTypes.OciManifest, DigestText = stored.Manifest.ToString(), SizeBytes = manifest.Length };
            var image = MakeImage(id);
            return [new PlatformManifest(target, image, default, manifest.Length + image.ConfigBytes.Length)];
        }
    }

    // An entry of an index: the image it is about, empty when that is not here; or what it says about another entry.
    private readonly record struct IndexPart(Descriptor Entry, Digest Image, Digest About, long Bytes);

    private List<IndexPart> Parts(NamedIndex index, byte[] bytes)
    {
        var parts = new List<IndexPart>();
        foreach (var entry in Manifest.Parse(bytes).Manifests ?? [])
        {
            Digest image = default, about = default;
            long here = 0;
            if (entry.IsAttestation) Digest.TryParse(entry.Annotations?.GetValueOrDefault("vnd.docker.reference.digest"), out about);
            if (Digest.TryParse(entry.DigestText, out var digest) && blobs.TryRead(digest) is { } text && TryParseManifest(text) is { } manifest)
            {
                here = text.Length + (manifest.Config?.SizeBytes ?? 0);
                if (entry.IsAttestation) here += (manifest.Layers ?? []).Sum(l => l.SizeBytes);
                else if (Digest.TryParse(manifest.Config?.DigestText, out var config) && index.Images.Contains(config) && images.ContainsKey(config)) image = config;
                else here = 0;
            }
            parts.Add(new IndexPart(entry, image, about, here));
        }
        return parts;
    }

    private static Manifest? TryParseManifest(byte[] text)
    {
        try
        {
            return Manifest.Parse(text);
        }
        catch (ImageException)
        {
            return null;
        }
    }

    /// <summary>The name means the image for this platform from now on, if it stands for one.</summary>
    public void Prefer(ImageReference name, Platform platform)
    {
        lock (gate)
        {
            var key = Key(name).ToString();
            if (!names.TryGetValue(key, out var known) || known.Index is null || platform.Accepts(Config(known.Image).Platform)) return;
            var id = known.Index.Images.Where(i => images.ContainsKey(i) && platform.Accepts(Config(i).Platform)).OrderBy(i => platform.Rank(Config(i).Platform)).FirstOrDefault();
            if (id.IsEmpty) return;
            names[key] = known with { Image = id };
            WriteState();
        }
    }

    // Images of layers that are held, and the index that has them all: one step, after which the names stand for it.
    private Digest CommitIndex(Hold hold, Descriptor root, IReadOnlyDictionary<Digest, byte[]> documents, IReadOnlyList<ImageReference> references, Platform preferred)
    {
        hold.MakeDurable();
        var index = documents[root.Digest];
        var (found, bestRank, best) = (new List<Digest>(), int.MaxValue, default(Digest));
        lock (gate)
        {
            foreach (var (digest, bytes) in documents) blobs.Put(bytes);
            foreach (var entry in Manifest.Parse(index).Manifests ?? [])
            {
                if (entry.IsAttestation) continue;
                var id = Manifest.Parse(documents[entry.Digest]).Config!.Digest;
                var parsed = ParseConfig(documents[id]);
                var diffIds = DiffIds(parsed.Config);
                foreach (var layer in diffIds)
                    if (!layers.Contains(layer)) throw ImageException.Failed($"layer {layer} of image {id} is missing");
                configs[id] = parsed;
                var outdated = images.TryGetValue(id, out var known) && known.Manifest != entry.Digest ? known.Manifest : default;
                images[id] = (known ?? new StoredImage(diffIds, default, null, default)) with { Manifest = entry.Digest, LastTagTime = options.Time.GetUtcNow() };
                if (!outdated.IsEmpty) RemoveDocument(outdated);
                found.Add(id);
                if (preferred.Rank(parsed.Platform) is var rank && (best.IsEmpty || (rank >= 0 && rank < bestRank))) (best, bestRank) = (id, rank < 0 ? int.MaxValue : rank);
            }
            var before = Indexes();
            var named = new NamedIndex(root.MediaType!, root.Digest, index.Length, [.. found.Distinct()], [.. documents.Keys.Where(d => d != root.Digest && !found.Contains(d))]);
            foreach (var name in references) names[name.ToString()] = new Name(name, best, named);
            WriteState();
            RemoveUnused(before);
        }
        foreach (var name in references) Tell("tag", best, name.FamiliarString);
        return best;
    }

    // Unless it is a part of what some name stands for.
    private void RemoveDocument(Digest digest)
    {
        if (!Indexes().Contains(digest)) blobs.Remove(digest);
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

    // By a name, or by the index's own digest.
    private NamedIndex? IndexOf(string nameOrId)
    {
        if (TryParseId(nameOrId, out var id)) return images.ContainsKey(id) ? null : names.Values.FirstOrDefault(n => n.Index?.Digest == id).Index;
        return ImageReference.TryParse(nameOrId, out var reference) && names.TryGetValue(Key(reference).ToString(), out var name) ? name.Index : null;
    }

    private static bool TryParseId(string text, out Digest id)
    {
        id = default;
        return (ImageReference.IsIdentifier(text) && Digest.TryParseSha256Hex(text, out id)) || Digest.TryParse(text, out id);
    }

    private NamedIndex Join(Name? before, Digest id, byte[] bytes)
    {
        var digest = blobs.Put(bytes);
        var same = before is { } known && (known.Index?.Digest == digest || known.Reference.Digest == digest) ? known.Index?.Images ?? [known.Image] : [];
        return new NamedIndex(Manifest.Parse(bytes).MediaType ?? MediaTypes.OciIndex, digest, bytes.Length, [.. same.Where(i => i != id && images.ContainsKey(i)), id], before?.Index is { } kept && kept.Digest == digest ? kept.Documents : []);
    }

    private NamedIndex? ReadIndex(StoreState state, string name) =>
        state.Indexes is not null && state.Indexes.TryGetValue(name, out var record) && Digest.TryParse(record.Digest, out var digest) && blobs.Contains(digest)
            ? new NamedIndex(record.MediaType, digest, record.SizeBytes, [.. record.Images.Select(Digest.Parse).Where(images.ContainsKey)],
                [.. (record.Documents ?? []).Select(Digest.Parse).Where(blobs.Contains)])
            : null;

    private HashSet<Digest> Indexes()
    {
        var all = new HashSet<Digest>();
        foreach (var name in names.Values)
        {
            if (name.Index is not { } index) continue;
            all.Add(index.Digest);
            all.UnionWith(index.Documents);
        }
        return all;
    }

    // After the state is on disk: the bytes of indexes that no name came by any more.
    private void RemoveUnused(HashSet<Digest> before)
    {
        if (before.Count == 0) return;
        before.ExceptWith(Indexes());
        if (before.Count == 0) return;
        // A manifest may be an image's that has lost its name only.
        foreach (var image in images.Values) before.Remove(image.Manifest);
        foreach (var digest in before)
            if (!images.ContainsKey(digest)) blobs.Remove(digest);
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
