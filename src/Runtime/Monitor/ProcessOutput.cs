using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>What all outputs of one pump share: the loop and the buffers, so that an idle container costs none.</summary>
internal sealed class PumpContext(EventLoop loop, TimeProvider clock, TimeSpan attachmentStall, TimeSpan outputGrace)
{
    /// <summary>One read's worth, and with that the most an attachment keeps for a slow reader.</summary>
    public const int ReadBytes = 256 * 1024;

    private const int LogBytes = 512 * 1024;

    public EventLoop Loop { get; } = loop;
    public TimeProvider Clock { get; } = clock;
    public TimeSpan AttachmentStall { get; } = attachmentStall;
    public TimeSpan OutputGrace { get; } = outputGrace;
    public byte[] ReadBuffer { get; } = GC.AllocateUninitializedArray<byte>(ReadBytes);
    public byte[] LogBuffer { get; } = GC.AllocateUninitializedArray<byte>(LogBytes);
}

/// <summary>
/// The output of one process on its way to log and attachments. Lives on the pump's loop; owns the read ends and the log file.
/// </summary>
internal sealed class ProcessOutput
{
    private const int DefaultPipeBytes = 64 * 1024, LargePipeBytes = 1024 * 1024;

    private readonly PumpContext _context;
    private readonly string _name;
    private readonly JsonLogFile? _log;
    private readonly Action<string?> _finished;
    private readonly OutputStream?[] _streams;
    private readonly List<OutputAttachment> _attachments = [];
    private LoopTimer? _grace;
    private int _open;
    private bool _blocked, _processEnded, _delivered, _reported;
    private string? _error;

    /// <param name="stdout">Null, as <paramref name="stderr"/>, where it has ended already or (stderr) a terminal has none.</param>
    /// <param name="log">Null: not logged.</param>
    /// <param name="finished">Called once, with what went wrong if anything: the process has ended, its output is in the log and with the attachments.</param>
    public ProcessOutput(PumpContext context, string name, SafeFileHandle? stdout, SafeFileHandle? stderr, JsonLogFile? log, Action<string?> finished)
    {
        _context = context;
        _name = name;
        _log = log;
        _finished = finished;
        _streams = [stdout is null ? null : new OutputStream(stdout, false), stderr is null ? null : new OutputStream(stderr, true)];
    }

    public void Start()
    {
        foreach (var stream in _streams)
        {
            if (stream is null) continue;
            _open++;
            Resume(stream);
        }
        if (_open == 0) Delivered();
    }

    /// <summary>Copies to <paramref name="socket"/> from now on; end of file at once if there is no more to come.</summary>
    public void Attach(SafeFileHandle socket, bool stdout, bool stderr, StreamFraming framing)
    {
        if (_delivered || _attachments.Count >= MonitorLimits.AttachmentsPerProcess)
        {
            UnixSocket.ShutdownWrites(socket);
            socket.Dispose();
            return;
        }
        _attachments.Add(new OutputAttachment(_context.Loop, socket, stdout, stderr, framing, _context.AttachmentStall, OnAttachmentChanged));
    }

    /// <summary>The process is gone; what others that hold its pipes may still write is awaited for a while only.</summary>
    public void ProcessEnded()
    {
        _processEnded = true;
        if (!TryReport()) _grace = _context.Loop.After(_context.OutputGrace, OnGraceOver);
    }

    private void OnReady(OutputStream stream)
    {
        var buffer = _context.ReadBuffer;
        var count = Descriptor.TryRead(stream.Descriptor, buffer, out var errno);
        if (count < 0 && errno is Errno.EAGAIN) return;
        if (count <= 0)
        {
            // EIO is how a terminal says that nobody has it open any more.
            if (count < 0 && errno != Errno.EIO) _error ??= $"read of {_name}'s output: {errno} ({errno.Describe()})";
            Close(stream);
            return;
        }
        if (count == DefaultPipeBytes && !stream.Enlarged)
        {
            // The pipe was full: one that is never does not need more.
            stream.Enlarged = true;
            Descriptor.TrySetPipeSize(stream.Descriptor, LargePipeBytes);
        }
        Deliver(stream, buffer.AsSpan(0, count));
    }

    private void Deliver(OutputStream stream, ReadOnlySpan<byte> bytes)
    {
        if (_delivered) return; // read on so that whoever still has the pipe is not stopped by it
        if (_log is not null)
        {
            _log.Append(stream.Line, bytes);
            NoteLogError();
        }
        for (var i = _attachments.Count - 1; i >= 0; i--) _attachments[i].Write(stream.Line.Stderr, bytes);
        UpdateBlocked();
    }

    private void OnAttachmentChanged(OutputAttachment attachment, string? reason)
    {
        if (reason is not null) Journal.Write($"{_name}: {reason}");
        if (attachment.IsGone) _attachments.Remove(attachment);
        UpdateBlocked();
        TryReport();
    }

    private void UpdateBlocked()
    {
        var blocked = false;
        foreach (var attachment in _attachments) blocked |= attachment.IsBlocked;
        if (_delivered) blocked = false;
        if (blocked == _blocked) return;
        _blocked = blocked;
        foreach (var stream in _streams)
        {
            if (stream is null or { Closed: true }) continue;
            if (blocked) Pause(stream);
            else Resume(stream);
        }
    }

    // Taken out of epoll rather than asked for no events: a hang-up would be told all the time.
    private static void Pause(OutputStream stream)
    {
        stream.Watch?.Dispose();
        stream.Watch = null;
    }

    private void Resume(OutputStream stream) =>
        stream.Watch ??= _context.Loop.Watch(stream.Descriptor, PollEvents.Readable, _ => OnReady(stream), failure =>
        {
            Journal.Write($"bug: {_name}: {failure}");
            Close(stream);
        });

    private void Close(OutputStream stream)
    {
        if (stream.Closed) return;
        stream.Closed = true;
        Pause(stream);
        stream.Descriptor.Dispose();
        if (_log is not null && !_delivered)
        {
            _log.Finish(stream.Line);
            NoteLogError();
        }
        if (--_open == 0) Delivered();
    }

    private void Delivered()
    {
        if (_delivered) return;
        _delivered = true;
        foreach (var stream in _streams)
        {
            if (stream is not null) _log?.Finish(stream.Line);
        }
        NoteLogError();
        _log?.Dispose();
        foreach (var attachment in _attachments.ToArray()) attachment.Finish();
        UpdateBlocked();
        TryReport();
    }

    private void OnGraceOver()
    {
        if (_reported) return;
        try
        {
            Delivered();
        }
        finally
        {
            TryReport(force: true); // whatever is wrong with the output, the end has to be told
        }
    }

    private bool TryReport(bool force = false)
    {
        if (_reported) return true;
        if (!_processEnded || !_delivered || (_attachments.Count > 0 && !force)) return false;
        _reported = true;
        _grace?.Dispose();
        _finished(_error);
        return true;
    }

    private void NoteLogError()
    {
        if (_log?.TakeError() is not { } error) return;
        if (_error is null) Journal.Write($"{_name}: {error}");
        _error ??= error;
    }

    private sealed class OutputStream(SafeFileHandle descriptor, bool stderr)
    {
        public SafeFileHandle Descriptor { get; } = descriptor;
        public LogLine Line { get; } = new(stderr);
        public LoopWatch? Watch { get; set; }
        public bool Enlarged { get; set; }
        public bool Closed { get; set; }
    }
}
