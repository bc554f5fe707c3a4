using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Api;
using Berth.Dockerfile;
using Berth.Images;
using Descriptor = Berth.Images.Descriptor;
using ImageConfig = Berth.Images.ImageConfig;

namespace Berth.Builder;

/// <summary>
/// Results for builds on other machines, in the shape of BuildKit's cache configuration (application/vnd.buildkit.cacheconfig.v0): a record's digest is the key of a step, which says
/// what was done to which files and is the same everywhere; its result is one layer. What Berth needs besides is in members of its own, which others pass over.
/// </summary>
internal sealed record CacheDocument
{
    public const string MediaType = "application/vnd.buildkit.cacheconfig.v0";

    /// <summary>Largest that is read, and most records of one.</summary>
    public const int MaxRecords = 100_000;

    [JsonPropertyName("layers")] public IReadOnlyList<CacheLayer>? Layers { get; init; }
    [JsonPropertyName("records")] public IReadOnlyList<CacheEntry>? Records { get; init; }

    /// <summary>Directories of RUN --mount=type=cache.</summary>
    [JsonPropertyName("berth.mounts")] public IReadOnlyList<CacheMountEntry>? Mounts { get; init; }
}

internal sealed record CacheLayer
{
    /// <summary>Empty in an image's own configuration, which is older than its blobs: found by diff id.</summary>
    [JsonPropertyName("blob")] public string? Blob { get; init; }
    [JsonPropertyName("parent")] public int Parent { get; init; } = -1;
    [JsonPropertyName("annotations")] public CacheLayerAnnotations? Annotations { get; init; }
}

internal sealed record CacheLayerAnnotations
{
    [JsonPropertyName("mediaType")] public string? MediaType { get; init; }
    [JsonPropertyName("diffID")] public string? DiffId { get; init; }
    [JsonPropertyName("size")] public long SizeBytes { get; init; }
}

internal sealed record CacheEntry
{
    [JsonPropertyName("digest")] public string? Digest { get; init; }

    /// <summary>None: the step changed nothing.</summary>
    [JsonPropertyName("results")] public IReadOnlyList<CacheEntryResult>? Results { get; init; }
    [JsonPropertyName("berth.definition")] public string? Definition { get; init; }
    [JsonPropertyName("berth.description")] public string? Description { get; init; }
    [JsonPropertyName("berth.below")] public string? Below { get; init; }
}

internal sealed record CacheEntryResult
{
    [JsonPropertyName("layer")] public int Layer { get; init; }
    [JsonPropertyName("createdAt")] public DateTimeOffset CreatedAt { get; init; }
}

internal sealed record CacheMountEntry
{
    /// <summary>Of the directory: a hash of its id and owner.</summary>
    [JsonPropertyName("name")] public string? Name { get; init; }

    /// <summary>For people.</summary>
    [JsonPropertyName("id")] public string? Id { get; init; }
    [JsonPropertyName("layer")] public int Layer { get; init; }
}

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(CacheDocument))]
internal sealed partial class RemoteCacheJson : JsonSerializerContext;

/// <summary>Results of elsewhere, by key: what <c>--cache-from</c> names. A layer is fetched when a step needs it.</summary>
internal sealed class CacheImports : IDisposable
{
    private readonly List<ContentSource> _sources = [];
    private readonly Dictionary<string, (CacheRecord Record, Digest Layer, Descriptor? Blob, ContentSource Source)> _records = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (Digest Layer, Descriptor Blob, ContentSource Source)> _mounts = new(StringComparer.Ordinal);
    private readonly ImageStore.LayerSession _session;

    private CacheImports(ImageStore.LayerSession session) => _session = session;

    /// <summary>Reads what there is. A place that cannot be read is told and passed over: a build without cache is slower, not wrong.</summary>
    public static async Task<CacheImports> LoadAsync(BuildRequest request, ImageStore.LayerSession session, IBuildProgress progress, CancellationToken cancellation)
    {
        var imports = new CacheImports(session);
        foreach (var location in request.CacheFrom)
        {
            var step = new ExportStep { Title = $"importing cache manifest from {(location["ref"].Length > 0 ? location["ref"] : location.Type)}" };
            progress.Started(step);
            try
            {
                if (location.Type is not ("registry" or "inline" or "local")) throw new BuildException($"unknown cache importer: {Berth.Api.Go.GoText.Quote(location.Type)} (registry and local are what is known here)");
                await imports.ReadAsync(request, location, cancellation).ConfigureAwait(false);
                progress.Ended(step, null);
            }
            catch (Exception e) when (e is ImageException or BuildException or JsonException or IOException)
            {
                progress.Ended(step, e);
            }
        }
        return imports;
    }

    private async Task ReadAsync(BuildRequest request, CacheLocation location, CancellationToken cancellation)
    {
        if (location.Type == "local")
        {
            if (location["digest"].Length == 0) throw new BuildException("local cache importer requires explicit digest");
            if (location["src"].Length == 0) throw new BuildException("local cache importer requires src");
            var client = request.Sources.OpenContent("local:" + location["src"]) ?? throw new BuildException("local cache importer requires session");
            var local = _session.OpenSource(client.OpenAsync);
            _sources.Add(local);
            var cached = Manifest.Parse(await local.GetManifestAsync(location["digest"], cancellation).ConfigureAwait(false));
            if ((cached.Config ?? cached.Manifests?.FirstOrDefault(e => e.MediaType == CacheDocument.MediaType)) is { MediaType: CacheDocument.MediaType } document)
                Take(await local.GetBlobAsync(document.Digest, cancellation).ConfigureAwait(false), cached.Layers ?? cached.Manifests ?? [], null, local);
            return;
        }
        if (location["ref"].Length == 0) throw new BuildException("missing ref");
        var name = ImageReference.Parse(location["ref"]).WithDefaultTag();
        var source = await _session.OpenSourceAsync(name, await request.Sources.GetCredentialsAsync(name, push: false, cancellation).ConfigureAwait(false), _ => { }, cancellation).ConfigureAwait(false);
        _sources.Add(source);
        var manifest = Manifest.Parse(await source.GetManifestAsync(name.HasDigest ? name.Digest.ToString() : name.Tag!, cancellation).ConfigureAwait(false), name);
        if (manifest.Manifests is { } entries)
        {
            // Older BuildKits put the blobs of a cache into an index; of an image for several platforms each may have brought its own.
            if (entries.FirstOrDefault(e => e.MediaType == CacheDocument.MediaType) is { } config)
            {
                Take(await source.GetBlobAsync(config.Digest, cancellation).ConfigureAwait(false), [.. entries], null, source);
                return;
            }
            foreach (var entry in entries)
                if (!entry.IsAttestation) await TakeImageAsync(Manifest.Parse(await source.GetManifestAsync(entry.DigestText!, cancellation).ConfigureAwait(false)), source, cancellation).ConfigureAwait(false);
            return;
        }
        if (manifest.Config!.MediaType == CacheDocument.MediaType) Take(await source.GetBlobAsync(manifest.Config.Digest, cancellation).ConfigureAwait(false), manifest.Layers ?? [], null, source);
        else await TakeImageAsync(manifest, source, cancellation).ConfigureAwait(false);
    }

    private async Task TakeImageAsync(Manifest manifest, ContentSource source, CancellationToken cancellation)
    {
        var config = ImageConfig.Parse(await source.GetBlobAsync(manifest.Config!.Digest, cancellation).ConfigureAwait(false));
        if (config.InlineCache is { } document) Take(document, manifest.Layers ?? [], config.RootFs?.DiffIds ?? [], source);
    }

    private void Take(byte[] json, IReadOnlyList<Descriptor> blobs, IReadOnlyList<string>? diffIds, ContentSource source)
    {
        var document = JsonSerializer.Deserialize(json, RemoteCacheJson.Default.CacheDocument) ?? throw new JsonException("null");
        if (document.Records?.Count > CacheDocument.MaxRecords) throw new BuildException($"the cache has more than {CacheDocument.MaxRecords} records");
        var layers = document.Layers ?? [];
        foreach (var entry in document.Records ?? [])
        {
            // What BuildKit wrote has keys that no step of ours has, and nothing of ours in it.
            if (entry.Digest is not { } digest || entry.Definition is null || !digest.StartsWith("sha256:", StringComparison.Ordinal)) continue;
            var key = digest["sha256:".Length..];
            var record = new CacheRecord { Key = key, Definition = entry.Definition, Description = entry.Description ?? "", Below = entry.Below ?? "" };
            if (entry.Results is not [var result, ..]) _records.TryAdd(key, (record, default, null, source));
            else if (Find(result.Layer) is { } found) _records.TryAdd(key, (record with { Layer = found.DiffId.ToString(), Created = result.CreatedAt }, found.DiffId, found.Blob, source));
        }
        foreach (var mount in document.Mounts ?? [])
            if (mount.Name is { } name && Find(mount.Layer) is { } found) _mounts.TryAdd(name, (found.DiffId, found.Blob, source));

        (Digest DiffId, Descriptor Blob)? Find(int index)
        {
            if (index < 0 || index >= layers.Count || !Digest.TryParse(layers[index].Annotations?.DiffId, out var diffId)) return null;
            var blob = layers[index].Blob is { Length: > 0 } text ? blobs.FirstOrDefault(b => b.DigestText == text) : null;
            for (var i = 0; blob is null && diffIds is not null && i < diffIds.Count && i < blobs.Count; i++)
                if (diffIds[i] == diffId.ToString()) blob = blobs[i];
            return blob is null ? null : (diffId, blob);
        }
    }

    /// <summary>The record of a step, with its layer fetched and held; null when nobody has it.</summary>
    public async Task<CacheRecord?> FindAsync(string key, CancellationToken cancellation)
    {
        if (!_records.TryGetValue(key, out var found)) return null;
        if (found.Blob is null) return found.Record;
        try
        {
            await found.Source.FetchLayerAsync(found.Layer, found.Blob, cancellation).ConfigureAwait(false);
            return found.Record with { SizeBytes = _session.SizeOf(found.Layer) };
        }
        catch (ImageException)
        {
            return null; // it may have been swept there since: the step is done here
        }
    }

    /// <summary>A directory with the files that a cache mount begins with; null: none.</summary>
    /// <param name="name">Of the mount's directory.</param>
    public async Task<string?> FindMountAsync(string name, CancellationToken cancellation)
    {
        if (!_mounts.TryGetValue(name, out var found)) return null;
        try
        {
            await found.Source.FetchLayerAsync(found.Layer, found.Blob, cancellation).ConfigureAwait(false);
            return _session.Directories([found.Layer], mountPoints: false)[0];
        }
        catch (ImageException)
        {
            return null;
        }
    }

    public void Dispose()
    {
        foreach (var source in _sources) source.Dispose();
    }
}

/// <summary>Puts the results of a build where others find them: what <c>--cache-to</c> names.</summary>
internal sealed class CacheExports(BuildRequest request, IReadOnlyList<BuildOutcome> results, BuildCache cache, CacheMounts mounts, IBuildProgress progress)
{
    private ImageStore.LayerSession Session => results[0].Session;

    /// <summary>For the client: cache.manifest.</summary>
    public Dictionary<string, string> Metadata { get; } = new(StringComparer.Ordinal);

    /// <summary>An image is to say in its own configuration how its layers were made.</summary>
    public static bool IsInline(BuildRequest request) =>
        request.CacheTo.Any(c => c.Type == "inline") || (request.Arguments.TryGetValue("BUILDKIT_INLINE_CACHE", out var text) && text is "1" or "true");

    /// <exception cref="BuildException">There is no such place.</exception>
    public static void Check(string type)
    {
        if (type is not ("registry" or "local" or "inline")) throw new BuildException($"unknown cache exporter: {Berth.Api.Go.GoText.Quote(type)} (registry, local and inline are what is known here)");
    }

    /// <summary>For an image's configuration: the steps whose layers it has.</summary>
    public static byte[] Inline(BuildOutcome result, BuildCache cache)
    {
        var layers = new List<Digest>();
        var records = Records([result], cache, all: false);
        var entries = Entries(records, layers);
        return JsonSerializer.SerializeToUtf8Bytes(new CacheDocument { Layers = [.. layers.Select(l => new CacheLayer { Annotations = new CacheLayerAnnotations { DiffId = l.ToString() } })], Records = entries }, RemoteCacheJson.Default.CacheDocument);
    }

    public async Task ExportAsync(CacheLocation location, CancellationToken cancellation)
    {
        if (location.Type == "inline") return; // it is in the image
        var step = new ExportStep { Title = location.Type == "local" ? "exporting cache to client directory" : "exporting cache to registry" };
        progress.Started(step);
        try
        {
            Check(location.Type);
            await PushAsync(location, step, cancellation).ConfigureAwait(false);
            progress.Ended(step, null);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            var failure = e is BuildException ? e : new BuildException(e.Message, inner: e);
            progress.Ended(step, failure);
            if (location["ignore-error"] is "true" or "1") return;
            if (failure == e) throw;
            throw failure;
        }
    }

    private async Task PushAsync(CacheLocation location, BuildStep step, CancellationToken cancellation)
    {
        var all = location["mode"] switch
        {
            "" or "min" => false,
            "max" => true,
            var other => throw new BuildException($"unsupported cache export mode: {other}"),
        };
        ImageReference? name = null;
        if (location.Type == "registry")
        {
            if (location["ref"].Length == 0) throw new BuildException("missing ref");
            name = ImageReference.Parse(location["ref"]).WithDefaultTag();
        }
        else if (location["dest"].Length == 0) throw new BuildException("local cache exporter requires dest");
        var layers = new List<Digest>();
        var entries = Entries(Records(results, cache, all), layers);
        var kept = await MountsAsync(location["mounts"], layers, step, cancellation).ConfigureAwait(false);
        if (layers.Count == 0)
        {
            progress.Pulling(step, new JsonMessage { Id = "skipping cache export for empty result", Status = "done" });
            return;
        }
        var form = Exporter.Form(new BuildOutput("registry", location.Attributes));
        using var repository = name is not null
            ? await Session.OpenRepositoryAsync(name, form, await request.Sources.GetCredentialsAsync(name, push: true, cancellation).ConfigureAwait(false), _ => { }, cancellation).ConfigureAwait(false)
            : Session.OpenTarget(form, (request.Sources.OpenContent("local:" + location["dest"]) ?? throw new BuildException("local cache exporter requires session")).WriteAsync);
        var blobs = await Task.WhenAll(layers.Select(l => repository.AddLayerAsync(l, cancellation))).ConfigureAwait(false);
        foreach (var blob in blobs) progress.Pulling(step, new JsonMessage { Id = "writing layer " + blob.DigestText, Status = "done" });
        var document = JsonSerializer.SerializeToUtf8Bytes(new CacheDocument
        {
            Layers = [.. blobs.Select((b, i) => new CacheLayer { Blob = b.DigestText, Annotations = new CacheLayerAnnotations { MediaType = b.MediaType, DiffId = layers[i].ToString(), SizeBytes = b.SizeBytes } })],
            Records = entries, Mounts = kept.Count > 0 ? kept : null,
        }, RemoteCacheJson.Default.CacheDocument);
        var config = ManifestText.Describe(CacheDocument.MediaType, document);
        await repository.AddBlobAsync(config.Digest, document, cancellation).ConfigureAwait(false);
        progress.Pulling(step, new JsonMessage { Id = "writing config " + config.DigestText, Status = "done" });
        var bytes = ManifestText.Manifest(oci: true, config, blobs, null);
        var manifest = ManifestText.Describe(MediaTypes.OciManifest, bytes);
        await repository.AddManifestAsync(manifest, bytes, name?.Tag, cancellation).ConfigureAwait(false);
        // The client of a local one writes it into the directory's index.
        Metadata["cache.manifest"] = System.Text.Encoding.UTF8.GetString(ManifestText.Text(manifest));
        progress.Pulling(step, new JsonMessage { Id = "writing cache image manifest " + manifest.DigestText, Status = "done" });
    }

    // min: what made the layers of the result; max: every step of the build.
    private static List<CacheRecord> Records(IReadOnlyList<BuildOutcome> results, BuildCache cache, bool all)
    {
        var records = new List<CacheRecord>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var result in results)
        {
            HashSet<BuildStep> chain = new(ReferenceEqualityComparer.Instance);
            for (var step = result.Plan.Root; chain.Add(step) && step.Inputs.Count > 0;) step = step.Inputs[0];
            foreach (var (step, key) in result.StepKeys)
                if ((all || chain.Contains(step)) && cache.Peek(key) is { } record && seen.Add(key)) records.Add(record);
        }
        records.Sort(static (a, b) => string.CompareOrdinal(a.Key, b.Key));
        return records;
    }

    private static List<CacheEntry> Entries(List<CacheRecord> records, List<Digest> layers)
    {
        var entries = new List<CacheEntry>();
        foreach (var record in records)
        {
            IReadOnlyList<CacheEntryResult>? made = null;
            if (Digest.TryParse(record.Layer, out var layer))
            {
                if (!layers.Contains(layer)) layers.Add(layer);
                made = [new CacheEntryResult { Layer = layers.IndexOf(layer), CreatedAt = record.Created }];
            }
            entries.Add(new CacheEntry { Digest = "sha256:" + record.Key, Results = made, Definition = record.Definition, Description = record.Description, Below = record.Below });
        }
        return entries;
    }

    // "true": those of all commands; else ids, separated by semicolons.
    private async Task<List<CacheMountEntry>> MountsAsync(string which, List<Digest> layers, BuildStep step, CancellationToken cancellation)
    {
        var kept = new List<CacheMountEntry>();
        if (which is "" or "false" or "0") return kept;
        var ids = which is "true" or "1" ? null : which.Split(';');
        foreach (var mount in results.SelectMany(r => r.Plan.Steps).OfType<RunStep>().SelectMany(r => r.Mounts))
        {
            if (mount.Mount.Type != RunMountType.Cache || mount.From is not null) continue;
            var id = CacheMounts.IdOf(mount.Mount);
            var name = CacheMounts.NameOf(mount.Mount, "");
            if ((ids is not null && !ids.Contains(id)) || mounts.Find(mount.Mount) is not { } directory || kept.Exists(k => k.Name == name)) continue;
            var layer = await Session.AddTreeAsync(directory, cancellation).ConfigureAwait(false);
            if (!layers.Contains(layer)) layers.Add(layer);
            kept.Add(new CacheMountEntry { Name = name, Id = id, Layer = layers.IndexOf(layer) });
            progress.Pulling(step, new JsonMessage { Id = "cache mount " + id, Status = "done" });
        }
        return kept;
    }
}
