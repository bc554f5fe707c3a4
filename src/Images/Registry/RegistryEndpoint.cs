using System.Net;
using System.Net.Sockets;

namespace Berth.Images.Registry;

/// <summary>One way to reach a registry, or a mirror of it.</summary>
internal sealed record RegistryEndpoint
{
    /// <summary>Where Docker Hub really is.</summary>
    private const string DockerHub = "registry-1.docker.io";

    /// <summary>Where the API begins: <c>https://host/v2/</c>.</summary>
    public required Uri Api { get; init; }

    /// <summary>Certificates are not checked.</summary>
    public bool IsInsecure { get; init; }

    public bool IsLoopback { get; init; }

    /// <summary>Not the registry itself: any failure leads to the next way.</summary>
    public bool IsMirror { get; init; }

    /// <summary>Whether it is asked what a tag means; one that isn't serves what has a digest.</summary>
    public bool CanResolve { get; init; } = true;

    /// <summary>Whether it is given the user's password or token: they are for the registry.</summary>
    public bool TakesCredentials { get; init; } = true;

    /// <summary>The registry that is meant, for a mirror of several (containerd's parameter <c>ns</c>).</summary>
    public string? Namespace { get; init; }

    public RegistryCertificates Certificates { get; init; } = RegistryCertificates.None;

    /// <summary>Sent along with every request.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Headers { get; init; } = [];

    /// <summary>
    /// The ways to reach a registry in the order they are tried: its mirrors, HTTPS, and plain HTTP if it is insecure. As with Docker,
    /// loopback (127.0.0.0/8, ::1, and whatever resolves to them) is insecure from the start.
    /// </summary>
    /// <param name="push">To write: no mirrors but those that hosts.toml says take uploads.</param>
    /// <exception cref="ImageException">A file in the host's directory is wrong.</exception>
    public static IReadOnlyList<RegistryEndpoint> For(string domain, RegistrySettings settings, bool push = false)
    {
        var ways = new List<RegistryEndpoint>();
        var isHub = domain == ImageReference.DefaultDomain;
        var host = isHub ? DockerHub : domain;
        if (isHub && !push)
            foreach (var mirror in settings.Mirrors)
            {
                var url = new Uri(mirror.Contains("://", StringComparison.Ordinal) ? mirror : "https://" + mirror);
                var (insecure, local) = Judge(url.Authority, url.DnsSafeHost, settings);
                ways.Add(new RegistryEndpoint
                {
                    Api = ApiOf(url, isWhole: false), IsMirror = true, IsInsecure = insecure, IsLoopback = local, TakesCredentials = url.Scheme == "https" || local,
                    Certificates = insecure ? RegistryCertificates.None : RegistryCertificates.Of(url.Authority, settings),
                });
            }

        var file = HostsFile.Find(domain, settings);
        foreach (var entry in file?.Hosts ?? [])
        {
            if (push ? !entry.CanPush : !entry.CanPull) continue;
            var isMirror = !entry.Url.Authority.Equals(host, StringComparison.OrdinalIgnoreCase);
            var (_, local) = Judge(entry.Url.Authority, entry.Url.DnsSafeHost, settings);
            ways.Add(new RegistryEndpoint
            {
                Api = ApiOf(entry.Url, entry.IsWholePath), IsMirror = isMirror && !push, IsInsecure = entry.SkipVerify || (entry.Url.Scheme == "http" && local), IsLoopback = local, CanResolve = entry.CanResolve,
                TakesCredentials = !isMirror, Namespace = isMirror ? domain : null, Headers = entry.Headers, Certificates = entry.Certificates,
            });
        }

        if (file?.Server is { } server)
        {
            var (insecure, local) = Judge(server.Url.Authority, server.Url.DnsSafeHost, settings);
            insecure |= server.SkipVerify;
            ways.Add(new RegistryEndpoint
            {
                Api = ApiOf(server.Url, server.IsWholePath), IsInsecure = insecure, IsLoopback = local, Headers = server.Headers,
                Certificates = insecure ? RegistryCertificates.None : server.Certificates.IsEmpty ? RegistryCertificates.Of(server.Url.Authority, settings) : server.Certificates,
            });
            return ways;
        }
        var secure = new Uri($"https://{host}/");
        var (isInsecure, isLoopback) = isHub ? (false, false) : Judge(host, secure.DnsSafeHost, settings);
        var way = new RegistryEndpoint
        {
            Api = ApiOf(secure, isWhole: false), IsInsecure = isInsecure, IsLoopback = isLoopback,
            Certificates = isInsecure || isHub ? RegistryCertificates.None : RegistryCertificates.Of(domain, settings),
        };
        ways.Add(way);
        if (isInsecure) ways.Add(way with { Api = new Uri($"http://{host}/v2/") });
        return ways;
    }

    private static Uri ApiOf(Uri url, bool isWhole) => new(url.GetLeftPart(UriPartial.Path).TrimEnd('/') + (isWhole ? "/" : "/v2/"));

    // A host that is named is what it is named; an address or network counts for whatever resolves to it.
    private static (bool Insecure, bool Loopback) Judge(string hostAndPort, string host, RegistrySettings settings)
    {
        var addresses = Addresses(host);
        var loopback = addresses.Any(IPAddress.IsLoopback);
        return (loopback || settings.Insecure.Any(r => IPNetwork.TryParse(r, out var network) ? addresses.Any(network.Contains) : r == hostAndPort || r == host), loopback);
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
}
