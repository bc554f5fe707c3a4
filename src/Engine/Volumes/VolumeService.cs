using System.Collections.Concurrent;
using System.Text.Json;
using Berth.Api;
using Berth.Api.Json;

namespace Berth.Engine;

/// <summary>Named and anonymous volumes of the driver "local": &lt;data-root&gt;/volumes/&lt;name&gt;/{volume.json,_data}.</summary>
public sealed class VolumeService
{
    internal const string DriverName = "local";

    // Docker's mark of a volume that nobody named.
    private const string AnonymousLabel = "com.docker.volume.anonymous";

    private readonly ConcurrentDictionary<string, Entry> _volumes = new(StringComparer.Ordinal);

    // Making, removing and counting users are quick; one lock keeps a removal from racing with a container's claim.
    private readonly Lock _lock = new();
    private readonly string _root;
    private readonly string _trash;
    private readonly EventService _events;
    private readonly TimeProvider _time;

    internal VolumeService(string dataRoot, EventService events, TimeProvider time)
    {
        (_root, _trash, _events, _time) = (Path.Combine(dataRoot, "volumes"), Path.Combine(dataRoot, "trash"), events, time);
        Directory.CreateDirectory(_root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.OtherExecute);
        foreach (var directory in Directory.EnumerateDirectories(_root))
        {
            try
            {
                var record = JsonSerializer.Deserialize(File.ReadAllBytes(Path.Combine(directory, "volume.json")), EngineJson.Default.VolumeRecord);
                if (record is not null && record.Name == Path.GetFileName(directory)) _volumes[record.Name] = new Entry(record);
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

    /// <summary>Removes unused volumes: anonymous ones, or with the filter all=true every one.</summary>
    public Task<VolumePruneResponse> PruneAsync(Filters filters, CancellationToken cancellationToken)
    {
        filters.Require("label", "label!", "all");
        var all = filters.Flag("all", false);
        var deleted = new List<string>();
        ulong bytes = 0;
        lock (_lock)
        {
            foreach (var entry in _volumes.Values)
            {
                if (entry.Users.Count > 0 || (!all && entry.Record.Labels?.ContainsKey(AnonymousLabel) != true) || !filters.MatchLabels("label", entry.Record.Labels)) continue;
                if (filters["label!"].Count > 0 && filters.MatchLabels("label!", entry.Record.Labels)) continue;
                bytes += DiskUsage.Of(DataOf(entry.Record.Name));
                Delete(entry);
                deleted.Add(entry.Record.Name);
            }
        }
        _events.Emit("volume", "prune", "", new() { ["reclaimed"] = bytes.ToString(global::System.Globalization.CultureInfo.InvariantCulture) });
        return Task.FromResult(new VolumePruneResponse { VolumesDeleted = [.. deleted], SpaceReclaimed = bytes });
    }

    internal string DataOf(string name) => Path.Combine(_root, name, "_data");

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
        foreach (var option in options?.Keys ?? [])
        {
            if (option is not ("type" or "device" or "o" or "size")) throw Bad($"invalid option: {GoText.Quote(option)}");
            throw new EngineException(ErrorKind.NotImplemented, $"create {name}: the option {GoText.Quote(option)} of the local volume driver is not supported");
        }

        Dictionary<string, string>? kept = labels is { Count: > 0 } ? new(labels) : null;
        if (anonymous) (kept ??= []).TryAdd(AnonymousLabel, "");
        var record = new VolumeRecord { Name = name, Created = _time.GetUtcNow(), Labels = kept, MadeFor = madeFor };
        var directory = Path.Combine(_root, name);
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.OtherExecute);
        const UnixFileMode Data = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;
        var data = Directory.CreateDirectory(Path.Combine(directory, "_data"), Data);
        // The umask of whoever started the engine must not decide who may use a volume.
        data.UnixFileMode = Data;
        AtomicFile.Write(Path.Combine(directory, "volume.json"), JsonSerializer.SerializeToUtf8Bytes(record, EngineJson.Default.VolumeRecord));
        var entry = _volumes[name] = new Entry(record);
        _events.Emit("volume", "create", name, new() { ["driver"] = DriverName });
        return entry;
    }

    private void Delete(Entry entry)
    {
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

    private sealed class Entry(VolumeRecord record)
    {
        public VolumeRecord Record { get; } = record;

        // Replaced whole under the lock, read without it.
        public volatile List<string> Users = [];
    }
}
