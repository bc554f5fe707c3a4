namespace Berth.Images.Registry;

/// <summary>What a cache of another registry asks besides what pull and push ask.</summary>
internal sealed partial class RegistryClient
{
    /// <summary>What a tag means now, without its manifest: registries that count pulls do not count this. Empty when the registry does not say.</summary>
    public async Task<Digest> ResolveAsync(string tag, CancellationToken cancellation)
    {
        using var response = await ReadAsync(HttpMethod.Head, InRepository($"manifests/{tag}"), ManifestTypes, null, cancellation).ConfigureAwait(false);
        return response.Headers.TryGetValues("Docker-Content-Digest", out var said) && Digest.TryParse(said.First(), out var digest) ? digest : default;
    }
}
