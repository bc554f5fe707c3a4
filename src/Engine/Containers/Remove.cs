using Berth.Api;
using Berth.Networks;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

// Remove: end the process, give back volumes and image, then one rename into the trash, which is the point of no return. The tree is deleted in the background.
public sealed partial class ContainerService
{
    /// <exception cref="EngineException">Conflict "removal of container x is already in progress", or when it runs and <paramref name="force"/> is false.</exception>
    public async Task RemoveAsync(string idOrName, bool force, bool removeVolumes, bool link, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        if (link)
        {
            await RemoveLinkAsync(idOrName).ConfigureAwait(false);
            return;
        }
        await RemoveCoreAsync(container, idOrName, force, removeVolumes, gateHeld: false).ConfigureAwait(false);
    }

    private async Task RemoveCoreAsync(Container container, string shownAs, bool force, bool removeVolumes, bool gateHeld)
    {
        if (Interlocked.Exchange(ref container.RemovalInProgress, 1) != 0)
            throw EngineException.Conflict($"removal of container {shownAs} is already in progress");
        try
        {
            // A start that had the gate when we began has made it run since: then once more. It is the last one, for a removal in progress refuses others.
            while (!await TryRemoveAsync(container, shownAs, force, removeVolumes, gateHeld).ConfigureAwait(false))
            {
            }
        }
        finally
        {
            Volatile.Write(ref container.RemovalInProgress, 0);
        }
    }

    /// <summary>False when it runs again.</summary>
    private async Task<bool> TryRemoveAsync(Container container, string shownAs, bool force, bool removeVolumes, bool gateHeld)
    {
        if (container.Removed) return true;
        var state = container.State;
        if (state.Running)
        {
            string Refusal(string reason) => $"cannot remove container {GoText.Quote(shownAs)}: {reason}";
            if (!force)
            {
                throw EngineException.Conflict(Refusal(state.Paused
                    ? "container is paused and must be unpaused first"
                    : $"container is {state.Status()}: stop the container before removing or force remove"));
            }
            try
            {
                await KillAndWaitAsync(container).ConfigureAwait(false);
            }
            catch (EngineException e) when (e.Kind == ErrorKind.Conflict)
            {
                // It ended by itself.
            }
            catch (Exception e) when (e is EngineException or MonitorException)
            {
                throw EngineException.System(Refusal($"could not kill container: {e.Message}"), e);
            }
        }
        if (!gateHeld) await container.Gate.WaitAsync().ConfigureAwait(false);
        try
        {
            if (container.State.Running) return false;
            await RemoveLockedAsync(container, shownAs, removeVolumes).ConfigureAwait(false);
            return true;
        }
        finally
        {
            if (!gateHeld) container.Gate.Release();
        }
    }

    private async Task RemoveLockedAsync(Container container, string shownAs, bool removeVolumes)
    {
        var record = container.Record;
        string trash;
        _shipping.Detach(container);
        try
        {
            trash = _core.Containers.MoveToTrash(container, removeVolumes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or Linux.LinuxException)
        {
            var next = record with { State = record.State with { Dead = true, Error = e.Message } };
            // Stored, so that no restart of the engine makes it alive again; it can be removed again, as often as it takes.
            StoreAndPublish(container, next);
            container.PublishRemoved(e.Message);
            throw EngineException.System($"cannot remove container {GoText.Quote(shownAs)}: unable to remove filesystem: {e.Message}", e);
        }
        _core.Containers.Forget(container);
        foreach (var mount in record.Mounts) GiveBack(record, mount, removeVolumes);
        GiveBackCgroupParent(record);
        if (record.HostConfig.StorageOpt is { Count: > 0 }) _core.Quotas.Release(Path.Combine(trash, "overlay"));
        foreach (var attachment in container.TakePending()) attachment.Failed();
        if (container.UnacknowledgedExit is { } exit)
        {
            container.UnacknowledgedExit = null;
            await AcknowledgeAsync(exit).ConfigureAwait(false);
        }
        _core.Emit(record, "destroy");
        container.PublishRemoved(null);
        _execs.ContainerRemoved(container);
        // The answer does not wait for it: upper directories can be large.
        ThreadPool.UnsafeQueueUserWorkItem(static work => work.Service.Discard(work.Id, work.Trash), (Service: this, record.Id, Trash: trash), preferLocal: false);
    }

    // One that another container asks for, too, stays until that one goes: it may be about to start.
    private void GiveBackCgroupParent(ContainerRecord record)
    {
        if (record.HostConfig.CgroupParent is not { Length: > 0 } parent || _core.Containers.All.Any(c => c.Record.HostConfig.CgroupParent == parent)) return;
        var path = SpecCompiler.CgroupPath(record.HostConfig, _core.Options, record.Id);
        if (path[..path.LastIndexOf('/')] is { Length: > 0 } directory) _core.Cgroups.RemoveMade(directory);
    }

    // It is gone: what can't be given back now is no reason to say that it is not.
    private void GiveBack(ContainerRecord record, MountRecord mount, bool removeVolumes)
    {
        try
        {
            if (mount.Type == "volume") _core.Volumes.Release(mount.Name, record.Id, removeVolumes && mount.Anonymous);
            else if (mount.Type == "image") _core.Images.ReleaseLayers(ImageMount.Holder(record.Id, mount.Destination));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or Linux.LinuxException or EngineException)
        {
            _core.Logger.CleanupFailed(record.Id, $"giving back {mount.Destination}", e);
        }
    }

    private void Discard(string id, string trash)
    {
        try
        {
            _core.Images.RemoveWritableLayer(id);
        }
        catch (Exception e) when (e is IOException or Images.ImageException or Linux.LinuxException)
        {
            _core.Logger.CleanupFailed(id, "giving back the image's layers", e);
        }
        if (!TrashCan.Delete(trash)) _core.Logger.TrashKept(trash);
    }

    /// <summary>Removes every stopped container the filters (until, label, label!) leave.</summary>
    public async Task<ContainerPruneResponse> PruneAsync(Filters filters, CancellationToken cancellationToken)
    {
        filters.Require("until", "label", "label!");
        DateTimeOffset? until = filters["until"].Count switch
        {
            0 => null,
            1 => Timestamps.Parse(filters["until"].First(), _core.Time),
            _ => throw EngineException.Invalid("more than one until filter specified"),
        };
        var deleted = new List<string>();
        ulong bytes = 0;
        foreach (var container in _core.Containers.All)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var record = container.Record;
            if (record.State.Running || record.Created > until) continue;
            if (!filters.MatchLabels("label", record.Config.Labels)) continue;
            if (filters["label!"].Count > 0 && filters.MatchLabels("label!", record.Config.Labels)) continue;
            var size = await container.Size.GetAsync(still: true, _core.Stopping, cancellationToken).ConfigureAwait(false);
            try
            {
                await RemoveCoreAsync(container, record.Id, force: false, removeVolumes: false, gateHeld: false).ConfigureAwait(false);
            }
            catch (EngineException)
            {
                // Started or removed meanwhile.
                continue;
            }
            bytes += (ulong)size;
            deleted.Add(record.Id);
        }
        _core.Events.Emit("container", "prune", "", new() { ["reclaimed"] = bytes.ToString(global::System.Globalization.CultureInfo.InvariantCulture) });
        return new ContainerPruneResponse { ContainersDeleted = deleted.Count == 0 ? null : [.. deleted], SpaceReclaimed = bytes };
    }

    public async Task RenameAsync(string idOrName, string newName, CancellationToken cancellationToken)
    {
        if (idOrName.Length == 0 || newName.Length == 0) throw EngineException.Invalid("Neither old nor new names may be empty");
        var container = _core.Containers.Get(idOrName);
        await container.Gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var record = container.Record;
            var bare = newName[0] == '/' ? newName[1..] : newName;
            if (bare == record.Name) throw EngineException.Invalid("Renaming a container with the same name as its current name");
            string reserved;
            try
            {
                if (bare.Length == 0) throw EngineException.Invalid($"Invalid container name ({newName}), only {Names.AllowedCharacters} are allowed");
                reserved = _core.Containers.ReserveName(record.Id, "/" + bare);
            }
            catch (EngineException e)
            {
                throw new EngineException(e.Kind, $"Error when allocating new name: {e.Message}", e);
            }
            using var undo = new UndoStack();
            undo.Push(() => _core.Containers.ReleaseName(reserved, record.Id));
            var next = record with { Name = reserved };
            if (next.Sandbox is { } sandbox) next = next with { Sandbox = Renamed(sandbox) };
            _core.Containers.Save(container, next);
            undo.Commit();
            _core.Containers.ReleaseName(record.Name, record.Id);
            if (next.Sandbox is { } renamed) _core.Networks.Rename(record.Id, reserved, e => renamed.On(e.NetworkName)?.DnsNames ?? e.DnsNames);

            SandboxState Renamed(SandboxState state) => state with
            {
                ContainerName = reserved,
                Endpoints = [.. state.Endpoints.Select(e => e with
                {
                    ContainerName = reserved, DnsNames = e.DnsNames.Count == 0 ? [] : DnsNames(next, NetworksOf(next).GetValueOrDefault(e.NetworkName) ?? new EndpointSettings()),
                })],
            };
            _core.Emit(container, "rename", ("oldName", "/" + record.Name));
        }
        finally
        {
            container.Gate.Release();
        }
    }

    /// <summary>
    /// Registers the wait before it returns (the route sends its headers then); the task completes when the condition holds. Error is set when the
    /// container's removal failed.
    /// </summary>
    /// <exception cref="EngineException">NotFound, thrown here and not by the task.</exception>
    public Task<ContainerWaitResponse> Wait(string idOrName, WaitCondition condition, CancellationToken cancellationToken)
    {
        if (!_core.Containers.TryGet(idOrName, out var container) && _recentEnds.TryGet(idOrName, out var end)) return Answer(Task.FromResult(end));
        container ??= _core.Containers.Get(idOrName); // says what is wrong
        return Answer(container.Wait(condition, cancellationToken));

        static async Task<ContainerWaitResponse> Answer(Task<WaitOutcome> wait)
        {
            var outcome = await wait.ConfigureAwait(false);
            return new ContainerWaitResponse { StatusCode = outcome.ExitCode, Error = outcome.Error.Length == 0 ? null : new ContainerWaitExitError { Message = outcome.Error } };
        }
    }
}
