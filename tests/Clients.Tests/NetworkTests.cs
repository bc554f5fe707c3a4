using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>The default bridge and published ports.</summary>
public sealed class NetworkTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private async Task<string> Address(string name) => (await _daemon.Docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)).Line;

    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Any, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    private static async Task<string> Fetch(string url)
    {
        using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(5) };
        return await http.GetStringAsync(url);
    }

    private Task<CommandResult> Serve(string name, params string[] flags) => _daemon.Docker(["run", "-d", "--name", name, .. flags, shared.Image,
        "sh", "-c", "mkdir /www; echo page of $HOSTNAME > /www/index.html; exec httpd -f -p 80 -h /www"]).RunAsync();

    private Task Serves(string url, string text) => Eventually.HoldsAsync($"{url} serves {text}", async () =>
    {
        try
        {
            return await Fetch(url) == text;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    });

    [Fact]
    public async Task Containers_reach_each_other_and_the_host_over_the_bridge()
    {
        await Serve("net-1", "--hostname", "net-1");
        var address = await Address("net-1");
        Assert.StartsWith(_daemon.Gateway[..^1], address);
        await Serves($"http://{address}/", "page of net-1\n");
        Assert.Equal("page of net-1\n", (await _daemon.Docker("run", "--rm", shared.Image, "wget", "-qO-", $"http://{address}/")).Output);
        Assert.Contains("1 packets received", (await _daemon.Docker("run", "--rm", shared.Image, "ping", "-c1", "-W2", _daemon.Gateway)).Output);
        var route = (await _daemon.Docker("run", "--rm", shared.Image, "ip", "route")).Output;
        Assert.StartsWith($"default via {_daemon.Gateway} dev eth0", route);
        await _daemon.Docker("rm", "-f", "net-1");
    }

    [Fact]
    public async Task A_published_port_is_reached_from_everywhere()
    {
        var port = FreePort();
        await Serve("port-1", "-p", $"{port}:80", "--hostname", "port-1");
        Assert.Equal($"80/tcp -> 0.0.0.0:{port}", (await _daemon.Docker("port", "port-1")).Lines[0]);
        Assert.Contains($"0.0.0.0:{port}->80/tcp", (await _daemon.Docker("ps", "--filter", "name=port-1", "--format", "{{.Ports}}")).Line);
        await Serves($"http://127.0.0.1:{port}/", "page of port-1\n");
        await Serves($"http://{_daemon.Gateway}:{port}/", "page of port-1\n");
        Assert.Equal("page of port-1\n", (await _daemon.Docker("run", "--rm", shared.Image, "wget", "-qO-", $"http://{_daemon.Gateway}:{port}/")).Output);
        // The container itself, by the host's address (hairpin).
        Assert.Equal("page of port-1\n", (await _daemon.Docker("exec", "port-1", "wget", "-qO-", $"http://{_daemon.Gateway}:{port}/")).Output);
        await _daemon.Docker("rm", "-f", "port-1");
        await Assert.ThrowsAsync<HttpRequestException>(() => Fetch($"http://127.0.0.1:{port}/"));
    }

    [Fact]
    public async Task A_port_bound_to_an_address_is_not_reached_by_another()
    {
        var port = FreePort();
        await Serve("port-2", "-p", $"127.0.0.1:{port}:80", "--hostname", "port-2");
        await Serves($"http://127.0.0.1:{port}/", "page of port-2\n");
        await Assert.ThrowsAsync<HttpRequestException>(() => Fetch($"http://{_daemon.Gateway}:{port}/"));
        await _daemon.Docker("rm", "-f", "port-2");
    }

    [Fact]
    public async Task A_taken_port_is_refused_by_name_and_leaves_nothing()
    {
        var port = FreePort();
        await Serve("port-3", "-p", $"{port}:80");
        var second = await _daemon.Docker("run", "-d", "--name", "port-4", "-p", $"{port}:80", shared.Image, "sleep", "600").MayFail();
        Assert.Equal(125, second.ExitCode);
        Assert.Contains($"Bind for 0.0.0.0:{port} failed: port is already allocated", second.Error);
        Assert.Equal("created", (await _daemon.Docker("inspect", "--format", "{{.State.Status}}", "port-4")).Line);
        await _daemon.Docker("rm", "-f", "port-3");
        await _daemon.Docker("start", "port-4"); // it is free now
        await _daemon.Docker("rm", "-f", "port-4");

        using var taken = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        taken.Bind(new IPEndPoint(IPAddress.Any, 0));
        taken.Listen();
        var third = await _daemon.Docker("run", "--rm", "-p", $"{((IPEndPoint)taken.LocalEndPoint!).Port}:80", shared.Image, "true").MayFail();
        Assert.Equal(125, third.ExitCode);
        Assert.Contains("address already in use", third.Error);
    }

    [Fact]
    public async Task Udp_is_published_too()
    {
        var port = FreePort();
        await _daemon.Docker("run", "-d", "--name", "udp-1", "-p", $"{port}:9/udp", shared.Image, "sleep", "600");
        // busybox-static has no UDP server: the machine's perl serves inside the container's network namespace.
        var pid = (await _daemon.Docker("inspect", "--format", "{{.State.Pid}}", "udp-1")).Line;
        using var server = new Command("nsenter", ["-t", pid, "-n", "perl", "-MIO::Socket::INET", "-e",
            "$s = IO::Socket::INET->new(LocalPort => 9, Proto => 'udp') or die; while ($s->recv($b, 99)) { $s->send(\"pong\\n\") }"]).MayFail().Start();
        using var client = new UdpClient();
        client.Connect(IPAddress.Loopback, port);
        await Eventually.HoldsAsync("the answer came", async () =>
        {
            await client.SendAsync(Encoding.ASCII.GetBytes("ping\n"));
            using var limit = new CancellationTokenSource(TimeSpan.FromMilliseconds(500));
            try
            {
                return Encoding.ASCII.GetString((await client.ReceiveAsync(limit.Token)).Buffer) == "pong\n";
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException)
            {
                return false;
            }
        });
        await _daemon.Docker("rm", "-f", "udp-1");
    }

    [Fact]
    public async Task All_exposed_ports_are_published_where_there_is_room()
    {
        await Serve("all-1", "-P", "--expose", "80", "--hostname", "all-1");
        var mapped = (await _daemon.Docker("port", "all-1", "80/tcp")).Lines[0];
        await Serves($"http://127.0.0.1:{mapped.Split(':')[^1]}/", "page of all-1\n");
        await _daemon.Docker("rm", "-f", "all-1");
    }

    [Fact]
    public async Task The_three_networks_are_there_and_the_bridge_knows_its_containers()
    {
        Assert.Equal(["bridge bridge", "host host", "none null"], (await _daemon.Docker("network", "ls", "--format", "{{.Name}} {{.Driver}}")).Lines.Order());
        await _daemon.Docker("run", "-d", "--name", "member-1", shared.Image, "sleep", "600");
        var inspect = (await _daemon.Docker("network", "inspect", "bridge", "--format", "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}} {{(index .IPAM.Config 0).Gateway}}")).Line;
        Assert.Equal($"member-1 {await Address("member-1")}/24 {_daemon.Gateway}", inspect);
        await _daemon.Docker("rm", "-f", "member-1");
    }

    [Fact]
    public async Task Addresses_are_given_once_and_come_back()
    {
        var ids = new List<string>();
        for (var i = 0; i < 8; i++)
            ids.Add((await _daemon.Docker("run", "-d", shared.Image, "sleep", "600")).Line);
        var addresses = new List<string>();
        foreach (var id in ids)
            addresses.Add(await Address(id));
        Assert.Equal(addresses.Count, addresses.Distinct().Count());
        await _daemon.Docker(["rm", "-f", .. ids]);
    }
}
