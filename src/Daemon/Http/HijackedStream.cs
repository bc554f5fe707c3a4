using Berth.Api;
using System.Net.Sockets;

namespace Berth.Daemon.Http;

/// <summary>
/// A connection after its HTTP request: bytes both ways, each direction ending on its own. Reading returns 0 when the client
/// has half-closed; writing goes on. <see cref="CloseWriteAsync"/> ends our direction and lets the client finish.
/// </summary>
internal sealed class HijackedStream(Socket socket, byte[] early) : SequentialStream
{
    /// <summary>How long a client may go on sending after we have ended our side, and how much, before the connection is closed under it.</summary>
    public static readonly TimeSpan LingerAtMost = TimeSpan.FromSeconds(5);
    public const long LingerBytesAtMost = 16 << 20;

    private int _earlyRead;
    private bool _inputEnded;
    private bool _writeClosed;

    /// <summary>The socket itself, for those who hand it to another process. Empty <see cref="Early"/> first.</summary>
    public Socket Socket => socket;

    /// <summary>Something came right behind the request and was not read yet.</summary>
    public bool HasEarlyInput => _earlyRead < early.Length;

    public override bool CanRead => true;
    public override bool CanWrite => true;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_earlyRead < early.Length)
        {
            var count = Math.Min(buffer.Length, early.Length - _earlyRead);
            early.AsSpan(_earlyRead, count).CopyTo(buffer.Span);
            _earlyRead += count;
            return count;
        }
        var read = await socket.ReceiveAsync(buffer, SocketFlags.None, cancellationToken);
        if (read == 0 && buffer.Length > 0)
            _inputEnded = true;
        return read;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (buffer.Length > 0)
            buffer = buffer[await socket.SendAsync(buffer, SocketFlags.None, cancellationToken)..];
    }

    /// <summary>Ends our direction; the client reads the end of the stream once it has read all that was written.</summary>
    public void CloseWrite()
    {
        if (_writeClosed)
            return;
        _writeClosed = true;
        try
        {
            socket.Shutdown(SocketShutdown.Send);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The client is gone; there is nobody left to tell.
        }
    }

    public override async ValueTask DisposeAsync()
    {
        CloseWrite();
        // Closing a socket with unread input resets it, and the client loses output it has not read yet. So what it still sends
        // (`yes | docker run -i … head -1`) is read and dropped until it closes too, within limits.
        if (!_inputEnded)
        {
            using var limit = new CancellationTokenSource(LingerAtMost);
            var scratch = new byte[16 * 1024];
            try
            {
                long dropped = 0;
                int read;
                while (dropped < LingerBytesAtMost && (read = await socket.ReceiveAsync(scratch.AsMemory(), SocketFlags.None, limit.Token)) > 0)
                    dropped += read;
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException)
            {
                // Hung up, or took too long.
            }
        }
        socket.Dispose();
        GC.SuppressFinalize(this);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            socket.Dispose();
        base.Dispose(disposing);
    }
}
