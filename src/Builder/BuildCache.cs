using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Images;

namespace Berth.Builder;

/// <summary>What a step once made.</summary>
public sealed record CacheRecord
{
    /// <summary>Of what it did and of what it stood on, by content.</summary>
    public required string Key { get; init; }

    /// <summary>Of what it did alone: those that share it are the same step at other times.</summary>
    public required string Definition { get; init; }

    /// <summary>For people.</summary>
    public required string Description { get; init; }

    /// <summary>The layer it made; empty when it changed nothing.</summary>
    public string Layer { get; init; } = "";

    /// <summary>The layers below, which the next step's key stands on.</summary>
    public string Below { get; init; } = "";
    public long SizeBytes { get; init; }
    public DateTimeOffset Created { get; init; }
    public DateTimeOffset LastUsed { get; init; }
    public int UsageCount { get; init; }

    /// <summary>Of COPY: the files, each with its digest, to say what has changed; null when there were too many.</summary>
    public Dictionary<string, string>? Files { get; init; }
}

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
[JsonSerializable(typeof(List<CacheRecord>))]
[JsonSerializable(typeof(Dictionary<string, CacheMountRecord>))]
internal sealed partial class CacheJson : JsonSerializerContext;

/// <summary>
/// What builds made before, found by content: two steps that do the same to the same files have one result, whoever asked and whenever. Its layers are pinned in the image
/// store. Kept in one file, written when a build ends; a daemon that is killed loses what its last build added, and nothing else.
/// </summary>
public sealed class BuildCache
{
    private const int MaxFileBytes = 64 << 20;

    /// <summary>Files of a COPY that are kept for saying what changed.</summary>
    public const int MaxFilesTold = 2000;

    private readonly string _path;
    private readonly ImageStore _images;
    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, CacheRecord> _records = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _held = new(StringComparer.Ordinal);

    /// <param name="directory">Made when it is missing.</param>
    public BuildCache(string directory, ImageStore images, TimeProvider time)
    {
        (_images, _time) = (images, time);
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _path = Path.Combine(directory, "cache.json");
        try
        {
            if (new FileInfo(_path) is not { Exists: true, Length: <= MaxFileBytes }) return;
            foreach (var record in JsonSerializer.Deserialize(File.ReadAllBytes(_path), CacheJson.Default.ListCacheRecord) ?? []) _records[record.Key] = record;
        }
        catch (Exception e) when (e is JsonException or IOException)
        {
            _records.Clear(); // it costs time, nothing else
        }
    }

    public IReadOnlyList<CacheRecord> All
    {
        get
        {
            lock (_lock) return [.. _records.Values];
        }
    }

    /// <summary>Somebody stands on it, or is making it.</summary>
    internal void Hold(string key)
    {
        lock (_lock) _held[key] = _held.GetValueOrDefault(key) + 1;
    }

    internal void Release(string key)
    {
        lock (_lock)
            if (--_held[key] == 0) _held.Remove(key);
    }

    internal bool IsHeld(string key)
    {
        lock (_lock) return _held.ContainsKey(key);
    }

    public CacheRecord? Find(string key)
    {
        lock (_lock)
        {
            if (!_records.TryGetValue(key, out var record)) return null;
            return _records[key] = record with { LastUsed = _time.GetUtcNow(), UsageCount = record.UsageCount + 1 };
        }
    }

    /// <summary>As <see cref="Find"/>, for looking only.</summary>
    public CacheRecord? Peek(string key)
    {
        lock (_lock) return _records.GetValueOrDefault(key);
    }

    /// <summary>The same step, the last time.</summary>
    public CacheRecord? Last(string definition)
    {
        lock (_lock) return _records.Values.Where(r => r.Definition == definition).MaxBy(r => r.Created);
    }

    /// <param name="record">Created now, unless it says when.</param>
    /// <returns>As it is kept.</returns>
    public CacheRecord Add(CacheRecord record)
    {
        var now = _time.GetUtcNow();
        record = record with { Created = record.Created == default ? now : record.Created, LastUsed = now };
        lock (_lock) return _records[record.Key] = record;
    }

    /// <summary>What is known now survives a restart. To be called while what was added is held.</summary>
    public void Save()
    {
        lock (_lock)
        {
            Pin();
            var unfinished = _path + ".tmp";
            File.WriteAllBytes(unfinished, JsonSerializer.SerializeToUtf8Bytes(_records.Values.ToList(), CacheJson.Default.ListCacheRecord));
            File.Move(unfinished, _path, overwrite: true);
        }
    }

    /// <summary>Forgets records; their layers go unless an image has them.</summary>
    /// <returns>Those that were there.</returns>
    public IReadOnlyList<CacheRecord> Remove(Func<CacheRecord, bool> which)
    {
        List<CacheRecord> removed;
        lock (_lock)
        {
            removed = [.. _records.Values.Where(which)];
            foreach (var record in removed) _records.Remove(record.Key);
        }
        if (removed.Count > 0) Save();
        return removed;
    }

    private void Pin() => _images.Pin(_records.Values.SelectMany(r => Digest.TryParse(r.Layer, out var layer) ? (Digest[])[layer] : []));
}
