using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// rtnetlink requests by what they do, written into a <see cref="NetlinkBatch"/>. Interfaces are named either by index or by name
/// (index 0): a name works inside the same batch that makes the interface.
/// Addresses are in network byte order, four bytes or sixteen.
/// </summary>
public static class LinkRequests
{
    private const byte EUI48 = 6;

    /// <summary>A bridge without spanning tree. EEXIST when there is one of that name.</summary>
    public static void AddBridge(this NetlinkBatch batch, string name, int mtuBytes, ReadOnlySpan<byte> mac)
    {
        BeginLink(batch, Rtnetlink.RTM_NEWLINK, Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_EXCL, 0, 0, 0, $"bridge {name}");
        batch.Attribute(Rtnetlink.IFLA_IFNAME, name);
        batch.Attribute(Rtnetlink.IFLA_MTU, mtuBytes);
        if (mac.Length == EUI48) batch.Attribute(Rtnetlink.IFLA_ADDRESS, mac);
        using (batch.Nest(Rtnetlink.IFLA_LINKINFO))
        {
            batch.Attribute(Rtnetlink.IFLA_INFO_KIND, "bridge");
            using (batch.Nest(Rtnetlink.IFLA_INFO_DATA)) batch.Attribute(Rtnetlink.IFLA_BR_STP_STATE, 0);
        }
    }

    /// <summary>A veth pair, made in the namespace of the socket: <paramref name="name"/> here, and its peer in <paramref name="peerNamespace"/>
    /// (null: here too). Both down.</summary>
    public static void AddVeth(this NetlinkBatch batch, string name, string peerName, SafeFileHandle? peerNamespace, int mtuBytes,
        ReadOnlySpan<byte> peerMac = default)
    {
        BeginLink(batch, Rtnetlink.RTM_NEWLINK, Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_EXCL, 0, 0, 0, $"veth {name} peer {peerName}");
        batch.Attribute(Rtnetlink.IFLA_IFNAME, name);
        batch.Attribute(Rtnetlink.IFLA_MTU, mtuBytes);
        OneQueue(batch);
        using (batch.Nest(Rtnetlink.IFLA_LINKINFO))
        {
            batch.Attribute(Rtnetlink.IFLA_INFO_KIND, "veth");
            using (batch.Nest(Rtnetlink.IFLA_INFO_DATA))
            using (batch.Nest(Rtnetlink.VETH_INFO_PEER))
            {
                WriteIfInfo(batch.Take(16), 0, 0, 0);
                batch.Attribute(Rtnetlink.IFLA_IFNAME, peerName);
                batch.Attribute(Rtnetlink.IFLA_MTU, mtuBytes);
                if (peerMac.Length == EUI48) batch.Attribute(Rtnetlink.IFLA_ADDRESS, peerMac);
                OneQueue(batch);
                if (peerNamespace is not null) batch.Attribute(Rtnetlink.IFLA_NET_NS_FD, (int)peerNamespace.DangerousGetHandle());
            }
        }
    }

    // Two queues per processor, the default, double the time it takes to make a pair (0.30 against 0.52 ms on 2 cores) and bring nothing:
    // a veth sends without a lock or a queue of its own.
    private static void OneQueue(NetlinkBatch batch)
    {
        batch.Attribute(Rtnetlink.IFLA_NUM_TX_QUEUES, 1);
        batch.Attribute(Rtnetlink.IFLA_NUM_RX_QUEUES, 1);
    }

    /// <summary>Removes an interface, and its peer with it. Nothing happens when it is gone already.</summary>
    public static void DeleteLink(this NetlinkBatch batch, int index) =>
        BeginLink(batch, Rtnetlink.RTM_DELLINK, 0, index, 0, 0, $"link {index}", Errno.ENODEV);

    /// <inheritdoc cref="DeleteLink(NetlinkBatch, int)"/>
    public static void DeleteLink(this NetlinkBatch batch, string name)
    {
        BeginLink(batch, Rtnetlink.RTM_DELLINK, 0, 0, 0, 0, $"link {name}", Errno.ENODEV);
        batch.Attribute(Rtnetlink.IFLA_IFNAME, name);
    }

    /// <summary>As many at a time as <see cref="DeleteLinks"/> takes.</summary>
    public const int MaxDeleted = 200;

    /// <summary>Removes several interfaces at once: the kernel waits for all processors (RCU, 30-40 ms) once for a group of them, rather than for each.</summary>
    public static void DeleteLinks(this NetlinkBatch batch, IReadOnlyList<string> names)
    {
        if (names.Count == 1)
        {
            batch.DeleteLink(names[0]);
            return;
        }
        // A group is no more than a number, and nobody else thinks of this one.
        var group = RandomNumberGenerator.GetInt32(1 << 16, int.MaxValue);
        foreach (var name in names) batch.SetLink(name, group: group, mayBeGone: true);
        BeginLink(batch, Rtnetlink.RTM_DELLINK, 0, 0, 0, 0, $"{names.Count} links, {names[0]} and others", Errno.ENODEV);
        batch.Attribute(Rtnetlink.IFLA_GROUP, group);
    }

    /// <summary>Changes several things of one interface in one request; what is null or zero stays.</summary>
    public static void SetLink(this NetlinkBatch batch, string? name, int index = 0, bool? up = null, int masterIndex = 0, int mtuBytes = 0,
        ReadOnlySpan<byte> mac = default, string? newName = null, string? alias = null, SafeFileHandle? moveTo = null, int group = 0, bool mayBeGone = false)
    {
        if (index == 0 == name is null) throw new ArgumentException("name or index, not both", nameof(name));
        BeginLink(batch, Rtnetlink.RTM_NEWLINK, 0, index, up == true ? Rtnetlink.IFF_UP : 0, up is null ? 0 : Rtnetlink.IFF_UP, $"set link {name ?? $"{index}"}",
            mayBeGone ? [Errno.ENODEV] : []);
        // With an index the kernel takes IFLA_IFNAME for the new name, without one for the name to look up.
        if (name is not null) batch.Attribute(Rtnetlink.IFLA_IFNAME, name);
        if (newName is not null) batch.Attribute(Rtnetlink.IFLA_IFNAME, newName);
        if (masterIndex != 0) batch.Attribute(Rtnetlink.IFLA_MASTER, masterIndex);
        if (mtuBytes != 0) batch.Attribute(Rtnetlink.IFLA_MTU, mtuBytes);
        if (mac.Length == EUI48) batch.Attribute(Rtnetlink.IFLA_ADDRESS, mac);
        if (alias is not null) batch.Attribute(Rtnetlink.IFLA_IFALIAS, alias);
        if (group != 0) batch.Attribute(Rtnetlink.IFLA_GROUP, group);
        if (moveTo is not null) batch.Attribute(Rtnetlink.IFLA_NET_NS_FD, (int)moveTo.DangerousGetHandle());
    }

    /// <summary>Sets flags of an interface that is a bridge port already.</summary>
    /// <param name="hairpin">Frames may leave by the port they came in on.</param>
    /// <param name="isolated">Reaches the bridge itself, but no other isolated port.</param>
    public static void SetBridgePort(this NetlinkBatch batch, string name, bool hairpin, bool isolated)
    {
        BeginLink(batch, Rtnetlink.RTM_NEWLINK, 0, 0, 0, 0, $"bridge port {name}");
        batch.Attribute(Rtnetlink.IFLA_IFNAME, name);
        using (batch.Nest(Rtnetlink.IFLA_LINKINFO))
        {
            batch.Attribute(Rtnetlink.IFLA_INFO_SLAVE_KIND, "bridge");
            using (batch.Nest(Rtnetlink.IFLA_INFO_SLAVE_DATA))
            {
                batch.Attribute(Rtnetlink.IFLA_BRPORT_MODE, (byte)(hairpin ? 1 : 0));
                batch.Attribute(Rtnetlink.IFLA_BRPORT_ISOLATED, (byte)(isolated ? 1 : 0));
            }
        }
    }

    /// <summary>Gives an interface an IPv4 or IPv6 address; nothing happens when it has it. An IPv6 one is used at once: no one is asked whether he has it.</summary>
    public static void AddAddress(this NetlinkBatch batch, int index, ReadOnlySpan<byte> address, int prefixLength, bool broadcast)
    {
        var ipv6 = address.Length == 16;
        batch.Begin(Rtnetlink.RTM_NEWADDR, Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_EXCL, "RTM_NEWADDR",
            $"{new System.Net.IPAddress(address)}/{prefixLength} on link {index}", Errno.EEXIST);
        // struct ifaddrmsg: family, prefix length, flags, scope, index
        var message = batch.Take(8);
        message[0] = ipv6 ? Rtnetlink.AF_INET6 : Rtnetlink.AF_INET;
        message[1] = (byte)prefixLength;
        if (ipv6) message[2] = Rtnetlink.IFA_F_NODAD;
        MemoryMarshal.Write(message[4..], index);
        batch.Attribute(Rtnetlink.IFA_LOCAL, address);
        batch.Attribute(Rtnetlink.IFA_ADDRESS, address);
        if (broadcast && !ipv6 && prefixLength < 31)
        {
            Span<byte> last = stackalloc byte[4];
            BinaryPrimitives.WriteUInt32BigEndian(last, BinaryPrimitives.ReadUInt32BigEndian(address) | (uint.MaxValue >> prefixLength));
            batch.Attribute(Rtnetlink.IFA_BROADCAST, last);
        }
    }

    /// <summary>A default route by way of <paramref name="gateway"/>; empty: straight out by the interface.</summary>
    public static void AddDefaultRoute(this NetlinkBatch batch, int index, ReadOnlySpan<byte> gateway, bool ipv6 = false)
    {
        batch.Begin(Rtnetlink.RTM_NEWROUTE, Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_EXCL, "RTM_NEWROUTE",
            gateway.IsEmpty ? $"default on link {index}" : $"default via {new System.Net.IPAddress(gateway)} on link {index}");
        // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
        var message = batch.Take(12);
        message[0] = ipv6 ? Rtnetlink.AF_INET6 : Rtnetlink.AF_INET;
        message[4] = Rtnetlink.RT_TABLE_MAIN;
        message[5] = Rtnetlink.RTPROT_BOOT;
        message[6] = gateway.IsEmpty ? Rtnetlink.RT_SCOPE_LINK : Rtnetlink.RT_SCOPE_UNIVERSE;
        message[7] = Rtnetlink.RTN_UNICAST;
        if (!gateway.IsEmpty) batch.Attribute(Rtnetlink.RTA_GATEWAY, gateway);
        batch.Attribute(Rtnetlink.RTA_OIF, index);
    }

    /// <summary>Removes the default route of an address family. Nothing happens when there is none.</summary>
    public static void DeleteDefaultRoutes(this NetlinkBatch batch, bool ipv6)
    {
        batch.Begin(Rtnetlink.RTM_DELROUTE, 0, "RTM_DELROUTE", ipv6 ? "default, IPv6" : "default", Errno.ESRCH, Errno.ENOENT, Errno.EAFNOSUPPORT, Errno.EOPNOTSUPP);
        var message = batch.Take(12);
        message[0] = ipv6 ? Rtnetlink.AF_INET6 : Rtnetlink.AF_INET;
        message[4] = Rtnetlink.RT_TABLE_MAIN;
        message[6] = Rtnetlink.RT_SCOPE_NOWHERE;
    }

    /// <summary>An interface of its own address on top of another one, made in <paramref name="targetNamespace"/>.</summary>
    /// <param name="mode">private 1, vepa 2, bridge 4, passthru 8 (if_link.h).</param>
    public static void AddMacvlan(this NetlinkBatch batch, string name, int parentIndex, uint mode, SafeFileHandle targetNamespace, int mtuBytes, ReadOnlySpan<byte> mac)
    {
        BeginLink(batch, Rtnetlink.RTM_NEWLINK, Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_EXCL, 0, 0, 0, $"macvlan {name} on link {parentIndex}");
        WriteUpper(batch, name, parentIndex, targetNamespace, mtuBytes, mac);
        using (batch.Nest(Rtnetlink.IFLA_LINKINFO))
        {
            batch.Attribute(Rtnetlink.IFLA_INFO_KIND, "macvlan");
            using (batch.Nest(Rtnetlink.IFLA_INFO_DATA)) batch.Attribute(Rtnetlink.IFLA_MACVLAN_MODE, (int)mode);
        }
    }

    /// <summary>An interface that shares another one's MAC address, made in <paramref name="targetNamespace"/>.</summary>
    /// <param name="mode">l2 0, l3 1, l3s 2 (if_link.h).</param>
    /// <param name="flags">bridge 0, private 1, vepa 2.</param>
    public static void AddIpvlan(this NetlinkBatch batch, string name, int parentIndex, ushort mode, ushort flags, SafeFileHandle targetNamespace, int mtuBytes)
    {
        BeginLink(batch, Rtnetlink.RTM_NEWLINK, Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_EXCL, 0, 0, 0, $"ipvlan {name} on link {parentIndex}");
        WriteUpper(batch, name, parentIndex, targetNamespace, mtuBytes, default);
        using (batch.Nest(Rtnetlink.IFLA_LINKINFO))
        {
            batch.Attribute(Rtnetlink.IFLA_INFO_KIND, "ipvlan");
            using (batch.Nest(Rtnetlink.IFLA_INFO_DATA))
            {
                batch.AttributeUInt16(Rtnetlink.IFLA_IPVLAN_MODE, mode);
                if (flags != 0) batch.AttributeUInt16(Rtnetlink.IFLA_IPVLAN_FLAGS, flags);
            }
        }
    }

    private static void WriteUpper(NetlinkBatch batch, string name, int parentIndex, SafeFileHandle targetNamespace, int mtuBytes, ReadOnlySpan<byte> mac)
    {
        batch.Attribute(Rtnetlink.IFLA_IFNAME, name);
        batch.Attribute(Rtnetlink.IFLA_LINK, parentIndex);
        if (mtuBytes > 0) batch.Attribute(Rtnetlink.IFLA_MTU, mtuBytes);
        if (mac.Length == EUI48) batch.Attribute(Rtnetlink.IFLA_ADDRESS, mac);
        batch.Attribute(Rtnetlink.IFLA_NET_NS_FD, (int)targetNamespace.DangerousGetHandle());
    }

    /// <summary>The part of an interface that carries one VLAN (IEEE 802.1Q). EEXIST when there is one of that name.</summary>
    public static void AddVlan(this NetlinkBatch batch, string name, int parentIndex, ushort vlan)
    {
        BeginLink(batch, Rtnetlink.RTM_NEWLINK, Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_EXCL, 0, 0, 0, $"vlan {name} on link {parentIndex}");
        batch.Attribute(Rtnetlink.IFLA_IFNAME, name);
        batch.Attribute(Rtnetlink.IFLA_LINK, parentIndex);
        using (batch.Nest(Rtnetlink.IFLA_LINKINFO))
        {
            batch.Attribute(Rtnetlink.IFLA_INFO_KIND, "vlan");
            using (batch.Nest(Rtnetlink.IFLA_INFO_DATA)) batch.AttributeUInt16(Rtnetlink.IFLA_VLAN_ID, vlan);
        }
    }

    /// <summary>An interface that leads nowhere. EEXIST when there is one of that name.</summary>
    public static void AddDummy(this NetlinkBatch batch, string name)
    {
        BeginLink(batch, Rtnetlink.RTM_NEWLINK, Abi.Netlink.NLM_F_CREATE | Abi.Netlink.NLM_F_EXCL, 0, 0, 0, $"dummy {name}");
        batch.Attribute(Rtnetlink.IFLA_IFNAME, name);
        using (batch.Nest(Rtnetlink.IFLA_LINKINFO)) batch.Attribute(Rtnetlink.IFLA_INFO_KIND, "dummy");
    }

    private static void BeginLink(NetlinkBatch batch, ushort type, ushort flags, int index, uint ifFlags, uint change, string description, params Errno[] optional)
    {
        batch.Begin(type, flags, type == Rtnetlink.RTM_DELLINK ? "RTM_DELLINK" : "RTM_NEWLINK", description, optional);
        WriteIfInfo(batch.Take(16), index, ifFlags, change);
    }

    // struct ifinfomsg: family, pad, type, index, flags, change
    private static void WriteIfInfo(Span<byte> message, int index, uint flags, uint change)
    {
        MemoryMarshal.Write(message[4..], index);
        MemoryMarshal.Write(message[8..], flags);
        MemoryMarshal.Write(message[12..], change);
    }
}
