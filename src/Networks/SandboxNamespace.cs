using Berth.Linux;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>A container's network namespace, and what is needed to configure it from outside.</summary>
internal sealed class SandboxNamespace : IDisposable
{
    private SafeFileHandle? handle;
    private readonly SafeFileHandle? ipv6Default;

    private SandboxNamespace(SafeFileHandle handle, NetlinkSocket netlink, SafeFileHandle? ipv6Default, bool isNew)
    {
        this.handle = handle;
        Netlink = netlink;
        this.ipv6Default = ipv6Default;
        IsNew = isNew;
    }

    internal SafeFileHandle Handle => handle ?? throw new ObjectDisposedException(nameof(SandboxNamespace));

    internal NetlinkSocket Netlink { get; }

    /// <summary>Nobody is in it yet: interfaces have the names we give, and settings are ours.</summary>
    internal bool IsNew { get; }

    /// <summary>With loopback up and Docker's sysctls.</summary>
    internal static SandboxNamespace Create()
    {
        NetlinkSocket? netlink = null;
        SafeFileHandle? ipv6 = null;
        try
        {
            var handle = NetworkNamespace.Create(() =>
            {
                netlink = NetlinkSocket.OpenRoute();
                var batch = new NetlinkBatch();
                batch.SetLink("lo", up: true);
                netlink.Execute(batch);
                // As Docker: any port number and ping without capabilities; there is no one else in the namespace to protect from it.
                Sysctl.TryWrite("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
                Sysctl.TryWrite("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
                // eth0 takes this over when it is made, so that it never begins with IPv6; a write to its own file later would cost
                // the start a trip through this namespace. The descriptor undoes it from outside: see IPv6ForNewInterfaces.
                ipv6 = Sysctl.TryOpen("/proc/sys/net/ipv6/conf/default/disable_ipv6");
                if (ipv6 is not null) RandomAccess.Write(ipv6, "1"u8, 0);
            });
            return new SandboxNamespace(handle, netlink!, ipv6, isNew: true);
        }
        catch
        {
            netlink?.Dispose();
            ipv6?.Dispose();
            throw;
        }
    }

    /// <summary>That of a running container. Takes the descriptor over.</summary>
    internal static SandboxNamespace Of(SafeFileHandle running) => new(running, NetworkNamespace.Run(running, NetlinkSocket.OpenRoute), null, isNew: false);

    /// <summary>Interfaces made from here on start with IPv6, or without.</summary>
    internal void IPv6ForNewInterfaces(bool on)
    {
        if (ipv6Default is not null) RandomAccess.Write(ipv6Default, on ? "0"u8 : "1"u8, 0);
    }

    /// <summary>eth and the lowest number that no interface has.</summary>
    internal string FreeName(string prefix)
    {
        var taken = Netlink.Links().Select(l => l.Name).ToHashSet(StringComparer.Ordinal);
        return Enumerable.Range(0, taken.Count + 1).Select(i => $"{prefix}{i}").First(n => !taken.Contains(n));
    }

    /// <summary>Addresses, settings, up, and the default routes that the endpoint gives, for an interface that is there and down.</summary>
    internal void Configure(EndpointState endpoint, EndpointRequest request, DefaultRoutes routes)
    {
        var name = endpoint.Interface;
        var index = Netlink.Link(name)?.Index ?? throw new LinuxException("RTM_GETLINK", name, Errno.ENODEV);
        // In one that is in use the default may be the container's own choice.
        if (!IsNew) Within(() => Sysctl.TryWrite($"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", endpoint.IPv6Address.Length > 0 ? "0" : "1"));
        if (request.Sysctls.Count > 0) Within(() => WriteSysctls(name, request.Sysctls));
        var batch = new NetlinkBatch();
        if (endpoint.Address is { } address) batch.AddAddress(index, address.ToBytes(), endpoint.IPPrefixLength, broadcast: true);
        if (endpoint.Address6 is { } address6) batch.AddAddress(index, address6.ToBytes(), endpoint.IPv6PrefixLength, broadcast: false);
        foreach (var linkLocal in request.LinkLocalAddresses) batch.AddAddress(index, linkLocal.ToBytes(), linkLocal.IsIPv6 ? 64 : 16, broadcast: !linkLocal.IsIPv6);
        batch.SetLink(null, index: index, up: true);
        AddRoutes(batch, index, endpoint, routes);
        Netlink.Execute(batch);
    }

    /// <summary>Default routes go to the endpoints that give them now; null: nowhere.</summary>
    internal void SetDefaultRoutes(EndpointState? ipv4, EndpointState? ipv6)
    {
        var batch = new NetlinkBatch();
        batch.DeleteDefaultRoutes(ipv6: false);
        batch.DeleteDefaultRoutes(ipv6: true);
        foreach (var (endpoint, routes) in (ReadOnlySpan<(EndpointState?, DefaultRoutes)>)[(ipv4, new(true, false)), (ipv6, new(false, true))])
            if (endpoint is not null && Netlink.Link(endpoint.Interface) is { } link) AddRoutes(batch, link.Index, endpoint, routes);
        Netlink.Execute(batch);
    }

    private static void AddRoutes(NetlinkBatch batch, int index, EndpointState endpoint, DefaultRoutes routes)
    {
        if (routes.IPv4) Add(endpoint.Gateway, ipv6: false);
        if (routes.IPv6) Add(endpoint.IPv6Gateway, ipv6: true);

        void Add(string gateway, bool ipv6)
        {
            if (gateway == DeviceRoute) batch.AddDefaultRoute(index, default, ipv6);
            else if (InetAddress.TryParse(gateway, out var address)) batch.AddDefaultRoute(index, address.ToBytes(), ipv6);
        }
    }

    /// <summary>In the place of a gateway: straight out by the interface (ipvlan in its l3 modes).</summary>
    internal const string DeviceRoute = "dev";

    private static void WriteSysctls(string name, IReadOnlyList<string> sysctls)
    {
        foreach (var sysctl in sysctls)
        {
            // Checked by the engine: net.X.Y.IFNAME.Z=V
            var equals = sysctl.IndexOf('=');
            var parts = (equals < 0 ? sysctl : sysctl[..equals]).Split('.', 5);
            if (equals < 0 || parts.Length != 5 || parts.Any(p => p.Length == 0 || p.Contains('/') || p == ".."))
                throw new NetworkException(NetworkErrorKind.InvalidArgument, $"unrecognised network interface sysctl '{sysctl}'");
            var path = $"/proc/sys/net/{parts[1]}/{parts[2]}/{name}/{parts[4].Replace('.', '/')}";
            if (!File.Exists(path)) throw new NetworkException(NetworkErrorKind.System, $"{path} is not a sysctl file");
            if (!Sysctl.TryWrite(path, sysctl[(equals + 1)..])) throw new NetworkException(NetworkErrorKind.System, $"{path} refuses {sysctl[(equals + 1)..]}");
        }
    }

    private void Within(Action action) => NetworkNamespace.Run(Handle, () =>
    {
        action();
        return 0;
    });

    /// <summary>The descriptor changes hands; everything else is closed.</summary>
    internal SafeFileHandle Detach()
    {
        var detached = Handle;
        handle = null;
        Dispose();
        return detached;
    }

    public void Dispose()
    {
        Netlink.Dispose();
        ipv6Default?.Dispose();
        handle?.Dispose();
    }
}
