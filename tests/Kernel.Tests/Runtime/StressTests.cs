using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Runtime;

namespace Berth.Kernel.Tests.Runtime;

[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;

/// <summary>Counts what this process holds, so nothing else may run beside it.</summary>
[Collection(nameof(Alone))]
public sealed class StressTests
{
    /// <summary>With managed code in the child, a collection at the wrong moment deadlocks or crashes; with the stub it can't matter.</summary>
    [Fact]
    public void Two_thousand_starts_under_garbage_collection_all_succeed_and_leave_no_descriptor()
    {
        const int Starts = 2000, Workers = 4;
        using (var warm = new TestContainer()) warm.Run("true");
        GC.Collect();
        GC.WaitForPendingFinalizers();
        var before = Directory.GetFiles("/proc/self/fd").Length;

        var stop = false;
        var garbage = Enumerable.Range(0, 2).Select(i => new Thread(() =>
        {
            var kept = new object[1000];
            for (var n = 0; !Volatile.Read(ref stop); n++)
            {
                kept[n % kept.Length] = new byte[n % 5000 + 100];
                if (n % 500 == 0) GC.Collect(i == 0 ? 2 : 0);
            }
        })).ToList();
        garbage.ForEach(thread => thread.Start());
        var failures = new System.Collections.Concurrent.ConcurrentQueue<string>();
        try
        {
            Parallel.For(0, Workers, _ =>
            {
                using var container = new TestContainer();
                for (var i = 0; i < Starts / Workers; i++)
                {
                    try
                    {
                        var started = container.Start("true");
                        Descriptor.Poll(started.PidFd, PollEvents.Readable, -1);
                        var end = PidFd.TryReap(started.PidFd);
                        if (end is not { Code: 0 }) failures.Enqueue($"{i}: {end}");
                        started.Dispose();
                    }
                    catch (Exception exception) when (exception is LaunchException or LinuxException)
                    {
                        failures.Enqueue($"{i}: {exception.Message}");
                    }
                }
            });
        }
        finally
        {
            Volatile.Write(ref stop, true);
            garbage.ForEach(thread => thread.Join());
        }

        Assert.Empty(failures);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Assert.InRange(Directory.GetFiles("/proc/self/fd").Length, 0, before);
    }

    [Fact]
    public void A_failed_start_leaves_no_child_behind()
    {
        using var container = new TestContainer();

        Assert.Throws<LaunchException>(() => container.Run("nosuch"));

        Assert.All(Directory.GetDirectories("/proc/self/task"), task => Assert.Equal("", File.ReadAllText($"{task}/children").Trim()));
    }
}
