using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Berth.Images.Registry;

/// <summary>
/// HTTP to registries: a connection pool for each way of trusting them. Redirects are not followed here (the client decides what a redirect may carry),
/// and failures to connect read as Go's, which Docker's users know.
/// </summary>
internal sealed class RegistryTransport : IDisposable
{
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(30);

    /// <summary>Pools kept; certificates that change make new ones.</summary>
    private const int MaxPools = 64;

    private readonly Lock gate = new();
    private readonly Dictionary<(bool Checking, string Proxy, string Certificates), HttpMessageInvoker> pools = [];

    /// <exception cref="ImageException">A certificate cannot be read.</exception>
    public HttpMessageInvoker For(RegistryEndpoint endpoint, ProxySettings proxy)
    {
        var checks = !endpoint.IsInsecure && endpoint.Api.Scheme == "https";
        var key = (checks, proxy.Key, checks || endpoint.Certificates.Clients.Count > 0 ? endpoint.Certificates.Key : "");
        lock (gate)
        {
            if (pools.TryGetValue(key, out var pool)) return pool;
            // Those in use keep their requests; connections that idle end by themselves.
            if (pools.Count >= MaxPools) pools.Clear();
            return pools[key] = Create(checks, proxy, endpoint.Certificates);
        }
    }

    private static HttpMessageInvoker Create(bool checkCertificates, ProxySettings proxy, RegistryCertificates certificates)
    {
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None, // what has a digest is taken as it is
            UseCookies = false,
            Proxy = proxy,
            ConnectTimeout = ConnectTimeout,
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(15),
            ConnectCallback = ConnectAsync,
        };
        if (!checkCertificates) handler.SslOptions.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
        else if (certificates.LoadAuthorities() is { Count: > 0 } authorities)
            handler.SslOptions.RemoteCertificateValidationCallback = (_, certificate, chain, errors) => IsTrusted(authorities, certificate, chain, errors);
        if (certificates.LoadClients() is { Count: > 0 } clients) handler.SslOptions.ClientCertificates = new X509CertificateCollection(clients);
        return new HttpMessageInvoker(handler);
    }

    // The system's authorities, and then those of the host's directory: as Docker, which adds them.
    private static bool IsTrusted(X509Certificate2Collection authorities, X509Certificate? certificate, X509Chain? sent, SslPolicyErrors errors)
    {
        if (errors == SslPolicyErrors.None) return true;
        if (errors != SslPolicyErrors.RemoteCertificateChainErrors || certificate is not X509Certificate2 leaf) return false; // above all: it is for another host
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.AddRange(authorities);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck; // as Go
        chain.ChainPolicy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.1")); // server authentication
        if (sent is not null)
            foreach (var element in sent.ChainElements) chain.ChainPolicy.ExtraStore.Add(element.Certificate);
        return chain.Build(leaf);
    }

    private static async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellation)
    {
        var (host, port) = (context.DnsEndPoint.Host.Trim('[', ']'), context.DnsEndPoint.Port);
        IPAddress[] addresses;
        try
        {
            addresses = IPAddress.TryParse(host, out var literal) ? [literal] : await Dns.GetHostAddressesAsync(host, cancellation).ConfigureAwait(false);
        }
        catch (SocketException e)
        {
            throw new RegistryConnectException($"dial tcp: lookup {host}: {(e.SocketErrorCode is SocketError.HostNotFound or SocketError.NoData ? "no such host" : e.Message)}", e);
        }
        // Go's net/http reports the first address's failure; IPv6 comes first where both are tried.
        RegistryConnectException? first = null;
        foreach (var address in addresses.OrderBy(a => a.AddressFamily == AddressFamily.InterNetworkV6 ? 0 : 1))
        {
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(new IPEndPoint(address, port), cancellation).ConfigureAwait(false);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (SocketException e)
            {
                socket.Dispose();
                var what = e.SocketErrorCode switch
                {
                    SocketError.ConnectionRefused => "connect: connection refused",
                    SocketError.HostUnreachable => "connect: no route to host",
                    SocketError.NetworkUnreachable => "connect: network is unreachable",
                    SocketError.TimedOut => "i/o timeout",
                    _ => $"connect: {e.Message}",
                };
                first ??= new RegistryConnectException($"dial tcp {new IPEndPoint(address, port)}: {what}", e);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
        throw first ?? new RegistryConnectException($"dial tcp: lookup {host}: no such host", null);
    }

    /// <summary>What went wrong with a request, in the words of Go's net/http where there are such.</summary>
    public static string Describe(Exception e)
    {
        for (Exception? at = e; at is not null; at = at.InnerException)
        {
            if (at is RegistryConnectException connect) return connect.Message;
            if (at is AuthenticationException tls)
            {
                if (tls.Message.Contains("frame", StringComparison.OrdinalIgnoreCase)) return "http: server gave HTTP response to HTTPS client";
                if (tls.Message.Contains("certificate", StringComparison.OrdinalIgnoreCase)) return $"tls: failed to verify certificate: x509: {Reason(tls.Message)}";
                return $"tls: {tls.Message}";
            }
        }
        return e is HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded } ? "EOF" : e.Message;
    }

    // .NET names the flags of what is wrong, or says that our own check found it wrong: that is the authority.
    private static string Reason(string message) =>
        message.Contains("NameMismatch", StringComparison.Ordinal) ? "certificate is valid for other names than this host's" :
        message.Contains("NotTimeValid", StringComparison.Ordinal) ? "certificate has expired or is not yet valid" :
        message.Contains("Root", StringComparison.Ordinal) || message.Contains("Chain", StringComparison.Ordinal) || message.Contains("rejected", StringComparison.Ordinal) ? "certificate signed by unknown authority" : message;

    public void Dispose()
    {
        lock (gate)
        {
            foreach (var pool in pools.Values) pool.Dispose();
            pools.Clear();
        }
    }
}

/// <summary>No connection could be made; the message says to what.</summary>
internal sealed class RegistryConnectException(string message, Exception? inner) : IOException(message, inner);
