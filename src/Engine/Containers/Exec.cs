using System.Globalization;
using Berth.Api;
using Berth.Runtime.Capabilities;
using Berth.Runtime.Monitor;
using Berth.Runtime.Spec;

namespace Berth.Engine;

/// <summary>One `docker exec`: made, started once, inspected afterwards. Not persisted: after a restart of the engine it is gone, as under Docker.</summary>
internal sealed class Exec(string id, Container container, ExecCreateRequest request, DetachKeys keys, bool isProbe = false)
{
    // So that the next daemon can tell the probes this one left running from what users started.
    private const string ProbePrefix = "health-";

    private int _begun;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public string Id { get; } = id;
    public Container Container { get; } = container;
    public ExecCreateRequest Request { get; } = request;
    public DetachKeys Keys { get; } = keys;

    /// <summary>A run of the container's health check: forgotten when it has ended.</summary>
    public bool IsProbe { get; } = isProbe;
    public ProcessKey Key => new(Container.Id, IsProbe ? ProbePrefix + Id : Id);

    public static bool IsKeyOfProbe(ProcessKey key) => key.ExecId?.StartsWith(ProbePrefix, StringComparison.Ordinal) == true;

    /// <summary>The exec's id out of the name the monitor knows it by.</summary>
    public static string IdOf(ProcessKey key) => IsKeyOfProbe(key) ? key.ExecId![ProbePrefix.Length..] : key.ExecId!;

    public volatile MonitoredProcess? Process;
    public bool Running => Volatile.Read(ref _begun) != 0 && ExitCode is null;
    public int? ExitCode { get; private set; }
    public int Pid { get; private set; }

    /// <summary>Completes when the exit code is known.</summary>
    public Task Ended => _ended.Task;

    /// <summary>False when it was started before.</summary>
    public bool TryBegin() => Interlocked.Exchange(ref _begun, 1) == 0;

    public void Started(MonitoredProcess process)
    {
        Pid = process.Pid;
        Process = process;
    }

    public void End(int exitCode)
    {
        ExitCode ??= exitCode;
        Process = null;
        _ended.TrySetResult();
    }

    /// <summary>The container's end takes its execs along; their own exits may follow and find nothing to do.</summary>
    public void ContainerEnded()
    {
        if (Running) End(137);
    }
}

public sealed partial class ContainerService
{
    public Task<IdResponse> ExecCreateAsync(string idOrName, ExecCreateRequest request, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        CheckExecutable(container, idOrName);
        if (request.Cmd is not { Length: > 0 }) throw EngineException.Invalid("No exec command specified");
        if (!DetachKeys.TryParse(request.DetachKeys, out var keys)) throw EngineException.System($"Invalid escape keys ({request.DetachKeys}) provided");
        if (request.User.Length > 0)
        {
            try
            {
                ResolveUser(container.Record, request.User);
            }
            catch (EngineException e)
            {
                throw EngineException.Invalid(e.Message);
            }
        }
        var exec = new Exec(Names.NewId(), container, request, keys);
        _execs.Add(exec);
        container.Execs[exec.Id] = exec;
        // Removed meanwhile: nobody else would forget it.
        if (container.Removed) _execs.Forget(exec);
        _core.Emit(container, "exec_create: " + CommandOf(request), ("execID", exec.Id));
        return Task.FromResult(new IdResponse { Id = exec.Id });
    }

    // As dockerd words it: a blank behind the executable even without arguments.
    private static string CommandOf(ExecCreateRequest request) => request.Cmd![0] + " " + string.Join(' ', request.Cmd[1..]);

    private static void CheckExecutable(Container container, string shownAs)
    {
        var state = container.State;
        if (!state.Running) throw NotRunning(container.Id);
        if (state.Paused) throw EngineException.Conflict($"Container {shownAs} is paused, unpause the container before exec");
        if (state.Restarting) throw IsRestarting(container.Id);
    }

    internal int RememberedExecs => _execs.Count;

    private Exec GetExec(string execId)
    {
        if (!_execs.TryGet(execId, out var exec)) throw EngineException.NotFound($"No such exec instance: {execId}");
        if (exec.Container.Removed) throw EngineException.NoSuchContainer(execId);
        return exec;
    }

    /// <summary>
    /// With <see cref="ExecStartRequest.Detach"/>: starts the process and returns null. Otherwise checks that it can be started, and the session's
    /// <see cref="StreamSession.RunAsync"/> starts it (a failure is then told on the stream, as dockerd does).
    /// </summary>
    public async Task<StreamSession?> ExecStartAsync(string execId, ExecStartRequest request, CancellationToken cancellationToken)
    {
        var exec = GetExec(execId);
        CheckExecutable(exec.Container, exec.Container.Id);
        if (exec.ExitCode is not null) throw EngineException.Conflict($"exec command {exec.Id} has already run");
        if (!request.Detach) return new ExecSession(this, exec, request.ConsoleSize);
        BeginExec(exec);
        await LaunchExecAsync(exec, request.ConsoleSize, attachment: null).ConfigureAwait(false);
        return null;
    }

    private void BeginExec(Exec exec)
    {
        if (!exec.TryBegin())
            throw EngineException.Conflict(exec.ExitCode is null ? $"exec command {exec.Id} is already running" : $"exec command {exec.Id} has already run");
        _core.Emit(exec.Container, "exec_start: " + CommandOf(exec.Request), ("execID", exec.Id));
    }

    private async Task LaunchExecAsync(Exec exec, uint[]? consoleSize, ContainerAttachment? attachment)
    {
        var record = exec.Container.Record;
        var request = exec.Request;
        var file = Path.Combine(_core.BundleOf(record.Id), $"exec-{exec.Id}.json");
        try
        {
            var size = consoleSize is { Length: 2 } ? consoleSize : request.ConsoleSize is { Length: 2 } ? request.ConsoleSize : null;
            File.WriteAllBytes(file, OciJson.Serialize(ProcessFor(record, request, size)));
            var process = await _core.Monitor.ExecAsync(new ExecRequest
            {
                ContainerId = record.Id, ExecId = exec.Key.ExecId!, ProcessFile = file, OpenStdin = request.AttachStdin && attachment is not null,
                Terminal = request.Tty ? size is null ? new TerminalSize(0, 0) : new TerminalSize((ushort)size[1], (ushort)size[0]) : null,
                Attachments = attachment?.Attachment is { } a ? [a] : [],
            }, CancellationToken.None).ConfigureAwait(false);
            exec.Started(process);
            attachment?.Started(process);
        }
        catch (Exception e)
        {
            attachment?.Failed();
            var (error, exitCode) = Explain(e);
            // 126 is what dockerd leaves when it knows nothing better.
            exec.End(exitCode == ExitUnknown ? ExitNotRunnable : exitCode);
            exec.Container.Execs.TryRemove(exec.Id, out _);
            _execs.Ended(exec);
            throw error;
        }
        finally
        {
            // With the container's end, which does not wait for us, the bundle goes and the file with it.
            TryDelete(file);
        }
    }

    private static void TryDelete(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (IOException)
        {
            // Gone in between.
        }
    }

    private OciProcess ProcessFor(ContainerRecord record, ExecCreateRequest request, uint[]? size)
    {
        var host = record.HostConfig;
        var user = ResolveUser(record, request.User.Length > 0 ? request.User : record.Config.User);
        var capabilities = request.Privileged ? Capability.Known() : Capability.Tweak(Capability.Default, host.CapAdd ?? [], host.CapDrop ?? [], host.Privileged);
        var directory = request.WorkingDir.Length > 0 ? request.WorkingDir : record.Config.WorkingDir;
        return new OciProcess
        {
            Terminal = request.Tty,
            ConsoleSize = request.Tty && size is not null ? new OciConsoleSize(size[0], size[1]) : null,
            User = new OciUser { Uid = user.Uid, Gid = user.Gid, AdditionalGids = user.AdditionalGids },
            Args = request.Cmd,
            Env = SpecCompiler.Environment(record.Config, request.Tty, user.Home, request.Env ?? [], LinkEnvironment(record, LinkedTo(record))),
            Cwd = directory.Length > 0 ? directory : "/",
            Capabilities = SpecCompiler.Capabilities(capabilities),
            Rlimits = SpecCompiler.Rlimits(host, _core.Options),
            NoNewPrivileges = SecurityOptions.Parse(host, _core.Options.NoNewPrivileges).NoNewPrivileges,
            OomScoreAdj = host.OomScoreAdj,
        };
    }

    internal void ExecEnded(ProcessExit exit)
    {
        if (!_execs.TryGet(Exec.IdOf(exit.Key), out var exec)) return;
        exec.Container.Execs.TryRemove(exec.Id, out _);
        _core.Emit(exec.Container, "exec_die", ("execID", exec.Id), ("exitCode", exit.ExitCode.ToString(CultureInfo.InvariantCulture)));
        exec.End(exit.ExitCode);
        if (exec.IsProbe) _execs.Forget(exec);
        else _execs.Ended(exec);
    }

    public Task ExecResizeAsync(string execId, ushort rows, ushort columns, CancellationToken cancellationToken)
    {
        var exec = GetExec(execId);
        CheckExecutable(exec.Container, exec.Container.Id);
        if (exec.Process is not { } process) throw EngineException.Invalid("exec process is not started");
        Resize(process.Key, rows, columns);
        return Task.CompletedTask;
    }

    public ExecInspect ExecInspect(string execId)
    {
        if (!_execs.TryGet(execId, out var exec) || (exec.Container.Removed && exec.ExitCode is null)) throw EngineException.NotFound($"No such exec instance: {execId}");
        var request = exec.Request;
        return new ExecInspect
        {
            ID = exec.Id, Running = exec.Running, ExitCode = exec.ExitCode, OpenStdin = request.AttachStdin, OpenStdout = request.AttachStdout, OpenStderr = request.AttachStderr,
            CanRemove = false, ContainerID = exec.Container.Id, DetachKeys = exec.Keys == Engine.DetachKeys.Default ? "" : exec.Keys.ToBase64(), Pid = exec.Pid,
            ProcessConfig = new ExecProcessConfig
            {
                Tty = request.Tty, Entrypoint = request.Cmd![0], Arguments = request.Cmd[1..], Privileged = request.Privileged, User = request.User.Length > 0 ? request.User : exec.Container.Record.Config.User,
            },
        };
    }

    private sealed class ExecSession(ContainerService service, Exec exec, uint[]? consoleSize) : StreamSession
    {
        private readonly ContainerAttachment _attachment = new(exec.Request.AttachStdout, exec.Request.AttachStderr, !exec.Request.Tty);

        private readonly SemaphoreSlim _inputGate = new(1, 1);

        public override bool Multiplexed => !exec.Request.Tty;

        public override async Task RunAsync(Stream client, CancellationToken cancellationToken)
        {
            var core = service._core;
            using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, core.Stopping);
            try
            {
                try
                {
                    service.BeginExec(exec);
                    await service.LaunchExecAsync(exec, consoleSize, _attachment).ConfigureAwait(false);
                }
                catch (EngineException e)
                {
                    await TellAsync(client, e.Message, over.Token).ConfigureAwait(false);
                    return;
                }
                if (await ConverseAsync(client, over).ConfigureAwait(false)) core.Emit(exec.Container, "exec_detach", ("execID", exec.Id));
                // The client asks for the exit code as soon as the stream has ended: it must be known by then.
                else if (!over.IsCancellationRequested) await exec.Ended.WaitAsync(over.Token).ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or global::System.Net.Sockets.SocketException or OperationCanceledException or ObjectDisposedException)
            {
                core.Logger.AttachmentEnded(exec.Container.Id, e.Message);
            }
            finally
            {
                await over.CancelAsync().ConfigureAwait(false);
            }
        }

        private async Task TellAsync(Stream client, string message, CancellationToken cancellationToken)
        {
            var text = global::System.Text.Encoding.UTF8.GetBytes(message + "\r\n");
            if (Multiplexed)
            {
                var header = new byte[8];
                header[0] = 1;
                global::System.Buffers.Binary.BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), text.Length);
                await client.WriteAsync(header, cancellationToken).ConfigureAwait(false);
            }
            await client.WriteAsync(text, cancellationToken).ConfigureAwait(false);
            await client.FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        private async Task<bool> ConverseAsync(Stream client, CancellationTokenSource over)
        {
            var output = _attachment.Output is { } socket ? StreamPump.CopyOutputAsync(socket, client, over.Token) : exec.Ended;
            if (!exec.Request.AttachStdin)
            {
                await output.ConfigureAwait(false);
                return false;
            }
            var input = InputAsync(client, over.Token);
            if (await Task.WhenAny(input, output).ConfigureAwait(false) == input && await input.ConfigureAwait(false)) return true;
            await output.ConfigureAwait(false);
            return false;
        }

        private async Task<bool> InputAsync(Stream client, CancellationToken cancellationToken)
        {
            if (exec.Process is not { } process) return false;
            try
            {
                return await StreamPump.CopyInputAsync(client, service._core.Monitor, process.Key, _inputGate, exec.Request.Tty ? exec.Keys : null, cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                if (!exec.Request.Tty) await service.CloseStdinAsync(exec.Key).ConfigureAwait(false);
            }
        }

        public override ValueTask DisposeAsync()
        {
            _attachment.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
