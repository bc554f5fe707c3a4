using System.Buffers.Binary;

namespace Berth.Api.Grpc;

/// <summary>
/// HTTP/2 on one connection, from either side: as much of RFC 9113 as gRPC needs. One loop reads and never waits for writing, one writes: two sides that both send much cannot
/// wait for each other. What is sent waits for the other side's windows; what comes is bounded by ours.
/// </summary>
internal sealed class Http2Connection : IDisposable
{
    /// <summary>What the other side may send on one stream ahead of its being read: a build's context is sent as fast as it comes.</summary>
    public const int StreamWindowBytes = 4 << 20;

    /// <summary>The same of all streams. Given back on arrival: a stream that nobody reads does not stop the others.</summary>
    public const int ConnectionWindowBytes = 16 << 20;

    /// <summary>Streams that the other side may have open at a time.</summary>
    public const int MaxStreams = 256;

    /// <summary>Of the headers of one stream, which hold a context's patterns.</summary>
    public const int MaxHeaderBytes = 1 << 20;

    private const int DefaultWindowBytes = 65_535, MaxWindowBytes = int.MaxValue;
    private const int FrameHeadBytes = 9, MaxFrameBytes = 16 * 1024;

    // What may wait to be written before senders wait, and before a side that asks but does not read is given up.
    private const int MaxWaitingBytes = 256 * 1024, MaxUnreadBytes = 4 << 20;

    private const int SettingEnablePush = 2, SettingMaxStreams = 3, SettingInitialWindow = 4, SettingMaxHeaderBytes = 6;

    private static ReadOnlySpan<byte> Preface => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8;

    private readonly Stream _stream;
    private readonly Action<Http2Stream>? _accept;
    private readonly Lock _gate = new();
    private readonly Dictionary<int, Http2Stream> _streams = [];
    private readonly HpackDecoder _hpack = new();
    private readonly CancellationTokenSource _closed = new();
    private readonly SemaphoreSlim _toWrite = new(0, 1);
    private byte[] _waiting = new byte[MaxFrameBytes], _writing = new byte[MaxFrameBytes];
    private int _waitingCount;
    private TaskCompletionSource? _changed;
    private Http2Exception? _failure;
    private long _sendWindow = DefaultWindowBytes, _initialSendWindow = DefaultWindowBytes;
    private int _uncredited, _nextId, _lastAccepted;
    private bool _goingAway;

    // A header block on its way, and of which stream.
    private readonly List<byte> _block = [];
    private int _blockStream;
    private bool _blockEndsStream;

    /// <param name="stream">Belongs to the connection from now on.</param>
    /// <param name="accept">Makes this the server's side: is given each stream that the client opens, from the loop that reads; it must not block.</param>
    public Http2Connection(Stream stream, Action<Http2Stream>? accept = null)
    {
        (_stream, _accept, _nextId) = (stream, accept, accept is null ? 1 : 2);
        if (accept is null) Append(Preface);
        Span<byte> settings = stackalloc byte[24];
        var count = 0;
        count += Setting(settings[count..], SettingInitialWindow, StreamWindowBytes);
        count += Setting(settings[count..], SettingMaxHeaderBytes, MaxHeaderBytes);
        count += accept is null ? Setting(settings[count..], SettingEnablePush, 0) : Setting(settings[count..], SettingMaxStreams, MaxStreams);
        AppendFrame(FrameType.Settings, FrameFlags.None, 0, settings[..count]);
        AppendNumber(FrameType.WindowUpdate, 0, ConnectionWindowBytes - DefaultWindowBytes);
        Ended = Task.WhenAll(Task.Run(ReadLoopAsync), Task.Run(WriteLoopAsync));
    }

    /// <summary>Fires when the connection is over.</summary>
    public CancellationToken Closed => _closed.Token;

    /// <summary>Both loops have ended.</summary>
    public Task Ended { get; }

    /// <exception cref="Http2Exception">The connection is over, or ending.</exception>
    public Http2Stream Open(IEnumerable<(string Name, string Value)> headers)
    {
        lock (_gate)
        {
            if (_failure is not null) throw new Http2Exception(_failure.Error, _failure.Message, _failure);
            if (_goingAway) throw new Http2Exception(Http2Error.RefusedStream, "the other side is ending the connection");
            var stream = new Http2Stream(this, _nextId, _initialSendWindow);
            _nextId += 2;
            _streams.Add(stream.Id, stream);
            AppendHeaders(stream, headers, end: false);
            return stream;
        }
    }

    public void Dispose() => End(new Http2Exception(Http2Error.Cancel, "the connection is closed"));

    // ---- sending; all under the lock

    internal void SendHeaders(Http2Stream stream, IEnumerable<(string Name, string Value)> headers, bool end)
    {
        lock (_gate)
        {
            if (stream.Failure is not null || stream.LocalEnded) return; // whoever reads or writes is told
            AppendHeaders(stream, headers, end);
            if (end) EndLocal(stream);
        }
    }

    internal async ValueTask SendAsync(Http2Stream stream, ReadOnlyMemory<byte> data, bool end, CancellationToken cancellation)
    {
        while (true)
        {
            Task changed;
            lock (_gate)
            {
                if (stream.Failure is { } failure) throw new Http2Exception(failure.Error, failure.Message, failure);
                if (stream.LocalEnded) return;
                while (_waitingCount < MaxWaitingBytes)
                {
                    var count = (int)Math.Min(Math.Min(data.Length, MaxFrameBytes), Math.Max(0, Math.Min(stream.SendWindow, _sendWindow)));
                    if (count == 0 && data.Length > 0) break;
                    var last = count == data.Length;
                    if (count > 0 || end) AppendFrame(FrameType.Data, last && end ? FrameFlags.EndStream : FrameFlags.None, stream.Id, data.Span[..count]);
                    stream.SendWindow -= count;
                    _sendWindow -= count;
                    data = data[count..];
                    if (!last) continue;
                    if (end) EndLocal(stream);
                    return;
                }
                changed = (_changed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
            }
            await changed.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    internal void Reset(Http2Stream stream, Http2Error error)
    {
        lock (_gate)
        {
            if (stream.Failure is not null || (stream.LocalEnded && stream.RemoteEnded)) return;
            AppendNumber(FrameType.Reset, stream.Id, (int)error);
            FailStream(stream, new Http2Exception(error, "the call is ended"));
        }
    }

    internal void Credit(Http2Stream stream, int bytes)
    {
        lock (_gate)
        {
            stream.Uncredited += bytes;
            if (stream.Uncredited < StreamWindowBytes / 4 || stream.RemoteEnded || stream.Failure is not null) return;
            AppendNumber(FrameType.WindowUpdate, stream.Id, stream.Uncredited);
            stream.Unconsumed -= stream.Uncredited;
            stream.Uncredited = 0;
        }
    }

    private void AppendHeaders(Http2Stream stream, IEnumerable<(string Name, string Value)> headers, bool end)
    {
        ReadOnlySpan<byte> block = Hpack.Encode(headers);
        for (var type = FrameType.Headers; ; type = FrameType.Continuation)
        {
            var part = block[..Math.Min(block.Length, MaxFrameBytes)];
            block = block[part.Length..];
            AppendFrame(type, (block.IsEmpty ? FrameFlags.EndHeaders : FrameFlags.None) | (end && type == FrameType.Headers ? FrameFlags.EndStream : FrameFlags.None), stream.Id, part);
            if (block.IsEmpty) return;
        }
    }

    private void AppendNumber(FrameType type, int stream, int number)
    {
        Span<byte> payload = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(payload, number);
        AppendFrame(type, FrameFlags.None, stream, payload);
    }

    private void AppendFrame(FrameType type, FrameFlags flags, int stream, ReadOnlySpan<byte> payload)
    {
        Span<byte> head = stackalloc byte[FrameHeadBytes];
        BinaryPrimitives.WriteInt32BigEndian(head, payload.Length << 8 | (int)type);
        head[4] = (byte)flags;
        BinaryPrimitives.WriteInt32BigEndian(head[5..], stream);
        Append(head);
        Append(payload);
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        if (_waitingCount + bytes.Length > _waiting.Length) Array.Resize(ref _waiting, Math.Max(_waiting.Length * 2, _waitingCount + bytes.Length));
        bytes.CopyTo(_waiting.AsSpan(_waitingCount));
        _waitingCount += bytes.Length;
        if (_toWrite.CurrentCount == 0) _toWrite.Release();
    }

    private static int Setting(Span<byte> into, int id, int value)
    {
        BinaryPrimitives.WriteInt16BigEndian(into, (short)id);
        BinaryPrimitives.WriteInt32BigEndian(into[2..], value);
        return 6;
    }

    private async Task WriteLoopAsync()
    {
        try
        {
            while (true)
            {
                await _toWrite.WaitAsync(Closed).ConfigureAwait(false);
                int count;
                lock (_gate)
                {
                    (_waiting, _writing) = (_writing, _waiting);
                    (count, _waitingCount) = (_waitingCount, 0);
                }
                if (count == 0) continue;
                await _stream.WriteAsync(_writing.AsMemory(0, count), Closed).ConfigureAwait(false);
                await _stream.FlushAsync(Closed).ConfigureAwait(false);
                lock (_gate) TellChanged();
            }
        }
        catch (Exception e)
        {
            End(new Http2Exception(Http2Error.InternalError, "the connection is over: " + e.Message, e));
        }
    }

    private void TellChanged()
    {
        _changed?.SetResult();
        _changed = null;
    }

    // ---- ends; all under the lock but the first

    private void End(Http2Exception failure)
    {
        lock (_gate)
        {
            if (_failure is not null) return;
            _failure = failure;
            foreach (var stream in _streams.Values)
            {
                stream.Failure ??= failure;
                ThreadPool.UnsafeQueueUserWorkItem(static s => s.Stream.Fail(s.failure), (Stream: stream, failure), preferLocal: false);
            }
            _streams.Clear();
            TellChanged();
        }
        _closed.Cancel();
        _stream.Dispose();
    }

    private void FailStream(Http2Stream stream, Http2Exception failure)
    {
        stream.Failure = failure;
        _streams.Remove(stream.Id);
        TellChanged();
        // Those who wait for its token may do anything, but not under our lock.
        ThreadPool.UnsafeQueueUserWorkItem(static s => s.Stream.Fail(s.failure), (Stream: stream, failure), preferLocal: false);
    }

    private void EndLocal(Http2Stream stream)
    {
        stream.LocalEnded = true;
        if (stream.RemoteEnded) _streams.Remove(stream.Id);
    }

    private void EndRemote(Http2Stream stream)
    {
        stream.RemoteEnded = true;
        stream.TakeEnd();
        if (stream.LocalEnded) _streams.Remove(stream.Id);
    }

    // ---- receiving

    private async Task ReadLoopAsync()
    {
        var buffer = new byte[64 * 1024];
        var (from, to) = (0, 0);
        try
        {
            if (_accept is not null)
            {
                if (!await FillAsync(Preface.Length).ConfigureAwait(false)) throw Broken("the connection ended before it began");
                if (!buffer.AsSpan(0, Preface.Length).SequenceEqual(Preface)) throw Broken("this is not HTTP/2");
                from = Preface.Length;
            }
            while (await FillAsync(FrameHeadBytes).ConfigureAwait(false))
            {
                var length = BinaryPrimitives.ReadInt32BigEndian(buffer.AsSpan(from)) >>> 8;
                if (length > MaxFrameBytes) throw new Http2Exception(Http2Error.FrameSizeError, "a frame is too long");
                if (!await FillAsync(FrameHeadBytes + length).ConfigureAwait(false)) break;
                var frame = buffer.AsSpan(from, FrameHeadBytes + length);
                Take((FrameType)frame[3], (FrameFlags)frame[4], BinaryPrimitives.ReadInt32BigEndian(frame[5..]) & int.MaxValue, frame[FrameHeadBytes..]);
                from += FrameHeadBytes + length;
            }
            End(new Http2Exception(Http2Error.Cancel, "the other side closed the connection"));
        }
        catch (Exception e)
        {
            End(e as Http2Exception ?? new Http2Exception(Http2Error.InternalError, "the connection is over: " + e.Message, e));
        }

        // False at the end of the connection.
        async ValueTask<bool> FillAsync(int count)
        {
            if (to - from >= count) return true;
            buffer.AsSpan(from, to - from).CopyTo(buffer);
            (from, to) = (0, to - from);
            while (to < count)
            {
                var read = await _stream.ReadAsync(buffer.AsMemory(to), Closed).ConfigureAwait(false);
                if (read == 0) return false;
                to += read;
            }
            return true;
        }
    }

    private void Take(FrameType type, FrameFlags flags, int id, ReadOnlySpan<byte> payload)
    {
        if (_blockStream != 0 && (type != FrameType.Continuation || id != _blockStream)) throw Broken("headers were interrupted");
        switch (type)
        {
            case FrameType.Data:
                TakeData(flags, id, payload);
                break;
            case FrameType.Headers:
                var block = Unpadded(flags, payload);
                if (flags.HasFlag(FrameFlags.Priority)) block = block.Length >= 5 ? block[5..] : throw Broken("a frame is too short");
                if (id == 0) throw Broken("headers of no stream");
                (_blockStream, _blockEndsStream) = (id, flags.HasFlag(FrameFlags.EndStream));
                TakeBlock(flags, block);
                break;
            case FrameType.Continuation:
                if (_blockStream == 0) throw Broken("headers go on that have not begun");
                TakeBlock(flags, payload);
                break;
            case FrameType.Reset:
                var error = (Http2Error)Number(payload);
                lock (_gate)
                    if (_streams.TryGetValue(id, out var reset)) FailStream(reset, new Http2Exception(error, $"the other side has ended the call ({Describe(error)})"));
                break;
            case FrameType.Settings:
                if (!flags.HasFlag(FrameFlags.Acknowledge)) TakeSettings(payload);
                break;
            case FrameType.Ping:
                if (payload.Length != 8) throw new Http2Exception(Http2Error.FrameSizeError, "a ping of a wrong length");
                if (flags.HasFlag(FrameFlags.Acknowledge)) break;
                lock (_gate)
                {
                    AppendFrame(FrameType.Ping, FrameFlags.Acknowledge, 0, payload);
                    CheckUnread();
                }
                break;
            case FrameType.GoAway:
                if (payload.Length < 8) throw new Http2Exception(Http2Error.FrameSizeError, "a frame is too short");
                var last = BinaryPrimitives.ReadInt32BigEndian(payload) & int.MaxValue;
                lock (_gate)
                {
                    _goingAway = true;
                    foreach (var stream in _streams.Values.Where(s => s.Id > last && s.Id % 2 == _nextId % 2).ToList())
                        FailStream(stream, new Http2Exception(Http2Error.RefusedStream, "the other side is ending the connection"));
                }
                break;
            case FrameType.WindowUpdate:
                TakeWindow(id, Number(payload) & int.MaxValue);
                break;
            case FrameType.PushPromise:
                throw Broken("nobody asked for a push");
            default:
                break; // priorities, and what there may be one day (RFC 9113, 5.5)
        }
    }

    private void TakeData(FrameFlags flags, int id, ReadOnlySpan<byte> payload)
    {
        if (id == 0) throw Broken("data of no stream");
        var data = Unpadded(flags, payload);
        lock (_gate)
        {
            _uncredited += payload.Length;
            if (_uncredited >= ConnectionWindowBytes / 4)
            {
                AppendNumber(FrameType.WindowUpdate, 0, _uncredited);
                _uncredited = 0;
            }
            if (!_streams.TryGetValue(id, out var stream) || stream.RemoteEnded) return; // sent before it heard that the stream has ended
            stream.Unconsumed += payload.Length;
            if (stream.Unconsumed > StreamWindowBytes) throw new Http2Exception(Http2Error.FlowControlError, "more was sent than the window lets through");
            stream.Uncredited += payload.Length - data.Length; // nobody will consume the padding
            if (!data.IsEmpty) stream.TakeData(data);
            if (flags.HasFlag(FrameFlags.EndStream)) EndRemote(stream);
        }
    }

    private void TakeBlock(FrameFlags flags, ReadOnlySpan<byte> part)
    {
        if (_block.Count + part.Length > MaxHeaderBytes) throw new Http2Exception(Http2Error.EnhanceYourCalm, "the headers of a call are too long");
        _block.AddRange(part);
        if (!flags.HasFlag(FrameFlags.EndHeaders)) return;
        var id = _blockStream;
        // Also of streams that have gone: the table goes on.
        var headers = _hpack.Decode(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_block), MaxHeaderBytes);
        _block.Clear();
        _blockStream = 0;
        Http2Stream? accepted = null;
        lock (_gate)
        {
            if (!_streams.TryGetValue(id, out var stream))
            {
                if (_accept is null || id % 2 == 0) return; // a late answer
                if (id <= _lastAccepted) return;
                _lastAccepted = id;
                if (_failure is not null) return;
                if (_streams.Count >= MaxStreams)
                {
                    AppendNumber(FrameType.Reset, id, (int)Http2Error.RefusedStream);
                    CheckUnread();
                    return;
                }
                stream = accepted = new Http2Stream(this, id, _initialSendWindow);
                _streams.Add(id, stream);
            }
            if (stream.RemoteEnded) throw new Http2Exception(Http2Error.StreamClosed, "headers of a stream that has ended");
            stream.TakeHeaders(headers);
            if (_blockEndsStream) EndRemote(stream);
        }
        if (accepted is not null) _accept!(accepted);
    }

    private void TakeSettings(ReadOnlySpan<byte> payload)
    {
        if (payload.Length % 6 != 0) throw new Http2Exception(Http2Error.FrameSizeError, "settings of a wrong length");
        lock (_gate)
        {
            for (; payload.Length > 0; payload = payload[6..])
            {
                if (BinaryPrimitives.ReadInt16BigEndian(payload) != SettingInitialWindow) continue; // larger frames and tables we don't make
                var window = BinaryPrimitives.ReadUInt32BigEndian(payload[2..]);
                if (window > MaxWindowBytes) throw new Http2Exception(Http2Error.FlowControlError, "a window that is too large");
                foreach (var stream in _streams.Values) stream.SendWindow += window - _initialSendWindow;
                _initialSendWindow = window;
            }
            AppendFrame(FrameType.Settings, FrameFlags.Acknowledge, 0, []);
            CheckUnread();
            TellChanged();
        }
    }

    private void TakeWindow(int id, int bytes)
    {
        lock (_gate)
        {
            if (id == 0)
            {
                if ((_sendWindow += bytes) > MaxWindowBytes) throw new Http2Exception(Http2Error.FlowControlError, "a window that is too large");
            }
            else if (_streams.TryGetValue(id, out var stream))
            {
                if ((stream.SendWindow += bytes) > MaxWindowBytes) FailStream(stream, new Http2Exception(Http2Error.FlowControlError, "a window that is too large"));
            }
            TellChanged();
        }
    }

    // Who makes us answer and does not read the answers is not to fill our memory.
    private void CheckUnread()
    {
        if (_waitingCount > MaxUnreadBytes) throw new Http2Exception(Http2Error.EnhanceYourCalm, "answers are not read");
    }

    private static ReadOnlySpan<byte> Unpadded(FrameFlags flags, ReadOnlySpan<byte> payload)
    {
        if (!flags.HasFlag(FrameFlags.Padded)) return payload;
        return payload.Length > 0 && payload[0] < payload.Length ? payload[1..^payload[0]] : throw Broken("more padding than there is");
    }

    private static int Number(ReadOnlySpan<byte> payload) =>
        payload.Length == 4 ? BinaryPrimitives.ReadInt32BigEndian(payload) : throw new Http2Exception(Http2Error.FrameSizeError, "a frame of a wrong length");

    private static string Describe(Http2Error error) => Enum.IsDefined(error) ? error.ToString() : $"error {(int)error}";

    private static Http2Exception Broken(string what) => new(Http2Error.ProtocolError, what);
}
