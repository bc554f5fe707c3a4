namespace Berth.Images;

public sealed partial class ImageStore
{
    /// <summary>
    /// Opens images for an archive as docker save writes it; see <see cref="ImageArchive"/>. A repository without a tag means all its tags. The images' layers stay on disk until
    /// the archive is disposed of.
    /// </summary>
    /// <exception cref="ImageException">NotFound in Docker's words; System for what is no name, for a platform that an image is not for, and for a layer that is damaged.</exception>
    public ImageArchive OpenArchive(IReadOnlyList<string> nameOrIds, Platform? platform)
    {
        var hold = new Hold(this);
        try
        {
            var saved = new List<SavedImage>();
            lock (gate)
            {
                foreach (var given in nameOrIds)
                    foreach (var (meant, reference) in Meant(given))
                    {
                        var id = meant;
                        var index = reference is null ? null : names[Key(reference).ToString()].Index;
                        if (platform is { } wanted)
                        {
                            id = (index?.Images ?? [id]).Where(i => wanted.Accepts(Config(i).Platform)).OrderBy(i => wanted.Rank(Config(i).Platform)).FirstOrDefault();
                            if (id.IsEmpty) throw ImageException.Failed($"no suitable export target found for platform {wanted}");
                            index = null;
                        }
                        var found = Take(id);
                        if (index is { Images.Count: > 1 }) found.Platforms = [.. index.Images.Where(i => i != id).Select(Take)];
                        if (reference is { HasDigest: false } && !found.Names.Contains(reference)) found.Names.Add(reference);
                    }
            }
            var archive = new ImageArchive(layers, saved, hold);
            foreach (var image in saved) Tell("save", image.Image.Id);
            return archive;

            SavedImage Take(Digest id)
            {
                if (saved.Find(s => s.Image.Id == id) is { } there) return there;
                var image = MakeImage(id);
                foreach (var layer in image.DiffIds)
                    if (!hold.TryAdd(layer)) throw ImageException.Failed($"layer {layer} of image {id} is missing");
                var taken = new SavedImage(image);
                saved.Add(taken);
                return taken;
            }
        }
        catch
        {
            hold.Dispose();
            throw;
        }
    }

    // Which images, and by which names, docker save takes a word for.
    private List<(Digest Id, ImageReference? Reference)> Meant(string given)
    {
        if (ImageReference.IsIdentifier(given) && Digest.TryParseSha256Hex(given, out var id) || Digest.TryParse(given, out id))
            return images.ContainsKey(id) ? [(id, null)] : throw NoSuchImage(id.ToString());
        ImageReference reference;
        try
        {
            reference = ImageReference.Parse(given);
        }
        catch (ImageException e)
        {
            throw ImageException.Failed(e.Message, e); // 500, as from Docker
        }
        if (reference.FamiliarName != "sha256" && !reference.IsNameOnly)
            return TryFindName(reference, out id) ? [(id, reference)] : throw ImageException.NotFound("reference does not exist");
        var all = reference.FamiliarName == "sha256" ? [] : names.Values.Where(n => n.Reference.Name == reference.Name).Select(n => (n.Image, (ImageReference?)n.Reference)).ToList();
        if (all.Count > 0) return all;
        return TryFindPrefix(given, out id) ? [(id, null)] : throw NoSuchImage(given);
    }
}
