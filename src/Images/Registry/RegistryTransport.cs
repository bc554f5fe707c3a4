using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;

namespace Berth.Images.Registry;

/// <summary>
/// HTTP to registries: two connection pools, one that checks certificates and one for insecure registries. Redirects are not
/// followed here (the client decides what a redirect may carry), and failures to connect read as Go's, which Docker's users know.
/// </summary>
internal sealed class RegistryTransport : IDisposable
{
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(30);

    private readonly Lazy<HttpMessageInvoker> checking = new(() => Create(checkCertificates: true, useProxy: true));
    private readonly Lazy<HttpMessageInvoker> trusting = new(() => Create(checkCertificates: false, useProxy: true));
    private readonly Lazy<HttpMessageInvoker> local = new(() => Create(checkCertificates: false, useProxy: false));

    public HttpMessageInvoker For(RegistryEndpoint endpoint) =>
        endpoint.IsLoopback ? local.Value : endpoint.IsInsecure ? trusting.Value : checking.Value;

    private static HttpMessageInvoker Create(bool checkCertificates, bool useProxy)
    {
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None, // what has a digest is taken as it is
            UseCookies = false,
            UseProxy = useProxy,
            ConnectTimeout = ConnectTimeout,
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(15),
            ConnectCallback = ConnectAsync,
        };
        if (!checkCertificates) handler.SslOptions.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
        return new HttpMessageInvoker(handler);
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
                if (tls.Message.Contains("RemoteCertificate", StringComparison.Ordinal)) return $"tls: failed to verify certificate: {tls.Message}";
                return $"tls: {tls.Message}";
            }
        }
        return e is HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded } ? "EOF" : e.Message;
    }

    public void Dispose()
    {
        foreach (var invoker in new[] { checking, trusting, local })
            if (invoker.IsValueCreated) invoker.Value.Dispose();
    }
}

/// <summary>No connection could be made; the message says to what.</summary>
internal sealed class RegistryConnectException(string message, Exception? inner) : IOException(message, inner);

/// <summary>One way to reach a registry.</summary>
internal sealed record RegistryEndpoint(Uri Url, bool IsInsecure, bool IsLoopback)
{
    /// <summary>Where Docker Hub really is.</summary>
    private const string DockerHub = "registry-1.docker.io";

    /// <summary>
    /// The ways to reach a registry in the order they are tried: HTTPS, and plain HTTP for insecure ones. As with Docker,
    /// loopback (127.0.0.0/8, ::1, and whatever resolves to them) is insecure from the start.
    /// </summary>
    public static IReadOnlyList<RegistryEndpoint> For(string domain, IReadOnlyList<string> insecureRegistries)
    {
        var host = domain == ImageReference.DefaultDomain ? DockerHub : domain;
        var secure = new Uri($"https://{host}/");
        var addresses = Addresses(secure.DnsSafeHost);
        var loopback = addresses.Any(IPAddress.IsLoopback);
        var insecure = loopback || insecureRegistries.Any(r => Covers(r, host, secure.Host, addresses));
        if (!insecure) return [new RegistryEndpoint(secure, false, false)];
        return [new RegistryEndpoint(secure, true, loopback), new RegistryEndpoint(new Uri($"http://{host}/"), true, loopback)];
    }

    private static IPAddress[] Addresses(string host)
    {
        if (IPAddress.TryParse(host, out var literal)) return [literal];
        if (host == "localhost" || host.EndsWith(".localhost", StringComparison.Ordinal)) return [IPAddress.Loopback];
        try
        {
            return Dns.GetHostAddresses(host);
        }
        catch (SocketException)
        {
            return []; // connecting will say so
        }
    }

    private static bool Covers(string setting, string hostAndPort, string host, IPAddress[] addresses) =>
        IPNetwork.TryParse(setting, out var network) ? addresses.Any(network.Contains) : setting == hostAndPort || setting == host;
}
