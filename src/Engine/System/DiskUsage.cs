using Berth.Api;

namespace Berth.Engine;

/// <summary>
/// GET /system/df. What images take is kept with their layers; what containers and volumes take is measured beside everything else, with no lock and no gate held:
/// see <see cref="TreeSize"/>.
/// </summary>
public sealed class DiskUsage
{
    private readonly EngineCore _core;
    private readonly ContainerService _containers;
    private readonly ImageService _images;

    internal DiskUsage(EngineCore core, ContainerService containers, ImageService images) => (_core, _containers, _images) = (core, containers, images);

    /// <param name="types">container, image, volume, build-cache; empty: all.</param>
    /// <exception cref="EngineException">InvalidParameter: "unknown object type: x".</exception>
    public async Task<DiskUsageResponse> MeasureAsync(IReadOnlyList<string> types, CancellationToken cancellationToken)
    {
        foreach (var type in types)
        {
            if (type is not ("container" or "image" or "volume" or "build-cache")) throw EngineException.Invalid($"unknown object type: {type}");
        }
        bool Wants(string type) => types.Count == 0 || types.Contains(type);
        var containers = Wants("container") ? _containers.ListAsync(new ContainerListOptions { All = true, Size = true, Filters = new Filters() }, cancellationToken) : null;
        var volumes = Wants("volume") ? _core.Volumes.MeasureAsync(_core.Stopping, cancellationToken) : null;
        var answer = new DiskUsageResponse { BuildCache = Wants("build-cache") ? [] : null };
        if (Wants("image"))
        {
            answer.LayersSize = _core.Images.LayerSizes().TotalBytes;
            answer.Images = [.. _images.List(all: false, sharedSize: true, manifests: false, new Filters())];
        }
        if (containers is not null) answer.Containers = [.. await containers.ConfigureAwait(false)];
        if (volumes is not null) answer.Volumes = await volumes.ConfigureAwait(false);
        return answer;
    }
}
