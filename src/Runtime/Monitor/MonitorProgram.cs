using System.Runtime.InteropServices;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Runtime.Monitor;

/// <summary>The berth-monitor executable: started by the daemon, ends by itself.</summary>
public static class MonitorProgram
{
    /// <summary>A word on stdout, then end of file: the socket is there.</summary>
    public const string Ready = "ready";

    private const string LogFile = "monitor.log", LockFile = "monitor.lock";
    private const long MaxLogBytes = 1024 * 1024;

    /// <summary>Arguments: the exec root, and the soft limit of open files that containers without one of their own are given (the daemon has raised its own).</summary>
    /// <returns>Exit code; 1 with the reason on stderr.</returns>
    public static int Run(string[] arguments)
    {
        ulong? openFiles = null;
        if (arguments is [_, var number] && ulong.TryParse(number, out var parsed)) openFiles = parsed;
        if (arguments is not [var execRoot, ..] || arguments.Length > (openFiles is null ? 1 : 2) || !Path.IsPathRooted(execRoot))
        {
            Session.WriteStandard(error: true, "usage: berth-monitor EXEC-ROOT [OPEN-FILES]\nStarted by berthd; it looks after the containers while berthd is away.\n");
            return 1;
        }
        try
        {
            // Neither a hang-up nor a stop of the daemon's group may end it; all containers would lose their output.
            Session.Begin();
            Session.SetFileModeMask(0x12); // 022, as containers expect it
            Directory.SetCurrentDirectory("/");
            using var once = FileLock.TryTake(Path.Combine(execRoot, LockFile)) ?? throw new IOException($"another berth-monitor serves {execRoot}");
            ProtectFromOutOfMemory();
            var inherited = OpenFiles.Raise();

            using var server = new MonitorServer(new MonitorServerOptions { ExecRoot = execRoot, ContainerOpenFiles = openFiles ?? inherited });
            using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Ignore);
            using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Ignore);
            using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context => context.Cancel = true);
            void Ignore(PosixSignalContext context)
            {
                context.Cancel = true;
                server.RequestStop(context.Signal.ToString());
            }

            Session.WriteStandard(error: false, Ready + "\n");
            RedirectStandard(execRoot);
            server.Run();
            return 0;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            Session.WriteStandard(error: true, $"berth-monitor: {failure.Message}\n");
            return 1;
        }
    }

    private static void ProtectFromOutOfMemory()
    {
        try
        {
            // Whoever dies of a full machine, not the one that all containers hang on. Launches set the container's own value.
            File.WriteAllText("/proc/self/oom_score_adj", "-999");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            Journal.Write($"not protected from the OOM killer: {failure.Message}");
        }
    }

    // The daemon's terminal or pipe is not to be held open by us.
    private static void RedirectStandard(string execRoot)
    {
        var path = Path.Combine(execRoot, LogFile);
        var flags = OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Append;
        if (new FileInfo(path) is { Exists: true, Length: > MaxLogBytes }) flags |= OpenFlags.Truncate;
        using var log = FileAt.Open(null, path, flags, 0x180 /* 0600 */);
        using var nothing = FileAt.Open(null, "/dev/null", OpenFlags.ReadWrite);
        Session.SetStandard(nothing, nothing, log);
    }
}
