using Berth.Api;
using Berth.Images;
using Berth.Networks;

namespace Berth.Engine;

public sealed partial class ContainerService
{
    // The name clients know this arrangement of directories by.
    internal const string StorageDriver = "overlay2";

    public async Task<ContainerInspect> InspectAsync(string idOrName, bool size, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        var record = container.Record;
        var (state, host) = (record.State, record.HostConfig);
        var files = Modes.IsContainer(host.NetworkMode) && _core.Containers.TryGet(Modes.ContainerOf(host.NetworkMode), out var other) ? other.Directory : container.Directory;
        string File(string name) => record.StartedBefore ? Path.Combine(files, name) : "";
        var answer = new ContainerInspect
        {
            Id = record.Id, Created = record.Created, Path = record.Path, Args = record.Args,
            State = new ContainerState
            {
                Status = state.Status(container.Removing), Running = state.Running, Paused = state.Paused, Restarting = state.Restarting, OOMKilled = state.OomKilled, Dead = state.Dead,
                Pid = state.Pid, ExitCode = state.ExitCode, Error = state.Error, StartedAt = state.StartedAt, FinishedAt = state.FinishedAt,
                Health = state.Health is { } health ? new Health { Status = state.HealthShown(), FailingStreak = health.FailingStreak, Log = health.Log } : null,
            },
            Image = record.ImageId, ResolvConfPath = File("resolv.conf"), HostnamePath = File("hostname"), HostsPath = File("hosts"),
            LogPath = record.StartedBefore ? record.LogPath : "", Name = "/" + record.Name, RestartCount = record.RestartCount, Driver = StorageDriver, Platform = record.Platform,
            ExecIDs = container.Execs.IsEmpty ? null : [.. container.Execs.Keys],
            HostConfig = host with { Links = ShowLinks(record), Ulimits = [.. SpecCompiler.MergeUlimits(host.Ulimits, _core.Options)] },
            GraphDriver = new DriverData { Name = StorageDriver, Data = GraphData(record) },
            Mounts = [.. record.Mounts.Where(m => m.Type != "tmpfs").Select(Show), .. record.Mounts.Where(m => m.Type == "tmpfs").Select(Show)],
            Config = WithMacAddress(record),
            NetworkSettings = ShowNetworks(record),
        };
        if (size) (answer.SizeRw, answer.SizeRootFs) = await SizesAsync(container, record, cancellationToken).ConfigureAwait(false);
        return answer;
    }

    // Where older clients look for it.
    private static Api.ContainerConfig WithMacAddress(ContainerRecord record) =>
        Modes.HasOwnNetwork(record.HostConfig.NetworkMode) && record.RequestedEndpoints?.GetValueOrDefault(Modes.NetworkName(record.HostConfig.NetworkMode))?.MacAddress is { Length: > 0 } mac
            ? record.Config with { MacAddress = mac }
            : record.Config;

    private static MountPoint Show(MountRecord mount) => new()
    {
        Type = mount.Type, Name = mount.Name, Source = mount.Source, Destination = mount.Destination, Driver = mount.Driver,
        Mode = mount.Anonymous && mount.Mode == "z" ? "" : mount.Mode, RW = mount.ReadWrite, Propagation = mount.Propagation,
    };

    private Dictionary<string, string> GraphData(ContainerRecord record)
    {
        var data = new Dictionary<string, string> { ["ID"] = record.Id };
        if (record.ImageId.Length == 0 || !_core.Images.TryGetWritableLayer(record.Id, out var layer)) return data;
        data["LowerDir"] = string.Join(':', layer.LowerDirectories);
        data["UpperDir"] = layer.UpperDirectory;
        data["WorkDir"] = layer.WorkDirectory;
        // Seen by the container's processes alone: there is no path to it on the host.
        if (record.State.Pid > 0) data["MergedDir"] = $"/proc/{record.State.Pid}/root";
        return data;
    }

    private async ValueTask<(long SizeRw, long SizeRootFs)> SizesAsync(Container container, ContainerRecord record, CancellationToken cancellationToken)
    {
        var own = await container.Size.GetAsync(still: !record.State.Running, _core.Stopping, cancellationToken).ConfigureAwait(false);
        var image = Digest.TryParse(record.ImageId, out var id) && _core.Images.TryGet(id, out var found) ? found.SizeBytes : 0;
        return (own, own + image);
    }

    private NetworkSettings ShowNetworks(ContainerRecord record)
    {
        var settings = new NetworkSettings { Networks = ShowEndpoints(record), Ports = ShowPorts(record) };
        if (record.Sandbox is not { } sandbox) return settings;
        settings.SandboxID = sandbox.SandboxId;
        settings.SandboxKey = record.State.Pid > 0 ? $"/proc/{record.State.Pid}/ns/net" : "";
        // Where clients looked before there were several networks.
        if (sandbox.On("bridge") is not { } endpoint) return settings;
        settings.EndpointID = endpoint.EndpointId;
        settings.Gateway = endpoint.Gateway;
        settings.IPAddress = endpoint.IPAddress;
        settings.IPPrefixLen = endpoint.IPPrefixLength;
        settings.IPv6Gateway = endpoint.IPv6Gateway;
        settings.GlobalIPv6Address = endpoint.IPv6Address;
        settings.GlobalIPv6PrefixLen = endpoint.IPv6PrefixLength;
        settings.MacAddress = endpoint.MacAddress;
        return settings;
    }

    /// <summary>As inspect and ps show them.</summary>
    internal Dictionary<string, EndpointSettings> ShowEndpoints(ContainerRecord record)
    {
        var all = new Dictionary<string, EndpointSettings>(StringComparer.Ordinal);
        foreach (var (name, asked) in NetworksOf(record).OrderBy(n => n.Key, StringComparer.Ordinal))
        {
            var settings = asked with { };
            if (!NetworkManager.IsPredefined(name) && (record.StartedBefore || record.Sandbox is not null || asked.DNSNames is not null)) settings.DNSNames = DnsNames(record, asked);
            if (record.Sandbox?.On(name) is { } endpoint)
            {
                settings.NetworkID = endpoint.NetworkId;
                settings.EndpointID = endpoint.EndpointId;
                settings.Gateway = endpoint.Gateway == "dev" ? "" : endpoint.Gateway;
                settings.IPAddress = endpoint.IPAddress;
                settings.IPPrefixLen = endpoint.IPPrefixLength;
                settings.IPv6Gateway = endpoint.IPv6Gateway == "dev" ? "" : endpoint.IPv6Gateway;
                settings.GlobalIPv6Address = endpoint.IPv6Address;
                settings.GlobalIPv6PrefixLen = endpoint.IPv6PrefixLength;
                settings.MacAddress = endpoint.MacAddress;
            }
            else if (record.StartedBefore)
            {
                settings.MacAddress = "";
                if (settings.NetworkID.Length == 0) settings.NetworkID = _core.Networks.TryFind(name)?.Id ?? "";
            }
            all[name] = settings;
        }
        return all;
    }

    /// <summary>Published ports with their bindings, and those merely exposed with none; empty unless it is on a network.</summary>
    internal static Dictionary<string, PortBinding[]?> ShowPorts(ContainerRecord record)
    {
        var ports = new Dictionary<string, PortBinding[]?>(StringComparer.Ordinal);
        if (record.Sandbox is not { } sandbox || !HasPorts(sandbox)) return ports;
        foreach (var port in record.Config.ExposedPorts ?? []) ports[port.Contains('/') ? port : port + "/tcp"] = null;
        foreach (var group in sandbox.Ports.GroupBy(p => $"{p.ContainerPort}/{p.Protocol}"))
        {
            ports[group.Key] = [.. group.Select(p => new PortBinding
            {
                HostIp = p.HostIp, HostPort = p.HostPort == 0 ? "" : p.HostPort.ToString(global::System.Globalization.CultureInfo.InvariantCulture),
            })];
        }
        return ports;
    }

    /// <summary>On a network that leads outside.</summary>
    internal static bool HasPorts(SandboxState sandbox) => sandbox.Endpoints.Any(e => e is { Internal: false, HostInterface.Length: > 0 });
}
