using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>
/// Carries what reaches a published port's own socket to the container: IPv6 clients (::1, and containers that have IPv4 only), and everything when the
/// firewall is switched off or its rules are gone. Lives in the daemon, so these connections, unlike redirected ones, end with it.
/// </summary>
internal sealed class PortProxy : IDisposable
{
    /// <summary>Connections at once over all ports: two descriptors each, of the daemon's budget.</summary>
    private const int MaxConnections = 4096;

    /// <summary>UDP clients at once on one port.</summary>
    private const int MaxUdpClients = 1024;

    /// <summary>A UDP client that is silent for so long, in both directions, is forgotten; docker-proxy's figure.</summary>
    private static readonly TimeSpan UdpIdle = TimeSpan.FromSeconds(90);

    private const int TcpBufferBytes = 32 * 1024;
    private const int MaxDatagramBytes = 65535;

    private static int connections;

    private readonly CancellationTokenSource stop = new();
    private readonly Socket listener;
    /// <summary>Asked for each connection: see <see cref="BoundPort.Container"/>.</summary>
    private readonly Func<IPEndPoint> target;
    private readonly HostNamespace host;
    private readonly ILogger logger;

    private PortProxy(Socket listener, Func<IPEndPoint> target, HostNamespace host, ILogger logger)
    {
        this.listener = listener;
        this.target = target;
        this.host = host;
        this.logger = logger;
    }

    internal static PortProxy StartTcp(Socket listener, Func<IPEndPoint> target, HostNamespace host, ILogger logger)
    {
        var proxy = new PortProxy(listener, target, host, logger);
        _ = proxy.AcceptAsync(proxy.stop.Token);
        return proxy;
    }

    internal static PortProxy StartUdp(Socket socket, Func<IPEndPoint> target, HostNamespace host, ILogger logger)
    {
        var proxy = new PortProxy(socket, target, host, logger);
        _ = proxy.RelayDatagramsAsync(proxy.stop.Token);
        return proxy;
    }

    private async Task AcceptAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            Socket client;
            try
            {
                client = await listener.AcceptAsync(stopping).ConfigureAwait(false);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException e)
            {
                // The connection was gone before it was accepted, or there are no descriptors left: the next accept waits or fails alike.
                logger.ProxyConnection($"{target()}", e.Message);
                if (e.SocketErrorCode is SocketError.TooManyOpenSockets or SocketError.NoBufferSpaceAvailable)
                    await Task.Delay(TimeSpan.FromMilliseconds(100), stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                continue;
            }
            _ = CarryAsync(client, stopping);
        }
    }

    private async Task CarryAsync(Socket client, CancellationToken stopping)
    {
        using (client)
        {
            try
            {
                if (Interlocked.Increment(ref connections) > MaxConnections) throw new IOException($"more than {MaxConnections} proxied connections");
                var to = target();
                using var server = host.Run(() => new Socket(to.AddressFamily, SocketType.Stream, ProtocolType.Tcp));
                await server.ConnectAsync(to, stopping).ConfigureAwait(false);
                client.NoDelay = server.NoDelay = true;
                await Task.WhenAll(CopyAsync(client, server, stopping), CopyAsync(server, client, stopping)).ConfigureAwait(false);
            }
            catch (Exception e) when (e is SocketException or IOException or OperationCanceledException or ObjectDisposedException)
            {
                logger.ProxyConnection($"{target()}", e.Message);
                client.Close(0); // a reset, as the client would have got from a port that nobody listens on
            }
            finally
            {
                Interlocked.Decrement(ref connections);
            }
        }
    }

    private static async Task CopyAsync(Socket from, Socket to, CancellationToken stopping)
    {
        var buffer = new byte[TcpBufferBytes];
        while (true)
        {
            var got = await from.ReceiveAsync(buffer, SocketFlags.None, stopping).ConfigureAwait(false);
            if (got == 0) break;
            for (var sent = 0; sent < got;)
                sent += await to.SendAsync(buffer.AsMemory(sent, got - sent), SocketFlags.None, stopping).ConfigureAwait(false);
        }
        to.Shutdown(SocketShutdown.Send); // the other direction goes on: half-closed connections stay half-closed
    }

    private async Task RelayDatagramsAsync(CancellationToken stopping)
    {
        var clients = new Dictionary<EndPoint, Socket>();
        var buffer = new byte[MaxDatagramBytes];
        var anyone = new IPEndPoint(listener.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0);
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                var got = await listener.ReceiveFromAsync(buffer, SocketFlags.None, anyone, stopping).ConfigureAwait(false);
                Socket? server;
                lock (clients) clients.TryGetValue(got.RemoteEndPoint, out server);
                if (server is null)
                {
                    lock (clients)
                        if (clients.Count >= MaxUdpClients) continue; // as a full queue would: the datagram is lost
                    var to = target();
                    server = host.Run(() => new Socket(to.AddressFamily, SocketType.Dgram, ProtocolType.Udp));
                    await server.ConnectAsync(to, stopping).ConfigureAwait(false);
                    lock (clients) clients[got.RemoteEndPoint] = server;
                    _ = AnswerAsync(server, got.RemoteEndPoint, clients, stopping);
                }
                await server.SendAsync(buffer.AsMemory(0, got.ReceivedBytes), SocketFlags.None, stopping).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                if (stopping.IsCancellationRequested) return;
                logger.ProxyConnection($"{target()}", e.Message); // refused by the container, or the client's socket just timed out
            }
        }
    }

    private async Task AnswerAsync(Socket server, EndPoint client, Dictionary<EndPoint, Socket> clients, CancellationToken stopping)
    {
        var buffer = new byte[MaxDatagramBytes];
        using (server)
        {
            try
            {
                while (true)
                {
                    using var idle = CancellationTokenSource.CreateLinkedTokenSource(stopping);
                    idle.CancelAfter(UdpIdle);
                    var got = await server.ReceiveAsync(buffer, SocketFlags.None, idle.Token).ConfigureAwait(false);
                    await listener.SendToAsync(buffer.AsMemory(0, got), SocketFlags.None, client, stopping).ConfigureAwait(false);
                }
            }
            catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
            {
                // silent, refused, or the port is withdrawn
            }
            finally
            {
                lock (clients) clients.Remove(client);
            }
        }
    }

    public void Dispose()
    {
        stop.Cancel();
        stop.Dispose();
    }
}
