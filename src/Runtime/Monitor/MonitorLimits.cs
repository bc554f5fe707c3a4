namespace Berth.Runtime.Monitor;

/// <summary>Every bound of the monitor and its protocol, in one place.</summary>
public static class MonitorLimits
{
    /// <summary>Largest message in bytes: fits a Launch with 127 lower directories with long names, and half of the default socket buffer.</summary>
    public const int MessageBytes = 96 * 1024;

    /// <summary>Descriptors with one message: those of a process (5 and <see cref="KeptPerProcess"/>), a namespace and <see cref="AttachmentsPerMessage"/>; the kernel allows 253.</summary>
    public const int DescriptorsPerMessage = 24;

    /// <summary>Attributes of a container's log lines: a part of a message, and of each line.</summary>
    public const int LogAttributesBytes = 16 * 1024;

    /// <summary>Attachments that can be given with a Launch or Exec.</summary>
    public const int AttachmentsPerMessage = 16;

    /// <summary>Descriptors kept for the daemon beside a process.</summary>
    public const int KeptPerProcess = 2;

    /// <summary>Attachments to one process at a time.</summary>
    public const int AttachmentsPerProcess = 256;

    /// <summary>Processes, running or not yet acknowledged. Each takes up to 8 descriptors in monitor and daemon.</summary>
    public const int Processes = 20_000;

    /// <summary>A reader that takes no byte for this long while the container waits for it is dropped.</summary>
    public static readonly TimeSpan AttachmentStall = TimeSpan.FromSeconds(30);

    /// <summary>How long output is awaited after the end of a process while something else (a daemonised grandchild) keeps the pipe open; Docker's figure.</summary>
    public static readonly TimeSpan OutputGrace = TimeSpan.FromSeconds(2);

    /// <summary>A monitor with no process, no unacknowledged exit and no daemon ends by itself after this time.</summary>
    public static readonly TimeSpan IdleExit = TimeSpan.FromSeconds(10);
}
