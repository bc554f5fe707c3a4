using System.Net.Sockets;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>What berth build offers the builder while it runs: other directories, an SSH agent, a place for results; and what it asks beside building.</summary>
public sealed class BuildSessionTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private string Context(string name, params (string Path, string Content)[] files)
    {
        var directory = At(name);
        foreach (var (path, content) in files)
        {
            var file = Path.Combine(directory, path);
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, content.Replace("BASE", shared.Image, StringComparison.Ordinal));
        }
        return directory;
    }

    private string At(string name) => Path.Combine(_daemon.WorkDirectory, "session-" + name);

    private Command Build(params string[] arguments) => _daemon.Berth(["build", .. arguments]).WithTimeout(TimeSpan.FromSeconds(60));

    [Fact]
    public async Task Another_directory_and_another_image_are_contexts_of_their_own()
    {
        var context = Context("contexts", ("Dockerfile", "FROM base\nCOPY --from=files in/a /a\nCOPY --from=files . /all\nRUN echo $(cat /a) $(ls /all)\n"));
        var other = Context("other", ("in/a", "from elsewhere"), ("left-out", ""), (".dockerignore", "left-out\n"));
        var built = await Build("--build-context", "files=" + other, "--build-context", "base=docker-image://" + shared.Image, context);
        Assert.Contains(" from elsewhere in\n", built.Error, StringComparison.Ordinal);
        Assert.Contains("failed to get build context", (await Build("--build-context", "files=" + At("nowhere"), context).MayFail()).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_the_stages_named_are_made_again()
    {
        var context = Context("filter", ("Dockerfile", "FROM BASE AS one\nRUN echo first > /1\nFROM BASE AS two\nRUN echo second > /2\nFROM BASE\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n"));
        await Build(context);
        var again = await Build("--no-cache-filter", "two", context);
        Assert.Matches(@"#(\d+) \[one 2/2\][^\n]*\n#\1 CACHED\n", again.Error);
        Assert.DoesNotMatch(@"#(\d+) \[two 2/2\][^\n]*\n#\1 CACHED\n", again.Error);
    }

    [Fact]
    public async Task A_command_has_the_users_agent_when_it_is_offered()
    {
        var socket = At("agent.sock");
        using var agent = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        agent.Bind(new UnixDomainSocketEndPoint(socket));
        agent.Listen();
        var context = Context("agent", ("Dockerfile", "FROM BASE\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\"\n"));
        Assert.Equal(1, (await Build(context).MayFail()).ExitCode);
        await Build("--ssh", "default=" + socket, context);
        var missing = await Build("--ssh", "default=" + At("nothing.sock"), context).MayFail();
        Assert.Contains("no such file or directory", missing.Error, StringComparison.Ordinal);
        File.WriteAllText(At("key"), "-----BEGIN");
        Assert.Contains("reads no keys", (await Build("--ssh", "default=" + At("key"), context).MayFail()).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Results_in_a_directory_are_found_again()
    {
        var context = Context("cache", ("Dockerfile", "FROM BASE\nRUN cat /proc/uptime > /made\n"));
        await Build("--cache-to", "type=local,mode=max,dest=" + At("kept"), "-t", "local:1", context);
        Assert.True(File.Exists(Path.Combine(At("kept"), "index.json")));
        await using var other = await TestDaemon.StartAsync();
        await other.LoadBusyboxAsync();
        var there = await other.Berth(["build", "--cache-from", "type=local,src=" + At("kept"), "-t", "local:2", context]).WithTimeout(TimeSpan.FromSeconds(60));
        Assert.Contains(" CACHED\n", there.Error, StringComparison.Ordinal);
        Assert.Contains("skipped", (await Build("--cache-from", "type=local,src=" + At("nowhere"), context)).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Questions_are_answered_and_nothing_is_built()
    {
        var context = Context("call", ("Dockerfile", "# one description\nARG WHICH=a\nFROM BASE AS first\n# last is what comes out\nFROM first AS last\nARG HOW=b\nRUN --mount=type=secret,id=word,required exit 1\n"), ("odd", "from BASE\nRUN true\n"));
        Assert.Equal("TARGET         DESCRIPTION\nfirst          \nlast (default) is what comes out\n", (await Build("--call", "targets", context)).Output);
        var outline = (await Build("--call", "outline", context)).Output;
        Assert.Contains("HOW", outline, StringComparison.Ordinal);
        Assert.Contains("SECRET   REQUIRED\nword     true\n", outline, StringComparison.Ordinal);
        Assert.Equal("Check complete, no warnings found.\n", (await Build("--check", context)).Output);
        Assert.StartsWith("{", (await Build("--call", "targets,format=json", context)).Output, StringComparison.Ordinal);
        var warned = await Build("--check", "-f", Path.Combine(context, "odd"), context).MayFail();
        Assert.Equal(1, warned.ExitCode);
        Assert.Contains("Check complete, 1 warning has been found!\n\nWARNING: ConsistentInstructionCasing - https://", warned.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_what_changed_travels_the_second_time()
    {
        var context = Context("again", ("Dockerfile", "FROM scratch\nCOPY . /\n"), ("large", new string('x', 2_000_000)), ("small", "1"));
        Assert.Contains("transferring context: 2", (await Build(context)).Error, StringComparison.Ordinal);
        await File.WriteAllTextAsync(Path.Combine(context, "small"), "22", TestContext.Current.CancellationToken);
        Assert.DoesNotContain("MB done", (await Build(context)).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_shell_opens_in_the_files_of_the_command_that_failed_and_leaves_nothing()
    {
        var context = Context("debug", ("Dockerfile", "FROM BASE\nENV GREETING=hello\nWORKDIR /work\nRUN echo \"left by the command\" > left; exit 7\n"));
        var before = (await _daemon.Docker("images", "-aq", "--no-trunc")).Output;
        var build = new Command("script", ["-qefc", $"exec '{Repository.Executable("berth")}' build --debug {context}", "/dev/null"], new Dictionary<string, string> { ["DOCKER_HOST"] = "unix://" + _daemon.SocketPath, ["SHELL"] = "/bin/sh", ["TERM"] = "xterm" });
        using var running = build.MayFail().WithTimeout(TimeSpan.FromSeconds(60)).Start();
        await running.OutputAsync("A shell in the files");
        await running.OutputAsync("/work # ");
        await running.WriteAsync("cat left; echo $GREETING-$((40 + 2))\nexit\n");
        var result = await running.WaitAsync();
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("exit code: 7", result.Output, StringComparison.Ordinal);
        Assert.Contains("left by the command\r\nhello-42", result.Output, StringComparison.Ordinal);
        Assert.Equal("", (await _daemon.Docker("ps", "-aq")).Output);
        Assert.Equal(before, (await _daemon.Docker("images", "-aq", "--no-trunc")).Output);
        // Nobody is asked who does not look at a terminal.
        Assert.Equal(1, (await Build("--debug", context).MayFail()).ExitCode);
        Assert.Equal(before, (await _daemon.Docker("images", "-aq", "--no-trunc")).Output);
    }
}
