using Berth.Cli.CommandLine;

namespace Berth.Fast.Tests.Cli;

public class FlagParserTests
{
    private static readonly Flag[] Flags =
    [
        new("detach", 'd', FlagKind.Bool, ""),
        new("interactive", 'i', FlagKind.Bool, ""),
        new("tty", 't', FlagKind.Bool, ""),
        new("rm", FlagKind.Bool, ""),
        new("sig-proxy", FlagKind.Bool, "") { Default = "true" },
        new("publish", 'p', FlagKind.List, ""),
        new("env", 'e', FlagKind.List, ""),
        new("name", FlagKind.String, ""),
        new("memory", 'm', FlagKind.Bytes, ""),
        new("network", FlagKind.List, ""),
        new("net", FlagKind.List, "") { Hidden = true, SpellingOf = "network" },
        new("stop-timeout", FlagKind.Int, ""),
        new("hostname", 'h', FlagKind.String, ""),
    ];

    private static Arguments Parse(params string[] words) => FlagParser.Parse(Flags, interspersed: false, words);

    private static string Error(params string[] words) => Assert.Throws<FormatException>(() => Parse(words)).Message;

    [Fact]
    public void Letters_may_stand_together_and_the_first_word_ends_the_flags()
    {
        var arguments = Parse("-it", "--rm", "alpine", "ls", "-l", "--color");
        Assert.True(arguments.Bool("interactive") && arguments.Bool("tty") && arguments.Bool("rm"));
        Assert.False(arguments.Bool("detach"));
        Assert.Equal(["alpine", "ls", "-l", "--color"], arguments.Positional);
    }

    [Theory]
    [InlineData("-p8080:80")]
    [InlineData("-p=8080:80")]
    [InlineData("-p|8080:80")]
    [InlineData("--publish=8080:80")]
    [InlineData("--publish|8080:80")]
    [InlineData("-dp8080:80")]
    [InlineData("-dp|8080:80")]
    public void A_value_may_be_glued_given_with_an_equals_sign_or_follow(string line) =>
        Assert.Equal(["8080:80"], Parse(line.Split('|')).List("publish"));

    [Fact]
    public void A_flag_may_be_given_again()
    {
        var arguments = Parse("-e", "A=1", "--env=B=2=3", "--name", "x", "--name", "y", "--rm", "--rm=false", "--net", "a", "--network=b");
        Assert.Equal(["A=1", "B=2=3"], arguments.List("env"));
        Assert.Equal("y", arguments.String("name"));
        Assert.False(arguments.Bool("rm"));
        Assert.Equal(["a", "b"], arguments.List("network"));
    }

    [Fact]
    public void Defaults_hold_until_a_flag_is_given()
    {
        Assert.True(Parse().Bool("sig-proxy"));
        Assert.False(Parse("--sig-proxy=false").Bool("sig-proxy"));
        Assert.False(Parse().Changed("stop-timeout"));
        Assert.True(Parse("--stop-timeout=0").Changed("stop-timeout"));
        Assert.Equal(64 << 20, Parse("-m64m").Bytes("memory"));
    }

    [Fact]
    public void A_lone_dash_is_a_word_and_two_dashes_end_the_flags()
    {
        Assert.Equal(["-", "-d"], Parse("-", "-d").Positional);
        Assert.Equal(["-d"], Parse("--", "-d").Positional);
        Assert.Equal(["a"], FlagParser.Parse(Flags, interspersed: true, ["a", "-d"]).Positional);
    }

    [Fact]
    public void Errors_are_dockers()
    {
        Assert.Equal("unknown flag: --foo", Error("--foo"));
        Assert.Equal("unknown shorthand flag: 'Q' in -Q", Error("-Q"));
        Assert.Equal("unknown shorthand flag: 'x' in -xyz", Error("-dxyz"));
        Assert.Equal("flag needs an argument: --name", Error("--name"));
        Assert.Equal("flag needs an argument: 'e' in -e", Error("-e"));
        Assert.Equal("bad flag syntax: --=x", Error("--=x"));
        Assert.Equal("""invalid argument "abc" for "-m, --memory" flag: invalid size: 'abc'""", Error("--memory", "abc"));
        Assert.Equal("""invalid argument "x" for "-d, --detach" flag: strconv.ParseBool: parsing "x": invalid syntax""", Error("-d=x"));
        Assert.Equal("""invalid argument "1s" for "--stop-timeout" flag: strconv.ParseInt: parsing "1s": invalid syntax""", Error("--stop-timeout", "1s"));
    }

    [Fact]
    public void A_slip_is_answered_with_what_may_have_been_meant() =>
        Assert.Equal("unknown flag: --netwrok\n\nDid you mean --network?", Error("--netwrok", "x"));

    [Fact]
    public void Help_is_asked_for_by_either_flag_unless_the_letter_is_taken()
    {
        Assert.Throws<HelpRequestedException>(() => Parse("--help"));
        Assert.Equal("box", Parse("-h", "box").String("hostname"));
        Assert.Throws<HelpRequestedException>(() => FlagParser.Parse([], interspersed: true, ["-h"]));
    }

    [Theory]
    [InlineData("imagse", "images")]
    [InlineData("rnu", "run")]
    [InlineData("strat", "start")]
    [InlineData("frobnicate", null)]
    [InlineData("x", null)]
    public void The_nearest_command_is_suggested_if_it_is_near(string word, string? near) =>
        Assert.Equal(near, Suggest.Nearest(word, ["run", "rm", "start", "stop", "images", "inspect"]));
}
