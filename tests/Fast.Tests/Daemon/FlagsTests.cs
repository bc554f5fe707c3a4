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
    public void The_default_bridge_has_IPv6_when_asked()
    {
        var engine = Parse("--ipv6", "--bip6", "fd00:1::1/64", "--fixed-cidr-v6=fd00:1::/80", "--default-gateway-v6", "fd00:1::9", "--ip6tables=false").Engine;
        Assert.Equal((true, "fd00:1::1/64", "fd00:1::/80", "fd00:1::9", false), (engine.EnableIPv6, engine.BridgeIp6, engine.FixedCidr6, engine.DefaultGateway6, engine.Firewall6));
        Assert.Equal((true, false, true), (WithFile("""{"ipv6":true,"ip6tables":false}""").Engine is var file && file.EnableIPv6, file.Firewall6, file.Firewall));
        Assert.Equal((false, true), (Parse().Engine.EnableIPv6, Parse().Engine.Firewall6));
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
    [InlineData("invalid fixed-cidr-v6: invalid fixed-cidr-v6: netip.ParsePrefix(\"foo\"): no '/'", "--fixed-cidr-v6", "foo")]
    [InlineData("invalid fixed-cidr-v6: invalid fixed-cidr-v6: '10.0.0.0/8' is not a valid IPv6 subnet", "--fixed-cidr-v6", "10.0.0.0/8")]
    [InlineData("invalid fixed-cidr-v6: invalid fixed-cidr-v6: multicast subnet 'ff02::/64' is not allowed", "--fixed-cidr-v6", "ff02::/64")]
    [InlineData("invalid fixed-cidr-v6: invalid fixed-cidr-v6: 'fe80::/10' clashes with the Link-Local prefix 'fe80::/64'", "--fixed-cidr-v6", "fe80::/10")]
    [InlineData("--userns-remap is not supported by this version of Berth: user namespaces are not there yet", "--userns-remap", "default")]
    public void A_wrong_command_line_is_refused_by_name(string message, params string[] arguments) =>
        Assert.Equal(message, Assert.Throws<FlagsException>(() => Parse(arguments)).Message);

    private static DaemonOptions WithFile(string json, params string[] arguments) =>
        Flags.Parse(arguments, _ => ConfigFile.Parse(System.Text.Encoding.UTF8.GetBytes(json))).Options;

    [Fact]
    public void The_file_has_the_flags_names_and_some_of_its_own()
    {
        var options = WithFile("""
            {"debug":true,"hosts":["unix:///a","tcp://127.0.0.1:1"],"mtu":1400,"icc":false,"log-opts":{"max-size":"1m"},"default-shm-size":"64M","dns":["192.0.2.1"],
             "default-ulimits":{"nofile":{"Name":"nofile","Hard":20,"Soft":10}},"default-address-pools":[{"base":"10.10.0.0/16","size":24}],"proxies":{"no-proxy":"a,b"},
             "tlsverify":true,"features":{"buildkit":true},"shutdown-timeout":7}
            """, "--bridge", "br7");
        Assert.Equal((true, 1400, false, 64L << 20, "br7", "a,b", 7), (options.Engine.Debug, options.Engine.Mtu, options.Engine.InterContainerCommunication, options.Engine.DefaultShmSizeBytes,
            options.Engine.BridgeName, options.Engine.NoProxy, options.Engine.ShutdownTimeoutSeconds));
        Assert.Equal(["unix:///a", "tcp://127.0.0.1:1"], options.Hosts);
        Assert.Equal(["nofile=10:20"], options.Engine.DefaultUlimits);
        Assert.Equal([new Berth.Engine.AddressPool("10.10.0.0/16", 24)], options.Engine.DefaultAddressPools);
        Assert.True(options.Tls);
        Assert.Equal("1m", options.Engine.LogOptions["max-size"]);
    }

    // As dockerd 28.5 --validate worded it.
    [Theory]
    [InlineData("{\"nosuch\":1,\"other\":2}", "the following directives don't match any configuration option: nosuch, other")]
    [InlineData("{\"debug\":\"x\"}", "invalid JSON: json: cannot unmarshal string into Go struct field Config.debug of type bool")]
    [InlineData("{\"labels\":\"x\"}", "invalid JSON: json: cannot unmarshal string into Go struct field Config.labels of type []string")]
    [InlineData("{\"mtu\":-1}", "merged configuration validation from file and command line flags failed: invalid default MTU: -1")]
    [InlineData("{\"labels\":[\"x\"]}", "merged configuration validation from file and command line flags failed: bad attribute format: x")]
    [InlineData("{", "invalid JSON: unexpected end of JSON input")]
    [InlineData("[]", "invalid JSON: json: cannot unmarshal array into Go value of type map[string]interface {}")]
    [InlineData("{\"registry-mirrors\":[\"foo\"]}", "merged configuration validation from file and command line flags failed: invalid mirror: no scheme specified for \"foo\": must use either 'https://' or 'http://'")]
    [InlineData("{\"default-ipc-mode\":\"foo\"}", "merged configuration validation from file and command line flags failed: default IPC mode setting (foo) is invalid; use \"shareable\" or \"private\"")]
    [InlineData("{\"hosts\":[\"foo://x\"]}", "merged configuration validation from file and command line flags failed: invalid bind address (foo://x): unsupported proto 'foo'")]
    [InlineData("{\"mtu\":1400}", "the following directives are specified both as a flag and in the configuration file: mtu: (from flag: 1300, from file: 1400)", "--mtu", "1300")]
    [InlineData("{\"http-proxy\":\"http://u:p@x\"}", "the following directives are specified both as a flag and in the configuration file: http-proxy: (from flag: http://xxxxx:xxxxx@c, from file: http://xxxxx:xxxxx@x)", "--http-proxy", "http://a:b@c")]
    public void What_is_wrong_with_a_file_is_said_as_dockerd_says_it(string json, string message, params string[] arguments) =>
        Assert.Equal($"unable to configure the Docker daemon with file {Flags.DefaultConfigFile}: {message}", Assert.Throws<FlagsException>(() => WithFile(json, arguments)).Message);

    [Fact]
    public void Labels_must_not_contradict_each_other() =>
        Assert.Equal("conflict labels for a=2 and a=1", Assert.Throws<FlagsException>(() => WithFile("{\"labels\":[\"a=1\",\"a=2\"]}")).Message);

    [Fact]
    public void A_file_may_come_from_an_editor_of_another_system()
    {
        const string Json = "{\"mtu\":1400}";
        foreach (var encoding in (System.Text.Encoding[])[new System.Text.UTF8Encoding(true), System.Text.Encoding.Unicode, System.Text.Encoding.BigEndianUnicode])
            Assert.Equal("1400", ConfigFile.Parse([.. encoding.GetPreamble(), .. encoding.GetBytes(Json)])[0].Values[0]);
        Assert.Empty(ConfigFile.Parse(" \n"u8));
        Assert.Throws<FlagsException>(() => ConfigFile.Parse([0xC3, 0x28]));
    }

    [Fact]
    public void A_reload_takes_what_is_in_the_file_and_keeps_the_rest()
    {
        var before = WithFile("{\"labels\":[\"a=1\"],\"debug\":true,\"max-concurrent-downloads\":9,\"mtu\":1400}");
        var after = Reload.Merge(before, WithFile("{\"insecure-registries\":[\"r:5000\"],\"mtu\":1300}"));
        Assert.Equal(["a=1"], after.Engine.Labels);
        Assert.Equal(["r:5000"], after.Engine.InsecureRegistries);
        Assert.Equal((true, 3, 1400), (after.Engine.Debug, after.Engine.MaxConcurrentDownloads, after.Engine.Mtu));
    }

    [Fact]
    public void Image_trust_names_a_scope_a_kind_and_files()
    {
        var options = WithFile("""
            {"image-trust":[{"scope":"registry.test/team/","type":"cosign","keys":["/k/a.pub","/k/b.pub"]},{"scope":"*","type":"none"},{"scope":"r","type":"notation","certificates":["/k/ca.pem"]}]}
            """);
        Assert.Equal(["registry.test/team cosign /k/a.pub /k/b.pub", "* none ", "r notation /k/ca.pem"], options.Engine.ImageTrust.Select(t => $"{t.Scope} {t.Type} {string.Join(' ', t.Files)}"));
        foreach (var wrong in (ReadOnlySpan<string>)["scope=a", "scope=a,type=pgp,keys=/k", "scope=a,type=cosign", "scope=a,type=cosign,certificates=/k", "scope=a,type=notation,keys=/k", "scope=a,type=none,keys=/k", "type=none", "scope=a,type=none,x=1"])
            Assert.Contains("image-trust", Assert.Throws<FlagsException>(() => Flags.Parse(["--image-trust", wrong])).Message, StringComparison.Ordinal);
    }

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
