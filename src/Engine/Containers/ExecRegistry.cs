using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Berth.Engine;

/// <summary>
/// The execs that can be asked for, by id: those that may still be started or run, and for five minutes those that have ended, as under Docker. With their container's
/// removal all go; who has just ended is kept for a moment then, since `docker exec` asks for the exit code when its stream has ended and removing is quick here.
/// </summary>
internal sealed class ExecRegistry : IDisposable
{
    internal static readonly TimeSpan KeptAfterEnd = TimeSpan.FromMinutes(5), KeptAfterRemoval = TimeSpan.FromSeconds(10);

    // More than this are a client that creates execs and starts none: the ended ones are forgotten early, and then no more are made.
    internal const int Most = 10_000;

    private readonly TimeProvider _clock;
    private readonly ConcurrentDictionary<string, Exec> _byId = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();

    // When to forget whom, earliest first. One may be in there twice; the second time finds nothing.
    private readonly PriorityQueue<string, long> _over = new();
    private readonly ITimer _timer;
    private long _next = long.MaxValue;

    public ExecRegistry(TimeProvider clock)
    {
        _clock = clock;
        _timer = clock.CreateTimer(static state => ((ExecRegistry)state!).ForgetDue(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    public int Count => _byId.Count;

    /// <exception cref="EngineException">System: too many.</exception>
    public void Add(Exec exec)
    {
        if (_byId.Count >= Most)
        {
            foreach (var (id, old) in _byId)
            {
                if (old.ExitCode is not null) _byId.TryRemove(id, out _);
            }
            if (_byId.Count >= Most) throw EngineException.System($"there are {Most} execs that were created and have not ended");
        }
        _byId[exec.Id] = exec;
    }

    public bool TryGet(string id, [NotNullWhen(true)] out Exec? exec) => _byId.TryGetValue(id, out exec);

    /// <summary>At once.</summary>
    public void Forget(Exec exec) => _byId.TryRemove(exec.Id, out _);

    /// <summary>It has ended, and may be asked for its exit code for a while.</summary>
    public void Ended(Exec exec) => ForgetAfter(exec.Id, exec.Container.Removed ? KeptAfterRemoval : KeptAfterEnd);

    public void ContainerRemoved(Container container)
    {
        foreach (var (id, exec) in _byId)
        {
            if (exec.Container != container) continue;
            if (exec.ExitCode is null) _byId.TryRemove(id, out _);
            else ForgetAfter(id, KeptAfterRemoval);
        }
    }

    private void ForgetAfter(string id, TimeSpan time)
    {
        lock (_lock)
        {
            _over.Enqueue(id, (_clock.GetUtcNow() + time).UtcTicks);
            SetTimer();
        }
    }

    private void ForgetDue()
    {
        lock (_lock)
        {
            var now = _clock.GetUtcNow().UtcTicks;
            while (_over.TryPeek(out var id, out var due) && due <= now)
            {
                _over.Dequeue();
                _byId.TryRemove(id, out _);
            }
            _next = long.MaxValue;
            SetTimer();
        }
    }

    private void SetTimer()
    {
        if (!_over.TryPeek(out _, out var due) || due >= _next) return;
        _next = due;
        var wait = TimeSpan.FromTicks(Math.Max(0, due - _clock.GetUtcNow().UtcTicks)) + TimeSpan.FromMilliseconds(1);
        // A clock that was set back must not make this longer than it ever is.
        _timer.Change(wait < KeptAfterEnd ? wait : KeptAfterEnd, Timeout.InfiniteTimeSpan);
    }

    public void Dispose() => _timer.Dispose();
}
