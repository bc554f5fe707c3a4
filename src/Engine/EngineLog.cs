using Microsoft.Extensions.Logging;

namespace Berth.Engine;

/// <summary>Every message of the engine, in one place: the operator's index.</summary>
internal static partial class EngineLog
{
    [LoggerMessage(1, LogLevel.Warning, "{File} can't be read and is left alone: {Reason}")]
    public static partial void UnreadableFile(this ILogger logger, string file, string reason);

    [LoggerMessage(2, LogLevel.Information, "swept what an interrupted create of {ContainerId} left")]
    public static partial void SweptHalfMade(this ILogger logger, string containerId);

    [LoggerMessage(3, LogLevel.Information, "adopted the running container {ContainerId}, pid {Pid}")]
    public static partial void Adopted(this ILogger logger, string containerId, int pid);

    [LoggerMessage(4, LogLevel.Warning, "container {ContainerId} was running and is gone without a trace; its exit code is taken as {ExitCode}")]
    public static partial void Lost(this ILogger logger, string containerId, int exitCode);

    [LoggerMessage(5, LogLevel.Warning, "the monitor runs {Process}, which no container owns: killed")]
    public static partial void KilledOrphan(this ILogger logger, string process);

    [LoggerMessage(6, LogLevel.Error, "the end of {Process} could not be recorded")]
    public static partial void ExitNotRecorded(this ILogger logger, string process, Exception exception);

    [LoggerMessage(7, LogLevel.Error, "container {ContainerId} could not be removed automatically")]
    public static partial void AutoRemoveFailed(this ILogger logger, string containerId, Exception exception);

    [LoggerMessage(8, LogLevel.Warning, "restart of container {ContainerId} failed: {Reason}")]
    public static partial void RestartFailed(this ILogger logger, string containerId, string reason);

    [LoggerMessage(9, LogLevel.Information, "container {ContainerId} did not end within {Seconds} s of signal {Signal}: killing it")]
    public static partial void StopTimedOut(this ILogger logger, string containerId, double seconds, int signal);

    [LoggerMessage(10, LogLevel.Warning, "cleaning up after container {ContainerId}: {What} failed")]
    public static partial void CleanupFailed(this ILogger logger, string containerId, string what, Exception exception);

    [LoggerMessage(11, LogLevel.Information, "recovered {Containers} containers, {Running} of them running, in {Milliseconds} ms")]
    public static partial void Recovered(this ILogger logger, int containers, int running, double milliseconds);

    [LoggerMessage(12, LogLevel.Warning, "the trash {Path} can't be emptied now; the next start tries again")]
    public static partial void TrashKept(this ILogger logger, string path);

    [LoggerMessage(13, LogLevel.Debug, "attachment to {ContainerId} ended: {Reason}")]
    public static partial void AttachmentEnded(this ILogger logger, string containerId, string reason);

    [LoggerMessage(14, LogLevel.Warning, "container {ContainerId}: {Problem}")]
    public static partial void ExitProblem(this ILogger logger, string containerId, string problem);

    [LoggerMessage(15, LogLevel.Warning, "cgroup {Cgroup} belongs to no container: removed")]
    public static partial void SweptCgroup(this ILogger logger, string cgroup);

    [LoggerMessage(40, LogLevel.Warning, "sampling a container: {Problem}")]
    public static partial void StatsFailed(this ILogger logger, string problem);

    [LoggerMessage(16, LogLevel.Error, "the health checks of container {ContainerId} have stopped")]
    public static partial void HealthChecksEnded(this ILogger logger, string containerId, Exception exception);

    [LoggerMessage(17, LogLevel.Information, "container {ContainerId} is unhealthy and is started again, as its label asks")]
    public static partial void Unhealthy(this ILogger logger, string containerId);

    [LoggerMessage(41, LogLevel.Warning, "container {ContainerId}: its log can't be delivered to {Driver} and waits: {Reason}")]
    public static partial void LogWaits(this ILogger logger, string containerId, string driver, string reason);

    [LoggerMessage(42, LogLevel.Information, "container {ContainerId}: its log is delivered to {Driver} again")]
    public static partial void LogDelivered(this ILogger logger, string containerId, string driver);

    [LoggerMessage(43, LogLevel.Warning, "container {ContainerId}: log lines were rotated away before they could be delivered to {Driver}; those after {Time} follow")]
    public static partial void LogLinesLost(this ILogger logger, string containerId, string driver, string time);

    [LoggerMessage(44, LogLevel.Error, "container {ContainerId}: its log is no longer delivered to {Driver}")]
    public static partial void LogShippingFailed(this ILogger logger, string containerId, string driver, Exception exception);

    [LoggerMessage(45, LogLevel.Warning, "container {ContainerId} is removed and its log to {Driver} was not delivered to the end: {Reason}")]
    public static partial void LogAbandoned(this ILogger logger, string containerId, string driver, string reason);

    [LoggerMessage(60, LogLevel.Warning, "container {ContainerId} was not stopped before the machine goes down: {Problem}")]
    public static partial void NotStopped(this ILogger logger, string containerId, string problem);

    [LoggerMessage(80, LogLevel.Debug, "container {ContainerId}: the sockets of its name service are not kept by the monitor: {Reason}")]
    public static partial void NameSocketsNotKept(this ILogger logger, string containerId, string reason);
}
