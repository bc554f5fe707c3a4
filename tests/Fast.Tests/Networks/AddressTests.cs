using Berth.Networks;

namespace Berth.Fast.Tests.Networks;

public sealed class AddressTests
{
    private static InetPrefix Prefix(string text) => InetPrefix.TryParse(text, out var p) ? p : throw new FormatException(text);

    private static InetAddress Address(string text) => InetAddress.TryParse(text, out var a) ? a : throw new FormatException(text);

    [Theory]
    [InlineData("0.0.0.0")]
    [InlineData("255.255.255.255")]
    [InlineData("198.18.50.1")]
    public void An_address_is_printed_as_it_was_read(string text) => Assert.Equal(text, Address(text).ToString());

    [Theory]
    [InlineData("")]
    [InlineData("1.2.3")]
    [InlineData("1.2.3.4.5")]
    [InlineData("1.2.3.256")]
    [InlineData("1.2.3.04")]
    [InlineData("1.2.3.+4")]
    [InlineData("1.2.3. 4")]
    [InlineData("1.2..4")]
    public void What_is_no_address_is_not_read(string text) => Assert.False(InetAddress.TryParse(text, out _));

    [Theory]
    [InlineData("10.0.0.0/33")]
    [InlineData("10.0.0.0/")]
    [InlineData("10.0.0.0/08")]
    [InlineData("10.0.0.0")]
    [InlineData("10.0.0.0/-1")]
    public void What_is_no_subnet_is_not_read(string text) => Assert.False(InetPrefix.TryParse(text, out _));

    [Theory]
    [InlineData("10.0.0.0/8", "10.255.0.0/16", true)]
    [InlineData("10.255.0.0/16", "10.0.0.0/8", true)]
    [InlineData("10.0.0.0/9", "10.128.0.0/9", false)]
    [InlineData("0.0.0.0/0", "192.0.2.0/24", true)]
    public void Overlap_is_symmetric(string a, string b, bool overlaps)
    {
        Assert.Equal(overlaps, Prefix(a).Overlaps(Prefix(b)));
        Assert.Equal(overlaps, Prefix(b).Overlaps(Prefix(a)));
    }

    [Fact]
    public void Addresses_are_given_lowest_first_without_network_broadcast_and_gateway()
    {
        var ipam = new Ipam(Prefix("198.18.50.0/29"), null, Address("198.18.50.1"));
        Assert.Equal(["198.18.50.2", "198.18.50.3", "198.18.50.4", "198.18.50.5", "198.18.50.6"], Enumerable.Range(0, 5).Select(_ => ipam.Allocate().ToString()));
        var exhausted = Assert.Throws<NetworkException>(() => ipam.Allocate());
        Assert.Equal(NetworkErrorKind.Exhausted, exhausted.Kind);
        ipam.Release(Address("198.18.50.4"));
        Assert.Equal("198.18.50.4", ipam.Allocate().ToString());
    }

    [Fact]
    public void A_range_within_the_subnet_limits_what_is_given_but_not_what_may_be_asked_for()
    {
        var ipam = new Ipam(Prefix("10.1.0.0/16"), Prefix("10.1.5.0/30"), Address("10.1.0.1"));
        Assert.Equal(["10.1.5.0", "10.1.5.1", "10.1.5.2", "10.1.5.3"], Enumerable.Range(0, 4).Select(_ => ipam.Allocate().ToString()));
        Assert.Throws<NetworkException>(() => ipam.Allocate());
        Assert.True(ipam.TryReserve(Address("10.1.9.9")));
        Assert.Equal("no configured subnet contains IP address 10.2.0.1", Assert.Throws<NetworkException>(() => ipam.TryReserve(Address("10.2.0.1"))).Message);
    }

    [Fact]
    public void What_means_the_network_or_everyone_in_it_is_nobodys()
    {
        var ipam = new Ipam(Prefix("198.18.0.0/26"), null);
        Assert.False(ipam.TryReserve(Address("198.18.0.0")));
        Assert.False(ipam.TryReserve(Address("198.18.0.63")));
        Assert.False(new Ipam(Prefix("fd00:1::/64"), null).TryReserve(Address("fd00:1::")));
        Assert.True(new Ipam(Prefix("198.18.0.0/31"), null).TryReserve(Address("198.18.0.0")));
        Assert.Equal("Address already in use", Assert.Throws<NetworkException>(() => ipam.Take(Address("198.18.0.63"), null)).Message);
    }

    [Fact]
    public void No_address_is_given_twice_whatever_comes_and_goes()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        var ipam = new Ipam(Prefix("198.18.0.0/26"), null, Address("198.18.0.1"));
        var held = new HashSet<InetAddress>();
        for (var i = 0; i < 20_000; i++)
        {
            switch (random.Next(3))
            {
                case 0 when held.Count < 61:
                    Assert.True(held.Add(ipam.Allocate()), $"given twice, seed {seed}");
                    break;
                case 1 when held.Count > 0:
                    var gone = held.ElementAt(random.Next(held.Count));
                    held.Remove(gone);
                    ipam.Release(gone);
                    break;
                default:
                    var wanted = Address("198.18.0.2") + (uint)random.Next(61);
                    Assert.True(ipam.TryReserve(wanted) == held.Add(wanted), $"reserved wrongly, seed {seed}");
                    break;
            }
            Assert.Equal(held.Count + 1, ipam.TakenCount);
        }
    }

    [Fact]
    public void Concurrent_callers_get_different_addresses()
    {
        var ipam = new Ipam(Prefix("198.18.0.0/16"), null);
        var given = new System.Collections.Concurrent.ConcurrentBag<InetAddress>();
        Parallel.For(0, 2000, _ => given.Add(ipam.Allocate()));
        Assert.Equal(2000, given.Distinct().Count());
        Assert.Equal(Address("198.18.7.208"), given.Max());
    }

    [Theory]
    [InlineData("92:d0:c6:0a:29:33", true)]
    [InlineData("92-D0-C6-0A-29-33", true)]
    [InlineData("92:d0:c6:0a:29", false)]
    [InlineData("92:d0:c6-0a:29:33", false)]
    [InlineData("zz:d0:c6:0a:29:33", false)]
    public void A_mac_is_six_hex_pairs(string text, bool valid)
    {
        Assert.Equal(valid, MacAddress.TryParse(text, out var mac));
        if (valid) Assert.Equal("92:d0:c6:0a:29:33", mac.ToString());
    }

    [Fact]
    public void A_mac_follows_from_the_address() => Assert.Equal("02:42:c6:12:32:02", MacAddress.For(Address("198.18.50.2")).ToString());
}
