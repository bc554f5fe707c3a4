using System.Buffers;
using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images;

/// <summary>How a tree is copied.</summary>
public sealed record TreeCopyRules
{
    /// <summary>Instead of the owners there.</summary>
    public (uint Uid, uint Gid)? Owner { get; init; }

    /// <summary>Permissions from those there; told whether it is a directory.</summary>
    public Func<uint, bool, uint>? Permissions { get; init; }

    /// <summary>Of directories that are made because something is copied into them.</summary>
    public uint NewDirectoryPermissions { get; init; } = 0x1ED;

    /// <summary>Paths that are left out, relative to the root of the source.</summary>
    public Func<string, bool>? Excludes { get; init; }

    /// <summary>Excluded directories may hold files that are not: they are looked through.</summary>
    public bool LooksIntoExcluded { get; init; }

    /// <summary>Times later than this become this.</summary>
    public long? LatestSeconds { get; init; }

    /// <summary>Times without their fractions, which a layer's tar does not have.</summary>
    public bool WholeSeconds { get; init; }

    /// <summary>
    /// The overlay's upper directory when the destination is an overlay that nobody else has: what is copied into a directory that was made for it is written there and not through the
    /// overlay, which makes each file twice, in the layer and in its own memory.
    /// </summary>
    public SafeFileHandle? Upper { get; init; }
}

/// <summary>What one path of a tree is, as a digest: kind, permissions, owner, content; not times.</summary>
public sealed record TreeEntry(string Path, Digest Digest);

/// <summary>
/// Copies files from one root to another, and says what it would copy. Both roots are hostile: paths are opened beneath them with RESOLVE_IN_ROOT, names within a
/// directory relative to its descriptor and without following links.
/// </summary>
public static class TreeCopy
{
    /// <summary>Directories nested in each other: PATH_MAX allows no more of a path that can be used.</summary>
    private const int MaxDepth = 2048;

    private const ResolveFlags Inside = ResolveFlags.InRoot | ResolveFlags.NoMagicLinks;
    private const ResolveFlags OneName = ResolveFlags.Beneath | ResolveFlags.NoSymlinks;

    /// <summary>Copies what a path leads to: a directory's content into a directory, a file to a name.</summary>
    /// <param name="path">In the source; without links.</param>
    /// <param name="target">In the destination; without links. Missing directories above it are made.</param>
    /// <exception cref="ImageException">System: a file is in the way of a directory, or the other way round.</exception>
    /// <exception cref="LinuxException"/>
    public static void Copy(SafeFileHandle root, string path, SafeFileHandle targetRoot, string target, TreeCopyRules rules, CancellationToken cancellation)
    {
        using var source = FileAt.Open(root, path, OpenFlags.Path | OpenFlags.NoFollow, Inside);
        var run = new Run(rules, targetRoot, shown => target.TrimEnd('/') + (path.Trim('/').Length == 0 ? "/" + shown : shown[path.Trim('/').Length..]), cancellation);
        var status = FileAt.Status(source);
        if (status.IsDirectory)
        {
            using var directory = FileAt.Open(root, path, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow, Inside);
            // It is what is in the directory that is copied: the target keeps what it is, and is none of the source's when it is made.
            using var into = MakeDirectories(targetRoot, target, rules, out var made);
            if (made) run.CopyContentInUpper(directory, path.Trim('/'), into, 0);
            else run.CopyContent(directory, path.Trim('/'), into, 0);
            return;
        }
        var (above, name) = Split(target);
        using var parent = MakeDirectories(targetRoot, above, rules);
        var (sourceAbove, sourceName) = Split(path);
        using var sourceParent = FileAt.Open(root, sourceAbove, OpenFlags.Path | OpenFlags.Directory, Inside);
        run.CopyEntry(sourceParent, Encoding.UTF8.GetBytes(sourceName), path.Trim('/'), parent, Encoding.UTF8.GetBytes(name), 0);
    }

    /// <summary>Writes a file.</summary>
    public static void Write(SafeFileHandle targetRoot, string target, ReadOnlySpan<byte> content, TreeCopyRules rules)
    {
        var (above, name) = Split(target);
        using var parent = MakeDirectories(targetRoot, above, rules);
        var bytes = Encoding.UTF8.GetBytes(name);
        using var file = Create(parent, bytes);
        Check(RawAt.WriteAt(file, content, 0), "write", bytes);
        Finish(parent, bytes, rules.Owner ?? (0, 0), rules.Permissions?.Invoke(0x1A4, false) ?? 0x1A4);
        if (rules.LatestSeconds is { } latest) Check(RawAt.SetTimes(parent, bytes, (latest, 0), (latest, 0)), "utimensat", bytes);
    }

    /// <summary>Makes a directory and those above it that are missing, and opens it.</summary>
    public static SafeFileHandle MakeDirectories(SafeFileHandle root, string path, TreeCopyRules rules) => MakeDirectories(root, path, rules, out _);

    // Also whether it was made.
    private static SafeFileHandle MakeDirectories(SafeFileHandle root, string path, TreeCopyRules rules, out bool made)
    {
        made = false;
        const OpenFlags Directory = OpenFlags.ReadOnly | OpenFlags.Directory;
        if (FileAt.TryOpen(root, path.Length == 0 ? "/" : path, Directory, Inside, out var errno) is { } there) return there;
        if (errno != Errno.ENOENT) throw errno == Errno.ENOTDIR ? ImageException.Failed($"cannot copy to non-directory: {path}") : new LinuxException("openat2", $"\"{path}\"", errno);
        var parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        var at = FileAt.Open(root, "/", Directory, Inside);
        for (var i = 0; i < parts.Length; i++)
        {
            var soFar = "/" + string.Join('/', parts.AsSpan(0, i + 1)!);
            var next = FileAt.TryOpen(root, soFar, Directory, Inside, out errno);
            if (next is null && errno == Errno.ENOENT)
            {
                var name = Encoding.UTF8.GetBytes(parts[i]);
                errno = RawAt.MakeDirectory(at, name, 0x1C0);
                made = errno == Errno.Success;
                if (made)
                {
                    Finish(at, name, rules.Owner ?? (0, 0), rules.NewDirectoryPermissions);
                    if (rules.LatestSeconds is { } latest) Check(RawAt.SetTimes(at, name, (latest, 0), (latest, 0)), "utimensat", name);
                }
                next = FileAt.TryOpen(root, soFar, Directory, Inside, out errno);
            }
            at.Dispose();
            at = next ?? throw (errno == Errno.ENOTDIR ? ImageException.Failed($"cannot copy to non-directory: {soFar}") : new LinuxException("openat2", $"\"{soFar}\"", errno));
        }
        return at;
    }

    /// <summary>What <see cref="Copy"/> would copy, in the order of names; the content of files is read.</summary>
    /// <param name="maxEntries">More are refused.</param>
    /// <exception cref="ImageException">System: too many.</exception>
    public static List<TreeEntry> Describe(SafeFileHandle root, string path, Func<string, bool>? excludes, bool looksIntoExcluded, int maxEntries, CancellationToken cancellation, KnownDigests? known = null)
    {
        var entries = new List<TreeEntry>();
        var (above, name) = Split(path);
        if (name.Length == 0)
        {
            using var all = FileAt.Open(root, "/", OpenFlags.ReadOnly | OpenFlags.Directory, Inside);
            DescribeContent(all, "", 0);
            return entries;
        }
        using var parent = FileAt.Open(root, above, OpenFlags.Path | OpenFlags.Directory, Inside);
        DescribeEntry(parent, Encoding.UTF8.GetBytes(name), path.Trim('/'), 0);
        return entries;

        void DescribeContent(SafeFileHandle directory, string prefix, int depth)
        {
            if (depth > MaxDepth) throw ImageException.Failed($"{prefix}: directories are nested deeper than {MaxDepth}");
            foreach (var entry in List(directory)) DescribeEntry(directory, entry.Name, Join(prefix, entry.Name), depth);
        }

        void DescribeEntry(SafeFileHandle directory, byte[] entry, string shown, int depth)
        {
            cancellation.ThrowIfCancellationRequested();
            if (RawAt.Status(directory, entry, out var status) is var errno && errno != Errno.Success) throw new LinuxException("statx", $"\"{shown}\"", errno);
            var excluded = excludes?.Invoke(shown) == true;
            if (!excluded)
            {
                if (entries.Count == maxEntries) throw ImageException.Failed($"there are more than {maxEntries} files to copy");
                entries.Add(new TreeEntry(shown, DigestOf(directory, entry, shown, status, known)));
            }
            if (!status.IsDirectory || (excluded && !looksIntoExcluded)) return;
            Check(RawAt.Open(directory, entry, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow, OneName, 0, out var inner), "openat2", entry);
            using (inner) DescribeContent(inner!, shown, depth + 1);
        }
    }

    private static Digest DigestOf(SafeFileHandle directory, byte[] name, string shown, FileStatus status, KnownDigests? known)
    {
        if (status.Kind != FileKind.Regular) known = null;
        if (known is not null && known.TryGet(status, out var before)) return before;
        using var hash = new EntryHash(status);
        if (status.Kind == FileKind.SymbolicLink)
        {
            Check(RawAt.ReadLink(directory, name, out var target), "readlinkat", name);
            hash.Append(target);
        }
        else if (status.Kind == FileKind.Regular)
        {
            Check(RawAt.Open(directory, name, OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.NonBlocking, OneName, 0, out var file), "openat2", name);
            using (file)
            {
                var buffer = ArrayPool<byte>.Shared.Rent(256 * 1024);
                try
                {
                    for (var offset = 0L; ; )
                    {
                        var errno = RawAt.ReadAt(file!, buffer, offset, out var count);
                        if (errno != Errno.Success) throw new LinuxException("pread", $"\"{shown}\"", errno);
                        if (count == 0) break;
                        hash.Append(buffer.AsSpan(0, count));
                        offset += count;
                    }
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(buffer);
                }
            }
        }
        var digest = hash.Finish();
        known?.Add(status, digest);
        return digest;
    }

    private static List<DirectoryEntry> List(SafeFileHandle directory)
    {
        var entries = DirectoryList.Read(directory);
        entries.Sort(static (a, b) => a.Name.AsSpan().SequenceCompareTo(b.Name));
        return entries;
    }

    private static string Join(string prefix, byte[] name) => prefix.Length == 0 ? Encoding.UTF8.GetString(name) : $"{prefix}/{Encoding.UTF8.GetString(name)}";

    private static (string Above, string Name) Split(string path)
    {
        path = path.Trim('/');
        var slash = path.LastIndexOf('/');
        return slash < 0 ? ("/", path) : ("/" + path[..slash], path[(slash + 1)..]);
    }

    // Anything but a directory makes way.
    private static void ReplaceFile(SafeFileHandle parent, byte[] name)
    {
        if (RawAt.Status(parent, name, out var status) != Errno.Success) return;
        if (status.IsDirectory) throw ImageException.Failed($"cannot overwrite directory \"{Encoding.UTF8.GetString(name)}\" with a file");
        Check(RawAt.Unlink(parent, name), "unlinkat", name);
    }

    private const OpenFlags NewFile = OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow;

    private static SafeFileHandle Create(SafeFileHandle parent, byte[] name)
    {
        var errno = RawAt.Open(parent, name, NewFile, OneName, 0x180, out var file);
        if (errno == Errno.EEXIST)
        {
            ReplaceFile(parent, name);
            errno = RawAt.Open(parent, name, NewFile, OneName, 0x180, out file);
        }
        Check(errno, "openat2", name);
        return file!;
    }

    // Owner before mode: the kernel clears set-id bits when the owner changes.
    private static void Finish(SafeFileHandle parent, byte[] name, (uint Uid, uint Gid) owner, uint? permissions)
    {
        Check(RawAt.ChangeOwner(parent, name, owner.Uid, owner.Gid), "fchownat", name);
        if (permissions is { } mode) Check(RawAt.ChangeMode(parent, name, mode), "fchmodat", name);
    }

    private static void Check(Errno errno, string call, ReadOnlySpan<byte> name)
    {
        if (errno != Errno.Success) throw new LinuxException(call, $"\"{Encoding.UTF8.GetString(name)}\"", errno);
    }

    private sealed class Run(TreeCopyRules rules, SafeFileHandle targetRoot, Func<string, string> targetOf, CancellationToken cancellation)
    {
        // Files with several names keep them: where the first was copied to.
        private readonly Dictionary<((uint, uint), ulong), string> links = [];

        // What is copied now goes to the upper directory itself.
        private bool _isInUpper;

        public void CopyContent(SafeFileHandle directory, string prefix, SafeFileHandle into, int depth)
        {
            if (depth > MaxDepth) throw ImageException.Failed($"{prefix}: directories are nested deeper than {MaxDepth}");
            foreach (var entry in List(directory)) CopyEntry(directory, entry.Name, Join(prefix, entry.Name), into, entry.Name, depth);
        }

        public void CopyEntry(SafeFileHandle directory, byte[] name, string shown, SafeFileHandle into, byte[] targetName, int depth)
        {
            cancellation.ThrowIfCancellationRequested();
            if (RawAt.Status(directory, name, out var status) is var errno && errno != Errno.Success) throw new LinuxException("statx", $"\"{shown}\"", errno);
            var excluded = rules.Excludes?.Invoke(shown) == true;
            if (excluded && !(status.IsDirectory && rules.LooksIntoExcluded)) return;
            var owner = rules.Owner ?? (status.Uid, status.Gid);
            if (status.IsDirectory)
            {
                CopyDirectory(directory, name, shown, into, targetName, status, owner, excluded, depth);
                return;
            }
            var permissions = rules.Permissions?.Invoke(status.Permissions, false) ?? status.Permissions;
            if (status is { Kind: FileKind.Regular, LinkCount: 1 })
            {
                CopyFile(directory, name, into, targetName, status, owner, permissions);
                return;
            }
            ReplaceFile(into, targetName);
            if (status.LinkCount > 1 && links.TryGetValue((status.Device, status.Inode), out var first) && TryLink(first, into, targetName)) return;
            switch (status.Kind)
            {
                case FileKind.Regular:
                    CopyFile(directory, name, into, targetName, status, owner, permissions);
                    break;
                case FileKind.SymbolicLink:
                    Check(RawAt.ReadLink(directory, name, out var link), "readlinkat", name);
                    Check(RawAt.SymbolicLink(link, into, targetName), "symlinkat", targetName);
                    Finish(into, targetName, owner, null);
                    SetTimes(into, targetName, status);
                    break;
                case FileKind.Socket:
                    return; // means nothing without who listens
                default:
                    Check(RawAt.MakeNode(into, targetName, status.Kind, permissions, status.NodeDevice.Major, status.NodeDevice.Minor), "mknodat", targetName);
                    Finish(into, targetName, owner, permissions);
                    SetTimes(into, targetName, status);
                    break;
            }
            if (status.LinkCount > 1) links.TryAdd((status.Device, status.Inode), targetOf(shown));
        }

        // Most of what is copied. All by descriptor: of a thousand small files it is the calls that take the time.
        private void CopyFile(SafeFileHandle directory, byte[] name, SafeFileHandle into, byte[] targetName, FileStatus status, (uint Uid, uint Gid) owner, uint permissions)
        {
            Check(RawAt.Open(directory, name, OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.NonBlocking, OneName, 0, out var source), "openat2", name);
            using (source)
            {
                using var target = Create(into, targetName);
                Check(RawAt.CopyContent(source!, target, status.SizeBytes), "copy_file_range", name);
                // Owner before mode: the kernel clears set-id bits, and capabilities, when the owner changes.
                Check(RawAt.ChangeOwner(target, default, owner.Uid, owner.Gid), "fchown", targetName);
                Check(RawAt.ChangeMode(target, default, permissions), "fchmod", targetName);
                if (RawAt.GetXattr(source!, "security.capability"u8, out var capability) == Errno.Success)
                    Check(RawAt.SetXattr(target, "security.capability"u8, capability), "fsetxattr", targetName);
                SetTimes(target, default, status);
            }
        }

        private bool TryLink(string first, SafeFileHandle into, byte[] targetName)
        {
            var (above, name) = Split(first);
            using var parent = FileAt.TryOpen(_isInUpper ? rules.Upper! : targetRoot, above, OpenFlags.Path | OpenFlags.Directory, Inside, out _);
            return parent is not null && RawAt.HardLink(parent, Encoding.UTF8.GetBytes(name), into, targetName) == Errno.Success;
        }

        // A directory that was made this moment is in the upper directory under the same path, and nobody has looked into it through the overlay.
        public void CopyContentInUpper(SafeFileHandle source, string shown, SafeFileHandle target, int depth)
        {
            var inUpper = rules.Upper is null || _isInUpper ? null : FileAt.TryOpen(rules.Upper, targetOf(shown), OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow, Inside | ResolveFlags.NoSymlinks, out _);
            if (inUpper is null)
            {
                CopyContent(source, shown, target, depth);
                return;
            }
            using (inUpper)
            {
                _isInUpper = true;
                CopyContent(source, shown, inUpper, depth);
                _isInUpper = false;
            }
        }

        private void CopyDirectory(SafeFileHandle directory, byte[] name, string shown, SafeFileHandle into, byte[] targetName, FileStatus status, (uint, uint) owner, bool excluded, int depth)
        {
            const OpenFlags Listed = OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow;
            Check(RawAt.Open(directory, name, Listed, OneName, 0, out var source), "openat2", name);
            using (source)
            {
                if (excluded && !HasIncluded(source!, shown, depth + 1)) return;
                var made = RawAt.MakeDirectory(into, targetName, 0x1C0);
                if (made is not (Errno.Success or Errno.EEXIST)) throw new LinuxException("mkdirat", $"\"{shown}\"", made);
                // A link to a directory is not one: what is copied replaces nothing that it does not name.
                var opened = RawAt.Open(into, targetName, Listed, OneName, 0, out var target);
                if (opened is Errno.ENOTDIR or Errno.ELOOP) throw ImageException.Failed($"cannot copy to non-directory: {shown}");
                Check(opened, "openat2", targetName);
                using (target)
                {
                    if (made == Errno.Success) CopyContentInUpper(source!, shown, target!, depth + 1);
                    else CopyContent(source!, shown, target!, depth + 1);
                    Finish(into, targetName, owner, rules.Permissions?.Invoke(status.Permissions, true) ?? status.Permissions);
                    SetTimes(into, targetName, status);
                }
            }
        }

        // A directory that is out is made only for what is in it and not out.
        private bool HasIncluded(SafeFileHandle directory, string prefix, int depth)
        {
            if (depth > MaxDepth) return false;
            foreach (var entry in List(directory))
            {
                var shown = Join(prefix, entry.Name);
                if (rules.Excludes!(shown) == false) return true;
                if (RawAt.Open(directory, entry.Name, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow, OneName, 0, out var inner) != Errno.Success) continue;
                using (inner)
                    if (HasIncluded(inner!, shown, depth + 1)) return true;
            }
            return false;
        }

        private void SetTimes(SafeFileHandle into, ReadOnlySpan<byte> name, FileStatus status)
        {
            var modified = rules.WholeSeconds ? (status.Modified.Seconds, 0u) : status.Modified;
            if (rules.LatestSeconds is { } latest && modified.Seconds >= latest) modified = (latest, 0);
            Check(RawAt.SetTimes(into, name, modified, modified), "utimensat", name);
        }
    }
}
