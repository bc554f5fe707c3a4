using Berth.Api;
using Berth.Engine;

namespace Berth.Fast.Tests.Engine;

public class NamesTests
{
    [Fact]
    public void A_random_name_is_valid_and_an_id_has_a_short_form_that_is_no_number()
    {
        for (var i = 0; i < 1000; i++)
        {
            Assert.True(Names.IsValid(Names.Random(i % 3)));
            Assert.False(long.TryParse(Names.Short(Names.NewId()), out _));
        }
    }

    [Theory]
    [InlineData("ab", true)]
    [InlineData("a", false)]
    [InlineData("", false)]
    [InlineData("-ab", false)]
    [InlineData("a/b", false)]
    [InlineData("A.b_c-9", true)]
    public void Names_have_dockers_characters(string name, bool valid) => Assert.Equal(valid, Names.IsValid(name));

    [Theory]
    [InlineData("KILL", 9)]
    [InlineData("sigterm", 15)]
    [InlineData("1", 1)]
    [InlineData("RTMIN+3", 37)]
    [InlineData("SIGRTMAX-14", 50)]
    public void Signals_have_names_and_numbers(string text, int number) => Assert.Equal(number, Signals.Parse(text));

    [Fact]
    public void An_unknown_signal_is_refused() => Assert.Equal("invalid signal: FOO", Assert.Throws<EngineException>(() => Signals.Parse("FOO")).Message);
}

public class StatusTextTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    [Theory]
    [InlineData(0.5, "Less than a second")]
    [InlineData(1, "1 second")]
    [InlineData(59, "59 seconds")]
    [InlineData(60, "About a minute")]
    [InlineData(150, "2 minutes")]
    [InlineData(3599, "59 minutes")]
    [InlineData(3600, "About an hour")]
    [InlineData(5400, "2 hours")]
    [InlineData(47 * 3600, "47 hours")]
    [InlineData(48 * 3600, "2 days")]
    [InlineData(15 * 86400, "2 weeks")]
    [InlineData(61 * 86400, "2 months")]
    [InlineData(800 * 86400, "2 years")]
    public void Durations_are_worded_for_people(double seconds, string expected) => Assert.Equal(expected, HumanDuration.Format(TimeSpan.FromSeconds(seconds)));

    [Fact]
    public void Each_state_has_its_sentence()
    {
        var up = new RunState { Running = true, StartedAt = Now.AddSeconds(-5) };
        var ended = new RunState { StartedAt = Now.AddMinutes(-9), FinishedAt = Now.AddMinutes(-3), ExitCode = 7 };
        Assert.Equal("Created", RunState.Created.StatusText(Now));
        Assert.Equal("Up 5 seconds", up.StatusText(Now));
        Assert.Equal("Up 5 seconds (Paused)", (up with { Paused = true }).StatusText(Now));
        Assert.Equal("Exited (7) 3 minutes ago", ended.StatusText(Now));
        Assert.Equal("Restarting (7) 3 minutes ago", (ended with { Running = true, Restarting = true }).StatusText(Now));
        Assert.Equal("Dead", (ended with { Dead = true }).StatusText(Now));
        Assert.Equal("Removal In Progress", ended.StatusText(Now, removing: true));
    }
}

public class UsersTests
{
    private const string Passwd = "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/sbin/nologin\nuser:x:1000:100::/home/user:/bin/sh\n";
    private const string Group = "root:x:0:root\nbin:x:1:root,bin\nusers:x:100:\nextra:x:200:user\nmore:x:300:\n";

    private static string Resolve(string spec, params string[] add)
    {
        var u = Users.Resolve(spec, add, Passwd, Group);
        return $"{u.Uid}:{u.Gid} {u.Home} {string.Join(',', u.AdditionalGids)}";
    }

    [Theory]
    [InlineData("", "0:0 /root 0,0,1")]
    [InlineData("user", "1000:100 /home/user 100,200")]
    [InlineData("1000", "1000:100 /home/user 100,200")]
    [InlineData("user:more", "1000:300 /home/user 300")]
    [InlineData("user:77", "1000:77 /home/user 77")]
    [InlineData("4242", "4242:0 / 0")]
    [InlineData("4242:more", "4242:300 / 300")]
    public void A_user_is_found_by_name_or_number(string spec, string expected) => Assert.Equal(expected, Resolve(spec));

    [Fact]
    public void Added_groups_are_found_by_name_or_taken_by_number() => Assert.Equal("1000:100 /home/user 100,200,300,55", Resolve("user", "more", "55"));

    [Theory]
    [InlineData("nosuch", "unable to find user nosuch: no matching entries in passwd file")]
    [InlineData("user:nosuch", "unable to find group nosuch: no matching entries in group file")]
    [InlineData("-1", "uids and gids must be in range 0-2147483647")]
    public void An_unknown_user_is_refused(string spec, string message) => Assert.Equal(message, Assert.Throws<EngineException>(() => Resolve(spec)).Message);

    [Fact]
    public void Without_files_numbers_still_work()
    {
        Assert.Equal(5u, Users.Resolve("5", [], null, null).Uid);
        Assert.Equal("unable to find group x: no matching entries in group file", Assert.Throws<EngineException>(() => Users.Resolve("5", ["x"], null, null)).Message);
    }
}

public class DetachKeysTests
{
    private static (string Passed, bool Detached) Type(string keys, params string[] reads)
    {
        Assert.True(DetachKeys.TryParse(keys, out var parsed));
        var scanner = parsed.NewScanner();
        var passed = "";
        foreach (var read in reads)
        {
            var output = new byte[read.Length + DetachKeys.MaxKeys];
            var detached = scanner.Scan(System.Text.Encoding.ASCII.GetBytes(read), output, out var written);
            passed += System.Text.Encoding.ASCII.GetString(output, 0, written);
            if (detached) return (passed, true);
        }
        return (passed, false);
    }

    [Fact]
    public void The_sequence_detaches_and_does_not_reach_the_container() => Assert.Equal(("ab", true), Type("", "ab\x10\x11rest"));

    [Fact]
    public void The_sequence_is_found_across_reads() => Assert.Equal(("a", true), Type("", "a\x10", "\x11"));

    [Fact]
    public void A_sequence_not_finished_is_passed_on() => Assert.Equal(("\x10z\x10\x10x", false), Type("", "\x10z\x10\x10x"));

    [Fact]
    public void Keys_can_be_chosen() => Assert.Equal(("hi", true), Type("ctrl-a,x", "hi\x01x"));

    [Theory]
    [InlineData("ctrl-1")]
    [InlineData("foo")]
    [InlineData("a,")]
    public void Bad_keys_are_refused(string keys) => Assert.False(DetachKeys.TryParse(keys, out _));
}

public class RestartPolicyTests
{
    [Fact]
    public void Delays_double_up_to_a_minute_and_begin_anew_after_a_long_run()
    {
        var state = new RestartState();
        var always = new RestartPolicy { Name = "always" };
        var delays = Enumerable.Range(0, 12).Select(_ => state.Decide(always, new RunEnd(1, TimeSpan.FromSeconds(1)), 0)!.Value.TotalMilliseconds).ToArray();
        Assert.Equal([100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000], delays);
        Assert.Equal(100, state.Decide(always, new RunEnd(1, TimeSpan.FromSeconds(10)), 0)!.Value.TotalMilliseconds);
    }

    [Fact]
    public void On_failure_gives_up_after_its_count_and_stops_at_success()
    {
        var state = new RestartState();
        var policy = new RestartPolicy { Name = "on-failure", MaximumRetryCount = 2 };
        Assert.NotNull(state.Decide(policy, new RunEnd(1, default), 0));
        Assert.NotNull(state.Decide(policy, new RunEnd(1, default), 1));
        // Long runs set the delay back, not the count.
        Assert.Null(state.Decide(policy, new RunEnd(1, TimeSpan.FromHours(1)), 2));
        Assert.Null(new RestartState().Decide(policy, new RunEnd(0, default), 0));
    }

    [Theory]
    [InlineData("no")]
    [InlineData("always")]
    [InlineData("unless-stopped")]
    [InlineData("on-failure")]
    public void What_the_user_told_to_end_stays_stopped(string name) =>
        Assert.Null(new RestartState().Decide(new RestartPolicy { Name = name }, new RunEnd(1, default, ManuallyStopped: true, EndWanted: true, Unhealthy: true), 0));

    [Theory]
    [InlineData("always", true)]
    [InlineData("unless-stopped", false)]
    [InlineData("on-failure", true)]
    public void A_signal_that_is_not_the_stop_signal_ends_unless_stopped_alone(string name, bool restart) =>
        Assert.Equal(restart, new RestartState().Decide(new RestartPolicy { Name = name }, new RunEnd(1, default, ManuallyStopped: true), 0) is not null);

    [Theory]
    [InlineData("no", 0, true)]
    [InlineData("on-failure", 1, true)]
    [InlineData("on-failure", 2, false)]
    public void An_unhealthy_container_is_replaced_whatever_its_exit_code_but_not_for_ever(string name, int restarts, bool restart)
    {
        var policy = new RestartPolicy { Name = name, MaximumRetryCount = name == "on-failure" ? 2 : 0 };
        Assert.Equal(restart, new RestartState().Decide(policy, new RunEnd(0, default, Unhealthy: true), restarts) is not null);
    }
}

public class HealthCheckTests
{
    private static readonly DateTimeOffset Start = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    private static HealthCheck Check(params string[] test) => HealthCheck.Of(new ContainerConfig { Healthcheck = new HealthConfig { Test = test } })!;

    private static HealthcheckResult Result(int exitCode, double seconds = 0) => new() { ExitCode = exitCode, Start = Start.AddSeconds(seconds) };

    [Fact]
    public void Defaults_are_dockers()
    {
        var check = Check("CMD", "probe", "-x");
        Assert.Equal(["probe", "-x"], check.Command);
        Assert.Equal((30, 30, 0, 5, 3), (check.Interval.TotalSeconds, check.Timeout.TotalSeconds, check.StartPeriod.TotalSeconds, check.StartInterval.TotalSeconds, check.Retries));
    }

    [Fact]
    public void A_shell_command_runs_in_the_containers_shell()
    {
        Assert.Equal(["/bin/sh", "-c", "a && b"], Check("CMD-SHELL", "a && b").Command);
        var config = new ContainerConfig { Shell = ["bash", "-ec"], Healthcheck = new HealthConfig { Test = ["CMD-SHELL", "a"] } };
        Assert.Equal(["bash", "-ec", "a"], HealthCheck.Of(config)!.Command);
    }

    [Theory]
    [InlineData("NONE")]
    [InlineData("CMD")]
    [InlineData("WHAT", "x")]
    [InlineData]
    public void Without_a_command_there_is_no_check(params string[] test) => Assert.Null(Check(test));

    [Fact]
    public void It_is_unhealthy_after_as_many_failures_in_a_row_as_retries_and_healthy_after_one_success()
    {
        var check = Check("CMD", "x") with { Retries = 2 };
        var state = check.After(new HealthState { Status = "starting" }, Result(1), Start);
        Assert.Equal(("starting", 1), (state.Status, state.FailingStreak));
        state = check.After(state, Result(0), Start);
        Assert.Equal(("healthy", 0), (state.Status, state.FailingStreak));
        state = check.After(check.After(state, Result(1), Start), Result(-1), Start);
        Assert.Equal(("unhealthy", 2), (state.Status, state.FailingStreak));
        Assert.Equal("healthy", check.After(state, Result(0), Start).Status);
    }

    [Fact]
    public void Failures_in_the_start_period_do_not_count_until_something_succeeded()
    {
        var check = Check("CMD", "x") with { Retries = 1, StartPeriod = TimeSpan.FromSeconds(10) };
        var starting = new HealthState { Status = "starting" };
        Assert.Equal(("starting", 0), (check.After(starting, Result(1, 9), Start).Status, check.After(starting, Result(1, 9), Start).FailingStreak));
        Assert.Equal("unhealthy", check.After(starting, Result(1, 11), Start).Status);
        Assert.Equal("unhealthy", check.After(check.After(starting, Result(0, 1), Start), Result(1, 2), Start).Status);
        Assert.Equal(check.StartInterval, check.NextIn(starting, TimeSpan.FromSeconds(9)));
        Assert.Equal(check.Interval, check.NextIn(starting, TimeSpan.FromSeconds(10)));
        Assert.Equal(check.Interval, check.NextIn(starting with { Status = "healthy" }, TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public void The_last_five_results_are_kept()
    {
        var state = new HealthState { Status = "starting" };
        for (var i = 0; i < 7; i++) state = Check("CMD", "x").After(state, Result(i), Start);
        Assert.Equal([2, 3, 4, 5, 6], state.Log.Select(r => r.ExitCode));
    }

    [Theory]
    [InlineData(500, "500ms")]
    [InlineData(1500, "1.5s")]
    [InlineData(30_000, "30s")]
    [InlineData(90_000, "1m30s")]
    [InlineData(3_600_000, "1h0m0s")]
    public void Durations_are_worded_as_go_does(int milliseconds, string text) => Assert.Equal(text, GoDuration.Format(TimeSpan.FromMilliseconds(milliseconds)));
}

public class ListFilterTests
{
    private static ContainerRecord Record(Action<ContainerConfig, HostConfig>? change = null, RunState? state = null)
    {
        var (config, host) = (new ContainerConfig { Labels = new() { ["a"] = "1" }, Image = "img" }, new HostConfig { NetworkMode = "bridge" });
        change?.Invoke(config, host);
        return new ContainerRecord
        {
            Id = "abcdef" + new string('0', 58), Name = "web_1", Created = default, Path = "x", Args = [], ImageId = "sha256:1", State = state ?? RunState.Created, Config = config, HostConfig = host,
            Mounts = [new MountRecord { Type = "volume", Destination = "/data", Name = "vol" }],
        };
    }

    private static bool Matches(ContainerRecord record, string name, params string[] values)
    {
        var filters = new Filters();
        foreach (var value in values) filters.Add(name, value);
        return ListQuery.From(filters, n => n, _ => ["sha256:1"]).Matches(record, removing: false);
    }

    [Theory]
    [InlineData("name", "web", true)]
    [InlineData("name", "^/web_.$", true)]
    [InlineData("name", "^eb", false)]
    [InlineData("id", "abc", true)]
    [InlineData("id", "bcd", false)]
    [InlineData("label", "a", true)]
    [InlineData("label", "a=2", false)]
    [InlineData("status", "created", true)]
    [InlineData("status", "running", false)]
    [InlineData("volume", "vol", true)]
    [InlineData("volume", "/data", true)]
    [InlineData("volume", "x", false)]
    [InlineData("network", "bridge", true)]
    [InlineData("network", "host", false)]
    [InlineData("ancestor", "img", true)]
    [InlineData("health", "none", true)]
    [InlineData("health", "healthy", false)]
    [InlineData("is-task", "true", false)]
    [InlineData("is-task", "false", true)]
    public void A_filter_matches(string name, string value, bool expected) => Assert.Equal(expected, Matches(Record(), name, value));

    [Fact]
    public void An_exit_code_counts_only_for_one_that_has_run()
    {
        var ended = new RunState { StartedAt = DateTimeOffset.UnixEpoch, FinishedAt = DateTimeOffset.UnixEpoch, ExitCode = 3 };
        Assert.True(Matches(Record(state: ended), "exited", "3", "4"));
        Assert.False(Matches(Record(), "exited", "0"));
    }

    [Theory]
    [InlineData("status", "bad")]
    [InlineData("exited", "x")]
    [InlineData("health", "bad")]
    [InlineData("publish", "1:2")]
    public void A_bad_filter_value_is_refused(string name, string value) => Assert.Throws<EngineException>(() => Matches(Record(), name, value));

    [Fact]
    public void Arguments_with_blanks_are_quoted() => Assert.Equal("sh -c 'echo hi'", ContainerService.CommandText("sh", ["-c", "echo hi"]));
}

public class EventTests
{
    private sealed class Clock : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = DateTimeOffset.UnixEpoch.AddHours(1);
        public override DateTimeOffset GetUtcNow() => Now;
    }

    [Fact]
    public async Task Past_events_come_first_then_those_to_come_none_twice()
    {
        var clock = new Clock();
        var events = new EventService(clock);
        events.Emit("container", "create", "id1", new() { ["image"] = "i" });
        using var stop = new CancellationTokenSource();
        await using var reader = events.Subscribe("0", null, new Filters(), stop.Token).GetAsyncEnumerator(TestContext.Current.CancellationToken);
        events.Emit("container", "start", "id1", []);
        Assert.True(await reader.MoveNextAsync());
        Assert.Equal(("create", "id1", "i"), (reader.Current.Action, reader.Current.Id, reader.Current.From));
        Assert.True(await reader.MoveNextAsync());
        Assert.Equal("start", reader.Current.Action);
        await stop.CancelAsync();
        Assert.False(await reader.MoveNextAsync());
        Assert.Equal(0, events.Listeners);
    }

    [Fact]
    public async Task Who_subscribes_and_goes_without_reading_is_forgotten()
    {
        var events = new EventService(new Clock());
        using var gone = new CancellationTokenSource();
        _ = events.Subscribe(null, null, new Filters(), gone.Token);
        Assert.Equal(1, events.Listeners);
        await gone.CancelAsync();
        Assert.Equal(0, events.Listeners);
    }

    [Fact]
    public async Task Until_in_the_past_ends_at_once()
    {
        var events = new EventService(new Clock());
        events.Emit("volume", "create", "v", []);
        var seen = new List<EventMessage>();
        await foreach (var message in events.Subscribe("1", "3600.5", new Filters(), TestContext.Current.CancellationToken)) seen.Add(message);
        Assert.Equal("v", Assert.Single(seen).Actor.ID);
    }

    [Fact]
    public async Task Who_reads_too_slowly_misses_the_oldest_and_holds_up_nobody()
    {
        var events = new EventService(new Clock());
        await using var slow = events.Subscribe(null, null, new Filters(), TestContext.Current.CancellationToken).GetAsyncEnumerator(TestContext.Current.CancellationToken);
        for (var i = 0; i < EventService.QueuedEvents + 10; i++) events.Emit("volume", "create", $"v{i}", []);
        Assert.True(await slow.MoveNextAsync());
        Assert.Equal("v10", slow.Current.Actor.ID);
    }

    [Fact]
    public void Times_rise_even_when_the_clock_stands_still()
    {
        var events = new EventService(new Clock());
        for (var i = 0; i < 3; i++) events.Emit("volume", "create", "v", []);
        var filters = new Filters();
        Assert.Equal("`since` time (2) cannot be after `until` time (1)", Assert.Throws<EngineException>(() => events.Subscribe("2", "1", filters, default)).Message);
    }

    [Theory]
    [InlineData("event", "exec_create", true)]
    [InlineData("event", "exec", false)]
    [InlineData("container", "id1", true)]
    [InlineData("container", "web", true)]
    [InlineData("image", "busybox", true)]
    [InlineData("image", "alpine", false)]
    [InlineData("label", "l=1", true)]
    [InlineData("type", "network", false)]
    [InlineData("scope", "local", true)]
    public void Filters_choose(string name, string value, bool expected)
    {
        var message = new EventMessage
        {
            Type = "container", Action = "exec_create: sh", Scope = "local", Actor = new EventActor { ID = "id123", Attributes = new() { ["name"] = "web", ["image"] = "busybox:latest", ["l"] = "1" } },
        };
        Assert.Equal(expected, EventService.Matches(new Filters().Add(name, value), message));
    }
}

public class PsTests
{
    private const string Stat = "42 (a (b) c) S 1 42 40 34817 42 4194560 100 0 0 0 250 50 0 0 20 0 1 0 1000 8192000 50 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0";

    [Fact]
    public void A_stat_line_is_read_though_the_name_holds_parentheses()
    {
        var p = PsProcess.Parse(42, Stat, "Name:\ta\nUid:\t1\t1000\t1\t1\nGid:\t1\t100\t1\t1\n", "sleep\0100\0")!;
        Assert.Equal(("a (b) c", 1, 300L, "pts/1", 1000u, 100u, "sleep 100", "S+"), (p.Name, p.ParentPid, p.CpuTicks, p.Terminal, p.Uid, p.Gid, p.Command, p.State));
    }

    [Theory]
    [InlineData(null, "UID PID PPID C STIME TTY TIME CMD")]
    [InlineData("-ef", "UID PID PPID C STIME TTY TIME CMD")]
    [InlineData("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND")]
    [InlineData("-o pid,cmd", "PID CMD")]
    [InlineData("-eo pid,comm", "PID COMMAND")]
    [InlineData("-l", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD")]
    [InlineData("-ely", "S UID PID PPID C PRI NI RSS SZ WCHAN TTY TIME CMD")]
    [InlineData("-C sleep", "PID TTY TIME CMD")]
    [InlineData("ax", "PID TTY STAT TIME COMMAND")]
    [InlineData("axo pid,comm", "PID COMMAND")]
    [InlineData("-eLf", "UID PID PPID LWP C NLWP STIME TTY TIME CMD")]
    [InlineData("-Tf", "UID PID SPID PPID C STIME TTY TIME CMD")]
    [InlineData("-Lj", "PID PGID SID LWP TTY TIME CMD")]
    [InlineData("j -L", "PPID PID PGID SID LWP TTY TPGID STAT UID TIME COMMAND")]
    [InlineData("aux -L", "USER PID LWP %CPU NLWP %MEM VSZ RSS TTY STAT START TIME COMMAND")]
    [InlineData("-Ll", "F S UID PID PPID LWP C PRI NI ADDR SZ WCHAN TTY TIME CMD")]
    [InlineData("auxH", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND")]
    [InlineData("-eLo pid,tid,tty,comm:20", "PID TID TT COMMAND")]
    public void The_columns_are_those_of_ps(string? arguments, string expected) => Assert.Equal(expected, string.Join(' ', PsColumns.Parse(arguments).Columns.Select(c => c.Title)));

    [Theory]
    [InlineData("aux -o pid", "ps: error: conflicting format options")]
    [InlineData("-eZ", "ps: error: unsupported SysV option")]
    [InlineData("-LT", "ps: error: thread flags conflict; can't use both -L and -T")]
    [InlineData("uL", "ps: error: the option is exclusive: L")]
    [InlineData("-y", "ps: error: modifier -y without format -l makes no sense")]
    [InlineData("--foo", "ps: error: unknown gnu long option")]
    [InlineData("-p", "ps: error: option requires an argument")]
    public void What_ps_refuses_is_refused_in_its_words(string arguments, string message) => Assert.Equal(message, Assert.Throws<EngineException>(() => PsColumns.Parse(arguments)).Message);

    [Fact]
    public void Threads_are_those_of_the_kernel()
    {
        var own = PsProcess.Read(Environment.ProcessId)!;
        var threads = own.ReadThreads().ToList();
        Assert.Equal(Environment.ProcessId, threads[0].Thread);
        Assert.True(threads.Count > 1);
        Assert.All(threads, t => Assert.Equal((own.Pid, own.Command), (t.Pid, t.Command)));
        Assert.Equal(threads.Count, threads.Select(t => t.Thread).Distinct().Count());
    }

    [Fact]
    public void Without_a_pid_column_it_is_refused() => Assert.Equal("Couldn't find PID field in ps output", Assert.Throws<EngineException>(() => PsColumns.Parse("-o cmd")).Message);
}
