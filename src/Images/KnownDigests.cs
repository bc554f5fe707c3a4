using System.Buffers.Binary;
using Berth.Linux;

namespace Berth.Images;

/// <summary>
/// What files hold, so that they need not be read to know it: by inode, size and the time of the last change to the inode, which the kernel sets and nobody else. For a tree that is
/// changed by replacing files only, as kept contexts are; a file that is written in place twice within a tick of the kernel's clock could be taken for the one before.
/// </summary>
public sealed class KnownDigests
{
    /// <summary>Files remembered: a context with more is read.</summary>
    private const int MaxFiles = 1_000_000;

    private const int RecordBytes = 8 + 8 + 8 + 4 + 32;

    private readonly Dictionary<Key, Digest> _before = [];
    private readonly Dictionary<Key, Digest> _now = [];
    private readonly Lock _lock = new();

    private sealed record Key(ulong Inode, ulong SizeBytes, long Seconds, uint Nanoseconds);

    private static Key KeyOf(FileStatus status) => new(status.Inode, status.SizeBytes, status.Changed.Seconds, status.Changed.Nanoseconds);

    internal bool TryGet(FileStatus status, out Digest digest)
    {
        var key = KeyOf(status);
        lock (_lock)
        {
            if (_now.TryGetValue(key, out digest)) return true;
            if (!_before.TryGetValue(key, out digest)) return false;
            _now[key] = digest;
            return true;
        }
    }

    internal void Add(FileStatus status, Digest digest)
    {
        lock (_lock)
            if (_now.Count < MaxFiles) _now[KeyOf(status)] = digest;
    }

    /// <summary>What was saved; nothing when it can't be read.</summary>
    public static KnownDigests Read(string path)
    {
        var known = new KnownDigests();
        try
        {
            if (new FileInfo(path) is not { Exists: true, Length: <= (long)MaxFiles * RecordBytes }) return known;
            var bytes = File.ReadAllBytes(path).AsSpan();
            for (; bytes.Length >= RecordBytes; bytes = bytes[RecordBytes..])
            {
                known._before[new Key(BinaryPrimitives.ReadUInt64LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]), BinaryPrimitives.ReadInt64LittleEndian(bytes[16..]), BinaryPrimitives.ReadUInt32LittleEndian(bytes[24..]))] =
                    Digest.FromSha256Hash(bytes.Slice(28, 32));
            }
        }
        catch (IOException)
        {
            // It costs time, nothing else.
        }
        return known;
    }

    /// <summary>What was asked for since, and nothing that was not: the files of the tree as it is now.</summary>
    public void Save(string path)
    {
        lock (_lock)
        {
            if (_now.Count == 0) return;
            var bytes = new byte[_now.Count * RecordBytes];
            var at = bytes.AsSpan();
            foreach (var (key, digest) in _now)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(at, key.Inode);
                BinaryPrimitives.WriteUInt64LittleEndian(at[8..], key.SizeBytes);
                BinaryPrimitives.WriteInt64LittleEndian(at[16..], key.Seconds);
                BinaryPrimitives.WriteUInt32LittleEndian(at[24..], key.Nanoseconds);
                Convert.FromHexString(digest.Hex).CopyTo(at[28..]);
                at = at[RecordBytes..];
            }
            try
            {
                File.WriteAllBytes(path + ".tmp", bytes);
                File.Move(path + ".tmp", path, overwrite: true);
            }
            catch (IOException)
            {
                // A cache.
            }
        }
    }
}
