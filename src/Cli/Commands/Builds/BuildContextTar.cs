using Berth.Api;
using System.Globalization;
using System.Text;
using Berth.Dockerfile;

namespace Berth.Cli.Commands.Builds;

/// <summary>What a build is made from, on its way to the engine: a directory as a tar without what .dockerignore leaves out, a tar from standard input, or a URL for the engine to fetch.</summary>
internal sealed class BuildContextTar : IDisposable
{
    /// <summary>Largest Dockerfile, as the engine takes it.</summary>
    private const int MaxDockerfileBytes = 16 * 1024 * 1024;

    private byte[]? _dockerfile;

    private BuildContextTar(Stream? tar, string dockerfileName) => (Tar, DockerfileName) = (tar, dockerfileName);

    /// <summary>Null: there is nothing to send.</summary>
    public Stream? Tar { get; }

    /// <summary>As the user would type it.</summary>
    public string DockerfileName { get; }

    /// <summary>For showing lines of it; null when it is not here.</summary>
    public byte[]? Dockerfile => _dockerfile;

    public List<(string Name, string Value)> Query { get; } = [];

    public void Dispose() => Tar?.Dispose();

    public static BuildContextTar Open(CommandContext context, string source, string dockerfile)
    {
        if (source == "-") return FromInput(context, dockerfile);
        if (IsRemote(source))
        {
            var remote = new BuildContextTar(null, dockerfile.Length > 0 ? dockerfile : "Dockerfile");
            remote.Query.Add(("remote", source));
            if (dockerfile.Length > 0) remote.Query.Add(("dockerfile", dockerfile));
            return remote;
        }
        if (!Directory.Exists(source)) throw new CommandException(File.Exists(source) ? $"unable to prepare context: \"{source}\" is a file: the context is a directory, -f names the Dockerfile" : $"unable to prepare context: path \"{source}\" not found");
        return FromDirectory(context, Path.GetFullPath(source), dockerfile);
    }

    private static bool IsRemote(string source) => source.StartsWith("http://", StringComparison.Ordinal) || source.StartsWith("https://", StringComparison.Ordinal) || source.StartsWith("git://", StringComparison.Ordinal)
        || source.StartsWith("git@", StringComparison.Ordinal) || source.StartsWith("ssh://", StringComparison.Ordinal) || source.StartsWith("github.com/", StringComparison.Ordinal);

    private static BuildContextTar FromInput(CommandContext context, string dockerfile)
    {
        if (dockerfile == "-") throw new CommandException("invalid argument: can't use stdin for both build context and dockerfile");
        if (context.Terminal.InputIsTerminal) throw new CommandException("the context is read from standard input, which is a terminal: type a path, or a Dockerfile with <");
        var head = new byte[512];
        var count = 0;
        for (int read; count < head.Length && (read = context.InStream.Read(head, count, head.Length - count)) > 0;) count += read;
        var isArchive = head.AsSpan(0, count) is [0x1F, 0x8B, ..] or [0x28, 0xB5, 0x2F, 0xFD, ..] or [(byte)'B', (byte)'Z', (byte)'h', ..] or [0xFD, (byte)'7', (byte)'z', ..]
            || (count == head.Length && head.AsSpan(257, 5).SequenceEqual("ustar"u8));
        var whole = new Pieces(Joined(head[..count], context.InStream));
        if (isArchive)
        {
            var tar = new BuildContextTar(whole, dockerfile.Length > 0 ? dockerfile : "Dockerfile");
            if (dockerfile.Length > 0) tar.Query.Add(("dockerfile", dockerfile));
            return tar;
        }
        if (dockerfile.Length > 0) throw new CommandException("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles");
        var text = ReadAll(whole);
        return new BuildContextTar(new Pieces([.. Member("Dockerfile", '0', text.Length, 0x1A4, 0, ""), text, new byte[-text.Length & 511], new byte[1024]]), "-") { _dockerfile = text };
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Joined(byte[] head, Stream rest)
    {
        yield return head;
        var buffer = new byte[64 * 1024];
        for (int count; (count = rest.Read(buffer)) > 0;) yield return buffer.AsMemory(0, count);
    }

    private static byte[] ReadAll(Stream stream)
    {
        var bytes = new MemoryStream();
        var buffer = new byte[16 * 1024];
        for (int count; (count = stream.Read(buffer)) > 0;)
        {
            bytes.Write(buffer, 0, count);
            if (bytes.Length > MaxDockerfileBytes) throw new CommandException($"the Dockerfile is larger than {MaxDockerfileBytes} bytes");
        }
        return bytes.ToArray();
    }

    private static BuildContextTar FromDirectory(CommandContext context, string root, string flag)
    {
        string shown, name;
        byte[] text;
        if (flag == "-")
        {
            (shown, name) = ("-", "");
            text = ReadAll(context.InStream);
        }
        else
        {
            var path = flag.Length > 0 ? Path.GetFullPath(flag) : Path.Combine(root, "Dockerfile");
            if (flag.Length == 0 && !File.Exists(path) && File.Exists(Path.Combine(root, "dockerfile"))) path = Path.Combine(root, "dockerfile");
            shown = flag.Length > 0 ? flag : Path.GetRelativePath(Directory.GetCurrentDirectory(), path);
            try
            {
                using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
                text = ReadAll(file);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new CommandException($"failed to read dockerfile: open {shown}: {(Directory.Exists(path) ? "is a directory" : Files.Reason(e))}");
            }
            var relative = Path.GetRelativePath(root, path);
            name = relative.StartsWith("../", StringComparison.Ordinal) || relative == ".." || Path.IsPathRooted(relative) ? "" : relative;
        }
        // One that lies elsewhere comes along under a name that nobody has, and that .dockerignore keeps out of what is copied.
        var isElsewhere = name.Length == 0;
        if (isElsewhere) name = ".dockerfile." + Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(10));

        var ignoreFile = !isElsewhere && File.Exists(Path.Combine(root, name + ".dockerignore")) ? name + ".dockerignore" : ".dockerignore";
        var ignored = File.Exists(Path.Combine(root, ignoreFile)) ? File.ReadAllBytes(Path.Combine(root, ignoreFile)) : null;
        List<string> patterns;
        try
        {
            patterns = ignored is null ? [] : [.. IgnoreFile.Parse(ignored)];
            // The engine needs them, and leaves them out where the file says so.
            if (patterns.Count > 0) patterns.AddRange(["!" + ignoreFile, "!" + name]);
            var tar = new BuildContextTar(new Pieces(Archive(root, new PathPatterns(patterns), isElsewhere ? name : null, text, ignoreFile, ignored)), shown) { _dockerfile = text };
            tar.Query.Add(("dockerfile", name));
            return tar;
        }
        catch (DockerfileException e)
        {
            throw new CommandException($"{ignoreFile}: {e.Message}");
        }
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Archive(string root, PathPatterns ignored, string? extraName, byte[] extra, string ignoreFile, byte[]? ignoreText)
    {
        var buffer = new byte[64 * 1024];
        var stack = new Stack<(FileSystemInfo[] Entries, int Next, string Prefix)>();
        stack.Push((List(root), 0, ""));
        while (stack.TryPop(out var at))
        {
            if (at.Next == at.Entries.Length) continue;
            stack.Push(at with { Next = at.Next + 1 });
            var entry = at.Entries[at.Next];
            var path = at.Prefix + entry.Name;
            if (extraName is not null && path == ignoreFile) continue; // written below, with one line more
            var isLink = entry.LinkTarget is not null;
            var isDirectory = !isLink && entry is DirectoryInfo;
            var isOut = !ignored.IsEmpty && ignored.Matches(path);
            if (isOut && !(isDirectory && ignored.HasExceptions)) continue;
            var modified = new DateTimeOffset(entry.LastWriteTimeUtc).ToUnixTimeSeconds();
            if (isLink)
            {
                foreach (var piece in Member(path, '2', 0, 0x1FF, modified, entry.LinkTarget!)) yield return piece;
                continue;
            }
            var mode = OperatingSystem.IsWindows() ? 0x1EDu : (uint)entry.UnixFileMode;
            if (isDirectory)
            {
                // Of one that is out only what is not: the engine makes the directories above it.
                if (!isOut)
                    foreach (var piece in Member(path + "/", '5', 0, mode, modified, "")) yield return piece;
                stack.Push((List(entry.FullName), 0, path + "/"));
                continue;
            }
            var length = ((FileInfo)entry).Length;
            // What has no length is not opened: it may be a pipe, and would be waited for.
            if (length == 0)
            {
                foreach (var piece in Member(path, '0', 0, mode, modified, "")) yield return piece;
                continue;
            }
            using var file = Read(entry.FullName);
            foreach (var piece in Member(path, '0', length, mode, modified, "")) yield return piece;
            for (var left = length; left > 0;)
            {
                var count = file.Read(buffer, 0, (int)Math.Min(buffer.Length, left));
                if (count == 0) throw new CommandException($"{path} became shorter while it was sent");
                yield return buffer.AsMemory(0, count);
                left -= count;
            }
            if ((length & 511) != 0) yield return new byte[-length & 511];
        }
        if (extraName is not null)
        {
            var ignore = Encoding.UTF8.GetBytes((ignoreText is null ? "" : Encoding.UTF8.GetString(ignoreText) + "\n") + $".dockerignore\n{extraName}\n");
            foreach (var (name, content) in new (string, byte[])[] { (extraName, extra), (".dockerignore", ignore) })
            {
                foreach (var piece in Member(name, '0', content.Length, 0x180, 0, "")) yield return piece;
                yield return content;
                yield return new byte[-content.Length & 511];
            }
        }
        yield return new byte[1024];
    }

    private static FileSystemInfo[] List(string directory)
    {
        try
        {
            var entries = new DirectoryInfo(directory).GetFileSystemInfos();
            Array.Sort(entries, static (a, b) => string.CompareOrdinal(a.Name, b.Name));
            return entries;
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            throw new CommandException($"the build context can't be read: open {directory}: {Files.Reason(e)}");
        }
    }

    private static FileStream Read(string path)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            throw new CommandException($"the build context can't be read: open {path}: {Files.Reason(e)}");
        }
    }

    // A header of ustar, and PAX's before it for what does not fit.
    private static IEnumerable<ReadOnlyMemory<byte>> Member(string name, char type, long size, uint mode, long modified, string link)
    {
        var (nameBytes, linkBytes) = (Encoding.UTF8.GetBytes(name), Encoding.UTF8.GetBytes(link));
        var pax = "";
        if (nameBytes.Length > 100 || nameBytes.Length != name.Length) pax += Record("path", name);
        if (linkBytes.Length > 100 || linkBytes.Length != link.Length) pax += Record("linkpath", link);
        if (size > 0x1FFFFFFFF) pax += Record("size", size.ToString(CultureInfo.InvariantCulture));
        if (pax.Length > 0)
        {
            var text = Encoding.UTF8.GetBytes(pax);
            yield return Header("PaxHeaders.0/x"u8, 'x', text.Length, 0x1A4, 0, default);
            yield return text;
            if ((text.Length & 511) != 0) yield return new byte[-text.Length & 511];
        }
        yield return Header(nameBytes, type, size > 0x1FFFFFFFF ? 0 : size, mode, modified, linkBytes);

        static string Record(string key, string value)
        {
            var rest = Encoding.UTF8.GetByteCount(value) + key.Length + 3;
            var length = rest + 1;
            while (length != rest + length.ToString(CultureInfo.InvariantCulture).Length) length = rest + length.ToString(CultureInfo.InvariantCulture).Length;
            return $"{length} {key}={value}\n";
        }
    }

    private static byte[] Header(ReadOnlySpan<byte> name, char type, long size, uint mode, long modified, ReadOnlySpan<byte> link)
    {
        var block = new byte[512];
        name[..Math.Min(name.Length, 100)].CopyTo(block);
        Octal(block.AsSpan(100, 8), mode & 0xFFF);
        Octal(block.AsSpan(108, 8), 0);
        Octal(block.AsSpan(116, 8), 0);
        Octal(block.AsSpan(124, 12), size);
        Octal(block.AsSpan(136, 12), Math.Clamp(modified, 0, 0x1FFFFFFFF));
        block.AsSpan(148, 8).Fill((byte)' ');
        block[156] = (byte)type;
        link[..Math.Min(link.Length, 100)].CopyTo(block.AsSpan(157));
        "ustar\000"u8.CopyTo(block.AsSpan(257));
        var sum = 0;
        foreach (var b in block) sum += b;
        Octal(block.AsSpan(148, 7), sum);
        return block;

        static void Octal(Span<byte> field, long value)
        {
            for (var i = field.Length - 2; i >= 0; i--, value >>= 3) field[i] = (byte)('0' + (value & 7));
            field[^1] = 0;
        }
    }

    /// <summary>A stream of what is made piece by piece.</summary>
    private sealed class Pieces(IEnumerable<ReadOnlyMemory<byte>> pieces) : SequentialStream
    {
        private readonly IEnumerator<ReadOnlyMemory<byte>> _pieces = pieces.GetEnumerator();
        private ReadOnlyMemory<byte> _current;

        public override int Read(Span<byte> buffer)
        {
            // As much as there is room for: headers are small, and every read is a chunk on the wire.
            var total = 0;
            while (total < buffer.Length)
            {
                if (_current.IsEmpty)
                {
                    if (!_pieces.MoveNext()) break;
                    _current = _pieces.Current;
                    continue;
                }
                var count = Math.Min(buffer.Length - total, _current.Length);
                _current.Span[..count].CopyTo(buffer[total..]);
                _current = _current[count..];
                total += count;
            }
            return total;
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => new(Read(buffer.Span));
        public override bool CanRead => true;

        protected override void Dispose(bool disposing)
        {
            if (disposing) _pieces.Dispose();
            base.Dispose(disposing);
        }
    }
}
