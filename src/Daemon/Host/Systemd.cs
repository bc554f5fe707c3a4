using System.Net.Sockets;
using System.Text;

namespace Berth.Daemon.Host;

/// <summary>The sd_notify(3) protocol: a datagram to the socket named by the environment; nothing where there is none.</summary>
internal static class Systemd
{
    public static void Notify(string state)
    {
        var path = Environment.GetEnvironmentVariable("NOTIFY_SOCKET");
        if (string.IsNullOrEmpty(path))
            return;
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            socket.SendTo(Encoding.UTF8.GetBytes(state), new UnixDomainSocketEndPoint(path[0] == '@' ? "\0" + path[1..] : path));
        }
        catch (SocketException)
        {
            // Whoever asked to be told has gone.
        }
    }
}
