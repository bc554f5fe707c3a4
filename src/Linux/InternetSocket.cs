using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>Who sent a datagram, in IPv4.</summary>
/// <param name="Address">In host byte order.</param>
public readonly record struct DatagramPeer(uint Address, ushort Port);

/// <summary>
/// Sockets of the internet families as bare descriptors, never blocking: for loops that hold thousands of them, hand them to other processes
/// and take them over again, which System.Net.Sockets does not. A socket belongs for good to the network namespace it was opened in.
/// </summary>
public static unsafe class InternetSocket
{
    private const int SOCK_DGRAM = 2, SOCK_NONBLOCK = 0x800, SO_REUSEADDR = 2, SO_ERROR = 4;
    private const int AF_INET = 2, AF_INET6 = 10;
    private const int IPPROTO_IPV6 = 41, IPV6_V6ONLY = 26, IPPROTO_SCTP = 132; // include/uapi/linux/in.h, in6.h
    private const int MaxAddressBytes = 28; // struct sockaddr_in6
    private const nuint SIOCGSKNS = 0x894C; // include/uapi/linux/sockios.h

    /// <summary>Of the calling thread's network namespace; close-on-exec.</summary>
    /// <param name="stream">TCP; else UDP.</param>
    public static SafeFileHandle Open(AddressFamily family, bool stream) =>
        LibC.Check(LibC.socket(family == AddressFamily.InterNetworkV6 ? AF_INET6 : AF_INET, (stream ? SocketAbi.SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SocketAbi.SOCK_CLOEXEC, 0),
            "socket", $"{family}, {(stream ? "SOCK_STREAM" : "SOCK_DGRAM")}");

    /// <summary>An SCTP socket of the calling thread's network namespace, its IPv6 kind for IPv6 alone; null: this kernel has no SCTP.</summary>
    public static SafeFileHandle? TryOpenSctp(AddressFamily family)
    {
        var socket = LibC.socket(family == AddressFamily.InterNetworkV6 ? AF_INET6 : AF_INET, SocketAbi.SOCK_STREAM | SOCK_NONBLOCK | SocketAbi.SOCK_CLOEXEC, IPPROTO_SCTP);
        if (socket.IsInvalid && LibC.LastErrno == Errno.EPROTONOSUPPORT)
        {
            socket.Dispose();
            return null;
        }
        LibC.Check(socket, "socket", $"{family}, IPPROTO_SCTP");
        var one = 1;
        if (family == AddressFamily.InterNetworkV6 && LibC.NetlinkOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(int)) < 0)
        {
            var errno = LibC.LastErrno;
            socket.Dispose();
            throw new LinuxException("setsockopt", "IPV6_V6ONLY", errno);
        }
        return socket;
    }

    /// <param name="reuse">SO_REUSEADDR: for a listener, connections of a former one that still linger are no hindrance.</param>
    public static void Bind(SafeFileHandle socket, IPEndPoint address, bool reuse = false)
    {
        var one = 1;
        if (reuse && LibC.NetlinkOption(socket, SocketAbi.SOL_SOCKET, SO_REUSEADDR, &one, sizeof(int)) < 0)
            throw new LinuxException("setsockopt", "SO_REUSEADDR", LibC.LastErrno);
        var buffer = stackalloc byte[MaxAddressBytes];
        LibC.Check(LibC.bind(socket, buffer, Write(address, buffer)), "bind", $"{address}");
    }

    public static void Listen(SafeFileHandle socket, int backlog) => LibC.Check(LibC.listen(socket, backlog), "listen", $"{backlog}");

    /// <summary>False with EINPROGRESS: it will be writable once it is connected or has failed (<see cref="Error"/>).</summary>
    public static bool TryConnect(SafeFileHandle socket, IPEndPoint address, out Errno errno)
    {
        var buffer = stackalloc byte[MaxAddressBytes];
        var length = Write(address, buffer);
        int result;
        do result = LibC.connect(socket, buffer, length);
        while (result < 0 && LibC.LastErrno == Errno.EINTR);
        errno = result < 0 ? LibC.LastErrno : Errno.Success;
        return result >= 0;
    }

    /// <summary>Null when nobody waits (EAGAIN) or the connection is gone again. Not blocking, close-on-exec.</summary>
    public static SafeFileHandle? TryAccept(SafeFileHandle listener, out Errno errno)
    {
        var accepted = LibC.accept4(listener, null, null, SOCK_NONBLOCK | SocketAbi.SOCK_CLOEXEC);
        errno = accepted.IsInvalid ? LibC.LastErrno : Errno.Success;
        if (!accepted.IsInvalid) return accepted;
        accepted.Dispose();
        return null;
    }

    /// <summary>One datagram; what does not fit is cut off, which shows as a length greater than the buffer's.</summary>
    /// <returns>Its length, or -1 with the error in <paramref name="errno"/>.</returns>
    public static int TryReceiveFrom(SafeFileHandle socket, Span<byte> buffer, out DatagramPeer peer, out Errno errno)
    {
        var address = stackalloc byte[MaxAddressBytes];
        uint length = MaxAddressBytes;
        nint got;
        fixed (byte* p = buffer)
        {
            do got = LibC.recvfrom(socket, p, (nuint)buffer.Length, SocketAbi.MSG_DONTWAIT | SocketAbi.MSG_TRUNC, address, &length);
            while (got < 0 && LibC.LastErrno == Errno.EINTR);
        }
        errno = got < 0 ? LibC.LastErrno : Errno.Success;
        peer = new DatagramPeer(BinaryPrimitives.ReadUInt32BigEndian(new ReadOnlySpan<byte>(address + 4, 4)), BinaryPrimitives.ReadUInt16BigEndian(new ReadOnlySpan<byte>(address + 2, 2)));
        return (int)got;
    }

    /// <summary>False: it was not taken, for whatever reason; a datagram may always be lost.</summary>
    public static bool TrySendTo(SafeFileHandle socket, ReadOnlySpan<byte> datagram, DatagramPeer peer)
    {
        var address = stackalloc byte[MaxAddressBytes];
        *(ushort*)address = AF_INET;
        BinaryPrimitives.WriteUInt16BigEndian(new Span<byte>(address + 2, 2), peer.Port);
        BinaryPrimitives.WriteUInt32BigEndian(new Span<byte>(address + 4, 4), peer.Address);
        *(ulong*)(address + 8) = 0;
        fixed (byte* p = datagram)
        {
            nint sent;
            do sent = LibC.sendto(socket, p, (nuint)datagram.Length, SocketAbi.MSG_DONTWAIT | SocketAbi.MSG_NOSIGNAL, address, 16);
            while (sent < 0 && LibC.LastErrno == Errno.EINTR);
            return sent == datagram.Length;
        }
    }

    /// <summary>Takes the error that is pending on the socket.</summary>
    public static Errno Error(SafeFileHandle socket)
    {
        int error;
        uint length = sizeof(int);
        return LibC.getsockopt(socket, SocketAbi.SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? LibC.LastErrno : (Errno)error;
    }

    /// <summary>The network namespace that a socket belongs to.</summary>
    public static SafeFileHandle NamespaceOf(SafeFileHandle socket)
    {
        var held = false;
        socket.DangerousAddRef(ref held);
        try
        {
            return new SafeFileHandle(LibC.Check(LibC.ioctl((int)socket.DangerousGetHandle(), SIOCGSKNS, 0), "ioctl", "SIOCGSKNS"), true);
        }
        finally
        {
            socket.DangerousRelease();
        }
    }

    private static uint Write(IPEndPoint endpoint, byte* address)
    {
        new Span<byte>(address, MaxAddressBytes).Clear();
        BinaryPrimitives.WriteUInt16BigEndian(new Span<byte>(address + 2, 2), (ushort)endpoint.Port);
        if (endpoint.AddressFamily == AddressFamily.InterNetworkV6)
        {
            *(ushort*)address = AF_INET6;
            endpoint.Address.TryWriteBytes(new Span<byte>(address + 8, 16), out _);
            *(uint*)(address + 24) = (uint)endpoint.Address.ScopeId;
            return 28;
        }
        *(ushort*)address = AF_INET;
        endpoint.Address.TryWriteBytes(new Span<byte>(address + 4, 4), out _);
        return 16;
    }
}
