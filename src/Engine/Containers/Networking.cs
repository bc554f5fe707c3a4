using Berth.Api;
using Berth.Linux;
using Berth.Networks;
using Microsoft.Win32.SafeHandles;

namespace Berth.Engine;

// A container's networks: what a request may say of them, what a start asks for, and connect and disconnect at any time.
public sealed partial class ContainerService
{
    private const string InterfaceNameOption = "com.docker.network.endpoint.ifname", SysctlsOption = "com.docker.network.endpoint.sysctls";

    /// <summary>The container's networks by name: those asked for, or the one its mode stands for.</summary>
    internal static Dictionary<string, EndpointSettings> NetworksOf(ContainerRecord record)
    {
        if (record.RequestedEndpoints is { } asked) return asked;
        var mode = record.Config.NetworkDisabled ? "none" : record.HostConfig.NetworkMode;
        return Modes.IsContainer(mode) ? [] : new() { [Modes.NetworkName(mode)] = new EndpointSettings() };
    }

    /// <summary>At create: checks all, and calls them by their names, whatever the client called them by.</summary>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    private Dictionary<string, EndpointSettings>? CheckEndpoints(Dictionary<string, EndpointSettings>? endpoints)
    {
        if (endpoints is not { Count: > 0 }) return null;
        var problems = new List<string>();
        var byName = new Dictionary<string, EndpointSettings>(StringComparer.Ordinal);
        foreach (var (key, endpoint) in endpoints)
        {
            if (endpoint is null)
            {
                problems.Add($"invalid config for network {key}: EndpointsConfig is nil");
                continue;
            }
            var network = _core.Networks.TryFind(key);
            if (EndpointValidation.Check(network, network?.Name ?? key, endpoint) is { } problem) problems.Add($"invalid config for network {key}: {problem}");
            byName.TryAdd(network?.Name ?? key, endpoint);
        }
        if (problems.Count > 0) throw EngineException.Invalid(problems.Count == 1 ? problems[0] : string.Join('\n', problems.Select(p => "* " + p.Replace("\n", "\n\t", StringComparison.Ordinal))));
        return byName;
    }

    private SandboxRequest SandboxFor(ContainerRecord record)
    {
        var networks = record.Config.NetworkDisabled ? new() { ["none"] = new EndpointSettings() } : NetworksOf(record);
        return new SandboxRequest
        {
            ContainerName = record.Name, Endpoints = [.. networks.Select(n => EndpointFor(record, n.Key, n.Value))],
            Ports = networks.Keys.Any(n => n is "host" or "none") ? [] : Ports(record),
            DisableIPv6 = record.HostConfig.Sysctls?.GetValueOrDefault("net.ipv6.conf.all.disable_ipv6") == "1",
        };
    }

    private EndpointRequest EndpointFor(ContainerRecord record, string name, EndpointSettings asked)
    {
        var userDefined = !NetworkManager.IsPredefined(name);
        // Once it was on a network, a start looks for that one, not for another that has its name now.
        var network = userDefined && asked.NetworkID.Length > 0 ? asked.NetworkID : name;
        if (EndpointValidation.Check(null, name, asked, predefined: !userDefined) is { } problem) throw EngineException.Invalid(problem);
        var before = record.Sandbox?.On(name);
        return new EndpointRequest
        {
            Network = network, GatewayPriority = asked.GwPriority, DnsNames = userDefined ? DnsNames(record, asked) : [], Links = userDefined ? Aliases(asked.Links) : new Dictionary<string, string>(),
            MacAddress = asked.MacAddress.Length > 0 && MacAddress.TryParse(asked.MacAddress, out var mac) ? mac : null,
            Address = Address(asked.IPAMConfig?.IPv4Address), Address6 = Address(asked.IPAMConfig?.IPv6Address),
            LinkLocalAddresses = [.. (asked.IPAMConfig?.LinkLocalIPs ?? []).Select(Address).OfType<InetAddress>()],
            PreferredAddress = Address(before?.IPAddress), PreferredAddress6 = Address(before?.IPv6Address),
            InterfaceName = asked.DriverOpts?.GetValueOrDefault(InterfaceNameOption) ?? "",
            Sysctls = asked.DriverOpts?.GetValueOrDefault(SysctlsOption) is { Length: > 0 } sysctls ? sysctls.Split(',') : [],
        };

        static InetAddress? Address(string? text) => InetAddress.TryParse(text, out var address) ? address : null;
    }

    /// <summary>By which others on a network find the container; the first is what its address is looked up to.</summary>
    internal static string[] DnsNames(ContainerRecord record, EndpointSettings asked) =>
        [.. new[] { record.Name }.Concat(asked.Aliases ?? []).Append(record.Id[..12]).Append(record.Config.Hostname).Where(n => n.Length > 0).Distinct(StringComparer.Ordinal)];

    private static Dictionary<string, string> Aliases(string[]? links)
    {
        var aliases = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var link in links ?? [])
        {
            var (name, alias) = LinkTexts.Parse(link);
            aliases[alias] = name;
        }
        return aliases;
    }

    internal static List<PortRequest> Ports(ContainerRecord record)
    {
        var host = record.HostConfig;
        var list = new List<PortRequest>();
        var exposed = (record.Config.ExposedPorts ?? []).Select(WithProtocol).ToHashSet(StringComparer.Ordinal);
        foreach (var (port, bindings) in host.PortBindings ?? [])
        {
            // As Docker: a binding of a port that is not exposed is kept, and publishes nothing. Clients expose what they publish.
            if (!exposed.Contains(WithProtocol(port))) continue;
            foreach (var binding in bindings is { Length: > 0 } ? bindings : [new Api.PortBinding()]) list.Add(PortRequest.Parse(port, binding.HostIp, binding.HostPort));
        }
        if (host.PublishAllPorts)
        {
            foreach (var port in record.Config.ExposedPorts ?? [])
            {
                if (host.PortBindings?.ContainsKey(port) != true) list.Add(PortRequest.Parse(port, null, null));
            }
        }
        list.Sort((a, b) => a.Port.CompareTo(b.Port));
        return list;

        static string WithProtocol(string port) => port.Contains('/') ? port : port + "/tcp";
    }

    /// <summary>The networks a start found, by id; the same object when there is nothing new.</summary>
    private static Dictionary<string, EndpointSettings>? WithNetworkIds(Dictionary<string, EndpointSettings>? asked, SandboxState? networks)
    {
        if (networks is null || networks.Endpoints.All(e => NetworkManager.IsPredefined(e.NetworkName) || asked?.GetValueOrDefault(e.NetworkName)?.NetworkID == e.NetworkId)) return asked;
        var all = asked is null ? [] : new Dictionary<string, EndpointSettings>(asked);
        foreach (var endpoint in networks.Endpoints)
        {
            if (!NetworkManager.IsPredefined(endpoint.NetworkName)) all[endpoint.NetworkName] = (all.GetValueOrDefault(endpoint.NetworkName) ?? new EndpointSettings()) with { NetworkID = endpoint.NetworkId };
            else all.TryAdd(endpoint.NetworkName, new EndpointSettings());
        }
        return all;
    }

    private void EmitNetworks(SandboxState? networks, string action)
    {
        foreach (var endpoint in networks?.Endpoints ?? []) _core.EmitNetwork(networks!.ContainerId, endpoint, action);
    }

    /// <summary>/etc/hosts of a container that has one of its own.</summary>
    internal string HostsText(ContainerRecord record, SandboxState? networks, List<(string Alias, ContainerRecord Child)> linked)
    {
        var host = record.HostConfig;
        string[] extra = [.. host.ExtraHosts ?? [], .. LinkHosts(linked)];
        var gateway = HostGateways();
        if (Modes.IsHost(host.NetworkMode)) return HostsFile.ForHostNetwork(HostFacts.TryRead("/etc/hosts") is { } text ? text + "\n" : "", extra, gateway);
        var addresses = (networks?.Endpoints ?? []).SelectMany(e => new[] { e.IPAddress, e.IPv6Address }).Where(a => a.Length > 0);
        return HostsFile.For([.. addresses], record.Config.Hostname, record.Config.Domainname, extra, gateway);
    }

    /// <summary>Of a build's command: without its address, so that the same command sees the same every time.</summary>
    internal string StepHostsText(ContainerRecord record) => HostsFile.ForStep(record.Config.Hostname ?? "", record.HostConfig.ExtraHosts ?? [], HostGateways());

    private IReadOnlyList<string> HostGateways() => _core.Options.HostGatewayIps is { Count: > 0 } given ? given : [.. _core.Networks.HostGateways.Select(a => a.ToString())];

    /// <summary>Of a container that runs: written in place, for it has the file mounted.</summary>
    private void UpdateHosts(Container container, SandboxState before, SandboxState after)
    {
        var path = Path.Combine(container.Directory, "hosts");
        try
        {
            var names = HostsFile.NamesOf(container.Record.Config.Hostname, container.Record.Config.Domainname);
            var gone = AddressesOf(before).Except(AddressesOf(after)).Select(a => $"{a}\t{names}").ToHashSet(StringComparer.Ordinal);
            // What the container itself wrote there stays.
            var lines = File.ReadAllLines(path).Where(l => !gone.Contains(l)).Concat(AddressesOf(after).Except(AddressesOf(before)).Select(a => $"{a}\t{names}"));
            File.WriteAllText(path, string.Join('\n', lines) + "\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _core.Logger.CleanupFailed(container.Id, "writing /etc/hosts", e);
        }

        static IEnumerable<string> AddressesOf(SandboxState state) => state.Endpoints.SelectMany(e => new[] { e.IPAddress, e.IPv6Address }).Where(a => a.Length > 0);
    }

    /// <summary>POST /networks/{id}/connect.</summary>
    /// <exception cref="EngineException">In dockerd's words and kinds.</exception>
    public async Task ConnectAsync(string networkIdOrName, string idOrName, EndpointSettings? settings, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        settings ??= new EndpointSettings();
        await container.Gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var record = container.Record;
            if (!record.State.Running)
            {
                RefuseRemoved(container);
                var found = _core.Networks.TryFind(networkIdOrName);
                if (found is not null) CheckConnect(record, found, settings);
                var name = found?.Name ?? networkIdOrName;
                if (found is not null && NetworksOf(record).ContainsKey(name)) return;
                // With its names from here on: see ShowEndpoints.
                SaveRequested(container, record, n => n[name] = settings with { DNSNames = [] });
                return;
            }
            if (Modes.IsContainer(record.HostConfig.NetworkMode)) throw EngineException.Invalid(SharedNetwork);
            var network = _core.Networks.TryFind(networkIdOrName) ?? throw EngineException.NotFound($"network {networkIdOrName} not found");
            CheckConnect(record, network, settings);
            if (record.State.Restarting)
            {
                SaveRequested(container, record, n => n[network.Name] = settings);
                return;
            }
            await ConnectRunningAsync(container, record, network, settings).ConfigureAwait(false);
        }
        finally
        {
            container.Gate.Release();
        }
    }

    private async Task ConnectRunningAsync(Container container, ContainerRecord record, NetworkRecord network, EndpointSettings settings)
    {
        using var inside = OpenOwnNetwork(container, record);
        var before = record.Sandbox ?? throw EngineException.Conflict($"container {record.Id} has no network namespace of its own");
        var after = await LayerErrors.TranslateAsync(() => _core.Networks.ConnectAsync(record.Id, EndpointFor(record, network.Name, settings with { NetworkID = "" }), inside, CancellationToken.None)).ConfigureAwait(false);
        try
        {
            var requested = new Dictionary<string, EndpointSettings>(NetworksOf(record)) { [network.Name] = settings };
            _core.Containers.Save(container, record with { Sandbox = after, RequestedEndpoints = WithNetworkIds(requested, after) });
        }
        catch
        {
            await _core.Networks.DisconnectAsync(record.Id, network.Id, inside, CancellationToken.None).ConfigureAwait(false);
            throw;
        }
        UpdateHosts(container, before, after);
        if (HasNames(after))
        {
            await KeepNameSocketsAsync(record.Id).ConfigureAwait(false);
            if (!HasNames(before)) UseNames(container, record);
        }
        _core.EmitNetwork(record.Id, after.On(network.Name)!, "connect");
    }

    /// <summary>POST /networks/{id}/disconnect.</summary>
    /// <exception cref="EngineException">In dockerd's words and kinds.</exception>
    public async Task DisconnectAsync(string networkIdOrName, string idOrName, bool force, CancellationToken cancellationToken)
    {
        if (!_core.Containers.TryGet(idOrName, out var container) && force)
        {
            // Nothing of a container that is gone is left on a network.
            _ = _core.Networks.TryFind(networkIdOrName) ?? throw EngineException.NotFound($"network {networkIdOrName} not found");
            throw EngineException.NotFound($"endpoint {idOrName} not found");
        }
        container ??= _core.Containers.Get(idOrName);
        await container.Gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var record = container.Record;
            var network = _core.Networks.TryFind(networkIdOrName);
            if (!record.State.Running || record.State.Restarting || (network is null && force))
            {
                RefuseRemoved(container);
                var name = network?.Name ?? networkIdOrName;
                if (!NetworksOf(record).ContainsKey(name)) throw EngineException.System($"container {record.Id} is not connected to the network {name}");
                SaveRequested(container, record, n => n.Remove(name));
                return;
            }
            if (network is null) throw EngineException.NotFound($"network {networkIdOrName} not found");
            if (Modes.IsHost(record.HostConfig.NetworkMode) && network.Driver == "host") throw EngineException.Invalid("cannot disconnect container from host network - container was created in host network mode");
            if (record.Sandbox?.On(network.Name) is not { } endpoint) throw EngineException.System($"container {record.Id} is not connected to network {network.Name}");
            await DisconnectRunningAsync(container, record, endpoint).ConfigureAwait(false);
        }
        finally
        {
            container.Gate.Release();
        }
    }

    private async Task DisconnectRunningAsync(Container container, ContainerRecord record, EndpointState endpoint)
    {
        using var inside = OpenOwnNetwork(container, record);
        var before = record.Sandbox!;
        var after = await LayerErrors.TranslateAsync(() => _core.Networks.DisconnectAsync(record.Id, endpoint.NetworkId, inside, CancellationToken.None)).ConfigureAwait(false)
            ?? before with { Endpoints = [.. before.Endpoints.Where(e => e.EndpointId != endpoint.EndpointId)] };
        var requested = new Dictionary<string, EndpointSettings>(NetworksOf(record));
        requested.Remove(endpoint.NetworkName);
        _core.Containers.Save(container, record with { Sandbox = after, RequestedEndpoints = requested });
        UpdateHosts(container, before, after);
        _core.EmitNetwork(record.Id, endpoint, "disconnect");
    }

    private void SaveRequested(Container container, ContainerRecord record, Action<Dictionary<string, EndpointSettings>> change)
    {
        var requested = new Dictionary<string, EndpointSettings>(NetworksOf(record));
        change(requested);
        _core.Containers.Save(container, record with { RequestedEndpoints = requested });
    }

    private static void RefuseRemoved(Container container)
    {
        if (container.Removing || container.Removed || container.State.Dead)
            throw EngineException.System($"Container {container.Id} is marked for removal and cannot be connected or disconnected to the network");
    }

    private const string SharedNetwork = "container sharing network namespace with another container or host cannot be connected to any other network";

    private void CheckConnect(ContainerRecord record, NetworkRecord network, EndpointSettings settings)
    {
        if (EndpointValidation.Check(network, network.Name, settings) is { } problem) throw EngineException.Invalid(problem);
        if (!Modes.IsHost(record.HostConfig.NetworkMode) && network.Driver == "host") throw EngineException.Invalid("cannot connect container to host network - container must be created in host network mode");
        foreach (var name in NetworksOf(record).Keys)
        {
            if (_core.Networks.TryFind(name) is not { } other) continue;
            if (other.Name == network.Name) return;
            if (other.Driver == "host" || network.Driver == "host") throw EngineException.Invalid(SharedNetwork);
            if (other.Name == "none" || network.Name == "none") throw EngineException.Invalid("container cannot be connected to multiple networks with one of the networks in private (none) mode");
        }
    }

    /// <summary>The namespace of its process, which is still the same process once we have it open.</summary>
    private static SafeFileHandle OpenOwnNetwork(Container container, ContainerRecord record)
    {
        try
        {
            var handle = NetworkNamespace.OfProcess(record.State.Pid);
            if (container.Process is not { } process || !PidFd.HasEnded(process.PidFd)) return handle;
            handle.Dispose();
        }
        catch (LinuxException e) when (e.Errno is Errno.ENOENT or Errno.ESRCH)
        {
            // It has just ended.
        }
        throw EngineException.Conflict($"Container {record.Id} is not running");
    }
}
