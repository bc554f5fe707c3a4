namespace Berth.Api;

public sealed partial class EngineClient
{
    private static EnginePath Network(string name, string verb = "") => new("/networks/" + EnginePath.Segment(name) + verb);

    public Task<NetworkInspect[]> ListNetworksAsync(Filters? filters = null, CancellationToken cancellationToken = default) =>
        GetAsync(new EnginePath("/networks").AddIf("filters", filters?.ToString()), ApiJson.Wire.NetworkInspectArray, cancellationToken);

    public Task<NetworkInspect> InspectNetworkAsync(string name, CancellationToken cancellationToken = default) => GetAsync(Network(name), ApiJson.Wire.NetworkInspect, cancellationToken);

    public Task<NetworkCreateResponse> CreateNetworkAsync(NetworkCreateRequest request, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath("/networks/create"), Json(request, ApiJson.Wire.NetworkCreateRequest), ApiJson.Wire.NetworkCreateResponse, cancellationToken);

    public Task RemoveNetworkAsync(string name, CancellationToken cancellationToken = default) => PostAsync(Network(name), cancellationToken, method: "DELETE");

    public Task<NetworkPruneResponse> PruneNetworksAsync(Filters? filters = null, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath("/networks/prune").AddIf("filters", filters?.ToString()), default, ApiJson.Wire.NetworkPruneResponse, cancellationToken);

    public Task ConnectNetworkAsync(string name, string container, EndpointSettings? endpoint = null, CancellationToken cancellationToken = default) =>
        PostAsync(Network(name, "/connect"), cancellationToken, Json(new NetworkConnectRequest { Container = container, EndpointConfig = endpoint }, ApiJson.Wire.NetworkConnectRequest));

    public Task DisconnectNetworkAsync(string name, string container, bool force = false, CancellationToken cancellationToken = default) =>
        PostAsync(Network(name, "/disconnect"), cancellationToken, Json(new NetworkDisconnectRequest { Container = container, Force = force }, ApiJson.Wire.NetworkDisconnectRequest));
}
