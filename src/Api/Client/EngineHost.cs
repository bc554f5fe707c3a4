using System.Net;
using System.Net.Sockets;

namespace Berth.Api;

/// <summary>Where an engine listens: unix:///path or tcp://host:port (also http://).</summary>
public sealed record EngineHost
{
    public const int DefaultTcpPort = 2375;

    private EngineHost(string text, string? socketPath, string host, int port) => (Text, SocketPath, Host, Port) = (text, socketPath, host, port);

    /// <summary>As given, for messages.</summary>
    public string Text { get; }

    /// <summary>null for tcp.</summary>
    public string? SocketPath { get; }

    public string Host { get; }

    public int Port { get; }

    /// <exception cref="FormatException">Not of a known form; the message is Docker's.</exception>
    public static EngineHost Parse(string text)
    {
        var at = text.IndexOf("://", StringComparison.Ordinal);
        if (at < 0) throw new FormatException($"unable to parse docker host `{text}`");
        var (scheme, rest) = (text[..at], text[(at + 3)..]);
        switch (scheme)
        {
            case "unix" when rest.Length > 0:
                return new(text, rest, "localhost", 0);
            case "tcp" or "http":
                var address = rest.Split('/', 2)[0];
                var colon = address.LastIndexOf(':');
                var bracket = address.LastIndexOf(']');
                var port = DefaultTcpPort;
                if (colon > bracket)
                {
                    if (!ushort.TryParse(address[(colon + 1)..], out var given)) throw new FormatException($"invalid port in docker host `{text}`");
                    port = given;
                    address = address[..colon];
                }
                return new(text, null, address.Length == 0 ? "127.0.0.1" : address.Trim('[', ']'), port);
            default:
                throw new FormatException($"unsupported protocol in docker host `{text}`: unix:// and tcp:// are");
        }
    }

    internal async ValueTask<Socket> ConnectAsync(bool blocking, CancellationToken cancellationToken)
    {
        Socket? socket = null;
        try
        {
            if (SocketPath is not null)
            {
                socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                // Blocks at most until the listener's queue has room; the asynchronous way would start the event loop for nothing.
                socket.Connect(new UnixDomainSocketEndPoint(SocketPath));
            }
            else
            {
                socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                if (blocking) socket.Connect(Host, Port);
                else await socket.ConnectAsync(new DnsEndPoint(Host, Port), cancellationToken).ConfigureAwait(false);
            }
            return socket;
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            socket?.Dispose();
            throw new EngineConnectionException(this, e);
        }
        catch
        {
            socket?.Dispose();
            throw;
        }
    }
}

/// <summary>No engine answers at the address.</summary>
public sealed class EngineConnectionException : Exception
{
    internal EngineConnectionException(EngineHost host, Exception inner) : base(Text(host, inner), inner) { }

    private static string Text(EngineHost host, Exception inner) => inner is SocketException { SocketErrorCode: SocketError.AccessDenied }
        ? $"permission denied while trying to connect to the Docker daemon socket at {host.Text}: connect: permission denied"
        : $"Cannot connect to the Docker daemon at {host.Text}. Is the docker daemon running?";
}

/// <summary>The engine answered with a status of 400 or more. <see cref="Exception.Message"/> is what docker's client shows.</summary>
public sealed class EngineApiException(int status, string daemonMessage) : Exception("Error response from daemon: " + daemonMessage)
{
    /// <summary>HTTP status.</summary>
    public int Status { get; } = status;

    /// <summary>The engine's own words.</summary>
    public string DaemonMessage { get; } = daemonMessage;
}
