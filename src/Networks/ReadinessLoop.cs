using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>Told when a descriptor is ready, on the loop's thread.</summary>
internal interface IReady
{
    /// <param name="which">As given with the descriptor.</param>
    void Ready(int which, PollEvents events);
}

/// <summary>
/// One thread on one epoll for all descriptors that this project waits on: a few words for each, however many there are. What is registered runs on
/// that thread and needs no lock; other threads hand it closures. The thread begins with the first of them.
/// </summary>
internal sealed class ReadinessLoop(HostNamespace host, ILogger logger) : IDisposable
{
    private const int EventsPerWait = 64;

    private record struct Slot(IReady? Target, int Which, uint Generation);

    private readonly Epoll epoll = new();
    private readonly EventFd wake = new();
    private readonly Lock gate = new();
    private readonly PriorityQueue<Deadline, long> deadlines = new();
    private readonly Stack<int> free = [];
    private List<Action> posted = [];
    private Slot[] slots = new Slot[16];
    private int used = 1; // slot 0 is our own
    private Thread? thread;
    private bool stopped;

    /// <summary>Something to be done later, unless it is cancelled before.</summary>
    internal sealed class Deadline(Action action)
    {
        internal Action? Action { get; set; } = action;

        internal void Cancel() => Action = null;
    }

    /// <summary>Runs it on the loop's thread, soon. After <see cref="Dispose"/> nothing is run any more.</summary>
    internal void Post(Action action)
    {
        lock (gate)
        {
            if (stopped) return;
            posted.Add(action);
            if (thread is null)
            {
                thread = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "berth-net" };
                thread.Start();
            }
        }
        wake.Signal();
    }

    // From here on: the loop's thread only.

    /// <summary>The namespace that stands for the host's; this thread goes elsewhere for moments only.</summary>
    internal SafeFileHandle? Home { get; private set; }

    /// <returns>What <see cref="Remove"/> wants.</returns>
    internal int Add(SafeFileHandle descriptor, PollEvents events, IReady target, int which = 0)
    {
        if (!free.TryPop(out var slot))
        {
            slot = used++;
            if (slot == slots.Length) Array.Resize(ref slots, slots.Length * 2);
        }
        ref var entry = ref slots[slot];
        entry = new Slot(target, which, entry.Generation + 1);
        try
        {
            epoll.Add(descriptor, events, Token(slot, entry.Generation));
        }
        catch
        {
            entry.Target = null;
            free.Push(slot);
            throw;
        }
        return slot;
    }

    internal void Modify(int slot, SafeFileHandle descriptor, PollEvents events) => epoll.Modify(descriptor, events, Token(slot, slots[slot].Generation));

    /// <summary>Before the descriptor is closed.</summary>
    internal void Remove(int slot, SafeFileHandle descriptor)
    {
        slots[slot].Target = null;
        free.Push(slot);
        epoll.Remove(descriptor);
    }

    internal Deadline After(TimeSpan time, Action action)
    {
        var deadline = new Deadline(action);
        deadlines.Enqueue(deadline, Environment.TickCount64 + (long)time.TotalMilliseconds);
        return deadline;
    }

    /// <summary>Runs <paramref name="inside"/> within another network namespace, on this thread.</summary>
    internal T Within<T>(SafeFileHandle network, Func<T> inside)
    {
        NetworkNamespace.Enter(network);
        try
        {
            return inside();
        }
        finally
        {
            NetworkNamespace.Enter(Home!);
        }
    }

    // A token that outlives its slot (removed while its event was waiting in the same batch) is told by the generation.
    private static ulong Token(int slot, uint generation) => ((ulong)generation << 32) | (uint)slot;

    private void Run()
    {
        try
        {
            host.Enter();
            Home = NetworkNamespace.Current();
            epoll.Add(wake.Handle, PollEvents.Readable, 0);
            Span<EpollEvent> events = stackalloc EpollEvent[EventsPerWait];
            while (!stopped)
            {
                var count = epoll.Wait(events, UntilNext());
                foreach (var ready in events[..count]) Dispatch(ready);
                while (deadlines.TryPeek(out var deadline, out var at) && (deadline.Action is null || at <= Environment.TickCount64))
                {
                    deadlines.Dequeue();
                    if (deadline.Action is { } action) Guard(action);
                }
            }
        }
        catch (LinuxException e)
        {
            logger.LoopEnded(e);
        }
        finally
        {
            lock (gate) stopped = true;
            Home?.Dispose();
            epoll.Dispose();
            wake.Dispose();
        }
    }

    private int UntilNext()
    {
        while (deadlines.TryPeek(out var deadline, out var at))
        {
            if (deadline.Action is not null) return (int)Math.Clamp(at - Environment.TickCount64, 0, int.MaxValue);
            deadlines.Dequeue();
        }
        return -1;
    }

    private void Dispatch(EpollEvent ready)
    {
        var slot = (int)(uint)ready.Token;
        if (slot == 0)
        {
            wake.Clear();
            List<Action> now;
            lock (gate) (now, posted) = (posted, []);
            foreach (var action in now) Guard(action);
            return;
        }
        var entry = slots[slot];
        if (entry.Target is null || entry.Generation != (uint)(ready.Token >> 32)) return;
        try
        {
            entry.Target.Ready(entry.Which, ready.Events);
        }
        catch (Exception e)
        {
            logger.LoopHandlerFailed(e); // a fault of ours: it must not end the service of all others
        }
    }

    private void Guard(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e)
        {
            logger.LoopHandlerFailed(e);
        }
    }

    public void Dispose()
    {
        Thread? running;
        lock (gate)
        {
            if (stopped) return;
            running = thread;
            if (running is null)
            {
                stopped = true;
                epoll.Dispose();
                wake.Dispose();
                return;
            }
        }
        Post(() => stopped = true);
        running.Join();
    }
}
