using Berth.Api.Go;
using System.Net;
using System.Net.Sockets;

namespace Berth.Api;

/// <summary>
/// Where an engine listens: unix:///path, tcp://host:port (also http:// and https://), ssh://[user@]host[:port][/path of
/// its socket], where a docker of that machine passes on what is said, or on Windows npipe:////./pipe/name.
/// </summary>
public sealed record EngineHost
{
    public const int DefaultTcpPort = 2375;
    public const int DefaultTlsPort = 2376;

    private EngineHost(string text, string? socketPath, string host, int port) => (Text, SocketPath, Host, Port) = (text, socketPath, host, port);

    /// <summary>As given, for messages.</summary>
    public string Text { get; }

    /// <summary>What is run to reach it, ssh for one; null: it is reached by a socket.</summary>
    public IReadOnlyList<string>? Command { get; private init; }

    /// <summary>How a tcp connection is secured; null: not at all.</summary>
    public EngineTls? Tls { get; init; }

    /// <summary>null for tcp.</summary>
    public string? SocketPath { get; }

    /// <summary>A named pipe of Windows, and the machine it is on; null for all others.</summary>
    private (string Machine, string Name)? Pipe { get; init; }

    public string Host { get; }

    public int Port { get; }

    /// <exception cref="FormatException">Not of a known form; the message is Docker's.</exception>
    public static EngineHost Parse(string text, EngineTls? tls = null)
    {
        var at = text.IndexOf("://", StringComparison.Ordinal);
        if (at < 0 || (at + 3 == text.Length && !text.StartsWith("ssh", StringComparison.Ordinal))) throw new FormatException($"unable to parse docker host `{text}`");
        var (scheme, rest) = (text[..at], text[(at + 3)..]);
        switch (scheme)
        {
            case "unix" when rest.Length > 0:
                return new(text, rest, "localhost", 0);
            case "npipe" when !OperatingSystem.IsWindows():
                throw new FormatException("protocol not available");
            case "npipe":
                return rest.Replace('\\', '/').TrimStart('/').Split('/') is [var machine, "pipe", { Length: > 0 } name] ? new(text, null, "localhost", 0) { Pipe = (machine, name) } : throw new FormatException($"invalid bind address format: {text}");
            case "ssh":
                return new(text, null, "docker.example.com", 80) { Command = SshCommand(text) };
            case "tcp" or "http" or "https":
                var address = rest.Split('/', 2)[0];
                var colon = address.LastIndexOf(':');
                var bracket = address.LastIndexOf(']');
                var port = tls is null && scheme != "https" ? DefaultTcpPort : DefaultTlsPort;
                if (colon > bracket)
                {
                    if (!ushort.TryParse(address[(colon + 1)..], out var given)) throw new FormatException($"parse {GoText.Quote(text)}: invalid port {GoText.Quote(address[colon..])} after host");
                    port = given;
                    address = address[..colon];
                }
                return new(text, null, address.Length == 0 ? "127.0.0.1" : address.Trim('[', ']'), port) { Tls = tls ?? (scheme == "https" ? new EngineTls() : null) };
            default:
                throw new FormatException($"invalid bind address format: {text}");
        }
    }

    // As docker's client does: whatever the user's ssh configuration says of the host holds.
    private static string[] SshCommand(string text)
    {
        const string wrong = "ssh host connection is not valid: invalid SSH URL: ";
        if (!Uri.TryCreate(text, UriKind.Absolute, out var url) || url.Host.Length == 0) throw new FormatException(wrong + "hostname is empty");
        if (url.UserInfo.Contains(':')) throw new FormatException(wrong + "plain-text password is not supported");
        if (url.Query.Length > 0) throw new FormatException($"{wrong}query parameters are not allowed: {GoText.Quote(url.Query[1..])}");
        if (url.Fragment.Length > 0) throw new FormatException($"{wrong}fragments are not allowed: {GoText.Quote(url.Fragment[1..])}");
        var path = Uri.UnescapeDataString(url.AbsolutePath).TrimEnd('/');
        return
        [
            "ssh", "-o", "ConnectTimeout=30", "-T", .. url.UserInfo.Length > 0 ? (string[])["-l", Uri.UnescapeDataString(url.UserInfo)] : [], .. url.Port > 0 ? (string[])["-p", $"{url.Port}"] : [],
            "--", url.Host.Trim('[', ']'), "docker", .. path.Length > 0 ? (string[])["--host", "unix://" + path] : [], "system", "dial-stdio",
        ];
    }

    internal async ValueTask<Transport> ConnectAsync(bool blocking, CancellationToken cancellationToken)
    {
        if (Command is not null) return ProcessTransport.Start(this, Command);
        if (Pipe is { } pipe) return await PipeTransport.ConnectAsync(this, pipe.Machine, pipe.Name, cancellationToken).ConfigureAwait(false);
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
            return Tls is null ? new SocketTransport(socket) : await TlsTransport.AuthenticateAsync(this, Tls, socket, cancellationToken).ConfigureAwait(false);
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

    internal EngineConnectionException(string message, Exception? inner = null) : base(message, inner) { }

    private static string Text(EngineHost host, Exception inner) => inner is SocketException { SocketErrorCode: SocketError.HostNotFound or SocketError.NoData }
        ? $"error during connect: {host.Text}: lookup {host.Host}: no such host" : inner is SocketException { SocketErrorCode: SocketError.AccessDenied }
        ? $"permission denied while trying to connect to the Docker daemon socket at {host.Text}: connect: permission denied"
        : $"Cannot connect to the Docker daemon at {host.Text}. Is the docker daemon running?";
}

/// <summary>The engine answered with a status of 400 or more. <see cref="Exception.Message"/> is what docker's client shows.</summary>
public sealed class EngineApiException(int status, string daemonMessage) : Exception("Error response from daemon: " + daemonMessage)
{
    /// <summary>Of a server that wants to know who asks: its WWW-Authenticate.</summary>
    public string? Challenge { get; init; }

    /// <summary>HTTP status.</summary>
    public int Status { get; } = status;

    /// <summary>The engine's own words.</summary>
    public string DaemonMessage { get; } = daemonMessage;
}
