using Berth.Api;

namespace Berth.Engine;

/// <summary>Everything one can do with a container; a file per verb.</summary>
public sealed partial class ContainerService
{
    private readonly EngineCore _core;
    private readonly ExecRegistry _execs;
    private readonly RecentEnds _recentEnds;
    private readonly LogWatch _logWatch = new();
    private readonly LogShipping _shipping;
    private readonly StatsCollector _stats;

    /// <summary>The commands of builds.</summary>
    public StepService Steps { get; }

    internal ContainerService(EngineCore core)
    {
        _core = core;
        _execs = new ExecRegistry(core.Time);
        _recentEnds = new RecentEnds(core.Time);
        _shipping = new LogShipping(core, _logWatch);
        _stats = new StatsCollector(core);
        Steps = new StepService(core, this);
    }

    /// <summary>
    /// Stores what has become so. When that fails (the disk is full, the directory was deleted) it is so all the same: logged, and the next change is another try.
    /// </summary>
    private void StoreOrLog(Container container, ContainerRecord next)
    {
        try
        {
            _core.Containers.Write(container, next);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _core.Logger.CleanupFailed(next.Id, "writing container.json", e);
        }
    }

    private void StoreAndPublish(Container container, ContainerRecord next)
    {
        StoreOrLog(container, next);
        container.Publish(next);
    }
}

/// <summary>The query of GET /containers/json.</summary>
public sealed record ContainerListOptions
{
    public bool All { get; init; }
    public bool Size { get; init; }

    /// <summary>The newest n, running or not; 0 or less: no limit.</summary>
    public int Limit { get; init; }

    public Filters Filters { get; init; } = new();
}

/// <summary>What a wait waits for.</summary>
public enum WaitCondition
{
    /// <summary>Holds at once for a container that does not run, one just created included.</summary>
    NotRunning,
    NextExit,
    Removed,
}
