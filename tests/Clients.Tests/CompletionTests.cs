using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Completion: what "berth __complete" answers, and that bash, zsh and fish show it to who presses the key.</summary>
public sealed class CompletionTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private static string Words(string output) => string.Concat(output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split('\t')[0] + "\n"));

    private async Task<string> AnswerAsync(params string[] words) => Words((await _daemon.Berth(["__complete", .. words])).Output);

    [Fact]
    public async Task It_knows_what_the_engine_has()
    {
        await _daemon.Docker("create", "--name", "completed", shared.Image);
        await _daemon.Docker("run", "-d", "--name", "computing", shared.Image, "sleep", "600");
        Assert.Equal("completed\ncomputing\n:4\n", await AnswerAsync("rm", "comp"));
        Assert.Equal("computing\n:4\n", await AnswerAsync("rm", "completed", "comp")); // not twice
        Assert.Equal("computing\n:4\n", await AnswerAsync("stop", "comp"));
        Assert.Equal("completed\n:4\n", await AnswerAsync("start", "comp"));
        await _daemon.Docker("pause", "computing");
        Assert.Equal("computing\n:4\n", await AnswerAsync("unpause", ""));
        Assert.Equal("bridge\n:4\n", await AnswerAsync("run", "--network", "br"));
        Assert.Equal("--network=bridge\n:4\n", await AnswerAsync("run", "--network=br"));
        Assert.Equal(shared.Image + "\n:4\n", await AnswerAsync("run", "-it", "--rm", shared.Image[..3]));
        Assert.Equal("connect\ncreate\n:4\n", await AnswerAsync("network", "c"));
        Assert.Equal("--memory\n--memory-reservation\n--memory-swap\n--memory-swappiness\n:4\n", await AnswerAsync("run", "-it", "--memory"));
        Assert.Equal("status=\n:6\n", await AnswerAsync("ps", "-f", "st"));
        Assert.Equal(":0\n", await AnswerAsync("run", shared.Image, ""));
        Assert.Equal(":4\n", Words((await _daemon.Berth("-H", "unix:///nowhere", "__complete", "rm", "")).Output));
        await _daemon.Docker("rm", "-f", "completed", "computing");
    }

    [Fact]
    public async Task It_knows_the_services_of_a_project()
    {
        using var directory = new TestDirectory();
        var file = Path.Combine(directory.Path, "c.yaml");
        File.WriteAllText(file, "services:\n  web: {image: a}\n  worker: {image: b}\n  db: {image: c, profiles: [p]}\n");
        Assert.Equal("up\n:4\n", await AnswerAsync("compose", "up"));
        Assert.Equal("web\nworker\n:4\n", await AnswerAsync("compose", "-f", file, "up", "-d", "w"));
        Assert.Equal("db\n:4\n", await AnswerAsync("compose", "-f", file, "logs", "web", "d"));
        Assert.Equal("web=\nworker=\n:6\n", await AnswerAsync("compose", "-f", file, "up", "--scale", "w"));
        Assert.Equal(":0\n", await AnswerAsync("compose", "-f", file, "exec", "web", ""));
        Assert.Equal("--project-directory\n--project-name\n:4\n", await AnswerAsync("compose", "--project"));
        Assert.Equal("--remove-orphans\n:4\n", await AnswerAsync("compose", "-f", file, "down", "--rem"));
        Assert.Equal(":4\n", await AnswerAsync("compose", "-f", "/nowhere", "up", ""));
    }

    /// <summary>What each shell runs first, and how a word is asked for: keys as they are typed, answered by the whole line.</summary>
    [Theory]
    [InlineData("bash", "PS1='> ' exec bash --norc --noprofile -i", "source <(\"$BERTH\" completion bash); berth() { \"$BERTH\" \"$@\"; }")]
    [InlineData("zsh", "exec zsh -fi +o zle", "module_path=(/usr/lib/*/zsh/*(N)); setopt zle; fpath=(/usr/share/zsh/functions/**/*(/N)); PS1='> '; autoload -U compinit; compinit -u -D; source <(\"$BERTH\" completion zsh)")]
    public async Task A_word_is_completed_where_the_key_is_pressed(string shell, string start, string prepare)
    {
        await _daemon.Docker("create", "--name", "by" + shell, shared.Image);
        await _daemon.Docker("tag", shared.Image, "colon:by" + shell);
        using var directory = new TestDirectory();
        File.WriteAllText(Path.Combine(directory.Path, "c.yaml"), "services: {webserver: {image: a}}");
        Directory.CreateDirectory(Path.Combine(directory.Path, "bin"));
        File.CreateSymbolicLink(Path.Combine(directory.Path, "bin/berth"), Repository.Executable("berth"));
        using var running = Within(shell, start, new()
        {
            ["DOCKER_HOST"] = "unix://" + _daemon.SocketPath, ["DOCKER_CONFIG"] = directory.Path, ["BERTH"] = Repository.Executable("berth"), ["PATH"] = directory.Path + "/bin:" + Environment.GetEnvironmentVariable("PATH"), ["TERM"] = "dumb", ["HOME"] = directory.Path,
        }).Start();
        await running.WriteAsync(prepare + "; cd '" + directory.Path + "'; echo re''ady\n");
        await running.OutputAsync("ready");
        foreach (var (typed, expected) in ((string, string)[])
        [
            ("berth netw", "berth network #"), ("berth rm by" + shell[..1], $"berth rm by{shell} #"), ("berth rmi colon:b", $"berth rmi colon:by{shell} #"), ("berth run --network=brid", "berth run --network=bridge #"),
            ("berth compose -f c.yaml up webs", "berth compose -f c.yaml up webserver #"), ("berth ps --no-tr", "berth ps --no-trunc #"), ("berth ps -f stat", "berth ps -f status=#"), ("berth load -i c.ya", "berth load -i c.yaml #"),
        ])
        {
            // The line, completed, is made the argument of an echo: ^A goes to its beginning.
            await running.WriteAsync(typed + "\t");
            await running.WriteAsync("#\u0001echo GOT: '\u0005'\n");
            await running.OutputAsync("\nGOT: " + expected);
        }
        await running.WriteAsync("exit\n");
        await running.WaitAsync();
        await _daemon.Docker("rm", "by" + shell);
        await _daemon.Docker("rmi", "colon:by" + shell);
    }

    [Fact]
    public async Task Fish_lists_words_with_what_they_are()
    {
        await _daemon.Docker("create", "--name", "byfish", shared.Image);
        using var directory = new TestDirectory();
        File.WriteAllText(Path.Combine(directory.Path, "c.yaml"), "services: {webserver: {image: a}}");
        Directory.CreateDirectory(Path.Combine(directory.Path, "bin"));
        File.CreateSymbolicLink(Path.Combine(directory.Path, "bin/berth"), Repository.Executable("berth"));
        var environment = new Dictionary<string, string> { ["DOCKER_HOST"] = "unix://" + _daemon.SocketPath, ["DOCKER_CONFIG"] = directory.Path, ["PATH"] = directory.Path + "/bin:" + Environment.GetEnvironmentVariable("PATH"), ["HOME"] = directory.Path };
        var script = "cd '" + directory.Path + "'; berth completion fish | source; alias docker=berth; for line in 'berth netw' 'berth rm byf' 'berth run --network=brid' 'berth compose -f c.yaml up w' 'docker ps --no-tr' 'berth load -i c.y'; complete -C $line; end";
        using var running = Within("fish", "exec fish --no-config -c \"$SCRIPT\"", new(environment) { ["SCRIPT"] = script }, terminal: false).Start();
        var result = await running.WaitAsync();
        Assert.Equal($"network\tManage networks\nbyfish\t{shared.Image}, Created\n--network=bridge\tbridge\nwebserver\ta\n--no-trunc\tDo not shorten anything\nc.yaml\n", result.Output);
        await _daemon.Docker("rm", "byfish");
    }

    /// <summary>A command with a shell of Debian's packages, which need not be installed: its files lie over the machine's in a mount namespace of their own.</summary>
    private static Command Within(string shell, string line, Dictionary<string, string> environment, bool terminal = true)
    {
        if (shell != "bash")
        {
            var root = DebianPackage.Unpack(shell);
            Assert.SkipWhen(root is null, $"{shell} cannot be fetched here");
            line = $"mount -t overlay -o ro,lowerdir='{root}/usr':/usr overlay /usr && {line}";
        }
        environment["SHELL"] = "/bin/sh";
        return new Command("unshare", ["-m", .. terminal ? (string[])["script", "-qefc", line, "/dev/null"] : ["sh", "-c", line]], environment);
    }
}
