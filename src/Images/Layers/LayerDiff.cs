using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images.Layers;

/// <summary>
/// What a container changed: its upper directory against the layers below, without a mount. As Docker tells it, which compares the two trees as the container would see them:
/// a file is modified when its metadata, size or time differ, a directory when its own owner or mode does or something in it changed.
/// </summary>
internal sealed class LayerDiff
{
    /// <summary>Deeper than any path the kernel takes.</summary>
    private const int MaxDepth = 2048;

    private const OpenFlags DirectoryFlags = OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow;
    private const ResolveFlags OneName = ResolveFlags.Beneath | ResolveFlags.NoSymlinks;

    private readonly List<FileChange> changes = [];

    public static IReadOnlyList<FileChange> Between(string upper, IReadOnlyList<string> lower)
    {
        var diff = new LayerDiff();
        using var top = FileAt.Open(null, upper, OpenFlags.ReadOnly | OpenFlags.Directory);
        using var below = MergedDirectory.Open(lower);
        diff.Compare(top, below, "", 0);
        return diff.changes;
    }

    // below is null where nothing was before.
    private void Compare(SafeFileHandle upper, MergedDirectory? below, string path, int depth)
    {
        if (depth > MaxDepth) return;
        var entries = DirectoryList.Read(upper);
        entries.Sort(static (a, b) => a.Name.AsSpan().SequenceCompareTo(b.Name));
        foreach (var entry in entries)
        {
            if (RawAt.Status(upper, entry.Name, out var now) != Errno.Success) continue; // gone meanwhile
            var name = $"{path}/{Encoding.UTF8.GetString(entry.Name)}";
            FileKind kind = default;
            MergedDirectory? directory = null;
            SafeFileHandle? layer = null;
            var existed = below is not null && below.TryFind(entry.Name, out kind, out directory, out layer);
            using (directory)
            {
                if (now is { Kind: FileKind.CharacterDevice, NodeDevice: (0, 0) })
                {
                    if (existed) changes.Add(new FileChange(name, FileChangeKind.Deleted));
                    continue;
                }
                var at = changes.Count;
                if (!existed) changes.Add(new FileChange(name, FileChangeKind.Added));
                else if (Differs(upper, entry.Name, now, kind == FileKind.Directory ? directory!.Layers[0] : layer!, kind == FileKind.Directory ? default : entry.Name))
                    changes.Add(new FileChange(name, FileChangeKind.Modified));
                if (!now.IsDirectory || RawAt.Open(upper, entry.Name, DirectoryFlags, OneName, 0, out var child) != Errno.Success) continue;
                using (child)
                {
                    var own = changes.Count > at;
                    if (directory is not null && IsOpaque(child!)) CompareOpaque(child!, directory, name, depth);
                    else Compare(child!, directory, name, depth + 1);
                    if (!own && changes.Count > at) changes.Insert(at, new FileChange(name, FileChangeKind.Modified));
                }
            }
        }
    }

    // A directory that was removed and made again: what is not in it is gone, whiteout or not.
    private void CompareOpaque(SafeFileHandle upper, MergedDirectory below, string path, int depth)
    {
        Compare(upper, below, path, depth + 1);
        foreach (var (entry, _) in below.Entries())
        {
            if (RawAt.Status(upper, entry, out _) == Errno.Success || !below.TryFind(entry, out _, out var directory, out _)) continue;
            directory?.Dispose();
            changes.Add(new FileChange($"{path}/{Encoding.UTF8.GetString(entry)}", FileChangeKind.Deleted));
        }
    }

    private static bool IsOpaque(SafeFileHandle directory) => RawAt.GetXattr(directory, "trusted.overlay.opaque"u8, out var value) == Errno.Success && value is [(byte)'y'];

    private static bool Differs(SafeFileHandle upper, ReadOnlySpan<byte> name, FileStatus now, SafeFileHandle lower, ReadOnlySpan<byte> lowerName)
    {
        if (RawAt.Status(lower, lowerName, out var before) != Errno.Success) return true;
        if (now.Kind != before.Kind || now.Permissions != before.Permissions || now.Uid != before.Uid || now.Gid != before.Gid || now.NodeDevice != before.NodeDevice) return true;
        if (now.IsDirectory) return false;
        if (now.SizeBytes != before.SizeBytes || !SameTime(now.Modified, before.Modified)) return true;
        return now.Kind == FileKind.Regular && !Capability(upper, name).AsSpan().SequenceEqual(Capability(lower, lowerName));
    }

    // Tars have whole seconds, usually.
    private static bool SameTime((long Seconds, uint Nanoseconds) a, (long Seconds, uint Nanoseconds) b) =>
        a.Seconds == b.Seconds && (a.Nanoseconds == b.Nanoseconds || a.Nanoseconds == 0 || b.Nanoseconds == 0);

    private static byte[] Capability(SafeFileHandle directory, ReadOnlySpan<byte> name) =>
        RawAt.GetXattr(directory, name, "security.capability"u8, out var value) == Errno.Success ? value : [];
}
