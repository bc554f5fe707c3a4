using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;

namespace Berth.Daemon.BuildKit;

/// <summary>What the other side of a call sends, piece by piece, as a stream to read. Ends the call when it is disposed of.</summary>
/// <typeparam name="T">The message that holds a piece.</typeparam>
internal sealed class PieceStream<T>(GrpcClientCall call, Func<T, byte[]> dataOf) : SequentialStream where T : class, IProtoMessage<T>
{
    private ReadOnlyMemory<byte> _piece;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            while (_piece.IsEmpty)
            {
                if (await call.ReadAsync<T>() is not { } next) return 0;
                _piece = dataOf(next);
            }
        }
        catch (GrpcException e)
        {
            throw new IOException(e.Message, e);
        }
        var count = Math.Min(buffer.Length, _piece.Length);
        _piece[..count].CopyTo(buffer);
        _piece = _piece[count..];
        return count;
    }

    public override async ValueTask DisposeAsync()
    {
        await call.DisposeAsync();
        await base.DisposeAsync();
    }

    public override bool CanRead => true;
}
