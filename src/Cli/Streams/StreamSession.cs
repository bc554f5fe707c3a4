using Berth.Api;

namespace Berth.Cli.Streams;

/// <summary>Which of the container's streams this process is connected to.</summary>
internal readonly record struct AttachedStreams(bool Stdin, bool Stdout, bool Stderr, bool Tty);

/// <summary>
/// Our stdin to a container, its output to our stdout and stderr: the middle part of run, start, exec and attach.
/// Input is read by a thread of its own, since nothing can interrupt a read of a terminal; it ends with the process.
/// </summary>
internal sealed class StreamSession : IDisposable
{
    private readonly HijackedStream _stream;
    private readonly CommandContext _context;
    private readonly AttachedStreams _attached;
    private readonly DetachKeys? _detachKeys;
    private readonly TaskCompletionSource _detached = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private IDisposable? _rawTerminal;

    /// <exception cref="CommandException">The detach keys cannot be read.</exception>
    public StreamSession(HijackedStream stream, CommandContext context, AttachedStreams attached, string detachKeys)
    {
        (_stream, _context, _attached) = (stream, context, attached);
        if (!attached.Tty || !attached.Stdin) return;
        try
        {
            _detachKeys = new DetachKeys(detachKeys);
        }
        catch (FormatException)
        {
            stream.Dispose();
            throw new CommandException($"invalid detach keys ({detachKeys}) provided");
        }
    }

    /// <summary>Ends when the user has typed the keys that detach.</summary>
    public Task Detached => _detached.Task;

    /// <summary>Begins to pass input on; the terminal is raw from now on when the container has one.</summary>
    public void BeginInput()
    {
        _context.Flush();
        if (!_attached.Stdin)
        {
            _stream.CloseWrite();
            return;
        }
        if (_attached.Tty) _rawTerminal = _context.Terminal.MakeRaw();
        new Thread(CopyInput) { IsBackground = true, Name = "stdin" }.Start();
    }

    /// <summary>Passes output on until it ends. False when it did because the user detached.</summary>
    public async Task<bool> CopyOutputAsync(CancellationToken cancellationToken)
    {
        var stdout = _attached.Stdout ? _context.OutStream : Stream.Null;
        var stderr = _attached.Stderr ? _context.ErrStream : Stream.Null;
        try
        {
            if (_attached.Tty) await _stream.CopyToAsync(stdout, 32 * 1024, cancellationToken);
            else await StdFrame.DemultiplexAsync(_stream, stdout, stderr, cancellationToken);
        }
        catch (IOException) when (_detached.Task.IsCompleted)
        {
        }
        finally
        {
            _rawTerminal?.Dispose();
        }
        return !_detached.Task.IsCompleted;
    }

    private void CopyInput()
    {
        var buffer = new byte[32 * 1024];
        var passed = new List<byte>();
        try
        {
            while (true)
            {
                var read = _context.InStream.Read(buffer);
                if (read == 0) break;
                if (_detachKeys is null)
                {
                    _stream.Write(buffer, 0, read);
                    continue;
                }
                passed.Clear();
                var detach = _detachKeys.Pass(buffer.AsSpan(0, read), passed);
                if (passed.Count > 0) _stream.Write([.. passed], 0, passed.Count);
                if (!detach) continue;
                _rawTerminal?.Dispose();
                _detached.TrySetResult();
                _stream.Shutdown(); // the output's side is waiting in a read
                return;
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The container is gone or takes no more: the output side tells how it ended.
        }
        try
        {
            _stream.CloseWrite();
        }
        catch (ObjectDisposedException)
        {
        }
    }

    public void Dispose()
    {
        _rawTerminal?.Dispose();
        _stream.Dispose();
    }
}
