using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Berth.Daemon.Http;
using Berth.Images;
using Berth.Registry;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Berth.Daemon.Registry;

/// <summary>
/// The OCI distribution-spec 1.1 over a <see cref="RegistryStore"/>: from Kestrel's request to the store and back, who may do what, errors as the spec words them, and a line
/// of log per request. Comments name the spec's end points.
/// </summary>
/// <param name="upstream">Where content comes from that is not here; null: nowhere.</param>
/// <param name="noPushes">Why nothing can be changed here; null: it can.</param>
/// <param name="wantCollection">Called when something was deleted.</param>
internal sealed class RegistryServer(RegistryStore store, Upstream? upstream, RegistryAccess access, ILogger log, string? noPushes, bool logsAccess, Action wantCollection) : IHttpApplication<HttpContext>
{
    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public void DisposeContext(HttpContext context, Exception? exception)
    {
    }

    public async Task ProcessRequestAsync(HttpContext http)
    {
        var began = Stopwatch.GetTimestamp();
        var user = RegistryAccess.Nobody;
        try
        {
            http.Response.Headers["Docker-Distribution-Api-Version"] = "registry/2.0";
            if (RegistryPath.Parse(http.Request.Path.Value ?? "") is not { } path)
            {
                http.Response.StatusCode = 404;
            }
            else if (path.Resource == RegistryResource.Token)
            {
                await TokenAsync(http);
            }
            else
            {
                user = await access.CheckAsync(http, path.Resource == RegistryResource.Base);
                await AnswerAsync(http, path);
            }
        }
        catch (Exception e)
        {
            await FailedAsync(http, e);
        }
        if (!logsAccess) return;
        var response = http.Response;
        log.Access(http.Connection.RemoteIpAddress?.ToString() ?? "", user, http.Request.Method, $"{http.Request.Path}{http.Request.QueryString}",
            response.StatusCode, response.ContentLength ?? 0, Stopwatch.GetElapsedTime(began).TotalMilliseconds, http.Request.Headers.UserAgent.ToString());
    }

    private async Task TokenAsync(HttpContext http) =>
        await JsonAsync(http, new TokenAnswer { Token = await access.TokenAsync(http), ExpiresInSeconds = RegistryAccess.TokenSeconds }, RegistryServerJson.Default.TokenAnswer);

    private Task AnswerAsync(HttpContext http, RegistryPath path)
    {
        var method = http.Request.Method;
        if (path.Resource is RegistryResource.Base or RegistryResource.Catalog)
        {
            return (path.Resource, method) switch
            {
                (RegistryResource.Base, "GET" or "HEAD") => RawJsonAsync(http, "{}"u8.ToArray()), // end-1
                (RegistryResource.Catalog, "GET") => Catalog(http),
                _ => throw NotAllowed(http, path.Resource == RegistryResource.Base ? "GET, HEAD" : "GET"),
            };
        }
        if (!RepositoryName.TryParse(path.Name, out var repository)) throw new DistributionException(DistributionError.NameInvalid, $"\"{path.Name}\" is no repository's name");
        if (method is not ("GET" or "HEAD") && noPushes is not null) throw new DistributionException(DistributionError.Unsupported, noPushes);
        return (path.Resource, method) switch
        {
            (RegistryResource.Blob, "GET" or "HEAD") => GetBlob(http, repository, ParseDigest(path.Item)), // end-2
            (RegistryResource.Blob, "DELETE") => DeleteBlob(http, repository, ParseDigest(path.Item)), // end-10
            (RegistryResource.Manifest, "GET" or "HEAD") => GetManifest(http, repository, ManifestReference.TryParse(path.Item, out var wanted) ? wanted : throw ManifestUnknown(path.Item)), // end-3
            (RegistryResource.Manifest, "PUT") => PutManifest(http, repository, ParseReference(path.Item)), // end-7a, end-7b
            (RegistryResource.Manifest, "DELETE") => DeleteManifest(http, repository, ParseReference(path.Item)), // end-9
            (RegistryResource.Uploads, "POST") => StartUpload(http, repository), // end-4a, 4b, 4c, end-11
            (RegistryResource.Upload, "PATCH") => Append(http, Session(repository, path.Item)), // end-5
            (RegistryResource.Upload, "PUT") => Complete(http, Session(repository, path.Item)), // end-6
            (RegistryResource.Upload, "GET" or "HEAD") => Status(http, Session(repository, path.Item)), // end-13
            (RegistryResource.Upload, "DELETE") => Cancel(http, Session(repository, path.Item)), // end-14
            (RegistryResource.Tags, "GET") => Tags(http, repository), // end-8a, 8b
            (RegistryResource.Referrers, "GET") => Referrers(http, repository, ParseDigest(path.Item)), // end-12a, 12b
            (RegistryResource.Blob, _) => throw NotAllowed(http, "GET, HEAD, DELETE"),
            (RegistryResource.Manifest, _) => throw NotAllowed(http, "GET, HEAD, PUT, DELETE"),
            (RegistryResource.Uploads, _) => throw NotAllowed(http, "POST"),
            (RegistryResource.Upload, _) => throw NotAllowed(http, "GET, HEAD, PATCH, PUT, DELETE"),
            _ => throw NotAllowed(http, "GET"),
        };
    }

    private static DistributionException NotAllowed(HttpContext http, string allowed)
    {
        http.Response.Headers.Allow = allowed;
        return new DistributionException(DistributionError.Unsupported, $"{http.Request.Method} is not possible here");
    }

    // ---- blobs

    private async Task GetBlob(HttpContext http, RepositoryName repository, Digest digest)
    {
        if (http.Request.Method == "HEAD")
        {
            // Who asks this is about to push what refers to it.
            var length = upstream is null ? store.TouchBlob(repository, digest) : await upstream.BlobLengthAsync(repository, digest, http.RequestAborted);
            BlobResponse.Begin(http, digest, length ?? throw BlobUnknown(digest), out _);
            return;
        }
        using var blob = store.OpenBlob(repository, digest) ?? (upstream is null ? null : await FromUpstreamAsync(http, upstream, repository, digest));
        if (blob is null)
        {
            if (upstream is null) throw BlobUnknown(digest);
            return; // it was relayed
        }
        if (BlobResponse.Begin(http, digest, blob.Length, out var part)) await BlobResponse.SendAsync(http, blob.File, part);
    }

    // Null: the answer is given.
    private async Task<StoredBlob?> FromUpstreamAsync(HttpContext http, Upstream from, RepositoryName repository, Digest digest)
    {
        // What another repository has brought need not be fetched again.
        if (!store.Mount(null, repository, digest) && await BlobResponse.TryRelayAsync(http, from.Fetch(repository, digest))) return null;
        store.Mount(null, repository, digest);
        return store.OpenBlob(repository, digest) ?? throw BlobUnknown(digest);
    }

    private Task DeleteBlob(HttpContext http, RepositoryName repository, Digest digest)
    {
        if (!store.DeleteBlob(repository, digest)) throw BlobUnknown(digest);
        http.Response.StatusCode = 202;
        wantCollection();
        return Task.CompletedTask;
    }

    private static DistributionException BlobUnknown(Digest digest) => new(DistributionError.BlobUnknown, $"this repository has no blob {digest}");

    // ---- uploads

    private async Task StartUpload(HttpContext http, RepositoryName repository)
    {
        var query = new Query(http.Request.Query);
        if (query["mount"] is { Length: > 0 } mount)
        {
            var digest = ParseDigest(mount);
            RepositoryName? from = null;
            if (query["from"] is { Length: > 0 } text) from = RepositoryName.TryParse(text, out var name) ? name : throw new DistributionException(DistributionError.NameInvalid, $"\"{text}\" is no repository's name");
            if (store.Mount(from, repository, digest))
            {
                Created(http, repository, digest);
                return;
            }
        }
        else if (query["digest"] is { Length: > 0 } text)
        {
            var digest = ParseDigest(text);
            var single = store.Uploads.Start(repository, digest.Algorithm);
            try
            {
                await single.CompleteAsync(http.Request.Body, null, digest, http.RequestAborted);
            }
            catch
            {
                // Nobody was told its name.
                single.TryDiscard();
                throw;
            }
            Created(http, repository, digest);
            return;
        }
        var algorithm = query["digest-algorithm"] is { Length: > 0 } wanted ? wanted : "sha256";
        if (algorithm is not ("sha256" or "sha384" or "sha512")) throw new DistributionException(DistributionError.DigestInvalid, $"unsupported digest algorithm {algorithm}");
        Accepted(http, store.Uploads.Start(repository, algorithm), 202);
    }

    private async Task Append(HttpContext http, UploadSession session)
    {
        var from = Chunk(http);
        await InOrderAsync(http, session, session.AppendAsync(http.Request.Body, from, http.RequestAborted));
        Accepted(http, session, 202);
    }

    private async Task Complete(HttpContext http, UploadSession session)
    {
        var text = new Query(http.Request.Query)["digest"];
        var digest = ParseDigest(text);
        await InOrderAsync(http, session, session.CompleteAsync(http.Request.Body, Chunk(http), digest, http.RequestAborted));
        Created(http, session.Repository, digest);
    }

    private static Task Status(HttpContext http, UploadSession session)
    {
        Accepted(http, session, 204);
        return Task.CompletedTask;
    }

    private static async Task Cancel(HttpContext http, UploadSession session)
    {
        await session.CancelAsync(http.RequestAborted);
        http.Response.StatusCode = 204;
    }

    // A client that is wrong about where the upload stands is told.
    private static async Task InOrderAsync(HttpContext http, UploadSession session, Task work)
    {
        try
        {
            await work;
        }
        catch (DistributionException e) when (e.Error == DistributionError.RangeInvalid)
        {
            Accepted(http, session, 416);
            throw;
        }
    }

    private static long? Chunk(HttpContext http)
    {
        var header = http.Request.Headers.ContentRange.ToString();
        if (header.Length == 0) return null;
        if (!ByteRange.TryParseChunk(header, out var range)) throw new DistributionException(DistributionError.BlobUploadInvalid, $"Content-Range \"{header}\" is not first-last");
        if (http.Request.ContentLength is { } length && length != range.Count)
            throw new DistributionException(DistributionError.SizeInvalid, $"Content-Range {header} is of {range.Count} bytes, Content-Length of {length}");
        return range.From;
    }

    private UploadSession Session(RepositoryName repository, string id) =>
        store.Uploads.Find(repository, id) ?? throw new DistributionException(DistributionError.BlobUploadUnknown, $"this repository has no upload {id}");

    private static void Accepted(HttpContext http, UploadSession session, int status)
    {
        var headers = http.Response.Headers;
        headers.Location = $"/v2/{session.Repository}/blobs/uploads/{session.Id}";
        // Of an empty upload it says 0-0, as of one with a byte: the spec has no other word, docker-registry does so too.
        headers.Range = string.Create(CultureInfo.InvariantCulture, $"0-{Math.Max(0, session.Size - 1)}");
        headers["Docker-Upload-Uuid"] = session.Id.ToString();
        http.Response.StatusCode = status;
    }

    private static void Created(HttpContext http, RepositoryName repository, Digest digest)
    {
        http.Response.Headers.Location = $"/v2/{repository}/blobs/{digest}";
        http.Response.Headers["Docker-Content-Digest"] = digest.ToString();
        http.Response.StatusCode = 201;
    }

    // ---- manifests

    private async Task GetManifest(HttpContext http, RepositoryName repository, ManifestReference reference)
    {
        var manifest = (upstream is null ? store.GetManifest(repository, reference) : await upstream.GetManifestAsync(repository, reference, http.RequestAborted)) ?? throw ManifestUnknown(reference.ToString());
        var tag = $"\"{manifest.Digest}\"";
        http.Response.Headers["Docker-Content-Digest"] = manifest.Digest.ToString();
        http.Response.Headers.ETag = tag;
        if (BlobResponse.Matches(http.Request.Headers.IfNoneMatch.ToString(), tag))
        {
            http.Response.StatusCode = 304;
            return;
        }
        http.Response.ContentType = manifest.MediaType;
        http.Response.ContentLength = manifest.Content.Length;
        if (http.Request.Method != "HEAD") await http.Response.Body.WriteAsync(manifest.Content);
    }

    private async Task PutManifest(HttpContext http, RepositoryName repository, ManifestReference reference)
    {
        var content = await ReadManifestAsync(http.Request);
        var digest = reference.Tag is null ? reference.Digest : Digest.Sha256(content);
        if (!digest.Verifies(content)) throw new DistributionException(DistributionError.DigestInvalid, $"the manifest does not have the digest {digest}");
        var links = ManifestLinks.Parse(content);
        var type = MediaType(http.Request.ContentType, links);
        string[] tags = reference.Tag is { } one ? [one] : [.. new Query(http.Request.Query).All("tag")];
        foreach (var tag in tags)
        {
            if (!ManifestReference.TryParse(tag, out var parsed) || parsed.Tag is null) throw new DistributionException(DistributionError.ManifestInvalid, $"\"{tag}\" is no tag");
        }
        store.PutManifest(repository, digest, type, content, links, tags, complete: true);
        var headers = http.Response.Headers;
        headers.Location = $"/v2/{repository}/manifests/{(reference.Tag is { } given ? given : digest)}";
        headers["Docker-Content-Digest"] = digest.ToString();
        if (links.SubjectDigest is { } subject) headers["OCI-Subject"] = subject.ToString();
        if (reference.Tag is null && tags.Length > 0) headers["OCI-Tag"] = string.Join(", ", tags);
        http.Response.StatusCode = 201;
    }

    private static async Task<byte[]> ReadManifestAsync(HttpRequest request)
    {
        if (request.ContentLength > ManifestLinks.MaxBytes) throw TooLarge();
        var content = new MemoryStream((int)(request.ContentLength ?? 4096));
        var buffer = new byte[16 * 1024];
        int count;
        while ((count = await request.Body.ReadAsync(buffer, request.HttpContext.RequestAborted)) > 0)
        {
            if (content.Length + count > ManifestLinks.MaxBytes) throw TooLarge();
            content.Write(buffer, 0, count);
        }
        return content.ToArray();

        static DistributionException TooLarge() => new(DistributionError.TooLarge, $"manifests of more than {ManifestLinks.MaxBytes} bytes are not taken");
    }

    /// <summary>Longest media type kept: it is given out as a header.</summary>
    private const int MaxMediaTypeLength = 255;

    private static string MediaType(string? header, ManifestLinks links)
    {
        var type = header is null ? "" : (header.IndexOf(';') is >= 0 and var end ? header[..end] : header).Trim();
        if (type.Length == 0) type = links.MediaType ?? "";
        if (type.Length is 0 or > MaxMediaTypeLength || type.Any(c => c is <= ' ' or > '~') || !type.Contains('/')) throw new DistributionException(DistributionError.ManifestInvalid, $"\"{type}\" is no media type");
        if (links.MediaType is { Length: > 0 } own && !own.Equals(type, StringComparison.OrdinalIgnoreCase))
            throw new DistributionException(DistributionError.ManifestInvalid, $"the manifest says it is {own}, its Content-Type {type}");
        return type;
    }

    private Task DeleteManifest(HttpContext http, RepositoryName repository, ManifestReference reference)
    {
        if (!store.Exists(repository)) throw NameUnknown(repository);
        if (!(reference.Tag is { } tag ? store.DeleteTag(repository, tag) : store.DeleteManifest(repository, reference.Digest))) throw ManifestUnknown(reference.ToString());
        http.Response.StatusCode = 202;
        wantCollection();
        return Task.CompletedTask;
    }

    private static DistributionException ManifestUnknown(string reference) => new(DistributionError.ManifestUnknown, $"this repository has no manifest {reference}");
    private static DistributionException NameUnknown(RepositoryName repository) => new(DistributionError.NameUnknown, $"there is no repository {repository}");

    // ---- lists

    private async Task Tags(HttpContext http, RepositoryName repository)
    {
        var query = new Query(http.Request.Query);
        var n = Page.Size(query, absent: Page.MostEntries);
        var tags = upstream is not null ? await upstream.ListTagsAsync(repository, http.RequestAborted) : store.Exists(repository) ? store.ListTags(repository) : null;
        var page = Page.Of(tags ?? throw NameUnknown(repository), n, query["last"]);
        if (page.HasMore) Next(http, $"/v2/{repository}/tags/list?n={n}&last={page.Items[^1]}");
        await JsonAsync(http, new Berth.Registry.TagList { Name = repository.ToString(), Tags = page.Items }, RegistryJson.Default.TagList);
    }

    private async Task Catalog(HttpContext http)
    {
        var query = new Query(http.Request.Query);
        var n = Page.Size(query, absent: Page.CatalogEntries);
        var page = Page.Of(store.ListRepositories(), n, query["last"]);
        if (page.HasMore) Next(http, $"/v2/_catalog?n={n}&last={Uri.EscapeDataString(page.Items[^1])}");
        await JsonAsync(http, new RepositoryList { Repositories = page.Items }, RegistryJson.Default.RepositoryList);
    }

    /// <summary>Referrers in one answer: clients read 4 MiB, and annotations make an entry some kilobytes.</summary>
    private const int ReferrersAtOnce = 500;

    private async Task Referrers(HttpContext http, RepositoryName repository, Digest subject)
    {
        var query = new Query(http.Request.Query);
        var type = query["artifactType"];
        var all = upstream is null ? store.ListReferrers(repository, subject) : await upstream.ListReferrersAsync(repository, subject, type, http.RequestAborted);
        if (type.Length > 0)
        {
            all = all.Where(r => r.ArtifactType == type);
            http.Response.Headers["OCI-Filters-Applied"] = "artifactType";
        }
        var page = Page.Of(all, r => r.Digest, Math.Min(Page.Size(query, absent: ReferrersAtOnce), ReferrersAtOnce), query["last"]);
        if (page.HasMore) Next(http, $"/v2/{repository}/referrers/{subject}?{(type.Length > 0 ? $"artifactType={Uri.EscapeDataString(type)}&" : "")}last={Uri.EscapeDataString(page.Items[^1].Digest)}");
        await JsonAsync(http, new ReferrerList { Manifests = page.Items }, RegistryJson.Default.ReferrerList, MediaTypes.OciIndex);
    }

    private static void Next(HttpContext http, string target) => http.Response.Headers.Link = $"<{target}>; rel=\"next\"";

    // ---- reading and answering

    private static Digest ParseDigest(string text) => Digest.TryParse(text, out var digest) ? digest : throw new DistributionException(DistributionError.DigestInvalid, $"\"{text}\" is no digest of sha256, sha384 or sha512");

    private static ManifestReference ParseReference(string text)
    {
        if (ManifestReference.TryParse(text, out var reference)) return reference;
        throw text.Contains(':') ? new DistributionException(DistributionError.DigestInvalid, $"\"{text}\" is no digest of sha256, sha384 or sha512")
            : new DistributionException(DistributionError.ManifestInvalid, $"\"{text}\" is no tag");
    }

    // Media types have plus signs, which the usual encoder would hide.
    private static readonly JsonWriterOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static Task JsonAsync<T>(HttpContext http, T value, JsonTypeInfo<T> type, string mediaType = "application/json")
    {
        var body = new MemoryStream();
        using (var writer = new Utf8JsonWriter(body, Plain))
            JsonSerializer.Serialize(writer, value, type);
        return RawJsonAsync(http, body.ToArray(), mediaType);
    }

    private static async Task RawJsonAsync(HttpContext http, byte[] body, string mediaType = "application/json")
    {
        http.Response.ContentType = mediaType;
        http.Response.ContentLength = body.Length;
        if (http.Request.Method != "HEAD") await http.Response.Body.WriteAsync(body);
    }

    private async Task FailedAsync(HttpContext http, Exception error)
    {
        if (error is OperationCanceledException or ConnectionResetException or SocketException || http.RequestAborted.IsCancellationRequested)
        {
            log.ClientGone(http.Request.Method, http.Request.Path.Value ?? "");
            http.Abort();
            return;
        }
        var (status, code, message) = error switch
        {
            DistributionException e => (Status(e.Error), e.Code, e.Message),
            TooManyFailuresException e => (429, "TOOMANYREQUESTS", e.Message),
            BadHttpRequestException e => (e.StatusCode, "SIZE_INVALID", e.Message),
            IOException { HResult: 28 } => (507, "UNKNOWN", "the registry's disk is full"),
            _ => (500, "UNKNOWN", "the registry has failed; its log says how"),
        };
        if (status == 500) log.RegistryFault(error, http.Request.Method, http.Request.Path.Value ?? "");
        if (error is TooManyFailuresException { RetryAfter: var wait }) http.Response.Headers.RetryAfter = ((int)Math.Ceiling(wait.TotalSeconds)).ToString(CultureInfo.InvariantCulture);
        if (error is DistributionException { Error: DistributionError.TooManyRequests }) http.Response.Headers.RetryAfter = "30";
        if (http.Response.HasStarted)
        {
            http.Abort(); // a body cut short is the only sign left
            return;
        }
        http.Response.StatusCode = status;
        http.Response.Headers.ETag = default;
        http.Response.Headers.CacheControl = default;
        await JsonAsync(http, new ErrorList { Errors = [new ErrorEntry { Code = code, Message = message }] }, RegistryJson.Default.ErrorList);
    }

    private static int Status(DistributionError error) => error switch
    {
        DistributionError.BlobUnknown or DistributionError.BlobUploadUnknown or DistributionError.ManifestUnknown or DistributionError.NameUnknown => 404,
        DistributionError.Unauthorized => 401,
        DistributionError.Denied => 403,
        DistributionError.Unsupported => 405,
        DistributionError.TooLarge => 413,
        DistributionError.RangeInvalid or DistributionError.RangeUnsatisfiable => 416,
        DistributionError.TooManyRequests => 429,
        DistributionError.Unavailable => 503,
        _ => 400,
    };
}
