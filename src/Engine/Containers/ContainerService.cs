using Berth.Api;

namespace Berth.Engine;

/// <summary>Everything one can do with a container; a file per verb.</summary>
public sealed partial class ContainerService
{
    internal ContainerService() { }

    /// <param name="name">As asked for, with or without a leading slash; null or empty: a random one.</param>
    /// <param name="platform">os/arch[/variant], or null.</param>
    /// <exception cref="EngineException">InvalidParameter; NotFound "No such image: x"; Conflict when the name is taken.</exception>
    public Task<ContainerCreateResponse> CreateAsync(ContainerCreateRequest request, string? name, string? platform, CancellationToken cancellationToken) =>
        throw new NotImplementedException();

    /// <exception cref="EngineException">NotModified when it runs; Conflict when it is paused or being removed; InvalidParameter when the executable is missing or not runnable.</exception>
    public Task StartAsync(string idOrName, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <param name="signal">Name or number; null: the container's stop signal.</param>
    /// <param name="timeoutSeconds">Until SIGKILL; null: the container's (10 by default); negative: never.</param>
    /// <exception cref="EngineException">NotModified when it does not run.</exception>
    public Task StopAsync(string idOrName, string? signal, int? timeoutSeconds, CancellationToken cancellationToken) => throw new NotImplementedException();

    public Task RestartAsync(string idOrName, string? signal, int? timeoutSeconds, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>SIGKILL (null or empty) waits for the end, other signals do not. Error texts begin "cannot kill container: x: ".</summary>
    public Task KillAsync(string idOrName, string? signal, CancellationToken cancellationToken) => throw new NotImplementedException();

    public Task PauseAsync(string idOrName, CancellationToken cancellationToken) => throw new NotImplementedException();

    public Task UnpauseAsync(string idOrName, CancellationToken cancellationToken) => throw new NotImplementedException();

    public Task RenameAsync(string idOrName, string newName, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <exception cref="EngineException">Conflict "removal of container x is already in progress", or when it runs and <paramref name="force"/> is false.</exception>
    public Task RemoveAsync(string idOrName, bool force, bool removeVolumes, bool link, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Removes every stopped container the filters (until, label, label!) leave.</summary>
    public Task<ContainerPruneResponse> PruneAsync(Filters filters, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>
    /// Registers the wait before it returns (the route sends its headers then); the task completes when the condition holds. Error is set when the
    /// container's removal failed.
    /// </summary>
    /// <exception cref="EngineException">NotFound, thrown here and not by the task.</exception>
    public Task<ContainerWaitResponse> Wait(string idOrName, WaitCondition condition, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Rows × columns in characters.</summary>
    public Task ResizeAsync(string idOrName, ushort rows, ushort columns, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <param name="psArguments">As `ps`; null or empty: "-ef".</param>
    public Task<ContainerTopResponse> TopAsync(string idOrName, string? psArguments, CancellationToken cancellationToken) => throw new NotImplementedException();

    public Task<ContainerInspect> InspectAsync(string idOrName, bool size, CancellationToken cancellationToken) => throw new NotImplementedException();

    public Task<List<ContainerSummary>> ListAsync(ContainerListOptions options, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>
    /// Attaches: from here on nothing of the output is missed (before the start, too). The caller then answers 101 (or 200) and runs the session.
    /// </summary>
    /// <exception cref="EngineException">NotFound, InvalidParameter (detach keys), Conflict (paused, restarting).</exception>
    public Task<StreamSession> AttachAsync(string idOrName, AttachOptions options, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Opens the logs; the caller answers 200 with the content type and copies.</summary>
    public Task<LogSession> LogsAsync(string idOrName, LogOptions options, CancellationToken cancellationToken) => throw new NotImplementedException();

    public Task<IdResponse> ExecCreateAsync(string idOrName, ExecCreateRequest request, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>
    /// With <see cref="ExecStartRequest.Detach"/>: starts the process and returns null. Otherwise checks that it can be started, and the session's
    /// <see cref="StreamSession.RunAsync"/> starts it (a failure is then told on the stream, as dockerd does).
    /// </summary>
    public Task<StreamSession?> ExecStartAsync(string execId, ExecStartRequest request, CancellationToken cancellationToken) => throw new NotImplementedException();

    public Task ExecResizeAsync(string execId, ushort rows, ushort columns, CancellationToken cancellationToken) => throw new NotImplementedException();

    public ExecInspect ExecInspect(string execId) => throw new NotImplementedException();
}

/// <summary>The query of GET /containers/json.</summary>
public sealed record ContainerListOptions
{
    public bool All { get; init; }
    public bool Size { get; init; }

    /// <summary>The newest n, running or not; 0 or less: no limit.</summary>
    public int Limit { get; init; }

    public Filters Filters { get; init; } = new();
}

/// <summary>What a wait waits for.</summary>
public enum WaitCondition
{
    /// <summary>Holds at once for a container that does not run, one just created included.</summary>
    NotRunning,
    NextExit,
    Removed,
}
