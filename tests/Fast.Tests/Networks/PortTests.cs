using System.Net;
using Berth.Networks;

namespace Berth.Fast.Tests.Networks;

public sealed class PortTests
{
    [Theory]
    [InlineData("", "0")]
    [InlineData("0", "0")]
    [InlineData("80", "80")]
    [InlineData("8000-8010", "8000-8010")]
    public void A_range_is_read(string text, string printed)
    {
        Assert.True(PortRange.TryParse(text, out var range));
        Assert.Equal(printed, range.ToString());
    }

    [Theory]
    [InlineData("80", "", "", "80/tcp", null, "0")]
    [InlineData("53/udp", "127.0.0.1", "5353", "53/udp", "127.0.0.1", "5353")]
    [InlineData("7/SCTP", "::1", "9000-9005", "7/sctp", "::1", "9000-9005")]
    public void A_binding_is_read(string port, string hostIp, string hostPort, string expectedPort, string? expectedIp, string expectedRange)
    {
        var request = PortRequest.Parse(port, hostIp, hostPort);
        Assert.Equal(expectedPort, request.Port.ToString());
        Assert.Equal(expectedIp, request.HostAddress?.ToString());
        Assert.Equal(expectedRange, request.HostPorts.ToString());
    }

    [Theory]
    [InlineData("80000/tcp", "", "1", "invalid port specification: \"80000\"")]
    [InlineData("x/tcp", "", "1", "invalid port specification: \"x\"")]
    [InlineData("0/tcp", "", "1", "invalid port specification: \"0\"")]
    [InlineData("80-81/tcp", "", "1", "invalid port specification: \"80-81\"")]
    [InlineData("80/foo", "", "1", "invalid port specification: \"80/foo\"")]
    [InlineData("80/tcp", "", "99999", "invalid port specification: \"99999\"")]
    [InlineData("80/tcp", "", "99-", "invalid port specification: \"99-\"")]
    [InlineData("80/tcp", "", "9-8", "invalid port specification: \"9-8\"")]
    [InlineData("80/tcp", "", "0-8", "invalid port specification: \"0-8\"")]
    [InlineData("80/tcp", "nonsense", "80", "invalid IP address: nonsense")]
    public void A_bad_binding_is_refused_in_Dockers_words(string port, string hostIp, string hostPort, string message)
    {
        var e = Assert.Throws<NetworkException>(() => PortRequest.Parse(port, hostIp, hostPort));
        Assert.Equal((NetworkErrorKind.InvalidArgument, message), (e.Kind, e.Message));
    }

    [Fact]
    public void A_parser_of_ports_returns_or_refuses_whatever_it_is_given()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        const string alphabet = "0123456789-/:tcpud. x";
        for (var i = 0; i < 20_000; i++)
        {
            var text = new string([.. Enumerable.Range(0, random.Next(12)).Select(_ => alphabet[random.Next(alphabet.Length)])]);
            if (PortRange.TryParse(text, out var range) && !range.IsAny) Assert.True(range.First <= range.Last && PortRange.TryParse(range.ToString(), out var again) && again == range, $"{text}, seed {seed}");
            if (ContainerPort.TryParse(text, out var port)) Assert.True(ContainerPort.TryParse(port.ToString(), out var same) && same == port, $"{text}, seed {seed}");
        }
    }
}
