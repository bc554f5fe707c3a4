namespace Berth.Images.Registry;

/// <summary>How registries are reached: what the daemon's options say. Files in the directories are read for every pull, so they need no restart.</summary>
public sealed record RegistrySettings
{
    /// <summary>Hosts (host, host:port or CIDR) besides loopback whose certificates are not checked, and that are spoken to in plain HTTP when HTTPS fails.</summary>
    public IReadOnlyList<string> Insecure { get; init; } = [];

    /// <summary>Addresses tried before Docker Hub; dockerd's --registry-mirror.</summary>
    public IReadOnlyList<string> Mirrors { get; init; } = [];

    /// <summary>Where <c>&lt;host[:port]&gt;/</c> holds certificates and a hosts.toml; of several that know a host the first counts.</summary>
    public IReadOnlyList<string> HostDirectories { get; init; } = [];

    /// <summary>What images must be signed with; nothing unless the daemon's file says so.</summary>
    public IReadOnlyList<Trust.TrustPolicy> Trust { get; init; } = [];

    public ProxySettings Proxy { get; init; } = ProxySettings.None;
}
