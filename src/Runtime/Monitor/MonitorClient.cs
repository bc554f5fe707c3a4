using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Threading.Channels;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Runtime.Spec;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>Where the monitor is found, and how it is started.</summary>
public sealed record MonitorOptions
{
    /// <summary>Directory of monitor.sock (which root alone may connect to); one monitor per exec root.</summary>
    public required string ExecRoot { get; init; }

    /// <summary>The berth-monitor executable.</summary>
    public required string MonitorPath { get; init; }

    /// <summary>How long a started monitor may take until it answers.</summary>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromSeconds(10);
}

/// <summary>
/// The daemon's side of the monitor. It connects to the one that runs or starts one; when the monitor dies it starts another, hands it the descriptors of all
/// running processes and goes on, without the caller doing anything: launches under way fail with <see cref="MonitorError.MonitorLost"/>, attachments end,
/// processes, logs and exits continue. Safe for concurrent use.
/// </summary>
public sealed class MonitorClient : IAsyncDisposable
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromSeconds(1);

    private readonly MonitorOptions _options;
    private readonly ILogger<MonitorClient> _logger;
    private readonly Lock _gate = new();
    private readonly Dictionary<ProcessKey, Entry> _entries = [];
    private readonly Channel<ProcessExit> _exits = Channel.CreateUnbounded<ProcessExit>();
    private readonly ManualResetEventSlim _disposing = new();
    private readonly InputWriter _input = new();
    private readonly byte[] _receiveBuffer = new byte[MonitorLimits.MessageBytes];
    private TaskCompletionSource<Connection> _current = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ulong _openFiles;
    private Thread? _thread;
    private volatile bool _shuttingDown;

    private MonitorClient(MonitorOptions options, ILogger<MonitorClient> logger)
    {
        _options = options;
        _logger = logger;
        _openFiles = OpenFiles.Raise(); // this side holds up to seven per process
    }

    /// <summary>Connects to the monitor of this exec root, or starts one. <see cref="Processes"/> is complete when this returns.</summary>
    /// <exception cref="MonitorException">MonitorLost: it can't be started, or does not answer.</exception>
    public static async Task<MonitorClient> ConnectOrStartAsync(MonitorOptions options, ILogger<MonitorClient> logger, CancellationToken cancellationToken)
    {
        var client = new MonitorClient(options, logger);
        client._thread = new Thread(client.Run, 256 * 1024) { Name = "monitor client", IsBackground = true };
        client._thread.Start();
        try
        {
            await client._current.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
            return client;
        }
        catch
        {
            await client.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The monitor's own pid, of the one connected last.</summary>
    public int MonitorPid { get; private set; }

    /// <summary>What runs, by this side's books: each process from its Launch until its exit is acknowledged.</summary>
    public IReadOnlyCollection<MonitoredProcess> Processes
    {
        get
        {
            lock (_gate) return [.. _entries.Values.Where(e => e is { Process: not null, Abandoned: false }).Select(e => e.Process!)];
        }
    }

    /// <summary>Ends of processes, in the order seen; an exit can be read before the await of its own LaunchAsync has resumed.
    /// Acknowledge each with <see cref="AcknowledgeAsync"/> once it is recorded. Ends when another daemon has taken over the monitor.</summary>
    public ChannelReader<ProcessExit> Exits => _exits.Reader;

    /// <summary>Starts a container: cgroup, root fs, namespaces, process. Returns once the executable runs (execve succeeded).</summary>
    /// <exception cref="MonitorException">Nothing is left behind: no process, mount, cgroup. Neither is after a cancellation, a moment later.</exception>
    public Task<MonitoredProcess> LaunchAsync(LaunchRequest request, CancellationToken cancellationToken)
    {
        List<SafeHandle> descriptors = request.NetworkNamespace is { } network ? [network] : [];
        var message = new LaunchMessage
        {
            ContainerId = request.ContainerId,
            BundleDirectory = request.BundleDirectory,
            RootFilesystem = request.RootFilesystem,
            Log = request.Log,
            OpenStdin = request.OpenStdin,
            Terminal = request.Terminal,
            Attachments = Describe(request.Attachments, descriptors),
            HasNetwork = request.NetworkNamespace is not null,
        };
        return StartAsync(new Request { Launch = message }, descriptors, cancellationToken);
    }

    /// <summary>Adds a process to a running container.</summary>
    /// <exception cref="MonitorException"/>
    public Task<MonitoredProcess> ExecAsync(ExecRequest request, CancellationToken cancellationToken)
    {
        List<SafeHandle> descriptors = [];
        var message = new ExecMessage
        {
            Key = new ProcessKey(request.ContainerId, request.ExecId),
            ProcessFile = request.ProcessFile,
            OpenStdin = request.OpenStdin,
            Terminal = request.Terminal,
            Attachments = Describe(request.Attachments, descriptors),
        };
        return StartAsync(new Request { Exec = message }, descriptors, cancellationToken);
    }

    /// <summary>Sends a signal to one process. This side's pidfd does it, so that it works even while there is no monitor.</summary>
    /// <exception cref="MonitorException">NoSuchProcess.</exception>
    public void Signal(ProcessKey key, int signal)
    {
        var process = Find(key);
        try
        {
            if (PidFd.SendSignal(process.PidFd, signal)) return;
        }
        catch (ObjectDisposedException)
        {
        }
        throw Gone(key);
    }

    /// <summary>
    /// Has the monitor keep duplicates of these descriptors until the process ends, instead of what it kept before: <see cref="KeptBy"/> of the next daemon
    /// gives them back. Nobody reads them meanwhile.
    /// </summary>
    /// <exception cref="MonitorException">Among others BadRequest: the monitor is older than this request.</exception>
    public async Task KeepAsync(ProcessKey key, IReadOnlyList<SafeFileHandle> descriptors, CancellationToken cancellationToken)
    {
        if (descriptors.Count > MonitorLimits.KeptPerProcess)
            throw new MonitorException(MonitorError.BadRequest, $"{descriptors.Count} descriptors to keep; {MonitorLimits.KeptPerProcess} are the limit");
        List<SafeHandle> own = [.. descriptors.Select(Descriptor.Duplicate)];
        lock (_gate)
        {
            if (!_entries.TryGetValue(key, out var entry) || entry.Exit is not null)
            {
                foreach (var descriptor in own) descriptor.Dispose();
                throw Gone(key);
            }
            // In the books first: should the monitor die now, its successor is handed them.
            entry.Keep([.. own.Cast<SafeFileHandle>()]);
        }
        try
        {
            await RepeatableAsync(new Request { Keep = key }, own, cancellationToken).ConfigureAwait(false);
        }
        catch (ObjectDisposedException)
        {
            throw Gone(key);
        }
    }

    /// <summary>What was given to <see cref="KeepAsync"/>, by this daemon or one before; duplicates for the caller to close.</summary>
    public IReadOnlyList<SafeFileHandle> KeptBy(ProcessKey key)
    {
        lock (_gate) return _entries.TryGetValue(key, out var entry) ? [.. entry.Kept.Select(Descriptor.Duplicate)] : [];
    }

    /// <summary>Kills every process of the container, frozen ones as well.</summary>
    /// <exception cref="MonitorException"/>
    public Task KillAllAsync(string containerId, CancellationToken cancellationToken) =>
        RepeatableAsync(new Request { KillAll = containerId }, [], cancellationToken);

    /// <summary>
    /// Writes to stdin or the terminal; waits without a thread while the process does not read. Calls for one process must not overlap.
    /// </summary>
    /// <returns>False if nobody will ever read it: closed, or the process has ended.</returns>
    public ValueTask<bool> WriteInputAsync(ProcessKey key, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        SafeFileHandle? target;
        lock (_gate) target = _entries.TryGetValue(key, out var entry) ? entry.Process?.PtyMaster ?? entry.Process?.Stdin : null;
        return target is null ? new ValueTask<bool>(false) : _input.WriteAsync(target, bytes, cancellationToken);
    }

    /// <summary>Closes stdin on both sides: the process reads end of file. Does nothing if there is none, or with a terminal.</summary>
    /// <exception cref="MonitorException"/>
    public async Task CloseStdinAsync(ProcessKey key, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (!_entries.TryGetValue(key, out var entry) || entry.Process?.Stdin is not { } stdin) return;
            entry.Process = entry.Process with { Stdin = null };
            stdin.Dispose();
        }
        try
        {
            await RepeatableAsync(new Request { CloseStdin = key }, [], cancellationToken).ConfigureAwait(false);
        }
        catch (MonitorException gone) when (gone.Error == MonitorError.NoSuchProcess)
        {
            // It ended meanwhile, and with it its stdin.
        }
    }

    /// <summary>Sets the terminal's size, which sends the process SIGWINCH.</summary>
    /// <exception cref="MonitorException">NoSuchProcess, or a process without a terminal (BadRequest).</exception>
    public void Resize(ProcessKey key, TerminalSize size)
    {
        var terminal = Find(key).PtyMaster ?? throw new MonitorException(MonitorError.BadRequest, $"process {key} has no terminal");
        try
        {
            Terminal.Resize(terminal, size.Columns, size.Rows);
        }
        catch (Exception failure) when (failure is ObjectDisposedException or LinuxException { Errno: Errno.EIO })
        {
            throw Gone(key);
        }
    }

    /// <summary>Copies output to the attachment from now on. Output made before is not repeated.</summary>
    /// <exception cref="MonitorException"/>
    public Task AttachAsync(ProcessKey key, Attachment attachment, CancellationToken cancellationToken) =>
        RepeatableAsync(new Request { Attach = new AttachMessage(key, Describe(attachment)) }, [attachment.Socket], cancellationToken);

    /// <summary>Freezes the container's cgroup; returns when every process stands still.</summary>
    /// <exception cref="MonitorException"/>
    public Task PauseAsync(string containerId, CancellationToken cancellationToken) => SetPausedAsync(containerId, true, cancellationToken);

    /// <summary>Thaws it.</summary>
    /// <exception cref="MonitorException"/>
    public Task ResumeAsync(string containerId, CancellationToken cancellationToken) => SetPausedAsync(containerId, false, cancellationToken);

    private async Task SetPausedAsync(string containerId, bool paused, CancellationToken cancellationToken)
    {
        await RepeatableAsync(paused ? new Request { Pause = containerId } : new Request { Resume = containerId }, [], cancellationToken).ConfigureAwait(false);
        lock (_gate)
        {
            if (_entries.TryGetValue(new ProcessKey(containerId), out var entry)) entry.Process = entry.Process! with { Paused = paused };
        }
    }

    /// <summary>Says that the exit is recorded: the monitor forgets it, the key is free again when this returns, this side's descriptors of it are closed.</summary>
    public Task AcknowledgeAsync(ProcessExit exit, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_entries.TryGetValue(exit.Key, out var entry) && entry.Exit?.Pid == exit.Pid)
            {
                _entries.Remove(exit.Key);
                entry.Dispose();
            }
        }
        return RepeatableAsync(new Request { Ack = new AckMessage(exit.Key, exit.Pid) }, [], cancellationToken);
    }

    /// <summary>Has the monitor collect its garbage and tell what is left.</summary>
    /// <exception cref="MonitorException">Among others BadRequest: it is older than this question.</exception>
    public async Task<MonitorMemory> MeasureAsync(CancellationToken cancellationToken)
    {
        var connection = await Volatile.Read(ref _current).Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        var reply = await RequestAsync(connection, new Request { Measure = true }, [], cancellationToken).ConfigureAwait(false);
        return reply.Memory ?? throw new MonitorException(MonitorError.Failed, "the monitor's answer has no measure");
    }

    /// <summary>Tells the monitor to end if nothing runs (else it stays), and disconnects. If it ends, it is gone when this returns.</summary>
    public async Task ShutdownAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (_current.Task.IsCompletedSuccessfully)
            {
                var connection = _current.Task.Result;
                _shuttingDown = true;
                var reply = await RequestAsync(connection, new Request { Shutdown = true }, [], cancellationToken).ConfigureAwait(false);
                if (reply.Stopping) await connection.Ended.Task.WaitAsync(_options.StartTimeout, cancellationToken).ConfigureAwait(false);
            }
        }
        catch (Exception failure) when (failure is MonitorException or TimeoutException)
        {
            // It is gone, which is what was asked for, or it stays and ends when idle.
        }
        await DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Disconnects. The monitor goes on and keeps exits for the next daemon.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposing.IsSet) return;
        _disposing.Set();
        if (_current.Task.IsCompletedSuccessfully) _current.Task.Result.Cut();
        var thread = _thread;
        if (thread is not null) await Task.Run(thread.Join).ConfigureAwait(false);
        _current.TrySetException(new ObjectDisposedException(nameof(MonitorClient)));
        _ = _current.Task.Exception;
        _exits.Writer.TryComplete();
        lock (_gate)
        {
            foreach (var entry in _entries.Values) entry.Dispose();
            _entries.Clear();
        }
        _input.Dispose();
    }

    // --- requests

    private static AttachmentMessage Describe(Attachment attachment) => new(attachment.Stdout, attachment.Stderr, attachment.Framing);

    private static AttachmentMessage[] Describe(IReadOnlyList<Attachment> attachments, List<SafeHandle> descriptors)
    {
        if (attachments.Count > MonitorLimits.AttachmentsPerMessage)
            throw new MonitorException(MonitorError.BadRequest, $"{attachments.Count} attachments; {MonitorLimits.AttachmentsPerMessage} are the limit");
        foreach (var attachment in attachments) descriptors.Add(attachment.Socket);
        return [.. attachments.Select(Describe)];
    }

    private MonitoredProcess Find(ProcessKey key)
    {
        lock (_gate) return _entries.TryGetValue(key, out var entry) && entry is { Process: { } process, Exit: null } ? process : throw Gone(key);
    }

    private static MonitorException Gone(ProcessKey key) => new(MonitorError.NoSuchProcess, $"process {key} has ended or never was");

    private async Task<MonitoredProcess> StartAsync(Request request, List<SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        var connection = await _current.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        var response = await RequestAsync(connection, request, descriptors, cancellationToken).ConfigureAwait(false);
        return response.Started ?? throw new MonitorException(MonitorError.Failed, "the monitor's answer has no process");
    }

    // For what may be done twice without harm: it is asked again when the monitor dies before it answers.
    private async Task RepeatableAsync(Request request, List<SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        while (true)
        {
            var connection = await Volatile.Read(ref _current).Task.WaitAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                await RequestAsync(connection, request, descriptors, cancellationToken).ConfigureAwait(false);
                return;
            }
            catch (MonitorException lost) when (lost.Error == MonitorError.MonitorLost && !_disposing.IsSet)
            {
                // The receiver exchanges _current before it fails the requests, so this waits for the next one.
            }
        }
    }

    private async Task<Reply> RequestAsync(Connection connection, Request request, List<SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        var pending = new Pending(request);
        request = connection.Register(pending);
        try
        {
            connection.Send(Wire.Write(request), descriptors);
        }
        catch
        {
            connection.Take(request.Seq);
            throw;
        }
        await using var registration = cancellationToken.UnsafeRegister(static (state, token) => ((Pending)state!).Abandon(token), pending).ConfigureAwait(false);
        return await pending.Task.ConfigureAwait(false);
    }

    // --- the receiver's thread

    private void Run()
    {
        var first = true;
        List<Pending> launches = [];
        while (!_disposing.IsSet)
        {
            Connection connection;
            try
            {
                connection = Establish();
            }
            catch (Exception failure)
            {
                if (failure is AggregateException { InnerException: { } inner }) failure = inner;
                if (first)
                {
                    _current.TrySetException(failure as MonitorException ?? new MonitorException(MonitorError.MonitorLost, failure.Message, failure));
                    return;
                }
                _logger.CannotStart(failure.Message);
                _disposing.Wait(RetryDelay);
                continue;
            }
            HandOver(connection, launches);
            first = false;
            launches.Clear();
            _current.TrySetResult(connection);
            if (_disposing.IsSet) connection.Cut(); // DisposeAsync may have looked before it was there

            var replaced = Receive(connection);

            Volatile.Write(ref _current, new TaskCompletionSource<Connection>(TaskCreationOptions.RunContinuationsAsynchronously));
            var lost = new MonitorException(MonitorError.MonitorLost, replaced ? "another daemon has taken over the monitor" : "the monitor has died");
            if (replaced)
            {
                _logger.Replaced();
                _current.TrySetException(lost);
                _ = _current.Task.Exception;
                _exits.Writer.TryComplete();
            }
            foreach (var pending in connection.Close())
            {
                // A launch may have got as far as a running process: what is left of it goes first. That may take more than one monitor.
                if ((pending.Discards ?? (pending.Request.Launch is null ? null : pending)) is { } launch && !replaced && !_disposing.IsSet) launches.Add(launch);
                else (pending.Discards ?? pending).Fail(lost);
            }
            if (replaced) return;
            if (_disposing.IsSet) break;
            var dead = connection.WaitForDeath(TimeSpan.FromSeconds(2));
            if (_shuttingDown) break;
            if (dead)
            {
                int count;
                lock (_gate) count = _entries.Values.Count(e => e.Exit is null);
                _logger.Died(MonitorPid, count);
            }
            else
            {
                _logger.Reconnecting();
            }
        }
        foreach (var pending in launches) pending.Fail(new MonitorException(MonitorError.MonitorLost, "the monitor has died"));
    }

    private Connection Establish()
    {
        var path = MonitorServerOptions.SocketPathOf(_options.ExecRoot);
        SafeFileHandle? socket = null;
        try
        {
            socket = UnixSocket.Connect(path, UnixSocketKind.SequencedPackets);
        }
        catch (LinuxException absent) when (absent.Errno is Errno.ENOENT or Errno.ECONNREFUSED)
        {
            StartMonitor();
            socket = UnixSocket.Connect(path, UnixSocketKind.SequencedPackets);
        }
        var connection = new Connection(socket);
        try
        {
            connection.Send(Wire.Write(new Request { Hello = new HelloMessage(Request.Version) }), []);
            int processes = 0, exits = 0;
            while (true)
            {
                if (Descriptor.Poll(socket, PollEvents.Readable, (int)_options.StartTimeout.TotalMilliseconds) == PollEvents.None)
                    throw new TimeoutException($"the monitor at {path} does not answer");
                if (!TryReceive(connection, out var response, out var descriptors)) throw new IOException("the monitor ended the connection");
                if (response.Error is { } error) throw new MonitorException(error.Error, error.Message);
                if (response.Welcome is { } welcome)
                {
                    MonitorPid = welcome.Pid;
                    connection.MonitorPidFd = PidFd.Open(welcome.Pid);
                }
                if (response.Process is not null) processes++;
                if (response.Exit is not null) exits++;
                Dispatch(connection, response, descriptors);
                if (!response.Listed) continue;
                _logger.Connected(MonitorPid, processes, exits);
                return connection;
            }
        }
        catch
        {
            connection.Close();
            throw;
        }
    }

    private void StartMonitor()
    {
        Directory.CreateDirectory(_options.ExecRoot);
        var start = new ProcessStartInfo(_options.MonitorPath, [_options.ExecRoot, _openFiles.ToString(CultureInfo.InvariantCulture)]) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        // Meant for the daemon alone; a monitor that outlives it must not answer for it.
        foreach (var name in (string[])["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]) start.Environment.Remove(name);
        using var process = Process.Start(start)!;
        var line = process.StandardOutput.ReadLineAsync();
        if (!line.Wait(_options.StartTimeout)) throw new TimeoutException($"{_options.MonitorPath} was not ready within {_options.StartTimeout}");
        if (line.Result != MonitorProgram.Ready)
            throw new MonitorException(MonitorError.MonitorLost, $"{_options.MonitorPath}: {process.StandardError.ReadToEnd().Trim()}");
        _logger.Started(_options.MonitorPath);
    }

    // What runs by our books and is new to this monitor becomes its own; what an unfinished launch left is removed, and then told.
    private void HandOver(Connection connection, List<Pending> launches)
    {
        List<Entry> orphans;
        lock (_gate) orphans = [.. _entries.Values.Where(e => e is { Exit: null, Process: not null } && !connection.Listed.Contains(e.Process.Key))];
        foreach (var orphan in orphans)
        {
            var process = orphan.Process!;
            List<SafeHandle> descriptors = [process.PidFd];
            bool Include(SafeFileHandle? descriptor)
            {
                if (descriptor is null or { IsClosed: true }) return false;
                descriptors.Add(descriptor);
                return true;
            }
            var message = orphan.Message with
            {
                Paused = process.Paused,
                HasStdin = Include(process.Stdin),
                HasTerminal = Include(process.PtyMaster),
                HasStdout = Include(orphan.Stdout),
                HasStderr = Include(orphan.Stderr),
                Kept = orphan.Kept.Length,
            };
            descriptors.AddRange(orphan.Kept);
            var adopted = new Pending(new Request { Adopt = message });
            try
            {
                connection.Send(Wire.Write(connection.Register(adopted)), descriptors);
            }
            catch (Exception failure) when (failure is MonitorException or ObjectDisposedException)
            {
                // Dead again, and the next one gets it; or the process was acknowledged just now.
                adopted.Fail(failure);
            }
            adopted.Task.ContinueWith(t => OnNotAdopted(orphan, t.Exception!.InnerException!), CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
        }
        foreach (var launch in launches) Discard(connection, launch);
    }

    private void Discard(Connection connection, Pending launch)
    {
        void Finish(Exception? failure)
        {
            if (failure is not null) _logger.NotDiscarded(launch.Request.Launch!.ContainerId, failure.Message);
            launch.Fail(new MonitorException(MonitorError.MonitorLost, "the monitor died during the launch"));
        }
        try
        {
            var discard = new Pending(new Request { DiscardCgroup = CgroupOf(launch.Request.Launch!) }) { Discards = launch };
            discard.Task.ContinueWith(t => Finish(t.Exception?.InnerException), TaskScheduler.Default);
            connection.Send(Wire.Write(connection.Register(discard)), []);
        }
        catch (MonitorException lost) when (lost.Error == MonitorError.MonitorLost)
        {
            // Registered, so the next monitor is asked.
        }
        catch (Exception failure) when (failure is IOException or JsonException or UnauthorizedAccessException)
        {
            Finish(failure);
        }
    }

    private static string CgroupOf(LaunchMessage launch) =>
        OciJson.ParseSpec(File.ReadAllBytes(Path.Combine(launch.BundleDirectory, "config.json"))).Linux?.CgroupsPath ?? throw new IOException("config.json has no linux.cgroupsPath");

    private void OnNotAdopted(Entry entry, Exception failure)
    {
        if (failure is ObjectDisposedException or MonitorException { Error: MonitorError.MonitorLost }) return;
        var process = entry.Process!;
        _logger.NotAdopted(process.Key, failure.Message);
        try
        {
            // A process that nobody looks after must not go on.
            PidFd.SendSignal(process.PidFd, 9);
        }
        catch (Exception e) when (e is LinuxException or ObjectDisposedException)
        {
        }
        Ended(new ProcessExit(process.Key, process.Pid, 255, false, DateTimeOffset.UtcNow, $"lost with its monitor: {failure.Message}"), null);
    }

    /// <returns>True if another daemon has taken over.</returns>
    private bool Receive(Connection connection)
    {
        try
        {
            while (TryReceive(connection, out var response, out var descriptors))
            {
                if (response.Replaced) return true;
                Dispatch(connection, response, descriptors);
            }
        }
        catch (Exception broken)
        {
            // Whatever it is, the daemon goes on: connected anew, it asks for the list again.
            _logger.ReceiverFailed(broken);
            _disposing.Wait(RetryDelay);
        }
        return false;
    }

    private bool TryReceive(Connection connection, out Response response, out SafeFileHandle[] descriptors)
    {
        var length = UnixSocket.TryReceive(connection.Socket, _receiveBuffer, MonitorLimits.DescriptorsPerMessage, wait: true, out descriptors, out _);
        if (length <= 0)
        {
            response = null!;
            return false;
        }
        try
        {
            response = Wire.ReadResponse(_receiveBuffer.AsSpan(0, length));
            return true;
        }
        catch
        {
            foreach (var descriptor in descriptors) descriptor.Dispose();
            throw;
        }
    }

    private void Dispatch(Connection connection, Response response, SafeFileHandle[] descriptors)
    {
        if (response.Exit is { } exit)
        {
            Ended(new ProcessExit(exit.Key, exit.Pid, exit.ExitCode, exit.OomKilled, exit.Time, exit.Error), connection);
            return;
        }
        Entry? entry = null;
        if (response.Process is { } message)
        {
            if (response.Seq == 0) connection.Listed.Add(message.Key);
            entry = Enter(message, descriptors);
        }
        if (response.Seq == 0 || connection.Take(response.Seq) is not { } pending) return;
        if (response.Error is { } error)
        {
            pending.Fail(new MonitorException(error.Error, error.Message));
            return;
        }
        if (pending.Complete(new Reply(entry?.Process, response.Stopping, response.Memory)) || entry is null) return;

        // Cancelled meanwhile: nobody knows of this process, so it goes, and nobody hears of its end.
        lock (_gate) entry.Abandoned = true;
        PidFd.SendSignal(entry.Process!.PidFd, 9);
    }

    private Entry Enter(ProcessMessage message, SafeFileHandle[] descriptors)
    {
        var next = 0;
        SafeFileHandle? Take(bool there) => there ? descriptors[next++] : null;
        lock (_gate)
        {
            if (_entries.TryGetValue(message.Key, out var known) && known.Process?.Pid == message.Pid)
            {
                // Back at the same monitor: ours are as good.
                foreach (var descriptor in descriptors) descriptor.Dispose();
                return known;
            }
            known?.Dispose();
            var pidFd = Take(true)!;
            var stdin = Take(message.HasStdin);
            var terminal = Take(message.HasTerminal);
            var entry = new Entry(message, new MonitoredProcess
            {
                Key = message.Key,
                Pid = message.Pid,
                Started = message.Started,
                PidFd = pidFd,
                Stdin = stdin,
                PtyMaster = terminal,
                Paused = message.Paused,
            })
            {
                Stdout = Take(message.HasStdout),
                Stderr = Take(message.HasStderr),
            };
            entry.Keep(descriptors[next..]);
            _entries[message.Key] = entry;
            return entry;
        }
    }

    private void Ended(ProcessExit exit, Connection? connection)
    {
        lock (_gate)
        {
            if (!_entries.TryGetValue(exit.Key, out var entry)) _entries[exit.Key] = entry = new Entry(null!, null);
            if (entry.Exit is not null) return; // told before, and not acknowledged yet
            entry.Exit = exit;
            entry.CloseStreams();
            if (!entry.Abandoned)
            {
                _exits.Writer.TryWrite(exit);
                return;
            }
            _entries.Remove(exit.Key);
            entry.Dispose();
        }
        try
        {
            connection?.Send(Wire.Write(new Request { Ack = new AckMessage(exit.Key, exit.Pid) }), []);
        }
        catch (MonitorException)
        {
            // The connection is lost, and with it the monitor's memory of this.
        }
    }

    /// <summary>A process, or (Process null) an exit left from an earlier daemon's time.</summary>
    private sealed class Entry(ProcessMessage message, MonitoredProcess? process) : IDisposable
    {
        public ProcessMessage Message { get; } = message;
        public MonitoredProcess? Process { get; set; } = process;
        public SafeFileHandle? Stdout { get; init; }
        public SafeFileHandle? Stderr { get; init; }
        public ProcessExit? Exit { get; set; }
        public bool Abandoned { get; set; }

        public SafeFileHandle[] Kept { get; private set; } = [];

        public void Keep(SafeFileHandle[] descriptors)
        {
            foreach (var former in Kept) former.Dispose();
            Kept = descriptors;
        }

        public void CloseStreams()
        {
            Keep([]);
            Process?.Stdin?.Dispose();
            Stdout?.Dispose();
            Stderr?.Dispose();
        }

        public void Dispose()
        {
            CloseStreams();
            Process?.PidFd.Dispose();
            Process?.PtyMaster?.Dispose();
        }
    }

    private readonly record struct Reply(MonitoredProcess? Started, bool Stopping, MonitorMemory? Memory);

    private sealed class Pending(Request request)
    {
        private readonly TaskCompletionSource<Reply> _reply = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Request Request { get; } = request;

        /// <summary>Of a DiscardCgroup: the launch that is told to have failed once this is done.</summary>
        public Pending? Discards { get; init; }

        public Task<Reply> Task => _reply.Task;

        /// <returns>False if the caller has gone.</returns>
        public bool Complete(Reply reply) => _reply.TrySetResult(reply);

        public void Fail(Exception failure) => _reply.TrySetException(failure);

        public void Abandon(CancellationToken cancellationToken) => _reply.TrySetCanceled(cancellationToken);
    }

    private sealed class Connection(SafeFileHandle socket)
    {
        private readonly Lock _sending = new();
        private readonly Dictionary<int, Pending> _pending = [];
        private int _seq;
        private bool _closed;

        public SafeFileHandle Socket { get; } = socket;
        public SafeFileHandle? MonitorPidFd { get; set; }
        public HashSet<ProcessKey> Listed { get; } = [];

        /// <summary>Completes when the connection has ended and, if it has, the monitor too.</summary>
        public TaskCompletionSource Ended { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Request Register(Pending pending)
        {
            lock (_pending)
            {
                if (_closed) throw new MonitorException(MonitorError.MonitorLost, "the monitor has died");
                _pending.Add(++_seq, pending);
                return pending.Request with { Seq = _seq };
            }
        }

        public Pending? Take(int seq)
        {
            lock (_pending) return _pending.Remove(seq, out var pending) ? pending : null;
        }

        public void Send(byte[] message, List<SafeHandle> descriptors)
        {
            lock (_sending)
            {
                try
                {
                    if (UnixSocket.TrySend(Socket, message, [], CollectionsMarshal.AsSpan(descriptors), wait: true, out var errno) >= 0) return;
                    throw new MonitorException(MonitorError.MonitorLost, $"the monitor has died (sendmsg: {errno})");
                }
                catch (ObjectDisposedException) when (Socket.IsClosed)
                {
                    throw new MonitorException(MonitorError.MonitorLost, "the monitor has died");
                }
            }
        }

        /// <summary>Wakes the receiver, which then closes.</summary>
        public void Cut()
        {
            try
            {
                UnixSocket.Shutdown(Socket);
            }
            catch (ObjectDisposedException)
            {
            }
        }

        /// <returns>The requests nobody will answer.</returns>
        public List<Pending> Close()
        {
            Socket.Dispose();
            lock (_pending)
            {
                _closed = true;
                List<Pending> left = [.. _pending.Values];
                _pending.Clear();
                return left;
            }
        }

        public bool WaitForDeath(TimeSpan time)
        {
            var dead = MonitorPidFd is null || Descriptor.Poll(MonitorPidFd, PollEvents.Readable, (int)time.TotalMilliseconds) != PollEvents.None;
            MonitorPidFd?.Dispose();
            Ended.TrySetResult();
            return dead;
        }
    }
}
