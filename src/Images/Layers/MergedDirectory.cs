using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images.Layers;

/// <summary>One directory as seen through the layers that have it, topmost first.</summary>
internal sealed class MergedDirectory(List<SafeFileHandle> layers) : IDisposable
{
    private const OpenFlags PathOnly = OpenFlags.Path | OpenFlags.NoFollow;
    private const ResolveFlags OneName = ResolveFlags.Beneath | ResolveFlags.NoSymlinks;

    /// <param name="directories">The roots of the layers, topmost first.</param>
    public static MergedDirectory Open(IReadOnlyList<string> directories)
    {
        var opened = new List<SafeFileHandle>();
        try
        {
            foreach (var directory in directories) opened.Add(FileAt.Open(null, directory, OpenFlags.Path | OpenFlags.Directory));
        }
        catch
        {
            foreach (var handle in opened) handle.Dispose();
            throw;
        }
        return new MergedDirectory(opened);
    }

    public IReadOnlyList<SafeFileHandle> Layers => layers;

    /// <summary>What has the name: for a directory all its layers, for anything else the layer's directory it is in. False when nothing has, or a whiteout hides it.</summary>
    public bool TryFind(ReadOnlySpan<byte> name, out FileKind kind, out MergedDirectory? directory, out SafeFileHandle? layer)
    {
        (kind, directory, layer) = (default, null, null);
        List<SafeFileHandle>? below = null;
        foreach (var candidate in layers)
        {
            var errno = RawAt.Status(candidate, name, out var status);
            if (errno is Errno.ENOENT or Errno.ENAMETOOLONG) continue;
            if (errno != Errno.Success) throw new LinuxException("statx", TarExtractor.Show(name), errno);
            if (status.Kind != FileKind.Directory)
            {
                if (below is not null || status is { Kind: FileKind.CharacterDevice, NodeDevice: (0, 0) }) break;
                (kind, layer) = (status.Kind, candidate);
                return true;
            }
            if (RawAt.Open(candidate, name, PathOnly | OpenFlags.Directory, OneName, 0, out var opened) != Errno.Success) continue;
            (below ??= []).Add(opened!);
            if (RawAt.GetXattr(opened!, default, "trusted.overlay.opaque"u8, out var opaque) == Errno.Success && opaque is [(byte)'y']) break;
        }
        if (below is null) return false;
        (kind, directory) = (FileKind.Directory, new MergedDirectory(below));
        return true;
    }

    /// <summary>Every name that a layer has, once, and the layer's directory it is in; whiteouts too: ask <see cref="TryFind"/>.</summary>
    public IEnumerable<(byte[] Name, SafeFileHandle Layer)> Entries()
    {
        var seen = new HashSet<string>();
        foreach (var layer in layers)
        {
            if (RawAt.Open(layer, "."u8, OpenFlags.ReadOnly | OpenFlags.Directory, OneName, 0, out var readable) != Errno.Success) continue;
            using (readable)
                foreach (var entry in DirectoryList.Read(readable!))
                    // Latin-1 keeps bytes apart that UTF-8 would replace.
                    if (seen.Add(Encoding.Latin1.GetString(entry.Name))) yield return (entry.Name, layer);
        }
    }

    public void Dispose()
    {
        foreach (var layer in layers) layer.Dispose();
    }
}
