namespace Berth.Builder;

/// <summary>One thing the builder keeps for the next time: what a step made, or a directory of a cache mount.</summary>
public sealed record KeptEntry
{
    public const string Regular = "regular", CacheMount = "exec.cachemount";

    public required string Id { get; init; }

    /// <summary>BuildKit's name for the kind.</summary>
    public required string Type { get; init; }
    public required string Description { get; init; }
    public long SizeBytes { get; init; }
    public DateTimeOffset Created { get; init; }
    public DateTimeOffset LastUsed { get; init; }
    public int UsageCount { get; init; }

    /// <summary>A build under way stands on it.</summary>
    public bool InUse { get; init; }

    /// <summary>An image has it too: removing it gives no room back.</summary>
    public bool Shared { get; init; }

    /// <summary>The record's key, or the directory's name.</summary>
    internal string Name { get; init; } = "";
}

/// <summary>What of the build cache goes. Sizes are of what no image has; 0 is no limit.</summary>
public sealed record PruneRule
{
    /// <summary>Also what images have.</summary>
    public bool All { get; init; }

    /// <summary>What was used within this time stays.</summary>
    public TimeSpan KeepDuration { get; init; }

    /// <summary>So much may always stay.</summary>
    public long ReservedSpace { get; init; }

    /// <summary>So much may stay at most.</summary>
    public long MaxUsedSpace { get; init; }

    /// <summary>So much of the disk is to be free.</summary>
    public long MinFreeSpace { get; init; }

    /// <summary>Null: everything.</summary>
    public Func<KeptEntry, bool>? Matches { get; init; }

    /// <summary>Bytes that stay; null: none, whatever it is.</summary>
    internal long? KeepBytes(long total, long free)
    {
        if (MaxUsedSpace == 0 && ReservedSpace == 0 && MinFreeSpace == 0) return null;
        var keep = MaxUsedSpace;
        if (MinFreeSpace - free is > 0 and var missing) keep = keep == 0 ? total - missing : Math.Min(keep, total - missing);
        return Math.Max(keep, ReservedSpace);
    }

    /// <summary>Docker's: what is easily made again goes after two days, everything after 60, and the oldest when it gets too much for the disk.</summary>
    /// <param name="path">On the disk in question.</param>
    public static IReadOnlyList<PruneRule> Defaults(string path, long reservedSpace, long maxUsedSpace, long minFreeSpace)
    {
        const long LeastTemporary = 512_000_000;
        const double TemporaryPercent = Math.E * Math.PI * 1.618033988749895;
        if (reservedSpace == 0 && maxUsedSpace == 0 && minFreeSpace == 0)
        {
            var total = new DriveInfo(path).TotalSize;
            (reservedSpace, maxUsedSpace, minFreeSpace) = (Percent(10), Percent(80), Percent(20));

            long Percent(int percent) => (total * percent / 100 / (1L << 30) + 1) * 1_000_000_000;
        }
        var capped = new PruneRule { ReservedSpace = reservedSpace, MaxUsedSpace = maxUsedSpace, MinFreeSpace = minFreeSpace };
        return
        [
            new PruneRule { Matches = e => e.Type == KeptEntry.CacheMount, KeepDuration = TimeSpan.FromHours(48), MaxUsedSpace = Math.Max(LeastTemporary, (long)Math.Round(reservedSpace / 100.0 * TemporaryPercent)) },
            capped with { KeepDuration = TimeSpan.FromDays(60) },
            capped,
            capped with { All = true },
        ];
    }
}
