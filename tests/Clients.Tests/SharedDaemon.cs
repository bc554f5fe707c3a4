using Berth.Testing;

[assembly: CollectionBehavior(MaxParallelThreads = 2)]

namespace Berth.Clients.Tests;

/// <summary>A daemon with the busybox image, shared by the tests of a class; leaks are looked for at its end.</summary>
public sealed class SharedDaemon : IAsyncLifetime
{
    private TestDaemon? _daemon;

    public TestDaemon Daemon => _daemon ?? throw new InvalidOperationException("not started");

    public string Image { get; private set; } = "";

    public async ValueTask InitializeAsync()
    {
        _daemon = await TestDaemon.StartAsync();
        Image = await _daemon.LoadBusyboxAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_daemon is not null)
            await _daemon.DisposeAsync();
    }
}
