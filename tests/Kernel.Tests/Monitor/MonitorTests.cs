using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Runtime.Monitor;
using Berth.Runtime.Spec;
using Berth.Testing;

namespace Berth.Kernel.Tests.Monitor;

public sealed class MonitorTests
{
    private static readonly CancellationToken None = CancellationToken.None;

    [Fact]
    public async Task Output_goes_to_log_and_attachment_and_the_exit_code_comes_back()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var (attachment, reader) = TestMonitor.NewAttachment(StreamFraming.Docker);
        await monitor.LaunchAsync(monitor.Request("c1", "sh", "-c", "echo out; exit 7") with { Attachments = [attachment] });
        attachment.Socket.Dispose();
        var exit = await monitor.EndAsync(new ProcessKey("c1"));

        Assert.Equal(7, exit.ExitCode);
        Assert.Null(exit.Error);
        Assert.Equal("\u0001\0\0\0\0\0\0\u0004out\n", await TestMonitor.ReadToEndAsync(reader));
        Assert.Equal("out\n", monitor.LogText("c1"));
        Assert.False(monitor.CgroupExists("c1"));
    }

    [Fact]
    public async Task A_process_ended_by_a_signal_has_128_and_its_number()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync("c1", "sleep", "1000");
        monitor.Client.Signal(new ProcessKey("c1"), 9);

        Assert.Equal(137, (await monitor.EndAsync(new ProcessKey("c1"))).ExitCode);
    }

    [Fact]
    public async Task A_missing_executable_is_told_and_leaves_nothing()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var failure = await Assert.ThrowsAsync<MonitorException>(() => monitor.LaunchAsync("c1", "no-such-thing"));

        Assert.Equal(MonitorError.ExecutableNotFound, failure.Error);
        Assert.Contains("no-such-thing", failure.Message);
        Assert.Empty(monitor.Client.Processes);
        Assert.False(monitor.CgroupExists("c1"));
        await monitor.LaunchAsync("c1", "true");
        Assert.Equal(0, (await monitor.EndAsync(new ProcessKey("c1"))).ExitCode);
    }

    [Fact]
    public async Task Input_reaches_the_process_and_its_end_too()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var key = new ProcessKey("c1");
        await monitor.LaunchAsync(monitor.Request("c1", "sh", "-c", "cat; echo bye") with { OpenStdin = true });
        Assert.True(await monitor.Client.WriteInputAsync(key, "hi\n"u8.ToArray(), None));
        await monitor.Client.CloseStdinAsync(key, None);

        Assert.Equal(0, (await monitor.EndAsync(key)).ExitCode);
        Assert.Equal("hi\nbye\n", monitor.LogText("c1"));
    }

    [Fact]
    public async Task Input_waits_for_a_process_that_reads_late()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var key = new ProcessKey("c1");
        var (attachment, reader) = TestMonitor.NewAttachment();
        await monitor.LaunchAsync(monitor.Request("c1", "sh", "-c", "trap 'wc -c; exit' USR1; echo ready; while true; do sleep 0.1; done") with { OpenStdin = true, Attachments = [attachment] });
        await TestMonitor.ReadUntilAsync(reader, "ready");
        var writing = monitor.Client.WriteInputAsync(key, new byte[300_000], None).AsTask();
        Assert.False(writing.IsCompleted);
        monitor.Client.Signal(key, 10);
        Assert.True(await writing.WaitAsync(TestMonitor.Patience));
        await monitor.Client.CloseStdinAsync(key, None);
        await monitor.EndAsync(key);

        Assert.Contains("300000", monitor.LogText("c1"));
    }

    [Fact]
    public async Task Input_for_a_process_that_closed_its_end_is_refused()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var key = new ProcessKey("c1");
        var (attachment, reader) = TestMonitor.NewAttachment();
        await monitor.LaunchAsync(monitor.Request("c1", "sh", "-c", "exec < /dev/null; echo closed; sleep 1000") with { OpenStdin = true, Attachments = [attachment] });
        await TestMonitor.ReadUntilAsync(reader, "closed");

        Assert.False(await monitor.Client.WriteInputAsync(key, "hi"u8.ToArray(), None));
    }

    [Fact]
    public async Task Without_stdin_a_process_reads_the_end_at_once()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync("c1", "sh", "-c", "cat; readlink /proc/self/fd/0");
        await monitor.EndAsync(new ProcessKey("c1"));

        Assert.Equal("/dev/null\n", monitor.LogText("c1"));
    }

    [Fact]
    public async Task A_terminal_has_its_size_takes_input_and_can_be_resized()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var key = new ProcessKey("c1");
        var (attachment, reader) = TestMonitor.NewAttachment();
        await monitor.LaunchAsync(monitor.Request("c1", "sh", "-c", "tty; stty size; read x; stty size; echo got $x") with { Terminal = new TerminalSize(80, 25), Attachments = [attachment] });
        attachment.Socket.Dispose();
        await TestMonitor.ReadUntilAsync(reader, "25 80");
        monitor.Client.Resize(key, new TerminalSize(132, 43));
        Assert.True(await monitor.Client.WriteInputAsync(key, "word\n"u8.ToArray(), None));

        Assert.Equal(0, (await monitor.EndAsync(key)).ExitCode);
        Assert.Equal("word\r\n43 132\r\ngot word\r\n", await TestMonitor.ReadToEndAsync(reader));
        Assert.StartsWith("/dev/pts/0\r\n25 80\r\n", monitor.LogText("c1"));
    }

    [Fact]
    public async Task A_slow_reader_gets_every_byte()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var (attachment, reader) = TestMonitor.NewAttachment();
        await monitor.LaunchAsync(monitor.Request("c1", "sh", "-c", "dd if=/dev/zero bs=65536 count=200 2>/dev/null | tr '\\0' 'x'") with { Attachments = [attachment] });
        attachment.Socket.Dispose();
        var text = await TestMonitor.ReadToEndAsync(reader);

        Assert.Equal(200 * 65536, text.Length);
        Assert.Equal(0, (await monitor.EndAsync(new ProcessKey("c1"))).ExitCode);
        Assert.Equal(text, monitor.LogText("c1"));
    }

    [Fact]
    public async Task Several_attachments_get_the_same_and_later_ones_what_comes_later()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var key = new ProcessKey("c1");
        var (first, early) = TestMonitor.NewAttachment();
        await monitor.LaunchAsync(monitor.Request("c1", "sh", "-c", "echo one; read x; echo two") with { OpenStdin = true, Attachments = [first] });
        first.Socket.Dispose();
        await TestMonitor.ReadUntilAsync(early, "one\n");
        var (second, late) = TestMonitor.NewAttachment();
        await monitor.Client.AttachAsync(key, second, None);
        second.Socket.Dispose();
        await monitor.Client.WriteInputAsync(key, "\n"u8.ToArray(), None);
        await monitor.EndAsync(key);

        Assert.Equal("two\n", await TestMonitor.ReadToEndAsync(early));
        Assert.Equal("two\n", await TestMonitor.ReadToEndAsync(late));
    }

    [Fact]
    public async Task An_exec_has_its_own_output_and_exit_and_ends_with_its_container()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync("c1", "sleep", "1000");
        var (attachment, reader) = TestMonitor.NewAttachment();
        await monitor.Client.ExecAsync(monitor.ExecRequest("c1", "e1", "sh", "-c", "echo hello; exit 3") with { Attachments = [attachment] }, None);
        attachment.Socket.Dispose();
        Assert.Equal("hello\n", await TestMonitor.ReadToEndAsync(reader));
        Assert.Equal(3, (await monitor.EndAsync(new ProcessKey("c1", "e1"))).ExitCode);
        Assert.Equal("", monitor.LogText("c1"));

        await monitor.Client.ExecAsync(monitor.ExecRequest("c1", "e2", "sleep", "1000"), None);
        monitor.Client.Signal(new ProcessKey("c1"), 9);
        Assert.Equal(137, (await monitor.EndAsync(new ProcessKey("c1", "e2"))).ExitCode);
        Assert.Equal(137, (await monitor.EndAsync(new ProcessKey("c1"))).ExitCode);
    }

    [Fact]
    public async Task An_exec_that_leaves_a_background_process_ends_after_the_grace()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync("c1", "sleep", "1000");
        var (attachment, reader) = TestMonitor.NewAttachment();
        await monitor.Client.ExecAsync(monitor.ExecRequest("c1", "e1", "sh", "-c", "sleep 1000 & echo hi") with { Attachments = [attachment] }, None);
        attachment.Socket.Dispose();
        var exit = await monitor.EndAsync(new ProcessKey("c1", "e1"));

        Assert.Equal(0, exit.ExitCode);
        Assert.Equal("hi\n", await TestMonitor.ReadToEndAsync(reader));
    }

    [Fact]
    public async Task A_paused_container_stands_still_and_can_be_killed()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var process = await monitor.LaunchAsync("c1", "sh", "-c", "while true; do sleep 1; done");
        await monitor.Client.PauseAsync("c1", None);
        Assert.True(monitor.Client.Processes.Single().Paused);
        await monitor.Client.ResumeAsync("c1", None);
        Assert.False(PidFd.HasEnded(process.PidFd));
        await monitor.Client.PauseAsync("c1", None);
        await monitor.Client.KillAllAsync("c1", None);

        Assert.Equal(137, (await monitor.EndAsync(new ProcessKey("c1"))).ExitCode);
    }

    [Fact]
    public async Task A_container_killed_for_memory_says_so()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync(monitor.Request("c1", spec => spec with
        {
            Linux = spec.Linux! with { Resources = new OciResources { Memory = new OciMemory { Limit = 8 << 20, Swap = 8 << 20 } } },
        }, "sh", "-c", "dd if=/dev/zero of=/dev/shm/fill bs=1M count=32"));
        var exit = await monitor.EndAsync(new ProcessKey("c1"));

        Assert.True(exit.OomKilled);
        Assert.Equal(137, exit.ExitCode);
    }

    [Fact]
    public async Task A_key_is_free_only_after_the_exit_was_acknowledged()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync("c1", "true");
        var exit = await monitor.ExitAsync(new ProcessKey("c1"));
        var failure = await Assert.ThrowsAsync<MonitorException>(() => monitor.LaunchAsync("c1", "true"));
        Assert.Equal(MonitorError.KeyInUse, failure.Error);
        await monitor.AcknowledgeAsync(exit);
        await monitor.LaunchAsync("c1", "true");
        await monitor.EndAsync(new ProcessKey("c1"));
    }

    [Fact]
    public async Task The_daemon_goes_and_the_next_one_finds_processes_exits_and_descriptors()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync(monitor.Request("runs", "sh", "-c", "cat; echo end") with { OpenStdin = true });
        await monitor.LaunchAsync(monitor.Request("ends", "sh", "-c", "read x; exit 5") with { OpenStdin = true });
        var ending = monitor.Client.Processes.Single(p => p.Key.ContainerId == "ends");
        var pids = monitor.Client.Processes.ToDictionary(p => p.Key, p => p.Pid);
        await monitor.Client.WriteInputAsync(ending.Key, "\n"u8.ToArray(), None);
        await monitor.DropClientAsync();
        await monitor.ConnectAsync();

        Assert.Equal(5, (await monitor.EndAsync(new ProcessKey("ends"))).ExitCode);
        var process = Assert.Single(monitor.Client.Processes);
        Assert.Equal(pids[process.Key], process.Pid);
        var (attachment, reader) = TestMonitor.NewAttachment();
        await monitor.Client.AttachAsync(process.Key, attachment, None);
        attachment.Socket.Dispose();
        Assert.True(await monitor.Client.WriteInputAsync(process.Key, "again\n"u8.ToArray(), None));
        await monitor.Client.CloseStdinAsync(process.Key, None);
        Assert.Equal("again\nend\n", await TestMonitor.ReadToEndAsync(reader));
        Assert.Equal(0, (await monitor.EndAsync(process.Key)).ExitCode);
    }

    [Fact]
    public async Task What_a_process_keeps_is_found_by_the_next_daemon_whoever_dies_and_closed_at_its_end()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var key = new ProcessKey("c1");
        await monitor.LaunchAsync("c1", "sleep", "1000");
        var (read, write) = Descriptor.Pipe();
        await monitor.Client.KeepAsync(key, [write], None);
        var (other, unused) = Descriptor.Pipe();
        await monitor.Client.KeepAsync(key, [read, write], None); // instead of the one before
        write.Dispose();
        read.Dispose();
        await Assert.ThrowsAsync<MonitorException>(() => monitor.Client.KeepAsync(key, [other, other, unused], None));
        await monitor.Client.KeepAsync(key, [], None);
        Assert.Empty(monitor.Client.KeptBy(key));
        await monitor.Client.KeepAsync(key, [other, unused], None);
        other.Dispose();
        unused.Dispose();

        await monitor.DropClientAsync();
        await monitor.ConnectAsync();
        monitor.KillMonitor();
        await monitor.Client.PauseAsync("c1", None); // waits for the new one
        await monitor.Client.ResumeAsync("c1", None);
        await monitor.DropClientAsync();
        await monitor.ConnectAsync();

        var found = monitor.Client.KeptBy(key);
        Assert.Equal(2, found.Count);
        using var kept = found[1];
        using var reader = found[0];
        Assert.Equal(3, Descriptor.TryWrite(kept, "abc"u8, out _));
        Assert.Equal(3, Descriptor.TryRead(reader, new byte[10], out _));
        kept.Dispose();
        await monitor.Client.KillAllAsync("c1", None);
        await monitor.ExitAsync(key);
        Assert.Equal(0, Descriptor.TryRead(reader, new byte[10], out _)); // nobody has the other end any more
    }

    [Fact]
    public async Task An_unacknowledged_exit_is_told_again_to_every_daemon()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync("c1", "sh", "-c", "exit 9");
        var first = await monitor.ExitAsync(new ProcessKey("c1"));
        await monitor.DropClientAsync();
        await monitor.ConnectAsync();
        Assert.True(monitor.Client.Exits.Completion.IsCompleted is false);
        await monitor.AcknowledgeAsync(first); // forgets it here, so that the next one is a new telling only if it was not acknowledged
        await monitor.DropClientAsync();
        await monitor.ConnectAsync();

        Assert.Empty(monitor.Client.Processes);
        await monitor.LaunchAsync("c1", "true");
        Assert.Equal(0, (await monitor.EndAsync(new ProcessKey("c1"))).ExitCode);
    }

    [Fact]
    public async Task A_second_daemon_replaces_the_first()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync("c1", "sleep", "1000");
        var old = monitor.Client;
        await monitor.ConnectAsync();
        await old.Exits.Completion.WaitAsync(TestMonitor.Patience);

        await Assert.ThrowsAsync<MonitorException>(() => old.PauseAsync("c1", None));
        Assert.Single(monitor.Client.Processes);
        await old.DisposeAsync();
    }

    [Fact]
    public async Task The_monitor_is_killed_and_the_next_one_goes_on_with_logs_input_and_exit_codes()
    {
        await using var monitor = await TestMonitor.StartAsync();
        var key = new ProcessKey("c1");
        var (attachment, reader) = TestMonitor.NewAttachment();
        await monitor.LaunchAsync(monitor.Request("c1", "sh", "-c", "echo before; while read x; do echo $x; done; exit 4") with { OpenStdin = true, Attachments = [attachment] });
        await TestMonitor.ReadUntilAsync(reader, "before");
        await monitor.LaunchAsync(monitor.Request("tty", "sh", "-c", "read x; echo read $x; exit 6") with { Terminal = new TerminalSize(80, 25) });
        await monitor.LaunchAsync(monitor.Request("paused", "sleep", "1000"));
        await monitor.Client.PauseAsync("paused", None);
        await monitor.Client.ExecAsync(monitor.ExecRequest("c1", "e1", "sh", "-c", "sleep 1000"), None);
        var pid = monitor.Client.MonitorPid;

        monitor.KillMonitor();
        await monitor.Client.WriteInputAsync(key, "while it was dead\n"u8.ToArray(), None);
        var (again, late) = TestMonitor.NewAttachment();
        await monitor.Client.AttachAsync(key, again, None); // waits for the new one
        again.Socket.Dispose();

        Assert.NotEqual(pid, monitor.Client.MonitorPid);
        Assert.Equal(4, monitor.Client.Processes.Count);
        monitor.Client.Signal(new ProcessKey("c1", "e1"), 15);
        Assert.Equal(143, (await monitor.EndAsync(new ProcessKey("c1", "e1"))).ExitCode);
        await monitor.Client.WriteInputAsync(new ProcessKey("tty"), "typed\n"u8.ToArray(), None);
        Assert.Equal(6, (await monitor.EndAsync(new ProcessKey("tty"))).ExitCode);
        Assert.Contains("read typed", monitor.LogText("tty"));
        await monitor.Client.WriteInputAsync(key, "after\n"u8.ToArray(), None);
        await monitor.Client.CloseStdinAsync(key, None);
        Assert.EndsWith("after\n", await TestMonitor.ReadToEndAsync(late));
        Assert.Equal(4, (await monitor.EndAsync(key)).ExitCode);
        Assert.Equal("before\nwhile it was dead\nafter\n", monitor.LogText("c1"));
        Assert.False(monitor.CgroupExists("c1"));
        await monitor.Client.KillAllAsync("paused", None);
        Assert.Equal(137, (await monitor.EndAsync(new ProcessKey("paused"))).ExitCode);
    }

    [Fact]
    public async Task A_process_that_ends_while_there_is_no_monitor_still_has_its_exit_code()
    {
        Assert.SkipUnless(PidFd.RemembersTheEnd, "pidfds of this kernel forget how a reaped process ended (before Linux 6.15)");
        await using var monitor = await TestMonitor.StartAsync();
        var key = new ProcessKey("c1");
        var process = await monitor.LaunchAsync(monitor.Request("c1", "sh", "-c", "read x; exit 12") with { OpenStdin = true });
        monitor.KillMonitor();
        await monitor.Client.WriteInputAsync(key, "\n"u8.ToArray(), None);
        Descriptor.Poll(process.PidFd, PollEvents.Readable, -1);

        Assert.Equal(12, (await monitor.EndAsync(key)).ExitCode);
    }

    [Fact]
    public async Task Launches_during_the_death_of_the_monitor_fail_and_leave_nothing()
    {
        await using var monitor = await TestMonitor.StartAsync();
        for (var round = 0; round < 5; round++)
        {
            var launches = Enumerable.Range(0, 10).Select(i => monitor.Request($"r{round}-{i}", "sleep", "1000")).Select(async request =>
            {
                try
                {
                    await monitor.LaunchAsync(request);
                    return true;
                }
                catch (MonitorException lost) when (lost.Error == MonitorError.MonitorLost)
                {
                    return false;
                }
            }).ToArray();
            if (round > 0) await Task.WhenAny(launches); // round 0: before any
            monitor.KillMonitor();
            var running = await Task.WhenAll(launches);
            for (var i = 0; i < running.Length; i++)
            {
                var id = $"r{round}-{i}";
                Assert.Equal(running[i], monitor.CgroupExists(id));
                Assert.Equal(running[i], monitor.Client.Processes.Any(p => p.Key.ContainerId == id));
            }
        }
    }

    [Fact]
    public async Task A_cancelled_launch_leaves_nothing()
    {
        await using var monitor = await TestMonitor.StartAsync();
        using var cancel = new CancellationTokenSource();
        var launch = monitor.Client.LaunchAsync(monitor.Request("c1", "sleep", "1000"), cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => launch);

        await Eventually.HoldsAsync("the cgroup is gone", () => !monitor.CgroupExists("c1"));
        Assert.Empty(monitor.Client.Processes);
        MonitoredProcess? second = null;
        await Eventually.HoldsAsync("the name is free", async () =>
        {
            try
            {
                second = await monitor.LaunchAsync("c1", "true");
                return true;
            }
            catch (MonitorException used) when (used.Error == MonitorError.KeyInUse)
            {
                return false;
            }
        });
        await monitor.EndAsync(second!.Key);
    }

    [Fact]
    public async Task Many_starts_leave_no_descriptor_in_daemon_or_monitor()
    {
        await using var monitor = await TestMonitor.StartAsync();
        async Task RunAsync(int i)
        {
            var id = $"c{i}";
            var (attachment, reader) = TestMonitor.NewAttachment();
            await monitor.LaunchAsync(monitor.Request(id, "sh", "-c", "echo hi") with { OpenStdin = i % 2 == 0, Terminal = i % 3 == 0 ? new TerminalSize(80, 25) : null, Attachments = [attachment] });
            attachment.Socket.Dispose();
            await TestMonitor.ReadToEndAsync(reader);
            await monitor.EndAsync(new ProcessKey(id));
        }
        await Task.WhenAll(Enumerable.Range(0, 10).Select(RunAsync));
        var before = TestMonitor.DescriptorsOf(monitor.Client.MonitorPid);
        var ours = TestMonitor.DescriptorsOf(Environment.ProcessId);
        await Task.WhenAll(Enumerable.Range(10, 50).Select(RunAsync));

        // What is closed on another thread may lag behind for a moment.
        await Eventually.HoldsAsync("no more descriptors in the monitor", () => TestMonitor.DescriptorsOf(monitor.Client.MonitorPid) <= before);
        await Eventually.HoldsAsync("no more descriptors in the daemon", () =>
        {
            GC.Collect();
            return TestMonitor.DescriptorsOf(Environment.ProcessId) <= ours + 10; // other tests run beside this one
        });
    }

    [Fact]
    public async Task A_monitor_with_processes_does_not_end_on_SIGTERM()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync("c1", "sleep", "1000");
        using var pidfd = PidFd.Open(monitor.Client.MonitorPid);
        PidFd.SendSignal(pidfd, 15);
        PidFd.SendSignal(pidfd, 2);
        PidFd.SendSignal(pidfd, 1);
        await monitor.Client.PauseAsync("c1", None);

        Assert.False(PidFd.HasEnded(pidfd));
    }

    [Fact]
    public async Task Only_the_last_daemon_going_lets_an_idle_monitor_end()
    {
        await using var monitor = await TestMonitor.StartAsync();
        using var pidfd = PidFd.Open(monitor.Client.MonitorPid);
        await monitor.DropClientAsync();

        Assert.NotEqual(PollEvents.None, await Task.Run(() => Descriptor.Poll(pidfd, PollEvents.Readable, (int)(MonitorLimits.IdleExit + TestMonitor.Patience).TotalMilliseconds)));
        await monitor.ConnectAsync(); // starts another
    }

    [Fact]
    public async Task A_message_that_is_none_costs_the_sender_its_connection_only()
    {
        await using var monitor = await TestMonitor.StartAsync();
        await monitor.LaunchAsync("c1", "sleep", "1000");
        foreach (var text in (string[])["", "{", "[1,2]", "{\"hello\":{\"version\":99}}", "{\"launch\":{}}", new string('x', MonitorLimits.MessageBytes + 1)])
        {
            using var socket = UnixSocket.Connect(Path.Combine(monitor.ExecRoot, "monitor.sock"), UnixSocketKind.SequencedPackets);
            UnixSocket.TrySend(socket, Encoding.UTF8.GetBytes(text), [], [], wait: true, out _);
        }
        await monitor.Client.PauseAsync("c1", None);

        Assert.Single(monitor.Client.Processes);
    }

    [Fact]
    public async Task Two_hundred_idle_containers_cost_next_to_nothing()
    {
        await using var monitor = await TestMonitor.StartAsync();
        async Task LaunchAsync(int from, int count)
        {
            var next = from - 1;
            await Task.WhenAll(Enumerable.Range(0, 10).Select(async _ =>
            {
                while (Interlocked.Increment(ref next) is var i && i < from + count) await monitor.LaunchAsync($"c{i}", "sleep", "1000");
            }));
            // A collection follows a burst of launches after a moment; what lasts is wanted here.
            await Task.Delay(TimeSpan.FromSeconds(4));
        }
        await LaunchAsync(0, 50);
        var memory = TestMonitor.MemoryOf(monitor.Client.MonitorPid);
        var descriptors = TestMonitor.DescriptorsOf(monitor.Client.MonitorPid);
        await LaunchAsync(50, 150);

        Assert.InRange((TestMonitor.MemoryOf(monitor.Client.MonitorPid) - memory) / 150, -1_000_000, 60_000);
        Assert.InRange(TestMonitor.DescriptorsOf(monitor.Client.MonitorPid) - descriptors, 1, 150 * 5);
    }

    [Fact]
    public async Task Nobody_but_root_may_connect()
    {
        await using var monitor = await TestMonitor.StartAsync();

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(monitor.ExecRoot, "monitor.sock")));
    }

    [Fact]
    public async Task An_idle_monitor_ends_even_if_its_directory_was_removed()
    {
        // It failed like this: deleting the socket threw, and the loop went on for ever.
        var root = Directory.CreateTempSubdirectory("berth-monitor-").FullName;
        Assert.SkipUnless(Environment.UserName == "root", "needs root");
        using var server = new MonitorServer(new MonitorServerOptions { ExecRoot = root, IdleExit = TimeSpan.FromMilliseconds(100) });
        Directory.Delete(root, recursive: true);

        await Task.Run(server.Run).WaitAsync(TestMonitor.Patience);
    }

    [Fact]
    public async Task A_container_does_not_inherit_what_the_monitor_gives_itself()
    {
        await using var monitor = await TestMonitor.StartAsync();
        // What a shell with a soft limit of 1000 would have started.
        var root = Directory.CreateTempSubdirectory("berth-monitor-").FullName;
        using var server = new MonitorServer(new MonitorServerOptions { ExecRoot = root, ContainerOpenFiles = 1000 });
        var running = Task.Run(server.Run);
        await using var client = await MonitorClient.ConnectOrStartAsync(new MonitorOptions { ExecRoot = root, MonitorPath = "/none" },
            Microsoft.Extensions.Logging.Abstractions.NullLogger<MonitorClient>.Instance, None);
        var request = monitor.Request("c1", spec => spec with { Process = spec.Process! with { OomScoreAdj = null } }, "sh", "-c", "ulimit -Sn; cat /proc/self/oom_score_adj");
        await client.LaunchAsync(request, None);
        var exit = await client.Exits.ReadAsync(new CancellationTokenSource(TestMonitor.Patience).Token);
        await client.AcknowledgeAsync(exit, None);
        await client.ShutdownAsync(None);
        await running.WaitAsync(TestMonitor.Patience);
        Directory.Delete(root, recursive: true);

        Assert.Equal("1000\n0\n", monitor.LogText("c1"));
    }
}
