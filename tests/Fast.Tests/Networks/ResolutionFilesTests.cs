using Berth.Networks;

namespace Berth.Fast.Tests.Networks;

public sealed class ResolutionFilesTests
{
    private const string HostFile = "# by hand\nnameserver 127.0.0.1\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver not-an-address\ndomain old.example\nsearch a.example b.example\noptions ndots:2\noptions edns0\nsortlist 10.0.0.0\n";

    private static string For(string text, string[]? dns = null, string[]? search = null, string[]? options = null, bool own = true) =>
        ResolvConf.For(text, "/etc/resolv.conf", dns ?? [], search ?? [], options ?? [], own);

    [Fact]
    public void Loopback_and_IPv6_servers_of_the_host_are_left_out() => Assert.Equal("""
        nameserver 192.0.2.53
        search a.example b.example
        options ndots:2 edns0
        sortlist 10.0.0.0

        # Made by Berth from the host's /etc/resolv.conf

        """, For(HostFile));

    [Fact]
    public void A_container_with_IPv6_keeps_servers_of_both_families()
    {
        Assert.StartsWith("nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch", ResolvConf.For(HostFile, "/etc/resolv.conf", [], [], [], ownNamespace: true, ipv6: true));
        Assert.StartsWith("nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n", ResolvConf.For("nameserver ::1\n", "/etc/resolv.conf", [], [], [], ownNamespace: true, ipv6: true));
    }

    [Fact]
    public void A_container_on_the_host_network_keeps_all_servers() =>
        Assert.StartsWith("nameserver 127.0.0.1\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch", For(HostFile, own: false));

    [Theory]
    [InlineData("")]
    [InlineData("nameserver 127.0.0.53\n")]
    [InlineData("nameserver ::1\n")]
    public void Without_a_server_that_can_be_reached_there_are_fallbacks(string host) =>
        Assert.StartsWith("nameserver 8.8.8.8\nnameserver 8.8.4.4\n\n", For(host));

    [Fact]
    public void What_is_given_replaces_what_the_host_has() => Assert.Equal("""
        nameserver 127.0.0.1
        options timeout:1
        sortlist 10.0.0.0

        # Made by Berth from the host's /etc/resolv.conf
        # Given for this container: nameservers, search, options

        """, For(HostFile, ["127.0.0.1"], ["."], ["timeout:1"]));

    [Fact]
    public void A_server_that_is_not_an_address_is_refused() =>
        Assert.Equal("bad nameserver address foo", Assert.Throws<NetworkException>(() => For("", ["foo"])).Message);

    [Theory]
    [InlineData("nameserver 127.0.0.53\noptions edns0\n", true, "/run/systemd/resolve/resolv.conf")]
    [InlineData("nameserver 127.0.0.53\noptions edns0\n", false, "/etc/resolv.conf")]
    [InlineData("nameserver 127.0.0.53\nnameserver 192.0.2.1\n", true, "/etc/resolv.conf")]
    [InlineData(null, true, "/etc/resolv.conf")]
    public void The_stub_of_systemd_resolved_is_looked_behind(string? text, bool own, string path) =>
        Assert.Equal(path, ResolvConf.HostPath(_ => text, own));

    [Fact]
    public void Hosts_has_localhost_then_added_hosts_then_the_container() => Assert.Equal(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n" +
        "192.0.2.7\tdb\n172.30.0.1\tgw\n2001:db8::1\tsix\n172.30.0.2\tweb.example.org web\n",
        HostsFile.For(["172.30.0.2"], "web", "example.org", ["db:192.0.2.7", "gw:host-gateway", "six:2001:db8::1"], ["172.30.0.1"]));

    [Fact]
    public void A_container_without_a_network_is_not_in_its_hosts_file() => Assert.EndsWith("ip6-allrouters\n", HostsFile.For([], "web", "", [], []));

    [Fact]
    public void On_the_host_network_the_hosts_file_is_the_hosts_unless_something_is_added()
    {
        Assert.Equal("192.0.2.1 me\n", HostsFile.ForHostNetwork("192.0.2.1 me\n", [], []));
        Assert.EndsWith("ip6-allrouters\n192.0.2.7\tdb\n", HostsFile.ForHostNetwork("192.0.2.1 me\n", ["db:192.0.2.7"], []));
    }

    [Theory]
    [InlineData("foo", "bad format for add-host: \"foo\"")]
    [InlineData(":192.0.2.1", "bad format for add-host: \":192.0.2.1\"")]
    [InlineData("foo:bar", "invalid IP address in add-host: \"bar\"")]
    [InlineData("foo:host-gateway", "unable to derive the IP value for host-gateway")]
    public void A_bad_added_host_is_refused_in_Dockers_words(string extra, string message) =>
        Assert.Equal(message, Assert.Throws<NetworkException>(() => HostsFile.For([], "h", "", [extra], [])).Message);

    // As Docker Engine 28.5 writes them, but for its heading.
    [Fact]
    public void With_name_service_the_others_are_asked_from_the_host()
    {
        var (text, settings) = ResolvConf.ForNameService("# by hand\nnameserver 127.0.0.53\nnameserver 2001:db8::53\nsearch a.example\noptions edns0 trust-ad\n", "/etc/resolv.conf", [], [], []);
        Assert.Equal("""
            nameserver 127.0.0.11
            search a.example
            options edns0 trust-ad ndots:0

            # Based on host file: '/etc/resolv.conf' (internal resolver)
            # ExtServers: [host(127.0.0.53) host(2001:db8::53)]
            # Overrides: []
            # Option ndots from: internal

            """, text);
        Assert.False(settings.NdotsSet);
        Assert.Equal(["host(127.0.0.53)", "host(2001:db8::53)"], settings.Servers.Select(s => s.ToString()));
    }

    [Fact]
    public void With_name_service_servers_given_are_asked_from_the_container()
    {
        var (text, settings) = ResolvConf.ForNameService(HostFile, "/etc/resolv.conf", ["127.0.0.1"], ["foo.bar"], ["ndots:2"]);
        Assert.Equal("""
            nameserver 127.0.0.11
            search foo.bar
            options ndots:2
            sortlist 10.0.0.0

            # Based on host file: '/etc/resolv.conf' (internal resolver)
            # ExtServers: [127.0.0.1]
            # Overrides: [nameservers search options]
            # Option ndots from: override

            """, text);
        Assert.True(settings.NdotsSet);
    }

    [Theory]
    [InlineData("options ndots:3\n", "options ndots:3\n", "host", true)]
    [InlineData("options ndots: rotate\n", "options rotate ndots:0\n", "internal", false)]
    [InlineData("options ndots:x\n", "options ndots:0\n", "internal", false)]
    public void Ndots_of_the_host_is_kept_if_it_is_one(string host, string options, string from, bool set)
    {
        var (text, settings) = ResolvConf.ForNameService(host, "/etc/resolv.conf", [], [], []);
        Assert.Contains(options, text);
        Assert.Contains("# NO EXTERNAL NAMESERVERS DEFINED\n# Overrides: []\n# Option ndots from: " + from + "\n", text);
        Assert.Equal(set, settings.NdotsSet);
    }

    [Fact]
    public void A_server_that_is_no_address_is_refused_with_name_service_too() =>
        Assert.Equal("bad nameserver address x", Assert.Throws<NetworkException>(() => ResolvConf.ForNameService("", "/etc/resolv.conf", ["x"], [], [])).Message);
}
