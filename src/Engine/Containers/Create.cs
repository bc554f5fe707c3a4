using Berth.Api;
using Berth.Images;
using ContainerConfig = Berth.Api.ContainerConfig;

namespace Berth.Engine;

// Create, in this order: check → image → name → layer → volumes → container.json. The last is the commit point: what is on disk before it and has no
// container.json is swept by the next start; what fails before it is undone here, last made first.
public sealed partial class ContainerService
{
    /// <param name="name">As asked for, with or without a leading slash; null or empty: a random one.</param>
    /// <param name="platform">os/arch[/variant], or null.</param>
    /// <exception cref="EngineException">InvalidParameter; NotFound "No such image: x"; Conflict when the name is taken.</exception>
    public async Task<ContainerCreateResponse> CreateAsync(ContainerCreateRequest request, string? name, string? platform, CancellationToken cancellationToken)
    {
        var config = request.PortablePart();
        var host = request.HostConfig ?? new HostConfig();
        var endpoints = request.NetworkingConfig?.EndpointsConfig;
        var warnings = Validation.Check(config, host, _core.Facts, _core.Options);
        Images.Platform? wanted = string.IsNullOrEmpty(platform) ? null : LayerErrors.Translate(() => Images.Platform.Parse(platform));
        var image = config.Image.Length == 0 ? null : LayerErrors.Translate(() => _core.Images.Get(config.Image, wanted));
        if (wanted is null && image is not null && !Images.Platform.Host.Accepts(image.Platform))
            warnings.Add($"The requested image's platform ({image.Platform}) does not match the detected host platform ({Images.Platform.Host}) and no specific platform was requested");
        if (image is not null && Emulators.Advice(image.Platform) is { } advice) warnings.Add(advice);
        // "default" is how clients name the network they leave to us.
        if (Modes.NetworkName(host.NetworkMode) == "bridge" && endpoints?.Remove("default", out var ofDefault) == true) endpoints.TryAdd("bridge", ofDefault);
        endpoints = CheckEndpoints(endpoints);
        if (config.MacAddress is not null) MigrateMacAddress(config, host, ref endpoints);

        var links = ResolveLinks(host);
        if (host.Mounts?.Any(m => m.Type == "image") == true) warnings.Add("Image mount is an experimental feature");

        Validation.ApplyDefaults(host, _core.Facts, _core.Options);
        ResolveSharedNamespaces(host);
        ImageDefaults.Merge(config, image?.Config.Config);
        LogConfiguration.MergeAndCheck(host.LogConfig, _core.Options);
        SecurityOptions.Parse(host, _core.Options.NoNewPrivileges);
        var layerLimit = LayerLimit(host.StorageOpt);
        cancellationToken.ThrowIfCancellationRequested();

        var id = Names.NewId();
        var reserved = _core.Containers.ReserveName(id, name);
        using var undo = new UndoStack();
        undo.Push(() => _core.Containers.ReleaseName(reserved, id));

        if (config.Hostname.Length == 0) config.Hostname = Modes.IsHost(host.NetworkMode) ? Environment.MachineName : id[..12];
        if (config.Volumes is { Count: 0 }) config.Volumes = null;

        var directory = _core.Containers.DirectoryOf(id);
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute);
        undo.Push(() => TrashCan.Delete(directory));
        if (image is not null)
        {
            LayerErrors.Translate(() => _core.Images.CreateWritableLayer(id, image.Id));
            undo.Push(() => _core.Images.RemoveWritableLayer(id));
            // All three: the file system moves files from one to the other, and would not between projects.
            if (layerLimit > 0 && _core.Images.TryGetWritableLayer(id, out var layer))
                _core.Quotas.Limit(layerLimit, Path.GetDirectoryName(layer.UpperDirectory)!, layer.UpperDirectory, layer.WorkDirectory);
        }

        var mounts = await ClaimMountsAsync(id, config, host, image is not null, undo).ConfigureAwait(false);
        var (path, args) = ImageDefaults.CommandOf(config);
        var record = new ContainerRecord
        {
            Id = id, Name = reserved, Created = _core.Time.GetUtcNow(), Path = path, Args = args, ImageId = image?.Id.ToString() ?? "", Platform = image?.Platform.Os ?? "linux",
            Mounts = mounts, LogPath = LogConfiguration.ShownPath(host.LogConfig, directory, id), RequestedEndpoints = endpoints, Links = links,
            Config = config, HostConfig = host, State = RunState.Created,
        };
        var container = new Container(record, directory);
        _core.Containers.Write(container, record);
        undo.Commit();
        _core.Containers.Add(container);
        _core.Emit(container, "create");
        return new ContainerCreateResponse { Id = id, Warnings = [.. warnings] };
    }

    /// <summary>--storage-opt size=; 0: none.</summary>
    private ulong LayerLimit(Dictionary<string, string>? options)
    {
        if (options is not { Count: > 0 }) return 0;
        if (options.Keys.Any(IsSize) && !_core.Quotas.AreEnforced(_core.Containers.Root)) throw EngineException.System("--storage-opt is supported only for overlay over xfs with 'pquota' mount option");
        ulong limit = 0;
        foreach (var (name, value) in options)
        {
            if (!IsSize(name)) throw EngineException.System($"Unknown option {name.ToLowerInvariant()}");
            limit = GoText.TryParseRamSize(value, out var bytes) ? (ulong)bytes : throw EngineException.System($"invalid size: '{value}'");
        }
        return limit;

        static bool IsSize(string name) => name.Equals("size", StringComparison.OrdinalIgnoreCase);
    }

    private static void MigrateMacAddress(ContainerConfig config, HostConfig host, ref Dictionary<string, EndpointSettings>? endpoints)
    {
        var mode = Modes.NetworkName(host.NetworkMode);
        if (mode is not ("host" or "none") && !Modes.IsContainer(mode))
        {
            endpoints ??= [];
            if (!endpoints.TryGetValue(mode, out var endpoint) && !endpoints.Remove("default", out endpoint)) endpoint = new EndpointSettings();
            endpoints[mode] = endpoint;
            if (endpoint.MacAddress.Length == 0) endpoint.MacAddress = config.MacAddress!;
            else if (endpoint.MacAddress != config.MacAddress)
                throw EngineException.Invalid("the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty");
        }
        config.MacAddress = null;
    }

    // Ids survive a rename of the other container. An unknown one is left as it is for the network, to be refused at start; for pid and ipc now.
    private void ResolveSharedNamespaces(HostConfig host)
    {
        host.PidMode = Resolve(host.PidMode, mustExist: true);
        host.IpcMode = Resolve(host.IpcMode, mustExist: true);
        host.NetworkMode = Resolve(host.NetworkMode, mustExist: false);

        string Resolve(string mode, bool mustExist)
        {
            if (!Modes.IsContainer(mode)) return mode;
            var name = Modes.ContainerOf(mode);
            if (_core.Containers.TryGet(name, out var other)) return Modes.OfContainer(other.Id);
            return mustExist ? throw EngineException.Invalid($"No such container: {name}") : mode;
        }
    }

    private async Task<MountRecord[]> ClaimMountsAsync(string id, ContainerConfig config, HostConfig host, bool hasImage, UndoStack undo)
    {
        var byDestination = new Dictionary<string, MountRequest>(StringComparer.Ordinal);
        foreach (var from in host.VolumesFrom ?? []) TakeVolumesFrom(from, byDestination);
        var asked = new HashSet<string>(StringComparer.Ordinal);
        foreach (var bind in host.Binds ?? [])
        {
            var request = MountParser.ParseVolume(bind, host.VolumeDriver);
            request = request with { Record = InDataRoot(request.Record) };
            if (!asked.Add(request.Record.Destination) || host.Tmpfs?.ContainsKey(request.Record.Destination) == true)
                throw EngineException.Invalid($"Duplicate mount point: {request.Record.Destination}");
            byDestination[request.Record.Destination] = request;
        }
        foreach (var mount in host.Mounts ?? [])
        {
            var request = MountParser.Parse(mount);
            request = request with { Record = InDataRoot(request.Record) };
            if (!asked.Add(request.Record.Destination)) throw EngineException.Invalid($"Duplicate mount point: {mount.Target}");
            byDestination[request.Record.Destination] = request;
        }
        using var files = hasImage ? _core.Images.OpenFiles(id) : null;
        foreach (var path in config.Volumes ?? [])
        {
            var destination = Validation.CleanPath(path.StartsWith('/') ? path : "/" + path);
            if (byDestination.ContainsKey(destination) || host.Tmpfs?.ContainsKey(destination) == true) continue;
            byDestination[destination] = new MountRequest
            {
                Record = new MountRecord { Type = "volume", Destination = destination, Driver = VolumeService.DriverName, ReadWrite = true, Anonymous = true },
                Copy = true,
            };
        }

        var records = new List<MountRecord>();
        foreach (var (destination, request) in byDestination.OrderBy(p => p.Key, StringComparer.Ordinal))
        {
            var record = request.Record;
            if (record.Type == "volume")
            {
                var volume = _core.Volumes.Claim(record.Name, record.Driver, request.VolumeLabels, request.VolumeOptions, id);
                undo.Push(() => _core.Volumes.Release(volume.Name, id, remove: record.Anonymous));
                record = record with { Name = volume.Name, Source = _core.Volumes.DataOf(volume.Name), Driver = VolumeService.DriverName };
                if (request.Copy && record.Subpath.Length == 0 && files is not null) await PopulateAsync(files, destination, record, id).ConfigureAwait(false);
            }
            else if (record.Type == "image")
            {
                var image = LayerErrors.Translate(() => _core.Images.Get(record.ImageId.Length > 0 ? record.ImageId : record.Name));
                record = record with { ImageId = image.Id.ToString(), Source = ImageMount.PathIn(_core.BundleOf(id), destination) };
                var holder = ImageMount.Holder(id, destination);
                LayerErrors.Translate(() => _core.Images.HoldLayers(holder, image.Id));
                undo.Push(() => _core.Images.ReleaseLayers(holder));
            }
            records.Add(record);
        }
        return [.. records];
    }

    private void TakeVolumesFrom(string text, Dictionary<string, MountRequest> byDestination)
    {
        if (text.Length == 0) throw EngineException.Invalid("volumes-from specification cannot be an empty string");
        var colon = text.IndexOf(':');
        var mode = colon < 0 ? "" : text[(colon + 1)..];
        if (mode is not ("" or "rw" or "ro" or "z" or "Z")) throw EngineException.Invalid($"invalid mode: {mode}");
        var name = colon < 0 ? text : text[..colon];
        if (!_core.Containers.TryGet(name, out var other)) throw EngineException.Invalid($"No such container: {name}");
        foreach (var mount in other.Record.Mounts)
        {
            if (mount.Type == "tmpfs") continue;
            byDestination[mount.Destination] = new MountRequest { Record = mount with { ReadWrite = mount.ReadWrite && mode != "ro", Anonymous = false } };
        }
    }

    // What lies in the data root must not be held by a container's own copy of a mount: there it follows what is unmounted on the host.
    private MountRecord InDataRoot(MountRecord record)
    {
        var root = _core.Options.DataRoot;
        // By name and without a slash between, as dockerd: /var/lib counts for /var/lib/berth.
        if (record.Type != "bind" || (!record.Source.StartsWith(root, StringComparison.Ordinal) && !root.StartsWith(record.Source, StringComparison.Ordinal))) return record;
        if (!record.PropagationGiven) return record with { Propagation = "rslave" };
        if (record.Propagation is "rslave" or "rshared") return record;
        throw EngineException.Invalid($"invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is within the daemon root, "
            + $"daemon root: {GoText.Quote(root)}, bind mount source: {GoText.Quote(record.Source)}, propagation: {GoText.Quote(record.Propagation)}");
    }

    private async Task PopulateAsync(LayerFileReader files, string destination, MountRecord volume, string id)
    {
        if (!files.IsDirectory(destination)) return;
        if (!_core.Volumes.NeedsMount(volume.Name))
        {
            CopyUp(files, destination, volume.Source);
            return;
        }
        var user = id + " (create)";
        try
        {
            await _core.Volumes.MountAsync(volume.Name, user).ConfigureAwait(false);
        }
        catch (EngineException e)
        {
            throw EngineException.System($"failed to populate volume: {e.Message}", e);
        }
        try
        {
            if (!Directory.EnumerateFileSystemEntries(volume.Source).Any()) files.TryCopyDirectory(destination, volume.Source);
        }
        finally
        {
            _core.Volumes.Unmount(volume.Name, user);
        }
    }

    // Into an empty volume goes what the image has at its place. Copied aside and renamed, so that a copy cut short is not taken for the user's data.
    private static void CopyUp(LayerFileReader files, string destination, string data)
    {
        if (Directory.EnumerateFileSystemEntries(data).Any()) return;
        var aside = data + ".copy";
        TrashCan.Delete(aside);
        Directory.CreateDirectory(aside);
        if (files.TryCopyDirectory(destination, aside)) Linux.FileAt.Rename(null, aside, null, data);
        else TrashCan.Delete(aside);
    }
}
