using System.Buffers;
using System.Globalization;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Berth.Engine;

/// <summary>The options of the gelf driver. Reconnecting is ours for all drivers: the two options about it are checked and have no effect.</summary>
internal sealed record GelfOptions(RemoteAddress Address, string Compression, CompressionLevel Level)
{
    /// <exception cref="FormatException">In Docker's words.</exception>
    public static GelfOptions Parse(Dictionary<string, string> options)
    {
        var text = options.GetValueOrDefault("gelf-address", "");
        if (text.Length == 0) throw new FormatException("gelf-address is a required parameter");
        var (scheme, host, port, _) = RemoteAddress.Split(text);
        if (scheme is not ("udp" or "tcp")) throw new FormatException("gelf: endpoint needs to be TCP or UDP");
        if (port is not { Length: > 0 }) throw new FormatException("gelf: please provide gelf-address as proto://host:port");
        var (compression, level) = ("gzip", 1);
        foreach (var (name, value) in options)
        {
            switch (name)
            {
                case "gelf-compression-level" or "gelf-compression-type" when scheme != "udp":
                    throw new FormatException("compression is only supported on UDP");
                case "gelf-compression-level":
                    level = LogDrivers.TryNumber(value, out var n) && n is >= -1 and <= 9 ? n : throw Unknown(name, value);
                    break;
                case "gelf-compression-type":
                    compression = value is "gzip" or "zlib" or "none" ? value : throw Unknown(name, value);
                    break;
                case "gelf-tcp-max-reconnect" or "gelf-tcp-reconnect-delay":
                    if (scheme != "tcp") throw new FormatException($"{GoText.Quote(name)} is only valid for TCP");
                    if (!LogDrivers.TryNumber(value, out var count) || count < 0) throw new FormatException($"{GoText.Quote(name)} must be a positive integer");
                    break;
            }
        }
        return new GelfOptions(new RemoteAddress(scheme, host.Length == 0 ? "localhost" : host, RemoteAddress.PortNumber(port), ""), compression,
            level switch { 0 => CompressionLevel.NoCompression, >= 1 and <= 4 => CompressionLevel.Fastest, 9 => CompressionLevel.SmallestSize, _ => CompressionLevel.Optimal });
    }

    private static FormatException Unknown(string name, string value) => new($"unknown value {GoText.Quote(value)} for log opt {GoText.Quote(name)} for gelf log driver");
}

/// <summary>GELF 1.1 over udp (compressed and in chunks) or tcp (a zero byte after each message).</summary>
internal sealed class GelfDestination : LogDestination
{
    private const int Error = 3, Info = 6, ChunkDataBytes = 1408, MaxChunks = 128;

    private static readonly JsonWriterOptions Relaxed = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly GelfOptions _options;
    private readonly ArrayBufferWriter<byte> _message = new();
    private readonly SortedDictionary<string, string> _extra = new(StringComparer.Ordinal);

    public GelfDestination(GelfOptions options, ContainerRecord record) : base(c => RemoteConnection.ConnectAsync(options.Address, TlsFiles.None, c))
    {
        _options = options;
        _extra["_container_id"] = record.Id;
        _extra["_container_name"] = record.Name;
        _extra["_image_id"] = record.ImageId;
        _extra["_image_name"] = record.Config.Image;
        _extra["_command"] = string.Join(' ', [record.Path, .. record.Args]);
        _extra["_tag"] = LogAttributes.Tag(record, "{{.ID}}");
        _extra["_created"] = Api.Json.GoTime.Format(record.Created);
        foreach (var (name, value) in LogAttributes.Extra(record, k => k.StartsWith('_') ? k : "_" + k)) _extra[name] = value;
    }

    public override async ValueTask AddAsync(LoggedLine line, CancellationToken cancellationToken)
    {
        if (line.Text.Length == 0) return;
        Write(line);
        if (!_options.Address.IsDatagram)
        {
            Batch.Write(_message.WrittenSpan);
            Batch.WriteByte(0);
            if (Batch.Length >= BatchBytes) await FlushAsync(cancellationToken).ConfigureAwait(false);
            return;
        }
        foreach (var datagram in Datagrams(Compress())) await Connection!.SendAsync(datagram, cancellationToken).ConfigureAwait(false);
    }

    private void Write(LoggedLine line)
    {
        _message.ResetWrittenCount();
        using var json = new Utf8JsonWriter(_message, Relaxed);
        json.WriteStartObject();
        json.WriteString("version", "1.1");
        json.WriteString("host", Environment.MachineName);
        json.WriteString("short_message", Encoding.UTF8.GetString(line.Text.Span)); // what is no UTF-8 becomes U+FFFD
        json.WriteNumber("timestamp", line.Time / 1_000_000 / 1000m);
        json.WriteNumber("level", line.Stderr ? Error : Info);
        foreach (var (name, value) in _extra) json.WriteString(name, value);
        json.WriteEndObject();
    }

    private byte[] Compress()
    {
        if (_options.Compression == "none") return _message.WrittenSpan.ToArray();
        using var packed = new MemoryStream();
        using (Stream packer = _options.Compression == "zlib" ? new ZLibStream(packed, _options.Level, leaveOpen: true) : new GZipStream(packed, _options.Level, leaveOpen: true))
            packer.Write(_message.WrittenSpan);
        return packed.ToArray();
    }

    private static List<ReadOnlyMemory<byte>> Datagrams(byte[] message)
    {
        if (message.Length <= ChunkDataBytes) return [message];
        var count = (message.Length + ChunkDataBytes - 1) / ChunkDataBytes;
        if (count > MaxChunks) return []; // the format has no place for more; Docker drops it, too
        var id = RandomNumberGenerator.GetBytes(8);
        var chunks = new List<ReadOnlyMemory<byte>>(count);
        for (var i = 0; i < count; i++)
            chunks.Add((byte[])[0x1e, 0x0f, .. id, (byte)i, (byte)count, .. message.AsSpan(i * ChunkDataBytes, Math.Min(ChunkDataBytes, message.Length - i * ChunkDataBytes))]);
        return chunks;
    }
}
