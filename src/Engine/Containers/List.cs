using System.Globalization;
using System.Text;
using Berth.Api;
using Berth.Images;
using Berth.Networks;

namespace Berth.Engine;

// Lists take snapshots and never wait for a gate: `ps` answers while a container hangs.
public sealed partial class ContainerService
{
    public async Task<List<ContainerSummary>> ListAsync(ContainerListOptions options, CancellationToken cancellationToken)
    {
        var filters = options.Filters;
        filters.Require("ancestor", "before", "exited", "id", "isolation", "label", "name", "status", "health", "since", "volume", "network", "is-task", "publish", "expose");
        var query = ListQuery.From(filters, Lookup, Ancestors);
        var all = options.All || filters["status"].Count > 0;
        var images = new Dictionary<string, string>(StringComparer.Ordinal);
        var now = _core.Time.GetUtcNow();
        var list = new List<ContainerSummary>();
        var sizes = new List<Task>();
        var links = LinkNames();
        var before = query.Before is not null;
        foreach (var container in _core.Containers.All.OrderByDescending(c => c.Record.Created))
        {
            var record = container.Record;
            if (before)
            {
                if (record.Id == query.Before) before = false;
                continue;
            }
            if (record.Id == query.Since) break;
            if (!record.State.Running && !all && options.Limit <= 0) continue;
            if (!query.Matches(record, container.Removing)) continue;
            if (options.Limit > 0 && list.Count == options.Limit) break;
            var summary = Summarize(container, record, now, images, links);
            if (options.Size) sizes.Add(SizeAsync(container, record, summary));
            list.Add(summary);
        }
        // Side by side: what one that is large takes the others do not wait for.
        await Task.WhenAll(sizes).ConfigureAwait(false);
        return list;

        async Task SizeAsync(Container container, ContainerRecord record, ContainerSummary summary) =>
            (summary.SizeRw, summary.SizeRootFs) = await SizesAsync(container, record, cancellationToken).ConfigureAwait(false);

        string Lookup(string name) => _core.Containers.TryGet(name, out var found) ? found.Id : throw EngineException.NoSuchContainer(name);
    }

    // An image and those built on it; an unknown name matches nothing.
    private HashSet<string> Ancestors(IReadOnlyCollection<string> names)
    {
        var ids = new HashSet<string>(StringComparer.Ordinal);
        var all = _core.Images.All;
        foreach (var name in names)
        {
            try
            {
                ids.Add(_core.Images.Get(name).Id.ToString());
            }
            catch (ImageException)
            {
            }
        }
        for (var grown = true; grown;)
        {
            grown = false;
            foreach (var image in all)
            {
                if (!image.Parent.IsEmpty && ids.Contains(image.Parent.ToString()) && ids.Add(image.Id.ToString())) grown = true;
            }
        }
        return ids;
    }

    private ContainerSummary Summarize(Container container, ContainerRecord record, DateTimeOffset now, Dictionary<string, string> images, ILookup<string, string> links)
    {
        return new ContainerSummary
        {
            Id = record.Id, Names = ["/" + record.Name, .. links[record.Id]], Image = ImageShown(record, images), ImageID = record.ImageId, Command = CommandText(record.Path, record.Args),
            Created = record.Created.ToUnixTimeSeconds(), Ports = PortsOf(record), Labels = record.Config.Labels ?? [], State = record.State.Status(container.Removing),
            Status = record.State.StatusText(now, container.Removing),
            HostConfig = new HostConfigSummary { NetworkMode = record.HostConfig.NetworkMode, Annotations = record.HostConfig.Annotations },
            NetworkSettings = new NetworkSettingsSummary { Networks = ShowEndpoints(record) },
            Mounts = [.. record.Mounts.Where(m => m.Type != "tmpfs").Select(Show)],
        };
    }

    /// <summary>The name it was made from, or the image's id when the name now means another image.</summary>
    private string ImageShown(ContainerRecord record, Dictionary<string, string> resolved)
    {
        var name = record.Config.Image;
        if (name.Length == 0 || name == record.ImageId) return name.Length == 0 ? record.ImageId : name;
        if (!resolved.TryGetValue(name, out var id))
        {
            try
            {
                id = _core.Images.Get(name).Id.ToString();
            }
            catch (ImageException)
            {
                id = "";
            }
            resolved[name] = id;
        }
        return id == record.ImageId ? name : record.ImageId;
    }

    internal static string CommandText(string path, string[] args)
    {
        if (args.Length == 0) return path;
        var text = new StringBuilder(path);
        foreach (var arg in args) text.Append(' ').Append(arg.Contains(' ') ? $"'{arg}'" : arg);
        return text.ToString();
    }

    internal static Port[] PortsOf(ContainerRecord record)
    {
        if (record.Sandbox is not { } sandbox || !ContainerService.HasPorts(sandbox)) return [];
        var ports = new List<Port>();
        foreach (var p in sandbox.Ports) ports.Add(new Port { IP = p.HostIp, PrivatePort = p.ContainerPort, PublicPort = p.HostPort, Type = p.Protocol });
        foreach (var exposed in record.Config.ExposedPorts ?? [])
        {
            if (!ContainerPort.TryParse(exposed, out var port)) continue;
            var type = port.Protocol.Name();
            if (!ports.Exists(p => p.PrivatePort == port.Port && p.Type == type)) ports.Add(new Port { PrivatePort = port.Port, Type = type });
        }
        return [.. ports];
    }
}

/// <summary>The filters of `ps`, checked once.</summary>
internal sealed class ListQuery
{
    private static readonly string[] States = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
    private static readonly string[] HealthStates = ["none", "starting", "healthy", "unhealthy"];

    private readonly Filters _filters;
    private readonly List<int> _exitCodes = [];
    private readonly HashSet<string>? _ancestors;
    private readonly HashSet<ContainerPort> _publish = [];
    private readonly HashSet<ContainerPort> _expose = [];

    private ListQuery(Filters filters, HashSet<string>? ancestors) => (_filters, _ancestors) = (filters, ancestors);

    /// <summary>Ids of the containers that the list begins and ends at.</summary>
    public string? Before { get; private init; }
    public string? Since { get; private init; }

    /// <exception cref="EngineException">InvalidParameter, NotFound.</exception>
    public static ListQuery From(Filters filters, Func<string, string> lookup, Func<IReadOnlyCollection<string>, HashSet<string>> ancestors)
    {
        var query = new ListQuery(filters, filters.Contains("ancestor") ? ancestors(filters["ancestor"]) : null)
        {
            Before = filters["before"].Select(lookup).LastOrDefault(), Since = filters["since"].Select(lookup).LastOrDefault(),
        };
        foreach (var value in filters["exited"])
        {
            if (!int.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var code))
                throw EngineException.Invalid($"invalid filter 'exited={value}': strconv.Atoi: parsing {GoText.Quote(value)}: invalid syntax");
            query._exitCodes.Add(code);
        }
        foreach (var value in filters["status"])
        {
            if (!States.Contains(value))
                throw EngineException.Invalid($"invalid filter 'status={value}': invalid value for state ({value}): must be one of created, running, paused, restarting, removing, exited, dead");
        }
        foreach (var value in filters["health"])
        {
            if (!HealthStates.Contains(value))
                throw EngineException.Invalid($"invalid filter 'health={value}': invalid value for health ({value}): must be one of none, starting, healthy, unhealthy");
        }
        filters.Flag("is-task", false);
        query.AddPorts("publish", query._publish);
        query.AddPorts("expose", query._expose);
        return query;
    }

    private void AddPorts(string name, HashSet<ContainerPort> ports)
    {
        foreach (var value in _filters[name])
        {
            if (value.Contains(':')) throw EngineException.System($"filter for '{name}' should not contain ':': {value}");
            var slash = value.IndexOf('/');
            if (!PortProtocols.TryParse(slash < 0 ? "" : value.AsSpan(slash + 1), out var protocol) || !PortRange.TryParse(slash < 0 ? value : value.AsSpan(0, slash), out var range) || range.IsAny)
                throw EngineException.System($"error while looking up for {name} {value}: invalid port");
            for (int port = range.First; port <= range.Last; port++) ports.Add(new ContainerPort((ushort)port, protocol));
        }
    }

    public bool Matches(ContainerRecord record, bool removing)
    {
        if (!_filters.Match("name", record.Name) && !_filters.Match("name", "/" + record.Name)) return false;
        if (_filters["id"].Count > 0 && !_filters["id"].Any(id => record.Id.StartsWith(id, StringComparison.Ordinal))) return false;
        if (_filters.Contains("is-task") && _filters.Flag("is-task", false)) return false;
        if (!_filters.MatchLabels("label", record.Config.Labels)) return false;
        var state = record.State;
        if (_exitCodes.Count > 0 && (state.Running || state.StartedAt == default || !_exitCodes.Contains(state.ExitCode))) return false;
        if (!_filters.ExactMatch("status", state.Status(removing))) return false;
        if (!_filters.ExactMatch("health", state.HealthShown())) return false;
        if (_filters["volume"].Count > 0 && !_filters["volume"].Any(v => record.Mounts.Any(m => m.Destination == v || (m.Name.Length > 0 ? m.Name : m.Source) == v))) return false;
        if (_ancestors is not null && !_ancestors.Contains(record.ImageId)) return false;
        if (_filters["network"].Count > 0 && !_filters["network"].Any(n => InNetwork(record, n))) return false;
        if (_publish.Count > 0 || _expose.Count > 0)
        {
            var ports = ContainerService.PortsOf(record);
            if (!ports.Any(p => PortProtocols.TryParse(p.Type, out var protocol)
                && (_publish.Contains(new ContainerPort(p.PublicPort, protocol)) || _expose.Contains(new ContainerPort(p.PrivatePort, protocol))))) return false;
        }
        return true;
    }

    private static bool InNetwork(ContainerRecord record, string wanted) =>
        ContainerService.NetworksOf(record).Any(n => n.Key == wanted || (n.Value.NetworkID.Length > 0 && n.Value.NetworkID.StartsWith(wanted, StringComparison.Ordinal)))
        || record.Sandbox?.Endpoints.Any(e => e.NetworkId.StartsWith(wanted, StringComparison.Ordinal)) == true;
}
