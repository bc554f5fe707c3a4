using System.Net;
using Berth.Linux;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks.Dns;

/// <summary>
/// Names for containers: follows who is on which network, and gives every container on a network of the user's own a server at 127.0.0.11 (docs/dns.md).
/// Safe for concurrent use.
/// </summary>
public sealed class NameService : IDisposable
{
    private readonly NetworkManager networks;
    private readonly Func<string, ResolverSettings> settingsOf;
    private readonly ILogger logger;
    private readonly NameTable names = new();
    private readonly NameServer server;
    private readonly Lock gate = new();
    private readonly Dictionary<string, NameSockets> served = new(StringComparer.Ordinal);
    private readonly Dictionary<string, NameSockets> inherited = new(StringComparer.Ordinal);

    /// <summary>Begins to follow; what is joined or restored from here on has names.</summary>
    /// <param name="settingsOf">By container id. Whether the container is on internal networks alone is seen here.</param>
    public NameService(NetworkManager networks, Func<string, ResolverSettings> settingsOf, ILogger<NameService> logger)
    {
        (this.networks, this.settingsOf, this.logger) = (networks, settingsOf, logger);
        server = new NameServer(networks.Loop, names, logger);
        networks.SandboxChanged += OnChanged;
    }

    /// <summary>Sockets of a former daemon, with whatever waits in them; used when the container is restored.</summary>
    public void Inherit(string containerId, NameSockets sockets)
    {
        lock (gate) inherited[containerId] = sockets;
    }

    /// <summary>Duplicates of a container's sockets, for somebody who keeps them while there is no daemon; null: it has no name service.</summary>
    public NameSockets? SocketsOf(string containerId)
    {
        lock (gate)
        {
            if (!served.TryGetValue(containerId, out var sockets)) return null;
            return new NameSockets(Descriptor.Duplicate(sockets.Udp), Descriptor.Duplicate(sockets.Tcp));
        }
    }

    private void OnChanged(SandboxChange change)
    {
        var state = change.Sandbox;
        var id = state.ContainerId;
        if (change.Kind == SandboxChangeKind.Closed)
        {
            names.Set(id, []);
            Stop(id);
            return;
        }
        DnsEndpoint[] endpoints =
        [
            .. state.Endpoints.Where(e => e.DnsNames.Count > 0).Select(e => new DnsEndpoint(id, e.NetworkId, e.NetworkName, e.DnsNames, [.. e.Links],
                [.. new[] { e.IPAddress, e.IPv6Address }.Where(a => a.Length > 0).Select(IPAddress.Parse)])),
        ];
        names.Set(id, endpoints);
        if (change.Kind == SandboxChangeKind.Named) return;
        try
        {
            lock (gate)
            {
                if (served.ContainsKey(id)) server.Configure(id, SettingsOf(state));
                else if (endpoints.Length > 0) Begin(state, change.Namespace);
            }
        }
        catch (Exception e) when (e is LinuxException or NetworkException)
        {
            // The container runs without; whoever asks there is told that nobody answers.
            logger.NameServiceFailed(state.ContainerName, e.Message);
        }
    }

    private void Begin(SandboxState state, SafeFileHandle? inside)
    {
        if (inherited.Remove(state.ContainerId, out var sockets))
        {
            // As they are: the rules beside them are still there.
        }
        else if (inside is not null)
        {
            sockets = server.Open(inside, state.ContainerName);
        }
        else
        {
            return;
        }
        served[state.ContainerId] = sockets;
        server.Serve(state.ContainerId, sockets, SettingsOf(state));
    }

    private ResolverSettings SettingsOf(SandboxState state) => settingsOf(state.ContainerId) with
    {
        Internal = !state.Endpoints.Any(e => !e.Internal && (e.Gateway.Length > 0 || e.IPv6Gateway.Length > 0)),
    };

    private void Stop(string containerId)
    {
        lock (gate)
        {
            if (served.Remove(containerId)) server.Stop(containerId);
        }
    }

    /// <summary>Stops answering. Sockets that somebody keeps collect queries for the next daemon.</summary>
    public void Dispose()
    {
        networks.SandboxChanged -= OnChanged;
        lock (gate)
        {
            served.Clear();
            foreach (var sockets in inherited.Values) sockets.Dispose();
            inherited.Clear();
        }
        server.Dispose();
    }
}
