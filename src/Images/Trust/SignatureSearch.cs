using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Berth.Images.Registry;

namespace Berth.Images.Trust;

/// <summary>
/// Looks for a good signature of a manifest in its repository: among its referrers (distribution-spec 1.1), where a registry has no such list in the index that stands in for it
/// (tag <c>sha256-…</c>), and for cosign under its own tag (<c>sha256-….sig</c>).
/// </summary>
internal sealed class SignatureSearch(RegistryClient registry, TrustPolicy policy, TimeProvider time)
{
    /// <summary>Signatures of one manifest that are looked at, and layers of one of them: anybody who may push may add some.</summary>
    private const int MaxSignatures = 64, MaxLayers = 16;

    private readonly List<string> problems = [];

    /// <summary>Returns when the manifest, by one of its digests, has a signature that the policy accepts.</summary>
    /// <param name="digests">Of the index and of the manifest chosen from it: either may be what was signed.</param>
    /// <exception cref="ImageException">Forbidden: it has none. System: a key cannot be read.</exception>
    public async Task RequireAsync(ImageReference name, IReadOnlyList<Digest> digests, CancellationToken cancellation)
    {
        var keys = new List<PublicKey>();
        var certificates = new X509Certificate2Collection();
        try
        {
            foreach (var file in policy.Files)
            {
                if (policy.Kind == SignatureKind.Cosign) keys.Add(PublicKey.Read(file));
                else Import(certificates, file);
            }
            foreach (var digest in digests.Distinct())
                if (await HasGoodAsync(digest, keys, certificates, cancellation).ConfigureAwait(false)) return;
        }
        finally
        {
            foreach (var key in keys) key.Dispose();
            foreach (var certificate in certificates) certificate.Dispose();
        }
        var reason = problems.Count == 0 ? "it has no such signature" : string.Join("; ", problems.Distinct().Take(3));
        throw new ImageException(ImageErrorKind.Forbidden, $"image {name.FamiliarString} ({digests[0]}) is not trusted: the policy for {policy.Scope} asks for a {(policy.Kind == SignatureKind.Cosign ? "cosign" : "notation")} signature, and {reason}");
    }

    private static void Import(X509Certificate2Collection certificates, string file)
    {
        var before = certificates.Count;
        try
        {
            certificates.ImportFromPem(PemFile.Read(file));
        }
        catch (CryptographicException e)
        {
            throw ImageException.Failed($"{file} is no certificate in PEM: {e.Message}", e);
        }
        if (certificates.Count == before) throw ImageException.Failed($"{file} holds no certificate in PEM");
    }

    private async Task<bool> HasGoodAsync(Digest digest, List<PublicKey> keys, X509Certificate2Collection certificates, CancellationToken cancellation)
    {
        var type = policy.Kind == SignatureKind.Cosign ? CosignSignature.ArtifactType : NotationSignature.ArtifactType;
        var tag = $"{digest.Algorithm}-{digest.Hex}";
        var references = await registry.GetReferrersAsync(digest, type, cancellation).ConfigureAwait(false)
            ?? (await TryManifestAsync(tag, cancellation).ConfigureAwait(false))?.Manifests?.Where(m => m.ArtifactType is null || m.ArtifactType == type).ToList() ?? [];
        foreach (var reference in references.Take(MaxSignatures))
            if (Digest.TryParse(reference.DigestText, out var signature) && await IsGoodAsync(await TryManifestAsync(signature.ToString(), cancellation).ConfigureAwait(false), digest, keys, certificates, cancellation).ConfigureAwait(false))
                return true;
        return policy.Kind == SignatureKind.Cosign
            && await IsGoodAsync(await TryManifestAsync(tag + ".sig", cancellation).ConfigureAwait(false), digest, keys, certificates, cancellation).ConfigureAwait(false);
    }

    private async Task<bool> IsGoodAsync(Manifest? signature, Digest digest, List<PublicKey> keys, X509Certificate2Collection certificates, CancellationToken cancellation)
    {
        foreach (var layer in signature?.Layers?.Take(MaxLayers) ?? [])
        {
            if (layer.MediaType != (policy.Kind == SignatureKind.Cosign ? CosignSignature.PayloadType : NotationSignature.EnvelopeType) || !Digest.TryParse(layer.DigestText, out var blob)) continue;
            byte[] content;
            try
            {
                content = await registry.GetBlobAsync(blob, cancellation).ConfigureAwait(false);
            }
            catch (RegistryException e)
            {
                problems.Add($"a signature could not be read: {e.Message}");
                continue;
            }
            var problem = policy.Kind == SignatureKind.Cosign
                ? CosignSignature.Problem(content, layer.Annotations?.GetValueOrDefault(CosignSignature.SignatureAnnotation), digest, keys)
                : NotationSignature.Problem(content, digest, certificates, time.GetUtcNow());
            if (problem is null) return true;
            problems.Add(problem);
        }
        return false;
    }

    private async Task<Manifest?> TryManifestAsync(string tagOrDigest, CancellationToken cancellation)
    {
        try
        {
            return Manifest.Parse((await registry.GetManifestAsync(tagOrDigest, cancellation).ConfigureAwait(false)).Bytes);
        }
        catch (RegistryException e) when (e.Status == 404)
        {
            return null;
        }
        catch (ImageException e) when (e.Kind == ImageErrorKind.InvalidParameter)
        {
            problems.Add($"a signature's manifest is malformed: {e.Message}");
            return null;
        }
    }
}
