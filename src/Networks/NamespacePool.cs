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
    private readonly Queue<SandboxNamespace> ready = [];
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

    internal SandboxNamespace Take()
    {
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(disposed, this);
            // Filled up again only when half empty: most starts then run without us at work beside them.
            if (ready.Count <= size / 2 + 1) Monitor.Pulse(gate);
            if (ready.TryDequeue(out var taken)) return taken;
        }
        return SandboxNamespace.Create();
    }

    // One at a time: starts that find the pool empty make their own, and should not wait for the processor behind us.
    private void Fill()
    {
        while (true)
        {
            SandboxNamespace? fresh = null;
            try
            {
                fresh = SandboxNamespace.Create();
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

