using System.Globalization;
using System.Text;

namespace Berth.Networks;

/// <summary>How the outside reaches the containers of a bridge network, per address family.</summary>
public enum GatewayMode : byte
{
    /// <summary>By published ports of the host; containers' traffic wears the host's address.</summary>
    Nat,
    /// <summary>As nat, and every port of a container also at its own address.</summary>
    NatUnprotected,
    /// <summary>Published ports at the container's own address, and nothing translated.</summary>
    Routed,
    /// <summary>Not at all: the bridge has no address. For internal networks.</summary>
    Isolated,
}

/// <summary>A bridge network as the firewall sees it. A family without subnet is not enabled.</summary>
public sealed record FirewallNetwork(string Bridge)
{
    public InetPrefix? Subnet { get; init; }
    public InetPrefix? Subnet6 { get; init; }
    public bool Masquerade { get; init; } = true;
    public bool InterContainerCommunication { get; init; } = true;
    /// <summary>Nothing comes in from elsewhere and nothing goes out.</summary>
    public bool Internal { get; init; }
    public GatewayMode Mode { get; init; }
    public GatewayMode Mode6 { get; init; }
    /// <summary>What containers' traffic wears, rather than the address of the interface by which it leaves.</summary>
    public InetAddress? HostAddress { get; init; }
    public InetAddress? HostAddress6 { get; init; }
    /// <summary>Interfaces of the host behind which everybody reaches the containers directly.</summary>
    public IReadOnlyList<string> TrustedInterfaces { get; init; } = [];
}

/// <summary>A published port: what comes for the host address and port goes to the container's. Host address 0.0.0.0 or [::]: any of the host's.
/// Host port 0: nothing is redirected, and the container's own address is open at its port.</summary>
public readonly record struct FirewallPort(PortProtocol Protocol, InetAddress HostAddress, ushort HostPort, InetAddress ContainerAddress, ushort ContainerPort)
{
    public bool IsIPv6 => ContainerAddress.IsIPv6;
}

/// <summary>
/// What the firewall should be, as nft(8) text: each result is one transaction on two tables of our own, one per address family. Pure;
/// <see cref="Firewall"/> carries it out. Ports and networks are elements of maps: neither the hundredth port nor the hundredth network makes
/// a packet pass more rules, or a change touch more than what changes. The rules and their reasons are walked through in docs/networks.md.
/// </summary>
public static class FirewallPlan
{
    /// <summary>What differs between the two tables.</summary>
    private sealed record Family(string Name, string Address, bool IsIPv6, string Loopback, string Icmp);

    private static readonly Family IPv4 = new("ip", "ipv4_addr", false, "127.0.0.0/8", "icmp");
    private static readonly Family IPv6 = new("ip6", "ipv6_addr", true, "::1", "ipv6-icmp");

    private static readonly string[] Chains = ["published", "loopback", "prerouting", "output", "postrouting", "forward"];
    private static readonly (string Kind, string Name)[] Sets = [("set", "bridges"), ("map", "into"), ("map", "out_of"), ("map", "leaving"), ("map", "back")];
    private static readonly (string Kind, string Name)[] PortSets = [("map", "published_at"), ("map", "published_anywhere"), ("set", "open")];

    /// <summary>The tables of the engine whose default bridge is named so. Several engines have several.</summary>
    public static string TableName(string bridge) => "berth_" + bridge;

    /// <summary>Both tables, whole. <paramref name="ports"/> null: published ports stay as they are, and so do chains of networks that are no longer there.</summary>
    /// <param name="ipv4">False: nothing for IPv4, and no network has it.</param>
    public static string For(string table, IReadOnlyList<FirewallNetwork> networks, IReadOnlyList<FirewallPort>? ports, PublishThrough through = PublishThrough.Forward, bool ipv4 = true)
    {
        var text = new StringBuilder();
        foreach (var family in (ReadOnlySpan<Family>)[IPv4, IPv6])
        {
            // No network, no table: a machine may have no IPv6 at all. One that is there already is brought up to date by AddNetwork and RemoveNetwork.
            if (family.IsIPv6 ? !networks.Any(n => Has(n, family)) && !(ports ?? []).Any(p => p.IsIPv6) : !ipv4) continue;
            WriteFrame(text, table, family, through);
            foreach (var (kind, set) in ports is null ? Sets : [.. Sets, .. PortSets]) Line(text, $"flush {kind} {family.Name} {table} {set}");
            foreach (var network in networks) WriteNetwork(text, table, family, network);
        }
        if (ports is not null) text.Append(Add(table, ports));
        return text.ToString();
    }

    /// <summary>One more network.</summary>
    public static string AddNetwork(string table, FirewallNetwork network, PublishThrough through = PublishThrough.Forward)
    {
        var text = new StringBuilder();
        foreach (var family in (ReadOnlySpan<Family>)[IPv4, IPv6])
        {
            if (!Has(network, family)) continue;
            // Perhaps the first of its family.
            if (family.IsIPv6) WriteFrame(text, table, family, through);
            WriteNetwork(text, table, family, network);
        }
        return text.ToString();
    }

    /// <summary>What <see cref="AddNetwork"/> made.</summary>
    public static string RemoveNetwork(string table, FirewallNetwork network)
    {
        var text = new StringBuilder();
        foreach (var family in (ReadOnlySpan<Family>)[IPv4, IPv6])
        {
            if (!Has(network, family)) continue;
            var bridge = network.Bridge;
            foreach (var set in ElementsOf(network)) Line(text, $"delete element {family.Name} {table} {set} {{ \"{bridge}\" }}");
            foreach (var chain in ChainsOf(network))
            {
                Line(text, $"flush chain {family.Name} {table} {chain}_{bridge}");
                Line(text, $"delete chain {family.Name} {table} {chain}_{bridge}");
            }
        }
        return text.ToString();
    }

    private static bool Has(FirewallNetwork network, Family family) => (family.IsIPv6 ? network.Subnet6 : network.Subnet) is not null;

    private static string[] ChainsOf(FirewallNetwork network) => network.Internal ? ["into", "out_of"] : ["into", "leaving", "back"];

    private static string[] ElementsOf(FirewallNetwork network) => ["bridges", .. ChainsOf(network)];

    // Adding what is there changes nothing, so the same text makes the table, repairs it and brings it up to date.
    private static void WriteFrame(StringBuilder text, string table, Family family, PublishThrough through)
    {
        var (name, address) = (family.Name, family.Address);
        Line(text, $"add table {name} {table}");
        Line(text, $"add map {name} {table} published_at {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}");
        Line(text, $"add map {name} {table} published_anywhere {{ type inet_proto . inet_service : {address} . inet_service; }}");
        Line(text, $"add set {name} {table} open {{ type {address} . inet_proto . inet_service; }}");
        Line(text, $"add set {name} {table} bridges {{ type ifname; }}");
        foreach (var map in (ReadOnlySpan<string>)["into", "out_of", "leaving", "back"]) Line(text, $"add map {name} {table} {map} {{ type ifname : verdict; }}");
        Chain("published", null);
        Chain("loopback", "type filter hook prerouting priority raw; policy accept;");
        Chain("prerouting", "type nat hook prerouting priority dstnat; policy accept;");
        Chain("output", "type nat hook output priority -100; policy accept;");
        Chain("postrouting", "type nat hook postrouting priority srcnat; policy accept;");
        Chain("forward", "type filter hook forward priority filter; policy accept;");
        foreach (var chain in Chains) Line(text, $"flush chain {name} {table} {chain}");

        Rule("published", $"meta l4proto {{ tcp, udp, sctp }} dnat {name} to {name} daddr . meta l4proto . th dport map @published_at");
        Rule("published", $"meta l4proto {{ tcp, udp, sctp }} dnat {name} to meta l4proto . th dport map @published_anywhere");
        Rule("prerouting", $"iifname != \"lo\" {name} daddr {family.Loopback} return");
        // Otherwise what comes from elsewhere goes to the daemon's sockets, past the host's rules for its own programs.
        if (through == PublishThrough.Forward) Rule("prerouting", "fib daddr type local jump published");
        // There is no route_localnet for ::1: the daemon's socket serves it.
        if (family.IsIPv6) Rule("output", "ip6 daddr ::1 return");
        Rule("output", "fib daddr type local jump published");
        Rule("loopback", $"iifname @bridges {name} daddr {family.Loopback} drop");
        if (!family.IsIPv6) Rule("postrouting", "oifname @bridges ip saddr 127.0.0.0/8 masquerade");
        Rule("postrouting", "ct status dnat oifname vmap @back");
        Rule("postrouting", "iifname vmap @leaving");
        Rule("forward", "iifname vmap @out_of");
        Rule("forward", "oifname vmap @into");

        void Chain(string chain, string? hook) => Line(text, $"add chain {name} {table} {chain}{(hook is null ? "" : $" {{ {hook} }}")}");
        void Rule(string chain, string rule) => Line(text, $"add rule {name} {table} {chain} {rule}");
    }

    private static void WriteNetwork(StringBuilder text, string table, Family family, FirewallNetwork network)
    {
        if (!Has(network, family)) return;
        var name = family.Name;
        var bridge = network.Bridge;
        var (subnet, mode, hostAddress) = family.IsIPv6 ? (network.Subnet6!.Value, network.Mode6, network.HostAddress6) : (network.Subnet!.Value, network.Mode, network.HostAddress);
        foreach (var chain in ChainsOf(network))
        {
            Line(text, $"add chain {name} {table} {chain}_{bridge}");
            Line(text, $"flush chain {name} {table} {chain}_{bridge}");
        }
        if (network.InterContainerCommunication) Rule("into", $"iifname \"{bridge}\" accept");
        if (network.Internal)
        {
            Rule("into", "drop");
            Rule("out_of", $"oifname != \"{bridge}\" drop");
        }
        else
        {
            Rule("into", "ct state established,related accept");
            Rule("into", "ct status dnat accept");
            foreach (var trusted in network.TrustedInterfaces) Rule("into", $"iifname \"{trusted}\" accept");
            if (mode == GatewayMode.Routed)
            {
                Rule("into", $"{name} daddr . meta l4proto . th dport @open accept");
                Rule("into", $"meta l4proto {family.Icmp} accept");
            }
            if (mode == GatewayMode.NatUnprotected) Rule("into", "iifname != @bridges accept");
            Rule("into", "drop");
            var source = hostAddress is { } host ? $"snat to {host}" : "masquerade";
            Rule("back", $"{name} saddr {subnet} masquerade");
            if (network.Masquerade && mode is GatewayMode.Nat or GatewayMode.NatUnprotected) Rule("leaving", $"oifname != \"{bridge}\" {source}");
        }
        Line(text, $"add element {name} {table} bridges {{ \"{bridge}\" }}");
        foreach (var chain in ChainsOf(network)) Line(text, $"add element {name} {table} {chain} {{ \"{bridge}\" : jump {chain}_{bridge} }}");

        void Rule(string chain, string rule) => Line(text, $"add rule {name} {table} {chain}_{bridge} {rule}");
    }

    /// <summary>Publishes ports. Empty text when there are none.</summary>
    public static string Add(string table, IReadOnlyList<FirewallPort> ports) => Elements("add", table, ports, withTarget: true);

    /// <summary>Withdraws ports. Empty text when there are none.</summary>
    public static string Remove(string table, IReadOnlyList<FirewallPort> ports) => Elements("delete", table, ports, withTarget: false);

    /// <summary>Whether it is there or not.</summary>
    public static string RemoveTable(string table, bool ipv6 = false)
    {
        var family = ipv6 ? IPv6 : IPv4;
        return $"add table {family.Name} {table}\ndelete table {family.Name} {table}\n";
    }

    private static string Elements(string verb, string table, IReadOnlyList<FirewallPort> ports, bool withTarget)
    {
        var text = new StringBuilder();
        foreach (var family in (ReadOnlySpan<Family>)[IPv4, IPv6])
        {
            var ofFamily = ports.Where(p => p.IsIPv6 == family.IsIPv6).ToArray();
            Write(family, "published_at", [.. ofFamily.Where(p => p.HostPort > 0 && !p.HostAddress.IsAny)],
                p => $"{p.HostAddress} . {p.Protocol.Name()} . {p.HostPort}", p => $" : {p.ContainerAddress} . {p.ContainerPort}");
            Write(family, "published_anywhere", [.. ofFamily.Where(p => p.HostPort > 0 && p.HostAddress.IsAny)],
                p => $"{p.Protocol.Name()} . {p.HostPort}", p => $" : {p.ContainerAddress} . {p.ContainerPort}");
            Write(family, "open", [.. ofFamily.Where(p => p.HostPort == 0)], p => $"{p.ContainerAddress} . {p.Protocol.Name()} . {p.ContainerPort}", _ => "");
        }
        return text.ToString();

        void Write(Family family, string set, FirewallPort[] elements, Func<FirewallPort, string> key, Func<FirewallPort, string> target)
        {
            if (elements.Length == 0) return;
            Line(text, $"{verb} element {family.Name} {table} {set} {{ {string.Join(", ", elements.Select(e => key(e) + (withTarget ? target(e) : "")))} }}");
        }
    }

    private static void Line(StringBuilder text, FormattableString line) => text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');
}
