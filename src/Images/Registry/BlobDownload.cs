using System.Net;
using System.Security.Cryptography;
using Berth.Images.Layers;
using Berth.Images.Storage;

namespace Berth.Images.Registry;

/// <summary>
/// A blob on its way from a registry into a pipe, hashed as it comes. When the connection breaks it goes on from where it was
/// (by a range request, or by skipping what it has), so whoever unpacks at the other end notices nothing. What an earlier pull has left of it comes from the disk.
/// </summary>
internal sealed class BlobDownload(RegistryClient registry, Descriptor blob, ProgressSink sink, ImageStoreOptions options, PartialBlob? partial = null)
{
    private readonly Digest digest = blob.Digest;
    private long received;
    private bool useRanges = true, inPieces;

    /// <summary>Downloads all of it into the pipe. Never throws: the pipe's reader does.</summary>
    public async Task FillAsync(BlockPipe pipe, CancellationToken cancellation)
    {
        using var hash = digest.StartHash();
        var counter = sink.Count(digest.ShortId, "Downloading", blob.SizeBytes);
        try
        {
            await ReplayAsync(pipe, hash, counter, cancellation).ConfigureAwait(false);
            // A mirror gets one try; after it comes another way to the same blob.
            var attempts = registry.Endpoint.IsMirror ? 1 : options.MaxDownloadAttempts;
            for (var attempt = 1; blob.SizeBytes == 0 || received < blob.SizeBytes; attempt++)
            {
                try
                {
                    await ReceiveAsync(pipe, hash, counter, cancellation).ConfigureAwait(false);
                    break;
                }
                catch (RangeException e) when (useRanges)
                {
                    // From the start, then, skipping what is here; that is no failed try.
                    ImagesLog.DownloadRetried(options.Logger, digest, received, attempt, attempts, e.Message);
                    useRanges = false;
                    attempt--;
                }
                catch (Exception e) when (!cancellation.IsCancellationRequested && IsTransient(e) && attempt < attempts)
                {
                    inPieces |= received > 0;
                    ImagesLog.DownloadRetried(options.Logger, digest, received, attempt + 1, attempts, e.Message);
                    // Docker's pause: five seconds more each time, counted down before the user's eyes.
                    for (var left = 5 * attempt; left > 0; left--)
                    {
                        sink.Update(digest.ShortId, $"Retrying in {left} second{(left == 1 ? "" : "s")}");
                        await Task.Delay(options.RetryUnit, options.Time, cancellation).ConfigureAwait(false);
                    }
                }
            }
            sink.Update(digest.ShortId, "Verifying Checksum");
            if (!digest.Matches(hash.GetHashAndReset())) throw inPieces ? new PiecesException(Mismatch()) : Mismatch();
            sink.Update(digest.ShortId, "Download complete");
            pipe.Complete();
        }
        catch (Exception e)
        {
            pipe.Complete(e);
        }
    }

    private static bool IsTransient(Exception e) => e switch
    {
        RegistryException { IsFinal: var final } => !final,
        ImageException => false,
        OperationCanceledException => true, // the stall timeout; the caller's cancellation was looked at before
        _ => e is IOException or HttpRequestException,
    };

    private ImageException Mismatch() => ImageException.Failed($"filesystem layer verification failed for digest {digest}");

    // What an earlier pull has brought.
    private async Task ReplayAsync(BlockPipe pipe, IncrementalHash hash, ProgressSink.Counter counter, CancellationToken cancellation)
    {
        if (partial is not { Length: > 0 and var length }) return;
        ImagesLog.DownloadContinued(options.Logger, digest, length);
        inPieces = true;
        while (received < length)
        {
            var block = await pipe.RentAsync(cancellation).ConfigureAwait(false);
            var count = partial.Read(block.AsSpan(0, (int)Math.Min(BlockPipe.BlockBytes, length - received)), received);
            if (count == 0)
            {
                pipe.Return(block);
                throw new IOException($"the file of {digest} became shorter");
            }
            Take(pipe, block, count, hash, counter);
        }
    }

    private async Task ReceiveAsync(BlockPipe pipe, IncrementalHash hash, ProgressSink.Counter counter, CancellationToken cancellation)
    {
        using var response = await OpenAsync(cancellation).ConfigureAwait(false);
        var skip = SkipOf(response);
        await using var stream = await response.Content.ReadAsStreamAsync(cancellation).ConfigureAwait(false);
        using var stall = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        stall.CancelAfter(options.StallTimeout);
        var sinceStall = 0;
        while (true)
        {
            // While the pipe is full it is us who are slow.
            var waiting = pipe.RentAsync(cancellation);
            var areSlow = !waiting.IsCompleted;
            if (areSlow) stall.CancelAfter(Timeout.InfiniteTimeSpan);
            var block = await waiting.ConfigureAwait(false);
            if (areSlow) stall.CancelAfter(options.StallTimeout);
            int count;
            try
            {
                count = await stream.ReadAsync(block.AsMemory(0, BlockPipe.BlockBytes), stall.Token).ConfigureAwait(false);
            }
            catch
            {
                pipe.Return(block);
                throw;
            }
            if (count == 0)
            {
                pipe.Return(block);
                // A server that closes an answer without a length early: what is missing is asked for.
                if (received < blob.SizeBytes) throw new IOException("unexpected EOF");
                return;
            }
            if ((sinceStall += count) >= RegistryClient.MinBytesBetweenStalls)
            {
                sinceStall = 0;
                stall.CancelAfter(options.StallTimeout);
            }
            var start = (int)Math.Min(skip, count);
            skip -= start;
            if (start > 0) block.AsSpan(start, count - start).CopyTo(block);
            count -= start;
            if (blob.SizeBytes > 0 && received + count > blob.SizeBytes)
            {
                pipe.Return(block);
                throw Mismatch();
            }
            if (count == 0)
            {
                pipe.Return(block);
                continue;
            }
            partial?.Append(block.AsSpan(0, count));
            Take(pipe, block, count, hash, counter);
        }
    }

    private void Take(BlockPipe pipe, byte[] block, int count, IncrementalHash hash, ProgressSink.Counter counter)
    {
        received += count;
        hash.AppendData(block, 0, count);
        counter.Add(count);
        pipe.Push(block, count);
    }

    private async Task<HttpResponseMessage> OpenAsync(CancellationToken cancellation)
    {
        try
        {
            return await registry.OpenBlobAsync(digest, useRanges ? received : 0, cancellation).ConfigureAwait(false);
        }
        catch (RegistryException e) when (e.Status == (int)HttpStatusCode.RequestedRangeNotSatisfiable && received > 0 && useRanges)
        {
            throw new RangeException(e.Message);
        }
        catch (RegistryException e) when (e.Status == 404 && blob.Urls is [var url, ..])
        {
            throw ImageException.Failed($"layer {digest} is a foreign layer that {registry.Endpoint.Api.Authority} does not have; the image says that it is at {TarExtractor.Show(System.Text.Encoding.UTF8.GetBytes(url))}, from where this engine does not fetch", e);
        }
    }

    // How much of what comes is here already. An answer of another length, or one that begins where it was not asked to, is not the blob's rest.
    private long SkipOf(HttpResponseMessage response)
    {
        var headers = response.Content.Headers;
        if (response.StatusCode != HttpStatusCode.PartialContent)
        {
            if (blob.SizeBytes > 0 && headers.ContentLength is { } length && length != blob.SizeBytes) throw Mismatch();
            return received;
        }
        if (headers.ContentRange is not { From: { } from } range || from > received || (range.Length is { } whole && blob.SizeBytes > 0 && whole != blob.SizeBytes))
            throw new RangeException($"the registry answered bytes {headers.ContentRange} when asked for those from {received} on");
        return received - from;
    }

    private sealed class RangeException(string message) : IOException(message);
}

/// <summary>A blob that came in pieces is not what it should be: whole, it may be.</summary>
internal sealed class PiecesException(ImageException inner) : IOException(inner.Message, inner);
