using System.Text;
using Berth.Dockerfile;
using Berth.Engine;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Builder;

/// <summary>COPY and ADD: which files, and where to. Dockerfile reference, "COPY".</summary>
/// <param name="known">What the source's files hold, as far as it is known.</param>
internal sealed class FileCopier(CopyStep copy, SafeFileHandle source, CancellationToken cancellation, KnownDigests? known = null)
{
    /// <summary>Sources one pattern may stand for.</summary>
    private const int MaxMatches = 1_000_000;

    private readonly PathPatterns? _exclude = copy.Exclude.Count > 0 ? new PathPatterns(copy.Exclude) : null;

    /// <summary>What would be copied.</summary>
    /// <exception cref="ImageException">System: a source is not there.</exception>
    public List<TreeEntry> Describe(int maxEntries)
    {
        var all = new List<TreeEntry>();
        foreach (var (path, name, _) in Sources())
        {
            // A link is copied as what it leads to, under its own name.
            var linked = path.EndsWith(name, StringComparison.Ordinal) ? "" : name + " -> ";
            all.AddRange(TreeCopy.Describe(source, path, Excludes(path), _exclude?.HasExceptions == true, maxEntries - all.Count, cancellation, known).Select(e => e with { Path = linked + e.Path }));
        }
        return all;
    }

    /// <param name="root">The stage's files with the layer on top.</param>
    /// <param name="upper">The layer's own, when the root is an overlay.</param>
    public void CopyTo(SafeFileHandle root, WritableLayer layer, SafeFileHandle? upper)
    {
        var rules = new TreeCopyRules
        {
            Owner = copy.Owner.Length > 0 ? OwnerOf(layer, copy.Owner) : null, Permissions = FileMode.Parse(copy.Mode), NewDirectoryPermissions = FileMode.Octal(copy.Mode) ?? 0x1ED,
            LooksIntoExcluded = _exclude?.HasExceptions == true, WholeSeconds = true, Upper = upper,
        };
        // Where links in the stage's files lead, within it.
        var destination = RootedPath.TryResolve(root, copy.Destination, mustExist: false, out var errno) ?? throw new LinuxException("openat2", $"\"{copy.Destination}\"", errno);
        var asDirectory = copy.Destination.EndsWith('/') || IsDirectory(root, destination);
        foreach (var (path, name, isDirectory) in Sources())
        {
            if (copy.Unpack && !isDirectory && TryUnpack(root, path, destination, rules)) continue;
            var target = copy.Parents ? Join(destination, name) : isDirectory ? destination : asDirectory ? Join(destination, name) : destination;
            TreeCopy.Copy(source, path, root, target, rules with { Excludes = Excludes(path) }, cancellation);
        }
        foreach (var file in copy.Files) TreeCopy.Write(root, asDirectory ? Join(destination, file.Name) : destination, Encoding.UTF8.GetBytes(file.Content), rules);
    }

    /// <summary>The numbers of a user and group, by the names in the stage's own files.</summary>
    /// <exception cref="EngineException"/>
    public static (uint Uid, uint Gid) OwnerOf(WritableLayer layer, string owner)
    {
        if (owner.Length == 0) return (0, 0);
        using var files = layer.OpenFiles();
        var user = Users.Resolve(owner, [], files);
        // A number without a group names the group, too.
        var onlyNumber = !owner.Contains(':') && uint.TryParse(owner, out _);
        return (user.Uid, onlyNumber ? user.Uid : user.Gid);
    }

    // Relative to the source's root; excludes are told relative to what is copied from.
    private Func<string, bool>? Excludes(string path)
    {
        if (_exclude is null) return null;
        var prefix = path.Trim('/');
        return shown => _exclude.Matches(shown) || (prefix.Length > 0 && shown.StartsWith(prefix + "/", StringComparison.Ordinal) && _exclude.Matches(shown[(prefix.Length + 1)..]));
    }

    // Each with its path in the source, the name it gets, and what it is.
    private IEnumerable<(string Path, string Name, bool IsDirectory)> Sources()
    {
        foreach (var written in copy.Sources)
        {
            // With --parents, what stands before /./ is not kept.
            var pivot = copy.Parents ? written.IndexOf("/./", StringComparison.Ordinal) : -1;
            var kept = pivot < 0 ? 0 : PathPatterns.Clean("/" + written[..pivot]).TrimEnd('/').Length;
            var pattern = PathPatterns.Clean("/" + written);
            var matches = pattern.AsSpan().IndexOfAny("*?[") < 0 ? [pattern] : Matches(pattern);
            foreach (var match in matches)
            {
                var path = RootedPath.TryResolve(source, match, mustExist: true, out _) ?? throw NotFound(written);
                yield return (path, copy.Parents ? match[kept..] : match[(match.LastIndexOf('/') + 1)..], IsDirectory(source, path));
            }
        }
    }

    private static ImageException NotFound(string path) => new(ImageErrorKind.NotFound, $"failed to calculate checksum of ref: \"{PathPatterns.Clean("/" + path)}\": not found");

    private List<string> Matches(string pattern)
    {
        var found = new List<string> { "" };
        foreach (var part in pattern.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            var next = new List<string>();
            foreach (var directory in found)
            {
                if (part.AsSpan().IndexOfAny("*?[") < 0)
                {
                    var path = $"{directory}/{part}";
                    if (RootedPath.TryOpen(source, path, out _) is { } there)
                    {
                        there.Dispose();
                        next.Add(path);
                    }
                    continue;
                }
                if (copy.Parents && part == "**")
                {
                    next.Add(directory);
                    next.AddRange(Directories(directory));
                    continue;
                }
                next.AddRange(Names(directory).Where(n => PathPatterns.MatchesName(part, n)).Select(n => $"{directory}/{n}"));
                if (next.Count > MaxMatches) throw new ImageException(ImageErrorKind.System, $"{pattern} stands for more than {MaxMatches} files");
            }
            found = next;
        }
        return [.. found.Distinct().Order(StringComparer.Ordinal)];
    }

    private List<string> Names(string directory)
    {
        using var opened = FileAt.TryOpen(source, directory.Length == 0 ? "/" : directory, OpenFlags.ReadOnly | OpenFlags.Directory, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out _);
        return opened is null ? [] : [.. DirectoryList.Read(opened).Select(e => Encoding.UTF8.GetString(e.Name))];
    }

    private IEnumerable<string> Directories(string directory)
    {
        foreach (var path in Names(directory).Select(n => $"{directory}/{n}"))
        {
            using var opened = FileAt.TryOpen(source, path, OpenFlags.Path | OpenFlags.Directory | OpenFlags.NoFollow, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out _);
            if (opened is null) continue;
            yield return path;
            foreach (var inner in Directories(path)) yield return inner;
        }
    }

    private static bool IsDirectory(SafeFileHandle root, string path)
    {
        using var found = FileAt.TryOpen(root, path, OpenFlags.Path | OpenFlags.Directory, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out _);
        return found is not null;
    }

    private static string Join(string directory, string name) => $"{directory.TrimEnd('/')}/{name.TrimStart('/')}";

    // ADD takes archives apart: by what is in them, not by their names.
    private bool TryUnpack(SafeFileHandle root, string path, string destination, TreeCopyRules rules)
    {
        using (var looked = Open(path))
            if (FileAt.Status(looked.SafeFileHandle).Kind != FileKind.Regular || !TreeArchive.IsTar(looked)) return false;
        TreeCopy.MakeDirectories(root, destination, rules).Dispose();
        using var stream = Open(path);
        TreeArchive.ExtractAsync(stream, root, destination, rules.Owner, keepKinds: false, cancellation).GetAwaiter().GetResult();
        return true;
    }

    private FileStream Open(string path) =>
        new(FileAt.Open(source, path, OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.NonBlocking, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks), FileAccess.Read, bufferSize: 0);
}
