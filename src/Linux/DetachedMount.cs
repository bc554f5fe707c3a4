using System.Text;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// Mounts that are in no mount namespace yet: a descriptor each, gone when it is closed unless it was attached with move_mount(2) before.
/// </summary>
public static unsafe class DetachedMount
{
    /// <summary>A new instance of a file system.</summary>
    /// <param name="options">As in /proc/mounts: key and value, or a key with null for a flag.</param>
    public static SafeFileHandle Create(string type, string source, ReadOnlySpan<KeyValuePair<string, string?>> options, MountAttributes attributes)
    {
        using var context = OpenFileSystem(type);
        Configure(context, MountAbi.FSCONFIG_SET_STRING, "source", source);
        foreach (var (key, value) in options) Configure(context, value is null ? MountAbi.FSCONFIG_SET_FLAG : MountAbi.FSCONFIG_SET_STRING, key, value);
        return Finish(context, type, attributes);
    }

    /// <summary>
    /// An overlay (Documentation/filesystems/overlayfs.rst). Layers are given one by one with lowerdir+ (Linux 6.5), so that neither their number nor the length of their paths
    /// meets the limit of one page that mount(2) has.
    /// </summary>
    /// <param name="lower">Topmost first.</param>
    /// <param name="upper">Null for a read-only overlay.</param>
    /// <exception cref="LinuxException">EINVAL from `fsconfig(…, "lowerdir+", …)` on a kernel before 6.5.</exception>
    public static SafeFileHandle Overlay(IReadOnlyList<string> lower, string? upper, string? work, MountAttributes attributes)
    {
        using var context = OpenFileSystem("overlay");
        Configure(context, MountAbi.FSCONFIG_SET_STRING, "source", "overlay");
        foreach (var directory in lower) Configure(context, MountAbi.FSCONFIG_SET_STRING, "lowerdir+", directory);
        if (upper is not null) Configure(context, MountAbi.FSCONFIG_SET_STRING, "upperdir", upper);
        if (work is not null) Configure(context, MountAbi.FSCONFIG_SET_STRING, "workdir", work);
        return Finish(context, "overlay", attributes);
    }

    /// <summary>A copy of what is mounted at a path (with the mounts below it when recursive), as by mount --bind.</summary>
    public static SafeFileHandle Bind(SafeFileHandle? directory, string path, bool recursive)
    {
        using var at = new DirectoryArgument(directory);
        var flags = MountAbi.OPEN_TREE_CLONE | MountAbi.OPEN_TREE_CLOEXEC | (recursive ? MountAbi.AT_RECURSIVE : 0) | (path.Length == 0 ? MountAbi.AT_EMPTY_PATH : 0);
        int fd;
        fixed (byte* p = Utf8(path)) fd = LibC.open_tree(at.Fd, p, flags);
        return new SafeFileHandle(LibC.Check(fd, "open_tree", $"\"{path}\", OPEN_TREE_CLONE{(recursive ? "|AT_RECURSIVE" : "")}"), ownsHandle: true);
    }

    /// <summary>Changes attributes of a mount, attached or not.</summary>
    public static void SetAttributes(SafeFileHandle mount, MountAttributes set, MountAttributes clear, MountPropagation propagation, bool recursive)
    {
        var attributes = new MountAttr { Set = set, Clear = clear, Propagation = propagation };
        using var at = new DirectoryArgument(mount);
        int result;
        fixed (byte* p = "\0"u8) result = LibC.mount_setattr(at.Fd, p, MountAbi.AT_EMPTY_PATH | (recursive ? MountAbi.AT_RECURSIVE : 0), &attributes);
        LibC.Check(result, "mount_setattr", $"+{set} -{clear} {propagation}");
    }

    private static SafeFileHandle OpenFileSystem(string type)
    {
        int fd;
        fixed (byte* p = Utf8(type)) fd = LibC.fsopen(p, MountAbi.FSOPEN_CLOEXEC);
        return new SafeFileHandle(LibC.Check(fd, "fsopen", $"\"{type}\""), ownsHandle: true);
    }

    private static void Configure(SafeFileHandle context, uint command, string key, string? value)
    {
        using var fd = new DirectoryArgument(context);
        int result;
        fixed (byte* k = Utf8(key))
        fixed (byte* v = value is null ? null : Utf8(value))
            result = LibC.fsconfig(fd.Fd, command, k, v, 0);
        if (result < 0) throw new LinuxException("fsconfig", value is null ? $"\"{key}\"" : $"\"{key}\", \"{value}\"", LibC.LastErrno);
    }

    private static SafeFileHandle Finish(SafeFileHandle context, string type, MountAttributes attributes)
    {
        using var fd = new DirectoryArgument(context);
        if (LibC.fsconfig(fd.Fd, MountAbi.FSCONFIG_CMD_CREATE, null, null, 0) < 0)
        {
            var errno = LibC.LastErrno;
            throw new LinuxException("fsconfig", $"FSCONFIG_CMD_CREATE of {type}{Log(fd.Fd)}", errno);
        }
        var mount = LibC.Check(LibC.fsmount(fd.Fd, MountAbi.FSMOUNT_CLOEXEC, (ulong)attributes), "fsmount", type);
        return new SafeFileHandle(mount, ownsHandle: true);
    }

    // A context is also a log: each read gives one message of the file system, "e overlay: upper fs missing".
    private static string Log(int fd)
    {
        const int MaxMessages = 8, MaxMessageBytes = 512;
        var text = new StringBuilder();
        var buffer = stackalloc byte[MaxMessageBytes];
        for (var i = 0; i < MaxMessages; i++)
        {
            var length = LibC.read(fd, buffer, MaxMessageBytes);
            if (length <= 0) break;
            text.Append(text.Length == 0 ? ": " : "; ").Append(Encoding.UTF8.GetString(buffer, (int)length).Trim());
        }
        return text.ToString();
    }

    private static byte[] Utf8(string text)
    {
        var bytes = new byte[Encoding.UTF8.GetByteCount(text) + 1];
        Encoding.UTF8.GetBytes(text, bytes);
        return bytes;
    }
}
