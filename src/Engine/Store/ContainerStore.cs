using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Text.Json;

namespace Berth.Engine;

/// <summary>
/// All containers, by id and by name, in memory and on disk: &lt;data-root&gt;/containers/&lt;id&gt;/container.json.
/// A file is written under a temporary name and renamed, so a reader (the next daemon) sees the old or the new, never half. There is no fsync: a crash of
/// the daemon loses nothing, since the page cache outlives it; after a crash of the machine no container runs, and an old or missing file of some
/// milliseconds is what the recovery is made for. An fsync costs a start 1-10 ms.
/// </summary>
internal sealed class ContainerStore
{
    private readonly ConcurrentDictionary<string, Container> _byId = new(StringComparer.Ordinal);

    // Names point at ids, not containers: a name is reserved before its container exists.
    private readonly ConcurrentDictionary<string, string> _idByName = new(StringComparer.Ordinal);
    private readonly string _dataRoot;
    private readonly string _root;
    private readonly string _trash;

    public ContainerStore(string dataRoot)
    {
        _dataRoot = dataRoot;
        _root = Path.Combine(dataRoot, "containers");
        _trash = Path.Combine(dataRoot, "trash");
        Directory.CreateDirectory(_root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute);
        Directory.CreateDirectory(_trash, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    public string Root => _root;
    public string TrashRoot => _trash;
    public string DirectoryOf(string id) => Path.Combine(_root, id);
    public ICollection<Container> All => _byId.Values;

    public bool TryGetById(string id, [NotNullWhen(true)] out Container? container) => _byId.TryGetValue(id, out container);

    /// <summary>By full id, by name, by the name of a link (parent/alias), by unique id prefix, in this order.</summary>
    /// <exception cref="EngineException">NotFound; InvalidParameter for an empty or ambiguous one.</exception>
    public Container Get(string idOrName)
    {
        if (idOrName.Length == 0) throw EngineException.Invalid("invalid name or ID supplied: \"\"");
        if (_byId.TryGetValue(idOrName, out var container)) return container;
        var name = idOrName[0] == '/' ? idOrName[1..] : idOrName;
        if (_idByName.TryGetValue(name, out var id) && _byId.TryGetValue(id, out container)) return container;
        if (name.LastIndexOf('/') is > 0 and var slash && TryGet(name[..slash], out var parent)
            && Array.Find(parent.Record.Links, l => l.Alias == name[(slash + 1)..]) is { } link && _byId.TryGetValue(link.Child, out container)) return container;
        container = null;
        foreach (var (candidate, found) in _byId)
        {
            if (!candidate.StartsWith(idOrName, StringComparison.Ordinal)) continue;
            if (container is not null) throw EngineException.Invalid($"Multiple IDs found with provided prefix: {idOrName}");
            container = found;
        }
        return container ?? throw EngineException.NoSuchContainer(idOrName);
    }

    public bool TryGet(string idOrName, [NotNullWhen(true)] out Container? container)
    {
        try
        {
            container = Get(idOrName);
            return true;
        }
        catch (EngineException)
        {
            container = null;
            return false;
        }
    }

    /// <summary>Reserves a name, or a random one when it is empty; returns it without slash.</summary>
    /// <exception cref="EngineException">InvalidParameter for a bad name; Conflict for one in use.</exception>
    public string ReserveName(string id, string? wanted)
    {
        if (string.IsNullOrEmpty(wanted))
        {
            for (var attempt = 0; attempt < 6; attempt++)
            {
                var random = Names.Random(attempt);
                if (_idByName.TryAdd(random, id)) return random;
            }
            var fallback = Names.Short(id);
            _idByName[fallback] = id;
            return fallback;
        }
        var name = wanted[0] == '/' ? wanted[1..] : wanted;
        if (!Names.IsValid(name)) throw EngineException.Invalid($"Invalid container name ({wanted}), only {Names.AllowedCharacters} are allowed");
        while (!_idByName.TryAdd(name, id))
        {
            if (!_idByName.TryGetValue(name, out var holder)) continue;
            throw EngineException.Conflict(
                $"Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name.");
        }
        return name;
    }

    /// <summary>Frees a name if this id holds it.</summary>
    public void ReleaseName(string name, string id) => ((ICollection<KeyValuePair<string, string>>)_idByName).Remove(new(name, id));

    public void Add(Container container) => _byId[container.Id] = container;

    public void Forget(Container container)
    {
        _byId.TryRemove(container.Id, out _);
        ReleaseName(container.Name, container.Id);
    }

    /// <summary>Stores and then publishes.</summary>
    public void Save(Container container, ContainerRecord next)
    {
        Write(container, next);
        container.Publish(next);
    }

    /// <summary>Stores without publishing.</summary>
    public void Write(Container container, ContainerRecord next) =>
        AtomicFile.Write(Path.Combine(container.Directory, "container.json"), ContainerJson.Write(next, container.FrozenFor(next)));

    /// <summary>
    /// What is on disk: the containers, and the directories that are none (a create that was cut short). Unreadable ones are given to <paramref name="broken"/>.
    /// </summary>
    public (List<Container> Containers, List<string> HalfMade) Load(Action<string, Exception> broken)
    {
        var containers = new List<Container>();
        var halfMade = new List<string>();
        foreach (var directory in Directory.EnumerateDirectories(_root))
        {
            var file = Path.Combine(directory, "container.json");
            if (!File.Exists(file))
            {
                halfMade.Add(Path.GetFileName(directory));
                continue;
            }
            try
            {
                var record = ContainerJson.Read(File.ReadAllBytes(file));
                if (record.Id != Path.GetFileName(directory)) throw new JsonException($"it is the container {record.Id}");
                containers.Add(new Container(Here(record, directory), directory));
            }
            catch (Exception e) when (e is JsonException or KeyNotFoundException or IOException or InvalidOperationException)
            {
                broken(file, e);
            }
        }
        foreach (var container in containers.OrderBy(c => c.Record.Created))
        {
            _byId[container.Id] = container;
            // Two with one name can't come from us; the older keeps it, the other is reached by id.
            _idByName.TryAdd(container.Name, container.Id);
        }
        return (containers, halfMade);
    }

    // The data root may have been moved since the file was written: paths in it are told from where they are now.
    private ContainerRecord Here(ContainerRecord record, string directory) => record with
    {
        LogPath = record.LogPath.Length == 0 ? "" : Path.Combine(directory, Path.GetFileName(record.LogPath)),
        Mounts = [.. record.Mounts.Select(m => m.Type == "volume" ? m with { Source = VolumeService.DataOf(_dataRoot, m.Name) } : m)],
    };

    /// <summary>
    /// The point of no return of a removal: one rename and the container is gone for every reader, after a crash too. What lies in the trash is deleted by
    /// whoever comes first, this daemon or the next. The suffix says whether anonymous volumes go with it.
    /// </summary>
    public string MoveToTrash(Container container, bool removeVolumes)
    {
        var target = Path.Combine(_trash, container.Id + (removeVolumes ? VolumesSuffix : ""));
        try
        {
            Directory.Move(container.Directory, target);
        }
        catch (DirectoryNotFoundException) when (!Directory.Exists(container.Directory) && Directory.Exists(_trash))
        {
            // Somebody deleted it by hand: what is asked for is so already.
        }
        catch (IOException) when (Directory.Exists(container.Directory))
        {
            // EBUSY: it is a mount point now.
            TrashCan.UnmountBelow(container.Directory);
            Directory.Move(container.Directory, target);
        }
        return target;
    }

    internal const string VolumesSuffix = ".volumes";
}

/// <summary>Whole files, replaced at once.</summary>
internal static class AtomicFile
{
    public static void Write(string path, ReadOnlySpan<byte> content)
    {
        var temporary = path + ".tmp";
        using (var handle = File.OpenHandle(temporary, FileMode.Create, FileAccess.Write, FileShare.Read)) RandomAccess.Write(handle, content, 0);
        File.Move(temporary, path, overwrite: true);
    }
}
