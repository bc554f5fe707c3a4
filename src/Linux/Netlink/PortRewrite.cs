using System.Buffers.Binary;
using System.Net;
using Berth.Linux.Abi;

namespace Berth.Linux;

/// <summary>
/// Makes a server on one port of a loopback address answer on another, for programs of the same network namespace: what they send to
/// address:<c>asked</c> goes to address:<c>served</c>, and what comes from there seems to come from where they sent to. So the port asked for stays
/// free for somebody who binds it on all addresses.
/// Port numbers are rewritten packet by packet, without connection tracking: that would cost memory for every datagram.
/// The same as text for nft(8):
/// <code>
/// table ip NAME {
///   chain output      { type filter hook output priority -300; ip daddr ADDRESS udp dport ASKED udp dport set SERVED }       and for tcp
///   chain postrouting { type filter hook postrouting priority 0; ip saddr ADDRESS udp sport SERVED udp sport set ASKED }      and for tcp
/// }
/// </code>
/// Before connection tracking on the way there and after it on the way back: should the namespace track connections, it sees one and the same port.
/// Written here as netlink messages since it is needed within milliseconds, in many namespaces, and never changes; libnftables would be opened for each.
/// </summary>
public static class PortRewrite
{
    // include/uapi/linux/netfilter/nfnetlink.h
    private const ushort BatchBegin = 0x10, BatchEnd = 0x11, Subsystem = 10;
    private const int FamilyHeaderBytes = 4;
    // include/uapi/linux/netfilter/nf_tables.h: enum nf_tables_msg_types, then attributes by message
    private const ushort NewTable = 0, DeleteTable = 2, NewChain = 3, NewRule = 6;
    private const ushort TableName = 1;
    private const ushort ChainTable = 1, ChainName = 3, ChainHook = 4, ChainPolicy = 5, ChainType = 7, HookNumber = 1, HookPriority = 2;
    private const ushort RuleTable = 1, RuleChain = 2, RuleExpressions = 4;
    private const ushort ListElement = 1, ExpressionName = 1, ExpressionData = 2, DataValue = 1;
    private const ushort PayloadTarget = 1, PayloadBase = 2, PayloadOffset = 3, PayloadLength = 4, PayloadSource = 5, PayloadSumType = 6, PayloadSumOffset = 7;
    private const ushort CompareSource = 1, CompareOperation = 2, CompareData = 3, MetaTarget = 1, MetaKey = 2, ImmediateTarget = 1, ImmediateData = 2;
    private const uint NetworkHeader = 1, TransportHeader = 2, InternetSum = 1, MetaTransportProtocol = 16, Register = 1, Equal = 0, Accept = 1;
    // include/uapi/linux/netfilter.h
    private const uint HookOutput = 3, HookPostrouting = 4;
    private const int BeforeTracking = -300, AfterTracking = 0;
    private const byte Tcp = 6, Udp = 17;
    private const uint TcpSumOffset = 16, UdpSumOffset = 6, SourceAddressOffset = 12, TargetAddressOffset = 16, SourcePortOffset = 0, TargetPortOffset = 2;

    /// <summary>In the calling thread's namespace. A table of that name is replaced.</summary>
    /// <exception cref="LinuxException">The kernel has no nf_tables, or not all of it.</exception>
    public static void Install(string table, IPAddress address, ushort asked, ushort served)
    {
        try
        {
            Install(table, address, asked, served, replace: false);
        }
        catch (LinuxException e) when (e.Errno == Errno.EEXIST)
        {
            Install(table, address, asked, served, replace: true);
        }
    }

    // After a transaction that deletes anything the kernel keeps whoever closes the socket until all processors have seen it: 10 ms and more of a container's start.
    private static void Install(string table, IPAddress address, ushort asked, ushort served, bool replace)
    {
        var batch = new NetlinkBatch();
        Mark(batch, BatchBegin);
        if (replace) Table(batch, DeleteTable, table);
        Table(batch, NewTable, table);
        Chain(batch, table, "output", HookOutput, BeforeTracking);
        Chain(batch, table, "postrouting", HookPostrouting, AfterTracking);
        foreach (var (protocol, sum) in ((byte, uint)[])[(Udp, UdpSumOffset), (Tcp, TcpSumOffset)])
        {
            Rule(batch, table, "output", address, TargetAddressOffset, protocol, TargetPortOffset, asked, served, sum);
            Rule(batch, table, "postrouting", address, SourceAddressOffset, protocol, SourcePortOffset, served, asked, sum);
        }
        Mark(batch, BatchEnd);
        using var socket = NetlinkSocket.OpenNetfilter();
        socket.Execute(batch);
    }

    private static void Mark(NetlinkBatch batch, ushort type)
    {
        batch.BeginMark(type, type == BatchBegin ? "NFNL_MSG_BATCH_BEGIN" : "NFNL_MSG_BATCH_END", "nf_tables");
        var header = batch.Take(FamilyHeaderBytes); // struct nfgenmsg: family, version, subsystem
        BinaryPrimitives.WriteUInt16BigEndian(header[2..], Subsystem);
    }

    private static void Begin(NetlinkBatch batch, ushort type, ushort flags, string call, string description)
    {
        batch.Begin((ushort)((Subsystem << 8) | type), flags, call, description);
        batch.Take(FamilyHeaderBytes)[0] = Rtnetlink.AF_INET;
    }

    private static void Table(NetlinkBatch batch, ushort type, string name)
    {
        Begin(batch, type, type == NewTable ? (ushort)(Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_EXCL) : (ushort)0, type == NewTable ? "NFT_MSG_NEWTABLE" : "NFT_MSG_DELTABLE", name);
        batch.Attribute(TableName, name);
    }

    private static void Chain(NetlinkBatch batch, string table, string name, uint hook, int priority)
    {
        Begin(batch, NewChain, Abi.Netlink.NLM_F_CREATE, "NFT_MSG_NEWCHAIN", $"{table} {name}");
        batch.Attribute(ChainTable, table);
        batch.Attribute(ChainName, name);
        using (batch.Nest(ChainHook | Abi.Netlink.NLA_F_NESTED))
        {
            batch.AttributeBigEndian(HookNumber, hook);
            batch.AttributeBigEndian(HookPriority, unchecked((uint)priority));
        }
        batch.AttributeBigEndian(ChainPolicy, Accept);
        batch.Attribute(ChainType, "filter");
    }

    private static void Rule(NetlinkBatch batch, string table, string chain, IPAddress address, uint addressOffset, byte protocol, uint portOffset, ushort from, ushort to, uint sumOffset)
    {
        Begin(batch, NewRule, Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_APPEND, "NFT_MSG_NEWRULE", $"{table} {chain}");
        batch.Attribute(RuleTable, table);
        batch.Attribute(RuleChain, chain);
        using var expressions = batch.Nest(RuleExpressions | Abi.Netlink.NLA_F_NESTED);
        Load(NetworkHeader, addressOffset, 4);
        Compare(address.GetAddressBytes());
        Expression("meta", () =>
        {
            batch.AttributeBigEndian(MetaKey, MetaTransportProtocol);
            batch.AttributeBigEndian(MetaTarget, Register);
        });
        Compare([protocol]);
        Load(TransportHeader, portOffset, 2);
        Compare(Port(from));
        Expression("immediate", () =>
        {
            batch.AttributeBigEndian(ImmediateTarget, Register);
            Data(ImmediateData, Port(to));
        });
        Expression("payload", () =>
        {
            batch.AttributeBigEndian(PayloadSource, Register);
            batch.AttributeBigEndian(PayloadBase, TransportHeader);
            batch.AttributeBigEndian(PayloadOffset, portOffset);
            batch.AttributeBigEndian(PayloadLength, 2u);
            batch.AttributeBigEndian(PayloadSumType, InternetSum);
            batch.AttributeBigEndian(PayloadSumOffset, sumOffset);
        });

        void Load(uint header, uint offset, uint length) => Expression("payload", () =>
        {
            batch.AttributeBigEndian(PayloadTarget, Register);
            batch.AttributeBigEndian(PayloadBase, header);
            batch.AttributeBigEndian(PayloadOffset, offset);
            batch.AttributeBigEndian(PayloadLength, length);
        });

        void Compare(byte[] value) => Expression("cmp", () =>
        {
            batch.AttributeBigEndian(CompareSource, Register);
            batch.AttributeBigEndian(CompareOperation, Equal);
            Data(CompareData, value);
        });

        void Data(ushort type, byte[] value)
        {
            using var data = batch.Nest((ushort)(type | Abi.Netlink.NLA_F_NESTED));
            batch.Attribute(DataValue, value);
        }

        void Expression(string name, Action content)
        {
            using var element = batch.Nest(ListElement | Abi.Netlink.NLA_F_NESTED);
            batch.Attribute(ExpressionName, name);
            using var data = batch.Nest(ExpressionData | Abi.Netlink.NLA_F_NESTED);
            content();
        }
    }

    private static byte[] Port(ushort port) => [(byte)(port >> 8), (byte)port];
}
