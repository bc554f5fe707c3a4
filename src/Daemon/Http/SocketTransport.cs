using System.Net;
using System.Net.Sockets;
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

/// <summary>
/// The transport below Kestrel (docs/http.md). Kestrel's own keeps a receive pending on every connection and treats the
/// end of the peer's output as the end of the connection, which a half-closing `docker run -i` must not suffer; and it never
/// lets go of the socket, which a hijacked connection needs. This one reads when it is asked to and writes through.
/// </summary>
internal sealed class SocketTransport : IConnectionListenerFactory
{
    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        ValueTask.FromResult<IConnectionListener>(new Listener((ListeningEndPoint)endpoint));

    private sealed class Listener(ListeningEndPoint endpoint) : IConnectionListener
    {
        private readonly CancellationTokenSource _unbound = new();
        private long _count;

        public EndPoint EndPoint => endpoint;

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            while (true)
            {
                try
                {
                    var socket = await endpoint.Socket.AcceptAsync(_unbound.Token);
                    if (socket.AddressFamily is AddressFamily.InterNetwork or AddressFamily.InterNetworkV6)
                        socket.NoDelay = true;
                    if (endpoint.Decrypt is { } decrypt)
                        socket = decrypt(socket);
                    return new SocketConnection(socket, $"{endpoint.GetHashCode():x}.{++_count}");
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
            return ValueTask.CompletedTask;
        }

        public ValueTask DisposeAsync()
        {
            endpoint.Socket.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
