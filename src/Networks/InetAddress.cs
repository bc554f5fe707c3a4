using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Berth.Networks;

/// <summary>An IPv4 or IPv6 address as a number in host byte order, so that ranges and arithmetic are plain. The default value is 0.0.0.0.</summary>
[JsonConverter(typeof(InetAddressJson))]
public readonly record struct InetAddress(UInt128 Value, bool IsIPv6) : IComparable<InetAddress>
{
    public InetAddress(uint value) : this(value, false) { }

    public static readonly InetAddress Any = new(0);
    public static readonly InetAddress IPv6Any = new(0, true);
    public static readonly InetAddress Loopback = new(0x7f000001);

    /// <summary>Of the address: 32 or 128.</summary>
    public int Bits => IsIPv6 ? 128 : 32;

    public bool IsAny => Value == 0;

    public bool IsLoopback => IsIPv6 ? Value == 1 : (uint)Value >> 24 == 127;

    /// <summary>Network byte order, as netlink wants it.</summary>
    public byte[] ToBytes()
    {
        if (IsIPv6)
        {
            var bytes = new byte[16];
            BinaryPrimitives.WriteUInt128BigEndian(bytes, Value);
            return bytes;
        }
        var b = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(b, (uint)Value);
        return b;
    }

    public IPAddress ToIPAddress() => new(ToBytes());

    /// <summary>IPv4: four decimal numbers, each 0-255 without leading zeros (Go's net/netip, which docker uses, refuses them too). IPv6: as RFC 4291
    /// writes it, without a zone. An IPv4 address written in IPv6 is the IPv4 address.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out InetAddress address)
    {
        if (!text.Contains(':')) return TryParseIPv4(text, out address);
        address = default;
        return text.IndexOfAny('%', '[', ']') < 0 && IPAddress.TryParse(text, out var parsed) && TryFrom(parsed, out address);
    }

    public static bool TryParse(string? text, out InetAddress address) => TryParse(text.AsSpan(), out address);

    private static bool TryParseIPv4(ReadOnlySpan<char> text, out InetAddress address)
    {
        address = default;
        uint value = 0;
        for (var part = 0; part < 4; part++)
        {
            var dot = text.IndexOf('.');
            if (part < 3 != dot >= 0) return false;
            var number = dot < 0 ? text : text[..dot];
            if (number.Length is 0 or > 3 || (number.Length > 1 && number[0] == '0')) return false;
            if (!byte.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var b)) return false;
            value = (value << 8) | b;
            text = dot < 0 ? default : text[(dot + 1)..];
        }
        address = new InetAddress(value);
        return true;
    }

    public static bool TryFrom(IPAddress ip, out InetAddress address)
    {
        if (ip.IsIPv4MappedToIPv6) ip = ip.MapToIPv4();
        var bytes = ip.GetAddressBytes();
        address = ip.AddressFamily switch
        {
            AddressFamily.InterNetwork => new InetAddress(BinaryPrimitives.ReadUInt32BigEndian(bytes)),
            AddressFamily.InterNetworkV6 => new InetAddress(BinaryPrimitives.ReadUInt128BigEndian(bytes), true),
            _ => default,
        };
        return ip.AddressFamily is AddressFamily.InterNetwork or AddressFamily.InterNetworkV6;
    }

    /// <summary>The address so many further on, of the same family.</summary>
    public static InetAddress operator +(InetAddress address, UInt128 offset) => new(address.Value + offset, address.IsIPv6);

    /// <summary>IPv4 before IPv6.</summary>
    public int CompareTo(InetAddress other) => IsIPv6 != other.IsIPv6 ? IsIPv6.CompareTo(other.IsIPv6) : Value.CompareTo(other.Value);
    public static bool operator <(InetAddress a, InetAddress b) => a.CompareTo(b) < 0;
    public static bool operator >(InetAddress a, InetAddress b) => a.CompareTo(b) > 0;
    public static bool operator <=(InetAddress a, InetAddress b) => a.CompareTo(b) <= 0;
    public static bool operator >=(InetAddress a, InetAddress b) => a.CompareTo(b) >= 0;

    public override string ToString()
    {
        if (IsIPv6) return ToIPAddress().ToString();
        var value = (uint)Value;
        return string.Create(CultureInfo.InvariantCulture, $"{value >> 24}.{(value >> 16) & 255}.{(value >> 8) & 255}.{value & 255}");
    }
}

/// <summary>A subnet: address with all host bits zero, and a length of 0 to 32 or 128.</summary>
[JsonConverter(typeof(InetPrefixJson))]
public readonly record struct InetPrefix
{
    /// <summary>Host bits of <paramref name="address"/> are dropped.</summary>
    public InetPrefix(InetAddress address, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)length, (uint)address.Bits, nameof(length));
        Length = length;
        Network = new InetAddress(address.Value & ~HostMask(address.Bits - length), address.IsIPv6);
    }

    public InetAddress Network { get; }
    public int Length { get; }
    public bool IsIPv6 => Network.IsIPv6;
    public InetAddress Last => new(Network.Value | HostMask(Network.Bits - Length), IsIPv6);

    public bool Contains(InetAddress address) => address.IsIPv6 == IsIPv6 && (address.Value & ~HostMask(Network.Bits - Length)) == Network.Value;
    public bool Contains(InetPrefix other) => other.Length >= Length && Contains(other.Network);
    public bool Overlaps(InetPrefix other) => Contains(other.Network) || other.Contains(Network);

    /// <summary>Host bits may be set and are dropped.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out InetPrefix prefix)
    {
        var ok = InetInterface.TryParse(text, out var i);
        prefix = ok ? i.Prefix : default;
        return ok;
    }

    private static UInt128 HostMask(int bits) => bits == 128 ? UInt128.MaxValue : (UInt128.One << bits) - 1;

    public override string ToString() => $"{Network}/{Length}";
}

/// <summary>An address within its subnet, as an interface has it: 172.30.0.1/16.</summary>
[JsonConverter(typeof(InetInterfaceJson))]
public readonly record struct InetInterface(InetAddress Address, int PrefixLength)
{
    public InetPrefix Prefix => new(Address, PrefixLength);

    public static bool TryParse(ReadOnlySpan<char> text, out InetInterface value)
    {
        value = default;
        var slash = text.IndexOf('/');
        if (slash < 0 || !InetAddress.TryParse(text[..slash], out var address)) return false;
        var digits = text[(slash + 1)..];
        if (digits.Length is 0 or > 3 || (digits.Length > 1 && digits[0] == '0')) return false;
        if (!int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var length) || length > address.Bits) return false;
        value = new InetInterface(address, length);
        return true;
    }

    public override string ToString() => $"{Address}/{PrefixLength}";
}

// In networks.json and container.json as everywhere: texts.
public sealed class InetAddressJson : JsonConverter<InetAddress>
{
    public override InetAddress Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) =>
        InetAddress.TryParse(reader.GetString(), out var value) ? value : throw new JsonException("not an IP address");

    public override void Write(Utf8JsonWriter writer, InetAddress value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
}

public sealed class InetPrefixJson : JsonConverter<InetPrefix>
{
    public override InetPrefix Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) =>
        InetPrefix.TryParse(reader.GetString(), out var value) ? value : throw new JsonException("not a subnet");

    public override void Write(Utf8JsonWriter writer, InetPrefix value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
}

public sealed class InetInterfaceJson : JsonConverter<InetInterface>
{
    public override InetInterface Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) =>
        InetInterface.TryParse(reader.GetString(), out var value) ? value : throw new JsonException("not an interface address");

    public override void Write(Utf8JsonWriter writer, InetInterface value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
}
