using Berth.Linux;

namespace Berth.Runtime;

/// <summary>What kept a process from starting, for callers that branch; Docker's client exits with 127 for the first, 126 for the next ones.</summary>
public enum LaunchErrorKind
{
    /// <summary>Not in $PATH, or the absolute path is missing (or the interpreter of a script is).</summary>
    ExecutableNotFound,
    PermissionDenied,
    IsDirectory,
    /// <summary>Not an executable of this machine: ENOEXEC.</summary>
    ExecFormat,
    /// <summary>The working directory is missing, not a directory, or not to be entered.</summary>
    WorkingDirectory,
    /// <summary>A mount of the spec: source missing, file over directory, …</summary>
    Mount,
    /// <summary>The spec asks for something we do not have or that contradicts itself.</summary>
    InvalidSpec,
    /// <summary>The container to join is gone.</summary>
    NoSuchContainer,
    /// <summary>Any other step.</summary>
    Other,
}

/// <summary>
/// A container or exec process could not be started; nothing is left of it. <see cref="Exception.Message"/> is worded as runc's error under Docker
/// (`failed to create task for container: …`), since Docker's clients read it.
/// </summary>
public sealed class LaunchException(LaunchErrorKind kind, string message, Errno errno = Errno.Success, int stepIndex = -1, string? step = null, Exception? inner = null)
    : Exception(message, inner)
{
    public LaunchErrorKind Kind { get; } = kind;

    public Errno Errno { get; } = errno;

    /// <summary>Index into the plan's steps, -1 if the failure came before any.</summary>
    public int StepIndex { get; } = stepIndex;

    /// <summary>The step as the plan prints it.</summary>
    public string? Step { get; } = step;
}
