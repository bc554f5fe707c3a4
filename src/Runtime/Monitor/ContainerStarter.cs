using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Berth.Runtime.Launching;
using Berth.Runtime.Spec;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>A started process with the monitor's ends of its descriptors.</summary>
internal sealed record StartResult(StartedProcess Process, ICgroup Cgroup, SafeFileHandle? Stdin, SafeFileHandle? Stdout, SafeFileHandle? Stderr, JsonLogFile? Log);

/// <summary>From a Launch or Exec message to a running process; on a worker's thread. Whatever fails, nothing is left.</summary>
internal sealed class ContainerStarter(CgroupHost cgroups, byte[] logBuffer, Action<Action> background, MonitorServerOptions options)
{
    private const string SpecFile = "config.json", OpenFilesLimit = "RLIMIT_NOFILE";

    private readonly ulong _hardOpenFiles = OpenFiles.Hard;

    public StartResult Launch(LaunchMessage message, SafeFileHandle? network)
    {
        var spec = ReadSpec(message.BundleDirectory);
        spec = spec with { Process = Complete(spec.Process ?? throw Invalid("config.json has no process"), message.Terminal) };
        var path = spec.Linux?.CgroupsPath ?? throw Invalid("config.json has no linux.cgroupsPath");

        var log = OpenLog(message.Log);
        ICgroup? cgroup = null;
        try
        {
            cgroup = Create(path, spec.Linux.Resources?.ToLimits() ?? CgroupLimits.None);
            var stdio = message.Terminal is null ? Stdio.Open(message.OpenStdin, spec.Process.User.Uid) : null;
            try
            {
                var process = Launcher.Start(spec, message.RootFilesystem, stdio?.Child, network, cgroup);
                return Result(process, cgroup, stdio, log);
            }
            catch
            {
                stdio?.DisposeOurs();
                throw;
            }
            finally
            {
                stdio?.DisposeChild();
            }
        }
        catch
        {
            log?.Dispose();
            Remove(cgroup);
            throw;
        }
    }

    private ICgroup Create(string path, CgroupLimits limits)
    {
        try
        {
            return cgroups.Create(path, limits);
        }
        catch (CgroupLimitException exception)
        {
            throw new LaunchException(LaunchErrorKind.Other, ErrorTexts.CreatePrefix + "unable to apply cgroup configuration: " + exception.Message, inner: exception);
        }
    }

    public StartResult Exec(ExecMessage message, SupervisedProcess container)
    {
        var process = Complete(OciJson.ParseProcess(ReadBounded(message.ProcessFile)), message.Terminal);
        var spec = ReadSpec(container.BundleDirectory);
        var stdio = message.Terminal is null ? Stdio.Open(message.OpenStdin, process.User.Uid) : null;
        try
        {
            var started = Launcher.Exec(process, spec, container.PidFd, container.Pid, stdio?.Child, container.Cgroup);
            return Result(started, container.Cgroup, stdio, null);
        }
        catch
        {
            stdio?.DisposeOurs();
            throw;
        }
        finally
        {
            stdio?.DisposeChild();
        }
    }

    private static void Remove(ICgroup? cgroup)
    {
        try
        {
            cgroup?.Remove();
        }
        catch (IOException failure)
        {
            // The failure on the way here is the one worth telling; the daemon's sweep finds the rest.
            Journal.Write($"removing {cgroup!.Path} after a failed launch: {failure.Message}");
        }
    }

    public JsonLogFile? OpenLog(LogSettings settings) =>
        settings.Driver == LogDriver.JsonFile ? new JsonLogFile(settings, logBuffer, options.Clock, background) : null;

    private static StartResult Result(StartedProcess process, ICgroup cgroup, Stdio? stdio, JsonLogFile? log)
    {
        // Shared with the daemon's duplicate: both read or write only when ready, and neither may hang on it.
        if (process.Terminal is not null) Descriptor.SetNonBlocking(process.Terminal);
        return new StartResult(process, cgroup, stdio?.Stdin, stdio?.Stdout ?? process.Terminal, stdio?.Stderr, log);
    }

    private OciProcess Complete(OciProcess process, TerminalSize? terminal) => process with
    {
        // Ours is that of a process which must not be killed; it would be inherited.
        OomScoreAdj = process.OomScoreAdj ?? 0,
        Rlimits = WithOpenFiles(process.Rlimits ?? []),
        Terminal = terminal is not null,
        ConsoleSize = terminal is { Columns: > 0, Rows: > 0 } size ? new OciConsoleSize(size.Rows, size.Columns) : process.ConsoleSize,
    };

    // Ours was raised; programs that close everything up to the soft limit would take seconds for it.
    private IReadOnlyList<OciRlimit> WithOpenFiles(IReadOnlyList<OciRlimit> limits) =>
        options.ContainerOpenFiles is not { } soft || soft == _hardOpenFiles || limits.Any(l => l.Type == OpenFilesLimit) ? limits : [.. limits, new OciRlimit(OpenFilesLimit, _hardOpenFiles, soft)];

    private static OciSpec ReadSpec(string bundle) => OciJson.ParseSpec(ReadBounded(Path.Combine(bundle, SpecFile)));

    private static byte[] ReadBounded(string path)
    {
        using var file = FileAt.Open(null, path, OpenFlags.ReadOnly);
        var length = (long)FileAt.Status(file).SizeBytes;
        if (length > OciJson.MaxBytes) throw Invalid($"{path}: longer than {OciJson.MaxBytes} bytes");
        var bytes = new byte[length];
        for (var read = 0; read < bytes.Length;)
        {
            var count = Descriptor.TryRead(file, bytes.AsSpan(read), out var errno);
            if (count < 0) throw new LinuxException("read", $"\"{path}\"", errno);
            if (count == 0) throw new IOException($"{path} was cut short while it was read");
            read += count;
        }
        return bytes;
    }

    private static LaunchException Invalid(string message) => new(LaunchErrorKind.InvalidSpec, message);

    /// <summary>Three pipes, or /dev/null for a stdin that nobody asked for.</summary>
    private sealed record Stdio(ProcessStdio Child, SafeFileHandle? Stdin, SafeFileHandle Stdout, SafeFileHandle Stderr)
    {
        public static Stdio Open(bool openStdin, uint uid)
        {
            var (stdoutRead, stdoutWrite) = Descriptor.Pipe();
            var (stderrRead, stderrWrite) = Descriptor.Pipe();
            SafeFileHandle stdinRead;
            SafeFileHandle? stdinWrite = null;
            if (openStdin) (stdinRead, stdinWrite) = Descriptor.Pipe();
            else stdinRead = FileAt.Open(null, "/dev/null", OpenFlags.ReadOnly);

            // As runc does: a process that is not root may open /dev/stdout again.
            if (uid != 0)
            {
                FileAt.ChangeOwner(stdoutWrite, "", uid, uint.MaxValue);
                FileAt.ChangeOwner(stderrWrite, "", uid, uint.MaxValue);
                if (openStdin) FileAt.ChangeOwner(stdinRead, "", uid, uint.MaxValue);
            }
            // The other ends are files of their own: the container's reads and writes stay blocking.
            Descriptor.SetNonBlocking(stdoutRead);
            Descriptor.SetNonBlocking(stderrRead);
            if (stdinWrite is not null) Descriptor.SetNonBlocking(stdinWrite);
            return new Stdio(new ProcessStdio(stdinRead, stdoutWrite, stderrWrite), stdinWrite, stdoutRead, stderrRead);
        }

        public void DisposeChild()
        {
            Child.Stdin.Dispose();
            Child.Stdout.Dispose();
            Child.Stderr.Dispose();
        }

        public void DisposeOurs()
        {
            Stdin?.Dispose();
            Stdout.Dispose();
            Stderr.Dispose();
        }
    }
}
