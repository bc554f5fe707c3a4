using Berth.Api;
using Berth.Images;

namespace Berth.Engine;

public sealed partial class ContainerService
{
    /// <summary>Makes an image of a container. Returns its id.</summary>
    public async Task<string> CommitAsync(string idOrName, ContainerCommit commit, CancellationToken cancellationToken)
    {
        var name = LayerErrors.Translate(() => ImageReference.FromRepoAndTag(commit.Repository, commit.Tag));
        var container = _core.Containers.Get(idOrName);
        CheckWhole(container, "commit");
        var record = container.Record;
        var paused = commit.Pause && record.State is { Running: true, Paused: false } && await TryPauseAsync(container.Id, cancellationToken).ConfigureAwait(false);
        try
        {
            var own = ToImage(record.Config);
            var id = await _core.Images.CommitAsync(RootOf(record).UpperDirectory, new CommitOptions
            {
                ContainerId = record.Id, Parent = Digest.TryParse(record.ImageId, out var parent) ? parent : default, ContainerConfig = own,
                Config = ConfigChanges.Apply(commit.Config is null ? own : ToImage(commit.Config), commit.Changes), Author = commit.Author, Message = commit.Message, Name = name,
            }, cancellationToken).ConfigureAwait(false);
            _core.Emit(container, "commit", ("comment", commit.Message), ("imageID", id.ToString()), ("imageRef", name?.FamiliarString ?? ""));
            return id.ToString();
        }
        catch (ImageException e)
        {
            throw LayerErrors.From(e);
        }
        finally
        {
            if (paused) await TryUnpauseAsync(container.Id).ConfigureAwait(false);
        }
    }

    // Freezing is for a picture of one moment; a container that cannot be frozen is committed as it is, as under Docker.
    private async Task<bool> TryPauseAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            // Before the freezing: a daemon that dies with it leaves word for the next, which thaws what nobody else would.
            await File.WriteAllBytesAsync(FrozenMark(id), [], cancellationToken).ConfigureAwait(false);
            await PauseAsync(id, cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (e is EngineException or IOException)
        {
            RemoveFrozenMark(id);
            return false;
        }
    }

    private async Task TryUnpauseAsync(string id)
    {
        try
        {
            await UnpauseAsync(id, CancellationToken.None).ConfigureAwait(false);
        }
        catch (EngineException)
        {
            // Killed, or thawed by somebody else meanwhile.
        }
        RemoveFrozenMark(id);
    }

    private string FrozenMark(string id) => Path.Combine(_core.BundleOf(id), "frozen-for-commit");

    private void RemoveFrozenMark(string id)
    {
        try
        {
            File.Delete(FrozenMark(id));
        }
        catch (DirectoryNotFoundException)
        {
            // The container has ended, and its bundle went with it.
        }
    }

    /// <summary>At start: thaws what a commit had frozen when the daemon was killed.</summary>
    internal async Task FinishCommitsAsync()
    {
        foreach (var container in _core.Containers.All)
            if (container.State.Paused && File.Exists(FrozenMark(container.Id))) await TryUnpauseAsync(container.Id).ConfigureAwait(false);
    }

    // Host name and the terminal's settings are this container's and nobody else's.
    private static Images.ContainerConfig ToImage(Api.ContainerConfig config) => new()
    {
        User = config.User.Length == 0 ? null : config.User, ExposedPorts = config.ExposedPorts?.ToDictionary(p => p, _ => EmptyObject.Value), Env = config.Env, Cmd = config.Cmd,
        Entrypoint = config.Entrypoint, ArgsEscaped = config.ArgsEscaped ? true : null, Volumes = config.Volumes?.ToDictionary(v => v, _ => EmptyObject.Value),
        WorkingDir = config.WorkingDir.Length == 0 ? null : config.WorkingDir, Labels = config.Labels, OnBuild = config.OnBuild, StopSignal = config.StopSignal, StopTimeout = config.StopTimeout,
        Shell = config.Shell,
        Healthcheck = config.Healthcheck is not { } h ? null : new HealthcheckConfig
        {
            Test = h.Test, Interval = NonZero(h.Interval), Timeout = NonZero(h.Timeout), StartPeriod = NonZero(h.StartPeriod), StartInterval = NonZero(h.StartInterval), Retries = h.Retries == 0 ? null : h.Retries,
        },
    };

    private static long? NonZero(long value) => value == 0 ? null : value;
}

/// <summary>The query and body of POST /commit.</summary>
public sealed record ContainerCommit
{
    public string Repository { get; init; } = "";
    public string Tag { get; init; } = "";
    public string Author { get; init; } = "";
    public string Message { get; init; } = "";
    public bool Pause { get; init; } = true;
    /// <summary>Dockerfile instructions.</summary>
    public IReadOnlyList<string> Changes { get; init; } = [];
    /// <summary>Null: the container's own.</summary>
    public Api.ContainerConfig? Config { get; init; }
}
