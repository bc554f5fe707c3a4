using System.Globalization;
using Berth.Api;

namespace Berth.Compose.Engine;

/// <summary>A container of a project, as the engine lists it.</summary>
public sealed class ServiceContainer(ContainerSummary summary)
{
    public string Id => summary.Id;

    public string Name { get; } = summary.Names is [var first, ..] ? first.TrimStart('/') : summary.Id[..12];

    public string Service => Label(Labels.Service);

    public int Number => int.TryParse(Label(Labels.Number), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0;

    public bool OneOff => Label(Labels.OneOff) == "True";

    public string State => summary.State;

    public bool Running => summary.State is "running" or "paused" or "restarting";

    public ContainerSummary Summary => summary;

    public string Label(string name) => summary.Labels.GetValueOrDefault(name, "");
}

/// <summary>What there is of a project in the engine.</summary>
public sealed record Observed(IReadOnlyList<ServiceContainer> Containers, IReadOnlyDictionary<string, NetworkInspect> Networks, IReadOnlyDictionary<string, Volume> Volumes, IReadOnlyDictionary<string, ImageSummary> Images)
{
    /// <summary>Containers of a service, but not those of `run`, by number.</summary>
    public List<ServiceContainer> Of(string service)
    {
        var found = new List<ServiceContainer>();
        foreach (var container in Containers)
            if (container.Service == service && !container.OneOff) found.Add(container);
        found.Sort(static (a, b) => a.Number.CompareTo(b.Number));
        return found;
    }

    /// <summary>Asks for all of it at once.</summary>
    public static async Task<Observed> ReadAsync(EngineClient client, string project, bool images, CancellationToken cancellationToken)
    {
        var containers = ContainersAsync(client, project, cancellationToken);
        var networks = client.ListNetworksAsync(null, cancellationToken);
        var volumes = client.ListVolumesAsync(null, cancellationToken);
        var imageList = images ? client.ListImagesAsync(false, null, cancellationToken) : Task.FromResult<ImageSummary[]>([]);
        await Task.WhenAll(containers, networks, volumes, imageList).ConfigureAwait(false);
        var networksByName = new Dictionary<string, NetworkInspect>(StringComparer.Ordinal);
        foreach (var network in await networks.ConfigureAwait(false)) networksByName.TryAdd(network.Name, network);
        var volumesByName = new Dictionary<string, Volume>(StringComparer.Ordinal);
        foreach (var volume in (await volumes.ConfigureAwait(false)).Volumes) volumesByName[volume.Name] = volume;
        var imagesByName = new Dictionary<string, ImageSummary>(StringComparer.Ordinal);
        foreach (var image in await imageList.ConfigureAwait(false))
        {
            foreach (var tag in image.RepoTags) imagesByName.TryAdd(ImageDigests.FullName(tag), image);
            foreach (var digest in image.RepoDigests) imagesByName.TryAdd(ImageDigests.FullName(digest), image);
            imagesByName.TryAdd(image.Id, image);
        }
        return new Observed(await containers.ConfigureAwait(false), networksByName, volumesByName, imagesByName);
    }

    public static async Task<IReadOnlyList<ServiceContainer>> ContainersAsync(EngineClient client, string project, CancellationToken cancellationToken)
    {
        var list = await client.ListContainersAsync(all: true, filters: new Filters().Add("label", $"{Labels.Project}={project}"), cancellationToken: cancellationToken).ConfigureAwait(false);
        var containers = new List<ServiceContainer>(list.Length);
        foreach (var summary in list) containers.Add(new ServiceContainer(summary));
        return containers;
    }
}
