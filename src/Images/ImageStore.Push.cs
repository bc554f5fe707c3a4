using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Berth.Images.Registry;

namespace Berth.Images;

public sealed partial class ImageStore
{
    // Docker's three spaces, for its own manifests; see Manifest below.
    private static readonly JsonWriterOptions DockersManifest = new() { Indented = true, IndentSize = 3, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private static readonly JsonWriterOptions OciManifest = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private volatile SemaphoreSlim uploads;

    /// <summary>Pushes one tag, or all tags of the repository when the name has none. Where a name stands for several images that are here, its index is pushed with all of them.</summary>
    /// <param name="platform">Of what is called so, the image for this one, alone.</param>
    /// <param name="progress">Called one at a time, from pool threads; must not block for long.</param>
    /// <exception cref="ImageException">NotFound, before any progress, when the image is for another platform; System, in Docker's words.</exception>
    public async Task PushAsync(ImageReference name, Platform? platform, RegistryCredentials? credentials, Action<ImageProgress> progress, CancellationToken cancellation)
    {
        if (platform is not null) Get(name.FamiliarString, platform);
        var sink = new ProgressSink(progress, options.Time);
        sink.Message($"The push refers to repository [{name.Name}]");
        var tags = TagsToPush(name, platform);
        var speaksTls = new HashSet<string>();
        Exception? last = null;
        foreach (var endpoint in RegistryEndpoint.For(name.Domain, options.Registries, push: true))
        {
            if (endpoint.Api.Scheme == "http" && speaksTls.Contains(endpoint.Api.Authority)) continue;
            using var registry = new RegistryClient(transport, endpoint, name.Path, credentials, options, "pull,push") { AlsoRead = MountSources(name, tags) };
            try
            {
                await registry.ReachAsync(cancellation).ConfigureAwait(false);
                if (endpoint.Api.Scheme == "https") speaksTls.Add(endpoint.Api.Authority);
            }
            catch (RegistryUnreachableException e)
            {
                ImagesLog.NextWay(options.Logger, endpoint.Api, e.Message);
                last = e;
                continue;
            }
            try
            {
                foreach (var (tag, id, index) in tags)
                {
                    if (index is null) await PushOneAsync(registry, tag, id, sink, cancellation).ConfigureAwait(false);
                    else await PushIndexAsync(registry, tag, index, sink, cancellation).ConfigureAwait(false);
                }
            }
            catch (RegistryException e)
            {
                throw ImageException.Failed(e.Code == RegistryException.NoCredentialsCode ? "no basic auth credentials" : e.Message, e);
            }
            catch (Exception e) when (e is IOException or HttpRequestException)
            {
                throw ImageException.Failed(e.Message, e);
            }
            Tell("push", tags[0].Id, name.FamiliarName, name.FamiliarString);
            return;
        }
        throw ImageException.Failed(last?.Message ?? $"no endpoints found for {name.Name}", last);
    }

    // With the index, if it is to be pushed: with several of its images here, and all of them meant.
    private IReadOnlyList<(ImageReference Tag, Digest Id, NamedIndex? Index)> TagsToPush(ImageReference name, Platform? platform)
    {
        lock (gate)
        {
            var known = names.Values.Where(n => n.Reference.Name == name.Name).ToList();
            if (known.Count == 0) throw ImageException.Failed($"An image does not exist locally with the tag: {name.FamiliarName}");
            if (name.HasDigest) throw ImageException.Failed("cannot push a digest reference");
            if (!name.IsNameOnly) return TryFindName(name, out _) ? [Meant(name)] : throw ImageException.Failed($"tag does not exist: {name.FamiliarString}");
            var tags = known.Where(n => n.Reference.HasTag).Select(n => Meant(n.Reference)).ToList();
            return tags.Count > 0 ? tags : throw ImageException.Failed($"no tags to push for {name.FamiliarName}");
        }

        (ImageReference, Digest, NamedIndex?) Meant(ImageReference tag) =>
            (tag, FindFor(tag.FamiliarString, platform), platform is null && IndexOf(tag.FamiliarString) is { } index && (index.Images.Count > 1 || index.Documents.Count > 0) ? index : null);
    }

    // A token has to allow reading what is mounted. Few repositories: each makes the request for the token longer.
    private List<string> MountSources(ImageReference name, IReadOnlyList<(ImageReference Tag, Digest Id, NamedIndex? Index)> tags)
    {
        const int most = 8;
        List<Digest> diffIds;
        lock (gate) diffIds = [.. tags.SelectMany(t => t.Index?.Images ?? [t.Id]).SelectMany(id => images.TryGetValue(id, out var image) ? image.Layers : []).Distinct()];
        return [.. diffIds.SelectMany(known.Of).SelectMany(b => b.Repositories)
            .Where(r => r != name.Name && r.StartsWith(name.Domain + "/", StringComparison.Ordinal)).Distinct().Take(most).Select(r => r[(name.Domain.Length + 1)..])];
    }

    private async Task PushOneAsync(RegistryClient registry, ImageReference name, Digest id, ProgressSink sink, CancellationToken cancellation) =>
        Finish(name, await PushImageAsync(registry, name, id, ManifestIn(name, id), name.Tag, sink, cancellation).ConfigureAwait(false), id, null, sink);

    // An image may have another manifest in another index: the one it has under this name. Empty: the one it came with.
    private Digest ManifestIn(ImageReference name, Digest id)
    {
        lock (gate)
        {
            if (IndexOf(name.FamiliarString) is not { } index || blobs.TryRead(index.Digest) is not { } bytes) return default;
            return Parts(index, bytes).Find(p => p.Image == id) is { Image.IsEmpty: false } part ? part.Entry.Digest : default;
        }
    }

    private void Finish(ImageReference name, Descriptor pushed, Digest id, NamedIndex? index, ProgressSink sink)
    {
        var digest = pushed.Digest;
        sink.Message($"{name.Tag}: digest: {digest} size: {pushed.SizeBytes}");
        lock (gate)
        {
            // The tag may mean another image by now, and this one may have gone.
            var byDigest = name.NameOnly().WithDigest(digest);
            if (images.ContainsKey(id) && names.TryAdd(byDigest.ToString(), new Name(byDigest, id, index))) WriteState();
        }
        sink.Pushed(new PushedManifest(name.Tag!, digest, pushed.SizeBytes));
    }

    // Its images first, then what was said about them, then the index. It stays the one it was unless a layer lies in this registry in another form: then an image's manifest is
    // another one, and what was said about the old one is not said about it.
    private async Task PushIndexAsync(RegistryClient registry, ImageReference name, NamedIndex index, ProgressSink sink, CancellationToken cancellation)
    {
        List<IndexPart> parts;
        byte[] bytes;
        lock (gate)
        {
            bytes = blobs.TryRead(index.Digest) ?? throw ImageException.Failed($"the index {index.Digest} of {name.FamiliarString} is missing");
            parts = Parts(index, bytes);
        }
        var (entries, same, left) = (new List<Descriptor>(), new HashSet<Digest>(), 0);
        foreach (var part in parts.OrderBy(p => p.Entry.IsAttestation))
        {
            var entry = part.Entry;
            if (!part.Image.IsEmpty)
            {
                var pushed = await PushImageAsync(registry, name, part.Image, entry.Digest, null, sink, cancellation).ConfigureAwait(false);
                if (pushed.DigestText == entry.DigestText) same.Add(pushed.Digest);
                entries.Add(entry with { MediaType = pushed.MediaType, DigestText = pushed.DigestText, SizeBytes = pushed.SizeBytes });
            }
            else if (entry.IsAttestation ? same.Contains(part.About) && await PushAttestationAsync(registry, entry, cancellation).ConfigureAwait(false)
                : await registry.HasManifestAsync(entry.Digest, cancellation).ConfigureAwait(false)) entries.Add(entry);
            else left++;
        }
        var original = Manifest.Parse(bytes);
        // In the order in which they were.
        var unchanged = left == 0 && entries.All(e => original.Manifests!.Any(o => o.DigestText == e.DigestText));
        var content = unchanged ? bytes : ManifestText.Index(index.MediaType == MediaTypes.OciIndex, entries, original.Annotations);
        if (left > 0) sink.Message($"{left} of the {parts.Count} parts of {name.FamiliarString} are not here, and were left out");
        await PatientlyAsync(() => registry.PutManifestAsync(name.Tag!, content, index.MediaType, cancellation), cancellation).ConfigureAwait(false);
        var root = new Descriptor { MediaType = index.MediaType, DigestText = Digest.Sha256(content).ToString(), SizeBytes = content.Length };
        Digest main;
        lock (gate) main = TryFindName(name, out var meant) ? meant : index.Images[0];
        Finish(name, root, main, unchanged ? index : null, sink);
    }

    // False: it is not here.
    private async Task<bool> PushAttestationAsync(RegistryClient registry, Descriptor entry, CancellationToken cancellation)
    {
        if (blobs.TryRead(entry.Digest) is { } text && TryParseManifest(text) is { } manifest)
        {
            foreach (var part in (IEnumerable<Descriptor>)[manifest.Config!, .. manifest.Layers ?? []])
            {
                if (blobs.TryRead(part.Digest) is not { } content) return false;
                await PushBlobAsync(registry, part.Digest, content, cancellation).ConfigureAwait(false);
            }
            await PatientlyAsync(() => registry.PutManifestAsync(entry.DigestText!, text, entry.MediaType!, cancellation), cancellation).ConfigureAwait(false);
            return true;
        }
        return await registry.HasManifestAsync(entry.Digest, cancellation).ConfigureAwait(false);
    }

    // Its layers, its configuration and its manifest, under the tag or its digest alone.
    private async Task<Descriptor> PushImageAsync(RegistryClient registry, ImageReference name, Digest id, Digest manifestDigest, string? tag, ProgressSink sink, CancellationToken cancellation)
    {
        using var hold = new Hold(this);
        Image image;
        byte[]? original;
        lock (gate)
        {
            if (!images.TryGetValue(id, out var stored)) throw ImageException.Failed($"could not find image from tag {name.FamiliarString}: {NoSuchImage(id.ToString()).Message}");
            image = MakeImage(id);
            if (image.DiffIds.FirstOrDefault(d => !hold.TryAdd(d)) is { IsEmpty: false } missing) throw ImageException.Failed($"layer {missing} of image {id} is missing");
            if (manifestDigest.IsEmpty) manifestDigest = stored.Manifest;
            original = manifestDigest.IsEmpty ? null : blobs.TryRead(manifestDigest);
        }
        var cameWith = ParseOriginal(original, image);
        var oci = cameWith?.Config!.MediaType == MediaTypes.OciConfig;

        // The topmost first, as Docker.
        foreach (var diffId in image.DiffIds.Reverse()) sink.Update(diffId.ShortId, "Preparing");
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var sending = image.DiffIds.Reverse().Distinct().ToDictionary(d => d, d => PushLayerAsync(registry, name, d, Preferred(d), oci, sink, stop.Token));
        await AllOrFirstFailure(sending.Values, stop, cancellation).ConfigureAwait(false);
        var blobsThere = sending.ToDictionary(s => s.Key, s => s.Value.Result);

        await PushBlobAsync(registry, id, image.ConfigBytes, cancellation).ConfigureAwait(false);
        var layersThere = image.DiffIds.Select(d => blobsThere[d]).ToList();
        // The same layers in the same form: then it can be the same manifest, and keep its digest.
        var manifest = cameWith is not null && cameWith.Layers!.Select(l => l.DigestText).SequenceEqual(layersThere.Select(l => l.DigestText)) ? original!
            : oci && cameWith!.Annotations is { Count: > 0 } annotations ? ManifestText.Manifest(oci, cameWith.Config!, layersThere, annotations)
            : MakeManifest(oci, id, image.ConfigBytes.Length, layersThere);
        var type = oci ? MediaTypes.OciManifest : MediaTypes.DockerManifest;
        var digest = Digest.Sha256(manifest);
        await PatientlyAsync(() => registry.PutManifestAsync(tag ?? digest.ToString(), manifest, type, cancellation), cancellation).ConfigureAwait(false);
        return new Descriptor { MediaType = type, DigestText = digest.ToString(), SizeBytes = manifest.Length };

        Descriptor? Preferred(Digest diffId) =>
            cameWith?.Layers is { } parts && image.DiffIds.TakeWhile(d => d != diffId).Count() is var at && at < parts.Count ? parts[at] : null;
    }

    // Null when there is none, or none to go by.
    private static Manifest? ParseOriginal(byte[]? bytes, Image image)
    {
        if (bytes is null) return null;
        try
        {
            var manifest = Manifest.Parse(bytes);
            return manifest.Layers?.Count == image.DiffIds.Count && manifest.Config?.DigestText == image.Id.ToString() ? manifest : null;
        }
        catch (ImageException)
        {
            return null;
        }
    }

    private async Task<Descriptor> PushLayerAsync(RegistryClient registry, ImageReference name, Digest diffId, Descriptor? preferred, bool oci, ProgressSink sink, CancellationToken cancellation)
    {
        var slots = uploads; // the limit may change meanwhile: what was taken is given back where it was taken
        if (!slots.Wait(0, CancellationToken.None))
        {
            sink.Update(diffId.ShortId, "Waiting");
            await slots.WaitAsync(cancellation).ConfigureAwait(false);
        }
        try
        {
            return await new LayerUpload(registry, known, name.NameOnly(), diffId, OpenTar, anyCompression: oci, sink, options).RunAsync(preferred, cancellation).ConfigureAwait(false);
        }
        finally
        {
            slots.Release();
        }

        LayerSource OpenTar()
        {
            var tar = layers.OpenTar(diffId);
            return new LayerSource(tar, tar.TarBytes, layers.TryGet(diffId)?.SizeBytes ?? tar.TarBytes);
        }
    }

    private async Task PushBlobAsync(RegistryClient registry, Digest digest, ReadOnlyMemory<byte> content, CancellationToken cancellation) =>
        await PatientlyAsync(async () =>
        {
            if (await registry.FindBlobAsync(digest, cancellation).ConfigureAwait(false) is not null) return;
            var upload = await registry.StartUploadAsync(default, null, cancellation).ConfigureAwait(false);
            await registry.FinishUploadAsync(upload!, digest, content, cancellation).ConfigureAwait(false);
        }, cancellation).ConfigureAwait(false);

    private async Task PatientlyAsync(Func<Task> work, CancellationToken cancellation)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await work().ConfigureAwait(false);
                return;
            }
            catch (Exception e) when (!cancellation.IsCancellationRequested && LayerUpload.IsTransient(e) && attempt < LayerUpload.MaxAttempts)
            {
                await Task.Delay(LayerUpload.PauseAfter(e, attempt) * options.RetryUnit, options.Time, cancellation).ConfigureAwait(false);
            }
        }
    }

    // The first failure ends the others; it is the one to report, not their being ended.
    private static async Task AllOrFirstFailure(IReadOnlyCollection<Task> tasks, CancellationTokenSource stop, CancellationToken cancellation)
    {
        Exception? failure = null;
        await foreach (var done in Task.WhenEach(tasks).ConfigureAwait(false))
        {
            if (done.IsCompletedSuccessfully) continue;
            failure ??= done.Exception?.InnerException ?? new OperationCanceledException(cancellation);
            await stop.CancelAsync().ConfigureAwait(false);
        }
        if (failure is null) return;
        cancellation.ThrowIfCancellationRequested();
        System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
    }

    /// <summary>Written so that the same image is the same manifest, to the byte, wherever it is pushed from: Docker's kind as Docker writes it, OCI's without white space.</summary>
    private static byte[] MakeManifest(bool oci, Digest config, long configBytes, IReadOnlyList<Descriptor> layers)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, oci ? OciManifest : DockersManifest))
        {
            json.WriteStartObject();
            json.WriteNumber("schemaVersion", 2);
            json.WriteString("mediaType", oci ? MediaTypes.OciManifest : MediaTypes.DockerManifest);
            json.WritePropertyName("config");
            Write(json, oci ? MediaTypes.OciConfig : MediaTypes.DockerConfig, config.ToString(), configBytes);
            json.WriteStartArray("layers");
            foreach (var layer in layers) Write(json, LayerTypes.In(oci, layer.MediaType ?? ""), layer.DigestText!, layer.SizeBytes);
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return stream.ToArray();

        void Write(Utf8JsonWriter json, string type, string digest, long size)
        {
            json.WriteStartObject();
            json.WriteString("mediaType", type);
            if (!oci) json.WriteNumber("size", size);
            json.WriteString("digest", digest);
            if (oci) json.WriteNumber("size", size);
            json.WriteEndObject();
        }
    }

    // After a pull: in which form the layers lie where they came from.
    private void Remember(Digest id, Manifest manifest, ImageReference name)
    {
        if (!TryGet(id, out var image)) return;
        for (var i = 0; i < image.DiffIds.Count && i < manifest.Layers?.Count; i++) known.Add(image.DiffIds[i], manifest.Layers[i], name.Name);
    }
}
