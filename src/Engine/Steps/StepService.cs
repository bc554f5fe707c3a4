using System.Collections.Concurrent;
using System.Net.Sockets;
using Berth.Api;
using Berth.Images;
using Berth.Networks;
using Berth.Runtime;
using Berth.Runtime.Launching;
using Berth.Runtime.Monitor;
using Berth.Runtime.Spec;

namespace Berth.Engine;

/// <summary>A directory or file of the host in a step, or a tmpfs.</summary>
/// <param name="Source">Null: a tmpfs.</param>
public sealed record StepMount(string Destination, string? Source, bool ReadOnly, string TmpfsOptions = "");

/// <summary>A command of a build: a container that nobody sees and that is gone when it has ended.</summary>
public sealed record StepRequest
{
    public required WritableLayer Layer { get; init; }
    public required IReadOnlyList<string> Arguments { get; init; }
    public IReadOnlyList<string> Environment { get; init; } = [];
    public string WorkingDirectory { get; init; } = "/";

    /// <summary>As USER has it.</summary>
    public string User { get; init; } = "";

    /// <summary>default, none, host, or a network.</summary>
    public string Network { get; init; } = "default";
    public string Hostname { get; init; } = "buildkitsandbox";
    public bool Privileged { get; init; }
    public IReadOnlyList<StepMount> Mounts { get; init; } = [];

    /// <summary>Limits, extra hosts, ulimits, shm size, security options, cgroup parent; what else a host configuration has is not looked at.</summary>
    public HostConfig Limits { get; init; } = new();
}

/// <summary>Runs the commands of builds. A daemon that dies takes them along: the next one ends what the monitor still has, as it does with everything that no container owns.</summary>
public sealed class StepService
{
    private readonly EngineCore _core;
    private readonly ConcurrentDictionary<string, TaskCompletionSource<ProcessExit>> _running = new(StringComparer.Ordinal);

    private readonly ContainerService _containers;

    internal StepService(EngineCore core, ContainerService containers) => (_core, _containers) = (core, containers);

    /// <summary>A step has ended; false when it is none.</summary>
    internal bool TryEnd(ProcessExit exit) => _running.TryGetValue(exit.Key.ContainerId, out var end) && end.TrySetResult(exit);

    /// <summary>Runs a command to its end. Cancelled, it is killed first.</summary>
    /// <returns>Its exit status.</returns>
    /// <exception cref="EngineException">It could not be started, in the words of a container's start.</exception>
    public async Task<int> RunAsync(StepRequest step, Stream stdout, Stream stderr, CancellationToken cancellationToken)
    {
        var id = Names.NewId();
        var bundle = _core.BundleOf(id);
        var end = _running[id] = new TaskCompletionSource<ProcessExit>(TaskCreationOptions.RunContinuationsAsynchronously);
        var (joined, launched) = (false, false);
        try
        {
            var record = RecordOf(id, step);
            Directory.CreateDirectory(bundle, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            using var sandbox = await JoinAsync(record).ConfigureAwait(false);
            joined = true;
            var spec = SpecCompiler.Compile(new SpecInput
            {
                Container = record, Facts = _core.Facts, Options = _core.Options, User = UserOf(step), Mounts = [.. step.Mounts.Select(MountOf), .. WriteFiles(bundle, record, sandbox.State)],
                Devices = step.Privileged ? Devices.Resolve(record.HostConfig).Devices : [], Seccomp = Seccomp.For(record, _core.Options),
            });
            await File.WriteAllBytesAsync(Path.Combine(bundle, "config.json"), OciJson.Serialize(spec), cancellationToken).ConfigureAwait(false);
            var attachment = Attachment.Create(stdout: true, stderr: true, StreamFraming.Docker, out var reader);
            using (reader)
            {
                using (attachment.Socket)
                {
                    await _core.Monitor.LaunchAsync(new LaunchRequest
                    {
                        ContainerId = id, BundleDirectory = bundle, RootFilesystem = new RootFilesystem(step.Layer.LowerDirectories, step.Layer.UpperDirectory, step.Layer.WorkDirectory, IsVolatile: true),
                        Attachments = [attachment], NetworkNamespace = sandbox.Namespace,
                    }, CancellationToken.None).ConfigureAwait(false);
                    launched = true;
                }
                await using var killing = cancellationToken.Register(() => Kill(id)).ConfigureAwait(false);
                await CopyOutputAsync(reader, stdout, stderr).ConfigureAwait(false);
                var exit = await end.Task.WaitAsync(_core.Stopping).ConfigureAwait(false);
                launched = false;
                cancellationToken.ThrowIfCancellationRequested();
                return exit.ExitCode;
            }
        }
        catch (Exception e) when (e is MonitorException or Runtime.LaunchException or NetworkException)
        {
            throw e is NetworkException network ? LayerErrors.From(network) : ContainerService.Explain(e).Error;
        }
        finally
        {
            if (launched) await EndAsync(id, end.Task).ConfigureAwait(false);
            _running.TryRemove(id, out _);
            if (joined) await LeaveAsync(id).ConfigureAwait(false);
            TrashCan.Delete(bundle);
        }
    }

    private void Kill(string id)
    {
        try
        {
            _core.Monitor.Signal(new ProcessKey(id), Signals.Kill);
        }
        catch (MonitorException)
        {
            // It has ended, or its end comes with the monitor's successor.
        }
    }

    private async Task EndAsync(string id, Task end)
    {
        Kill(id);
        try
        {
            await end.WaitAsync(_core.Stopping).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // The engine stops: its successor ends what is left.
        }
    }

    private async Task<NetworkSandbox> JoinAsync(ContainerRecord record) =>
        await _core.Networks.JoinAsync(record.Id, new SandboxRequest { ContainerName = record.Name, Endpoints = [new EndpointRequest { Network = Modes.NetworkName(record.HostConfig.NetworkMode) }] }, CancellationToken.None)
            .ConfigureAwait(false);

    private async Task LeaveAsync(string id)
    {
        try
        {
            await _core.Networks.LeaveAsync(id, CancellationToken.None).ConfigureAwait(false);
        }
        catch (NetworkException e)
        {
            _core.Logger.CleanupFailed(id, "leaving the network", e);
        }
    }

    private ContainerRecord RecordOf(string id, StepRequest step)
    {
        var limits = step.Limits;
        return new ContainerRecord
        {
            Id = id, Name = "build-" + id[..12], Created = default, Path = step.Arguments[0], Args = [.. step.Arguments.Skip(1)], ImageId = "", State = RunState.Created,
            Config = new Api.ContainerConfig { Hostname = step.Hostname, Env = [.. step.Environment], WorkingDir = step.WorkingDirectory },
            HostConfig = new HostConfig
            {
                NetworkMode = step.Network, Privileged = step.Privileged, IpcMode = "private", CgroupnsMode = "private", ExtraHosts = limits.ExtraHosts, Ulimits = limits.Ulimits, SecurityOpt = limits.SecurityOpt,
                ShmSize = limits.ShmSize > 0 ? limits.ShmSize : 64 << 20, CgroupParent = limits.CgroupParent, Memory = limits.Memory, MemorySwap = limits.MemorySwap, CpuShares = limits.CpuShares,
                CpuPeriod = limits.CpuPeriod, CpuQuota = limits.CpuQuota, CpusetCpus = limits.CpusetCpus, CpusetMems = limits.CpusetMems,
                MaskedPaths = step.Privileged ? null : [.. _core.Facts.MaskedPaths], ReadonlyPaths = step.Privileged ? null : [.. _core.Facts.ReadonlyPaths],
            },
        };
    }

    private static ResolvedUser UserOf(StepRequest step)
    {
        using var files = step.Layer.OpenFiles();
        return Users.Resolve(step.User, [], files);
    }

    private static SpecMount MountOf(StepMount mount) =>
        new() { Destination = mount.Destination, Source = mount.Source, ReadWrite = !mount.ReadOnly, TmpfsOptions = mount.TmpfsOptions, Propagation = mount.Source is null ? "" : "rprivate" };

    private List<SpecMount> WriteFiles(string bundle, ContainerRecord record, SandboxState networks)
    {
        return [Write("hosts", _containers.StepHostsText(record)), Write("resolv.conf", NameFiles.WithoutNames(record, networks, _core.Options))];

        SpecMount Write(string name, string content)
        {
            var file = Path.Combine(bundle, name);
            File.WriteAllText(file, content);
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
            return new SpecMount { Destination = "/etc/" + name, Source = file, ReadWrite = false, Propagation = "rprivate" };
        }
    }

    private static async Task CopyOutputAsync(SafeSocketHandle reader, Stream stdout, Stream stderr)
    {
        using var socket = new Socket(reader);
        await using var stream = new NetworkStream(socket);
        await StdFrame.DemultiplexAsync(stream, stdout, stderr).ConfigureAwait(false);
    }
}
