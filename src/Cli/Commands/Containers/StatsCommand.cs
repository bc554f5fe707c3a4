using System.Globalization;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Containers;

/// <summary>
/// stats: a stream of samples for each container, and a table of the newest ones twice a second. Without names those that run, as they come and go;
/// the streams are waited for by events of one client instead of a thread each.
/// </summary>
internal static class StatsCommand
{
    private static readonly TimeSpan FrameEvery = TimeSpan.FromMilliseconds(500);

    /// <summary>A container that has not told anything for so long is shown without figures, and not waited for.</summary>
    private static readonly TimeSpan StaleAfter = TimeSpan.FromSeconds(2);

    private const string Table = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

    public static readonly Command Command = new()
    {
        Paths = ["stats", "container stats"],
        Usage = "[OPTIONS] [CONTAINER...]",
        Summary = "Show what containers use of processor, memory, network and disks",
        Flags = static () =>
        [
            new("all", 'a', FlagKind.Bool, "Those that do not run as well"),
            new("format", FlagKind.String, PsCommand.FormatHelp),
            new("no-stream", FlagKind.Bool, "Print once"),
            new("no-trunc", FlagKind.Bool, "Do not shorten anything"),
        ],
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (names, all, once) = (flags.Positional, flags.Bool("all"), flags.Bool("no-stream"));
        using var client = context.NewClient(blocking: false);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(invocation.Cancelled);
        var watches = new Watches(client, context.Time, stream: !once, stop.Token);
        var changes = Task.CompletedTask;
        try
        {
            if (names.Count > 0)
            {
                foreach (var name in names) watches.Add(name);
                await watches.FirstSamplesAsync();
                if (watches.Errors() is { Length: > 0 } errors)
                    throw errors.FirstOrDefault(e => e is EngineConnectionException) ?? new CommandException(string.Join('\n', errors.Select(e => e.Message)));
            }
            else
            {
                // Events first: a container that starts while the list is made is in one of the two, and added once.
                if (!once) changes = watches.FollowAsync(await client.BeginEventsAsync(new Filters().Add("type", "container"), stop.Token), all);
                foreach (var container in await client.ListContainersAsync(all, cancellationToken: stop.Token)) watches.Add(container.Id);
                await watches.FirstSamplesAsync();
            }

            var formatter = FormatterFor(truncate: !flags.Bool("no-trunc"));
            if (once)
            {
                formatter.Write(context.Out, context.FormatOf(flags, "statsFormat"), Table, watches.Rows());
                return 0;
            }
            using var frames = new PeriodicTimer(FrameEvery, context.Time);
            do
            {
                var text = new StringWriter(CultureInfo.InvariantCulture);
                formatter.Write(text, context.FormatOf(flags, "statsFormat"), Table, watches.Rows());
                // Painted over the last one, in one write: each line is longer or shorter than what stood there, and there may be fewer.
                context.Out.Write("\u001b[H" + text.ToString().Replace("\n", "\u001b[K\n", StringComparison.Ordinal) + "\u001b[J");
                context.Flush();
                // Without an engine, or when all that were named are gone, nothing will change any more.
                if (names.Count > 0 ? watches.HaveEnded : changes.IsCompleted) return 0;
            }
            while (await frames.WaitForNextTickAsync(stop.Token));
            return 0;
        }
        finally
        {
            await stop.CancelAsync();
            await changes; // which adds to the others
            await watches.EndAsync();
        }
    }

    internal static Formatter<StatsRow> FormatterFor(bool truncate) => new("container.statsContext",
    [
        new("BlockIO", "BLOCK I/O", r => r.Show(s => Pair(Blocks(s, 'r'), Blocks(s, 'w')))),
        new("CPUPerc", "CPU %", r => r.Show(s => Percent(ProcessorPercent(s)))),
        new("Container", "CONTAINER", r => r.Container),
        new("ID", "CONTAINER ID", r => r.Sample?.Id is not { } id ? "" : truncate ? Shorten.Id(id) : id),
        new("MemPerc", "MEM %", r => r.Show(s => Percent(s.Memory.Limit == 0 ? 0 : Used(s.Memory) / (double)s.Memory.Limit * 100))),
        new("MemUsage", "MEM USAGE / LIMIT", r => r.Show(s => $"{Units.BytesSize(Used(s.Memory))} / {Units.BytesSize(s.Memory.Limit)}", "-- / --")),
        new("Name", "NAME", r => r.Sample?.Name is { Length: > 1 } name ? name[1..] : "--"),
        new("NetIO", "NET I/O", r => r.Show(s => Pair(Sum(s.Networks?.Values.Select(n => n.RxBytes)), Sum(s.Networks?.Values.Select(n => n.TxBytes))))),
        new("PIDs", "PIDS", r => r.Show(s => s.Pids.Current.ToString(CultureInfo.InvariantCulture))),
    ]);

    private static string Pair(double first, double second) => $"{Units.HumanSize(first, 3)} / {Units.HumanSize(second, 3)}";

    private static string Percent(double value)
    {
        // Go rounds what lies exactly between two to the even one, .NET up. So lie .125, .375, .625 and .875 alone, and shares of a power of two are often there.
        var eighths = value * 8;
        if (eighths == Math.Truncate(eighths) && eighths % 2 != 0) value = Math.Round(value, 2, MidpointRounding.ToEven);
        return value.ToString("F2", CultureInfo.InvariantCulture) + "%";
    }

    private static double Sum(IEnumerable<ulong>? values) => values?.Sum(v => (double)v) ?? 0;

    private static double Blocks(ContainerStats sample, char operation) =>
        Sum(sample.Blkio.ServiceBytes?.Where(e => e.Op.StartsWith(char.ToString(operation), StringComparison.OrdinalIgnoreCase)).Select(e => e.Value));

    /// <summary>Of one processor: two that are busy are 200.</summary>
    private static double ProcessorPercent(ContainerStats sample)
    {
        var used = (double)sample.Cpu.Usage.Total - sample.PreCpu.Usage.Total;
        var passed = (double)sample.Cpu.SystemUsage - sample.PreCpu.SystemUsage;
        double processors = sample.Cpu.OnlineCpus != 0 ? sample.Cpu.OnlineCpus : sample.Cpu.Usage.PerCpu?.Length ?? 0;
        return used > 0 && passed > 0 ? used / passed * processors * 100 : 0;
    }

    /// <summary>Without the cache that the kernel gives back when asked: total_inactive_file is cgroup v1's name of it.</summary>
    private static ulong Used(MemoryStats memory)
    {
        foreach (var name in (ReadOnlySpan<string>)["total_inactive_file", "inactive_file"])
            if (memory.Stats is { } stats && stats.TryGetValue(name, out var cache) && cache < memory.Usage) return memory.Usage - cache;
        return memory.Usage;
    }

    /// <summary>One container as it is shown.</summary>
    /// <param name="Container">As it was named, or its id.</param>
    /// <param name="Sample">The newest, if there has been one.</param>
    /// <param name="IsValid">False: its figures are not those of now.</param>
    internal sealed record StatsRow(string Container, ContainerStats? Sample, bool IsValid)
    {
        public string Show(Func<ContainerStats, string> figure, string none = "--") => IsValid && Sample is not null ? figure(Sample) : none;
    }

    /// <summary>The containers that are watched, in the order they came.</summary>
    private sealed class Watches(EngineClient client, TimeProvider time, bool stream, CancellationToken stop)
    {
        private readonly Lock _lock = new();
        private readonly List<Watch> _all = [];
        private readonly List<Task> _tasks = [];

        /// <summary>Begins to watch one; nothing happens for one that is watched already.</summary>
        public void Add(string container)
        {
            lock (_lock)
            {
                if (_all.Exists(w => w.Container == container)) return;
                var watch = new Watch(container, CancellationTokenSource.CreateLinkedTokenSource(stop));
                _all.Add(watch);
                _tasks.RemoveAll(t => t.IsCompleted);
                _tasks.Add(CollectAsync(watch));
            }
        }

        private void Remove(string container)
        {
            lock (_lock)
            {
                if (_all.Find(w => w.Container == container) is not { } watch) return;
                _all.Remove(watch);
                if (!watch.HasEnded) watch.Stop.Cancel();
            }
        }

        private async Task CollectAsync(Watch watch)
        {
            await Task.Yield(); // not under the lock of the caller
            try
            {
                await foreach (var sample in client.StatsAsync(watch.Container, stream, watch.Stop.Token))
                {
                    lock (_lock) (watch.Sample, watch.At) = (sample, time.GetTimestamp());
                    watch.First.TrySetResult();
                }
            }
            catch (OperationCanceledException) when (watch.Stop.IsCancellationRequested)
            {
            }
            catch (Exception e) when (e is EngineApiException or EngineConnectionException or IOException)
            {
                lock (_lock) watch.Error = e;
            }
            finally
            {
                lock (_lock)
                {
                    watch.HasEnded = true;
                    watch.Stop.Dispose();
                }
                watch.First.TrySetResult();
            }
        }

        /// <summary>Each has a sample, or will have none. One that is slow to begin a stream is not waited for; a single sample is.</summary>
        public async Task FirstSamplesAsync()
        {
            Task all;
            lock (_lock) all = Task.WhenAll(_all.Select(w => w.First.Task));
            try
            {
                await all.WaitAsync(stream ? StaleAfter : Timeout.InfiniteTimeSpan, time, stop);
            }
            catch (TimeoutException)
            {
            }
        }

        /// <summary>Until the engine ends the stream.</summary>
        public async Task FollowAsync(EngineResponse events, bool all)
        {
            try
            {
                using (events)
                {
                    await foreach (var happened in EngineClient.ReadEventsAsync(events, stop))
                    {
                        if (happened.Actor.ID.Length == 0) continue;
                        // With --all one that died stays: it may come back.
                        if (happened.Action == "start" || (all && happened.Action == "create")) Add(happened.Actor.ID);
                        else if (happened.Action == "destroy" || (!all && happened.Action == "die")) Remove(happened.Actor.ID);
                    }
                }
            }
            catch (Exception e) when (e is OperationCanceledException or IOException)
            {
            }
        }

        public Exception[] Errors()
        {
            lock (_lock) return [.. _all.Select(w => w.Error).OfType<Exception>()];
        }

        public bool HaveEnded
        {
            get
            {
                lock (_lock) return _all.TrueForAll(w => w.HasEnded);
            }
        }

        public StatsRow[] Rows()
        {
            lock (_lock) return [.. _all.Select(w => new StatsRow(w.Container, w.Sample, !stream ? w.Error is null : !w.HasEnded && time.GetElapsedTime(w.At) < StaleAfter))];
        }

        public Task EndAsync()
        {
            lock (_lock) return Task.WhenAll(_tasks);
        }
    }

    private sealed class Watch(string container, CancellationTokenSource stop)
    {
        public string Container { get; } = container;

        public CancellationTokenSource Stop { get; } = stop;

        public TaskCompletionSource First { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public ContainerStats? Sample { get; set; }

        /// <summary>When it came.</summary>
        public long At { get; set; }

        public Exception? Error { get; set; }

        public bool HasEnded { get; set; }
    }
}
