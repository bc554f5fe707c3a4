using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>Extended attributes of a file itself (links are not followed), named by a directory descriptor and a name in it.</summary>
public static unsafe class Xattr
{
    /// <summary>XATTR_SIZE_MAX of include/uapi/linux/limits.h; also the limit of a whole list.</summary>
    public const int MaxValueBytes = 65536;

    public static void Set(SafeFileHandle directory, string path, string name, ReadOnlySpan<byte> value)
    {
        using var at = new DirectoryArgument(directory);
        fixed (byte* p = value)
            LibC.Check(LibC.lsetxattr(PathOf(at, path), name, p, (nuint)value.Length, 0), "lsetxattr", $"\"{path}\", \"{name}\", {value.Length} bytes");
    }

    /// <summary>Null when there is no such attribute.</summary>
    public static byte[]? Get(SafeFileHandle directory, string path, string name)
    {
        using var at = new DirectoryArgument(directory);
        var buffer = new byte[MaxValueBytes];
        nint length;
        fixed (byte* p = buffer) length = LibC.lgetxattr(PathOf(at, path), name, p, (nuint)buffer.Length);
        if (length < 0 && LibC.LastErrno == Errno.ENODATA) return null;
        LibC.Check((int)length, "lgetxattr", $"\"{path}\", \"{name}\"");
        return buffer[..(int)length];
    }

    public static IReadOnlyList<string> List(SafeFileHandle directory, string path)
    {
        using var at = new DirectoryArgument(directory);
        var buffer = new byte[MaxValueBytes];
        nint length;
        fixed (byte* p = buffer) length = LibC.llistxattr(PathOf(at, path), p, (nuint)buffer.Length);
        if (length < 0 && LibC.LastErrno == Errno.EOPNOTSUPP) return [];
        LibC.Check((int)length, "llistxattr", $"\"{path}\"");
        return Encoding.UTF8.GetString(buffer, 0, (int)length).Split('\0', StringSplitOptions.RemoveEmptyEntries);
    }

    public static void Remove(SafeFileHandle directory, string path, string name)
    {
        using var at = new DirectoryArgument(directory);
        LibC.Check(LibC.lremovexattr(PathOf(at, path), name), "lremovexattr", $"\"{path}\", \"{name}\"");
    }

    // There is no setxattrat before Linux 6.13; the way through /proc/self/fd names the same directory.
    private static string PathOf(DirectoryArgument at, string path) => path.Length == 0 ? $"/proc/self/fd/{at.Fd}" : $"/proc/self/fd/{at.Fd}/{path}";
}
