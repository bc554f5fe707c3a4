namespace Berth.Linux.Cgroups;

/// <summary>Which limits this machine can set: what <c>docker info</c> prints and <c>docker create</c> warns about, by Docker's names.</summary>
public sealed record CgroupFeatures
{
    public bool MemoryLimit { get; init; }

    /// <summary>memory.memsw.limit_in_bytes or memory.swap.max is there.</summary>
    public bool SwapLimit { get; init; }

    public bool MemoryReservation { get; init; }

    public bool OomKillDisable { get; init; }

    public bool MemorySwappiness { get; init; }

    public bool KernelMemoryTcp { get; init; }

    public bool CpuShares { get; init; }

    public bool CpuCfs { get; init; }

    public bool CpuRealtime { get; init; }

    public bool Cpuset { get; init; }

    /// <summary>Processors in list form; empty without cpuset.</summary>
    public string Cpus { get; init; } = "";

    /// <summary>Memory nodes in list form; empty without cpuset.</summary>
    public string Mems { get; init; } = "";

    public bool PidsLimit { get; init; }

    public bool BlkioWeight { get; init; }

    public bool BlkioWeightDevice { get; init; }

    /// <summary>All four of read and write, bytes and operations.</summary>
    public bool BlkioThrottle { get; init; }

    public bool Devices { get; init; }
}
