using System.Text.Json;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;

namespace Berth.Fast.Tests.Cli;

public class CreateRequestTests
{
    private static ContainerCreateRequest Build(params string[] words) =>
        CreateRequestBuilder.Build(FlagParser.Parse(ContainerFlags.ForRun(), interspersed: false, words), name => name == "HOME" ? "/root" : null);

    private static string Error(params string[] words) => Assert.Throws<FormatException>(() => Build(words)).Message;

    private static string Json<T>(T value, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type) => JsonSerializer.Serialize(value, type);

    [Fact]
    public void Without_flags_nothing_is_asked_for_but_output()
    {
        var request = Build("alpine");
        Assert.Equal(
            """{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"alpine","Volumes":{},"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{}}""",
            Json(request.PortablePart(), ApiJson.Wire.ContainerConfig));
        Assert.Equal("default", request.HostConfig!.NetworkMode);
        Assert.Null(request.HostConfig.Init);
        Assert.Null(request.HostConfig.MaskedPaths);
        Assert.Null(request.HostConfig.MemorySwappiness);
        Assert.Null(request.HostConfig.PidsLimit);
        Assert.Null(request.NetworkingConfig);
    }

    [Fact]
    public void What_follows_the_image_is_the_containers()
    {
        var request = Build("-it", "--rm", "alpine", "ls", "-l", "--rm");
        Assert.Equal(["ls", "-l", "--rm"], request.Cmd!);
        Assert.True(request is { Tty: true, OpenStdin: true, AttachStdin: true, StdinOnce: true, HostConfig.AutoRemove: true });
    }

    [Fact]
    public void The_environment_comes_from_files_then_flags_and_bare_names_are_passed_on()
    {
        var file = Path.GetTempFileName();
        File.WriteAllText(file, "\uFEFF# comment\n  A=1 \nHOME\nUNSET\n\nB=x=y\n");
        try
        {
            Assert.Equal(["A=1 ", "HOME=/root", "B=x=y", "C=", "HOME=/root", "NOT_SET"], Build("--env-file", file, "-e", "C=", "-e", "HOME", "-e", "NOT_SET", "i").Env!);
            File.WriteAllText(file, "A B=1\n");
            Assert.Equal($"invalid env file ({file}): variable 'A B' contains whitespaces", Error("--env-file", file, "i"));
        }
        finally
        {
            File.Delete(file);
        }
        Assert.Equal("open /nowhere: no such file or directory", Error("--env-file", "/nowhere", "i"));
    }

    [Theory]
    [InlineData("80", """{"80/tcp":[{"HostIp":"","HostPort":""}]}""")]
    [InlineData("8080:80", """{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}""")]
    [InlineData("127.0.0.1:8080:80/udp", """{"80/udp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}""")]
    [InlineData("127.0.0.1::80", """{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]}""")]
    [InlineData("[::1]:8080:80", """{"80/tcp":[{"HostIp":"::1","HostPort":"8080"}]}""")]
    [InlineData("8080-8081:80-81", """{"80/tcp":[{"HostIp":"","HostPort":"8080"}],"81/tcp":[{"HostIp":"","HostPort":"8081"}]}""")]
    [InlineData("8000-9000:80", """{"80/tcp":[{"HostIp":"","HostPort":"8000-9000"}]}""")]
    [InlineData("published=8080,target=80,protocol=udp", """{"80/udp":[{"HostIp":"","HostPort":"8080"}]}""")]
    public void Ports_are_published(string spec, string bindings)
    {
        var request = Build("-p", spec, "i");
        using var document = JsonDocument.Parse(Json(request.HostConfig!, ApiJson.Wire.HostConfig));
        Assert.Equal(bindings, document.RootElement.GetProperty("PortBindings").GetRawText());
        Assert.Equal(request.HostConfig!.PortBindings!.Keys.Order(StringComparer.Ordinal), request.ExposedPorts!);
    }

    [Theory]
    [InlineData("-p", "x", "invalid containerPort: x")]
    [InlineData("-p", "x:80", "invalid hostPort: x")]
    [InlineData("-p", "1.2.3:1:80", "invalid IP address: 1.2.3")]
    [InlineData("-p", "80:", "no port specified: 80:<empty>")]
    [InlineData("-p", "80/foo", "invalid proto: foo")]
    [InlineData("-p", "1-2:80-83", "invalid ranges specified for container and host Ports: 80-83 and 1-2")]
    [InlineData("-p", "99999", "invalid containerPort: 99999")]
    [InlineData("-v", "foo:bar:baz:qux", "invalid spec: foo:bar:baz:qux: too many colons")]
    [InlineData("-v", "foo::ro", "invalid spec: foo::ro: empty section between colons")]
    [InlineData("--pid", "x", "--pid: invalid PID mode")]
    [InlineData("--uts", "x", "--uts: invalid UTS mode")]
    [InlineData("--userns", "x", "--userns: invalid USER mode")]
    [InlineData("--restart", "on-failure:x", "invalid restart policy format: maximum retry count must be an integer")]
    [InlineData("--memory-swappiness", "101", "invalid value: 101. Valid memory swappiness range is 0-100")]
    [InlineData("--security-opt", "foo", "Invalid --security-opt: \"foo\"")]
    [InlineData("--security-opt", "seccomp=/nowhere", "opening seccomp profile (/nowhere) failed: open /nowhere: no such file or directory")]
    [InlineData("--device", "/dev/null:/x:q", "bad mode specified: q")]
    [InlineData("--device", "null", "null is not an absolute path")]
    [InlineData("--mac-address", "x", "x is not a valid mac address")]
    [InlineData("--expose", "1:2", "invalid port format for --expose: 1:2")]
    [InlineData("-e", "=x", "invalid environment variable: =x")]
    public void Bad_values_are_refused_in_dockers_words(string flag, string value, string message)
    {
        Assert.Equal(message, Error(flag, value, "i"));
    }

    [Theory]
    [InlineData("type=bind,src=/a,dst=/b,ro", """{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true}""")]
    [InlineData("src=vol,target=/b,volume-label=x=y,volume-opt=o=bind", """{"Type":"volume","Source":"vol","Target":"/b","VolumeOptions":{"Labels":{"x":"y"},"DriverConfig":{"Options":{"o":"bind"}}}}""")]
    [InlineData("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770", """{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1048576,"Mode":1016}}""")]
    [InlineData("type=bind,\"src=/a,b\",dst=/b,bind-propagation=rslave", """{"Type":"bind","Source":"/a,b","Target":"/b","BindOptions":{"Propagation":"rslave"}}""")]
    public void Mounts_are_read(string spec, string json) =>
        Assert.Equal(json, Json(Build("--mount", spec, "i").HostConfig!, ApiJson.Wire.HostConfig) is var text ? text[(text.IndexOf("\"Mounts\":[", StringComparison.Ordinal) + 10)..text.IndexOf("],\"MaskedPaths\"", StringComparison.Ordinal)] : "");

    [Theory]
    [InlineData("dst=/a,foo=bar", "unexpected key 'foo' in 'foo=bar'")]
    [InlineData("src=/a", "target is required")]
    [InlineData("type=bind,dst=/a,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'bind'")]
    [InlineData("foo", "invalid field 'foo' must be a key=value pair")]
    [InlineData("dst=/a,ro=maybe", "invalid value for ro: maybe")]
    public void Bad_mounts_are_refused_while_flags_are_read(string spec, string reason) =>
        Assert.Equal($"invalid argument \"{spec}\" for \"--mount\" flag: {reason}", Error("--mount", spec, "i"));

    [Fact]
    public void Volumes_without_a_source_are_anonymous_and_the_others_are_bound()
    {
        var request = Build("-v", "/data", "-v", "vol:/v:ro", "-v", "./x:/x", "i");
        Assert.Equal(["/data"], request.Volumes!);
        Assert.Equal(["vol:/v:ro", Path.GetFullPath("./x") + ":/x"], request.HostConfig!.Binds!);
    }

    [Fact]
    public void Limits_are_in_the_units_of_the_api()
    {
        var host = Build("-m", "64m", "--memory-swap", "-1", "--cpus", "1.5", "--ulimit", "nofile=10:20", "--ulimit", "core=-1", "--device-read-bps", "/dev/sda:1mb", "--pids-limit", "5", "--shm-size", "1g", "i").HostConfig!;
        Assert.Equal((64L << 20, -1L, 1_500_000_000L, 5L, 1L << 30), (host.Memory, host.MemorySwap, host.NanoCpus, host.PidsLimit!.Value, host.ShmSize));
        Assert.Equal([new Ulimit { Name = "nofile", Soft = 10, Hard = 20 }, new Ulimit { Name = "core", Soft = -1, Hard = -1 }], host.Ulimits!);
        Assert.Equal([new ThrottleDevice { Path = "/dev/sda", Rate = 1 << 20 }], host.BlkioDeviceReadBps!);
    }

    [Fact]
    public void Unconfined_system_paths_are_the_clients_business()
    {
        var host = Build("--security-opt", "systempaths=unconfined", "--security-opt", "no-new-privileges", "i").HostConfig!;
        Assert.Equal(["no-new-privileges"], host.SecurityOpt!);
        Assert.Empty(host.MaskedPaths!);
        Assert.Empty(host.ReadonlyPaths!);
    }

    [Fact]
    public void An_empty_entrypoint_resets_the_images()
    {
        Assert.Null(Build("i").Entrypoint);
        Assert.Equal([""], Build("--entrypoint=", "i").Entrypoint!);
        Assert.Equal(["sh"], Build("--entrypoint", "sh", "i").Entrypoint!);
    }

    [Fact]
    public void A_network_may_say_more_than_its_name()
    {
        var request = Build("--network", "name=front,alias=web,ip=10.0.0.5", "i");
        Assert.Equal("front", request.HostConfig!.NetworkMode);
        var endpoint = request.NetworkingConfig!.EndpointsConfig!["front"];
        Assert.Equal(["web"], endpoint.Aliases!);
        Assert.Equal("10.0.0.5", endpoint.IPAMConfig!.IPv4Address);
        Assert.Equal("conflicting options: cannot attach both user-defined and non-user-defined network-modes", Error("--network", "front", "--network", "host", "i"));
        Assert.Equal("network-scoped aliases are only supported for user-defined networks", Error("--network-alias", "x", "i"));
        Assert.Equal("conflicting options: cannot specify both --restart and --rm", Error("--rm", "--restart", "always", "i"));
    }

    [Fact]
    public void A_host_entry_may_be_written_with_either_sign() =>
        Assert.Equal(["a:1.2.3.4", "b:::1", "c:host-gateway"], Build("--add-host", "a:1.2.3.4", "--add-host", "b=[::1]", "--add-host", "c=host-gateway", "i").HostConfig!.ExtraHosts!);
}
