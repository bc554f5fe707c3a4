using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Berth.Api;
using Berth.Linux;

namespace Berth.Engine;

/// <summary>
/// Samples every container that somebody watches once a second, once for all who watch it. Nothing runs while nobody does. A watcher that lags gets the
/// newest sample and misses those in between.
/// </summary>
internal sealed class StatsCollector(EngineCore core)
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    // A container watched since a moment ago has had its first sample then; its second is not taken before this.
    private static readonly TimeSpan ShortestInterval = TimeSpan.FromMilliseconds(500);

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Watched> _watched = new(StringComparer.Ordinal);
    private ProcessorTimes? _processors;
    private bool _running;

    /// <summary>One sample, without a previous one.</summary>
    public ContainerStats SampleOnce(Container container)
    {
        using var sampler = new StatsSampler(core, container);
        using var processors = new ProcessorTimes();
        return sampler.Sample(processors.Read());
    }

    /// <summary>A sample at once, then one each second, each with the one before it, until the container is removed or the token fires (it does not throw then).</summary>
    public async IAsyncEnumerable<ContainerStats> WatchAsync(Container container, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var samples = Channel.CreateBounded<ContainerStats>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
        Subscribe(container, samples.Writer);
        try
        {
            CpuStats before = new();
            DateTimeOffset beforeRead = default;
            while (true)
            {
                try
                {
                    if (!await samples.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false)) yield break;
                }
                catch (OperationCanceledException)
                {
                    yield break;
                }
                while (samples.Reader.TryRead(out var sample))
                {
                    yield return sample with { PreCpu = before, PreRead = beforeRead };
                    (before, beforeRead) = (sample.Cpu, sample.Read);
                }
            }
        }
        finally
        {
            Unsubscribe(container, samples.Writer);
        }
    }

    private void Subscribe(Container container, ChannelWriter<ContainerStats> samples)
    {
        lock (_lock)
        {
            if (!_watched.TryGetValue(container.Id, out var watched))
            {
                watched = _watched[container.Id] = new Watched(new StatsSampler(core, container));
                _ = EndWithContainerAsync(container, watched);
            }
            watched.Writers.Add(samples);
            if (watched.Latest is { } latest && core.Time.GetElapsedTime(watched.Taken) < ShortestInterval) samples.TryWrite(latest);
            else Sample(watched);
            if (_running) return;
            _running = true;
        }
        _ = Task.Run(RunAsync, CancellationToken.None);
    }

    private void Unsubscribe(Container container, ChannelWriter<ContainerStats> samples)
    {
        lock (_lock)
        {
            if (!_watched.TryGetValue(container.Id, out var watched) || !watched.Writers.Remove(samples) || watched.Writers.Count > 0) return;
            _watched.Remove(container.Id);
            watched.End();
        }
    }

    // A descriptor of the namespace's would keep it and its interfaces for up to a second: closed with each run, not at the next sample.
    private async Task EndWithContainerAsync(Container container, Watched watched)
    {
        try
        {
            var removed = container.Wait(WaitCondition.Removed, watched.Ended.Token);
            while (await Task.WhenAny(removed, container.Wait(WaitCondition.NextExit, watched.Ended.Token)).ConfigureAwait(false) != removed && !removed.IsCanceled)
            {
                lock (_lock) watched.Sampler.Dispose();
            }
        }
        finally
        {
            lock (_lock)
            {
                // Unless its last watcher left before and another came: that one has a Watched of its own.
                if (_watched.TryGetValue(container.Id, out var current) && current == watched)
                {
                    _watched.Remove(container.Id);
                    watched.End();
                }
            }
        }
    }

    private async Task RunAsync()
    {
        using var timer = new PeriodicTimer(Interval, core.Time);
        try
        {
            while (await timer.WaitForNextTickAsync(core.Stopping).ConfigureAwait(false))
            {
                Watched[] all;
                lock (_lock)
                {
                    if (_watched.Count == 0)
                    {
                        _running = false;
                        _processors?.Dispose();
                        _processors = null;
                        return;
                    }
                    all = [.. _watched.Values];
                }
                foreach (var watched in all)
                {
                    // One by one: who comes or goes waits for one sample, not for a round.
                    lock (_lock)
                    {
                        if (!watched.Over && core.Time.GetElapsedTime(watched.Taken) >= ShortestInterval) Sample(watched);
                    }
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The engine stops.
        }
    }

    private void Sample(Watched watched)
    {
        try
        {
            watched.Latest = watched.Sampler.Sample((_processors ??= new ProcessorTimes()).Read());
        }
        catch (LinuxException e)
        {
            core.Logger.StatsFailed(e.Message);
            return;
        }
        watched.Taken = core.Time.GetTimestamp();
        foreach (var writer in watched.Writers) writer.TryWrite(watched.Latest);
    }

    private sealed class Watched(StatsSampler sampler)
    {
        public StatsSampler Sampler { get; } = sampler;
        public List<ChannelWriter<ContainerStats>> Writers { get; } = [];
        public CancellationTokenSource Ended { get; } = new();
        public ContainerStats? Latest { get; set; }
        public long Taken { get; set; }
        public bool Over { get; private set; }

        public void End()
        {
            if (Over) return;
            Over = true;
            Sampler.Dispose();
            foreach (var writer in Writers) writer.TryComplete();
            // Not on this thread: it holds the lock.
            _ = Ended.CancelAsync();
        }
    }
}

public sealed partial class ContainerService
{
    /// <summary>
    /// What a container uses: for ever with <paramref name="stream"/>; otherwise one sample, which with <paramref name="oneShot"/> is taken at once and has no predecessor
    /// (and else takes a second).
    /// </summary>
    /// <exception cref="EngineException">NotFound; InvalidParameter: stream and oneShot.</exception>
    public IAsyncEnumerable<ContainerStats> StatsAsync(string idOrName, bool stream, bool oneShot, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        if (stream && oneShot) throw EngineException.Invalid("cannot have stream=true and one-shot=true");
        var running = container.State is { Running: true, Restarting: false };
        if (!stream && (oneShot || !running)) return One(running ? _stats.SampleOnce(container) : StatsSampler.Empty(container));
        return stream ? _stats.WatchAsync(container, cancellationToken) : Second(_stats.WatchAsync(container, cancellationToken));

        static async IAsyncEnumerable<ContainerStats> One(ContainerStats stats)
        {
            await Task.CompletedTask.ConfigureAwait(false);
            yield return stats;
        }

        // The first only tells what the second is the difference to.
        static async IAsyncEnumerable<ContainerStats> Second(IAsyncEnumerable<ContainerStats> samples)
        {
            var first = true;
            await foreach (var sample in samples.ConfigureAwait(false))
            {
                if (!first)
                {
                    yield return sample;
                    yield break;
                }
                first = false;
            }
        }
    }
}
