using System.Net;
using System.Net.Http.Headers;

namespace Berth.Images.Registry;

// OCI distribution-spec, "Push".
internal sealed partial class RegistryClient
{
    /// <summary>Whether this way leads to a registry at all; asks nothing and answers no challenge.</summary>
    /// <exception cref="RegistryUnreachableException">It does not.</exception>
    public async Task ReachAsync(CancellationToken cancellation)
    {
        using var response = await SendOnceAsync(HttpMethod.Get, endpoint.Api, null, cancellation).ConfigureAwait(false);
    }

    /// <summary>How large the blob is in this repository; null when it is not there.</summary>
    public async Task<long?> FindBlobAsync(Digest digest, CancellationToken cancellation)
    {
        try
        {
            using var response = await ReadAsync(HttpMethod.Head, InRepository($"blobs/{digest}"), null, null, cancellation).ConfigureAwait(false);
            return response.Content.Headers.ContentLength;
        }
        catch (RegistryException e) when (e.Status == 404)
        {
            return null;
        }
    }

    /// <summary>Whether this repository has the manifest.</summary>
    public async Task<bool> HasManifestAsync(Digest digest, CancellationToken cancellation)
    {
        try
        {
            using var response = await ReadAsync(HttpMethod.Head, InRepository($"manifests/{digest}"), ManifestTypes, null, cancellation).ConfigureAwait(false);
            return true;
        }
        catch (RegistryException e) when (e.Status == 404)
        {
            return false;
        }
    }

    /// <summary>Begins an upload. With a blob to mount, the registry may find that it needs none: then null.</summary>
    /// <param name="mount">The digest of a blob that another repository of this registry has.</param>
    /// <param name="from">That repository.</param>
    public async Task<Uri?> StartUploadAsync(Digest mount, string? from, CancellationToken cancellation)
    {
        var url = InRepository(from is null ? "blobs/uploads/" : $"blobs/uploads/?mount={Uri.EscapeDataString(mount.ToString())}&from={Uri.EscapeDataString(from)}");
        using var response = await SendAsync(HttpMethod.Post, url, static r => r.Content = new ByteArrayContent([]), cancellation).ConfigureAwait(false);
        return response.StatusCode switch
        {
            HttpStatusCode.Created when from is not null => null,
            HttpStatusCode.Accepted => LocationOf(HttpMethod.Post, url, response),
            _ => throw await ErrorAsync(response, cancellation).ConfigureAwait(false),
        };
    }

    /// <summary>Sends more of a blob; returns where to go on.</summary>
    /// <param name="content">Made anew for each sending.</param>
    /// <param name="cancellation">Ends it; how long it may take is for the content to judge.</param>
    public async Task<Uri> SendUploadAsync(Uri upload, Func<HttpContent> content, CancellationToken cancellation)
    {
        using var response = await SendAsync(HttpMethod.Patch, upload, r =>
        {
            r.Content = content();
            r.Content.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        }, cancellation, Timeout.InfiniteTimeSpan).ConfigureAwait(false);
        if (response.StatusCode is not (HttpStatusCode.Accepted or HttpStatusCode.NoContent or HttpStatusCode.Created)) throw await ErrorAsync(response, cancellation).ConfigureAwait(false);
        return response.Headers.Location is null ? upload : LocationOf(HttpMethod.Patch, upload, response);
    }

    /// <summary>Ends an upload: what was sent, and <paramref name="rest"/>, is this blob.</summary>
    public async Task FinishUploadAsync(Uri upload, Digest digest, ReadOnlyMemory<byte> rest, CancellationToken cancellation)
    {
        var query = $"digest={Uri.EscapeDataString(digest.ToString())}";
        var url = new UriBuilder(upload) { Query = upload.Query.Length > 1 ? $"{upload.Query[1..]}&{query}" : query }.Uri;
        using var response = await SendAsync(HttpMethod.Put, url, r =>
        {
            r.Content = new ReadOnlyMemoryContent(rest);
            r.Content.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        }, cancellation, FinishTimeout).ConfigureAwait(false);
        if (response.StatusCode is not (HttpStatusCode.Created or HttpStatusCode.NoContent)) throw await ErrorAsync(response, cancellation).ConfigureAwait(false);
    }

    /// <summary>Registries check the digest before they answer, which takes them as long as reading the blob.</summary>
    private static readonly TimeSpan FinishTimeout = TimeSpan.FromMinutes(10);

    /// <summary>How much of an upload has arrived, and where to go on; null when the registry knows nothing of it any more.</summary>
    public async Task<(Uri Upload, long Offset)?> ResumeUploadAsync(Uri upload, CancellationToken cancellation)
    {
        using var response = await SendAsync(HttpMethod.Get, upload, null, cancellation).ConfigureAwait(false);
        if (!response.IsSuccessStatusCode) return null;
        // "0-<last byte>"; distribution says "0-0" for nothing as well as for one byte, so one byte is sent again.
        long offset = 0;
        if (response.Headers.NonValidated.TryGetValues("Range", out var ranges) && ranges.ToString() is var range && range.LastIndexOf('-') is var dash and >= 0
            && long.TryParse(range.AsSpan(dash + 1), out var last) && last > 0)
            offset = last + 1;
        return (response.Headers.Location is null ? upload : LocationOf(HttpMethod.Get, upload, response), offset);
    }

    /// <summary>Tells the registry to forget an upload. What it says to that is of no interest.</summary>
    public async Task CancelUploadAsync(Uri upload, CancellationToken cancellation)
    {
        try
        {
            using var response = await SendAsync(HttpMethod.Delete, upload, null, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is RegistryException or ImageException or IOException)
        {
        }
    }

    /// <summary>Stores a manifest under a tag.</summary>
    public async Task PutManifestAsync(string tagOrDigest, ReadOnlyMemory<byte> manifest, string mediaType, CancellationToken cancellation)
    {
        var url = InRepository($"manifests/{tagOrDigest}");
        using var response = await SendAsync(HttpMethod.Put, url, r =>
        {
            r.Content = new ReadOnlyMemoryContent(manifest);
            r.Content.Headers.ContentType = new MediaTypeHeaderValue(mediaType);
        }, cancellation).ConfigureAwait(false);
        if (!response.IsSuccessStatusCode) throw await ErrorAsync(response, cancellation).ConfigureAwait(false);
    }

    private static Uri LocationOf(HttpMethod method, Uri url, HttpResponseMessage response) =>
        response.Headers.Location is { } location ? Redirected(method, url, location) : throw ImageException.Failed($"{Verb(method)} \"{url}\": the registry's answer does not say where the upload goes on");
}
