using System.Text;
using Berth.Images.Archives;
using Berth.Images.Layers;

namespace Berth.Images;

/// <summary>What a tar of blobs and documents will consist of, in the order of names; layers are put together as they are written.</summary>
internal sealed class ArchiveMembers(LayerStore layers)
{
    private readonly SortedDictionary<string, Member> members = new(StringComparer.Ordinal);

    // One of content, a file and a layer; a directory has none.
    private sealed record Member(byte[]? Content, string? File, Digest Layer, long Bytes, DateTimeOffset Modified);

    public void Add(string path, byte[] content, DateTimeOffset? modified = null) => members.TryAdd(path, new Member(content, null, default, content.Length, modified ?? DateTimeOffset.UnixEpoch));

    public void AddFile(string path, string file, long bytes) => members.TryAdd(path, new Member(null, file, default, bytes, DateTimeOffset.UnixEpoch));

    public void AddLayer(string path, Digest layer, long bytes, DateTimeOffset? modified = null) => members.TryAdd(path, new Member(null, null, layer, bytes, modified ?? DateTimeOffset.UnixEpoch));

    public void AddDirectories() => members["blobs/"] = members["blobs/sha256/"] = new Member(null, null, default, 0, DateTimeOffset.UnixEpoch);

    public long BytesOf(string path) => members[path].Bytes;

    public long MeasureBytes() => TarWriter.MeasureBytes(members.Select(m => Header(m.Key, m.Value)));

    /// <exception cref="ImageException">A layer is damaged: what was written is not whole and must not look as if it were.</exception>
    public void Write(Stream output, CancellationToken cancellation)
    {
        var tar = new TarWriter(output);
        var buffer = new byte[BlockPipe.BlockBytes];
        foreach (var (path, member) in members)
        {
            cancellation.ThrowIfCancellationRequested();
            tar.WriteHeader(Header(path, member));
            if (member.Content is { } content) tar.WriteContent(content);
            if (member.File is null && member.Layer.IsEmpty) continue;
            using Stream source = member.File is { } file ? new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0) : layers.OpenTar(member.Layer);
            for (int count; (count = source.Read(buffer)) > 0;)
            {
                cancellation.ThrowIfCancellationRequested();
                tar.WriteContent(buffer.AsSpan(0, count));
            }
        }
        tar.Complete();
    }

    private static TarEntry Header(string path, Member member)
    {
        var isDirectory = path.EndsWith('/');
        return new TarEntry
        {
            Name = Encoding.ASCII.GetBytes(path), LinkName = [], Kind = isDirectory ? TarKind.Directory : TarKind.File, Mode = isDirectory ? 0x1EDu : 0x1A4u, Uid = 0, Gid = 0,
            StoredBytes = member.Bytes, LengthBytes = member.Bytes, Modified = (member.Modified.ToUnixTimeSeconds(), 0), Major = 0, Minor = 0, Xattrs = [], Segments = null,
        };
    }
}
