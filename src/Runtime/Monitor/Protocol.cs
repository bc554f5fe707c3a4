using System.Text.Json;
using System.Text.Json.Serialization;

namespace Berth.Runtime.Monitor;

// One JSON object per SEQPACKET message. Exactly one member besides Seq is set. The monitor outlives the daemon and so speaks to later versions of it:
// members are only ever added, and unknown ones are ignored; what can't be done that way needs a new Hello.Version.

/// <summary>Daemon to monitor. Descriptors that travel with it are named at each member, in order.</summary>
internal sealed record Request
{
    public const int Version = 1;

    /// <summary>Repeated in the answer; 0: none is wanted.</summary>
    public int Seq { get; init; }

    /// <summary>First message of a connection; whoever was connected before is cut off. Answered by Welcome, one Process per process, one Exit per unacknowledged exit, Listed.</summary>
    public HelloMessage? Hello { get; init; }

    /// <summary>Descriptors: the network namespace if HasNetwork, then the attachments.</summary>
    public LaunchMessage? Launch { get; init; }

    /// <summary>Descriptors: the attachments.</summary>
    public ExecMessage? Exec { get; init; }

    public SignalMessage? Signal { get; init; }
    public ProcessKey? CloseStdin { get; init; }

    /// <summary>Descriptor: the attachment.</summary>
    public AttachMessage? Attach { get; init; }

    /// <summary>Descriptors: what the process is to keep from now on, instead of what it kept before.</summary>
    public ProcessKey? Keep { get; init; }

    public string? KillAll { get; init; }
    public string? Pause { get; init; }
    public string? Resume { get; init; }
    public AckMessage? Ack { get; init; }

    /// <summary>From the daemon's books to a fresh monitor. Descriptors: pidfd, then those that the flags name.</summary>
    public ProcessMessage? Adopt { get; init; }

    /// <summary>Kills and removes a cgroup whose launch was under way when the last monitor died.</summary>
    public string? DiscardCgroup { get; init; }

    /// <summary>End if nothing runs; answered with Stopping then.</summary>
    public bool Shutdown { get; init; }

    /// <summary>Answered with Memory, after a collection.</summary>
    public bool Measure { get; init; }
}

/// <summary>Monitor to daemon.</summary>
internal sealed record Response
{
    /// <summary>Of the request answered; 0 for Welcome, Process, Exit and Listed.</summary>
    public int Seq { get; init; }

    public WelcomeMessage? Welcome { get; init; }

    /// <summary>With Seq the answer to Launch and Exec. Descriptors: pidfd, then those that the flags name.</summary>
    public ProcessMessage? Process { get; init; }

    public ExitMessage? Exit { get; init; }
    public bool Listed { get; init; }

    /// <summary>Another daemon has connected: do not come back.</summary>
    public bool Replaced { get; init; }

    /// <summary>The answer to Shutdown, if nothing keeps the monitor.</summary>
    public bool Stopping { get; init; }

    /// <summary>The answer to Measure.</summary>
    public MonitorMemory? Memory { get; init; }

    public ErrorMessage? Error { get; init; }
}

internal sealed record HelloMessage(int Version);

internal sealed record WelcomeMessage(int Version, int Pid);

internal sealed record LaunchMessage
{
    public required string ContainerId { get; init; }
    public required string BundleDirectory { get; init; }
    public required RootFilesystem RootFilesystem { get; init; }
    public required LogSettings Log { get; init; }
    public bool OpenStdin { get; init; }
    public TerminalSize? Terminal { get; init; }
    public AttachmentMessage[] Attachments { get; init; } = [];
    public bool HasNetwork { get; init; }
}

internal sealed record ExecMessage
{
    public required ProcessKey Key { get; init; }
    public required string ProcessFile { get; init; }
    public bool OpenStdin { get; init; }
    public TerminalSize? Terminal { get; init; }
    public AttachmentMessage[] Attachments { get; init; } = [];
}

internal sealed record AttachmentMessage(bool Stdout, bool Stderr, StreamFraming Framing);

internal sealed record AttachMessage(ProcessKey Key, AttachmentMessage Attachment);

internal sealed record SignalMessage(ProcessKey Key, int Signal);

internal sealed record AckMessage(ProcessKey Key, int Pid);

internal sealed record ProcessMessage
{
    public required ProcessKey Key { get; init; }
    public required int Pid { get; init; }
    public required DateTimeOffset Started { get; init; }
    public required LogSettings Log { get; init; }

    /// <summary>Of config.json, for exec.</summary>
    public required string BundleDirectory { get; init; }

    public required string CgroupPath { get; init; }
    public bool Paused { get; init; }

    // Which descriptors follow the pidfd, in this order. Stdout and stderr only while they are open.
    public bool HasStdin { get; init; }
    public bool HasTerminal { get; init; }
    public bool HasStdout { get; init; }
    public bool HasStderr { get; init; }

    /// <summary>How many follow that are kept for the daemon.</summary>
    public int Kept { get; init; }
}

internal sealed record ExitMessage(ProcessKey Key, int Pid, int ExitCode, bool OomKilled, DateTimeOffset Time, string? Error);

/// <summary>What a monitor holds: what is alive on its heap, and the processes it knows.</summary>
public sealed record MonitorMemory(long LiveBytes, int Processes);

internal sealed record ErrorMessage(MonitorError Error, string Message);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
[JsonSerializable(typeof(Request))]
[JsonSerializable(typeof(Response))]
internal sealed partial class ProtocolJson : JsonSerializerContext;

/// <summary>Messages as bytes.</summary>
internal static class Wire
{
    /// <exception cref="MonitorException">BadRequest: longer than <see cref="MonitorLimits.MessageBytes"/>.</exception>
    public static byte[] Write(Request request) => Limit(JsonSerializer.SerializeToUtf8Bytes(request, ProtocolJson.Default.Request));

    public static byte[] Write(Response response) => Limit(JsonSerializer.SerializeToUtf8Bytes(response, ProtocolJson.Default.Response));

    /// <exception cref="JsonException">No request.</exception>
    public static Request ReadRequest(ReadOnlySpan<byte> message) => JsonSerializer.Deserialize(message, ProtocolJson.Default.Request) ?? throw new JsonException("null");

    /// <exception cref="JsonException">No response.</exception>
    public static Response ReadResponse(ReadOnlySpan<byte> message) => JsonSerializer.Deserialize(message, ProtocolJson.Default.Response) ?? throw new JsonException("null");

    private static byte[] Limit(byte[] message) => message.Length <= MonitorLimits.MessageBytes
        ? message
        : throw new MonitorException(MonitorError.BadRequest, $"a message of {message.Length} bytes; {MonitorLimits.MessageBytes} are the limit");
}
