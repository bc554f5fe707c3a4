using Berth.Api;

namespace Berth.Engine;

/// <summary>Named and anonymous volumes of the driver "local".</summary>
public sealed partial class VolumeService
{
    internal VolumeService() { }

    public Task<Volume> CreateAsync(VolumeCreateRequest request, CancellationToken cancellationToken) => throw new NotImplementedException();
    public VolumeListResponse List(Filters filters) => throw new NotImplementedException();
    public Volume Inspect(string name) => throw new NotImplementedException();
    public Task RemoveAsync(string name, bool force, CancellationToken cancellationToken) => throw new NotImplementedException();

    /// <summary>Removes unused volumes: anonymous ones, or with the filter all=true every one.</summary>
    public Task<VolumePruneResponse> PruneAsync(Filters filters, CancellationToken cancellationToken) => throw new NotImplementedException();
}
