using Berth.Api;
using Berth.Linux;
using Berth.Linux.Cgroups;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

/// <summary>
/// Samples one container: descriptors of its cgroup's files and of its interfaces' counters are opened at the first sample of a run and closed with the run's end, so that a
/// sample is a dozen short reads. Not thread-safe.
/// </summary>
internal sealed class StatsSampler(EngineCore core, Container container) : IDisposable
{
    private MonitoredProcess? _process;
    private CgroupStatistics? _cgroup;
    private NetworkCounters? _network;

    /// <summary>What a container that does not run has: its name.</summary>
    public static ContainerStats Empty(Container container) => new() { Name = "/" + container.Name, Id = container.Id };

    public ContainerStats Sample((ulong Nanoseconds, uint Processors) system)
    {
        var process = container.Process;
        if (process != _process) Dispose();
        if (process is null || container.State.Restarting) return Empty(container);
        if (_cgroup is null) Open(process);
        if (_cgroup?.Read() is not { } sample) return Empty(container);
        var stats = StatsReading.For(sample, core.Cgroups.Version, _network?.Read() ?? [], system, (ulong)core.Facts.MemoryTotalBytes, core.Time.GetUtcNow());
        return stats with { Name = "/" + container.Name, Id = container.Id };
    }

    private void Open(MonitoredProcess process)
    {
        var record = container.Record;
        _process = process;
        _cgroup = core.Cgroups.Open(SpecCompiler.CgroupPath(record.HostConfig, core.Options, record.Id))?.OpenStatistics();
        // The host's interfaces are not the container's.
        if (!record.Config.NetworkDisabled && !Modes.IsHost(record.HostConfig.NetworkMode)) _network = NetworkCounters.TryOpen(process.Pid);
    }

    public void Dispose()
    {
        _cgroup?.Dispose();
        _network?.Dispose();
        (_process, _cgroup, _network) = (null, null, null);
    }
}
