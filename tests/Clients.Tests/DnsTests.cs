using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Names between containers on networks of the user's own.</summary>
public sealed class DnsTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private Task<CommandResult> Sleeper(string name, params string[] flags) => _daemon.Docker(["run", "-d", "--name", name, .. flags, shared.Image, "sleep", "1000"]).RunAsync();

    /// <summary>The addresses that busybox's nslookup prints for a name, "none", or "no such name".</summary>
    private async Task<string> Lookup(string container, string name, string type = "a")
    {
        var result = await _daemon.Docker("exec", container, "nslookup", "-type=" + type, name + ".").MayFail();
        var text = result.Output + result.Error;
        if (text.Contains("NXDOMAIN", StringComparison.Ordinal)) return "no such name";
        if (text.Contains("SERVFAIL", StringComparison.Ordinal)) return "failed";
        var answers = text.Split('\n').SkipWhile(l => !l.StartsWith("Name:", StringComparison.Ordinal) && !l.Contains("name =", StringComparison.Ordinal));
        var found = answers.Where(l => l.StartsWith("Address", StringComparison.Ordinal)).Select(l => l.Split(": ", 2)[1].Trim())
            .Concat(answers.Where(l => l.Contains("name = ", StringComparison.Ordinal)).Select(l => l.Split("name = ", 2)[1].Trim())).Order(StringComparer.Ordinal).ToArray();
        return found.Length == 0 ? "none" : string.Join(' ', found);
    }

    private async Task<string> Address(string name, string network) =>
        (await _daemon.Docker("inspect", "--format", $"{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}", name)).Line;

    [Fact]
    public async Task Containers_find_each_other_by_name_alias_host_name_short_id_and_link()
    {
        await _daemon.Docker("network", "create", "names");
        await Sleeper("names-web", "--network", "names", "--network-alias", "www", "--hostname", "front");
        await Sleeper("names-api", "--network", "names", "--link", "names-web:linked");
        var web = await Address("names-web", "names");
        var id = (await _daemon.Docker("inspect", "--format", "{{.Id}}", "names-web")).Line[..12];

        Assert.Contains("1 packets received", (await _daemon.Docker("exec", "names-api", "ping", "-c1", "-W2", "names-web")).Output);
        foreach (var name in new[] { "names-web", "NAMES-WEB", "www", "front", id, "linked", "names-web.names", "www.names" }) Assert.Equal((name, web), (name, await Lookup("names-api", name)));
        Assert.Equal("none", await Lookup("names-api", "names-web", "aaaa"));
        Assert.NotEqual(web, await Lookup("names-web", "linked"));
        Assert.Equal("names-web.names", await Lookup("names-api", string.Join('.', web.Split('.').Reverse()) + ".in-addr.arpa", "ptr"));
        Assert.Contains("names-web.names", (await _daemon.Docker("exec", "names-api", "nslookup", web)).Output);

        await _daemon.Docker("rename", "names-web", "names-shop");
        Assert.Equal((web, web), (await Lookup("names-api", "names-shop"), await Lookup("names-api", "www")));
        Assert.NotEqual(web, await Lookup("names-api", "names-web"));
        await _daemon.Docker("rm", "-f", "names-shop");
        Assert.NotEqual(web, await Lookup("names-api", "names-shop"));
        await _daemon.Docker("rm", "-f", "names-api");
        await _daemon.Docker("network", "rm", "names");
    }

    [Fact]
    public async Task A_name_is_known_on_its_networks_alone_and_follows_connect_and_disconnect()
    {
        await _daemon.Docker("network", "create", "one");
        await _daemon.Docker("network", "create", "two");
        await Sleeper("in-one", "--network", "one");
        await Sleeper("in-two", "--network", "two");
        await Sleeper("in-bridge");
        var two = await Address("in-two", "two");
        Assert.NotEqual(two, await Lookup("in-one", "in-two"));
        Assert.NotEqual("nameserver 127.0.0.11", (await _daemon.Docker("exec", "in-bridge", "head", "-1", "/etc/resolv.conf")).Line);

        await _daemon.Docker("network", "connect", "--alias", "guest", "two", "in-one");
        Assert.Equal((two, two), (await Lookup("in-one", "in-two"), await Lookup("in-one", "in-two.two")));
        Assert.Equal(await Address("in-one", "two"), await Lookup("in-two", "guest"));
        // The default bridge has no names, but who comes from there is found like any other.
        await _daemon.Docker("network", "connect", "two", "in-bridge");
        Assert.Equal("nameserver 127.0.0.11", (await _daemon.Docker("exec", "in-bridge", "head", "-1", "/etc/resolv.conf")).Line);
        Assert.Equal(two, await Lookup("in-bridge", "in-two"));
        Assert.Equal(await Address("in-bridge", "two"), await Lookup("in-two", "in-bridge"));

        await _daemon.Docker("network", "disconnect", "two", "in-one");
        Assert.NotEqual(two, await Lookup("in-one", "in-two"));
        Assert.DoesNotContain("198.", await Lookup("in-two", "guest"));
        await _daemon.Docker("rm", "-f", "in-one", "in-two", "in-bridge");
        await _daemon.Docker("network", "rm", "one", "two");
    }

    [Fact]
    public async Task Several_containers_with_one_alias_are_all_found()
    {
        await _daemon.Docker("network", "create", "many");
        var addresses = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            await Sleeper($"many-{i}", "--network", "many", "--network-alias", "pool");
            addresses.Add(await Address($"many-{i}", "many"));
        }
        Assert.Equal(string.Join(' ', addresses.Order(StringComparer.Ordinal)), await Lookup("many-0", "pool"));
        await _daemon.Docker("stop", "-t", "0", "many-2");
        Assert.Equal(string.Join(' ', addresses.Take(2).Order(StringComparer.Ordinal)), await Lookup("many-0", "pool"));
        await _daemon.Docker("rm", "-f", "many-0", "many-1", "many-2");
        await _daemon.Docker("network", "rm", "many");
    }

    [Fact]
    public async Task Queries_asked_while_the_daemon_is_dead_are_answered_by_the_next()
    {
        await _daemon.Docker("network", "create", "outlives");
        await Sleeper("out-web", "--network", "outlives");
        // As long as it is told to, one query after another; nslookup waits five seconds for each.
        await _daemon.Docker("run", "-d", "--name", "out-asks", "--network", "outlives", shared.Image, "sh", "-c", "echo asks; until [ -e /end ]; do nslookup -type=a out-web. >/dev/null || echo failed; done; echo done");
        await Eventually.HoldsAsync("it asks", async () => (await _daemon.Docker("logs", "out-asks").RunAsync()).Output.Contains("asks", StringComparison.Ordinal));
        await _daemon.KillAsync();
        await _daemon.RestartAsync();
        await _daemon.Docker("exec", "out-asks", "touch", "/end");
        await _daemon.Docker("wait", "out-asks");
        Assert.Equal("asks\ndone\n", (await _daemon.Docker("logs", "out-asks")).Output);
        await _daemon.Docker("rm", "-f", "out-web", "out-asks");
        await _daemon.Docker("network", "rm", "outlives");
    }

    [Fact]
    public async Task A_container_may_be_a_name_server_itself()
    {
        await _daemon.Docker("network", "create", "servers");
        await Sleeper("srv-1", "--network", "servers");
        await _daemon.Docker("exec", "-d", "srv-1", "nc", "-l", "-p", "53", "-e", "echo", "mine");
        await Eventually.HoldsAsync("port 53 answers", async () => (await _daemon.Docker("exec", "srv-1", "nc", "127.0.0.1", "53").MayFail()).Output == "mine\n");
        Assert.Equal(await Address("srv-1", "servers"), await Lookup("srv-1", "srv-1"));
        await _daemon.Docker("rm", "-f", "srv-1");
        await _daemon.Docker("network", "rm", "servers");
    }

    [Fact]
    public async Task An_internal_network_has_names_and_asks_nobody_outside()
    {
        await _daemon.Docker("network", "create", "--internal", "inner");
        await Sleeper("inner-1", "--network", "inner");
        Assert.Equal(await Address("inner-1", "inner"), await Lookup("inner-1", "inner-1"));
        Assert.Equal("failed", await Lookup("inner-1", "example.test"));
        await _daemon.Docker("rm", "-f", "inner-1");
        await _daemon.Docker("network", "rm", "inner");
    }
}
