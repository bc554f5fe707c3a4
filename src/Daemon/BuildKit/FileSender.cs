using System.Text;
using System.Threading.Channels;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Images;
using Berth.Linux.Abi;

namespace Berth.Daemon.BuildKit;

/// <summary>Sends a tree of files: the other side of <see cref="FileReceiver"/>.</summary>
internal sealed class FileSender(FileSet files)
{
    private const int PieceBytes = 32 * 1024;

    /// <exception cref="GrpcException">The client has ended the transfer, or asks for what it was not told of.</exception>
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
                var packet = await read() ?? throw new GrpcException(GrpcCode.Unavailable, "the client ended the transfer before its time");
                if (packet.Type == PacketType.Error) throw new GrpcException(GrpcCode.Unknown, "error from receiver: " + Encoding.UTF8.GetString(packet.Data));
                if (packet.Type == PacketType.End) break;
                if (packet.Type == PacketType.Request) wanted.Writer.TryWrite(packet.Id);
            }
            await telling;
            wanted.Writer.Complete();
            await sending;
            await write(new Packet(PacketType.End));
        }
        finally
        {
            wanted.Writer.TryComplete();
            await stop.CancelAsync();
            await Task.WhenAll(telling, sending).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    // The receiver ends a transfer that it is told has failed, and with it our waiting for it.
    private static async Task GuardAsync(Task work, Func<Packet, Task> write)
    {
        try
        {
            await work;
        }
        catch (Exception e) when (e is not OperationCanceledException and not GrpcException { Code: GrpcCode.Unavailable or GrpcCode.Cancelled })
        {
            await write(new Packet(PacketType.Error) { Data = Encoding.UTF8.GetBytes(e.Message) });
            throw;
        }
    }

    private async Task TellAsync(Dictionary<uint, string> told, Func<Packet, Task> write, CancellationToken cancellation)
    {
        var id = 0u;
        foreach (var file in files.List(cancellation))
        {
            if (file.Kind == FileKind.Regular && !file.IsHardLink)
                lock (told) told[id] = file.Path;
            id++;
            await write(new Packet(PacketType.Stat) { Stat = StatOf(file) });
        }
        await write(new Packet(PacketType.Stat));
    }

    private async Task SendContentsAsync(Dictionary<uint, string> told, ChannelReader<uint> wanted, Func<Packet, Task> write, CancellationToken cancellation)
    {
        var buffer = new byte[PieceBytes];
        await foreach (var id in wanted.ReadAllAsync(cancellation))
        {
            string? path;
            lock (told)
                if (!told.Remove(id, out path)) throw new GrpcException(GrpcCode.InvalidArgument, $"invalid file id {id}");
            using (var content = files.Open(path))
            {
                int count;
                while ((count = await content.ReadAsync(buffer, cancellation)) > 0) await write(new Packet(PacketType.Data) { Id = id, Data = buffer[..count] });
            }
            await write(new Packet(PacketType.Data) { Id = id });
        }
    }

    private static FileStat StatOf(FileSetEntry file) => new(file.Path)
    {
        Mode = FileStat.ModeOf(file.Permissions) | file.Kind switch
        {
            FileKind.Directory => FileStat.Directory,
            FileKind.SymbolicLink => FileStat.SymbolicLink,
            FileKind.Fifo => FileStat.NamedPipe,
            FileKind.Socket => FileStat.Socket,
            FileKind.BlockDevice => FileStat.Device,
            FileKind.CharacterDevice => FileStat.Device | FileStat.CharacterDevice,
            _ => 0,
        },
        Uid = file.Uid, Gid = file.Gid, Size = file.Kind == FileKind.Regular ? file.SizeBytes : 0, ModTime = file.Modified.Seconds * 1_000_000_000 + file.Modified.Nanoseconds, LinkName = file.LinkName,
        DeviceMajor = file.Device.Major, DeviceMinor = file.Device.Minor, Xattrs = XattrsOf(file),
    };

    private static Dictionary<string, byte[]> XattrsOf(FileSetEntry file)
    {
        var xattrs = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var (name, value) in file.Xattrs) xattrs[name] = value;
        return xattrs;
    }
}
