using Berth.Engine;

namespace Berth.Daemon.Host;

/// <summary>
/// SIGHUP: reads the configuration file again and takes over what may change while the daemon runs. As with dockerd a key that is no longer in the file keeps
/// the value it had, save for the limits of downloads, which fall back; a file that is wrong changes nothing.
/// </summary>
internal sealed class Reload(IReadOnlyList<string> arguments, DaemonOptions first, BerthEngine engine, LineLoggerFactory loggers, ILogger log)
{
    private DaemonOptions _current = first;

    public async Task RunAsync(SemaphoreSlim asked, CancellationToken stopping)
    {
        try
        {
            while (true)
            {
                await asked.WaitAsync(stopping);
                Once();
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    private void Once()
    {
        log.Reloading(_current.ConfigFile);
        try
        {
            var (_, read) = Flags.Parse(arguments, ConfigFile.Read);
            var next = Merge(_current, read);
            next.Engine.CheckLogging();
            _current = next;
        }
        catch (Exception e) when (e is FlagsException or EngineException)
        {
            log.NotReloaded(e.Message);
            return;
        }
        loggers.Level = _current.LogLevel;
        engine.Reload(_current.Engine);
        var now = _current.Engine;
        log.Reloaded(now.Debug, _current.LogLevel, string.Join(' ', now.Labels), string.Join(' ', now.InsecureRegistries), now.LogDriver);
    }

    /// <param name="read">Flags and file as they are now, over the defaults.</param>
    internal static DaemonOptions Merge(DaemonOptions current, DaemonOptions read)
    {
        bool Set(string key) => read.SetInFile.Contains(key);
        var (now, next) = (current.Engine, read.Engine);
        var debug = Set("debug") ? next.Debug : now.Debug;
        var level = Set("log-level") || Set("debug") ? read.LogLevel : current.LogLevel;
        return current with
        {
            SetInFile = read.SetInFile,
            LogLevel = level,
            Engine = now with
            {
                Debug = debug,
                Labels = Set("labels") ? next.Labels : now.Labels,
                InsecureRegistries = Set("insecure-registries") ? next.InsecureRegistries : now.InsecureRegistries,
                RegistryMirrors = Set("registry-mirrors") ? next.RegistryMirrors : now.RegistryMirrors,
                ImageTrust = next.ImageTrust,
                LogDriver = Set("log-driver") ? next.LogDriver : now.LogDriver,
                LogOptions = Set("log-opts") ? next.LogOptions : now.LogOptions,
                ShutdownTimeoutSeconds = Set("shutdown-timeout") ? next.ShutdownTimeoutSeconds : now.ShutdownTimeoutSeconds,
                DefaultShmSizeBytes = Set("default-shm-size") ? next.DefaultShmSizeBytes : now.DefaultShmSizeBytes,
                DefaultIpcMode = Set("default-ipc-mode") ? next.DefaultIpcMode : now.DefaultIpcMode,
                DefaultCgroupnsMode = Set("default-cgroupns-mode") ? next.DefaultCgroupnsMode : now.DefaultCgroupnsMode,
                MaxConcurrentDownloads = next.MaxConcurrentDownloads,
                MaxConcurrentUploads = next.MaxConcurrentUploads,
                MaxDownloadAttempts = next.MaxDownloadAttempts,
            },
        };
    }
}
