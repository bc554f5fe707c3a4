using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>/events.</summary>
internal static class EventRoutes
{
    public static void Map(Router router, BerthEngine engine) => router.Get("/events", r => Events(r, engine));

    private static async Task Events(ApiRequest request, BerthEngine engine)
    {
        var gone = request.Gone();
        var query = request.Query;
        var events = engine.Events.Subscribe(query["since"], query["until"], Filters.Parse(query["filters"]), gone);
        // The headers go out with the subscription: a client that has them misses nothing that happens from then on.
        await request.StartAsync("application/json");
        await foreach (var message in events)
        {
            if (request.Version.Before(46) && message is { Type: "image", Action: "create" })
                continue;
            // Waits for a slow reader; what happens meanwhile is kept for it up to a limit, and nobody else waits.
            await request.WriteLineAsync(message, ApiJson.Wire.EventMessage, gone);
        }
    }
}
