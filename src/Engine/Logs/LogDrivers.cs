using System.Globalization;

namespace Berth.Engine;

/// <summary>The log drivers and the options each knows. Errors in Docker's words.</summary>
internal static class LogDrivers
{
    /// <summary>As `docker info` lists them.</summary>
    public static readonly string[] All = ["fluentd", "gelf", "journald", "json-file", "local", "syslog"];

    private static readonly string[] AnyDriver = ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
    private static readonly string[] Metadata = ["labels", "labels-regex", "env", "env-regex", "tag"];

    public static bool IsRemote(string driver) => driver is "syslog" or "journald" or "gelf" or "fluentd";

    /// <summary>An option of the copy that is kept for `docker logs` beside a remote driver.</summary>
    public static bool IsOfCopy(string option) => option.StartsWith("cache-", StringComparison.Ordinal) && AnyDriver.Contains(option);

    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static void Check(string driver, Dictionary<string, string> options)
    {
        if (driver == "none") return;
        var mode = options.GetValueOrDefault("mode", "");
        if (mode is not ("" or "blocking" or "non-blocking")) throw EngineException.Invalid($"logger: logging mode not supported: {mode}");
        if (options.TryGetValue("max-buffer-size", out var size))
        {
            if (mode != "non-blocking") throw EngineException.Invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
            if (!GoText.TryParseRamSize(size, out _)) throw EngineException.Invalid($"error parsing option max-buffer-size: invalid size: '{size}'");
        }
        if (options.GetValueOrDefault("cache-disabled") is { Length: > 0 } disabled && !GoText.TryParseBool(disabled, out _))
            throw EngineException.Invalid($"invalid value for option cache-disabled: {disabled}");
        if (driver is "awslogs" or "splunk" or "gcplogs" or "etwlogs")
            throw EngineException.Invalid($"logger: the log driver {driver} is not built in: logs go to {string.Join(", ", All[..^1])} or {All[^1]}, and from there to any service (docs/compatibility.md)");
        if (!All.Contains(driver)) throw EngineException.Invalid($"error looking up logging plugin {driver}: plugin {GoText.Quote(driver)} not found");

        var own = options.Where(o => !AnyDriver.Contains(o.Key)).ToDictionary();
        try
        {
            switch (driver)
            {
                case "json-file":
                    Known(own, name => $"unknown log opt '{name}' for json-file log driver", ["max-file", "max-size", "compress", .. Metadata]);
                    break;
                case "local":
                    Known(own, name => $"unknown log opt '{name}' for log driver local", ["max-file", "max-size", "compress"]);
                    break;
                case "journald":
                    Known(own, name => $"unknown log opt '{name}' for journald log driver", Metadata);
                    break;
                case "syslog":
                    Known(own, name => $"unknown log opt '{name}' for syslog log driver",
                        ["syslog-address", "syslog-facility", "syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify", "syslog-format", .. Metadata]);
                    SyslogOptions.Parse(own);
                    break;
                case "gelf":
                    GelfOptions.Parse(own);
                    Known(own, name => $"unknown log opt {GoText.Quote(name)} for gelf log driver",
                        ["gelf-address", "gelf-compression-level", "gelf-compression-type", "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay", .. Metadata]);
                    break;
                case "fluentd":
                    Known(own, name => $"unknown log opt '{name}' for fluentd log driver",
                        ["fluentd-address", "fluentd-async", "fluentd-async-reconnect-interval", "fluentd-buffer-limit", "fluentd-max-retries", "fluentd-request-ack", "fluentd-retry-wait",
                            "fluentd-sub-second-precision", "fluentd-write-timeout", .. Metadata]);
                    FluentdOptions.Parse(own);
                    break;
            }
        }
        catch (FormatException e)
        {
            throw EngineException.Invalid(e.Message);
        }
    }

    private static void Known(Dictionary<string, string> options, Func<string, string> unknown, string[] names)
    {
        foreach (var name in options.Keys)
        {
            if (!names.Contains(name)) throw new FormatException(unknown(name));
        }
    }

    // Shared by the options of the drivers.

    public static bool Bool(Dictionary<string, string> options, string name) =>
        options.GetValueOrDefault(name) is { Length: > 0 } text && (GoText.TryParseBool(text, out var value) ? value : throw new FormatException($"strconv.ParseBool: parsing {GoText.Quote(text)}: invalid syntax"));

    public static bool TryNumber(string text, out int number) => int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out number);
}
