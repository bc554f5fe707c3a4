using System.Buffers.Binary;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>One name in a directory. The kind is null where the file system does not tell (ask statx then).</summary>
public readonly record struct DirectoryEntry(byte[] Name, FileKind? Kind, ulong Inode);

/// <summary>getdents64(2): the names in a directory as bytes, without "." and "..".</summary>
public static unsafe class DirectoryList
{
    private const int BufferBytes = 8 * 1024;

    /// <summary>Reads on from the descriptor's position and returns at least one more entry, or none at the end.</summary>
    /// <param name="directory">Open for reading (not O_PATH).</param>
    public static Errno ReadSome(SafeFileHandle directory, List<DirectoryEntry> into)
    {
        // Most directories are small: the stack is enough for them, and for large ones it only means more calls.
        Span<byte> buffer = stackalloc byte[BufferBytes];
        using var fd = new DirectoryArgument(directory);
        while (true)
        {
            nint length;
            fixed (byte* p = buffer) length = LibC.getdents64(fd.Fd, p, BufferBytes);
            if (length < 0) return LibC.LastErrno;
            if (length == 0) return Errno.Success;
            var before = into.Count;
            Parse(buffer[..(int)length], into);
            if (into.Count > before) return Errno.Success; // else only "." and ".." came
        }
    }

    /// <summary>All entries.</summary>
    /// <exception cref="LinuxException"/>
    public static List<DirectoryEntry> Read(SafeFileHandle directory)
    {
        var all = new List<DirectoryEntry>();
        while (true)
        {
            var before = all.Count;
            var errno = ReadSome(directory, all);
            if (errno != Errno.Success) throw new LinuxException("getdents64", "", errno);
            if (all.Count == before) return all;
        }
    }

    // struct linux_dirent64 of include/linux/dirent.h: u64 ino, s64 off, u16 reclen, u8 type, name.
    private static void Parse(ReadOnlySpan<byte> bytes, List<DirectoryEntry> into)
    {
        while (bytes.Length > 19)
        {
            var inode = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            var size = BinaryPrimitives.ReadUInt16LittleEndian(bytes[16..]);
            var type = bytes[18];
            var name = bytes[19..size];
            name = name[..name.IndexOf((byte)0)];
            bytes = bytes[size..];
            if (name is [(byte)'.'] or [(byte)'.', (byte)'.']) continue;
            // DT_* are the type bits of st_mode shifted down by twelve; 0 is DT_UNKNOWN.
            into.Add(new DirectoryEntry(name.ToArray(), type == 0 ? null : (FileKind)(type << 12), inode));
        }
    }
}
