using System.Net;
using System.Net.Sockets;
using Berth.Linux;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>
/// The host's ports that are published. Each TCP or UDP port is held by a socket of ours, so that nobody else takes it and a conflict
/// with somebody who has it is found; packets that the firewall redirects never reach that socket, and what does (IPv6, or
/// no firewall) is carried by a <see cref="PortProxy"/>. Error texts are Docker's.
/// </summary>
internal sealed class HostPorts(HostNamespace host, NetworkManagerOptions engine, ILogger logger)
{
    /// <summary>How many ports of the ephemeral range are tried when other programs have them; as Docker.</summary>
    private const int MaxAttempts = 10;

    private const int Backlog = 512;

    /// <summary>Docker's range when the kernel's can't be read; also the kernel's default.</summary>
    private static readonly PortRange DefaultEphemeral = new(32768, 60999);

    private readonly Lock gate = new();
    private readonly Dictionary<(PortProtocol Protocol, ushort Port), List<IPAddress>> reserved = [];
    private readonly Dictionary<PortProtocol, ushort> lastEphemeral = [];
    private PortRange? ephemeral;
    private bool? ipv6;

    /// <summary>Finds and holds a host port for each request, or none at all.</summary>
    /// <exception cref="NetworkException">PortUnavailable.</exception>
    internal BoundPorts Bind(IReadOnlyList<PortRequest> requests, PortTarget container)
    {
        var bound = new BoundPorts(this);
        if (requests.Count == 0 || container.IsNone) return bound;
        try
        {
            // Exact ports first, for a range might otherwise take them. What differs in the host address only shall have the same port.
            var groups = requests
                .Distinct()
                .OrderBy(r => r.HostPorts.IsAny || r.HostPorts.Count > 1)
                .ThenBy(r => r.Port)
                .ThenBy(r => (r.HostPorts.First, r.HostPorts.Last))
                .GroupBy(r => (r.Port, r.HostPorts));
            foreach (var group in groups)
            {
                var addresses = group.SelectMany(r => AddressesFor(r.HostAddress?.ToIPAddress(), container)).Distinct()
                    .Where(a => container.For(a) is not null)
                    .OrderBy(a => a.AddressFamily == AddressFamily.InterNetworkV6).ToArray();
                if (addresses.Length > 0) BindOne(bound, group.Key.Port, addresses, group.Key.HostPorts, container);
            }
            return bound;
        }
        catch
        {
            bound.Dispose();
            throw;
        }
    }

    /// <summary>Holds ports again that a former daemon published. A port that somebody else has taken meanwhile stays ours as far as our other containers are concerned.</summary>
    internal BoundPorts Restore(IReadOnlyList<PublishedPort> ports, PortTarget container, string containerName)
    {
        var bound = new BoundPorts(this);
        foreach (var port in ports)
        {
            if (!PortProtocols.TryParse(port.Protocol, out var protocol) || !IPAddress.TryParse(port.HostIp, out var address) || container.For(address) is not { } target) continue;
            if (port.HostPort == 0)
            {
                bound.Add(new BoundPort(port, protocol, address, target, null));
                continue;
            }
            lock (gate)
            {
                if (!TryReserve(protocol, [address], port.HostPort, out _)) continue;
            }
            IDisposable? socket = null;
            try
            {
                socket = Open(protocol, address, port.HostPort);
            }
            catch (SocketException e)
            {
                logger.PortNotReserved(containerName, port.HostIp, port.HostPort, port.Protocol, Reason(e));
            }
            bound.Add(new BoundPort(port, protocol, address, target, socket));
        }
        return bound;
    }

    internal void Release(BoundPort port)
    {
        port.Dispose();
        if (port.Published.HostPort == 0) return;
        lock (gate)
        {
            var key = (port.Protocol, port.Published.HostPort);
            if (reserved.TryGetValue(key, out var addresses) && addresses.Remove(port.Address) && addresses.Count == 0) reserved.Remove(key);
        }
    }

    /// <summary>Starts carrying what reaches our sockets rather than the firewall.</summary>
    internal void StartProxies(BoundPorts ports)
    {
        foreach (var port in ports.All)
        {
            if (port.Socket is null || port.Proxy is not null) continue;
            // [::1] and what is for [::] from there are never redirected: the kernel has no route_localnet for it.
            var redirected = engine is { Firewall: true, PublishThrough: PublishThrough.Forward } && port.Address.AddressFamily == AddressFamily.InterNetwork && !port.Container.IsIPv6;
            Func<IPEndPoint> target = () => new IPEndPoint(port.Container.ToIPAddress(), port.Published.ContainerPort);
            // A listening TCP socket takes connections whether anyone accepts or not, and a client would hang if the redirection is ever
            // missing; so TCP is always accepted. A UDP socket costs its sender nothing.
            if (port.Protocol == PortProtocol.Tcp) port.Proxy = PortProxy.StartTcp(port.Socket, target, host, logger);
            else if (port.Protocol == PortProtocol.Udp && !redirected) port.Proxy = PortProxy.StartUdp(port.Socket, target, host, logger);
        }
    }

    /// <summary>Whether there are rules of ours for this address family.</summary>
    internal bool HasRules(bool ipv6) => ipv6 ? engine.Firewall6 : engine.Firewall;

    private IEnumerable<IPAddress> AddressesFor(IPAddress? asked, PortTarget container)
    {
        var address = asked ?? Normal(container.DefaultHostAddress ?? engine.DefaultBindAddress);
        if (address is not null && !(asked is null && address.Equals(IPAddress.Any))) return [address];
        return HasIPv6() ? [IPAddress.Any, IPAddress.IPv6Any] : [IPAddress.Any];
    }

    private static IPAddress? Normal(IPAddress? address) => address is { IsIPv4MappedToIPv6: true } ? address.MapToIPv4() : address;

    private void BindOne(BoundPorts bound, ContainerPort containerPort, IPAddress[] addresses, PortRange wanted, PortTarget container)
    {
        if (addresses.Any(a => !container.IsTranslated(a)))
        {
            // Reached at the container's own address, at its own port: nothing of the host's is taken.
            foreach (var address in addresses.Where(a => !container.IsTranslated(a)))
                bound.Add(new BoundPort(new PublishedPort(containerPort.Port, containerPort.Protocol.Name(), address.ToString(), 0), containerPort.Protocol, address, container.For(address)!.Value, null));
            addresses = [.. addresses.Where(container.IsTranslated)];
            if (addresses.Length == 0) return;
        }
        var attempts = wanted.IsAny ? MaxAttempts : wanted.Count;
        NetworkException? failure = null;
        var next = wanted.First;
        for (var attempt = 0; attempt < attempts; attempt++)
        {
            ushort port;
            lock (gate)
            {
                if (wanted is { IsAny: false, Count: 1 })
                {
                    port = wanted.First;
                    if (!TryReserve(containerPort.Protocol, addresses, port, out var taken))
                        throw new NetworkException(NetworkErrorKind.PortUnavailable, $"Bind for {taken}:{port} failed: port is already allocated");
                }
                else if (!TryReserveOneOf(containerPort.Protocol, addresses, wanted, next, out port))
                {
                    throw failure ?? new NetworkException(NetworkErrorKind.PortUnavailable, "all ports are allocated");
                }
            }
            next = (ushort)(port + 1);
            var opened = new List<BoundPort>();
            try
            {
                foreach (var address in addresses)
                {
                    var published = new PublishedPort(containerPort.Port, containerPort.Protocol.Name(), address.ToString(), port);
                    IDisposable? socket;
                    try
                    {
                        socket = Open(containerPort.Protocol, address, port);
                    }
                    catch (SocketException e)
                    {
                        var inside = container.For(address)!.Value;
                        var host = wanted.IsAny ? $"{Bracketed(address)}" : $"{Bracketed(address)}:{wanted}";
                        var which = wanted is { IsAny: false, Count: 1 } ? "" : $" {port}";
                        throw new NetworkException(NetworkErrorKind.PortUnavailable,
                            $"failed to bind host port{which} for {host}:{(inside.IsIPv6 ? $"[{inside}]" : $"{inside}")}:{containerPort}: {Reason(e)}", e);
                    }
                    opened.Add(new BoundPort(published, containerPort.Protocol, address, container.For(address)!.Value, socket));
                }
                foreach (var port2 in opened) bound.Add(port2);
                return;
            }
            catch (NetworkException e)
            {
                foreach (var o in opened) o.Dispose();
                lock (gate) Unreserve(containerPort.Protocol, addresses, port);
                failure = e;
                if (wanted is { IsAny: false } && next > wanted.Last) break;
            }
        }
        throw failure!;
    }

    /// <summary>Null for SCTP on a kernel without: reserved among ourselves, and redirected by the firewall, but held by no socket, for nobody on the host could have one.</summary>
    /// <exception cref="SocketException">Somebody else has it.</exception>
    private IDisposable? Open(PortProtocol protocol, IPAddress address, ushort port)
    {
        if (protocol == PortProtocol.Sctp) return host.Run(() => OpenSctp(address, port));
        return host.Run<IDisposable?>(() =>
        {
            var socket = protocol == PortProtocol.Tcp
                ? new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp)
                : new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            try
            {
                if (address.AddressFamily == AddressFamily.InterNetworkV6) socket.DualMode = false; // 0.0.0.0 has a socket of its own
                socket.Bind(new IPEndPoint(address, port));
                // .NET binds TCP with SO_REUSEADDR, so only listening finds somebody else who listens.
                if (protocol == PortProtocol.Tcp) socket.Listen(Backlog);
                return socket;
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        });
    }

    // Bound and no more: associations that the firewall does not redirect are refused, for we carry none.
    private static SafeFileHandle? OpenSctp(IPAddress address, ushort port)
    {
        var socket = InternetSocket.TryOpenSctp(address.AddressFamily);
        if (socket is null) return null;
        try
        {
            InternetSocket.Bind(socket, new IPEndPoint(address, port));
            return socket;
        }
        catch (LinuxException e)
        {
            socket.Dispose();
            throw new SocketException((int)(e.Errno switch
            {
                Errno.EADDRINUSE => SocketError.AddressAlreadyInUse,
                Errno.EADDRNOTAVAIL => SocketError.AddressNotAvailable,
                Errno.EACCES => SocketError.AccessDenied,
                _ => SocketError.SocketError,
            }));
        }
    }

    private bool TryReserveOneOf(PortProtocol protocol, IPAddress[] addresses, PortRange wanted, ushort next, out ushort port)
    {
        if (!wanted.IsAny)
        {
            for (int candidate = next; candidate <= wanted.Last; candidate++)
            {
                port = (ushort)candidate;
                if (TryReserve(protocol, addresses, port, out _)) return true;
            }
            port = 0;
            return false;
        }
        // Onwards from the last one given, so that a port just freed is not at once somebody else's.
        var range = ephemeral ??= ReadEphemeral();
        int last = lastEphemeral.GetValueOrDefault(protocol, range.Last);
        for (var i = 0; i < range.Count; i++)
        {
            if (++last > range.Last) last = range.First;
            port = (ushort)last;
            if (!TryReserve(protocol, addresses, port, out _)) continue;
            lastEphemeral[protocol] = port;
            return true;
        }
        port = 0;
        return false;
    }

    private bool TryReserve(PortProtocol protocol, IPAddress[] addresses, ushort port, out IPAddress? taken)
    {
        taken = null;
        if (!reserved.TryGetValue((protocol, port), out var there)) reserved[(protocol, port)] = there = [];
        foreach (var address in addresses)
        {
            if (there.Find(t => Collide(t, address)) is not { } other) continue;
            taken = other;
            if (there.Count == 0) reserved.Remove((protocol, port));
            return false;
        }
        there.AddRange(addresses);
        return true;
    }

    private void Unreserve(PortProtocol protocol, IPAddress[] addresses, ushort port)
    {
        if (!reserved.TryGetValue((protocol, port), out var there)) return;
        foreach (var address in addresses) there.Remove(address);
        if (there.Count == 0) reserved.Remove((protocol, port));
    }

    private static bool Collide(IPAddress a, IPAddress b) =>
        a.AddressFamily == b.AddressFamily && (a.Equals(b) || IsAny(a) || IsAny(b));

    private static bool IsAny(IPAddress a) => a.Equals(IPAddress.Any) || a.Equals(IPAddress.IPv6Any);

    private static string Bracketed(IPAddress a) => a.AddressFamily == AddressFamily.InterNetworkV6 ? $"[{a}]" : a.ToString();

    private PortRange ReadEphemeral() => host.Run(() =>
    {
        try
        {
            var parts = File.ReadAllText("/proc/sys/net/ipv4/ip_local_port_range").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            return parts.Length == 2 && ushort.TryParse(parts[0], out var first) && ushort.TryParse(parts[1], out var last) && 0 < first && first <= last
                ? new PortRange(first, last)
                : DefaultEphemeral;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return DefaultEphemeral;
        }
    });

    /// <summary>Whether an IPv6 socket can be bound at all; without, [::] is left out, as Docker does.</summary>
    private bool HasIPv6()
    {
        return ipv6 ??= host.Run(() =>
        {
            try
            {
                using var probe = new Socket(AddressFamily.InterNetworkV6, SocketType.Dgram, ProtocolType.Udp);
                probe.Bind(new IPEndPoint(IPAddress.IPv6Loopback, 0));
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        });
    }

    private static string Reason(SocketException e) => e.SocketErrorCode switch
    {
        SocketError.AddressAlreadyInUse => "address already in use",
        SocketError.AddressNotAvailable => "cannot assign requested address",
        SocketError.AccessDenied => "permission denied",
        _ => e.Message,
    };
}

/// <summary>Where published ports lead to, and how.</summary>
internal sealed record PortTarget(InetAddress? Address, InetAddress? Address6)
{
    /// <summary>The gateway network's own default, before the engine's.</summary>
    internal IPAddress? DefaultHostAddress { get; init; }
    internal GatewayMode Mode { get; init; }
    internal GatewayMode Mode6 { get; init; }

    internal bool IsNone => Address is null && Address6 is null;

    /// <summary>What a port of this host address leads to: IPv6 is carried to IPv4 where there is nothing else, but not the other way round.</summary>
    internal InetAddress? For(IPAddress host) => host.AddressFamily == AddressFamily.InterNetworkV6 ? Address6 ?? (Mode == GatewayMode.Routed ? null : Address) : Address;

    /// <summary>False for a routed network: there a port is opened where the container is.</summary>
    internal bool IsTranslated(IPAddress host) => (For(host) is { IsIPv6: true } ? Mode6 : Mode) != GatewayMode.Routed;
}

/// <summary>One published port and the socket that holds it.</summary>
internal sealed class BoundPort(PublishedPort published, PortProtocol protocol, IPAddress address, InetAddress container, IDisposable? holder) : IDisposable
{
    internal PublishedPort Published { get; } = published;
    internal PortProtocol Protocol { get; } = protocol;
    internal IPAddress Address { get; } = address;
    /// <summary>Another one when another network of the container becomes its gateway.</summary>
    internal InetAddress Container { get; set; } = container;
    /// <summary>What reaches it is carried on; null for SCTP, and where nothing of the host's is taken.</summary>
    internal Socket? Socket { get; } = holder as Socket;
    internal PortProxy? Proxy { get; set; }

    public void Dispose()
    {
        Proxy?.Dispose();
        holder?.Dispose();
    }
}

/// <summary>The published ports of one endpoint.</summary>
internal sealed class BoundPorts(HostPorts owner) : IDisposable
{
    private readonly List<BoundPort> all = [];

    internal IReadOnlyList<BoundPort> All => all;

    internal IReadOnlyList<PublishedPort> Published => [.. all.Select(p => p.Published)];

    /// <summary>What the firewall redirects or opens: what stays within its address family. Nothing leads from ::1 but the socket.</summary>
    internal IReadOnlyList<FirewallPort> Redirected =>
    [
        .. all.Where(p => p.Address.AddressFamily == AddressFamily.InterNetworkV6 == p.Container.IsIPv6 && !p.Address.Equals(IPAddress.IPv6Loopback) && owner.HasRules(p.Container.IsIPv6))
            .Select(p => new FirewallPort(p.Protocol, InetAddress.TryFrom(p.Address, out var a) ? a : default, p.Published.HostPort, p.Container, p.Published.ContainerPort)),
    ];

    internal void Add(BoundPort port) => all.Add(port);

    public void Dispose()
    {
        foreach (var port in all) owner.Release(port);
        all.Clear();
    }
}
