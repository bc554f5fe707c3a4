using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Berth.Api;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>stdin, stdout, stderr and terminals between the client and the container: run, attach, exec, logs.</summary>
public sealed class StreamsTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private Command Run(params string[] arguments) => _daemon.Docker(["run", "--rm", .. arguments]);

    [Fact]
    public async Task Output_after_the_end_of_input_still_reaches_the_client()
    {
        var result = await Run("-i", shared.Image, "sh", "-c", "cat; sleep 0.3; echo bye").WithInput("hi\n");
        Assert.Equal("hi\nbye\n", result.Output);
    }

    [Fact]
    public async Task Stdout_and_stderr_arrive_apart_and_whole()
    {
        var result = await Run(shared.Image, "sh", "-c", "seq 1 2000; seq 1 1000 >&2");
        Assert.Equal(string.Concat(Enumerable.Range(1, 2000).Select(n => $"{n}\n")), result.Output);
        Assert.Equal(string.Concat(Enumerable.Range(1, 1000).Select(n => $"{n}\n")), result.Error);
    }

    [Fact]
    public async Task Megabytes_pass_through_a_container_unchanged()
    {
        var bytes = new byte[8 << 20];
        new Random(1).NextBytes(bytes);
        for (var i = 0; i < bytes.Length; i++)
            bytes[i] = (byte)('!' + bytes[i] % 90);
        var result = await Run("-i", shared.Image, "sh", "-c", "md5sum").WithInput(bytes);
        Assert.StartsWith(Convert.ToHexStringLower(System.Security.Cryptography.MD5.HashData(bytes)), result.Output);
        result = await Run("-i", shared.Image, "cat").WithInput(bytes);
        Assert.Equal(Encoding.ASCII.GetString(bytes), result.Output);
    }

    [Fact]
    public async Task A_client_that_still_sends_does_not_keep_a_container_that_has_ended()
    {
        using var running = Run("-i", shared.Image, "head", "-c", "3").Start();
        await running.WriteAsync(new string('y', 200_000));
        Assert.Equal("yyy", (await running.WaitAsync()).Output); // standard input is still open
    }

    [Fact]
    public async Task Death_by_a_signal_is_128_plus_its_number()
    {
        using var running = Run("--name", "killed-1", shared.Image, "sh", "-c", "echo up; exec sleep 600").MayFail().Start();
        await running.OutputAsync("up");
        await _daemon.Docker("kill", "-s", "USR1", "killed-1"); // pid 1 has no handler for it: nothing happens
        Assert.False(running.HasExited);
        await _daemon.Docker("kill", "killed-1");
        Assert.Equal(137, (await running.WaitAsync()).ExitCode);
    }

    [Fact]
    public async Task Signals_to_the_client_reach_the_container()
    {
        using var running = Run(shared.Image, "sh", "-c", "trap 'echo got it; exit 9' TERM; echo up; while :; do sleep 0.1; done").MayFail().Start();
        await running.OutputAsync("up");
        running.Signal("TERM");
        var result = await running.WaitAsync();
        Assert.Equal((9, "up\ngot it\n"), (result.ExitCode, result.Output));
    }

    [Fact]
    public async Task Several_attachments_see_the_same_output_and_either_may_type()
    {
        await _daemon.Docker("run", "-d", "-i", "--name", "several", shared.Image, "sh", "-c", "while read line; do echo got $line; done");
        using var first = _daemon.Docker("attach", "several").Start();
        using var second = _daemon.Docker("attach", "several").Start();
        // An attachment has no sign of life before there is output: type until both have answered.
        await first.WriteAsync("one\n");
        await first.OutputAsync("got one");
        await second.WriteAsync("two\n");
        await first.OutputAsync("got two");
        await second.OutputAsync("got two");
        second.CloseInput(); // with -d -i the end of one client's input is the end of its attachment and no more
        await first.WriteAsync("three\n");
        await first.OutputAsync("got three");
        await _daemon.Docker("rm", "-f", "several");
    }

    [Fact]
    public async Task A_reader_that_reads_nothing_does_not_block_the_container_for_good()
    {
        var id = (await _daemon.Docker("create", "--name", "slow", shared.Image, "sh", "-c", "dd if=/dev/zero bs=64k count=200 2>/dev/null | tr '\\0' x; echo done > /tmp/done; sleep 600")).Line;
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(_daemon.SocketPath));
        await socket.SendAsync(Encoding.ASCII.GetBytes($"POST /containers/{id}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"));
        await socket.ReceiveAsync(new byte[16]); // attached, and never reads again
        await _daemon.Docker("start", "slow");
        await Eventually.HoldsAsync("the container has written everything", async () => (await _daemon.Docker("exec", "slow", "test", "-e", "/tmp/done").MayFail()).ExitCode == 0, TimeSpan.FromSeconds(60));
        await _daemon.Docker("rm", "-f", "slow");
    }

    [Fact]
    public async Task A_terminal_is_one_and_its_size_follows_the_clients()
    {
        using var running = _daemon.DockerOnTerminal("run", "--rm", "-it", shared.Image, "sh").Start();
        await running.WriteAsync("stty size; tty\n");
        await running.OutputAsync("/dev/pts/0");
        // The client's own terminal is that of script(1); a change of its size is told by SIGWINCH.
        var client = int.Parse((await new Command("pgrep", ["-f", "^docker run --rm -it"])).Lines[^1], CultureInfo.InvariantCulture);
        var terminal = new FileInfo($"/proc/{client}/fd/0").LinkTarget!;
        await new Command("stty", ["-F", terminal, "rows", "33", "cols", "77"]);
        await Eventually.HoldsAsync("the container's terminal has the new size", async () =>
        {
            await running.WriteAsync("stty size\n");
            return running.OutputSoFar.Contains("33 77", StringComparison.Ordinal);
        });
        await running.WriteAsync("exit 5\n");
        running.CloseInput();
    }

    [Fact]
    public async Task The_detach_keys_leave_the_container_running()
    {
        using var running = _daemon.DockerOnTerminal("run", "-it", "--name", "detach-1", shared.Image, "sh", "-c", "echo up; exec sleep 600").Start();
        await running.OutputAsync("up");
        await running.WriteAsync("\u0010\u0011"); // ctrl-p, ctrl-q
        await running.WaitAsync();
        Assert.Equal("true", (await _daemon.Docker("inspect", "--format", "{{.State.Running}}", "detach-1")).Line);

        using var again = _daemon.DockerOnTerminal("attach", "--detach-keys", "ctrl-a,x", "detach-1").MayFail().Start();
        await Eventually.HoldsAsync("detached by keys of one's own", async () =>
        {
            await again.WriteAsync("\u0001x");
            return again.HasExited;
        });
        Assert.Equal("true", (await _daemon.Docker("inspect", "--format", "{{.State.Running}}", "detach-1")).Line);
        await _daemon.Docker("rm", "-f", "detach-1");
    }

    [Fact]
    public async Task Exec_has_input_output_environment_user_directory_and_terminal()
    {
        await _daemon.Docker("run", "-d", "--name", "exec-1", "-e", "OF=container", shared.Image, "sleep", "600");
        Assert.Equal("hi\nbye\n", (await _daemon.Docker("exec", "-i", "exec-1", "sh", "-c", "cat; sleep 0.2; echo bye").WithInput("hi\n")).Output);
        var result = await _daemon.Docker("exec", "-e", "A=b", "-u", "alice", "-w", "/tmp", "exec-1", "sh", "-c", "echo $A $OF $HOME; pwd; id -un; echo err >&2; exit 4").MayFail();
        Assert.Equal(("b container /home/alice\n/tmp\nalice\n", "err\n", 4), (result.Output, result.Error, result.ExitCode));
        result = await _daemon.Docker("exec", "--privileged", "exec-1", "sh", "-c", "grep CapEff /proc/self/status");
        Assert.NotEqual("CapEff:\t00000000a80425fb\n", result.Output);
        await _daemon.Docker("exec", "-d", "exec-1", "touch", "/tmp/detached");
        await Eventually.HoldsAsync("the detached exec ran", async () => (await _daemon.Docker("exec", "exec-1", "test", "-e", "/tmp/detached").MayFail()).ExitCode == 0);
        Assert.Equal("/dev/pts/0", (await _daemon.DockerOnTerminal("exec", "-t", "exec-1", "tty")).Line.TrimEnd('\r'));
        await _daemon.Docker("rm", "-f", "exec-1");
    }

    [Fact]
    public async Task The_end_of_a_container_ends_its_execs()
    {
        await _daemon.Docker("run", "-d", "--name", "exec-2", shared.Image, "sleep", "600");
        using var running = _daemon.Docker("exec", "exec-2", "sh", "-c", "echo up; sleep 600").MayFail().Start();
        await running.OutputAsync("up");
        await _daemon.Docker("rm", "-f", "exec-2");
        Assert.Equal(137, (await running.WaitAsync()).ExitCode);
    }

    [Fact]
    public async Task Logs_have_streams_times_tails_and_follow()
    {
        await _daemon.Docker("run", "-d", "--name", "logs-1", shared.Image, "sh", "-c", "seq 1 5; echo err >&2; while ! test -e /tmp/go; do sleep 0.05; done; echo last");
        await Eventually.HoldsAsync("the log has six lines", async () => await _daemon.Docker("logs", "logs-1") is { Lines.Length: 5, Error: "err\n" });
        Assert.Equal("4\n5\n", (await _daemon.Docker("logs", "--tail", "3", "logs-1")).Output);
        Assert.Matches(@"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z 1$", (await _daemon.Docker("logs", "-t", "logs-1")).Lines[0]);
        Assert.Equal("", (await _daemon.Docker("logs", "--since", "2099-01-01T00:00:00Z", "logs-1")).Output);
        Assert.Equal("", (await _daemon.Docker("logs", "--until", "2000-01-01T00:00:00Z", "logs-1")).Output);

        using var follow = _daemon.Docker("logs", "-f", "--tail", "1", "logs-1").Start();
        await follow.ErrorAsync("err");
        await _daemon.Docker("exec", "logs-1", "touch", "/tmp/go");
        Assert.Equal("last\n", (await follow.WaitAsync()).Output); // it ends with the container
        await _daemon.Docker("rm", "logs-1");
    }

    [Fact]
    public async Task Log_files_are_rotated_and_kept_within_their_limits()
    {
        await _daemon.Docker("run", "--name", "logs-2", "--log-opt", "max-size=20k", "--log-opt", "max-file=3", shared.Image, "seq", "1", "5000");
        var path = (await _daemon.Docker("inspect", "--format", "{{.LogPath}}", "logs-2")).Line;
        var files = Directory.GetFiles(Path.GetDirectoryName(path)!, "*-json.log*");
        Assert.Equal(3, files.Length);
        Assert.All(files, f => Assert.InRange(new FileInfo(f).Length, 1, 21_000));
        var lines = (await _daemon.Docker("logs", "logs-2")).Lines;
        Assert.Equal("5000", lines[^1]);
        Assert.Equal(lines.Length, 5000 - int.Parse(lines[0], CultureInfo.InvariantCulture) + 1); // no line is missing in between
        await _daemon.Docker("rm", "logs-2");
    }

    [Fact]
    public async Task Lines_longer_than_a_log_entry_come_back_in_one_piece()
    {
        await _daemon.Docker("run", "--name", "logs-3", shared.Image, "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' y; echo; echo next");
        Assert.Equal(new string('y', 100_000) + "\nnext\n", (await _daemon.Docker("logs", "logs-3")).Output);
        await _daemon.Docker("rm", "logs-3");
    }

    [Fact]
    public async Task A_container_without_a_log_says_so()
    {
        await _daemon.Docker("run", "--name", "logs-4", "--log-driver", "none", shared.Image, "echo", "hi");
        var result = await _daemon.Docker("logs", "logs-4").MayFail();
        Assert.Equal((1, "Error response from daemon: configured logging driver does not support reading\n"), (result.ExitCode, result.Error));
        await _daemon.Docker("rm", "logs-4");
    }

    [Theory]
    [InlineData(false, "Connection: Upgrade\r\nUpgrade: tcp\r\n", "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")]
    [InlineData(false, "", "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")]
    [InlineData(true, "Connection: Upgrade\r\nUpgrade: tcp\r\n", "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")]
    public async Task The_bytes_of_an_attachment_are_Dockers(bool tty, string headers, string head)
    {
        var created = await _daemon.AskAsync("POST", "/containers/create", $$"""
            {"Image":"{{shared.Image}}","Cmd":["sh","-c","cat; sleep 0.3; echo bye"],"OpenStdin":true,"StdinOnce":true,"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"Tty":{{(tty ? "true" : "false")}} ,"HostConfig":{"NetworkMode":"none" } }
            """);
        var id = System.Text.Json.JsonSerializer.Deserialize(created.Body, ApiJson.Wire.ContainerCreateResponse)!.Id;
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(_daemon.SocketPath));
        await socket.SendAsync(Encoding.ASCII.GetBytes($"POST /v1.44/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\n{headers}\r\n"));
        var all = new StringBuilder();
        var buffer = new byte[4096];
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        while (!all.ToString().Contains("\r\n\r\n", StringComparison.Ordinal))
            all.Append(Encoding.Latin1.GetString(buffer, 0, await socket.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, limit.Token)));
        Assert.Equal(204, (await _daemon.AskAsync("POST", $"/containers/{id}/start")).Status);
        await socket.SendAsync(Encoding.ASCII.GetBytes(tty ? "hi\n\u0004" : "hi\n"));
        if (!tty) // with a terminal the end of input is a character, and the end of the connection's input detaches
            socket.Shutdown(SocketShutdown.Send);
        int read;
        while ((read = await socket.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, limit.Token)) > 0)
            all.Append(Encoding.Latin1.GetString(buffer, 0, read));
        Assert.Equal(head + (tty ? "hi\r\nhi\r\nbye\r\n" : "\u0001\0\0\0\0\0\0\u0003hi\n\u0001\0\0\0\0\0\0\u0004bye\n"), all.ToString());
        await _daemon.AskAsync("DELETE", $"/containers/{id}?force=1");
    }
}
