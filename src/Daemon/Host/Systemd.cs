using System.ComponentModel;
using System.Diagnostics;
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

    /// <summary>Whether the machine is being shut down or rebooted, which a SIGTERM alone does not say: `systemctl stop` sends the same one.</summary>
    public static async Task<bool> MachineStopsAsync()
    {
        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NOTIFY_SOCKET"))) return false;
        try
        {
            using var process = Process.Start(new ProcessStartInfo("systemctl", ["is-system-running"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            using var limit = new CancellationTokenSource(AnswerWithin);
            var answer = await process.StandardOutput.ReadToEndAsync(limit.Token);
            return answer.Trim() == "stopping";
        }
        catch (Exception e) when (e is Win32Exception or OperationCanceledException)
        {
            return false; // no systemctl, or none that answers
        }
    }

    private static readonly TimeSpan AnswerWithin = TimeSpan.FromSeconds(3);
}
