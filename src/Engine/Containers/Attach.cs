using System.Buffers;
using System.Globalization;
using System.Net.Sockets;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

/// <summary>
/// The engine's end of an attachment: output comes from the monitor over a socket pair, input goes straight into the process's pipe or terminal.
/// </summary>
internal sealed class ContainerAttachment : IDisposable
{
    // Continuations run elsewhere: whoever starts the process holds the gate.
    private readonly TaskCompletionSource<MonitoredProcess?> _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Socket? _output;

    /// <param name="stdout">With neither of the two there is no socket: input only.</param>
    public ContainerAttachment(bool stdout, bool stderr, bool multiplexed)
    {
        if (!stdout && !stderr) return;
        Attachment = Attachment.Create(stdout, stderr, multiplexed ? StreamFraming.Docker : StreamFraming.Raw, out var reader);
        _output = new Socket(reader);
    }

    /// <summary>The monitor's end, until it was sent.</summary>
    public Attachment? Attachment { get; private set; }

    /// <summary>Completes with the process once it runs, with null when the start failed.</summary>
    public Task<MonitoredProcess?> Process => _started.Task;

    public Socket? Output => _output;

    /// <summary>The monitor has its duplicate: ours is closed, or the end of output would never be seen.</summary>
    public void Started(MonitoredProcess process)
    {
        CloseMonitorEnd();
        _started.TrySetResult(process);
    }

    public void Failed()
    {
        CloseMonitorEnd();
        _started.TrySetResult(null);
    }

    private void CloseMonitorEnd()
    {
        Attachment?.Socket.Dispose();
        Attachment = null;
    }

    public void Dispose()
    {
        CloseMonitorEnd();
        _output?.Dispose();
        _started.TrySetResult(null);
    }
}

/// <summary>Copies between a client and an attachment: the part that attach and exec share.</summary>
internal static class StreamPump
{
    // Two of the monitor's largest frames; fewer wake-ups for a container that prints much.
    private const int BufferBytes = 64 * 1024;

    public static async Task CopyOutputAsync(Socket output, Stream client, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            while (true)
            {
                var count = await output.ReceiveAsync(buffer.AsMemory(0, BufferBytes), SocketFlags.None, cancellationToken).ConfigureAwait(false);
                if (count == 0) return;
                await client.WriteAsync(buffer.AsMemory(0, count), cancellationToken).ConfigureAwait(false);
                await client.FlushAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Copies the client's input to the process until either ends. True when the detach keys were typed.</summary>
    /// <param name="gate">One writer per process at a time: pieces of several clients' input come one after the other.</param>
    public static async Task<bool> CopyInputAsync(Stream client, MonitorClient monitor, ProcessKey process, SemaphoreSlim gate, DetachKeys? keys, CancellationToken cancellationToken)
    {
        var scanner = keys?.NewScanner();
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        var passed = ArrayPool<byte>.Shared.Rent(BufferBytes + DetachKeys.MaxKeys);
        try
        {
            while (true)
            {
                var count = await client.ReadAsync(buffer.AsMemory(0, BufferBytes), cancellationToken).ConfigureAwait(false);
                if (count == 0) return false;
                var (data, length, detached) = (buffer, count, false);
                if (scanner is not null)
                {
                    detached = scanner.Scan(buffer.AsSpan(0, count), passed, out length);
                    data = passed;
                }
                if (length > 0)
                {
                    await gate.WaitAsync(cancellationToken).ConfigureAwait(false);
                    try
                    {
                        // The process closed its stdin, or is gone: what the user types has nowhere to go.
                        if (!await monitor.WriteInputAsync(process, data.AsMemory(0, length), cancellationToken).ConfigureAwait(false)) return detached;
                    }
                    finally
                    {
                        gate.Release();
                    }
                }
                if (detached) return true;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
            ArrayPool<byte>.Shared.Return(passed);
        }
    }
}

public sealed partial class ContainerService
{
    /// <summary>
    /// Attaches: from here on nothing of the output is missed (before the start, too). The caller then answers 101 (or 200) and runs the session.
    /// </summary>
    /// <exception cref="EngineException">NotFound, InvalidParameter (detach keys), Conflict (paused, restarting).</exception>
    public async Task<StreamSession> AttachAsync(string idOrName, AttachOptions options, CancellationToken cancellationToken)
    {
        if (!DetachKeys.TryParse(options.DetachKeys, out var keys)) throw EngineException.Invalid($"Invalid detach keys ({options.DetachKeys}) provided");
        var container = _core.Containers.Get(idOrName);
        if (container.State.Paused) throw EngineException.Conflict($"container {idOrName} is paused, unpause the container before attach");
        if (container.State.Restarting) throw EngineException.Conflict($"container {idOrName} is restarting, wait until the container is running");

        var config = container.Record.Config;
        var multiplexed = !config.Tty && options.Multiplex;
        var attachment = options.Stream ? new ContainerAttachment(options.Stdout, options.Stderr, multiplexed) : null;
        if (attachment is not null)
        {
            try
            {
                await ConnectAsync(container, attachment, cancellationToken).ConfigureAwait(false);
            }
            catch
            {
                attachment.Dispose();
                throw;
            }
        }
        return new AttachSession(this, container, options, attachment, multiplexed, keys);
    }

    // Under the gate, so that a start is either before (and the process is there) or after (and takes the attachment along).
    private async Task ConnectAsync(Container container, ContainerAttachment attachment, CancellationToken cancellationToken)
    {
        await container.Gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (container.Process is not { } process)
            {
                container.AddPending(attachment);
                return;
            }
            try
            {
                if (attachment.Attachment is { } ours) await _core.Monitor.AttachAsync(process.Key, ours, cancellationToken).ConfigureAwait(false);
                attachment.Started(process);
            }
            catch (MonitorException e) when (e.Error == MonitorError.NoSuchProcess)
            {
                // Ended a moment ago: what it printed is over.
                attachment.Failed();
            }
        }
        finally
        {
            container.Gate.Release();
        }
    }

    private sealed class AttachSession(ContainerService service, Container container, AttachOptions options, ContainerAttachment? attachment, bool multiplexed, DetachKeys keys)
        : StreamSession
    {
        public override bool Multiplexed => multiplexed;

        public override async Task RunAsync(Stream client, CancellationToken cancellationToken)
        {
            var core = service._core;
            var config = container.Record.Config;
            using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, core.Stopping);
            try
            {
                if (options.Logs)
                {
                    await using var log = service.OpenLog(container, new LogOptions { Stdout = options.Stdout, Stderr = options.Stderr }, multiplexed);
                    await log.CopyToAsync(client, over.Token).ConfigureAwait(false);
                }
                core.Emit(container, "attach");
                if (attachment is null) return;

                // StdinOnce: the conversation lasts as long as the process, even when all output was closed before.
                var ended = config.StdinOnce && !config.Tty ? container.Wait(WaitCondition.NextExit, over.Token) : null;
                var detached = await ConverseAsync(client, config, over).ConfigureAwait(false);
                if (detached) core.Emit(container, "detach");
                else if (ended is not null && container.State.Running && !over.IsCancellationRequested) await ended.ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or SocketException or OperationCanceledException or ObjectDisposedException)
            {
                core.Logger.AttachmentEnded(container.Id, e.Message);
            }
            finally
            {
                await over.CancelAsync().ConfigureAwait(false);
            }
        }

        /// <summary>True when the user detached.</summary>
        private async Task<bool> ConverseAsync(Stream client, Api.ContainerConfig config, CancellationTokenSource over)
        {
            var output = attachment!.Output is { } socket ? StreamPump.CopyOutputAsync(socket, client, over.Token) : null;
            var input = options.Stdin && config.OpenStdin ? InputAsync(client, config, over.Token) : null;
            if (input is null)
            {
                if (output is not null) await output.ConfigureAwait(false);
                return false;
            }
            // Output's end is the end. Input's end is one too, unless it was handed on to the process (StdinOnce), which may go on printing.
            if (output is not null && await Task.WhenAny(input, output).ConfigureAwait(false) == output)
            {
                await output.ConfigureAwait(false);
                return false;
            }
            var detached = await input.ConfigureAwait(false);
            if (output is not null && !detached && config.StdinOnce && !config.Tty) await output.ConfigureAwait(false);
            return detached;
        }

        private async Task<bool> InputAsync(Stream client, Api.ContainerConfig config, CancellationToken cancellationToken)
        {
            if (await attachment!.Process.WaitAsync(cancellationToken).ConfigureAwait(false) is not { } process) return false;
            try
            {
                return await StreamPump.CopyInputAsync(client, service._core.Monitor, process.Key, container.InputGate, config.Tty ? keys : null, cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                if (config.StdinOnce && !config.Tty) await service.CloseStdinAsync(process.Key).ConfigureAwait(false);
            }
        }

        public override ValueTask DisposeAsync()
        {
            if (attachment is not null)
            {
                container.RemovePending(attachment);
                attachment.Dispose();
            }
            return ValueTask.CompletedTask;
        }
    }

    private async Task CloseStdinAsync(ProcessKey key)
    {
        try
        {
            await _core.Monitor.CloseStdinAsync(key, CancellationToken.None).ConfigureAwait(false);
        }
        catch (MonitorException)
        {
            // It has ended.
        }
    }

    /// <summary>Rows × columns in characters.</summary>
    public Task ResizeAsync(string idOrName, ushort rows, ushort columns, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        if (!container.State.Running) throw NotRunning(container.Id);
        Resize(new ProcessKey(container.Id), rows, columns);
        _core.Emit(container, "resize", ("height", rows.ToString(CultureInfo.InvariantCulture)), ("width", columns.ToString(CultureInfo.InvariantCulture)));
        return Task.CompletedTask;
    }

    private void Resize(ProcessKey key, ushort rows, ushort columns)
    {
        try
        {
            _core.Monitor.Resize(key, new TerminalSize(columns, rows));
        }
        catch (MonitorException e) when (e.Error is MonitorError.NoSuchProcess or MonitorError.BadRequest)
        {
            // It ended in this moment, or has no terminal: dockerd says nothing either.
        }
    }
}
