namespace Berth.Api;

/// <summary>
/// A connection after the switch of protocols: the container's output comes in, its input goes out, and each side ends by itself.
/// </summary>
public sealed class HijackedStream : Stream
{
    private readonly HttpConnection _connection;

    internal HijackedStream(HttpConnection connection, bool multiplexed) => (_connection, IsMultiplexed) = (connection, multiplexed);

    /// <summary>True when the server said that the output is in frames (<see cref="StdFrame"/>); older servers do not say.</summary>
    public bool IsMultiplexed { get; }

    /// <summary>Says that no more input comes; output can still be read.</summary>
    public void CloseWrite()
    {
        try
        {
            _connection.ShutdownSend();
        }
        catch (System.Net.Sockets.SocketException)
        {
            // The other side is gone; reading will tell.
        }
    }

    /// <summary>Ends both directions from any thread; a read that is under way comes back with 0.</summary>
    public void Shutdown() => _connection.Shutdown();

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => _connection.ReadAsync(buffer, cancellationToken);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => _connection.WriteAsync(buffer, cancellationToken);

    protected override void Dispose(bool disposing)
    {
        if (disposing) _connection.Dispose();
        base.Dispose(disposing);
    }

    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }
    public override void Flush() { }
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
    public override int Read(byte[] buffer, int offset, int count) => ReadAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();
    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
    public override void Write(byte[] buffer, int offset, int count) => _connection.Write(buffer.AsSpan(offset, count));
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
}
