using Berth.Api;

namespace Berth.Engine;

/// <summary>Images as the API shows them; the work is done by <see cref="Berth.Images.ImageStore"/>.</summary>
public sealed class ImageService
{
    internal ImageService() { }

    public List<ImageSummary> List(bool all, bool sharedSize, bool manifests, Filters filters) => throw new NotImplementedException();
    public ImageInspect Inspect(string nameOrId, string? platform) => throw new NotImplementedException();
    public List<HistoryResponseItem> History(string nameOrId, string? platform) => throw new NotImplementedException();
    public void Tag(string nameOrId, string repository, string? tag) => throw new NotImplementedException();
    public List<ImageDeleteResponseItem> Remove(string nameOrId, bool force, bool noPrune) => throw new NotImplementedException();

    /// <summary>Progress is called one at a time, from pool threads.</summary>
    public Task LoadAsync(Stream archive, bool quiet, string? platform, Action<JsonMessage> progress, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>POST /images/create?fromImage=: pulls.</summary>
    /// <param name="tag">Tag or digest; null or empty: as the name says, and all tags if it says none.</param>
    public Task PullAsync(string name, string? tag, string? platform, AuthConfig? credentials, Action<JsonMessage> progress, CancellationToken cancellationToken) =>
        throw new NotImplementedException();

    /// <summary>POST /images/create?fromSrc=-: imports a root file system; reports the new id as progress.</summary>
    public Task ImportAsync(Stream tar, string? repository, string? tag, string? message, IReadOnlyList<string> changes, string? platform, Action<JsonMessage> progress,
        CancellationToken cancellationToken) => throw new NotImplementedException();
}
