using System.Diagnostics;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>
/// One thread, one epoll: everything registered here runs on that thread and so needs no lock. Only <see cref="Post"/> and <see cref="Stop"/> may be called from elsewhere.
/// An exception of a handler ends that handler alone: it is unregistered and its <c>failed</c> is called.
/// </summary>
internal sealed class EventLoop : IDisposable
{
    private readonly Epoll _epoll = new();
    private readonly EventFd _wake = new();
    private readonly Lock _gate = new();
    private readonly PriorityQueue<LoopTimer, long> _timers = new();
    private readonly Stack<int> _free = new();
    private List<Action> _posted = [], _running = [];
    private LoopWatch?[] _watches = new LoopWatch?[16];
    private int _count;
    private uint _generation;
    private volatile bool _stopped;

    public EventLoop() => Watch(_wake.Handle, PollEvents.Readable, _ => _wake.Clear(), _ => { });

    /// <summary>Calls <paramref name="ready"/> while the descriptor is ready (level-triggered).</summary>
    public LoopWatch Watch(SafeFileHandle descriptor, PollEvents events, Action<PollEvents> ready, Action<Exception> failed)
    {
        if (!_free.TryPop(out var slot))
        {
            slot = _count++;
            if (slot == _watches.Length) Array.Resize(ref _watches, slot * 2);
        }
        // The generation tells an event of a slot's earlier user, still in the current batch, from its present one's.
        var watch = new LoopWatch(this, descriptor, slot, ++_generation, ready, failed);
        try
        {
            _epoll.Add(descriptor, events, watch.Token);
        }
        catch
        {
            _free.Push(slot);
            throw;
        }
        _watches[slot] = watch;
        return watch;
    }

    public LoopTimer After(TimeSpan delay, Action action)
    {
        var timer = new LoopTimer(action);
        _timers.Enqueue(timer, Stopwatch.GetTimestamp() + (long)(delay.TotalSeconds * Stopwatch.Frequency));
        return timer;
    }

    /// <summary>Runs <paramref name="action"/> on the loop's thread. From any thread; in the order posted.</summary>
    public void Post(Action action)
    {
        bool first;
        lock (_gate)
        {
            first = _posted.Count == 0;
            _posted.Add(action);
        }
        if (first) _wake.Signal();
    }

    public void Stop()
    {
        _stopped = true;
        _wake.Signal();
    }

    /// <summary>Until <see cref="Stop"/>.</summary>
    public void Run()
    {
        Span<EpollEvent> events = stackalloc EpollEvent[128];
        while (!_stopped)
        {
            var ready = _epoll.Wait(events, MillisecondsToNextTimer());
            foreach (var e in events[..ready])
            {
                var watch = _watches[(int)(uint)e.Token];
                if (watch is null || watch.Token != e.Token) continue;
                try
                {
                    watch.Ready(e.Events);
                }
                catch (Exception failure)
                {
                    Guard(() =>
                    {
                        watch.Dispose();
                        watch.Failed(failure);
                    });
                }
            }
            RunPosted();
            RunTimers();
        }
    }

    private void RunPosted()
    {
        lock (_gate)
        {
            if (_posted.Count == 0) return;
            (_posted, _running) = (_running, _posted);
        }
        foreach (var action in _running) Guard(action);
        _running.Clear();
    }

    private void RunTimers()
    {
        while (_timers.TryPeek(out var timer, out var due) && (timer.Cancelled || due <= Stopwatch.GetTimestamp()))
        {
            _timers.Dequeue();
            if (!timer.Cancelled) Guard(timer.Action);
        }
    }

    private int MillisecondsToNextTimer()
    {
        while (_timers.TryPeek(out var timer, out var due))
        {
            if (timer.Cancelled)
            {
                _timers.Dequeue();
                continue;
            }
            var left = due - Stopwatch.GetTimestamp();
            return left <= 0 ? 0 : (int)Math.Min(int.MaxValue, left * 1000 / Stopwatch.Frequency + 1);
        }
        return -1;
    }

    private static void Guard(Action action)
    {
        try
        {
            action();
        }
        catch (Exception failure)
        {
            Journal.Write($"bug: {failure}");
        }
    }

    internal void Forget(LoopWatch watch)
    {
        if (_watches[watch.Slot] != watch) return;
        _watches[watch.Slot] = null;
        _free.Push(watch.Slot);
        try
        {
            _epoll.Remove(watch.Descriptor);
        }
        catch (Exception failure) when (failure is LinuxException or ObjectDisposedException)
        {
            // Closed before it was removed: a mistake of its owner's, but none to end the loop for.
            Journal.Write($"bug: {failure}");
        }
    }

    internal void Modify(LoopWatch watch, PollEvents events) => _epoll.Modify(watch.Descriptor, events, watch.Token);

    public void Dispose()
    {
        _epoll.Dispose();
        _wake.Dispose();
    }
}

/// <summary>A registration of a descriptor with a loop; dispose it before the descriptor.</summary>
internal sealed class LoopWatch(EventLoop loop, SafeFileHandle descriptor, int slot, uint generation, Action<PollEvents> ready, Action<Exception> failed) : IDisposable
{
    internal SafeFileHandle Descriptor { get; } = descriptor;
    internal int Slot { get; } = slot;
    internal ulong Token { get; } = (ulong)generation << 32 | (uint)slot;
    internal Action<PollEvents> Ready { get; } = ready;
    internal Action<Exception> Failed { get; } = failed;

    public void Modify(PollEvents events) => loop.Modify(this, events);

    public void Dispose() => loop.Forget(this);
}

/// <summary>A call at a later time, unless disposed before.</summary>
internal sealed class LoopTimer(Action action) : IDisposable
{
    internal Action Action { get; private set; } = action;
    internal bool Cancelled { get; private set; }

    public void Dispose()
    {
        Cancelled = true;
        // It stays in the queue until it would have been due, for minutes perhaps; what it would have done need not.
        Action = static () => { };
    }
}
