using System.Globalization;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;

namespace Berth.Engine;

/// <summary>Where log lines are sent: proto://host:port or unix://path.</summary>
/// <param name="Scheme">udp, tcp, tls (also written tcp+tls), unix, unixgram.</param>
internal sealed record RemoteAddress(string Scheme, string Host, int Port, string Path)
{
    public bool IsDatagram => Scheme is "udp" or "unixgram";

    public override string ToString() => Path.Length > 0 ? $"{Scheme}://{Path}" : $"{Scheme}://{(Host.Contains(':') ? $"[{Host}]" : Host)}:{Port}";

    /// <summary>Go's url.Parse, as far as these addresses go. Host and port are empty and null where they are missing.</summary>
    public static (string Scheme, string Host, string? Port, string Path) Split(string text)
    {
        var colon = text.IndexOf(':');
        if (colon <= 0 || !char.IsAsciiLetter(text[0]) || text[..colon].Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('+' or '-' or '.')))
            return colon >= 0 && text.IndexOf('/') is var firstSlash && (firstSlash < 0 || colon < firstSlash) ? throw new FormatException($"parse {GoText.Quote(text)}: first path segment in URL cannot contain colon") : ("", "", null, text);
        var scheme = text[..colon].ToLowerInvariant();
        if (!text[(colon + 1)..].StartsWith("//", StringComparison.Ordinal)) return (scheme, "", null, text[(colon + 1)..].StartsWith('/') ? text[(colon + 1)..] : "");
        var rest = text[(colon + 3)..];
        var slash = rest.IndexOf('/');
        var (authority, path) = slash < 0 ? (rest, "") : (rest[..slash], rest[slash..]);
        var bracket = authority.LastIndexOf(']');
        var port = authority.LastIndexOf(':');
        if (port <= bracket) return (scheme, authority.Trim('[', ']'), null, path);
        var number = authority[(port + 1)..];
        if (number.Any(c => !char.IsAsciiDigit(c))) throw new FormatException($"parse {GoText.Quote(text)}: invalid port {GoText.Quote(":" + number)} after host");
        return (scheme, authority[..port].Trim('[', ']'), number, path);
    }

    public static int PortNumber(string text) => ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port)
        ? port : throw new FormatException($"invalid port: strconv.ParseUint: parsing {GoText.Quote(text)}: value out of range");
}

/// <summary>Certificates for tls; empty where not given.</summary>
internal sealed record TlsFiles(string CaFile, string CertificateFile, string KeyFile, bool SkipVerify)
{
    public static TlsFiles None { get; } = new("", "", "", false);
}

/// <summary>A connection to a <see cref="RemoteAddress"/>. Every failure is an IOException that names the address.</summary>
internal sealed class RemoteConnection : IAsyncDisposable, IDisposable
{
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(10), SendTimeout = TimeSpan.FromSeconds(30), CloseTimeout = TimeSpan.FromSeconds(1);

    private readonly RemoteAddress _address;
    private readonly Socket _socket;
    private Stream? _stream;

    private RemoteConnection(RemoteAddress address, Socket socket) => (_address, _socket) = (address, socket);

    public static async Task<RemoteConnection> ConnectAsync(RemoteAddress address, TlsFiles tls, CancellationToken cancellationToken)
    {
        var unix = address.Path.Length > 0;
        Socket? socket = null;
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            limit.CancelAfter(ConnectTimeout);
            var (type, protocol) = address.IsDatagram ? (SocketType.Dgram, unix ? ProtocolType.Unspecified : ProtocolType.Udp) : (SocketType.Stream, unix ? ProtocolType.Unspecified : ProtocolType.Tcp);
            socket = unix ? new Socket(AddressFamily.Unix, type, protocol) : new Socket(type, protocol);
            if (unix) await socket.ConnectAsync(new UnixDomainSocketEndPoint(address.Path), limit.Token).ConfigureAwait(false);
            else await socket.ConnectAsync(address.Host, address.Port, limit.Token).ConfigureAwait(false);
            var connection = new RemoteConnection(address, socket);
            if (!address.IsDatagram) connection._stream = new NetworkStream(socket, ownsSocket: false);
            if (address.Scheme == "tls") connection._stream = await EncryptAsync(connection._stream!, address, tls, limit.Token).ConfigureAwait(false);
            return connection;
        }
        catch (Exception e) when (Translate(e, address, cancellationToken) is { } failure)
        {
            socket?.Dispose();
            throw failure;
        }
        catch
        {
            socket?.Dispose();
            throw;
        }
    }

    private static async Task<Stream> EncryptAsync(Stream stream, RemoteAddress address, TlsFiles files, CancellationToken cancellationToken)
    {
        var options = new SslClientAuthenticationOptions { TargetHost = address.Host };
        if (files.CertificateFile.Length > 0)
            options.ClientCertificates = [X509Certificate2.CreateFromPemFile(files.CertificateFile, files.KeyFile.Length > 0 ? files.KeyFile : null)];
        if (files.SkipVerify) options.RemoteCertificateValidationCallback = (_, _, _, _) => true;
        else if (files.CaFile.Length > 0)
        {
            var authorities = new X509Certificate2Collection();
            authorities.ImportFromPemFile(files.CaFile);
            var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            policy.CustomTrustStore.AddRange(authorities);
            options.CertificateChainPolicy = policy;
        }
        var encrypted = new SslStream(stream);
        await encrypted.AuthenticateAsClientAsync(options, cancellationToken).ConfigureAwait(false);
        return encrypted;
    }

    /// <summary>One datagram, or bytes of a stream.</summary>
    public async Task SendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(SendTimeout);
        try
        {
            if (_stream is null)
            {
                await _socket.SendAsync(bytes, SocketFlags.None, limit.Token).ConfigureAwait(false);
                return;
            }
            // Whoever closed without a word would take the first bytes into nowhere.
            if (_socket.Poll(0, SelectMode.SelectRead) && _socket.Available == 0) throw new IOException("closed by the other side");
            await _stream.WriteAsync(bytes, limit.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (Translate(e, _address, cancellationToken) is { } failure)
        {
            throw failure;
        }
    }

    /// <summary>What the other side answers; 0 at its end.</summary>
    public async Task<int> ReceiveAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(SendTimeout);
        try
        {
            return await _stream!.ReadAsync(buffer, limit.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (Translate(e, _address, cancellationToken) is { } failure)
        {
            throw failure;
        }
    }

    private static IOException? Translate(Exception e, RemoteAddress address, CancellationToken stop) => e switch
    {
        OperationCanceledException when !stop.IsCancellationRequested => new IOException($"{address}: timed out", e),
        SocketException or IOException or System.Security.Authentication.AuthenticationException or System.Security.Cryptography.CryptographicException or UnauthorizedAccessException => new IOException($"{address}: {e.Message}", e),
        _ => null,
    };

    /// <summary>
    /// Closes so that the other side gets all that was sent: a socket closed with something unread (an acknowledgement, a session of TLS) resets the connection, and what
    /// is on its way with it.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (_stream is not null)
        {
            using var limit = new CancellationTokenSource(CloseTimeout);
            try
            {
                if (_stream is SslStream encrypted) await encrypted.ShutdownAsync().WaitAsync(limit.Token).ConfigureAwait(false);
                _socket.Shutdown(SocketShutdown.Send);
                var scratch = new byte[4096];
                while (await _socket.ReceiveAsync(scratch.AsMemory(), SocketFlags.None, limit.Token).ConfigureAwait(false) > 0)
                {
                }
            }
            catch (Exception e) when (e is SocketException or IOException or OperationCanceledException or InvalidOperationException)
            {
                // It went first, or takes too long.
            }
        }
        Dispose();
    }

    public void Dispose()
    {
        _stream?.Dispose();
        _socket.Dispose();
    }
}
