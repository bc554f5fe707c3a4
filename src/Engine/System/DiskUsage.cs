using Berth.Api;

namespace Berth.Engine;

/// <summary>
/// GET /system/df. What images take is kept with their layers; what containers and volumes take has to be measured by walking their trees. The walks run beside everything
/// else, hold no lock and no gate, and those who ask while one is under way get its result.
/// </summary>
public sealed class DiskUsage
{
    private readonly EngineCore _core;
    private readonly Shared<ContainerSummary[]> _containers;
    private readonly Shared<Volume[]> _volumes;
    private readonly ImageService _images;

    internal DiskUsage(EngineCore core, ContainerService containers, ImageService images)
    {
        (_core, _images) = (core, images);
        _containers = new(async () => [.. await containers.ListAsync(new ContainerListOptions { All = true, Size = true, Filters = new Filters() }, CancellationToken.None).ConfigureAwait(false)]);
        _volumes = new(() => Task.FromResult(core.Volumes.Measure()));
    }

    /// <param name="types">container, image, volume, build-cache; empty: all.</param>
    /// <exception cref="EngineException">InvalidParameter: "unknown object type: x".</exception>
    public async Task<DiskUsageResponse> MeasureAsync(IReadOnlyList<string> types, CancellationToken cancellationToken)
    {
        foreach (var type in types)
        {
            if (type is not ("container" or "image" or "volume" or "build-cache")) throw EngineException.Invalid($"unknown object type: {type}");
        }
        bool Wants(string type) => types.Count == 0 || types.Contains(type);
        var containers = Wants("container") ? _containers.GetAsync() : null;
        var volumes = Wants("volume") ? _volumes.GetAsync() : null;
        var answer = new DiskUsageResponse { BuildCache = Wants("build-cache") ? [] : null };
        if (Wants("image"))
        {
            answer.LayersSize = _core.Images.LayerSizes().TotalBytes;
            var users = _core.Containers.All.GroupBy(c => c.Record.ImageId, StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.Count(), StringComparer.Ordinal);
            answer.Images = [.. _images.List(all: false, sharedSize: true, manifests: false, new Filters())];
            foreach (var image in answer.Images) image.Containers = users.GetValueOrDefault(image.Id);
        }
        if (containers is not null) answer.Containers = await containers.WaitAsync(cancellationToken).ConfigureAwait(false);
        if (volumes is not null) answer.Volumes = await volumes.WaitAsync(cancellationToken).ConfigureAwait(false);
        return answer;
    }

    /// <summary>Work that several ask for at once is done once.</summary>
    private sealed class Shared<T>(Func<Task<T>> work)
    {
        private readonly Lock _lock = new();
        private Task<T>? _running;

        public Task<T> GetAsync()
        {
            lock (_lock)
            {
                if (_running is { IsCompleted: false }) return _running;
                return _running = Task.Run(work);
            }
        }
    }
}
