using System.Security.Cryptography;
using System.Text;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Daemon.BuildKit;

/// <summary>
/// Contexts as they were sent last, by who sent them from where: the next build of the same place sends what has changed and nothing else. One build has a directory at a
/// time; a second one of the same place gets another. Files are told from changed ones by length and time, and nobody has synced them: those of another boot are not believed.
/// </summary>
internal sealed class ContextStore
{
    /// <summary>Directories that are kept; the one that was not used for longest goes.</summary>
    private const int MaxKept = 32;

    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private const string Once = "once-", Digests = ".digests";

    private readonly string _directory;
    private readonly Lock _lock = new();
    private readonly HashSet<string> _used = new(StringComparer.Ordinal);

    public ContextStore(string directory)
    {
        _directory = directory;
        Directory.CreateDirectory(directory, Private);
        // Of a daemon that was killed.
        foreach (var left in Directory.EnumerateDirectories(directory, Once + "*")) FileTree.Remove(left);
    }

    /// <param name="key">Who and from where; null: nobody that could be known again, and nothing is kept.</param>
    public ContextPlace Take(string? key)
    {
        var hash = key is null ? Once + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16)) : Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Boot.Id + key)));
        string name;
        lock (_lock)
        {
            name = hash;
            for (var n = 1; !_used.Add(name); n++) name = $"{hash}-{n}";
        }
        var path = Path.Combine(_directory, name);
        Directory.CreateDirectory(path, Private);
        File.SetUnixFileMode(path, Private | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute);
        Directory.SetLastWriteTimeUtc(path, DateTime.UtcNow);
        return new ContextPlace(path, FileAt.Open(null, path, OpenFlags.ReadOnly | OpenFlags.Directory), key is null ? null : path + Digests, () => GiveBack(name, keep: key is not null));
    }

    private void GiveBack(string name, bool keep)
    {
        List<string> doomed = keep ? [] : [name];
        lock (_lock)
        {
            if (keep)
            {
                var kept = Directory.GetDirectories(_directory).Where(d => !_used.Contains(Path.GetFileName(d))).OrderByDescending(Directory.GetLastWriteTimeUtc).ToList();
                for (var i = MaxKept; i < kept.Count; i++) doomed.Add(Path.GetFileName(kept[i]));
            }
            foreach (var other in doomed) _used.Add(other);
        }
        Remove(doomed);
        lock (_lock) _used.Remove(name);
    }

    /// <summary>Forgets those that no build has.</summary>
    /// <returns>Bytes they took.</returns>
    public long Prune()
    {
        List<string> doomed;
        lock (_lock)
        {
            doomed = [.. Directory.GetDirectories(_directory).Select(d => Path.GetFileName(d)!).Where(d => !_used.Contains(d))];
            foreach (var name in doomed) _used.Add(name);
        }
        long bytes = 0;
        foreach (var name in doomed) bytes += (long)FileTree.SizeBytes(Path.Combine(_directory, name));
        Remove(doomed);
        return bytes;
    }

    // They are marked as used meanwhile: nobody takes one that goes.
    private void Remove(List<string> names)
    {
        foreach (var name in names)
        {
            FileTree.Remove(Path.Combine(_directory, name));
            File.Delete(Path.Combine(_directory, name) + Digests);
            lock (_lock) _used.Remove(name);
        }
    }
}

/// <summary>A directory for a context, until it is disposed of.</summary>
/// <param name="digests">The file that what is known of its files' contents is kept in; null: nowhere.</param>
internal sealed class ContextPlace(string path, SafeFileHandle root, string? digests, Action giveBack) : IDisposable
{
    private int _disposed;

    public string Path => path;
    public SafeFileHandle Root => root;

    /// <summary>What its files hold, as far as it is known from before.</summary>
    public KnownDigests? Known { get; } = digests is null ? null : KnownDigests.Read(digests);

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0) return;
        root.Dispose();
        if (digests is not null) Known?.Save(digests);
        giveBack();
    }
}
