using System.Text;
using System.Text.RegularExpressions;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Our own command line: what it prints and how it ends, held against the stock client on the same engine.</summary>
public sealed partial class BerthTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private Command Berth(params string[] arguments) => _daemon.Berth(arguments);

    private Command BerthOnTerminal(params string[] arguments) => new(
        "script",
        ["-qefc", string.Join(' ', arguments.Prepend(Repository.Executable("berth")).Select(a => "'" + a.Replace("'", "'\\''", StringComparison.Ordinal) + "'")), "/dev/null"],
        new Dictionary<string, string> { ["DOCKER_HOST"] = "unix://" + _daemon.SocketPath, ["SHELL"] = "/bin/sh", ["TERM"] = "xterm" });

    public static TheoryData<string> Questions =>
    [
        "ps", "ps -a", "ps -q", "ps -a --no-trunc", "ps -as", "ps -l -q", "ps -n 1", "ps --filter name=asked --filter status=running",
        "ps -a --format '{{.ID}} {{.Names}} {{.Image}} {{.Command}} {{.Ports}} {{.Labels}} {{.Mounts}} {{.Networks}} {{.LocalVolumes}} {{.State}} {{.CreatedAt}}'",
        "ps -a --format json", "ps --format 'table {{.Names}}\\t{{.Label \"a\"}}'",
        "images", "images -q", "images --no-trunc", "images --digests", "images --format json", "images --format {{.Repository}}:{{.Tag}}={{.Size}}",
        "inspect asked", "inspect IMAGE", "inspect bridge", "inspect -s asked", "container inspect asked", "image inspect IMAGE", "inspect asked nope",
        "inspect -f '{{.Id}} {{.State.Status}} {{.HostConfig.Memory}} {{.Config.Env}} {{.Config.Labels}} {{.NetworkSettings.Ports}} {{json .Mounts}}' asked",
        "inspect -f '{{if .State.Health}}x{{else}}none{{end}} {{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}' asked",
        "inspect -f '{{index .Config.Labels \"a\"}} {{len .Config.Env}} {{join .Config.Cmd \"+\"}} {{.Config.Labels.zzz}} {{.HostConfig.Binds}} {{.HostConfig.Tmpfs}} {{.Config.Volumes}} {{.HostConfig.Devices}}' asked",
        "inspect -f '{{.ID}} {{.NetworkSettings.Ports}} {{.HostConfig.NanoCPUs}} {{.HostConfig.LogConfig}}' asked",
        "inspect -f '{{with index .NetworkSettings.Ports \"80/tcp\"}}{{(index . 0).HostIp}}{{end}} {{.Name | upper}}' asked", "inspect -f '{{printf \"%-8s|%5d\" .Name .State.ExitCode}}' asked",
        "inspect -f '{{index .Config.ExposedPorts \"80/tcp\"}} {{index .HostConfig.PortBindings \"80/tcp\"}}' asked", "inspect -f '{{range $p, $b := .NetworkSettings.Ports}}{{$p}} {{len $b}}{{end}}' asked",
        "inspect -f {{.Nope}} asked", "inspect --format {{.Name}} --type container asked", "inspect -f json asked",
        "logs asked", "logs -n 1 asked", "logs -t asked", "logs --until 1s asked",
        "port asked", "port asked 80", "port asked 99", "top asked", "stats --no-stream --no-trunc --format '{{.ID}} {{.Name}} {{.Container}} {{.PIDs}}' asked", "stats --no-stream nope nope2", "history IMAGE", "history -q IMAGE", "history --no-trunc --human=false IMAGE",
        "exec asked sh -c 'echo out; echo err >&2; exit 7'", "exec asked nope", "exec asked /etc", "exec -u nobody -w /tmp -e A=b asked env",
        "inspect nope", "logs nope", "rm nope", "stop nope", "kill nope", "start nope", "pause nope", "exec nope ls", "exec -it asked ls", "attach nope", "wait nope", "port nope", "top nope", "rmi nope", "tag nope x",
        "rm asked", "rename asked asked", "rename nope nope2", "images -f x=y", "ps -f x=y", "ps -f x", "create --name asked IMAGE", "run --name asked IMAGE",
        "run --rm IMAGE sh -c 'exit 3'", "run --rm IMAGE nope", "run --rm IMAGE /etc", "run --rm IMAGE /nope", "run --rm --pull never nope:1", "run --rm -it IMAGE sh",
        "run --rm -v foo:bar:baz:qux IMAGE", "run --rm -p x IMAGE", "run --rm -m 1x IMAGE", "run --rm --network nope IMAGE", "run --foo", "run", "ps x", "logs", "foo", "container foo",
        "run --rm -a stderr IMAGE sh -c 'echo a; echo b >&2'", "wait gone", "start asked", "-H unix:///nowhere ps", "--foo", "events --since 0 --until 1",
        "create --cidfile / IMAGE", "load -i /nope", "import /nope", "run --rm --cpus x IMAGE", "run --rm --env-file /nope IMAGE", "run --rm --security-opt seccomp=/nope IMAGE", "run --rm --restart always --rm IMAGE",
        "volume ls", "volume ls -q", "volume ls --format json", "volume ls --format 'table {{.Name}}\\t{{.Driver}}\\t{{.Labels}}\\t{{.Links}}\\t{{.Size}}'", "volume ls --format raw", "volume ls -f dangling=true", "volume ls -f x",
        "volume inspect askedvolume", "volume inspect -f '{{.Name}} {{.Labels}} {{.Options}}' askedvolume", "volume inspect nope", "volume rm nope", "volume rm -f nope", "volume rm", "volume create --name a b", "volume create -d nope foo", "volume create bad/name",
        "volume foo", "volume --foo", "volume ls --foo", "container --foo", "manifest foo", "manifest inspect",
        "system df", "system df --format json", "system df --format raw", "system df -v", "system df -v --format '{{range .Volumes}}{{.Name}} {{.Links}}{{end}}'", "system df -v --format {{.Nope}}", "system df -v --format json", "system df --format {{.Foo",
        "system prune -f --filter until=nope", "system prune --volumes --filter until=1h", "image prune -f --filter x=y", "volume prune -f --filter x=y", "network prune -f --filter x=y", "container prune -f --filter x=y", "volume prune -a --filter all=1",
        "system prune --filter label=zzz", "volume prune", "image prune -a", "network prune", "container prune",
        "context ls -q", "context show", "context inspect nope", "context use nope", "context rm nope", "context rm default", "context create default", "context create 'a b'", "context create x --docker foo=bar", "context update nope", "context export nope -", "context import x /nope", "context foo",
        "-c x -H unix:///y ps", "-H unix:///a -H unix:///b ps", "--log-level foo ps",
        "ps --format raw", "ps -q --format raw", "ps -q --format {{.Names}}", "ps --format {{.Nope}}", "ps --format {{.Names", "images --format raw", "images -q --format raw", "images --digests --format 'table {{.ID}}'", "images --format TABLE", "images --format 'tablefoo {{.ID}}'", "images --format {{.Nope}}",
        "ps --format 'table {{json .Names}}|{{upper .Names}}|{{truncate .ID 3}}|{{pad .Names 1 1}}|{{split .Names \"s\"}}|{{join (split .Names \"s\") \"-\"}}|{{lower .Image}}|{{title .State}}'",
        "ps --format '{{with .Names}}{{.}}{{else}}none{{end}}{{range $i, $x := (split .Names \"s\")}}{{$i}}={{$x}};{{end}}'", "ps --format '{{if and (eq .State \"running\") (not .Ports)}}up{{else if .Mounts}}m{{end}} {{len .Names}} {{slice .ID 0 3}}'",
        "ps --format '{{- .Names -}} {{println \"x\" 1}} {{printf \"%q %5s|%-5s|%d|%x\" .Names \"a\" \"b\" 3 \"hi\"}} {{print 1 2 \"a\"}}'", "ps --format '{{lt 1 2}}{{le 2 2}}{{gt 1 2}}{{ge 1 2}}{{ne \"a\" \"b\"}}{{or \"\" \"x\"}}{{html \"<a>\"}}{{urlquery \"a b&c\"}}{{js \"<a=b>\"}}'",
        "ps --format '{{$x := .Names}}{{$x = \"y\"}}{{$x}}{{/* c */}}{{define \"T\"}}[{{.}}]{{end}}{{template \"T\" .State}}{{block \"B\" .}}b{{end}}'", "ps --format '{{.Names | printf \"%s-%s\" \"a\"}}'", "ps --format '{{call .Names}}'", "ps --format '{{nope .Names}}'", "ps --format '{{if}}{{end}}'",
        "ps --format '{{.Label}}'", "ps --format '{{.Label \"a\" \"b\"}}'", "ps --format '{{range .Names}}x{{end}}'", "ps --format '{{.Names.Foo}}'", "ps --format '{{index .Names 99}}'", "ps --format '{{index .Names \"a\"}}'", "ps --format '{{len 3}}'", "ps --format '{{printf \"%d\" \"x\"}}'", "ps --format {{nil}}", "ps --format {{1.5}}{{0x10}}{{true}}",
        "network ls --format raw", "network ls --format json", "network inspect bridge -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}'", "info -f {{.Nope}}", "info -f {{", "version -f {{.Nope}}", "version -f {{", "events --since 1 --until 2 --format {{",
        "history --platform foo IMAGE", "image inspect --platform linux/arm64 IMAGE", "run --gpus all,count=2 IMAGE", "run --gpus foo IMAGE", "run --gpus x=y IMAGE", "run --rm --cpu-count 1 IMAGE true", "run --rm --disable-content-trust IMAGE true", "tag IMAGE 'BAD NAME'", "logs --since foo asked",
        "cp /nope/x asked:/", "cp asked:/nope /tmp", "cp a b", "cp asked:/a asked:/b", "cp nope:/etc/passwd -", "cp asked:/etc/passwd /nope/x", "cp asked:/etc/passwd /dev/null", "cp /etc/hostname asked:/etc/passwd/x", "cp /etc/hostname asked:/dev/null",
        "network create --subnet 198.18.0.0/28,198.18.0.16/28 x", "network create --subnet 198.18.0.0/26 --subnet 198.18.0.0/27 x", "network create --gateway 1.2.3.4 x", "network create --subnet 198.18.0.0/26 --gateway 198.18.0.1 --gateway 198.18.0.2 x",
        "network create --subnet 198.18.0.0/26,198.18.1.0/26 --ip-range 198.18.0.0/27 --ip-range 198.18.0.32/27 x", "network create --subnet 198.18.0.0/26 --gateway 1.2.3.4 x", "network create --label 'a b' x", "network create -d nope x", "network create --ipam-driver nope x", "network create a b",
        "network connect --driver-opt a bridge asked", "network connect --gw-priority x bridge asked", "network connect nope asked", "network connect bridge asked", "network disconnect bridge nope", "network rm nope bridge", "network rm -f nope", "network ls -f foo=bar",
        "rm -f nope", "rm -f nope nope2", "stop --time 1 nope", "restart --time 1 nope", "stop -t x asked", "kill -s foo asked", "update asked", "update -m 1m asked", "update --restart foo asked", "update --restart always nope",
        "port asked foo", "port asked 70000", "port asked 80/udp", "commit asked BAD", "commit -c 'FOO x' asked", "pull BAD", "pull 127.0.0.1:1/x@sha256:00", "pull -a x:1", "push nope", "run --rm '' true", "run --rm BAD true", "tag IMAGE x:1:2", "tag IMAGE sha256:aaaa:x", "tag nope:1 x:1",
        "run --rm --platform foo IMAGE true", "run --rm --expose 80-foo IMAGE true", "run --rm --expose 5-3 IMAGE true", "run --rm --sysctl foo IMAGE true", "run --rm --sysctl foo.bar=1 IMAGE true", "run --rm --ulimit nofile=20:10 IMAGE", "run --rm --tmpfs x IMAGE true", "run --rm -v a/b:/x IMAGE true",
        "run --rm --mount type=foo,dst=/x IMAGE true", "run --rm --mount type=tmpfs,dst=/x,tmpfs-size=foo IMAGE true", "run --rm -p 80:foo IMAGE true", "run --rm -p 70000:80 IMAGE true", "run --rm --network container:nope IMAGE true", "run --rm --cap-add foo IMAGE true", "run --rm --device /nope IMAGE true", "run --rm --pid foo IMAGE true",
        "run --rm --restart on-failure:x IMAGE true", "run --rm --stop-signal foo IMAGE true", "run --rm --log-driver foo IMAGE true", "run --rm --volumes-from nope IMAGE true", "run --rm --nmae x IMAGE", "run --rm --health-cmd x --no-healthcheck IMAGE true",
        "start -a nope", "start asked nope", "events --since 1 --until 2 --format {{.Foo}}", "inspect -s --type network bridge -f '{{.Name}}'", "inspect --type image asked", "-D info -f {{.ClientInfo.Debug}}", "help nope", "help run x", "context show x", "volume ls -f name=asked", "volume create -o nope=1 x",
        "-H fd:// ps", "-H npipe:////./pipe/x ps", "-H ssh:// ps", "-H ssh://a:b@c ps", "-H ssh://a?b ps", "-H tcp://a:b ps", "search --limit 200 x", "login -p x -u a --password-stdin 127.0.0.1:1", "system prune -f --filter foo", "image prune -af --filter until=1h --filter foo",
    ];

    [Theory]
    [MemberData(nameof(Questions))]
    public async Task It_prints_and_ends_as_docker_does(string line)
    {
        await AskedAsync();
        string[] words = [.. Words().Matches(line).Select(m => m.Value.Trim('\'')).Select(w => w == "IMAGE" ? shared.Image : w)];
        var docker = await _daemon.Docker(words).MayFail();
        // The engine's answers depend on the version that is spoken.
        var berth = await Berth(words).WithEnvironment("DOCKER_API_VERSION", await ClientVersionAsync()).MayFail();
        if (docker.Error.Contains("level=error")) Assert.Fail(docker.ToString());
        Assert.Equal(Comparable(docker.Output), Comparable(berth.Output));
        Assert.Equal(Comparable(docker.Error).Replace("docker", "berth"), Comparable(berth.Error).Replace("docker", "berth"));
        Assert.Equal(docker.ExitCode, berth.ExitCode);
    }

    private async Task<string> ClientVersionAsync() => _clientVersion ??= (await _daemon.Docker("version", "-f", "{{.Client.APIVersion}}")).Output.Trim();
    private static string? _clientVersion;

    // What differs between two runs, not between two clients: times of day, ids of containers made by the question itself, a hint of which flag is near.
    private static string Comparable(string text)
    {
        text = Columns().Replace(Ago().Replace(text, "AGO"), "  "); // columns are as wide as what is in them
        text = Suggestion().Replace(text, "");
        return text.Replace("See '", "Run '", StringComparison.Ordinal);
    }

    [GeneratedRegex(@"(Less than a second|About a minute|\d+ seconds?|\d+ minutes?)( ago)?")]
    private static partial Regex Ago();

    [GeneratedRegex(@" {2,}")]
    private static partial Regex Columns();

    [GeneratedRegex(@"Did you mean .*\n\n?")]
    private static partial Regex Suggestion();

    [GeneratedRegex(@"'[^']*'|\S+")]
    private static partial Regex Words();

    private static readonly SemaphoreSlim Once = new(1);
    private static bool s_asked;

    /// <summary>The container most questions are about, and one that has ended.</summary>
    private async Task AskedAsync()
    {
        await Once.WaitAsync();
        try
        {
            if (s_asked) return;
            await _daemon.Docker("run", "-d", "--name", "asked", "--label", "a=b", "--label", "c=d", "-e", "X=y", "-m", "32m", "-v", "askedvolume:/v", "--tmpfs", "/t", "-p", "127.0.0.1::80", "--expose", "81/udp",
                shared.Image, "sh", "-c", "echo one; echo two; exec sleep 3600");
            await _daemon.Docker("run", "--name", "gone", shared.Image, "sh", "-c", "exit 5").MayFail();
            await Eventually.HoldsAsync("the log has both lines", async () => (await _daemon.Docker("logs", "asked")).Output == "one\ntwo\n");
            s_asked = true;
        }
        finally
        {
            Once.Release();
        }
    }

    [Fact]
    public async Task Output_after_the_end_of_input_still_comes()
    {
        var result = await Berth("run", "--rm", "-i", shared.Image, "sh", "-c", "cat; sleep 0.3; echo bye; echo err >&2; exit 3").WithInput("hi\n").MayFail();
        Assert.Equal(("hi\nbye\n", "err\n", 3), (result.Output, result.Error, result.ExitCode));
    }

    [Fact]
    public async Task Megabytes_go_both_ways_unchanged()
    {
        var bytes = new byte[8 << 20];
        new Random(2).NextBytes(bytes);
        for (var i = 0; i < bytes.Length; i++) bytes[i] = (byte)('!' + bytes[i] % 90);
        Assert.Equal(Encoding.ASCII.GetString(bytes), (await Berth("run", "--rm", "-i", shared.Image, "cat").WithInput(bytes)).Output);
    }

    [Fact]
    public async Task A_container_that_ends_first_does_not_leave_the_client_reading()
    {
        using var running = Berth("run", "--rm", "-i", shared.Image, "head", "-c", "3").Start();
        await running.WriteAsync(new string('y', 200_000));
        Assert.Equal("yyy", (await running.WaitAsync()).Output); // its input is still open
    }

    [Fact]
    public async Task Signals_are_passed_on()
    {
        using var running = Berth("run", "--rm", shared.Image, "sh", "-c", "trap 'echo got it; exit 9' TERM; echo up; while :; do sleep 0.1; done").MayFail().Start();
        await running.OutputAsync("up");
        running.Signal("TERM");
        var result = await running.WaitAsync();
        Assert.Equal((9, "up\ngot it\n"), (result.ExitCode, result.Output));
    }

    [Fact]
    public async Task A_reader_that_has_seen_enough_ends_it_without_a_word()
    {
        var result = await new Command("sh", ["-c", $"'{Repository.Executable("berth")}' run --rm --name piped {shared.Image} yes 2>&1 | head -n 1"], new Dictionary<string, string> { ["DOCKER_HOST"] = "unix://" + _daemon.SocketPath });
        Assert.Equal("y\n", result.Output);
        await _daemon.Docker("rm", "-f", "piped").MayFail();
    }

    [Fact]
    public async Task Standard_output_and_error_in_one_file_do_not_overwrite_each_other()
    {
        var file = Path.Combine(_daemon.WorkDirectory, "both");
        await new Command("sh", ["-c", $"'{Repository.Executable("berth")}' run --rm {shared.Image} sh -c 'echo a; sleep 0.2; echo b >&2; sleep 0.2; echo c' > '{file}' 2>&1"], new Dictionary<string, string> { ["DOCKER_HOST"] = "unix://" + _daemon.SocketPath });
        Assert.Equal("a\nb\nc\n", File.ReadAllText(file));
    }

    [Fact]
    public async Task A_terminal_is_raw_has_its_size_and_can_be_left()
    {
        using var running = BerthOnTerminal("run", "-it", "--name", "terminal", shared.Image, "sh").Start();
        await running.WriteAsync("tty; echo $((40+2))\n");
        await running.OutputAsync("42");
        Assert.Contains("/dev/pts/0", running.OutputSoFar);
        await running.WriteAsync("\u0010\u0011");
        Assert.Equal(0, (await running.WaitAsync()).ExitCode);
        Assert.Equal("true", (await _daemon.Docker("inspect", "-f", "{{.State.Running}}", "terminal")).Line);

        using var attached = BerthOnTerminal("attach", "terminal").MayFail().Start();
        await attached.WriteAsync("echo $((40+3)); exit 6\n");
        Assert.Equal(6, (await attached.WaitAsync()).ExitCode);
        using var again = BerthOnTerminal("start", "-ai", "terminal").MayFail().Start();
        await again.WriteAsync("exit 4\n");
        Assert.Equal(4, (await again.WaitAsync()).ExitCode);
        await Berth("rm", "-f", "terminal");
    }

    [Fact]
    public async Task Statistics_show_containers_as_they_come_and_go()
    {
        await AskedAsync();
        using var running = Berth("stats", "--format", "{{.Name}} {{.PIDs}} processes").MayFail().Start();
        await running.OutputAsync("asked 1 processes");
        await Berth("run", "-d", "--rm", "--name", "comes", shared.Image, "sleep", "600");
        await running.OutputAsync("comes 1 processes");
        await Berth("stats", "--no-stream", "comes");
        await Berth("rm", "-f", "comes");
        var shown = running.OutputSoFar.Length;
        await Eventually.HoldsAsync("a frame without it", () => Task.FromResult(running.OutputSoFar[shown..].Split("\u001b[J") is { Length: > 2 } frames && !frames[^2].Contains("comes", StringComparison.Ordinal)));
        running.Signal("INT");
        await running.WaitAsync();
    }

    [Fact]
    public async Task A_life_in_commands()
    {
        var id = (await Berth("create", "--name", "life", "-e", "A=b", shared.Image, "sleep", "600")).Line;
        Assert.Equal(64, id.Length);
        Assert.Equal("life", (await Berth("start", "life")).Line);
        Assert.Equal("life", (await Berth("pause", "life")).Line);
        Assert.Equal("life", (await Berth("unpause", "life")).Line);
        Assert.Equal("life", (await Berth("restart", "-t", "0", "life")).Line);
        Assert.Equal("", (await Berth("rename", "life", "life2")).Output);
        using var wait = Berth("wait", "life2").Start();
        Assert.Equal("life2", (await Berth("kill", "-s", "KILL", "life2")).Line);
        Assert.Equal("137", (await wait.WaitAsync()).Line);
        Assert.Equal("life2", (await Berth("rm", "life2")).Line);
    }

    [Fact]
    public async Task Images_in_commands()
    {
        await Berth("tag", shared.Image, "renamed:2");
        Assert.Contains("renamed", (await Berth("images")).Output);
        Assert.StartsWith("Untagged: renamed:2", (await Berth("rmi", "renamed:2")).Output);
        var imported = await Berth("import", "-c", "CMD [\"/bin/true\"]", "-m", "note", "-", "imported:1").WithInput(new TarBuilder().File("etc/x", "y"u8.ToArray()).Build());
        Assert.StartsWith("sha256:", imported.Output);
        Assert.Equal("[/bin/true]", (await Berth("inspect", "-f", "{{.Config.Cmd}}", "imported:1")).Line);
        Assert.Contains("Loaded image: ", (await Berth("load", "-i", Images.BusyboxArchive)).Output);
        await Berth("rmi", "imported:1");
    }
}
