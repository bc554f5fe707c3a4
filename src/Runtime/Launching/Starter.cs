using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Berth.Linux.Spawn;
using Berth.Runtime.Capabilities;
using Berth.Runtime.Seccomp;
using Berth.Runtime.Spec;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Launching;

/// <summary>
/// Carries out a plan. Steps are taken in order: what needs no new namespace (detached mounts, descriptors, the terminal) is done here and now, the rest becomes
/// system calls of the child. Nothing is visible to anybody until the child runs; if anything fails, closing the descriptors undoes it.
/// </summary>
internal sealed partial class Starter : IDisposable
{
    private readonly LaunchPlan _plan;
    private readonly SpawnPlan _child = new();
    private readonly List<SafeFileHandle> _owned = new(32);
    /// <summary>First call of each step, to name the step of a call that fails.</summary>
    private readonly List<(int FirstCall, int Step)> _boundaries = new(64);
    private readonly Dictionary<SpawnCall, Failure> _failures = new(64);

    private readonly CgroupEntry _cgroup;
    private readonly SafeFileHandle? _networkNamespace;
    private readonly ProcessStdio? _stdio;
    private readonly OciConsoleSize? _consoleSize;
    private readonly bool _isExec;

    private CloneFlags _cloneFlags;
    private SafeFileHandle? _pidNamespace;
    private SafeFileHandle? _root;
    private SpawnCall? _null, _empty;
    private SpawnCall? _proc;
    private SafeFileHandle? _devPts;
    private SafeFileHandle? _master;
    private SpawnArgument[]? _stdioDescriptors;
    private SafeFileHandle[]? _stdioHandles;
    /// <summary>What is mounted where, for steps that change it later.</summary>
    private readonly Dictionary<string, SpawnArgument> _mounted = [];
    /// <summary>Directories opened by the child for things to be made in.</summary>
    private readonly Dictionary<string, SpawnCall> _directories = [];

    private delegate (LaunchErrorKind Kind, string Text) Failure(Errno errno);

    private Starter(LaunchPlan plan, CgroupEntry cgroup, SafeFileHandle? networkNamespace, ProcessStdio? stdio, OciConsoleSize? consoleSize, bool isExec)
    {
        _plan = plan;
        _cgroup = cgroup;
        _networkNamespace = networkNamespace;
        _stdio = stdio;
        _consoleSize = consoleSize;
        _isExec = isExec;
    }

    /// <param name="root">The mounted root file system, detached; it stays the caller's.</param>
    public static StartedProcess Start(LaunchPlan plan, SafeFileHandle root, CgroupEntry cgroup, SafeFileHandle? networkNamespace, ProcessStdio? stdio, OciConsoleSize? consoleSize)
    {
        using var starter = new Starter(plan, cgroup, networkNamespace, stdio, consoleSize, isExec: false) { _root = root };
        return starter.Run(container: null);
    }

    /// <param name="root">The container's root directory; it stays the caller's.</param>
    public static StartedProcess Exec(LaunchPlan plan, SafeFileHandle root, CgroupEntry cgroup, SafeFileHandle containerPidFd, ProcessStdio? stdio, OciConsoleSize? consoleSize)
    {
        using var starter = new Starter(plan, cgroup, null, stdio, consoleSize, isExec: true) { _root = root };
        return starter.Run(containerPidFd);
    }

    public void Dispose()
    {
        foreach (var handle in _owned) handle.Dispose();
        _master?.Dispose();
    }

    private StartedProcess Run(SafeFileHandle? container)
    {
        SelfProtection.Apply();
        Begin();
        for (var i = 0; i < _plan.Steps.Count; i++)
        {
            _boundaries.Add((_child.Calls.Count, i));
            try
            {
                Take(_plan.Steps[i], container);
            }
            catch (LinuxException exception)
            {
                throw Describe(_plan.Steps[i], i, exception);
            }
        }

        SpawnResult result;
        try
        {
            result = _child.Run(_cloneFlags, _cgroup.Directory, _pidNamespace);
        }
        catch (LinuxException exception) when (_isExec && exception.Errno is Errno.ENOMEM or Errno.ESRCH or Errno.EINVAL)
        {
            // A pid namespace whose init is gone takes no new process (ENOMEM); setns to an ended process is ESRCH.
            throw new LaunchException(LaunchErrorKind.NoSuchContainer, ErrorTexts.Exec("container is not running"), exception.Errno, inner: exception);
        }
        catch (LinuxException exception)
        {
            throw new LaunchException(LaunchErrorKind.Other, Prefix($"unable to start a process: {exception.Message}"), exception.Errno, inner: exception);
        }

        if (result.Failed is not null) return Fail(result);

        var mountNamespace = _isExec ? null : TryOpenMountNamespace(result.Pid);
        var started = new StartedProcess(result.Pid, result.PidFd, _master, mountNamespace);
        _master = null; // now the caller's
        return started;
    }

    /// <summary>Holding it keeps the removal of the mounts out of the container's exit. A process that has ended already took them along: no harm.</summary>
    private static SafeFileHandle? TryOpenMountNamespace(int pid)
    {
        try
        {
            return FileAt.Open(null, $"/proc/{pid}/ns/mnt", OpenFlags.ReadOnly);
        }
        catch (LinuxException)
        {
            return null;
        }
    }

    private SpawnCall Add(SystemCall call, params ReadOnlySpan<SpawnArgument> arguments) => _child.Add(call, arguments);

    /// <summary>A call whose failure has words of its own.</summary>
    private SpawnCall Add(Failure failure, SystemCall call, params ReadOnlySpan<SpawnArgument> arguments)
    {
        var added = _child.Add(call, arguments);
        _failures[added] = failure;
        return added;
    }

    private SafeFileHandle Own(SafeFileHandle handle)
    {
        _owned.Add(handle);
        return handle;
    }

    private string Prefix(string text) => _isExec ? ErrorTexts.Exec(text) : ErrorTexts.Create(text);

    // ---- the steps ----

    private void Begin()
    {
        const int PR_SET_PDEATHSIG = 1, SIGKILL = 9, SIG_DFL_ActionBytes = 32;
        Add(SystemCall.Prctl, PR_SET_PDEATHSIG, SIGKILL);
        // CLONE_CLEAR_SIGHAND leaves ignored signals ignored, and execve would pass that on; .NET ignores SIGPIPE.
        var defaultAction = SpawnMemory.Bytes(new byte[SIG_DFL_ActionBytes]);
        foreach (var signal in Host.IgnoredSignals) Add(SystemCall.RtSigaction, signal, defaultAction, 0, 8);
        Add(SystemCall.Umask, 0);
    }

    private void Take(LaunchStep step, SafeFileHandle? container)
    {
        switch (step)
        {
            case EnterCgroup enter: Enter(enter); break;
            case JoinNamespace join: Join(join); break;
            case NewNamespaces fresh: Unshare(fresh.Kinds); break;
            case JoinContainer join: Join(join, container!); break;
            case MountRoot: AttachRoot(); break;
            case MountFileSystem mount: Mount(mount); break;
            case MountBind bind: Mount(bind); break;
            case MakeDevice device: Make(device.Device); break;
            case MakeSymlink link: Make(link); break;
            case NewSession: Add(SystemCall.Setsid); if (_stdio is not null) UseStdio(_stdio); break;
            case OpenTerminal terminal: Open(terminal); break;
            case SetSysctl sysctl: Write(sysctl); break;
            case SetHostname name: Add(errno => (LaunchErrorKind.Other, $"sethostname: {errno.DescribeAsGo()}"), SystemCall.Sethostname, name.Name, System.Text.Encoding.UTF8.GetByteCount(name.Name)); break;
            case SetDomainname name: Add(errno => (LaunchErrorKind.Other, $"setdomainname: {errno.DescribeAsGo()}"), SystemCall.Setdomainname, name.Name, System.Text.Encoding.UTF8.GetByteCount(name.Name)); break;
            case MakeReadonly path: Apply(path); break;
            case Mask path: Apply(path); break;
            case Remount remount: Apply(remount); break;
            case SetOomScore score: Write(score); break;
            case SetLimit limit: Apply(limit); break;
            case SetNoNewPrivileges: Add(SystemCall.Prctl, PR_SET_NO_NEW_PRIVS, 1); _noNewPrivileges = true; break;
            case ChangeDirectory directory: Apply(directory); break;
            case BecomeUser user: Become(user); break;
            case InstallFilter filter: _filter = SeccompCompiler.Compile(OciSeccompProfile.From(filter.Seccomp)); break;
            case Execute execute: Execute(execute); break;
            default: throw new InvalidOperationException($"no way to carry out {step.GetType().Name}");
        }
    }

    private void Enter(EnterCgroup step)
    {
        foreach (var file in _cgroup.Tasks)
            Add(errno => (LaunchErrorKind.Other, $"unable to apply cgroup configuration: failed to write \"0\": write {file.Path}: {errno.DescribeAsGo()}"), SystemCall.Write, file.Handle, "0", 1);
        if (!_isExec)
        {
            // A session keyring of its own: otherwise all containers would share the monitor's.
            const int KEYCTL_JOIN_SESSION_KEYRING = 1;
            Add(SystemCall.Keyctl, KEYCTL_JOIN_SESSION_KEYRING, "_ses." + Path.GetFileName(step.Path)).Tolerate(Errno.ENOSYS, Errno.EPERM, Errno.EACCES);
        }
    }

    private void Join(JoinNamespace step)
    {
        var handle = step.Path is null ? _networkNamespace! : Own(FileAt.Open(null, step.Path, OpenFlags.ReadOnly));
        if (step.Kind == CloneFlags.NewPid) _pidNamespace = handle; // of children only: the one who clones has to be there
        else Add(errno => (LaunchErrorKind.Other, $"error joining {NamespaceNames.Of(step.Kind)} namespace: {errno.DescribeAsGo()}"), SystemCall.Setns, handle, (ulong)step.Kind);
    }

    private void Join(JoinContainer step, SafeFileHandle container)
    {
        if (step.Kinds.HasFlag(CloneFlags.NewPid)) _pidNamespace = container;
        Add(errno => errno == Errno.ESRCH ? (LaunchErrorKind.NoSuchContainer, "container is not running") : (LaunchErrorKind.Other, $"error joining namespaces: {errno.DescribeAsGo()}"),
            SystemCall.Setns, container, (ulong)(step.Kinds & ~CloneFlags.NewPid));
    }

    private void Unshare(CloneFlags kinds)
    {
        const CloneFlags InChild = CloneFlags.NewMount | CloneFlags.NewCgroup;
        _cloneFlags |= kinds & ~InChild;
        // A copy of the template instead of the host's mounts: it does not matter how many there are. The cgroup namespace's root is the cgroup just entered.
        Add(SystemCall.Setns, EmptyMountNamespace.Handle, (ulong)CloneFlags.NewMount);
        Add(SystemCall.Unshare, (ulong)(kinds & InChild));
        _null = Add(SystemCall.Openat, At.FDCWD, EmptyMountNamespace.NullPath, (int)(OpenFlags.Path | OpenFlags.CloseOnExec));
        _empty = Add(SystemCall.Openat, At.FDCWD, EmptyMountNamespace.EmptyPath, (int)(OpenFlags.Path | OpenFlags.CloseOnExec));
    }

    private void AttachRoot()
    {
        Add(SystemCall.MoveMount, _root!, "", At.FDCWD, "/", MountAbi.MOVE_MOUNT_F_EMPTY_PATH);
        Add(SystemCall.Fchdir, _root!);
        Add(SystemCall.Chroot, ".");
        _mounted["/"] = _root!;
    }

    private void Mount(MountFileSystem step)
    {
        // These belong to the namespaces of whoever makes them.
        SpawnArgument mount;
        if (step.Type is "proc" or "sysfs" or "mqueue" or "cgroup" or "cgroup2")
        {
            var inChild = CreateInChild(step);
            if (step.Type == "proc") _proc ??= inChild;
            mount = inChild;
        }
        else
        {
            var data = step.Data.ToList();
            SafeFileHandle? covered = null;
            if (step.Type == "tmpfs" && (step.CopyUp || !data.Any(pair => pair.Key == "mode")))
            {
                // As runc: a tmpfs looks like the directory it covers.
                covered = FileAt.TryOpen(_root!, step.Target, OpenFlags.Path | OpenFlags.Directory, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out _);
                if (covered is not null && !data.Any(pair => pair.Key == "mode")) data.Insert(0, new("mode", "0" + Convert.ToString(FileAt.Status(covered).Permissions, 8)));
            }
            var handle = Own(DetachedMount.Create(step.Type, step.Source, CollectionsMarshal.AsSpan(data), step.Attributes));
            if (covered is not null && step.CopyUp) CopyUp.Into(handle, covered);
            covered?.Dispose();
            if (step.Type == "devpts") _devPts ??= handle;
            mount = handle;
        }
        // Kernel file systems only on a real directory of that name: an image whose /proc is a link would otherwise choose where it appears.
        var strict = step.Type is "proc" or "sysfs";
        var target = OpenTarget(step.Target, directory: true, strict, errno =>
            strict && errno is Errno.ELOOP or Errno.ENOTDIR
                ? (LaunchErrorKind.Mount, $"error mounting \"{step.Source}\" to rootfs at \"{step.Target}\": filesystem \"{step.Type}\" must be mounted on ordinary directory")
                : TargetFailure(step.Source, step.Target, errno));
        Attach(mount, target, step.Target, errno => (LaunchErrorKind.Mount, $"error mounting \"{step.Source}\" to rootfs at \"{step.Target}\": mount src={step.Source}, dst={step.Target}: {MoveErrno(errno).DescribeAsGo()}"));
    }

    private SpawnCall CreateInChild(MountFileSystem step)
    {
        (LaunchErrorKind, string) Failure(Errno errno) => (LaunchErrorKind.Mount, $"error mounting \"{step.Source}\" to rootfs at \"{step.Target}\": mount src={step.Source}, dst={step.Target}, type={step.Type}: {errno.DescribeAsGo()}");
        var context = Add(Failure, SystemCall.Fsopen, step.Type, MountAbi.FSOPEN_CLOEXEC);
        Add(Failure, SystemCall.Fsconfig, context, MountAbi.FSCONFIG_SET_STRING, "source", step.Source);
        foreach (var (key, value) in step.Data)
        {
            if (value is null) Add(Failure, SystemCall.Fsconfig, context, MountAbi.FSCONFIG_SET_FLAG, key);
            else Add(Failure, SystemCall.Fsconfig, context, MountAbi.FSCONFIG_SET_STRING, key, value);
        }
        Add(Failure, SystemCall.Fsconfig, context, MountAbi.FSCONFIG_CMD_CREATE);
        return Add(Failure, SystemCall.Fsmount, context, MountAbi.FSMOUNT_CLOEXEC, (ulong)step.Attributes);
    }

    private void Mount(MountBind step)
    {
        var mount = Own(DetachedMount.Bind(null, step.Source, step.Recursive));
        if (step.Propagation != 0) DetachedMount.SetAttributes(mount, 0, 0, step.Propagation, step.PropagationRecursive);
        if (step.Set != 0 || step.Clear != 0) DetachedMount.SetAttributes(mount, step.Set, step.Clear, 0, recursive: false);
        if (step.RecursiveSet != 0 || step.RecursiveClear != 0) DetachedMount.SetAttributes(mount, step.RecursiveSet, step.RecursiveClear, 0, recursive: true);
        var directory = FileAt.Status(mount).IsDirectory;
        var strict = step.Target.StartsWith("/proc/", StringComparison.Ordinal);
        var target = OpenTarget(step.Target, directory, strict, errno => TargetFailure(step.Source, step.Target, errno));
        Attach(mount, target, step.Target, errno =>
            (LaunchErrorKind.Mount, $"error mounting \"{step.Source}\" to rootfs at \"{step.Target}\": mount src={step.Source}, dst={step.Target}, flags={(step.Recursive ? "MS_BIND|MS_REC" : "MS_BIND")}: {MoveErrno(errno).DescribeAsGo()}"));
    }

    private static (LaunchErrorKind, string) TargetFailure(string source, string target, Errno errno) =>
        (LaunchErrorKind.Mount, $"error mounting \"{source}\" to rootfs at \"{target}\": create mountpoint for {target} mount: make mountpoint \"{target}\": {errno.DescribeAsGo()}");

    // mount(2) says ENOTDIR for a file on a directory and the other way round; move_mount(2) says EINVAL.
    private static Errno MoveErrno(Errno errno) => errno == Errno.EINVAL ? Errno.ENOTDIR : errno;

    private void Attach(SpawnArgument mount, SpawnCall target, string path, Failure failure)
    {
        Add(failure, SystemCall.MoveMount, mount, "", target, "", MountAbi.MOVE_MOUNT_F_EMPTY_PATH | MountAbi.MOVE_MOUNT_T_EMPTY_PATH);
        _mounted[path] = mount;
        // What was opened below the target lies under the mount now.
        foreach (var hidden in _directories.Keys.Where(d => d == path || d.StartsWith(path + "/", StringComparison.Ordinal)).ToList()) _directories.Remove(hidden);
    }

    private const ResolveFlags InContainer = ResolveFlags.NoMagicLinks;

    private SpawnCall OpenPath(string path, OpenFlags flags, ResolveFlags resolve, Failure failure)
    {
        return Add(failure, SystemCall.Openat2, At.FDCWD, path, SpawnMemory.OpenHow(flags, resolve), SpawnMemory.OpenHowBytes);
    }

    /// <summary>
    /// Opens a mount point in the container (whose root is the child's by now), made if it is missing, without ever following one of /proc's magic links:
    /// the child still holds descriptors of the host.
    /// </summary>
    private SpawnCall OpenTarget(string path, bool directory, bool strict, Failure failure)
    {
        var resolve = strict ? InContainer | ResolveFlags.NoSymlinks : InContainer;
        var flags = OpenFlags.Path | (strict && directory ? OpenFlags.Directory : 0);
        if (path == "/") return OpenPath(path, flags, resolve, failure);
        var there = new SpawnLabel();
        OpenPath(path, flags, resolve, failure).Tolerate(Errno.ENOENT).ThenTo(there);
        var slash = path.LastIndexOf('/');
        var parent = OpenDirectory(slash == 0 ? "/" : path[..slash], resolve, failure, keep: false);
        const int S_IFREG = 0x8000;
        if (directory) Add(failure, SystemCall.Mkdirat, parent, path[(slash + 1)..], 0x1ED /* 0755 */).Tolerate(Errno.EEXIST);
        else Add(failure, SystemCall.Mknodat, parent, path[(slash + 1)..], S_IFREG | 0x1ED).Tolerate(Errno.EEXIST);
        _child.Mark(there);
        return OpenPath(path, flags, resolve, failure);
    }

    /// <summary>A directory in the container, made with its parents if it is missing. One component at a time, so that no call follows a link that openat2 would not.</summary>
    /// <param name="keep">Whether the descriptor may serve later steps: false inside of what the child may jump over.</param>
    private SpawnCall OpenDirectory(string path, ResolveFlags resolve, Failure failure, bool keep)
    {
        if (keep && _directories.TryGetValue(path, out var known)) return known;
        if (path != "/")
        {
            var there = new SpawnLabel();
            OpenPath(path, OpenFlags.Path | OpenFlags.Directory, resolve, failure).Tolerate(Errno.ENOENT).ThenTo(there);
            for (var slash = path.IndexOf('/', 1); ; slash = path.IndexOf('/', slash + 1))
            {
                var prefix = slash < 0 ? path : path[..slash];
                var above = prefix.LastIndexOf('/');
                var parent = OpenPath(above == 0 ? "/" : prefix[..above], OpenFlags.Path | OpenFlags.Directory, resolve, failure);
                Add(failure, SystemCall.Mkdirat, parent, prefix[(above + 1)..], 0x1ED /* 0755 */).Tolerate(Errno.EEXIST);
                if (slash < 0) break;
            }
            _child.Mark(there);
        }
        var opened = OpenPath(path, OpenFlags.Path | OpenFlags.Directory, resolve, failure);
        if (keep) _directories[path] = opened;
        return opened;
    }

    private void Make(OciDevice device)
    {
        (LaunchErrorKind, string) Failure(Errno errno) => (LaunchErrorKind.Other, $"error creating device nodes: mknod {device.Path}: {errno.DescribeAsGo()}");
        var slash = device.Path.LastIndexOf('/');
        var directory = OpenDirectory(slash == 0 ? "/" : device.Path[..slash], InContainer, Failure, keep: true);
        var name = device.Path[(slash + 1)..];
        var kind = device.Type switch
        {
            "c" or "u" => FileKind.CharacterDevice,
            "b" => FileKind.BlockDevice,
            "p" => FileKind.Fifo,
            _ => throw new LaunchException(LaunchErrorKind.InvalidSpec, ErrorTexts.Create($"error creating device nodes: invalid device type {device.Type} of {device.Path}")),
        };
        const uint Permissions = 0xFFF; // 07777: specs carry st_mode as a whole at times
        var there = new SpawnLabel();
        Add(Failure, SystemCall.Mknodat, directory, name, (uint)kind | ((device.FileMode ?? MakeDevice.DefaultMode) & Permissions), MakeDeviceNumber(device.Major, device.Minor))
            .Tolerate(Errno.EEXIST).ElseTo(there);
        if (device.Uid is > 0 || device.Gid is > 0) Add(Failure, SystemCall.Fchownat, directory, name, device.Uid ?? 0, device.Gid ?? 0, At.SYMLINK_NOFOLLOW);
        _child.Mark(there);
    }

    // new_encode_dev of include/linux/kdev_t.h.
    private static long MakeDeviceNumber(long major, long minor) => (minor & 0xff) | (major << 8) | ((minor & ~0xffL) << 12);

    private void Make(MakeSymlink step)
    {
        (LaunchErrorKind, string) Failure(Errno errno) => (LaunchErrorKind.Other, $"error setting up /dev symlinks: symlink {step.To} {step.Path}: {errno.DescribeAsGo()}");
        var slash = step.Path.LastIndexOf('/');
        var directory = OpenDirectory(slash == 0 ? "/" : step.Path[..slash], InContainer, Failure, keep: true);
        Add(Failure, SystemCall.Symlinkat, step.To, directory, step.Path[(slash + 1)..]).Tolerate(Errno.EEXIST);
    }

    private void UseStdio(ProcessStdio stdio)
    {
        _stdioHandles = [AboveStandard(stdio.Stdin), AboveStandard(stdio.Stdout), AboveStandard(stdio.Stderr)];
        _stdioDescriptors = [_stdioHandles[0], _stdioHandles[1], _stdioHandles[2]];
        PlaceStdio();
    }

    /// <summary>Copies onto 0, 1 and 2 must not overwrite what is still to be copied.</summary>
    private SafeFileHandle AboveStandard(SafeFileHandle handle) => Own(Descriptor.Duplicate(handle));

    private void PlaceStdio()
    {
        for (var i = 0; i < 3; i++) Add(SystemCall.Dup3, _stdioDescriptors![i], i, 0);
    }

    private void Open(OpenTerminal step)
    {
        const uint TIOCSCTTY = 0x540E;
        _master = _isExec ? Pty.OpenInContainer(_root!) : Pty.Open(_devPts);
        var slave = Own(Pty.OpenPeer(_master));
        if (_consoleSize is { } size) Pty.SetSize(_master, (ushort)Math.Min(size.Width, ushort.MaxValue), (ushort)Math.Min(size.Height, ushort.MaxValue));
        _stdioHandles = [slave, slave, slave];
        _stdioDescriptors = [slave, slave, slave];
        PlaceStdio();
        Add(SystemCall.Ioctl, 0, TIOCSCTTY, 0);
        if (!step.Console) return;
        // The slave itself is mounted, not a path to it: whatever happens to /dev/pts, nothing else can come to lie on /dev/console.
        (LaunchErrorKind, string) Failure(Errno errno) => (LaunchErrorKind.Other, $"error mounting the terminal on /dev/console: {errno.DescribeAsGo()}");
        var directory = OpenDirectory("/dev", InContainer, Failure, keep: true);
        const int S_IFREG = 0x8000;
        Add(Failure, SystemCall.Mknodat, directory, "console", S_IFREG | 0x180 /* 0600 */).Tolerate(Errno.EEXIST);
        var target = OpenPath("/dev/console", OpenFlags.Path, InContainer | ResolveFlags.NoSymlinks, Failure);
        var mount = Add(Failure, SystemCall.OpenTree, slave, "", MountAbi.OPEN_TREE_CLONE | MountAbi.OPEN_TREE_CLOEXEC | MountAbi.AT_EMPTY_PATH);
        Attach(mount, target, "/dev/console", Failure);
    }

    private SpawnCall Proc()
    {
        // Seen by nobody else: no mount, link or bind of the container can make a write to it go elsewhere.
        _proc ??= CreateInChild(new MountFileSystem("proc", "proc", "/proc", MountAttributes.NoSuid | MountAttributes.NoDev | MountAttributes.NoExec, []));
        return _proc;
    }

    private void Write(SetSysctl step)
    {
        var path = "sys/" + (step.Key.Contains('/') ? step.Key : step.Key.Replace('.', '/'));
        if (path.Split('/').Contains("..")) throw new LaunchException(LaunchErrorKind.InvalidSpec, Prefix($"sysctl {step.Key} is not a name"));
        var how = SpawnMemory.OpenHow(OpenFlags.WriteOnly, ResolveFlags.Beneath | ResolveFlags.NoMagicLinks | ResolveFlags.NoSymlinks | ResolveFlags.NoMounts);
        var file = Add(errno => (LaunchErrorKind.Other, $"open sysctl {step.Key} file: {errno.DescribeAsGo()}"), SystemCall.Openat2, Proc(), path, how, SpawnMemory.OpenHowBytes);
        var value = System.Text.Encoding.UTF8.GetBytes(step.Value);
        Add(errno => (LaunchErrorKind.Other, $"failed to write sysctl {step.Key} = \"{step.Value}\": {errno.DescribeAsGo()}"), SystemCall.Write, file, SpawnMemory.Bytes(value), value.Length);
        Add(SystemCall.Close, file);
    }

    private void Apply(MakeReadonly step)
    {
        (LaunchErrorKind, string) Failure(Errno errno) => (LaunchErrorKind.Mount, $"can't make \"{step.Path}\" read-only: {errno.DescribeAsGo()}");
        var absent = new SpawnLabel();
        var target = OpenPath(step.Path, OpenFlags.Path, InContainer, Failure).Tolerate(Errno.ENOENT).ElseTo(absent);
        var mount = Add(Failure, SystemCall.OpenTree, target, "", MountAbi.OPEN_TREE_CLONE | MountAbi.OPEN_TREE_CLOEXEC | MountAbi.AT_EMPTY_PATH | MountAbi.AT_RECURSIVE);
        var attributes = new MountAttr { Set = MountAttributes.ReadOnly };
        Add(Failure, SystemCall.MountSetattr, mount, "", MountAbi.AT_EMPTY_PATH, SpawnMemory.Of(attributes), Marshal.SizeOf<MountAttr>());
        Add(Failure, SystemCall.MoveMount, mount, "", target, "", MountAbi.MOVE_MOUNT_F_EMPTY_PATH | MountAbi.MOVE_MOUNT_T_EMPTY_PATH);
        _child.Mark(absent);
    }

    private void Apply(Mask step)
    {
        // The sources come from the template, which no container can write to, and not from the container's own /dev/null, which might be anything.
        (LaunchErrorKind, string) Failure(Errno errno) => (LaunchErrorKind.Mount, $"can't mask path \"{step.Path}\": {errno.DescribeAsGo()}");
        const uint Clone = MountAbi.OPEN_TREE_CLONE | MountAbi.OPEN_TREE_CLOEXEC | MountAbi.AT_EMPTY_PATH;
        const uint Move = MountAbi.MOVE_MOUNT_F_EMPTY_PATH | MountAbi.MOVE_MOUNT_T_EMPTY_PATH;
        var done = new SpawnLabel();
        var target = OpenPath(step.Path, OpenFlags.Path, InContainer, Failure).Tolerate(Errno.ENOENT).ElseTo(done);
        var file = Add(Failure, SystemCall.OpenTree, _null!, "", Clone);
        Add(Failure, SystemCall.MoveMount, file, "", target, "", Move).Tolerate(Errno.EINVAL, Errno.ENOTDIR).ThenTo(done);
        var directory = Add(Failure, SystemCall.OpenTree, _empty!, "", Clone);
        Add(Failure, SystemCall.MoveMount, directory, "", target, "", Move);
        _child.Mark(done);
    }

    private void Apply(Remount step)
    {
        (LaunchErrorKind, string) Failure(Errno errno) => (LaunchErrorKind.Mount, step.Target == "/" ? $"error setting rootfs as readonly: {errno.DescribeAsGo()}" : $"error remounting {step.Target}: {errno.DescribeAsGo()}");
        var attributes = new MountAttr { Set = step.Set, Clear = (step.Set & MountAttributes.AtimeMask) != 0 ? MountAttributes.AtimeMask : 0, Propagation = step.Propagation };
        Add(Failure, SystemCall.MountSetattr, _mounted[step.Target], "", MountAbi.AT_EMPTY_PATH, SpawnMemory.Of(attributes), Marshal.SizeOf<MountAttr>());
    }

    private void Write(SetOomScore step)
    {
        if (step.Value == Host.OwnOomScore) return; // inherited
        var text = step.Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
        (LaunchErrorKind, string) Failure(Errno errno) => (LaunchErrorKind.Other, $"failed to write oom_score_adj {text}: {errno.DescribeAsGo()}");
        // Through the host's /proc, held as a descriptor: in an exec the container's may be anything.
        var file = Add(Failure, SystemCall.Openat, Host.Proc, "self/oom_score_adj", (int)(OpenFlags.WriteOnly | OpenFlags.CloseOnExec));
        Add(Failure, SystemCall.Write, file, text, text.Length);
    }

    private void Apply(SetLimit step)
    {
        var resource = ResourceLimits.Number(step.Type) ?? throw new LaunchException(LaunchErrorKind.InvalidSpec, Prefix($"invalid rlimit type: {step.Type}"));
        var limit = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(limit, step.Soft);
        BinaryPrimitives.WriteUInt64LittleEndian(limit.AsSpan(8), step.Hard);
        Add(errno => (LaunchErrorKind.Other, $"error setting rlimits for ready process: error setting rlimit type {resource}: {errno.DescribeAsGo()}"), SystemCall.Prlimit64, 0, resource, SpawnMemory.Bytes(limit), 0);
    }

    private void Apply(ChangeDirectory step)
    {
        (LaunchErrorKind, string) Failure(Errno errno) => (LaunchErrorKind.WorkingDirectory, $"chdir to cwd (\"{step.Path}\") set in config.json failed: {errno.DescribeAsGo()}");
        // Not chdir(2): a path like /proc/self/fd/7 must not lead to a directory of the host that the child still has open (CVE-2024-21626).
        var path = LaunchPlan.Normalize(step.Path);
        var directory = step.Create
            ? OpenDirectory(path, InContainer, Failure, keep: false)
            : OpenPath(path, OpenFlags.Path | OpenFlags.Directory, InContainer, Failure);
        Add(Failure, SystemCall.Fchdir, directory);
    }
}
