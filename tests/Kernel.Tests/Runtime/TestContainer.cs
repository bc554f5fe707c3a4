using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Berth.Runtime;
using Berth.Runtime.Spec;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Runtime;

/// <summary>
/// A container started by the <see cref="Launcher"/> alone: a root of Debian's static busybox, pipes for its output, in no cgroup of its own.
/// Disposing kills what still runs and removes its directories.
/// </summary>
internal sealed class TestContainer : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("berth-launch-").FullName;

    public TestContainer()
    {
        Assert.SkipUnless(Environment.UserName == "root", "needs root");
        Assert.SkipUnless(File.Exists("/bin/busybox"), "needs Debian's busybox-static at /bin/busybox");
        foreach (var name in (string[])["upper", "work"]) Directory.CreateDirectory(Path.Combine(_directory, name));
        Root = new RootFilesystem([Layer.Value], Path.Combine(_directory, "upper"), Path.Combine(_directory, "work"));
        Spec = Specs.Docker("true");
    }

    /// <summary>A directory of this test's own on the host.</summary>
    public string Scratch => _directory;

    public RootFilesystem Root { get; set; }

    public OciSpec Spec { get; set; }

    public ICgroup Cgroup { get; set; } = new NoCgroup();

    public SafeFileHandle? NetworkNamespace { get; set; }

    public StartedProcess? Started { get; private set; }

    /// <summary>Changes the container's spec for this test.</summary>
    public TestContainer With(Func<OciSpec, OciSpec> change)
    {
        Spec = change(Spec);
        return this;
    }

    public TestContainer WithProcess(Func<OciProcess, OciProcess> change) => With(spec => spec with { Process = change(spec.Process!) });

    public TestContainer WithLinux(Func<OciLinux, OciLinux> change) => With(spec => spec with { Linux = change(spec.Linux!) });

    public TestContainer WithMount(OciMount mount) => With(spec => spec with { Mounts = [.. spec.Mounts!, mount] });

    /// <summary>Puts a file into the container's root before it starts.</summary>
    public string AddFile(string path, string content, bool executable = false)
    {
        var file = Path.Combine(Root.UpperDirectory, path.TrimStart('/'));
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, content);
        File.SetUnixFileMode(file, (UnixFileMode)(executable ? 0x1ED : 0x1A4));
        return file;
    }

    /// <summary>Runs to the end and returns what it wrote.</summary>
    public Output Run(params string[] arguments)
    {
        WithProcess(process => process with { Args = arguments });
        if (Spec.Process!.Terminal == true)
        {
            Started = Launcher.Start(Spec, Root, null, NetworkNamespace, Cgroup, Hierarchies);
            return Finish(Started, Started.Terminal!, null);
        }
        using var pipes = new Pipes();
        Started = Launcher.Start(Spec, Root, pipes.Stdio, NetworkNamespace, Cgroup, Hierarchies);
        pipes.CloseContainerEnds();
        return Finish(Started, pipes.Stdout, pipes.Stderr);
    }

    /// <summary>Starts it and leaves it running.</summary>
    public StartedProcess Start(params string[] arguments)
    {
        WithProcess(process => process with { Args = arguments });
        using var pipes = new Pipes();
        return Started = Launcher.Start(Spec, Root, Spec.Process!.Terminal == true ? null : pipes.Stdio, NetworkNamespace, Cgroup, Hierarchies);
    }

    /// <summary>Runs another process in the container to its end.</summary>
    public Output Exec(Func<OciProcess, OciProcess> change, params string[] arguments)
    {
        var process = change(Spec.Process! with { Args = arguments });
        if (process.Terminal == true)
        {
            using var terminal = Launcher.Exec(process, Spec, Started!.PidFd, Started.Pid, null, Cgroup);
            return Finish(terminal, terminal.Terminal!, null);
        }
        using var pipes = new Pipes();
        using var started = Launcher.Exec(process, Spec, Started!.PidFd, Started.Pid, pipes.Stdio, Cgroup);
        pipes.CloseContainerEnds();
        return Finish(started, pipes.Stdout, pipes.Stderr);
    }

    public Output Exec(params string[] arguments) => Exec(process => process, arguments);

    public void Dispose()
    {
        if (Started is { PidFd.IsClosed: false } started)
        {
            try
            {
                PidFd.SendSignal(started.PidFd, 9);
                PidFd.WaitAndReap(started.PidFd);
            }
            catch (LinuxException exception) when (exception.Errno == Errno.ECHILD)
            {
                // Reaped by Finish.
            }
            started.Dispose();
        }
        Directory.Delete(_directory, recursive: true);
    }

    private static Output Finish(StartedProcess process, SafeFileHandle stdout, SafeFileHandle? stderr)
    {
        var errors = stderr is null ? Task.FromResult("") : Task.Run(() => ReadAll(stderr));
        var text = ReadAll(stdout);
        var error = errors.Result;
        return new Output(text, error, PidFd.WaitAndReap(process.PidFd).ShellCode);
    }

    private static string ReadAll(SafeFileHandle handle)
    {
        var text = new MemoryStream();
        var buffer = new byte[4096];
        // EIO is a terminal's way to say that nobody has it open any more.
        while (Descriptor.TryRead(handle, buffer, out _) is > 0 and var count) text.Write(buffer, 0, count);
        return Encoding.UTF8.GetString(text.ToArray());
    }

    /// <summary>/bin/busybox and links to it, with passwd and group; shared by all tests and never written to.</summary>
    private static readonly Lazy<string> Layer = new(() =>
    {
        var root = Directory.CreateTempSubdirectory("berth-layer-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(root, recursive: true);
        foreach (var directory in (string[])["bin", "etc", "root", "tmp", "proc", "sys", "dev", "home"]) Directory.CreateDirectory(Path.Combine(root, directory));
        File.SetUnixFileMode(root, (UnixFileMode)0x1ED);
        File.SetUnixFileMode(Path.Combine(root, "root"), (UnixFileMode)0x1C0);
        File.Copy("/bin/busybox", Path.Combine(root, "bin/busybox"));
        foreach (var applet in (string[])["sh", "true", "false", "cat", "ls", "id", "sleep", "pwd", "grep", "stat", "touch", "mkdir", "echo", "hostname", "readlink", "tty", "stty", "kill", "mount", "umount", "ps", "dd", "head", "ln", "rm", "env", "chroot", "mknod", "wc", "sort", "od", "df", "find", "test", "tr"])
            File.CreateSymbolicLink(Path.Combine(root, "bin", applet), "busybox");
        File.WriteAllText(Path.Combine(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n");
        File.WriteAllText(Path.Combine(root, "etc/group"), "root:x:0:\ntty:x:5:\n");
        return root;
    });

    // The real ones where they can be had; the launcher needs them for /sys/fs/cgroup only.
    private static IReadOnlyList<CgroupHierarchy> Hierarchies => Available.Value;

    private static readonly Lazy<IReadOnlyList<CgroupHierarchy>> Available = new(() => CgroupHost.Detect().Hierarchies);

    private sealed class Pipes : IDisposable
    {
        private readonly SafeFileHandle _stdin = FileAt.Open(null, "/dev/null", OpenFlags.ReadOnly);
        private readonly SafeFileHandle _stdoutWriter, _stderrWriter;

        public Pipes()
        {
            (Stdout, _stdoutWriter) = Descriptor.Pipe();
            (Stderr, _stderrWriter) = Descriptor.Pipe();
        }

        public SafeFileHandle Stdout { get; }

        public SafeFileHandle Stderr { get; }

        public ProcessStdio Stdio => new(_stdin, _stdoutWriter, _stderrWriter);

        public void CloseContainerEnds()
        {
            _stdin.Dispose();
            _stdoutWriter.Dispose();
            _stderrWriter.Dispose();
        }

        public void Dispose()
        {
            CloseContainerEnds();
            Stdout.Dispose();
            Stderr.Dispose();
        }
    }
}

internal sealed record Output(string Text, string Errors, int Code)
{
    public string[] Lines => Text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>The value behind a key of /proc/self/status.</summary>
    public string Field(string key) => Lines.Single(line => line.StartsWith(key + ":", StringComparison.Ordinal))[(key.Length + 1)..].Trim();
}

/// <summary>The cgroup of the tests themselves: nothing is entered.</summary>
internal sealed class NoCgroup : ICgroup
{
    public string Path => "/";
    public CgroupEntry OpenEntry() => new(null, []);
    public bool IsFrozen => false;
    public void Freeze(CancellationToken cancellation = default) => throw new NotSupportedException();
    public void Thaw() => throw new NotSupportedException();
    public void Kill() => throw new NotSupportedException();
    public IReadOnlyList<int> Processes() => [];
    public long OomKillCount() => 0;
    public OomWatch? WatchOom() => null;
    public CgroupStatistics OpenStatistics() => throw new NotSupportedException();
    public void Update(CgroupLimits limits) => throw new NotSupportedException();
    public void Remove() { }
}

internal static class Specs
{
    private const string Path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    public static readonly string[] DockerCapabilities =
    [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
    ];

    /// <summary>What Docker writes for `docker run --network none`, without the files of its own that it binds and without seccomp.</summary>
    public static OciSpec Docker(params string[] arguments) => new()
    {
        OciVersion = OciSpec.CurrentVersion,
        Hostname = "a07a9d76686a",
        Process = new OciProcess
        {
            User = new OciUser { Uid = 0, Gid = 0 },
            Args = arguments,
            Env = [Path, "HOSTNAME=a07a9d76686a"],
            Cwd = "/",
            OomScoreAdj = 0,
            Capabilities = new OciCapabilities { Bounding = DockerCapabilities, Effective = DockerCapabilities, Permitted = DockerCapabilities },
        },
        Mounts =
        [
            new() { Destination = "/proc", Type = "proc", Source = "proc", Options = ["nosuid", "noexec", "nodev"] },
            new() { Destination = "/dev", Type = "tmpfs", Source = "tmpfs", Options = ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            new() { Destination = "/dev/pts", Type = "devpts", Source = "devpts", Options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            new() { Destination = "/sys", Type = "sysfs", Source = "sysfs", Options = ["nosuid", "noexec", "nodev", "ro"] },
            new() { Destination = "/sys/fs/cgroup", Type = "cgroup", Source = "cgroup", Options = ["ro", "nosuid", "noexec", "nodev"] },
            new() { Destination = "/dev/mqueue", Type = "mqueue", Source = "mqueue", Options = ["nosuid", "noexec", "nodev"] },
            new() { Destination = "/dev/shm", Type = "tmpfs", Source = "shm", Options = ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"] },
        ],
        Linux = new OciLinux
        {
            Sysctl = new Dictionary<string, string> { ["net.ipv4.ip_unprivileged_port_start"] = "0", ["net.ipv4.ping_group_range"] = "0 2147483647" },
            Namespaces = [new("mount"), new("network"), new("uts"), new("pid"), new("ipc")],
            MaskedPaths =
            [
                "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
            ],
            ReadonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    };
}
