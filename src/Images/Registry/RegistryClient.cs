using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Berth.Images.Registry;

/// <summary>
/// One repository of one registry (OCI distribution-spec, "Pull"). Answers challenges with a token or a password; follows
/// redirects by hand, because what is said to the registry (credentials above all) is not for the host it points to.
/// </summary>
/// <param name="actions">What tokens are asked for: "pull", or "push,pull".</param>
internal sealed partial class RegistryClient(
    RegistryTransport transport, RegistryEndpoint endpoint, string repository, RegistryCredentials? credentials, ILogger logger, string actions = "pull")
{
    /// <summary>Redirects followed for one request.</summary>
    private const int MaxRedirects = 10;

    /// <summary>Largest error or token answer read.</summary>
    private const int MaxAnswerBytes = 1024 * 1024;

    /// <summary>Pages of a tag list followed, and tags in all: what a pull -a may become.</summary>
    private const int MaxTagPages = 1000, MaxTags = 100_000;

    /// <summary>A server that says nothing at all for this long is gone.</summary>
    public static readonly TimeSpan StallTimeout = TimeSpan.FromSeconds(60);

    private const string ManifestTypes =
        $"{MediaTypes.OciIndex}, {MediaTypes.OciManifest}, {MediaTypes.DockerManifestList}, {MediaTypes.DockerManifest}";

    // Set after the first challenge, sent from then on. Replaced whole; two downloads may both refresh it.
    private volatile AuthenticationHeaderValue? authorization;

    public RegistryEndpoint Endpoint => endpoint;

    /// <summary>Whether this way leads to a registry at all.</summary>
    /// <exception cref="ImageException">It does not: "Get "https://…/v2/": dial tcp …: connect: connection refused".</exception>
    public async Task PingAsync(CancellationToken cancellation)
    {
        var url = new Uri(endpoint.Url, "/v2/");
        using var response = await SendOnceAsync(HttpMethod.Get, url, null, cancellation).ConfigureAwait(false);
        if (response.StatusCode == HttpStatusCode.Unauthorized) await AnswerChallengeAsync(response, cancellation).ConfigureAwait(false);
    }

    /// <summary>A manifest or index by tag or digest: its bytes, checked against the digest if there is one.</summary>
    public async Task<(byte[] Bytes, Digest Digest)> GetManifestAsync(string tagOrDigest, CancellationToken cancellation)
    {
        using var response = await GetAsync(new Uri(endpoint.Url, $"/v2/{repository}/manifests/{tagOrDigest}"), ManifestTypes, null, cancellation).ConfigureAwait(false);
        var bytes = await ReadAsync(response, Manifest.MaxBytes, $"manifest {tagOrDigest}", cancellation).ConfigureAwait(false);
        var digest = Digest.Sha256(bytes);
        if (Digest.TryParse(tagOrDigest, out var expected))
        {
            if (!expected.Verifies(bytes)) throw ImageException.Failed($"manifest verification failed for digest {expected}");
            return (bytes, expected);
        }
        // By tag there is only the registry's word; that it contradicts itself means the content was damaged on the way.
        if (response.Headers.TryGetValues("Docker-Content-Digest", out var said) && Digest.TryParse(said.First(), out expected) && !expected.Verifies(bytes))
            throw ImageException.Failed($"manifest verification failed for digest {expected}");
        return (bytes, digest);
    }

    /// <summary>A small blob, checked.</summary>
    public async Task<byte[]> GetBlobAsync(Digest digest, CancellationToken cancellation)
    {
        using var response = await OpenBlobAsync(digest, 0, cancellation).ConfigureAwait(false);
        return await ReadAsync(response, Manifest.MaxBytes, $"blob {digest}", cancellation).ConfigureAwait(false);
    }

    /// <summary>Starts the download of a blob, from an offset on if the registry can; status 206 says that it did.</summary>
    public Task<HttpResponseMessage> OpenBlobAsync(Digest digest, long offset, CancellationToken cancellation) =>
        GetAsync(new Uri(endpoint.Url, $"/v2/{repository}/blobs/{digest}"), null, offset > 0 ? new RangeHeaderValue(offset, null) : null, cancellation);

    /// <summary>All tags of the repository.</summary>
    public async Task<IReadOnlyList<string>> GetTagsAsync(CancellationToken cancellation)
    {
        var tags = new List<string>();
        var url = new Uri(endpoint.Url, $"/v2/{repository}/tags/list");
        for (var page = 0; ; page++)
        {
            using var response = await GetAsync(url, null, null, cancellation).ConfigureAwait(false);
            var body = await ReadAsync(response, Manifest.MaxBytes, "list of tags", cancellation).ConfigureAwait(false);
            tags.AddRange(Parse(body, "list of tags", ImagesJson.Default.RegistryTags)?.Tags ?? []);
            if (tags.Count > MaxTags || page > MaxTagPages) throw ImageException.Failed($"the repository has more than {MaxTags} tags");
            // RFC 5988: Link: </v2/name/tags/list?n=…&last=…>; rel="next"
            if (!response.Headers.TryGetValues("Link", out var links) || links.FirstOrDefault(l => l.Contains("rel=\"next\"", StringComparison.Ordinal)) is not { } next ||
                next.IndexOf('<') is var open && open < 0 || next.IndexOf('>') is var close && close < open) return tags;
            var target = new Uri(url, next[(open + 1)..close]);
            if (target.Authority != url.Authority || target.Scheme != url.Scheme) throw ImageException.Failed($"the list of tags goes on at another host, {target.Authority}");
            url = target;
        }
    }

    // GET with authentication and redirects; the response has a status of 200 or 206.
    private async Task<HttpResponseMessage> GetAsync(Uri url, string? accept, RangeHeaderValue? range, CancellationToken cancellation)
    {
        for (var redirects = 0; ;)
        {
            var response = await SendAsync(HttpMethod.Get, url, r =>
            {
                if (accept is not null) r.Headers.TryAddWithoutValidation("Accept", accept);
                r.Headers.Range = range;
            }, cancellation).ConfigureAwait(false);
            var keep = false;
            try
            {
                switch (response.StatusCode)
                {
                    case HttpStatusCode.OK or HttpStatusCode.PartialContent:
                        keep = true;
                        return response;
                    case HttpStatusCode.MovedPermanently or HttpStatusCode.Found or HttpStatusCode.SeeOther or HttpStatusCode.TemporaryRedirect or HttpStatusCode.PermanentRedirect
                        when response.Headers.Location is { } location:
                        if (++redirects > MaxRedirects) throw ImageException.Failed($"Get \"{url}\": stopped after {MaxRedirects} redirects");
                        var next = new Uri(url, location);
                        if (next.Scheme is not ("https" or "http") || (next.Scheme == "http" && url.Scheme == "https"))
                            throw ImageException.Failed($"Get \"{url}\": refused a redirect to {next.Scheme}://{next.Authority}");
                        url = next;
                        continue;
                }
                throw await ErrorAsync(response, cancellation).ConfigureAwait(false);
            }
            finally
            {
                if (!keep) response.Dispose();
            }
        }
    }

    /// <summary>What a refusal says.</summary>
    private static async Task<RegistryException> ErrorAsync(HttpResponseMessage response, CancellationToken cancellation) =>
        RegistryException.From(response, await ReadAsync(response, MaxAnswerBytes, "error answer", cancellation).ConfigureAwait(false));

    /// <summary>Sends a request and, when the registry asks who is there, answers and sends it again. The response may have any status.</summary>
    /// <param name="prepare">Adds headers and content; called for each sending.</param>
    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, Uri url, Action<HttpRequestMessage>? prepare, CancellationToken cancellation)
    {
        var response = await SendOnceAsync(method, url, prepare, cancellation).ConfigureAwait(false);
        if (response.StatusCode != HttpStatusCode.Unauthorized || !IsOurs(url)) return response;
        var keep = false;
        try
        {
            if (!await AnswerChallengeAsync(response, cancellation).ConfigureAwait(false))
            {
                if (AuthChallenge.Of(response).Any(c => c.Scheme == "basic")) throw ImageException.Failed($"{Verb(method)} \"{url}\": no basic auth credentials");
                keep = true;
                return response;
            }
        }
        finally
        {
            if (!keep) response.Dispose();
        }
        return await SendOnceAsync(method, url, prepare, cancellation).ConfigureAwait(false);
    }

    // As Go's net/http names it in errors.
    private static string Verb(HttpMethod method) => $"{method.Method[0]}{method.Method[1..].ToLowerInvariant()}";

    private bool IsOurs(Uri url) => url.Authority == endpoint.Url.Authority && url.Scheme == endpoint.Url.Scheme;

    private async Task<HttpResponseMessage> SendOnceAsync(HttpMethod method, Uri url, Action<HttpRequestMessage>? prepare, CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(method, url);
        request.Headers.TryAddWithoutValidation("User-Agent", "docker/28.5.2 (berth)");
        if (IsOurs(url)) request.Headers.Authorization = authorization;
        prepare?.Invoke(request);
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        timeout.CancelAfter(StallTimeout);
        try
        {
            var response = await transport.For(endpoint).SendAsync(request, timeout.Token).ConfigureAwait(false);
            ImagesLog.RegistryAnswered(logger, method.Method, url, (int)response.StatusCode);
            return response;
        }
        catch (Exception e) when (e is HttpRequestException or IOException || (e is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            var what = e is OperationCanceledException ? "net/http: request canceled (Client.Timeout exceeded while awaiting headers)" : RegistryTransport.Describe(e);
            throw new RegistryUnreachableException($"{Verb(method)} \"{url}\": {what}", e);
        }
    }

    private static async Task<byte[]> ReadAsync(HttpResponseMessage response, int maxBytes, string what, CancellationToken cancellation)
    {
        if (response.Content.Headers.ContentLength > maxBytes) throw ImageException.Failed($"{what} is larger than {maxBytes} bytes");
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            timeout.CancelAfter(StallTimeout);
            await using var stream = await response.Content.ReadAsStreamAsync(timeout.Token).ConfigureAwait(false);
            var buffer = new MemoryStream();
            var chunk = new byte[16 * 1024];
            int count;
            while ((count = await stream.ReadAsync(chunk, timeout.Token).ConfigureAwait(false)) > 0)
            {
                timeout.CancelAfter(StallTimeout);
                if (buffer.Length + count > maxBytes) throw ImageException.Failed($"{what} is larger than {maxBytes} bytes");
                buffer.Write(chunk, 0, count);
            }
            return buffer.ToArray();
        }
        catch (Exception e) when (e is HttpRequestException or IOException || (e is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new RegistryUnreachableException($"{what}: unexpected EOF", e);
        }
    }

    // True when there is something new to try with.
    private async Task<bool> AnswerChallengeAsync(HttpResponseMessage response, CancellationToken cancellation)
    {
        foreach (var challenge in AuthChallenge.Of(response))
        {
            switch (challenge.Scheme)
            {
                case "basic" when Basic() is { } basic:
                    authorization = basic;
                    return true;
                case "bearer" when credentials?.RegistryToken is { Length: > 0 } token:
                    authorization = new AuthenticationHeaderValue("Bearer", token);
                    return true;
                case "bearer" when challenge.Parameters.TryGetValue("realm", out var realm):
                    authorization = new AuthenticationHeaderValue("Bearer", await FetchTokenAsync(realm, challenge.Parameters, cancellation).ConfigureAwait(false));
                    return true;
            }
        }
        return false;
    }

    private AuthenticationHeaderValue? Basic() =>
        credentials is { UserName: { Length: > 0 } user, Password: { } password }
            ? new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{password}")))
            : null;

    // distribution, spec/auth/token.md and oauth.md.
    private async Task<string> FetchTokenAsync(string realm, IReadOnlyDictionary<string, string> challenge, CancellationToken cancellation)
    {
        if (!Uri.TryCreate(realm, UriKind.Absolute, out var url) || url.Scheme is not ("https" or "http"))
            throw ImageException.Failed($"the registry asks for a token from {realm}, which is no web address");
        var basic = Basic();
        if (url.Scheme == "http" && endpoint.Url.Scheme == "https" && (basic is not null || credentials?.IdentityToken is { Length: > 0 }))
            throw ImageException.Failed($"refused to send credentials to {realm} in the clear");
        var parameters = new List<KeyValuePair<string, string>>();
        if (challenge.TryGetValue("service", out var service)) parameters.Add(new("service", service));
        // Not the challenge's scope: it may be of another request. What is wanted here is known.
        parameters.Add(new("scope", $"repository:{repository}:{actions}"));

        HttpResponseMessage response;
        if (credentials?.IdentityToken is { Length: > 0 } refresh)
        {
            parameters.AddRange([new("grant_type", "refresh_token"), new("refresh_token", refresh), new("client_id", "docker")]);
            using var form = new FormUrlEncodedContent(parameters);
            response = await SendOnceAsync(HttpMethod.Post, url, r => r.Content = form, cancellation).ConfigureAwait(false);
        }
        else
        {
            if (basic is not null) parameters.Add(new("account", credentials!.UserName!));
            var query = string.Join('&', parameters.Select(p => $"{Uri.EscapeDataString(p.Key)}={Uri.EscapeDataString(p.Value)}"));
            url = new UriBuilder(url) { Query = url.Query.Length > 1 ? $"{url.Query[1..]}&{query}" : query }.Uri;
            response = await SendOnceAsync(HttpMethod.Get, url, r => r.Headers.Authorization = basic, cancellation).ConfigureAwait(false);
        }
        using (response)
        {
            var body = await ReadAsync(response, MaxAnswerBytes, "token answer", cancellation).ConfigureAwait(false);
            if (response.StatusCode != HttpStatusCode.OK) throw RegistryException.From(response, body);
            var token = Parse(body, "token answer", ImagesJson.Default.RegistryToken);
            return token?.Token is { Length: > 0 } text ? text : token?.AccessToken is { Length: > 0 } access ? access
                : throw ImageException.Failed("authorization server did not include a token in the response");
        }
    }

    private static T? Parse<T>(byte[] json, string what, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(json, type);
        }
        catch (JsonException e)
        {
            throw ImageException.Failed($"{what} is not valid JSON: {e.Message}", e);
        }
    }
}

/// <summary>The network, not the registry, failed; worth another try.</summary>
internal sealed class RegistryUnreachableException(string message, Exception inner) : IOException(message, inner);
