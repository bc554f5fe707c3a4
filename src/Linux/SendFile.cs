using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>sendfile(2): from a file to a socket without a way through this process.</summary>
public static unsafe class SendFile
{
    /// <summary>Sends what the socket takes now. It must not block: .NET makes a socket so with its first asynchronous call.</summary>
    /// <returns>How many bytes went; 0 at the end of the file; null when the socket has no room.</returns>
    /// <exception cref="LinuxException">EPIPE, ECONNRESET: the peer has gone. EINVAL: the file is of a kind that can't be sent so.</exception>
    public static long? TrySend(SafeHandle socket, SafeFileHandle file, long offset, long count)
    {
        var (addedSocket, addedFile) = (false, false);
        try
        {
            socket.DangerousAddRef(ref addedSocket);
            file.DangerousAddRef(ref addedFile);
            while (true)
            {
                var at = offset;
                var sent = LibC.sendfile((int)socket.DangerousGetHandle(), (int)file.DangerousGetHandle(), &at, (nuint)Math.Min(count, int.MaxValue & ~4095));
                if (sent >= 0) return sent;
                switch (LibC.LastErrno)
                {
                    case Errno.EINTR: continue;
                    case Errno.EAGAIN: return null;
                    default: throw new LinuxException("sendfile", $"{offset}, {count}", LibC.LastErrno);
                }
            }
        }
        finally
        {
            if (addedSocket) socket.DangerousRelease();
            if (addedFile) file.DangerousRelease();
        }
    }
}
