using System.Runtime.InteropServices;

namespace Berth.Runtime.Monitor;

/// <summary>Everything the monitor needs to start a container. The descriptors in it stay the caller's: they are duplicated on the way.</summary>
public sealed record LaunchRequest
{
    public required string ContainerId { get; init; }

    /// <summary>Directory with the OCI config.json; big things go by file, messages stay small.</summary>
    public required string BundleDirectory { get; init; }

    public required RootFilesystem RootFilesystem { get; init; }

    public LogSettings Log { get; init; } = LogSettings.None;

    /// <summary>A pipe for stdin; without it (and without a terminal) stdin is /dev/null.</summary>
    public bool OpenStdin { get; init; }

    /// <summary>A pseudo terminal as stdin, stdout and stderr, with this size at the start. Must agree with process.terminal of config.json.</summary>
    public TerminalSize? Terminal { get; init; }

    /// <summary>Attachments made before the start: they get the first byte and everything after it.</summary>
    public IReadOnlyList<Attachment> Attachments { get; init; } = [];

    /// <summary>The network namespace to join; null leaves it to config.json (its path, or a new empty one).</summary>
    public SafeHandle? NetworkNamespace { get; init; }
}

/// <summary>A process to add to a running container. The descriptors in it stay the caller's.</summary>
public sealed record ExecRequest
{
    public required string ContainerId { get; init; }

    public required string ExecId { get; init; }

    /// <summary>File with the OCI `process` object (args, env, cwd, user, capabilities, ...), as in `runc exec --process`.</summary>
    public required string ProcessFile { get; init; }

    public bool OpenStdin { get; init; }

    public TerminalSize? Terminal { get; init; }

    public IReadOnlyList<Attachment> Attachments { get; init; } = [];
}

/// <summary>Columns and rows in characters, as TIOCSWINSZ takes them; 0 by 0 means unknown.</summary>
public readonly record struct TerminalSize(ushort Columns, ushort Rows);

/// <summary>Where a container's output is kept.</summary>
/// <param name="Driver">The driver.</param>
/// <param name="Path">Of the newest log file (json-file only); rotated ones get .1, .2, ... behind it.</param>
/// <param name="MaxSizeBytes">A file that reached this size is rotated; null: never.</param>
/// <param name="MaxFiles">How many files are kept, the newest included; at least 1.</param>
/// <param name="Compress">Rotated files are compressed, and have .gz behind their number.</param>
/// <param name="Attributes">A JSON object that is written with each line, at most <see cref="MonitorLimits.LogAttributesBytes"/> in UTF-8; null: none.</param>
public sealed record LogSettings(LogDriver Driver, string? Path, long? MaxSizeBytes = null, int MaxFiles = 1, bool Compress = false, string? Attributes = null)
{
    public static LogSettings None { get; } = new(LogDriver.None, null);
}

public enum LogDriver
{
    None,
    JsonFile,
}
