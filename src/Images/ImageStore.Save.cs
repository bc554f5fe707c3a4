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
                    foreach (var (id, reference) in Meant(given))
                    {
                        var found = saved.Find(s => s.Image.Id == id);
                        if (found is null)
                        {
                            var image = MakeImage(id);
                            if (platform is { } wanted && !wanted.Accepts(image.Platform)) throw ImageException.Failed($"no suitable export target found for platform {wanted}");
                            foreach (var layer in image.DiffIds)
                                if (!hold.TryAdd(layer)) throw ImageException.Failed($"layer {layer} of image {id} is missing");
                            saved.Add(found = new SavedImage(image));
                        }
                        if (reference is { HasDigest: false } && !found.Names.Contains(reference)) found.Names.Add(reference);
                    }
            }
            var archive = new ImageArchive(layers, saved, hold);
            foreach (var image in saved) Tell("save", image.Image.Id);
            return archive;
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
