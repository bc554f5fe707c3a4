using System.Text;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Builder;
using Berth.Dockerfile;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Daemon.BuildKit;

/// <summary>Looks at files of a result: LLBBridge's ReadFile, StatFile and ReadDir. What a build left there may be anything: paths are resolved beneath its root.</summary>
internal static class ResultFiles
{
    /// <summary>Clients take messages of 16 MiB, and this is not all of one.</summary>
    private const int MaxReadBytes = (16 << 20) - 4096;

    public static BytesMessage Read(SourceTree tree, FileRequest request)
    {
        using var file = FileAt.TryOpen(tree.Root, Relative(request.Path), OpenFlags.ReadOnly | OpenFlags.NonBlocking, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out var errno)
            ?? throw Fault("open", request.Path, errno);
        if (FileAt.Status(file) is not { Kind: FileKind.Regular } status) throw new GrpcException(GrpcCode.Unknown, $"{request.Path} is not a regular file");
        var offset = request.Ranged ? Math.Clamp(request.Offset, 0, (long)status.SizeBytes) : 0;
        var count = (long)status.SizeBytes - offset;
        if (request.Ranged) count = Math.Clamp(request.Length, 0, count);
        if (count > MaxReadBytes) throw new GrpcException(GrpcCode.ResourceExhausted, $"{request.Path} is larger than {MaxReadBytes} bytes: read it in parts");
        var bytes = new byte[count];
        using var stream = new FileStream(file, FileAccess.Read, bufferSize: 0);
        stream.Position = offset;
        return new BytesMessage(bytes[..stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false)]);
    }

    public static FileStat Stat(SourceTree tree, FileRequest request)
    {
        using var file = FileAt.TryOpen(tree.Root, Relative(request.Path), OpenFlags.Path, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out var errno) ?? throw Fault("lstat", request.Path, errno);
        var path = PathPatterns.Clean("/" + request.Path);
        return StatOf(path[(path.LastIndexOf('/') + 1)..] is { Length: > 0 } name ? name : "/", FileAt.Status(file), "");
    }

    public static FileStats List(SourceTree tree, FileRequest request)
    {
        using var directory = FileAt.TryOpen(tree.Root, Relative(request.Path), OpenFlags.ReadOnly | OpenFlags.Directory, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out var errno) ?? throw Fault("open", request.Path, errno);
        var pattern = request.IncludePattern.Length > 0 ? new PathPatterns([request.IncludePattern]) : null;
        var entries = new List<FileStat>();
        foreach (var entry in DirectoryList.Read(directory))
        {
            var name = Encoding.UTF8.GetString(entry.Name);
            if (pattern?.Matches(name) == false || RawAt.Status(directory, entry.Name, out var status) != Errno.Success) continue;
            entries.Add(StatOf(name, status, status.Kind == FileKind.SymbolicLink && RawAt.ReadLink(directory, entry.Name, out var target) == Errno.Success ? Encoding.UTF8.GetString(target) : ""));
        }
        entries.Sort(static (a, b) => string.CompareOrdinal(a.Path, b.Path));
        return new FileStats(entries);
    }

    private static FileStat StatOf(string name, FileStatus status, string link) => new(name)
    {
        Mode = FileStat.ModeOf(status.Permissions) | SentFileSet.KindOf(status.Kind), Uid = status.Uid, Gid = status.Gid, Size = status.Kind == FileKind.Regular ? (long)status.SizeBytes : 0,
        ModTime = status.Modified.Seconds * 1_000_000_000 + status.Modified.Nanoseconds, LinkName = link,
    };

    private static string Relative(string path) => PathPatterns.Clean("/" + path) is { Length: > 1 } clean ? clean[1..] : ".";

    private static GrpcException Fault(string call, string path, Errno errno) => new(errno == Errno.ENOENT ? GrpcCode.NotFound : GrpcCode.Unknown, $"{call} {path}: {errno switch
    {
        Errno.ENOENT => "no such file or directory",
        Errno.ENOTDIR => "not a directory",
        Errno.ELOOP => "too many levels of symbolic links",
        _ => errno.ToString(),
    }}");
}
