using Microsoft.Extensions.Logging;

namespace Berth.Engine;

/// <summary>
/// What Docker means, without HTTP. One per data root and exec root. Everything is safe for concurrent use; a method takes a name or id as the client
/// wrote it, throws <see cref="EngineException"/> for whatever the client may see, and leaves nothing half-made when it throws.
/// </summary>
public sealed class BerthEngine : IAsyncDisposable
{
    private BerthEngine() { }

    /// <summary>
    /// Starting up is crash recovery: reads the store, asks the monitor (starting one if there is none), adopts what runs, records what ended meanwhile,
    /// finishes what was half-made, cleans up what nobody owns, and applies restart policies. When this returns `ps` tells the truth; containers to be
    /// restarted by policy start in the background.
    /// </summary>
    public static Task<BerthEngine> StartAsync(EngineOptions options, ILoggerFactory loggers, TimeProvider? time, CancellationToken cancellationToken) =>
        throw new NotImplementedException();

    public EngineOptions Options => throw new NotImplementedException();
    public ContainerService Containers => throw new NotImplementedException();
    public ImageService Images => throw new NotImplementedException();
    public VolumeService Volumes => throw new NotImplementedException();
    public NetworkService Networks => throw new NotImplementedException();
    public SystemService System => throw new NotImplementedException();
    public EventService Events => throw new NotImplementedException();

    /// <summary>Disconnects from the monitor. Containers go on; attachments, log followers and waits end.</summary>
    public ValueTask DisposeAsync() => throw new NotImplementedException();
}
