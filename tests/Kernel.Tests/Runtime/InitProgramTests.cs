using System.Diagnostics;
using Berth.Linux;
using Berth.Runtime.Init;

namespace Berth.Kernel.Tests.Runtime;

/// <summary>The --init program as process 1 of a pid namespace.</summary>
public sealed class InitProgramTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("berth-init-").FullName;
    private readonly string _init;

    public InitProgramTests() => _init = InitProgram.WriteTo(_directory);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private Process Start(params string[] command)
    {
        // A shell cannot trap what was ignored when it started, and whoever runs the tests may ignore some (nohup does SIGHUP): as the engine, which starts every command with none ignored.
        var info = new ProcessStartInfo("env", ["--default-signal", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", _init, "--", .. command]) { RedirectStandardOutput = true, RedirectStandardError = true };
        return Process.Start(info)!;
    }

    private (int Code, string Output, string Error) Run(params string[] command)
    {
        using var process = Start(command);
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.GetAwaiter().GetResult());
    }

    [Theory]
    [InlineData("exit 0", 0)]
    [InlineData("exit 7", 7)]
    [InlineData("exit 255", 255)]
    [InlineData("kill -TERM $$", 128 + 15)]
    [InlineData("kill -KILL $$", 128 + 9)]
    public void The_status_of_the_command_is_passed_on(string script, int code) => Assert.Equal(code, Run("sh", "-c", script).Code);

    [Fact]
    public void A_missing_command_is_127_and_one_that_may_not_be_run_126()
    {
        Assert.Equal((127, "", "[FATAL docker-init] exec nosuch failed: No such file or directory\n"), Run("nosuch"));
        Assert.Equal((127, "", "[FATAL docker-init] exec /no/such failed: No such file or directory\n"), Run("/no/such"));
        Assert.Equal((126, "", "[FATAL docker-init] exec /etc failed: Permission denied\n"), Run("/etc"));
    }

    [Fact]
    public void A_script_without_an_interpreter_line_is_run_by_sh()
    {
        var script = Path.Combine(_directory, "script");
        File.WriteAllText(script, "echo $0 $1");
        File.SetUnixFileMode(script, UnixFileMode.UserExecute | UnixFileMode.UserRead);
        Assert.Equal($"{script} a\n", Run(script, "a").Output);
    }

    [Fact]
    public void Orphans_are_reaped()
    {
        // Fifty processes whose parent is gone end; soon none of them is a zombie. (Ours is the only parent they have left.)
        var result = Run("sh", "-c", "for i in 0 1 2 3 4 5 6 7 8 9; do (for j in 1 2 3 4 5; do true & done); done; "
            + "n=0; while grep -qs '^State:.*zombie' /proc/[0-9]*/status && [ $n -lt 500 ]; do n=$((n+1)); done; grep -ls '^State:.*zombie' /proc/[0-9]*/status; echo done");
        Assert.Equal("done\n", result.Output);
    }

    [Fact]
    public async Task Signals_reach_the_command()
    {
        using var process = Start("sh", "-c", "trap 'echo got TERM; exit 3' TERM; trap 'echo got HUP' HUP; trap 'echo got RT' 40; echo ready; while :; do sleep 0.01; done");
        Assert.Equal("ready", await AnswerAsync());
        var init = int.Parse(File.ReadAllText($"/proc/{process.Id}/task/{process.Id}/children").Trim());
        using var handle = PidFd.Open(init);
        foreach (var (signal, answer) in new[] { (1, "got HUP"), (40, "got RT"), (15, "got TERM") })
        {
            PidFd.SendSignal(handle, signal);
            Assert.Equal(answer, await AnswerAsync());
        }
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(3, process.ExitCode);

        // A silent command says what it was doing, rather than hanging the whole run.
        async Task<string?> AnswerAsync()
        {
            try
            {
                return await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(30));
            }
            catch (TimeoutException)
            {
                var state = string.Join('\n', Descendants(process.Id).Select(pid => File.ReadAllText($"/proc/{pid}/status")));
                process.Kill(entireProcessTree: true);
                throw new TimeoutException("no answer in 30 s; the processes:\n" + state);
            }
        }
    }

    private static IEnumerable<int> Descendants(int pid) =>
        File.ReadAllText($"/proc/{pid}/task/{pid}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse).SelectMany(Descendants).Prepend(pid);

    [Fact]
    public void The_command_has_a_process_group_of_its_own_and_the_signals_it_was_given()
    {
        var result = Run("sh", "-c", "cut -d' ' -f1,5 /proc/$$/stat; grep SigBlk /proc/self/status");
        var lines = result.Output.Split('\n');
        Assert.Equal("2 2", lines[0]);
        Assert.EndsWith("0000000000000000", lines[1]);
    }

    [Fact]
    public void The_command_is_in_the_foreground_of_its_terminal()
    {
        // script(1) gives a terminal; field 5 is the process group, field 8 the terminal's foreground group.
        Assert.SkipUnless(File.Exists("/usr/bin/script"), "script (bsdutils) is not installed");
        using var process = Process.Start(new ProcessStartInfo("script", ["-qec", $"{_init} -- sh -c 'cut -d\" \" -f5,8 /proc/$$/stat'", "/dev/null"]) { RedirectStandardOutput = true })!;
        var groups = process.StandardOutput.ReadToEnd().Trim().Split(' ');
        Assert.Equal(groups[0], groups[1]);
    }
}
