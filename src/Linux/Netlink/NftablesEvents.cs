using System.Runtime.InteropServices;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>What somebody took out of an nftables table.</summary>
[Flags]
public enum NftablesRemovals
{
    None = 0,
    /// <summary>Elements of a set or map.</summary>
    Elements = 1,
    /// <summary>Rules, chains, sets, or the whole table.</summary>
    Structure = 2,
}

/// <summary>
/// The kernel's news of changes to nftables in one network namespace. The news of a transaction is there when the call that made it returns. Not safe for concurrent use.
/// </summary>
public sealed unsafe class NftablesEvents : IDisposable
{
    // include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h
    private const uint GroupBit = 1 << (7 - 1); // NFNLGRP_NFTABLES
    private const int Subsystem = 10, DeleteTable = 2, DeleteChain = 5, DeleteRule = 8, DeleteSet = 11, DeleteElements = 14;
    private const ushort TableAttribute = 1; // of each of these messages
    private const int FamilyHeaderBytes = 4;
    private const int SOCK_RAW = 3, SOCK_NONBLOCK = 0x800, SOL_SOCKET = 1, SO_RCVBUFFORCE = 33, MSG_TRUNC = 0x20;
    /// <summary>Room for the news of some thousand rules while nobody reads.</summary>
    private const int ReceiveBufferBytes = 1 << 20;
    /// <summary>The kernel puts news together into messages of a page or two; a single one is no longer than an attribute can be.</summary>
    private const int MessageBytes = 128 * 1024;

    private byte[] receive = [];

    private NftablesEvents(SafeFileHandle handle) => Handle = handle;

    /// <summary>Readable when there is news.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Of the calling thread's network namespace.</summary>
    public static NftablesEvents Open()
    {
        var handle = LibC.Check(LibC.NetlinkSocket(Abi.Netlink.AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SocketAbi.SOCK_CLOEXEC, Abi.Netlink.NETLINK_NETFILTER),
            "socket", "AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER");
        try
        {
            var size = ReceiveBufferBytes;
            _ = LibC.NetlinkOption(handle, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(int)); // without the right to it the usual size has to do
            var address = new ProcessExits.Address { Family = Abi.Netlink.AF_NETLINK, Groups = GroupBit };
            LibC.Check(LibC.NetlinkBind(handle, &address, (uint)sizeof(ProcessExits.Address)), "bind", "NFNLGRP_NFTABLES");
            return new NftablesEvents(handle);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Reads all news there is. Lost news (it came faster than it was read) counts as everything.</summary>
    /// <param name="table">Of whatever family.</param>
    public NftablesRemovals Take(string table)
    {
        if (receive.Length == 0) receive = GC.AllocateUninitializedArray<byte>(MessageBytes);
        var removed = NftablesRemovals.None;
        while (true)
        {
            nint got;
            fixed (byte* p = receive) got = LibC.NetlinkReceive(Handle, p, (nuint)receive.Length, MSG_TRUNC);
            if (got < 0)
            {
                var errno = LibC.LastErrno;
                if (errno == Errno.EINTR) continue;
                if (errno != Errno.ENOBUFS) return removed;
                removed |= NftablesRemovals.Structure | NftablesRemovals.Elements;
                continue;
            }
            for (var rest = receive.AsSpan(0, (int)Math.Min(got, receive.Length)); rest.Length >= Abi.Netlink.NLMSG_HDRLEN;)
            {
                var length = MemoryMarshal.Read<int>(rest);
                if (length < Abi.Netlink.NLMSG_HDRLEN || length > rest.Length) break;
                var type = MemoryMarshal.Read<ushort>(rest[4..]);
                if (type >> 8 == Subsystem && length >= Abi.Netlink.NLMSG_HDRLEN + FamilyHeaderBytes && KindOf(type & 0xff) is not NftablesRemovals.None and var kind)
                {
                    foreach (var attribute in new NetlinkAttributes(rest[(Abi.Netlink.NLMSG_HDRLEN + FamilyHeaderBytes)..length]))
                        if (attribute.Type == TableAttribute && attribute.Text == table) removed |= kind;
                }
                rest = rest[Math.Min((length + 3) & ~3, rest.Length)..];
            }
        }
    }

    private static NftablesRemovals KindOf(int message) => message switch
    {
        DeleteTable or DeleteChain or DeleteRule or DeleteSet => NftablesRemovals.Structure,
        DeleteElements => NftablesRemovals.Elements,
        _ => NftablesRemovals.None,
    };

    public void Dispose() => Handle.Dispose();
}
