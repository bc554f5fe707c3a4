using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>A container that is on networks now: what is known of it, and the sockets of its published ports.</summary>
internal sealed class Sandbox(SandboxState state)
{
    private SandboxState state = state;

    /// <summary>Swapped whole, so readers need no lock.</summary>
    internal SandboxState State
    {
        get => Volatile.Read(ref state);
        set => Volatile.Write(ref state, value);
    }

    /// <summary>One change at a time.</summary>
    internal Lock Gate { get; } = new();

    internal BoundPorts? Ports { get; set; }

    /// <summary>It has left: who was waiting for the gate finds nothing.</summary>
    internal bool Gone { get; set; }
}

/// <summary>What the name server and others are told of, in order for each container and before <see cref="NetworkManager"/> answers its caller.</summary>
/// <param name="Namespace">Borrowed for the call; null when the container has none of its own, or when it is not known (a change, a container found running without a process).</param>
public readonly record struct SandboxChange(SandboxChangeKind Kind, SandboxState Sandbox, SafeFileHandle? Namespace);

public enum SandboxChangeKind : byte
{
    /// <summary>Found running by a new daemon, which will open it in a moment: it can be asked for by name already.</summary>
    Named,
    /// <summary>Joined, before its first process exists; or taken over from a former daemon.</summary>
    Opened,
    /// <summary>Connected, disconnected or renamed.</summary>
    Changed,
    /// <summary>Has left all its networks.</summary>
    Closed,
}
