using System.Net;
using Berth.Linux;
using Berth.Networks;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Networks;

/// <summary>Networks that users make: bridges of their own, several per container, both address families.</summary>
public sealed class UserNetworkTests
{
    private static CancellationToken None => CancellationToken.None;

    private static NetworkRequest Named(string name, string? subnet = null, params (string Option, string Value)[] options) => new()
    {
        Name = name, Subnets = subnet is null ? [] : [new SubnetRequest(subnet, null, null, null)], Options = options.ToDictionary(o => o.Option, o => o.Value),
    };

    private static SandboxRequest Publishing(SandboxRequest request, string port, string? hostPort, string? hostIp = null) => request with { Ports = [PortRequest.Parse(port, hostIp, hostPort)] };

    /// <summary>What `ip` would show of one interface: "name address/length …".</summary>
    private static string[] Interfaces(SafeFileHandle place) => NetworkNamespace.Run(place, () =>
    {
        using var netlink = NetlinkSocket.OpenRoute();
        var addresses = netlink.Addresses().Where(a => !a.Address.IsIPv6LinkLocal).ToLookup(a => a.LinkIndex, a => $"{a.Address}/{a.PrefixLength}");
        return netlink.Links().Where(l => l.Name != "lo").Select(l => string.Join(' ', [l.Name, .. addresses[l.Index]])).ToArray();
    });

    private static string? DefaultRouteBy(SafeFileHandle place, bool ipv6 = false) => NetworkNamespace.Run(place, () =>
    {
        using var netlink = NetlinkSocket.OpenRoute();
        return netlink.Routes(ipv6).FirstOrDefault(r => r.PrefixLength == 0) is { } route ? netlink.Links().First(l => l.Index == route.LinkIndex).Name : null;
    });

    [Fact]
    public async Task Containers_of_one_network_reach_each_other_and_those_of_another_are_strangers()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        var red = await engine.CreateAsync(Named("red", "198.18.51.0/24"), None);
        await engine.CreateAsync(Named("blue", "198.18.52.0/24"), None);
        using var a = await engine.JoinAsync("a", Machine.Join("a", "red"), None);
        using var b = await engine.JoinAsync("b", Publishing(Machine.Join("b", "red"), "80/tcp", "8080"), None);
        using var c = await engine.JoinAsync("c", Machine.Join("c", "blue"), None);
        using var d = await engine.JoinAsync("d", Machine.Join("d"), None);
        foreach (var sandbox in (NetworkSandbox[])[b, c, d]) machine.Serve(sandbox.Namespace!, 80, sandbox.State.ContainerName);
        machine.Serve(machine.Outside, 82, "outside");

        Assert.Equal("b sees 198.18.51.2", await Machine.FetchAsync(a.Namespace!, "198.18.51.3", 80));
        Assert.Equal("outside sees 192.0.2.1", await Machine.FetchAsync(a.Namespace!, Machine.OutsideAddress, 82));
        // Both ways, the default network included.
        Assert.Equal("timed out", await Machine.FetchAsync(a.Namespace!, "198.18.52.2", 80, timeoutMilliseconds: 300));
        Assert.Equal("timed out", await Machine.FetchAsync(c.Namespace!, "198.18.51.3", 80, timeoutMilliseconds: 300));
        Assert.Equal("timed out", await Machine.FetchAsync(a.Namespace!, "198.18.50.2", 80, timeoutMilliseconds: 300));
        Assert.Equal("timed out", await Machine.FetchAsync(d.Namespace!, "198.18.51.3", 80, timeoutMilliseconds: 300));
        Assert.Equal("timed out", await Machine.FetchAsync(machine.Outside, "198.18.51.3", 80, timeoutMilliseconds: 300));
        // But published ports are for everybody.
        Assert.Equal("b sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        Assert.StartsWith("b sees ", await Machine.FetchAsync(c.Namespace!, Machine.HostAddress, 8080));
        Assert.StartsWith("b sees ", await Machine.FetchAsync(b.Namespace!, Machine.HostAddress, 8080));
        Assert.Equal($"br-{red.Id[..12]}", Assert.Single(machine.Links(), l => l.Contains(red.Id[..12], StringComparison.Ordinal)).Split(' ')[1]);
    }

    [Fact]
    public async Task A_network_in_use_stays_and_one_that_is_removed_leaves_nothing()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        var (links, rules) = (machine.Links(), machine.Ruleset());
        var red = await engine.CreateAsync(Named("red", "198.18.51.0/24") with { EnableIPv6 = true }, None);
        using (var a = await engine.JoinAsync("a", Machine.Join("a", "red"), None))
        {
            var busy = await Assert.ThrowsAsync<NetworkException>(() => engine.RemoveAsync("red", None));
            Assert.Equal($"error while removing network: network red has active endpoints (name:\"a\" id:\"{a.State.Endpoints[0].EndpointId[..12]}\")", busy.Message);
            Assert.Equal(NetworkErrorKind.Forbidden, busy.Kind);
        }
        await engine.LeaveAsync("a", None);
        await engine.SettleAsync(None);
        await engine.RemoveAsync(red.Id[..10], None);

        Assert.Equal(links, machine.Links());
        // The frame of the table for IPv6 stays, as its sibling's does.
        Assert.Equal(rules.TrimEnd(), machine.Nft("list table ip berth_berth0").TrimEnd());
        Assert.DoesNotContain(red.Id[..12], machine.Ruleset());
        Assert.Null(engine.Find("red"));
    }

    [Fact]
    public async Task Networks_are_there_again_after_a_restart_and_what_nobody_knows_is_swept()
    {
        await using var machine = Machine.Create();
        var first = await machine.StartEngineAsync();
        var red = await first.CreateAsync(Named("red", null, ("com.docker.network.bridge.name", "br-red")) with { Labels = new Dictionary<string, string> { ["a"] = "b" }, EnableIPv6 = true }, None);
        var gone = await first.CreateAsync(Named("gone", "198.18.53.0/24"), None);
        using var a = await first.JoinAsync("a", Publishing(Machine.Join("a", "red"), "80/tcp", "8080"), None);
        machine.Serve(a.Namespace!, 80, "a");
        await machine.KillAsync(first);
        // As a removal that was cut short: no longer known, but its bridge is there. And one that should be there is not.
        var file = Path.Combine(machine.Options.DataDirectory, "networks.json");
        var networks = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(file))!;
        var list = networks["Networks"]!.AsArray();
        list.Remove(list.First(n => (string)n!["Name"]! == "gone"));
        File.WriteAllText(file, networks.ToJsonString());

        var second = await machine.StartEngineAsync(restore: false);
        await second.RestoreAsync([new RunningContainer(0, a.State)], None);
        Assert.DoesNotContain($"bridge br-{gone.Id[..12]}", machine.Links());
        var again = second.Find("red")!;
        Assert.Equal(red.Spec.Subnets.Select(s => (s.Subnet, s.Gateway)), again.Spec.Subnets.Select(s => (s.Subnet, s.Gateway)));
        Assert.Equal(red.Spec.Labels, again.Spec.Labels);
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        Assert.Equal("a", Assert.Single(again.Endpoints.Values).ContainerName);
        var b = await Assert.ThrowsAsync<NetworkException>(() => second.JoinAsync("b", Machine.Join("b", "red") with { Endpoints = [new EndpointRequest { Network = "red", Address = Parse(a.State.Endpoints[0].IPAddress) }] }, None));
        Assert.Equal("Address already in use", b.Message);

        await second.LeaveAsync("a", None);
        await second.ShutdownAsync(None);
        Assert.Equal([], machine.Links());
        await machine.KillAsync(second);
        var third = await machine.StartEngineAsync();
        Assert.Contains("bridge br-red", machine.Links());
        Assert.Equal(red.Id, third.Find("red")!.Id);
    }

    private static InetAddress Parse(string text) => InetAddress.TryParse(text, out var address) ? address : throw new FormatException(text);

    [Fact]
    public async Task An_internal_network_reaches_its_own_and_nothing_else()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        await engine.CreateAsync(Named("inner", "198.18.51.0/24") with { Internal = true }, None);
        using var a = await engine.JoinAsync("a", Publishing(Machine.Join("a", "inner"), "80/tcp", "8080"), None);
        using var b = await engine.JoinAsync("b", Machine.Join("b", "inner"), None);
        machine.Serve(a.Namespace!, 80, "a");
        machine.Serve(machine.Outside, 82, "outside");

        Assert.Equal("a sees 198.18.51.3", await Machine.FetchAsync(b.Namespace!, "198.18.51.2", 80));
        Assert.Null(DefaultRouteBy(a.Namespace!));
        Assert.Empty(a.State.Ports);
        // Not even with a route.
        NetworkNamespace.Run(a.Namespace!, () =>
        {
            using var netlink = NetlinkSocket.OpenRoute();
            var batch = new NetlinkBatch();
            batch.AddDefaultRoute(netlink.Link("eth0")!.Index, [198, 18, 51, 1]);
            netlink.Execute(batch);
            return 0;
        });
        Assert.Equal("timed out", await Machine.FetchAsync(a.Namespace!, Machine.OutsideAddress, 82, timeoutMilliseconds: 300));
        Assert.Equal("timed out", await Machine.FetchAsync(machine.Outside, "198.18.51.2", 80, timeoutMilliseconds: 300));
        Assert.Equal("refused", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
    }

    [Fact]
    public async Task A_dual_stack_network_reaches_and_is_reached_by_both()
    {
        await using var machine = Machine.Create();
        machine.GiveIPv6();
        var engine = await machine.StartEngineAsync();
        var dual = await engine.CreateAsync(Named("dual", "198.18.51.0/24") with { EnableIPv6 = true, Subnets = [new("198.18.51.0/24", null, null, null), new("fd00:26::/64", null, null, null)] }, None);
        using var a = await engine.JoinAsync("a", Publishing(Machine.Join("a", "dual"), "80/tcp", "8080"), None);
        using var b = await engine.JoinAsync("b", Machine.Join("b", "dual"), None);
        machine.Serve(a.Namespace!, 80, "a", address: IPAddress.IPv6Any);
        machine.Serve(machine.Outside, 82, "outside", address: IPAddress.IPv6Any);

        Assert.Equal(["eth0 198.18.51.2/24 fd00:26::2/64"], Interfaces(a.Namespace!));
        Assert.Equal(("fd00:26::2", "fd00:26::1", 64), (a.State.Endpoints[0].IPv6Address, a.State.Endpoints[0].IPv6Gateway, a.State.Endpoints[0].IPv6PrefixLength));
        Assert.Equal("eth0", DefaultRouteBy(a.Namespace!, ipv6: true));
        Assert.Equal("a sees fd00:26::3", await Machine.FetchAsync(b.Namespace!, "fd00:26::2", 80));
        Assert.Equal("outside sees 2001:db8::1", await Machine.FetchAsync(a.Namespace!, "2001:db8::2", 82));
        // The client's address is kept, other than through the socket that carries it where there is no IPv6.
        Assert.Equal("a sees 2001:db8::2", await Machine.FetchAsync(machine.Outside, "2001:db8::1", 8080));
        Assert.Equal("a sees ::ffff:192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        Assert.StartsWith("a sees ", await Machine.FetchAsync(machine.Host, "::1", 8080));
        Assert.Equal("timed out", await Machine.FetchAsync(machine.Outside, "fd00:26::2", 80, timeoutMilliseconds: 300));
        Assert.Equal(["0.0.0.0", "::"], a.State.Ports.Select(p => p.HostIp));
        Assert.Equal(2, dual.Spec.Subnets.Count);
    }

    [Fact]
    public async Task Without_a_subnet_a_dual_stack_network_has_one_of_the_engines_own()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        var dual = await engine.CreateAsync(Named("dual") with { EnableIPv6 = true }, None);
        var more = await engine.CreateAsync(Named("more") with { EnableIPv6 = true, EnableIPv4 = false }, None);
        Assert.Equal("172.17.0.0/16", dual.Spec.Subnets[0].Subnet.ToString());
        var own = dual.Spec.Subnets[1].Subnet;
        Assert.StartsWith("fd", own.ToString());
        Assert.Equal((64, own.Network + ((UInt128)1 << 64)), (own.Length, more.Spec.Subnets[0].Subnet.Network));
        using var six = await engine.JoinAsync("a", Machine.Join("a", "more"), None);
        Assert.Equal("", six.State.Endpoints[0].IPAddress);
        Assert.Equal([$"eth0 {own.Network + ((UInt128)1 << 64) + 2}/64"], Interfaces(six.Namespace!));
    }

    [Fact]
    public async Task A_routed_network_is_reached_at_its_own_addresses_by_published_ports_alone()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        await engine.CreateAsync(Named("routed", "198.18.51.0/24", ("com.docker.network.bridge.gateway_mode_ipv4", "routed")), None);
        using var a = await engine.JoinAsync("a", Publishing(Machine.Join("a", "routed"), "80/tcp", "8080"), None);
        machine.Serve(a.Namespace!, 80, "a");
        machine.Serve(a.Namespace!, 81, "a");
        machine.Serve(machine.Outside, 82, "outside");

        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, "198.18.51.2", 80));
        Assert.Equal("timed out", await Machine.FetchAsync(machine.Outside, "198.18.51.2", 81, timeoutMilliseconds: 300));
        Assert.Equal("refused", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        Assert.Equal("outside sees 198.18.51.2", await Machine.FetchAsync(a.Namespace!, Machine.OutsideAddress, 82));
        Assert.Equal((ushort)0, Assert.Single(a.State.Ports).HostPort);
        await engine.LeaveAsync("a", None);
        Assert.DoesNotContain("198.18.51.2", machine.Ruleset());
    }

    [Fact]
    public async Task An_unprotected_network_is_reached_at_its_own_addresses_but_not_from_other_networks()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        await engine.CreateAsync(Named("open", "198.18.51.0/24", ("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected")), None);
        using var a = await engine.JoinAsync("a", Machine.Join("a", "open"), None);
        using var other = await engine.JoinAsync("o", Machine.Join("o"), None);
        machine.Serve(a.Namespace!, 80, "a");
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, "198.18.51.2", 80));
        Assert.Equal("timed out", await Machine.FetchAsync(other.Namespace!, "198.18.51.2", 80, timeoutMilliseconds: 300));
    }

    [Fact]
    public async Task Several_networks_are_numbered_by_priority_and_name_and_the_first_is_the_gateway()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        await engine.CreateAsync(Named("blue", "198.18.51.0/24"), None);
        await engine.CreateAsync(Named("red", "198.18.52.0/24"), None);
        await engine.CreateAsync(Named("inner", "198.18.53.0/24") with { Internal = true }, None);
        using var a = await engine.JoinAsync("a", Publishing(Machine.Join("a", "red", "inner", "blue"), "80/tcp", "8080"), None);
        machine.Serve(a.Namespace!, 80, "a");
        Assert.Equal(["eth0 198.18.51.2/24", "eth1 198.18.52.2/24", "eth2 198.18.53.2/24"], Interfaces(a.Namespace!));
        Assert.Equal("eth0", DefaultRouteBy(a.Namespace!));
        Assert.Contains("198.18.51.2 . 80", machine.Ruleset());

        using var b = await engine.JoinAsync("b", new SandboxRequest
        {
            ContainerName = "b", Endpoints = [new() { Network = "blue", InterfaceName = "data0" }, new() { Network = "red", GatewayPriority = 7 }, new() { Network = "inner", GatewayPriority = 1 }],
        }, None);
        Assert.Equal(["eth0 198.18.52.3/24", "eth1 198.18.53.3/24", "data0 198.18.51.3/24"], Interfaces(b.Namespace!));
        Assert.Equal("eth0", DefaultRouteBy(b.Namespace!));
        Assert.Equal(["red", "inner", "blue"], b.State.Endpoints.Select(e => e.NetworkName));
        await engine.LeaveAsync("a", None);
        await engine.LeaveAsync("b", None);
        Assert.Empty(engine.Find("red")!.Endpoints);
    }

    [Fact]
    public async Task A_running_container_is_connected_and_disconnected_and_its_ports_follow_the_gateway()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        var changes = new List<string>();
        engine.SandboxChanged += c => changes.Add($"{c.Kind} {string.Join(' ', c.Sandbox.Endpoints.Select(e => e.NetworkName))}");
        var red = await engine.CreateAsync(Named("red", "198.18.52.0/24"), None);
        await engine.CreateAsync(Named("inner", "198.18.53.0/24") with { Internal = true }, None);
        using var a = await engine.JoinAsync("a", Publishing(Machine.Join("a", "inner"), "80/tcp", null), None);
        machine.Serve(a.Namespace!, 80, "a");
        Assert.Empty(a.State.Ports);

        var two = await engine.ConnectAsync("a", new EndpointRequest { Network = "red" }, a.Namespace!, None);
        Assert.Equal(["eth0 198.18.53.2/24", "eth1 198.18.52.2/24"], Interfaces(a.Namespace!));
        Assert.Equal("eth1", DefaultRouteBy(a.Namespace!));
        var port = two.Ports[0].HostPort;
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, port));
        Assert.Equal("endpoint with name a already exists in network red",
            (await Assert.ThrowsAsync<NetworkException>(() => engine.ConnectAsync("a", new EndpointRequest { Network = "red" }, a.Namespace!, None))).Message);

        // "bridge" comes before "red": it is the gateway now, and the port that was given stays.
        var three = await engine.ConnectAsync("a", new EndpointRequest { Network = "bridge" }, a.Namespace!, None);
        Assert.Equal("eth2", DefaultRouteBy(a.Namespace!));
        Assert.Equal(port, three.Ports[0].HostPort);
        Assert.Contains($"{port} : 198.18.50.2 . 80", machine.Ruleset());
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, port));

        var back = await engine.DisconnectAsync("a", three.On("bridge")!.NetworkId, a.Namespace!, None);
        Assert.Equal(["eth0 198.18.53.2/24", "eth1 198.18.52.2/24"], Interfaces(a.Namespace!));
        Assert.Equal("eth1", DefaultRouteBy(a.Namespace!));
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, port));
        Assert.Null(await engine.DisconnectAsync("a", three.On("bridge")!.NetworkId, a.Namespace!, None));
        // The number that became free is given again.
        await engine.DisconnectAsync("a", back!.On("inner")!.NetworkId, a.Namespace!, None);
        await engine.ConnectAsync("a", new EndpointRequest { Network = "bridge" }, a.Namespace!, None);
        Assert.Contains("eth0 198.18.50.2/24", Interfaces(a.Namespace!));

        await engine.DisconnectAsync("a", red.Id, a.Namespace!, None);
        await engine.LeaveAsync("a", None);
        Assert.DoesNotContain(". 80", machine.Ruleset());
        Assert.Equal(["Opened inner", "Changed red inner", "Changed bridge red inner", "Changed red inner", "Changed red", "Changed bridge red", "Changed bridge", "Closed bridge"], changes);
    }

    [Fact]
    public async Task A_connection_that_fails_leaves_the_container_as_it_was()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        await engine.CreateAsync(Named("first", "198.18.52.0/24"), None);
        await engine.CreateAsync(Named("a-second", "198.18.53.0/24"), None);
        using var a = await engine.JoinAsync("a", Publishing(Machine.Join("a", "first"), "80/tcp", "8080"), None);
        machine.Serve(a.Namespace!, 80, "a");
        var links = machine.Links();
        await Assert.ThrowsAsync<NetworkException>(() => engine.ConnectAsync("a", new EndpointRequest { Network = "a-second", Sysctls = ["net.ipv4.conf.IFNAME.nosuch=1"] }, a.Namespace!, None));
        await engine.SettleAsync(None);
        Assert.Equal(links, machine.Links());
        Assert.Equal("eth0", DefaultRouteBy(a.Namespace!));
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        await engine.RemoveAsync("a-second", None);
    }

    [Fact]
    public async Task Static_addresses_ranges_gateways_and_reserved_addresses_are_kept_to()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        await engine.CreateAsync(new NetworkRequest
        {
            Name = "red", Subnets = [new("198.18.51.0/24", "198.18.51.64/30", "198.18.51.254", new Dictionary<string, string> { ["printer"] = "198.18.51.64" })],
        }, None);
        using var a = await engine.JoinAsync("a", Machine.Join("a", "red"), None);
        Assert.Equal(("198.18.51.65", "198.18.51.254"), (a.State.Endpoints[0].IPAddress, a.State.Endpoints[0].Gateway));
        using var b = await engine.JoinAsync("b", new SandboxRequest { ContainerName = "b", Endpoints = [new() { Network = "red", Address = Parse("198.18.51.9"), Sysctls = ["net.ipv4.conf.IFNAME.log_martians=1"] }] }, None);
        Assert.Equal(["eth0 198.18.51.9/24"], Interfaces(b.Namespace!));
        Assert.Equal("1", NetworkNamespace.Run(b.Namespace!, () => File.ReadAllText("/proc/sys/net/ipv4/conf/eth0/log_martians").Trim()));
        foreach (var taken in (string[])["198.18.51.9", "198.18.51.64", "198.18.51.254"])
        {
            var e = await Assert.ThrowsAsync<NetworkException>(() => engine.JoinAsync("c", new SandboxRequest { ContainerName = "c", Endpoints = [new() { Network = "red", Address = Parse(taken) }] }, None));
            Assert.Equal((NetworkErrorKind.Forbidden, "Address already in use"), (e.Kind, e.Message));
        }
    }

    [Fact]
    public async Task Chosen_subnets_avoid_routes_of_the_host_and_given_ones_other_networks()
    {
        await using var machine = Machine.Create();
        machine.Sh("ip route add 172.17.0.0/16 via 192.0.2.2; ip route add 172.18.5.0/24 via 192.0.2.2");
        var engine = await machine.StartEngineAsync();
        Assert.Equal("172.19.0.0/16", (await engine.CreateAsync(Named("one"), None)).Spec.Subnets[0].Subnet.ToString());
        Assert.Equal("172.20.0.0/16", (await engine.CreateAsync(Named("two"), None)).Spec.Subnets[0].Subnet.ToString());
        await engine.RemoveAsync("one", None);
        Assert.Equal("172.19.0.0/16", (await engine.CreateAsync(Named("three"), None)).Spec.Subnets[0].Subnet.ToString());
        var e = await Assert.ThrowsAsync<NetworkException>(() => engine.CreateAsync(Named("four", "172.20.7.0/24"), None));
        Assert.Equal((NetworkErrorKind.Forbidden, "invalid pool request: Pool overlaps with other one on this address space"), (e.Kind, e.Message));
    }

    [Fact]
    public async Task Macvlan_containers_are_on_the_parents_own_network()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        await engine.CreateAsync(Named("lan", "192.0.2.0/24", ("parent", "wan0")) with { Driver = "macvlan", Subnets = [new("192.0.2.0/24", "192.0.2.64/28", "192.0.2.2", null)] }, None);
        NetworkSandbox a;
        try
        {
            a = await engine.JoinAsync("a", Machine.Join("a", "lan"), None);
        }
        catch (NetworkException e) when (e.Message.Contains("Operation not supported", StringComparison.Ordinal))
        {
            Assert.Skip("this kernel has no macvlan");
            return;
        }
        using var sandbox = a;
        machine.Serve(machine.Outside, 82, "outside");
        machine.Serve(a.Namespace!, 80, "a");
        Assert.Equal("outside sees 192.0.2.64", await Machine.FetchAsync(a.Namespace!, Machine.OutsideAddress, 82));
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, "192.0.2.64", 80));
        await engine.LeaveAsync("a", None);
        await engine.RemoveAsync("lan", None);
        Assert.Equal(["bridge berth0"], machine.Links());
    }

    [Theory]
    [InlineData("macvlan", "macvlan_mode", "vepa")]
    [InlineData("macvlan", "macvlan_mode", "private")]
    [InlineData("macvlan", "macvlan_mode", "passthru")]
    [InlineData("ipvlan", "ipvlan_mode", "l2")]
    [InlineData("ipvlan", "ipvlan_mode", "l3")]
    [InlineData("ipvlan", "ipvlan_mode", "l3s")]
    public async Task An_interface_on_a_parent_comes_and_goes_in_every_mode(string driver, string option, string mode)
    {
        await using var machine = Machine.Create();
        machine.Sh("ip link add par0 type bridge; ip link set par0 up");
        var engine = await machine.StartEngineAsync();
        await engine.CreateAsync(Named("lan", "198.18.60.0/24", ("parent", "par0"), (option, mode)) with { Driver = driver }, None);
        NetworkSandbox a;
        try
        {
            a = await engine.JoinAsync("a", Machine.Join("a", "lan"), None);
        }
        catch (Exception e) when (e is NetworkException or LinuxException && e.Message.Contains("Operation not supported", StringComparison.Ordinal))
        {
            Assert.Skip($"this kernel has no {driver}");
            return;
        }
        using var sandbox = a;
        Assert.StartsWith("eth0 198.18.60.", Assert.Single(Interfaces(a.Namespace!)));
        Assert.Equal("eth0", DefaultRouteBy(a.Namespace!));
        var state = await engine.DisconnectAsync("a", a.State.Endpoints[0].NetworkId, a.Namespace!, None);
        Assert.Empty(state!.Endpoints);
        Assert.Empty(Interfaces(a.Namespace!));
        await engine.ConnectAsync("a", new EndpointRequest { Network = "lan" }, a.Namespace!, None);
        Assert.Equal("eth0", DefaultRouteBy(a.Namespace!));
        await engine.LeaveAsync("a", None);
        await engine.RemoveAsync("lan", None);
        Assert.Contains("bridge par0", machine.Links());
    }

    [Fact]
    public async Task A_parent_that_is_not_named_leads_nowhere_and_goes_with_its_network()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        var lan = await engine.CreateAsync(Named("lan", "198.18.60.0/24") with { Driver = "macvlan" }, None);
        Assert.Contains(machine.Links(), l => l.EndsWith($" dm-{lan.Id[..12]}", StringComparison.Ordinal));
        using var a = await engine.JoinAsync("a", Machine.Join("a", "lan"), None);
        Assert.Null(DefaultRouteBy(a.Namespace!));
        await engine.LeaveAsync("a", None);
        await engine.RemoveAsync("lan", None);
        Assert.Equal(["bridge berth0"], machine.Links());
    }

    [Fact]
    public async Task A_parent_with_a_dot_is_a_vlan_that_we_make_and_remove()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        foreach (var (parent, message) in ((string, string)[])[
            ("nosuch0", "invalid subinterface vlan name nosuch0, example formatting is eth0.10"), ("wan0.x", "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"),
            ("wan0.4095", "vlan id must be between 1-4094, received: 4095"), ("nosuch0.7", "-o parent interface was not found on the host: nosuch0"), ("lo", "loopback interface is not a valid macvlan parent link")])
            Assert.Equal(message, (await Assert.ThrowsAsync<NetworkException>(() => engine.CreateAsync(Named("vlan", null, ("parent", parent)) with { Driver = "macvlan" }, None))).Message);
        try
        {
            await engine.CreateAsync(Named("vlan", "198.18.60.0/24", ("parent", "wan0.10")) with { Driver = "macvlan" }, None);
        }
        catch (NetworkException e) when (e.Message.Contains("Operation not supported", StringComparison.Ordinal))
        {
            Assert.Skip("this kernel has no VLANs (8021q)");
        }
        Assert.Contains("vlan wan0.10", machine.Links());
        await engine.RemoveAsync("vlan", None);
        Assert.DoesNotContain("vlan wan0.10", machine.Links());
    }

    [Fact]
    public async Task A_hundred_networks_cost_a_start_no_more_than_none()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        for (var i = 0; i < 100; i++) await engine.CreateAsync(Named($"n{i}", $"198.18.{100 + i}.0/24"), None);
        Assert.Equal(103, engine.Networks.Count);
        // What a packet passes does not grow: the chains that every packet sees have the same rules.
        var forward = machine.Nft("list chain ip berth_berth0 forward");
        Assert.Equal(2, forward.Split('\n').Count(l => l.Contains("vmap", StringComparison.Ordinal)));
        Assert.DoesNotContain("br-", forward.Replace("vmap", "", StringComparison.Ordinal));
        using var a = await engine.JoinAsync("a", Publishing(Machine.Join("a", "n57"), "80/tcp", "8080"), None);
        machine.Serve(a.Namespace!, 80, "a");
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
    }
}
