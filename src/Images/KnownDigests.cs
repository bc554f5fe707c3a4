using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

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

    /// <summary>What a file of ours holds is known from its arrival, unless it has become another than was told: longer, or of another group.</summary>
    public void Add(SafeFileHandle directory, ReadOnlySpan<byte> name, EntryHash hash)
    {
        if (RawAt.Status(directory, name, out var status) == Errno.Success && hash.IsOf(status)) Add(status, hash.Finish());
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

/// <summary>The digest of one path (<see cref="TreeEntry"/>), made while its content comes by.</summary>
public sealed class EntryHash : IDisposable
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    private readonly (FileKind, uint, uint, uint, ulong) _of;
    private ulong _sizeBytes;

    /// <summary>Of a regular file that will be so.</summary>
    public EntryHash(uint permissions, uint uid, uint gid, ulong sizeBytes) : this(FileKind.Regular, permissions, uid, gid, sizeBytes, (0, 0))
    {
    }

    internal EntryHash(FileStatus status) : this(status.Kind, status.Permissions, status.Uid, status.Gid, status.Kind == FileKind.Regular ? status.SizeBytes : 0, status.NodeDevice)
    {
    }

    private EntryHash(FileKind kind, uint permissions, uint uid, uint gid, ulong sizeBytes, (uint Major, uint Minor) device)
    {
        _of = (kind, permissions, uid, gid, sizeBytes);
        _hash.AppendData(Encoding.UTF8.GetBytes($"{kind} {permissions} {uid} {gid} {sizeBytes} {device}\n"));
    }

    /// <summary>Whether the file is the one that was told, with as much content as came.</summary>
    internal bool IsOf(FileStatus status) => _of == (status.Kind, status.Permissions, status.Uid, status.Gid, status.SizeBytes) && status.SizeBytes == _sizeBytes;

    public void Append(ReadOnlySpan<byte> content)
    {
        _hash.AppendData(content);
        _sizeBytes += (ulong)content.Length;
    }

    public Digest Finish() => Digest.FromSha256Hash(_hash.GetHashAndReset());

    public void Dispose() => _hash.Dispose();
}
