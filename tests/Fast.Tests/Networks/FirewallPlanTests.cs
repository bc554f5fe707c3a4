using Berth.Networks;

namespace Berth.Fast.Tests.Networks;

public sealed class FirewallPlanTests
{
    private static readonly FirewallNetwork Default = new("berth0") { Subnet = Prefix("172.17.0.0/16") };

    [Fact]
    public void The_default_network_without_ports() => Golden("default", FirewallPlan.For("berth_berth0", [Default], []));

    [Fact]
    public void Rules_alone_leave_published_ports_as_they_are() => Golden("rules-alone", FirewallPlan.For("berth_berth0", [Default], null));

    [Fact]
    public void Ports_of_all_kinds() => Golden("ports", FirewallPlan.For("berth_berth0", [Default], [
        new(PortProtocol.Tcp, default, 8080, Address("172.17.0.2"), 80),
        new(PortProtocol.Udp, Address("127.0.0.1"), 5353, Address("172.17.0.3"), 53),
        new(PortProtocol.Sctp, default, 9, Address("172.17.0.3"), 9),
    ]));

    [Fact]
    public void A_network_without_icc_and_masquerade_beside_the_default() => Golden("two-networks", FirewallPlan.For("berth_berth0",
        [Default, new("berth-inner") { Subnet = Prefix("172.18.0.0/24"), Masquerade = false, InterContainerCommunication = false }], null));

    private static readonly FirewallNetwork Dual = new("br-0123456789ab") { Subnet = Prefix("172.18.0.0/16"), Subnet6 = Prefix("fd00:1::/64") };

    [Fact]
    public void A_network_more_is_its_own_chains_and_elements_in_both_tables() => Golden("add-network", FirewallPlan.AddNetwork("t", Dual));

    [Fact]
    public void A_network_less_takes_them_away() => Golden("remove-network", FirewallPlan.RemoveNetwork("t", Dual));

    [Fact]
    public void An_internal_network_lets_nothing_in_or_out() => Golden("internal", FirewallPlan.AddNetwork("t", Dual with { Subnet6 = null, Internal = true }));

    [Fact]
    public void A_routed_network_opens_ports_at_the_containers_own_addresses() => Golden("routed", FirewallPlan.AddNetwork("t", Dual with { Mode = GatewayMode.Routed, Mode6 = GatewayMode.Routed })
        + FirewallPlan.Add("t", [new(PortProtocol.Tcp, default, 0, Address("172.18.0.2"), 80), new(PortProtocol.Tcp, InetAddress.IPv6Any, 0, Address("fd00:1::2"), 80)]));

    [Fact]
    public void An_unprotected_network_with_an_address_to_wear() => Golden("unprotected", FirewallPlan.AddNetwork("t",
        Dual with { Subnet6 = null, Mode = GatewayMode.NatUnprotected, HostAddress = Address("192.0.2.9"), TrustedInterfaces = ["vpn0"] }));

    [Fact]
    public void IPv6_ports_lead_to_IPv6_addresses() => Golden("ports6", FirewallPlan.For("berth_berth0", [Default, Dual], [
        new(PortProtocol.Tcp, InetAddress.IPv6Any, 8080, Address("fd00:1::2"), 80), new(PortProtocol.Udp, Address("2001:db8::1"), 53, Address("fd00:1::2"), 53)]));

    [Fact]
    public void One_more_port_is_one_more_element()
    {
        FirewallPort[] port = [new(PortProtocol.Tcp, default, 8080, Address("172.17.0.2"), 80), new(PortProtocol.Tcp, Address("127.0.0.1"), 81, Address("172.17.0.2"), 81)];
        Assert.Equal("add element ip t published_at { 127.0.0.1 . tcp . 81 : 172.17.0.2 . 81 }\nadd element ip t published_anywhere { tcp . 8080 : 172.17.0.2 . 80 }\n", FirewallPlan.Add("t", port));
        Assert.Equal("delete element ip t published_at { 127.0.0.1 . tcp . 81 }\ndelete element ip t published_anywhere { tcp . 8080 }\n", FirewallPlan.Remove("t", port));
        Assert.Equal("", FirewallPlan.Add("t", []));
    }

    private static InetPrefix Prefix(string text) => InetPrefix.TryParse(text, out var p) ? p : throw new FormatException(text);

    private static InetAddress Address(string text) => InetAddress.TryParse(text, out var a) ? a : throw new FormatException(text);

    private static void Golden(string name, string actual)
    {
        var (expected, text) = Testing.Golden.Read($"firewall/{name}.nft", actual);
        Assert.Equal(expected, text);
    }
}
