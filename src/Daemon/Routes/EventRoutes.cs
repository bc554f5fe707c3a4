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
        await using var lines = request.Lines(ApiJson.Wire.EventMessage, "\n", gone);
        await foreach (var message in events)
        {
            if (request.Version.Before(46) && message is { Type: "image", Action: "create" })
                continue;
            lines.Add(message.Type switch
            {
                "container" => message with { Id = message.Actor.ID, Status = message.Action, From = message.Actor.Attributes?.GetValueOrDefault("image") },
                "image" => message with { Id = message.Actor.ID, Status = message.Action },
                _ => message,
            });
        }
    }
}
