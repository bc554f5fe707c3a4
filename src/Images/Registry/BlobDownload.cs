using System.Net;
using System.Security.Cryptography;
using Berth.Images.Layers;
using Microsoft.Extensions.Logging;

namespace Berth.Images.Registry;

/// <summary>
/// A blob on its way from a registry into a pipe, hashed as it comes. When the connection breaks it goes on from where it was
/// (by a range request, or by skipping what it has), so whoever unpacks at the other end notices nothing.
/// </summary>
internal sealed class BlobDownload(RegistryClient registry, Descriptor blob, ProgressSink sink, ImageStoreOptions options)
{
    private readonly Digest digest = blob.Digest;
    private long received;

    /// <summary>Downloads all of it into the pipe. Never throws: the pipe's reader does.</summary>
    public async Task FillAsync(BlockPipe pipe, CancellationToken cancellation)
    {
        using var hash = digest.StartHash();
        var counter = sink.Count(digest.ShortId, "Downloading", blob.SizeBytes);
        try
        {
            for (var attempt = 1; ; attempt++)
            {
                try
                {
                    await ReceiveAsync(pipe, hash, counter, cancellation).ConfigureAwait(false);
                    break;
                }
                catch (Exception e) when (!cancellation.IsCancellationRequested && IsTransient(e) && attempt < options.MaxDownloadAttempts)
                {
                    ImagesLog.DownloadRetried(options.Logger, digest, received, attempt + 1, options.MaxDownloadAttempts, e.Message);
                    // Docker's pause: five seconds more each time, counted down before the user's eyes.
                    for (var left = 5 * attempt; left > 0; left--)
                    {
                        sink.Update(digest.ShortId, $"Retrying in {left} second{(left == 1 ? "" : "s")}");
                        await Task.Delay(options.RetryUnit, options.Time, cancellation).ConfigureAwait(false);
                    }
                }
            }
            sink.Update(digest.ShortId, "Verifying Checksum");
            if (!digest.Matches(hash.GetHashAndReset())) throw Mismatch();
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

    private async Task ReceiveAsync(BlockPipe pipe, IncrementalHash hash, ProgressSink.Counter counter, CancellationToken cancellation)
    {
        using var response = await registry.OpenBlobAsync(digest, received, cancellation).ConfigureAwait(false);
        var skip = response.StatusCode == HttpStatusCode.PartialContent && response.Content.Headers.ContentRange?.From == received ? 0 : received;
        await using var stream = await response.Content.ReadAsStreamAsync(cancellation).ConfigureAwait(false);
        using var stall = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        while (true)
        {
            var block = await pipe.RentAsync(cancellation).ConfigureAwait(false);
            stall.CancelAfter(RegistryClient.StallTimeout);
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
            stall.CancelAfter(Timeout.InfiniteTimeSpan);
            if (count == 0)
            {
                pipe.Return(block);
                // A server that closes an answer without a length early: what is missing is asked for.
                if (received < blob.SizeBytes) throw new IOException("unexpected EOF");
                return;
            }
            var start = (int)Math.Min(skip, count);
            skip -= start;
            if (start > 0) block.AsSpan(start, count - start).CopyTo(block);
            count -= start;
            received += count;
            if (blob.SizeBytes > 0 && received > blob.SizeBytes)
            {
                pipe.Return(block);
                throw Mismatch();
            }
            hash.AppendData(block, 0, count);
            counter.Add(count);
            if (count == 0) pipe.Return(block);
            else pipe.Push(block, count);
        }
    }
}
