using System.Text.RegularExpressions;
using Berth.Images;

namespace Berth.Builder;

/// <summary>Something said about an image, to lie beside it: an in-toto statement's type and what it states, as JSON.</summary>
/// <param name="FileName">Where the result is files, and not an image.</param>
/// <param name="InlineOnly">Only beside images.</param>
internal sealed record Attestation(string PredicateType, byte[] Predicate, string FileName, bool InlineOnly);

/// <summary>Annotations by where they go; keys as BuildKit writes them: <c>annotation-manifest[linux/amd64].key</c>.</summary>
internal sealed partial class ImageAnnotations
{
    private readonly List<(string Where, Platform? Platform, string Key, string Value)> _all = [];

    /// <exception cref="BuildException">No such place, or no platform.</exception>
    public static ImageAnnotations Of(IReadOnlyDictionary<string, string> attributes)
    {
        var annotations = new ImageAnnotations();
        foreach (var (name, value) in attributes)
        {
            if (AttributeName().Match(name) is not { Success: true } match) continue;
            var where = match.Groups[1].Value is { Length: > 0 } given ? given : "manifest";
            if (where is not ("manifest" or "manifest-descriptor" or "index" or "index-descriptor")) throw new BuildException($"unrecognized annotation type {where}");
            try
            {
                annotations._all.Add((where, match.Groups[2].Success ? Platform.Parse(match.Groups[2].Value) : null, match.Groups[3].Value, value));
            }
            catch (ImageException e)
            {
                throw new BuildException(e.Message);
            }
        }
        return annotations;
    }

    public bool Any => _all.Count > 0;
    public bool AnyForIndex => _all.Exists(a => a.Where.StartsWith("index", StringComparison.Ordinal));

    /// <summary>Null for none.</summary>
    public Dictionary<string, string>? For(string where, Platform? platform)
    {
        Dictionary<string, string>? found = null;
        foreach (var (place, only, key, value) in _all)
            if (place == where && (only is null || only == platform)) (found ??= new(StringComparer.Ordinal))[key] = value;
        return found;
    }

    [GeneratedRegex(@"^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)$")]
    private static partial Regex AttributeName();
}

/// <summary>An image as it was put somewhere.</summary>
/// <param name="Root">The manifest, or the index of several and of what is said about them.</param>
/// <param name="Layers">Of the one image there is; null for several.</param>
internal sealed record AssembledImage(Descriptor Root, Digest Config, IReadOnlyList<Descriptor>? Layers);

/// <summary>From layers and configurations to manifests: puts them, children first, into a registry's repository or an archive.</summary>
internal sealed class ImageAssembly(IReadOnlyList<BuildOutcome> results, bool oci, ImageAnnotations annotations, IReadOnlyList<IReadOnlyList<Attestation>> attestations, IReadOnlyList<ImageReference> names,
    bool isMultiPlatform)
{
    private const string InToto = "application/vnd.in-toto+json";

    /// <param name="tag">What the whole is called in the target.</param>
    public async Task<AssembledImage> PutAsync(ContentTarget target, string? tag, CancellationToken cancellation)
    {
        var entries = new List<Descriptor>();
        IReadOnlyList<Descriptor> layers = [];
        Digest config = default;
        var isIndex = isMultiPlatform || attestations.Any(a => a.Count > 0);
        if (!isIndex && annotations.AnyForIndex) throw new BuildException("index annotations not supported for single platform export");
        Descriptor root = null!;
        var rootBytes = Array.Empty<byte>();
        var said = new List<Descriptor>();
        for (var i = 0; i < results.Count; i++)
        {
            var result = results[i];
            // All at once, each layer once; the order is the image's.
            var distinct = result.Layers.Distinct().ToList();
            var put = await Task.WhenAll(distinct.Select(d => target.AddLayerAsync(d, cancellation))).ConfigureAwait(false);
            layers = [.. result.Layers.Select(l => put[distinct.IndexOf(l)])];
            var configBytes = result.Config.ToBytes();
            var configBlob = ManifestText.Describe(MediaTypes.OciConfig, configBytes);
            config = configBlob.Digest;
            await target.AddBlobAsync(config, configBytes, cancellation).ConfigureAwait(false);
            var platform = result.Plan.Platform;
            rootBytes = ManifestText.Manifest(oci, configBlob, layers, annotations.For("manifest", platform));
            root = ManifestText.Describe(oci ? MediaTypes.OciManifest : MediaTypes.DockerManifest, rootBytes) with { Annotations = annotations.For("manifest-descriptor", platform) };
            await target.AddManifestAsync(root, rootBytes, isIndex ? null : tag, cancellation).ConfigureAwait(false);
            if (!isIndex) break;
            entries.Add(root with { Platform = new DescriptorPlatform { Architecture = platform.Architecture, Os = platform.Os, Variant = platform.Variant, OsVersion = platform.OsVersion } });
            if (attestations[i].Count > 0) said.Add(await PutAttestationsAsync(target, root, platform, attestations[i], cancellation).ConfigureAwait(false));
        }
        if (isIndex)
        {
            rootBytes = ManifestText.Index(oci, [.. entries, .. said], annotations.For("index", null));
            root = ManifestText.Describe(oci ? MediaTypes.OciIndex : MediaTypes.DockerManifestList, rootBytes) with { Annotations = annotations.For("index-descriptor", null) };
            await target.AddManifestAsync(root, rootBytes, tag, cancellation).ConfigureAwait(false);
        }
        return new AssembledImage(root, config, isMultiPlatform ? null : layers);
    }

    // As BuildKit lays them out: a manifest for a platform that does not exist, whose entry in the index says which one it is about.
    private async Task<Descriptor> PutAttestationsAsync(ContentTarget target, Descriptor about, Platform platform, IReadOnlyList<Attestation> attestations, CancellationToken cancellation)
    {
        var blobs = new List<Descriptor>();
        foreach (var attestation in attestations)
        {
            var statement = Statement(attestation, names.Count > 0 ? [.. names.Select(n => ($"pkg:docker/{Purl(n)}?platform={Uri.EscapeDataString(platform.ToString())}", about.Digest))] : [("_", about.Digest)]);
            var blob = ManifestText.Describe(InToto, statement) with { Annotations = new Dictionary<string, string> { ["in-toto.io/predicate-type"] = attestation.PredicateType } };
            await target.AddBlobAsync(blob.Digest, statement, cancellation).ConfigureAwait(false);
            blobs.Add(blob);
        }
        var config = ManifestText.Json(json =>
        {
            json.WriteStartObject();
            json.WriteString("architecture", "unknown");
            json.WriteString("os", "unknown");
            json.WriteStartObject("config");
            json.WriteEndObject();
            json.WriteStartObject("rootfs");
            json.WriteString("type", "layers");
            json.WriteStartArray("diff_ids");
            foreach (var blob in blobs) json.WriteStringValue(blob.DigestText);
            json.WriteEndArray();
            json.WriteEndObject();
            json.WriteEndObject();
        });
        var configBlob = ManifestText.Describe(MediaTypes.OciConfig, config);
        await target.AddBlobAsync(configBlob.Digest, config, cancellation).ConfigureAwait(false);
        var bytes = ManifestText.Manifest(oci: true, configBlob, blobs, null);
        var manifest = ManifestText.Describe(MediaTypes.OciManifest, bytes) with
        {
            Annotations = new Dictionary<string, string> { ["vnd.docker.reference.digest"] = about.DigestText!, ["vnd.docker.reference.type"] = "attestation-manifest" },
            Platform = new DescriptorPlatform { Architecture = "unknown", Os = "unknown" },
        };
        await target.AddManifestAsync(manifest, bytes, null, cancellation).ConfigureAwait(false);
        return manifest;
    }

    // package-url, type docker: Hub's own images without a namespace.
    private static string Purl(ImageReference name) => name.FamiliarName + (name.HasTag ? "@" + name.Tag : "");

    /// <summary>An in-toto statement.</summary>
    public static byte[] Statement(Attestation attestation, IReadOnlyList<(string Name, Digest Digest)> subjects, bool indented = false) => ManifestText.Json(json =>
    {
        json.WriteStartObject();
        json.WriteString("_type", "https://in-toto.io/Statement/v0.1");
        json.WriteString("predicateType", attestation.PredicateType);
        json.WriteStartArray("subject");
        foreach (var (name, digest) in subjects)
        {
            json.WriteStartObject();
            json.WriteString("name", name);
            json.WriteStartObject("digest");
            json.WriteString(digest.Algorithm, digest.Hex);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WritePropertyName("predicate");
        using (var predicate = System.Text.Json.JsonDocument.Parse(attestation.Predicate)) predicate.RootElement.WriteTo(json);
        json.WriteEndObject();
    }, indented);
}
