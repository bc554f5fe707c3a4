using System.Net;
using System.Security.Cryptography;
using Berth.Images.Layers;
using Microsoft.Extensions.Logging;

namespace Berth.Images.Registry;

/// <summary>
/// A layer on its way into a repository. What the registry has is not sent; what it has in another repository is mounted from there; the rest is put together,
/// compressed, hashed and sent in one stream. An upload that broke off goes on where the registry says it stopped: the same bytes are made again, and as many left out.
/// </summary>
internal sealed class LayerUpload(RegistryClient registry, KnownBlobs known, ImageReference repository, Digest diffId, Func<LayerSource> open, bool anyCompression, ProgressSink sink, ImageStoreOptions options)
{
    /// <summary>Tries, as by Docker.</summary>
    public const int MaxAttempts = 5;

    /// <summary>Longest Retry-After that is waited for.</summary>
    private static readonly TimeSpan MaxRetryAfter = TimeSpan.FromMinutes(2);

    /// <summary>Tars up to this are compressed into memory, so that their digest is known before anything is sent.</summary>
    private const int SmallBytes = 1024 * 1024;

    // Docker's: the smaller a layer, the sooner sending it is cheaper than asking.
    private const long MiddleBytes = 100 * 1024, LargeBytes = 10 * 1024 * 1024;

    private readonly string id = diffId.ShortId;

    // An upload begun but not finished, for the next try.
    private Uri? begun;

    /// <summary>Makes the repository have the layer; returns the form it has it in.</summary>
    /// <param name="preferred">The form to look for first: the one in the manifest that the image came with.</param>
    /// <exception cref="RegistryException">The registry refuses.</exception>
    public async Task<Descriptor> RunAsync(Descriptor? preferred, CancellationToken cancellation)
    {
        try
        {
            for (var attempt = 1; ; attempt++)
            {
                try
                {
                    return await TryAsync(preferred, cancellation).ConfigureAwait(false);
                }
                catch (Exception e) when (!cancellation.IsCancellationRequested && IsTransient(e) && attempt < MaxAttempts)
                {
                    ImagesLog.UploadRetried(options.Logger, diffId, attempt + 1, MaxAttempts, e.Message);
                    for (var left = PauseAfter(e, attempt); left > 0; left--)
                    {
                        sink.Update(id, $"Retrying in {left} second{(left == 1 ? "" : "s")}");
                        await Task.Delay(options.RetryUnit, options.Time, cancellation).ConfigureAwait(false);
                    }
                }
            }
        }
        catch when (begun is not null)
        {
            // Told with a short patience and without the caller's token, who may have gone: registries keep what nobody finishes for a week.
            using var shortly = new CancellationTokenSource(TimeSpan.FromSeconds(5));
            try
            {
                await registry.CancelUploadAsync(begun, shortly.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
            }
            throw;
        }
    }

    /// <summary>Whether another try may go better: the network, a busy registry (429, 5xx), and what Docker tries again as well.</summary>
    public static bool IsTransient(Exception e) => e switch
    {
        RegistryException registry => registry.Status is 429 or >= 500 || !registry.IsFinal,
        ImageException => false,
        OperationCanceledException => true, // nothing moved for too long; the caller's cancellation was looked at before
        _ => e is IOException or HttpRequestException,
    };

    /// <summary>Seconds until the next try: Docker's, five more each time, or what the registry wants.</summary>
    public static int PauseAfter(Exception e, int attempt) =>
        e is RegistryException { RetryAfter: { } after } ? (int)Math.Ceiling(Math.Clamp(after.TotalSeconds, 1, MaxRetryAfter.TotalSeconds)) : 5 * attempt;

    private async Task<Descriptor> TryAsync(Descriptor? preferred, CancellationToken cancellation)
    {
        using var layer = open();
        var forms = Forms(preferred);
        var (mounts, checks) = layer.SizeBytes > LargeBytes ? (4, 3) : layer.SizeBytes > MiddleBytes ? (3, 1) : (1, 1);

        // What this repository is said to have comes first, then what anything else has.
        var asked = new HashSet<string>();
        foreach (var form in forms.OrderByDescending(f => f.Repositories.Contains(repository.Name)))
        {
            if (!form.Repositories.Contains(repository.Name) && asked.Count >= checks) break;
            asked.Add(form.Digest);
            var digest = Digest.Parse(form.Digest);
            if (await HasAsync(digest, cancellation).ConfigureAwait(false)) return There(form, "Layer already exists");
            known.Remove(diffId, digest, repository.Name);
        }

        var candidates = forms.SelectMany(f => f.Repositories.Select(r => (Form: f, Repository: r)))
            .Where(c => c.Repository != repository.Name && c.Repository.StartsWith(repository.Domain + "/", StringComparison.Ordinal)).Take(mounts);
        Uri? fresh = null;
        foreach (var (form, from) in begun is null ? candidates : [])
        {
            var path = from[(repository.Domain.Length + 1)..];
            try
            {
                if (fresh is not null) await registry.CancelUploadAsync(fresh, cancellation).ConfigureAwait(false);
                // Not mounted means that an upload was begun: it serves as well as any other.
                fresh = await registry.StartUploadAsync(Digest.Parse(form.Digest), path, cancellation).ConfigureAwait(false);
                if (fresh is null) return There(form, $"Mounted from {path}");
            }
            catch (RegistryException e)
            {
                // It may be that only the other repository must not be read.
                ImagesLog.NotMounted(options.Logger, diffId, from, e.Message);
            }
        }

        var counter = sink.Count(id, "Pushing", layer.SizeBytes);
        var blob = layer.TarBytes <= SmallBytes
            ? await SendSmallAsync(layer, counter, asked, fresh, cancellation).ConfigureAwait(false)
            : await SendAsync(layer, counter, fresh, cancellation).ConfigureAwait(false);
        begun = null;
        if (blob.IsNew) sink.Update(id, "Pushed");
        known.Add(diffId, blob.Descriptor, repository.Name);
        return blob.Descriptor;
    }

    // What the registry says of a blob, short of having it, is no reason to give up: the upload will be told the same, in words.
    private async Task<bool> HasAsync(Digest digest, CancellationToken cancellation)
    {
        try
        {
            return await registry.FindBlobAsync(digest, cancellation).ConfigureAwait(false) is not null;
        }
        catch (RegistryException e) when (e.Code != RegistryException.NoCredentialsCode)
        {
            return false;
        }
    }

    private List<KnownBlob> Forms(Descriptor? preferred)
    {
        // Docker's manifests speak of gzip; whatever else the image came with may stay.
        var forms = known.Of(diffId).Where(f => anyCompression || LayerTypes.IsGzip(f.MediaType)).ToList();
        if (preferred is null) return forms;
        var at = forms.FindIndex(f => f.Digest == preferred.DigestText);
        var first = at < 0 ? new KnownBlob { Digest = preferred.DigestText!, SizeBytes = preferred.SizeBytes, MediaType = preferred.MediaType ?? "" } : forms[at];
        if (at >= 0) forms.RemoveAt(at);
        forms.Insert(0, first);
        return forms;
    }

    private Descriptor There(KnownBlob form, string status)
    {
        sink.Update(id, status);
        var blob = new Descriptor { MediaType = form.MediaType, DigestText = form.Digest, SizeBytes = form.SizeBytes };
        known.Add(diffId, blob, repository.Name);
        return blob;
    }

    private async Task<(Descriptor Descriptor, bool IsNew)> SendSmallAsync(LayerSource layer, ProgressSink.Counter counter, HashSet<string> asked, Uri? fresh, CancellationToken cancellation)
    {
        begun = fresh;
        var content = new MemoryStream();
        using (var gzip = new BlockGzip(layer.Tar, n => counter.Add(n)))
            await gzip.CopyToAsync(block =>
            {
                content.Write(block.Span);
                return ValueTask.CompletedTask;
            }, cancellation).ConfigureAwait(false);
        var bytes = content.GetBuffer().AsMemory(0, (int)content.Length);
        var digest = Digest.Sha256(bytes.Span);
        var blob = new Descriptor { MediaType = MediaTypes.DockerLayer, DigestText = digest.ToString(), SizeBytes = bytes.Length };
        if (asked.Add(blob.DigestText) && await HasAsync(digest, cancellation).ConfigureAwait(false))
        {
            if (begun is not null) await registry.CancelUploadAsync(begun, cancellation).ConfigureAwait(false);
            sink.Update(id, "Layer already exists");
            return (blob, false);
        }
        begun ??= await registry.StartUploadAsync(default, null, cancellation).ConfigureAwait(false);
        await registry.FinishUploadAsync(begun!, digest, bytes, cancellation).ConfigureAwait(false);
        return (blob, true);
    }

    private async Task<(Descriptor Descriptor, bool IsNew)> SendAsync(LayerSource layer, ProgressSink.Counter counter, Uri? fresh, CancellationToken cancellation)
    {
        long there = 0;
        if (begun is not null)
        {
            // Cleared first: an upload that cannot even be asked for is not asked for again.
            var earlier = begun;
            begun = null;
            if (await registry.ResumeUploadAsync(earlier, cancellation).ConfigureAwait(false) is { } resumed) (begun, there) = resumed;
            if (begun is not null) ImagesLog.UploadResumed(options.Logger, diffId, there);
        }
        begun ??= fresh ?? await registry.StartUploadAsync(default, null, cancellation).ConfigureAwait(false);

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var stall = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        long total = 0;
        ImageException? unreadable = null;
        using (var gzip = new BlockGzip(layer.Tar, n => counter.Add(n)))
        {
            var used = false;
            try
            {
            begun = await registry.SendUploadAsync(begun!, () => used ? throw new IOException("the registry asked again who is there") : new StreamedContent(async (target, sending) =>
            {
                used = true;
                try
                {
                    await gzip.CopyToAsync(async block =>
                    {
                        hash.AppendData(block.Span);
                        total += block.Length;
                        if (total <= there) return;
                        if (total - block.Length < there) block = block[(int)(there - (total - block.Length))..];
                        stall.CancelAfter(RegistryClient.StallTimeout);
                        await target.WriteAsync(block, sending).ConfigureAwait(false);
                    }, sending).ConfigureAwait(false);
                }
                catch (ImageException e)
                {
                    unreadable = e; // would come out dressed as a failure of the network
                    throw;
                }
                stall.CancelAfter(RegistryClient.StallTimeout);
            }), stall.Token).ConfigureAwait(false);
            }
            catch when (unreadable is not null)
            {
                throw unreadable;
            }
        }
        var digest = Digest.FromSha256Hash(hash.GetHashAndReset());
        var finish = begun;
        try
        {
            await registry.FinishUploadAsync(finish, digest, default, cancellation).ConfigureAwait(false);
        }
        catch (RegistryException)
        {
            begun = null; // what it has is not what was sent: from the beginning
            throw;
        }
        return (new Descriptor { MediaType = MediaTypes.DockerLayer, DigestText = digest.ToString(), SizeBytes = total }, true);
    }

    private sealed class StreamedContent(Func<Stream, CancellationToken, Task> write) : HttpContent
    {
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => write(stream, CancellationToken.None);
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken) => write(stream, cancellationToken);

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}

/// <summary>A layer's tar, open.</summary>
/// <param name="SizeBytes">Of its files.</param>
internal sealed record LayerSource(Stream Tar, long TarBytes, long SizeBytes) : IDisposable
{
    public void Dispose() => Tar.Dispose();
}
