using System.Text.Json;
using System.Text.RegularExpressions;
using Berth.Images;
using Berth.Linux;
using Berth.Networks;
using Berth.Runtime;
using Berth.Runtime.Monitor;
using Berth.Runtime.Spec;
using Microsoft.Win32.SafeHandles;

namespace Berth.Engine;

// Start: join the network while everything else is prepared, write the bundle, let the monitor launch, record it. With the gate held from the first to the
// last. Until the monitor has launched, a crash leaves a stopped container; after that the monitor knows more than container.json, and the next daemon asks it.
public sealed partial class ContainerService
{
    private const int ExitUnknown = 128, ExitNotFound = 127, ExitNotRunnable = 126;

    /// <exception cref="EngineException">NotModified when it runs; Conflict when it is paused or being removed; InvalidParameter when the executable is missing or not runnable.</exception>
    public async Task StartAsync(string idOrName, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        CheckStartable(container);
        await container.Gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            CheckStartable(container);
            container.Restart.Cancel();
            await StartOrExplainAsync(container, byUser: true).ConfigureAwait(false);
        }
        finally
        {
            container.Gate.Release();
        }
    }

    /// <summary>With the gate held. Begun is finished: a client that goes away does not leave a container half started, hence no token.</summary>
    private async Task StartOrExplainAsync(Container container, bool byUser)
    {
        try
        {
            await StartLockedAsync(container, byUser).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            throw await FailedStartAsync(container, e, byUser).ConfigureAwait(false);
        }
    }

    private static void CheckStartable(Container container)
    {
        var state = container.State;
        // A paused container runs, too: this first.
        if (state.Paused) throw EngineException.Conflict("cannot start a paused container, try unpause instead");
        if (state.Running) throw EngineException.NotModified("container is already running");
        if (container.Removing || container.Removed || state.Dead) throw EngineException.Conflict("container is marked for removal and cannot be started");
    }

    /// <summary>With the gate held. Throws after undoing what was made; the state is the caller's to set (<see cref="FailedStartAsync"/>).</summary>
    private async Task StartLockedAsync(Container container, bool byUser)
    {
        var record = container.Record;
        var host = record.HostConfig;
        var attachments = container.TakePending();
        container.Size.Changed();
        Task<NetworkSandbox>? join = null;
        var bundle = _core.BundleOf(record.Id);
        var (joined, mounted) = (false, false);
        SandboxState? networks = null;
        ShmMount? shm = null;
        try
        {
            var linked = LinkedTo(record);
            if (!Modes.IsContainer(host.NetworkMode))
            {
                var request = SandboxFor(record);
                // On the pool: what it does before its first wait would otherwise not run beside the preparation below.
                join = Task.Run(() => _core.Networks.JoinAsync(record.Id, request, CancellationToken.None));
            }
            var root = RootOf(record);
            await MountVolumesAsync(record, record.Id).ConfigureAwait(false);
            using var images = new UndoStack();
            MountImages(record, bundle, images);
            var input = Prepare(record, out shm);
            Directory.CreateDirectory(bundle, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            var log = PrepareLog(container, record);

            using var sandbox = join is null ? null : await NetworkErrors(join).ConfigureAwait(false);
            joined = join is not null;
            using var other = Modes.IsContainer(host.NetworkMode) ? OpenNetworkOf(record) : null;
            networks = sandbox?.State;
            input = input with { Container = WithSharedHostname(record), Mounts = [.. input.Mounts, .. WriteFiles(container, record, networks, linked)], LinkEnvironment = LinkEnvironment(record, linked) };
            var spec = SpecCompiler.Compile(input);
            File.WriteAllBytes(Path.Combine(bundle, "config.json"), OciJson.Serialize(spec));

            var launch = new LaunchRequest
            {
                ContainerId = record.Id, BundleDirectory = bundle, RootFilesystem = root, Log = log, OpenStdin = record.Config.OpenStdin,
                Terminal = record.Config.Tty ? new TerminalSize((ushort)host.ConsoleSize[1], (ushort)host.ConsoleSize[0]) : null,
                Attachments = [.. attachments.Where(a => a.Attachment is not null).Select(a => a.Attachment!)],
                NetworkNamespace = sandbox?.Namespace ?? other,
            };
            if (launch.Attachments.Count > MonitorLimits.AttachmentsPerMessage)
                launch = launch with { Attachments = [.. launch.Attachments.Take(MonitorLimits.AttachmentsPerMessage)] };
            // Before the launch: killed right after it, the next daemon adopts a process whose addresses only this file tells.
            if (networks is not null) File.WriteAllBytes(SandboxFile(bundle), JsonSerializer.SerializeToUtf8Bytes(networks, EngineJson.Default.SandboxState));
            foreach (var mount in record.Mounts.Where(m => m.Type == "volume")) EmitMount(record, mount);
            mounted = true;

            var process = await LaunchAsync(launch).ConfigureAwait(false);
            if (HasNames(networks)) await KeepNameSocketsAsync(record.Id).ConfigureAwait(false);
            EmitNetworks(networks, "connect");

            var started = _core.Time.GetUtcNow();
            var next = record with
            {
                Sandbox = networks, RequestedEndpoints = WithNetworkIds(record.RequestedEndpoints, networks), StartedBefore = true, ManuallyStopped = !byUser && record.ManuallyStopped, EndWanted = false, RestartCount = byUser ? 0 : record.RestartCount,
                State = new RunState { Running = true, Pid = process.Pid, StartedAt = started, FinishedAt = record.State.FinishedAt, Health = HealthAtStart(record) },
            };
            container.Process = process;
            StoreAndPublish(container, next);
            foreach (var attachment in attachments) attachment.Started(process);
            _shipping.Start(container);
            _core.Emit(next, "start");
            BeginHealthChecks(container);
            BeginOomWatch(container);
            TellLinked(next);
        }
        catch
        {
            foreach (var attachment in attachments) attachment.Failed();
            if (join is not null) await LeaveFailedJoinAsync(record.Id, join, joined).ConfigureAwait(false);
            // As Docker: a start that failed connected nothing, and is heard of by what it gives back.
            EmitNetworks(networks, "disconnect");
            if (mounted) EmitUnmounts(record);
            shm?.Unmount();
            UnmountVolumes(record, record.Id);
            TrashCan.Delete(bundle);
            throw;
        }
    }

    // For as long as the launch takes: from then on the container has its own copies.
    private void MountImages(ContainerRecord record, string bundle, UndoStack undo)
    {
        foreach (var mount in record.Mounts)
        {
            if (mount.Type != "image" || !Digest.TryParse(mount.ImageId, out var image)) continue;
            var layers = LayerErrors.Translate(() => _core.Images.HoldLayers(ImageMount.Holder(record.Id, mount.Destination), image));
            var mounted = ImageMount.Mount(ImageMount.PathIn(bundle, mount.Destination), layers);
            undo.Push(mounted.Dispose);
        }
    }

    /// <param name="user">For whom: a volume stays mounted until all have given it back.</param>
    private async Task MountVolumesAsync(ContainerRecord record, string user)
    {
        foreach (var mount in record.Mounts)
        {
            if (mount.Type == "volume") await _core.Volumes.MountAsync(mount.Name, user).ConfigureAwait(false);
        }
    }

    private void UnmountVolumes(ContainerRecord record, string user)
    {
        foreach (var mount in record.Mounts)
        {
            if (mount.Type != "volume") continue;
            try
            {
                _core.Volumes.Unmount(mount.Name, user);
            }
            catch (LinuxException e)
            {
                _core.Logger.CleanupFailed(record.Id, "unmounting volume " + mount.Name, e);
            }
        }
    }

    private LogSettings PrepareLog(Container container, ContainerRecord record)
    {
        var settings = LogConfiguration.SettingsFor(record, container.Directory);
        // Refused here if it can't be used; where the lines go is looked for once there are any.
        if (LogDrivers.IsRemote(record.HostConfig.LogConfig.Type)) LogShipping.Check(record, _core.Options);
        if (settings.Path is { } path && Path.GetDirectoryName(path) != container.Directory)
            Directory.CreateDirectory(Path.GetDirectoryName(path)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return settings;
    }

    private static string SandboxFile(string bundle) => Path.Combine(bundle, "networks.json");

    /// <summary>The networks of a start whose recording was cut short; null when there are none.</summary>
    internal SandboxState? ReadSandbox(string id)
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(SandboxFile(_core.BundleOf(id))), EngineJson.Default.SandboxState);
        }
        catch (Exception e) when (e is IOException or JsonException)
        {
            return null;
        }
    }

    private async Task<MonitoredProcess> LaunchAsync(LaunchRequest request)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                return await _core.Monitor.LaunchAsync(request, CancellationToken.None).ConfigureAwait(false);
            }
            catch (MonitorException e) when (e.Error == MonitorError.MonitorLost && attempt == 0)
            {
                // It may have launched before it died; then the process is known to its successor.
                var key = new ProcessKey(request.ContainerId);
                if (_core.Monitor.Processes.FirstOrDefault(p => p.Key == key) is { } found) return found;
            }
        }
    }

    private async Task LeaveFailedJoinAsync(string id, Task<NetworkSandbox> join, bool joined)
    {
        try
        {
            if (!joined) (await join.ConfigureAwait(false)).Dispose();
            await _core.Networks.LeaveAsync(id, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e) when (e is NetworkException or IOException)
        {
            // Either the join itself failed, which is what the caller is being told, or nothing is left of it.
        }
    }

    private static async Task<NetworkSandbox> NetworkErrors(Task<NetworkSandbox> join)
    {
        try
        {
            return await join.ConfigureAwait(false);
        }
        catch (NetworkException e)
        {
            var known = LayerErrors.From(e);
            const string Prefix = "failed to set up container networking";
            throw e.Message.StartsWith(Prefix, StringComparison.Ordinal) ? known : new EngineException(known.Kind, $"{Prefix}: {e.Message}", e);
        }
    }

    /// <summary>Records why a start failed, as dockerd does: the state stays what it was (created or exited), with the error and 126, 127 or 128.</summary>
    private async Task<EngineException> FailedStartAsync(Container container, Exception failure, bool byUser)
    {
        var (error, exitCode) = Explain(failure);
        var record = container.Record;
        var next = record with { Sandbox = null, State = record.State with { Running = false, Restarting = false, Paused = false, Pid = 0, ExitCode = exitCode, Error = error.Message } };
        StoreOrLog(container, next);
        // Nothing ran, so nothing ended: who asked for the start is told, who waits for an end goes on waiting. A restart by policy was a run that has ended.
        if (byUser) container.Publish(next);
        else container.PublishStopped(next);
        if (record.HostConfig.AutoRemove) await AutoRemoveAsync(container, gateHeld: true).ConfigureAwait(false);
        return error;
    }

    /// <summary>dockerd's classes of failure; the words decide, since they come from several layers.</summary>
    internal static (EngineException Error, int ExitCode) Explain(Exception failure)
    {
        if (failure is EngineException known) return (known, ExitUnknown);
        if (failure is ImageException image) return (LayerErrors.From(image), ExitUnknown);
        if (failure is not MonitorException and not LaunchException)
            return (EngineException.System(failure.Message, failure), ExitUnknown);
        var text = failure.Message;
        bool Has(string part) => text.Contains(part, StringComparison.OrdinalIgnoreCase);
        if (Has("permission denied")) return (new EngineException(ErrorKind.InvalidParameter, text, failure), ExitNotRunnable);
        if (Has("is a directory")) return (new EngineException(ErrorKind.InvalidParameter, text + ": permission denied", failure), ExitNotRunnable);
        // dockerd makes the directory itself, before the runtime sees the container.
        if (NoDirectory().Match(text) is { Success: true } match) return (EngineException.System($"Cannot mkdir: {match.Groups[1].Value} is not a directory", failure), ExitUnknown);
        if (Has("not a directory"))
        {
            const string Hint = ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type";
            return (new EngineException(ErrorKind.InvalidParameter, Has("vice-versa") ? text : text + Hint, failure), ExitNotFound);
        }
        if (Has("executable file not found") || Has("no such file or directory")) return (new EngineException(ErrorKind.InvalidParameter, text, failure), ExitNotFound);
        return failure is MonitorException { Error: MonitorError.ExecutableNotRunnable }
            ? (new EngineException(ErrorKind.System, text, failure), ExitNotRunnable)
            : (EngineException.System(text, failure), ExitUnknown);
    }

    [GeneratedRegex("""container init: chdir to cwd \("(.*)"\) set in config\.json failed: not a directory$""")]
    private static partial Regex NoDirectory();

    private RootFilesystem RootOf(ContainerRecord record)
    {
        if (record.ImageId.Length > 0)
        {
            return _core.Images.TryGetWritableLayer(record.Id, out var layer)
                // One that goes when it ends does not come back after the machine went down, either.
                ? new RootFilesystem(layer.LowerDirectories, layer.UpperDirectory, layer.WorkDirectory, IsVolatile: record.HostConfig.AutoRemove)
                : throw EngineException.System($"the writable layer of container {record.Id} is gone");
        }
        // Made from no image: nothing but the places for its mounts.
        var overlay = Path.Combine(_core.Containers.DirectoryOf(record.Id), "overlay");
        foreach (var name in (ReadOnlySpan<string>)["upper", "work"]) Directory.CreateDirectory(Path.Combine(overlay, name));
        return new RootFilesystem([_core.Images.MountPoints], Path.Combine(overlay, "upper"), Path.Combine(overlay, "work"));
    }

    /// <summary>Looks up what the compiler has to be told.</summary>
    private SpecInput Prepare(ContainerRecord record, out ShmMount? shm)
    {
        shm = null;
        var host = record.HostConfig;
        if (host.DeviceRequests is { Length: > 0 } requests)
        {
            var capabilities = string.Join(' ', (requests[0].Capabilities ?? []).Select(c => $"[{string.Join(' ', c)}]"));
            throw EngineException.System($"could not select device driver {GoText.Quote(requests[0].Driver)} with capabilities: [{capabilities}]");
        }
        var (devices, rules) = host.Privileged || host.Devices is { Length: > 0 } || host.DeviceCgroupRules is { Length: > 0 } ? Devices.Resolve(host) : ([], []);
        string? shmPath = null, ipcPath = null, pidPath = null;
        if (Modes.IsContainer(host.PidMode)) pidPath = $"/proc/{RunningPid(Modes.ContainerOf(host.PidMode), "failed to join PID namespace")}/ns/pid";
        if (Modes.IsContainer(host.IpcMode))
        {
            var donor = Modes.ContainerOf(host.IpcMode);
            ipcPath = $"/proc/{RunningPid(donor, "failed to join IPC namespace")}/ns/ipc";
            shmPath = _core.Containers.Get(donor).Record.HostConfig.IpcMode switch
            {
                "host" => "/dev/shm",
                "shareable" => ShmMount.PathIn(_core.BundleOf(donor)),
                _ => throw EngineException.Invalid($"failed to join IPC namespace: container {donor}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"),
            };
        }
        else if (Modes.IsHost(host.IpcMode)) shmPath = "/dev/shm";
        var user = ResolveUser(record, record.Config.User);
        var input = new SpecInput
        {
            Container = record, Facts = _core.Facts, Options = _core.Options, User = user, Mounts = MountsOf(record), PidNamespacePath = pidPath, IpcNamespacePath = ipcPath,
            InitPath = (host.Init ?? _core.Options.DefaultInit) && host.PidMode.Length == 0 ? InitPath() : null,
            Devices = devices, DeviceRules = rules, BlockDevices = Devices.BlockDevices(host), Seccomp = Seccomp.For(record, _core.Options),
        };
        if (host.IpcMode == "shareable" && !record.Mounts.Any(m => m.Destination == "/dev/shm"))
        {
            shm = ShmMount.Mount(_core.BundleOf(record.Id), host.ShmSize);
            shmPath = shm.Path;
        }
        return input with { ShmPath = shmPath };
    }

    private string InitPath() => _core.Options.InitPath ?? (_initPath ??= Runtime.Init.InitProgram.WriteTo(_core.Options.ExecRoot));
    private string? _initPath;

    private int RunningPid(string id, string purpose)
    {
        if (!_core.Containers.TryGet(id, out var other)) throw EngineException.System($"{purpose}: No such container: {id}");
        var state = other.State;
        if (!state.Running) throw EngineException.System($"{purpose}: container {id} is not running");
        if (state.Restarting) throw EngineException.System($"{purpose}: Container {id} is restarting, wait until the container is running");
        return state.Pid;
    }

    internal ResolvedUser ResolveUser(ContainerRecord record, string spec)
    {
        var groups = record.HostConfig.GroupAdd ?? [];
        try
        {
            if (record.ImageId.Length == 0) return Users.Resolve(spec, groups, null, null);
            using var files = _core.Images.OpenFiles(record.Id);
            return Users.Resolve(spec, groups, files);
        }
        catch (EngineException e)
        {
            // At start it is no longer the client's request that is wrong: dockerd answers 500.
            throw EngineException.System(e.Message);
        }
    }

    private List<SpecMount> MountsOf(ContainerRecord record)
    {
        var mounts = new List<SpecMount>();
        List<MountEntry>? table = null;
        foreach (var mount in record.Mounts)
        {
            if (record.HostConfig.Tmpfs?.ContainsKey(mount.Destination) == true) continue;
            if (mount.Type == "tmpfs")
            {
                mounts.Add(new SpecMount { Destination = mount.Destination, TmpfsOptions = mount.TmpfsOptions });
                continue;
            }
            CheckReadOnly(mount);
            var source = mount.Source;
            if (mount.Subpath.Length > 0) source = SubpathOf(mount);
            if (mount.CreateSource && !Path.Exists(source))
                Directory.CreateDirectory(source, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute);
            if (mount.Propagation is "shared" or "rshared" or "slave" or "rslave") CheckPropagation(mount, source, table ??= MountTable.Read());
            mounts.Add(new SpecMount
            {
                Destination = mount.Destination, Source = source, ReadWrite = mount.ReadWrite, Propagation = mount.Propagation, NonRecursive = mount.NonRecursive,
                ReadOnlyNonRecursive = mount.ReadOnlyNonRecursive,
            });
        }
        foreach (var (destination, options) in record.HostConfig.Tmpfs ?? []) mounts.Add(new SpecMount { Destination = Validation.CleanPath(destination), TmpfsOptions = options });
        return mounts;
    }

    private static void CheckReadOnly(MountRecord mount)
    {
        string? conflict = (mount.ReadWrite, mount.ReadOnlyNonRecursive, mount.ReadOnlyForceRecursive) switch
        {
            (true, true, _) => "!ReadOnly && BindOptions.ReadOnlyNonRecursive",
            (true, _, true) => "!ReadOnly && BindOptions.ReadOnlyForceRecursive",
            (_, true, true) => "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive",
            _ => null,
        };
        if (conflict is not null) throw EngineException.System("mount options conflict: " + conflict);
    }

    // Mounts can only be passed on where the source's mount does so.
    private static void CheckPropagation(MountRecord mount, string source, List<MountEntry> table)
    {
        using var opened = FileAt.Open(null, source, Linux.Abi.OpenFlags.Path);
        var real = FileAt.ReadLink(null, $"/proc/self/fd/{opened.DangerousGetHandle()}");
        var on = MountTable.Of(real, table) ?? throw EngineException.System($"Can't find mount point of {source}");
        if (on.Shared) return;
        if (mount.Propagation is "shared" or "rshared") throw EngineException.System($"path {source} is mounted on {on.Point} but it is not a shared mount");
        // Given because of where it lies and not because it was asked for.
        if (on.Slave || !mount.PropagationGiven) return;
        throw EngineException.System($"path {source} is mounted on {on.Point} but it is not a shared or slave mount");
    }

    // Whoever writes to the volume may have put a link where the directory was: it must not lead out.
    private static string SubpathOf(MountRecord mount)
    {
        using var root = FileAt.Open(null, mount.Source, Linux.Abi.OpenFlags.Directory | Linux.Abi.OpenFlags.Path);
        var path = $"{mount.Source}/{mount.Subpath}";
        using var found = FileAt.TryOpen(root, mount.Subpath, Linux.Abi.OpenFlags.Path, Linux.Abi.ResolveFlags.Beneath, out var errno)
            ?? throw EngineException.System(errno == Errno.EXDEV ? $"path escapes from {mount.Source}: {path}" : $"cannot access path {path}: lstat {path}: {errno.DescribeAsGo()}");
        return FileAt.ReadLink(null, $"/proc/self/fd/{found.DangerousGetHandle()}");
    }

    // Who shares a network namespace shares the name that resolves there.
    private ContainerRecord WithSharedHostname(ContainerRecord record)
    {
        if (!Modes.IsContainer(record.HostConfig.NetworkMode) || !_core.Containers.TryGet(Modes.ContainerOf(record.HostConfig.NetworkMode), out var other)) return record;
        var config = other.Record.Config;
        return record with { Config = record.Config with { Hostname = config.Hostname, Domainname = config.Domainname } };
    }

    private SafeFileHandle OpenNetworkOf(ContainerRecord record)
    {
        var id = Modes.ContainerOf(record.HostConfig.NetworkMode);
        if (!_core.Containers.TryGet(id, out var other)) throw EngineException.System($"joining network namespace of container: No such container: {id}");
        if (other.Id == record.Id) throw EngineException.System("cannot join own network namespace");
        var state = other.State;
        if (!state.Running) throw EngineException.Conflict($"cannot join network namespace of a non running container: container {other.Name} is {state.Status()}");
        if (state.Restarting) throw EngineException.Conflict($"Container {id} is restarting, wait until the container is running");
        return FileAt.Open(null, $"/proc/{state.Pid}/ns/net", Linux.Abi.OpenFlags.ReadOnly);
    }

    /// <summary>Writes hostname, hosts and resolv.conf and returns their mounts; with container:x they are the other container's.</summary>
    private List<SpecMount> WriteFiles(Container container, ContainerRecord record, SandboxState? networks, List<(string Alias, ContainerRecord Child)> linked)
    {
        var host = record.HostConfig;
        var directory = container.Directory;
        var taken = record.Mounts.Select(m => m.Destination).ToHashSet(StringComparer.Ordinal);
        if (Modes.IsContainer(host.NetworkMode)) directory = _core.Containers.Get(Modes.ContainerOf(host.NetworkMode)).Directory;
        else
        {
            var ownNetwork = !Modes.IsHost(host.NetworkMode);
            Write("hostname", record.Config.Hostname + "\n");
            Write("hosts", HostsText(record, networks, linked));
            var resolution = HasNames(networks) ? NameFiles.For(record, _core.Options).Text : NameFiles.WithoutNames(record, networks, _core.Options);
            Write("resolv.conf", resolution);
            // To tell later whether the container has changed it.
            if (!HasNames(networks)) Write("resolv.conf.made", resolution);
        }
        var mounts = new List<SpecMount>();
        foreach (var name in (ReadOnlySpan<string>)["resolv.conf", "hostname", "hosts"])
        {
            if (!taken.Contains("/etc/" + name))
                mounts.Add(new SpecMount { Destination = "/etc/" + name, Source = Path.Combine(directory, name), ReadWrite = !host.ReadonlyRootfs, Propagation = "rprivate", ReadOnlyNonRecursive = true });
        }
        return mounts;

        void Write(string name, string text)
        {
            var path = Path.Combine(directory, name);
            File.WriteAllText(path, text);
            // Whatever our umask: every user in the container reads them.
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        }
    }

    private void EmitMount(ContainerRecord record, MountRecord mount) => _core.Events.Emit("volume", "mount", mount.Name, new()
    {
        ["driver"] = mount.Driver, ["container"] = record.Id, ["destination"] = mount.Destination, ["read/write"] = mount.ReadWrite ? "true" : "false", ["propagation"] = mount.Propagation,
    });
}
