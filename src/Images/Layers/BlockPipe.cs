using System.Buffers;
using System.Collections.Concurrent;

namespace Berth.Images.Layers;

/// <summary>
/// A bounded pipe of blocks between two threads, so that reading, decompressing, hashing and unpacking overlap. The writing
/// end may be async (a network) or not; the reading end is an ordinary blocking stream for a thread of its own.
/// </summary>
internal sealed class BlockPipe : IDisposable
{
    public const int BlockBytes = 256 * 1024;

    /// <summary>Blocks on the way at once: 2 MiB, enough to even out the two sides.</summary>
    public const int MaxBlocks = 8;

    private readonly ConcurrentQueue<(byte[] Block, int Count)> queue = new();
    private readonly SemaphoreSlim free = new(MaxBlocks), filled = new(0);
    private readonly CancellationTokenSource readerGone = new();
    private volatile Exception? failure;

    public BlockPipe() => Reader = new ReadEnd(this);

    /// <summary>The reading end: blocks until data, the end, or throws what the writer completed with.</summary>
    public Stream Reader { get; }

    /// <summary>Waits for room and lends a block of <see cref="BlockBytes"/>, to be given back by <see cref="Push"/>.</summary>
    /// <exception cref="OperationCanceledException">The reader has gone, or <paramref name="cancellation"/>.</exception>
    public async ValueTask<byte[]> RentAsync(CancellationToken cancellation)
    {
        if (!free.Wait(0, CancellationToken.None))
        {
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellation, readerGone.Token);
            await free.WaitAsync(either.Token).ConfigureAwait(false);
        }
        cancellation.ThrowIfCancellationRequested();
        readerGone.Token.ThrowIfCancellationRequested();
        return ArrayPool<byte>.Shared.Rent(BlockBytes);
    }

    /// <summary>As <see cref="RentAsync"/>, for a writer with a thread of its own.</summary>
    public byte[] Rent()
    {
        free.Wait(readerGone.Token);
        return ArrayPool<byte>.Shared.Rent(BlockBytes);
    }

    /// <summary>Gives a rented block back unused.</summary>
    public void Return(byte[] block)
    {
        ArrayPool<byte>.Shared.Return(block);
        free.Release();
    }

    public void Push(byte[] block, int count)
    {
        queue.Enqueue((block, count));
        filled.Release();
    }

    /// <summary>Nothing more will come. With an exception the reader throws it after what was pushed before.</summary>
    public void Complete(Exception? error = null)
    {
        failure = error;
        queue.Enqueue(([], 0));
        filled.Release();
    }

    /// <summary>Copies an async stream into the pipe until its end; never throws, the reader does.</summary>
    public async Task FillAsync(Stream source, Action<ReadOnlyMemory<byte>>? onBlock, CancellationToken cancellation)
    {
        try
        {
            while (true)
            {
                var block = await RentAsync(cancellation).ConfigureAwait(false);
                var count = await source.ReadAsync(block.AsMemory(0, BlockBytes), cancellation).ConfigureAwait(false);
                if (count == 0) break;
                onBlock?.Invoke(block.AsMemory(0, count));
                Push(block, count);
            }
            Complete();
        }
        catch (Exception e)
        {
            Complete(e);
        }
    }

    /// <summary>The other way about: copies what a blocking writer pushes into an async stream, until the writer has completed; throws what it completed with.</summary>
    public async Task DrainAsync(Stream output, CancellationToken cancellation)
    {
        while (true)
        {
            await filled.WaitAsync(cancellation).ConfigureAwait(false);
            queue.TryDequeue(out var next);
            if (next.Block.Length == 0)
            {
                if (failure is { } e) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e);
                return;
            }
            try
            {
                await output.WriteAsync(next.Block.AsMemory(0, next.Count), cancellation).ConfigureAwait(false);
            }
            finally
            {
                Return(next.Block);
            }
        }
    }

    /// <summary>Runs what writes with blocking calls on a thread of its own, and copies it into an async stream.</summary>
    public static async Task ThroughAsync(Action<Stream> write, Stream output, CancellationToken cancellation)
    {
        using var pipe = new BlockPipe();
        var writing = Task.Factory.StartNew(() =>
        {
            try
            {
                using var end = pipe.OpenWriter();
                write(end);
                end.Flush();
                pipe.Complete();
            }
            catch (Exception e)
            {
                pipe.Complete(e);
            }
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            await pipe.DrainAsync(output, cancellation).ConfigureAwait(false);
        }
        finally
        {
            pipe.Dispose();
            await writing.ConfigureAwait(false);
        }
    }

    /// <summary>The writing end as a stream for a thread with blocking calls. Throws <see cref="OperationCanceledException"/> when the reader has gone.</summary>
    public Stream OpenWriter() => new WriteEnd(this);

    /// <summary>Said by the reader: the writer is to stop.</summary>
    public void Dispose() => readerGone.Cancel();

    private sealed class ReadEnd(BlockPipe pipe) : ReadOnlyStream
    {
        private byte[] block = [];
        private int start, end;
        private bool ended;

        public override int Read(Span<byte> buffer)
        {
            if (buffer.IsEmpty) return 0;
            while (start == end)
            {
                if (ended) return pipe.failure is { } e ? throw Rethrown(e) : 0;
                pipe.filled.Wait();
                pipe.queue.TryDequeue(out var next);
                Recycle();
                (block, start, end) = (next.Block, 0, next.Count);
                if (block.Length == 0) ended = true;
            }
            var count = Math.Min(buffer.Length, end - start);
            block.AsSpan(start, count).CopyTo(buffer);
            start += count;
            if (start == end) Recycle();
            return count;
        }

        private void Recycle()
        {
            if (block.Length == 0) return;
            ArrayPool<byte>.Shared.Return(block);
            (block, start, end) = ([], 0, 0);
            pipe.free.Release();
        }

        private static Exception Rethrown(Exception e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e);
            return e;
        }
    }

    private sealed class WriteEnd(BlockPipe pipe) : WriteOnlyStream
    {
        private byte[]? block;
        private int count;

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            while (!buffer.IsEmpty)
            {
                block ??= pipe.Rent();
                var some = Math.Min(buffer.Length, BlockBytes - count);
                buffer[..some].CopyTo(block.AsSpan(count));
                count += some;
                buffer = buffer[some..];
                if (count == BlockBytes) Flush();
            }
        }

        public override void Flush()
        {
            if (block is null) return;
            pipe.Push(block, count);
            (block, count) = (null, 0);
        }

        protected override void Dispose(bool disposing)
        {
            if (block is not null) pipe.Return(block);
            block = null;
            base.Dispose(disposing);
        }
    }
}
