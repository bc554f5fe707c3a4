using Berth.Networks;

namespace Berth.Fast.Tests.Networks;

public sealed class FirewallPlanTests
{
    private static readonly FirewallNetwork Default = new("berth0", Prefix("172.17.0.0/16"), Masquerade: true, InterContainerCommunication: true);

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
        [Default, new("berth-inner", Prefix("172.18.0.0/24"), Masquerade: false, InterContainerCommunication: false)], null));

    [Fact]
    public void One_more_port_is_one_more_element()
    {
        FirewallPort[] port = [new(PortProtocol.Tcp, default, 8080, Address("172.17.0.2"), 80), new(PortProtocol.Tcp, Address("127.0.0.1"), 81, Address("172.17.0.2"), 81)];
        Assert.Equal("add element ip t published_at { 127.0.0.1 . tcp . 81 : 172.17.0.2 . 81 }\nadd element ip t published_anywhere { tcp . 8080 : 172.17.0.2 . 80 }\n", FirewallPlan.Add("t", port));
        Assert.Equal("delete element ip t published_at { 127.0.0.1 . tcp . 81 }\ndelete element ip t published_anywhere { tcp . 8080 }\n", FirewallPlan.Remove("t", port));
        Assert.Equal("", FirewallPlan.Add("t", []));
    }

    private static Ipv4Prefix Prefix(string text) => Ipv4Prefix.TryParse(text, out var p) ? p : throw new FormatException(text);

    private static Ipv4Address Address(string text) => Ipv4Address.TryParse(text, out var a) ? a : throw new FormatException(text);

    private static void Golden(string name, string actual)
    {
        var (expected, text) = Testing.Golden.Read($"firewall/{name}.nft", actual);
        Assert.Equal(expected, text);
    }
}
