using Berth.Daemon.Host;
using Microsoft.Extensions.Logging;

namespace Berth.Fast.Tests.Daemon;

public class FlagsTests
{
    private static DaemonOptions Parse(params string[] arguments) => Flags.Parse(arguments).Options;

    [Fact]
    public void Flags_are_read_in_every_form_that_dockerd_takes()
    {
        var options = Parse("-D", "-H", "unix:///a", "-Hunix:///b", "--host=tcp://127.0.0.1:1", "-H=fd://", "--bip", "10.0.0.1/24", "-b=br0", "--icc=false", "-Gstaff", "--log-opt", "max-size=1m", "--log-opt=max-file=2");
        Assert.Equal(["unix:///a", "unix:///b", "tcp://127.0.0.1:1", "fd://"], options.Hosts);
        Assert.Equal(("10.0.0.1/24", "br0", false, true), (options.Engine.BridgeIp, options.Engine.BridgeName, options.Engine.InterContainerCommunication, options.Engine.Debug));
        Assert.Equal(("staff", true, LogLevel.Debug), (options.Group, options.GroupGiven, options.LogLevel));
        Assert.Equal(["max-file=2", "max-size=1m"], options.Engine.LogOptions.Select(o => $"{o.Key}={o.Value}").Order());
    }

    [Fact]
    public void Socket_and_pid_file_follow_the_exec_root()
    {
        var options = Parse("--exec-root", "/x/run");
        Assert.Equal(["unix:///x/run/berth.sock"], options.EffectiveHosts);
        Assert.Equal("/x/run/berthd.pid", options.EffectivePidFile);
    }

    [Theory]
    [InlineData("64m", 64L << 20)]
    [InlineData("64MiB", 64L << 20)]
    [InlineData("1.5g", 3L << 29)]
    [InlineData("4096", 4096)]
    [InlineData("10kb", 10240)]
    public void Sizes_have_units(string text, long bytes) => Assert.Equal(bytes, Parse("--default-shm-size", text).Engine.DefaultShmSizeBytes);

    [Theory]
    [InlineData("unknown flag: --nope", "--nope")]
    [InlineData("unknown shorthand flag: 'x' in -Dx", "-Dx")]
    [InlineData("flag needs an argument: --mtu", "--mtu")]
    [InlineData("flag needs an argument: 'H' in -H", "-H")]
    [InlineData("invalid argument \"abc\" for \"--mtu\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax", "--mtu", "abc")]
    [InlineData("invalid argument \"maybe\" for \"--icc\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax", "--icc=maybe")]
    [InlineData("invalid logging level: loud", "-l", "loud")]
    [InlineData("\"berthd\" accepts no arguments: foo", "foo")]
    [InlineData("--userns-remap is not supported by this version of Berth", "--userns-remap", "default")]
    public void A_wrong_command_line_is_refused_by_name(string message, params string[] arguments) =>
        Assert.Equal(message, Assert.Throws<FlagsException>(() => Parse(arguments)).Message);

    [Fact]
    public void Help_and_version_win_over_running()
    {
        Assert.Equal(FlagsAction.Help, Flags.Parse(["--help"]).Action);
        Assert.Equal(FlagsAction.Version, Flags.Parse(["-v"]).Action);
        Assert.Contains("\n  -H, --host list ", Flags.Usage);
        Assert.DoesNotContain("userns-remap", Flags.Usage);
        Assert.All(Flags.Usage.Split('\n'), line => Assert.InRange(line.Length, 0, 100));
    }
}
