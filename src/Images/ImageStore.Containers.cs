using System.Text.Json;
using Berth.Images.Layers;
using Berth.Images.Storage;
using Berth.Linux;

namespace Berth.Images;

public sealed partial class ImageStore
{
    /// <summary>Most layers of one image: what overlay stacks (OVL_MAX_STACK is 500) and Docker allows.</summary>
    public const int MaxLayers = 127;

    private string OverlayDirectory(string containerId) => Path.Combine(containersDirectory, containerId, "overlay");

    /// <summary>
    /// Makes a container's own layer on an image. From here on the image's layers stay on disk until
    /// <see cref="RemoveWritableLayer"/>, even when the image itself is removed by force.
    /// </summary>
    /// <exception cref="ImageException">NotFound, when the image has gone meanwhile.</exception>
    public WritableLayer CreateWritableLayer(string containerId, Digest imageId)
    {
        var overlay = OverlayDirectory(containerId);
        var unfinished = overlay + ".new";
        StandsOn standsOn;
        lock (gate)
        {
            if (containers.ContainsKey(containerId)) throw ImageException.Conflict($"container {containerId} has a layer already");
            if (!images.TryGetValue(imageId, out var image)) throw NoSuchImage(imageId.ToString());
            if (image.Layers.Count > MaxLayers) throw ImageException.Failed($"image {imageId} has {image.Layers.Count} layers, more than {MaxLayers}");
            containers[containerId] = standsOn = new StandsOn(imageId, image.Layers);
        }
        try
        {
            FileTree.Remove(unfinished);
            const UnixFileMode ownerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
            Directory.CreateDirectory(Path.GetDirectoryName(overlay)!, ownerOnly);
            Directory.CreateDirectory(unfinished, ownerOnly);
            // The upper directory is the container's "/": 0755 root:root whatever the umask, as with Docker.
            MakeDirectory(Path.Combine(unfinished, "upper"), 0x1ED);
            MakeDirectory(Path.Combine(unfinished, "work"), 0x1C0);
            var record = new LowerRecord { Image = imageId.ToString(), Layers = [.. standsOn.Layers.Select(l => l.ToString())] };
            File.WriteAllBytes(Path.Combine(unfinished, "lower.json"), JsonSerializer.SerializeToUtf8Bytes(record, ImagesJson.Default.LowerRecord));
            Directory.Move(unfinished, overlay);
        }
        catch
        {
            lock (gate) containers.Remove(containerId);
            throw;
        }
        return TryGetWritableLayer(containerId, out var layer) ? layer : throw ImageException.Failed($"the layer of container {containerId} was removed while it was made");
    }

    /// <summary>The layer made before, for starting the container again.</summary>
    public bool TryGetWritableLayer(string containerId, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out WritableLayer? layer)
    {
        layer = null;
        StandsOn? standsOn;
        lock (gate)
            if (!containers.TryGetValue(containerId, out standsOn)) return false;
        var overlay = OverlayDirectory(containerId);
        layer = new WritableLayer(Path.Combine(overlay, "upper"), Path.Combine(overlay, "work"), [.. Directories(standsOn.Layers), MountPoints]);
        return true;
    }

    /// <summary>Removes a container's layer and whatever lies beneath it that nothing needs any more. Absence is fine.</summary>
    /// <exception cref="LinuxException">Something in it can't be removed: EBUSY a mount, EPERM an immutable file.</exception>
    public void RemoveWritableLayer(string containerId)
    {
        var overlay = OverlayDirectory(containerId);
        FileTree.Remove(overlay + ".new");
        FileTree.Remove(overlay);
        List<string> doomed;
        lock (gate)
        {
            if (!containers.Remove(containerId, out var standsOn)) return;
            if (images.ContainsKey(standsOn.Image)) return; // the usual case: its layers stay anyway
            doomed = DetachUnused(standsOn.Layers);
        }
        Discard(doomed);
    }

    /// <summary>A view of a container's files (its own layer over the image's) without mounting or running anything.</summary>
    /// <exception cref="ImageException">NotFound, when the container has no layer.</exception>
    public LayerFileReader OpenFiles(string containerId) =>
        TryGetWritableLayer(containerId, out var layer)
            ? new LayerFileReader([layer.UpperDirectory, .. layer.LowerDirectories])
            : throw ImageException.NotFound($"container {containerId} has no layer");

    /// <summary>
    /// The lowest layer of every container: the places where each has something mounted, for images that lack them, and the file by which programs know that they are in a container.
    /// Made here and not in the upper directory they are no change of the container's: neither diff nor commit shows them.
    /// </summary>
    public string MountPoints => mountPoints;

    /// <summary>The same for commands of builds, which are not to know that they are in a container.</summary>
    private string StepMountPoints => mountPoints + "-build";

    private void MakeMountPoints()
    {
        MakeMountPoints(mountPoints, ".dockerenv");
        MakeMountPoints(StepMountPoints);
    }

    private void MakeMountPoints(string path, params ReadOnlySpan<string> more)
    {
        if (Directory.Exists(path)) return;
        var unfinished = Path.Combine(temporaryDirectory, Path.GetRandomFileName());
        foreach (var directory in (ReadOnlySpan<string>)["", "dev", "dev/pts", "dev/shm", "etc", "proc", "sys"]) MakeDirectory(Path.Combine(unfinished, directory), 0x1ED);
        foreach (var name in (ReadOnlySpan<string>)["dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf", .. more])
        {
            var file = Path.Combine(unfinished, name);
            FileAt.MakeNode(null, file, Linux.Abi.FileKind.Regular, 0x1ED);
            FileAt.ChangeMode(null, file, 0x1ED);
        }
        FileAt.SymbolicLink("/proc/mounts", null, Path.Combine(unfinished, "etc/mtab"));
        Directory.Move(unfinished, path);
    }

    // Topmost first. A layer that occurs twice counts once, as the upper of the two: it hides whatever the lower one
    // would show, and overlay does not take a directory twice. Below one that hides all, nothing is needed.
    private List<string> Directories(IReadOnlyList<Digest> diffIds)
    {
        var directories = new List<string>();
        var seen = new HashSet<Digest>();
        for (var i = diffIds.Count - 1; i >= 0; i--)
        {
            if (seen.Add(diffIds[i])) directories.Add(layers.DiffDirectory(diffIds[i]));
            if (layers.TryGet(diffIds[i])?.HidesAllBelow == true) break;
        }
        return directories;
    }

    private static void MakeDirectory(string path, uint mode)
    {
        FileAt.MakeDirectory(null, path, mode);
        FileAt.ChangeMode(null, path, mode);
    }

    // At start: which containers stand on which layers, as their own directories say.
    private void ReadContainers()
    {
        foreach (var directory in Directory.EnumerateDirectories(containersDirectory))
        {
            var id = Path.GetFileName(directory);
            FileTree.Remove(OverlayDirectory(id) + ".new");
            if (DiskFile.TryRead(Path.Combine(directory, "overlay", "lower.json"), 1024 * 1024) is not { } bytes) continue;
            try
            {
                var record = JsonSerializer.Deserialize(bytes, ImagesJson.Default.LowerRecord)!;
                containers[id] = new StandsOn(Digest.Parse(record.Image), [.. record.Layers.Select(Digest.Parse)]);
            }
            catch (Exception e) when (e is JsonException or ImageException)
            {
                ImagesLog.NotRemoved(options.Logger, directory, $"its lower.json is damaged: {e.Message}");
            }
        }
    }
}
