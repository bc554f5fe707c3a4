using System.Globalization;
using System.Text;
using Berth.Linux.Abi;
using Berth.Linux.Spawn;
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
    /// An overlay (Documentation/filesystems/overlayfs.rst). Layers are given one by one with lowerdir+ where the kernel has it (Linux 6.8), so that neither their number nor the length of their paths
    /// meets the limit of one page that mount(2) has.
    /// </summary>
    /// <remarks>
    /// What a file is must be readable from the layers themselves (diff, commit, reading a file without a mount), whatever the host's overlay module has for defaults: so no redirects
    /// (a renamed directory is copied), no files of metadata only, and no index, which would also refuse a second mount of an upper directory whose first is still being torn down.
    /// </remarks>
    /// <param name="lower">Topmost first.</param>
    /// <param name="upper">Null for a read-only overlay.</param>
    /// <param name="isVolatile">
    /// Nothing in it has to outlive the machine: fsync(2) there does nothing, and taking it down does not write the whole file system below to the disk, as it otherwise does.
    /// </param>
    public static SafeFileHandle Overlay(IReadOnlyList<string> lower, string? upper, string? work, MountAttributes attributes, bool isVolatile = false)
    {
        // A volatile mount leaves this behind, for whoever has to know that the machine may have gone down meanwhile. We do, and what we mount once more then is still of use.
        if (work is not null && Path.Combine(work, "work/incompat/volatile") is var mark && Directory.Exists(mark)) Directory.Delete(mark, recursive: true);
        if (!LayersOneByOne.Value) return OverlayByMount(lower, upper, work, attributes, isVolatile);
        using var context = OpenFileSystem("overlay");
        Configure(context, MountAbi.FSCONFIG_SET_STRING, "source", "overlay");
        foreach (var (key, value) in OverlayOptions) Configure(context, MountAbi.FSCONFIG_SET_STRING, key, value);
        foreach (var layer in lower) Configure(context, MountAbi.FSCONFIG_SET_STRING, "lowerdir+", layer);
        if (upper is not null) Configure(context, MountAbi.FSCONFIG_SET_STRING, "upperdir", upper);
        if (work is not null) Configure(context, MountAbi.FSCONFIG_SET_STRING, "workdir", work);
        if (isVolatile) Configure(context, MountAbi.FSCONFIG_SET_FLAG, "volatile", null);
        return Finish(context, "overlay", attributes);
    }

    private static readonly (string Key, string Value)[] OverlayOptions = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

    private static readonly Lazy<bool> LayersOneByOne = new(() => Understands("overlay", "lowerdir+", "/"));

    /// <summary>
    /// Whether a file system takes an option through fsconfig(2). One that the kernel has not converted to that interface (overlay before Linux 6.5) collects whatever it is given
    /// and complains when the mount is made: it is told from the others by an option that nobody has.
    /// </summary>
    internal static bool Understands(string type, string key, string value)
    {
        using var context = OpenFileSystem(type);
        return !Takes("berth-asks", "1") && Takes(key, value);

        bool Takes(string option, string setting)
        {
            try
            {
                Configure(context, MountAbi.FSCONFIG_SET_STRING, option, setting);
                return true;
            }
            catch (LinuxException exception) when (exception.Errno == Errno.EINVAL)
            {
                return false;
            }
        }
    }

    /// <summary>
    /// The same by mount(2), which needs a place to mount on: a helper child has a namespace of its own for that and leaves a detached copy in our descriptors, which it shares. The layers are named
    /// by their descriptors' numbers, relative to /proc/self/fd: so the one page that mount(2) takes is enough for some 800.
    /// </summary>
    internal static SafeFileHandle OverlayByMount(IReadOnlyList<string> lower, string? upper, string? work, MountAttributes attributes, bool isVolatile = false)
    {
        var reserved = new List<SafeFileHandle>();
        try
        {
            // The layers have to be opened in the child's namespace, but their numbers have to be known here: the child puts them into the places of these.
            using var place = FileAt.Open(null, "/", OpenFlags.Path);
            string Reserve()
            {
                var handle = Descriptor.Duplicate(place);
                reserved.Add(handle);
                return handle.DangerousGetHandle().ToString(CultureInfo.InvariantCulture);
            }
            string[] paths = [.. lower, .. upper is null ? (string[])[] : [upper], .. work is null ? (string[])[] : [work]];
            var data = "lowerdir=" + string.Join(':', lower.Select(_ => Reserve()));
            if (upper is not null) data += $",upperdir={Reserve()}";
            if (work is not null) data += $",workdir={Reserve()}";
            foreach (var (key, value) in OverlayOptions) data += $",{key}={value}";
            if (isVolatile) data += ",volatile";

            const string AnyDirectory = "/dev";
            var plan = new SpawnPlan();
            plan.Add(SystemCall.Unshare, (ulong)CloneFlags.NewMount);
            plan.Add(SystemCall.Mount, 0, "/", 0, MountAbi.MS_REC | MountAbi.MS_PRIVATE);
            var opening = new Dictionary<SpawnCall, string>();
            foreach (var (path, handle) in paths.Zip(reserved))
            {
                var opened = plan.Add(SystemCall.Openat, At.FDCWD, path, (OpenFlags.Path | OpenFlags.Directory | OpenFlags.CloseOnExec).ToKernel());
                opening.Add(opened, path);
                plan.Add(SystemCall.Dup3, opened, handle, OpenFlags.CloseOnExec.ToKernel());
                plan.Add(SystemCall.Close, opened);
            }
            var numbers = plan.Add(SystemCall.Openat, At.FDCWD, "/proc/self/fd", (int)(OpenFlags.Path | OpenFlags.CloseOnExec));
            plan.Add(SystemCall.Fchdir, numbers);
            plan.Add(SystemCall.Close, numbers);
            var mounting = plan.Add(SystemCall.Mount, "overlay", AnyDirectory, "overlay", 0, data);
            var copy = plan.Add(SystemCall.OpenTree, At.FDCWD, AnyDirectory, MountAbi.OPEN_TREE_CLONE | MountAbi.OPEN_TREE_CLOEXEC);
            plan.Add(SystemCall.ExitGroup, 0);
            var result = plan.Run(CloneFlags.Files);
            PidFd.WaitAndReap(result.PidFd);
            result.PidFd.Dispose();
            if (result.Failed is { } failed)
                throw new LinuxException(failed.Call.Name, failed == mounting ? $"\"overlay\", {lower.Count} layers, upperdir={upper}" : opening.TryGetValue(failed, out var path) ? $"\"{path}\"" : "for an overlay", result.Errno);
            var mount = new SafeFileHandle((nint)copy.Result, ownsHandle: true);
            SetAttributes(mount, attributes, 0, MountPropagation.Private, recursive: false);
            return mount;
        }
        finally
        {
            reserved.ForEach(handle => handle.Dispose());
        }
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
