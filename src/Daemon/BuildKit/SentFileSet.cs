using Berth.Api.BuildKit;
using Berth.Images;
using Berth.Linux.Abi;

namespace Berth.Daemon.BuildKit;

/// <summary>Files of a build, for <see cref="FileSender"/>.</summary>
internal sealed class SentFileSet(FileSet files) : ISentFiles
{
    public IEnumerable<FileStat> List(CancellationToken cancellation)
    {
        foreach (var file in files.List(cancellation)) yield return StatOf(file);
    }

    public Stream Open(string path) => files.Open(path);

    /// <summary>The bits of a mode of Go that say what a file is.</summary>
    public static uint KindOf(FileKind kind) => kind switch
    {
        FileKind.Directory => FileStat.Directory,
        FileKind.SymbolicLink => FileStat.SymbolicLink,
        FileKind.Fifo => FileStat.NamedPipe,
        FileKind.Socket => FileStat.Socket,
        FileKind.BlockDevice => FileStat.Device,
        FileKind.CharacterDevice => FileStat.Device | FileStat.CharacterDevice,
        _ => 0,
    };

    private static FileStat StatOf(FileSetEntry file) => new(file.Path)
    {
        Mode = FileStat.ModeOf(file.Permissions) | KindOf(file.Kind),
        Uid = file.Uid, Gid = file.Gid, Size = file.Kind == FileKind.Regular ? file.SizeBytes : 0, ModTime = file.Modified.Seconds * 1_000_000_000 + file.Modified.Nanoseconds, LinkName = file.LinkName,
        DeviceMajor = file.Device.Major, DeviceMinor = file.Device.Minor, Xattrs = XattrsOf(file),
    };

    private static Dictionary<string, byte[]> XattrsOf(FileSetEntry file)
    {
        var xattrs = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var (name, value) in file.Xattrs) xattrs[name] = value;
        return xattrs;
    }
}
