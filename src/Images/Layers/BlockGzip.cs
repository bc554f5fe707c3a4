using System.Buffers;
using System.IO.Compression;
using System.Threading.Channels;

namespace Berth.Images.Layers;

/// <summary>
/// gzip on all processors, and always the same bytes for the same content: the content is cut into blocks of one size, each becomes a
/// gzip member of its own, without a time or a name, and members in a row are one gzip stream (RFC 1952, 2.2). Only the order in which blocks are done depends
/// on the machine, and they are given out in the order of the content.
/// </summary>
/// <remarks>
/// Digests of pushed layers hang on <see cref="BlockBytes"/>, <see cref="Level"/> and the runtime's zlib: a change of one is a new digest for
/// every layer that is pushed for the first time from then on.
/// </remarks>
internal sealed class BlockGzip : IDisposable
{
    /// <summary>Large enough that starting afresh costs little (0.1 % against one stream), small enough that some of them fit into memory for every layer on its way.</summary>
    public const int BlockBytes = 512 * 1024;

    /// <summary>zlib's; see docs/decisions/0840 for what the others cost.</summary>
    public const int Level = 3;

    /// <summary>Blocks of one layer worked on at once.</summary>
    private static readonly int MaxBlocks = Math.Clamp(Environment.ProcessorCount, 1, 4) + 1;

    // What deflate may add to a block that it can't make smaller, and the member's head and tail.
    private const int Expansion = BlockBytes / 1024 + 128;

    // A member that holds nothing.
    private static readonly byte[] Nothing = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    private readonly Channel<Task<ArraySegment<byte>>> blocks = Channel.CreateBounded<Task<ArraySegment<byte>>>(
        new BoundedChannelOptions(MaxBlocks) { SingleReader = true, SingleWriter = true });
    private readonly CancellationTokenSource gone = new();
    private readonly Task reading;
    private readonly Action<int>? onRead;
    private readonly int level;

    /// <param name="source">Read by a thread of its own, with blocking calls, until its end or until this is disposed; not closed.</param>
    /// <param name="onRead">Told how much was read of it, from that thread.</param>
    /// <param name="level">zlib's, 0 to 9.</param>
    public BlockGzip(Stream source, Action<int>? onRead = null, int level = Level)
    {
        (this.onRead, this.level) = (onRead, Math.Clamp(level, 0, 9));
        reading = Task.Factory.StartNew(() => Read(source), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>Gives out the compressed content, a member at a time; what is given is valid until <paramref name="take"/> has ended.</summary>
    /// <exception cref="Exception">What reading the source threw.</exception>
    public async Task CopyToAsync(Func<ReadOnlyMemory<byte>, ValueTask> take, CancellationToken cancellation)
    {
        await foreach (var block in blocks.Reader.ReadAllAsync(cancellation).ConfigureAwait(false))
        {
            var member = await block.ConfigureAwait(false);
            try
            {
                await take(member).ConfigureAwait(false);
            }
            finally
            {
                if (member.Array != Nothing) ArrayPool<byte>.Shared.Return(member.Array!);
            }
        }
    }

    private void Read(Stream source)
    {
        try
        {
            for (long total = 0; ;)
            {
                var block = ArrayPool<byte>.Shared.Rent(BlockBytes);
                int count;
                try
                {
                    count = source.ReadAtLeast(block.AsSpan(0, BlockBytes), BlockBytes, throwOnEndOfStream: false);
                }
                catch
                {
                    ArrayPool<byte>.Shared.Return(block);
                    throw;
                }
                if (count == 0)
                {
                    ArrayPool<byte>.Shared.Return(block);
                    if (total == 0) Give(Task.FromResult(new ArraySegment<byte>(Nothing)));
                    break;
                }
                total += count;
                onRead?.Invoke(count);
                Give(Task.Run(() => Compress(block, count)));
            }
            blocks.Writer.Complete();
        }
        catch (Exception e)
        {
            blocks.Writer.Complete(e);
        }
    }

    // Waits for room. What is given after the taker has gone is left to the collector.
    private void Give(Task<ArraySegment<byte>> block)
    {
        while (!blocks.Writer.TryWrite(block)) blocks.Writer.WaitToWriteAsync(gone.Token).AsTask().GetAwaiter().GetResult();
    }

    private ArraySegment<byte> Compress(byte[] block, int count)
    {
        var member = ArrayPool<byte>.Shared.Rent(BlockBytes + Expansion);
        try
        {
            var target = new MemoryStream(member, writable: true);
            using (var gzip = new GZipStream(target, new ZLibCompressionOptions { CompressionLevel = level }, leaveOpen: true)) gzip.Write(block, 0, count);
            return new ArraySegment<byte>(member, 0, (int)target.Position);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(block);
        }
    }

    /// <summary>Returns when the source is no longer read.</summary>
    public void Dispose()
    {
        gone.Cancel();
        reading.GetAwaiter().GetResult();
        gone.Dispose();
    }
}
