using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>The host's interfaces, through one socket for all networks; and what the kernel tracks of published UDP ports. Safe for concurrent use.</summary>
internal sealed class HostLinks : IDisposable
{
    private readonly Lock gate = new();
    private readonly NetlinkSocket netlink;
    private readonly Conntrack conntrack;
    private readonly ILogger logger;

    internal HostLinks(HostNamespace host, ILogger logger)
    {
        this.logger = logger;
        Host = host;
        (netlink, conntrack) = host.Run(() => (NetlinkSocket.OpenRoute(), Conntrack.Open()));
    }

    internal HostNamespace Host { get; }

    internal void Execute(NetlinkBatch batch)
    {
        lock (gate) netlink.Execute(batch);
    }

    internal LinkInfo? Find(string name)
    {
        lock (gate) return netlink.Link(name);
    }

    internal IReadOnlyList<LinkInfo> All()
    {
        lock (gate) return netlink.Links();
    }

    // A UDP "connection" that the kernel tracks keeps going where it went before, rules or no rules, for as long as its client keeps sending.
    internal void ForgetUdp(IReadOnlyList<FirewallPort> changed)
    {
        foreach (var port in changed)
        {
            if (port.Protocol != PortProtocol.Udp || port.HostPort == 0) continue;
            try
            {
                conntrack.DropUdp(port.HostPort);
            }
            catch (LinuxException e)
            {
                logger.ConntrackNotFlushed(port.HostPort, e.Message);
            }
        }
    }

    public void Dispose()
    {
        netlink.Dispose();
        conntrack.Dispose();
    }
}
