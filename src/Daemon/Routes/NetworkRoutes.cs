using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>/networks: the three that always exist; making others comes later (LaterRoutes).</summary>
internal static class NetworkRoutes
{
    public static void Map(Router router, BerthEngine engine)
    {
        router.Get("/networks", r => r.JsonAsync(engine.Networks.List(Filters.Parse(r.Query["filters"])), ApiJson.Wire.ListNetworkInspect));
        router.Post("/networks/prune", r => r.JsonAsync(engine.Networks.Prune(Filters.Parse(r.Query["filters"])), ApiJson.Wire.NetworkPruneResponse));
        router.Get("/networks/{name}", r => r.JsonAsync(engine.Networks.Inspect(r.Name), ApiJson.Wire.NetworkInspect));
    }
}
