using System.Net.Sockets;
using Berth.Linux;
using Berth.Networks;
using Berth.Testing;

namespace Berth.Kernel.Tests.Networks;

public sealed class RestartTests
{
    private static CancellationToken None => CancellationToken.None;

    private static SandboxRequest Publishing(string name, string hostPort) => Machine.Join(name) with { Ports = [PortRequest.Parse("80/tcp", null, hostPort)] };

    [Fact]
    public async Task Published_ports_work_while_the_daemon_is_dead_and_are_reserved_again_after()
    {
        await using var machine = Machine.Create();
        var before = await machine.StartEngineAsync();
        var bridgeId = before.Find("bridge")!.Id;
        using var web = await before.JoinAsync("w", Publishing("web", "8080"), None);
        machine.Serve(web.Namespace!, 80, "web");
        await machine.KillAsync(before);
        Assert.Equal("web sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        Assert.Equal("web sees 198.18.50.1", await Machine.FetchAsync(machine.Host, "127.0.0.1", 8080));

        var after = await machine.StartEngineAsync(restore: false);
        Assert.Equal("web sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        await after.RestoreAsync([new RunningContainer(0, web.State)], None);

        Assert.Equal(bridgeId, after.Find("bridge")!.Id);
        Assert.Equal(web.State.Endpoints[0], after.Find("bridge")!.Endpoints["w"]);
        Assert.Equal("web sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        Assert.Equal("web sees 198.18.50.1", await Machine.FetchAsync(machine.Host, "::1", 8080));
        var e = await Assert.ThrowsAsync<NetworkException>(() => after.JoinAsync("b", Publishing("beta", "8080"), None));
        Assert.EndsWith("Bind for 0.0.0.0:8080 failed: port is already allocated", e.Message);
        using var next = await after.JoinAsync("n", Publishing("next", "8081"), None);
        Assert.Equal("198.18.50.3", next.State.Endpoints[0].IPAddress);

        await after.LeaveAsync("w", None);
        Assert.Equal("refused", await Machine.FetchAsync(machine.Host, Machine.HostAddress, 8080));
    }

    [Fact]
    public async Task What_containers_that_died_meanwhile_had_is_removed()
    {
        await using var machine = Machine.Create();
        var before = await machine.StartEngineAsync();
        var idle = machine.Ruleset();
        using var lives = await before.JoinAsync("l", Publishing("lives", "8080"), None);
        var rules = machine.Ruleset();
        using var dies = await before.JoinAsync("d", Publishing("dies", "8081"), None); // its namespace stays, as if a stray process were in it
        await machine.KillAsync(before);

        var after = await machine.StartEngineAsync(restore: false);
        await after.RestoreAsync([new RunningContainer(0, lives.State)], None);
        await after.SettleAsync(None);
        Assert.Equal(rules, machine.Ruleset());
        Assert.Equal(["bridge berth0", $"veth {lives.State.Endpoints[0].HostInterface}"], machine.Links().Order());

        await after.LeaveAsync("l", None);
        await after.SettleAsync(None);
        Assert.Equal(idle, machine.Ruleset());
        await after.ShutdownAsync(None);
        Assert.Empty(machine.Links());
        Assert.Equal("", machine.Ruleset().Trim());
    }

    [Fact]
    public async Task Rules_and_bridge_that_are_gone_are_made_anew()
    {
        await using var machine = Machine.Create();
        var before = await machine.StartEngineAsync();
        using var web = await before.JoinAsync("w", Publishing("web", "8080"), None);
        machine.Serve(web.Namespace!, 80, "web");
        await machine.KillAsync(before);
        machine.Nft("flush ruleset");
        NetworkNamespace.Run(machine.Host, () =>
        {
            using var netlink = NetlinkSocket.OpenRoute();
            var batch = new NetlinkBatch();
            batch.DeleteLink("berth0");
            netlink.Execute(batch);
            return 0;
        });

        var after = await machine.StartEngineAsync(restore: false);
        await after.RestoreAsync([new RunningContainer(0, web.State)], None);
        Assert.Equal("web sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
    }

    [Fact]
    public async Task With_a_container_running_a_clean_shutdown_leaves_bridge_and_rules()
    {
        await using var machine = Machine.Create();
        var before = await machine.StartEngineAsync();
        using var web = await before.JoinAsync("w", Publishing("web", "8080"), None);
        machine.Serve(web.Namespace!, 80, "web");
        await before.ShutdownAsync(None);
        await machine.KillAsync(before);
        Assert.Equal("web sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
    }

    [Fact]
    public async Task A_port_that_another_program_took_meanwhile_is_no_obstacle()
    {
        await using var machine = Machine.Create();
        var before = await machine.StartEngineAsync();
        using var web = await before.JoinAsync("w", Publishing("web", "8080"), None);
        await machine.KillAsync(before);
        machine.Serve(machine.Host, 8080, "program");

        var after = await machine.StartEngineAsync(restore: false);
        await after.RestoreAsync([new RunningContainer(0, web.State)], None);
        Assert.Contains(machine.Log, l => l.StartsWith("Warning: Container web: host port 0.0.0.0:8080/tcp could not be reserved again", StringComparison.Ordinal));
        Assert.True(after.Find("bridge")!.Endpoints.ContainsKey("w"));
    }

    [Fact]
    public async Task None_has_loopback_only_and_host_has_no_namespace()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        using var none = await engine.JoinAsync("n", Machine.Join("n", "none"), None);
        using var host = await engine.JoinAsync("h", Machine.Join("h", "host"), None);
        Assert.Null(host.Namespace);
        Assert.Equal("", none.State.Endpoints[0].IPAddress);
        NetworkNamespace.Run(none.Namespace!, () =>
        {
            using var netlink = NetlinkSocket.OpenRoute();
            Assert.True(netlink.Link("lo")!.IsUp);
            Assert.Null(netlink.Link("eth0"));
            return 0;
        });
        Assert.Equal(["bridge", "host", "none"], engine.Networks.Select(n => n.Name));
        Assert.Equal(["n"], engine.Find("none")!.Endpoints.Keys);
        Assert.Equal("host", engine.Find(engine.Find("host")!.Id[..12])!.Name);
        Assert.Equal("bridge", engine.Find("default")!.Name);
        Assert.Null(engine.Find("nosuch"));
        var e = await Assert.ThrowsAsync<NetworkException>(() => engine.JoinAsync("x", Machine.Join("x", "nosuch"), None));
        Assert.Equal("network nosuch not found", e.Message);
    }

    [Fact]
    public async Task A_subnet_that_a_host_route_overlaps_is_refused_when_given_and_passed_over_when_not()
    {
        await using var machine = Machine.Create();
        var e = await Assert.ThrowsAsync<NetworkException>(() => machine.StartEngineAsync(machine.Options with { BridgeAddress = Interface("192.0.2.129/25") }));
        Assert.Equal("subnet 192.0.2.128/25 of bridge berth0 overlaps the host's route 192.0.2.0/24 on wan0; choose another with --bip", e.Message);
        Assert.Empty(machine.Links());

        machine.Sh("ip route add 172.17.3.0/24 via 192.0.2.2; ip route add 172.18.0.0/15 via 192.0.2.2");
        var engine = await machine.StartEngineAsync(machine.Options with { BridgeAddress = null });
        Assert.Equal("172.20.0.0/16", engine.Find("bridge")!.Spec.Subnets[0].Subnet.ToString());
        await machine.KillAsync(engine);
        machine.Sh("ip route add 172.20.9.0/24 via 192.0.2.2"); // later routes are no reason to refuse a bridge that is there
        await machine.KillAsync(await machine.StartEngineAsync(machine.Options with { BridgeAddress = Interface("172.20.0.1/16") }));
        machine.Sh("ip link del berth0; ip route del 172.20.9.0/24; ip route del 172.17.3.0/24");
        engine = await machine.StartEngineAsync(machine.Options with { BridgeAddress = null });
        Assert.Equal("172.20.0.0/16", engine.Find("bridge")!.Spec.Subnets[0].Subnet.ToString()); // remembered
    }

    [Fact]
    public async Task Engines_side_by_side_have_their_own_bridges_subnets_and_tables()
    {
        await using var machine = Machine.Create();
        using var scratch = new Scratch();
        var one = await machine.StartEngineAsync(machine.Options with { BridgeAddress = null });
        var two = await machine.StartEngineAsync(machine.Options with { BridgeAddress = null, BridgeName = "berth-two", DataDirectory = scratch.Path });
        Assert.NotEqual(one.Find("bridge")!.Spec.Subnets[0].Subnet, two.Find("bridge")!.Spec.Subnets[0].Subnet);
        using var a = await one.JoinAsync("c", Publishing("a", "8080"), None);
        using var b = await two.JoinAsync("c", Publishing("b", "8081"), None);
        machine.Serve(a.Namespace!, 80, "a");
        machine.Serve(b.Namespace!, 80, "b");
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
        Assert.Equal("b sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8081));
        // From one engine's container to another's: by its published port only.
        Assert.StartsWith("b sees ", await Machine.FetchAsync(a.Namespace!, Machine.HostAddress, 8081));
        Assert.Equal("timed out", await Machine.FetchAsync(a.Namespace!, b.State.Endpoints[0].IPAddress, 80, timeoutMilliseconds: 300));

        await two.LeaveAsync("c", None);
        await two.ShutdownAsync(None);
        Assert.DoesNotContain("berth-two", machine.Ruleset(), StringComparison.Ordinal);
        Assert.Equal("a sees 192.0.2.2", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080));
    }

    [Fact]
    public async Task Two_engines_on_one_bridge_are_refused_while_the_first_runs()
    {
        await using var machine = Machine.Create();
        using var scratch = new Scratch();
        var one = await machine.StartEngineAsync();
        var e = await Assert.ThrowsAsync<NetworkException>(() => machine.StartEngineAsync(machine.Options with { DataDirectory = scratch.Path }));
        Assert.Equal((NetworkErrorKind.Conflict, "bridge berth0 belongs to another running engine; give each its own with --bridge"), (e.Kind, e.Message));

        // One that is just ending is waited for.
        var two = Task.Run(() => machine.StartEngineAsync(machine.Options with { DataDirectory = scratch.Path }));
        await Task.WhenAny(two, Task.Delay(100));
        Assert.False(two.IsCompleted);
        await machine.KillAsync(one);
        await two;
    }

    [Fact]
    public async Task Without_a_firewall_the_bridge_does_not_route_loopback()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync(machine.Options with { Firewall = false });
        Assert.Equal("0", RouteLocalnet());
        await engine.ShutdownAsync(None);
        await machine.StartEngineAsync();
        Assert.Equal("1", RouteLocalnet());

        string RouteLocalnet() => NetworkNamespace.Run(machine.Host, () => File.ReadAllText("/proc/sys/net/ipv4/conf/berth0/route_localnet").Trim());
    }

    [Fact]
    public async Task A_bridge_that_is_not_ours_is_used_and_left()
    {
        await using var machine = Machine.Create();
        machine.Sh("ip link add br-own type bridge; ip addr add 198.18.51.1/24 dev br-own; ip link set br-own up");
        var engine = await machine.StartEngineAsync(machine.Options with { BridgeName = "br-own", BridgeAddress = null });
        using (var a = await engine.JoinAsync("a", Publishing("a", "8080"), None)) Assert.Equal("198.18.51.2", a.State.Endpoints[0].IPAddress);
        await engine.LeaveAsync("a", None);
        await engine.ShutdownAsync(None);
        Assert.Equal(["bridge br-own"], machine.Links());
        Assert.Equal("", machine.Ruleset().Trim());

        var e = await Assert.ThrowsAsync<NetworkException>(() => machine.StartEngineAsync(machine.Options with { BridgeName = "br-own" }));
        Assert.Equal("bridge br-own has address 198.18.51.1/24, not 198.18.50.1/24, and is in use by others", e.Message);
        e = await Assert.ThrowsAsync<NetworkException>(() => machine.StartEngineAsync(machine.Options with { BridgeName = "wan0" }));
        Assert.Equal("interface wan0 exists and is not a bridge", e.Message);
    }

    [Fact]
    public async Task Without_a_bridge_there_are_host_and_none()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync(machine.Options with { BridgeName = NetworkManagerOptions.NoBridge });
        Assert.Equal(["host", "none"], engine.Networks.Select(n => n.Name));
        Assert.Empty(machine.Links());
        await engine.ShutdownAsync(None);
    }

    [Fact]
    public async Task A_firewall_that_drops_what_is_forwarded_is_pointed_out()
    {
        await using var machine = Machine.Create();
        machine.Nft("add table ip filter; add chain ip filter FORWARD { type filter hook forward priority filter; policy drop; }");
        await machine.StartEngineAsync();
        Assert.Contains(machine.Log, l => l.StartsWith("Warning: The firewall chain ip filter FORWARD drops forwarded packets by default", StringComparison.Ordinal));
    }

    private static InetInterface Interface(string text) => InetInterface.TryParse(text, out var i) ? i : throw new FormatException(text);

    private sealed class Scratch : IDisposable
    {
        internal string Path { get; } = Directory.CreateTempSubdirectory("berth-net-test").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
