using Berth.Linux;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>
/// Fresh network namespaces kept ready: making one takes 1-2 ms, taking one a few microseconds. A namespace in the pool has no name and no
/// process, only our descriptors, so it is gone with this process however that ends. Interfaces are not made ahead: an idle veth
/// would be seen on the host (docs/decisions/0501-namespace-pool.md).
/// </summary>
internal sealed class NamespacePool : IDisposable
{
    private readonly object gate = new();
    private readonly Queue<PreparedNamespace> ready = [];
    private readonly int size;
    private readonly ILogger logger;
    private bool disposed;

    internal NamespacePool(int size, ILogger logger)
    {
        this.size = size;
        this.logger = logger;
        if (size > 0) new Thread(Fill) { IsBackground = true, Name = "berth-netns-pool" }.Start();
    }

    internal int Count
    {
        get
        {
            lock (gate) return ready.Count;
        }
    }

    internal PreparedNamespace Take()
    {
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(disposed, this);
            // Filled up again only when half empty: most starts then run without us at work beside them.
            if (ready.Count <= size / 2 + 1) Monitor.Pulse(gate);
            if (ready.TryDequeue(out var taken)) return taken;
        }
        return PreparedNamespace.Create();
    }

    // One at a time: starts that find the pool empty make their own, and should not wait for the processor behind us.
    private void Fill()
    {
        while (true)
        {
            PreparedNamespace? fresh = null;
            try
            {
                fresh = PreparedNamespace.Create();
            }
            catch (IOException e)
            {
                logger.PoolNotFilled(e.Message);
            }
            lock (gate)
            {
                if (disposed)
                {
                    fresh?.Dispose();
                    return;
                }
                if (fresh is not null) ready.Enqueue(fresh);
                // After a failure the next Take tells us to try again.
                if (fresh is null || ready.Count >= size)
                {
                    do Monitor.Wait(gate);
                    while (!disposed && ready.Count > size / 2);
                }
                if (disposed) return;
            }
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            disposed = true;
            Monitor.PulseAll(gate);
            while (ready.TryDequeue(out var unused)) unused.Dispose();
        }
    }
}

/// <summary>A network namespace with loopback up and Docker's sysctls, and what is needed to go on configuring it from outside.</summary>
internal sealed class PreparedNamespace : IDisposable
{
    private SafeFileHandle? handle;
    private readonly SafeFileHandle? ipv6Default;

    private PreparedNamespace(SafeFileHandle handle, NetlinkSocket netlink, SafeFileHandle? ipv6Default)
    {
        this.handle = handle;
        Netlink = netlink;
        this.ipv6Default = ipv6Default;
    }

    internal SafeFileHandle Handle => handle ?? throw new ObjectDisposedException(nameof(PreparedNamespace));

    internal NetlinkSocket Netlink { get; }

    internal static PreparedNamespace Create()
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
            return new PreparedNamespace(handle, netlink!, ipv6);
        }
        catch
        {
            netlink?.Dispose();
            ipv6?.Dispose();
            throw;
        }
    }

    /// <summary>Interfaces made from here on start with IPv6, as in any namespace.</summary>
    internal void IPv6ForNewInterfaces()
    {
        if (ipv6Default is not null) RandomAccess.Write(ipv6Default, "0"u8, 0);
    }

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
