using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;

namespace Berth.Daemon.BuildKit;

/// <summary>The bytes of a call whose messages are pieces of a stream, both ways: a connection within a connection, as Control.Session is one.</summary>
internal sealed class CallStream(GrpcCall call) : SequentialStream
{
    private ReadOnlyMemory<byte> _rest;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (_rest.IsEmpty)
        {
            if (buffer.IsEmpty) return 0;
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, call.Gone);
            try
            {
                if (await call.ReadAsync<BytesMessage>(either.Token) is not { } message) return 0;
                _rest = message.Data;
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                return 0; // the client has ended the call
            }
        }
        var count = Math.Min(buffer.Length, _rest.Length);
        _rest[..count].CopyTo(buffer);
        _rest = _rest[count..];
        return count;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            if (buffer.Length > 0) await call.WriteAsync(new BytesMessage(buffer.ToArray()));
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new IOException("the client has ended the call", e);
        }
    }

    public override bool CanRead => true;
    public override bool CanWrite => true;
}
