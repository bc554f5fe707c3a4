using System.Globalization;
using Berth.Api;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

/// <summary>What create checks of a container's log configuration, and what start tells the monitor.</summary>
internal static class LogConfiguration
{
    // Docker's json-file grows until the disk is full; ours does not, unless asked to by max-size=-1.
    private const long DefaultSizeBytes = 20_000_000;
    private const int DefaultFiles = 3, DefaultLocalFiles = 5;

    /// <summary>Fills in the engine's defaults and refuses unknown drivers and options.</summary>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static void MergeAndCheck(LogConfig config, EngineOptions options)
    {
        if (config.Type.Length == 0) config.Type = options.LogDriver;
        config.Config ??= [];
        foreach (var (name, value) in options.LogOptions)
        {
            // Those of the local copy hold for whatever driver.
            if (config.Type == options.LogDriver || LogDrivers.IsOfCopy(name)) config.Config.TryAdd(name, value);
        }
        LogDrivers.Check(config.Type, config.Config);
    }

    /// <summary>What `docker inspect` shows: of json-file alone, as under Docker.</summary>
    public static string ShownPath(LogConfig config, string directory, string id) => config.Type == "json-file" ? Path.Combine(directory, id + "-json.log") : "";

    /// <summary>The file that the monitor writes and `docker logs` reads, whatever the driver; empty for none.</summary>
    public static string PathOf(LogConfig config, string directory, string id) => config.Type switch
    {
        "none" => "",
        "json-file" => ShownPath(config, directory, id),
        "local" => Path.Combine(directory, "local-logs", "container.log"),
        _ => Path.Combine(directory, "container-cached.log"),
    };

    public static bool IsReadable(LogConfig config) =>
        config.Type != "none" && !(config.Config?.GetValueOrDefault("cache-disabled") is { Length: > 0 } disabled && LogDrivers.IsRemote(config.Type) && GoText.TryParseBool(disabled, out var value) && value);

    /// <summary>What the monitor is told.</summary>
    /// <exception cref="EngineException">System, as dockerd finds bad values at start.</exception>
    public static LogSettings SettingsFor(ContainerRecord record, string directory)
    {
        var config = record.HostConfig.LogConfig;
        if (config.Type == "none") return LogSettings.None;
        var path = PathOf(config, directory, record.Id);
        var options = config.Config ?? [];
        try
        {
            return config.Type switch
            {
                "json-file" => JsonFile(options, path) with { Attributes = LogAttributes.Json(record) },
                "local" => Local(options, path, "", compressDefault: true),
                // Not compressed unless asked: the sender reads these files too.
                _ => Local(options, path, "cache-", compressDefault: false),
            };
        }
        catch (FormatException e)
        {
            throw Failed(e.Message);
        }
    }

    public static EngineException Failed(string reason) => EngineException.System("failed to create task for container: failed to initialize logging driver: " + reason);

    private static LogSettings JsonFile(Dictionary<string, string> options, string path)
    {
        long? maxSize = DefaultSizeBytes;
        var maxFiles = DefaultFiles;
        if (options.TryGetValue("max-size", out var text))
        {
            maxFiles = 1; // as Docker, once a size was chosen
            if (text == "-1") maxSize = null;
            else if (!GoText.TryParseSize(text, out var size)) throw new FormatException($"invalid size: '{text}'");
            else maxSize = size > 0 ? size : throw new FormatException("max-size must be a positive number");
        }
        if (options.TryGetValue("max-file", out text)) maxFiles = FileCount(text) is >= 1 and var n ? n : throw new FormatException("max-file cannot be less than 1");
        var compress = false;
        if (options.TryGetValue("compress", out text))
        {
            if (!GoText.TryParseBool(text, out compress)) throw new FormatException($"strconv.ParseBool: parsing {GoText.Quote(text)}: invalid syntax");
            if (compress && (maxFiles == 1 || maxSize is null)) throw new FormatException("compress cannot be true when max-file is less than 2 or max-size is not set");
        }
        return new LogSettings(LogDriver.JsonFile, path, maxSize, maxFiles, compress);
    }

    // Docker's local driver has a format of its own, which no client sees; ours is the same json.
    private static LogSettings Local(Dictionary<string, string> options, string path, string prefix, bool compressDefault)
    {
        long? maxSize = DefaultSizeBytes;
        var (maxFiles, compress) = (DefaultLocalFiles, compressDefault);
        if (options.TryGetValue(prefix + "max-size", out var text))
        {
            if (text == "-1") maxSize = null;
            else if (!GoText.TryParseSize(text, out var size)) throw new FormatException($"invalid value for max-size: {text}: invalid size: '{text}'");
            else maxSize = size >= 0 ? size : throw new FormatException("max size should be a positive number");
        }
        if (options.TryGetValue(prefix + "max-file", out text))
        {
            try
            {
                maxFiles = FileCount(text);
            }
            catch (FormatException e)
            {
                throw new FormatException($"invalid value for max-file: {text}: {e.Message}");
            }
            if (maxFiles < 0) throw new FormatException("max file count cannot be less than 0");
        }
        if (options.TryGetValue(prefix + "compress", out text) && !GoText.TryParseBool(text, out compress))
            throw new FormatException($"error reading compress log option: strconv.ParseBool: parsing {GoText.Quote(text)}: invalid syntax");
        if (compress && maxFiles <= 1) throw new FormatException("compression cannot be enabled when max file count is 1");
        return new LogSettings(LogDriver.JsonFile, path, maxSize, Math.Max(1, maxFiles), compress);
    }

    private static int FileCount(string text) => int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n)
        ? n : throw new FormatException($"strconv.Atoi: parsing {GoText.Quote(text)}: invalid syntax");
}
