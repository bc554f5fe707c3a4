using System.Buffers;
using System.Text;

namespace Berth.Api.BuildKit;

/// <summary>Writes a message of the protocol buffers encoding. Values that are the default of their kind are left out, as proto3 has it, unless they stand in a list.</summary>
public sealed class ProtoWriter
{
    private readonly ArrayBufferWriter<byte> _bytes = new(256);

    public static byte[] Encode(IProtoMessage message)
    {
        var writer = new ProtoWriter();
        message.WriteTo(writer);
        return writer._bytes.WrittenSpan.ToArray();
    }

    public ReadOnlySpan<byte> Written => _bytes.WrittenSpan;

    /// <summary>Nothing is written yet, again.</summary>
    public void Clear() => _bytes.ResetWrittenCount();

    public void Int64(int field, long value)
    {
        if (value == 0) return;
        Varint((ulong)field << 3);
        Varint((ulong)value);
    }

    public void Bool(int field, bool value) => Int64(field, value ? 1 : 0);

    public void String(int field, string? value)
    {
        if (string.IsNullOrEmpty(value)) return;
        Element(field, value);
    }

    public void Bytes(int field, ReadOnlySpan<byte> value)
    {
        if (value.Length == 0) return;
        Element(field, value);
    }

    /// <summary>Of a list: may be empty.</summary>
    public void Element(int field, string value)
    {
        var length = Encoding.UTF8.GetByteCount(value);
        Head(field, length);
        _bytes.Advance(Encoding.UTF8.GetBytes(value, _bytes.GetSpan(length)));
    }

    /// <summary>Of a list: may be empty.</summary>
    public void Element(int field, ReadOnlySpan<byte> value)
    {
        Head(field, value.Length);
        _bytes.Write(value);
    }

    /// <summary>Fields that are encoded already.</summary>
    public void Raw(ReadOnlySpan<byte> fields) => _bytes.Write(fields);

    /// <summary>Nothing when there is none.</summary>
    public void Message(int field, IProtoMessage? message)
    {
        if (message is null) return;
        Element(field, Encode(message));
    }

    public void Messages(int field, IEnumerable<IProtoMessage> messages)
    {
        foreach (var message in messages) Message(field, message);
    }

    public void Map(int field, IReadOnlyDictionary<string, string> map)
    {
        foreach (var (key, value) in map) Entry(field, key, Encoding.UTF8.GetBytes(value));
    }

    public void Map(int field, IReadOnlyDictionary<string, byte[]> map)
    {
        foreach (var (key, value) in map) Entry(field, key, value);
    }

    private void Entry(int field, string key, ReadOnlySpan<byte> value)
    {
        var entry = new ProtoWriter();
        entry.Element(1, key);
        entry.Element(2, value);
        Element(field, entry.Written);
    }

    /// <summary>google.protobuf.Timestamp.</summary>
    public void Time(int field, DateTimeOffset? time)
    {
        if (time is not { } given) return;
        var inner = new ProtoWriter();
        inner.Int64(1, given.ToUnixTimeSeconds());
        inner.Int64(2, given.UtcTicks % TimeSpan.TicksPerSecond * 100);
        Element(field, inner.Written);
    }

    private void Head(int field, int length)
    {
        Varint((ulong)field << 3 | 2);
        Varint((ulong)length);
    }

    private void Varint(ulong value)
    {
        var span = _bytes.GetSpan(10);
        var count = 0;
        for (; value >= 0x80; value >>= 7) span[count++] = (byte)(value | 0x80);
        span[count++] = (byte)value;
        _bytes.Advance(count);
    }
}
