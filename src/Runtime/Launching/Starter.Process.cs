using System.Buffers.Binary;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Linux.Spawn;
using Berth.Runtime.Capabilities;
using Berth.Runtime.Seccomp;

namespace Berth.Runtime.Launching;

// The last part of a start: who the process is, what it may do, and its execution.
internal sealed partial class Starter
{
    private const int PR_SET_PDEATHSIG = 1, PR_SET_KEEPCAPS = 8, PR_CAPBSET_DROP = 24, PR_SET_NO_NEW_PRIVS = 38, PR_CAP_AMBIENT = 47;

    private bool _noNewPrivileges;
    private SeccompProgram? _filter;
    private CapabilitySets? _capabilities;

    /// <summary>Masks with bit n for capability n.</summary>
    private sealed record CapabilitySets(ulong Effective, ulong Permitted, ulong Inheritable);

    private void Become(BecomeUser step)
    {
        (LaunchErrorKind, string) UserFailure(Errno errno) => (LaunchErrorKind.Other, $"unable to setup user: {errno.DescribeAsGo()}");
        (LaunchErrorKind, string) CapabilityFailure(Errno errno) => (LaunchErrorKind.Other, $"unable to apply caps: {errno.DescribeAsGo()}");
        // Who becomes another user must still be able to open /dev/stdout.
        for (var i = 0; i < 3; i++)
        {
            var status = FileAt.Status(_stdioHandles![i]);
            if (status.Uid == step.Uid || status.NodeDevice == (1, 3)) continue;
            Add(UserFailure, SystemCall.Fchown, i, step.Uid, status.Gid).Tolerate(Errno.EINVAL, Errno.EPERM, Errno.EROFS);
        }

        if (step.Capabilities is { } sets)
        {
            var bounding = Capability.Mask(sets.Bounding ?? []);
            for (var number = 0; number <= Host.LastCapability; number++)
                if ((bounding & 1ul << number) == 0) Add(CapabilityFailure, SystemCall.Prctl, PR_CAPBSET_DROP, number);
        }
        Add(SystemCall.Prctl, PR_SET_KEEPCAPS, 1);
        var groups = new byte[Math.Max(4, step.Groups.Count * 4)];
        for (var i = 0; i < step.Groups.Count; i++) BinaryPrimitives.WriteUInt32LittleEndian(groups.AsSpan(i * 4), step.Groups[i]);
        Add(errno => (LaunchErrorKind.Other, $"unable to setup user: setgroups: {errno.DescribeAsGo()}"), SystemCall.Setgroups, step.Groups.Count, SpawnMemory.Bytes(groups));
        Add(UserFailure, SystemCall.Setresgid, step.Gid, step.Gid, step.Gid);
        Add(UserFailure, SystemCall.Setresuid, step.Uid, step.Uid, step.Uid);
        Add(SystemCall.Prctl, PR_SET_KEEPCAPS, 0);
        Add(SystemCall.Umask, step.Umask);

        if (step.Capabilities is null) return;
        var ambient = Capability.Mask(step.Capabilities.Ambient ?? []);
        _capabilities = new CapabilitySets(Capability.Mask(step.Capabilities.Effective ?? []), Capability.Mask(step.Capabilities.Permitted ?? []), Capability.Mask(step.Capabilities.Inheritable ?? []));
        // What the filter needs (see Execute) stays permitted for the moment, but is not in effect when the executable is looked for.
        SetCapabilities(_capabilities with { Permitted = _capabilities.Permitted | SysAdmin }, CapabilityFailure);
        const int PR_CAP_AMBIENT_RAISE = 2, PR_CAP_AMBIENT_CLEAR_ALL = 4;
        Add(SystemCall.Prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL);
        for (var number = 0; number < 64; number++)
            if ((ambient & 1ul << number) != 0) Add(CapabilityFailure, SystemCall.Prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number);
    }

    private const ulong SysAdmin = 1ul << 21;

    private void SetCapabilities(CapabilitySets sets, Failure failure)
    {
        const uint Version3 = 0x20080522; // _LINUX_CAPABILITY_VERSION_3 of include/uapi/linux/capability.h
        var header = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(header, Version3);
        var data = new byte[24];
        for (var half = 0; half < 2; half++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(half * 12), (uint)(sets.Effective >> (32 * half)));
            BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(half * 12 + 4), (uint)(sets.Permitted >> (32 * half)));
            BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(half * 12 + 8), (uint)(sets.Inheritable >> (32 * half)));
        }
        Add(failure, SystemCall.Capset, SpawnMemory.Bytes(header), SpawnMemory.Bytes(data));
    }

    private void Execute(Execute step)
    {
        var name = step.Arguments[0];
        var arguments = SpawnMemory.Texts(step.Arguments);
        var environment = SpawnMemory.Texts(step.Environment);

        const int CloseRangeCloexec = 4, SIG_SETMASK = 2;
        Add(SystemCall.Prctl, PR_SET_PDEATHSIG, 0); // the container outlives us
        Add(SystemCall.CloseRange, 3, uint.MaxValue, CloseRangeCloexec);
        Add(SystemCall.RtSigprocmask, SIG_SETMASK, SpawnMemory.Bytes(new byte[8]), 0, 8);

        // The executable is looked for before the filter is installed, which may forbid looking. What is left after the filter is capset and execve.
        const int AT_EACCESS = 0x200, F_OK = 0, X_OK = 1;
        var single = name.Contains('/');
        foreach (var candidate in step.Candidates)
        {
            SpawnMemory path = SpawnMemory.Text(candidate);
            var next = new SpawnLabel();
            var found = new SpawnLabel();
            if (single)
            {
                Add(errno => (errno == Errno.EACCES ? LaunchErrorKind.PermissionDenied : LaunchErrorKind.ExecutableNotFound, $"exec: \"{name}\": stat {name}: {errno.DescribeAsGo()}"),
                    SystemCall.Faccessat2, At.FDCWD, path, F_OK, AT_EACCESS);
                Add(errno => (LaunchErrorKind.PermissionDenied, $"exec: \"{name}\": {errno.DescribeAsGo()}"), SystemCall.Faccessat2, At.FDCWD, path, X_OK, AT_EACCESS);
            }
            else
            {
                Add(SystemCall.Faccessat2, At.FDCWD, path, X_OK, AT_EACCESS)
                    .Tolerate(Errno.ENOENT, Errno.ENOTDIR, Errno.EACCES, Errno.ELOOP, Errno.ENAMETOOLONG, Errno.EPERM, Errno.EIO, Errno.ENOMEM, Errno.ENOSYS).ElseTo(next);
            }
            // With a slash behind it only a directory can be reached.
            var directory = Add(SystemCall.Faccessat2, At.FDCWD, candidate + "/", F_OK, AT_EACCESS).Tolerate(Errno.ENOTDIR, Errno.EACCES, Errno.ENAMETOOLONG).ElseTo(found);
            if (single) AddFailure(_ => (LaunchErrorKind.IsDirectory, $"exec: \"{name}\": is a directory"));
            else directory.ThenTo(next);
            _child.Mark(found);
            InstallAndExecute(path, candidate, arguments, environment);
            _child.Mark(next);
        }
        AddFailure(_ => (LaunchErrorKind.ExecutableNotFound, $"exec: \"{name}\": executable file not found in $PATH"));
    }

    /// <summary>The end of a plan that has come to nothing.</summary>
    private void AddFailure(Failure failure) => Add(failure, SystemCall.Close, -1);

    private void InstallAndExecute(SpawnMemory path, string candidate, SpawnMemory arguments, SpawnMemory environment)
    {
        (LaunchErrorKind, string) CapabilityFailure(Errno errno) => (LaunchErrorKind.Other, $"unable to apply caps: {errno.DescribeAsGo()}");
        if (_filter is not null)
        {
            // Without no_new_privs a filter takes CAP_SYS_ADMIN, which the process itself may not have.
            if (!_noNewPrivileges && _capabilities is not null)
                SetCapabilities(_capabilities with { Permitted = _capabilities.Permitted | SysAdmin, Effective = _capabilities.Effective | SysAdmin }, CapabilityFailure);
            const int SECCOMP_SET_MODE_FILTER = 1;
            _program ??= SpawnMemory.FilterProgram(_filter.Length, _filter.Instructions.Span);
            Add(errno => (LaunchErrorKind.Other, $"unable to init seccomp: error loading seccomp filter into kernel: {errno.DescribeAsGo()}"), SystemCall.Seccomp, SECCOMP_SET_MODE_FILTER, _filter.Flags, _program);
        }
        if (_capabilities is not null) SetCapabilities(_capabilities, CapabilityFailure);
        var execute = Add(SystemCall.Execve, path, arguments, environment);
        _executions[execute] = candidate;
    }

    private SpawnMemory? _program;
    private readonly Dictionary<SpawnCall, string> _executions = [];

    // ---- failures ----

    private StartedProcess Fail(SpawnResult result)
    {
        var failed = result.Failed!;
        var stepIndex = _boundaries.LastOrDefault(boundary => boundary.FirstCall <= failed.Index, (FirstCall: 0, Step: -1)).Step;
        var step = stepIndex < 0 ? null : _plan.Steps[stepIndex].ToString();

        // An executable that is there and may be run, but that the kernel can't (wrong format, interpreter missing), is a container that ran: it says so
        // on its own stderr and has exit code 255, which is what the stub ends with.
        if (_executions.TryGetValue(failed, out var candidate) && result.Errno is not (Errno.E2BIG or Errno.ENOMEM))
        {
            Descriptor.TryWrite(_stdioHandles![2], System.Text.Encoding.UTF8.GetBytes($"exec {candidate}: {result.Errno.DescribeAsGo()}{(_master is null ? "" : "\r")}\n"), out _);
            var ended = new StartedProcess(result.Pid, result.PidFd, _master, null);
            _master = null;
            return ended;
        }

        using (result.PidFd) PidFd.WaitAndReap(result.PidFd);
        var (kind, text) = _failures.TryGetValue(failed, out var describe) ? describe(result.Errno) : (LaunchErrorKind.Other, $"{failed.Call}: {result.Errno.DescribeAsGo()}");
        throw new LaunchException(kind, Prefix(text), result.Errno, stepIndex, step);
    }

    /// <summary>A step that failed before there was a child.</summary>
    private LaunchException Describe(LaunchStep step, int index, LinuxException exception)
    {
        var text = step switch
        {
            MountBind bind => $"error mounting \"{bind.Source}\" to rootfs at \"{bind.Target}\": mount src={bind.Source}, dst={bind.Target}, flags={(bind.Recursive ? "MS_BIND|MS_REC" : "MS_BIND")}: {exception.Errno.DescribeAsGo()}",
            MountFileSystem mount => $"error mounting \"{mount.Source}\" to rootfs at \"{mount.Target}\": mount src={mount.Source}, dst={mount.Target}, data={string.Join(',', mount.Data.Select(d => d.Value is null ? d.Key : $"{d.Key}={d.Value}"))}: {exception.Errno.DescribeAsGo()}",
            JoinNamespace join => $"error joining {NamespaceNames.Of(join.Kind)} namespace {join.Path}: {exception.Errno.DescribeAsGo()}",
            OpenTerminal => $"error opening a terminal: {exception.Message}",
            _ => exception.Message,
        };
        var kind = step is MountBind or MountFileSystem ? LaunchErrorKind.Mount : LaunchErrorKind.Other;
        return new LaunchException(kind, Prefix(text), exception.Errno, index, step.ToString(), exception);
    }
}
