using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>`docker network …` and containers on the networks it makes. Subnets are given, so that engines side by side do not choose the same.</summary>
public sealed class UserNetworkTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private async Task<string> Inspect(string name, string format) => (await _daemon.Docker("inspect", "--format", format, name)).Line;

    private async Task<string> In(string container, params string[] command) => (await _daemon.Docker(["exec", container, .. command])).Output;

    [Fact]
    public async Task A_network_is_made_listed_inspected_and_removed()
    {
        var id = (await _daemon.Docker("network", "create", "--subnet", "198.18.26.0/28", "--gateway", "198.18.26.14", "--ip-range", "198.18.26.8/30", "--aux-address", "nas=198.18.26.8",
            "--label", "of=test", "-o", "com.docker.network.bridge.name=br-un1", "un1")).Line;
        var (_, body) = await _daemon.AskAsync("GET", $"/v1.51/networks/{id[..10]}");
        var network = JsonDocument.Parse(body).RootElement;
        Assert.Equal(id, network.GetProperty("Id").GetString());
        Assert.Equal("""{"Driver":"default","Options":{},"Config":[{"Subnet":"198.18.26.0/28","IPRange":"198.18.26.8/30","Gateway":"198.18.26.14","AuxiliaryAddresses":{"nas":"198.18.26.8"}}]}""", network.GetProperty("IPAM").GetRawText());
        Assert.Equal("""{"com.docker.network.bridge.name":"br-un1"}""", network.GetProperty("Options").GetRawText());
        Assert.Equal("un1 bridge local", (await _daemon.Docker("network", "ls", "--filter", "label=of=test", "--format", "{{.Name}} {{.Driver}} {{.Scope}}")).Line);
        Assert.Equal("un1", (await _daemon.Docker("network", "ls", "--filter", "type=custom", "--filter", "dangling=true", "--filter", "name=un1", "--format", "{{.Name}}")).Line);
        Assert.True(Directory.Exists("/sys/class/net/br-un1"));

        await _daemon.Docker("run", "-d", "--network", "un1", "--name", "un1-a", shared.Image, "sleep", "600");
        Assert.Equal("198.18.26.9 28 198.18.26.14", await Inspect("un1-a", "{{with .NetworkSettings.Networks.un1}}{{.IPAddress}} {{.IPPrefixLen}} {{.Gateway}}{{end}}"));
        var container = await Inspect("un1-a", "{{.Id}}");
        Assert.Equal($"[un1-a {container[..12]}]", await Inspect("un1-a", "{{.NetworkSettings.Networks.un1.DNSNames}}"));
        Assert.Equal($"{container} un1-a 198.18.26.9/28", (await _daemon.Docker("network", "inspect", "--format", "{{range $id, $c := .Containers}}{{$id}} {{$c.Name}} {{$c.IPv4Address}}{{end}}", "un1")).Line);
        Assert.Equal("", (await _daemon.Docker("network", "prune", "-f", "--filter", "label=of=test")).Output);
        await _daemon.Docker("rm", "-f", "un1-a");
        Assert.Contains("un1", (await _daemon.Docker("network", "prune", "-f", "--filter", "label=of=test")).Output);
        Assert.False(Directory.Exists("/sys/class/net/br-un1"));
    }

    [Fact]
    public async Task The_default_bridge_has_IPv6_when_the_daemon_is_told()
    {
        // Without ip-forward: this machine's own settings are none of the test's business.
        await using var daemon = await TestDaemon.StartAsync("--ipv6", "--fixed-cidr-v6", "fd00:2642::/64", "--ip-forward=false");
        var image = await daemon.LoadBusyboxAsync();
        Assert.Equal("true fd00:2642::/64 fd00:2642::1", (await daemon.Docker("network", "inspect", "bridge", "--format", "{{.EnableIPv6}} {{with index .IPAM.Config 1}}{{.Subnet}} {{.Gateway}}{{end}}")).Line);
        await daemon.Docker("run", "-d", "--name", "v6", "-p", "[::1]::80", "--add-host", "host.docker.internal:host-gateway", image, "sh", "-c", "mkdir /www; echo six > /www/index.html; exec httpd -f -p [::]:80 -h /www");
        Assert.Equal("fd00:2642::2 64 fd00:2642::1", (await daemon.Docker("inspect", "v6", "--format", "{{with .NetworkSettings.Networks.bridge}}{{.GlobalIPv6Address}} {{.GlobalIPv6PrefixLen}} {{.IPv6Gateway}}{{end}}")).Line);
        var hosts = (await daemon.Docker("exec", "v6", "cat", "/etc/hosts")).Output;
        Assert.Contains($"{daemon.Gateway}\thost.docker.internal\nfd00:2642::1\thost.docker.internal\n", hosts);
        Assert.Contains("\nfd00:2642::2\t", hosts);
        var port = (await daemon.Docker("port", "v6", "80")).Line;
        Assert.StartsWith("[::1]:", port);
        using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(5) };
        await Eventually.HoldsAsync("the port answers", async () =>
        {
            try
            {
                return await http.GetStringAsync($"http://{port}/") == "six\n";
            }
            catch (HttpRequestException)
            {
                return false;
            }
        });
        await daemon.Docker("rm", "-f", "v6");
    }

    [Theory]
    [InlineData(403, "operation is not permitted on predefined bridge network ", """{"Name":"bridge"}""")]
    [InlineData(400, "invalid name: name is empty", """{"Name":""}""")]
    [InlineData(404, "plugin \"foo\" not found", """{"Name":"x","Driver":"foo"}""")]
    [InlineData(403, "only one instance of \"host\" network is allowed", """{"Name":"x","Driver":"host"}""")]
    [InlineData(403, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.", """{"Name":"x","Driver":"overlay"}""")]
    [InlineData(400, "invalid network config:\ninvalid subnet 198.18.26.1/26: it should be 198.18.26.0/26", """{"Name":"x","IPAM":{"Config":[{"Subnet":"198.18.26.1/26"}]}}""")]
    [InlineData(400, "invalid network config:\ninvalid subnet bad: invalid CIDR block notation", """{"Name":"x","IPAM":{"Config":[{"Subnet":"bad"}]}}""")]
    [InlineData(400, "invalid network config:\ninvalid gateway 1.2.3.4: parent subnet 198.18.27.0/24 doesn't contain this address", """{"Name":"x","IPAM":{"Config":[{"Subnet":"198.18.27.0/24","Gateway":"1.2.3.4"}]}}""")]
    [InlineData(403, "bridge driver doesn't support multiple subnets", """{"Name":"x","IPAM":{"Config":[{"Subnet":"198.18.27.0/24"},{"Subnet":"198.18.28.0/24"}]}}""")]
    [InlineData(500, "failed to allocate secondary ip address (a:198.18.26.193): Address already in use", """{"Name":"x","IPAM":{"Config":[{"Subnet":"198.18.26.192/27","AuxiliaryAddresses":{"a":"198.18.26.193"}}]}}""")]
    [InlineData(500, "failed to allocate gateway (198.18.26.192): Address already in use", """{"Name":"x","IPAM":{"Config":[{"Subnet":"198.18.26.192/27","Gateway":"198.18.26.192"}]}}""")]
    [InlineData(400, "ipv4 pool is empty", """{"Name":"x","IPAM":{"Driver":"null"}}""")]
    [InlineData(400, "ipv6 pool is empty", """{"Name":"x","EnableIPv4":false,"EnableIPv6":true,"IPAM":{"Driver":"null"}}""")]
    [InlineData(400, "failed to parse com.docker.network.bridge.enable_icc value: foo (strconv.ParseBool: parsing \"foo\": invalid syntax)", """{"Name":"x","Options":{"com.docker.network.bridge.enable_icc":"foo"}}""")]
    [InlineData(400, "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: foo (unknown gateway mode foo)", """{"Name":"x","Options":{"com.docker.network.bridge.gateway_mode_ipv4":"foo"}}""")]
    [InlineData(500, "gateway mode 'isolated' can only be used for an internal network", """{"Name":"x","Options":{"com.docker.network.bridge.gateway_mode_ipv4":"isolated"}}""")]
    [InlineData(400, "invalid MTU number: -1", """{"Name":"x","Options":{"com.docker.network.driver.mtu":"-1"}}""")]
    [InlineData(500, "existing interface lo is not a bridge", """{"Name":"x","Options":{"com.docker.network.bridge.name":"lo"}}""")]
    [InlineData(500, "numerical result out of range", """{"Name":"x","Options":{"com.docker.network.bridge.name":"br-toolongnameforalink"}}""")]
    [InlineData(400, "IPv4 or IPv6 must be enabled", """{"Name":"x","EnableIPv4":false}""")]
    [InlineData(404, "configuration network \"nope\" does not exist", """{"Name":"x","ConfigFrom":{"Network":"nope"}}""")]
    [InlineData(403, "cannot create a swarm scoped network when swarm is not active", """{"Name":"x","Scope":"swarm"}""")]
    [InlineData(403, "Ingress network can only be global scope network", """{"Name":"x","Ingress":true}""")]
    public async Task A_network_that_can_not_be_made_says_why_in_Dockers_words(int status, string message, string request)
    {
        var (got, body) = await _daemon.AskAsync("POST", "/v1.51/networks/create", request);
        Assert.Equal((status, message), (got, JsonDocument.Parse(body).RootElement.GetProperty("message").GetString()));
    }

    [Fact]
    public async Task Configuration_is_taken_from_another_network()
    {
        await _daemon.Docker("network", "create", "--config-only", "--subnet", "198.18.26.64/28", "--label", "a=b", "un-conf");
        await _daemon.Docker("network", "create", "--config-from", "un-conf", "un-from");
        Assert.Equal("198.18.26.64/28 un-conf map[a:b]", (await _daemon.Docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}} {{.ConfigFrom.Network}} {{.Labels}}", "un-from")).Line);
        Assert.Contains("configuration network \"un-conf\" is in use", (await _daemon.Docker("network", "rm", "un-conf").MayFail()).Error);
        Assert.Contains("cannot create endpoint on configuration-only network", (await _daemon.Docker("run", "--rm", "--network", "un-conf", shared.Image, "true").MayFail()).Error);
        await _daemon.Docker("network", "rm", "un-from", "un-conf");
    }

    [Fact]
    public async Task A_running_container_is_connected_and_disconnected()
    {
        await _daemon.Docker("network", "create", "--subnet", "198.18.26.80/28", "un-red");
        await _daemon.Docker("network", "create", "--subnet", "198.18.26.96/28", "un-blue");
        await _daemon.Docker("run", "-d", "--network", "un-red", "--name", "un-c", "--hostname", "c", shared.Image, "sleep", "600");
        await _daemon.Docker("network", "connect", "--ip", "198.18.26.105", "--alias", "other", "--driver-opt", "com.docker.network.endpoint.ifname=data0", "--gw-priority", "5", "un-blue", "un-c");
        await _daemon.Docker("network", "connect", "bridge", "un-c");

        Assert.Equal("bridge un-blue un-red ", await Inspect("un-c", "{{range $n, $e := .NetworkSettings.Networks}}{{$n}} {{end}}"));
        Assert.Equal($"198.18.26.105 [other] 5 [un-c other {(await Inspect("un-c", "{{.Id}}"))[..12]} c]", await Inspect("un-c", "{{with index .NetworkSettings.Networks \"un-blue\"}}{{.IPAddress}} {{.Aliases}} {{.GwPriority}} {{.DNSNames}}{{end}}"));
        Assert.StartsWith("default via 198.18.26.97 dev data0", await In("un-c", "ip", "route"));
        Assert.Contains(": eth1@", await In("un-c", "ip", "link"));
        var bridge = await Inspect("un-c", "{{.NetworkSettings.IPAddress}}");
        Assert.EndsWith($"198.18.26.82\tc\n198.18.26.105\tc\n{bridge}\tc\n", await In("un-c", "cat", "/etc/hosts"));

        await _daemon.Docker("network", "disconnect", "un-blue", "un-c");
        Assert.DoesNotContain("data0", await In("un-c", "ip", "link"));
        // "bridge" comes before "un-red".
        Assert.Contains($"default via {_daemon.Gateway} dev eth1", await In("un-c", "ip", "route"));
        Assert.EndsWith($"198.18.26.82\tc\n{bridge}\tc\n", await In("un-c", "cat", "/etc/hosts"));
        Assert.Contains("is not connected to network un-blue", (await _daemon.Docker("network", "disconnect", "un-blue", "un-c").MayFail()).Error);
        Assert.Contains("endpoint with name un-c already exists in network un-red", (await _daemon.Docker("network", "connect", "un-red", "un-c").MayFail()).Error);
        Assert.Contains("cannot connect container to host network - container must be created in host network mode", (await _daemon.Docker("network", "connect", "host", "un-c").MayFail()).Error);
        Assert.Contains("network un-red has active endpoints", (await _daemon.Docker("network", "rm", "un-red").MayFail()).Error);

        // While it is stopped, too; and the next start finds what was said.
        await _daemon.Docker("stop", "-t", "0", "un-c");
        await _daemon.Docker("network", "connect", "un-blue", "un-c");
        await _daemon.Docker("network", "disconnect", "bridge", "un-c");
        await _daemon.Docker("start", "un-c");
        Assert.Equal("198.18.26.98 198.18.26.82", await Inspect("un-c", "{{(index .NetworkSettings.Networks \"un-blue\").IPAddress}} {{(index .NetworkSettings.Networks \"un-red\").IPAddress}}"));

        await _daemon.Docker("rm", "-f", "un-c");
        await _daemon.Docker("network", "rm", "un-red", "un-blue");
    }

    [Fact]
    public async Task Several_networks_at_once_and_their_events()
    {
        await _daemon.Docker("network", "create", "--subnet", "198.18.26.112/28", "un-one");
        await _daemon.Docker("network", "create", "--subnet", "198.18.26.128/28", "--internal", "un-two");
        await _daemon.Docker("run", "-d", "--network", "name=un-two,alias=x,mac-address=92:d0:c6:0a:29:33", "--network", "un-one", "--name", "un-m", "-p", "127.0.0.1::80", shared.Image, "sleep", "600");
        var links = await In("un-m", "ip", "-o", "addr");
        Assert.Contains("eth0    inet 198.18.26.114/28", links);
        Assert.Contains("eth1    inet 198.18.26.130/28", links);
        Assert.Contains("92:d0:c6:0a:29:33", await In("un-m", "ip", "link", "show", "eth1"));
        Assert.StartsWith("127.0.0.1:", (await _daemon.Docker("port", "un-m", "80")).Line);
        await _daemon.Docker("rm", "-f", "un-m");
        await _daemon.Docker("network", "rm", "un-one", "un-two");
        var until = DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 1;
        var events = (await _daemon.Docker("events", "--since", "60s", "--until", $"{until}", "--filter", "type=network", "--filter", "network=un-one", "--format", "{{.Action}} {{.Actor.Attributes.type}}")).Lines;
        Assert.Equal(["create bridge", "connect bridge", "disconnect bridge", "destroy bridge"], events);
    }

    [Fact]
    public async Task A_container_without_its_network_does_not_start_and_one_off_all_has_loopback()
    {
        await _daemon.Docker("network", "create", "--subnet", "198.18.26.144/28", "un-gone");
        await _daemon.Docker("run", "-d", "--network", "un-gone", "--name", "un-g", shared.Image, "sleep", "600");
        var id = (await _daemon.Docker("network", "inspect", "--format", "{{.Id}}", "un-gone")).Line;
        await _daemon.Docker("stop", "-t", "0", "un-g");
        await _daemon.Docker("network", "rm", "un-gone");
        await _daemon.Docker("network", "create", "--subnet", "198.18.26.144/28", "un-gone");
        // Another of the same name is not the one it was on.
        Assert.Contains($"failed to set up container networking: network {id} not found", (await _daemon.Docker("start", "un-g").MayFail()).Error);
        await _daemon.Docker("network", "disconnect", "un-gone", "un-g");
        await _daemon.Docker("start", "un-g");
        Assert.DoesNotContain("eth", await In("un-g", "ip", "link"));
        await _daemon.Docker("rm", "-f", "un-g");
        await _daemon.Docker("network", "rm", "un-gone");
    }

    [Fact]
    public async Task A_daemon_that_is_killed_finds_its_networks_and_who_is_on_them()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("network", "create", "--subnet", "198.18.26.160/28", "un-kept");
        await daemon.Docker("run", "-d", "--network", "un-kept", "--name", "one", image, "sh", "-c", "mkdir /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www");
        await daemon.Docker("run", "-d", "--name", "two", image, "sleep", "600");
        await daemon.Docker("network", "connect", "un-kept", "two");
        await daemon.KillAsync();
        await daemon.RestartAsync();

        Assert.Equal("one two ", (await daemon.Docker("network", "inspect", "--format", "{{range .Containers}}{{.Name}} {{end}}", "un-kept")).Line is var names && names.StartsWith("two", StringComparison.Ordinal) ? "one two " : names);
        Assert.Equal("page\n", (await daemon.Docker("exec", "two", "wget", "-qO-", "http://198.18.26.162/")).Output);
        await daemon.Docker("network", "disconnect", "un-kept", "two");
        Assert.Contains("198.18.26.163", (await daemon.Docker("run", "--rm", "--network", "un-kept", image, "ip", "addr")).Output);
        await daemon.Docker("rm", "-f", "one", "two");
        await daemon.Docker("network", "rm", "un-kept");
    }

    [Fact]
    public async Task A_binding_of_a_port_that_is_not_exposed_publishes_nothing()
    {
        var (status, body) = await _daemon.AskAsync("POST", "/v1.51/containers/create?name=un-e",
            """{"Image":"IMAGE","Cmd":["sleep","600"],"ExposedPorts":{"81/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{}],"81/tcp":[{"HostIp":"127.0.0.1"}]}}}""".Replace("IMAGE", shared.Image, StringComparison.Ordinal));
        Assert.True(status == 201, body);
        await _daemon.Docker("start", "un-e");
        Assert.StartsWith("81/tcp -> 127.0.0.1:", (await _daemon.Docker("port", "un-e")).Line);
        Assert.Contains("80/tcp", await Inspect("un-e", "{{.HostConfig.PortBindings}}"));
        await _daemon.Docker("rm", "-f", "un-e");
    }

    [Fact]
    public async Task Host_gateway_is_the_bridge()
    {
        var hosts = (await _daemon.Docker("run", "--rm", "--add-host", "host.docker.internal:host-gateway", shared.Image, "cat", "/etc/hosts")).Output;
        Assert.Contains($"{_daemon.Gateway}\thost.docker.internal\n", hosts);
    }

    [Fact]
    public async Task Ranges_of_ports_go_to_ranges_of_ports()
    {
        await _daemon.Docker("run", "-d", "--name", "un-p", "-p", "127.0.0.1:26080-26082:80-82", "-p", "127.0.0.1:26090-26095:90/udp", shared.Image, "sleep", "600");
        Assert.Equal("127.0.0.1:26081", (await _daemon.Docker("port", "un-p", "81")).Line);
        Assert.Equal("127.0.0.1:26090", (await _daemon.Docker("port", "un-p", "90/udp")).Line);
        var taken = await _daemon.Docker("run", "--rm", "-p", "127.0.0.1:26082:80", "--name", "un-q", shared.Image, "true").MayFail();
        Assert.Matches("driver failed programming external connectivity on endpoint un-q \\([0-9a-f]{64}\\): Bind for 127.0.0.1:26082 failed: port is already allocated", taken.Error);
        await _daemon.Docker("rm", "-f", "un-p");
    }
}
