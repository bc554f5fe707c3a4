using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images.Layers;

/// <summary>How a tar is written beneath a directory.</summary>
internal sealed record ExtractRules
{
    /// <summary>For layers: whiteouts mean what they say, and nothing may point or lead out of the layer.</summary>
    public static readonly ExtractRules Layer = new() { IsLayer = true };

    public bool IsLayer { get; init; }

    /// <summary>Where in the root the members go; resolved already, without a slash in front.</summary>
    public byte[] Directory { get; init; } = [];

    /// <summary>Instead of the owners in the tar.</summary>
    public (uint Uid, uint Gid)? Owner { get; init; }

    /// <summary>A directory is not replaced by something else, nor something else by a directory.</summary>
    public bool KeepKinds { get; init; }
}

/// <summary>
/// Writes the members of a tar beneath a root: a layer's into a directory that becomes a lowerdir of overlay,
/// <code>
///   dir/.wh.name        →  dir/name as a 0:0 character device (overlay's whiteout)
///   dir/.wh..wh..opq    →  trusted.overlay.opaque=y on dir
///   everything else     →  itself, with owner, mode, times and xattrs
/// </code>
/// or a client's into a container, whose processes may be at work in the same directories meanwhile.
/// The tar is hostile until proven otherwise, and so is the container. Three things keep it inside, each enough alone for its case: a name that leads
/// out is refused; parents are opened by openat2, for a layer with RESOLVE_BENEATH, so that a link which leads out is an error (EXDEV) and not a way,
/// for a container with RESOLVE_IN_ROOT, so that links mean what they mean in there; and the last part of a name is only ever used by calls that don't follow links.
/// Docs: docs/layers.md.
/// </summary>
internal sealed class TarExtractor : IDisposable
{
    /// <summary>Members of one tar: far above any image (a full Debian desktop has 300,000), below what would fill a disk's inodes by accident.</summary>
    public const int MaxEntries = 10_000_000;

    /// <summary>Longest name in a tar: PATH_MAX, which no path within the container can exceed either.</summary>
    public const int MaxNameBytes = FileAt.MaxPathBytes - 1;

    /// <summary>Extended attributes of one file; the kernel's own limit is 64 KiB of names.</summary>
    public const int MaxXattrs = 256;

    private readonly SafeFileHandle root;
    private readonly ExtractRules rules;
    private readonly ResolveFlags resolve;
    private readonly List<(byte[] Path, (long, uint) Modified)> directoryTimes = [];
    private SafeFileHandle? parent;
    private byte[] parentPath = [];
    // Where that really is, without links, for the recipe; null when it can't be said.
    private byte[]? parentReal = [];
    private readonly TarRecipeWriter? recipe;
    private readonly int rootLength;
    private int entries;
    // A directory was replaced by something else, or one name of several: what is left is counted in the end.
    private bool isMiscounted;

    /// <param name="root">A directory, open for reading; for a layer nobody else may write beneath it meanwhile.</param>
    /// <param name="recipe">Of a layer: told which contents went where.</param>
    public TarExtractor(SafeFileHandle root, ExtractRules rules, TarRecipeWriter? recipe = null)
    {
        (this.root, this.rules, this.recipe) = (root, rules, recipe);
        if (recipe is not null)
        {
            Check(RawAt.CurrentPath(root, out var path), "readlink", default);
            rootLength = path.Length;
        }
        resolve = ResolveFlags.NoMagicLinks | (rules.IsLayer ? ResolveFlags.Beneath | ResolveFlags.NoMounts : ResolveFlags.InRoot);
    }

    /// <summary>Bytes of file content and link targets, each inode once: what Docker calls the layer's size.</summary>
    public long SizeBytes { get; private set; }

    /// <summary>The layer hides everything beneath it, from the root on (an opaque mark in the root directory, which overlay itself does not honour).</summary>
    public bool HidesAllBelow { get; private set; }

    /// <summary>Applies all members of the archive.</summary>
    /// <exception cref="InvalidDataException">A member that is refused; the message names it.</exception>
    /// <exception cref="LinuxException">The kernel refused (disk full, …).</exception>
    public void Apply(TarReader tar, CancellationToken cancellation)
    {
        while (tar.Next() is { } entry)
        {
            cancellation.ThrowIfCancellationRequested();
            if (++entries > MaxEntries) throw new InvalidDataException($"the layer has more than {MaxEntries} files");
            try
            {
                Apply(entry, tar);
            }
            catch (LinuxException e) when (!rules.IsLayer)
            {
                throw new LayerEntryException($"{GoCall(e.Call)} {PathOf(Clean(entry.Name, entry.Name))}: {e.Errno.DescribeAsGo()}", e);
            }
            catch (LinuxException e)
            {
                // In Go's words first: scripts look for "no space left on device".
                throw new LayerEntryException($"{Show(entry.Name)}: {e.Errno.DescribeAsGo()}: {e.Message}", e);
            }
        }
        SetDirectoryTimes();
        if (isMiscounted && rules.IsLayer && RawAt.CurrentPath(root, out var path) == Errno.Success) SizeBytes = (long)FileTree.SizeBytes(Encoding.UTF8.GetString(path), cancellation);
    }

    private void Apply(TarEntry entry, TarReader tar)
    {
        var path = Clean(entry.Name, entry.Name);
        if (path.Length == 0)
        {
            if (!rules.IsLayer)
            {
                // The directory the client named exists, and stays as it is.
                if (entry.Kind != TarKind.Directory && rules.KeepKinds) throw new LayerEntryException($"cannot overwrite directory {Show(PathBytes(path))} with non-directory {Show(PathBytes([]))}");
                if (entry.Kind == TarKind.Directory) return;
            }
            if (entry.Kind != TarKind.Directory) throw Refused(entry.Name, "it would replace the root directory");
            SetMetadata(root, default, entry);
            directoryTimes.Add(([], entry.Modified));
            return;
        }
        var slash = path.AsSpan().LastIndexOf((byte)'/');
        var name = path.AsSpan(slash + 1);
        var directory = Parent(path.AsSpan(0, Math.Max(slash, 0)), entry.Name);

        if (rules.IsLayer && name.StartsWith(".wh."u8))
        {
            Whiteout(entry, directory, name, isRoot: slash < 0);
            return;
        }
        switch (entry.Kind)
        {
            case TarKind.File: WriteFile(entry, tar, directory, name, path); break;
            case TarKind.Directory: MakeDirectory(entry, directory, name, path); break;
            case TarKind.HardLink: Link(entry, directory, name, path); break;
            case TarKind.SymbolicLink:
                var target = entry.LinkName;
                Make(directory, name, path, n => RawAt.SymbolicLink(target, directory, n), "symlinkat");
                SizeBytes += target.Length;
                SetMetadata(directory, name, entry);
                break;
            default:
                var kind = entry.Kind switch
                {
                    TarKind.CharacterDevice => FileKind.CharacterDevice,
                    TarKind.BlockDevice => FileKind.BlockDevice,
                    _ => FileKind.Fifo,
                };
                var (major, minor) = (entry.Major, entry.Minor);
                Make(directory, name, path, n => RawAt.MakeNode(directory, n, kind, 0, major, minor), "mknodat");
                SetMetadata(directory, name, entry);
                break;
        }
    }

    private void WriteFile(TarEntry entry, TarReader tar, SafeFileHandle directory, ReadOnlySpan<byte> name, byte[] path)
    {
        SafeFileHandle? file = null;
        Make(directory, name, path, n => RawAt.Open(directory, n, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow, ResolveFlags.Beneath, 0x180, out file), "openat2");
        using (file)
        {
            var real = recipe is not null && entry.StoredBytes > TarRecipe.MaxInlineBytes ? RealPath(directory, name) : null;
            if (entry.Segments is { } segments)
            {
                foreach (var segment in segments) WriteContent(file!, tar, segment.Offset, segment.Length, real);
                Check(RawAt.SetLength(file!, entry.LengthBytes), "ftruncate", name);
            }
            else WriteContent(file!, tar, 0, entry.StoredBytes, real);
            SetMetadata(file!, default, entry);
            Check(RawAt.SetTimes(file!, default, entry.Modified, entry.Modified), "utimensat", name);
        }
        SizeBytes += entry.LengthBytes;
    }

    private void WriteContent(SafeFileHandle file, TarReader tar, long offset, long length, byte[]? real)
    {
        if (real is not null) recipe!.Content(real, offset, length);
        while (length > 0)
        {
            var max = (int)Math.Min(length, int.MaxValue);
            var some = real is null ? tar.ReadContent(max) : tar.TakeContent(max);
            if (some.IsEmpty) throw new InvalidDataException("unexpected EOF");
            Check(RawAt.WriteAt(file, some, offset), "pwrite", default);
            offset += some.Length;
            length -= some.Length;
        }
    }

    private void MakeDirectory(TarEntry entry, SafeFileHandle directory, ReadOnlySpan<byte> name, byte[] path)
    {
        var errno = RawAt.MakeDirectory(directory, name, 0x1C0);
        if (errno == Errno.EEXIST)
        {
            Check(RawAt.Status(directory, name, out var existing), "statx", name);
            if (!existing.IsDirectory)
            {
                if (rules.KeepKinds) throw new LayerEntryException($"cannot overwrite non-directory {Show(PathBytes(path))} with directory {Show(PathBytes([]))}");
                RemoveExisting(directory, name, existing);
                Check(RawAt.MakeDirectory(directory, name, 0x1C0), "mkdirat", name);
                // A directory in the place of a whiteout of this same layer: what lies below stays hidden.
                if (rules.IsLayer && IsWhiteout(existing)) MarkOpaque(directory, name);
            }
        }
        else Check(errno, "mkdirat", name);
        SetMetadata(directory, name, entry);
        directoryTimes.Add((path, entry.Modified));
    }

    private void Link(TarEntry entry, SafeFileHandle directory, ReadOnlySpan<byte> name, byte[] path)
    {
        var target = Clean(entry.LinkName, entry.Name);
        if (target.Length == 0) throw Refused(entry.Name, "it is a hard link to the root directory");
        var slash = target.AsSpan().LastIndexOf((byte)'/');
        var targetName = target[(slash + 1)..];
        var errno = RawAt.Open(root, InDirectory(slash < 0 ? default : target.AsSpan(0, slash)), OpenFlags.Path | OpenFlags.Directory, resolve, 0, out var opened);
        if (!rules.IsLayer) Check(errno, "linkat", name);
        if (errno is Errno.EXDEV or Errno.ELOOP) throw Refused(entry.Name, $"its hard link to {Show(entry.LinkName)} leaves the layer");
        if (errno is Errno.ENOENT or Errno.ENOTDIR) throw Refused(entry.Name, $"its hard link leads to {Show(entry.LinkName)}, which is not in the layer");
        Check(errno, "openat2", entry.LinkName);
        using (opened)
        {
            // A link to itself would be removed first and then missing.
            if (RawAt.Status(opened!, targetName, out var there) != Errno.Success) throw Refused(entry.Name, $"its hard link leads to {Show(entry.LinkName)}, which is not in the layer");
            if (there.IsDirectory) throw Refused(entry.Name, $"it is a hard link to the directory {Show(entry.LinkName)}");
            if (RawAt.Status(directory, name, out var here) == Errno.Success && here.Inode == there.Inode) return;
            Make(directory, name, path, n => RawAt.HardLink(opened!, targetName, directory, n), "linkat");
        }
        // Owner, mode and times are the inode's, and came with its first name.
    }

    private void Whiteout(TarEntry entry, SafeFileHandle directory, ReadOnlySpan<byte> name, bool isRoot)
    {
        if (name.SequenceEqual(".wh..wh..opq"u8))
        {
            if (isRoot) HidesAllBelow = true;
            else Check(RawAt.SetXattr(directory, ""u8, OpaqueName, "y"u8), "setxattr", name);
            return;
        }
        if (name.StartsWith(".wh..wh."u8)) return; // aufs's own bookkeeping, in images from before 2016
        var hidden = name[".wh.".Length..];
        if (hidden.IsEmpty || hidden.SequenceEqual("."u8) || hidden.SequenceEqual(".."u8)) throw Refused(entry.Name, "the whiteout names no file");
        var errno = RawAt.MakeNode(directory, hidden, FileKind.CharacterDevice, 0);
        if (errno == Errno.EEXIST)
        {
            // A whiteout speaks of the layers below, never of its own (image-spec layer.md): what is here stays and hides them.
            Check(RawAt.Status(directory, hidden, out var existing), "statx", name);
            if (existing.IsDirectory) MarkOpaque(directory, hidden);
            return;
        }
        Check(errno, "mknodat", name);
    }

    // A path relative to the root: "." for the root itself.
    private ReadOnlySpan<byte> InDirectory(ReadOnlySpan<byte> path)
    {
        if (rules.Directory.Length == 0) return path.IsEmpty ? "."u8 : path;
        return path.IsEmpty ? rules.Directory : [.. rules.Directory, (byte)'/', .. path];
    }

    // As the container would call it.
    private byte[] PathBytes(ReadOnlySpan<byte> path) => rules.Directory.Length == 0 || path.IsEmpty ? [(byte)'/', .. rules.Directory, .. path] : [(byte)'/', .. rules.Directory, (byte)'/', .. path];

    private string PathOf(ReadOnlySpan<byte> path) => Show(PathBytes(path))[1..^1];

    private static string GoCall(string call) => call switch
    {
        "openat2" => "open", "mkdirat" => "mkdir", "symlinkat" => "symlink", "linkat" => "link", "mknodat" => "mknod", "pwrite" => "write", "fchownat" => "lchown", "fchmodat" => "chmod",
        "utimensat" => "chtimes", _ => call,
    };

    // The directory an entry goes into; the last one is kept, because neighbours in a tar are neighbours on disk.
    private SafeFileHandle Parent(ReadOnlySpan<byte> path, byte[] entryName)
    {
        if (path.IsEmpty && rules.Directory.Length == 0) return root;
        if (parent is not null && path.SequenceEqual(parentPath)) return parent;
        ForgetParent();
        var errno = OpenParent(path, out var found, out var straight);
        if (errno == Errno.ENOENT || (errno == Errno.ENOTDIR && rules.IsLayer)) // the latter may be a whiteout
        {
            MakeParents(path, entryName);
            errno = OpenParent(path, out found, out straight);
        }
        switch (errno)
        {
            case Errno.Success: break;
            case var _ when !rules.IsLayer: throw new LinuxException("openat2", Show(path), errno);
            case Errno.EXDEV: throw Refused(entryName, "a symbolic link on its way leaves the layer");
            case Errno.ELOOP: throw Refused(entryName, "its way goes through too many symbolic links");
            case Errno.ENOTDIR: throw Refused(entryName, "its parent is not a directory");
            case Errno.ENOENT: throw Refused(entryName, "a symbolic link on its way leads nowhere");
            default: throw new LinuxException("openat2", $"\"{Show(path)}\"", errno);
        }
        (parent, parentPath) = (found!, path.ToArray());
        if (straight) parentReal = parentPath;
        else parentReal = RawAt.CurrentPath(found!, out var real) != Errno.Success ? null : real.Length <= rootLength ? [] : real[(rootLength + 1)..];
        return parent;
    }

    // With a recipe it matters whether the way goes through links: they may be replaced later, and then it would lead elsewhere.
    private Errno OpenParent(ReadOnlySpan<byte> path, out SafeFileHandle? found, out bool straight)
    {
        straight = true;
        if (recipe is null) return RawAt.Open(root, InDirectory(path), OpenFlags.Path | OpenFlags.Directory, resolve, 0, out found);
        var errno = RawAt.Open(root, path, OpenFlags.Path | OpenFlags.Directory, resolve | ResolveFlags.NoSymlinks, 0, out found);
        if (errno != Errno.ELOOP) return errno;
        straight = false;
        return RawAt.Open(root, path, OpenFlags.Path | OpenFlags.Directory, resolve, 0, out found);
    }

    // What is called so in the directory that Parent gave last, without links; null when that is too long to be opened again.
    private byte[]? RealPath(SafeFileHandle directory, ReadOnlySpan<byte> name)
    {
        if (directory == root) return name.ToArray();
        return parentReal is null || parentReal.Length + 1 + name.Length > MaxNameBytes ? null : parentReal.Length == 0 ? name.ToArray() : [.. parentReal, (byte)'/', .. name];
    }

    // Tars may leave out the directories above a file; Docker makes them 0755 root:root, and so do we.
    private void MakeParents(ReadOnlySpan<byte> path, byte[] entryName)
    {
        for (var end = 0; end < path.Length; end++)
        {
            var slash = path[end..].IndexOf((byte)'/');
            end = slash < 0 ? path.Length : end + slash;
            var above = path[..end].LastIndexOf((byte)'/');
            var errno = RawAt.Open(root, InDirectory(above < 0 ? default : path[..above]), OpenFlags.Path | OpenFlags.Directory, resolve, 0, out var directory);
            if (rules.IsLayer && errno == Errno.EXDEV) throw Refused(entryName, "a symbolic link on its way leaves the layer");
            Check(errno, "openat2", path);
            using (directory)
            {
                var name = path[(above + 1)..end];
                errno = RawAt.MakeDirectory(directory!, name, 0x1ED);
                if (errno == Errno.EEXIST && rules.IsLayer && RawAt.Status(directory!, name, out var existing) == Errno.Success && IsWhiteout(existing))
                {
                    Check(RawAt.Unlink(directory!, name), "unlinkat", name);
                    Check(RawAt.MakeDirectory(directory!, name, 0x1ED), "mkdirat", name);
                    MarkOpaque(directory!, name);
                    continue;
                }
                if (errno == Errno.EEXIST) continue;
                Check(errno, "mkdirat", name);
                // Neither the umask nor a set-group-id parent has a say in it.
                Check(RawAt.ChangeOwner(directory!, name, 0, 0), "fchownat", name);
                Check(RawAt.ChangeMode(directory!, name, 0x1ED), "fchmodat", name);
            }
        }
    }

    private delegate Errno MakeCall(ReadOnlySpan<byte> name);

    // Makes something new; whatever had the name in this layer before goes (tars with a file twice do exist).
    private void Make(SafeFileHandle directory, ReadOnlySpan<byte> name, byte[] path, MakeCall call, string callName)
    {
        var errno = call(name);
        if (errno == Errno.EEXIST)
        {
            Check(RawAt.Status(directory, name, out var existing), "statx", name);
            if (rules.KeepKinds && existing.IsDirectory) throw new LayerEntryException($"cannot overwrite directory {Show(PathBytes(path))} with non-directory {Show(PathBytes([]))}");
            RemoveExisting(directory, name, existing);
            errno = call(name);
        }
        Check(errno, callName, name);
    }

    private void RemoveExisting(SafeFileHandle directory, ReadOnlySpan<byte> name, FileStatus existing)
    {
        if (existing.IsDirectory || existing.LinkCount > 1) isMiscounted = true;
        else if (existing.Kind is FileKind.Regular or FileKind.SymbolicLink) SizeBytes -= (long)existing.SizeBytes;
        if (!rules.IsLayer) RefuseMounts(directory, name, existing, 0);
        var hasContent = existing.IsDirectory || (existing.Kind == FileKind.Regular && existing.SizeBytes > TarRecipe.MaxInlineBytes);
        if (recipe is not null && hasContent && RealPath(directory, name) is { } real) recipe.Shadow(directory, name, real);
        else FileTree.Remove(directory, name);
        // The directory kept from before may just have been removed.
        if (existing.IsDirectory && directory != parent) ForgetParent();
    }

    // In another mount namespace than its own the kernel lets us remove what something is mounted on, and takes the mount away: a volume would vanish from under its container.
    private static void RefuseMounts(SafeFileHandle directory, ReadOnlySpan<byte> name, FileStatus status, int depth)
    {
        if (status.IsMountRoot) throw new LayerEntryException($"RemoveAll {Show(name)[1..^1]}: {Errno.EBUSY.DescribeAsGo()}");
        if (!status.IsDirectory) return;
        if (depth > MaxReplacedDepth) throw new LinuxException("unlinkat", Show(name), Errno.ENAMETOOLONG);
        if (RawAt.Open(directory, name, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow, ResolveFlags.Beneath | ResolveFlags.NoSymlinks, 0, out var opened) != Errno.Success) return;
        using (opened)
            foreach (var entry in DirectoryList.Read(opened!))
                if (RawAt.Status(opened!, entry.Name, out var below) == Errno.Success) RefuseMounts(opened!, entry.Name, below, depth + 1);
    }

    /// <summary>Directories nested in one that is replaced by something else.</summary>
    private const int MaxReplacedDepth = 256;

    private static bool IsWhiteout(FileStatus status) => status is { Kind: FileKind.CharacterDevice, NodeDevice: (0, 0) };

    private static ReadOnlySpan<byte> OpaqueName => "trusted.overlay.opaque"u8;

    private static void MarkOpaque(SafeFileHandle directory, ReadOnlySpan<byte> name) =>
        Check(RawAt.SetXattr(directory, name, OpaqueName, "y"u8), "lsetxattr", name);

    // name is empty when file is the open file itself. Owner first: a change of owner clears set-id bits and security.capability.
    private void SetMetadata(SafeFileHandle file, ReadOnlySpan<byte> name, TarEntry entry)
    {
        if (rules.Owner is { } owner) entry = entry with { Uid = owner.Uid, Gid = owner.Gid };
        if (entry.Uid is < 0 or >= uint.MaxValue || entry.Gid is < 0 or >= uint.MaxValue)
            throw Refused(entry.Name, $"its owner {entry.Uid}:{entry.Gid} is out of range");
        Check(RawAt.ChangeOwner(file, name, (uint)entry.Uid, (uint)entry.Gid), "fchownat", name);
        if (entry.Xattrs.Count > MaxXattrs) throw Refused(entry.Name, $"it has more than {MaxXattrs} extended attributes");
        foreach (var (key, value) in entry.Xattrs)
        {
            // Overlay would take these as its own: a redirect could show any file of a lower layer under another name.
            if (key.AsSpan().StartsWith("trusted.overlay."u8) || key.AsSpan().StartsWith("user.overlay."u8))
                throw Refused(entry.Name, $"its extended attribute {Show(key)} belongs to the overlay file system");
            if (value.Length > Xattr.MaxValueBytes) throw Refused(entry.Name, $"its extended attribute {Show(key)} is larger than {Xattr.MaxValueBytes} bytes");
            var errno = name.IsEmpty ? RawAt.SetXattr(file, key, value) : RawAt.SetXattr(file, name, key, value);
            // As Docker: a file system that knows no such attributes (or not on links) does not make the image unusable.
            if (errno is Errno.Success or Errno.EOPNOTSUPP || (errno == Errno.EPERM && (!rules.IsLayer || entry.Kind is not (TarKind.File or TarKind.Directory)))) continue;
            throw new LinuxException("setxattr", $"\"{Show(key)}\", {value.Length} bytes", errno);
        }
        if (entry.Kind == TarKind.SymbolicLink)
        {
            Check(RawAt.SetTimes(file, name, entry.Modified, entry.Modified), "utimensat", name);
            return;
        }
        Check(RawAt.ChangeMode(file, name, entry.Mode), "fchmodat", name);
        if (entry.Kind is not (TarKind.File or TarKind.Directory))
            Check(RawAt.SetTimes(file, name, entry.Modified, entry.Modified), "utimensat", name);
    }

    // Last, because every file made in a directory changes the directory's own time.
    private void SetDirectoryTimes()
    {
        ForgetParent();
        foreach (var (path, modified) in directoryTimes)
        {
            var errno = RawAt.Open(root, InDirectory(path), OpenFlags.ReadOnly | OpenFlags.Directory, resolve, 0, out var directory);
            if (errno is Errno.ENOENT or Errno.ENOTDIR or Errno.EXDEV or Errno.ELOOP) continue; // replaced by a later member
            Check(errno, "openat2", path);
            using (directory) Check(RawAt.SetTimes(directory!, default, modified, modified), "utimensat", path);
        }
        directoryTimes.Clear();
    }

    // "./a//b/" → "a/b", and "/a" as well: absolute names mean the root they are unpacked beneath. What could mean somewhere else is refused.
    private byte[] Clean(byte[] name, byte[] entryName)
    {
        if (name.Length > MaxNameBytes) throw Refused(entryName, $"its name is longer than {MaxNameBytes} bytes");
        var clean = new byte[name.Length];
        var length = 0;
        foreach (var range in name.AsSpan().Split((byte)'/'))
        {
            var part = name.AsSpan(range);
            if (part.IsEmpty || part.SequenceEqual("."u8)) continue;
            if (part.SequenceEqual(".."u8))
            {
                if (rules.IsLayer) throw Refused(entryName, name == entryName ? "its name contains \"..\"" : $"its hard link to {Show(name)} contains \"..\"");
                if (length > 0) length = Math.Max(clean.AsSpan(0, length).LastIndexOf((byte)'/'), 0);
                else if (name[0] != (byte)'/')
                    throw new LayerEntryException(name == entryName ? $"{Show(name)} is outside of {Show(PathBytes([]))}" : $"invalid hardlink {Show(PathBytes(entryName))} -> {Show(name)}");
                continue;
            }
            if (length > 0) clean[length++] = (byte)'/';
            part.CopyTo(clean.AsSpan(length));
            length += part.Length;
        }
        return clean.AsSpan(0, length).ToArray();
    }

    private static void Check(Errno errno, string call, ReadOnlySpan<byte> name)
    {
        if (errno != Errno.Success) throw new LinuxException(call, name.IsEmpty ? "" : $"\"{Show(name)}\"", errno);
    }

    private static LayerEntryException Refused(ReadOnlySpan<byte> entryName, string why) => new($"refused {Show(entryName)}: {why}");

    // Names end up in logs and terminals: at most this much, and nothing but printable text.
    private const int MaxShownBytes = 200;

    internal static string Show(ReadOnlySpan<byte> name)
    {
        var text = Encoding.UTF8.GetString(name.Length > MaxShownBytes ? name[..MaxShownBytes] : name);
        var shown = new StringBuilder("\"");
        foreach (var c in text)
            if (char.IsControl(c)) shown.Append($"\\x{(int)c:x2}");
            else shown.Append(c);
        return shown.Append(name.Length > MaxShownBytes ? "…\"" : "\"").ToString();
    }

    private void ForgetParent()
    {
        parent?.Dispose();
        (parent, parentPath) = (null, []);
    }

    public void Dispose() => ForgetParent();
}

/// <summary>A member of a layer cannot be unpacked; the message begins with its name.</summary>
internal sealed class LayerEntryException(string message, Exception? inner = null) : InvalidOperationException(message, inner);
