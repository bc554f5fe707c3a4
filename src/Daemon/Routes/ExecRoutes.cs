using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>/containers/{name}/exec and /exec.</summary>
internal static class ExecRoutes
{
    public static void Map(Router router, BerthEngine engine)
    {
        var containers = engine.Containers;
        router.Post("/containers/{name}/exec", r => Create(r, containers));
        router.Post("/exec/{name}/start", r => Start(r, containers));
        router.Post("/exec/{name}/resize", r => containers.ExecResizeAsync(r.Name, ContainerRoutes.Cells(r, "h", "height"), ContainerRoutes.Cells(r, "w", "width"), r.Stopping));
        router.Get("/exec/{name}/json", r => r.JsonAsync(containers.ExecInspect(r.Name), ApiJson.Wire.ExecInspect));
    }

    private static async Task Create(ApiRequest request, ContainerService containers)
    {
        var body = await request.ReadJsonAsync(ApiJson.Wire.ExecCreateRequest, absent: new ExecCreateRequest());
        if (body.Cmd is not { Length: > 0 })
            throw EngineException.Invalid("No exec command specified");
        if (request.Version.Before(42))
            body.ConsoleSize = null;
        await request.JsonAsync(await containers.ExecCreateAsync(request.Name, body, request.Stopping), ApiJson.Wire.IdResponse, 201);
    }

    private static async Task Start(ApiRequest request, ContainerService containers)
    {
        var body = await request.ReadJsonAsync(ApiJson.Wire.ExecStartRequest, absent: new ExecStartRequest());
        if (request.Version.Before(42) || !body.Tty)
            body.ConsoleSize = null;
        var session = await containers.ExecStartAsync(request.Name, body, request.Stopping);
        if (session is null)
            return; // detached
        await using (session)
        await using (var client = await request.HijackAsync(session.Multiplexed, withHeaders: true))
            await session.RunAsync(client, request.Stopping);
    }
}
