using System.Net;
using Berth.Networks.Dns;

namespace Berth.Fast.Tests.Networks;

public sealed class NameTableTests
{
    private readonly NameTable table = new();

    private void Put(string container, string network, string[] names, string address, params (string Alias, string Name)[] links) =>
        table.Put(new DnsEndpoint(container, "id-" + network, network, names, [.. links.Select(l => KeyValuePair.Create(l.Alias, l.Name))], [.. address.Split(' ').Select(IPAddress.Parse)]));

    private string Ask(string asker, string name)
    {
        var found = new List<IPAddress>();
        return table.Resolve(asker, name, found) ? string.Join(' ', found.Select(a => a.ToString()).Order(StringComparer.Ordinal)) : "unknown";
    }

    public NameTableTests()
    {
        Put("A", "front", ["web", "www", "aaaa"], "10.1.0.2");
        Put("B", "front", ["api", "bbbb"], "10.1.0.3", ("db", "web"));
        Put("B", "back", ["api", "bbbb"], "10.2.0.3");
        Put("C", "back", ["store", "cccc"], "10.2.0.4 fd00::4");
    }

    [Theory]
    [InlineData("B", "web", "10.1.0.2")]
    [InlineData("B", "WWW", "10.1.0.2")]
    [InlineData("B", "aaaa", "10.1.0.2")]
    [InlineData("B", "store", "10.2.0.4 fd00::4")]
    [InlineData("B", "store.back", "10.2.0.4 fd00::4")]
    [InlineData("B", "store.front", "unknown")]
    [InlineData("B", "api", "10.1.0.3")] // itself, on the network it joined first
    [InlineData("A", "store", "unknown")] // not on a network of A's
    [InlineData("A", "store.back", "unknown")]
    [InlineData("A", "api", "10.1.0.3")] // on the network that A is on, and there alone
    [InlineData("B", "db", "10.1.0.2")]
    [InlineData("B", "db.front", "10.1.0.2")]
    [InlineData("A", "db", "unknown")] // B's own name for it
    [InlineData("nobody", "web", "unknown")]
    [InlineData("B", "web.front.example", "unknown")]
    [InlineData("B", ".", "unknown")]
    public void A_name_is_known_within_networks_shared(string asker, string name, string addresses) => Assert.Equal(addresses, Ask(asker, name));

    [Fact]
    public void Several_containers_may_have_one_name()
    {
        Put("D", "front", ["second", "www"], "10.1.0.9");
        Assert.Equal("10.1.0.2 10.1.0.9", Ask("B", "www"));
        table.Remove("A", "id-front");
        Assert.Equal("10.1.0.9", Ask("B", "www"));
        Assert.Equal("unknown", Ask("B", "web"));
        table.Remove("D", "id-front");
        Assert.Equal("unknown", Ask("B", "www"));
        table.Remove("D", "id-front");
    }

    [Fact]
    public void A_container_that_is_renamed_has_its_new_name_only()
    {
        Put("A", "front", ["renamed", "aaaa"], "10.1.0.2");
        Assert.Equal(("unknown", "10.1.0.2", "10.1.0.2"), (Ask("B", "web"), Ask("B", "renamed"), Ask("B", "aaaa")));
        Assert.Equal("renamed.front", table.Reverse("B", IPAddress.Parse("10.1.0.2")));
    }

    [Fact]
    public void Names_and_networks_may_hold_dots()
    {
        Put("E", "net.one", ["a.b", "eeee"], "10.3.0.2");
        Assert.Equal(("10.3.0.2", "10.3.0.2", "unknown"), (Ask("E", "a.b"), Ask("E", "a.b.net.one"), Ask("E", "a.b.net")));
    }

    [Theory]
    [InlineData("A", "10.1.0.3", "api.front")]
    [InlineData("B", "10.2.0.4", "store.back")]
    [InlineData("B", "fd00::4", "store.back")]
    [InlineData("A", "10.2.0.4", null)]
    [InlineData("A", "10.9.9.9", null)]
    public void Addresses_have_names_within_networks_shared(string asker, string address, string? name) => Assert.Equal(name, table.Reverse(asker, IPAddress.Parse(address)));
}
