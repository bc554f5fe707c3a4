using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Berth.Engine;

/// <summary>
/// The options of the fluentd driver. Buffering and reconnecting are ours for all drivers: async, buffer-limit, retries and their waits are checked and have no effect.
/// </summary>
internal sealed record FluentdOptions(RemoteAddress Address, bool SubSecondPrecision, bool RequestAck)
{
    private static readonly TimeSpan MinReconnect = TimeSpan.FromMilliseconds(100), MaxReconnect = TimeSpan.FromSeconds(10);

    /// <exception cref="FormatException">In Docker's words.</exception>
    public static FluentdOptions Parse(Dictionary<string, string> options)
    {
        string Option(string name) => options.GetValueOrDefault("fluentd-" + name, "");
        RemoteAddress address;
        try
        {
            address = ParseAddress(Option("address"));
        }
        catch (FormatException e)
        {
            throw new FormatException($"invalid fluentd-address ({Option("address")}): {e.Message}");
        }
        if (Option("buffer-limit") is { Length: > 0 } limit && !GoText.TryParseRamSize(limit, out _)) throw new FormatException($"invalid size: '{limit}'");
        if (Option("retry-wait") is { Length: > 0 } wait) _ = GoDuration.Parse(wait);
        if (Option("max-retries") is { Length: > 0 } retries)
        {
            if (!uint.TryParse(retries, NumberStyles.None, CultureInfo.InvariantCulture, out var n))
                throw new FormatException($"strconv.ParseUint: parsing {GoText.Quote(retries)}: {(retries.All(char.IsAsciiDigit) ? "value out of range" : "invalid syntax")}");
            if (n > int.MaxValue) throw new FormatException("invalid fluentd-max-retries: value out of range");
        }
        _ = LogDrivers.Bool(options, "fluentd-async");
        if (Option("async-reconnect-interval") is { Length: > 0 } interval)
        {
            const string Name = "fluentd-async-reconnect-interval";
            var d = Parsed(Name, "", interval);
            if (d != TimeSpan.Zero && (d < MinReconnect || d > MaxReconnect))
                throw new FormatException($"invalid value for {Name}: value ({GoText.Quote(GoDuration.Format(d))}) must be between {GoDuration.Format(MinReconnect)} and {GoDuration.Format(MaxReconnect)}");
        }
        var precise = LogDrivers.Bool(options, "fluentd-sub-second-precision");
        var ack = LogDrivers.Bool(options, "fluentd-request-ack");
        if (Option("write-timeout") is { Length: > 0 } timeout && Parsed("fluentd-write-timeout", ": value must be a duration", timeout) < TimeSpan.Zero)
            throw new FormatException("invalid value for fluentd-write-timeout: value must be a duration that is non-negative");
        return new FluentdOptions(address, precise, ack);

        static TimeSpan Parsed(string name, string hint, string text)
        {
            try
            {
                return GoDuration.Parse(text);
            }
            catch (FormatException e)
            {
                throw new FormatException($"invalid value for {name}{hint}: {e.Message}");
            }
        }
    }

    private static RemoteAddress ParseAddress(string text)
    {
        const string DefaultHost = "127.0.0.1";
        const int DefaultPort = 24224;
        if (text.Length == 0) return new RemoteAddress("tcp", DefaultHost, DefaultPort, "");
        var (scheme, host, port, path) = RemoteAddress.Split(text.Contains("://", StringComparison.Ordinal) ? text : "tcp://" + text);
        switch (scheme)
        {
            case "unix": return path.Trim('/').Length > 0 ? new RemoteAddress("unix", "", 0, path) : throw new FormatException("path is empty");
            case "tcp" or "tls": break;
            default: throw new FormatException($"unsupported scheme: '{scheme}'");
        }
        if (path.Length > 0) throw new FormatException("should not contain a path element");
        return new RemoteAddress(scheme, host.Length == 0 ? DefaultHost : host, port is { Length: > 0 } ? RemoteAddress.PortNumber(port) : DefaultPort, "");
    }
}

/// <summary>The forward protocol's message mode: [tag, time, record, options] in MessagePack over a stream.</summary>
internal sealed class FluentdDestination : LogDestination
{
    private const int MaxAnswerBytes = 4096;

    private readonly FluentdOptions _options;
    private readonly string _tag;
    private readonly SortedDictionary<string, string> _fields;
    private readonly List<string> _awaited = [];

    public FluentdDestination(FluentdOptions options, ContainerRecord record) : base(c => RemoteConnection.ConnectAsync(options.Address, TlsFiles.None, c))
    {
        _options = options;
        _tag = LogAttributes.Tag(record, "{{.ID}}");
        _fields = LogAttributes.Extra(record);
        _fields["container_id"] = record.Id;
        _fields["container_name"] = "/" + record.Name;
    }

    public override async ValueTask AddAsync(LoggedLine line, CancellationToken cancellationToken)
    {
        var (seconds, nanoseconds) = ((uint)(line.Time / 1_000_000_000), (uint)(line.Time % 1_000_000_000));
        Batch.WriteByte(0x94); // an array of four
        Text(Encoding.UTF8.GetBytes(_tag));
        Span<byte> time = stackalloc byte[10];
        if (_options.SubSecondPrecision)
        {
            (time[0], time[1]) = (0xd7, 0x00); // EventTime: an extension of eight bytes, type 0
            BinaryPrimitives.WriteUInt32BigEndian(time[2..], seconds);
            BinaryPrimitives.WriteUInt32BigEndian(time[6..], nanoseconds);
            Batch.Write(time);
        }
        else
        {
            time[0] = 0xce; // an unsigned number of four bytes
            BinaryPrimitives.WriteUInt32BigEndian(time[1..], seconds);
            Batch.Write(time[..5]);
        }
        Map(_fields.Count + 2 + (line.Part is null ? 0 : 4));
        foreach (var (name, value) in _fields) Pair(name, value);
        Pair("source", line.Stderr ? "stderr" : "stdout");
        Text("log"u8);
        Text(line.Text.Span);
        if (line.Part is { } part)
        {
            Pair("partial_message", "true");
            Pair("partial_id", part.Id);
            Pair("partial_ordinal", part.Ordinal.ToString(CultureInfo.InvariantCulture));
            Pair("partial_last", part.Last ? "true" : "false");
        }
        Map(_options.RequestAck ? 1 : 0);
        if (_options.RequestAck)
        {
            var chunk = Convert.ToBase64String(RandomNumberGenerator.GetBytes(16));
            _awaited.Add(chunk);
            Pair("chunk", chunk);
        }
        if (Batch.Length >= BatchBytes) await FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    public override async Task FlushAsync(CancellationToken cancellationToken)
    {
        try
        {
            await base.FlushAsync(cancellationToken).ConfigureAwait(false);
            if (_awaited.Count == 0) return;
            // {"ack": chunk} for each: whatever is around them, the chunks' names are there.
            var (buffer, answer) = (new byte[MaxAnswerBytes], new StringBuilder());
            while (_awaited.Count > 0)
            {
                var count = await Connection!.ReceiveAsync(buffer, cancellationToken).ConfigureAwait(false);
                if (count == 0) throw new IOException($"{_options.Address}: closed before it acknowledged");
                answer.Append(Encoding.Latin1.GetString(buffer, 0, count));
                var text = answer.ToString();
                _awaited.RemoveAll(c => text.Contains(c, StringComparison.Ordinal));
                if (answer.Length > MaxAnswerBytes) answer.Remove(0, answer.Length - MaxAnswerBytes / 2);
            }
        }
        finally
        {
            _awaited.Clear();
        }
    }

    private void Map(int count)
    {
        if (count < 16) Batch.WriteByte((byte)(0x80 | count));
        else
        {
            Batch.WriteByte(0xde);
            Big16(count);
        }
    }

    private void Pair(string name, string value)
    {
        Text(Encoding.UTF8.GetBytes(name));
        Text(Encoding.UTF8.GetBytes(value));
    }

    private void Text(ReadOnlySpan<byte> text)
    {
        switch (text.Length)
        {
            case < 32: Batch.WriteByte((byte)(0xa0 | text.Length)); break;
            case < 256:
                Batch.WriteByte(0xd9);
                Batch.WriteByte((byte)text.Length);
                break;
            case < 65536:
                Batch.WriteByte(0xda);
                Big16(text.Length);
                break;
            default:
                Batch.WriteByte(0xdb);
                Big16(text.Length >> 16);
                Big16(text.Length);
                break;
        }
        Batch.Write(text);
    }

    private void Big16(int value)
    {
        Batch.WriteByte((byte)(value >> 8));
        Batch.WriteByte((byte)value);
    }
}
