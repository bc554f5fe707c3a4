using System.Runtime.InteropServices;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// How processes end that are nobody's children here: the kernel tells the end of each process of the machine (Documentation/driver-api/connector.rst, the process event connector).
/// For kernels before 6.15, where a pidfd forgets the end of a process that was reaped. Not safe for concurrent use.
/// </summary>
public sealed unsafe class ProcessExits : IDisposable
{
    // include/uapi/linux/netlink.h, connector.h, cn_proc.h
    private const int NETLINK_CONNECTOR = 11, SOCK_DGRAM = 2, SOCK_NONBLOCK = 0x800, SOCK_CLOEXEC = 0x80000;
    private const uint CN_IDX_PROC = 1, CN_VAL_PROC = 1, PROC_CN_MCAST_LISTEN = 1, PROC_CN_MCAST_IGNORE = 2;
    private const uint PROC_EVENT_EXIT = 0x80000000;
    private const ushort NLMSG_DONE = 3;
    private const int SOL_SOCKET = 1, SO_ATTACH_FILTER = 26, SO_RCVBUFFORCE = 33;

    /// <summary>The event in a message: behind struct nlmsghdr and struct cn_msg. Its parts: what (0), cpu (4), time (8), then pid (16), tgid (20), exit code (24).</summary>
    private const int EventOffset = 16 + 20, EventBytes = 28;

    /// <summary>Room for what ends while nobody reads: some 1500 processes in the moment that the reader needs.</summary>
    private const int ReceiveBufferBytes = 1 << 20;

    private readonly Dictionary<int, int?> _watched = [];

    private ProcessExits(SafeFileHandle handle) => Handle = handle;

    /// <summary>Readable when something has ended.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Nobody is watched any more.</summary>
    public bool IsIdle => _watched.Count == 0;

    /// <summary>Null where the kernel tells nobody (built without it), or not us (in a network or pid namespace other than the machine's first).</summary>
    public static ProcessExits? TryOpen()
    {
        var handle = LibC.NetlinkSocket(Abi.Netlink.AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_CONNECTOR);
        if (handle.IsInvalid) return null;
        var size = ReceiveBufferBytes;
        _ = LibC.NetlinkOption(handle, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(int));
        Filter(handle);
        var address = new Address { Family = Abi.Netlink.AF_NETLINK, Groups = CN_IDX_PROC };
        var exits = new ProcessExits(handle);
        if (LibC.NetlinkBind(handle, &address, (uint)sizeof(Address)) == 0 && exits.Send(PROC_CN_MCAST_LISTEN)) return exits;
        exits.Dispose();
        return null;
    }

    /// <summary>Forks, executions and threads' comings and goings stay in the kernel: only ends wake us.</summary>
    private static void Filter(SafeFileHandle handle)
    {
        const ushort LoadWord = 0x20, JumpEqual = 0x15, Return = 0x06;
        // The loader takes words for big-endian; what is there is in the machine's order.
        var program = stackalloc Instruction[]
        {
            new(LoadWord, 0, 0, EventOffset), new(JumpEqual, 0, 1, System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(PROC_EVENT_EXIT)), new(Return, 0, 0, uint.MaxValue), new(Return, 0, 0, 0),
        };
        var filter = new Program { Length = 4, Instructions = (nint)program };
        _ = LibC.NetlinkOption(handle, SOL_SOCKET, SO_ATTACH_FILTER, (int*)&filter, (uint)sizeof(Program));
    }

    /// <summary>Remembers the end of this process when it comes.</summary>
    public void Watch(int pid) => _watched.TryAdd(pid, null);

    /// <summary>Takes what the kernel has told so far. The kernel tells an end before it makes the process's pidfd readable.</summary>
    public void Read()
    {
        var buffer = stackalloc byte[512];
        while (true)
        {
            var got = (int)LibC.NetlinkReceive(Handle, buffer, 512, 0);
            if (got < 0)
            {
                // ENOBUFS: more ended than there was room for; those that are lost are lost.
                if (LibC.LastErrno is Errno.EINTR or Errno.ENOBUFS) continue;
                return;
            }
            if (got < EventOffset + EventBytes) continue;
            var message = new ReadOnlySpan<byte>(buffer + EventOffset, EventBytes);
            if (MemoryMarshal.Read<uint>(message) != PROC_EVENT_EXIT) continue;
            // Threads tell theirs too; the last one's is the process's.
            ref var end = ref CollectionsMarshal.GetValueRefOrNullRef(_watched, MemoryMarshal.Read<int>(message[20..]));
            if (!System.Runtime.CompilerServices.Unsafe.IsNullRef(ref end)) end = MemoryMarshal.Read<int>(message[24..]);
        }
    }

    /// <summary>The end of a process that was watched, and is no longer. False when the kernel did not tell it.</summary>
    public bool TryTake(int pid, out ProcessEnd end)
    {
        Read();
        end = default;
        if (!_watched.Remove(pid, out var status) || status is null) return false;
        end = ProcessEnd.FromWaitStatus(status.Value);
        return true;
    }

    public void Dispose()
    {
        // Kernels before 6.6 count those who listen, not those who are there.
        _ = Send(PROC_CN_MCAST_IGNORE);
        Handle.Dispose();
    }

    private bool Send(uint operation)
    {
        var request = new Request { Length = (uint)sizeof(Request), Type = NLMSG_DONE, Index = CN_IDX_PROC, Value = CN_VAL_PROC, DataLength = sizeof(uint), Operation = operation };
        return LibC.NetlinkSend(Handle, (byte*)&request, (nuint)sizeof(Request), 0) == sizeof(Request);
    }

    // struct sockaddr_nl
    internal struct Address
    {
        internal ushort Family, Pad;
        internal uint Port, Groups;
    }

    // struct nlmsghdr, struct cn_msg, enum proc_cn_mcast_op
    private struct Request
    {
        internal uint Length;
        internal ushort Type, Flags;
        internal uint Sequence, Port;
        internal uint Index, Value, MessageSequence, Acknowledge;
        internal ushort DataLength, DataFlags;
        internal uint Operation;
    }

    // struct sock_filter, struct sock_fprog
    private readonly record struct Instruction(ushort Code, byte True, byte False, uint Value);

    private struct Program
    {
        internal ushort Length;
        internal nint Instructions;
    }
}
