using System.Buffers.Binary;
using Berth.Linux.Abi;

namespace Berth.Linux;

/// <summary>The kernel's connection tracking table, through ctnetlink. Safe for concurrent use.</summary>
public sealed class Conntrack : IDisposable
{
    // include/uapi/linux/netfilter/nfnetlink_conntrack.h; the message type's high byte is the subsystem NFNL_SUBSYS_CTNETLINK.
    private const ushort CtGet = (1 << 8) | 1, CtDelete = (1 << 8) | 2;
    private const int FamilyHeaderBytes = 4;
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
    private bool deletesByPort = true;

    private Conntrack(NetlinkSocket socket) => this.socket = socket;

    /// <summary>Of the calling thread's network namespace.</summary>
    public static Conntrack Open() => new(NetlinkSocket.OpenNetfilter());

    /// <summary>Forgets all IPv4 UDP flows that were first sent to this port.</summary>
    public void DropUdp(ushort destinationPort)
    {
        lock (gate)
        {
            if (deletesByPort)
            {
                try
                {
                    var batch = new NetlinkBatch();
                    batch.Begin(CtDelete, 0, "IPCTNL_MSG_CT_DELETE", $"udp dport {destinationPort}", Errno.ENOENT);
                    WritePort(batch, destinationPort);
                    socket.Execute(batch);
                    return;
                }
                catch (LinuxException exception) when (exception.Errno is Errno.EINVAL or Errno.EOPNOTSUPP)
                {
                    deletesByPort = false; // Linux before 6.10 filters what it lists, not what it deletes
                }
            }
            DropListed(destinationPort);
        }
    }

    /// <summary>The same flow by flow.</summary>
    internal void DropListed(ushort destinationPort)
    {
        foreach (var chunk in ListUdp(destinationPort).Chunk(NetlinkSocket.MaxBatch))
        {
            var batch = new NetlinkBatch();
            foreach (var flow in chunk)
            {
                batch.Begin(CtDelete, 0, "IPCTNL_MSG_CT_DELETE", $"a flow of udp dport {destinationPort}", Errno.ENOENT);
                WriteFamily(batch);
                batch.Attribute(CTA_TUPLE_ORIG | Abi.Netlink.NLA_F_NESTED, flow);
            }
            socket.Execute(batch);
        }
    }

    /// <summary>The flows' first direction, as the kernel wrote it.</summary>
    internal List<byte[]> ListUdp(ushort destinationPort)
    {
        var list = new NetlinkBatch();
        list.Begin(CtGet, Abi.Netlink.NLM_F_DUMP, "IPCTNL_MSG_CT_GET", $"udp dport {destinationPort}");
        WritePort(list, destinationPort);
        var flows = new List<byte[]>();
        socket.Query(list, flows.Clear, (_, payload) =>
        {
            foreach (var attribute in new NetlinkAttributes(payload.Length < FamilyHeaderBytes ? [] : payload[FamilyHeaderBytes..]))
                if (attribute.Type == CTA_TUPLE_ORIG && IsUdpTo(attribute.Value, destinationPort)) flows.Add(attribute.Value.ToArray());
        });
        return flows;
    }

    /// <summary>Whether it is one, as told by the flow itself: a kernel that does not know the filter lists everything.</summary>
    private static bool IsUdpTo(ReadOnlySpan<byte> tuple, ushort port)
    {
        var (protocol, destination) = (0, 0);
        foreach (var part in new NetlinkAttributes(tuple))
        {
            if (part.Type != CTA_TUPLE_PROTO) continue;
            foreach (var field in new NetlinkAttributes(part.Value))
            {
                if (field is { Type: CTA_PROTO_NUM, Value.Length: >= 1 }) protocol = field.Value[0];
                if (field is { Type: CTA_PROTO_DST_PORT, Value.Length: >= 2 }) destination = BinaryPrimitives.ReadUInt16BigEndian(field.Value);
            }
        }
        return protocol == IPPROTO_UDP && destination == port;
    }

    private static void WriteFamily(NetlinkBatch batch) => batch.Take(FamilyHeaderBytes)[0] = Rtnetlink.AF_INET; // struct nfgenmsg: family, version, res_id

    private static void WritePort(NetlinkBatch batch, ushort port)
    {
        WriteFamily(batch);
        using (batch.Nest(CTA_TUPLE_ORIG | Abi.Netlink.NLA_F_NESTED))
        using (batch.Nest(CTA_TUPLE_PROTO | Abi.Netlink.NLA_F_NESTED))
        {
            batch.Attribute(CTA_PROTO_NUM, IPPROTO_UDP);
            batch.AttributeBigEndian(CTA_PROTO_DST_PORT, port);
        }
        using (batch.Nest(CTA_FILTER | Abi.Netlink.NLA_F_NESTED))
            batch.Attribute(CTA_FILTER_ORIG_FLAGS, FilterProtoNumber | FilterProtoDestinationPort);
    }

    public void Dispose() => socket.Dispose();
}
