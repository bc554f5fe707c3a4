namespace Berth.Api;

/// <summary>
/// A connection after the switch of protocols: the container's output comes in, its input goes out, and each side ends by itself.
/// </summary>
public sealed class HijackedStream : SequentialStream
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
    public override bool CanWrite => true;
    public override int Read(Span<byte> buffer) => ReadBlocking(buffer);
    public override void Write(ReadOnlySpan<byte> buffer) => _connection.Write(buffer);
}
