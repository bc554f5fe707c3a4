using Berth.Api;
using System.Formats.Tar;
using System.IO.Pipes;

namespace Berth.Cli.Copying;

/// <summary>
/// A file or directory as a tar archive that is made while it is read: a thread packs into a pipe. Links are packed as
/// links, sockets are left out; what cannot be read ends the reading with an error, not with an archive that looks whole.
/// </summary>
internal sealed class PackedStream : SequentialStream
{
    private readonly AnonymousPipeServerStream _writeEnd = new(PipeDirection.Out);
    private readonly AnonymousPipeClientStream _readEnd;
    private readonly Thread _packer;
    private Exception? _failure;
    private volatile bool _closed;

    /// <param name="path">What to pack; "/." at its end: what is in it.</param>
    /// <param name="name">What its first part is called in the archive.</param>
    public PackedStream(string path, string name)
    {
        _readEnd = new AnonymousPipeClientStream(PipeDirection.In, _writeEnd.ClientSafePipeHandle);
        _packer = new Thread(() => Pack(path, name)) { IsBackground = true, Name = "pack" };
        _packer.Start();
    }

    private void Pack(string path, string name)
    {
        try
        {
            using (var writer = new TarWriter(_writeEnd, TarEntryFormat.Pax, leaveOpen: true)) Add(writer, path, name);
        }
        catch (Exception e)
        {
            if (!_closed) _failure = e;
        }
        finally
        {
            _writeEnd.Dispose();
        }
    }

    private readonly Dictionary<(uint, uint, ulong), string> _links = [];

    private void Add(TarWriter writer, string path, string name)
    {
        var isDirectory = LocalPath.IsRealDirectory(path);
        if (!isDirectory && OperatingSystem.IsLinux())
        {
            if (Linux.FileAt.TryStatus(null, path, followLinks: false, out _) is not { } status || status.Kind == Linux.Abi.FileKind.Socket) return;
            if (status is { LinkCount: > 1, Kind: Linux.Abi.FileKind.Regular } && !_links.TryAdd((status.Device.Major, status.Device.Minor, status.Inode), name))
            {
                // The same file under another name stays one file.
                var first = _links[(status.Device.Major, status.Device.Minor, status.Inode)];
                writer.WriteEntry(new PaxTarEntry(TarEntryType.HardLink, name) { LinkName = first, Mode = (UnixFileMode)status.Permissions, Uid = (int)status.Uid, Gid = (int)status.Gid, ModificationTime = File.GetLastWriteTimeUtc(path) });
                return;
            }
        }
        try
        {
            writer.WriteEntry(isDirectory ? Path.TrimEndingDirectorySeparator(path) : path, isDirectory ? name + "/" : name);
        }
        catch (FileNotFoundException)
        {
            return; // it has gone since its directory was read
        }
        if (!isDirectory) return;
        var children = Directory.GetFileSystemEntries(path);
        Array.Sort(children, StringComparer.Ordinal);
        foreach (var child in children) Add(writer, child, name + "/" + Path.GetFileName(child));
    }

    public override int Read(Span<byte> buffer)
    {
        var read = _readEnd.Read(buffer);
        if (read > 0) return read;
        _packer.Join();
        return _failure is null ? 0 : throw new CommandException(_failure.Message);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _closed = true;
            _readEnd.Dispose(); // the packer finds nobody reading
            _packer.Join();
        }
        base.Dispose(disposing);
    }

    public override bool CanRead => true;
}
