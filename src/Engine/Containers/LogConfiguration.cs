using System.Globalization;
using Berth.Api;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

/// <summary>Log drivers and their options: what create checks, and what start finds wrong with a value.</summary>
internal static class LogConfiguration
{
    private static readonly string[] KnownOptions = ["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"];

    /// <summary>Fills in the engine's defaults and refuses unknown drivers and options.</summary>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static void MergeAndCheck(LogConfig config, EngineOptions options)
    {
        if (config.Type.Length == 0) config.Type = options.LogDriver;
        config.Config ??= [];
        if (config.Type == options.LogDriver)
        {
            foreach (var (name, value) in options.LogOptions) config.Config.TryAdd(name, value);
        }
        if (config.Type == "none") return;
        var mode = config.Config.GetValueOrDefault("mode", "");
        if (mode is not ("" or "blocking" or "non-blocking")) throw EngineException.Invalid($"logger: logging mode not supported: {mode}");
        if (config.Config.TryGetValue("max-buffer-size", out var size))
        {
            if (mode != "non-blocking") throw EngineException.Invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
            if (!GoText.TryParseRamSize(size, out _)) throw EngineException.Invalid($"error parsing option max-buffer-size: invalid size: '{size}'");
        }
        if (config.Type != "json-file") throw EngineException.Invalid($"error looking up logging plugin {config.Type}: plugin {GoText.Quote(config.Type)} not found");
        foreach (var name in config.Config.Keys)
        {
            if (!KnownOptions.Contains(name)) throw EngineException.Invalid($"unknown log opt '{name}' for json-file log driver");
        }
    }

    /// <summary>What the monitor is told.</summary>
    /// <exception cref="EngineException">System, as dockerd finds bad values at start.</exception>
    public static LogSettings SettingsFor(LogConfig config, string path)
    {
        if (config.Type == "none") return LogSettings.None;
        var options = config.Config ?? [];
        long? maxSize = null;
        if (options.TryGetValue("max-size", out var text))
        {
            if (!GoText.TryParseSize(text, out var size)) throw Bad($"invalid size: '{text}'");
            if (size <= 0) throw Bad("max-size must be a positive number");
            maxSize = size;
        }
        var maxFiles = 1;
        if (options.TryGetValue("max-file", out text))
        {
            if (!int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out maxFiles)) throw Bad($"strconv.Atoi: parsing {GoText.Quote(text)}: invalid syntax");
            if (maxFiles < 1) throw Bad("max-file cannot be less than 1");
        }
        if (options.TryGetValue("compress", out text))
        {
            if (!GoText.TryParseBool(text, out var compress)) throw Bad($"strconv.ParseBool: parsing {GoText.Quote(text)}: invalid syntax");
            if (compress && (maxFiles == 1 || maxSize is null)) throw Bad("compress cannot be true when max-file is less than 2 or max-size is not set");
        }
        return new LogSettings(LogDriver.JsonFile, path, maxSize, maxFiles);

        static EngineException Bad(string reason) => EngineException.System("failed to create task for container: failed to initialize logging driver: " + reason);
    }
}
