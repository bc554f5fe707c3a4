using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Berth.Daemon.Host;

/// <summary>
/// One line per entry on standard error, as dockerd writes them: time="…" level=info msg="…". Whoever started the daemon decides
/// where that goes: journald under systemd, a file, a terminal.
/// </summary>
internal sealed class LineLoggerFactory(LogLevel level, bool json, TextWriter output, TimeProvider time) : ILoggerFactory
{
    private readonly Lock _lock = new();
    private volatile LogLevel _level = level;

    /// <summary>May change while the daemon runs.</summary>
    public LogLevel Level { get => _level; set => _level = value; }

    public ILogger CreateLogger(string categoryName) => new LineLogger(this, categoryName.StartsWith("Microsoft.", StringComparison.Ordinal));

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("one output only");

    public void Dispose()
    {
    }

    private void Write(LogLevel entryLevel, string message, Exception? error)
    {
        var now = time.GetUtcNow();
        var name = entryLevel switch
        {
            LogLevel.Trace => "trace",
            LogLevel.Debug => "debug",
            LogLevel.Information => "info",
            LogLevel.Warning => "warning",
            LogLevel.Error => "error",
            _ => "fatal",
        };
        // A fault of ours needs its stack; an exception with a message for people does not.
        var detail = error is null ? null : entryLevel >= LogLevel.Error ? error.ToString() : error.Message;
        var stamp = now.UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ss.fffffff'00Z'", CultureInfo.InvariantCulture);
        var line = json ? Json(stamp, name, message, detail) : Text(stamp, name, message, detail);
        lock (_lock)
            output.Write(line);
    }

    private static string Text(string stamp, string level, string message, string? error)
    {
        var line = new StringBuilder(64 + message.Length);
        line.Append("time=\"").Append(stamp).Append("\" level=").Append(level).Append(" msg=");
        Quote(line, message);
        if (error is not null)
            Quote(line.Append(" error="), error);
        return line.Append('\n').ToString();
    }

    private static void Quote(StringBuilder line, string value)
    {
        line.Append('"');
        foreach (var c in value)
        {
            switch (c)
            {
                case '"' or '\\': line.Append('\\').Append(c); break;
                case '\n': line.Append("\\n"); break;
                case '\r': line.Append("\\r"); break;
                case '\t': line.Append("\\t"); break;
                case < ' ' or '\u007f': line.Append(CultureInfo.InvariantCulture, $"\\x{(int)c:x2}"); break;
                default: line.Append(c); break;
            }
        }
        line.Append('"');
    }

    private static string Json(string stamp, string level, string message, string? error)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            if (error is not null)
                writer.WriteString("error", error);
            writer.WriteString("level", level);
            writer.WriteString("msg", message);
            writer.WriteString("time", stamp);
            writer.WriteEndObject();
        }
        return Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }

    private sealed class LineLogger(LineLoggerFactory factory, bool isWebServer) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        // The web server's own information is debugging output of ours.
        public bool IsEnabled(LogLevel logLevel) =>
            logLevel >= (isWebServer && factory._level is > LogLevel.Trace and < LogLevel.Warning ? LogLevel.Warning : factory._level) && logLevel != LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
                factory.Write(logLevel, formatter(state, exception), exception);
        }
    }
}
