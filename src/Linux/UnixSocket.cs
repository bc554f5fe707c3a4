using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>The kind of a unix socket.</summary>
public enum UnixSocketKind
{
    /// <summary>A byte stream.</summary>
    Stream = SocketAbi.SOCK_STREAM,

    /// <summary>Messages that arrive whole and in order, over a connection.</summary>
    SequencedPackets = SocketAbi.SOCK_SEQPACKET,
}

/// <summary>Who is at the other end of a unix socket, as of its connect.</summary>
public readonly record struct PeerCredentials(int Pid, uint Uid, uint Gid);

/// <summary>
/// Unix sockets with descriptors in the messages (SCM_RIGHTS), which System.Net.Sockets can't do. Blocking, unless said otherwise per call.
/// </summary>
public static unsafe class UnixSocket
{
    /// <summary>Descriptors one message can carry (SCM_MAX_FD).</summary>
    public const int MaxDescriptors = 253;

    public static SafeFileHandle Create(UnixSocketKind kind) =>
        LibC.Check(LibC.socket(SocketAbi.AF_UNIX, (int)kind | SocketAbi.SOCK_CLOEXEC, 0), "socket", $"AF_UNIX, {kind}");

    /// <summary>A socket listening at <paramref name="path"/>; what a predecessor left there is replaced.</summary>
    /// <param name="permissions">Who may write may connect. Set before anybody can.</param>
    public static SafeFileHandle Listen(string path, UnixSocketKind kind, int backlog, uint permissions)
    {
        var socket = Create(kind);
        try
        {
            File.Delete(path);
            var address = stackalloc byte[2 + SocketAbi.UNIX_PATH_MAX];
            var length = MakeAddress(path, address);
            LibC.Check(LibC.bind(socket, address, length), "bind", $"\"{path}\"");
            FileAt.ChangeMode(null, path, permissions); // nobody gets in before listen
            LibC.Check(LibC.listen(socket, backlog), "listen", $"\"{path}\", {backlog}");
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <exception cref="LinuxException">ENOENT or ECONNREFUSED: nobody listens there.</exception>
    public static SafeFileHandle Connect(string path, UnixSocketKind kind)
    {
        var socket = Create(kind);
        try
        {
            var address = stackalloc byte[2 + SocketAbi.UNIX_PATH_MAX];
            var length = MakeAddress(path, address);
            LibC.Check(LibC.connect(socket, address, length), "connect", $"\"{path}\"");
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    public static SafeFileHandle Accept(SafeFileHandle listener) =>
        LibC.Check(LibC.accept4(listener, null, null, SocketAbi.SOCK_CLOEXEC), "accept4", "");

    public static (SafeFileHandle, SafeFileHandle) Pair(UnixSocketKind kind)
    {
        var fds = stackalloc int[2];
        LibC.Check(LibC.socketpair(SocketAbi.AF_UNIX, (int)kind | SocketAbi.SOCK_CLOEXEC, 0, fds), "socketpair", $"AF_UNIX, {kind}");
        return (new SafeFileHandle(fds[0], true), new SafeFileHandle(fds[1], true));
    }

    /// <summary>Hands the descriptor over to System.Net.Sockets; <paramref name="socket"/> no longer owns it.</summary>
    public static SafeSocketHandle AsSocketHandle(SafeFileHandle socket)
    {
        var handle = new SafeSocketHandle(socket.DangerousGetHandle(), ownsHandle: true);
        socket.SetHandleAsInvalid();
        return handle;
    }

    public static PeerCredentials GetPeer(SafeFileHandle socket)
    {
        UCred credentials;
        var length = (uint)sizeof(UCred);
        LibC.Check(LibC.getsockopt(socket, SocketAbi.SOL_SOCKET, SocketAbi.SO_PEERCRED, &credentials, &length), "getsockopt", "SO_PEERCRED");
        return new PeerCredentials(credentials.Pid, credentials.Uid, credentials.Gid);
    }

    /// <summary>No more writes from this end: the peer reads end of file, whoever else holds a duplicate. Errors mean that the peer is gone already.</summary>
    public static void ShutdownWrites(SafeFileHandle socket) => LibC.shutdown(socket, SocketAbi.SHUT_WR);

    /// <summary>Ends both directions and wakes everybody blocked on the socket, in this process and the peer's.</summary>
    public static void Shutdown(SafeFileHandle socket) => LibC.shutdown(socket, SocketAbi.SHUT_RDWR);

    /// <summary>
    /// Sends one message with duplicates of the descriptors. For a stream the return value may be less than the length; descriptors travel with the first byte.
    /// </summary>
    /// <param name="wait">False: <see cref="Errno.EAGAIN"/> instead of waiting for room.</param>
    /// <returns>Bytes taken, or -1 with the error in <paramref name="errno"/>.</returns>
    public static int TrySend(SafeFileHandle socket, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<SafeHandle> descriptors, bool wait, out Errno errno)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Length, MaxDescriptors);
        var held = 0;
        var controlLength = descriptors.Length == 0 ? 0 : sizeof(CMsgHdr) + Align(descriptors.Length * sizeof(int));
        var control = stackalloc byte[controlLength];
        try
        {
            if (descriptors.Length > 0)
            {
                var header = (CMsgHdr*)control;
                header->Length = (nuint)(sizeof(CMsgHdr) + descriptors.Length * sizeof(int));
                header->Level = SocketAbi.SOL_SOCKET;
                header->Type = SocketAbi.SCM_RIGHTS;
                var fds = (int*)(control + sizeof(CMsgHdr));
                foreach (var descriptor in descriptors)
                {
                    var added = false;
                    descriptor.DangerousAddRef(ref added);
                    fds[held++] = (int)descriptor.DangerousGetHandle();
                }
            }
            fixed (byte* a = first)
            fixed (byte* b = second)
            {
                var vectors = stackalloc IoVec[2] { new() { Base = a, Length = (nuint)first.Length }, new() { Base = b, Length = (nuint)second.Length } };
                var message = new MsgHdr { Vectors = vectors, VectorCount = second.Length == 0 ? 1u : 2u, Control = controlLength == 0 ? null : control, ControlLength = (nuint)controlLength };
                nint sent;
                do sent = LibC.sendmsg(socket, &message, SocketAbi.MSG_NOSIGNAL | (wait ? 0 : SocketAbi.MSG_DONTWAIT));
                while (sent < 0 && LibC.LastErrno == Errno.EINTR);
                errno = sent < 0 ? LibC.LastErrno : Errno.Success;
                return (int)sent;
            }
        }
        finally
        {
            for (var i = 0; i < held; i++) descriptors[i].DangerousRelease();
        }
    }

    /// <summary>
    /// Receives one message. Descriptors with it belong to the caller, close-on-exec.
    /// </summary>
    /// <returns>Its length, 0 at the end of the connection, or -1 with the error in <paramref name="errno"/>.</returns>
    /// <exception cref="InvalidDataException">The message or its descriptors did not fit: the peer breaks the protocol. Nothing is leaked.</exception>
    public static int TryReceive(SafeFileHandle socket, Span<byte> buffer, int maxDescriptors, bool wait, out SafeFileHandle[] descriptors, out Errno errno)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(maxDescriptors, MaxDescriptors);
        descriptors = [];
        var controlLength = sizeof(CMsgHdr) + Align(maxDescriptors * sizeof(int));
        var control = stackalloc byte[controlLength];
        fixed (byte* p = buffer)
        {
            var vector = new IoVec { Base = p, Length = (nuint)buffer.Length };
            var message = new MsgHdr { Vectors = &vector, VectorCount = 1, Control = control, ControlLength = (nuint)controlLength };
            nint received;
            do
            {
                message.ControlLength = (nuint)controlLength;
                received = LibC.recvmsg(socket, &message, SocketAbi.MSG_CMSG_CLOEXEC | (wait ? 0 : SocketAbi.MSG_DONTWAIT));
            }
            while (received < 0 && LibC.LastErrno == Errno.EINTR);
            if (received < 0)
            {
                errno = LibC.LastErrno;
                return -1;
            }
            errno = Errno.Success;
            if (message.ControlLength >= (nuint)sizeof(CMsgHdr))
            {
                var header = (CMsgHdr*)control;
                if (header->Level == SocketAbi.SOL_SOCKET && header->Type == SocketAbi.SCM_RIGHTS)
                {
                    descriptors = new SafeFileHandle[((int)header->Length - sizeof(CMsgHdr)) / sizeof(int)];
                    var fds = (int*)(control + sizeof(CMsgHdr));
                    for (var i = 0; i < descriptors.Length; i++) descriptors[i] = new SafeFileHandle(fds[i], true);
                }
            }
            if ((message.Flags & (SocketAbi.MSG_TRUNC | SocketAbi.MSG_CTRUNC)) == 0) return (int)received;
            foreach (var descriptor in descriptors) descriptor.Dispose();
            descriptors = [];
            throw new InvalidDataException($"a message of more than {buffer.Length} bytes or with more than {maxDescriptors} descriptors");
        }
    }

    private static int Align(int length) => (length + 7) & ~7;

    private static uint MakeAddress(string path, byte* address)
    {
        var bytes = Encoding.UTF8.GetByteCount(path);
        if (bytes >= SocketAbi.UNIX_PATH_MAX) throw new LinuxException("bind", $"\"{path}\": longer than {SocketAbi.UNIX_PATH_MAX - 1} bytes", Errno.ENAMETOOLONG);
        *(ushort*)address = SocketAbi.AF_UNIX;
        Encoding.UTF8.GetBytes(path, new Span<byte>(address + 2, bytes));
        address[2 + bytes] = 0;
        return (uint)(2 + bytes + 1);
    }
}
