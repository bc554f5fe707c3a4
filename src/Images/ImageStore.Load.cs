using Berth.Images.Archives;
using Berth.Images.Layers;

namespace Berth.Images;

public sealed partial class ImageStore
{
    /// <summary>
    /// Loads a docker-archive or OCI layout, plain or compressed, in one pass over the stream: what looks like a layer is unpacked
    /// as it comes by, and what the manifests at the end don't name is thrown away again.
    /// </summary>
    /// <param name="progress">Called one at a time, from pool threads; must not block for long.</param>
    /// <exception cref="ImageException">The archive is damaged, or an entry of a layer is refused; images before the failing one stay loaded.</exception>
    public async Task LoadAsync(Stream archive, Platform? platform, bool quiet, Action<ImageProgress> progress, CancellationToken cancellation)
    {
        var sink = new ProgressSink(progress, options.Time);
        using var pipe = new BlockPipe();
        var filler = pipe.FillAsync(archive, null, cancellation);
        try
        {
            // A thread of its own: all below is blocking calls, for as long as the archive is.
            await Task.Factory.StartNew(() => Load(pipe.Reader, platform, quiet, sink, cancellation), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        }
        finally
        {
            pipe.Dispose();
            await filler.ConfigureAwait(false);
        }
    }

    private void Load(Stream source, Platform? platform, bool quiet, ProgressSink sink, CancellationToken cancellation)
    {
        using var hold = new Hold(this);
        using var archive = new Archive(layers, hold.TryAdd, quiet ? null : sink);
        try
        {
            using var plain = Compression.Open(source);
            archive.Read(plain, cancellation);
        }
        catch (InvalidDataException e)
        {
            throw ImageException.Failed(e.Message, e);
        }
        var nameless = new List<Digest>();
        var seen = new HashSet<Digest>();
        foreach (var found in ArchiveIndex.Images(archive, platform))
        {
            cancellation.ThrowIfCancellationRequested();
            var parsed = ParseConfig(found.Config);
            RequireLinux(parsed.Platform);
            if (platform is { } wanted && !wanted.Accepts(parsed.Platform)) continue;
            var diffIds = DiffIds(parsed.Config);
            if (diffIds.Count != found.Layers.Count)
                throw ImageException.Failed($"invalid manifest, layers length mismatch: expected {found.Layers.Count}, got {diffIds.Count}");
            for (var i = 0; i < diffIds.Count; i++)
            {
                if (hold.TryAdd(diffIds[i])) continue;
                var layer = archive.Layer(found.Layers[i]);
                if (layer.DiffId != diffIds[i]) throw ImageException.Failed($"invalid diffID for layer {i}: expected \"{diffIds[i]}\", got \"{layer.DiffId}\"");
                hold.Publish(layer);
            }
            foreach (var name in found.More ? [] : found.Names)
            {
                Digest previous;
                lock (gate)
                    if (!TryFindName(name, out previous)) previous = default;
                if (!previous.IsEmpty && previous != Digest.Sha256(found.Config) && !seen.Contains(previous))
                    sink.Text($"The image {name.FamiliarString} already exists, renaming the old one with ID {previous} to empty string\n");
            }
            var id = Commit(hold, found.Config, found.Names, manifest: found.Manifest, index: found.Names.Count > 0 ? found.Index : null);
            seen.Add(id);
            foreach (var name in found.More ? [] : found.Names) sink.Text($"Loaded image: {name.FamiliarString}\n");
            if (found.Names.Count == 0) nameless.Add(id);
            Tell("load", id);
        }
        foreach (var id in nameless) sink.Text($"Loaded image ID: {id}\n");
    }
}
