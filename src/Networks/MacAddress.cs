using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Berth.Networks;

/// <summary>A 48-bit hardware address.</summary>
public readonly record struct MacAddress(ulong Value)
{
    /// <summary>The address a container gets when it asks for none: locally administered, and always the same for the same address,
    /// so that a neighbour who still remembers the former owner of a reused address is not wrong.</summary>
    public static MacAddress For(InetAddress address) => address.IsIPv6
        ? new(0x0242_0000_0000UL | (uint)(address.Value ^ (address.Value >> 32) ^ (address.Value >> 64) ^ (address.Value >> 96)))
        : new(0x0242_0000_0000UL | (uint)address.Value);

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
