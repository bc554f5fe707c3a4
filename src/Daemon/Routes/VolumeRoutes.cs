using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>/volumes.</summary>
internal static class VolumeRoutes
{
    public static void Map(Router router, BerthEngine engine)
    {
        var volumes = engine.Volumes;
        router.Get("/volumes", r => r.JsonAsync(volumes.List(Filters.Parse(r.Query["filters"])), ApiJson.Wire.VolumeListResponse));
        router.Post("/volumes/create", async r =>
        {
            var body = await r.ReadJsonAsync(ApiJson.Wire.VolumeCreateRequest, absent: new VolumeCreateRequest());
            await r.JsonAsync(await volumes.CreateAsync(body, r.Stopping), ApiJson.Wire.Volume, 201);
        });
        router.Post("/volumes/prune", r => Prune(r, volumes));
        router.Get("/volumes/{name}", r => r.JsonAsync(volumes.Inspect(r.Name), ApiJson.Wire.Volume));
        router.Put("/volumes/{name}", _ =>
        {
            VolumeService.Update();
            return Task.CompletedTask;
        });
        router.Delete("/volumes/{name}", async r =>
        {
            await volumes.RemoveAsync(r.Name, r.Query.Bool("force"), r.Stopping);
            r.Status(204);
        });
    }

    private static async Task Prune(ApiRequest request, VolumeService volumes)
    {
        var filters = Filters.Parse(request.Query["filters"]);
        // Before 1.42 prune took named volumes, too.
        if (request.Version.Before(42))
            filters.Add("all", "true");
        await request.JsonAsync(await volumes.PruneAsync(filters, request.Stopping), ApiJson.Wire.VolumePruneResponse);
    }
}
