using System.Net;
using System.Runtime.InteropServices;
using Berth.Linux.Abi;

namespace Berth.Linux;

/// <summary>An interface as the kernel lists it.</summary>
/// <param name="Kind">bridge, veth, …; empty for hardware and loopback.</param>
/// <param name="MasterIndex">The bridge it is a port of; 0: none.</param>
public sealed record LinkInfo(int Index, string Name, string Kind, int MasterIndex, bool IsUp, int MtuBytes, byte[] Mac, string Alias);

/// <summary>An IPv4 or IPv6 address of an interface.</summary>
public sealed record AddressInfo(int LinkIndex, IPAddress Address, int PrefixLength);

/// <summary>A route of the main table. Destination 0.0.0.0/0 or ::/0 is the default route.</summary>
public sealed record RouteInfo(IPAddress Destination, int PrefixLength, int LinkIndex);

/// <summary>Questions to rtnetlink(7).</summary>
public static class LinkQueries
{
    public static IReadOnlyList<LinkInfo> Links(this NetlinkSocket socket)
    {
        var links = new List<LinkInfo>();
        var batch = new NetlinkBatch();
        batch.Begin(Rtnetlink.RTM_GETLINK, Abi.Netlink.NLM_F_DUMP, "RTM_GETLINK", "all");
        batch.Take(16);
        batch.Attribute(Rtnetlink.IFLA_EXT_MASK, (int)Rtnetlink.RTEXT_FILTER_SKIP_STATS);
        socket.Query(batch, links.Clear, (type, payload) =>
        {
            if (type == Rtnetlink.RTM_NEWLINK) links.Add(ParseLink(payload));
        });
        return links;
    }

    /// <summary>Null: no interface of that name.</summary>
    public static LinkInfo? Link(this NetlinkSocket socket, string name)
    {
        LinkInfo? link = null;
        var batch = new NetlinkBatch();
        batch.Begin(Rtnetlink.RTM_GETLINK, 0, "RTM_GETLINK", name, Errno.ENODEV);
        batch.Take(16);
        batch.Attribute(Rtnetlink.IFLA_IFNAME, name);
        socket.Query(batch, () => link = null, (type, payload) =>
        {
            if (type == Rtnetlink.RTM_NEWLINK) link = ParseLink(payload);
        });
        return link;
    }

    public static IReadOnlyList<AddressInfo> Addresses(this NetlinkSocket socket)
    {
        var addresses = new List<AddressInfo>();
        var batch = new NetlinkBatch();
        batch.Begin(Rtnetlink.RTM_GETADDR, Abi.Netlink.NLM_F_DUMP, "RTM_GETADDR", "all");
        batch.Take(8);
        socket.Query(batch, addresses.Clear, (type, payload) =>
        {
            if (type != Rtnetlink.RTM_NEWADDR || payload.Length < 8) return;
            IPAddress? local = null, address = null;
            foreach (var a in new NetlinkAttributes(payload[8..]))
            {
                // On a point-to-point link IFA_ADDRESS is the peer's, IFA_LOCAL ours; IPv6 often has the former alone.
                if (a.Type == Rtnetlink.IFA_LOCAL) local = new IPAddress(a.Value);
                else if (a.Type == Rtnetlink.IFA_ADDRESS) address = new IPAddress(a.Value);
            }
            if ((local ?? address) is { } found) addresses.Add(new AddressInfo(MemoryMarshal.Read<int>(payload[4..]), found, payload[1]));
        });
        return addresses;
    }

    public static IReadOnlyList<RouteInfo> Routes(this NetlinkSocket socket, bool ipv6 = false)
    {
        var family = ipv6 ? Rtnetlink.AF_INET6 : Rtnetlink.AF_INET;
        var routes = new List<RouteInfo>();
        var batch = new NetlinkBatch();
        batch.Begin(Rtnetlink.RTM_GETROUTE, Abi.Netlink.NLM_F_DUMP, "RTM_GETROUTE", "all");
        batch.Take(12)[0] = family;
        socket.Query(batch, routes.Clear, (type, payload) =>
        {
            if (type != Rtnetlink.RTM_NEWROUTE || payload.Length < 12 || payload[0] != family) return;
            var destination = ipv6 ? IPAddress.IPv6Any : IPAddress.Any;
            int link = 0, table = payload[4];
            foreach (var a in new NetlinkAttributes(payload[12..]))
            {
                if (a.Type == Rtnetlink.RTA_DST) destination = new IPAddress(a.Value);
                else if (a.Type == Rtnetlink.RTA_OIF) link = a.Int32;
                else if (a.Type == Rtnetlink.RTA_TABLE) table = a.Int32;
            }
            if (table == Rtnetlink.RT_TABLE_MAIN) routes.Add(new RouteInfo(destination, payload[1], link));
        });
        return routes;
    }

    private static LinkInfo ParseLink(ReadOnlySpan<byte> payload)
    {
        if (payload.Length < 16) throw new LinuxException("recv", "netlink, RTM_NEWLINK cut short", Errno.EBADMSG);
        string name = "", kind = "", alias = "";
        int master = 0, mtu = 0;
        byte[] mac = [];
        foreach (var a in new NetlinkAttributes(payload[16..]))
        {
            switch (a.Type)
            {
                case Rtnetlink.IFLA_IFNAME: name = a.Text; break;
                case Rtnetlink.IFLA_MASTER: master = a.Int32; break;
                case Rtnetlink.IFLA_MTU: mtu = a.Int32; break;
                case Rtnetlink.IFLA_ADDRESS: mac = a.Value.ToArray(); break;
                case Rtnetlink.IFLA_IFALIAS: alias = a.Text; break;
                case Rtnetlink.IFLA_LINKINFO:
                    foreach (var i in new NetlinkAttributes(a.Value))
                        if (i.Type == Rtnetlink.IFLA_INFO_KIND) kind = i.Text;
                    break;
            }
        }
        var flags = MemoryMarshal.Read<uint>(payload[8..]);
        return new LinkInfo(MemoryMarshal.Read<int>(payload[4..]), name, kind, master, (flags & Rtnetlink.IFF_UP) != 0, mtu, mac, alias);
    }
}
