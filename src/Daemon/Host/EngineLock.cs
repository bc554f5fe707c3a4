using System.Globalization;
using Berth.Linux;

namespace Berth.Daemon.Host;

/// <summary>
/// One daemon per data root and per exec root, held by locks that end with the process however it ends. The pid file is for people and
/// scripts; it is never what decides.
/// </summary>
internal sealed class EngineLock : IDisposable
{
    private readonly List<FileLock> _held = [];
    private readonly string _pidFile;

    private EngineLock(string pidFile) => _pidFile = pidFile;

    /// <exception cref="FlagsException">Another daemon holds one of the roots, or it cannot be made.</exception>
    public static EngineLock Acquire(DaemonOptions options)
    {
        var acquired = new EngineLock(options.EffectivePidFile);
        try
        {
            foreach (var (what, root) in (ReadOnlySpan<(string, string)>)[("data root", options.Engine.DataRoot), ("exec root", options.Engine.ExecRoot)])
            {
                // 0711 as dockerd's: what is below decides for itself.
                Directory.CreateDirectory(root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
                acquired.Hold(what, root, options);
            }
            Directory.CreateDirectory(Path.GetDirectoryName(acquired._pidFile)!);
            File.WriteAllText(acquired._pidFile, Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
            return acquired;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            acquired.Dispose();
            throw new FlagsException($"failed to start daemon: {e.Message}");
        }
        catch
        {
            acquired.Dispose();
            throw;
        }
    }

    private void Hold(string what, string root, DaemonOptions options)
    {
        var path = Path.Combine(root, "berthd.lock");
        if (FileLock.TryTake(path) is { } taken)
        {
            _held.Add(taken);
            return;
        }
        var pid = File.Exists(options.EffectivePidFile) ? File.ReadAllText(options.EffectivePidFile).Trim() : "";
        throw new FlagsException($"failed to start daemon: another berthd{(pid.Length > 0 ? $" (process {pid})" : "")} uses the {what} {root}");
    }

    public void Dispose()
    {
        if (_held.Count == 2)
            File.Delete(_pidFile);
        foreach (var file in _held)
            file.Dispose();
        _held.Clear();
    }
}
