using System.Net;
using System.Text.Json;

namespace Berth.Images.Registry;

// The one thing of Docker's registry API v1 that is still in use.
internal sealed partial class RegistryClient
{
    /// <summary>Largest list of results read: a hundred of them have some tens of kilobytes.</summary>
    private const int MaxSearchBytes = 4 * 1024 * 1024;

    private Uri Index(string path) => new(endpoint.Api, "/v1/" + path);

    /// <summary>Null when somebody answers there; else why not.</summary>
    public async Task<string?> PingIndexAsync(CancellationToken cancellation)
    {
        try
        {
            using var response = await SendOnceAsync(HttpMethod.Get, Index("_ping"), null, cancellation).ConfigureAwait(false);
            return null;
        }
        catch (RegistryUnreachableException e)
        {
            return e.Message;
        }
    }

    /// <exception cref="ImageException">In Docker's words.</exception>
    public async Task<IReadOnlyList<SearchResult>> SearchAsync(string term, int limit, CancellationToken cancellation)
    {
        try
        {
            var url = Index($"search?q={Uri.EscapeDataString(term)}&n={limit}");
            using var response = await SendAsync(HttpMethod.Get, url, r =>
            {
                r.Headers.TryAddWithoutValidation("X-Docker-Token", "true");
                // A search is answered to anybody; who is logged in says so at once, as Docker does over HTTPS.
                if (r.Headers.Authorization is null && endpoint.Api.Scheme == "https") r.Headers.Authorization = Basic();
            }, cancellation).ConfigureAwait(false);
            if (response.StatusCode != HttpStatusCode.OK) throw ImageException.Failed($"Unexpected status code {(int)response.StatusCode}");
            var body = await ReadAsync(response, MaxSearchBytes, "list of results", cancellation).ConfigureAwait(false);
            return JsonSerializer.Deserialize(body, ImagesJson.Default.SearchAnswer)?.Results ?? [];
        }
        catch (JsonException e)
        {
            throw ImageException.Failed($"error decoding registry search results: {e.Message}", e);
        }
        catch (Exception e) when (e is RegistryException or RegistryUnreachableException)
        {
            throw ImageException.Failed(e.Message, e);
        }
    }
}

/// <summary>The answer of /v1/search.</summary>
internal sealed record SearchAnswer
{
    [System.Text.Json.Serialization.JsonPropertyName("results")] public IReadOnlyList<SearchResult>? Results { get; init; }
}
