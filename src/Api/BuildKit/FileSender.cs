using System.Text;
using System.Threading.Channels;
using Berth.Api.Grpc;

namespace Berth.Api.BuildKit;

/// <summary>A tree of files that can be sent.</summary>
public interface ISentFiles
{
    /// <summary>All of them, a directory before what is in it, names in the order of their bytes.</summary>
    IEnumerable<FileStat> List(CancellationToken cancellation);

    /// <summary>The content of a regular file that was listed.</summary>
    /// <exception cref="IOException"/>
    Stream Open(string path);
}

/// <summary>Sends a tree of files: tells all of them, and answers requests for contents by their place in the list. The protocol of tonistiigi/fsutil.</summary>
public sealed class FileSender(ISentFiles files)
{
    private const int PieceBytes = 32 * 1024;

    /// <param name="read">The receiver's next packet; null at its end.</param>
    /// <param name="write">Sends a packet.</param>
    /// <param name="cancellation">The transfer is given up.</param>
    /// <exception cref="GrpcException">The receiver has ended the transfer, or asks for what it was not told of.</exception>
    public async Task SendAsync(Func<Task<Packet?>> read, Func<Packet, Task> write, CancellationToken cancellation)
    {
        var told = new Dictionary<uint, string>();
        var wanted = Channel.CreateUnbounded<uint>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var telling = GuardAsync(TellAsync(told, write, stop.Token), write);
        var sending = GuardAsync(SendContentsAsync(told, wanted.Reader, write, stop.Token), write);
        try
        {
            while (true)
            {
                var packet = await read().ConfigureAwait(false) ?? throw new GrpcException(GrpcCode.Unavailable, "the receiver ended the transfer before its time");
                if (packet.Type == PacketType.Error) throw new GrpcException(GrpcCode.Unknown, "error from receiver: " + Encoding.UTF8.GetString(packet.Data));
                if (packet.Type == PacketType.End) break;
                if (packet.Type == PacketType.Request) wanted.Writer.TryWrite(packet.Id);
            }
            await telling.ConfigureAwait(false);
            wanted.Writer.Complete();
            await sending.ConfigureAwait(false);
            await write(new Packet(PacketType.End)).ConfigureAwait(false);
        }
        finally
        {
            wanted.Writer.TryComplete();
            await stop.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(telling, sending).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    // The receiver ends a transfer that it is told has failed, and with it our waiting for it.
    private static async Task GuardAsync(Task work, Func<Packet, Task> write)
    {
        try
        {
            await work.ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException and not GrpcException { Code: GrpcCode.Unavailable or GrpcCode.Cancelled })
        {
            await write(new Packet(PacketType.Error) { Data = Encoding.UTF8.GetBytes(e.Message) }).ConfigureAwait(false);
            throw;
        }
    }

    private async Task TellAsync(Dictionary<uint, string> told, Func<Packet, Task> write, CancellationToken cancellation)
    {
        // Requests are read meanwhile.
        await Task.Yield();
        var id = 0u;
        foreach (var file in files.List(cancellation))
        {
            if ((file.Mode & FileStat.Kinds) == 0 && file.LinkName.Length == 0)
                lock (told) told[id] = file.Path;
            id++;
            await write(new Packet(PacketType.Stat) { Stat = file }).ConfigureAwait(false);
        }
        await write(new Packet(PacketType.Stat)).ConfigureAwait(false);
    }

    private async Task SendContentsAsync(Dictionary<uint, string> told, ChannelReader<uint> wanted, Func<Packet, Task> write, CancellationToken cancellation)
    {
        var buffer = new byte[PieceBytes];
        await foreach (var id in wanted.ReadAllAsync(cancellation).ConfigureAwait(false))
        {
            string? path;
            lock (told)
                if (!told.Remove(id, out path)) throw new GrpcException(GrpcCode.InvalidArgument, $"invalid file id {id}");
            var content = files.Open(path);
            await using (content.ConfigureAwait(false))
            {
                int count;
                while ((count = await content.ReadAsync(buffer, cancellation).ConfigureAwait(false)) > 0) await write(new Packet(PacketType.Data) { Id = id, Data = buffer[..count] }).ConfigureAwait(false);
            }
            await write(new Packet(PacketType.Data) { Id = id }).ConfigureAwait(false);
        }
    }
}
