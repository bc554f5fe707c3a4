using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Berth.Engine;

/// <summary>systemd's journal by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram of fields per line.</summary>
internal sealed class JournaldDestination : LogDestination
{
    private const int Error = 3, Info = 6;

    private readonly byte[] _fixed;
    private ulong _ordinal;

    public JournaldDestination(ContainerRecord record, string socket) : base(c => RemoteConnection.ConnectAsync(new RemoteAddress("unixgram", "", 0, socket), TlsFiles.None, c))
    {
        var tag = LogAttributes.Tag(record, "{{.ID}}");
        var fields = new Dictionary<string, string>
        {
            ["CONTAINER_ID"] = record.Id[..12], ["CONTAINER_ID_FULL"] = record.Id, ["CONTAINER_NAME"] = record.Name, ["CONTAINER_TAG"] = tag, ["IMAGE_NAME"] = record.Config.Image,
            ["SYSLOG_IDENTIFIER"] = tag, ["CONTAINER_LOG_EPOCH"] = Names.NewId(),
        };
        foreach (var (name, value) in LogAttributes.Extra(record, FieldName)) fields[name] = value;
        var buffer = new MemoryStream();
        foreach (var (name, value) in fields) Write(buffer, name, Encoding.UTF8.GetBytes(value));
        _fixed = buffer.ToArray();
    }

    /// <summary>Capital letters, digits and underscores, and none of those in front.</summary>
    internal static string FieldName(string name) =>
        string.Concat(name.Select(c => char.IsAsciiLetterLower(c) ? char.ToUpperInvariant(c) : char.IsAsciiLetterUpper(c) || char.IsAsciiDigit(c) ? c : '_')).TrimStart('_');

    public override async ValueTask AddAsync(LoggedLine line, CancellationToken cancellationToken)
    {
        Batch.Write(_fixed);
        void Field(string name, string value) => Write(Batch, name, Encoding.UTF8.GetBytes(value));
        Field("PRIORITY", (line.Stderr ? Error : Info).ToString(CultureInfo.InvariantCulture));
        Field("SYSLOG_TIMESTAMP", Api.Json.GoTime.Format(DateTimeOffset.UnixEpoch.AddTicks(line.Time / 100)));
        Field("CONTAINER_LOG_ORDINAL", (++_ordinal).ToString(CultureInfo.InvariantCulture));
        if (line.Part is { } part)
        {
            Field("CONTAINER_PARTIAL_ID", part.Id);
            Field("CONTAINER_PARTIAL_ORDINAL", part.Ordinal.ToString(CultureInfo.InvariantCulture));
            Field("CONTAINER_PARTIAL_LAST", part.Last ? "true" : "false");
            if (!part.Last) Field("CONTAINER_PARTIAL_MESSAGE", "true");
        }
        Write(Batch, "MESSAGE", line.Text.Span);
        await FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    private static void Write(MemoryStream target, string name, ReadOnlySpan<byte> value)
    {
        target.Write(Encoding.ASCII.GetBytes(name));
        if (value.Contains((byte)'\n'))
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)value.Length);
            target.WriteByte((byte)'\n');
            target.Write(length);
        }
        else target.WriteByte((byte)'=');
        target.Write(value);
        target.WriteByte((byte)'\n');
    }
}
