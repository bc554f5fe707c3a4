using System.Collections.Concurrent;
using System.Text.Json;
using Berth.Api;
using Berth.Api.Json;
using Berth.Linux;

namespace Berth.Engine;

/// <summary>
/// Named and anonymous volumes of the driver "local": &lt;data-root&gt;/volumes/&lt;name&gt;/{volume.json,_data}. One with a file system of its own (options type and device)
/// is mounted on its _data from its first running container's start to its last one's end; everything else is a plain directory.
/// </summary>
public sealed class VolumeService
{
    internal const string DriverName = "local";

    // Docker's mark of a volume that nobody named.
    private const string AnonymousLabel = "com.docker.volume.anonymous";
    private const string SizeOption = "size";

    private readonly ConcurrentDictionary<string, Entry> _volumes = new(StringComparer.Ordinal);

    // Making, removing and counting users are quick; one lock keeps a removal from racing with a container's claim.
    private readonly Lock _lock = new();
    private readonly string _root;
    private readonly string _trash;
    private readonly DirectoryQuotas _quotas;
    private readonly EventService _events;
    private readonly TimeProvider _time;

    internal VolumeService(string dataRoot, DirectoryQuotas quotas, EventService events, TimeProvider time)
    {
        (_root, _trash, _quotas, _events, _time) = (Path.Combine(dataRoot, "volumes"), Path.Combine(dataRoot, "trash"), quotas, events, time);
        Directory.CreateDirectory(_root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.OtherExecute);
        foreach (var directory in Directory.EnumerateDirectories(_root))
        {
            try
            {
                var record = JsonSerializer.Deserialize(File.ReadAllBytes(Path.Combine(directory, "volume.json")), EngineJson.Default.VolumeRecord);
                if (record is not null && record.Name == Path.GetFileName(directory)) _volumes[record.Name] = new Entry(record, DataOf(record.Name));
                if (record?.Options?.ContainsKey(SizeOption) == true) _quotas.Adopt(DataOf(record.Name));
            }
            catch (Exception e) when (e is IOException or JsonException)
            {
                // A create that was cut short has no volume.json yet, and no user.
                if (!File.Exists(Path.Combine(directory, "volume.json"))) Trash(directory);
            }
        }
    }

    public Task<Volume> CreateAsync(VolumeCreateRequest request, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult(Show(Make(request.Name ?? "", request.Driver ?? "", request.Labels, request.DriverOpts, madeFor: null).Record));
        }
    }

    public VolumeListResponse List(Filters filters)
    {
        filters.Require("dangling", "name", "driver", "label");
        var dangling = filters.Contains("dangling") ? filters.Flag("dangling", false) : (bool?)null;
        var list = new List<Volume>();
        foreach (var entry in _volumes.Values)
        {
            if (!filters.ExactMatch("driver", DriverName) || !filters.Match("name", entry.Record.Name) || !filters.MatchLabels("label", entry.Record.Labels)) continue;
            if (dangling is { } d && d != (entry.Users.Count == 0)) continue;
            list.Add(Show(entry.Record));
        }
        return new VolumeListResponse { Volumes = [.. list.OrderBy(v => v.Name, StringComparer.Ordinal)] };
    }

    public Volume Inspect(string name) => _volumes.TryGetValue(name, out var entry) ? Show(entry.Record) : throw EngineException.NotFound($"get {name}: no such volume");

    /// <summary>Only a cluster's volumes can be changed, and this is no cluster.</summary>
    public static void Update() => throw new EngineException(ErrorKind.Unavailable, "volume update only valid for cluster volumes, but swarm is unavailable");

    public Task RemoveAsync(string name, bool force, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (!_volumes.TryGetValue(name, out var entry))
            {
                if (force) return Task.CompletedTask;
                throw EngineException.NotFound($"get {name}: no such volume");
            }
            if (entry.Users.Count > 0) throw EngineException.Conflict($"remove {name}: volume is in use - [{string.Join(", ", entry.Users)}]");
            Delete(entry);
        }
        return Task.CompletedTask;
    }

    private int _pruning;

    /// <summary>Removes unused volumes: anonymous ones, or with the filter all=true every one. Those with options of their own hold no space of ours and stay.</summary>
    public async Task<VolumePruneResponse> PruneAsync(Filters filters, CancellationToken cancellationToken)
    {
        filters.Require("label", "label!", "all");
        var all = false;
        if (filters["all"] is { Count: > 0 } values)
        {
            if (values.Count > 1) throw EngineException.Invalid($"invalid filter 'all=[{string.Join(' ', values)}]'");
            if (!GoText.TryParseBool(values.First(), out all)) throw EngineException.Invalid($"invalid filter 'all': strconv.ParseBool: parsing {GoText.Quote(values.First())}: invalid syntax");
        }
        if (Interlocked.Exchange(ref _pruning, 1) != 0) throw EngineException.Conflict("a prune operation is already running");
        try
        {
            return await PruneOnceAsync(filters, all, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            Volatile.Write(ref _pruning, 0);
        }
    }

    private async Task<VolumePruneResponse> PruneOnceAsync(Filters filters, bool all, CancellationToken cancellationToken)
    {
        var deleted = new List<string>();
        ulong bytes = 0;
        foreach (var entry in _volumes.Values)
        {
            if (cancellationToken.IsCancellationRequested) break;
            var record = entry.Record;
            if (entry.Users.Count > 0 || record.Options is { Count: > 0 } || (!all && record.Labels?.ContainsKey(AnonymousLabel) != true) || !filters.MatchLabels("label", record.Labels)) continue;
            if (filters["label!"].Count > 0 && filters.MatchLabels("label!", record.Labels)) continue;
            // Measured before the lock is taken: it may be a long walk.
            var size = await entry.Size.GetAsync(still: false, cancellationToken, cancellationToken).ConfigureAwait(false);
            lock (_lock)
            {
                if (entry.Users.Count > 0 || !_volumes.TryGetValue(record.Name, out var still) || still != entry) continue;
                Delete(entry);
            }
            bytes += (ulong)size;
            deleted.Add(record.Name);
        }
        _events.Emit("volume", "prune", "", new() { ["reclaimed"] = bytes.ToString(global::System.Globalization.CultureInfo.InvariantCulture) });
        return new VolumePruneResponse { VolumesDeleted = [.. deleted], SpaceReclaimed = bytes };
    }

    // ---- mounting

    /// <summary>Whether it has a file system of its own, to be mounted while a container uses it.</summary>
    internal bool NeedsMount(string name) => _volumes.TryGetValue(name, out var entry) && entry.Mount is not null;

    /// <summary>Mounts it if it needs that and is not mounted, and keeps it so until <see cref="Unmount"/> by the same user. Nothing for a plain directory.</summary>
    /// <exception cref="EngineException">System: "error while mounting volume …".</exception>
    internal async Task MountAsync(string name, string user)
    {
        if (!_volumes.TryGetValue(name, out var entry) || entry.Mount is not { } mount) return;
        await entry.MountGate.WaitAsync().ConfigureAwait(false);
        try
        {
            var path = DataOf(name);
            // A server that does not answer keeps one thread and this volume waiting, nothing else.
            if (entry.MountedBy.Count == 0) await Task.Run(() => mount.Mount(path)).ConfigureAwait(false);
            entry.MountedBy.Add(user);
        }
        catch (EngineException e)
        {
            throw EngineException.System($"error while mounting volume '{DataOf(name)}': {e.Message}", e);
        }
        finally
        {
            entry.MountGate.Release();
        }
    }

    /// <summary>The user no longer needs it mounted; after the last one it is unmounted.</summary>
    internal void Unmount(string name, string user)
    {
        if (!_volumes.TryGetValue(name, out var entry) || entry.Mount is null) return;
        entry.MountGate.Wait();
        try
        {
            if (entry.MountedBy.Remove(user) && entry.MountedBy.Count == 0) HostMount.UnmountAll(DataOf(name));
        }
        finally
        {
            entry.MountGate.Release();
        }
    }

    /// <summary>At start-up, for a container that runs: its volume is mounted still.</summary>
    internal void AdoptMount(string name, string user)
    {
        if (_volumes.TryGetValue(name, out var entry) && entry.Mount is not null) entry.MountedBy.Add(user);
    }

    /// <summary>At start-up, when all running containers have been adopted: what is mounted for nobody was left by a daemon that was killed.</summary>
    internal void UnmountUnused()
    {
        if (!_volumes.Values.Any(e => e.Mount is not null)) return;
        foreach (var mount in MountTable.Read())
        {
            if (!MountTable.IsAtOrBelow(mount.Point, _root)) continue;
            var name = Path.GetFileName(Path.GetDirectoryName(mount.Point)) ?? "";
            if (mount.Point == DataOf(name) && !(_volumes.TryGetValue(name, out var entry) && entry.MountedBy.Count > 0)) HostMount.UnmountAll(mount.Point);
        }
    }

    /// <summary>With what they take on disk; those with a file system of their own take nothing of ours.</summary>
    internal Task<Volume[]> MeasureAsync(CancellationToken stopping, CancellationToken cancellationToken) =>
        Task.WhenAll(_volumes.Values.Where(e => e.Record.Options is not { Count: > 0 }).OrderBy(e => e.Record.Name, StringComparer.Ordinal).Select(async e =>
        {
            var shown = Show(e.Record);
            // Never still: what no container uses is written from the host, as people have always done.
            shown.UsageData = new VolumeUsageData { RefCount = e.Users.Count, Size = await e.Size.GetAsync(still: false, stopping, cancellationToken).ConfigureAwait(false) };
            return shown;
        }));

    internal string DataOf(string name) => Path.Combine(_root, name, "_data");

    internal static string DataOf(string dataRoot, string name) => Path.Combine(dataRoot, "volumes", name, "_data");

    internal int Count => _volumes.Count;

    internal bool Exists(string name) => _volumes.ContainsKey(name);

    /// <summary>The volume a container mounts, made if it is not there; it is in use until <see cref="Release"/>.</summary>
    /// <param name="name">Empty: a new anonymous one.</param>
    internal VolumeRecord Claim(string name, string driver, IReadOnlyDictionary<string, string>? labels, IReadOnlyDictionary<string, string>? options, string containerId)
    {
        lock (_lock)
        {
            var entry = Make(name, driver, labels, options, madeFor: name.Length == 0 ? containerId : null);
            entry.Users = [.. entry.Users, containerId];
            return entry.Record;
        }
    }

    /// <summary>Counts a user found at start-up. False when there is no such volume.</summary>
    internal bool Adopt(string name, string containerId)
    {
        lock (_lock)
        {
            if (!_volumes.TryGetValue(name, out var entry)) return false;
            if (!entry.Users.Contains(containerId)) entry.Users = [.. entry.Users, containerId];
            return true;
        }
    }

    /// <summary>The container no longer uses it; <paramref name="remove"/>: it goes, if nobody else does.</summary>
    internal void Release(string name, string containerId, bool remove)
    {
        lock (_lock)
        {
            if (!_volumes.TryGetValue(name, out var entry)) return;
            entry.Users = entry.Users.FindAll(u => u != containerId);
            if (remove && entry.Users.Count == 0) Delete(entry);
        }
    }

    /// <summary>Removes what a create that was cut short made.</summary>
    internal void RemoveMadeFor(string containerId)
    {
        lock (_lock)
        {
            foreach (var entry in _volumes.Values)
            {
                if (entry.Record.MadeFor == containerId && entry.Users.Count == 0) Delete(entry);
            }
        }
    }

    private Entry Make(string name, string driver, IReadOnlyDictionary<string, string>? labels, IReadOnlyDictionary<string, string>? options, string? madeFor)
    {
        var anonymous = name.Length == 0;
        if (anonymous) name = Names.NewId();
        EngineException Bad(string reason) => EngineException.Invalid($"create {name}: {reason}");
        if (driver.Length > 0 && driver != DriverName) throw EngineException.NotFound($"create {name}: error looking up volume plugin {driver}: plugin {GoText.Quote(driver)} not found");
        if (_volumes.TryGetValue(name, out var existing)) return existing;
        if (name.Length == 1) throw Bad("volume name is too short, names should be at least two alphanumeric characters");
        if (!Names.IsValid(name))
            throw Bad($"{GoText.Quote(name)} includes invalid characters for a local volume name, only {GoText.Quote(Names.AllowedCharacters)} are allowed. If you intended to pass a host directory, use absolute path");
        var limit = options?.GetValueOrDefault(SizeOption) is { } size && GoText.TryParseRamSize(size, out var bytes) ? bytes : 0;
        if (LocalMount.Problem(options, quota: limit > 0 && _quotas.AreEnforced(_root)) is { } problem) throw Bad(problem);

        Dictionary<string, string>? kept = labels is { Count: > 0 } ? new(labels) : null;
        if (anonymous) (kept ??= []).TryAdd(AnonymousLabel, "");
        var record = new VolumeRecord { Name = name, Created = _time.GetUtcNow(), Labels = kept, Options = options is { Count: > 0 } ? new(options) : null, MadeFor = madeFor };
        var directory = Path.Combine(_root, name);
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.OtherExecute);
        const UnixFileMode Data = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;
        var data = Directory.CreateDirectory(Path.Combine(directory, "_data"), Data);
        // The umask of whoever started the engine must not decide who may use a volume.
        data.UnixFileMode = Data;
        // What is mounted there has limits of its own.
        if (limit > 0 && LocalMount.From(options) is null) _quotas.Limit((ulong)limit, data.FullName);
        AtomicFile.Write(Path.Combine(directory, "volume.json"), JsonSerializer.SerializeToUtf8Bytes(record, EngineJson.Default.VolumeRecord));
        var entry = _volumes[name] = new Entry(record, DataOf(record.Name));
        _events.Emit("volume", "create", name, new() { ["driver"] = DriverName });
        return entry;
    }

    private void Delete(Entry entry)
    {
        // Never with a foreign file system below: what is in the trash is deleted whatever it is.
        if (entry.Mount is not null) HostMount.UnmountAll(DataOf(entry.Record.Name));
        if (entry.Record.Options?.ContainsKey(SizeOption) == true) _quotas.Release(DataOf(entry.Record.Name));
        Trash(Path.Combine(_root, entry.Record.Name));
        _volumes.TryRemove(entry.Record.Name, out _);
        _events.Emit("volume", "destroy", entry.Record.Name, new() { ["driver"] = DriverName });
    }

    // One rename and it is gone; what it holds is deleted in the background, by this daemon or the next.
    private void Trash(string directory)
    {
        var target = Path.Combine(_trash, "volume-" + Names.NewId());
        Directory.CreateDirectory(_trash);
        Directory.Move(directory, target);
        ThreadPool.UnsafeQueueUserWorkItem(static path => TrashCan.Delete(path), target, preferLocal: false);
    }

    private Volume Show(VolumeRecord record) => new()
    {
        CreatedAt = GoTime.Format(new DateTimeOffset(record.Created.Ticks - record.Created.Ticks % TimeSpan.TicksPerSecond, record.Created.Offset)),
        Driver = DriverName, Labels = record.Labels, Mountpoint = DataOf(record.Name), Name = record.Name, Options = record.Options, Scope = "local",
    };

    private sealed class Entry(VolumeRecord record, string data)
    {
        public TreeSize Size { get; } = new(data);

        public VolumeRecord Record { get; } = record;

        public LocalMount? Mount { get; } = LocalMount.From(record.Options);

        // Replaced whole under the lock, read without it.
        public volatile List<string> Users = [];

        /// <summary>Containers that run with it, while it is mounted; changed with the gate held.</summary>
        public HashSet<string> MountedBy { get; } = new(StringComparer.Ordinal);
        public SemaphoreSlim MountGate { get; } = new(1, 1);
    }
}
