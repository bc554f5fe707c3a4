using System.Collections.Immutable;
using System.Globalization;
using System.Net;

namespace Berth.Networks;

/// <summary>What a bridge network is made of, after its options were read; the default one's comes from the daemon's flags.</summary>
internal sealed record BridgeSettings
{
    private const string Prefix = "com.docker.network.bridge.";
    internal const string NameOption = Prefix + "name";
    private const string MtuOption = "com.docker.network.driver.mtu";

    internal required string Bridge { get; init; }
    internal SubnetSpec? IPv4 { get; init; }
    internal SubnetSpec? IPv6 { get; init; }
    /// <summary>0: as the kernel has it.</summary>
    internal int MtuBytes { get; init; } = 1500;
    internal bool InterContainerCommunication { get; init; } = true;
    internal bool Masquerade { get; init; } = true;
    internal bool Internal { get; init; }
    /// <summary>The bridge gets no IPv4 address: the gateway is somebody else.</summary>
    internal bool InhibitIPv4 { get; init; }
    internal GatewayMode Mode { get; init; }
    internal GatewayMode Mode6 { get; init; }
    internal InetAddress? HostAddress { get; init; }
    internal InetAddress? HostAddress6 { get; init; }
    internal IReadOnlyList<string> TrustedInterfaces { get; init; } = [];
    internal IPAddress? HostBinding { get; init; }
    internal string InterfacePrefix { get; init; } = "eth";
    internal bool IsDefault { get; init; }

    /// <summary>Containers' default routes; null: none.</summary>
    internal InetAddress? Gateway => Internal || Mode == GatewayMode.Isolated ? null : Auxiliary(IPv4, "DefaultGatewayIPv4") ?? IPv4?.Gateway;
    internal InetAddress? Gateway6 => Internal || Mode6 == GatewayMode.Isolated ? null : Auxiliary(IPv6, "DefaultGatewayIPv6") ?? IPv6?.Gateway;

    /// <summary>The bridge's own addresses.</summary>
    internal InetInterface? Address => InhibitIPv4 || Mode == GatewayMode.Isolated ? null : InterfaceOf(IPv4);
    internal InetInterface? Address6 => Mode6 == GatewayMode.Isolated ? null : InterfaceOf(IPv6);

    internal FirewallNetwork ForFirewall => new(Bridge)
    {
        Subnet = IPv4?.Subnet, Subnet6 = IPv6?.Subnet, Masquerade = Masquerade, InterContainerCommunication = InterContainerCommunication, Internal = Internal,
        Mode = Mode, Mode6 = Mode6, HostAddress = HostAddress, HostAddress6 = HostAddress6, TrustedInterfaces = TrustedInterfaces,
    };

    private static InetInterface? InterfaceOf(SubnetSpec? subnet) => subnet is { Gateway: { } gateway } ? new InetInterface(gateway, subnet.Subnet.Length) : null;

    // --default-gateway is kept as an auxiliary address of that name, as Docker does.
    private static InetAddress? Auxiliary(SubnetSpec? subnet, string name) => subnet is not null && subnet.Auxiliary.TryGetValue(name, out var address) ? address : null;

    /// <summary>Reads the options of a network. Those that nobody knows mean nothing.</summary>
    /// <exception cref="NetworkException">InvalidArgument or System, in Docker's words.</exception>
    internal static BridgeSettings From(NetworkSpec spec)
    {
        var settings = new BridgeSettings
        {
            Bridge = "br-" + spec.Id[..12], IPv4 = spec.SubnetOf(ipv6: false), IPv6 = spec.SubnetOf(ipv6: true), Internal = spec.Internal, MtuBytes = 0,
        };
        foreach (var (option, value) in spec.Options)
        {
            settings = option switch
            {
                NameOption when value.Length > 0 => settings with { Bridge = value },
                MtuOption => settings with { MtuBytes = Number(option, value) },
                Prefix + "enable_ip_masquerade" => settings with { Masquerade = Flag(option, value) },
                Prefix + "enable_icc" => settings with { InterContainerCommunication = Flag(option, value) },
                Prefix + "inhibit_ipv4" => settings with { InhibitIPv4 = Flag(option, value) },
                Prefix + "gateway_mode_ipv4" => settings with { Mode = ModeOf(option, value) },
                Prefix + "gateway_mode_ipv6" => settings with { Mode6 = ModeOf(option, value) },
                Prefix + "host_binding_ipv4" => settings with { HostBinding = AddressOf(option, value).ToIPAddress() },
                Prefix + "trusted_host_interfaces" => settings with { TrustedInterfaces = value.Split(':', StringSplitOptions.RemoveEmptyEntries) },
                Prefix + "default_bridge" => Flag(option, value) ? settings : settings,
                "com.docker.network.host_ipv4" => settings with { HostAddress = AddressOf(option, value) },
                "com.docker.network.host_ipv6" => settings with { HostAddress6 = AddressOf(option, value) },
                "com.docker.network.container_iface_prefix" when value.Length > 0 => settings with { InterfacePrefix = value },
                _ => settings,
            };
        }
        if (settings.MtuBytes < 0) throw Bad($"invalid MTU number: {settings.MtuBytes}");
        if ((settings.Mode == GatewayMode.Isolated || settings.Mode6 == GatewayMode.Isolated) && !spec.Internal)
            throw new NetworkException(NetworkErrorKind.System, "gateway mode 'isolated' can only be used for an internal network");
        if (settings.TrustedInterfaces.FirstOrDefault(i => !IsInterfaceName(i)) is { } wrong) throw Bad($"invalid interface name {wrong}");
        return settings;
    }

    /// <summary>What the kernel takes for a name, less what would be special in an nft script.</summary>
    internal static bool IsInterfaceName(string name) =>
        name.Length is > 0 and <= MaxInterfaceName && name is not ("." or "..") && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');

    /// <summary>Longest interface name, without its final zero: IFNAMSIZ - 1.</summary>
    internal const int MaxInterfaceName = 15;

    /// <summary>As inspect shows the default network's.</summary>
    internal ImmutableSortedDictionary<string, string> Options => ImmutableSortedDictionary.CreateRange(StringComparer.Ordinal,
    [
        new(Prefix + "default_bridge", IsDefault ? "true" : "false"),
        new(Prefix + "enable_icc", InterContainerCommunication ? "true" : "false"),
        new(Prefix + "enable_ip_masquerade", Masquerade ? "true" : "false"),
        new(Prefix + "host_binding_ipv4", HostBinding?.ToString() ?? "0.0.0.0"),
        new(NameOption, Bridge),
        new KeyValuePair<string, string>(MtuOption, MtuBytes.ToString(CultureInfo.InvariantCulture)),
    ]);

    private static bool Flag(string option, string value) => GoFlag.TryParse(value, out var flag) ? flag
        : throw Bad($"failed to parse {option} value: {value} (strconv.ParseBool: parsing \"{value}\": invalid syntax)");

    private static int Number(string option, string value) => int.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number
        : throw Bad($"failed to parse {option} value: {value} (strconv.Atoi: parsing \"{value}\": invalid syntax)");

    private static InetAddress AddressOf(string option, string value) => InetAddress.TryParse(value, out var address) ? address
        : throw Bad($"failed to parse {option} value: {value} (nil ip)");

    private static GatewayMode ModeOf(string option, string value) => value switch
    {
        "nat" => GatewayMode.Nat,
        "nat-unprotected" => GatewayMode.NatUnprotected,
        "routed" => GatewayMode.Routed,
        "isolated" => GatewayMode.Isolated,
        _ => throw Bad($"failed to parse {option} value: {value} (unknown gateway mode {value})"),
    };

    private static NetworkException Bad(string message) => new(NetworkErrorKind.InvalidArgument, message);
}

/// <summary>What Go's strconv.ParseBool takes.</summary>
internal static class GoFlag
{
    internal static bool TryParse(string text, out bool flag)
    {
        flag = text is "1" or "t" or "T" or "TRUE" or "true" or "True";
        return flag || text is "0" or "f" or "F" or "FALSE" or "false" or "False";
    }
}
