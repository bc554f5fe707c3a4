using System.Buffers.Binary;
using System.Diagnostics;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>
/// The monitor's end of one attachment. What the socket does not take at once (at most one read's worth) is kept here, and while it is, nothing more is read from the process.
/// Lives on the pump's loop.
/// </summary>
internal sealed class OutputAttachment
{
    private const int HeaderBytes = 8;

    private readonly EventLoop _loop;
    private readonly SafeFileHandle _socket;
    private readonly TimeSpan _stall;
    private readonly Action<OutputAttachment, string?> _changed;
    private readonly bool _framed;
    private readonly LoopWatch _watch;
    private byte[] _pending = [];
    private int _pendingStart;
    private LoopTimer? _stallTimer;
    private long _lastProgress;
    private bool _finishing, _gone;

    /// <param name="changed">Called when the attachment has room again (no reason), has delivered everything after <see cref="Finish"/> (no reason) or is gone (reason, or null for a reader that went).</param>
    public OutputAttachment(EventLoop loop, SafeFileHandle socket, bool stdout, bool stderr, StreamFraming framing, TimeSpan stall, Action<OutputAttachment, string?> changed)
    {
        _loop = loop;
        _socket = socket;
        _stall = stall;
        _changed = changed;
        _framed = framing == StreamFraming.Docker;
        Stdout = stdout;
        Stderr = stderr;
        // No events asked for: a reader that goes away is told all the same.
        _watch = loop.Watch(socket, PollEvents.None, OnReady, failure => Close(failure.ToString()));
    }

    public bool Stdout { get; }
    public bool Stderr { get; }

    /// <summary>Waits for its reader.</summary>
    public bool IsBlocked => _pending.Length > 0;

    public bool IsGone => _gone;

    /// <summary>Not to be called while <see cref="IsBlocked"/>.</summary>
    public void Write(bool stderr, ReadOnlySpan<byte> bytes)
    {
        if (_gone || !(stderr ? Stderr : Stdout)) return;
        Span<byte> header = stackalloc byte[HeaderBytes];
        header.Clear();
        header[0] = (byte)(stderr ? 2 : 1);
        BinaryPrimitives.WriteUInt32BigEndian(header[4..], (uint)bytes.Length);
        if (!_framed) header = [];

        var sent = _framed ? UnixSocket.TrySend(_socket, header, bytes, [], wait: false, out var errno) : UnixSocket.TrySend(_socket, bytes, [], [], wait: false, out errno);
        if (sent < 0 && errno != Errno.EAGAIN)
        {
            Close(null); // EPIPE, ECONNRESET: the reader went
            return;
        }
        sent = Math.Max(sent, 0);
        if (sent == header.Length + bytes.Length) return;

        _pending = GC.AllocateUninitializedArray<byte>(header.Length + bytes.Length - sent);
        _pendingStart = 0;
        if (sent < header.Length)
        {
            header[sent..].CopyTo(_pending);
            bytes.CopyTo(_pending.AsSpan(header.Length - sent));
        }
        else
        {
            bytes[(sent - header.Length)..].CopyTo(_pending);
        }
        _watch.Modify(PollEvents.Writable);
        _lastProgress = Stopwatch.GetTimestamp();
        _stallTimer = _loop.After(_stall, OnStall);
    }

    /// <summary>There will be no more: close when everything is delivered.</summary>
    public void Finish()
    {
        _finishing = true;
        if (!IsBlocked) Close(null);
    }

    private void OnReady(PollEvents events)
    {
        if ((events & (PollEvents.HangUp | PollEvents.Error)) != 0 || !IsBlocked)
        {
            Close(null);
            return;
        }
        var sent = UnixSocket.TrySend(_socket, _pending.AsSpan(_pendingStart), [], [], wait: false, out var errno);
        if (sent < 0)
        {
            if (errno != Errno.EAGAIN) Close(null);
            return;
        }
        _pendingStart += sent;
        _lastProgress = Stopwatch.GetTimestamp();
        if (_pendingStart < _pending.Length) return;
        _pending = [];
        _stallTimer?.Dispose();
        if (_finishing)
        {
            Close(null);
            return;
        }
        _watch.Modify(PollEvents.None);
        _changed(this, null);
    }

    private void OnStall()
    {
        if (_gone) return;
        var idle = Stopwatch.GetElapsedTime(_lastProgress);
        if (idle < _stall)
        {
            _stallTimer = _loop.After(_stall - idle, OnStall);
            return;
        }
        Close($"an attached reader took nothing for {_stall.TotalSeconds:0.#} s and was dropped");
    }

    private void Close(string? reason)
    {
        if (_gone) return;
        _gone = true;
        _pending = [];
        _stallTimer?.Dispose();
        _watch.Dispose();
        UnixSocket.ShutdownWrites(_socket); // end of file even if a duplicate of this end is still about
        _socket.Dispose();
        _changed(this, reason);
    }
}
