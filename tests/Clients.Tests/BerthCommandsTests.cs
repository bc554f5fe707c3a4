using System.Diagnostics;
using System.Text.RegularExpressions;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>What docker's users have around docker works for berth: every command and flag, cp, contexts, ssh, plugins.</summary>
public sealed partial class BerthCommandsTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    [GeneratedRegex(@"^\s{2,6}(?:-(\w), )?--([\w-]+)", RegexOptions.Multiline)]
    private static partial Regex HelpFlag();

    /// <summary>Commands that say in a line that they are not there, and those of other programs.</summary>
    private static readonly string[] Elsewhere = ["swarm", "node", "service", "stack", "secret", "config", "plugin", "trust", "checkpoint", "buildx", "compose", "build", "bake", "builder build", "image build"];

    private static string DockerHelp(string path) => HelpOf("docker", path);

    private static string HelpOf(string program, string words)
    {
        var start = new ProcessStartInfo(program, [.. words.Split(' ', StringSplitOptions.RemoveEmptyEntries), "--help"]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        var text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? text : "failed: " + error.Result;
    }

    [Fact]
    public void Every_command_and_flag_of_the_stock_client_is_known()
    {
        var paths = new List<(string Path, string Help)>();
        var level = new List<string> { "" };
        while (level.Count > 0)
        {
            var helps = level.AsParallel().WithDegreeOfParallelism(4).Select(p => (Path: p, Help: DockerHelp(p))).ToArray();
            paths.AddRange(helps);
            level = [.. helps.SelectMany(h => CommandsIn(h.Help).Select(c => (h.Path + " " + c).Trim())).Where(p => !Elsewhere.Contains(p))];
        }
        Assert.True(paths.Count > 90, $"only {paths.Count} commands were found");
        // Fast.Tests holds berth against what is written down of docker; what another version of it has besides is asked of berth itself.
        var known = new HashSet<string>();
        string[] names = [];
        foreach (var line in File.ReadLines(Path.Combine(Repository.Root, "tests/Fast.Tests/Cli/testdata/docker-commands.txt")))
        {
            if (line[0] != ' ')
            {
                names = line.Split('\t') is [var first, _, var others] ? [first, .. others.Split(',')] : [line.Split('\t')[0]];
                known.UnionWith(names);
            }
            else if (HelpFlag().Match(line) is var flag) known.UnionWith(names.Select(n => $"{n} -{flag.Groups[1].Value} --{flag.Groups[2].Value}"));
        }
        var berth = Repository.Executable("berth");
        var missing = paths.AsParallel().WithDegreeOfParallelism(4).Where(p => !CommandsIn(p.Help).Any()).SelectMany(command =>
        {
            if (!known.Contains(command.Path) && HelpOf(berth, command.Path).StartsWith("failed", StringComparison.Ordinal)) return [command.Path];
            return HelpFlag().Matches(command.Help).Select(m => (Short: m.Groups[1].Value, Name: m.Groups[2].Value))
                .Where(f => f.Name != "help" && !known.Contains($"{command.Path} -{f.Short} --{f.Name}") && HelpOf(berth, $"{command.Path} --{f.Name}=1").StartsWith("failed: unknown", StringComparison.Ordinal)).Select(f => $"{command.Path} --{f.Name}");
        }).Order().ToArray();
        Assert.Empty(missing);
    }

    private static IEnumerable<string> CommandsIn(string help)
    {
        var commands = false;
        foreach (var line in help.Split('\n'))
        {
            if (line.Length > 0 && line[0] != ' ') commands = line.EndsWith("Commands:", StringComparison.Ordinal);
            else if (commands && line.StartsWith("  ", StringComparison.Ordinal) && line.Length > 2 && line[2] != ' ' && !line[2..].Split(' ')[0].EndsWith('*')) yield return line[2..].Split(' ')[0];
        }
    }

    [Fact]
    public async Task Copies_lie_where_dockers_lie()
    {
        var layouts = new List<string>();
        foreach (var client in (Func<string[], Command>[])[w => _daemon.Docker(w), w => _daemon.Berth(w)])
        {
            await _daemon.Docker("run", "-d", "--name", "copied", shared.Image, "sh", "-c", "mkdir -p /t/ex /t/x; echo f > /t/f; echo d > /t/x/y; chmod 4755 /t/x/y; ln -s f /t/lf; ln -s x /t/lx; ln /t/f /t/hf; mkfifo /t/p; exec sleep 600");
            await Eventually.HoldsAsync("its files are made", async () => (await _daemon.Docker("exec", "copied", "test", "-p", "/t/p").MayFail()).ExitCode == 0);
            using var directory = new TestDirectory();
            var work = directory.Path;
            await new Command("sh", ["-ec", "cd \"$0\"; mkdir -p s/d/sub dst; echo one > s/one; echo two > s/d/two; echo three > s/d/sub/three; chmod 2750 s/d/two; ln -s one s/link; ln -s d s/dlink; ln s/one s/hard; ln -s /nowhere s/broken; mkfifo s/fifo; touch -h -d 2020-01-02T03:04:05Z s/d/two s/d", work]);
            var said = new List<string>();
            foreach (var line in CopyLines)
            {
                string[] words = [.. line.Split(' ').Select(w => w.Replace("@", work + "/", StringComparison.Ordinal))];
                var result = await client(["cp", .. words]).MayFail();
                said.Add($"{line}: {result.ExitCode}");
            }
            said.Add((await _daemon.Docker("exec", "copied", "sh", "-c", "cd /t; find . | sort | xargs stat -c '%n %F %a %h %U %s %N'; stat -c %Y all/d/two all/d")).Output);
            said.Add((await new Command("sh", ["-c", "cd \"$0/dst\"; find . | sort | xargs stat -c '%n %F %a %h %U %s %N'; stat -c %Y all/d/two all/d", work])).Output);
            said.Add((await new Command("sh", ["-c", "tar tf -"]).WithInput(System.Text.Encoding.Latin1.GetBytes((await client(["cp", "copied:/t/x", "-"])).Output))).Output);
            layouts.Add(string.Join('\n', said));
            await _daemon.Docker("rm", "-f", "copied");
        }
        Assert.Equal(layouts[0], layouts[1]);
    }

    private static readonly string[] CopyLines =
    [
        "@s/one copied:/t/ex", "@s/one copied:/t/new", "@s/one copied:/t/nodir/", "@s/one copied:/t/nope/new", "@s/d copied:/t/ex", "@s/d copied:/t/newd", "@s/d/. copied:/t/newd2", "@s/d copied:/t/f",
        "@s/link copied:/t/ex/l", "-L @s/link copied:/t/ex/ll", "@s/dlink copied:/t/ex/dl", "@s/dlink/ copied:/t/ex/dl2", "-L @s/dlink copied:/t/ex", "@s/broken copied:/t/ex", "-L @s/broken copied:/t/ex", "-a @s copied:/t/all",
        "@s/one copied:/t/lf", "@s/one copied:/t/lx", "@s/one/ copied:/t", "@s/fifo copied:/t/ex",
        "copied:/t/f @dst", "copied:/t/f @dst/g", "copied:/t/f @nodir/g", "copied:/t/f @dst/nd/", "copied:/t/x @dst", "copied:/t/x @dst/xx", "copied:/t/x/. @dst/xy", "copied:/t/x @dst/f", "copied:/t/lf @dst", "-L copied:/t/lf @dst/lf2",
        "-L copied:/t/lx @dst", "copied:/t/lx @dst/lx3", "copied:/t/all @dst/all", "copied:/t @dst/t", "copied:/t/f @dst/xx",
    ];

    [Fact]
    public async Task An_archive_cannot_lead_out_of_its_destination()
    {
        await _daemon.Docker("run", "-d", "--name", "hostile", shared.Image, "sh", "-c", "mkdir -p /h/d; ln -s /tmp /h/d/out; exec sleep 600");
        using var directory = new TestDirectory();
        await Eventually.HoldsAsync("the link is made", async () => (await _daemon.Docker("exec", "hostile", "test", "-L", "/h/d/out").MayFail()).ExitCode == 0);
        await _daemon.Berth("cp", "hostile:/h/d", directory.Path);
        await _daemon.Docker("exec", "hostile", "sh", "-c", "rm /h/d/out; mkdir /h/d/out; echo x > /h/d/out/escaped-berth");
        var result = await _daemon.Berth("cp", "hostile:/h/d", directory.Path).MayFail(); // the link of before lies where a directory is to be
        Assert.Equal(1, result.ExitCode);
        Assert.False(File.Exists("/tmp/escaped-berth"));
        await _daemon.Docker("rm", "-f", "hostile");
    }

    [Fact]
    public async Task Contexts_of_one_client_are_the_others()
    {
        using var config = new TestDirectory();
        Command With(Command command) => command.WithEnvironment("DOCKER_CONFIG", config.Path).WithEnvironment("DOCKER_HOST", "");
        await With(_daemon.Docker("context", "create", "mine", "--description", "of docker", "--docker", "host=unix://" + _daemon.SocketPath));
        await With(_daemon.Berth("context", "use", "mine"));
        Assert.Contains("asked-by-context", (await With(_daemon.Berth("run", "--rm", shared.Image, "echo", "asked-by-context"))).Output);
        await With(_daemon.Berth("context", "create", "yours", "--from", "mine", "--description", "of berth"));
        Assert.Contains("of berth", (await With(_daemon.Docker("context", "ls"))).Output);
        Assert.Equal(shared.Image.Split(':')[0], (await With(_daemon.Docker("-c", "yours", "images", "--format", "{{.Repository}}"))).Output.Split('\n')[0]);
        await With(_daemon.Berth("context", "export", "yours", Path.Combine(config.Path, "y.tar")));
        await With(_daemon.Docker("context", "import", "again", Path.Combine(config.Path, "y.tar")));
        var inspected = await With(_daemon.Docker("context", "inspect", "mine", "yours", "again"));
        Assert.Equal(inspected.Output, (await With(_daemon.Berth("context", "inspect", "mine", "yours", "again"))).Output);
        Assert.Equal("mine", (await With(_daemon.Docker("context", "show"))).Line);
        Assert.Equal("yours\nagain\n", (await With(_daemon.Berth("context", "rm", "yours", "again"))).Output);
    }

    [Fact]
    public async Task An_engine_is_reached_through_ssh_as_docker_does_it()
    {
        using var directory = new TestDirectory();
        var berth = Repository.Executable("berth");
        Script(directory.Path, "ssh", $"echo \"$@\" >> '{directory.Path}/asked'; while [ \"$1\" != system ]; do shift; done; DOCKER_HOST='unix://{_daemon.SocketPath}' exec '{berth}' \"$@\"");
        Command Over(string host, params string[] words) => _daemon.Berth(["-H", host, .. words]).WithEnvironment("PATH", directory.Path + ":" + Environment.GetEnvironmentVariable("PATH"));
        var result = await Over("ssh://user@host:22", "run", "--rm", "-i", shared.Image, "sh", "-c", "cat; echo err >&2; exit 3").WithInput("in\n").MayFail();
        Assert.Equal(("in\n", "err\n", 3), (result.Output, result.Error, result.ExitCode));
        Assert.Contains("-o ConnectTimeout=30 -T -l user -p 22 -- host docker system dial-stdio\n", File.ReadAllText(Path.Combine(directory.Path, "asked")));
        await Over("ssh://host/x/y.sock", "version");
        Assert.Contains("-T -- host docker --host unix:///x/y.sock system dial-stdio\n", File.ReadAllText(Path.Combine(directory.Path, "asked")));
        Script(directory.Path, "ssh", "echo 'ssh: nobody there' >&2; exit 255");
        Assert.Contains("has exited with exit status 255, make sure the URL is valid, and Docker 18.09 or later is installed on the remote host: stderr=ssh: nobody there", (await Over("ssh://host", "ps").MayFail()).Error);
    }

    [Fact]
    public async Task A_plugin_of_docker_is_a_command()
    {
        using var config = new TestDirectory();
        Directory.CreateDirectory(Path.Combine(config.Path, "cli-plugins"));
        Script(Path.Combine(config.Path, "cli-plugins"), "docker-hello",
            "if [ \"$1\" = docker-cli-plugin-metadata ]; then echo '{\"SchemaVersion\":\"0.1.0\",\"Vendor\":\"Me\",\"ShortDescription\":\"Greets\"}'; exit; fi; echo \"$@\"; echo \"$DOCKER_HOST\"; \"$DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND\" --version; exit 7");
        Command Berth(params string[] words) => _daemon.Berth(words).WithEnvironment("DOCKER_CONFIG", config.Path).MayFail();
        var result = await Berth("-D", "hello", "--you", "x").WithEnvironment("DOCKER_HOST", "");
        Assert.Equal(7, result.ExitCode);
        Assert.StartsWith("-D hello --you x\nunix:///run/berth/berth.sock\nBerth version", result.Output);
        Assert.Contains("hello*      Greets", (await Berth("--help")).Output);
        Assert.StartsWith("berth: unknown command: berth hello2", (await Berth("hello2")).Error);
    }

    [Fact]
    public async Task The_configuration_of_docker_is_obeyed()
    {
        using var config = new TestDirectory();
        File.WriteAllText(Path.Combine(config.Path, "config.json"), """{"psFormat":"{{.Names}}!","imagesFormat":"table {{.Repository}}","proxies":{"default":{"httpProxy":"http://p:1","noProxy":"x"}},"HttpHeaders":{"X-Mine":"1"},"detachKeys":"ctrl-a,a"}""");
        await _daemon.Docker("run", "-d", "--name", "configured", shared.Image, "sleep", "600");
        foreach (var words in (string[][])[["ps"], ["ps", "-q"], ["images"], ["run", "--rm", "-e", "no_proxy=y", shared.Image, "sh", "-c", "env | grep -i proxy | sort"]])
        {
            var docker = await _daemon.Docker(words).WithEnvironment("DOCKER_CONFIG", config.Path);
            var berth = await _daemon.Berth(words).WithEnvironment("DOCKER_CONFIG", config.Path);
            Assert.Equal(docker.Output, berth.Output);
        }
        await _daemon.Docker("rm", "-f", "configured");
    }

    private static void Script(string directory, string name, string text)
    {
        var path = Path.Combine(directory, name);
        File.WriteAllText(path, "#!/bin/sh\n" + text + "\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }
}
