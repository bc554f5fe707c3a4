using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Berth.Daemon.Http;
using Berth.Linux;

namespace Berth.Daemon.Host;

/// <summary>Turns -H values into listening sockets: unix://path, tcp://address:port, fd:// (what systemd handed over).</summary>
internal static class Listeners
{
    private const int Backlog = 1024; // ten clients starting a hundred containers at once must not meet ECONNREFUSED

    /// <summary>The first descriptor that systemd passes: sd_listen_fds(3).</summary>
    private const int FirstPassedDescriptor = 3;

    /// <exception cref="FlagsException">A host that cannot be listened on, and why.</exception>
    public static List<ListeningEndPoint> Open(DaemonOptions options, Tls? tls, ILogger log)
    {
        var opened = new List<ListeningEndPoint>();
        try
        {
            foreach (var host in options.EffectiveHosts)
            {
                var separator = host.IndexOf("://", StringComparison.Ordinal);
                var (scheme, rest) = separator < 0 ? ("", host) : (host[..separator], host[(separator + 3)..]);
                switch (scheme)
                {
                    case "unix":
                        opened.Add(Unix(rest.Length > 0 ? rest : $"{options.Engine.ExecRoot}/berth.sock", options, log));
                        break;
                    case "tcp":
                        opened.Add(Tcp(rest, tls is null ? "2375" : "2376", tls));
                        if (tls is not { VerifiesClients: true })
                            log.ListeningWithoutVerification($"tcp://{opened[^1]}");
                        break;
                    case "fd":
                        opened.AddRange(Passed());
                        break;
                    default:
                        throw new FlagsException(separator < 0 ? $"bad format {host}, expected PROTO://ADDR" : $"invalid bind address ({host}): unsupported proto '{scheme}'");
                }
            }
        }
        catch
        {
            foreach (var endpoint in opened)
                endpoint.Socket.Dispose();
            throw;
        }
        return opened;
    }

    /// <summary>What `docker info` says of a tcp host that anybody can use; dockerd's words.</summary>
    public static List<string> Warnings(DaemonOptions options)
    {
        const string Why = "\n         Access to the remote API is equivalent to root access on the host. Refer\n         to the 'Docker daemon attack surface' section in the documentation for\n"
            + "         more information: https://docs.docker.com/go/attack-surface/";
        var list = new List<string>();
        foreach (var host in options.EffectiveHosts.Where(h => h.StartsWith("tcp://", StringComparison.Ordinal)))
        {
            var address = host["tcp://".Length..];
            if (options.Tls != true)
                list.Add($"[DEPRECATION NOTICE]: API is accessible on http://{address} without encryption.{Why}");
            else if (options.TlsVerify == false)
                list.Add($"[DEPRECATION NOTICE]: API is accessible on https://{address} without TLS client verification.{Why}");
        }
        return list;
    }

    private static ListeningEndPoint Unix(string path, DaemonOptions options, ILogger log)
    {
        path = Path.GetFullPath(path);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.Delete(path); // what a killed daemon left; the locks say that no other one listens there
            socket.Bind(new UnixDomainSocketEndPoint(path));
            // Before listen(2): until then nobody can connect, whatever the mode.
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite);
            if (GroupId(options.Group) is { } gid)
                FileAt.ChangeOwner(null, path, 0, gid);
            else if (options.GroupGiven)
                throw new FlagsException($"can't create unix socket {path}: group {options.Group} not found");
            else
                log.GroupNotFound(path, options.Group);
            socket.Listen(Backlog);
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException or ArgumentException or LinuxException)
        {
            socket.Dispose();
            throw new FlagsException($"can't create unix socket {path}: {e.Message}");
        }
        catch
        {
            socket.Dispose();
            throw;
        }
        return new ListeningEndPoint(socket, path);
    }

    /// <param name="defaultPort">Where the address has none.</param>
    /// <exception cref="FlagsException">It cannot be listened on.</exception>
    public static ListeningEndPoint Tcp(string address, string defaultPort, Tls? tls)
    {
        var colon = address.LastIndexOf(':');
        var (host, port) = colon < 0 ? (address, defaultPort) : (address[..colon].Trim('[', ']'), address[(colon + 1)..].TrimEnd('/'));
        if (!ushort.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            throw new FlagsException($"invalid bind address (tcp://{address}): invalid port {port}");
        var ip = host switch
        {
            "" => IPAddress.Any,
            "localhost" => IPAddress.Loopback,
            _ => IPAddress.TryParse(host, out var parsed) ? parsed : throw new FlagsException($"invalid bind address (tcp://{address}): {host} is not an address"),
        };
        var socket = new Socket(ip.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(ip, number));
            socket.Listen(Backlog);
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new FlagsException($"failed to listen on tcp://{address}: {e.Message}");
        }
        return new ListeningEndPoint(socket, socket.LocalEndPoint!.ToString()!) { Decrypt = tls is null ? null : tls.Relay };
    }

    private static List<ListeningEndPoint> Passed()
    {
        if (Environment.GetEnvironmentVariable("LISTEN_PID") != Environment.ProcessId.ToString(CultureInfo.InvariantCulture) ||
            !int.TryParse(Environment.GetEnvironmentVariable("LISTEN_FDS"), NumberStyles.None, CultureInfo.InvariantCulture, out var count) || count < 1)
        {
            throw new FlagsException("no sockets found via socket activation: make sure the service was started by systemd");
        }
        // Not for our children: the monitor would keep the socket, and take these for its own.
        Environment.SetEnvironmentVariable("LISTEN_PID", null);
        Environment.SetEnvironmentVariable("LISTEN_FDS", null);
        Environment.SetEnvironmentVariable("LISTEN_FDNAMES", null);
        var passed = new List<ListeningEndPoint>();
        for (var descriptor = FirstPassedDescriptor; descriptor < FirstPassedDescriptor + count; descriptor++)
        {
            Descriptors.SetCloseOnExec(descriptor);
            var socket = new Socket(new SafeSocketHandle(descriptor, ownsHandle: true));
            passed.Add(new ListeningEndPoint(socket, $"fd://{descriptor} ({socket.LocalEndPoint})"));
        }
        return passed;
    }

    /// <summary>From /etc/group; a number is taken as it is.</summary>
    private static uint? GroupId(string group)
    {
        if (group.Length == 0)
            return 0;
        if (uint.TryParse(group, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            return number;
        if (!File.Exists("/etc/group"))
            return null;
        foreach (var line in File.ReadLines("/etc/group"))
        {
            var fields = line.Split(':');
            if (fields.Length >= 3 && fields[0] == group && uint.TryParse(fields[2], NumberStyles.None, CultureInfo.InvariantCulture, out var gid))
                return gid;
        }
        return null;
    }
}
