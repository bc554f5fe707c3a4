using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Berth.Linux;

namespace Berth.Daemon.Host;

/// <summary>
/// TLS on tcp. It ends before anything else begins: each encrypted connection is relayed to one end of a socket pair, and the other end is served like any
/// connection. So half-closing, taking a connection over and watching for a hang-up need not know of it (docs/decisions/0761).
/// </summary>
internal sealed class Tls
{
    private static readonly TimeSpan HandshakeAtMost = TimeSpan.FromSeconds(30);
    private const int BufferBytes = 32 * 1024;

    private readonly SslServerAuthenticationOptions _options;
    private readonly ILogger _log;

    private Tls(SslServerAuthenticationOptions options, ILogger log) => (_options, _log) = (options, log);

    /// <summary>Clients must show a certificate of the CA.</summary>
    public bool VerifiesClients => _options.ClientCertificateRequired;

    /// <returns>Null when TLS is not asked for.</returns>
    /// <exception cref="FlagsException">A file that can't be read or is no certificate.</exception>
    public static Tls? From(DaemonOptions options, ILogger log)
    {
        if (options.Tls != true)
            return null;
        var ssl = Server(options.TlsCertificate, options.TlsKey);
        if (options.TlsVerify != false)
        {
            X509Certificate2Collection trusted = [];
            try
            {
                trusted.ImportFromPemFile(options.TlsCaCertificate);
            }
            catch (Exception e) when (e is CryptographicException or IOException or UnauthorizedAccessException or ArgumentException)
            {
                throw Bad($"could not read CA certificate \"{options.TlsCaCertificate}\": {Reason(e, options.TlsCaCertificate)}");
            }
            if (trusted.Count == 0)
                throw Bad($"failed to append certificates from PEM file: \"{options.TlsCaCertificate}\"");
            ssl.ClientCertificateRequired = true;
            ssl.RemoteCertificateValidationCallback = (_, shown, _, _) => shown is X509Certificate2 client && IsTrusted(client, trusted);
        }
        return new Tls(ssl, log);
    }

    /// <summary>TLS for a server that asks its clients for no certificate.</summary>
    /// <exception cref="FlagsException">A file that can't be read or is no certificate.</exception>
    public static Tls From(string certificatePath, string keyPath, ILogger log) => new(Server(certificatePath, keyPath), log);

    private static SslServerAuthenticationOptions Server(string certificatePath, string keyPath)
    {
        try
        {
            using var pem = X509Certificate2.CreateFromPemFile(certificatePath, keyPath);
            // The key must outlive the file it came from.
            var certificate = X509CertificateLoader.LoadPkcs12(pem.Export(X509ContentType.Pkcs12), null);
            X509Certificate2Collection chain = [];
            chain.ImportFromPemFile(certificatePath);
            return new SslServerAuthenticationOptions
            {
                EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
                ServerCertificateContext = SslStreamCertificateContext.Create(certificate, chain, offline: true),
                CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            };
        }
        catch (Exception e) when (e is CryptographicException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw Bad($"Could not load X509 key pair (cert: \"{certificatePath}\", key: \"{keyPath}\"): {Reason(e, certificatePath, keyPath)}");
        }
    }

    private static FlagsException Bad(string why) => new($"invalid TLS configuration: {why}");

    private static string Reason(Exception e, params ReadOnlySpan<string> files)
    {
        foreach (var file in files)
        {
            if (!File.Exists(file))
                return $"open {file}: no such file or directory";
        }
        return e.Message;
    }

    private static bool IsTrusted(X509Certificate2 client, X509Certificate2Collection trusted)
    {
        const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.AddRange(trusted);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.ApplicationPolicy.Add(new Oid(ClientAuthentication));
        chain.ChainPolicy.DisableCertificateDownloads = true;
        return chain.Build(client);
    }

    /// <summary>The plain end of an encrypted connection. Handshake and relaying go on in the background; a client that fails the one meets the end of the other.</summary>
    public Socket Relay(Socket encrypted)
    {
        var (ours, theirs) = UnixSocket.Pair(UnixSocketKind.Stream);
        var inside = new Socket(UnixSocket.AsSocketHandle(ours));
        _ = RelayAsync(encrypted, new Socket(UnixSocket.AsSocketHandle(theirs)));
        return inside;
    }

    private async Task RelayAsync(Socket encrypted, Socket plain)
    {
        var from = encrypted.RemoteEndPoint?.ToString() ?? "";
        try
        {
            using (encrypted)
            using (plain)
            {
                await using var ssl = new SslStream(new NetworkStream(encrypted, ownsSocket: false), leaveInnerStreamOpen: false);
                using (var limit = new CancellationTokenSource(HandshakeAtMost))
                    await ssl.AuthenticateAsServerAsync(_options, limit.Token);
                await using var inner = new NetworkStream(plain, ownsSocket: false);
                // Each direction ends on its own: a client that has sent all still wants its answer.
                var up = CopyAsync(ssl, inner, () => { plain.Shutdown(SocketShutdown.Send); return Task.CompletedTask; });
                var down = CopyAsync(inner, ssl, ssl.ShutdownAsync);
                // What the daemon has ended no client keeps open.
                await down;
                encrypted.Shutdown(SocketShutdown.Send);
                await up;
            }
        }
        catch (Exception e) when (e is IOException or SocketException or AuthenticationException or ObjectDisposedException or OperationCanceledException or InvalidOperationException)
        {
            if (e is AuthenticationException or OperationCanceledException)
                _log.HandshakeFailed(from, e.Message);
        }
    }

    private static async Task CopyAsync(Stream from, Stream to, Func<Task> end)
    {
        var buffer = new byte[BufferBytes];
        try
        {
            int read;
            while ((read = await from.ReadAsync(buffer)) > 0)
                await to.WriteAsync(buffer.AsMemory(0, read));
        }
        finally
        {
            await end();
        }
    }
}
