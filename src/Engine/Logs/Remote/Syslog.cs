using System.Globalization;
using System.Text;

namespace Berth.Engine;

/// <summary>The options of the syslog driver.</summary>
/// <param name="Address">Null: this machine's, wherever it listens.</param>
/// <param name="Facility">Already shifted: 8 times the number.</param>
internal sealed record SyslogOptions(RemoteAddress? Address, int Facility, string Format, TlsFiles Tls)
{
    private const int DefaultPort = 514;

    private static readonly string[] Facilities =
    [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
    ];

    /// <exception cref="FormatException">In Docker's words.</exception>
    public static SyslogOptions Parse(Dictionary<string, string> options)
    {
        string Option(string name) => options.GetValueOrDefault("syslog-" + name, "");
        var address = ParseAddress(Option("address"));
        var facility = Option("facility");
        var number = facility.Length == 0 ? 3 : Array.IndexOf(Facilities, facility);
        if (number < 0 && !(LogDrivers.TryNumber(facility, out number) && number is >= 0 and <= 23)) throw new FormatException("invalid syslog facility");
        if (Option("format") is not ("" or "rfc3164" or "rfc5424" or "rfc5424micro")) throw new FormatException("Invalid syslog format");
        return new SyslogOptions(address, number << 3, Option("format"), new TlsFiles(Option("tls-ca-cert"), Option("tls-cert"), Option("tls-key"), options.ContainsKey("syslog-tls-skip-verify")));
    }

    private static RemoteAddress? ParseAddress(string text)
    {
        if (text.Length == 0) return null;
        var (scheme, host, port, path) = RemoteAddress.Split(text);
        if (scheme is "unix" or "unixgram")
            return Path.Exists(path) ? new RemoteAddress(scheme, "", 0, path) : throw new FormatException($"stat {path}: no such file or directory");
        if (scheme is not ("udp" or "tcp" or "tcp+tls")) throw new FormatException($"unsupported scheme: '{scheme}'");
        return new RemoteAddress(scheme == "tcp+tls" ? "tls" : scheme, host.Length == 0 ? "localhost" : host, port is { Length: > 0 } ? RemoteAddress.PortNumber(port) : DefaultPort, "");
    }
}

/// <summary>syslog over udp, tcp, tls, or the machine's own socket; RFC 3164, 5424, and (over tls with 5424) the framing of 5425.</summary>
internal sealed class SyslogDestination(SyslogOptions options, string tag) : LogDestination(c => ConnectAsync(options, c))
{
    private const int Error = 3, Info = 6;

    private static readonly string[] LocalSockets = ["/dev/log", "/var/run/syslog", "/var/run/log"];

    private static async Task<RemoteConnection> ConnectAsync(SyslogOptions options, CancellationToken cancellationToken)
    {
        if (options.Address is { } address) return await RemoteConnection.ConnectAsync(address, options.Tls, cancellationToken).ConfigureAwait(false);
        foreach (var path in LocalSockets)
        {
            foreach (var scheme in (string[])["unixgram", "unix"])
            {
                if (!Path.Exists(path)) continue;
                try
                {
                    return await RemoteConnection.ConnectAsync(new RemoteAddress(scheme, "", 0, path), TlsFiles.None, cancellationToken).ConfigureAwait(false);
                }
                catch (IOException)
                {
                    // The other kind, or the next place.
                }
            }
        }
        throw new IOException("Unix syslog delivery error");
    }

    public override async ValueTask AddAsync(LoggedLine line, CancellationToken cancellationToken)
    {
        if (line.Text.Length == 0) return;
        var head = Encoding.UTF8.GetBytes(Head(line));
        var text = line.Text;
        if (options is { Address.Scheme: "tls", Format: "rfc5424" or "rfc5424micro" })
            Batch.Write(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{head.Length + text.Length + 1} ")));
        Batch.Write(head);
        Batch.Write(text.Span);
        Batch.WriteByte((byte)'\n');
        // A datagram is one message; a stream takes many at a time.
        if (Batch.Length >= BatchBytes || options.Address is null or { IsDatagram: true } or { Scheme: "unix" }) await FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    private string Head(LoggedLine line)
    {
        var priority = options.Facility | (line.Stderr ? Error : Info);
        // The time of the line, which may be delivered much later.
        var time = DateTimeOffset.UnixEpoch.AddTicks(line.Time / 100).ToLocalTime();
        var (pid, host) = (Environment.ProcessId, Environment.MachineName);
        var stamp = string.Create(CultureInfo.InvariantCulture, $"{time:MMM} {time.Day,2} {time:HH:mm:ss}");
        return options.Format switch
        {
            "rfc3164" => string.Create(CultureInfo.InvariantCulture, $"<{priority}>{stamp} {host} {tag}[{pid}]: "),
            "rfc5424" => string.Create(CultureInfo.InvariantCulture, $"<{priority}>1 {time:yyyy-MM-ddTHH:mm:ss}{Zone(time)} {host} {tag} {pid} {tag} - "),
            "rfc5424micro" => string.Create(CultureInfo.InvariantCulture, $"<{priority}>1 {time:yyyy-MM-ddTHH:mm:ss.ffffff}{Zone(time)} {host} {tag} {pid} {tag} - "),
            _ => string.Create(CultureInfo.InvariantCulture, $"<{priority}>{stamp} {tag}[{pid}]: "),
        };
    }

    private static string Zone(DateTimeOffset time) => time.Offset == TimeSpan.Zero ? "Z" : time.ToString("zzz", CultureInfo.InvariantCulture);
}
