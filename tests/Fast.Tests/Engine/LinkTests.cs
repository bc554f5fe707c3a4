using Berth.Engine;

namespace Berth.Fast.Tests.Engine;

public class LinkTests
{
    [Theory]
    [InlineData("web", "web", "web")]
    [InlineData("web:db", "web", "db")]
    [InlineData("/web:/parent/db", "web", "db")]
    public void A_link_is_a_name_and_an_alias(string text, string name, string alias) => Assert.Equal((name, alias), LinkTexts.Parse(text));

    [Theory]
    [InlineData("", "empty string specified for links")]
    [InlineData("a:b:c", "bad format for links: a:b:c")]
    public void Other_forms_are_refused(string text, string message) => Assert.Equal(message, Assert.Throws<EngineException>(() => LinkTexts.Parse(text)).Message);

    [Fact]
    public void The_variables_of_a_link_are_dockers()
    {
        var variables = LinkTexts.Environment("me", "the-db", "10.0.0.2", ["53/udp", "81/tcp", "80/tcp", "90"], ["A=b", "HOME=/x", "PATH=/y", "bare"]);
        Assert.Equal("""
            THE_DB_PORT=tcp://10.0.0.2:80
            THE_DB_PORT_80_TCP=tcp://10.0.0.2:80
            THE_DB_PORT_80_TCP_ADDR=10.0.0.2
            THE_DB_PORT_80_TCP_PORT=80
            THE_DB_PORT_80_TCP_PROTO=tcp
            THE_DB_PORT_81_TCP=tcp://10.0.0.2:81
            THE_DB_PORT_81_TCP_ADDR=10.0.0.2
            THE_DB_PORT_81_TCP_PORT=81
            THE_DB_PORT_81_TCP_PROTO=tcp
            THE_DB_PORT_80_TCP_START=tcp://10.0.0.2:80
            THE_DB_PORT_80_TCP_PORT_START=80
            THE_DB_PORT_80_TCP_END=tcp://10.0.0.2:81
            THE_DB_PORT_80_TCP_PORT_END=81
            THE_DB_PORT_90_TCP=tcp://10.0.0.2:90
            THE_DB_PORT_90_TCP_ADDR=10.0.0.2
            THE_DB_PORT_90_TCP_PORT=90
            THE_DB_PORT_90_TCP_PROTO=tcp
            THE_DB_PORT_53_UDP=udp://10.0.0.2:53
            THE_DB_PORT_53_UDP_ADDR=10.0.0.2
            THE_DB_PORT_53_UDP_PORT=53
            THE_DB_PORT_53_UDP_PROTO=udp
            THE_DB_NAME=/me/the-db
            THE_DB_ENV_A=b
            """.ReplaceLineEndings("\n"), string.Join('\n', variables));
    }
}
