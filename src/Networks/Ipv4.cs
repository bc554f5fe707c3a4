using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Berth.Networks;

/// <summary>An IPv4 address as a number in host byte order, so that ranges and arithmetic are plain.</summary>
public readonly record struct Ipv4Address(uint Value) : IComparable<Ipv4Address>
{
    public static readonly Ipv4Address Any = new(0);
    public static readonly Ipv4Address Loopback = new(0x7f000001);

    public bool IsLoopback => Value >> 24 == 127;

    /// <summary>Network byte order, as netlink wants it.</summary>
    public byte[] ToBytes()
    {
        var b = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(b, Value);
        return b;
    }

    public static Ipv4Address FromBytes(ReadOnlySpan<byte> networkOrder) => new(BinaryPrimitives.ReadUInt32BigEndian(networkOrder));

    public IPAddress ToIPAddress() => new(ToBytes());

    /// <summary>Four decimal numbers, each 0-255 without leading zeros (Go's net/netip, which docker uses, refuses them too).</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out Ipv4Address address)
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
        address = new Ipv4Address(value);
        return true;
    }

    public static bool TryFrom(IPAddress ip, out Ipv4Address address)
    {
        if (ip.IsIPv4MappedToIPv6) ip = ip.MapToIPv4();
        if (ip.AddressFamily != AddressFamily.InterNetwork) { address = default; return false; }
        address = FromBytes(ip.GetAddressBytes());
        return true;
    }

    public int CompareTo(Ipv4Address other) => Value.CompareTo(other.Value);
    public static bool operator <(Ipv4Address a, Ipv4Address b) => a.Value < b.Value;
    public static bool operator >(Ipv4Address a, Ipv4Address b) => a.Value > b.Value;
    public static bool operator <=(Ipv4Address a, Ipv4Address b) => a.Value <= b.Value;
    public static bool operator >=(Ipv4Address a, Ipv4Address b) => a.Value >= b.Value;

    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Value >> 24}.{(Value >> 16) & 255}.{(Value >> 8) & 255}.{Value & 255}");
}

/// <summary>A subnet: address with all host bits zero, and a length of 0-32.</summary>
public readonly record struct Ipv4Prefix
{
    /// <summary>Host bits of <paramref name="address"/> are dropped.</summary>
    public Ipv4Prefix(Ipv4Address address, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)length, 32u, nameof(length));
        Length = length;
        Network = new Ipv4Address(address.Value & Mask(length));
    }

    public Ipv4Address Network { get; }
    public int Length { get; }
    public Ipv4Address Last => new(Network.Value | ~Mask(Length));
    /// <summary>Number of addresses, network and broadcast included.</summary>
    public ulong Count => 1UL << (32 - Length);

    public bool Contains(Ipv4Address address) => (address.Value & Mask(Length)) == Network.Value;
    public bool Contains(Ipv4Prefix other) => other.Length >= Length && Contains(other.Network);
    public bool Overlaps(Ipv4Prefix other) => Contains(other.Network) || other.Contains(Network);

    public static bool TryParse(ReadOnlySpan<char> text, out Ipv4Prefix prefix)
    {
        var ok = Ipv4Interface.TryParse(text, out var i);
        prefix = ok ? i.Prefix : default;
        return ok;
    }

    private static uint Mask(int length) => length == 0 ? 0 : uint.MaxValue << (32 - length);

    public override string ToString() => $"{Network}/{Length}";
}

/// <summary>An address within its subnet, as an interface has it: 172.30.0.1/16.</summary>
public readonly record struct Ipv4Interface(Ipv4Address Address, int PrefixLength)
{
    public Ipv4Prefix Prefix => new(Address, PrefixLength);

    public static bool TryParse(ReadOnlySpan<char> text, out Ipv4Interface value)
    {
        value = default;
        var slash = text.IndexOf('/');
        if (slash < 0 || !Ipv4Address.TryParse(text[..slash], out var address)) return false;
        var digits = text[(slash + 1)..];
        if (digits.Length is 0 or > 2 || (digits.Length > 1 && digits[0] == '0')) return false;
        if (!int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var length) || length > 32) return false;
        value = new Ipv4Interface(address, length);
        return true;
    }

    public override string ToString() => $"{Address}/{PrefixLength}";
}

/// <summary>A 48-bit hardware address.</summary>
public readonly record struct MacAddress(ulong Value)
{
    /// <summary>The address a container gets when it asks for none: locally administered, and always the same for the same IPv4 address,
    /// so that a neighbour who still remembers the former owner of a reused address is not wrong.</summary>
    public static MacAddress For(Ipv4Address address) => new(0x0242_0000_0000UL | address.Value);

    /// <summary>Six pairs of hex digits parted by colons or hyphens.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out MacAddress mac)
    {
        mac = default;
        if (text is not { Length: 17 }) return false;
        ulong value = 0;
        for (var i = 0; i < 6; i++)
        {
            if (i > 0 && (text[i * 3 - 1] != text[2] || text[2] is not (':' or '-'))) return false;
            if (!byte.TryParse(text.AsSpan(i * 3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var b)) return false;
            value = (value << 8) | b;
        }
        mac = new MacAddress(value);
        return true;
    }

    public byte[] ToBytes()
    {
        var b = new byte[6];
        for (var i = 0; i < 6; i++) b[i] = (byte)(Value >> (40 - 8 * i));
        return b;
    }

    public bool IsMulticast => ((Value >> 40) & 1) != 0;

    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{(Value >> 40) & 255:x2}:{(Value >> 32) & 255:x2}:{(Value >> 24) & 255:x2}:{(Value >> 16) & 255:x2}:{(Value >> 8) & 255:x2}:{Value & 255:x2}");
}
