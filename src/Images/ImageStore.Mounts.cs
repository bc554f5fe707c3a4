namespace Berth.Images;

public sealed partial class ImageStore
{
    /// <summary>The layers of an image, topmost first, to be mounted read-only. They stay on disk until <see cref="ReleaseLayers"/>, even when the image is removed by force.</summary>
    /// <param name="holder">Whoever mounts them; the same one may ask again.</param>
    /// <exception cref="ImageException">NotFound.</exception>
    public IReadOnlyList<string> HoldLayers(string holder, Digest imageId)
    {
        StandsOn? standsOn;
        lock (gate)
        {
            if (!containers.TryGetValue(holder, out standsOn))
            {
                if (!images.TryGetValue(imageId, out var image)) throw NoSuchImage(imageId.ToString());
                containers[holder] = standsOn = new StandsOn(imageId, image.Layers);
            }
        }
        return Directories(standsOn.Layers);
    }

    /// <summary>The counterpart of <see cref="HoldLayers"/>; nothing when there is no such holder.</summary>
    public void ReleaseLayers(string holder)
    {
        List<string> doomed;
        lock (gate)
        {
            if (!containers.Remove(holder, out var standsOn) || images.ContainsKey(standsOn.Image)) return;
            doomed = DetachUnused(standsOn.Layers);
        }
        Discard(doomed);
    }
}
