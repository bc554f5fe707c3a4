using Berth.Api;
using Berth.Linux;
using Berth.Linux.Cgroups;

namespace Berth.Engine;

// Update: limits and restart policy of a container in any state. Checked, merged into a new HostConfig, written to the cgroup of one that runs, then stored.
public sealed partial class ContainerService
{
    /// <param name="change">Its limits and restart policy are taken; zero, null and empty leave what is.</param>
    /// <exception cref="EngineException">InvalidParameter; NotFound; Conflict with what is set, or when it is being removed; System when the kernel refuses.</exception>
    public async Task<ContainerUpdateResponse> UpdateAsync(string idOrName, HostConfig change, CancellationToken cancellationToken)
    {
        if (change.PidsLimit is <= 0) change.PidsLimit = 0;
        var warnings = Validation.CheckUpdate(change, _core.Facts);
        var container = _core.Containers.Get(idOrName);
        await container.Gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var record = container.Record;
            if (container.Removing || container.Removed || record.State.Dead) throw CannotUpdate(record.Id, ErrorKind.Conflict, "container is marked for removal and cannot be \"update\"");
            HostConfig merged;
            try
            {
                merged = LimitsUpdate.Merge(record.HostConfig, change);
            }
            catch (EngineException e)
            {
                throw CannotUpdate(record.Id, e.Kind, e.Message);
            }
            if (record.State is { Running: true, Restarting: false }) Apply(record, LimitsUpdate.For(change, merged));
            _core.Containers.Save(container, record with { HostConfig = merged });
            if (container.OomWatch is null && merged.Memory > 0 && record.State is { Running: true, Restarting: false }) BeginOomWatch(container);
            _core.Emit(container, "update");
        }
        finally
        {
            container.Gate.Release();
        }
        return new ContainerUpdateResponse { Warnings = warnings.Count == 0 ? null : [.. warnings] };
    }

    private void Apply(ContainerRecord record, CgroupLimits limits)
    {
        // Gone, or going: it ends this moment, and the next run takes the limits from the record.
        if (_core.Cgroups.Open(SpecCompiler.CgroupPath(record.HostConfig, _core.Options, record.Id)) is not { } cgroup) return;
        try
        {
            cgroup.Update(limits);
        }
        catch (Exception e) when ((e is LinuxException or CgroupLimitException) && cgroup.Processes().Count == 0)
        {
        }
        catch (Exception e) when (e is LinuxException or CgroupLimitException)
        {
            throw CannotUpdate(record.Id, ErrorKind.System, "runc did not terminate successfully: exit status 1: " + e.Message); // part of the text that clients know
        }
    }

    private static EngineException CannotUpdate(string id, ErrorKind kind, string reason) => new(kind, $"Cannot update container {id}: {reason}");
}

/// <summary>What an update changes. Pure.</summary>
internal static class LimitsUpdate
{
    /// <exception cref="EngineException">Conflict: the change does not go with what is set.</exception>
    public static HostConfig Merge(HostConfig host, HostConfig change)
    {
        // NanoCpus is period and quota by another name: one or the other.
        Refuse(change.NanoCpus > 0 && host.CpuPeriod > 0, "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set");
        Refuse(change.NanoCpus > 0 && host.CpuQuota > 0, "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set");
        Refuse(change.CpuPeriod > 0 && host.NanoCpus > 0, "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set");
        Refuse(change.CpuQuota > 0 && host.NanoCpus > 0, "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set");
        Refuse(change.Memory != 0 && change.MemorySwap == 0 && change.Memory > host.MemorySwap,
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time");
        Refuse(host.AutoRemove && change.RestartPolicy.Name is not ("" or "no"), "Restart policy cannot be updated because AutoRemove is enabled for the container");
        return host with
        {
            BlkioWeight = change.BlkioWeight != 0 ? change.BlkioWeight : host.BlkioWeight,
            CpuShares = Or(change.CpuShares, host.CpuShares), NanoCpus = Or(change.NanoCpus, host.NanoCpus), CpuPeriod = Or(change.CpuPeriod, host.CpuPeriod), CpuQuota = Or(change.CpuQuota, host.CpuQuota),
            CpusetCpus = change.CpusetCpus.Length > 0 ? change.CpusetCpus : host.CpusetCpus, CpusetMems = change.CpusetMems.Length > 0 ? change.CpusetMems : host.CpusetMems,
            Memory = Or(change.Memory, host.Memory), MemorySwap = Or(change.MemorySwap, host.MemorySwap), MemoryReservation = Or(change.MemoryReservation, host.MemoryReservation),
            KernelMemory = Or(change.KernelMemory, host.KernelMemory),
            CpuRealtimePeriod = Or(change.CpuRealtimePeriod, host.CpuRealtimePeriod), CpuRealtimeRuntime = Or(change.CpuRealtimeRuntime, host.CpuRealtimeRuntime),
            PidsLimit = change.PidsLimit ?? host.PidsLimit,
            RestartPolicy = change.RestartPolicy.Name.Length > 0 ? change.RestartPolicy with { } : host.RestartPolicy,
        };

        static long Or(long wanted, long present) => wanted != 0 ? wanted : present;
        static void Refuse(bool conflict, string message)
        {
            if (conflict) throw EngineException.Conflict(message);
        }
    }

    /// <summary>What the running container's cgroup is told: what changes, and with it what the kernel wants to hear together.</summary>
    public static CgroupLimits For(HostConfig change, HostConfig merged)
    {
        var memory = change.Memory != 0 || change.MemorySwap != 0;
        // One file holds both on v2, and the other of the two would be reset.
        var cpu = change.NanoCpus != 0 || change.CpuPeriod != 0 || change.CpuQuota != 0;
        var times = SpecCompiler.CpuTimes(merged);
        return new CgroupLimits
        {
            BlkioWeight = change.BlkioWeight != 0 ? change.BlkioWeight : null,
            CpuShares = change.CpuShares > 0 ? (ulong)change.CpuShares : null,
            CpuPeriodMicroseconds = cpu ? times.Period : null, CpuQuotaMicroseconds = cpu ? times.Quota : null,
            CpusetCpus = change.CpusetCpus.Length > 0 ? change.CpusetCpus : null, CpusetMems = change.CpusetMems.Length > 0 ? change.CpusetMems : null,
            CpuRealtimePeriodMicroseconds = change.CpuRealtimePeriod != 0 ? (ulong)change.CpuRealtimePeriod : null,
            CpuRealtimeRuntimeMicroseconds = change.CpuRealtimeRuntime != 0 ? change.CpuRealtimeRuntime : null,
            // v2 counts swap without memory: from one of the two alone it can't be told.
            MemoryLimitBytes = memory && merged.Memory != 0 ? merged.Memory : null,
            MemorySwapBytes = memory && merged.MemorySwap != 0 ? merged.MemorySwap : null,
            MemoryReservationBytes = change.MemoryReservation != 0 ? change.MemoryReservation : null,
            PidsLimit = change.PidsLimit is { } pids ? pids <= 0 ? -1 : pids : null,
        };
    }
}
