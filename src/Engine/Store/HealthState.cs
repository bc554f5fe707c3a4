using Berth.Api;

namespace Berth.Engine;

/// <summary>What the checks of a container have found.</summary>
internal sealed record HealthState
{
    public const string None = "none", Starting = "starting", Healthy = "healthy", Unhealthy = "unhealthy";

    public required string Status { get; init; }
    public int FailingStreak { get; init; }

    /// <summary>The last <see cref="HealthCheck.KeptResults"/>, oldest first.</summary>
    public HealthcheckResult[] Log { get; init; } = [];
}

/// <summary>A container's check with every default filled in, and what its results mean. Pure.</summary>
internal sealed record HealthCheck(string[] Command, TimeSpan Interval, TimeSpan Timeout, TimeSpan StartPeriod, TimeSpan StartInterval, int Retries)
{
    public const int KeptResults = 5;
    public const int MaxOutputBytes = 4096;

    private static readonly string[] Shell = ["/bin/sh", "-c"];

    /// <summary>Null when there is none, or it was switched off.</summary>
    public static HealthCheck? Of(ContainerConfig config)
    {
        if (config.Healthcheck is not { Test: { Length: > 0 } test } health) return null;
        string[] command = test[0] switch
        {
            "CMD" => test[1..],
            "CMD-SHELL" => [.. config.Shell is { Length: > 0 } shell ? shell : Shell, .. test[1..]],
            _ => [],
        };
        if (command.Length == 0) return null;
        return new HealthCheck(command, Or(health.Interval, 30), Or(health.Timeout, 30), Or(health.StartPeriod, 0), Or(health.StartInterval, 5), health.Retries > 0 ? health.Retries : 3);

        // Timers take at most 49 days.
        static TimeSpan Or(long nanoseconds, int seconds) => nanoseconds <= 0 ? TimeSpan.FromSeconds(seconds) : TimeSpan.FromTicks(Math.Min(nanoseconds / 100, TimeSpan.TicksPerDay * 40));
    }

    /// <summary>From now to the next run.</summary>
    public TimeSpan NextIn(HealthState state, TimeSpan sinceStart) => state.Status == HealthState.Starting && sinceStart < StartPeriod ? StartInterval : Interval;

    /// <summary>A failure counts unless nothing has succeeded yet and the start period is not over.</summary>
    public HealthState After(HealthState before, HealthcheckResult result, DateTimeOffset startedAt)
    {
        HealthcheckResult[] log = [.. before.Log.TakeLast(KeptResults - 1), result];
        if (result.ExitCode == 0) return new HealthState { Status = HealthState.Healthy, Log = log };
        if (before.Status == HealthState.Starting && result.Start - startedAt < StartPeriod) return before with { Log = log };
        var streak = before.FailingStreak + 1;
        return new HealthState { Status = streak >= Retries ? HealthState.Unhealthy : before.Status, FailingStreak = streak, Log = log };
    }
}
