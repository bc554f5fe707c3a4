using Berth.Api;
using Berth.Engine;

namespace Berth.Fast.Tests.Engine;

public sealed class ExecRegistryTests
{
    /// <summary>A clock that is set by hand, and whose timers fire when they are due by it.</summary>
    private sealed class Clock : TimeProvider
    {
        private readonly List<Timer> _timers = [];
        public DateTimeOffset Now { get; private set; } = DateTimeOffset.UnixEpoch.AddHours(1);
        public override DateTimeOffset GetUtcNow() => Now;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            var timer = new Timer(this, () => callback(state));
            _timers.Add(timer);
            return timer;
        }

        public void Advance(TimeSpan by)
        {
            Now += by;
            foreach (var timer in _timers) timer.FireIfDue();
        }

        private sealed class Timer(Clock clock, Action fire) : ITimer
        {
            private DateTimeOffset _due = DateTimeOffset.MaxValue;

            public bool Change(TimeSpan dueTime, TimeSpan period)
            {
                _due = dueTime < TimeSpan.Zero ? DateTimeOffset.MaxValue : clock.Now + dueTime;
                return true;
            }

            public void FireIfDue()
            {
                if (_due > clock.Now) return;
                _due = DateTimeOffset.MaxValue;
                fire();
            }

            public void Dispose() => _due = DateTimeOffset.MaxValue;
            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }

    private readonly Clock _clock = new();
    private readonly ExecRegistry _execs;
    private readonly Container _container = NewContainer("c");

    public ExecRegistryTests() => _execs = new ExecRegistry(_clock);

    private static Container NewContainer(string id) =>
        new(new ContainerRecord { Id = id, Name = id, Created = default, Path = "sh", Args = [], ImageId = "", State = RunState.Created }, "/nowhere");

    private Exec Add(string id)
    {
        var exec = new Exec(id, _container, new ExecCreateRequest { Cmd = ["true"] }, DetachKeys.Default);
        _execs.Add(exec);
        return exec;
    }

    private void End(Exec exec)
    {
        exec.End(0);
        _execs.Ended(exec);
    }

    [Fact]
    public void What_has_ended_is_forgotten_after_five_minutes()
    {
        End(Add("first"));
        _clock.Advance(TimeSpan.FromMinutes(4));
        End(Add("second"));
        Add("never started");
        Assert.Equal(3, _execs.Count);
        _clock.Advance(TimeSpan.FromMinutes(1.1));
        Assert.False(_execs.TryGet("first", out _));
        Assert.True(_execs.TryGet("second", out _));
        _clock.Advance(TimeSpan.FromMinutes(4));
        Assert.Equal(1, _execs.Count);
    }

    [Fact]
    public void With_its_container_it_is_forgotten_but_for_the_moment_in_which_its_exit_code_is_asked_for()
    {
        var ended = Add("ended");
        End(ended);
        Add("never started");
        var other = new Exec("other", NewContainer("d"), new ExecCreateRequest { Cmd = ["true"] }, DetachKeys.Default);
        _execs.Add(other);
        _execs.ContainerRemoved(_container);
        Assert.False(_execs.TryGet("never started", out _));
        Assert.True(_execs.TryGet("ended", out _));
        _clock.Advance(TimeSpan.FromSeconds(11));
        Assert.False(_execs.TryGet("ended", out _));
        Assert.True(_execs.TryGet("other", out _));
    }

    [Fact]
    public void Ended_ones_make_room_before_new_ones_are_refused()
    {
        for (var n = 0; n < ExecRegistry.Most - 1; n++) Add($"open-{n}");
        End(Add("ended"));
        Add("takes its place");
        Assert.False(_execs.TryGet("ended", out _));
        Assert.Throws<EngineException>(() => Add("one too many"));
    }
}
