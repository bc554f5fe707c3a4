using Berth.Linux;

namespace Berth.Daemon.Host;

/// <summary>
/// Gives memory back once no request has ended for a while: the collector alone keeps what a burst needed, and on machines with a large cache
/// it lets tens of megabytes of garbage stand before it begins (docs/decisions/0804-idle-memory.md).
/// </summary>
internal sealed class IdleTrim : IDisposable
{
    private static readonly TimeSpan Delay = TimeSpan.FromSeconds(5);

    private readonly Timer _timer = new(_ => Trim());

    /// <summary>A request has ended; what it left can go if none follows.</summary>
    public void Touch() => _timer.Change(Delay, Timeout.InfiniteTimeSpan);

    public void Dispose() => _timer.Dispose();

    private static void Trim()
    {
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        Heap.Trim();
        ProgramPages.Release(); // last: the collector's code is part of it
    }
}
