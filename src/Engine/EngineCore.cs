using Berth.Images;
using Berth.Linux.Cgroups;
using Berth.Networks;
using Berth.Runtime.Monitor;
using Microsoft.Extensions.Logging;

namespace Berth.Engine;

/// <summary>What the services share: the store and the layers below. Built once by <see cref="BerthEngine.StartAsync"/>.</summary>
internal sealed record EngineCore
{
    /// <summary>Replaced whole by <see cref="BerthEngine.Reload"/>; what roots and networks are called stays for the life of the engine.</summary>
    public required EngineOptions Options { get; set; }
    public required HostFacts Facts { get; init; }
    public required ContainerStore Containers { get; init; }
    public required ImageStore Images { get; init; }
    public required VolumeService Volumes { get; init; }
    public required DirectoryQuotas Quotas { get; init; }
    public required NetworkManager Networks { get; init; }
    public required Networks.Dns.NameService Names { get; init; }
    public required MonitorClient Monitor { get; init; }
    public required CgroupHost Cgroups { get; init; }
    public required EventService Events { get; init; }
    public required TimeProvider Time { get; init; }
    public required ILogger Logger { get; init; }

    /// <summary>Fires when the engine stops: streams and waits end, timers are dropped, containers go on.</summary>
    public required CancellationToken Stopping { get; init; }

    public string BundleOf(string containerId) => Path.Combine(Options.ExecRoot, "containers", containerId);

    /// <summary>A container's event, with its labels, image and name as every such event has.</summary>
    public void Emit(Container container, string action, params ReadOnlySpan<(string Name, string Value)> attributes) => Emit(container.Record, action, attributes);

    public void Emit(ContainerRecord record, string action, params ReadOnlySpan<(string Name, string Value)> attributes)
    {
        var all = record.Config.Labels is { Count: > 0 } labels ? new Dictionary<string, string>(labels) : [];
        foreach (var (name, value) in attributes) all[name] = value;
        if (record.Config.Image.Length > 0) all["image"] = record.Config.Image;
        all["name"] = record.Name;
        Events.Emit("container", action, record.Id, all);
    }

    /// <summary>connect and disconnect, with the network as actor.</summary>
    public void EmitNetwork(string containerId, EndpointState endpoint, string action)
    {
        var driver = Networks.TryFind(endpoint.NetworkId)?.Driver ?? "bridge";
        Events.Emit("network", action, endpoint.NetworkId, new() { ["container"] = containerId, ["name"] = endpoint.NetworkName, ["type"] = driver });
    }
}
