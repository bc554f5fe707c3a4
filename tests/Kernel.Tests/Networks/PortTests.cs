using System.Net;
using System.Net.Sockets;
using Berth.Linux;
using Berth.Networks;

namespace Berth.Kernel.Tests.Networks;

public sealed class PortTests
{
    private static CancellationToken None => CancellationToken.None;

    private static SandboxRequest Publishing(string name, params (string Port, string? HostIp, string? HostPort)[] ports) =>
        Machine.Join(name) with { Ports = [.. ports.Select(p => PortRequest.Parse(p.Port, p.HostIp, p.HostPort))] };

    private static string[] Shown(NetworkSandbox sandbox) => [.. sandbox.State.Ports.Select(p => $"{p.HostIp}:{p.HostPort}->{p.ContainerPort}/{p.Protocol}")];

    [Fact]
    public async Task A_port_of_another_container_is_refused_in_Dockers_words_and_nothing_is_left_half_made()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        using var first = await engine.JoinAsync("a", Publishing("alpha", ("80/tcp", null, "8080")), None);
        var (links, rules) = (machine.Links(), machine.Ruleset());

        foreach (var address in new[] { null, "127.0.0.1", "0.0.0.0" })
        {
            var e = await Assert.ThrowsAsync<NetworkException>(() => engine.JoinAsync("b", Publishing("beta", ("79/tcp", null, "7979"), ("80/tcp", address, "8080")), None));
            Assert.Equal(NetworkErrorKind.PortUnavailable, e.Kind);
            Assert.Matches("^failed to set up container networking: driver failed programming external connectivity on endpoint beta \\([0-9a-f]{64}\\): Bind for 0.0.0.0:8080 failed: port is already allocated$", e.Message); // the address that has it
        }
        await engine.SettleAsync(None);
        Assert.Equal(links, machine.Links());
        Assert.Equal(rules, machine.Ruleset());

        // The same number for the other protocol, and the address and ports of the failed one, are free.
        using var second = await engine.JoinAsync("b", Publishing("beta", ("80/udp", null, "8080"), ("79/tcp", null, "7979")), None);
        Assert.Equal("198.18.50.3", second.State.Endpoints[0].IPAddress);
    }

    [Theory]
    [InlineData("80/tcp", "8080", "0.0.0.0:8080:198.18.50.2:80/tcp")]
    [InlineData("53/udp", "8080", "0.0.0.0:8080:198.18.50.2:53/udp")]
    public async Task A_port_of_another_program_is_refused_in_Dockers_words(string port, string hostPort, string named)
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        var protocol = port.EndsWith("tcp", StringComparison.Ordinal) ? ProtocolType.Tcp : ProtocolType.Udp;
        machine.Serve(machine.Host, 8080, "program", protocol, IPAddress.Loopback);

        var e = await Assert.ThrowsAsync<NetworkException>(() => engine.JoinAsync("a", Publishing("alpha", (port, null, hostPort)), None));
        Assert.EndsWith($": failed to bind host port for {named}: address already in use", e.Message);
        Assert.Equal("program sees 127.0.0.1", await Machine.FetchAsync(machine.Host, "127.0.0.1", 8080, protocol));
    }

    [Fact]
    public async Task An_address_that_the_host_does_not_have_is_refused()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        var e = await Assert.ThrowsAsync<NetworkException>(() => engine.JoinAsync("a", Publishing("alpha", ("80/tcp", "192.0.2.99", "8081")), None));
        Assert.EndsWith(": failed to bind host port for 192.0.2.99:8081:198.18.50.2:80/tcp: cannot assign requested address", e.Message);
    }

    [Fact]
    public async Task A_range_gives_its_first_free_port_and_names_its_last_when_there_is_none()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        machine.Serve(machine.Host, 8085, "program");
        using var a = await engine.JoinAsync("a", Publishing("alpha", ("80/tcp", null, "8085-8086")), None);
        Assert.Equal(["0.0.0.0:8086->80/tcp", ":::8086->80/tcp"], Shown(a));
        var e = await Assert.ThrowsAsync<NetworkException>(() => engine.JoinAsync("b", Publishing("beta", ("80/tcp", null, "8085-8086")), None));
        Assert.EndsWith(": failed to bind host port 8085 for 0.0.0.0:8085-8086:198.18.50.3:80/tcp: address already in use", e.Message);
        var all = await Assert.ThrowsAsync<NetworkException>(() => engine.JoinAsync("c", Publishing("gamma", ("80/tcp", null, "8086-8086"), ("81/tcp", null, "8086")), None));
        Assert.EndsWith(": Bind for 0.0.0.0:8086 failed: port is already allocated", all.Message);
    }

    [Fact]
    public async Task Unnamed_ports_come_from_the_ephemeral_range_and_are_not_given_again_at_once()
    {
        await using var machine = Machine.Create();
        NetworkNamespace.Run(machine.Host, () => { File.WriteAllText("/proc/sys/net/ipv4/ip_local_port_range", "40000 40010"); return 0; });
        var engine = await machine.StartEngineAsync();
        using (var a = await engine.JoinAsync("a", Publishing("alpha", ("80/tcp", null, null), ("81/tcp", "127.0.0.1", ""), ("53/udp", null, "0")), None))
            Assert.Equal(["0.0.0.0:40000->80/tcp", ":::40000->80/tcp", "127.0.0.1:40001->81/tcp", "0.0.0.0:40000->53/udp", ":::40000->53/udp"], Shown(a).OrderBy(p => p.Contains("udp", StringComparison.Ordinal)));
        await engine.LeaveAsync("a", None);
        using var b = await engine.JoinAsync("b", Publishing("beta", ("80/tcp", null, null)), None);
        Assert.Equal(40002, b.State.Ports[0].HostPort);
    }

    [Fact]
    public async Task An_IPv6_client_on_tcp_is_carried_with_both_half_closes()
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync();
        using var a = await engine.JoinAsync("a", Publishing("alpha", ("80/tcp", "::1", "8080")), None);
        Assert.Equal(["::1:8080->80/tcp"], Shown(a));
        using var listener = NetworkNamespace.Run(a.Namespace!, () => { var l = new TcpListener(IPAddress.Any, 80); l.Start(); return l; });
        using var client = NetworkNamespace.Run(machine.Host, () => new TcpClient(AddressFamily.InterNetworkV6));
        await client.ConnectAsync(IPAddress.IPv6Loopback, 8080);
        using var server = await listener.AcceptTcpClientAsync();

        var stream = client.GetStream();
        await stream.WriteAsync(new byte[1_000_000]);
        client.Client.Shutdown(SocketShutdown.Send);
        var got = 0;
        var buffer = new byte[65536];
        while (await server.GetStream().ReadAsync(buffer) is var n and > 0) got += n;
        Assert.Equal(1_000_000, got);
        await server.GetStream().WriteAsync("after"u8.ToArray());
        server.Close();
        Assert.Equal("after", await new StreamReader(stream).ReadToEndAsync());

        await engine.LeaveAsync("a", None);
        Assert.Equal("refused", await Machine.FetchAsync(machine.Host, "::1", 8080));
    }

    [Theory]
    [InlineData(ProtocolType.Tcp)]
    [InlineData(ProtocolType.Udp)]
    public async Task Without_a_firewall_published_ports_are_carried_by_the_daemon(ProtocolType protocol)
    {
        await using var machine = Machine.Create();
        var engine = await machine.StartEngineAsync(machine.Options with { Firewall = false });
        using var web = await engine.JoinAsync("w", Publishing("web", (protocol == ProtocolType.Tcp ? "80/tcp" : "80/udp", null, "8080")), None);
        machine.Serve(web.Namespace!, 80, "web", protocol);
        Assert.Equal("web sees 198.18.50.1", await Machine.FetchAsync(machine.Outside, Machine.HostAddress, 8080, protocol));
        Assert.Equal("web sees 198.18.50.1", await Machine.FetchAsync(machine.Host, "127.0.0.1", 8080, protocol));
        Assert.Equal("", machine.Ruleset().Trim());
    }
}
