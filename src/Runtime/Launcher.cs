using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Berth.Runtime.Launching;
using Berth.Runtime.Spec;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime;

/// <summary>The container's ends of stdin, stdout and stderr; they stay the caller's. Not used when the process wants a terminal.</summary>
public sealed record ProcessStdio(SafeFileHandle Stdin, SafeFileHandle Stdout, SafeFileHandle Stderr);

/// <summary>A process whose execve has succeeded. Disposing closes the descriptors; it neither ends nor reaps the process.</summary>
public sealed class StartedProcess : IDisposable
{
    internal StartedProcess(int pid, SafeFileHandle pidFd, SafeFileHandle? terminal, SafeFileHandle? mountNamespace)
    {
        Pid = pid;
        PidFd = pidFd;
        Terminal = terminal;
        MountNamespace = mountNamespace;
    }

    /// <summary>In our own pid namespace.</summary>
    public int Pid { get; }

    /// <summary>waitid(P_PIDFD) on it reaps; only the process that called <see cref="Launcher"/> can.</summary>
    public SafeFileHandle PidFd { get; }

    /// <summary>The master of the terminal, when the process has one.</summary>
    public SafeFileHandle? Terminal { get; }

    /// <summary>
    /// Keeps the container's mounts alive, so that their removal (about half a millisecond) is not part of the process's exit: hold it until the exit is seen,
    /// then close it on another thread. Null for an exec.
    /// </summary>
    public SafeFileHandle? MountNamespace { get; }

    public void Dispose()
    {
        PidFd.Dispose();
        Terminal?.Dispose();
        MountNamespace?.Dispose();
    }
}

/// <summary>
/// Turns a spec into a running process. Blocking (1-10 ms), safe on any thread and for concurrent use. The caller becomes the parent and has to reap.
/// See docs/starting-a-container.md.
/// </summary>
public static class Launcher
{
    /// <summary>Starts a container's first process; returns when execve has succeeded.</summary>
    /// <param name="spec">Root, hooks and linux.resources in it are ignored: they are given by <paramref name="root"/> and <paramref name="cgroup"/>.</param>
    /// <param name="root">Mounted as a detached overlay, visible to the container alone.</param>
    /// <param name="stdio">Required unless process.terminal is set.</param>
    /// <param name="networkNamespace">Joined; null follows the spec (its path, a new one, or the host's).</param>
    /// <param name="cgroup">Exists, limits set; the process is in it before it runs.</param>
    /// <exception cref="LaunchException">Nothing is left behind.</exception>
    public static StartedProcess Start(OciSpec spec, RootFilesystem root, ProcessStdio? stdio, SafeFileHandle? networkNamespace, ICgroup cgroup) =>
        Start(spec, root, stdio, networkNamespace, cgroup, Hierarchies.Value);

    internal static StartedProcess Start(OciSpec spec, RootFilesystem root, ProcessStdio? stdio, SafeFileHandle? networkNamespace, ICgroup cgroup, IReadOnlyList<CgroupHierarchy> hierarchies)
    {
        var process = Check(spec.Process, stdio, exec: false);
        using var mounted = OverlayMount.Create(root);
        spec = spec with { Process = process with { Env = ProcessEnvironment.Complete(process, mounted) } };
        var plan = LaunchPlan.For(spec, root, networkNamespace is not null, cgroup.Path, hierarchies);
        using var entry = cgroup.OpenEntry();
        return Starter.Start(plan, mounted, entry, networkNamespace, process.Terminal == true ? null : stdio, process.ConsoleSize);
    }

    /// <summary>Starts another process in a running container.</summary>
    /// <param name="process">As in the container's spec: user, capabilities, env, cwd.</param>
    /// <param name="spec">The container's spec: seccomp and what else holds for all its processes.</param>
    /// <param name="containerPidFd">The container's first process, whose namespaces are joined.</param>
    /// <param name="containerPid">Its pid.</param>
    /// <exception cref="LaunchException">Nothing is left behind.</exception>
    public static StartedProcess Exec(OciProcess process, OciSpec spec, SafeFileHandle containerPidFd, int containerPid, ProcessStdio? stdio, ICgroup cgroup)
    {
        process = Check(process, stdio, exec: true);
        using var root = OpenRoot(containerPidFd, containerPid);
        process = process with { Env = ProcessEnvironment.Complete(process, root) };
        var plan = ExecPlan.For(process, spec, cgroup.Path);
        using var entry = cgroup.OpenEntry();
        return Starter.Exec(plan, root, entry, containerPidFd, process.Terminal == true ? null : stdio, process.ConsoleSize);
    }

    private static SafeFileHandle OpenRoot(SafeFileHandle containerPidFd, int containerPid)
    {
        try
        {
            var root = FileAt.Open(null, $"/proc/{containerPid}/root", OpenFlags.Path | OpenFlags.Directory);
            // Alive after the open: the number meant this process and no later one.
            if (PidFd.SendSignal(containerPidFd, 0)) return root;
            root.Dispose();
        }
        catch (LinuxException)
        {
            // Gone before the open.
        }
        throw new LaunchException(LaunchErrorKind.NoSuchContainer, ErrorTexts.Exec("container is not running"), Errno.ESRCH);
    }

    private static readonly Lazy<IReadOnlyList<CgroupHierarchy>> Hierarchies = new(() => CgroupHost.Detect().Hierarchies);

    private static OciProcess Check(OciProcess? process, ProcessStdio? stdio, bool exec)
    {
        LaunchException Invalid(string text) => new(LaunchErrorKind.InvalidSpec, exec ? ErrorTexts.Exec(text) : ErrorTexts.Create(text));
        if (process is null) throw Invalid("process property must not be empty");
        if (process.Args is not { Count: > 0 }) throw Invalid("args must not be empty");
        if (!process.Cwd.StartsWith('/')) throw Invalid("Cwd must be an absolute path");
        if (process.Terminal != true && stdio is null) throw Invalid("neither stdio nor a terminal");
        // Text would end there for the kernel.
        foreach (var text in process.Args.Concat(process.Env ?? []))
            if (text.Contains('\0')) throw Invalid($"{text.Replace('\0', '?')}: holds a zero byte");
        return process;
    }
}
