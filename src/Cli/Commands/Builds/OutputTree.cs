using System.Text;
using Berth.Api.BuildKit;

namespace Berth.Cli.Commands.Builds;

/// <summary>
/// Files of a build into a directory, as the builder sends them (the protocol of tonistiigi/fsutil). What it says is not trusted: no name leads out of the directory, and nothing is written
/// through a symbolic link, whether it lay there before or came with the files. Owners are the user's own; devices and the like are left out.
/// </summary>
internal sealed class OutputTree(string directory)
{
    /// <summary>Of one transfer.</summary>
    private const int MaxFiles = 5_000_000;

    private readonly string _root = Path.GetFullPath(directory);
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);
    private readonly Dictionary<uint, (FileStream File, FileStat Stat)> _open = [];
    private readonly List<(string Path, FileStat Stat)> _directories = [];
    private readonly List<(string Path, string Target)> _hardLinks = [];

    /// <param name="read">The sender's next packet; null at its end.</param>
    /// <param name="write">Sends a packet.</param>
    /// <exception cref="IOException">The transfer failed, or the sender does what it may not.</exception>
    public async Task ReceiveAsync(Func<Task<Packet?>> read, Func<Packet, Task> write)
    {
        Directory.CreateDirectory(_root);
        try
        {
            var (id, told) = (0u, false);
            while (!told || _open.Count > 0)
            {
                var packet = await read().ConfigureAwait(false) ?? throw new IOException("the builder ended the transfer before its time");
                switch (packet.Type)
                {
                    case PacketType.Stat when packet.Stat is { } stat && !told:
                        if (id == MaxFiles) throw new IOException($"the builder sends more than {MaxFiles} files");
                        if (Tell(stat, id)) await write(new Packet(PacketType.Request) { Id = id }).ConfigureAwait(false);
                        id++;
                        break;
                    case PacketType.Stat when !told:
                        told = true;
                        break;
                    case PacketType.Data:
                        await WriteAsync(packet).ConfigureAwait(false);
                        break;
                    case PacketType.Error: throw new IOException("error from sender: " + Encoding.UTF8.GetString(packet.Data));
                    default: throw new IOException("the builder sent an unexpected packet");
                }
            }
            Finish();
            await write(new Packet(PacketType.End)).ConfigureAwait(false);
            while (await read().ConfigureAwait(false) is { } last)
                if (last.Type == PacketType.End) break;
        }
        finally
        {
            foreach (var (file, _) in _open.Values) await file.DisposeAsync().ConfigureAwait(false);
        }
    }

    // True when its content is wanted.
    private bool Tell(FileStat stat, uint id)
    {
        var path = Resolve(stat.Path);
        switch (stat.Mode & FileStat.Kinds)
        {
            case FileStat.Directory:
                if (!Directory.Exists(path) || new DirectoryInfo(path).LinkTarget is not null)
                {
                    Clear(path);
                    Directory.CreateDirectory(path);
                }
                _known.Add(path);
                _directories.Add((path, stat));
                return false;
            case FileStat.SymbolicLink:
                Clear(path);
                File.CreateSymbolicLink(path, stat.LinkName);
                return false;
            case 0 when stat.LinkName.Length > 0:
                _hardLinks.Add((path, Resolve(stat.LinkName)));
                return false;
            case 0:
                Clear(path);
                _open[id] = (new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0), stat);
                return true;
            default: return false;
        }
    }

    private async Task WriteAsync(Packet packet)
    {
        if (!_open.TryGetValue(packet.Id, out var open)) throw new IOException($"the builder sent the content of file {packet.Id}, which was not asked for");
        if (packet.Data.Length > 0)
        {
            await open.File.WriteAsync(packet.Data).ConfigureAwait(false);
            return;
        }
        _open.Remove(packet.Id);
        // Of the file that was opened: its name may be a link's by now.
        await using (open.File.ConfigureAwait(false))
        {
            if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(open.File.SafeFileHandle, (UnixFileMode)open.Stat.Permissions);
            File.SetLastWriteTimeUtc(open.File.SafeFileHandle, TimeOf(open.Stat));
        }
    }

    // Last: a file may be named again before its content has come, a directory may be read-only, and its time changes with what is put into it.
    private void Finish()
    {
        foreach (var (path, target) in _hardLinks)
        {
            if (new FileInfo(target) is not { Exists: true, LinkTarget: null }) continue;
            Clear(path);
            File.Copy(target, path);
        }
        for (var i = _directories.Count - 1; i >= 0; i--)
        {
            var (path, stat) = _directories[i];
            if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(path, (UnixFileMode)stat.Permissions);
            Directory.SetLastWriteTimeUtc(path, TimeOf(stat));
        }
    }

    private static DateTime TimeOf(FileStat stat) => DateTime.UnixEpoch.AddTicks(stat.ModTime / 100);

    // Only plain names, below directories that are no links.
    private string Resolve(string name)
    {
        var parts = name.Split('/');
        var path = _root;
        for (var i = 0; i < parts.Length; i++)
        {
            if (parts[i] is "" or "." or ".." || parts[i].Contains('\0')) throw new IOException($"the builder sent a file that leads out of the directory: {name}");
            path = Path.Combine(path, parts[i]);
            if (i == parts.Length - 1 || _known.Contains(path)) continue;
            if (new DirectoryInfo(path).LinkTarget is not null) throw new IOException($"refusing to write through the link {path}");
            Directory.CreateDirectory(path);
            _known.Add(path);
        }
        return path;
    }

    private void Clear(string path)
    {
        _known.Remove(path);
        var there = new FileInfo(path);
        if (there.LinkTarget is not null || there.Exists) File.Delete(path);
        else if (Directory.Exists(path)) throw new IOException($"cannot replace to directory {path} with file");
    }
}
