using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Berth.Linux;
using Berth.Networks;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Networks;

/// <summary>
/// A machine of the test's own, made of namespaces: "host" with an interface to "outside", so that neither the real host's interfaces nor its
/// firewall are touched. host is 192.0.2.1, outside is 192.0.2.2 and has a route to the containers by way of host.
/// </summary>
internal sealed class Machine : IAsyncDisposable
{
    internal const string HostAddress = "192.0.2.1";
    internal const string OutsideAddress = "192.0.2.2";

    private readonly List<NetworkManager> managers = [];
    private readonly List<IDisposable> open = [];
    private readonly string directory = Directory.CreateTempSubdirectory("berth-net-test").FullName;

    private Machine(SafeFileHandle host, SafeFileHandle outside)
    {
        Host = host;
        Outside = outside;
    }

    internal SafeFileHandle Host { get; }

    internal SafeFileHandle Outside { get; }

    internal List<string> Log { get; } = [];

    internal ILogger Logger => new ListLogger(Log);

    internal static Machine Create()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        var host = NetworkNamespace.Create(() => Netlink(b => b.SetLink("lo", up: true)));
        var outside = NetworkNamespace.Create(() => Netlink(b => b.SetLink("lo", up: true)));
        NetworkNamespace.Run(host, () =>
        {
            Netlink(b =>
            {
                b.AddVeth("wan0", "eth0", outside, 1500);
                b.SetLink("wan0", up: true);
            });
            using var netlink = NetlinkSocket.OpenRoute();
            var index = netlink.Link("wan0")!.Index;
            Netlink(b => b.AddAddress(index, [192, 0, 2, 1], 24, true));
            return 0;
        });
        NetworkNamespace.Run(outside, () =>
        {
            using var netlink = NetlinkSocket.OpenRoute();
            var index = netlink.Link("eth0")!.Index;
            Netlink(b =>
            {
                b.SetLink("eth0", up: true);
                b.AddAddress(index, [192, 0, 2, 2], 24, true);
                b.AddDefaultRoute(index, [192, 0, 2, 1]);
            });
            return 0;
        });
        return new Machine(host, outside);
    }

    private static void Netlink(Action<NetlinkBatch> write)
    {
        using var netlink = NetlinkSocket.OpenRoute();
        var batch = new NetlinkBatch();
        write(batch);
        netlink.Execute(batch);
    }

    /// <summary>Whether bridged packets pass the firewall, as on a machine with Docker or Kubernetes. Skips where the kernel has no such choice.</summary>
    internal void SetBridgeNetfilter(bool on) => NetworkNamespace.Run(Host, () =>
    {
        const string path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        if (File.Exists(path)) File.WriteAllText(path, on ? "1" : "0");
        else Assert.SkipWhen(on, "br_netfilter is not loaded");
        return 0;
    });

    internal NetworkManagerOptions Options => new()
    {
        DataDirectory = directory,
        HostNamespace = Host,
        BridgeAddress = InetInterface.TryParse("198.18.50.1/24", out var a) ? a : throw new UnreachableException(),
    };

    /// <summary>A container's wish for these networks; none named: the default one.</summary>
    internal static SandboxRequest Join(string name, params string[] networks) =>
        new() { ContainerName = name, Endpoints = [.. (networks.Length > 0 ? networks : ["bridge"]).Select(n => new EndpointRequest { Network = n })] };

    internal async Task<NetworkManager> StartEngineAsync(NetworkManagerOptions? options = null, bool restore = true)
    {
        var engine = new NetworkManager(options ?? Options, new ListLogger(Log));
        managers.Add(engine);
        await engine.InitialiseAsync(CancellationToken.None);
        if (restore) await engine.RestoreAsync([], CancellationToken.None);
        return engine;
    }

    /// <summary>What kill -9 leaves: the sockets are closed by the kernel, nothing is said to anyone.</summary>
    internal async Task KillAsync(NetworkManager engine)
    {
        managers.Remove(engine);
        await engine.DisposeAsync();
    }

    /// <summary>Lines of "kind name", interfaces on the host but for lo and wan0.</summary>
    internal string[] Links() => NetworkNamespace.Run(Host, () =>
    {
        using var netlink = NetlinkSocket.OpenRoute();
        return netlink.Links().Where(l => l.Name is not ("lo" or "wan0")).Select(l => $"{l.Kind} {l.Name}").ToArray();
    });

    internal string Nft(string script) => NetworkNamespace.Run(Host, () =>
    {
        using var nft = Nftables.Open();
        return nft.Run(script);
    });

    internal void Sh(string script) => Sh(Host, script);

    /// <summary>A process started from a thread inside a namespace is inside too.</summary>
    internal static void Sh(SafeFileHandle place, string script) => NetworkNamespace.Run(place, () =>
    {
        using var shell = Process.Start(new ProcessStartInfo("/bin/sh", ["-ec", script]))!;
        shell.WaitForExit();
        Assert.Equal(0, shell.ExitCode);
        return 0;
    });

    /// <summary>host is 2001:db8::1, outside 2001:db8::2, which has a route to the containers by way of host.</summary>
    internal void GiveIPv6()
    {
        Sh("ip -6 addr add 2001:db8::1/64 dev wan0 nodad");
        Sh(Outside, "ip -6 addr add 2001:db8::2/64 dev eth0 nodad; ip -6 route add default via 2001:db8::1");
    }

    internal string Ruleset() => Nft("list ruleset");

    /// <summary>A TCP server that tells each client its name and whom it sees, or a UDP one that does so for each datagram.</summary>
    internal void Serve(SafeFileHandle place, int port, string name, ProtocolType protocol = ProtocolType.Tcp, IPAddress? address = null)
    {
        var socket = NetworkNamespace.Run(place, () =>
        {
            var s = new Socket(address?.AddressFamily ?? AddressFamily.InterNetwork, protocol == ProtocolType.Tcp ? SocketType.Stream : SocketType.Dgram, protocol);
            if (s.AddressFamily == AddressFamily.InterNetworkV6) s.DualMode = true;
            s.Bind(new IPEndPoint(address ?? IPAddress.Any, port));
            if (protocol == ProtocolType.Tcp) s.Listen();
            return s;
        });
        open.Add(socket);
        _ = Task.Run(async () =>
        {
            try
            {
                while (true)
                {
                    if (protocol == ProtocolType.Tcp)
                    {
                        using var client = await socket.AcceptAsync();
                        await client.SendAsync(Encoding.ASCII.GetBytes($"{name} sees {((IPEndPoint)client.RemoteEndPoint!).Address}"));
                    }
                    else
                    {
                        var got = await socket.ReceiveFromAsync(new byte[64], new IPEndPoint(IPAddress.Any, 0));
                        await socket.SendToAsync(Encoding.ASCII.GetBytes($"{name} sees {((IPEndPoint)got.RemoteEndPoint).Address}"), got.RemoteEndPoint);
                    }
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // the test is over
            }
        });
    }

    /// <summary>What the server says; or "refused", "unreachable" or "timed out".</summary>
    internal static async Task<string> FetchAsync(SafeFileHandle from, string address, int port, ProtocolType protocol = ProtocolType.Tcp, int timeoutMilliseconds = 3000)
    {
        var ip = IPAddress.Parse(address);
        using var socket = NetworkNamespace.Run(from, () =>
            new Socket(ip.AddressFamily, protocol == ProtocolType.Tcp ? SocketType.Stream : SocketType.Dgram, protocol));
        using var timeout = new CancellationTokenSource(timeoutMilliseconds);
        try
        {
            await socket.ConnectAsync(ip, port, timeout.Token);
            if (protocol == ProtocolType.Udp) await socket.SendAsync("hello"u8.ToArray(), timeout.Token);
            var buffer = new byte[256];
            var got = await socket.ReceiveAsync(buffer, timeout.Token);
            return Encoding.ASCII.GetString(buffer, 0, got);
        }
        catch (OperationCanceledException)
        {
            return "timed out";
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.ConnectionRefused or SocketError.ConnectionReset)
        {
            return "refused";
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.HostUnreachable or SocketError.NetworkUnreachable)
        {
            return "unreachable";
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var o in open) o.Dispose();
        foreach (var manager in managers) await manager.DisposeAsync();
        Host.Dispose();
        Outside.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    private sealed class ListLogger(List<string> lines) : ILogger<NetworkManager>
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (lines) lines.Add($"{logLevel}: {formatter(state, exception)}");
        }
    }
}
