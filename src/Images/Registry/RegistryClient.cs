using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace Berth.Images.Registry;

/// <summary>
/// One repository of one registry (OCI distribution-spec). Answers challenges with a token or a password; follows
/// redirects by hand, because what is said to the registry (credentials above all) is not for the host it points to; waits when
/// the registry asks for that. Pulling is here, other verbs in files of their own.
/// </summary>
/// <param name="actions">What the token is to allow: "pull", "pull,push".</param>
internal sealed partial class RegistryClient(RegistryTransport transport, RegistryEndpoint endpoint, string repository, RegistryCredentials? credentials, ImageStoreOptions options, string actions = "pull") : IDisposable
{
    /// <summary>Redirects followed for one request.</summary>
    private const int MaxRedirects = 10;

    /// <summary>Largest error or token answer read.</summary>
    private const int MaxAnswerBytes = 1024 * 1024;

    /// <summary>Pages of a tag list followed, and tags in all: what a pull -a may become.</summary>
    private const int MaxTagPages = 1000, MaxTags = 100_000;

    /// <summary>Tries of a request that is answered 429 or 5xx: a quarter of a second is waited, then half, one and two, or as long as the registry says.</summary>
    internal const int MaxBusyAttempts = 5;

    /// <summary>Longest Retry-After obeyed; a registry that wants to be left alone for longer is not waited for.</summary>
    internal const int MaxRetryAfterSeconds = 60;

    /// <summary>A server that says nothing at all for this long is gone.</summary>
    public static readonly TimeSpan StallTimeout = TimeSpan.FromSeconds(60);

    /// <summary>What has to come within <see cref="ImageStoreOptions.StallTimeout"/>: a server that sends a byte now and then is as good as gone.</summary>
    internal const int MinBytesBetweenStalls = 4096;

    private const string ManifestTypes =
        $"{MediaTypes.OciIndex}, {MediaTypes.OciManifest}, {MediaTypes.DockerManifestList}, {MediaTypes.DockerManifest}";

    // Set after the first challenge, sent from then on; replaced whole. Whoever is refused with it fetches a new one, the others wait for that.
    private volatile AuthenticationHeaderValue? authorization;
    private readonly SemaphoreSlim authorizing = new(1);

    // What the token server gave besides, for a login that is to be kept without its password.
    private volatile string? refreshToken;

    public RegistryEndpoint Endpoint => endpoint;

    /// <summary>Repositories besides this one that the token is to allow reading: those that blobs are mounted from.</summary>
    public IReadOnlyList<string> AlsoRead { get; init; } = [];

    private Uri UrlOf(string path)
    {
        var url = new Uri(endpoint.Api, path);
        return endpoint.Namespace is { } ns ? new UriBuilder(url) { Query = $"{(url.Query.Length > 1 ? url.Query[1..] + "&" : "")}ns={Uri.EscapeDataString(ns)}" }.Uri : url;
    }

    private Uri InRepository(string path) => UrlOf($"{repository}/{path}");

    /// <summary>Whether this way leads to a registry at all.</summary>
    /// <exception cref="RegistryUnreachableException">It does not: "Get "https://…/v2/": dial tcp …: connect: connection refused".</exception>
    public async Task PingAsync(CancellationToken cancellation)
    {
        using var response = await SendOnceAsync(HttpMethod.Get, endpoint.Api, null, cancellation).ConfigureAwait(false);
        if (response.StatusCode == HttpStatusCode.Unauthorized) await AnswerChallengeAsync(response, null, cancellation).ConfigureAwait(false);
    }

    /// <summary>A manifest or index by tag or digest: its bytes, checked against the digest if there is one.</summary>
    public async Task<(byte[] Bytes, Digest Digest)> GetManifestAsync(string tagOrDigest, CancellationToken cancellation)
    {
        using var response = await GetAsync(InRepository($"manifests/{tagOrDigest}"), ManifestTypes, null, cancellation).ConfigureAwait(false);
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
        GetAsync(InRepository($"blobs/{digest}"), null, offset > 0 ? new RangeHeaderValue(offset, null) : null, cancellation);

    /// <summary>All tags of the repository.</summary>
    public async Task<IReadOnlyList<string>> GetTagsAsync(CancellationToken cancellation)
    {
        var tags = new List<string>();
        var url = InRepository("tags/list");
        for (var page = 0; ; page++)
        {
            using var response = await GetAsync(url, null, null, cancellation).ConfigureAwait(false);
            var body = await ReadAsync(response, Manifest.MaxBytes, "list of tags", cancellation).ConfigureAwait(false);
            tags.AddRange(Parse(body, "list of tags", ImagesJson.Default.RegistryTags)?.Tags ?? []);
            if (tags.Count > MaxTags || page > MaxTagPages) throw ImageException.Failed($"the repository has more than {MaxTags} tags");
            if (NextPage(url, response) is not { } next) return tags;
            url = next;
        }
    }

    // RFC 5988: Link: </v2/name/tags/list?n=…&last=…>; rel="next". Null: there is none.
    private static Uri? NextPage(Uri url, HttpResponseMessage response)
    {
        if (!response.Headers.TryGetValues("Link", out var links) || links.FirstOrDefault(l => l.Contains("rel=\"next\"", StringComparison.Ordinal)) is not { } next ||
            next.IndexOf('<') is var open && open < 0 || next.IndexOf('>') is var close && close < open) return null;
        var target = new Uri(url, next[(open + 1)..close]);
        return target.Authority == url.Authority && target.Scheme == url.Scheme ? target : throw ImageException.Failed($"the list at {url} goes on at another host, {target.Authority}");
    }

    /// <summary>GET (or HEAD) with authentication, redirects and patience; the answer is a success.</summary>
    /// <exception cref="RegistryException">The registry said no.</exception>
    /// <exception cref="RegistryUnreachableException">It said nothing.</exception>
    private Task<HttpResponseMessage> GetAsync(Uri url, string? accept, RangeHeaderValue? range, CancellationToken cancellation) =>
        ReadAsync(HttpMethod.Get, url, accept, range, cancellation);

    private async Task<HttpResponseMessage> ReadAsync(HttpMethod method, Uri url, string? accept, RangeHeaderValue? range, CancellationToken cancellation)
    {
        var attempt = 1;
        for (var redirects = 0; ;)
        {
            var response = await SendAsync(method, url, r =>
            {
                if (accept is not null) r.Headers.TryAddWithoutValidation("Accept", accept);
                r.Headers.Range = range;
            }, cancellation).ConfigureAwait(false);
            var keep = false;
            try
            {
                switch ((int)response.StatusCode)
                {
                    case 200 or 206:
                        keep = true;
                        return response;
                    case 301 or 302 or 303 or 307 or 308 when response.Headers.Location is { } location:
                        if (++redirects > MaxRedirects) throw ImageException.Failed($"{Verb(method)} \"{url}\": stopped after {MaxRedirects} redirects");
                        url = Redirected(method, url, location);
                        continue;
                    // A mirror that is busy is passed by.
                    case 429 or >= 500 when !endpoint.IsMirror && attempt < MaxBusyAttempts && PauseBefore(response, attempt) is { } pause:
                        attempt++;
                        ImagesLog.RegistryBusy(options.Logger, url, (int)response.StatusCode, (long)pause.TotalMilliseconds);
                        await Task.Delay(pause, options.Time, cancellation).ConfigureAwait(false);
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
    private async Task<RegistryException> ErrorAsync(HttpResponseMessage response, CancellationToken cancellation) =>
        RegistryException.From(response, await ReadAsync(response, MaxAnswerBytes, "error answer", cancellation).ConfigureAwait(false));

    /// <summary>Sends a request and, when the registry asks who is there, answers and sends it again. The response may have any status.</summary>
    /// <param name="prepare">Adds headers and content; called for each sending.</param>
    /// <param name="patience">How long to wait for the answer; null: <see cref="StallTimeout"/>.</param>
    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, Uri url, Action<HttpRequestMessage>? prepare, CancellationToken cancellation, TimeSpan? patience = null)
    {
        var used = authorization;
        var response = await SendOnceAsync(method, url, prepare, cancellation, patience).ConfigureAwait(false);
        if (response.StatusCode != HttpStatusCode.Unauthorized || !IsOurs(url)) return response;
        var keep = false;
        try
        {
            if (!await AnswerChallengeAsync(response, used, cancellation).ConfigureAwait(false))
            {
                if (Basic() is null && AuthChallenge.Of(response).Any(c => c.Scheme == "basic")) throw RegistryException.NoCredentials($"{Verb(AskedByDocker(method, url))} \"{url}\"");
                keep = true;
                return response;
            }
        }
        finally
        {
            if (!keep) response.Dispose();
        }
        return await SendOnceAsync(method, url, prepare, cancellation, patience).ConfigureAwait(false);
    }

    private static Uri Redirected(HttpMethod method, Uri url, Uri location)
    {
        var next = new Uri(url, location);
        if (next.Scheme is not ("https" or "http") || (next.Scheme == "http" && url.Scheme == "https"))
            throw ImageException.Failed($"{Verb(method)} \"{url}\": refused a redirect to {next.Scheme}://{next.Authority}");
        return next;
    }

    // Null: not worth waiting for.
    private TimeSpan? PauseBefore(HttpResponseMessage response, int attempt)
    {
        var unit = options.RetryUnit;
        if (response.Headers.RetryAfter is not { } after) return unit * Math.Pow(2, attempt - 3);
        var seconds = after.Delta?.TotalSeconds ?? (after.Date - options.Time.GetUtcNow())?.TotalSeconds ?? 0;
        return seconds > MaxRetryAfterSeconds ? null : unit * Math.Max(seconds, 0.25);
    }

    // As Go's net/http names it in errors.
    private static string Verb(HttpMethod method) => $"{method.Method[0]}{method.Method[1..].ToLowerInvariant()}";

    // What a tag means Docker asks by HEAD before it reads it. One request is enough; the words are those scripts know.
    private static HttpMethod AskedByDocker(HttpMethod method, Uri url) =>
        method == HttpMethod.Get && url.AbsolutePath.LastIndexOf('/') is var slash && url.AbsolutePath.AsSpan(0, slash).EndsWith("/manifests") && !url.AbsolutePath.AsSpan(slash).Contains(':') ? HttpMethod.Head : method;

    private bool IsOurs(Uri url) => url.Authority == endpoint.Api.Authority && url.Scheme == endpoint.Api.Scheme;

    private async Task<HttpResponseMessage> SendOnceAsync(HttpMethod method, Uri url, Action<HttpRequestMessage>? prepare, CancellationToken cancellation, TimeSpan? patience = null)
    {
        using var request = new HttpRequestMessage(method, url);
        request.Headers.TryAddWithoutValidation("User-Agent", "docker/28.5.2 (berth)");
        if (IsOurs(url))
        {
            request.Headers.Authorization = authorization;
            foreach (var (name, value) in endpoint.Headers) request.Headers.TryAddWithoutValidation(name, value);
        }
        prepare?.Invoke(request);
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        timeout.CancelAfter(patience ?? options.StallTimeout);
        try
        {
            var response = await transport.For(endpoint, options.Registries.Proxy).SendAsync(request, timeout.Token).ConfigureAwait(false);
            ImagesLog.RegistryAnswered(options.Logger, method.Method, url, (int)response.StatusCode);
            return response;
        }
        catch (Exception e) when (e is HttpRequestException or IOException || (e is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            var what = e is OperationCanceledException ? "net/http: request canceled (Client.Timeout exceeded while awaiting headers)" : RegistryTransport.Describe(e);
            throw new RegistryUnreachableException($"{Verb(method)} \"{url}\": {what}", e);
        }
    }

    private async Task<byte[]> ReadAsync(HttpResponseMessage response, int maxBytes, string what, CancellationToken cancellation)
    {
        if (response.Content.Headers.ContentLength > maxBytes) throw ImageException.Failed($"{what} is larger than {maxBytes} bytes");
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            timeout.CancelAfter(options.StallTimeout);
            await using var stream = await response.Content.ReadAsStreamAsync(timeout.Token).ConfigureAwait(false);
            var buffer = new MemoryStream();
            var chunk = new byte[16 * 1024];
            int count, sinceStall = 0;
            while ((count = await stream.ReadAsync(chunk, timeout.Token).ConfigureAwait(false)) > 0)
            {
                if ((sinceStall += count) >= MinBytesBetweenStalls)
                {
                    sinceStall = 0;
                    timeout.CancelAfter(options.StallTimeout);
                }
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

    // True when there is something new to try with. What was refused is what the request was sent with: another may have fetched a new one since.
    private async Task<bool> AnswerChallengeAsync(HttpResponseMessage response, AuthenticationHeaderValue? refused, CancellationToken cancellation)
    {
        await authorizing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (authorization is { } other && other != refused) return true;
            foreach (var challenge in AuthChallenge.Of(response))
            {
                switch (challenge.Scheme)
                {
                    case "basic" when Basic() is { } basic:
                        if (basic.Equals(refused)) return false;
                        authorization = basic;
                        return true;
                    case "bearer" when endpoint.TakesCredentials && credentials?.RegistryToken is { Length: > 0 } token:
                        if (refused?.Parameter == token) return false;
                        authorization = new AuthenticationHeaderValue("Bearer", token);
                        return true;
                    case "bearer" when challenge.Parameters.TryGetValue("realm", out var realm):
                        authorization = new AuthenticationHeaderValue("Bearer", await FetchTokenAsync(realm, challenge.Parameters, cancellation).ConfigureAwait(false));
                        return true;
                }
            }
            return false;
        }
        finally
        {
            authorizing.Release();
        }
    }

    private AuthenticationHeaderValue? Basic() =>
        endpoint.TakesCredentials && credentials is { UserName: { Length: > 0 } user, Password: { } password }
            ? new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{password}")))
            : null;

    // distribution, spec/auth/token.md and oauth.md.
    private async Task<string> FetchTokenAsync(string realm, IReadOnlyDictionary<string, string> challenge, CancellationToken cancellation)
    {
        if (!Uri.TryCreate(realm, UriKind.Absolute, out var url) || url.Scheme is not ("https" or "http"))
            throw ImageException.Failed($"the registry asks for a token from {realm}, which is no web address");
        var basic = Basic();
        var refresh = endpoint.TakesCredentials ? credentials?.IdentityToken ?? "" : "";
        if (url.Scheme == "http" && endpoint.Api.Scheme == "https" && (basic is not null || refresh.Length > 0))
            throw ImageException.Failed($"refused to send credentials to {realm} in the clear");
        var parameters = new List<KeyValuePair<string, string>>();
        if (challenge.TryGetValue("service", out var service)) parameters.Add(new("service", service));
        // Not the challenge's scope: it may be of another request. What is wanted here is this repository; a login wants nothing yet.
        if (repository.Length > 0) parameters.Add(new("scope", $"repository:{repository}:{actions}"));
        foreach (var other in AlsoRead) parameters.Add(new("scope", $"repository:{other}:pull"));

        HttpResponseMessage response;
        if (refresh.Length > 0)
        {
            // OAuth2 takes all scopes in one.
            var scope = string.Join(' ', parameters.Where(p => p.Key == "scope").Select(p => p.Value));
            parameters.RemoveAll(p => p.Key == "scope");
            parameters.Add(new("scope", scope));
            parameters.AddRange([new("grant_type", "refresh_token"), new("refresh_token", refresh), new("client_id", "docker")]);
            response = await SendOnceAsync(HttpMethod.Post, url, r =>
            {
                r.Headers.Authorization = null; // the one that was refused
                r.Content = new FormUrlEncodedContent(parameters);
            }, cancellation).ConfigureAwait(false);
        }
        else
        {
            if (basic is not null) parameters.Add(new("account", credentials!.UserName!));
            if (repository.Length == 0) parameters.AddRange([new("client_id", "docker"), new("offline_token", "true")]);
            var query = string.Join('&', parameters.Select(p => $"{Uri.EscapeDataString(p.Key)}={Uri.EscapeDataString(p.Value)}"));
            url = new UriBuilder(url) { Query = url.Query.Length > 1 ? $"{url.Query[1..]}&{query}" : query }.Uri;
            response = await SendOnceAsync(HttpMethod.Get, url, r => r.Headers.Authorization = basic, cancellation).ConfigureAwait(false);
        }
        using (response)
        {
            var body = await ReadAsync(response, MaxAnswerBytes, "token answer", cancellation).ConfigureAwait(false);
            if (response.StatusCode != HttpStatusCode.OK) throw RegistryException.From(response, body);
            var token = Parse(body, "token answer", ImagesJson.Default.RegistryToken);
            refreshToken = token?.RefreshToken;
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

    public void Dispose() => authorizing.Dispose();
}

/// <summary>The network, not the registry, failed; worth another try.</summary>
internal sealed class RegistryUnreachableException(string message, Exception inner) : IOException(message, inner);
