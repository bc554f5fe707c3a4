using System.Runtime.InteropServices;
using System.Text;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// A netlink(7) socket. It talks to the network namespace of the thread that opened it, for good, whoever uses it later:
/// that is how one thread configures many namespaces. Not safe for concurrent use.
/// The kernel carries a request out inside send(2) and has queued the answer by the time it returns, so nothing here waits.
/// </summary>
public sealed unsafe class NetlinkSocket : IDisposable
{
    private const int SOCK_RAW = 3;
    private const int SOCK_CLOEXEC = 0x80000;
    private const int SOL_SOCKET = 1;
    private const int SO_RCVBUF = 8;
    private const int MSG_TRUNC = 0x20;

    /// <summary>The kernel makes no netlink dump message larger than 32 KiB when the reader offers as much (netlink_dump).</summary>
    private const int ReceiveBytes = 32 * 1024;

    /// <summary>Requests in one send: their acknowledgements must fit the socket's receive buffer, which nobody empties meanwhile.</summary>
    public const int MaxBatch = 256;

    private readonly SafeFileHandle socket;
    private readonly byte[] receive = new byte[ReceiveBytes];

    private NetlinkSocket(SafeFileHandle socket) => this.socket = socket;

    /// <summary>Links, addresses, routes: rtnetlink(7).</summary>
    public static NetlinkSocket OpenRoute() => Open(Abi.Netlink.NETLINK_ROUTE, "NETLINK_ROUTE");

    /// <summary>Connection tracking.</summary>
    public static NetlinkSocket OpenNetfilter() => Open(Abi.Netlink.NETLINK_NETFILTER, "NETLINK_NETFILTER");

    private static NetlinkSocket Open(int protocol, string name)
    {
        var handle = LibC.Check(LibC.NetlinkSocket(Abi.Netlink.AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol),
            "socket", $"AF_NETLINK, SOCK_RAW, {name}");
        // The reason in words comes along with an error, and the request is not echoed: both are niceties, so failures are of no interest.
        var on = 1;
        _ = LibC.NetlinkOption(handle, Abi.Netlink.SOL_NETLINK, Abi.Netlink.NETLINK_EXT_ACK, &on, sizeof(int));
        _ = LibC.NetlinkOption(handle, Abi.Netlink.SOL_NETLINK, Abi.Netlink.NETLINK_CAP_ACK, &on, sizeof(int));
        return new NetlinkSocket(handle);
    }

    /// <summary>Sends all requests in one system call and reads their acknowledgements. All are tried; the first that failed is thrown.</summary>
    public void Execute(NetlinkBatch batch)
    {
        if (batch.Count == 0) return;
        if (batch.Count > MaxBatch) throw new ArgumentException($"{batch.Count} netlink requests in a batch, at most {MaxBatch}", nameof(batch));
        Send(batch);
        LinuxException? failure = null;
        for (var answered = 0; answered < batch.AnswersExpected;)
        {
            var got = Receive();
            for (var at = 0; at < got;)
            {
                var message = Next(got, ref at, out var type, out _, out var sequence);
                if (type != Abi.Netlink.NLMSG_ERROR) continue;
                failure ??= Failure(message, batch.Requests[sequence]);
                // The whole was refused: nothing else is answered.
                if (!batch.Requests[sequence].Acknowledged && failure is not null) throw failure;
                answered++;
            }
        }
        if (failure is not null) throw failure;
    }

    internal delegate void Reply(ushort type, ReadOnlySpan<byte> payload);

    /// <summary>Sends one request that asks for objects, and hands each of them over. A dump that the kernel says was disturbed is asked for again.</summary>
    internal void Query(NetlinkBatch batch, Action restart, Reply reply)
    {
        for (var attempt = 0; ; attempt++)
        {
            restart();
            Send(batch);
            if (!ReadReplies(batch, reply) || attempt == 10) return;
        }
    }

    /// <summary>True: objects changed while they were listed (NLM_F_DUMP_INTR), so some may be missing.</summary>
    private bool ReadReplies(NetlinkBatch batch, Reply reply)
    {
        var disturbed = false;
        while (true)
        {
            var got = Receive();
            for (var at = 0; at < got;)
            {
                var message = Next(got, ref at, out var type, out var flags, out var sequence);
                disturbed |= (flags & Abi.Netlink.NLM_F_DUMP_INTR) != 0;
                if (type == Abi.Netlink.NLMSG_DONE) return disturbed;
                if (type == Abi.Netlink.NLMSG_ERROR)
                {
                    if (Failure(message, batch.Requests[sequence]) is { } failure) throw failure;
                    return disturbed;
                }
                reply(type, message);
            }
        }
    }

    private void Send(NetlinkBatch batch)
    {
        var bytes = batch.Finish();
        fixed (byte* p = bytes)
        {
            while (LibC.NetlinkSend(socket, p, (nuint)bytes.Length, 0) < 0)
            {
                if (LibC.LastErrno != Errno.EINTR) throw new LinuxException("send", $"netlink, {batch.Requests[0].Description}", LibC.LastErrno);
            }
        }
    }

    private int Receive()
    {
        fixed (byte* p = receive)
        {
            while (true)
            {
                var got = LibC.NetlinkReceive(socket, p, (nuint)receive.Length, MSG_TRUNC);
                if (got > receive.Length) throw new LinuxException("recv", $"netlink, {got} bytes", Errno.EMSGSIZE);
                if (got >= 0) return (int)got;
                if (LibC.LastErrno != Errno.EINTR) throw new LinuxException("recv", "netlink", LibC.LastErrno);
            }
        }
    }

    private ReadOnlySpan<byte> Next(int got, ref int at, out ushort type, out ushort flags, out int sequence)
    {
        var header = receive.AsSpan(at, got - at);
        var length = header.Length < Abi.Netlink.NLMSG_HDRLEN ? 0 : MemoryMarshal.Read<int>(header);
        if (length < Abi.Netlink.NLMSG_HDRLEN || length > header.Length) throw new LinuxException("recv", "netlink, message cut short", Errno.EBADMSG);
        type = MemoryMarshal.Read<ushort>(header[4..]);
        flags = MemoryMarshal.Read<ushort>(header[6..]);
        sequence = MemoryMarshal.Read<int>(header[8..]);
        at += (length + 3) & ~3;
        errorFlags = flags;
        return header[Abi.Netlink.NLMSG_HDRLEN..length];
    }

    private ushort errorFlags;

    private LinuxException? Failure(ReadOnlySpan<byte> message, NetlinkBatch.Request request)
    {
        var error = (Errno)(-MemoryMarshal.Read<int>(message));
        if (error == 0 || request.Optional.Contains(error)) return null;
        var description = request.Description;
        if ((errorFlags & Abi.Netlink.NLM_F_ACK_TLVS) != 0)
        {
            // struct nlmsgerr: the error, the request's header (and its payload unless capped), then attributes.
            var echoed = MemoryMarshal.Read<int>(message[4..]);
            var skip = 4 + ((errorFlags & Abi.Netlink.NLM_F_CAPPED) != 0 ? Abi.Netlink.NLMSG_HDRLEN : (echoed + 3) & ~3);
            if (skip <= message.Length)
                foreach (var attribute in new NetlinkAttributes(message[skip..]))
                    if (attribute.Type == Abi.Netlink.NLMSGERR_ATTR_MSG) description += $", \"{attribute.Text}\"";
        }
        return new LinuxException(request.Call, description, error);
    }

    public void Dispose() => socket.Dispose();
}

/// <summary>Attributes of a netlink message, one after another; stops at one that does not fit.</summary>
internal ref struct NetlinkAttributes(ReadOnlySpan<byte> rest)
{
    private ReadOnlySpan<byte> rest = rest;

    public Attribute Current { get; private set; }

    public readonly NetlinkAttributes GetEnumerator() => this;

    public bool MoveNext()
    {
        if (rest.Length < 4) return false;
        var length = MemoryMarshal.Read<ushort>(rest);
        if (length < 4 || length > rest.Length) return false;
        Current = new Attribute((ushort)(MemoryMarshal.Read<ushort>(rest[2..]) & Abi.Netlink.NLA_TYPE_MASK), rest[4..length]);
        rest = rest[Math.Min((length + 3) & ~3, rest.Length)..];
        return true;
    }

    internal readonly ref struct Attribute(ushort type, ReadOnlySpan<byte> value)
    {
        public readonly ushort Type = type;
        public readonly ReadOnlySpan<byte> Value = value;
        public string Text => Encoding.UTF8.GetString(Value.TrimEnd((byte)0));
        public int Int32 => Value.Length >= 4 ? MemoryMarshal.Read<int>(Value) : 0;
    }
}
