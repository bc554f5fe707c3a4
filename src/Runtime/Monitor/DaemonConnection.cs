using System.Text.Json;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>The monitor's end of a connection. Never waits for the daemon: what it does not take is queued. Lives on the control loop.</summary>
internal sealed class DaemonConnection
{
    /// <summary>Messages a daemon may leave unread before it is cut off; it comes back and asks for the list.</summary>
    private const int MaxQueued = 2 * MonitorLimits.Processes;

    private const int MessagesPerTurn = 16;

    private readonly SafeFileHandle _socket;
    private readonly byte[] _buffer;
    private readonly Action<DaemonConnection, Request, SafeFileHandle[]> _received;
    private readonly Action<DaemonConnection> _closed;
    private readonly Queue<(byte[] Message, SafeFileHandle[] Descriptors)> _queue = new();
    private readonly LoopWatch _watch;

    /// <param name="buffer">Shared by all connections of the loop; <see cref="MonitorLimits.MessageBytes"/> long.</param>
    public DaemonConnection(EventLoop loop, SafeFileHandle socket, byte[] buffer, Action<DaemonConnection, Request, SafeFileHandle[]> received, Action<DaemonConnection> closed)
    {
        _socket = socket;
        _buffer = buffer;
        _received = received;
        _closed = closed;
        _watch = loop.Watch(socket, PollEvents.Readable, OnReady, failure => Close(failure.ToString()));
    }

    public bool IsClosed { get; private set; }

    public void Send(Response response, params ReadOnlySpan<SafeFileHandle> descriptors)
    {
        if (IsClosed) return;
        var message = Wire.Write(response);
        if (_queue.Count == 0)
        {
            var handles = new System.Runtime.InteropServices.SafeHandle[descriptors.Length];
            for (var i = 0; i < handles.Length; i++) handles[i] = descriptors[i];
            if (UnixSocket.TrySend(_socket, message, [], handles, wait: false, out var errno) >= 0) return;
            if (errno != Errno.EAGAIN)
            {
                Close(errno is Errno.EPIPE or Errno.ECONNRESET ? null : $"sendmsg: {errno}");
                return;
            }
            _watch.Modify(PollEvents.Readable | PollEvents.Writable);
        }
        if (_queue.Count == MaxQueued)
        {
            Close($"it left {MaxQueued} messages unread");
            return;
        }
        // Duplicates, since the originals may be closed before this is sent.
        var copies = new SafeFileHandle[descriptors.Length];
        for (var i = 0; i < copies.Length; i++) copies[i] = Descriptor.Duplicate(descriptors[i]);
        _queue.Enqueue((message, copies));
    }

    public void Close(string? reason)
    {
        if (IsClosed) return;
        IsClosed = true;
        if (reason is not null) Journal.Write($"connection of the daemon closed: {reason}");
        _watch.Dispose();
        UnixSocket.Shutdown(_socket);
        _socket.Dispose();
        foreach (var (_, descriptors) in _queue)
        {
            foreach (var descriptor in descriptors) descriptor.Dispose();
        }
        _queue.Clear();
        _closed(this);
    }

    private void OnReady(PollEvents events)
    {
        if ((events & PollEvents.Writable) != 0) SendQueued();
        for (var i = 0; i < MessagesPerTurn && !IsClosed; i++)
        {
            int length;
            SafeFileHandle[] descriptors;
            try
            {
                length = UnixSocket.TryReceive(_socket, _buffer, MonitorLimits.DescriptorsPerMessage, wait: false, out descriptors, out var errno);
                if (length < 0 && errno == Errno.EAGAIN) return;
            }
            catch (InvalidDataException tooLarge)
            {
                Close(tooLarge.Message);
                return;
            }
            if (length <= 0)
            {
                Close(null);
                return;
            }
            Request request;
            try
            {
                request = Wire.ReadRequest(_buffer.AsSpan(0, length));
            }
            catch (JsonException bad)
            {
                foreach (var descriptor in descriptors) descriptor.Dispose();
                Close($"not a request: {bad.Message}");
                return;
            }
            _received(this, request, descriptors);
        }
    }

    private void SendQueued()
    {
        while (_queue.TryPeek(out var next))
        {
            if (UnixSocket.TrySend(_socket, next.Message, [], next.Descriptors, wait: false, out var errno) < 0)
            {
                if (errno != Errno.EAGAIN) Close(null);
                return;
            }
            foreach (var descriptor in _queue.Dequeue().Descriptors) descriptor.Dispose();
        }
        _watch.Modify(PollEvents.Readable);
    }
}
