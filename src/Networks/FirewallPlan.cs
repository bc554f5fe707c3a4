using System.Globalization;
using System.Text;

namespace Berth.Networks;

/// <summary>A bridge network as the firewall sees it.</summary>
public sealed record FirewallNetwork(string Bridge, Ipv4Prefix Subnet, bool Masquerade, bool InterContainerCommunication);

/// <summary>A published port: what comes for the host address and port goes to the container's. Host address 0.0.0.0: any of the host's.</summary>
public readonly record struct FirewallPort(PortProtocol Protocol, Ipv4Address HostAddress, ushort HostPort, Ipv4Address ContainerAddress, ushort ContainerPort);

/// <summary>
/// What the firewall should be, as nft(8) text: each result is one transaction on one table of our own. Pure; <see cref="Firewall"/> carries it out.
/// Published ports are elements of two maps, so that publishing one more is one element and not a new set of rules.
/// The rules and their reasons are walked through in docs/networks.md.
/// </summary>
public static class FirewallPlan
{
    /// <summary>The table of the engine whose default bridge is named so. Several engines have several tables.</summary>
    public static string TableName(string bridge) => "berth_" + bridge;

    /// <summary>The whole table. <paramref name="ports"/> null: chains and rules only, published ports stay as they are.</summary>
    public static string For(string table, IReadOnlyList<FirewallNetwork> networks, IReadOnlyList<FirewallPort>? ports)
    {
        var text = new StringBuilder();
        string[] chains = ["published", "loopback", "prerouting", "output", "postrouting", "forward"];
        // Adding what is there changes nothing, so the same text makes the table, repairs it and brings it up to date.
        text.Append(CultureInfo.InvariantCulture, $"add table ip {table}\n");
        text.Append(CultureInfo.InvariantCulture, $"add map ip {table} published_at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}\n");
        text.Append(CultureInfo.InvariantCulture, $"add map ip {table} published_anywhere {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}\n");
        Chain("published", null);
        Chain("loopback", "type filter hook prerouting priority raw; policy accept;");
        Chain("prerouting", "type nat hook prerouting priority dstnat; policy accept;");
        Chain("output", "type nat hook output priority -100; policy accept;");
        Chain("postrouting", "type nat hook postrouting priority srcnat; policy accept;");
        Chain("forward", "type filter hook forward priority filter; policy accept;");
        foreach (var chain in chains) text.Append(CultureInfo.InvariantCulture, $"flush chain ip {table} {chain}\n");

        Rule("published", "meta l4proto { tcp, udp, sctp } dnat ip to ip daddr . meta l4proto . th dport map @published_at");
        Rule("published", "meta l4proto { tcp, udp, sctp } dnat ip to meta l4proto . th dport map @published_anywhere");
        Rule("prerouting", "iifname != \"lo\" ip daddr 127.0.0.0/8 return");
        Rule("prerouting", "fib daddr type local jump published");
        Rule("output", "fib daddr type local jump published");
        foreach (var network in networks)
        {
            var (bridge, subnet) = (network.Bridge, network.Subnet);
            Rule("loopback", $"iifname \"{bridge}\" ip daddr 127.0.0.0/8 drop");
            Rule("postrouting", $"oifname \"{bridge}\" ip saddr 127.0.0.0/8 masquerade");
            Rule("postrouting", $"oifname \"{bridge}\" ip saddr {subnet} ct status dnat masquerade");
            if (network.Masquerade) Rule("postrouting", $"oifname != \"{bridge}\" ip saddr {subnet} masquerade");
            var strangers = network.InterContainerCommunication ? $"iifname != \"{bridge}\" " : "";
            Rule("forward", $"{strangers}oifname \"{bridge}\" ct state established,related accept");
            Rule("forward", $"{strangers}oifname \"{bridge}\" ct status dnat accept");
            Rule("forward", $"{strangers}oifname \"{bridge}\" drop");
        }
        if (ports is not null)
        {
            text.Append(CultureInfo.InvariantCulture, $"flush map ip {table} published_at\nflush map ip {table} published_anywhere\n");
            text.Append(Add(table, ports));
        }
        return text.ToString();

        void Chain(string name, string? hook) =>
            text.Append(CultureInfo.InvariantCulture, $"add chain ip {table} {name}{(hook is null ? "" : $" {{ {hook} }}")}\n");
        void Rule(string chain, string rule) => text.Append(CultureInfo.InvariantCulture, $"add rule ip {table} {chain} {rule}\n");
    }

    /// <summary>Publishes ports. Empty text when there are none.</summary>
    public static string Add(string table, IReadOnlyList<FirewallPort> ports) => Elements("add", table, ports, withTarget: true);

    /// <summary>Withdraws ports. Empty text when there are none.</summary>
    public static string Remove(string table, IReadOnlyList<FirewallPort> ports) => Elements("delete", table, ports, withTarget: false);

    public static string RemoveTable(string table) => $"add table ip {table}\ndelete table ip {table}\n";

    private static string Elements(string verb, string table, IReadOnlyList<FirewallPort> ports, bool withTarget)
    {
        var text = new StringBuilder();
        Write("published_at", [.. ports.Where(p => p.HostAddress != Ipv4Address.Any)]);
        Write("published_anywhere", [.. ports.Where(p => p.HostAddress == Ipv4Address.Any)]);
        return text.ToString();

        void Write(string map, FirewallPort[] elements)
        {
            if (elements.Length == 0) return;
            text.Append(CultureInfo.InvariantCulture, $"{verb} element ip {table} {map} {{ ");
            for (var i = 0; i < elements.Length; i++)
            {
                var p = elements[i];
                if (i > 0) text.Append(", ");
                if (p.HostAddress != Ipv4Address.Any) text.Append(CultureInfo.InvariantCulture, $"{p.HostAddress} . ");
                text.Append(CultureInfo.InvariantCulture, $"{p.Protocol.Name()} . {p.HostPort}");
                if (withTarget) text.Append(CultureInfo.InvariantCulture, $" : {p.ContainerAddress} . {p.ContainerPort}");
            }
            text.Append(" }\n");
        }
    }
}
