using System.Text;

namespace Berth.Api.BuildKit;

/// <summary>A message is not what its protocol says.</summary>
public sealed class ProtoException(string message) : Exception(message);

/// <summary>Reads a message of the protocol buffers encoding, field by field. protobuf.dev/programming-guides/encoding.</summary>
public ref struct ProtoReader(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private int _at;
    private int _wire;

    /// <summary>To the next field; false at the end. Its value is to be read or skipped before the next.</summary>
    public bool TryNext(out int field)
    {
        field = 0;
        if (_at >= _bytes.Length) return false;
        var tag = Varint();
        _wire = (int)(tag & 7);
        if (tag >> 3 is 0 or > 536_870_911) throw new ProtoException("a field's number is out of range");
        field = (int)(tag >> 3);
        return true;
    }

    public long Int64()
    {
        if (_wire != 0) throw new ProtoException("a number was expected");
        return (long)Varint();
    }

    public int Int32() => (int)Int64();

    public uint UInt32() => (uint)Int64();

    public bool Bool() => Int64() != 0;

    public ReadOnlySpan<byte> Span()
    {
        if (_wire != 2) throw new ProtoException("text or a message was expected");
        var length = Varint();
        if (length > (ulong)(_bytes.Length - _at)) throw new ProtoException("a field is longer than its message");
        var span = _bytes.Slice(_at, (int)length);
        _at += (int)length;
        return span;
    }

    public byte[] Bytes() => Span().ToArray();

    public string String() => Encoding.UTF8.GetString(Span());

    public T Message<T>() where T : IProtoMessage<T> => T.Parse(Span());

    /// <summary>google.protobuf.Timestamp, as far as it is a time at all.</summary>
    public DateTimeOffset Time()
    {
        var inner = new ProtoReader(Span());
        var (seconds, nanoseconds) = (0L, 0L);
        while (inner.TryNext(out var field))
        {
            if (field == 1) seconds = inner.Int64();
            else if (field == 2) nanoseconds = inner.Int64();
            else inner.Skip();
        }
        if (seconds is < -62_135_596_800 or > 253_402_300_799 || nanoseconds is < 0 or > 999_999_999) throw new ProtoException("a time is out of range");
        return DateTimeOffset.FromUnixTimeSeconds(seconds).AddTicks(nanoseconds / 100);
    }

    /// <summary>One entry of a map from text to text.</summary>
    public void EntryTo(Dictionary<string, string> map)
    {
        var (key, value) = Entry();
        map[key] = Encoding.UTF8.GetString(value);
    }

    /// <summary>One entry of a map whose keys are text.</summary>
    public (string Key, byte[] Value) Entry()
    {
        var entry = new ProtoReader(Span());
        var (key, value) = ("", Array.Empty<byte>());
        while (entry.TryNext(out var field))
        {
            if (field == 1) key = entry.String();
            else if (field == 2) value = entry.Bytes();
            else entry.Skip();
        }
        return (key, value);
    }

    /// <summary>A field that is not known here.</summary>
    public void Skip()
    {
        switch (_wire)
        {
            case 0: Varint(); break;
            case 1: Advance(8); break;
            case 2: Span(); break;
            case 5: Advance(4); break;
            default: throw new ProtoException("a field is of an unknown kind");
        }
    }

    private void Advance(int count)
    {
        if (_bytes.Length - _at < count) throw new ProtoException("a field is longer than its message");
        _at += count;
    }

    private ulong Varint()
    {
        ulong value = 0;
        for (var shift = 0; shift < 64; shift += 7)
        {
            if (_at >= _bytes.Length) throw new ProtoException("a number is cut short");
            var part = _bytes[_at++];
            value |= (ulong)(part & 0x7F) << shift;
            if (part < 0x80) return value;
        }
        throw new ProtoException("a number is too long");
    }
}

/// <summary>A message that can be written.</summary>
public interface IProtoMessage
{
    void WriteTo(ProtoWriter writer);
}

/// <summary>A message that can be read, too.</summary>
public interface IProtoMessage<T> : IProtoMessage where T : IProtoMessage<T>
{
    /// <exception cref="ProtoException"/>
    static abstract T Parse(ReadOnlySpan<byte> bytes);
}
