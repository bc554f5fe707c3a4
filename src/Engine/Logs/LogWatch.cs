using Berth.Linux;

namespace Berth.Engine;

/// <summary>
/// Wakes followers of logs: one inotify descriptor and one thread for all of them, there only while somebody follows.
/// </summary>
internal sealed class LogWatch : IDisposable
{
    // The thread looks this often whether anybody is left; events wake it at once.
    private const int IdleMilliseconds = 1000;

    private readonly Lock _lock = new();
    private readonly Dictionary<int, List<Follower>> _followers = [];
    private Inotify? _inotify;
    private bool _disposed;

    public Follower Directory(string directory)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_inotify is null)
            {
                var inotify = _inotify = new Inotify();
                new Thread(() => Run(inotify)) { IsBackground = true, Name = "log watch" }.Start();
            }
            var watch = _inotify.Watch(directory);
            var follower = new Follower(this, watch);
            if (!_followers.TryGetValue(watch, out var list)) _followers[watch] = list = [];
            list.Add(follower);
            return follower;
        }
    }

    private void Remove(Follower follower)
    {
        lock (_lock)
        {
            if (!_followers.TryGetValue(follower.Watch, out var list) || !list.Remove(follower) || list.Count > 0) return;
            _followers.Remove(follower.Watch);
            _inotify?.Unwatch(follower.Watch);
        }
    }

    private void Run(Inotify inotify)
    {
        var buffer = new byte[64 * 1024];
        var hit = new HashSet<int>();
        while (true)
        {
            hit.Clear();
            var any = inotify.Read(buffer, hit, IdleMilliseconds);
            lock (_lock)
            {
                if (_disposed || (!any && _followers.Count == 0))
                {
                    if (_inotify == inotify) _inotify = null;
                    inotify.Dispose();
                    return;
                }
                // -1 is an overflow of the kernel's queue: everybody looks for himself.
                foreach (var (watch, list) in _followers)
                {
                    if (!hit.Contains(watch) && !hit.Contains(-1)) continue;
                    foreach (var follower in list) follower.Wake();
                }
            }
        }
    }

    public void Dispose()
    {
        lock (_lock) _disposed = true;
    }

    internal sealed class Follower(LogWatch owner, int watch) : IDisposable
    {
        private volatile TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Watch { get; } = watch;

        /// <summary>Completes with the next change. Ask before looking: what changes between the two completes it, or was there to be seen.</summary>
        public Task NextAsync(CancellationToken cancellationToken)
        {
            if (_next.Task.IsCompleted) _next = new(TaskCreationOptions.RunContinuationsAsynchronously);
            return _next.Task.WaitAsync(cancellationToken);
        }

        public void Wake() => _next.TrySetResult();

        public void Dispose() => owner.Remove(this);
    }
}
