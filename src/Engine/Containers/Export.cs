using Berth.Api;
using Berth.Images;
using Berth.Linux;

namespace Berth.Engine;

// What a container holds beyond its image: told (diff), or written out with it as one tar (export).
public sealed partial class ContainerService
{
    /// <summary>Null when nothing was changed, as Docker answers then.</summary>
    public List<FilesystemChange>? Changes(string idOrName)
    {
        var container = _core.Containers.Get(idOrName);
        try
        {
            var root = RootOf(container.Record);
            var changes = FileChange.Between(root.UpperDirectory, root.LowerDirectories);
            return changes.Count == 0 ? null : [.. changes.Select(c => new FilesystemChange { Path = c.Path, Kind = (int)c.Kind })];
        }
        catch (LinuxException e)
        {
            throw EngineException.System(e.Message, e);
        }
    }

    /// <summary>A tar of everything but what is mounted in it. Dispose of it when it was copied.</summary>
    public async Task<ContainerExport> ExportAsync(string idOrName, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        CheckWhole(container, "export");
        try
        {
            var files = await OpenLayersAsync(container, cancellationToken).ConfigureAwait(false);
            return new ContainerExport(files, () => _core.Emit(container, "export"));
        }
        catch (EngineException e) when (e.Kind == ErrorKind.System)
        {
            throw EngineException.System($"Error exporting container {idOrName}: {e.Message}", e);
        }
    }

    private static void CheckWhole(Container container, string verb)
    {
        if (container.State.Dead) throw EngineException.Conflict($"You cannot {verb} container {container.Id} which is Dead");
        if (container.Removing) throw EngineException.Conflict($"You cannot {verb} container {container.Id} which is being removed");
    }
}

/// <summary>A container as a tar, to be copied once.</summary>
public sealed class ContainerExport : IDisposable
{
    private readonly ContainerFiles _files;
    private readonly Action _done;

    internal ContainerExport(ContainerFiles files, Action done) => (_files, _done) = (files, done);

    public async Task CopyToAsync(Stream output, CancellationToken cancellationToken)
    {
        await TreeArchive.WriteAsync(_files.Root, "/", name: null, userXattrs: true, output, cancellationToken).ConfigureAwait(false);
        _done();
    }

    public void Dispose() => _files.Dispose();
}
