using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>Writes to pipes and terminals whose readers take their time: one thread waits for all of them, and only once it is needed.</summary>
internal sealed class InputWriter : IDisposable
{
    private readonly Lock _gate = new();
    private EventLoop? _loop;
    private bool _disposed;

    /// <returns>False if nobody will read it (EPIPE; EIO of a terminal; a descriptor closed meanwhile).</returns>
    public async ValueTask<bool> WriteAsync(SafeFileHandle target, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        try
        {
            while (bytes.Length > 0)
            {
                var count = Descriptor.TryWrite(target, bytes.Span, out var errno);
                if (count >= 0)
                {
                    bytes = bytes[count..];
                    continue;
                }
                if (errno is Errno.EPIPE or Errno.EIO) return false;
                if (errno != Errno.EAGAIN) throw new LinuxException("write", $"stdin, {bytes.Length}", errno);
                await WaitAsync(target, cancellationToken).ConfigureAwait(false);
            }
            return true;
        }
        catch (ObjectDisposedException)
        {
            return false;
        }
    }

    private async Task WaitAsync(SafeFileHandle target, CancellationToken cancellationToken)
    {
        EventLoop loop;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_loop is null)
            {
                _loop = new EventLoop();
                new Thread(_loop.Run, 256 * 1024) { Name = "input", IsBackground = true }.Start();
            }
            loop = _loop;
        }
        var ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        // A duplicate of its own: the original can be closed while this waits, which epoll would not tell.
        var watched = Descriptor.Duplicate(target);
        LoopWatch? watch = null;
        loop.Post(() =>
        {
            try
            {
                watch = loop.Watch(watched, PollEvents.Writable, _ => ready.TrySetResult(), failure => ready.TrySetException(failure));
            }
            catch (Exception failure)
            {
                ready.TrySetException(failure);
            }
        });
        try
        {
            await ready.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            loop.Post(() =>
            {
                watch?.Dispose();
                watched.Dispose();
            });
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            _loop?.Stop();
        }
    }
}
