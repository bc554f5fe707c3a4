using System.Collections.Concurrent;
using System.Net;
using Berth.Images;
using Berth.Images.Registry;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Registry;

/// <summary>
/// Another registry whose content is given out and kept. A tag is asked for there each time, so that it means what it means there; what has a digest is fetched once. When the
/// other registry cannot be reached, or fails, what is here is given out as it was last.
/// </summary>
public sealed class Upstream : IDisposable
{
    /// <summary>Repositories whose tokens are remembered.</summary>
    private const int MaxClients = 1000;

    /// <summary>Blobs fetched at once; others wait.</summary>
    private const int MaxFetches = 16;

    /// <summary>Connections tried for one blob: each goes on where the one before broke.</summary>
    private const int MaxAttempts = 5;

    private const int BufferBytes = 128 * 1024;

    private readonly RegistryTransport transport = new();
    private readonly ConcurrentDictionary<string, RegistryClient> clients = new();
    private readonly ConcurrentDictionary<Digest, FillingBlob> filling = new();
    private readonly ConcurrentDictionary<string, Lazy<Task<StoredManifest?>>> asking = new();
    private readonly SemaphoreSlim fetches = new(MaxFetches);
    private readonly CancellationTokenSource stopping = new();
    private readonly RegistryStore store;
    private readonly RegistryEndpoint endpoint;
    private readonly RegistryCredentials? credentials;
    private readonly ImageStoreOptions client;
    private readonly ILogger log;

    /// <param name="url">https://registry-1.docker.io, perhaps with a path in front of the repositories' names.</param>
    /// <exception cref="FormatException">It is no web address.</exception>
    public Upstream(RegistryStore store, string url, RegistryCredentials? credentials, ILogger log)
    {
        if (!Uri.TryCreate(url.TrimEnd('/') + "/v2/", UriKind.Absolute, out var api) || api.Scheme is not ("http" or "https") || api.UserInfo.Length > 0)
            throw new FormatException($"invalid proxy \"{url}\": not http://host or https://host");
        (this.store, this.credentials, this.log) = (store, credentials, log);
        endpoint = new RegistryEndpoint { Api = api, IsLoopback = IPAddress.TryParse(api.DnsSafeHost, out var address) ? IPAddress.IsLoopback(address) : api.Host == "localhost" };
        client = new ImageStoreOptions { Logger = log };
    }

    private RegistryClient For(RepositoryName repository)
    {
        if (clients.Count > MaxClients) clients.Clear();
        return clients.GetOrAdd(repository.ToString(), name => new RegistryClient(transport, endpoint, name, credentials, client));
    }

    // ---- manifests

    /// <summary>Null when neither the other registry nor, while that is away, this one has it.</summary>
    /// <exception cref="DistributionException">Unavailable.</exception>
    public async Task<StoredManifest?> GetManifestAsync(RepositoryName repository, ManifestReference reference, CancellationToken cancellation)
    {
        if (reference.Tag is null && store.GetManifest(repository, reference) is { } kept) return kept;
        // Many ask for the same thing at the same moment when a fleet is rolled out.
        var key = $"{repository}@{reference}";
        var asked = asking.GetOrAdd(key, _ => new Lazy<Task<StoredManifest?>>(() => AskAsync(key, repository, reference)));
        return await asked.Value.WaitAsync(cancellation).ConfigureAwait(false);
    }

    private async Task<StoredManifest?> AskAsync(string key, RepositoryName repository, ManifestReference reference)
    {
        await Task.Yield(); // the entry is there before it is removed
        try
        {
            var registry = For(repository);
            if (reference.Tag is { } tag && await registry.ResolveAsync(tag, stopping.Token).ConfigureAwait(false) is { IsEmpty: false } now && ManifestReference.TryParse(now.ToString(), out var means)
                && store.GetManifest(repository, means) is { } known)
            {
                if (store.Resolve(repository, reference) != now) Keep(repository, now, known.MediaType, known.Content, tag);
                return known;
            }
            var (content, digest) = await registry.GetManifestAsync(reference.ToString(), stopping.Token).ConfigureAwait(false);
            return Keep(repository, digest, null, content, reference.Tag);
        }
        catch (RegistryException e) when (e.Status is 401 or 403 or 404)
        {
            if (e.Status == 404 && reference.Tag is { } gone) store.DeleteTag(repository, gone);
            return null;
        }
        catch (Exception e) when (IsAway(e))
        {
            log.UpstreamAway(endpoint.Api, e.Message);
            return store.GetManifest(repository, reference) ?? throw Unavailable(e);
        }
        finally
        {
            asking.TryRemove(key, out _);
        }
    }

    private StoredManifest Keep(RepositoryName repository, Digest digest, string? type, byte[] content, string? tag)
    {
        var links = ManifestLinks.Parse(content);
        // Older manifests do not say themselves what they are.
        type ??= links.MediaType is { Length: > 0 } own ? own : links.Manifests is not null ? MediaTypes.OciIndex : MediaTypes.OciManifest;
        store.PutManifest(repository, digest, type, content, links, tag is null ? [] : [tag], complete: false);
        return new StoredManifest(digest, type, content);
    }

    // ---- blobs

    /// <summary>The length of a blob that can be had; null: it can't.</summary>
    public async Task<long?> BlobLengthAsync(RepositoryName repository, Digest digest, CancellationToken cancellation)
    {
        if (store.TouchBlob(repository, digest) is { } kept) return kept;
        try
        {
            return await For(repository).FindBlobAsync(digest, cancellation).ConfigureAwait(false);
        }
        catch (RegistryException e) when (e.Status is 401 or 403 or 404)
        {
            return null;
        }
        catch (Exception e) when (IsAway(e) && !cancellation.IsCancellationRequested)
        {
            throw Unavailable(e);
        }
    }

    /// <summary>A blob that is not here yet, on its way: one for all who want it. The repository is given it when it is complete.</summary>
    public FillingBlob Fetch(RepositoryName repository, Digest digest)
    {
        var blob = filling.GetOrAdd(digest, _ => new FillingBlob(digest, store.TemporaryName()));
        lock (blob)
        {
            if (blob.Done == Task.CompletedTask) blob.Done = FillAsync(blob, repository);
            else _ = blob.Done.ContinueWith(_ => store.Mount(null, repository, digest), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
        }
        return blob;
    }

    private async Task FillAsync(FillingBlob blob, RepositoryName repository)
    {
        await Task.Yield();
        try
        {
            if (store.TouchBlob(repository, blob.Digest) is { } length)
            {
                blob.Begin(length); // it came between the question and the fetch
                blob.Verified();
                return;
            }
            await fetches.WaitAsync(stopping.Token).ConfigureAwait(false);
            try
            {
                await FetchAsync(blob, For(repository)).ConfigureAwait(false);
            }
            finally
            {
                fetches.Release();
            }
            store.AdoptBlob(blob.Path, repository, blob.Digest);
            blob.Verified();
        }
        catch (Exception e)
        {
            blob.Fail(e switch
            {
                RegistryException { Status: 401 or 403 or 404 } => new DistributionException(DistributionError.BlobUnknown, $"{endpoint.Api.Host} has no blob {blob.Digest}", e),
                DistributionException => e,
                _ => Unavailable(e),
            });
            File.Delete(blob.Path);
            throw;
        }
        finally
        {
            filling.TryRemove(blob.Digest, out _);
        }
    }

    private async Task FetchAsync(FillingBlob blob, RegistryClient registry)
    {
        using var file = File.OpenHandle(blob.Path, FileMode.CreateNew, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete);
        using var hash = blob.Digest.StartHash();
        var buffer = new byte[BufferBytes];
        long at = 0;
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                at = await ReceiveAsync(blob, registry, file, hash, buffer, at).ConfigureAwait(false);
                break;
            }
            catch (Exception e) when (attempt < MaxAttempts && (e is IOException or HttpRequestException or OperationCanceledException) && !stopping.IsCancellationRequested && RandomAccess.GetLength(file) > 0)
            {
                at = RandomAccess.GetLength(file);
                log.FetchGoesOn(blob.Digest, at, e.Message);
            }
        }
        if (!blob.Digest.Matches(hash.GetHashAndReset())) throw new DistributionException(DistributionError.Unavailable, $"{endpoint.Api.Host} gave {at} bytes for blob {blob.Digest} that have another digest");
        RandomAccess.FlushToDisk(file);
    }

    private async Task<long> ReceiveAsync(FillingBlob blob, RegistryClient registry, SafeFileHandle file, System.Security.Cryptography.IncrementalHash hash, byte[] buffer, long at)
    {
        using var response = await registry.OpenBlobAsync(blob.Digest, at, stopping.Token).ConfigureAwait(false);
        var resumed = response.StatusCode == HttpStatusCode.PartialContent && response.Content.Headers.ContentRange?.From == at;
        var skip = resumed ? 0 : at;
        var length = resumed ? response.Content.Headers.ContentRange!.Length : response.Content.Headers.ContentLength;
        blob.Begin(length);
        await using var content = await response.Content.ReadAsStreamAsync(stopping.Token).ConfigureAwait(false);
        using var stall = CancellationTokenSource.CreateLinkedTokenSource(stopping.Token);
        while (true)
        {
            stall.CancelAfter(RegistryClient.StallTimeout);
            var count = await content.ReadAsync(buffer, stall.Token).ConfigureAwait(false);
            if (count == 0) break;
            var start = (int)Math.Min(skip, count);
            skip -= start;
            if (start == count) continue;
            RandomAccess.Write(file, buffer.AsSpan(start, count - start), at);
            hash.AppendData(buffer, start, count - start);
            at += count - start;
            blob.Advance(at);
        }
        return length is null || at == length ? at : throw new IOException($"the answer ended after {at} of {length} bytes");
    }

    // ---- lists

    public async Task<IReadOnlyList<string>?> ListTagsAsync(RepositoryName repository, CancellationToken cancellation)
    {
        try
        {
            return [.. (await For(repository).GetTagsAsync(cancellation).ConfigureAwait(false)).Order(StringComparer.Ordinal)];
        }
        catch (RegistryException e) when (e.Status is 401 or 403 or 404)
        {
            return null;
        }
        catch (Exception e) when (IsAway(e) && !cancellation.IsCancellationRequested)
        {
            log.UpstreamAway(endpoint.Api, e.Message);
            return store.Exists(repository) ? store.ListTags(repository) : throw Unavailable(e);
        }
    }

    public async Task<IReadOnlyList<Referrer>> ListReferrersAsync(RepositoryName repository, Digest subject, string artifactType, CancellationToken cancellation)
    {
        try
        {
            if (await For(repository).GetReferrersAsync(subject, artifactType, cancellation).ConfigureAwait(false) is { } found)
                return [.. found.Select(d => new Referrer { MediaType = d.MediaType ?? "", Digest = d.DigestText ?? "", Size = d.SizeBytes, ArtifactType = d.ArtifactType, Annotations = d.Annotations }).OrderBy(r => r.Digest, StringComparer.Ordinal)];
        }
        catch (Exception e) when ((IsAway(e) || e is RegistryException) && !cancellation.IsCancellationRequested)
        {
            log.UpstreamAway(endpoint.Api, e.Message);
        }
        // Also for one that knows nothing of referrers: what is kept here may be less, and no client fails for it.
        return [.. store.ListReferrers(repository, subject).Where(r => artifactType.Length == 0 || r.ArtifactType == artifactType)];
    }

    private static bool IsAway(Exception e) => e is IOException or HttpRequestException or OperationCanceledException or ImageException or RegistryException { Status: 429 or >= 500 };

    private DistributionException Unavailable(Exception e) => new(DistributionError.Unavailable, $"{endpoint.Api.Host} cannot be reached or fails: {e.Message}", e);

    public void Dispose()
    {
        stopping.Cancel();
        transport.Dispose();
    }
}
