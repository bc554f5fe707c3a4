namespace Berth.Runtime.Monitor;

/// <summary>
/// Names one process the monitor looks after: a container's first process (<see cref="ExecId"/> null) or one added to it by exec.
/// At most one process per key is known at a time; a container is launched anew only after its last exit was acknowledged.
/// </summary>
public readonly record struct ProcessKey(string ContainerId, string? ExecId = null)
{
    /// <summary>The container's first process, as opposed to an exec.</summary>
    public bool IsContainer => ExecId is null;

    public override string ToString() => ExecId is null ? ContainerId : $"{ContainerId}/{ExecId}";
}
