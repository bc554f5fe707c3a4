using System.Runtime.InteropServices;
using Berth.Linux.Abi;

namespace Berth.Linux;

/// <summary>The kernel's connection tracking table, through ctnetlink. Safe for concurrent use.</summary>
public sealed class Conntrack : IDisposable
{
    // include/uapi/linux/netfilter/nfnetlink_conntrack.h; the message type's high byte is the subsystem NFNL_SUBSYS_CTNETLINK.
    private const ushort CtDelete = (1 << 8) | 2;
    private const ushort CTA_TUPLE_ORIG = 1;
    private const ushort CTA_FILTER = 25;
    private const ushort CTA_TUPLE_PROTO = 2;
    private const ushort CTA_PROTO_NUM = 1;
    private const ushort CTA_PROTO_DST_PORT = 3;
    private const ushort CTA_FILTER_ORIG_FLAGS = 1;
    // net/netfilter/nf_conntrack_netlink.c, CTA_FILTER_FLAG: which parts of the tuple count.
    private const int FilterProtoNumber = 1 << 3;
    private const int FilterProtoDestinationPort = 1 << 5;
    private const byte IPPROTO_UDP = 17;

    private readonly Lock gate = new();
    private readonly NetlinkSocket socket;

    private Conntrack(NetlinkSocket socket) => this.socket = socket;

    /// <summary>Of the calling thread's network namespace.</summary>
    public static Conntrack Open() => new(NetlinkSocket.OpenNetfilter());

    /// <summary>Forgets all IPv4 UDP flows that were first sent to this port. Filters since Linux 5.8; EOPNOTSUPP or EINVAL before.</summary>
    public void DropUdp(ushort destinationPort)
    {
        var batch = new NetlinkBatch();
        batch.Begin(CtDelete, 0, "IPCTNL_MSG_CT_DELETE", $"udp dport {destinationPort}", Errno.ENOENT);
        batch.Take(4)[0] = Rtnetlink.AF_INET; // struct nfgenmsg: family, version, res_id
        using (batch.Nest(CTA_TUPLE_ORIG | Abi.Netlink.NLA_F_NESTED))
        using (batch.Nest(CTA_TUPLE_PROTO | Abi.Netlink.NLA_F_NESTED))
        {
            batch.Attribute(CTA_PROTO_NUM, IPPROTO_UDP);
            batch.AttributeBigEndian(CTA_PROTO_DST_PORT, destinationPort);
        }
        using (batch.Nest(CTA_FILTER | Abi.Netlink.NLA_F_NESTED))
            batch.Attribute(CTA_FILTER_ORIG_FLAGS, FilterProtoNumber | FilterProtoDestinationPort);
        lock (gate) socket.Execute(batch);
    }

    public void Dispose() => socket.Dispose();
}
