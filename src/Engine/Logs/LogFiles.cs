using System.IO.Compression;
using Berth.Linux;
using Microsoft.Win32.SafeHandles;

namespace Berth.Engine;

/// <summary>One of a log's files. What was compressed is unpacked when it is first looked into, to a file without a name.</summary>
internal sealed class LogFile(SafeFileHandle file, bool packed, string directory) : IDisposable
{
    private SafeFileHandle? _plain = packed ? null : file;

    /// <summary>Tells files apart, whatever their names are by now.</summary>
    public ulong Inode { get; } = FileAt.Status(file).Inode;

    public SafeFileHandle Handle => _plain ??= Unpack();

    private SafeFileHandle Unpack()
    {
        var path = Path.Combine(directory, $".unpacked-{Guid.NewGuid():N}");
        var target = new FileStream(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        try
        {
            File.Delete(path);
            using var source = new GZipStream(new FileStream(file, FileAccess.Read), CompressionMode.Decompress);
            source.CopyTo(target);
            target.Flush();
            return target.SafeFileHandle;
        }
        catch
        {
            target.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        _plain?.Dispose();
        file.Dispose();
    }
}

/// <summary>The files of a log: x.log, x.log.1, x.log.2.gz, ...</summary>
internal static class LogFiles
{
    // The monitor renames and compresses while we look; this often in a row it does not.
    private const int Attempts = 5;

    /// <summary>Opens all, the oldest first. Descriptors stay good through any later rotation.</summary>
    public static List<LogFile> OpenAll(string path)
    {
        for (var attempt = 1; ; attempt++)
        {
            var files = Open(path);
            // Unless the newest is another by now: then a file may be in there under two names.
            if (attempt == Attempts || files.Count == 0 || FileAt.TryStatus(null, path, followLinks: false, out _) is not { } status || status.Inode == files[^1].Inode) return files;
            foreach (var file in files) file.Dispose();
        }
    }

    // The newest first: a rotation meanwhile moves names upwards, so a file may be met twice (told by its inode) but never missed.
    private static List<LogFile> Open(string path)
    {
        var files = new List<LogFile>();
        for (var i = 0; ; i++)
        {
            var name = i == 0 ? path : $"{path}.{i}";
            var file = TryOpen(name, packed: false) ?? (i == 0 ? null : TryOpen(name + ".gz", packed: true));
            if (file is null)
            {
                if (i == 0) continue;
                return files;
            }
            if (files.Exists(f => f.Inode == file.Inode)) file.Dispose();
            else files.Insert(0, file);
        }
    }

    public static LogFile? TryOpen(string name, bool packed)
    {
        if (!File.Exists(name)) return null;
        try
        {
            return new LogFile(File.OpenHandle(name, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete), packed, Path.GetDirectoryName(name)!);
        }
        catch (IOException)
        {
            return null;
        }
    }
}
