using System.Net;
using System.Net.Sockets;
using Berth.Linux;
using Berth.Networks;

namespace Berth.Kernel.Tests.Networks;

/// <summary>--ipv6 and its companions: the default bridge with both address families.</summary>
public sealed class DefaultBridgeIPv6Tests
{
    private static CancellationToken None => CancellationToken.None;

    private static InetInterface Interface(string text) => InetInterface.TryParse(text, out var i) ? i : throw new FormatException(text);

    private static InetPrefix Prefix(string text) => Interface(text).Prefix;

    private static SandboxRequest Web(string name = "web") => Machine.Join(name) with { Ports = [PortRequest.Parse("80/tcp", null, "8080"), PortRequest.Parse("53/udp", null, "8053")] };

    private static NetworkManagerOptions Dual(Machine machine) => machine.Options with { EnableIPv6 = true, BridgeAddress6 = Interface("fd00:42::1/64") };

    private static string[] BridgeAddresses(Machine machine) => NetworkNamespace.Run(machine.Host, () =>
    {
        using var netlink = NetlinkSocket.OpenRoute();
        var index = netlink.Link("berth0")!.Index;
        return netlink.Addresses().Where(a => a.LinkIndex == index && !a.Address.IsIPv6LinkLocal).Select(a => $"{a.Address}/{a.PrefixLength}").Order(StringComparer.Ordinal).ToArray();
    });

    [Fact]
    public async Task Containers_have_both_families_and_their_ports_are_reached_by_both()
    {
        await using var machine = Machine.Create();
        machine.GiveIPv6();
        var engine = await machine.StartEngineAsync(Dual(machine));
        using var web = await engine.JoinAsync("w", Web(), None);
        using var other = await engine.JoinAsync("o", Machine.Join("other"), None);
        machine.Serve(web.Namespace!, 80, "web", address: IPAddress.IPv6Any);
        machine.Serve(web.Namespace!, 53, "names", ProtocolType.Udp, IPAddress.IPv6Any);
        machine.Serve(machine.Outside, 82, "outside", address: IPAddress.IPv6Any);

        var endpoint = web.State.Endpoints[0];
        Assert.Equal(("fd00:42::2", 64, "fd00:42::1"), (endpoint.IPv6Address, endpoint.IPv6PrefixLength, endpoint.IPv6Gateway));
        Assert.Equal(["198.18.50.1/24", "fd00:42::1/64"], BridgeAddresses(machine));
        Assert.Equal("web sees fd00:42::3", await Machine.FetchAsync(other.Namespace!, "fd00:42::2", 80));
        Assert.Equal("outside sees 2001:db8::1", await Machine.FetchAsync(web.Namespace!, "2001:db8::2", 82));
        Assert.Equal("web sees 2001:db8::2", await Machine.FetchAsync(machine.Outside, "2001:db8::1", 8080));
        Assert.Equal("names sees 2001:db8::2", await Machine.FetchAsync(machine.Outside, "2001:db8::1", 8053, ProtocolType.Udp));
        // Nothing leads from ::1 but the daemon.
        Assert.Equal("web sees fd00:42::1", await Machine.FetchAsync(machine.Host, "::1", 8080));
        Assert.Equal("names sees fd00:42::1", await Machine.FetchAsync(machine.Host, "::1", 8053, ProtocolType.Udp));
        Assert.Equal("timed out", await Machine.FetchAsync(machine.Outside, "fd00:42::2", 80, timeoutMilliseconds: 300));
        Assert.Equal(["198.18.50.1", "fd00:42::1"], engine.HostGateways.Select(a => a.ToString()));
        var record = engine.Find("bridge")!;
        Assert.True(record.Spec.EnableIPv6);
        Assert.Equal(["198.18.50.0/24", "fd00:42::/64"], record.Spec.Subnets.Select(s => s.Subnet.ToString()));
    }

    [Fact]
    public async Task A_subnet_that_nobody_gave_is_one_of_the_engines_own_and_stays()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync(machine.Options with { EnableIPv6 = true });
        var chosen = engine.Find("bridge")!.Spec.Subnets[1].Subnet;
        Assert.StartsWith("fd", chosen.ToString());
        Assert.Equal(64, chosen.Length);
        var more = await engine.CreateAsync(new NetworkRequest { Name = "more", EnableIPv6 = true }, None);
        Assert.False(more.Spec.Subnets[1].Subnet.Overlaps(chosen));
        await engine.ShutdownAsync(None);
        Assert.Empty(machine.Links());

        var next = await machine.StartEngineAsync(machine.Options with { EnableIPv6 = true });
        Assert.Equal(chosen, next.Find("bridge")!.Spec.Subnets[1].Subnet);
    }

    [Fact]
    public async Task Fixed_ranges_are_the_subnets_where_no_address_was_given_and_a_gateway_may_be_somebody_else()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync(machine.Options with
        {
            BridgeAddress = null, FixedCidr = Prefix("198.18.60.128/25"), EnableIPv6 = true, FixedCidr6 = Prefix("2001:db8:42::/64"),
            DefaultGateway6 = InetAddress.TryParse("2001:db8:42::fe", out var gateway) ? gateway : default,
        });
        Assert.Equal(["198.18.60.129/25", "2001:db8:42::1/64"], BridgeAddresses(machine));
        using var a = await engine.JoinAsync("a", Machine.Join("a"), None);
        Assert.Equal(("198.18.60.130", "2001:db8:42::2", "2001:db8:42::fe"), (a.State.Endpoints[0].IPAddress, a.State.Endpoints[0].IPv6Address, a.State.Endpoints[0].IPv6Gateway));

        // Part of a subnet that was given.
        await engine.LeaveAsync("a", None);
        await engine.ShutdownAsync(None);
        engine = await machine.StartEngineAsync(Dual(machine) with { FixedCidr6 = Prefix("fd00:42::8:0/112") });
        using var b = await engine.JoinAsync("b", Machine.Join("b"), None);
        Assert.Equal("fd00:42::8:0", b.State.Endpoints[0].IPv6Address);
        await Assert.ThrowsAsync<NetworkException>(() => machine.StartEngineAsync(Dual(machine) with { BridgeName = "berth9", FixedCidr6 = Prefix("fd00:43::/112") }));
    }

    [Fact]
    public async Task IPv6_comes_with_a_restart_for_new_containers_and_goes_with_the_last_that_had_it()
    {
        await using var machine = Machine.Create();
        var first = await machine.StartEngineAsync();
        using var old = await first.JoinAsync("old", Machine.Join("old"), None);
        await machine.KillAsync(first);

        var second = await machine.StartEngineAsync(Dual(machine), restore: false);
        await second.RestoreAsync([new RunningContainer(0, old.State)], None);
        using var fresh = await second.JoinAsync("fresh", Machine.Join("fresh"), None);
        Assert.Equal("fd00:42::2", fresh.State.Endpoints[0].IPv6Address);
        Assert.Equal(["198.18.50.1/24", "fd00:42::1/64"], BridgeAddresses(machine));
        await machine.KillAsync(second);

        var third = await machine.StartEngineAsync(restore: false);
        await third.RestoreAsync([new RunningContainer(0, old.State), new RunningContainer(0, fresh.State)], None);
        Assert.False(third.Find("bridge")!.Spec.EnableIPv6);
        await third.LeaveAsync("old", None);
        await third.LeaveAsync("fresh", None);
        await third.SettleAsync(None);
        await machine.KillAsync(third);

        await machine.StartEngineAsync();
        Assert.Equal(["198.18.50.1/24"], BridgeAddresses(machine));
    }

    [Theory]
    [InlineData(ProtocolType.Tcp)]
    [InlineData(ProtocolType.Udp)]
    public async Task Without_rules_for_IPv6_its_ports_are_carried_by_the_daemon(ProtocolType protocol)
    {
        await using var machine = Machine.Create();
        machine.GiveIPv6();
        var engine = await machine.StartEngineAsync(Dual(machine) with { Firewall6 = false });
        using var web = await engine.JoinAsync("w", Web(), None);
        machine.Serve(web.Namespace!, protocol == ProtocolType.Tcp ? 80 : 53, "web", protocol, IPAddress.IPv6Any);
        Assert.DoesNotContain("table ip6", machine.Ruleset());
        var port = protocol == ProtocolType.Tcp ? 8080 : 8053;
        Assert.Equal("web sees fd00:42::1", await Machine.FetchAsync(machine.Outside, "2001:db8::1", port, protocol));
        Assert.Equal("web sees ::ffff:192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, port, protocol));
        await engine.LeaveAsync("w", None);
    }

    [Fact]
    public async Task Rules_for_IPv6_alone_leave_IPv4_to_the_daemon()
    {
        await using var machine = Machine.Create();
        machine.GiveIPv6();
        var both = await machine.StartEngineAsync(Dual(machine));
        await machine.KillAsync(both);
        var engine = await machine.StartEngineAsync(Dual(machine) with { Firewall = false });
        using var web = await engine.JoinAsync("w", Web(), None);
        machine.Serve(web.Namespace!, 80, "web", address: IPAddress.IPv6Any);
        Assert.DoesNotContain("table ip berth", machine.Ruleset());
        Assert.Equal("web sees 2001:db8::2", await Machine.FetchAsync(machine.Outside, "2001:db8::1", 8080));
        Assert.Equal("web sees ::ffff:198.18.50.1", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        // A network more, and one less, in one table of the two.
        await engine.CreateAsync(new NetworkRequest { Name = "more", EnableIPv6 = true }, None);
        await engine.RemoveAsync("more", None);
        Assert.Equal("web sees 2001:db8::2", await Machine.FetchAsync(machine.Outside, "2001:db8::1", 8080));
    }

    [Fact]
    public async Task A_bridge_of_others_must_have_an_address_already()
    {
        await using var machine = Machine.Create();
        machine.Sh("ip link add br-own type bridge; ip addr add 198.18.51.1/24 dev br-own; ip link set br-own up");
        var options = machine.Options with { BridgeName = "br-own", BridgeAddress = null, EnableIPv6 = true };
        var e = await Assert.ThrowsAsync<NetworkException>(() => machine.StartEngineAsync(options));
        Assert.Equal("bridge br-own belongs to others and has no IPv6 address: give it one, or leave --ipv6 out", e.Message);
        machine.Sh("ip -6 addr add fd00:51::7/64 dev br-own nodad");
        var engine = await machine.StartEngineAsync(options);
        using var a = await engine.JoinAsync("a", Machine.Join("a"), None);
        Assert.Equal(("fd00:51::1", "fd00:51::7"), (a.State.Endpoints[0].IPv6Address, a.State.Endpoints[0].IPv6Gateway));
        await engine.LeaveAsync("a", None);
    }

    [Fact]
    public async Task A_published_SCTP_port_is_reserved_by_name()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        using var taken = NetworkNamespace.Run(machine.Host, () => InternetSocket.TryOpenSctp(AddressFamily.InterNetwork));
        SandboxRequest Publishing(string name, string port) => Machine.Join(name) with { Ports = [PortRequest.Parse("9/sctp", null, port)] };
        using var first = await engine.JoinAsync("a", Publishing("a", "9001"), None);
        var e = await Assert.ThrowsAsync<NetworkException>(() => engine.JoinAsync("b", Publishing("b", "9001"), None));
        Assert.EndsWith("Bind for 0.0.0.0:9001 failed: port is already allocated", e.Message);
        Assert.Contains("sctp . 9001 : 198.18.50.2 . 9", machine.Ruleset());
        if (taken is null) return; // nobody on such a machine can have an SCTP port

        InternetSocket.Bind(taken, new IPEndPoint(IPAddress.Any, 9002));
        e = await Assert.ThrowsAsync<NetworkException>(() => engine.JoinAsync("b", Publishing("b", "9002"), None));
        Assert.EndsWith("failed to bind host port for 0.0.0.0:9002:198.18.50.3:9/sctp: address already in use", e.Message);
        using var other = NetworkNamespace.Run(machine.Host, () => InternetSocket.TryOpenSctp(AddressFamily.InterNetwork));
        Assert.Equal(Errno.EADDRINUSE, Assert.Throws<LinuxException>(() => InternetSocket.Bind(other!, new IPEndPoint(IPAddress.Any, 9001))).Errno);
    }
}
