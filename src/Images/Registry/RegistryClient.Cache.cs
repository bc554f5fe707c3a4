using System.Net;

namespace Berth.Images.Registry;

/// <summary>What a cache of another registry asks besides what a pull asks.</summary>
internal sealed partial class RegistryClient
{
    /// <summary>What a tag means now, without its manifest: registries that count pulls do not count this. Empty when the registry does not say.</summary>
    public async Task<Digest> ResolveAsync(string tag, CancellationToken cancellation)
    {
        using var response = await HeadAsync(InRepository($"manifests/{tag}"), ManifestTypes, "MANIFEST_UNKNOWN", cancellation).ConfigureAwait(false);
        return response.Headers.TryGetValues("Docker-Content-Digest", out var said) && Digest.TryParse(said.First(), out var digest) ? digest : default;
    }

    /// <summary>The length of a blob; null when the registry does not say.</summary>
    public async Task<long?> BlobLengthAsync(Digest digest, CancellationToken cancellation)
    {
        using var response = await HeadAsync(InRepository($"blobs/{digest}"), null, "BLOB_UNKNOWN", cancellation).ConfigureAwait(false);
        return response.Content.Headers.ContentLength;
    }

    /// <summary>The list of what is attached to a manifest, as the registry gives it, and its own words for how to filter it (OCI-Filters-Applied).</summary>
    public async Task<(byte[] Json, bool Filtered)> GetReferrersAsync(Digest subject, string artifactType, CancellationToken cancellation)
    {
        var filter = artifactType.Length > 0 ? $"?artifactType={Uri.EscapeDataString(artifactType)}" : "";
        using var response = await GetAsync(InRepository($"referrers/{subject}{filter}"), MediaTypes.OciIndex, null, cancellation).ConfigureAwait(false);
        return (await ReadAsync(response, Manifest.MaxBytes, $"referrers of {subject}", cancellation).ConfigureAwait(false), response.Headers.Contains("OCI-Filters-Applied"));
    }

    private async Task<HttpResponseMessage> HeadAsync(Uri url, string? accept, string unknown, CancellationToken cancellation)
    {
        for (var redirects = 0; ; redirects++)
        {
            var response = await SendAsync(HttpMethod.Head, url, r =>
            {
                if (accept is not null) r.Headers.TryAddWithoutValidation("Accept", accept);
            }, cancellation).ConfigureAwait(false);
            if (response.StatusCode == HttpStatusCode.OK) return response;
            using (response)
            {
                if ((int)response.StatusCode is >= 301 and <= 308 && response.Headers.Location is { } location && redirects < MaxRedirects)
                {
                    url = Redirected(url, location);
                    continue;
                }
                // There is no body that would say more.
                throw response.StatusCode == HttpStatusCode.NotFound ? RegistryException.Of(404, unknown, null) : RegistryException.From(response, []);
            }
        }
    }
}
