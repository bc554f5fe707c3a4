namespace Berth.Runtime.Monitor;

/// <summary>Why the monitor refused or failed.</summary>
public enum MonitorError
{
    /// <summary>The launch failed on our side: a bad spec, a kernel call that failed. Docker's exit code 125 or 128.</summary>
    LaunchFailed,

    /// <summary>The executable does not exist in the container: exit code 127.</summary>
    ExecutableNotFound,

    /// <summary>The executable is there but can't be run (not executable, a directory, wrong format): exit code 126.</summary>
    ExecutableNotRunnable,

    /// <summary>There is no such process, or it has ended.</summary>
    NoSuchProcess,

    /// <summary>A process of this key runs, or its exit was not yet acknowledged.</summary>
    KeyInUse,

    /// <summary>The request breaks a limit or contradicts itself.</summary>
    BadRequest,

    /// <summary>A kernel call failed after the start (signal, freeze, limits).</summary>
    Failed,

    /// <summary>The monitor died before it answered. Running processes are handed to the next one; whether a launch under way was done is told by <see cref="MonitorClient.Processes"/>.</summary>
    MonitorLost,
}

/// <summary>The monitor's answer to a request it could not fulfil. The message is meant for the user, in the words of the layer that failed.</summary>
public sealed class MonitorException(MonitorError error, string message, Exception? inner = null) : Exception(message, inner)
{
    public MonitorError Error { get; } = error;
}
