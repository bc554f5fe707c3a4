using System.Text;
using System.Threading.Channels;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Daemon.BuildKit;

/// <summary>
/// Receives a tree of files from a client: it tells all of them in order, we ask for the contents of those that are new or changed, and remove what it no longer has. The
/// protocol of tonistiigi/fsutil.
/// <para>
/// The client is not to be trusted. A file's directory must have been told right before it, as a directory; it was opened, or made, by us, and names are opened relative to
/// it and without following links. So nothing is ever touched outside the root.
/// </para>
/// </summary>
/// <param name="known">Is told what the files hold that come.</param>
internal sealed class FileReceiver(SafeFileHandle root, Action<long>? progress = null, KnownDigests? known = null)
{
    /// <summary>Files of one transfer.</summary>
    public const int MaxFiles = 5_000_000;

    /// <summary>Directories nested in each other; each is held open while its files come.</summary>
    public const int MaxDepth = 256;

    /// <summary>Contents that come at the same time; clients send four.</summary>
    private const int MaxOpen = 64;

    private const int MaxNameBytes = 255;
    private const ResolveFlags OneName = ResolveFlags.Beneath | ResolveFlags.NoSymlinks;
    private const OpenFlags Directory = OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow;

    private readonly Stack<Level> _levels = new();
    private readonly Dictionary<uint, FileStat> _wanted = [];
    private readonly Dictionary<uint, Arrival> _open = [];
    private readonly HashSet<string> _files = new(StringComparer.Ordinal);
    private readonly Channel<uint> _requests = Channel.CreateUnbounded<uint>(new UnboundedChannelOptions { SingleReader = true });
    private uint _next;
    private long _received;

    /// <summary>Files whose content was asked for.</summary>
    public int Requested { get; private set; }

    /// <exception cref="GrpcException">The transfer failed, or the client does what it may not.</exception>
    /// <exception cref="LinuxException"/>
    public async Task ReceiveAsync(Func<Task<Packet?>> read, Func<Packet, Task> write)
    {
        // Contents are asked for beside the reading: a client that is busy sending does not read, and would wait for us as we for it.
        var asking = AskAsync(write);
        try
        {
            _levels.Push(new Level("", Reopen(), null, isNew: false));
            var told = false;
            while (!told || _wanted.Count > 0)
            {
                var packet = await read() ?? throw Fault("the transfer ended before its time");
                progress?.Invoke(_received += packet.EncodedBytes);
                switch (packet.Type)
                {
                    case PacketType.Stat when packet.Stat is { } stat:
                        if (told) throw Fault("a file after the last");
                        Tell(stat);
                        break;
                    case PacketType.Stat:
                        told = true;
                        while (_levels.Count > 0) Leave();
                        break;
                    case PacketType.Data:
                        Write(packet.Id, packet.Data);
                        break;
                    case PacketType.Error:
                        throw new GrpcException(GrpcCode.Unknown, "error from sender: " + Encoding.UTF8.GetString(packet.Data));
                    default:
                        throw Fault("an unexpected packet");
                }
            }
            _requests.Writer.Complete();
            await asking;
            await write(new Packet(PacketType.End));
            while (await read() is { } last)
            {
                progress?.Invoke(_received += last.EncodedBytes);
                if (last.Type == PacketType.End) break;
            }
        }
        finally
        {
            _requests.Writer.TryComplete();
            foreach (var level in _levels) level.Handle.Dispose();
            foreach (var arrival in _open.Values) arrival.Dispose();
        }
    }

    private async Task AskAsync(Func<Packet, Task> write)
    {
        while (await _requests.Reader.WaitToReadAsync())
        {
            while (_requests.Reader.TryRead(out var id)) await write(new Packet(PacketType.Request) { Id = id });
        }
    }

    private static GrpcException Fault(string what) => new(GrpcCode.InvalidArgument, "transfer of files: " + what);

    private SafeFileHandle Reopen()
    {
        Check(RawAt.Open(root, "."u8, Directory, OneName, 0, out var handle), "openat2", ".");
        return handle!;
    }

    private void Tell(FileStat stat)
    {
        var id = _next++;
        if (id >= MaxFiles) throw Fault($"more than {MaxFiles} files");
        var (above, name) = Split(stat.Path);
        while (_levels.Peek().Path != above)
        {
            if (_levels.Count == 1) throw Fault($"{stat.Path}: its directory was not told before it");
            Leave();
        }
        var level = _levels.Peek();
        if (!level.Seen.Add(name)) throw Fault($"{stat.Path}: told twice");
        var bytes = Encoding.UTF8.GetBytes(name);
        if (bytes.Length > MaxNameBytes) throw Fault($"{stat.Path}: its name is too long");
        var there = RawAt.Status(level.Handle, bytes, out var status) is var errno && errno == Errno.Success;
        if (!there && errno != Errno.ENOENT) throw new LinuxException("statx", $"\"{stat.Path}\"", errno);
        switch (stat.Mode & FileStat.Kinds)
        {
            case FileStat.Directory:
                TellDirectory(stat, level, bytes, there ? status : null);
                break;
            case FileStat.SymbolicLink:
                if (there && status.Kind == FileKind.SymbolicLink && RawAt.ReadLink(level.Handle, bytes, out var target) == Errno.Success && target.AsSpan().SequenceEqual(Encoding.UTF8.GetBytes(stat.LinkName))) break;
                if (there) FileTree.Remove(level.Handle, bytes);
                Check(RawAt.SymbolicLink(Encoding.UTF8.GetBytes(stat.LinkName), level.Handle, bytes), "symlinkat", stat.Path);
                Finish(level.Handle, bytes, stat, withMode: false);
                break;
            case 0 when stat.LinkName.Length > 0:
                if (!_files.Contains(stat.LinkName)) throw Fault($"{stat.Path}: a link to {stat.LinkName}, which was not told before it");
                if (there) FileTree.Remove(level.Handle, bytes);
                var (linkAbove, linkName) = Split(stat.LinkName);
                using (var parent = OpenDirectory(linkAbove)) Check(RawAt.HardLink(parent, Encoding.UTF8.GetBytes(linkName), level.Handle, bytes), "linkat", stat.Path);
                break;
            case 0:
                _files.Add(stat.Path);
                if (there && IsSame(status, stat)) break;
                if (there) FileTree.Remove(level.Handle, bytes);
                Check(RawAt.Open(level.Handle, bytes, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow, OneName, 0x180, out var file), "openat2", stat.Path);
                file!.Dispose();
                if (stat.Size == 0)
                {
                    Finish(level.Handle, bytes, stat, withMode: true);
                    break;
                }
                Requested++;
                _wanted[id] = stat;
                _requests.Writer.TryWrite(id);
                break;
            case FileStat.NamedPipe:
                if (there) FileTree.Remove(level.Handle, bytes);
                Check(RawAt.MakeNode(level.Handle, bytes, FileKind.Fifo, 0x180), "mknodat", stat.Path);
                Finish(level.Handle, bytes, stat, withMode: true);
                break;
            default:
                // Devices and sockets mean nothing in an image's context: what stood here goes all the same.
                if (there) FileTree.Remove(level.Handle, bytes);
                break;
        }
    }

    private void TellDirectory(FileStat stat, Level level, byte[] name, FileStatus? there)
    {
        if (_levels.Count > MaxDepth) throw Fault($"{stat.Path}: directories are nested deeper than {MaxDepth}");
        var isNew = there is not { IsDirectory: true };
        if (there is { IsDirectory: false }) FileTree.Remove(level.Handle, name);
        if (isNew) Check(RawAt.MakeDirectory(level.Handle, name, 0x1C0), "mkdirat", stat.Path);
        Check(RawAt.Open(level.Handle, name, Directory, OneName, 0, out var handle), "openat2", stat.Path);
        _levels.Push(new Level(stat.Path, handle!, stat, isNew));
    }

    // All files of the innermost directory were told: what else is there is no longer the client's.
    private void Leave()
    {
        using var handle = _levels.Peek().Handle;
        var level = _levels.Pop();
        if (!level.IsNew)
        {
            foreach (var entry in DirectoryList.Read(handle))
                if (!level.Seen.Contains(Encoding.UTF8.GetString(entry.Name))) FileTree.Remove(handle, entry.Name);
        }
        if (level.Stat is { } stat)
        {
            var (_, name) = Split(stat.Path);
            Finish(_levels.Peek().Handle, Encoding.UTF8.GetBytes(name), stat, withMode: true);
        }
    }

    private void Write(uint id, byte[] data)
    {
        if (!_wanted.TryGetValue(id, out var stat)) throw Fault($"content of file {id}, which was not asked for");
        if (!_open.TryGetValue(id, out var arrival))
        {
            if (_open.Count >= MaxOpen) throw Fault($"contents of more than {MaxOpen} files at a time");
            // Made by us, below directories made by us.
            Check(RawAt.Open(root, Encoding.UTF8.GetBytes(stat.Path), OpenFlags.WriteOnly | OpenFlags.NoFollow, OneName, 0, out var file), "openat2", stat.Path);
            _open[id] = arrival = new Arrival(file!, known is null ? null : new EntryHash(stat.Permissions, stat.Uid, stat.Gid, (ulong)stat.Size));
        }
        if (data.Length > 0)
        {
            Check(RawAt.WriteAt(arrival.File, data, arrival.Written), "write", stat.Path);
            arrival.Hash?.Append(data);
            arrival.Written += data.Length;
            return;
        }
        using (arrival)
        {
            _open.Remove(id);
            _wanted.Remove(id);
            foreach (var (name, value) in stat.Xattrs)
                if (name == "security.capability") Check(RawAt.SetXattr(arrival.File, Encoding.UTF8.GetBytes(name), value), "fsetxattr", stat.Path);
            var (above, last) = Split(stat.Path);
            using var parent = OpenDirectory(above);
            var bytes = Encoding.UTF8.GetBytes(last);
            Finish(parent, bytes, stat, withMode: true);
            if (arrival.Hash is { } hash) known!.Add(parent, bytes, hash);
        }
    }

    private SafeFileHandle OpenDirectory(string path)
    {
        Check(RawAt.Open(root, path.Length == 0 ? "."u8 : Encoding.UTF8.GetBytes(path), OpenFlags.Path | OpenFlags.Directory | OpenFlags.NoFollow, OneName, 0, out var handle), "openat2", path);
        return handle!;
    }

    private static bool IsSame(FileStatus there, FileStat stat) =>
        there.Kind == FileKind.Regular && there.LinkCount == 1 && (long)there.SizeBytes == stat.Size && there.Permissions == stat.Permissions && there.Uid == stat.Uid && there.Gid == stat.Gid &&
        there.Modified == Time(stat.ModTime) && stat.Xattrs.Count == 0;

    private static (long Seconds, uint Nanoseconds) Time(long nanoseconds)
    {
        var seconds = Math.DivRem(nanoseconds, 1_000_000_000, out var rest);
        return rest < 0 ? (seconds - 1, (uint)(rest + 1_000_000_000)) : (seconds, (uint)rest);
    }

    // Owner before mode: the kernel clears set-id bits when the owner changes.
    private static void Finish(SafeFileHandle parent, byte[] name, FileStat stat, bool withMode)
    {
        if (stat.Uid != 0 || stat.Gid != 0) Check(RawAt.ChangeOwner(parent, name, stat.Uid, stat.Gid), "fchownat", stat.Path);
        if (withMode) Check(RawAt.ChangeMode(parent, name, stat.Permissions), "fchmodat", stat.Path);
        var time = Time(stat.ModTime);
        Check(RawAt.SetTimes(parent, name, time, time), "utimensat", stat.Path);
    }

    private static (string Above, string Name) Split(string path)
    {
        var slash = path.LastIndexOf('/');
        var (above, name) = slash < 0 ? ("", path) : (path[..slash], path[(slash + 1)..]);
        if (name is "" or "." or ".." || name.Contains('\0') || (slash >= 0 && above.Length == 0)) throw Fault($"\"{path}\" is no path of a file");
        return (above, name);
    }

    private static void Check(Errno errno, string call, string path)
    {
        if (errno != Errno.Success) throw new LinuxException(call, $"\"{path}\"", errno);
    }

    private sealed class Arrival(SafeFileHandle file, EntryHash? hash) : IDisposable
    {
        public SafeFileHandle File => file;
        public EntryHash? Hash => hash;
        public long Written { get; set; }

        public void Dispose()
        {
            file.Dispose();
            hash?.Dispose();
        }
    }

    private sealed class Level(string path, SafeFileHandle handle, FileStat? stat, bool isNew)
    {
        public string Path => path;
        public SafeFileHandle Handle => handle;
        public FileStat? Stat => stat;
        public bool IsNew => isNew;
        public HashSet<string> Seen { get; } = new(StringComparer.Ordinal);
    }
}
