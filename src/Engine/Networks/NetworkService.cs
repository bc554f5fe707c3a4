using System.Globalization;
using Berth.Api;
using Berth.Networks;

namespace Berth.Engine;

/// <summary>The networks as the API shows and makes them.</summary>
public sealed class NetworkService
{
    private readonly EngineCore _core;
    private int _pruning;

    internal NetworkService(EngineCore core) => _core = core;

    /// <exception cref="EngineException">InvalidParameter.</exception>
    /// <param name="containers">As clients before 1.28 expect: with their containers.</param>
    public List<NetworkInspect> List(Filters filters, bool containers = false)
    {
        filters.Require("dangling", "driver", "id", "label", "name", "scope", "type");
        var list = _core.Networks.Networks.Where(network => filters.ExactMatch("driver", network.Driver) && filters.ExactMatch("scope", "local") && filters.Match("name", network.Name)
            && (filters["id"].Count == 0 || filters["id"].Any(id => network.Id.Contains(id, StringComparison.Ordinal))) && filters.MatchLabels("label", network.Spec.Labels));
        if (filters["dangling"].Count > 1) throw EngineException.Invalid("got more than one value for filter key \"dangling\"");
        if (filters["dangling"].FirstOrDefault() is { } dangling)
        {
            var only = dangling switch
            {
                "1" or "true" => true,
                "0" or "false" => false,
                _ => throw EngineException.Invalid("invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")"),
            };
            list = list.Where(network => only == (!network.IsPredefined && network.Endpoints.Count == 0));
        }
        foreach (var type in filters["type"])
        {
            if (type is not ("custom" or "builtin")) throw EngineException.System($"invalid filter: 'type'='{type}'");
        }
        if (filters["type"].Count > 0) list = list.Where(network => filters["type"].Contains(network.IsPredefined ? "builtin" : "custom"));
        return [.. list.OrderBy(network => network.Name, StringComparer.Ordinal).Select(network => Show(network, containers))];
    }

    /// <exception cref="EngineException">NotFound; InvalidParameter: the prefix of an id fits several.</exception>
    /// <param name="scope">Empty, or what the network's must be.</param>
    public NetworkInspect Inspect(string nameOrId, string scope = "")
    {
        try
        {
            return scope is "" or "local" && nameOrId != "default" && _core.Networks.Find(nameOrId) is { } network ? Show(network, containers: true) : throw EngineException.NotFound($"network {nameOrId} not found");
        }
        catch (NetworkException)
        {
            var matches = _core.Networks.Networks.Count(n => n.Id.StartsWith(nameOrId, StringComparison.Ordinal));
            throw EngineException.Invalid($"{matches} matches found based on ID prefix: network {nameOrId} is ambiguous");
        }
    }

    private static NetworkInspect Show(NetworkRecord network, bool containers)
    {
        var spec = network.Spec;
        return new()
        {
            Name = spec.Name, Id = spec.Id, Created = spec.Created, Scope = "local", Driver = spec.Driver, EnableIPv4 = spec.EnableIPv4, EnableIPv6 = spec.EnableIPv6,
            IPAM = new IPAM
            {
                Driver = spec.IpamDriver, Options = spec.IpamOptions is null ? null : new(spec.IpamOptions),
                Config = spec.Subnets.Count == 0 ? null : [.. spec.Subnets.OrderByDescending(s => s.Given).Select(s => new IPAMConfig
                {
                    // As given; of what was chosen, which comes behind it, the gateway is shown, too.
                        Subnet = s.Subnet.ToString(), IPRange = s.Range?.ToString(), Gateway = (s.Given ? s.GivenGateway : s.GivenGateway ?? s.Gateway)?.ToString(),
                    AuxiliaryAddresses = s.Auxiliary.Count == 0 ? null : s.Auxiliary.ToDictionary(a => a.Key, a => a.Value.ToString()),
                })],
            },
            Internal = spec.Internal, Attachable = spec.Attachable, ConfigFrom = new ConfigReference { Network = spec.ConfigFrom }, ConfigOnly = spec.ConfigOnly,
            Containers = containers
                ? network.Endpoints.Values.OrderBy(e => e.ContainerId, StringComparer.Ordinal).ToDictionary(e => e.ContainerId, e => new EndpointResource
                {
                    Name = e.ContainerName, EndpointID = e.EndpointId, MacAddress = e.MacAddress,
                    IPv4Address = e.IPAddress.Length > 0 ? $"{e.IPAddress}/{e.IPPrefixLength}" : "", IPv6Address = e.IPv6Address.Length > 0 ? $"{e.IPv6Address}/{e.IPv6PrefixLength}" : "",
                })
                : [],
            Options = new Dictionary<string, string>(network.Options),
            Labels = new Dictionary<string, string>(spec.Labels),
        };
    }

    /// <exception cref="EngineException">In dockerd's words and kinds.</exception>
    public async Task<NetworkCreateResponse> CreateAsync(NetworkCreateRequest request, CancellationToken cancellationToken)
    {
        var record = await LayerErrors.TranslateAsync(() => _core.Networks.CreateAsync(new NetworkRequest
        {
            Name = request.Name, Driver = request.Driver, EnableIPv4 = request.EnableIPv4, EnableIPv6 = request.EnableIPv6, Internal = request.Internal, Attachable = request.Attachable,
            Ingress = request.Ingress, ConfigOnly = request.ConfigOnly, ConfigFrom = request.ConfigFrom?.Network ?? "", Scope = request.Scope,
            Options = request.Options ?? [], Labels = request.Labels ?? [], IpamDriver = request.IPAM?.Driver ?? "", IpamOptions = request.IPAM?.Options,
            // A null among them is an empty one, as Go reads it.
            Subnets = [.. (request.IPAM?.Config ?? []).Select(c => new SubnetRequest(c?.Subnet ?? "", c?.IPRange, c?.Gateway, c?.AuxiliaryAddresses))],
        }, cancellationToken)).ConfigureAwait(false);
        Emit(record, "create");
        return new NetworkCreateResponse { Id = record.Id };
    }

    /// <exception cref="EngineException">NotFound; Forbidden: predefined, or in use.</exception>
    public async Task RemoveAsync(string nameOrId, CancellationToken cancellationToken)
    {
        var shown = Inspect(nameOrId);
        var record = _core.Networks.TryFind(shown.Id) ?? throw EngineException.NotFound($"network {nameOrId} not found");
        await RemoveAsync(record, cancellationToken).ConfigureAwait(false);
    }

    private async Task RemoveAsync(NetworkRecord record, CancellationToken cancellationToken)
    {
        await LayerErrors.TranslateAsync(() => _core.Networks.RemoveAsync(record.Id, cancellationToken)).ConfigureAwait(false);
        if (!record.Spec.ConfigOnly) Emit(record, "destroy");
    }

    private void Emit(NetworkRecord network, string action) => _core.Events.Emit("network", action, network.Id, new() { ["name"] = network.Name, ["type"] = network.Driver });

    /// <summary>Removes the networks that nobody is on and the filters (until, label, label!) leave.</summary>
    /// <exception cref="EngineException">InvalidParameter; Conflict: another one is at it.</exception>
    public async Task<NetworkPruneResponse> PruneAsync(Filters filters, CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref _pruning, 1) != 0) throw EngineException.Conflict("a prune operation is already running");
        try
        {
            filters.Require("until", "label", "label!");
            DateTimeOffset? until = filters["until"].Count switch
            {
                0 => null,
                1 => Timestamps.Parse(filters["until"].First(), _core.Time),
                _ => throw EngineException.Invalid("more than one until filter specified"),
            };
            var deleted = new List<string>();
            foreach (var network in _core.Networks.Networks)
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (network.IsPredefined || network.Spec.ConfigOnly || network.Endpoints.Count > 0 || network.Spec.Created > until) continue;
                if (!filters.MatchLabels("label", network.Spec.Labels) || (filters["label!"].Count > 0 && filters.MatchLabels("label!", network.Spec.Labels))) continue;
                try
                {
                    await RemoveAsync(network, cancellationToken).ConfigureAwait(false);
                }
                catch (EngineException)
                {
                    // Joined or removed meanwhile.
                    continue;
                }
                deleted.Add(network.Name);
            }
            _core.Events.Emit("network", "prune", "", new() { ["reclaimed"] = 0.ToString(CultureInfo.InvariantCulture) });
            return new NetworkPruneResponse { NetworksDeleted = deleted.Count == 0 ? null : [.. deleted] };
        }
        finally
        {
            Volatile.Write(ref _pruning, 0);
        }
    }
}
