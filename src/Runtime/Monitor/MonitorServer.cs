using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>How a monitor is set up; the defaults but for the exec root are what the executable uses, tests shorten times.</summary>
internal sealed record MonitorServerOptions
{
    public required string ExecRoot { get; init; }
    public TimeSpan AttachmentStall { get; init; } = MonitorLimits.AttachmentStall;
    public TimeSpan OutputGrace { get; init; } = MonitorLimits.OutputGrace;
    public TimeSpan IdleExit { get; init; } = MonitorLimits.IdleExit;
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Soft limit of open files for processes whose spec has none; null: the monitor's own.</summary>
    public ulong? ContainerOpenFiles { get; init; }

    public string SocketPath => SocketPathOf(ExecRoot);

    public static string SocketPathOf(string execRoot) => Path.Combine(execRoot, "monitor.sock");
}

/// <summary>
/// The monitor's inside. Two loops and a few workers, each with its share and no lock between them:
/// the control loop (this class) knows the processes, reaps them and talks to the daemon; the pump's loop moves output; workers do the kernel work that takes milliseconds.
/// They hand each other what they found by <see cref="EventLoop.Post"/>. See docs/the-monitor.md.
/// </summary>
internal sealed class MonitorServer : IDisposable
{
    private static readonly TimeSpan TrimDelay = TimeSpan.FromSeconds(3);

    private const int Backlog = 8, MaxUnknownConnections = 8, SIGKILL = 9;

    private readonly MonitorServerOptions _options;
    private readonly EventLoop _control = new(), _pumpLoop = new();
    private readonly PumpContext _pump;
    private readonly WorkerPool _workers = new(Math.Clamp(Environment.ProcessorCount * 2, 4, 16));
    private readonly CgroupHost _cgroups;
    private readonly ContainerStarter _starter;
    private readonly SafeFileHandle _listener;
    private readonly Dictionary<ProcessKey, SupervisedProcess> _processes = [];
    private readonly List<DaemonConnection> _unknown = [];
    private readonly byte[] _messageBuffer = new byte[MonitorLimits.MessageBytes];
    private DaemonConnection? _daemon;
    private LoopTimer? _idleTimer, _trimTimer;

    public MonitorServer(MonitorServerOptions options)
    {
        _options = options;
        _pump = new PumpContext(_pumpLoop, options.Clock, options.AttachmentStall, options.OutputGrace);
        _cgroups = CgroupHost.Detect();
        _starter = new ContainerStarter(_cgroups, _pump.LogBuffer, _workers.Queue, options);
        _listener = UnixSocket.Listen(options.SocketPath, UnixSocketKind.SequencedPackets, Backlog, permissions: 0x180 /* 0600 */);
        _control.Watch(_listener, PollEvents.Readable, _ => OnConnect(), failure => Journal.Write($"listening: {failure}"));
        RestartIdleTimer();
    }

    /// <summary>Until it is told to end, or has been idle for long enough.</summary>
    public void Run()
    {
        var pump = new Thread(_pumpLoop.Run, 256 * 1024) { Name = "pump", IsBackground = true };
        pump.Start();
        _control.Run();
        _pumpLoop.Stop();
        pump.Join();
    }

    /// <summary>Ends if nothing runs. From any thread.</summary>
    public void RequestStop(string why) => _control.Post(() =>
    {
        if (_processes.Count == 0) Stop();
        else Journal.Write($"{why} ignored: {_processes.Count} processes are looked after");
    });

    private void Stop()
    {
        // Before the last connection closes, so that whoever sees that finds no socket of ours.
        try
        {
            File.Delete(_options.SocketPath);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            Journal.Write($"removing the socket: {failure.Message}"); // the whole directory may be gone
        }
        _control.Stop();
    }

    public void Dispose()
    {
        _daemon?.Close(null);
        _listener.Dispose();
        _control.Dispose();
        _pumpLoop.Dispose();
    }

    // --- connections

    private void OnConnect()
    {
        var socket = UnixSocket.Accept(_listener);
        // The socket's mode says so already; this holds even where somebody loosened it.
        if (UnixSocket.GetPeer(socket) is { Uid: not 0 } stranger || _unknown.Count >= MaxUnknownConnections)
        {
            socket.Dispose();
            Journal.Write("a connection was refused");
            return;
        }
        _unknown.Add(new DaemonConnection(_control, socket, _messageBuffer, OnRequest, OnDisconnect));
    }

    private void OnDisconnect(DaemonConnection connection)
    {
        _unknown.Remove(connection);
        if (_daemon == connection) _daemon = null;
        RestartIdleTimer();
    }

    private void RestartIdleTimer()
    {
        _idleTimer?.Dispose();
        _idleTimer = null;
        if (_daemon is not null || _processes.Count > 0) return;
        _idleTimer = _control.After(_options.IdleExit, () =>
        {
            if (_daemon is null && _processes.Count == 0) Stop();
        });
    }

    private void OnRequest(DaemonConnection connection, Request request, SafeFileHandle[] descriptors)
    {
        var taken = false;
        try
        {
            if (connection != _daemon && request.Hello is null) throw Bad("the first message has to be Hello");
            taken = Handle(connection, request, descriptors);
        }
        catch (Exception failure) when (failure is MonitorException or LinuxException or ObjectDisposedException)
        {
            Fail(connection, request.Seq, failure);
        }
        finally
        {
            if (!taken)
            {
                foreach (var descriptor in descriptors) descriptor.Dispose();
            }
        }
    }

    /// <returns>True if the descriptors are somebody else's now; after an exception they are not.</returns>
    private bool Handle(DaemonConnection connection, Request request, SafeFileHandle[] descriptors)
    {
        var seq = request.Seq;
        switch (request)
        {
            case { Hello: { } hello }:
                OnHello(connection, hello);
                return false;
            case { Launch: { } launch }:
                Launch(connection, seq, launch, descriptors);
                return true;
            case { Exec: { } exec }:
                Exec(connection, seq, exec, descriptors);
                return true;
            case { Attach: { } attach }:
                if (descriptors.Length != 1) throw Bad("Attach takes one descriptor");
                Attach(connection, seq, Find(attach.Key), attach.Attachment, descriptors[0]);
                return true;
            case { Adopt: { } adopt }:
                Adopt(adopt, descriptors);
                Done(connection, seq);
                return true;
            case { Keep: { } kept }:
                if (descriptors.Length > MonitorLimits.KeptPerProcess) throw Bad($"{descriptors.Length} descriptors to keep; {MonitorLimits.KeptPerProcess} are the limit");
                FindRunning(kept).Keep(descriptors);
                Done(connection, seq);
                return true;
            case { Signal: { } signal }:
                if (!PidFd.SendSignal(FindRunning(signal.Key).PidFd, signal.Signal)) throw Gone(signal.Key);
                Done(connection, seq);
                return false;
            case { CloseStdin: { } key }:
                var process = Find(key);
                process.Stdin?.Dispose();
                process.Stdin = null;
                Done(connection, seq);
                return false;
            case { KillAll: { } id }:
                OnCgroup(connection, seq, FindRunning(new ProcessKey(id)), c => c.Kill(), _ => { });
                return false;
            case { Pause: { } id }:
                OnCgroup(connection, seq, FindRunning(new ProcessKey(id)), c => c.Freeze(), p => p.Paused = true);
                return false;
            case { Resume: { } id }:
                OnCgroup(connection, seq, FindRunning(new ProcessKey(id)), c => c.Thaw(), p => p.Paused = false);
                return false;
            case { Ack: { } ack }:
                Acknowledge(ack, () => Done(connection, seq));
                return false;
            case { DiscardCgroup: { } path }:
                _workers.Queue(() =>
                {
                    try
                    {
                        _cgroups.Open(path)?.Remove();
                        _control.Post(() => Done(connection, seq));
                    }
                    catch (Exception failure)
                    {
                        _control.Post(() => Fail(connection, seq, failure));
                    }
                });
                return false;
            case { Shutdown: true }:
                var stopping = _processes.Count == 0;
                connection.Send(new Response { Seq = seq, Stopping = stopping });
                if (stopping) Stop();
                return false;
            case { Measure: true }:
                _workers.Queue(() =>
                {
                    Collect();
                    var live = GC.GetTotalMemory(forceFullCollection: false);
                    _control.Post(() => connection.Send(new Response { Seq = seq, Memory = new MonitorMemory(live, _processes.Count) }));
                });
                return false;
            default:
                throw Bad("a request of an unknown kind");
        }
    }

    private void OnHello(DaemonConnection connection, HelloMessage hello)
    {
        if (hello.Version != Request.Version) throw Bad($"protocol version {hello.Version}; this monitor speaks {Request.Version}");
        var previous = _daemon == connection ? null : _daemon;
        _unknown.Remove(connection);
        _daemon = connection;
        if (previous is not null)
        {
            previous.Send(new Response { Replaced = true });
            previous.Close("another daemon has connected");
        }
        RestartIdleTimer();
        connection.Send(new Response { Welcome = new WelcomeMessage(Request.Version, Environment.ProcessId) });
        foreach (var process in _processes.Values)
        {
            if (process.Unclaimed) continue;
            if (process.State is ProcessState.Running or ProcessState.Ending) Announce(connection, 0, process);
            if (process.State == ProcessState.Ended) connection.Send(new Response { Exit = process.Exit });
        }
        connection.Send(new Response { Listed = true });
    }

    private static void Done(DaemonConnection connection, int seq)
    {
        if (seq != 0) connection.Send(new Response { Seq = seq });
    }

    private static void Fail(DaemonConnection connection, int seq, Exception failure)
    {
        var error = failure switch
        {
            MonitorException m => m.Error,
            LaunchException { Kind: LaunchErrorKind.ExecutableNotFound } => MonitorError.ExecutableNotFound,
            LaunchException { Kind: LaunchErrorKind.PermissionDenied or LaunchErrorKind.IsDirectory or LaunchErrorKind.ExecFormat } => MonitorError.ExecutableNotRunnable,
            LaunchException { Kind: LaunchErrorKind.NoSuchContainer } or ObjectDisposedException => MonitorError.NoSuchProcess,
            LaunchException => MonitorError.LaunchFailed,
            _ => MonitorError.Failed,
        };
        if (seq == 0) Journal.Write($"a request without an answer failed: {failure.Message}");
        else connection.Send(new Response { Seq = seq, Error = new ErrorMessage(error, Shorten(failure.Message)) });
    }

    // A message that does not fit would be lost as a whole.
    private static string Shorten(string message) => message.Length <= 8 * 1024 ? message : message[..(8 * 1024)] + "...";

    private static MonitorException Bad(string message) => new(MonitorError.BadRequest, message);

    private static MonitorException Gone(ProcessKey key) => new(MonitorError.NoSuchProcess, $"process {key} has ended or never was");

    private SupervisedProcess Find(ProcessKey key) =>
        _processes.TryGetValue(key, out var process) && process.State != ProcessState.Starting && !process.Unclaimed ? process : throw Gone(key);

    private SupervisedProcess FindRunning(ProcessKey key) => Find(key) is { State: ProcessState.Running } process ? process : throw Gone(key);

    // --- start

    private void Launch(DaemonConnection connection, int seq, LaunchMessage message, SafeFileHandle[] descriptors)
    {
        var process = new SupervisedProcess(new ProcessKey(message.ContainerId)) { Log = message.Log, BundleDirectory = message.BundleDirectory };
        Start(connection, seq, process, message.Attachments, descriptors, message.HasNetwork ? 1 : 0,
            () => _starter.Launch(message, message.HasNetwork ? descriptors[0] : null));
    }

    private void Exec(DaemonConnection connection, int seq, ExecMessage message, SafeFileHandle[] descriptors)
    {
        var container = FindRunning(new ProcessKey(message.Key.ContainerId));
        var process = new SupervisedProcess(message.Key) { BundleDirectory = container.BundleDirectory };
        Start(connection, seq, process, message.Attachments, descriptors, 0, () => _starter.Exec(message, container));
    }

    private void Start(DaemonConnection connection, int seq, SupervisedProcess process, AttachmentMessage[] attachments, SafeFileHandle[] descriptors, int otherDescriptors, Func<StartResult> start)
    {
        if (process.Key.ContainerId.Length == 0 || process.Key.ExecId is "") throw Bad("a process without a name");
        if (_processes.ContainsKey(process.Key)) throw new MonitorException(MonitorError.KeyInUse, $"process {process.Key} runs, or its exit was not acknowledged yet");
        if (_processes.Count >= MonitorLimits.Processes) throw Bad($"{MonitorLimits.Processes} processes are the limit");
        if (descriptors.Length != otherDescriptors + attachments.Length) throw Bad($"{descriptors.Length} descriptors, {otherDescriptors + attachments.Length} expected");
        _processes.Add(process.Key, process);
        RestartIdleTimer();
        RestartTrimTimer();
        _workers.Queue(() =>
        {
            StartResult result;
            try
            {
                result = start();
            }
            catch (Exception failure)
            {
                foreach (var descriptor in descriptors) descriptor.Dispose();
                _control.Post(() =>
                {
                    Forget(process);
                    Fail(connection, seq, failure);
                });
                return;
            }
            for (var i = 0; i < otherDescriptors; i++) descriptors[i].Dispose();
            _control.Post(() => Started(connection, seq, process, result, attachments, descriptors.AsMemory(otherDescriptors)));
        });
    }

    private void Started(DaemonConnection connection, int seq, SupervisedProcess process, StartResult result, AttachmentMessage[] attachments, ReadOnlyMemory<SafeFileHandle> sockets)
    {
        process.Pid = result.Process.Pid;
        process.PidFd = result.Process.PidFd;
        process.MountNamespace = result.Process.MountNamespace;
        process.Started = _options.Clock.GetUtcNow();
        process.Stdin = result.Stdin;
        process.Terminal = result.Process.Terminal;
        process.Stdout = result.Stdout;
        process.Stderr = result.Stderr;
        process.Cgroup = result.Cgroup;
        process.Unclaimed = connection != _daemon;
        if (process.Unclaimed)
        {
            Journal.Write($"{process.Key}: killed, since the daemon that asked for it has gone");
            PidFd.SendSignal(process.PidFd, SIGKILL);
        }
        Watch(process, result.Log, attachments, sockets);
        if (!process.Unclaimed) Announce(connection, seq, process);
    }

    private void Watch(SupervisedProcess process, JsonLogFile? log, AttachmentMessage[] attachments, ReadOnlyMemory<SafeFileHandle> sockets)
    {
        process.State = ProcessState.Running;
        process.Output = new ProcessOutput(_pump, process.Key.ToString(), process.Stdout, process.Stderr, log, error => _control.Post(() => OnPartDone(process, error)));
        _pumpLoop.Post(() =>
        {
            for (var i = 0; i < attachments.Length; i++)
                process.Output.Attach(sockets.Span[i], attachments[i].Stdout, attachments[i].Stderr, attachments[i].Framing);
            process.Output.Start();
        });
        process.ExitWatch = _control.Watch(process.PidFd, PollEvents.Readable, _ => OnExit(process), failure =>
        {
            Journal.Write($"bug: {process.Key}: {failure}");
            if (process.State == ProcessState.Running) End(process, null, failure.Message);
        });
    }

    private void Announce(DaemonConnection connection, int seq, SupervisedProcess process)
    {
        while (true)
        {
            List<SafeFileHandle> descriptors = [process.PidFd];
            bool Include(SafeFileHandle? descriptor)
            {
                if (descriptor is null or { IsClosed: true }) return false;
                descriptors.Add(descriptor);
                return true;
            }
            var message = new ProcessMessage
            {
                Key = process.Key,
                Pid = process.Pid,
                Started = process.Started,
                Log = process.Log,
                BundleDirectory = process.BundleDirectory,
                CgroupPath = process.Cgroup.Path,
                Paused = process.Paused,
                HasStdin = Include(process.Stdin),
                HasTerminal = Include(process.Terminal),
                HasStdout = process.Terminal is null && Include(process.Stdout),
                HasStderr = Include(process.Stderr),
                Kept = process.Kept.Length,
            };
            descriptors.AddRange(process.Kept);
            try
            {
                connection.Send(new Response { Seq = seq, Process = message }, [.. descriptors]);
                return;
            }
            catch (ObjectDisposedException)
            {
                // The pump closed an output at its end just now: try without it.
            }
        }
    }

    private void Adopt(ProcessMessage message, SafeFileHandle[] descriptors)
    {
        var next = 0;
        SafeFileHandle? Take(bool there) => there ? descriptors[next++] : null;
        var expected = 1 + (message.HasStdin ? 1 : 0) + (message.HasTerminal ? 1 : 0) + (message.HasStdout ? 1 : 0) + (message.HasStderr ? 1 : 0) + Math.Clamp(message.Kept, 0, MonitorLimits.KeptPerProcess);
        if (descriptors.Length != expected) throw Bad($"{descriptors.Length} descriptors, {expected} expected");
        if (_processes.ContainsKey(message.Key)) throw new MonitorException(MonitorError.KeyInUse, $"process {message.Key} is known already");
        var cgroup = _cgroups.Open(message.CgroupPath) ?? _cgroups.Create(message.CgroupPath, CgroupLimits.None);
        JsonLogFile? log = null;
        try
        {
            log = _starter.OpenLog(message.Log);
        }
        catch (IOException failure)
        {
            Journal.Write($"{message.Key}: no log any more: {failure.Message}");
        }
        var process = new SupervisedProcess(message.Key)
        {
            Adopted = true,
            Log = message.Log,
            BundleDirectory = message.BundleDirectory,
            Pid = message.Pid,
            Started = message.Started,
            Cgroup = cgroup,
            Paused = message.Paused,
            PidFd = Take(true)!,
            Stdin = Take(message.HasStdin),
            Terminal = Take(message.HasTerminal),
            Stdout = Take(message.HasStdout),
            Stderr = Take(message.HasStderr),
        };
        process.Stdout ??= process.Terminal;
        process.Keep(descriptors[next..]);
        _processes.Add(process.Key, process);
        ExpectEndOf(process);
        RestartIdleTimer();
        Watch(process, log, [], default);
    }

    private void Attach(DaemonConnection connection, int seq, SupervisedProcess process, AttachmentMessage attachment, SafeFileHandle socket) => _pumpLoop.Post(() =>
    {
        try
        {
            process.Output.Attach(socket, attachment.Stdout, attachment.Stderr, attachment.Framing);
            // Answered only now: what the process says after the answer is not missed.
            _control.Post(() => Done(connection, seq));
        }
        catch (Exception failure)
        {
            socket.Dispose();
            _control.Post(() => Fail(connection, seq, failure));
        }
    });

    // --- while it runs

    private void OnCgroup(DaemonConnection connection, int seq, SupervisedProcess container, Action<ICgroup> work, Action<SupervisedProcess> done) => _workers.Queue(() =>
    {
        try
        {
            work(container.Cgroup);
            _control.Post(() =>
            {
                done(container);
                Done(connection, seq);
            });
        }
        catch (Exception failure)
        {
            _control.Post(() => Fail(connection, seq, failure));
        }
    });

    // --- the end

    /// <summary>The ends of adopted processes where pidfds forget them; null when there are none, or nobody tells them.</summary>
    private ProcessExits? _foreignExits;
    private LoopWatch? _foreignExitsWatch;

    private void ExpectEndOf(SupervisedProcess adopted)
    {
        if (PidFd.RemembersTheEnd) return;
        if (_foreignExits is null)
        {
            if (ProcessExits.TryOpen() is not { } exits) return;
            _foreignExits = exits;
            _foreignExitsWatch = _control.Watch(exits.Handle, PollEvents.Readable, _ => exits.Read(), failure => Journal.Write($"no ends of adopted processes any more: {failure.Message}"));
        }
        _foreignExits.Watch(adopted.Pid);
    }

    private ProcessEnd? EndOf(SupervisedProcess adopted)
    {
        ProcessEnd? told = null;
        if (_foreignExits is { } exits)
        {
            if (exits.TryTake(adopted.Pid, out var end)) told = end;
            if (exits.IsIdle)
            {
                _foreignExitsWatch!.Dispose();
                exits.Dispose();
                _foreignExits = null;
            }
        }
        return PidFd.TryGetEndOfForeign(adopted.PidFd, adopted.Pid, out var known) ? known : told;
    }

    private void OnExit(SupervisedProcess process)
    {
        ProcessEnd? end;
        if (process.Adopted)
        {
            end = EndOf(process);
        }
        else
        {
            end = PidFd.TryReap(process.PidFd);
            if (end is null) return; // woken for nothing
        }
        End(process, end, end is null ? "the monitor that could have waited for it has died, and the kernel told its exit code to nobody else" : null);
    }

    private void End(SupervisedProcess process, ProcessEnd? end, string? error)
    {
        process.State = ProcessState.Ending;
        process.ExitWatch!.Dispose();
        process.Stdin?.Dispose();
        process.Stdin = null;
        process.Keep([]);
        process.Exit = new ExitMessage(process.Key, process.Pid, end?.ShellCode ?? 255, false, _options.Clock.GetUtcNow(), error);
        process.PartsLeft = 1;
        if (process.Key.IsContainer)
        {
            process.PartsLeft = 2;
            process.Unmounting = true;
            _workers.Queue(() => RemoveCgroup(process));
        }
        _pumpLoop.Post(process.Output.ProcessEnded);
    }

    private void RemoveCgroup(SupervisedProcess process)
    {
        var oom = false;
        string? error = null;
        try
        {
            oom = process.Cgroup.OomKillCount() > 0;
            // With the host's pid namespace, or another container's, processes may be left in it; they are killed.
            process.Cgroup.Remove();
        }
        catch (Exception failure)
        {
            error = $"removing the cgroup: {failure.Message}";
            Journal.Write($"{process.Key}: {error}");
        }
        _control.Post(() =>
        {
            process.Exit = process.Exit! with { OomKilled = oom };
            OnPartDone(process, error);
        });
        // Its end does not wait for this millisecond. The next launch does: it mounts the same directories.
        process.MountNamespace?.Dispose();
        _control.Post(() =>
        {
            process.Unmounting = false;
            process.Unmounted?.Invoke();
        });
    }

    private void OnPartDone(SupervisedProcess process, string? error)
    {
        process.Exit = process.Exit! with { Error = process.Exit.Error ?? error };
        if (--process.PartsLeft > 0) return;
        process.State = ProcessState.Ended;
        if (process.Unclaimed) Acknowledge(new AckMessage(process.Key, process.Pid), () => { });
        else _daemon?.Send(new Response { Exit = process.Exit });
    }

    private void Acknowledge(AckMessage ack, Action done)
    {
        if (!_processes.TryGetValue(ack.Key, out var process) || process.State != ProcessState.Ended || process.Pid != ack.Pid)
        {
            done();
            return;
        }
        void Finish()
        {
            Forget(process);
            done();
        }
        if (process.Unmounting) process.Unmounted += Finish;
        else Finish();
    }

    private void Forget(SupervisedProcess process)
    {
        if (!_processes.Remove(process.Key)) return;
        process.Dispose();
        RestartIdleTimer();
        RestartTrimTimer();
    }

    // After a burst of launches their garbage would stay for as long as nothing more happens, hours perhaps.
    private void RestartTrimTimer()
    {
        _trimTimer?.Dispose();
        _trimTimer = _control.After(TrimDelay, () => _workers.Queue(Collect));
    }

    private static void Collect() => GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
}
