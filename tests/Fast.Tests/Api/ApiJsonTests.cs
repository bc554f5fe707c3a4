using System.Text.Json;
using Berth.Api;
using Berth.Api.Json;

namespace Berth.Fast.Tests.Api;

public class ApiJsonTests
{
    [Fact]
    public void A_container_config_prints_what_is_empty_and_leaves_out_what_is_optional()
    {
        Assert.Equal(
            """{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null}""",
            JsonSerializer.Serialize(new ContainerConfig(), ApiJson.Wire.ContainerConfig));
    }

    [Fact]
    public void A_host_config_prints_every_field_that_dockerd_prints_in_its_order()
    {
        Assert.Equal(
            """{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"json-file","Config":{}},"NetworkMode":"bridge","PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"host","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"private","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"Tmpfs":{"/t":""},"UTSMode":"","UsernsMode":"","ShmSize":67108864,"Runtime":"runc","Isolation":"","CpuShares":0,"Memory":104857600,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":209715200,"MemorySwappiness":null,"OomKillDisable":false,"PidsLimit":null,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/m"}],"MaskedPaths":["/proc/kcore"],"ReadonlyPaths":["/proc/sys"]}""",
            JsonSerializer.Serialize(new HostConfig
            {
                LogConfig = new() { Type = "json-file", Config = [] },
                NetworkMode = "bridge",
                PortBindings = new() { ["80/tcp"] = [new() { HostIp = "127.0.0.1", HostPort = "8080" }] },
                RestartPolicy = new() { Name = "no" },
                CgroupnsMode = "host",
                Dns = [],
                DnsOptions = [],
                DnsSearch = [],
                IpcMode = "private",
                Tmpfs = new() { ["/t"] = "" },
                ShmSize = 64 << 20,
                Runtime = "runc",
                Memory = 100 << 20,
                MemorySwap = 200 << 20,
                BlkioWeightDevice = [],
                BlkioDeviceReadBps = [],
                BlkioDeviceWriteBps = [],
                BlkioDeviceReadIOps = [],
                BlkioDeviceWriteIOps = [],
                Devices = [],
                OomKillDisable = false,
                Ulimits = [],
                Mounts = [new() { Type = "bind", Source = "/tmp", Target = "/m" }],
                MaskedPaths = ["/proc/kcore"],
                ReadonlyPaths = ["/proc/sys"],
            }, ApiJson.Wire.HostConfig));
    }

    [Theory]
    [InlineData("""{"Cmd":"ls"}""", "ls")]
    [InlineData("""{"Cmd":["ls","-l"]}""", "ls -l")]
    [InlineData("""{"cmd":["ls"],"Unknown":{"a":[1]}}""", "ls")]
    public void A_command_may_be_a_string_or_a_list_and_names_may_be_in_any_case(string json, string words)
    {
        Assert.Equal(words, string.Join(' ', JsonSerializer.Deserialize(json, ApiJson.Wire.ContainerCreateRequest)!.Cmd!));
    }

    [Fact]
    public void Null_is_read_as_the_empty_string_and_defaults_survive_absence()
    {
        var request = JsonSerializer.Deserialize("""{"Image":null,"Hostname":null,"HostConfig":{"LogConfig":null,"RestartPolicy":{"Name":null},"Runtime":""}}""", ApiJson.Wire.ContainerCreateRequest)!;
        Assert.Equal("", request.Image);
        Assert.Equal("", request.Hostname);
        Assert.Equal("", request.User);
        Assert.Equal("", request.HostConfig!.LogConfig.Type);
        Assert.Equal("", request.HostConfig.RestartPolicy.Name);
        Assert.Null(request.HostConfig.Runtime);
        Assert.Equal([0u, 0u], request.HostConfig.ConsoleSize);
    }

    [Fact]
    public void The_portable_part_of_a_create_request_is_a_config_without_the_rest()
    {
        var request = new ContainerCreateRequest { Image = "a", HostConfig = new(), Labels = new() { ["x"] = "y" } };
        var part = request.PortablePart();
        Assert.IsType<ContainerConfig>(part);
        Assert.DoesNotContain("HostConfig", JsonSerializer.Serialize(part, ApiJson.Wire.ContainerConfig));
        Assert.Equal("y", part.Labels!["x"]);
    }

    [Fact]
    public void Maps_are_written_in_the_order_of_their_keys_and_text_is_not_escaped()
    {
        var config = new ContainerConfig { Labels = new() { ["b"] = "<&>", ["a"] = "ü", ["B"] = "'" }, ExposedPorts = ["81/tcp", "80/udp"] };
        var json = JsonSerializer.Serialize(config, ApiJson.Wire.ContainerConfig);
        Assert.Contains("""{"B":"'","a":"ü","b":"<&>"}""", json);
        Assert.Contains(""" "ExposedPorts":{"80/udp":{},"81/tcp":{}}""".Trim(), json);
    }

    [Fact]
    public void An_image_config_prints_its_eight_fields_always()
    {
        Assert.Equal(
            """{"Cmd":["sh"],"Entrypoint":null,"Env":["PATH=/bin"],"ExposedPorts":{"80/tcp":{}},"Labels":null,"OnBuild":null,"User":"","Volumes":null,"WorkingDir":""}""",
            JsonSerializer.Serialize(new ImageConfig { Cmd = ["sh"], Env = ["PATH=/bin"], ExposedPorts = ["80/tcp"] }, ApiJson.Wire.ImageConfig));
    }

    [Fact]
    public void An_exec_that_runs_has_no_exit_code_yet()
    {
        Assert.Equal(
            """{"ID":"e","Running":true,"ExitCode":null,"ProcessConfig":{"tty":false,"entrypoint":"sh","arguments":["-c"],"privileged":false},"OpenStdin":false,"OpenStderr":true,"OpenStdout":true,"CanRemove":false,"ContainerID":"c","DetachKeys":"","Pid":7}""",
            JsonSerializer.Serialize(
                new ExecInspect { ID = "e", Running = true, ProcessConfig = new() { Entrypoint = "sh", Arguments = ["-c"], Privileged = false }, OpenStderr = true, OpenStdout = true, ContainerID = "c", Pid = 7 },
                ApiJson.Wire.ExecInspect));
    }

    [Fact]
    public void An_event_repeats_itself_in_lower_case_for_old_clients()
    {
        Assert.Equal(
            """{"status":"start","id":"c","from":"i","Type":"container","Action":"start","Actor":{"ID":"c","Attributes":{"image":"i"}},"scope":"local","time":1,"timeNano":1000000002}""",
            JsonSerializer.Serialize(
                new EventMessage { Status = "start", Id = "c", From = "i", Type = "container", Action = "start", Actor = new() { ID = "c", Attributes = new() { ["image"] = "i" } }, Scope = "local", Time = 1, TimeNano = 1000000002 },
                ApiJson.Wire.EventMessage));
    }

    [Fact]
    public void A_failed_pull_says_so_in_both_spellings()
    {
        Assert.Equal("""{"errorDetail":{"message":"no"},"error":"no"}""", JsonSerializer.Serialize(JsonMessage.Failed("no"), ApiJson.Wire.JsonMessage));
    }

    [Theory]
    [InlineData("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z")]
    [InlineData("2024-05-06T07:08:09Z", "2024-05-06T07:08:09Z")]
    [InlineData("2024-05-06T07:08:09.120Z", "2024-05-06T07:08:09.12Z")]
    [InlineData("2024-05-06T07:08:09.123456789Z", "2024-05-06T07:08:09.1234567Z")]
    [InlineData("2024-05-06T07:08:09.5+02:00", "2024-05-06T07:08:09.5+02:00")]
    [InlineData("2024-05-06T07:08:09-05:30", "2024-05-06T07:08:09-05:30")]
    public void Times_are_RFC_3339_with_as_many_digits_as_needed(string text, string printed)
    {
        Assert.True(GoTime.TryParse(text, out var time));
        Assert.Equal(printed, GoTime.Format(time));
    }

    [Theory]
    [InlineData("")]
    [InlineData("2024-05-06")]
    [InlineData("2024-05-06 07:08:09Z")]
    [InlineData("2024-05-06T07:08:09")]
    [InlineData("2024-05-06T07:08:09.Z")]
    [InlineData("2024-13-06T07:08:09Z")]
    [InlineData("0001-01-01T00:00:00+01:00")]
    [InlineData("2024-05-06T07:08:09+99:00")]
    public void What_is_no_time_is_refused(string text) => Assert.False(GoTime.TryParse(text, out _));

    [Fact]
    public void The_zero_time_is_the_default() => Assert.Equal("0001-01-01T00:00:00Z", GoTime.Format(default));

    [Theory]
    [InlineData("""{"Image":5}""")]
    [InlineData("""{"Cmd":5}""")]
    [InlineData("""{"HostConfig":{"Memory":"5"}}""")]
    [InlineData("""{"HostConfig":{"PortBindings":[]}}""")]
    [InlineData("""{"ExposedPorts":["80/tcp"]}""")]
    [InlineData("[]")]
    [InlineData("{")]
    public void A_value_of_the_wrong_type_is_an_error_and_nothing_else(string json) =>
        Assert.ThrowsAny<JsonException>(() => JsonSerializer.Deserialize(json, ApiJson.Wire.ContainerCreateRequest));

    [Fact]
    public void Null_in_a_list_is_an_object_with_nothing_set()
    {
        var host = JsonSerializer.Deserialize("""{"Mounts":[null,{"Type":"tmpfs","Target":"/x","TmpfsOptions":{"Options":[null,["exec"]]}}],"Ulimits":[null],"Devices":[null],"Binds":[null],"PortBindings":{"80/tcp":[null]}}""", ApiJson.Wire.HostConfig)!;
        Assert.Equal((new Mount(), new Ulimit(), new DeviceMapping()), (host.Mounts![0], host.Ulimits![0], host.Devices![0]));
        Assert.Equal("", host.Binds![0]);
        Assert.Empty(host.Mounts![1].TmpfsOptions!.Options![0]);
        Assert.Equal("", host.PortBindings!["80/tcp"]![0].HostPort);
    }
}
