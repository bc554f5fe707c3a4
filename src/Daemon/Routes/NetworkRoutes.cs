using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>/networks.</summary>
internal static class NetworkRoutes
{
    public static void Map(Router router, BerthEngine engine)
    {
        var networks = engine.Networks;
        router.Get("/networks", r => r.JsonAsync(networks.List(Filters.Parse(r.Query["filters"]), containers: r.Version.Before(28)), ApiJson.Wire.ListNetworkInspect));
        router.Post("/networks/create", async r =>
        {
            var body = await r.ReadJsonAsync(ApiJson.Wire.NetworkCreateRequest, new NetworkCreateRequest());
            if (r.Version.Before(48)) body.EnableIPv4 = null;
            await r.JsonAsync(await networks.CreateAsync(body, r.Stopping), ApiJson.Wire.NetworkCreateResponse, 201);
        });
        router.Post("/networks/prune", async r => await r.JsonAsync(await networks.PruneAsync(Filters.Parse(r.Query["filters"]), r.Stopping), ApiJson.Wire.NetworkPruneResponse));
        router.Get("/networks/{name}", r =>
        {
            // Strict, other than flags elsewhere.
            if (r.Query["verbose"] is { Length: > 0 } verbose && verbose is not ("1" or "t" or "T" or "TRUE" or "true" or "True" or "0" or "f" or "F" or "FALSE" or "false" or "False"))
                throw EngineException.Invalid($"invalid value for verbose: {verbose}: strconv.ParseBool: parsing \"{verbose}\": invalid syntax");
            return r.JsonAsync(networks.Inspect(r.Name, r.Query["scope"] ?? ""), ApiJson.Wire.NetworkInspect);
        });
        router.Delete("/networks/{name}", async r =>
        {
            await networks.RemoveAsync(r.Name, r.Stopping);
            r.Status(204);
        });
        router.Post("/networks/{name}/connect", async r =>
        {
            var body = await r.ReadJsonAsync(ApiJson.Wire.NetworkConnectRequest, new NetworkConnectRequest());
            await engine.Containers.ConnectAsync(r.Name, body.Container, body.EndpointConfig, r.Stopping);
        });
        router.Post("/networks/{name}/disconnect", async r =>
        {
            var body = await r.ReadJsonAsync(ApiJson.Wire.NetworkDisconnectRequest, new NetworkDisconnectRequest());
            await engine.Containers.DisconnectAsync(r.Name, body.Container, body.Force, r.Stopping);
        });
    }
}
