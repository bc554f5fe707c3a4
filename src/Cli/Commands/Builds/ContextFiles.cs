using Berth.Api.BuildKit;
using Berth.Dockerfile;

namespace Berth.Cli.Commands.Builds;

/// <summary>A directory of the user's as the builder is told of it: what it asked for, without what is to be left out. Owners are root, as BuildKit's clients have it.</summary>
/// <param name="root">The directory, absolute.</param>
/// <param name="include">Patterns of what is wanted; none: everything.</param>
/// <param name="exclude">Patterns of what is not.</param>
/// <param name="follow">Paths that are wanted, and what they lead to when they are links.</param>
internal sealed class ContextFiles(string root, IReadOnlyList<string> include, IReadOnlyList<string> exclude, IReadOnlyList<string> follow) : ISentFiles
{
    private static readonly long Epoch = DateTime.UnixEpoch.Ticks;

    public IEnumerable<FileStat> List(CancellationToken cancellation)
    {
        var wantedPaths = new List<string>(include);
        if (follow.Count > 0) wantedPaths.AddRange(FollowedLinks.Of(root, follow));
        // "." is all there is.
        if (wantedPaths.Exists(static p => PathPatterns.Clean(p) is "." or "/")) wantedPaths.Clear();
        var wanted = wantedPaths.Count > 0 ? new PathPatterns(wantedPaths) : null;
        var plain = wanted is not null && wantedPaths.TrueForAll(static p => !p.AsSpan().ContainsAny("*[]?^\\!"));
        var left = new PathPatterns(exclude);
        var stack = new Stack<Level>();
        stack.Push(new Level(Names(root), "", null));
        while (stack.TryPeek(out var level))
        {
            cancellation.ThrowIfCancellationRequested();
            if (level.Next == level.Entries.Length)
            {
                stack.Pop();
                continue;
            }
            var entry = level.Entries[level.Next++];
            var path = level.Prefix + entry.Name;
            var isLink = (entry.Attributes & FileAttributes.ReparsePoint) != 0;
            var isDirectory = !isLink && (entry.Attributes & FileAttributes.Directory) != 0;
            var isIn = (wanted is null || wanted.Matches(path)) && (left.IsEmpty || !left.Matches(path));
            // Within a directory that is out there may be something that is in.
            if (!isIn && (!isDirectory || !MayHold(path))) continue;
            FileStat? stat;
            try
            {
                stat = StatOf(entry, path, isLink, isDirectory);
            }
            catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
            {
                continue; // it went away meanwhile
            }
            if (isIn)
            {
                // Told with the first of what is in them.
                List<Level>? above = null;
                foreach (var outer in stack)
                {
                    if (outer.Untold is null) break;
                    (above ??= []).Add(outer);
                }
                for (var i = (above?.Count ?? 0) - 1; i >= 0; i--)
                {
                    yield return above![i].Untold!;
                    above[i].Untold = null;
                }
                yield return stat;
            }
            if (isDirectory) stack.Push(new Level(Names(entry.FullName), path + "/", isIn ? null : stat));
        }

        bool MayHold(string directory)
        {
            if (plain && !wanted!.Matches(directory) && !wantedPaths.Exists(p => PathPatterns.Clean("/" + p).StartsWith("/" + directory + "/", StringComparison.Ordinal))) return false;
            return left.IsEmpty || left.HasExceptions || !left.Matches(directory);
        }
    }

    public Stream Open(string path)
    {
        var file = Path.Combine(root, path);
        try
        {
            // What has no length is not opened: it may be a pipe, and would be waited for.
            return new FileInfo(file).Length == 0 ? Stream.Null : new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            throw new IOException($"open {file}: {Files.Reason(e)}", e);
        }
    }

    private static FileStat StatOf(FileSystemInfo entry, string path, bool isLink, bool isDirectory) => new(path)
    {
        Mode = (OperatingSystem.IsWindows() ? 0x1EDu : FileStat.ModeOf((uint)entry.UnixFileMode)) | (isDirectory ? FileStat.Directory : isLink ? FileStat.SymbolicLink : 0),
        Size = isDirectory || isLink ? 0 : ((FileInfo)entry).Length,
        ModTime = (entry.LastWriteTimeUtc.Ticks - Epoch) * 100,
        LinkName = isLink ? entry.LinkTarget ?? "" : "",
    };

    private static FileSystemInfo[] Names(string directory)
    {
        try
        {
            var entries = new DirectoryInfo(directory).GetFileSystemInfos();
            Array.Sort(entries, static (a, b) => CompareBytes(a.Name, b.Name));
            return entries;
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            throw new IOException($"open {directory}: {Files.Reason(e)}", e);
        }
    }

    /// <summary>In the order of the names' bytes in UTF-8, which the receiver expects: that of UTF-16 but for what takes two units of it.</summary>
    internal static int CompareBytes(string a, string b)
    {
        for (var i = 0; i < Math.Min(a.Length, b.Length); i++)
        {
            if (a[i] == b[i]) continue;
            if (char.IsSurrogate(a[i]) != char.IsSurrogate(b[i])) return char.IsSurrogate(a[i]) ? 1 : -1;
            return a[i].CompareTo(b[i]);
        }
        return a.Length.CompareTo(b.Length);
    }

    private sealed class Level(FileSystemInfo[] entries, string prefix, FileStat? untold)
    {
        public FileSystemInfo[] Entries => entries;
        public int Next { get; set; }
        public string Prefix => prefix;

        /// <summary>The directory itself, while nothing in it was told.</summary>
        public FileStat? Untold { get; set; } = untold;
    }
}

/// <summary>What paths lead to in a directory when there are links on their way: each link, and the path behind it. An absolute link begins at the directory.</summary>
internal static class FollowedLinks
{
    /// <summary>Links after links; the kernel's limit is 40.</summary>
    private const int MaxLinks = 255;

    public static IReadOnlyList<string> Of(string root, IReadOnlyList<string> paths)
    {
        var found = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var path in paths) Follow(root, path, found, 0);
        return [.. found];
    }

    private static void Follow(string root, string path, SortedSet<string> found, int depth)
    {
        var parts = PathPatterns.Clean("/" + path).Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length == 0)
        {
            found.Add(".");
            return;
        }
        var current = "";
        for (var i = 0; i < parts.Length; i++)
        {
            current = current.Length == 0 ? parts[i] : $"{current}/{parts[i]}";
            var rest = string.Join('/', parts[(i + 1)..]);
            var targets = Links(root, current, isPattern: parts[i].AsSpan().ContainsAny("*?[\\"));
            if (targets.Count > 0)
            {
                if (!found.Add(current) || depth == MaxLinks) return;
                foreach (var target in targets) Follow(root, $"{target}/{rest}", found, depth + 1);
                return;
            }
            if (rest.Length == 0) found.Add(current);
        }
    }

    // Where it leads, or where all lead that match it; none when it is no link.
    private static List<string> Links(string root, string path, bool isPattern)
    {
        var targets = new List<string>();
        var slash = path.LastIndexOf('/');
        var directory = slash < 0 ? "" : path[..slash];
        if (!isPattern)
        {
            if (new FileInfo(Path.Combine(root, path)).LinkTarget is { } target) targets.Add(target.StartsWith('/') ? target : $"/{directory}/{target}");
            return targets;
        }
        var place = new DirectoryInfo(Path.Combine(root, directory));
        if (!place.Exists) return targets;
        foreach (var entry in place.GetFileSystemInfos())
        {
            if ((entry.Attributes & FileAttributes.ReparsePoint) == 0 || !PathPatterns.MatchesName(path[(slash + 1)..], entry.Name) || entry.LinkTarget is not { } target) continue;
            targets.Add(target.StartsWith('/') ? target : $"/{directory}/{target}");
        }
        return targets;
    }
}
