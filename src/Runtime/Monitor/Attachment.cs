using System.Net.Sockets;
using System.Runtime.InteropServices;
using Berth.Linux;

namespace Berth.Runtime.Monitor;

/// <summary>
/// A place output is copied to while it is made. The monitor writes to its end of a socket pair; end of file on the other end means that the process
/// has ended and all its output was delivered, or that the reader made no progress for <see cref="MonitorLimits.AttachmentStall"/> and was dropped
/// so that it does not block the container for good.
/// </summary>
/// <param name="Socket">The monitor's end of a stream socket pair. A duplicate travels; dispose yours after the call, or end of file is never seen.</param>
/// <param name="Stdout">Copy stdout (or the terminal).</param>
/// <param name="Stderr">Copy stderr; a process with a terminal has none.</param>
/// <param name="Framing">How the two are told apart.</param>
public sealed record Attachment(SafeHandle Socket, bool Stdout, bool Stderr, StreamFraming Framing)
{
    /// <summary>
    /// Makes a socket pair and the attachment around one of its ends. <paramref name="reader"/> is the other one, for the caller to read from
    /// (non-blocking is up to the caller: `new Socket(reader)`); closing it detaches.
    /// </summary>
    public static Attachment Create(bool stdout, bool stderr, StreamFraming framing, out SafeSocketHandle reader)
    {
        var (ours, theirs) = UnixSocket.Pair(UnixSocketKind.Stream);
        reader = UnixSocket.AsSocketHandle(ours);
        return new Attachment(theirs, stdout, stderr, framing);
    }
}

public enum StreamFraming
{
    /// <summary>Bytes as they come, for a terminal.</summary>
    Raw,

    /// <summary>Docker's multiplexing: stream (1 stdout, 2 stderr), 3 zero bytes, length as big-endian 32 bit, bytes.</summary>
    Docker,
}
