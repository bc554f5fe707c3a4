using System.Diagnostics;
using Berth.Linux;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

// Containers on networks. A join takes addresses and host ports first, which may be refused, and asks the kernel last.
public sealed partial class NetworkManager
{
    /// <summary>Puts a container on its networks and publishes its ports. Nothing is left half-made when it throws.
    /// PortUnavailable has Docker's full text ("failed to set up container networking: driver failed programming external connectivity on …").</summary>
    public Task<NetworkSandbox> JoinAsync(string containerId, SandboxRequest request, CancellationToken cancellationToken)
    {
        try
        {
            cancellationToken.ThrowIfCancellationRequested();
            return Task.FromResult(Join(containerId, request));
        }
        catch (Exception e)
        {
            return Task.FromException<NetworkSandbox>(e);
        }
    }

    private NetworkSandbox Join(string containerId, SandboxRequest request)
    {
        var started = Stopwatch.GetTimestamp();
        var state = new SandboxState
        {
            SandboxId = NetworkStore.NewId(), ContainerId = containerId, ContainerName = request.ContainerName, PortRequests = request.Ports, DisableIPv6 = request.DisableIPv6,
        };
        var sandbox = new Sandbox(state);
        if (!sandboxes.TryAdd(containerId, sandbox)) throw new NetworkException(NetworkErrorKind.Conflict, $"container {containerId} is on its networks already");
        SandboxNamespace? inside = null;
        var joining = new List<(Network Network, EndpointRequest Request, EndpointState State)>();
        var attached = 0;
        var redirected = false;
        try
        {
            foreach (var endpoint in request.Endpoints) joining.Add(Reserve(state, endpoint));
            joining.Sort((a, b) => GatewayOrder.Instance.Compare(a.State, b.State));
            state = state with { Endpoints = [.. joining.Select(j => j.State)] };
            sandbox.Ports = Bind(state);

            var onHost = joining.Exists(j => j.Network is HostNetwork);
            inside = onHost ? null : pool!.Take();
            var gateways = state.Gateways;
            var taken = joining.Select(j => j.Request.InterfaceName).Where(n => n.Length > 0).ToHashSet(StringComparer.Ordinal);
            for (; attached < joining.Count; attached++)
            {
                var (network, asked, endpoint) = joining[attached];
                if (inside is null || network is NullNetwork) continue;
                var name = asked.InterfaceName;
                for (var number = 0; name.Length == 0; number++)
                    if (taken.Add($"{network.InterfacePrefix}{number}")) name = $"{network.InterfacePrefix}{number}";
                joining[attached] = joining[attached] with
                {
                    State = network.Attach(endpoint with { Interface = name }, asked, inside, new(endpoint.EndpointId == gateways.IPv4?.EndpointId, endpoint.EndpointId == gateways.IPv6?.EndpointId)),
                };
            }
            inside?.IPv6ForNewInterfaces(on: true);
            if (sandbox.Ports.Redirected is { Count: > 0 } redirect && firewall is not null)
            {
                firewall.Change([], redirect);
                redirected = true;
                links!.ForgetUdp(redirect);
            }
            hostPorts!.StartProxies(sandbox.Ports);
            sandbox.State = state = state with { Endpoints = [.. joining.Select(j => j.State)], Ports = sandbox.Ports.Published };
            foreach (var (network, _, endpoint) in joining)
            {
                network.Put(endpoint);
                logger.Joined(request.ContainerName, network.Name, endpoint.IPAddress, endpoint.HostInterface, Stopwatch.GetElapsedTime(started).TotalMilliseconds);
            }
            Tell(SandboxChangeKind.Opened, state, inside?.Handle);
            return new NetworkSandbox(inside?.Detach(), state);
        }
        catch (Exception e)
        {
            sandbox.Gone = true;
            if (redirected) Attempt("Firewall", request.ContainerName, () => firewall!.Change(sandbox.Ports!.Redirected, []));
            sandbox.Ports?.Dispose();
            for (var i = 0; i < joining.Count; i++)
            {
                var (network, _, endpoint) = joining[i];
                if (i < attached) network.Detach(endpoint);
                network.Release(endpoint);
                network.GiveUp();
            }
            inside?.Dispose();
            sandboxes.TryRemove(containerId, out _);
            if (e is LinuxException) throw new NetworkException(NetworkErrorKind.System, $"failed to set up container networking: {e.Message}", e);
            throw;
        }
    }

    private (Network Network, EndpointRequest Request, EndpointState State) Reserve(SandboxState sandbox, EndpointRequest request)
    {
        var network = FindNetwork(request.Network) ?? throw new NetworkException(NetworkErrorKind.NotFound, $"network {request.Network} not found");
        network.BeginJoin(sandbox.ContainerId, sandbox.ContainerName);
        try
        {
            var endpoint = new EndpointState
            {
                NetworkName = network.Name, NetworkId = network.Id, EndpointId = NetworkStore.NewId(), ContainerId = sandbox.ContainerId, ContainerName = sandbox.ContainerName,
                DnsNames = request.DnsNames, Links = request.Links, GatewayPriority = request.GatewayPriority, Internal = network.Spec.Internal,
                LinkLocalAddresses = [.. request.LinkLocalAddresses.Select(a => a.ToString())],
            };
            return (network, request, network.Reserve(endpoint, request, sandbox.DisableIPv6));
        }
        catch
        {
            network.GiveUp();
            throw;
        }
    }

    private BoundPorts Bind(SandboxState state)
    {
        try
        {
            return hostPorts!.Bind(state.PortRequests, TargetOf(state));
        }
        catch (NetworkException e) when (e.Kind == NetworkErrorKind.PortUnavailable)
        {
            var gateways = state.Gateways;
            throw new NetworkException(e.Kind,
                $"failed to set up container networking: driver failed programming external connectivity on endpoint {state.ContainerName} ({(gateways.IPv4 ?? gateways.IPv6)?.EndpointId}): {e.Message}", e);
        }
    }

    /// <summary>Where published ports lead: to the endpoints that give the default routes.</summary>
    private PortTarget TargetOf(SandboxState state)
    {
        var (ipv4, ipv6) = state.Gateways;
        var (network4, network6) = (ipv4 is null ? null : NetworkOf(ipv4), ipv6 is null ? null : NetworkOf(ipv6));
        return new PortTarget(network4?.PublishesPorts == true ? ipv4!.Address : null, network6?.PublishesPorts == true ? ipv6!.Address6 : null)
        {
            Mode = network4?.Mode ?? GatewayMode.Nat, Mode6 = network6?.Mode6 ?? GatewayMode.Nat, DefaultHostAddress = network4?.HostBinding,
        };
    }

    /// <summary>Puts a running container on one more network.</summary>
    /// <param name="containerNamespace">The container's; stays the caller's.</param>
    /// <returns>The container's networks from now on.</returns>
    public Task<SandboxState> ConnectAsync(string containerId, EndpointRequest request, SafeFileHandle containerNamespace, CancellationToken cancellationToken)
    {
        try
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (!sandboxes.TryGetValue(containerId, out var sandbox)) throw new NetworkException(NetworkErrorKind.Conflict, $"container {containerId} has no network namespace of its own");
            lock (sandbox.Gate) return Task.FromResult(Connect(sandbox, request, containerNamespace));
        }
        catch (LinuxException e)
        {
            return Task.FromException<SandboxState>(new NetworkException(NetworkErrorKind.System, e.Message, e));
        }
        catch (Exception e)
        {
            return Task.FromException<SandboxState>(e);
        }
    }

    private SandboxState Connect(Sandbox sandbox, EndpointRequest request, SafeFileHandle containerNamespace)
    {
        var started = Stopwatch.GetTimestamp();
        if (sandbox.Gone) throw new NetworkException(NetworkErrorKind.Conflict, $"container {sandbox.State.ContainerId} is not running");
        var before = sandbox.State;
        var (network, _, endpoint) = Reserve(before, request);
        SandboxNamespace? inside = null;
        var attached = false;
        try
        {
            inside = SandboxNamespace.Of(Duplicate(containerNamespace));
            endpoint = network.Attach(endpoint with { Interface = request.InterfaceName.Length > 0 ? request.InterfaceName : inside.FreeName(network.InterfacePrefix) }, request, inside, default);
            attached = true;
            var after = before with { Endpoints = [.. before.Endpoints.Append(endpoint).Order(GatewayOrder.Instance)] };
            after = MoveGateways(sandbox, before, after, inside);
            sandbox.State = after;
            network.Put(endpoint);
            logger.Joined(before.ContainerName, network.Name, endpoint.IPAddress, endpoint.HostInterface, Stopwatch.GetElapsedTime(started).TotalMilliseconds);
            Tell(SandboxChangeKind.Changed, after, inside.Handle);
            return after;
        }
        catch
        {
            if (attached)
            {
                network.Detach(endpoint);
                Attempt("Default route", network.Name, () => inside!.SetDefaultRoutes(before.Gateways.IPv4, before.Gateways.IPv6));
            }
            network.Release(endpoint);
            network.GiveUp();
            throw;
        }
        finally
        {
            inside?.Dispose();
        }
    }

    private static SafeFileHandle Duplicate(SafeFileHandle handle) => FileAt.Open(null, $"/proc/self/fd/{handle.DangerousGetHandle()}", Linux.Abi.OpenFlags.ReadOnly);

    /// <summary>Takes a running container off one of its networks.</summary>
    /// <param name="containerNamespace">The container's; stays the caller's.</param>
    /// <returns>The container's networks from now on; null: it was not on this one.</returns>
    public async Task<SandboxState?> DisconnectAsync(string containerId, string networkId, SafeFileHandle containerNamespace, CancellationToken cancellationToken)
    {
        if (!sandboxes.TryGetValue(containerId, out var sandbox)) return null;
        SandboxState after;
        lock (sandbox.Gate)
        {
            var before = sandbox.State;
            if (sandbox.Gone || before.Endpoints.FirstOrDefault(e => e.NetworkId == networkId) is not { } endpoint) return null;
            using var inside = SandboxNamespace.Of(Duplicate(containerNamespace));
            after = before with { Endpoints = [.. before.Endpoints.Where(e => e != endpoint)] };
            after = MoveGateways(sandbox, before, after, inside);
            sandbox.State = after;
            var network = NetworkOf(endpoint);
            network?.Drop(containerId);
            network?.Detach(endpoint);
            network?.Release(endpoint);
            // macvlan and ipvlan have no host end whose removal takes the inner one along.
            if (endpoint is { HostInterface.Length: 0, Interface.Length: > 0 })
            {
                var batch = new NetlinkBatch();
                batch.DeleteLink(endpoint.Interface);
                Attempt("Interface", endpoint.NetworkName, () => inside.Netlink.Execute(batch));
            }
            Tell(SandboxChangeKind.Changed, after, inside.Handle);
        }
        // Whoever looks next shall not see it any more.
        await SettleAsync(cancellationToken).ConfigureAwait(false);
        return after;
    }

    /// <summary>Default routes and published ports go to the endpoints that are the gateways from now on. A host port stays the same when it can.</summary>
    private SandboxState MoveGateways(Sandbox sandbox, SandboxState before, SandboxState after, SandboxNamespace inside)
    {
        var (old, now) = (before.Gateways, after.Gateways);
        if (old.IPv4?.EndpointId == now.IPv4?.EndpointId && old.IPv6?.EndpointId == now.IPv6?.EndpointId) return after;
        inside.SetDefaultRoutes(now.IPv4, now.IPv6);
        if (after.PortRequests.Count == 0) return after;

        var target = TargetOf(after);
        if (sandbox.Ports is { All.Count: > 0 } ports && ports.All.All(p => target.For(p.Address) is not null && target.IsTranslated(p.Address) == p.Published.HostPort > 0))
        {
            var redirected = ports.Redirected;
            foreach (var port in ports.All) port.Container = target.For(port.Address)!.Value;
            firewall?.Change(redirected, ports.Redirected);
            links!.ForgetUdp(redirected);
            hostPorts!.StartProxies(ports);
            return after;
        }
        Withdraw(sandbox, before.ContainerName);
        sandbox.Ports = Bind(after);
        firewall?.Change([], sandbox.Ports.Redirected);
        links!.ForgetUdp(sandbox.Ports.Redirected);
        hostPorts!.StartProxies(sandbox.Ports);
        return after with { Ports = sandbox.Ports.Published };
    }

    private void Withdraw(Sandbox sandbox, string name)
    {
        if (sandbox.Ports is not { All.Count: > 0 } ports) return;
        var redirected = ports.Redirected;
        if (firewall is not null) Attempt("Firewall", name, () => firewall.Change(redirected, []));
        ports.Dispose();
        links!.ForgetUdp(redirected);
    }

    /// <summary>Takes the container off all its networks: ports closed, rules and interfaces removed, addresses free again. Does nothing when it is on none.
    /// The slow part (the kernel's removal of the interface) goes on in the background; <see cref="SettleAsync"/> waits for it.</summary>
    public Task LeaveAsync(string containerId, CancellationToken cancellationToken) => Completed(() =>
    {
        if (!sandboxes.TryGetValue(containerId, out var sandbox)) return;
        lock (sandbox.Gate)
        {
            // Whoever is first is the one who takes it down.
            if (sandbox.Gone) return;
            sandbox.Gone = true;
            var state = sandbox.State;
            Tell(SandboxChangeKind.Closed, state, null);
            Withdraw(sandbox, state.ContainerName);
            foreach (var endpoint in state.Endpoints)
            {
                var network = NetworkOf(endpoint);
                network?.Drop(containerId);
                network?.Detach(endpoint);
                network?.Release(endpoint);
            }
        }
        sandboxes.TryRemove(containerId, out _);
    });
}
