using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;

namespace Berth.Engine;

/// <summary>Listens for all containers with a memory limit at once: one thread, and none before the first of them.</summary>
internal sealed class OomLoop : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Registration> _registrations = [];
    private Epoll? _epoll;
    private EventFd? _wake;
    private ulong _lastToken;
    private bool _disposed;

    /// <param name="happened">Called on the loop's thread: it must not wait.</param>
    public IDisposable Add(OomWatch watch, Action happened)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_epoll is null)
            {
                (_epoll, _wake) = (new Epoll(), new EventFd());
                _epoll.Add(_wake.Handle, PollEvents.Readable, 0);
                new Thread(Run, 256 * 1024) { IsBackground = true, Name = "oom" }.Start();
            }
            var registration = new Registration(this, ++_lastToken, watch, happened);
            _epoll.Add(watch.Descriptor, watch.Events, registration.Token);
            _registrations.Add(registration.Token, registration);
            return registration;
        }
    }

    private void Run()
    {
        var events = new EpollEvent[16];
        while (true)
        {
            var count = _epoll!.Wait(events, -1);
            lock (_lock)
            {
                if (_disposed) break;
                foreach (var ready in events.AsSpan(0, count))
                {
                    if (_registrations.TryGetValue(ready.Token, out var registration) && registration.Watch.Happened()) registration.Happened();
                }
            }
        }
        _epoll.Dispose();
        _wake!.Dispose();
    }

    private void Remove(Registration registration)
    {
        lock (_lock)
        {
            if (!_registrations.Remove(registration.Token)) return;
            if (!_disposed) _epoll!.Remove(registration.Watch.Descriptor);
            registration.Watch.Dispose();
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            _wake?.Signal();
        }
    }

    private sealed class Registration(OomLoop loop, ulong token, OomWatch watch, Action happened) : IDisposable
    {
        public ulong Token { get; } = token;
        public OomWatch Watch { get; } = watch;
        public Action Happened { get; } = happened;
        public void Dispose() => loop.Remove(this);
    }
}

// A process that the kernel kills for want of memory need not be the container's first: told at once, not at the container's end.
public sealed partial class ContainerService
{
    private readonly OomLoop _oomLoop = new();

    /// <summary>With the gate held, once it runs.</summary>
    private void BeginOomWatch(Container container)
    {
        EndOomWatch(container);
        var record = container.Record;
        var host = record.HostConfig;
        // Without a limit here or above, memory is the machine's; that end is seen in the cgroup's count when the container is over.
        if (host.Memory <= 0 && host.CgroupParent.Length == 0) return;
        try
        {
            if (_core.Cgroups.Open(SpecCompiler.CgroupPath(host, _core.Options, record.Id)) is not { } cgroup || cgroup.WatchOom() is not { } watch) return;
            container.OomWatch = _oomLoop.Add(watch, () => _ = Task.Run(() => RecordOomAsync(container)));
            // While there was no engine, or before we listened.
            if (!record.State.OomKilled && cgroup.OomKillCount() > 0) _ = Task.Run(() => RecordOomAsync(container));
        }
        catch (LinuxException e)
        {
            // Ended already, or a kernel without the file: told at its end.
            _core.Logger.CleanupFailed(record.Id, "listening for want of memory", e);
        }
    }

    /// <summary>With the gate held.</summary>
    private static void EndOomWatch(Container container)
    {
        container.OomWatch?.Dispose();
        container.OomWatch = null;
    }

    private async Task RecordOomAsync(Container container)
    {
        await container.Gate.WaitAsync().ConfigureAwait(false);
        try
        {
            var record = container.Record;
            // The end was quicker and has told it.
            if (container.OomWatch is null || !record.State.Running) return;
            if (!record.State.OomKilled)
            {
                record = record with { State = record.State with { OomKilled = true } };
                StoreAndPublish(container, record);
            }
            _core.Emit(record, "oom");
        }
        finally
        {
            container.Gate.Release();
        }
    }
}
