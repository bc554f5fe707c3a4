namespace Berth.Engine;

/// <summary>
/// How containers ended that removed themselves (--rm), for a moment longer than they are there. Clients that start first and wait then (dockerode's run)
/// get away with it under Docker because an end takes long there; here the container can be gone before the wait arrives, and a 404 would be
/// the first they see of it.
/// </summary>
internal sealed class RecentEnds(TimeProvider clock)
{
    internal const int Most = 1024;
    internal static readonly TimeSpan Kept = TimeSpan.FromSeconds(10);

    private readonly Lock _lock = new();
    private readonly Dictionary<string, WaitOutcome> _ends = [];
    private readonly Queue<(string Id, long At)> _order = [];

    public void Add(string id, WaitOutcome end)
    {
        lock (_lock)
        {
            Forget();
            if (_ends.TryAdd(id, end)) _order.Enqueue((id, clock.GetTimestamp()));
        }
    }

    /// <param name="id">The whole id: names may belong to another container by now.</param>
    public bool TryGet(string id, out WaitOutcome end)
    {
        lock (_lock)
        {
            Forget();
            return _ends.TryGetValue(id, out end);
        }
    }

    private void Forget()
    {
        while (_order.TryPeek(out var oldest) && (_order.Count >= Most || clock.GetElapsedTime(oldest.At) > Kept))
        {
            _order.Dequeue();
            _ends.Remove(oldest.Id);
        }
    }
}
