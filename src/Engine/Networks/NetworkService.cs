using Berth.Api;
using Berth.Networks;

namespace Berth.Engine;

/// <summary>The networks as the API shows them: bridge, host and none.</summary>
public sealed class NetworkService
{
    private readonly EngineCore _core;

    internal NetworkService(EngineCore core) => _core = core;

    public List<NetworkInspect> List(Filters filters)
    {
        filters.Require("dangling", "driver", "id", "label", "name", "scope", "type");
        foreach (var type in filters["type"])
        {
            if (type is not ("custom" or "builtin")) throw EngineException.Invalid($"invalid filter: 'type'='{type}'");
        }
        var list = new List<NetworkInspect>();
        foreach (var network in _core.Networks.Networks)
        {
            if (!filters.ExactMatch("driver", network.Driver) || !filters.ExactMatch("scope", "local") || !filters.Match("name", network.Name)) continue;
            if (filters["id"].Count > 0 && !filters["id"].Any(id => network.Id.Contains(id, StringComparison.Ordinal))) continue;
            if (filters["label"].Count > 0 || filters["type"].Count > 0 && !filters["type"].Contains("builtin")) continue;
            // The three are never dangling: they are always there.
            if (filters.Contains("dangling") && filters.Flag("dangling", false)) continue;
            list.Add(Show(network, containers: false));
        }
        return list;
    }

    public NetworkInspect Inspect(string nameOrId) =>
        _core.Networks.Find(nameOrId) is { } network ? Show(network, containers: true) : throw EngineException.NotFound($"network {nameOrId} not found");

    private static NetworkInspect Show(NetworkRecord network, bool containers) => new()
    {
        Name = network.Name, Id = network.Id, Created = network.Created, Scope = "local", Driver = network.Driver, EnableIPv4 = true,
        IPAM = new IPAM
        {
            Driver = "default",
            Config = network.Subnet is null ? null : [new IPAMConfig { Subnet = network.Subnet.ToString(), Gateway = network.Gateway?.ToString(), IPRange = network.IpRange?.ToString() }],
        },
        Containers = containers
            ? network.Endpoints.Values.ToDictionary(e => e.ContainerId, e => new EndpointResource
            {
                Name = e.ContainerName, EndpointID = e.EndpointId, MacAddress = e.MacAddress, IPv4Address = e.IPAddress.Length > 0 ? $"{e.IPAddress}/{e.IPPrefixLength}" : "",
            })
            : [],
        Options = new Dictionary<string, string>(network.Options),
        Labels = [],
    };

    /// <summary>The networks that always exist are never pruned, and there are no others yet.</summary>
    public NetworkPruneResponse Prune(Filters filters)
    {
        filters.Require("until", "label", "label!");
        if (filters["until"].Count > 1) throw EngineException.Invalid("more than one until filter specified");
        if (filters["until"].Count == 1) Timestamps.Parse(filters["until"].First(), "until", _core.Time);
        _core.Events.Emit("network", "prune", "", new() { ["reclaimed"] = "0" });
        return new NetworkPruneResponse();
    }
}
