using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;

namespace Berth.Daemon.Http;

/// <summary>
/// A listening socket that exists already: bound by us (unix with its mode and group, tcp) or handed over by systemd.
/// Kestrel's AddressBinder wants an <see cref="EndPoint"/>; this one carries the socket itself.
/// </summary>
internal sealed class ListeningEndPoint(Socket socket, string display) : EndPoint
{
    public Socket Socket { get; } = socket;

    /// <summary>Turns an encrypted connection into a plain one, at once; null: it is plain.</summary>
    public Func<Socket, Socket>? Decrypt { get; init; }
    public override string ToString() => display;
}

/// <summary>A connection and where it comes from, which the plain end of an encrypted one does not know.</summary>
internal readonly record struct Client(Socket Socket, EndPoint? Address);

/// <summary>
/// The transport below Kestrel (docs/http.md). Kestrel's own keeps a receive pending on every connection and treats the
/// end of the peer's output as the end of the connection, which a half-closing `docker run -i` must not suffer; and it never
/// lets go of the socket, which a hijacked connection needs. This one reads when it is asked to and writes through.
/// </summary>
internal sealed class SocketTransport : IConnectionListenerFactory
{
    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        ValueTask.FromResult(endpoint as IConnectionListener ?? new Listener((ListeningEndPoint)endpoint));

    private sealed class Listener(ListeningEndPoint endpoint) : IConnectionListener
    {
        private readonly CancellationTokenSource _unbound = new();
        private readonly Channel<Client> _again = Channel.CreateUnbounded<Client>();
        private long _count;
        private Task<Socket>? _accepting;
        private Task<bool>? _returned;

        public EndPoint EndPoint => endpoint;

        // Whichever comes first: a new client, or one whose connection was lent and is given back.
        private async Task<Client> NextAsync()
        {
            while (true)
            {
                if (_again.Reader.TryRead(out var again))
                    return again;
                _accepting ??= endpoint.Socket.AcceptAsync(_unbound.Token).AsTask();
                _returned ??= _again.Reader.WaitToReadAsync(CancellationToken.None).AsTask();
                if (await Task.WhenAny(_accepting, _returned) == _returned)
                {
                    _returned = null;
                    continue;
                }
                var accepting = _accepting;
                _accepting = null;
                var socket = await accepting;
                if (socket.AddressFamily is AddressFamily.InterNetwork or AddressFamily.InterNetworkV6)
                    socket.NoDelay = true;
                var address = socket.RemoteEndPoint;
                return new Client(endpoint.Decrypt is { } decrypt ? decrypt(socket) : socket, address);
            }
        }

        private void TakeBack(Client client)
        {
            if (_unbound.IsCancellationRequested || !_again.Writer.TryWrite(client))
                client.Socket.Dispose();
        }

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            while (true)
            {
                try
                {
                    return new SocketConnection(await NextAsync(), $"{endpoint.GetHashCode():x}.{++_count}", TakeBack);
                }
                catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
                {
                    return null; // how a listener says that it ends
                }
                catch (SocketException e) when (e.SocketErrorCode == SocketError.OperationAborted)
                {
                    return null;
                }
                catch (SocketException)
                {
                    // ECONNABORTED and the like concern that one connection.
                }
            }
        }

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
        {
            _unbound.Cancel();
            _again.Writer.TryComplete();
            while (_again.Reader.TryRead(out var client))
                client.Socket.Dispose();
            return ValueTask.CompletedTask;
        }

        public ValueTask DisposeAsync()
        {
            endpoint.Socket.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
