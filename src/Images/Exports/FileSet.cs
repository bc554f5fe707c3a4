using System.Text;
using Berth.Images.Layers;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images;

/// <summary>One file of a <see cref="FileSet"/>.</summary>
public sealed record FileSetEntry
{
    /// <summary>Relative, without a leading slash.</summary>
    public required string Path { get; init; }
    public required FileKind Kind { get; init; }

    /// <summary>The twelve permission bits.</summary>
    public required uint Permissions { get; init; }
    public uint Uid { get; init; }
    public uint Gid { get; init; }

    /// <summary>Of regular files; of one that has its content under another name too (<see cref="IsHardLink"/>) the same.</summary>
    public long SizeBytes { get; init; }
    public (long Seconds, uint Nanoseconds) Modified { get; init; }

    /// <summary>Where a symbolic link leads, or the path, earlier in the order, that has the content.</summary>
    public string LinkName { get; init; } = "";
    public bool IsHardLink { get; init; }
    public (uint Major, uint Minor) Device { get; init; }
    public IReadOnlyList<(string Name, byte[] Value)> Xattrs { get; init; } = [];
}

/// <summary>Files for somebody else: listed in one order (paths compared name by name, as bytes), opened by path.</summary>
public abstract class FileSet : IDisposable
{
    public abstract IEnumerable<FileSetEntry> List(CancellationToken cancellation);

    /// <summary>A regular file's content.</summary>
    /// <exception cref="IOException">It is none, or not there.</exception>
    public abstract Stream Open(string path);

    public virtual void Dispose() => GC.SuppressFinalize(this);

    /// <summary>As a tar, in the same order.</summary>
    public Task WriteTarAsync(Stream output, CancellationToken cancellation) => BlockPipe.ThroughAsync(stream =>
    {
        var tar = new TarWriter(stream);
        var buffer = new byte[BlockPipe.BlockBytes];
        foreach (var file in List(cancellation))
        {
            cancellation.ThrowIfCancellationRequested();
            if (Header(file) is not { } header) continue;
            tar.WriteHeader(header);
            if (header.Kind != TarKind.File || header.StoredBytes == 0) continue;
            using var content = Open(file.Path);
            // One that grows meanwhile is cut; one that shrinks the writer fills up.
            for (var left = header.StoredBytes; left > 0;)
            {
                var count = content.Read(buffer, 0, (int)Math.Min(buffer.Length, left));
                if (count == 0) break;
                tar.WriteContent(buffer.AsSpan(0, count));
                left -= count;
            }
        }
        tar.Complete();
    }, output, cancellation);

    private static TarEntry? Header(FileSetEntry file)
    {
        var kind = file.IsHardLink ? TarKind.HardLink : file.Kind switch
        {
            FileKind.Regular => TarKind.File,
            FileKind.Directory => TarKind.Directory,
            FileKind.SymbolicLink => TarKind.SymbolicLink,
            FileKind.CharacterDevice => TarKind.CharacterDevice,
            FileKind.BlockDevice => TarKind.BlockDevice,
            FileKind.Fifo => TarKind.Fifo,
            _ => (TarKind?)null, // sockets mean nothing without who listens
        };
        if (kind is not { } known) return null;
        var bytes = known == TarKind.File ? file.SizeBytes : 0;
        return new TarEntry
        {
            Name = Encoding.UTF8.GetBytes(known == TarKind.Directory ? file.Path + "/" : file.Path), LinkName = Encoding.UTF8.GetBytes(file.LinkName), Kind = known, Mode = file.Permissions, Uid = file.Uid, Gid = file.Gid,
            StoredBytes = bytes, LengthBytes = bytes, Modified = (file.Modified.Seconds, 0), Major = file.Device.Major, Minor = file.Device.Minor,
            Xattrs = [.. file.Xattrs.Select(x => new KeyValuePair<byte[], byte[]>(Encoding.UTF8.GetBytes(x.Name), x.Value))], Segments = null,
        };
    }

    /// <summary>Compares paths name by name: "a/b" comes before "a-b".</summary>
    internal static int Compare(string one, string other)
    {
        for (var i = 0; i < one.Length && i < other.Length; i++)
        {
            if (one[i] == other[i]) continue;
            if (one[i] == '/' || other[i] == '/') return one[i] == '/' ? -1 : 1;
            return Encoding.UTF8.GetBytes(one[i..]).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(other[i..]));
        }
        return one.Length.CompareTo(other.Length);
    }
}

/// <summary>
/// The files below a directory that may hold anything: no link is followed, names are opened relative to their directory's descriptor, and what a caller asks to open is resolved
/// beneath the root without links. So nothing outside is ever read, whatever a build put there.
/// </summary>
/// <param name="root">Owned.</param>
/// <param name="mount">Undone with it.</param>
/// <param name="epoch">Every time is this one: seconds.</param>
public sealed class TreeFiles(SafeFileHandle root, IDisposable? mount, long? epoch = null) : FileSet
{
    private const int MaxDepth = 2048;

    private const OpenFlags Listed = OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow;
    private const ResolveFlags Inside = ResolveFlags.Beneath | ResolveFlags.NoSymlinks | ResolveFlags.NoMagicLinks;

    public override IEnumerable<FileSetEntry> List(CancellationToken cancellation)
    {
        var links = new Dictionary<((uint, uint), ulong), string>();
        // The directories on the way down, each with what is left of it.
        var stack = new Stack<(SafeFileHandle Handle, string Prefix, List<DirectoryEntry> Entries, int Next)>();
        try
        {
            stack.Push((OpenDirectory(root, "."u8, ""), "", [], -1));
            while (stack.Count > 0)
            {
                cancellation.ThrowIfCancellationRequested();
                var (handle, prefix, entries, next) = stack.Pop();
                if (next < 0)
                {
                    entries = DirectoryList.Read(handle);
                    entries.Sort(static (a, b) => a.Name.AsSpan().SequenceCompareTo(b.Name));
                    next = 0;
                }
                if (next == entries.Count)
                {
                    handle.Dispose();
                    continue;
                }
                stack.Push((handle, prefix, entries, next + 1));
                var name = entries[next].Name;
                var path = prefix + Encoding.UTF8.GetString(name);
                var errno = RawAt.Status(handle, name, out var status);
                if (errno != Errno.Success) throw new LinuxException("statx", $"\"{path}\"", errno);
                yield return Describe(handle, name, path, status, links);
                if (!status.IsDirectory) continue;
                if (stack.Count > MaxDepth) throw ImageException.Failed($"{path}: directories are nested deeper than {MaxDepth}");
                stack.Push((OpenDirectory(handle, name, path), path + "/", [], -1));
            }
        }
        finally
        {
            foreach (var frame in stack) frame.Handle.Dispose();
        }
    }

    private static SafeFileHandle OpenDirectory(SafeFileHandle at, ReadOnlySpan<byte> name, string path)
    {
        var errno = RawAt.Open(at, name, Listed, Inside, 0, out var opened);
        return errno == Errno.Success ? opened! : throw new LinuxException("openat2", $"\"{path}\"", errno);
    }

    private FileSetEntry Describe(SafeFileHandle directory, byte[] name, string path, FileStatus status, Dictionary<((uint, uint), ulong), string> links)
    {
        var link = "";
        var isHardLink = false;
        if (status.Kind == FileKind.SymbolicLink && RawAt.ReadLink(directory, name, out var target) == Errno.Success) link = Encoding.UTF8.GetString(target);
        else if (!status.IsDirectory && status.LinkCount > 1 && !links.TryAdd((status.Device, status.Inode), path)) (link, isHardLink) = (links[(status.Device, status.Inode)], true);
        IReadOnlyList<(string, byte[])> xattrs = status.Kind is FileKind.Regular && RawAt.GetXattr(directory, name, "security.capability"u8, out var capability) == Errno.Success ? [("security.capability", capability)] : [];
        return new FileSetEntry
        {
            Path = path, Kind = status.Kind, Permissions = status.Permissions, Uid = status.Uid, Gid = status.Gid, SizeBytes = status.Kind == FileKind.Regular ? (long)status.SizeBytes : 0,
            Modified = epoch is { } time ? (time, 0) : status.Modified, LinkName = link, IsHardLink = isHardLink, Device = status.NodeDevice, Xattrs = xattrs,
        };
    }

    public override Stream Open(string path)
    {
        var errno = RawAt.Open(root, Encoding.UTF8.GetBytes(path), OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.NonBlocking, Inside, 0, out var file);
        if (errno != Errno.Success) throw new LinuxException("openat2", $"\"{path}\"", errno);
        if (FileAt.Status(file!).Kind == FileKind.Regular) return new FileStream(file!, FileAccess.Read, bufferSize: 0);
        file!.Dispose();
        throw new IOException($"{path} is no regular file");
    }

    public override void Dispose()
    {
        root.Dispose();
        mount?.Dispose();
        base.Dispose();
    }
}

/// <summary>Several sets as one, each below a directory of its own or, with an empty name, at the top; and files that are only in memory.</summary>
public sealed class JoinedFiles : FileSet
{
    private readonly List<(string Directory, FileSet Files)> _sets = [];
    private readonly SortedDictionary<string, (FileSetEntry Entry, byte[] Content)> _files = new(Comparer<string>.Create(Compare));
    private readonly (long, uint) _time;

    /// <param name="time">Of what is made here.</param>
    public JoinedFiles(DateTimeOffset time) => _time = (time.ToUnixTimeSeconds(), 0);

    public void Add(string directory, FileSet files)
    {
        if (directory.Length > 0)
            _files[directory] = (new FileSetEntry { Path = directory, Kind = FileKind.Directory, Permissions = 0x1ED, Modified = _time }, []);
        _sets.Add((directory, files));
    }

    public void Add(string path, byte[] content) => _files[path] = (new FileSetEntry { Path = path, Kind = FileKind.Regular, Permissions = 0x180, SizeBytes = content.Length, Modified = _time }, content);

    /// <exception cref="ImageException">Two have the same file.</exception>
    public override IEnumerable<FileSetEntry> List(CancellationToken cancellation)
    {
        var sources = new List<IEnumerator<FileSetEntry>>();
        try
        {
            sources.Add(_files.Values.Select(f => f.Entry).GetEnumerator());
            foreach (var (directory, files) in _sets)
                sources.Add(files.List(cancellation).Select(f => directory.Length == 0 ? f : f with { Path = $"{directory}/{f.Path}", LinkName = f.IsHardLink ? $"{directory}/{f.LinkName}" : f.LinkName }).GetEnumerator());
            sources.RemoveAll(s => !s.MoveNext());
            string? last = null;
            var lastIsDirectory = false;
            while (sources.Count > 0)
            {
                var first = sources[0];
                foreach (var source in sources) if (Compare(source.Current.Path, first.Current.Path) < 0) first = source;
                var file = first.Current;
                // Directories that several have are one.
                var repeated = last == file.Path;
                if (repeated && !(lastIsDirectory && file.Kind == FileKind.Directory)) throw ImageException.Failed($"cannot overwrite {file.Path}: more than one platform has it");
                (last, lastIsDirectory) = (file.Path, file.Kind == FileKind.Directory);
                if (!repeated) yield return file;
                if (!first.MoveNext()) sources.Remove(first);
            }
        }
        finally
        {
            foreach (var source in sources) source.Dispose();
        }
    }

    public override Stream Open(string path)
    {
        if (_files.TryGetValue(path, out var file) && file.Entry.Kind == FileKind.Regular) return new MemoryStream(file.Content, writable: false);
        foreach (var (directory, files) in _sets)
            if (directory.Length > 0 && path.StartsWith(directory + "/", StringComparison.Ordinal)) return files.Open(path[(directory.Length + 1)..]);
        Exception? failure = null;
        foreach (var (directory, files) in _sets)
        {
            if (directory.Length > 0) continue;
            try
            {
                return files.Open(path);
            }
            catch (IOException e)
            {
                failure = e;
            }
        }
        throw new IOException($"{path} is not there", failure);
    }

    public override void Dispose()
    {
        foreach (var (_, files) in _sets) files.Dispose();
        base.Dispose();
    }
}
