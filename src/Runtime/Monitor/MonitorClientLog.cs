using Microsoft.Extensions.Logging;

namespace Berth.Runtime.Monitor;

internal static partial class MonitorClientLog
{
    [LoggerMessage(200, LogLevel.Information, "connected to the monitor, pid {Pid}: {Processes} processes, {Exits} exits to acknowledge")]
    public static partial void Connected(this ILogger logger, int pid, int processes, int exits);

    [LoggerMessage(201, LogLevel.Information, "started a monitor: {Path}")]
    public static partial void Started(this ILogger logger, string path);

    [LoggerMessage(202, LogLevel.Warning, "the monitor, pid {Pid}, has died; another is started and gets {Processes} processes")]
    public static partial void Died(this ILogger logger, int pid, int processes);

    [LoggerMessage(203, LogLevel.Error, "process {Key} could not be handed to the new monitor: {Reason}")]
    public static partial void NotAdopted(this ILogger logger, ProcessKey key, string reason);

    [LoggerMessage(204, LogLevel.Error, "no monitor can be started; trying again: {Reason}")]
    public static partial void CannotStart(this ILogger logger, string reason);

    [LoggerMessage(205, LogLevel.Critical, "another daemon has taken over the monitor; this one can do nothing any more")]
    public static partial void Replaced(this ILogger logger);

    [LoggerMessage(206, LogLevel.Warning, "the connection to the monitor was lost, but it runs; connecting again")]
    public static partial void Reconnecting(this ILogger logger);

    [LoggerMessage(207, LogLevel.Warning, "clean-up after the last monitor's unfinished launch of {ContainerId}: {Reason}")]
    public static partial void NotDiscarded(this ILogger logger, string containerId, string reason);

    [LoggerMessage(208, LogLevel.Error, "what the monitor said was not understood; connecting again")]
    public static partial void ReceiverFailed(this ILogger logger, Exception exception);
}
