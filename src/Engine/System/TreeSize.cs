using Berth.Linux;

namespace Berth.Engine;

/// <summary>
/// What a directory tree takes on disk. It can only be had by walking the tree, which for a large one takes long; so:
/// a tree that nobody writes in is walked once and its size kept until <see cref="Changed"/>;
/// any other is walked anew when it is asked for, but whoever asks waits a moment only and is then told the size of the time before, while the walk goes on for the next.
/// Only the first walk of all is waited for: there is nothing else to tell. Those who ask while a walk is under way share it, and few walks run at once.
/// </summary>
internal sealed class TreeSize(string path)
{
    /// <summary>How long is waited for a newer size than the one known.</summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    // More walks at once than this keep a disk from serving anybody else.
    private static readonly SemaphoreSlim Walks = new(Math.Clamp(Environment.ProcessorCount / 2, 1, 4));

    private readonly Lock _lock = new();
    private Task<long>? _walk;
    private long _known = -1;
    private int _version;
    private bool _settled;

    /// <summary>It was written in, or will be from now on.</summary>
    public void Changed()
    {
        lock (_lock)
        {
            _version++;
            _settled = false;
        }
    }

    /// <param name="still">Nobody writes in it, and whoever will says so by <see cref="Changed"/> before he does.</param>
    /// <param name="stopping">Ends the walk, whoever waits for it.</param>
    public async ValueTask<long> GetAsync(bool still, CancellationToken stopping, CancellationToken cancellationToken)
    {
        Task<long> walk;
        long known;
        lock (_lock)
        {
            if (still && _settled) return _known;
            if (_walk is null)
            {
                var version = _version;
                _walk = Task.Run(() => WalkAsync(version, still, stopping), CancellationToken.None);
            }
            (walk, known) = (_walk, _known);
        }
        try
        {
            return await walk.WaitAsync(known < 0 ? Timeout.InfiniteTimeSpan : Patience, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            return known;
        }
    }

    private async Task<long> WalkAsync(int version, bool still, CancellationToken stopping)
    {
        try
        {
            await Walks.WaitAsync(stopping).ConfigureAwait(false);
            try
            {
                var size = (long)FileTree.SizeBytes(path, stopping);
                lock (_lock)
                {
                    _known = size;
                    _settled = still && version == _version;
                }
                return size;
            }
            finally
            {
                Walks.Release();
            }
        }
        finally
        {
            lock (_lock) _walk = null;
        }
    }
}
