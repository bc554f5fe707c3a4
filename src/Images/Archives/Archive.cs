using System.Security.Cryptography;
using System.Text;
using Berth.Images.Layers;

namespace Berth.Images.Archives;

/// <summary>
/// The content of an image archive after one pass over it: small files as bytes, layers unpacked (in a temporary directory,
/// under no name yet), links. Memory is bounded by the small files; disk by what the layers unpack to.
/// </summary>
internal sealed class Archive(LayerStore layers, Func<Digest, bool> holdIfPresent, ProgressSink? progress) : IDisposable
{
    /// <summary>Largest manifest or configuration, as for those of a registry.</summary>
    public const int MaxSmallBytes = Manifest.MaxBytes;

    /// <summary>All of them together: what an archive may cost in memory.</summary>
    public const int MaxAllSmallBytes = 64 * 1024 * 1024;

    /// <summary>Members of an archive: an image has at most some hundred files here.</summary>
    public const int MaxMembers = 100_000;

    /// <summary>Links followed from one name.</summary>
    private const int MaxLinks = 10;

    private readonly Dictionary<string, Member> members = new(StringComparer.Ordinal);
    private int smallBytes;

    // Exactly one of these is set; all null means a large file that is nothing of ours, or a layer that is in the store already.
    private sealed record Member(byte[]? Content = null, UnpackedLayer? Layer = null, string? LinkTo = null, Exception? Failure = null);

    /// <summary>Whether a member, or a directory of members, has this name.</summary>
    public bool Contains(string path) => members.ContainsKey(path);

    public IEnumerable<string> Paths => members.Keys;

    /// <exception cref="InvalidDataException">Not a tar, or cut off.</exception>
    public void Read(Stream source, CancellationToken cancellation)
    {
        var tar = new TarReader(source);
        while (tar.Next() is { } entry)
        {
            cancellation.ThrowIfCancellationRequested();
            if (members.Count >= MaxMembers) throw new InvalidDataException($"the archive has more than {MaxMembers} members");
            var path = Normalize("", Encoding.UTF8.GetString(entry.Name));
            if (path is null || path.Length == 0) continue; // leads out, and so to nothing that a manifest could mean
            Forget(path);
            switch (entry.Kind)
            {
                case TarKind.File:
                    members[path] = ReadFile(path, entry, tar, cancellation);
                    break;
                case TarKind.SymbolicLink or TarKind.HardLink:
                    // Archives of docker save before 25 link to layers that images share.
                    var from = entry.Kind == TarKind.SymbolicLink && path.Contains('/') ? path[..path.LastIndexOf('/')] : "";
                    if (Normalize(from, Encoding.UTF8.GetString(entry.LinkName)) is { } target) members[path] = new Member(LinkTo: target);
                    break;
            }
        }
    }

    private Member ReadFile(string path, TarEntry entry, TarReader tar, CancellationToken cancellation)
    {
        // Sparse members of an archive: nobody writes them, and they would have to be put together first.
        if (entry.Segments is not null) return new Member(Failure: new InvalidDataException($"{path} is a sparse file"));
        var content = new MemberStream(tar, entry.StoredBytes);
        var head = new byte[TarReader.BlockBytes];
        var length = content.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        if (LooksLikeLayer(head.AsSpan(0, length)))
        {
            var named = BlobDigest(path);
            if (!named.IsEmpty && holdIfPresent(named)) return new Member(); // an uncompressed layer that we have
            var isPlain = TarReader.HasValidChecksum(head) || !head.AsSpan(0, length).ContainsAnyExcept((byte)0);
            return Unpack(path, named, isPlain, new PrefixedStream(head.AsMemory(0, length), content), entry.StoredBytes, cancellation);
        }
        if (entry.StoredBytes > MaxSmallBytes) return new Member();
        if ((smallBytes += (int)entry.StoredBytes) > MaxAllSmallBytes) throw new InvalidDataException($"the archive has more than {MaxAllSmallBytes} bytes of manifests");
        var bytes = new byte[entry.StoredBytes];
        head.AsSpan(0, length).CopyTo(bytes);
        content.ReadExactly(bytes.AsSpan(length));
        return new Member(bytes);
    }

    private Member Unpack(string path, Digest named, bool isPlain, Stream content, long size, CancellationToken cancellation)
    {
        // Of a layer that is not compressed the blob's digest is the diff id, which is worked out anyway.
        using var hash = named.IsEmpty || isPlain ? null : IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var watched = new WatchedStream(content, hash, progress?.Count(named.IsEmpty ? ShortName(path) : named.ShortId, "Loading layer", size));
        try
        {
            var layer = layers.Unpack(watched, cancellation);
            watched.Drain();
            if (named.IsEmpty || (isPlain ? layer.DiffId == named : named.Matches(hash!.GetHashAndReset()))) return new Member(Layer: layer);
            layer.Dispose();
            return new Member(Failure: new InvalidDataException($"{path} does not have the digest in its name"));
        }
        catch (ImageException e)
        {
            // It only matters if a manifest names it as a layer.
            return new Member(Failure: e);
        }
    }

    /// <summary>A small file's bytes.</summary>
    /// <exception cref="ImageException">It isn't there, or isn't small.</exception>
    public byte[] Content(string? path) =>
        Find(path).Content ?? throw ImageException.Failed($"{path} is not a file of at most {MaxSmallBytes} bytes");

    /// <summary>An unpacked layer.</summary>
    /// <exception cref="ImageException">It isn't there, isn't a layer, or could not be unpacked.</exception>
    public UnpackedLayer Layer(string? path)
    {
        var member = Find(path);
        return member.Layer ?? throw ImageException.Failed(member.Failure?.Message ?? $"{path} is not a layer", member.Failure);
    }

    /// <summary>A blob of an OCI layout, its digest checked.</summary>
    public byte[] Blob(Digest digest)
    {
        var content = Content(BlobPath(digest));
        return digest.Verifies(content) ? content : throw ImageException.Failed($"{BlobPath(digest)} does not have the digest in its name");
    }

    public static string BlobPath(Digest digest) => $"blobs/{digest.Algorithm}/{digest.Hex}";

    private Member Find(string? path)
    {
        var at = Normalize("", path ?? "");
        for (var links = 0; at is not null && links <= MaxLinks; links++)
        {
            if (!members.TryGetValue(at, out var member)) break;
            if (member.LinkTo is null) return member;
            at = member.LinkTo;
        }
        throw ImageException.Failed($"open {path}: no such file or directory");
    }

    private void Forget(string path)
    {
        if (!members.Remove(path, out var member)) return;
        member.Layer?.Dispose();
        smallBytes -= member.Content?.Length ?? 0;
    }

    private static bool LooksLikeLayer(ReadOnlySpan<byte> head) => head switch
    {
        [0x1F, 0x8B, 8, ..] or [0x28, 0xB5, 0x2F, 0xFD, ..] or [>= 0x50 and <= 0x5F, 0x2A, 0x4D, 0x18, ..] => true,
        [(byte)'B', (byte)'Z', (byte)'h', ..] or [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => true, // so that the message says what is wrong
        _ => head.Length == TarReader.BlockBytes && (TarReader.HasValidChecksum(head) || !head.ContainsAnyExcept((byte)0)),
    };

    private static Digest BlobDigest(string path) =>
        path.StartsWith("blobs/sha256/", StringComparison.Ordinal) && Digest.TryParseSha256Hex(path["blobs/sha256/".Length..], out var digest) ? digest : default;

    private static string ShortName(string path)
    {
        var name = path.EndsWith("/layer.tar", StringComparison.Ordinal) ? path[..^"/layer.tar".Length] : path;
        name = name[(name.LastIndexOf('/') + 1)..];
        return name.Length > 12 ? name[..12] : name;
    }

    // Null when the path leads out of the archive.
    private static string? Normalize(string from, string path)
    {
        var parts = new List<string>(path.StartsWith('/') ? [] : from.Split('/', StringSplitOptions.RemoveEmptyEntries));
        foreach (var part in path.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part == ".") continue;
            if (part != "..") parts.Add(part);
            else if (parts.Count == 0) return null;
            else parts.RemoveAt(parts.Count - 1);
        }
        return string.Join('/', parts);
    }

    public void Dispose()
    {
        foreach (var member in members.Values) member.Layer?.Dispose();
    }

    private sealed class MemberStream(TarReader tar, long length) : ReadOnlyStream
    {
        private long left = length;

        public override int Read(Span<byte> buffer)
        {
            if (buffer.IsEmpty || left == 0) return 0;
            var some = tar.ReadContent(buffer.Length);
            some.CopyTo(buffer);
            left -= some.Length;
            return some.Length;
        }
    }
}

/// <summary>Passes a stream on while hashing and counting it.</summary>
internal sealed class WatchedStream(Stream source, IncrementalHash? hash, ProgressSink.Counter? counter) : ReadOnlyStream
{
    public override int Read(Span<byte> buffer)
    {
        var count = source.Read(buffer);
        hash?.AppendData(buffer[..count]);
        if (count > 0) counter?.Add(count);
        return count;
    }

    /// <summary>Reads what is left, for the hash.</summary>
    public void Drain()
    {
        var buffer = new byte[64 * 1024];
        while (Read(buffer.AsSpan()) > 0) { }
    }
}
