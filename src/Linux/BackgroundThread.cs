namespace Berth.Linux;

/// <summary>Work that nobody waits for: it has the processor and the disk when nobody else wants them.</summary>
public static class BackgroundThread
{
    private const int LowestNice = 19;

    // IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0), IOPRIO_WHO_PROCESS; 0 is the calling thread.
    private const nint IdleClass = 3 << 13, OfThread = 1;

    /// <summary>Runs the action on a thread of its own. A kernel or container that refuses the lower priority is no reason not to.</summary>
    public static Task Run(Action action) => Task.Factory.StartNew(() =>
    {
        // Of a thread of its own, which ends with the action: a thread of the pool would keep the priority.
        _ = LibC.setpriority(0, 0, LowestNice);
        _ = LibC.ioprio_set(OfThread, 0, IdleClass);
        action();
    }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
}
