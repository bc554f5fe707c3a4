using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>How a process ended: an exit code, or a signal.</summary>
/// <param name="Code">0-255, or null.</param>
/// <param name="Signal">1-64, or null.</param>
public readonly record struct ProcessEnd(int? Code, int? Signal)
{
    /// <summary>As a shell tells it: the code, or 128 + signal.</summary>
    public int ShellCode => Code ?? 128 + Signal!.Value;

    /// <summary>From the status word of wait(2).</summary>
    public static ProcessEnd FromWaitStatus(int status) =>
        (status & 0x7f) == 0 ? new ProcessEnd((status >> 8) & 0xff, null) : new ProcessEnd(null, status & 0x7f);
}

/// <summary>A process by descriptor: no other process can be meant, however often its number is used again. Readable once the process has ended.</summary>
public static unsafe class PidFd
{
    /// <exception cref="LinuxException">ESRCH: no such process.</exception>
    public static SafeFileHandle Open(int pid) =>
        new(LibC.Check(LibC.pidfd_open(pid, 0), "pidfd_open", $"{pid}"), true);

    /// <returns>False if the process has ended (ESRCH).</returns>
    public static bool SendSignal(SafeFileHandle process, int signal)
    {
        using var fd = new DirectoryArgument(process);
        if (LibC.pidfd_send_signal(fd.Fd, signal) >= 0) return true;
        var errno = LibC.LastErrno;
        return errno == Errno.ESRCH ? false : throw new LinuxException("pidfd_send_signal", $"{signal}", errno);
    }

    public static bool HasEnded(SafeFileHandle process) => Descriptor.Poll(process, PollEvents.Readable, 0) != PollEvents.None;

    /// <summary>Reaps a child that has ended. Null while it runs.</summary>
    /// <exception cref="LinuxException">ECHILD: not a child of ours, or reaped already.</exception>
    public static ProcessEnd? TryReap(SafeFileHandle child)
    {
        using var fd = new DirectoryArgument(child);
        var info = new SigInfo();
        int result;
        do result = LibC.waitid(WaitAbi.P_PIDFD, fd.Fd, &info, WaitAbi.WEXITED | WaitAbi.WNOHANG);
        while (result < 0 && LibC.LastErrno == Errno.EINTR);
        LibC.Check(result, "waitid", "P_PIDFD, WEXITED");
        if (info.Pid == 0) return null;
        return info.Code == WaitAbi.CLD_EXITED ? new ProcessEnd(info.Status & 0xff, null) : new ProcessEnd(null, info.Status & 0x7f);
    }

    /// <summary>Waits for a child's end, which is near, and reaps it.</summary>
    public static ProcessEnd WaitAndReap(SafeFileHandle child)
    {
        while (true)
        {
            Descriptor.Poll(child, PollEvents.Readable, -1);
            if (TryReap(child) is { } end) return end;
        }
    }

    /// <summary>
    /// How somebody else's child ended. After it was reaped the kernel tells by PIDFD_GET_INFO (6.15 and later); while it is a zombie, /proc/pid/stat does on any kernel.
    /// </summary>
    /// <returns>False while it runs, and where a kernel older than 6.15 has forgotten it.</returns>
    public static bool TryGetEndOfForeign(SafeFileHandle process, int pid, out ProcessEnd end)
    {
        // Before, between and after: it can be reaped at any moment, and only then does the pidfd know.
        if (TryGetInfo(process, out end)) return true;
        if (TryGetZombie(process, pid, out end)) return true;
        return TryGetInfo(process, out end);
    }

    /// <summary>Whether a pidfd tells the end of a process that was reaped, to anybody (Linux 6.15); tried out, once.</summary>
    public static bool RemembersTheEnd => Remembers.Value;

    private static readonly Lazy<bool> Remembers = new(() =>
    {
        var plan = new Spawn.SpawnPlan();
        plan.Add(Spawn.SystemCall.ExitGroup, 0);
        using var child = plan.Run(CloneFlags.Files).PidFd;
        WaitAndReap(child);
        return TryGetInfo(child, out _);
    });

    private static bool TryGetInfo(SafeFileHandle process, out ProcessEnd end)
    {
        end = default;
        using var fd = new DirectoryArgument(process);
        var info = new PidFdInfo { Mask = PidFdInfo.PIDFD_INFO_EXIT };
        if (LibC.ioctl(fd.Fd, PidFdInfo.PIDFD_GET_INFO, (nint)(&info)) < 0 || (info.Mask & PidFdInfo.PIDFD_INFO_EXIT) == 0) return false;
        end = ProcessEnd.FromWaitStatus(info.ExitCode);
        return true;
    }

    private static bool TryGetZombie(SafeFileHandle process, int pid, out ProcessEnd end)
    {
        end = default;
        string stat;
        try
        {
            stat = File.ReadAllText($"/proc/{pid}/stat");
            // Still there after the read: the text was about this process and no later one of the same number.
            using var fd = new DirectoryArgument(process);
            if (LibC.pidfd_send_signal(fd.Fd, 0) < 0) return false;
        }
        catch (IOException)
        {
            return false;
        }
        // man 5 proc: after the name in parentheses (which may hold anything) come state, field 3, to exit_code, field 52.
        var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        if (fields.Length < 50 || fields[0] != "Z" || !int.TryParse(fields[49], out var status)) return false;
        end = ProcessEnd.FromWaitStatus(status);
        return true;
    }
}
