using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images.Layers;

/// <summary>What of a tree goes into a tar, beyond names, owners, modes, times, links and devices.</summary>
internal sealed record TreeTarRules
{
    /// <summary>The tree is an overlay's upper directory: its whiteouts and opaque marks become those of layer tars.</summary>
    public bool IsUpperDirectory { get; init; }

    /// <summary>user.* attributes as well as security.capability, which alone Docker's clients are used to.</summary>
    public bool UserXattrs { get; init; }

    /// <summary>The tree becomes the layer that the tar describes: the fractions of its times, which the tar does not have, go from the files, too.</summary>
    public bool Adopts { get; init; }

    /// <summary>Times later than this become this.</summary>
    public long? LatestSeconds { get; init; }
}

/// <summary>
/// Writes trees of files as a tar, in the order of their names, so that the same tree gives the same bytes. The tree may belong to a running container: what vanishes between two
/// calls is left out, a file that shrinks meanwhile is filled up with zeros, and no link is followed, so that nothing outside is read.
/// </summary>
internal sealed class TreeTar(TarWriter tar, TreeTarRules rules, CancellationToken cancellation)
{
    /// <summary>Directories of one branch that are kept open; those above are opened again on the way back.</summary>
    private const int MaxOpen = 64;

    private const OpenFlags DirectoryFlags = OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow;
    private const OpenFlags FileFlags = OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.NonBlocking;
    private const ResolveFlags NoLinks = ResolveFlags.Beneath | ResolveFlags.NoSymlinks;

    private readonly byte[] buffer = new byte[256 * 1024];
    private readonly Dictionary<((uint, uint) Device, ulong Inode), byte[]> seen = [];

    /// <summary>Bytes of file content and link targets, each inode once.</summary>
    public long SizeBytes { get; private set; }

    /// <summary>Something is in the tree that the tar does not say, or says differently: unpacked it would be another tree.</summary>
    public bool IsInexact { get; private set; }

    /// <summary>A directory on the way down: what is left to do in it.</summary>
    private sealed class Frame(SafeFileHandle handle, byte[] name, byte[] prefix)
    {
        public SafeFileHandle? Handle = handle;
        public readonly byte[] Name = name;
        /// <summary>Before the names of its members in the tar.</summary>
        public readonly byte[] Prefix = prefix;
        public List<DirectoryEntry> Entries = [];
        public int Next;
    }

    /// <summary>Adds what is in a directory, all the way down, and the directory itself when <paramref name="name"/> is not null.</summary>
    /// <param name="directory">Open for reading.</param>
    /// <param name="name">The member's name: "bin", ".", or "/" for a tar of absolute names.</param>
    public void AddDirectory(SafeFileHandle directory, byte[]? name)
    {
        var prefix = name is null ? [] : name is [.., (byte)'/'] ? name : [.. name, (byte)'/'];
        if (name is not null)
        {
            Check(RawAt.Status(directory, default, out var status), "statx", name);
            AddDirectoryHeader(directory, prefix, status);
        }
        var stack = new List<Frame>();
        try
        {
            Check(RawAt.Open(directory, "."u8, DirectoryFlags, NoLinks, 0, out var top), "openat2", prefix);
            stack.Add(new Frame(top!, [], prefix));
            List(stack[0]);
            while (stack.Count > 0)
            {
                cancellation.ThrowIfCancellationRequested();
                var frame = stack[^1];
                if (frame.Next == frame.Entries.Count)
                {
                    frame.Handle?.Dispose();
                    stack.RemoveAt(stack.Count - 1);
                    continue;
                }
                if (frame.Handle is null && !Reopen(stack))
                {
                    frame.Next = frame.Entries.Count; // moved away meanwhile
                    continue;
                }
                var entry = frame.Entries[frame.Next++];
                if (AddEntry(frame, entry) is not { } child) continue;
                stack.Add(child);
                List(child);
                if (stack.Count > MaxOpen)
                {
                    // The topmost stays: the others are found again from it.
                    var far = stack[stack.Count - MaxOpen];
                    far.Handle?.Dispose();
                    far.Handle = null;
                }
            }
        }
        finally
        {
            foreach (var frame in stack) frame.Handle?.Dispose();
        }
    }

    /// <summary>Adds one file that is no directory.</summary>
    public void AddFile(SafeFileHandle directory, byte[] fileName, byte[] name) => AddFile(directory, fileName, name, null);

    private static void List(Frame frame)
    {
        frame.Entries = DirectoryList.Read(frame.Handle!);
        frame.Entries.Sort(static (a, b) => a.Name.AsSpan().SequenceCompareTo(b.Name));
    }

    private static bool Reopen(List<Frame> stack)
    {
        var at = stack[0].Handle!;
        for (var i = 1; i < stack.Count; i++)
        {
            // Those in between are opened for the way only.
            if (RawAt.Open(at, stack[i].Name, i == stack.Count - 1 ? DirectoryFlags : OpenFlags.Path | OpenFlags.Directory | OpenFlags.NoFollow, NoLinks, 0, out var next) != Errno.Success)
            {
                if (at != stack[0].Handle) at.Dispose();
                return false;
            }
            if (at != stack[0].Handle) at.Dispose();
            at = next!;
        }
        stack[^1].Handle = at;
        return true;
    }

    private Frame? AddEntry(Frame frame, DirectoryEntry entry)
    {
        byte[] name = [.. frame.Prefix, .. entry.Name];
        if (entry.Kind is not (FileKind.Directory or null))
        {
            AddFile(frame.Handle!, entry.Name, name, entry.Kind);
            return null;
        }
        var errno = RawAt.Open(frame.Handle!, entry.Name, DirectoryFlags, NoLinks, 0, out var opened);
        if (errno is Errno.ENOTDIR or Errno.ELOOP) AddFile(frame.Handle!, entry.Name, name, null); // the file system did not tell, or it was replaced just now
        if (errno != Errno.Success) return null;
        if (RawAt.Status(opened!, default, out var status) != Errno.Success)
        {
            opened!.Dispose();
            return null;
        }
        byte[] prefix = [.. name, (byte)'/'];
        AddDirectoryHeader(opened!, prefix, status);
        Settle(frame.Handle!, entry.Name, status);
        return new Frame(opened!, entry.Name, prefix);
    }

    private void AddDirectoryHeader(SafeFileHandle directory, byte[] name, FileStatus status)
    {
        tar.WriteHeader(Entry(name, TarKind.Directory, status, rules.UserXattrs ? Xattrs(directory) : []));
        if (!rules.IsUpperDirectory) return;
        if (RawAt.GetXattr(directory, "trusted.overlay.opaque"u8, out var opaque) == Errno.Success && opaque is [(byte)'y'])
            tar.WriteHeader(Entry([.. name, .. ".wh..wh..opq"u8], TarKind.File, status, []) with { Mode = status.Permissions & 0x1FF, Modified = default });
    }

    private void AddFile(SafeFileHandle directory, byte[] fileName, byte[] name, FileKind? kind)
    {
        FileStatus status;
        if (kind is FileKind.Regular or null)
        {
            // Opened first and looked at then, so that what is read is what was looked at. Never a device or a pipe: opening those can have effects, so the kind is asked first
            // where the directory did not tell it; where it did, only a file put there this moment could be another.
            if (kind is null && (RawAt.Status(directory, fileName, out status) != Errno.Success || status.Kind != FileKind.Regular))
            {
                if (RawAt.Status(directory, fileName, out status) == Errno.Success && status.Kind != FileKind.Directory) AddSpecial(directory, fileName, name, status);
                return;
            }
            if (RawAt.Open(directory, fileName, FileFlags, NoLinks, 0, out var file) != Errno.Success) return;
            using (file)
            {
                if (RawAt.Status(file!, default, out status) != Errno.Success || status.Kind != FileKind.Regular) return;
                AddRegular(file!, name, status);
            }
            Settle(directory, fileName, status);
            return;
        }
        if (RawAt.Status(directory, fileName, out status) != Errno.Success || status.Kind is FileKind.Directory or FileKind.Regular) return;
        AddSpecial(directory, fileName, name, status);
        if (status.Kind == FileKind.Socket) IsInexact = true;
        Settle(directory, fileName, status);
    }

    private long Seconds(FileStatus status) => rules.LatestSeconds is { } latest && status.Modified.Seconds > latest ? latest : status.Modified.Seconds;

    // A name that means something else in a tar is no name for a file of a layer.
    private void Settle(SafeFileHandle directory, byte[] name, FileStatus status)
    {
        if (!rules.Adopts) return;
        if (name.AsSpan().StartsWith(".wh."u8)) IsInexact = true;
        var seconds = Seconds(status);
        if (status.Modified == (seconds, 0u)) return;
        var whole = (seconds, 0u);
        Check(RawAt.SetTimes(directory, name, whole, whole), "utimensat", name);
    }

    private void AddRegular(SafeFileHandle file, byte[] name, FileStatus status)
    {
        if (IsSeen(name, status)) return;
        var xattrs = Xattrs(file);
        var left = (long)status.SizeBytes;
        SizeBytes += left;
        tar.WriteHeader(Entry(name, TarKind.File, status, xattrs) with { StoredBytes = left });
        while (left > 0)
        {
            cancellation.ThrowIfCancellationRequested();
            var count = Linux.Descriptor.TryRead(file, buffer.AsSpan(0, (int)Math.Min(buffer.Length, left)), out var errno);
            if (count < 0) throw new LinuxException("read", TarExtractor.Show(name), errno);
            if (count == 0) break; // the writer fills up
            tar.WriteContent(buffer.AsSpan(0, count));
            left -= count;
        }
    }

    private void AddSpecial(SafeFileHandle directory, byte[] fileName, byte[] name, FileStatus status)
    {
        if (rules.IsUpperDirectory && status is { Kind: FileKind.CharacterDevice, NodeDevice: (0, 0) })
        {
            var slash = name.AsSpan().LastIndexOf((byte)'/');
            tar.WriteHeader(Entry([.. name.AsSpan(0, slash + 1), .. ".wh."u8, .. name.AsSpan(slash + 1)], TarKind.File, status, []) with { Mode = 0x180 });
            return;
        }
        TarKind kind;
        byte[] target = [];
        switch (status.Kind)
        {
            case FileKind.SymbolicLink:
                if (RawAt.ReadLink(directory, fileName, out target) != Errno.Success) return;
                SizeBytes += target.Length;
                kind = TarKind.SymbolicLink;
                break;
            case FileKind.CharacterDevice: kind = TarKind.CharacterDevice; break;
            case FileKind.BlockDevice: kind = TarKind.BlockDevice; break;
            case FileKind.Fifo: kind = TarKind.Fifo; break;
            default: return; // sockets mean nothing without who listens
        }
        if (IsSeen(name, status)) return;
        tar.WriteHeader(Entry(name, kind, status, []) with
        {
            LinkName = target, Major = status.NodeDevice.Major, Minor = status.NodeDevice.Minor,
        });
    }

    // A further name of a file that is in the tar already.
    private bool IsSeen(byte[] name, FileStatus status)
    {
        if (status.LinkCount < 2 || seen.TryAdd((status.Device, status.Inode), name)) return false;
        tar.WriteHeader(Entry(name, TarKind.HardLink, status, []) with { LinkName = seen[(status.Device, status.Inode)] });
        return true;
    }

    private TarEntry Entry(byte[] name, TarKind kind, FileStatus status, IReadOnlyList<KeyValuePair<byte[], byte[]>> xattrs) => new()
    {
        Name = name, LinkName = [], Kind = kind, Mode = status.Permissions, Uid = status.Uid, Gid = status.Gid, StoredBytes = 0, LengthBytes = 0,
        Modified = (Seconds(status), 0), Major = 0, Minor = 0, Xattrs = xattrs, Segments = null,
    };

    private List<KeyValuePair<byte[], byte[]>> Xattrs(SafeFileHandle file)
    {
        IReadOnlyList<byte[]>? names = null;
        if (rules.UserXattrs && RawAt.ListXattrs(file, out names) == Errno.Success && names.Count == 0) return [];
        var found = new List<KeyValuePair<byte[], byte[]>>();
        if (RawAt.GetXattr(file, "security.capability"u8, out var capability) == Errno.Success)
        {
            // Revision 3 names the root of a user namespace (include/uapi/linux/capability.h), which means nothing elsewhere.
            const int Revision2Bytes = 20;
            if (capability is [_, _, _, 3, ..] && capability.Length > Revision2Bytes)
            {
                capability = capability[..Revision2Bytes];
                capability[3] = 2;
                IsInexact = true;
            }
            found.Add(new("security.capability"u8.ToArray(), capability));
        }
        foreach (var name in names ?? [])
        {
            if (name.AsSpan().StartsWith("user."u8) && RawAt.GetXattr(file, name, out var value) == Errno.Success) found.Add(new(name, value));
            else if (!name.AsSpan().SequenceEqual("security.capability"u8) && !name.AsSpan().StartsWith("trusted.overlay."u8)) IsInexact = true;
        }
        found.Sort(static (a, b) => a.Key.AsSpan().SequenceCompareTo(b.Key));
        return found;
    }

    private static void Check(Errno errno, string call, ReadOnlySpan<byte> name)
    {
        if (errno != Errno.Success) throw new LinuxException(call, TarExtractor.Show(name), errno);
    }
}
