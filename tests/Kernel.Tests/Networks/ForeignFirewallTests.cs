using System.Net.Sockets;
using Berth.Linux;
using Berth.Networks;
using Berth.Testing;
using static Berth.Kernel.Tests.Networks.Machine;

namespace Berth.Kernel.Tests.Networks;

/// <summary>Beside firewalls of others, which have the last word. A machine outside asks for port 8080 of "host".</summary>
public sealed class ForeignFirewallTests
{
    private static CancellationToken None => CancellationToken.None;

    // What ufw loads by default, in nft's words: input and forwarded packets are dropped but for ssh and what belongs to connections.
    private const string Ufw = """
        table ip filter {
          chain INPUT { type filter hook input priority filter; policy drop;
            iifname "lo" accept
            ct state established,related accept
            jump ufw-user-input
          }
          chain ufw-user-input { tcp dport 22 accept
          }
          chain FORWARD { type filter hook forward priority filter; policy drop;
            ct state established,related accept
            jump ufw-user-forward
          }
          chain ufw-user-forward {
          }
        }
        """;

    private static SandboxRequest Web => new()
    {
        ContainerName = "web", Endpoints = [new EndpointRequest()], Ports = [PortRequest.Parse("80/tcp", null, "8080"), PortRequest.Parse("53/udp", null, "8053")],
    };

    private static async Task<(NetworkManager Engine, NetworkSandbox Web)> StartAsync(Machine machine, PublishThrough through = PublishThrough.Forward)
    {
        var engine = await machine.StartEngineAsync(machine.Options with { PublishThrough = through });
        var web = await engine.JoinAsync("web", Web, None);
        machine.Serve(web.Namespace!, 80, "web");
        machine.Serve(web.Namespace!, 53, "names", ProtocolType.Udp);
        return (engine, web);
    }

    [Fact]
    public async Task A_published_port_is_closed_behind_a_firewall_that_drops_forwarded_packets_until_that_firewall_opens_it()
    {
        await using var machine = Create();
        machine.Nft(Ufw);
        var foreign = machine.Nft("list table ip filter");
        var (engine, web) = await StartAsync(machine);
        using var _ = web;

        Assert.Equal("timed out", await FetchAsync(machine.Outside, HostAddress, 8080, timeoutMilliseconds: 300));
        // Nothing of this is forwarded.
        Assert.Equal("web sees 198.18.50.1", await FetchAsync(machine.Host, "127.0.0.1", 8080));
        Assert.Equal("web sees 192.0.2.1", await FetchAsync(machine.Host, HostAddress, 8080));
        var warning = Assert.Single(engine.FirewallWarnings);
        Assert.StartsWith("WARNING: the host's firewall chain ip filter FORWARD drops forwarded packets: containers reach the outside, and other machines reach published ports, only if it lets them (berth0).", warning);
        Assert.Contains(machine.Log, l => l.StartsWith("Warning: The firewall chain ip filter FORWARD drops forwarded packets", StringComparison.Ordinal));
        Assert.Equal(foreign, machine.Nft("list table ip filter"));

        // What the warning says, in nft's words; "ufw route allow" adds the like.
        machine.Nft("add rule ip filter ufw-user-forward oifname berth0 ct status dnat accept");
        Assert.Equal("web sees 192.0.2.2", await FetchAsync(machine.Outside, HostAddress, 8080));
        Assert.Equal("timed out", await FetchAsync(machine.Outside, web.State.Endpoints[0].IPAddress, 80, timeoutMilliseconds: 300)); // not published at its own address
        machine.Serve(machine.Outside, 7000, "outside");
        Assert.NotEqual("outside sees 192.0.2.1", await FetchAsync(web.Namespace!, OutsideAddress, 7000, timeoutMilliseconds: 300));
        machine.Nft("add rule ip filter ufw-user-forward iifname berth0 accept");
        Assert.Equal("outside sees 192.0.2.1", await FetchAsync(web.Namespace!, OutsideAddress, 7000));
    }

    [Fact]
    public async Task A_port_of_one_number_can_be_closed_by_the_number_that_the_client_asked_for()
    {
        await using var machine = Create();
        var (_, web) = await StartAsync(machine);
        using var __ = web;
        Assert.Equal("web sees 192.0.2.2", await FetchAsync(machine.Outside, HostAddress, 8080));
        machine.Nft("add table inet own; add chain inet own forward { type filter hook forward priority filter; }; add rule inet own forward meta l4proto tcp ct original proto-dst 8080 drop");
        Assert.Equal("timed out", await FetchAsync(machine.Outside, HostAddress, 8080, timeoutMilliseconds: 300));
        Assert.Equal("names sees 192.0.2.2", await FetchAsync(machine.Outside, HostAddress, 8053, ProtocolType.Udp));
    }

    [Fact]
    public async Task Published_through_input_a_port_obeys_the_rules_for_the_hosts_own_programs()
    {
        await using var machine = Create();
        machine.Nft(Ufw);
        var (engine, web) = await StartAsync(machine, PublishThrough.Input);
        using var _ = web;
        Assert.Equal("timed out", await FetchAsync(machine.Outside, HostAddress, 8080, timeoutMilliseconds: 300));
        Assert.Equal("timed out", await FetchAsync(machine.Outside, HostAddress, 8053, ProtocolType.Udp, 300));
        Assert.Equal("web sees 192.0.2.1", await FetchAsync(machine.Host, HostAddress, 8080));
        Assert.DoesNotContain("published ports", Assert.Single(engine.FirewallWarnings));

        machine.Nft("add rule ip filter ufw-user-input tcp dport 8080 accept; add rule ip filter ufw-user-input udp dport 8053 accept"); // ufw allow 8080/tcp, 8053/udp
        Assert.Equal("web sees 198.18.50.1", await FetchAsync(machine.Outside, HostAddress, 8080));
        Assert.Equal("names sees 198.18.50.1", await FetchAsync(machine.Outside, HostAddress, 8053, ProtocolType.Udp));
        // By the host's port from a container: the same rules.
        Assert.Equal("web sees 198.18.50.1", await FetchAsync(web.Namespace!, HostAddress, 8080));
    }

    [Fact]
    public async Task Beside_dockerd_containers_reach_the_outside_once_its_user_chain_lets_them()
    {
        await using var machine = Create();
        machine.Nft("""
            table ip filter {
              chain FORWARD { type filter hook forward priority filter; policy drop;
                jump DOCKER-USER
                jump DOCKER-FORWARD
              }
              chain DOCKER-USER {
              }
              chain DOCKER-FORWARD { iifname "docker0" accept
              }
            }
            """);
        var (_, web) = await StartAsync(machine);
        using var __ = web;
        machine.Serve(machine.Outside, 7000, "outside");
        Assert.Equal("timed out", await FetchAsync(web.Namespace!, OutsideAddress, 7000, timeoutMilliseconds: 300));
        machine.Nft("add rule ip filter DOCKER-USER iifname berth0 accept; add rule ip filter DOCKER-USER oifname berth0 accept");
        Assert.Equal("outside sees 192.0.2.1", await FetchAsync(web.Namespace!, OutsideAddress, 7000));
        Assert.Equal("web sees 192.0.2.2", await FetchAsync(machine.Outside, HostAddress, 8080));
    }

    [Theory]
    [InlineData("flush ruleset")]
    [InlineData("delete table ip berth_berth0")]
    [InlineData("flush chain ip berth_berth0 forward")]
    [InlineData("flush map ip berth_berth0 published_anywhere")]
    public async Task What_others_take_out_of_our_table_comes_back_by_itself(string flush)
    {
        await using var machine = Create();
        var (engine, web) = await StartAsync(machine);
        using var _ = web;
        var before = machine.Ruleset();
        for (var i = 0; i < 3; i++)
        {
            machine.Nft(flush);
            await Eventually.HoldsAsync("the rules are back", () => Task.FromResult(machine.Ruleset() == before));
        }
        Assert.Equal("web sees 192.0.2.2", await FetchAsync(machine.Outside, HostAddress, 8080));
        // Our own changes are nobody's flush, however many.
        int Rebuilt()
        {
            lock (machine.Log) return machine.Log.Count(l => l.Contains("is written anew", StringComparison.Ordinal));
        }
        var rebuilt = Rebuilt();
        Assert.InRange(rebuilt, 3, 9);
        await engine.LeaveAsync("web", None);
        using var again = await engine.JoinAsync("web", Web, None);
        await engine.LeaveAsync("web", None);
        await engine.CreateAsync(new NetworkRequest { Name = "more" }, None);
        await engine.RemoveAsync("more", None);
        Assert.Equal(rebuilt, Rebuilt());
    }

    [Fact]
    public async Task Changes_in_tables_of_others_are_no_reason_to_write_ours()
    {
        await using var machine = Create();
        var (engine, web) = await StartAsync(machine);
        using var __ = web;
        machine.Nft(Ufw);
        machine.Nft("delete table ip filter");
        await engine.LeaveAsync("web", None); // reads all news there is
        lock (machine.Log) Assert.DoesNotContain(machine.Log, l => l.Contains("is written anew", StringComparison.Ordinal));
    }
}
