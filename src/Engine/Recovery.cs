using Berth.Linux;
using Berth.Networks;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

/// <summary>
/// What the engine does before it answers anybody: makes memory, disk, monitor, networks and cgroups agree. docs/recovery.md has the table of what can be cut
/// short where. Every step can itself be cut short and is done again by the next start.
/// </summary>
internal sealed class Recovery(EngineCore core, ContainerService containers)
{
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var (loaded, halfMade) = core.Containers.Load((file, e) => core.Logger.UnreadableFile(file, e.Message));
        foreach (var id in halfMade) SweepHalfMade(id);
        foreach (var container in loaded)
        {
            if (container.Record.HostConfig.StorageOpt is { Count: > 0 }) core.Quotas.Adopt(Path.Combine(container.Directory, "overlay"));
            foreach (var mount in container.Record.Mounts)
            {
                if (mount.Type == "volume") core.Volumes.Adopt(mount.Name, container.Id);
                else if (mount.Type == "image") HoldImage(container, mount);
            }
        }
        FinishRemovals();

        // Ends that were seen before we came are in the channel; the books of the monitor's client have what runs, and may have what has ended.
        var processes = core.Monitor.Processes.Where(p => p.Key.IsContainer).ToDictionary(p => p.Key.ContainerId);
        var ended = new Dictionary<string, ProcessExit>();
        var pending = new List<ProcessExit>();
        while (core.Monitor.Exits.TryRead(out var exit))
        {
            pending.Add(exit);
            if (exit.Key.IsContainer) ended[exit.Key.ContainerId] = exit;
        }
        foreach (var container in loaded)
        {
            if (ended.TryGetValue(container.Id, out var exit)) AdoptEnded(container, exit);
            else Adopt(container, processes.GetValueOrDefault(container.Id));
        }

        foreach (var container in loaded)
        {
            if (container.Process is null && !ended.ContainsKey(container.Id)) continue;
            foreach (var mount in container.Record.Mounts) core.Volumes.AdoptMount(mount.Name, container.Id);
        }
        core.Volumes.UnmountUnused();

        var running = loaded.Where(c => c.Process is not null && !ended.ContainsKey(c.Id) && c.Record.Sandbox is not null)
            .Select(c => new RunningContainer(c.State.Pid, c.Record.Sandbox!)).ToList();
        foreach (var container in running)
        {
            // What was asked while there was no daemon waits in them.
            if (core.Monitor.KeptBy(new ProcessKey(container.Sandbox.ContainerId)) is [var udp, var tcp]) core.Names.Inherit(container.Sandbox.ContainerId, new(udp, tcp));
        }
        await core.Networks.RestoreAsync(running, cancellationToken).ConfigureAwait(false);
        foreach (var container in running) await containers.KeepNameSocketsAsync(container.Sandbox.ContainerId).ConfigureAwait(false);

        foreach (var exit in pending) await containers.HandleExitAsync(exit).ConfigureAwait(false);
        await KillOrphansAsync(processes.Values, cancellationToken).ConfigureAwait(false);
        SweepBundles();
        SweepCgroups();
        KillLeftProbes();
        await containers.FinishCommitsAsync().ConfigureAwait(false);
        foreach (var container in core.Containers.All.OrderBy(c => c.Record.Created))
        {
            await containers.ResumeAsync(container).ConfigureAwait(false);
            containers.ResumeLog(container);
            containers.ApplyPolicyAtStart(container);
        }
    }

    private void HoldImage(Container container, MountRecord mount)
    {
        if (!Images.Digest.TryParse(mount.ImageId, out var image)) return;
        try
        {
            core.Images.HoldLayers(ImageMount.Holder(container.Id, mount.Destination), image);
        }
        catch (Images.ImageException)
        {
            // Removed by force: a start will say so.
        }
    }

    private void SweepHalfMade(string id)
    {
        var directory = core.Containers.DirectoryOf(id);
        try
        {
            core.Volumes.RemoveMadeFor(id);
            core.Images.RemoveWritableLayer(id);
            Directory.Delete(directory, recursive: true);
            core.Logger.SweptHalfMade(id);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or Images.ImageException)
        {
            core.Logger.UnreadableFile(directory, e.Message);
        }
    }

    /// <summary>What was renamed into the trash is removed for every reader: here the rest follows.</summary>
    private void FinishRemovals()
    {
        foreach (var path in Directory.EnumerateDirectories(core.Containers.TrashRoot))
        {
            var name = Path.GetFileName(path);
            var withVolumes = name.EndsWith(ContainerStore.VolumesSuffix, StringComparison.Ordinal);
            var file = Path.Combine(path, "container.json");
            if (withVolumes && File.Exists(file))
            {
                try
                {
                    foreach (var mount in ContainerJson.Read(File.ReadAllBytes(file)).Mounts)
                    {
                        if (mount is { Type: "volume", Anonymous: true }) core.Volumes.Release(mount.Name, "", remove: true);
                    }
                }
                catch (Exception e) when (e is IOException or global::System.Text.Json.JsonException or KeyNotFoundException)
                {
                    core.Logger.UnreadableFile(file, e.Message);
                }
            }
            var id = withVolumes ? name[..^ContainerStore.VolumesSuffix.Length] : name;
            containers.DiscardInBackground(id, path);
        }
    }

    /// <summary>Makes the record say that the process runs, so that its end is recorded like any other.</summary>
    private static void AdoptEnded(Container container, ProcessExit exit)
    {
        var record = container.Record;
        if (record.State.Running && record.State.Pid == exit.Pid) return;
        // An end that was recorded and not yet acknowledged: nothing is left to record.
        if (!record.State.Running && record.State.FinishedAt == exit.Time) return;
        // Launched, ended, and neither was recorded.
        container.Publish(record with
        {
            StartedBefore = true, State = record.State with { Running = true, Restarting = false, Paused = false, Pid = exit.Pid, StartedAt = exit.Time, Error = "" },
        });
    }

    private void Adopt(Container container, MonitoredProcess? process)
    {
        var record = container.Record;
        if (process is not null)
        {
            container.Process = process;
            if (record.State.Running && record.State.Pid == process.Pid && record.State.Paused == process.Paused && !record.State.Restarting) return;
            // Launched and not yet recorded, or restarted by policy: the monitor knows better.
            core.Containers.Save(container, record with
            {
                StartedBefore = true,
                Sandbox = containers.ReadSandbox(record.Id) ?? record.Sandbox,
                State = record.State with { Running = true, Restarting = false, Paused = process.Paused, Pid = process.Pid, StartedAt = process.Started, ExitCode = 0, Error = "" },
            });
            core.Logger.Adopted(record.Id, process.Pid);
            return;
        }
        if (!record.State.Running) return;
        if (record.State.Restarting)
        {
            // It waited for its restart; the policy decides anew below.
            core.Containers.Save(container, record with { State = record.State with { Running = false, Restarting = false, Pid = 0 } });
            return;
        }
        // Neither runs nor ended as far as the monitor knows: the machine was restarted, or daemon and monitor died together.
        const int UnknownExit = 255;
        core.Containers.Save(container, record with
        {
            Sandbox = null,
            State = record.State with { Running = false, Paused = false, Pid = 0, ExitCode = UnknownExit, FinishedAt = core.Time.GetUtcNow() },
        });
        core.Logger.Lost(record.Id, UnknownExit);
        // If its processes live on without a parent, they end here, wherever --cgroup-parent put them.
        RemoveCgroup(SpecCompiler.CgroupPath(record.HostConfig, core.Options, record.Id), record.Id);
        if (record.HostConfig.AutoRemove) containers.AutoRemoveInBackground(container);
    }

    /// <summary>A process whose container is gone: a start that was cut short before container.json, or a removal that was.</summary>
    private async Task KillOrphansAsync(IEnumerable<MonitoredProcess> processes, CancellationToken cancellationToken)
    {
        foreach (var process in processes)
        {
            if (core.Containers.TryGetById(process.Key.ContainerId, out _)) continue;
            core.Logger.KilledOrphan(process.Key.ToString());
            try
            {
                // Its exit arrives like any other and is acknowledged, since nobody knows its container.
                await core.Monitor.KillAllAsync(process.Key.ContainerId, cancellationToken).ConfigureAwait(false);
            }
            catch (MonitorException)
            {
            }
        }
    }

    /// <summary>Health checks that the last daemon began: nobody reads their result any more.</summary>
    private void KillLeftProbes()
    {
        foreach (var process in core.Monitor.Processes)
        {
            if (!Exec.IsKeyOfProbe(process.Key)) continue;
            try
            {
                core.Monitor.Signal(process.Key, Signals.Kill);
            }
            catch (MonitorException)
            {
                // It has ended meanwhile.
            }
        }
    }

    private void SweepBundles()
    {
        var root = Path.Combine(core.Options.ExecRoot, "containers");
        if (!Directory.Exists(root)) return;
        foreach (var bundle in Directory.EnumerateDirectories(root))
        {
            if (core.Containers.TryGetById(Path.GetFileName(bundle), out var container) && container.Process is not null) continue;
            try
            {
                ShmMount.Unmount(bundle);
                ImageMount.Sweep(bundle);
            }
            catch (LinuxException e)
            {
                core.Logger.CleanupFailed(Path.GetFileName(bundle), "unmounting what was in its bundle", e);
            }
            TrashCan.Delete(bundle);
        }
    }

    private void SweepCgroups()
    {
        // Only below our own parent, and only names that can be ours: containers given another parent are the monitor's to clean.
        foreach (var name in core.Cgroups.Children(core.Options.CgroupParent))
        {
            if (name.Length != 64 || (core.Containers.TryGetById(name, out var container) && container.Process is not null)) continue;
            if (core.Monitor.Processes.Any(p => p.Key.ContainerId == name)) continue;
            RemoveCgroup(Validation.CleanPath(core.Options.CgroupParent + "/" + name), name);
        }
    }

    private void RemoveCgroup(string path, string container)
    {
        try
        {
            if (core.Cgroups.Open(path) is not { } cgroup) return;
            cgroup.Remove();
            core.Logger.SweptCgroup(path);
        }
        catch (Exception e) when (e is LinuxException or TimeoutException)
        {
            core.Logger.CleanupFailed(container, "removing its cgroup", e);
        }
    }
}
