using System.Text.Json;
using Berth.Dockerfile;
using Berth.Engine;
using Berth.Linux;

namespace Berth.Builder;

/// <summary>RUN --mount=type=cache: directories that outlive builds, by their id. Also the places where a command's other mounts are put together.</summary>
internal sealed class CacheMounts
{
    private const string Unfinished = "new-";

    private const int MaxRecordBytes = 16 << 20;

    private readonly string _directory, _places;
    private readonly TimeProvider _time;
    private readonly Dictionary<string, CacheMountRecord> _records = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _used = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SemaphoreSlim> _locked = new(StringComparer.Ordinal);

    /// <param name="directory">Of the caches.</param>
    /// <param name="places">Of mounts; what a daemon that was killed left mounted there is unmounted.</param>
    public CacheMounts(string directory, string places, TimeProvider time)
    {
        (_directory, _places, _time) = (directory, places, time);
        const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Directory.CreateDirectory(directory, Private);
        Directory.CreateDirectory(places, Private);
        ReadRecords();
        foreach (var left in Directory.EnumerateDirectories(directory, Unfinished + "*")) FileTree.Remove(left);
        foreach (var left in Directory.EnumerateDirectories(places))
        {
            HostMount.UnmountAll(left);
            Directory.Delete(left);
        }
    }

    /// <summary>An empty directory, to mount something on.</summary>
    public string NewPlace(UndoStack undo)
    {
        var place = Path.Combine(_places, Path.GetRandomFileName());
        Directory.CreateDirectory(place);
        undo.Push(() => Directory.Delete(place));
        return place;
    }

    public static string IdOf(RunMount mount) => mount.Id.Length > 0 ? mount.Id : PathPatterns.Clean(mount.Target);

    /// <summary>Of the cache's directory, here and on other machines. What is asked of the directory itself makes it another one.</summary>
    public static string NameOf(RunMount mount, string basis) => Fields.Hash(Fields.Join(IdOf(mount), $"{mount.Mode} {mount.UserId} {mount.GroupId}", basis));

    /// <summary>The directory of one that begins with nothing; null when there is none yet.</summary>
    public string? Find(RunMount mount) => Path.Combine(_directory, NameOf(mount, "")) is var path && Directory.Exists(path) ? path : null;

    /// <summary>The cache's directory, until undone: alone (locked), with others (shared), or another one while it is in use (private).</summary>
    /// <param name="basis">What it begins with; empty for nothing.</param>
    /// <param name="fill">Puts that into a directory.</param>
    public async Task<string> TakeAsync(RunMount mount, string basis, Action<string>? fill, UndoStack undo, CancellationToken cancellation)
    {
        var name = NameOf(mount, basis);
        if (mount.Sharing == CacheSharing.Locked)
        {
            SemaphoreSlim alone;
            lock (_lock) alone = _locked.TryGetValue(name, out var known) ? known : _locked[name] = new SemaphoreSlim(1);
            await alone.WaitAsync(cancellation).ConfigureAwait(false);
            undo.Push(() => alone.Release());
        }
        string chosen;
        lock (_lock)
        {
            chosen = name;
            for (var n = 1; mount.Sharing == CacheSharing.Private && _used.GetValueOrDefault(chosen) > 0; n++) chosen = $"{name}-{n}";
            _used[chosen] = _used.GetValueOrDefault(chosen) + 1;
        }
        undo.Push(() =>
        {
            lock (_lock)
                if (--_used[chosen] == 0) _used.Remove(chosen);
        });
        Note(chosen, mount, IdOf(mount));
        var path = Path.Combine(_directory, chosen);
        if (Directory.Exists(path)) return path;
        // Whole or not at all: whoever takes it next cannot tell half a filling from what commands left.
        var unfinished = Path.Combine(_directory, Unfinished + Path.GetRandomFileName());
        Directory.CreateDirectory(unfinished);
        try
        {
            await Task.Run(() => fill?.Invoke(unfinished), cancellation).ConfigureAwait(false);
            FileAt.ChangeOwner(null, unfinished, mount.UserId ?? 0, mount.GroupId ?? 0);
            FileAt.ChangeMode(null, unfinished, mount.Mode ?? 0x1ED);
            lock (_lock)
                if (!Directory.Exists(path)) Directory.Move(unfinished, path);
        }
        finally
        {
            FileTree.Remove(unfinished);
        }
        return path;
    }

    /// <summary>All there are, measured.</summary>
    public List<KeptEntry> Entries()
    {
        var entries = new List<KeptEntry>();
        foreach (var path in Directory.EnumerateDirectories(_directory))
        {
            var name = Path.GetFileName(path);
            if (name.StartsWith(Unfinished, StringComparison.Ordinal)) continue;
            CacheMountRecord? record;
            bool inUse;
            lock (_lock) (record, inUse) = (_records.GetValueOrDefault(name), _used.ContainsKey(name));
            var changed = new DateTimeOffset(Directory.GetLastWriteTimeUtc(path));
            entries.Add(new KeptEntry
            {
                Id = name[..25], Name = name, Type = KeptEntry.CacheMount, Description = record?.Description ?? "cached mount", SizeBytes = (long)FileTree.SizeBytes(path), InUse = inUse,
                Created = record?.Created ?? changed, LastUsed = record?.LastUsed ?? changed, UsageCount = record?.UsageCount ?? 0,
            });
        }
        return entries;
    }

    /// <returns>False: it is in use, or was not there.</returns>
    public bool Remove(string name)
    {
        var path = Path.Combine(_directory, name);
        var doomed = Path.Combine(_directory, Unfinished + Path.GetRandomFileName());
        lock (_lock)
        {
            if (_used.ContainsKey(name) || !Directory.Exists(path)) return false;
            // Its name is free at once; what a crash leaves of it is swept.
            Directory.Move(path, doomed);
            _records.Remove(name);
        }
        FileTree.Remove(doomed);
        return true;
    }

    /// <summary>When they were used survives a restart.</summary>
    public void Save()
    {
        lock (_lock)
        {
            if (!_changed) return;
            var unfinished = RecordsPath + ".tmp";
            File.WriteAllBytes(unfinished, JsonSerializer.SerializeToUtf8Bytes(_records, CacheJson.Default.DictionaryStringCacheMountRecord));
            File.Move(unfinished, RecordsPath, overwrite: true);
            _changed = false;
        }
    }

    private bool _changed;

    private string RecordsPath => _directory + ".json";

    private void Note(string name, RunMount mount, string id)
    {
        var now = _time.GetUtcNow();
        lock (_lock)
        {
            var description = $"cached mount {mount.Target}" + (id == mount.Target ? "" : $" with id \"{id}\"");
            _records[name] = _records.TryGetValue(name, out var known) ? known with { LastUsed = now, UsageCount = known.UsageCount + 1 } : new CacheMountRecord { Description = description, Created = now, LastUsed = now };
            _changed = true;
        }
    }

    private void ReadRecords()
    {
        try
        {
            if (new FileInfo(RecordsPath) is not { Exists: true, Length: <= MaxRecordBytes }) return;
            foreach (var (name, record) in JsonSerializer.Deserialize(File.ReadAllBytes(RecordsPath), CacheJson.Default.DictionaryStringCacheMountRecord) ?? [])
                if (Directory.Exists(Path.Combine(_directory, name))) _records[name] = record;
        }
        catch (Exception e) when (e is JsonException or IOException)
        {
            _records.Clear(); // their directories say when they were written to
        }
    }
}

/// <summary>When a cache mount was used.</summary>
internal sealed record CacheMountRecord
{
    public string? Description { get; init; }
    public DateTimeOffset Created { get; init; }
    public DateTimeOffset LastUsed { get; init; }
    public int UsageCount { get; init; }
}
